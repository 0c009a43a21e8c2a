"""`fit` and `extend`: training videos to a model. No argument takes test data."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vigil import bundle, plugins, run
from vigil.bundle import Model
from vigil.config import FitConfig, first_process, fit_config
from vigil.data.base import Split
from vigil.engaged import engage
from vigil.errors import ConfigError, InputError
from vigil.extraction import check_features, kind_of
from vigil.features.store import StoredRows
from vigil.files import writing
from vigil.methods.base import Method
from vigil.records import Video
from vigil.sources import Progress, quiet
from vigil.train.batches import Samples, bags
from vigil.train.loop import train as train_loop
from vigil.video.read import count_frames, part

LOG = logging.getLogger("vigil")


def method(name: str, *, seed: int = 0, base: Model | None = None, **keys: Any) -> Method:
    """A fresh method by name; keywords are its `Config`, unknown ones are refused."""
    kind = plugins.find("methods", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: Method = kind(base=base.method if base else None, **keys)
    made.name = name
    return made


def fit(
    method: Method,
    train: Split | Iterable[Video],
    val: Split | Iterable[Video] | None = None,
    out: Path | str | None = None,
    *,
    ignore: np.ndarray | None = None,
    cache: Path | None = None,
    resume: bool = False,
    progress: Progress = quiet,
    **keys: Any,
) -> Model:
    """Learn from training videos; the run's folder `out` then holds the model and its history.

    val     normal footage for calibration and for choosing weights; None = a share of `train`
    ignore  (H, W) bool, True where nothing is ever looked at
    cache   a folder where boxes, flow and segmentation are kept for the next run; None = nowhere
    keys    `FitConfig`: steps, batch, lr, seed, smoothing, alarms_per_hour, ...
    """
    config = fit_config(keys)
    folder = Path(out or new_run(method.name))
    learn, held = list(train), list(val) if val is not None else []
    if not learn:
        raise InputError(
            "fit: no training video; a folder of your own says what to learn from in its "
            "vigil.toml (`vigil data init FOLDER`)"
        )
    claim(folder, resume, run_facts(method, learn, held, config))
    if not held:
        learn, held = split(learn, config.val_share, method.supervision == "scene")
    normal = [video for video in learn if video.label != "anomalous"]
    if not normal:
        raise InputError("fit: every training video is labelled anomalous; some must be normal")
    method.scenes = tuple(sorted({video.scene for video in usable(method, learn)}))
    model = Model(method.name, method, bundle.make_providers(method, cache), ignore=ignore)
    model.card = make_card(method, learn, held, config)
    if made := kind_of(learn):
        model.card["features"] = made
        check_features(model, [*learn, *held])
    for role, provider in model.providers.items():
        progress(f"{role}: learn", 0, 1)
        provider.fit(normal)
        progress(f"{role}: learn", 1, 1)
    method.prepare(watched(bags(method, model.providers, normal, model.fps, ignore), progress))
    if method.optimizers():
        run_training(model, learn, held, config, folder, resume, progress)
    if first_process():
        finish(model, held, config, folder, progress)
    return model


def claim(folder: Path, resume: bool, facts: Mapping[str, Any]) -> None:
    """Make the run's folder, or refuse one that holds another run; `facts` go into run.json."""
    if not resume and ((folder / "model").exists() or (folder / "card.json").exists()):
        raise ConfigError(f"{folder} already holds a model; choose another --out, or --resume")
    if not first_process():
        return
    with writing(folder / "run.json") as path:  # also finds out now whether it can be written
        path.write_text(json.dumps(facts, indent=2), encoding="utf-8")


def run_facts(
    method: Method, learn: list[Video], held: list[Video], config: FitConfig
) -> dict[str, Any]:
    """What was asked for, and where the data lay."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "method": method.name,
        "keys": {**asdict(method.config), **asdict(config)},
        "train": {video.name: video.source for video in learn},
        "val": {video.name: video.source for video in held},
    }


def new_run(name: str) -> Path:
    """A folder for a run nobody named. ConfigError for several processes, which need one name."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("several processes fit one model: say with --out where it goes")
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


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

    learn, held = usable(model.method, learn), usable(model.method, held)
    val = samples(held, "val") if drawable(model.method, held) else None
    if val is None:
        LOG.warning("no held-out video of every kind to validate on: the last weights are kept")
    train = samples(learn, "train")
    train_loop(model.method, train, val, config, folder, tell, resume)


def usable(method: Method, videos: list[Video]) -> list[Video]:
    """The videos that a method trains on: the normal ones, unless it learns from labels."""
    labels = method.supervision == "video-label"
    return videos if labels else [video for video in videos if video.label != "anomalous"]


def drawable(method: Method, videos: list[Video]) -> bool:
    """Whether a validation batch can be drawn: every label, or every scene, must be there."""
    if method.supervision == "video-label":
        return {video.label for video in videos} >= {"normal", "anomalous"}
    if method.supervision == "scene":
        return {video.scene for video in videos} >= set(method.scenes)
    return any(video.label != "anomalous" for video in videos)


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
    seen = bags(model.method, model.providers, normal, model.fps, model.ignore)
    model.card["engines"] = engage(model.method, seen, config.engine, config.dtype)
    model.calibration = run.calibrate(model, each(), config.smoothing, config.alarms_per_hour)
    progress("calibrate: videos", len(normal), len(normal))
    bundle.save(model, folder / "model")


def calibrate_again(model: Model, normal: list[Video], folder: Path) -> None:
    """Give a model that came without one a calibration from normal footage; saved in `folder`."""
    normal, config = [video for video in normal if video.label != "anomalous"], fit_config({})
    if made := kind_of(normal):
        model.card["features"] = made
    model.method.eval()
    model.calibration = run.calibrate(model, normal, config.smoothing, config.alarms_per_hour)
    bundle.save(model, folder)


def split(
    videos: list[Video], share: float, keep_scenes: bool = False
) -> tuple[list[Video], list[Video]]:
    """Training and validation parts: whole videos of each scene and label, evenly picked; where a
    scene has fewer than four, the last part of each of its videos.

    Anomalous videos are never cut, as nobody knows which part holds the anomaly, nor are videos
    with features on disk; those of small scenes are picked from together, with `keep_scenes` from
    each by itself, so that none is held out whole.
    """
    groups: dict[tuple[str, str], list[Video]] = {}
    for video in videos:
        groups.setdefault((video.scene, video.label), []).append(video)
    learn: list[Video] = []
    held: list[Video] = []
    whole: dict[Any, list[Video]] = {}  # by label: of small scenes, not to be cut
    for group in groups.values():
        if len(group) >= 4:
            pick(group, share, learn, held)
            continue
        for video in group:
            if video.label == "anomalous" or has_rows(video):
                kind = (video.scene, video.label) if keep_scenes else video.label
                whole.setdefault(kind, []).append(video)
                continue
            seconds = count_frames(video) / video.fps
            cut = seconds * (1 - share)
            learn.append(part(video, 0.0, cut))
            held.append(part(video, cut, float("inf")))
    for group in whole.values():
        pick(group, share, learn, held)
    if keep_scenes and not held:
        raise InputError(
            f"fit: {len(videos)} videos of {len(groups)} scenes, none of which can be held out: "
            "give a second video of a scene, or normal footage with --val"
        )
    return learn, held


def has_rows(video: Video) -> bool:
    """Whether rows of features on disk stand for the video."""
    return isinstance(video.given.get("features"), StoredRows)


def pick(group: list[Video], share: float, learn: list[Video], held: list[Video]) -> None:
    """Hold every n-th video out, n = 1 / share; of two or three the last one, of one none."""
    every = max(round(1 / share), 2)
    every = min(every, len(group)) if len(group) > 1 else every
    held += group[every - 1 :: every]
    learn += [video for n, video in enumerate(group) if n % every != every - 1]


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
        # a video with features on disk need not be here itself
        picture = None if has_rows(video) else next(video.frames(64), None)
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
    folder = Path(out)  # a run's folder, or a model's own
    bundle.save(model, folder if (folder / "card.json").is_file() else folder / "model")
    return model
