"""Tracks: known ways give known velocities; things are found again, not mixed up."""

from __future__ import annotations

import numpy as np
import pytest

from vigil.features.tracks import LOST, MEMORY_S, Tracks, matched


def box(x: float, foot: float = 100.0, high: float = 40.0, wide: float = 20.0) -> np.ndarray:
    """(4,) of a thing that stands at x, foot."""
    return np.array([x - wide / 2, foot - high, x + wide / 2, foot], np.float32)


def last(boxes: list[np.ndarray], fps: float) -> np.ndarray:
    """(3,) of the first thing in the last frame; each entry holds the boxes of a frame."""
    tracks = Tracks(fps)
    for frame, one in enumerate(boxes):
        facts = tracks.see(one.reshape(-1, 4), frame)
    return facts[0]


@pytest.mark.parametrize("fps", [5.0, 10.0, 25.0])
@pytest.mark.parametrize("velocity", [(0.75, 0.0), (-0.5, 0.25), (0.0, -0.6)])
def test_velocity_is_in_body_heights_a_second(fps: float, velocity: tuple[float, float]) -> None:
    """The same thing in the same seconds has the same velocity at any frame rate."""
    step = 40.0 * np.array(velocity) / fps  # pixels a frame, bodies of 40
    boxes = [box(100 + step[0] * t, 100 + step[1] * t) for t in range(round(2 * fps))]
    np.testing.assert_allclose(last(boxes, fps)[:2], velocity, atol=1e-5)


def test_velocity_does_not_depend_on_the_size_of_the_picture() -> None:
    small = [box(100 + 3 * t) for t in range(20)]
    large = [one * 3 for one in small]
    np.testing.assert_allclose(last(small, 10.0), last(large, 10.0), rtol=1e-5)


def test_jitter_of_boxes_cancels() -> None:
    random = np.random.default_rng(0)
    boxes = [box(100 + 3 * t) + random.normal(0, 1, 4).astype(np.float32) for t in range(30)]
    np.testing.assert_allclose(last(boxes, 12.0)[:2], [3 * 12 / 40, 0], atol=0.12)


def test_velocity_follows_within_a_second() -> None:
    x = [100.0 + 4 * t for t in range(20)]
    x += [x[-1]] * 11  # stands still for longer than a velocity is measured over
    np.testing.assert_allclose(last([box(v) for v in x], 10.0)[:2], 0, atol=1e-6)


@pytest.mark.parametrize("fps", [5.0, 10.0])
def test_who_stays_counts_the_seconds(fps: float) -> None:
    tracks = Tracks(fps)
    stayed = [tracks.see(box(100)[None], frame)[0, 2] for frame in range(round(4 * fps))]
    np.testing.assert_allclose(stayed, np.arange(len(stayed)) / fps, atol=1e-6)


def test_seconds_stayed_are_counted_as_far_back_as_a_way_is_kept() -> None:
    stayed = last([box(100)] * 100, 10.0)[2]
    assert stayed == pytest.approx(MEMORY_S - 0.1)


def test_who_walks_never_stays_and_who_stops_begins_to() -> None:
    x = [100.0 + 4 * t for t in range(30)]  # half a body is 20 pixels: five frames
    assert last([box(v) for v in x], 10.0)[2] == pytest.approx(0.5)
    x += [x[-1]] * 30
    assert last([box(v) for v in x], 10.0)[2] == pytest.approx(3.5)


@pytest.mark.parametrize("missed", [1, LOST])
def test_a_missed_thing_keeps_its_way(missed: int) -> None:
    tracks = Tracks(10.0)
    for frame in range(10):
        tracks.see(box(100)[None], frame)
    for frame in range(10, 10 + missed):
        assert tracks.see(np.zeros((0, 4)), frame).shape == (0, 3)
    found = tracks.see(box(100)[None], 10 + missed)
    assert found[0, 2] == pytest.approx((10 + missed) / 10)


def test_a_walker_missed_for_a_moment_keeps_its_velocity() -> None:
    tracks = Tracks(10.0)
    for frame in range(30):
        seen = np.zeros((0, 4)) if frame in (20, 21) else box(100 + 2 * frame)[None]
        facts = tracks.see(seen, frame)
        if frame not in (0, 20, 21):
            np.testing.assert_allclose(facts[0, :2], [0.5, 0], atol=1e-6)


def test_a_thing_missed_for_longer_is_new() -> None:
    tracks = Tracks(10.0)
    for frame in range(10):
        tracks.see(box(100)[None], frame)
    for frame in range(10, 11 + LOST):
        tracks.see(np.zeros((0, 4)), frame)
    assert tracks.see(box(100)[None], 11 + LOST).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_crossing_things_are_not_swapped(order: list[int]) -> None:
    """One tall, one small, from both sides through the same place; boxes come in any order."""
    tracks = Tracks(10.0)
    for frame in range(40):
        pair = np.stack([box(40 + 3 * frame, high=60), box(160 - 3 * frame, high=24, wide=16)])
        facts = tracks.see(pair[order], frame)[np.argsort(order)]
        if frame > 2:
            np.testing.assert_allclose(facts[:, 0], [0.5, -1.25], atol=1e-5)


def test_the_largest_overlaps_are_linked_first() -> None:
    shared = np.array([[0.5, 0.9, 0.0], [0.6, 0.8, 0.0], [0.1, 0.15, 0.19]])
    assert matched(shared).tolist() == [1, 0, -1]
    assert matched(np.zeros((2, 0))).tolist() == [-1, -1]
    assert matched(np.zeros((0, 3))).tolist() == []


def test_no_boxes_give_no_rows() -> None:
    tracks = Tracks(10.0)
    for frame in range(3):
        facts = tracks.see(np.zeros((0, 4), np.float32), frame)
        assert facts.shape == (0, 3) and facts.dtype == np.float32
    assert tracks.see(box(100)[None], 3).tolist() == [[0, 0, 0]]  # a new thing: nothing known
