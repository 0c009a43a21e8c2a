"""Channels of a unit to one score, unit scores to frames, windows to one frame score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

How = Literal["mean", "max", "sum"]


def fuse(channels: np.ndarray, how: How) -> np.ndarray:
    """(C, ...) calibrated scores to (...): NaN marks a missing channel and is left out.

    >>> fuse(np.array([[1.0, 3.0], [3.0, np.nan]]), "mean")
    array([2., 3.])
    """
    present = np.isfinite(channels)
    if how == "max":
        return np.where(present, channels, -np.inf).max(0)
    total = np.where(present, channels, 0).sum(0)
    return total if how == "sum" else total / np.maximum(present.sum(0), 1)


def shares(channels: Mapping[str, float], how: How) -> dict[str, float]:
    """What each calibrated channel adds to the fused score of one unit; the values sum to it.

    >>> shares({"motion": 3.0, "size": 1.0}, "mean")
    {'motion': 1.5, 'size': 0.5}
    """
    present = {name: value for name, value in channels.items() if np.isfinite(value)}
    if not present:
        return {}
    if how == "max":
        top = max(present, key=lambda name: present[name])
        return {name: value if name == top else 0.0 for name, value in present.items()}
    weight = 1.0 if how == "sum" else 1.0 / len(present)
    return {name: weight * value for name, value in present.items()}


class Reducer:
    """Unit scores of one window to frame scores: kept until the frame is given away.

    reduce  "max" over units (objects), "mean" over units (overlapping windows)
    """

    def __init__(self, reduce: Literal["max", "mean"], channels: tuple[str, ...]) -> None:
        self.reduce, self.names = reduce, channels
        self.values: dict[int, np.ndarray] = {}  # frame -> (1 + C,): fused score, then channels
        self.counts: dict[int, int] = {}

    def cover(self, first: int, stop: int) -> None:
        """The window looked at these frames, whether or not it found units there."""
        for frame in range(first, stop):
            self.counts.setdefault(frame, 0)

    def add(self, frame: int, values: np.ndarray) -> None:
        """One unit's (1 + C,) values for one frame it answers for."""
        old, count = self.values.get(frame), self.counts.get(frame, 0)
        if old is not None:
            values = np.maximum(old, values) if self.reduce == "max" else old + values
        self.values[frame], self.counts[frame] = values, count + 1

    def take(self, frame: int) -> np.ndarray | None:
        """(1 + C,) for the frame; zeros if nothing was found there; None if nobody looked."""
        count = self.counts.pop(frame, None)
        if count is None:
            return None
        values = self.values.pop(frame, np.zeros(1 + len(self.names)))
        return values / count if self.reduce == "mean" and count else values
