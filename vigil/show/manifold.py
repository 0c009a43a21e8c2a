"""What is normal in each scene, as points of a plane: two or more models side by side.

`plane` is exact t-SNE (van der Maaten and Hinton 2008): for up to a few thousand points, the same
picture every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vigil.errors import InputError
from vigil.show.curve import GREY, save

Array = np.ndarray
STEPS, EARLY, RATE = 600, 150, 0.5
MARKS = "osD^vP*X<>pHd"


class Panel(NamedTuple):
    """One picture of several: points (N, 2), the scene of each, silhouette in the model's space."""

    title: str
    points: Array
    scenes: Sequence[str]
    silhouette: float | None


def plane(x: Array, perplexity: float = 30.0, seed: int = 0) -> Array:
    """(N, D) to (N, 2): near stays near. With few points the perplexity is lowered to (N - 1) / 3;
    up to three points are laid out by their two main axes alone."""
    x = np.asarray(x, np.float64)
    if not np.isfinite(x).all():
        raise InputError("points of a manifold hold NaN or infinity; a file of features is damaged")
    start = main_axes(x)
    if len(x) < 4:
        return start
    near = affinities(x, min(perplexity, (len(x) - 1) / 3))
    rng = np.random.default_rng(seed)
    y = start / max(float(start.std()), 1e-12) * 1e-4 + rng.normal(0, 1e-6, start.shape)
    step, gain = np.zeros_like(y), np.ones_like(y)
    rate = max(len(x) / 12.0 / 4.0, 50.0)
    for number in range(STEPS):
        pull = 12.0 if number < EARLY else 1.0
        slope = gradient(y, near * pull)
        gain = np.where(np.sign(slope) != np.sign(step), gain + 0.2, gain * 0.8).clip(0.01)
        step = (RATE if number < EARLY else 0.8) * step - rate * gain * slope
        y = y + step
    return np.asarray(y - y.mean(0))


def main_axes(x: Array) -> Array:
    """(N, 2) by the two directions of largest variance, signs fixed by their largest entry."""
    centred = x - x.mean(0)
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    rows = rows[:2] * np.sign(np.take_along_axis(rows[:2], abs(rows[:2]).argmax(1)[:, None], 1))
    found = centred @ rows.T
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1])))


def affinities(x: Array, perplexity: float) -> Array:
    """(N, N) joint probabilities whose rows have the perplexity before they are made symmetric."""
    apart = distances(x)
    np.fill_diagonal(apart, np.inf)
    apart -= apart.min(1, keepdims=True)
    low, high = np.zeros((len(x), 1)), np.full((len(x), 1), np.inf)
    beta = 1.0 / np.maximum(np.median(np.where(np.isinf(apart), 0, apart), 1), 1e-12)[:, None]
    for _ in range(60):
        p = np.exp(-apart * beta)
        total = p.sum(1, keepdims=True)
        finite = np.where(np.isinf(apart), 0, apart)
        entropy = np.log(total) + beta * (finite * p).sum(1, keepdims=True) / total
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), beta * 2, (low + high) / 2)
    p = np.exp(-apart * beta)
    p /= p.sum(1, keepdims=True)
    return np.asarray(np.maximum((p + p.T) / (2 * len(x)), 1e-12))


def distances(x: Array) -> Array:
    """(N, N) squared Euclidean distances."""
    square = np.square(x).sum(1)
    return np.asarray(np.maximum(square[:, None] + square - 2 * x @ x.T, 0))


def gradient(y: Array, near: Array) -> Array:
    """(N, 2) slope of the divergence between `near` and the Student affinities of the plane."""
    kernel = 1 / (1 + distances(y))
    np.fill_diagonal(kernel, 0)
    pull = (near - kernel / kernel.sum()) * kernel  # (N, N)
    return np.asarray(4 * (pull.sum(1)[:, None] * y - pull @ y))


def silhouette(x: Array, scenes: Sequence[str]) -> float | None:
    """Mean silhouette (Rousseeuw 1987) of points (N, D) by scene, -1..1, higher = further apart;
    None with a single scene. A point alone in its scene counts 0."""
    names = sorted(set(scenes))
    if len(names) < 2:
        return None
    apart = np.sqrt(distances(np.asarray(x, np.float64)))
    np.fill_diagonal(apart, 0)
    member = np.array([[scene == name for name in names] for scene in scenes])  # (N, S)
    count = member.sum(0)
    total = apart @ member  # (N, S)
    own = np.argmax(member, 1)
    rows = np.arange(len(own))
    inside = total[rows, own] / np.maximum(count[own] - 1, 1)
    other = total / count
    other[rows, own] = np.inf
    outside = other.min(1)
    value = (outside - inside) / np.maximum(np.maximum(inside, outside), 1e-12)
    return float(np.where(count[own] > 1, value, 0).mean())


def manifold_png(path: Path | str, panels: Sequence[Panel]) -> None:
    """The panels side by side, a colour and a mark for each scene, the same in all of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels), 5.4), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    names = sorted({scene for panel in panels for scene in panel.scenes})
    looks = look_of(names)
    axes_row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(axes_row, panels, strict=True):
        for name in names:
            mine = panel.points[[scene == name for scene in panel.scenes]]
            colour, mark = looks[name]
            axes.scatter(*mine.T, s=14, color=colour, marker=mark, lw=0, alpha=0.75)
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.spines[:].set_color(GREY)
        axes.set_title(panel.title, loc="left", fontsize=11, parse_math=False)
        told = "one scene" if panel.silhouette is None else f"silhouette {panel.silhouette:.2f}"
        axes.set_xlabel(f"{told}, {len(panel.points)} segments", color="#444444")
    handles = [
        axes_row[0].plot([], [], ls="", marker=mark, color=colour, label=name or "no scene")[0]
        for name, (colour, mark) in looks.items()
    ]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(names), 7), frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    save(figure, path)


def look_of(names: Sequence[str]) -> Mapping[str, tuple[tuple[float, ...], str]]:
    """A colour and a mark for each scene, however many there are."""
    from matplotlib import colormaps

    few = colormaps["tab10"].colors  # type: ignore[attr-defined]
    many = colormaps["turbo"]
    return {
        name: (
            tuple(few[n]) if len(names) <= len(few) else tuple(many(n / (len(names) - 1))),
            MARKS[n % len(MARKS)],
        )
        for n, name in enumerate(names)
    }
