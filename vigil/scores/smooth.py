"""Smoothing of one video's score curve over time, under a name that says everything.

    none           the curve itself
    causal:0.5s    exponential mean with a time constant of 0.5 seconds; looks at the past alone
    centred:0.5s   Gaussian of sigma 0.5 seconds, cut at 4 sigma; looks ahead, so it is late live

"f" in place of "s" counts frames: "causal:5f". One call smooths one video, never across a border.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from vigil.errors import ConfigError

REACH = 4.0  # of the Gaussian, in sigmas
NAME = re.compile(r"(causal|centred):([0-9]+(?:\.[0-9]+)?)([sf])")


class Smoothing(NamedTuple):
    """A name, read: `kind` none, causal or centred; `width` in frames (tau or sigma)."""

    kind: str
    width: float

    @property
    def radius(self) -> int:
        """Frames the Gaussian reaches to each side."""
        return int(REACH * self.width + 0.5)


def parse(how: str, fps: float) -> Smoothing:
    """The smoothing called `how` at `fps` frames a second; `ConfigError` if there is none."""
    if how == "none":
        return Smoothing("none", 0.0)
    match = NAME.fullmatch(how)
    if match is None or not float(match[2]) > 0:
        raise ConfigError(
            f"unknown smoothing {how!r}; expected 'none', or 'causal:' or 'centred:' and a width "
            "above 0 in seconds or frames, e.g. 'causal:0.5s', 'centred:12f'"
        )
    if not (fps > 0 and math.isfinite(fps)):
        raise ConfigError(f"smoothing {how!r}: {fps} frames a second; expected a rate above 0")
    width = float(match[2]) * (fps if match[3] == "s" else 1.0)
    return Smoothing(match[1], width)


def smooth(values: np.ndarray, how: str, fps: float) -> np.ndarray:
    """One video's curve (T,) smoothed, (T,) float64.

    causal   y[0] = x[0];  y[t] = y[t-1] + a (x[t] - y[t-1]),  a = 1 - exp(-1 / (tau fps))
    centred  y[t] = sum_k w[k] x[t+k] / sum_k w[k] over the k inside the video,
             w[k] = exp(-k^2 / (2 (sigma fps)^2)),  |k| <= floor(4 sigma fps + 1/2)

    >>> smooth(np.array([0.0, 1.0, 1.0]), "causal:1f", fps=25).round(4).tolist()
    [0.0, 0.6321, 0.8647]
    """
    values = np.asarray(values, np.float64)
    shape = parse(how, fps)
    if shape.kind == "none" or not len(values):
        return values.copy()
    if shape.kind == "causal":
        push = Smoother(how, fps).push  # the camera's own arithmetic, so the two cannot differ
        return np.array([push(value) for value in values.tolist()])
    return _gauss(values, shape)


def delay(how: str, fps: float) -> int:
    """Frames that must be seen after one before its smoothed value is known; 0 for causal."""
    shape = parse(how, fps)
    return shape.radius if shape.kind == "centred" else 0


class Smoother:
    """The same, one value at a time; bit for bit what `smooth` gives. One for each video."""

    def __init__(self, how: str, fps: float) -> None:
        shape = parse(how, fps)
        if shape.kind == "centred":
            raise ConfigError(f"smoothing {how!r} looks ahead; live needs 'none' or 'causal:...'")
        self.gain = 1.0 if shape.kind == "none" else -math.expm1(-1.0 / shape.width)
        self.state: float | None = None

    def push(self, value: float) -> float:
        """The smoothed value of the next frame."""
        value = float(value)
        if self.state is None or self.gain == 1.0:
            self.state = value
        else:
            self.state += self.gain * (value - self.state)
        return self.state


def _gauss(values: np.ndarray, shape: Smoothing) -> np.ndarray:
    """Gaussian mean whose weights are renormalised where it reaches over an end."""
    reach = min(shape.radius, len(values) - 1)  # what lies further meets nothing
    offset = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * np.square(offset / shape.width))  # (2 reach + 1,)
    inside = slice(reach, reach + len(values))
    total = np.convolve(np.ones_like(values), weight)[inside]
    return np.asarray(np.convolve(values, weight)[inside] / total)
