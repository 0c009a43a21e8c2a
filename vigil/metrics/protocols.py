"""Ways from scores to the curve that is measured, each with its name and in words.

smoothed    as stored, under the smoothing declared before the run: the column that counts
raw         unsmoothed
centred     smoothed by a Gaussian that looks ahead, so late when live
per-video   smoothed, then scaled by the extremes of the whole video; customary, not to be had live
oracle      the smoothing that suits the test labels best: a ceiling, never a result
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vigil.errors import unknown
from vigil.metrics.frames import Pair, micro_auc, pooled
from vigil.records import Scores, Truth
from vigil.scores.smooth import delay, smooth

PROTOCOLS = ("smoothed", "raw", "centred", "per-video", "oracle")
FINAL = "score"  # the channel after fusion
CENTRED = "centred:0.5s"
ORACLE = (
    "none", "causal:0.25s", "causal:0.5s", "causal:1s", "causal:2s",
    "centred:0.25s", "centred:0.5s", "centred:1s", "centred:2s",
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """One test video: what was scored, and what was true."""

    scores: Scores
    truth: Truth
    scene: str
    fps: float

    def raw(self, channel: str) -> np.ndarray:
        """(T,) unsmoothed."""
        return self.scores.score if channel == FINAL else self.scores.channels[channel]

    def smoothed(self, channel: str, how: str) -> np.ndarray:
        """(T,) smoothed as declared; for the final score, what was stored."""
        if channel == FINAL:
            return self.scores.smoothed
        return smooth(self.raw(channel), how, self.fps)


@dataclass(frozen=True)
class Protocol:
    """`curve(clip, channel)` gives the (T,) values that are measured; `how` says it in words."""

    name: str
    how: str
    curve: Callable[[Clip, str], np.ndarray]

    def pairs(self, clips: Mapping[str, Clip], channel: str) -> dict[str, Pair]:
        """{video: (curve, labels)} to be measured."""
        return {name: (self.curve(c, channel), c.truth.frames) for name, c in clips.items()}


def protocol(name: str, how: str, clips: Mapping[str, Clip], channel: str) -> Protocol:
    """The protocol called `name` for one channel; `how` is the smoothing the scores declare."""
    match name:
        case "smoothed":
            return declared(how)
        case "raw":
            return by_smoothing("none", "raw", "no smoothing; ")
        case "centred":
            late = f"Gaussian that looks ahead, known {delay(CENTRED, 1000) / 1000:g} s late; "
            return by_smoothing(CENTRED, CENTRED, late)
        case "per-video":
            return per_video(how)
        case "oracle":
            return oracle(clips, channel)
    raise unknown("protocol", name, PROTOCOLS)


def declared(how: str) -> Protocol:
    """The column that counts."""
    words = "unsmoothed" if how == "none" else f"smoothing {how}"
    return Protocol(
        "raw" if how == "none" else how,
        f"{words}, declared before the run; no per-video normalisation; no test label used",
        lambda clip, channel: clip.smoothed(channel, how),
    )


def by_smoothing(how: str, name: str, words: str) -> Protocol:
    """The raw scores under one smoothing."""
    return Protocol(
        name,
        f"{words}no per-video normalisation; no test label used",
        lambda clip, channel: smooth(clip.raw(channel), how, clip.fps),
    )


def per_video(how: str) -> Protocol:
    """Scaled to 0..1 within each video."""
    return Protocol(
        "per-video",
        f"smoothing {how}, then each video scaled to 0..1 by its own extremes: uses the WHOLE "
        "video, not to be had live, and supposes that every video holds an anomaly",
        lambda clip, channel: unit_range(clip.smoothed(channel, how)),
    )


def oracle(clips: Mapping[str, Clip], channel: str) -> Protocol:
    """The smoothing with the largest micro AUC on the very labels it is then measured on."""
    ways = {how: by_smoothing(how, "oracle", "") for how in ORACLE}
    areas = {
        how: micro_auc(*pooled(way.pairs(clips, channel))).value or 0.0 for how, way in ways.items()
    }
    best = max(areas, key=lambda how: areas[how])
    words = f"smoothing {best} chosen ON THE TEST LABELS among {', '.join(ORACLE)}: no result"
    return Protocol("oracle", words, ways[best].curve)


def unit_range(values: np.ndarray) -> np.ndarray:
    """(T,) scaled to 0..1; a constant curve says nothing and becomes 0.5.

    >>> unit_range(np.array([2.0, 4.0, 3.0])).tolist(), unit_range(np.array([7.0])).tolist()
    ([0.0, 1.0, 0.5], [0.5])
    """
    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
