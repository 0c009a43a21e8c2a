"""From errors of rows to frames as the scene-aware project does it: for comparison.

Each 16 frames get the largest of their errors; what is left at the end of a video is dropped, from
scores and labels alike. All videos, one after the other in the order of their names, are smoothed
by one Gaussian, which mixes the end of each with the beginning of the next, and scaled by their
common extremes. So the WHOLE test set is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vigil.errors import InputError

Array = np.ndarray[Any, Any]
SEGMENT = 16  # frames
SIGMAS = range(20)  # frames; the authors take the one that suits the test labels best


def segment_max(errors: Array, segment: int = SEGMENT) -> Array:
    """(T,) errors of a video's frames to (T - T mod segment,): of each segment its largest.

    >>> segment_max(np.array([1.0, 3.0, 2.0, 0.0, 9.0]), segment=2).tolist()
    [3.0, 3.0, 2.0, 2.0]
    """
    whole = len(errors) // segment * segment
    return np.repeat(np.asarray(errors[:whole]).reshape(-1, segment).max(1), segment)


def joined(curves: Sequence[Array], sigma: float) -> Array:
    """Curves of all videos as one, smoothed over their borders and scaled to 0..1.

    sigma  of the Gaussian in frames, 0 = none; ends are mirrored. All equal values become 0.
    """
    whole = np.concatenate([*curves, np.zeros(0)])
    if not len(whole):
        raise InputError(f"no video of {SEGMENT} frames or more: nothing to measure by segments")
    if sigma:
        from scipy.ndimage import gaussian_filter1d

        whole = gaussian_filter1d(whole, sigma)
    span = whole.max() - whole.min()
    return np.asarray((whole - whole.min()) / span if span > 0 else np.zeros(len(whole)))
