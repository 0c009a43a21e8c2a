"""What the commands do that write something to look at: score, evaluate, show, demo."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import cv2

from vigil import bundle, ensembles, pipeline
from vigil.bundle import Model
from vigil.data.base import TestSplit
from vigil.ensembles import Ensemble, threshold_of
from vigil.errors import InputError, unknown
from vigil.files import writing
from vigil.pages import (
    evaluation_page,
    make_page,
    marks_at,
    safe,
    write_annotated,
    write_clips,
    write_report,
)
from vigil.pipeline import fps_of
from vigil.records import Event, Report, Scores, Video
from vigil.run import Peak
from vigil.scores import puzzle_files, tables
from vigil.scores.events import Threshold, find_events
from vigil.show.curve import curve_png
from vigil.show.overlay import draw
from vigil.sources import Progress, make_data, open_data, openable, quiet
from vigil.video.read import open_video
from vigil.views import joined, joined_threshold, scored

WRITTEN = ("scores.parquet", "units.parquet", "events.json", "events.csv")
JOINED = "joined"  # the folder, in one of scores, of what several views say together


@dataclass
class Result:
    """What `vigil score` made."""

    folder: Path
    threshold: Threshold
    events: list[Event]
    notes: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def event_rows(self) -> list[dict[str, Any]]:
        """One line an event, for a table."""
        return [
            {
                "video": event.video,
                "start": clock(event.start_s),
                "stop": clock(event.stop_s),
                "peak": round(event.peak, 2),
                "because": max(event.parts, key=lambda k: event.parts[k]) if event.parts else "",
            }
            for event in self.events
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "folder": str(self.folder),
            "threshold": self.threshold.as_dict(),
            "events": [asdict(event) for event in self.events],
            "notes": self.notes,
            "failures": self.failures,
            "files": self.files,
        }


def clock(seconds: float) -> str:
    """Seconds as a person reads them.

    >>> clock(83.46)
    '1:23.5'
    """
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def score_source(
    model_path: Path,
    source: str,
    out: Path | None = None,
    *,
    root: Path | None = None,
    split: str | None = None,
    view: str | None = None,
    alarms_per_hour: float | None = None,
    smoothing: str = "",
    as_live: bool = False,
    clips: bool = False,
    annotated: bool = False,
    report: Path | None = None,
    features: Path | None = None,
    weights: Path | None = None,
    cache: Path | None = None,
    ray: str | None = None,
    progress: Progress = quiet,
) -> Result:
    """Score a video, a folder or a data set and write what was found."""
    model = ensembles.load(model_path, cache)
    limit = threshold_of(model, alarms_per_hour)
    failures: dict[str, str] = {}
    videos = list(openable(source, root, split, failures, progress, view))
    peaks: dict[str, list[Peak]] | None = {} if report else None
    how: Any = dict(as_live=as_live, smoothing=smoothing, peaks=peaks, failures=failures)
    scores, videos, notes = scored(model, model_path, videos, features, weights, ray, progress, how)
    if not scores:
        raise nothing_scored(source, list(failures.values()) or ["no video found"])
    folder = out or scores_folder(model_path, source)
    made = {"model": str(model_path), "source": source, "card": model.card}
    pipeline.save_scores(folder, scores, limit, made)
    found = {n: find_events(s, limit.value, fps_of(s)) for n, s in scores.items()}
    events = [event for each in found.values() for event in each]
    kept = [video for video in videos if video.name in scores]
    result = Result(folder, limit, events, failures=failures, files=list(WRITTEN))
    notes += save_joined(model, scores, kept, alarms_per_hour, made, result)
    remarks = (note for video in kept for note in pipeline.remarks(model, video))
    result.notes = pipeline.gathered([*notes, *remarks])
    for video in kept if clips else ():
        result.files += write_clips(folder / "clips", video, found[video.name])
    for video in kept if annotated else ():
        result.files.append(write_annotated(folder, video, scores[video.name], limit.value))
    if report:
        title = f"Vigil: {source}"
        page = make_page(model, scores, kept, limit, peaks or {}, {}, Report(()), title)
        write_report(report, page)
        result.files.append(str(report / "report.html"))
    return result


def save_joined(
    model: Model | Ensemble,
    scores: dict[str, Scores],
    videos: list[Video],
    alarms_per_hour: float | None,
    made: dict[str, Any],
    result: Result,
) -> list[str]:
    """What the views of each recording say together goes into a folder beside their own scores,
    and its events, one a moment, into the result; what to note of the views."""
    fused, notes = joined(scores, videos)
    if not fused:
        return []
    limit = joined_threshold(model, {video.view for video in videos}, alarms_per_hour)
    pipeline.save_scores(result.folder / JOINED, fused, limit, made)
    result.threshold, result.files = limit, [*result.files, f"{JOINED}/"]
    found = (find_events(s, limit.value, fps_of(s)) for s in fused.values())
    result.events = [event for each in found for event in each]
    return [f"{JOINED}: the views of each recording; their own are in {result.folder}", *notes]


def nothing_scored(source: str, reasons: list[str]) -> InputError:
    """The first reason, and how many more there are."""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return InputError(f"{source}: nothing could be scored: {reasons[0]}{more}")


def scores_folder(model_path: Path, source: str) -> Path:
    """Where the scores of a source go in a run: one folder each, never that of another source."""
    run_folder = Path(model_path)
    if (run_folder / "card.json").is_file():  # the model's own folder is replaced when extended
        run_folder = run_folder.resolve().parent
    path = Path(source).expanduser()
    name = safe(path.resolve().name if path.is_dir() else path.stem)
    for number in count(1):
        folder = run_folder / "scores" / (name if number == 1 else f"{name}-{number}")
        if not (folder / "run.json").is_file():
            return folder
        if bundle.read_json(folder / "run.json").get("source") == source:
            return folder
    raise AssertionError("numbers end")


def evaluate_source(
    what: Path,
    data: str,
    *,
    root: Path | None = None,
    split: str | None = None,
    view: str | None = None,
    as_live: bool = False,
    report: Path | None = None,
    features: Path | None = None,
    weights: Path | None = None,
    cache: Path | None = None,
    progress: Progress = quiet,
) -> Report:
    """Measure a model or saved scores on a test part; with `report`, write page and pictures."""
    opened = open_data(data, root, split=split, view=view, progress=progress)
    test, name = opened.test, opened.name + (f" {opened.variant}" if opened.variant else "")
    peaks: dict[str, list[Peak]] = {}
    model: Model | Ensemble | None = None
    notes: list[str] = []
    if (what / tables.FRAMES).is_file():
        scores = tables.read(what)
    elif what.suffix in puzzle_files.SUFFIXES:
        if report:
            raise InputError(f"{what}: no threshold came with it, so there is no --report of it")
        scores = puzzle_files.read_saved(what, test)
    else:
        model = ensembles.load(what, cache)
        how: Any = dict(as_live=as_live, peaks=peaks if report else None)
        rest = (features, weights, None, progress, how)
        scores, _, notes = scored(model, what, list(test), *rest)
    found = pipeline.evaluate(scores, test, data=name)
    found = replace(found, notes=(*found.notes, *pipeline.gathered(notes)))
    if not found.made["videos"]:
        raise InputError("; ".join(found.notes[:1]) or f"{data}: the test part holds no video")
    if report:
        limit = threshold_of(model) if model else saved_threshold(what)
        page = evaluation_page(model, scores, test, limit, peaks, found, opened.train)
        write_report(report, page)
    return found


def saved_threshold(folder: Path) -> Threshold:
    """The threshold that saved scores were judged by."""
    data = bundle.read_json(folder / "run.json")
    return Threshold(**data["threshold"])


def show_video(
    folder: Path,
    name: str,
    *,
    against: Path | None = None,
    frame: int | None = None,
    data: str | None = None,
    root: Path | None = None,
    out: Path | None = None,
) -> Path:
    """The curve of one video as a PNG; with `frame`, that frame's picture beside it."""
    video_name = open_video(name).name if Path(name).exists() else name
    path, scores = find_scores(folder, video_name)
    other = find_scores(against, video_name)[1] if against else None
    limit = saved_threshold(path)
    opened = open_data(data, root) if data else None
    truth = opened.test.truth(video_name) if opened else None
    events = find_events(scores, limit.value, fps_of(scores))
    out = out or path / f"{safe(video_name)}.png"
    names = (folder.resolve().name, against.resolve().name) if against else ("", "")
    curve_png(out, scores, truth, events, limit.value, other, frame, names)
    if frame is not None:
        video = find_video(name, video_name, opened.test if opened else None)
        write_frame(
            out.with_name(f"{out.stem}-frame{frame}.png"), video, scores, frame, limit.value
        )
    return out


def find_scores(folder: Path, name: str) -> tuple[Path, Scores]:
    """The scores of one video in a folder of scores, or in the newest of a run that has it."""
    places = [folder, *(p.parent for p in folder.glob(f"{JOINED}/{tables.FRAMES}"))]
    if not (folder / tables.FRAMES).is_file():
        found = sorted(folder.glob(f"scores/**/{tables.FRAMES}"), key=lambda p: p.stat().st_mtime)
        places = [path.parent for path in reversed(found)]
    if not places:
        raise InputError(f"{folder}: no scores here; run `vigil score {folder} VIDEO` first")
    known: set[str] = set()
    for place in places:
        scores = tables.read(place)
        if name in scores:
            return place, scores[name]
        known |= set(scores)
    raise unknown("video", name, known)


def find_video(given: str, name: str, test: TestSplit | None) -> Video:
    """The video whose frame is wanted: the file that was named, or one of the data set."""
    if Path(given).exists():
        return open_video(given)
    for video in test or ():
        if video.name == name:
            return video
    raise InputError(f"{name}: give the video's path, or --data, so that its frames can be read")


def write_frame(path: Path, video: Video, scores: Scores, frame: int, limit: float) -> None:
    """One frame with what fired in it."""
    if not 0 <= frame < len(scores):
        raise InputError(f"frame {frame}: {video.name} has frames 0..{len(scores) - 1}")
    image = next(f.image for n, f in enumerate(video.frames()) if n == frame)
    score = float(scores.smoothed[frame])
    marks = marks_at(scores, frame, limit)
    painted = draw(image, marks, score=score, threshold=limit, size=video.size)
    with writing(path) as new:
        new.write_bytes(cv2.imencode(".png", painted[..., ::-1])[1].tobytes())


def demo(out: Path, *, scale: float = 1.0, seed: int = 0, progress: Progress = quiet) -> Report:
    """The whole road once: street, nearest, scores, evaluation, report."""
    make_data("street", out / "data", seed=seed, scale=scale, progress=progress)
    data = pipeline.dataset("street", out / "data", seed=seed, scale=scale)
    if (out / "model").is_dir():
        model = bundle.load(out)
    else:
        model = pipeline.fit(
            pipeline.method("nearest"), data.train, data.val, out, progress=progress
        )
    peaks: dict[str, list[Peak]] = {}
    scores = pipeline.score_all(model, data.test, peaks=peaks, progress=progress)
    limit = threshold_of(model)
    pipeline.save_scores(out / "scores", scores, limit, {"card": model.card})
    found = pipeline.evaluate(scores, data.test, data="street")
    progress("report", 0, 1)
    write_report(out, evaluation_page(model, scores, data.test, limit, peaks, found))
    progress("report", 1, 1)
    return found
