"""The verbs: fit, extend, score, evaluate. Wires the rooms together; holds no mathematics."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vigil import bundle, plugins, run
from vigil.bundle import Model
from vigil.config import FitConfig, fit_config
from vigil.data.base import DataSet, Split, TestSplit
from vigil.errors import ConfigError, InputError, VigilError, unknown
from vigil.files import writing
from vigil.methods.base import Method
from vigil.records import Report, Scores, Video
from vigil.run import Peak
from vigil.scores import tables
from vigil.scores.events import Threshold, find_events
from vigil.train.batches import Samples, bags
from vigil.train.loop import train as train_loop

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


def quiet(what: str, done: int, of: int) -> None:
    """Progress nobody asked for."""


# -- making things by name ------------------------------------------------------------------------
def dataset(name: str, root: Path | str | None = None, **options: Any) -> DataSet:
    """A data set by name or alias; the root from the argument, VIGIL_DATA or the user file."""
    from vigil.data.catalog import open_dataset

    return open_dataset(name, Path(root).expanduser() if root else None, **options)


def method(name: str, *, seed: int = 0, base: Model | None = None, **keys: Any) -> Method:
    """A fresh method by name; keywords are its `Config`, unknown ones are refused."""
    kind = plugins.find("methods", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: Method = kind(base=base.method if base else None, **keys)
    made.name = name
    return made


# -- fit ------------------------------------------------------------------------------------------
def fit(
    method: Method,
    train: Split | Iterable[Video],
    val: Split | Iterable[Video] | None = None,
    out: Path | str | None = None,
    *,
    ignore: np.ndarray | None = None,
    resume: bool = False,
    progress: Progress = quiet,
    **keys: Any,
) -> Model:
    """Learn from training videos; the run's folder `out` then holds the model and its history.

    val     normal footage for calibration and for choosing weights; None = a share of `train`
    ignore  (H, W) bool, True where nothing is ever looked at
    keys    `FitConfig`: steps, batch, lr, seed, smoothing, alarms_per_hour, ...
    """
    config = fit_config(keys)
    folder = Path(out or Path("runs") / f"{method.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    claim(folder, resume)
    learn, held = list(train), list(val) if val is not None else []
    if not learn:
        raise InputError("fit: no training video")
    if not held:
        learn, held = split(learn, config.val_share)
    normal = [video for video in learn if video.label != "anomalous"]
    if not normal:
        raise InputError("fit: every training video is labelled anomalous; some must be normal")
    method.scenes = tuple(sorted({video.scene for video in learn}))
    model = Model(method.name, method, bundle.make_providers(method), ignore=ignore)
    model.card = make_card(method, learn, held, config)
    for role, provider in model.providers.items():
        progress(f"{role}: learn", 0, 1)
        provider.fit(normal)
    method.prepare(watched(bags(method, model.providers, normal, model.fps, ignore), progress))
    if method.optimizers():
        run_training(model, learn, held, config, folder, resume, progress)
    finish(model, held, config, folder, progress)
    return model


def claim(folder: Path, resume: bool) -> None:
    """Make the run's folder, or refuse one that holds another run."""
    if (folder / "model").exists() and not resume:
        raise ConfigError(f"{folder} already holds a model; choose another --out, or --resume")
    with writing(folder / "run.json") as path:  # also finds out now whether it can be written
        path.write_text(json.dumps({"started": time.strftime("%Y-%m-%dT%H:%M:%S")}))


def watched(pieces: Iterable[Any], progress: Progress) -> Iterator[Any]:
    """Pass units through, telling how many went by."""
    count = 0
    for units in pieces:
        count += len(units)
        progress("prepare: units", count, 0)
        yield units


def run_training(
    model: Model,
    learn: list[Video],
    held: list[Video],
    config: FitConfig,
    folder: Path,
    resume: bool,
    progress: Progress,
) -> None:
    """The gradient part of a fit."""

    def samples(videos: list[Video], name: str) -> Samples:
        cache = folder / "cache" / name
        return Samples(
            model.method, model.providers, videos, model.fps, cache,
            config.seed, config.batch, model.ignore,
        )  # fmt: skip

    def tell(step: int, steps: int, terms: Mapping[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in terms.items())
        progress(f"train: {shown}", step, steps)

    weak = model.method.supervision == "normal"
    mine = [v for v in learn if v.label != "anomalous"] if weak else learn
    val = None
    try:
        val = samples(held, "val")
    except InputError:
        if weak:
            raise
        # a weak or scene method may have no held-out video of every kind: then the last weights
    train_loop(model.method, samples(mine, "train"), val, config, folder, tell, resume)


def finish(
    model: Model, held: list[Video], config: FitConfig, folder: Path, progress: Progress
) -> None:
    """Calibrate on held-out normal footage and save."""
    normal = [video for video in held if video.label != "anomalous"]

    def each() -> Iterator[Video]:
        for n, video in enumerate(normal):
            progress("calibrate: videos", n, len(normal))
            yield video

    model.method.eval()
    model.calibration = run.calibrate(model, each(), config.smoothing, config.alarms_per_hour)
    progress("calibrate: videos", len(normal), len(normal))
    bundle.save(model, folder / "model")


def split(videos: list[Video], share: float) -> tuple[list[Video], list[Video]]:
    """Training and validation parts: whole videos of each scene and label, evenly picked; where a
    scene has fewer than four, the last part of each of its videos."""
    from vigil.video.read import count_frames, part

    groups: dict[tuple[str, str], list[Video]] = {}
    for video in videos:
        groups.setdefault((video.scene, video.label), []).append(video)
    learn: list[Video] = []
    held: list[Video] = []
    for group in groups.values():
        if len(group) >= 4:
            every = max(round(1 / share), 2)
            held += group[every - 1 :: every]
            learn += [video for n, video in enumerate(group) if n % every != every - 1]
            continue
        for video in group:
            seconds = count_frames(video) / video.fps
            cut = seconds * (1 - share)
            learn.append(part(video, 0.0, cut))
            held.append(part(video, cut, float("inf")))
    return learn, held


def make_card(
    method: Method, learn: list[Video], held: list[Video], config: FitConfig
) -> dict[str, Any]:
    """Where a model comes from."""
    first = learn[0]
    return {
        "seed": config.seed,
        "fps": config.fps or float(np.median([video.fps for video in learn])),
        "size": list(first.size),
        "smoothing": config.smoothing,
        "train": [video.name for video in learn],
        "val": [video.name for video in held],
        "data_hash": data_hash([*learn, *held]),
        "torch": torch.__version__,
        "engine": "torch",
        "dtype": "float32",
        "licence": "the weights follow the licence of the training footage",
        "cite": (type(method).__doc__ or "").partition("cite")[2].strip(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def data_hash(videos: list[Video]) -> str:
    """What a model was fitted on: names, rates, sizes and first frames."""
    digest = hashlib.sha256()
    for video in videos:
        frames = video.frames(64)
        picture = next(frames, None)
        crc = zlib.crc32(picture.image.tobytes()) if picture else 0
        digest.update(f"{video.name}|{video.fps:.6g}|{video.size}|{video.label}|{crc}".encode())
    return digest.hexdigest()


def extend(
    model: Model,
    videos: Iterable[Video],
    out: Path | str,
    progress: Progress = quiet,
) -> Model:
    """More normal footage for a fitted model, without starting over.

    The last part of the new footage is held out; the thresholds then stand on the scores of the
    old held-out footage (which can only have become lower) and of the new.
    """
    old = model.calibration
    if old is None:
        raise ConfigError("this model was never calibrated; fit it first")
    learn, held = split(list(videos), share=0.25)
    pieces = bags(model.method, model.providers, learn, model.fps, model.ignore)
    model.method.extend(watched(pieces, progress))
    new = run.calibrate(model, held, old.smoothing, old.alarms_per_hour)
    model.calibration = old.merged(new)
    model.card["extended"] = [*model.card.get("extended", []), *(video.name for video in learn)]
    bundle.save(model, Path(out) / "model")
    return model


# -- score ----------------------------------------------------------------------------------------
def score_all(
    model: Model,
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
                model, video, as_live=as_live, smoothing=smoothing, peaks=mine
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


def score(model: Model, source: Video | Path | str, **options: Any) -> Scores:
    """Scores of one video: a `Video`, or the path of a file or of a folder of pictures."""
    from vigil.video.read import open_video

    video = source if isinstance(source, Video) else open_video(source)
    return run.score_video(model, video, **options)


def remarks(model: Model, video: Video) -> list[str]:
    """What a person should know before trusting scores of this video."""
    found = []
    if abs(video.fps / model.fps - 1) >= 0.02:
        found.append(
            f"{video.name}: {video.fps:g} frames a second, the model was fitted at {model.fps:g}; "
            "time is resampled"
        )
    fitted = tuple(model.card.get("size", video.size))
    if tuple(video.size) != fitted:
        found.append(
            f"{video.name}: {video.size[1]}x{video.size[0]} pixels, the model was fitted at "
            f"{fitted[1]}x{fitted[0]}; another camera may need a model of its own"
        )
    if model.method.scenes not in ((), ("",)) and video.scene not in model.method.scenes:
        found.append(f"{video.name}: scene {video.scene!r} was never seen in training")
    return found


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
    import csv

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


# -- evaluate -------------------------------------------------------------------------------------
def evaluate(
    what: Model | Mapping[str, Scores],
    test: TestSplit,
    *,
    data: str = "",
    as_live: bool = False,
    progress: Progress = quiet,
) -> Report:
    """Measure a model, or scores already made, against the truth of a test part."""
    from vigil.metrics.report import evaluate as measure

    scores = what
    if isinstance(what, Model):
        scores = score_all(what, test, as_live=as_live, progress=progress)
    assert isinstance(scores, Mapping)
    name = next((str(s.made.get("method", "scores")) for s in scores.values()), "scores")
    return measure(scores, test, data=data, method=name)


def find_source(source: str, root: Path | str | None = None) -> list[Video]:
    """Videos of a path (a file, a folder of videos, a folder of pictures) or of a data set's test
    part."""
    from vigil.video.read import find_videos, open_video

    path = Path(source).expanduser()
    if path.is_dir():
        inside = find_videos(path)
        return [open_video(found) for found in inside] if inside else [open_video(path)]
    if path.exists() or "://" in source or path.suffix:
        return [open_video(source)]
    if source in plugins.names("data") or source in plugins.ALIASES:
        return list(dataset(source, root).test)
    raise unknown("video, folder or data set", source, plugins.names("data"))
