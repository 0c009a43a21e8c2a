"""A network's answers to the puzzles of `jigsaw`, kept, and the ways from them to frame scores.

What a network answers to a cube, or a clip, does not depend on what is made of it afterwards. So
it is asked once, and min against mean, smoothing, alignment and the like are then a matter of
seconds. `Way()` is what `vigil score` does with objects = "frame", to the last bit that matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vigil.bundle import Model
from vigil.files import writing
from vigil.methods._jigsaw_memory import NEIGHBOURS, sheet
from vigil.methods._layers import nearest
from vigil.methods.jigsaw import CHANNELS, LEVELS
from vigil.records import Scores, Video
from vigil.scores.calibrate import Surprise
from vigil.scores.calibrate import fit as fit_surprise
from vigil.scores.jigsaw_protocols import anomaly, frame_curve
from vigil.scores.smooth import smooth
from vigil.train.batches import bags

CUBES = 32  # asked at once
SMOOTHING = "causal:0.2s"
Curves = dict[str, np.ndarray]  # {video: ...}


class Answer(NamedTuple):
    """Of one video at one level, one row a start frame: log-probabilities of every value."""

    time: np.ndarray  # (N, rows, M)
    place: np.ndarray  # (N, 9, 9)


@dataclass(frozen=True)
class Kept:
    """All answers of one trained model.

    parts    {"train" | "val" | "test": {video: {level: Answer}}}; of "train" every third start
    lengths  {part: {video: frames}};  right  {level: (rows,) the right answers of the time puzzle}
    """

    parts: Mapping[str, Mapping[str, Mapping[str, Answer]]]
    lengths: Mapping[str, Mapping[str, int]]
    right: Mapping[str, np.ndarray]
    played: tuple[str, ...]  # "place", "time" or both
    frames: int
    clips: int
    fps: float


@dataclass(frozen=True)
class Way:
    """From answers to scores; the defaults are those of `jigsaw` for the whole picture.

    answer   the frame that a clip answers for: the middle of its "last" or "first" cube, its
             "centre", or "all" of its frames, each the mean of the clips that hold it
    common   each channel, and each level, on the scale of normal footage before they are joined
    """

    levels: str = "frame,clip"
    puzzles: tuple[str, ...] = ("place", "time")
    rows: str = "worst"  # mean
    scale: str = "log"  # probability
    against: str = "truth"  # normal
    answer: str = "last"
    persist: float = 0.25  # seconds
    common: bool = True


# -- asking --------------------------------------------------------------------------------------
@torch.no_grad()
def asked(model: Model, video: Video, step: int = 1) -> dict[str, Answer]:
    """The answers to every `step`-th cube and clip of a video."""
    method: Any = model.method.eval()
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in method.windows}
    for units in bags(method, model.providers, [video], model.fps):
        for part in units.x[units.window][::step].split(CUBES):
            answers = method.answers(method.coloured(part), units.window)
            none, (spatial, temporal) = torch.zeros(len(part), 0, 0), CHANNELS[units.window]
            each = answers.get(temporal, none), answers.get(spatial, none)
            found[units.window].append((each[0].numpy(), each[1].numpy()))
    return {
        level: Answer(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        for level, parts in found.items()
    }


def save(path: Path, parts: Mapping[str, Mapping[str, Mapping[str, Answer]]]) -> None:
    """All answers as one .npz, whole or not at all."""
    arrays = {
        f"{part}|{video}|{level}|{kind}": values
        for part, videos in parts.items()
        for video, levels in videos.items()
        for level, answer in levels.items()
        for kind, values in answer._asdict().items()
    }
    with writing(path) as new, new.open("wb") as file:
        np.savez(file, **arrays)


def load(path: Path, method: Any, fps: float) -> Kept:
    """What `save` wrote of a fitted `jigsaw`; only its settings are looked at."""
    parts: dict[str, dict[str, dict[str, Answer]]] = {}
    with np.load(path) as data:
        for key in data.files:
            part, video, level, kind = key.split("|")
            if kind == "time":
                answer = Answer(data[key], data[f"{part}|{video}|{level}|place"])
                parts.setdefault(part, {}).setdefault(video, {})[level] = answer
    c, first = method.config, next(iter(method.windows))
    span = method.windows[first].length - 1
    lengths = {
        part: {video: len(levels[first].time) + span for video, levels in parts[part].items()}
        for part in ("val", "test")  # names are those of their part alone
    }
    unplayed = torch.empty(0, dtype=torch.int64)
    right = {
        level: method.right(level).get(CHANNELS[level][1], unplayed).numpy()
        for level in method.windows
    }
    played = {"place": ("place",), "time": ("time",)}.get(c.shuffle, ("place", "time"))
    return Kept(parts, lengths, right, played, c.frames, c.clips, fps)


# -- answers to raw scores -----------------------------------------------------------------------
def raw(kept: Kept, part: str, level: str, puzzle: str, way: Way) -> Curves:
    """{video: (N,)} raw scores of one channel, higher = odder."""
    tables = {
        video: np.asarray(getattr(levels[level], puzzle))
        for video, levels in kept.parts[part].items()
    }
    if way.against == "normal":
        known = sheets(getattr(a[level], puzzle) for a in kept.parts["train"].values())
        return {video: far(sheets([table]), known) for video, table in tables.items()}
    right = kept.right[level] if puzzle == "time" else np.arange(9)
    return {video: told(table, right, way) for video, table in tables.items()}


def told(table: np.ndarray, right: np.ndarray, way: Way) -> np.ndarray:
    """(N, rows, M) log-probabilities to (N,): how little the right answers were expected."""
    odds = -table[:, np.arange(len(right)), right]  # (N, rows)
    odds = odds if way.scale == "log" else 1 - np.exp(-odds)
    return np.asarray(odds.max(1) if way.rows == "worst" else odds.mean(1))


def sheets(tables: Iterable[np.ndarray]) -> torch.Tensor:
    """Whole answers as rows (N, D)."""
    return torch.cat([sheet(torch.from_numpy(table)) for table in tables])


def far(rows: torch.Tensor, known: torch.Tensor) -> np.ndarray:
    """(N,) mean distance to the nearest normal answers."""
    return np.asarray(nearest(rows, known, NEIGHBOURS)[0].mean(1))


# -- raw scores to frames ------------------------------------------------------------------------
def level_curves(kept: Kept, level: str, way: Way) -> tuple[Curves, Curves]:
    """{video: (T,)} of one level for "val" and "test", NaN where it does not answer; on the scale
    of normal footage if `common`."""
    puzzles = [puzzle for puzzle in kept.played if puzzle in way.puzzles]
    each: dict[str, list[Curves]] = {"val": [], "test": []}
    for puzzle in puzzles:
        found = {part: raw(kept, part, level, puzzle, way) for part in each}
        usual = surprise(found["val"]) if way.common else None
        for part, curves in found.items():
            each[part].append({v: usual(c) if usual else c for v, c in curves.items()})
    val, test = (
        {
            video: on_frames(kept, length, level, np.mean([c[video] for c in curves], 0), way)
            for video, length in kept.lengths[part].items()
        }
        for part, curves in each.items()
    )
    if not way.common:
        return val, test
    usual = surprise(val)
    return {v: usual(c) for v, c in val.items()}, {v: usual(c) for v, c in test.items()}


def surprise(curves: Curves) -> Surprise:
    """The scale of normal footage."""
    values = np.concatenate(list(curves.values()))
    return fit_surprise(values[np.isfinite(values)])


def on_frames(kept: Kept, length: int, level: str, units: np.ndarray, way: Way) -> np.ndarray:
    """(N,) of units in order to (T,) of frames: averaged along time, then put where they answer."""
    if way.persist:
        units = earned(units, way.persist * kept.fps)
    half = kept.frames // 2
    span = kept.frames * (kept.clips if level == "clip" else 1)
    if level == "clip" and way.answer == "all":
        covered = np.convolve(np.ones(len(units)), np.ones(span))
        return np.asarray(np.convolve(units, np.ones(span)) / covered)
    places = {"last": span - 1 - half, "centre": span // 2, "first": half}
    first = places[way.answer] if level == "clip" else half
    curve = np.full(length, np.nan)
    curve[first : first + len(units)] = units
    return curve


def earned(values: np.ndarray, tau: float) -> np.ndarray:
    """The causal mean of `vigil.scores.tubes` along one thing that is always there."""
    gain, state, out = 1 - np.exp(-1 / tau), 0.0, np.empty(len(values))
    for n, value in enumerate(values):
        state += gain * (value - state)
        out[n] = state
    return out


def joined(levels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(T,) mean of the levels that answer each frame, and (T,) bool where none has answered yet.
    After the last answers these are held."""
    rows = np.stack(levels)  # (levels, T)
    there = np.isfinite(rows)
    some = there.any(0)
    mean = np.where(there, rows, 0).sum(0) / np.maximum(there.sum(0), 1)
    first, last = np.flatnonzero(some)[[0, -1]]
    mean[last + 1 :] = np.mean([row[np.isfinite(row)][-1] for row in rows])
    return mean, np.arange(len(mean)) < first


def scores(kept: Kept, way: Way, how: str = SMOOTHING) -> dict[str, Scores]:
    """The scores of the test videos."""
    names = [name for name in LEVELS[way.levels] if name in kept.right]
    levels = [level_curves(kept, name, way) for name in names]
    val, test = (
        {video: joined([curves[part][video] for curves in levels]) for video in levels[0][part]}
        for part in (0, 1)
    )
    usual = surprise({video: curve[~warm] for video, (curve, warm) in val.items()})
    return {
        video: as_scores(video, usual(curve), warm, kept.fps, how)
        for video, (curve, warm) in test.items()
    }


def papers(kept: Kept, levels: str = "frame,clip") -> dict[str, Scores]:
    """By the rule of the papers: probabilities, a clip at its first cube's middle, each video
    scaled by its own extremes, mean over 43 frames, Gaussian over 49."""
    names = [name for name in LEVELS[levels] if name in kept.right]
    found = {}
    for video, length in kept.lengths["test"].items():
        each = []
        for puzzle in kept.played:
            way = Way(scale="probability", answer="first", persist=0)
            rows = np.stack(
                [
                    on_frames(kept, length, name, raw(kept, "test", name, puzzle, way)[video], way)
                    for name in names
                ]
            )  # (levels, T)
            line = 1 - joined(list(rows))[0]
            frames = np.flatnonzero(np.isfinite(rows).any(0))
            each.append(frame_curve(line[frames], frames, len(line)))
        curve = anomaly(np.mean(each, 0))
        found[video] = as_scores(video, curve, np.zeros(len(curve), bool), kept.fps, "none")
    return found


def as_scores(video: str, score: np.ndarray, warm: np.ndarray, fps: float, how: str) -> Scores:
    """The record that metrics read."""
    n = np.arange(len(score))
    made = {"smoothing": how, "as_live": False, "method": "jigsaw", "fps": fps}
    return Scores(video, score, smooth(score, how, fps), {}, n / fps, n, warm, made=made)
