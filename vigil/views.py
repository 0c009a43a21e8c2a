"""Several views of one moment: a model for each, and their scores joined into one curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vigil import bundle, ensembles, fitting, pipeline
from vigil.bundle import Model
from vigil.cluster import score_on_ray
from vigil.data.recordings import recordings, without_view
from vigil.ensembles import FUSE, Ensemble, models_of
from vigil.errors import ConfigError
from vigil.extraction import check_features, ready, with_features
from vigil.methods.base import Method
from vigil.records import Scores, Video
from vigil.scores.events import Threshold, threshold
from vigil.scores.fuse import fuse
from vigil.scores.smooth import smooth
from vigil.scores.views import fuse_views, uneven
from vigil.sources import Progress, quiet


# -- fitting -------------------------------------------------------------------------------------
def fit_each(
    make: Callable[[], Method],
    train: Iterable[Video],
    val: Iterable[Video] | None,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress = quiet,
    **options: Any,
) -> Ensemble:
    """One model a view, each fitted on that view alone, in folders of `out` named after them.

    `make()` gives a fresh method. With `resume`, views that are done stay as they are.
    """
    learn, held = list(train), list(val or ())
    views = sorted({video.view for video in learn}, key=str.lower)
    if len(views) < 2 or "" in views:
        found = ", ".join(view or "none" for view in views)
        raise ConfigError(
            f"--each-view: views of the training videos: {found}; expected two or more, each video "
            "of one, as in cabin and dad"
        )
    models = {}
    for view in views:
        folder = out / ensembles.place(view)
        if resume and (folder / "model" / "card.json").is_file():
            models[view] = bundle.load(folder)
            continue

        def tell(what: str, done: int, of: int, view: str = view) -> None:
            progress(f"{view}, {what}", done, of)

        models[view] = fitting.fit(
            make(),
            [video for video in learn if video.view == view],
            [video for video in held if video.view == view] or None,
            folder, resume=resume and folder.is_dir(), progress=tell, **options,
        )  # fmt: skip
    ensembles.save(out, views)
    return Ensemble(models)


# -- scoring -------------------------------------------------------------------------------------
def scored(
    model: Model | Ensemble,
    path: Path,
    videos: list[Video],
    features: Path | None,
    weights: Path | None,
    ray: str | None,
    progress: Progress,
    how: dict[str, Any],
) -> tuple[dict[str, Scores], list[Video], list[str]]:
    """Scores, made here or on a cluster; the videos with their features; what to note of those."""
    if isinstance(model, Model):
        return scored_by(model, path, videos, features, weights, ray, progress, how)
    scores: dict[str, Scores] = {}
    found: list[Video] = []
    notes: list[str] = []
    parts: dict[str, list[Video]] = {}
    for video in videos:
        view = model.view_of(video)
        parts.setdefault(view, []).append(replace(video, view=view))
    for view, own in parts.items():
        run = path / ensembles.place(view)
        rest = (features, weights, ray, progress, how)
        made, given, told = scored_by(model.models[view], run, own, *rest)
        scores, found, notes = scores | made, found + given, notes + told
    order = {video.name: n for n, video in enumerate(videos)}
    found.sort(key=lambda video: order[video.name])
    return {v.name: scores[v.name] for v in found if v.name in scores}, found, notes


def scored_by(
    model: Model,
    path: Path,
    videos: list[Video],
    features: Path | None,
    weights: Path | None,
    ray: str | None,
    progress: Progress,
    how: dict[str, Any],
) -> tuple[dict[str, Scores], list[Video], list[str]]:
    """The same by one model."""
    videos = with_features(videos, features, "test")
    if ray is None:
        ready(model, videos, weights)
        notes = check_features(model, videos)
        return pipeline.score_all(model, videos, progress=progress, **how), videos, notes
    scores = score_on_ray(ray, path, videos, weights=weights, prepare=ready, tell=progress, **how)
    return scores, videos, check_features(model, videos)


def joined(
    scores: Mapping[str, Scores], videos: Iterable[Video]
) -> tuple[dict[str, Scores], list[str]]:
    """{recording: scores} of the recordings seen by several views, and what to note of them."""
    found = recordings(video for video in videos if video.name in scores)
    names = sorted({view for recording in found for view in recording.views if view})
    fused, notes = {}, []
    for recording in found if any(len(r.views) > 1 for r in found) else ():
        own = {view: scores[video.name] for view, video in recording.views.items()}
        fused[recording.name] = fuse_views(recording.name, own)
        notes += uneven(recording.name, own, names)
    return fused, notes


def joined_threshold(
    model: Model | Ensemble, views: Iterable[str], alarms_per_hour: float | None = None
) -> Threshold:
    """Where an alarm starts for joined views: from held-out normal footage joined alike.

    Footage whose views cannot be told by their names counts as it is, which makes fewer alarms.
    """
    views = sorted({view for view in views if view}, key=len, reverse=True)
    models = models_of(model)
    first = models[0].calibration
    assert first is not None  # threshold_of has been asked before
    groups: dict[str, list[np.ndarray]] = {}
    for each in models:
        assert each.calibration is not None
        pace = each.calibration.fps / first.fps
        for name, curve in each.calibration.normal.items():
            stems = (without_view(name, view) for view in views)
            stem = next((stem for stem in stems if stem != name), name)
            ticks = (np.arange(int(len(curve) / pace)) * pace).astype(int)  # (T,) at the first rate
            groups.setdefault(stem, []).append(curve[ticks])
    fused = [fuse(padded(curves), FUSE) for curves in groups.values()]
    smoothed = [smooth(curve, first.smoothing, first.fps) for curve in fused]
    return threshold(smoothed, first.fps, alarms_per_hour or first.alarms_per_hour)


def padded(curves: list[np.ndarray]) -> np.ndarray:
    """(n, T) of n curves, NaN after the end of each."""
    rows = np.full((len(curves), max(map(len, curves))), np.nan)
    for row, curve in zip(rows, curves, strict=True):
        row[: len(curve)] = curve
    return rows
