"""Labels as published data sets ship them, read by name and checked: what the loaders share.

Frames count from 0 and intervals are half-open everywhere in Vigil; the files of the data sets
count from 1 and name the last frame. The one place where that changes is `mark`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vigil.data.base import TestSplit
from vigil.errors import InputError
from vigil.files import load_pickle
from vigil.records import Truth, Video
from vigil.video.read import count_frames


def mark(ranges: np.ndarray, length: int, source: str, video: str) -> np.ndarray:
    """Ranges (n, 2) of abnormal frames, 1-based with the last one included -> (length,) bool."""
    frames = np.zeros(length, bool)  # (T,)
    for start, end in np.asarray(ranges, np.int64).reshape(-1, 2).tolist():
        if not 1 <= start <= end:
            raise InputError(
                f"{source}: frames {start} to {end} of video {video}; expected 1, 2, …"
            )
        if end > length:
            raise InputError(
                f"{source}: abnormal up to frame {end} of video {video}, which has {length} frames"
            )
        frames[start - 1 : end] = True
    return frames


def load_mat(path: Path, key: str) -> np.ndarray:
    """One variable of a MATLAB file, unsqueezed; `InputError` for whatever is wrong with it."""
    from scipy.io import loadmat

    try:
        found = loadmat(path, variable_names=[key])
    except NotImplementedError as error:
        raise InputError(f"{path}: a MATLAB 7.3 file; save it with -v7") from error
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{path}: not a readable MATLAB file ({error})") from error
    if key not in found:
        raise InputError(f"{path}: no variable {key!r} in it")
    return np.asarray(found[key])


def mat_ranges(path: Path, key: str = "gt") -> list[np.ndarray]:
    """Abnormal ranges, one (n, 2) array a video, from an object array of 2xN or flat pairs."""
    array = load_mat(path, key)
    entries = array.ravel() if array.dtype == object else [array]
    return [_pairs(entry, f"{path}: entry {i + 1} of {key!r}") for i, entry in enumerate(entries)]


def _pairs(entry: Any, where: str) -> np.ndarray:
    array = np.asarray(entry)
    while array.dtype == object and array.size == 1:  # MATLAB cells may be wrapped once more
        array = np.asarray(array.item())
    if array.size == 0:
        return np.zeros((0, 2), np.int64)
    if array.dtype.kind not in "iuf" or not (array.size == 2 or array.shape[0] == 2):
        raise InputError(f"{where}: {array.dtype} {array.shape}; expected starts over ends, 2xN")
    array = array.astype(np.int64)
    return array.reshape(1, 2) if array.size == 2 else array.T  # (n, 2)


def m_ranges(path: Path) -> list[np.ndarray]:
    """Abnormal ranges, one (n, 2) array a video, from UCSD's `gt_frame = [61:180];` lines."""
    text = re.sub(r"%.*", "", read_text(path))
    found = []
    for body in re.findall(r"gt_frame\s*=\s*\[([^\]]*)\]", text):
        body = re.sub(r"\s*:\s*", ":", body.replace("...", " "))
        pairs = [part.partition(":") for part in re.split(r"[,;\s]+", body) if part]
        try:
            rows = [(int(a), int(b or a)) for a, _, b in pairs]
        except ValueError:
            raise InputError(f"{path}: [{body}]; expected ranges such as [61:180]") from None
        found.append(np.array(rows, np.int64).reshape(-1, 2))
    return found


def read_text(path: Path) -> str:
    """The text of a label file or list; `InputError` if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error.reason})") from error


def load_npy(path: Path) -> Any:
    """An .npy or .npz of plain arrays; a pickled one is refused unopened."""
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{path}: not a readable array file ({error})") from error


def frame_mask(path: Path) -> np.ndarray:
    """(T,) bool from one .npy of zeros and ones."""
    array = np.squeeze(load_npy(path))
    if array.ndim != 1 or array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise InputError(
            f"{path}: {array.dtype} {array.shape}; expected one 0 or 1 a frame, shape (T,)"
        )
    return array.astype(bool)  # (T,)


def check_length(video: Video, labels: int, source: Path | str, what: str = "labels") -> None:
    """`InputError` unless there are as many labels as frames in the video."""
    frames = count_frames(video)
    if labels != frames:
        more = "more" if labels > frames else "fewer"
        raise InputError(
            f"{source}: {labels} {what} for video {video.name}, which has {frames} frames "
            f"({abs(labels - frames)} {more} than frames); one a frame expected"
        )


def in_order(entries: Sequence[Any], videos: Sequence[Video], source: Path) -> dict[str, Any]:
    """Nameless label entries given to the videos in name order; refused unless as many of each."""
    if len(entries) != len(videos):
        raise InputError(
            f"{source}: labels for {len(entries)} videos, but {len(videos)} test videos are here; "
            "such a file names no video, so it serves the complete set only"
        )
    return {video.name: entry for video, entry in zip(videos, entries, strict=True)}


def test_split(videos: Sequence[Video], read: Callable[[Video], Truth]) -> TestSplit:
    """The test part, whose labels are read when asked for, once a video."""
    by_name = {video.name: video for video in videos}

    @cache
    def truth(name: str) -> Truth:
        if name not in by_name:
            raise InputError(f"no test video is called {name!r}; there are {', '.join(by_name)}")
        return read(by_name[name])

    return TestSplit(tuple(videos), truth)


def with_boxes(
    videos: Iterable[Video], root: Path, part: str, min_confidence: float, name: str
) -> tuple[Video, ...]:
    """The videos with the boxes of detections/*_{part}_*.pkl as `given["objects"]`, if shipped; of
    several such files the one that is called after the data set (`name`)."""
    files = [
        path
        for folder in ("detections", "detect", ".")
        for path in sorted((root / folder).glob("*.pkl"))
        if f"_{part}_detect" in path.name
    ]
    files = [path for path in files if name in path.name.lower()] or files[: len(files) == 1]
    if not files:
        return tuple(videos)
    load = cache(lambda: _detections(files[0]))

    def give(video: Video) -> Callable[[], list[np.ndarray]]:
        return lambda: _boxes(load(), video, files[0], min_confidence)

    return tuple(replace(v, given={**v.given, "objects": give(v)}) for v in videos)


def _detections(path: Path) -> Mapping[str, Any]:
    found = load_pickle(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: a {type(found).__name__}; expected boxes by video name")
    return found


def _boxes(found: Mapping[str, Any], video: Video, path: Path, least: float) -> list[np.ndarray]:
    if video.name not in found:
        raise InputError(f"{path}: no boxes for video {video.name}")
    frames = []
    for index, rows in enumerate(found[video.name]):
        try:
            boxes = np.asarray(rows, np.float32).reshape(-1, 5)  # (n, 5) x1, y1, x2, y2, conf
        except (TypeError, ValueError):
            boxes = np.full((1, 5), np.nan, np.float32)
        if not np.isfinite(boxes).all():
            raise InputError(
                f"{path}: frame {index} of video {video.name}; "
                "expected rows of five numbers x1, y1, x2, y2, confidence"
            )
        frames.append(boxes[boxes[:, 4] > least])
    check_length(video, len(frames), path, "frames of boxes")
    return frames


def facts(
    root: Path,
    expected: Mapping[str, int],
    train: Sequence[Video],
    test: Sequence[Video],
    **known: Any,
) -> dict[str, Any]:
    """The `info` of a published data set: what is known of it, and which part of it is here."""
    have = {"train videos": len(train), "test videos": len(test)}
    missing = [
        f"{count} of {expected[what]} {what}"
        for what, count in have.items()
        if count < expected.get(what, 0)
    ]
    part = {"part": ", ".join(missing)} if missing else {}
    return {"root": str(root), "expected": dict(expected), **part, **known}
