"""Score curves and ROC as pictures in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vigil.files import writing
from vigil.metrics.events import intervals
from vigil.metrics.frames import EqualError, Roc
from vigil.records import Event, Scores, Truth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY, TRUE = "#2563a8", "#b45309", "#c0392b", "#8a8f98", "#f3b562"
POINTS = 4000  # of one curve; more than any picture can show


def curve_png(
    path: Path | str,
    scores: Scores,
    truth: Truth | None = None,
    events: Sequence[Event] = (),
    threshold: float | None = None,
    against: Scores | None = None,
    frame: int | None = None,
    names: tuple[str, str] = ("", ""),
) -> None:
    """The smoothed score over time, the truth shaded, events above it, the threshold dashed.

    against  another run's scores of the same video, drawn below;  names  of the two runs
    frame    a frame to point at
    `StorageError` if the disk is full; the old picture then stays.
    """
    figure, rows = _figures(10.0, 3.2, 1 if against is None else 2)
    top = rows[0]
    if truth is not None:
        for axes in rows:
            _shade(axes, scores.time, truth)
    _curve(top, scores, BLUE, _told(names[0], scores), frame)
    if against is not None:
        _curve(rows[1], against, ORANGE, _told(names[1], against), frame)
    if threshold is not None:
        top.axhline(threshold, color=RED, lw=1, ls=(0, (5, 3)), label=f"alarm at {threshold:.2f}")
    _event_strip(top, events)
    top.set_title(scores.video, loc="left", fontsize=11, parse_math=False)
    rows[-1].set_xlabel("seconds")
    for axes in rows:
        axes.set_ylabel("anomaly score")
    if len(scores):
        top.set_xlim(scores.time[0], max(scores.time[-1], scores.time[0] + 1e-3))
    _legend(figure, rows)
    save(figure, path)


def _told(name: str, scores: Scores) -> str:
    """A run in the legend: its folder's name, where one was given, and its method."""
    method = str(scores.made.get("method", "score"))
    return f"{name}: {method}" if name else method


def _curve(axes: Axes, scores: Scores, colour: str, label: str, frame: int | None) -> None:
    """One run's curve, and the value at a frame."""
    bare = "unsmoothed" if colour == BLUE else None
    axes.plot(*_drawn(scores.time, scores.score), color=GREY, lw=0.6, alpha=0.5, label=bare)
    axes.plot(*_drawn(scores.time, scores.smoothed), color=colour, lw=1.6, label=label)
    if frame is not None and 0 <= frame < len(scores):
        x, y = scores.time[frame], scores.smoothed[frame]
        axes.axvline(x, color="black", lw=0.8)
        axes.plot([x], [y], "o", color="black", ms=5, label=f"frame {frame}: {y:.2f}")


def roc_png(
    path: Path | str, curves: dict[str, Roc], points: dict[str, EqualError] | None = None
) -> None:
    """ROC of one or more runs, by name, each with its equal-error point where one is given."""
    figure, axes = _figure(5.2, 5.0)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":", label="chance")
    axes.plot([0, 1], [1, 0], color=GREY, lw=0.6, alpha=0.6)
    colours = (BLUE, ORANGE, "#2e7d4f", "#7b4ba8")
    for number, (name, roc) in enumerate(curves.items()):
        colour, chosen = colours[number % len(colours)], thin_roc(roc)
        axes.plot(roc.fpr[chosen], roc.tpr[chosen], color=colour, lw=1.8, label=name)
        point = (points or {}).get(name)
        if point is not None:
            axes.plot(
                [point.rate], [1 - point.rate], "o", color=colour, ms=7, mec="white",
                label=f"equal error {point.rate:.1%}",
            )  # fmt: skip
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal")
    axes.set_xlabel("normal frames that raise an alarm")
    axes.set_ylabel("anomalous frames found")
    for text in axes.legend(loc="lower right", frameon=False, fontsize=9).get_texts():
        text.set_parse_math(False)
    save(figure, path)


def thin(values: Sequence[np.ndarray], points: int = POINTS) -> np.ndarray:
    """Indices, ascending, that keep the shape of every curve (T,): the least and the greatest of
    each stretch, the first and the last. At most about `points`; all of them if T is smaller.
    """
    n = len(values[0])
    stretches = max(points // (2 * len(values)), 1)
    if n <= points:
        return np.arange(n)
    edges = np.linspace(0, n, stretches + 1).astype(int)[:-1]
    chosen = [np.array([0, n - 1])]
    for curve in values:
        low, high = np.minimum.reduceat(curve, edges), np.maximum.reduceat(curve, edges)
        owner = np.repeat(np.arange(stretches), np.diff(edges, append=n))  # (T,) stretch of each
        for extreme in (low, high):
            at = np.flatnonzero(curve == extreme[owner])
            chosen.append(at[np.unique(owner[at], return_index=True)[1]])  # the first of each
    return np.unique(np.concatenate(chosen))


def thin_roc(roc: Roc, points: int = 2000) -> np.ndarray:
    """Indices of a ROC's points, near evenly spread along it, the ends included."""
    way = roc.fpr + roc.tpr  # rises from 0 to 2
    chosen = np.searchsorted(way, np.linspace(0, 2, points))
    return np.unique(np.r_[0, chosen.clip(max=len(way) - 1), len(way) - 1])


def _drawn(time: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chosen = thin([curve]) if len(curve) else np.zeros(0, int)
    return time[chosen], curve[chosen]


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one picture."""
    figure, rows = _figures(width, height, 1)
    return figure, rows[0]


def _figures(width: float, height: float, count: int) -> tuple[Figure, list[Axes]]:
    """A figure of its own, outside any global state, with pictures one under the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (width, height * (0.15 + 0.85 * count))
    figure = Figure(figsize=size, dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    rows = list(figure.subplots(count, 1, sharex=True, sharey=True, squeeze=False)[:, 0])
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e3e5e8", lw=0.6)
        axes.set_axisbelow(True)
    return figure, rows


def _shade(axes: Axes, time: np.ndarray, truth: Truth) -> None:
    """Orange behind every truly anomalous interval, to the end of its last frame."""
    n = min(len(time), len(truth.frames))
    step = float(np.median(np.diff(time))) if len(time) > 1 else 0.04
    for number, (start, stop) in enumerate(intervals(truth.frames[:n])):
        label = "truly abnormal" if number == 0 else None
        axes.axvspan(time[start], time[stop - 1] + step, color=TRUE, alpha=0.35, lw=0, label=label)


def _event_strip(axes: Axes, events: Sequence[Event]) -> None:
    """Found events as bars along the top edge."""
    for number, event in enumerate(events):
        axes.axvspan(
            event.start_s, event.stop_s, 0.96, 1.0, color=RED, lw=0,
            label="found event" if number == 0 else None,
        )  # fmt: skip


def _legend(figure: Figure, rows: Sequence[Axes]) -> None:
    """A line of names below the picture, where it can cover nothing; each meaning once."""
    shown: dict[str, Any] = {}
    for axes in rows:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    handles, labels = list(shown.values()), list(shown)
    legend = figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=min(len(labels), 6),
        frameon=False,
        fontsize=9,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a "$" in a name is a "$"


def save(figure: Figure, path: Path | str) -> None:
    with writing(path) as new:
        figure.savefig(new, format="png")
