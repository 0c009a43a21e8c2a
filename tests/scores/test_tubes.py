"""Scores along moving boxes."""

from __future__ import annotations

import numpy as np
import pytest

from vigil.features.boxes import overlap
from vigil.scores.tubes import Tubes


def box(x: float, size: float = 10.0) -> np.ndarray:
    return np.array([[x, 0, x + size, size]])


def test_a_moving_thing_earns_its_score() -> None:
    tubes, a = Tubes(5.0), 1 - np.exp(-1 / 5)
    found = [tubes.push(t, box(2.0 * t), np.array([[4.0]]))[0, 0] for t in range(40)]
    assert found[0] == pytest.approx(4 * a)
    assert found[1] == pytest.approx(4 * a + a * (4 - 4 * a))
    assert found[-1] == pytest.approx(4.0, abs=0.01)


def test_flicker_in_new_places_stays_low() -> None:
    tubes = Tubes(5.0)
    places = np.random.default_rng(0).permutation(40) * 30.0
    found = [tubes.push(t, box(x), np.array([[4.0]]))[0, 0] for t, x in enumerate(places)]
    assert max(found) < 1.0


def test_a_thing_missed_for_a_few_frames_keeps_its_tube() -> None:
    tubes = Tubes(2.0)
    for t in range(20):
        tubes.push(t, box(0), np.array([[3.0]]))
    for t in range(20, 22):
        tubes.push(t, np.zeros((0, 4)), np.zeros((0, 1)))
    assert tubes.push(22, box(0), np.array([[3.0]]))[0, 0] > 2.9
    for t in range(23, 40):
        tubes.push(t, np.zeros((0, 4)), np.zeros((0, 1)))
    assert tubes.push(40, box(0), np.array([[3.0]]))[0, 0] < 1.5, "forgotten"
    assert len(tubes.boxes) == 1


def test_two_things_do_not_mix_and_nan_stays_out() -> None:
    tubes = Tubes(3.0)
    for t in range(30):
        boxes = np.concatenate([box(t), box(100 + t)])
        found = tubes.push(t, boxes, np.array([[6.0, np.nan], [0.0, 2.0]]))
    assert found[0, 0] == pytest.approx(6, abs=0.01) and found[1, 0] == 0
    assert np.isnan(found[0, 1]) and found[1, 1] == pytest.approx(2, abs=0.01)


def test_without_time_constant_nothing_changes() -> None:
    assert Tubes(0.0).push(0, box(0), np.array([[5.0]]))[0, 0] == 5.0


def test_overlap_against_counting_pixels() -> None:
    rng = np.random.default_rng(1)
    boxes = np.sort(rng.integers(0, 12, (6, 2, 2)), axis=1).transpose(0, 1, 2).reshape(6, 4)

    def mask(b: np.ndarray) -> np.ndarray:
        out = np.zeros((12, 12), bool)
        out[b[1] : b[3], b[0] : b[2]] = True
        return out

    for i, one in enumerate(boxes):
        for j, two in enumerate(boxes):
            union = (mask(one) | mask(two)).sum()
            expected = (mask(one) & mask(two)).sum() / union if union else 0.0
            found = overlap(boxes.astype(float), boxes.astype(float))
            assert found[i, j] == pytest.approx(expected)
