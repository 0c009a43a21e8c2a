"""`vigil manifold`: the normal videos of a data set as one or two models see them, by scene."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vigil import bundle
from vigil.bundle import Model
from vigil.errors import InputError, ModelError
from vigil.extraction import check_features, ready, with_features
from vigil.records import Video
from vigil.show.manifold import Panel, manifold_png, plane, silhouette
from vigil.sources import Progress, open_data, quiet
from vigil.train.batches import bags

MOST = 1000  # points of a picture; a person sees no more, and the layout is quadratic


class Points(NamedTuple):
    """What a model makes of normal segments: (N, D), and the scene of each."""

    values: np.ndarray
    scenes: list[str]


def draw_manifolds(
    models: list[Path],
    data: str,
    out: Path,
    *,
    root: Path | None = None,
    split: str | None = None,
    features: Path | None = None,
    weights: Path | None = None,
    most: int = MOST,
    progress: Progress = quiet,
) -> list[Panel]:
    """A picture of the training videos' segments with a panel for each model; the panels.

    `silhouette` of a panel is measured where the model itself compares, not in the plane.
    """
    opened = open_data(data, root, split=split, progress=progress)
    videos = with_features([v for v in opened.train if v.label != "anomalous"], features, "train")
    panels = []
    for number, path in enumerate(models):
        progress(f"manifold: {path.name}", number, len(models))
        model = bundle.load(path)
        check_features(model, videos)
        ready(model, videos, weights)
        points = thinned(points_of(model, videos), most)
        apart = silhouette(points.values, points.scenes)
        panels.append(Panel(title(path, model), plane(points.values), points.scenes, apart))
    progress("manifold", len(models), len(models))
    manifold_png(out, panels)
    return panels


def title(path: Path, model: Model) -> str:
    """The model's folder, and the mode where it has one."""
    mode = getattr(model.method.config, "mode", None)
    return f"{path.name}: {model.name}" + ("" if mode is None else f", mode {mode}")


@torch.no_grad()
def points_of(model: Model, videos: Iterable[Video]) -> Points:
    """All normal segments as the model compares them."""
    seen = getattr(model.method.eval(), "manifold", None)
    if seen is None:
        raise ModelError(f"{model.name} has no space of its own to show; scene and scene-memory do")
    values, scenes = [], []
    for units in bags(model.method, model.providers, videos, model.fps, model.ignore):
        found = seen(units).numpy(force=True)
        values.append(found)
        scenes += [units.scene] * len(found)
    if not values:
        raise InputError("manifold: no normal video to show")
    return Points(np.concatenate(values), scenes)


def thinned(points: Points, most: int) -> Points:
    """At most `most` points, as many of each scene as there are of it at most; always the same."""
    rng = np.random.default_rng(0)
    scene = np.array(points.scenes, dtype=object)
    names = sorted(set(points.scenes))
    share = max(most // len(names), 1)
    rows = np.concatenate([
        np.sort(rng.permutation(np.flatnonzero(scene == name))[:share]) for name in names
    ])  # fmt: skip
    return Points(points.values[rows], [points.scenes[row] for row in rows])
