"""Writing features as other projects keep them, and which frames their rows stand for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vigil.errors import InputError
from vigil.features import _layout_files as files
from vigil.features._frame_hdf5 import write_by_frame
from vigil.features._layout_files import SEGMENTS
from vigil.features.base import FeatureRow
from vigil.features.store import Header, file_of, write_rows
from vigil.files import writing

CLIP = 16  # frames of a row in all foreign layouts
HDF5_FILE = "features.h5"
HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
PARTS = ("train", "test")
SLACK = 0.05  # share of the rows by which a video's rows may be too few or too many
Put = Callable[[Sequence[FeatureRow], Header, str], None]  # rows, header, folder


# -- which frames a row stands for ----------------------------------------------------------------
def segment_bounds(n: int) -> np.ndarray:
    """(33,) int64: segment i of 32 is rows b[i] .. b[i + 1] - 1, or row b[i] if they are equal.

    Rounded half to even, as ekosman's code does it; row n - 1 falls out unless the last is empty.
    """
    return np.round(np.linspace(0, n - 1, SEGMENTS + 1)).astype(np.int64)


def segment_frames(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(32,) first and (32,) stop frames of the segments of a video of `count` frames.

    Only whole clips of 16 frames made the segments; frames past the last one belong to the last
    segment. In a video of fewer than 32 clips neighbours share clips. 0 = length not known: 16
    frames each.
    """
    if not count:
        first = np.arange(SEGMENTS, dtype=np.int64) * CLIP
        return first, first + CLIP
    bounds = segment_bounds(max(count // CLIP, 1))
    stop = np.minimum(np.maximum(bounds[1:], bounds[:-1] + 1) * CLIP, count)
    stop[-1] = count
    return bounds[:-1] * CLIP, stop


def row_frames(
    rows: int, count: int, path: Path, frames: int = CLIP
) -> tuple[np.ndarray, np.ndarray]:
    """First and stop of `rows` rows of 16 `frames` in a video of `count` (0 = not known).

    The last row reaches to the end of the video: some extractors drop the unfinished clip. Rows
    that begin beyond it are not given. `InputError` where 5 in 100 are too few or too many.
    """
    first = np.arange(rows, dtype=np.int64) * frames
    if not count:
        return first, first + frames
    wanted = -(-count // frames)
    if abs(rows - wanted) > max(1, SLACK * wanted):
        raise InputError(
            f"{path}: {rows} rows of {frames} frames for a video of {count} frames, which has "
            f"{wanted}; they belong to another video or another frame rate"
        )
    first = first[first < count]
    stop = first + frames
    stop[-1] = count
    return first, stop


def quantise(values: np.ndarray) -> np.ndarray:
    """(N, crops, D) -> (32, D): mean over crops, means of 32 segments, each of unit length.

    A segment of zeros stays zero.
    """
    mean = values.mean(1, dtype=np.float64)  # (N, D)
    bounds = segment_bounds(len(mean))
    rows = np.stack([
        mean[a : max(b, a + 1)].mean(0) for a, b in zip(bounds, bounds[1:], strict=False)
    ])  # fmt: skip
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norm > 0, norm, 1)).astype(np.float32)


# -- writing ---------------------------------------------------------------------------------------
@contextmanager
def sink(layout: str, out: Path) -> Iterator[Put]:
    """What writes the rows of one video after another; an HDF5 file appears when whole."""
    if layout != "hdf5":
        yield partial(put_file, layout, out)
        return
    path = out if out.suffix.lower() in HDF5_SUFFIXES else out / HDF5_FILE
    h5py = files.hdf5()
    with writing(path) as new:
        if path.is_file():
            shutil.copyfile(path, new)
        with h5py.File(new, "a") as file:
            yield partial(put_group, file)


def put_file(
    layout: str, out: Path, rows: Sequence[FeatureRow], header: Header, folder: str = ""
) -> None:
    """The rows of one video in files of their own."""
    safe(header, folder)
    part = out / (folder.split("/")[0] if folder.split("/")[0] in PARTS else "")
    if layout == "store":
        write_rows(file_of(part, header.video), rows, header)
    elif layout in ("mil-txt", "mil-txt-c"):
        place = out / folder / _class_below(header, folder)
        end, tail = (" ", "_C") if layout == "mil-txt-c" else ("", "")
        files.write_text_rows(place / f"{header.video}{tail}.txt", segments(rows, header), end)
    elif layout == "frame-hdf5":
        write_by_frame(part / f"{header.video}.h5", every_frame(rows, header))
    else:
        values = clips(rows, header)
        if layout == "ten-crop-npy":
            files.write_npy(part / f"{header.video}_{tag(header)}.npy", values)
            return
        mark = "__" if layout == "xd-crop-npy" else "_"
        for crop in range(values.shape[1]):
            files.write_npy(part / f"{header.video}{mark}{crop}.npy", values[:, crop])


def put_group(file: Any, rows: Sequence[FeatureRow], header: Header, folder: str = "") -> None:
    """The rows of one video as a group of an open HDF5 file."""
    safe(header, folder)
    known = re.fullmatch(r"unknown: hdf5 (\w+)", header.backbone)
    dataset = known[1] if known else f"{tag(header)}_features"
    dataset = "i3d_rgb_features" if dataset == "i3d_features" else dataset
    kind = folder.rpartition("/")[2]
    kind = class_folder(header.video) if kind in ("", *PARTS) else kind
    group = f"{kind}/{header.video}.mp4".lstrip("/")
    files.put_hdf5(file, group, dataset, segments(rows, header), header.count)


def safe(header: Header, folder: str) -> None:
    """`InputError` for a name that would lead out of the folder written to."""
    parts = [*folder.split("/"), *header.video.split("/")]
    if not header.video or ".." in parts or f"{folder}/{header.video}".startswith("//"):
        raise InputError(
            f"features of video {header.video!r} in {folder!r}: not a name of a file; rename it"
        )


def _stacked(rows: Sequence[FeatureRow], header: Header) -> np.ndarray:
    if not rows:
        raise InputError(f"{header.video}: no row of features")
    return np.stack([row.value for row in rows])  # (N, crops, D)


def segments(rows: Sequence[FeatureRow], header: Header) -> np.ndarray:
    """(32, D): as they are if they are segments already, else quantised."""
    values = _stacked(rows, header)
    if header.stride == 0 and values.shape[:2] == (SEGMENTS, 1):
        return values[:, 0]
    return quantise(values)


def clips(rows: Sequence[FeatureRow], header: Header) -> np.ndarray:
    """(N, crops, D) of rows that follow each other every 16 frames; others have no such layout."""
    if header.stride != CLIP:
        what = f"a row every {header.stride} frames" if header.stride else "32 segments a video"
        raise InputError(
            f"{header.video}: {what}; this layout holds a row every {CLIP} frames and cannot say "
            "otherwise: convert to store, or extract with --stride 16"
        )
    return _stacked(rows, header)


def every_frame(rows: Sequence[FeatureRow], header: Header) -> np.ndarray:
    """(T, 1, D): each row once for each of its frames, crops averaged."""
    spans = [row.stop - row.first for row in rows]
    return np.repeat(_stacked(rows, header).mean(1, keepdims=True), spans, axis=0)


def tag(header: Header) -> str:
    """The backbone's short name in file names: "i3d" of "i3d-r50", and where nothing is known."""
    found = re.match(r"[a-z0-9]+", header.backbone)
    return found[0] if found and found[0] != "unknown" else "i3d"


def class_folder(video: str) -> str:
    """The folder of UCF-Crime that a video belongs in by its name; "" for other names.

    >>> class_folder("Abuse028_x264"), class_folder("Normal_Videos_003_x264"), class_folder("a")
    ('Abuse', 'Testing_Normal_Videos_Anomaly', '')
    """
    found = re.fullmatch(r"(Normal_Videos)?(_?)([A-Za-z]*)\d+_x264", video)
    if found is None:
        return ""
    if found[1]:
        return ("Testing" if found[2] else "Training") + "_Normal_Videos_Anomaly"
    return found[3]


def _class_below(header: Header, folder: str) -> str:
    """The class's folder, where the source had none."""
    return class_folder(header.video) if folder in ("", *PARTS) else ""
