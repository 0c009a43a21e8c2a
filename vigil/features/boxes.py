"""Arithmetic of boxes."""

from __future__ import annotations

import numpy as np


def overlap(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) and (M, 4), (N, M).

    >>> overlap(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0], [5, 5, 6, 6]])).round(2)
    array([[0.33, 0.  ]])
    """
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1) for b in (one, two)]
    union = areas[0][:, None] + areas[1][None] - inside
    return inside / np.maximum(union, 1e-9)
