"""Scores that the jigsaw projects saved: a pickle of {video: {frame: [[s, t], ...]}}.

s and t are regularities in 0..1, high = normal, one pair an object; frames are those at the middle
of a cube, so as many are missing at both ends as the cube is long (any length) less its half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vigil.data.dad import short_name
from vigil.data.recordings import without_view
from vigil.errors import InputError
from vigil.files import load_pickle
from vigil.records import Scores, UnitTable, Video
from vigil.video.read import count_frames

SUFFIXES = (".pkl", ".pickle")
PAIR = ("spatial", "temporal")
FORM = "{video: {frame: [[s, t], ...]}} with s and t in 0..1"


def read_saved(path: Path, videos: Iterable[Video]) -> dict[str, Scores]:
    """{video name: scores} of exactly these videos; nothing in the file is ever run.

    A video goes by its name, without its view, or by the name it has in a DAD_Jigsaw tree.
    `InputError` where a video is missing, too many are there, or a frame is none of its video.
    """
    found = load_pickle(path)
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise InputError(f"{path}: expected {FORM}")
    found, taken = {str(key): value for key, value in found.items()}, dict[str, str]()
    scores = {}
    for video in videos:
        key = next((name for name in names_of(video) if name in found), None)
        if key is None:
            raise InputError(f"{path}: no scores of {video.name}; it has {', '.join(found)[:200]}")
        if key in taken:
            raise InputError(
                f"{path}: {key} is both {taken[key]} and {video.name}; such a file holds one view, "
                "so say which with --view"
            )
        taken[key] = video.name
        frames, values = rows_of(found[key], f"{path}, {key}")
        scores[video.name] = as_scores(video, frames, values, f"{path}, {key}")
    if extra := sorted(set(found) - set(taken)):
        raise InputError(f"{path}: scores of {extra[0]}, which is no video of the test part")
    return scores


def names_of(video: Video) -> list[str]:
    """What a video may be called in such a file."""
    plain = without_view(video.name, video.view)
    return [video.name, plain, short_name(plain)]


def rows_of(frames: Mapping[Any, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) frame and (N, 2) s and t of every object, in the order of frames."""
    try:
        numbers = sorted((int(frame), frame) for frame in frames)
        pairs = [np.asarray(frames[f], np.float64).reshape(-1, 2) for _, f in numbers]
    except (TypeError, ValueError):
        raise InputError(f"{where}: expected {FORM}") from None
    values = np.concatenate([np.zeros((0, 2)), *pairs])
    at = np.repeat([number for number, _ in numbers], [len(pair) for pair in pairs])
    wrong = ~((values >= 0) & (values <= 1)).all(1)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{where}: {values[row].tolist()} at frame {at[row]}; expected {FORM}")
    return at.astype(np.int64), values


def as_scores(video: Video, frames: np.ndarray, values: np.ndarray, where: str) -> Scores:
    """Anomaly 1 - s, 1 - t and their mean, of the most anomalous object of each frame; 0 where
    there is none. The table of units holds every pair as `jigsaw` leaves it, in logarithms."""
    length = count_frames(video)
    if len(frames) and not 0 <= frames.min() <= frames.max() < length:
        raise InputError(f"{where}: frame {frames.max()}, but the video has {length} frames")
    odd = np.zeros((length, 2))  # (T, 2)
    np.maximum.at(odd, frames, 1 - values)
    score, known = odd.mean(1), np.zeros(length, bool)
    known[frames] = True
    with np.errstate(divide="ignore"):
        raw = np.minimum(-np.log(values), 700.0)  # exp(-700) is as good as 0
    height, width = video.size
    units = UnitTable(
        window=np.full(len(frames), "cube", object), first=frames, stop=frames + 1,
        seen_stop=frames + 1, box=np.tile([0.0, 0.0, width, height], (len(frames), 1)),
        score=1 - values.mean(1), channels=dict(zip(PAIR, raw.T, strict=True)),
    )  # fmt: skip
    made = {"smoothing": "none", "as_live": False, "method": "jigsaw, saved", "fps": video.fps}
    time = np.arange(length) / video.fps
    channels = dict(zip(PAIR, odd.T, strict=True))
    return Scores(video.name, score, score, channels, time, np.arange(length), ~known, units, made)
