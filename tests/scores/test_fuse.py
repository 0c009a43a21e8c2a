"""Fusing channels and reducing units to frames."""

from __future__ import annotations

import numpy as np
import pytest

from vigil.scores.fuse import Reducer, fuse, shares


@pytest.mark.parametrize(("how", "expected"), [("mean", 2.0), ("max", 3.0), ("sum", 4.0)])
def test_fuse_and_shares_agree(how: str, expected: float) -> None:
    channels = {"a": 1.0, "b": 3.0, "missing": float("nan")}
    assert fuse(np.array(list(channels.values())), how) == expected  # type: ignore[arg-type]
    parts = shares(channels, how)  # type: ignore[arg-type]
    assert sum(parts.values()) == pytest.approx(expected)
    assert "missing" not in parts


def test_the_highest_object_of_a_frame_counts() -> None:
    reducer = Reducer("max", ("a",))
    reducer.cover(0, 2)
    reducer.add(0, np.array([1.0, 5.0]))
    reducer.add(0, np.array([2.0, 3.0]))
    assert reducer.take(0).tolist() == [2.0, 5.0]  # type: ignore[union-attr]
    assert reducer.take(1).tolist() == [0.0, 0.0]  # type: ignore[union-attr]  # looked, found none
    assert reducer.take(2) is None  # nobody looked


def test_overlapping_windows_are_averaged() -> None:
    reducer = Reducer("mean", ())
    for value in (1.0, 2.0, 6.0):
        reducer.cover(4, 5)
        reducer.add(4, np.array([value]))
    assert reducer.take(4).tolist() == [3.0]  # type: ignore[union-attr]
    assert not reducer.values and not reducer.counts, "a given frame is forgotten"
