"""The scene-aware project's way from errors to a number, against arrays its code wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vigil.metrics.frames import micro_auc
from vigil.metrics.segments import oracle
from vigil.scores.segment_protocol import SEGMENT, SIGMAS, joined

GOLDEN = Path(__file__).parent.parent / "golden"
THEIRS = dict(np.load(GOLDEN / "scene_scoring.npz"))
LENGTHS = json.loads((GOLDEN / "scene_scoring.json").read_text())["videos"]


def curves() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Plateaus and labels of the three videos, the rest of each dropped."""
    whole = [length // SEGMENT * SEGMENT for length in LENGTHS.values()]
    edges = np.cumsum(whole)[:-1]
    return np.split(THEIRS["raw"], edges), np.split(THEIRS["labels"], edges)


@pytest.mark.parametrize("sigma", [1, 5, 10, 19])
def test_smoothing_is_the_authors(sigma: int) -> None:
    np.testing.assert_allclose(joined(curves()[0], sigma), THEIRS[f"sigma{sigma}"], atol=1e-5)


def test_labels_are_those_of_whole_segments() -> None:
    kept = [
        THEIRS[f"label_{name}"][: length // SEGMENT * SEGMENT] for name, length in LENGTHS.items()
    ]
    np.testing.assert_array_equal(np.concatenate(kept), THEIRS["labels"])


def test_each_smoothing_and_the_best_give_the_authors_auc() -> None:
    scores, labels = curves()
    truth = np.concatenate(labels)
    areas = [micro_auc(joined(scores, sigma), truth).value for sigma in SIGMAS]
    np.testing.assert_allclose(areas, THEIRS["auc_per_sigma"], atol=1e-4)
    best = oracle(scores, labels)
    assert best.sigma == int(THEIRS["best_sigma"])
    assert best.micro_auc == pytest.approx(float(THEIRS["best_auc"]), abs=1e-4)
