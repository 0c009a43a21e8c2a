"""Raw scores to surprise: how rare a value is among normal ones, -log10 of its tail probability.

0 = nothing special, 1 = one normal value in ten is as high, 2 = one in a hundred. Inside the
normal values the empirical distribution counts; beyond the highest ones an exponential tail
(Pickands 1975, shape 0) carries on, so that order is kept and nothing saturates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vigil.errors import InputError

LEVELS = 256  # knots kept of a distribution; the tail gets as many as it has values
TAIL = 0.05  # share of the normal values that the exponential tail is fitted to


@dataclass(frozen=True)
class Surprise:
    """A monotone map from raw scores to surprise.

    knots  (K,) raw values, rising;  surprise (K,) of each knot;  scale  mean excess of the tail
    count  how many normal values it stands on
    """

    knots: np.ndarray
    surprise: np.ndarray
    scale: float
    count: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Surprise of raw values, same shape, >= 0; NaN stays NaN."""
        values = np.asarray(values, dtype=np.float64)
        inside = np.interp(values, self.knots, self.surprise)
        beyond = np.maximum(values - self.knots[-1], 0) / self.scale
        return inside + beyond * np.log10(np.e)

    def quantiles(self, n: int) -> np.ndarray:
        """n raw values spread like the normal ones: the map read backwards at even ranks."""
        wanted = -np.log10((np.arange(n) + 0.5) / n)[::-1]  # surprise, rising
        inside = np.interp(wanted, self.surprise, self.knots)
        return inside + np.maximum(wanted - self.surprise[-1], 0) / np.log10(np.e) * self.scale

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "knots": self.knots.tolist(),
            "surprise": self.surprise.tolist(),
            "scale": self.scale,
            "count": self.count,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Surprise:
        """What `as_dict` gave; `InputError` if it cannot be a calibration."""
        knots = np.asarray(data["knots"], dtype=np.float64)
        surprise = np.asarray(data["surprise"], dtype=np.float64)
        scale, count = float(data["scale"]), int(data["count"])
        fine = knots.ndim == 1 and knots.shape == surprise.shape and len(knots) > 0
        fine = fine and bool(np.isfinite(knots).all() and np.isfinite(surprise).all())
        fine = fine and bool((np.diff(knots) > 0).all() and (np.diff(surprise) >= 0).all())
        if not (fine and scale > 0 and np.isfinite(scale)):
            raise InputError("calibration: knots must rise and the scale be positive; fit again")
        return cls(knots, surprise, scale, count)


def fit(values: np.ndarray) -> Surprise:
    """The surprise map of normal raw values (N,), N >= 1, all finite; `InputError` otherwise.

    P(X >= x) is (number of values >= x) / (N + 1) at the knots, its logarithm linear between.
    """
    values = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not len(values):
        raise InputError("calibration needs normal scores; found none (is the validation empty?)")
    if not np.isfinite(values).all():
        raise InputError("calibration needs finite scores; found NaN or infinity")
    n = len(values)
    knots, first = np.unique(values, return_index=True)
    surprise = -np.log10((n - first) / (n + 1))  # share of values >= knot
    # the exponential tail begins where TAIL of the values are left, at least ten of them
    begin = values[min(int(n * (1 - TAIL)), max(n - 10, 0))]
    scale = float((values[values >= begin] - begin).mean())
    spread = float(values[-1] - values[0]) or abs(float(values[-1])) or 1.0
    scale = max(scale, 1e-3 * spread)
    keep = knots <= begin
    inside, level = thin(knots[keep], surprise[keep])
    return Surprise(inside, level, scale, n)


def merge(one: Surprise, two: Surprise, most: int = 20_000) -> Surprise:
    """The map of both sets of normal values together, from at most `most` of their quantiles."""
    share = min(1.0, most / (one.count + two.count))
    values = [curve.quantiles(max(int(curve.count * share), 1)) for curve in (one, two)]
    merged = fit(np.concatenate(values))
    return Surprise(merged.knots, merged.surprise, merged.scale, one.count + two.count)


def thin(knots: np.ndarray, surprise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most LEVELS knots, evenly spread over the surprise they stand for; ends kept."""
    if len(knots) <= LEVELS:
        return knots, surprise
    wanted = np.linspace(surprise[0], surprise[-1], LEVELS)
    rows = np.unique(np.searchsorted(surprise, wanted).clip(0, len(knots) - 1))
    return knots[rows], surprise[rows]
