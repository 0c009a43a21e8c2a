"""From scores of cubes to frames as the jigsaw papers do it: named protocols, for comparison.

frames   (ShanghaiTech, driver data) lowest score of each frame, scaled, a mean over 43 frames
blocks   (Ped2, Avenue) a map of the picture that each object lowers, a 5x5x5 mean, its lowest cell
both     then 1 - score, and a Gaussian over 49 frames

Scores here are regularities in 0..1, high = normal: the lowest probability of a puzzle's rows.
Both rules scale each video by its own extremes, so they use the WHOLE video and are not to be had
live. `compat` repeats what the published code does, oddities included; without it those are put
right: scores that are exactly 1 count, constant videos become 0.5, the Gaussian is centred and
sums to 1, boxes are clipped to the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vigil.errors import InputError
from vigil.records import UnitTable

Array = np.ndarray[Any, Any]
WINDOW = 43  # frames of the moving mean
TAPS, SIGMA = 49, 20.0  # frames of the Gaussian
NEAR = 5  # cells, and frames, of the mean over the map
SMALL = 10.0  # pixels; objects below that in both directions are left out


# -- objects -------------------------------------------------------------------------------------
def kept_objects(boxes: Array, confidence: float) -> Array:
    """Rows of (n, 5) boxes x1, y1, x2, y2, confidence that count: surer than `confidence`, not
    strictly inside another of those on all sides, one side of 10 pixels at least."""
    rows = np.flatnonzero(boxes[:, 4] > confidence)
    x1, y1, x2, y2 = boxes[rows, :4].T
    inside = (
        (x1[:, None] > x1) & (y1[:, None] > y1) & (x2[:, None] < x2) & (y2[:, None] < y2)
    ).any(1)  # (m,)
    return np.asarray(rows[~inside & (np.maximum(x2 - x1, y2 - y1) >= SMALL)])


def regularity(raw: Array) -> Array:
    """Lowest probability of a puzzle's rows from the method's raw score, -log of it."""
    return np.exp(-np.asarray(raw, np.float64))


# -- scaling and smoothing -----------------------------------------------------------------------
def scaled(values: Array, known: Array) -> Array:
    """(T,) with the `known` ones (bool) brought to 0..1 by their extremes; the rest stay as they
    are, regular; known ones that are all equal say nothing and become 0.5."""
    out = np.asarray(values, np.float64).copy()
    if known.any():
        low, high = out[known].min(), out[known].max()
        out[known] = (out[known] - low) / (high - low) if high > low else 0.5
    return out


def moving_mean(values: Array, window: int = WINDOW) -> Array:
    """(T,) mean over `window` frames where it fits; the first and last ones stay as they are."""
    out = np.asarray(values, np.float64).copy()
    if len(out) >= window:
        half = window // 2
        out[half : len(out) - half] = np.convolve(out, np.full(window, 1 / window), "valid")
    return out


def taps(compat: bool = False) -> Array:
    """(49,) of the Gaussian; the published ones peak one early and sum to 0.7789."""
    at = np.arange(1, TAPS + 1) - (24 if compat else 25)
    weights = np.exp(-0.5 * np.square(at / SIGMA)) / (SIGMA * np.sqrt(2 * np.pi))
    return weights if compat else weights / weights.sum()


def gaussian(values: Array, compat: bool = False) -> Array:
    """(T,) smoothed. Ends: as published, copies of the first and last 24 values in their own
    order; put right, weights that reach over an end are left out and the rest sum to 1."""
    values, weights, reach = np.asarray(values, np.float64), taps(compat), TAPS // 2
    n = len(values)
    if not n:
        return values.copy()
    if compat:
        first, last = values[:reach], values[-reach:]
        lack = reach - len(first)  # of a video shorter than that
        padded = np.concatenate(
            [np.full(lack, values[0]), first, values, last, np.full(lack, values[-1])]
        )
        return np.correlate(padded, weights, "valid")
    inside = slice(reach, reach + n)
    total = np.convolve(np.ones(n), weights)[inside]
    return np.asarray(np.convolve(values, weights)[inside] / total)


def anomaly(values: Array, compat: bool = False) -> Array:
    """(T,) regularity to the curve that is measured, high = anomalous."""
    return gaussian(1 - np.asarray(values, np.float64), compat)


# -- frames --------------------------------------------------------------------------------------
def frame_curve(scores: Array, frames: Array, length: int, compat: bool = False) -> Array:
    """Regularity (length,) of a video from the scores (M,) of cubes centred at `frames` (M,).

    Frames without a cube are regular, 1.
    """
    check_frames(frames, length)
    lowest = np.ones(length)
    np.minimum.at(lowest, frames, scores)
    known = np.zeros(length, bool)
    known[frames] = True
    return moving_mean(scaled(lowest, lowest != 1 if compat else known))


# -- blocks --------------------------------------------------------------------------------------
def block_curves(
    scores: Array,
    frames: Array,
    boxes: Array,
    length: int,
    size: tuple[int, int],
    block: int = 1,
    compat: bool = False,
) -> Array:
    """Regularity (C + 1, length) of a video from the scores (M, C) of objects: each channel, and
    their mean.

    frames (M,); boxes (M, 4) in pixels of the picture, whose `size` is (height, width)
    block  pixels of a cell of the map: 1 for Ped2, 20 for Avenue
    """
    check_frames(frames, length)
    lowest = [cell_curve(column, frames, boxes, length, size, block, compat) for column in scores.T]
    every = np.ones(length, bool)
    return np.stack([scaled(curve, every) for curve in [*lowest, np.mean(lowest, axis=0)]])


def cell_curve(
    scores: Array,
    frames: Array,
    boxes: Array,
    length: int,
    size: tuple[int, int],
    block: int,
    compat: bool,
) -> Array:
    """(length,) the lowest cell of the smoothed map of each frame, for one channel."""
    from scipy.ndimage import uniform_filter

    height, width = (-(-side // block) for side in size)
    cells = np.ones((length, height, width), np.float32)
    edges = np.rint(np.asarray(boxes, np.float64) / block).astype(int)
    if not compat:  # a negative corner would count from the other side and name no cell
        edges = edges.clip(0, np.array([width, height, width, height]) - 1)
    for score, frame, (x1, y1, x2, y2) in zip(scores, frames, edges, strict=True):
        part = cells[frame, y1 : y2 + 1, x1 : x2 + 1]
        np.minimum(part, score, out=part)
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
    if high > low:
        cells -= low
        cells /= high - low
    smooth = uniform_filter(cells, NEAR, mode="constant", cval=1.0)  # (length, height, width)
    return np.asarray(smooth.min((1, 2)), np.float64)


def check_frames(frames: Array, length: int) -> None:
    """Scores of another video, or of another cut of this one, are no scores of it."""
    if len(frames) and not 0 <= min(frames) <= max(frames) < length:
        raise InputError(f"scores at frames {min(frames)}..{max(frames)} of a video of {length}")


# -- the units of a run --------------------------------------------------------------------------
def units_curve(
    units: UnitTable,
    channels: Sequence[str],
    length: int,
    size: tuple[int, int],
    rule: str = "frames",
    block: int = 1,
) -> Array:
    """The anomaly curve (length,) of the mean of `channels` under the rule "frames" or "blocks",
    from the table of units that a run of `jigsaw` left (raw scores in logarithms)."""
    raw = np.stack([units.channels[name] for name in channels], 1)  # (M, C)
    rows = np.isfinite(raw).all(1)
    frames, found = units.first[rows].astype(int), regularity(raw[rows])
    if rule == "blocks":
        return anomaly(block_curves(found, frames, units.box[rows], length, size, block)[-1])
    return anomaly(np.mean([frame_curve(c, frames, length) for c in found.T], axis=0))
