"""The verbs: fit, extend, score, evaluate. Wires the rooms together; holds no mathematics."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vigil import run
from vigil.bundle import Model
from vigil.data.base import TestSplit
from vigil.ensembles import Ensemble
from vigil.errors import VigilError
from vigil.files import writing
from vigil.fitting import extend, fit, method
from vigil.metrics.report import evaluate as measure
from vigil.records import Report, Scores, Video
from vigil.run import Peak
from vigil.scores import tables
from vigil.scores.events import Threshold, find_events
from vigil.sources import Progress, dataset, quiet
from vigil.video.read import open_video

__all__ = ["dataset", "evaluate", "extend", "fit", "method", "score", "score_all"]


def score_all(
    model: Model | Ensemble,
    videos: Iterable[Video],
    *,
    as_live: bool = False,
    smoothing: str = "",
    peaks: dict[str, list[Peak]] | None = None,
    progress: Progress = quiet,
    failures: dict[str, str] | None = None,
) -> dict[str, Scores]:
    """Scores of many videos by name. With `failures` given, a video that cannot be scored is noted
    there with the reason and the rest goes on; without, its error is raised."""
    videos = list(videos)
    found: dict[str, Scores] = {}
    for n, video in enumerate(videos):
        progress(f"score: {video.name}", n, len(videos))
        mine: list[Peak] | None = [] if peaks is not None else None
        try:
            found[video.name] = run.score_video(
                model.at(video), video, as_live=as_live, smoothing=smoothing, peaks=mine
            )
        except VigilError as error:
            if failures is None:
                raise
            failures[video.name] = str(error)
            continue
        if peaks is not None:
            peaks[video.name] = mine or []
    progress("score", len(videos), len(videos))
    return found


def score(model: Model | Ensemble, source: Video | Path | str, **options: Any) -> Scores:
    """Scores of one video: a `Video`, or the path of a file or of a folder of pictures."""
    video = source if isinstance(source, Video) else open_video(source)
    return run.score_video(model.at(video), video, **options)


def remarks(model: Model | Ensemble, video: Video) -> list[str]:
    """What a person should know before trusting scores of this video."""
    if isinstance(model, Ensemble):
        model = model.models[model.view_of(video)]
    found = [f"{video.name}: {model.remark}"] if model.remark else []
    if abs(video.fps / model.fps - 1) >= 0.02 and not model.rows_only:
        found.append(
            f"{video.name}: {video.fps:g} frames a second, the model was fitted at {model.fps:g}; "
            "time is resampled"
        )
    fitted = tuple(model.card.get("size", video.size))
    if tuple(video.size) != fitted and not model.rows_only:
        found.append(
            f"{video.name}: {video.size[1]}x{video.size[0]} pixels, the model was fitted at "
            f"{fitted[1]}x{fitted[0]}; another camera may need a model of its own"
        )
    if model.method.scenes not in ((), ("",)) and video.scene not in model.method.scenes:
        scene = f"scene {video.scene!r} was never seen in training" if video.scene else "no scene"
        found.append(f"{video.name}: {scene}; the model knows {', '.join(model.method.scenes)}")
    return found


def gathered(notes: Iterable[str]) -> list[str]:
    """Notes that say the same of many videos as one each: "a, b and 3 more: no scene"."""
    videos: dict[str, list[str]] = {}
    for note in notes:
        name, _, text = note.partition(": ")
        videos.setdefault(text, []).append(name)
    lines = []
    for text, names in videos.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:3])}{more}: {text}")
    return lines


def save_scores(
    folder: Path | str, scores: Mapping[str, Scores], limit: Threshold, extra: dict[str, Any]
) -> Path:
    """Write a run's scores, units and events."""
    folder = Path(folder)
    tables.write(folder, scores.values())
    save_events(folder, scores, limit)
    with writing(folder / "run.json") as path:
        path.write_text(json.dumps({**extra, "threshold": limit.as_dict()}, indent=2, default=str))
    return folder


def save_events(folder: Path, scores: Mapping[str, Scores], limit: Threshold) -> None:
    """`events.json` and `events.csv`: what was found, in seconds."""
    rows = [
        {
            "video": event.video,
            "start_s": round(event.start_s, 3),
            "stop_s": round(event.stop_s, 3),
            "start_frame": event.start,
            "stop_frame": event.stop,
            "peak": round(event.peak, 4),
            "peak_frame": event.peak_frame,
            "because": max(event.parts, key=lambda k: event.parts[k]) if event.parts else "",
            "box": list(event.box) if event.box else None,
        }
        for found in scores.values()
        for event in find_events(found, limit.value, fps_of(found))
    ]
    with writing(folder / "events.json") as path:
        path.write_text(json.dumps({"threshold": limit.as_dict(), "events": rows}, indent=2))
    with writing(folder / "events.csv") as path, path.open("w", newline="") as file:
        names = ["video", "start_s", "stop_s", "start_frame", "stop_frame", "peak", "peak_frame"]
        writer = csv.DictWriter(file, [*names, "because", "box"])
        writer.writeheader()
        writer.writerows(rows)


def fps_of(scores: Scores) -> float:
    """Frames a second of scores, as they were made."""
    return float(scores.made.get("fps") or 25.0)


def evaluate(
    what: Model | Ensemble | Mapping[str, Scores],
    test: TestSplit,
    *,
    data: str = "",
    as_live: bool = False,
    progress: Progress = quiet,
) -> Report:
    """Measure a model, or scores already made, against the truth of a test part."""
    scores = what
    if isinstance(what, Model | Ensemble):
        scores = score_all(what, test, as_live=as_live, progress=progress)
    assert isinstance(scores, Mapping)
    name = next((str(s.made.get("method", "scores")) for s in scores.values()), "scores")
    return measure(scores, test, data=data, method=name)
