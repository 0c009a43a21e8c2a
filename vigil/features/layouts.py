"""Features as other projects keep them: found, read, written, and converted from one to another.

    store          NAME.safetensors              Vigil's own, with a header (see store.py)
    mil-txt        Class/NAME.txt                32 lines of D numbers: segments of the whole video
    mil-txt-c      Class/NAME_C.txt              the same, as Sultani's writer names it
    ten-crop-npy   NAME_i3d.npy, NAME.npy        (rows, crops, D), 16 frames a row: S3R, RTFM
    crop-npy       NAME_0.npy ... NAME_9.npy     (rows, D) a crop; 0 centre, 1-4 corners, mirrors
    xd-crop-npy    NAME__0.npy ... NAME__4.npy   (rows, D) a crop: XD-Violence
    hdf5           one file, groups Class/NAME.mp4 with c3d_features or i3d_rgb_features (32, D)
    frame-hdf5     NAME.h5                       datasets 0000, 0001, ...: (1, D) a frame

Only `store` says what made the rows. For the others the header reads backbone "unknown: LAYOUT".
Crops stay in the order of the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vigil.errors import InputError, unknown
from vigil.features import _layout_files as files
from vigil.features._frame_hdf5 import by_frame, read_by_frame
from vigil.features._layout_files import SEGMENTS
from vigil.features._layout_write import CLIP, HDF5_SUFFIXES, row_frames, segment_frames, sink
from vigil.features.base import FeatureRow
from vigil.features.store import Header, Rows, StoredRows
from vigil.files import natural
from vigil.plugins import OWN

LAYOUTS = (
    "store", "mil-txt", "mil-txt-c", "ten-crop-npy", "crop-npy", "xd-crop-npy", "hdf5",
    "frame-hdf5",
)  # fmt: skip
IN_SEGMENTS = ("mil-txt", "mil-txt-c", "hdf5")
PUBLISHED = (r"i3d", r"c3d", r"r3d\d*", r"r2plus1d", r"s3d", r"mvit", r"clip")
NAMES = "|".join((*PUBLISHED, *map(re.escape, OWN["backbones"])))
BACKBONE = re.compile(f"_({NAMES})$", re.IGNORECASE)  # what a file's name may end with
CROP = {"crop-npy": re.compile(r"_(\d)$"), "xd-crop-npy": re.compile(r"__(\d)$")}
Progress = Callable[[int, int, str], None]  # videos done, of how many, the one at hand


@dataclass(frozen=True)
class Item:
    """The features of one video: its files (one a crop), or its group in a file."""

    video: str
    files: tuple[Path, ...]
    layout: str
    folder: str = ""  # between the root and the file: "test", "Abuse", "train/Abuse"
    group: str = ""
    dataset: str = ""

    def header(self, count: int = 0) -> Header:
        """What is known of the rows, by as little reading as possible."""
        path = self.files[0]
        if self.layout == "store":
            return Rows(path).header
        if self.layout == "frame-hdf5":
            dim = read_by_frame(path, peek=True).shape[2]
            told = (f"unknown: {self.layout}", "", "a row a frame", 1, 1, 1, dim)
            return Header(*told, video=self.video, count=count)
        words, name = "rows of 16 frames", f"unknown: {self.layout}"
        if self.layout in ("mil-txt", "mil-txt-c"):
            crops, dim, name = 1, files.text_dim(path), "unknown: mil-txt"
        elif self.layout == "hdf5":
            rows, stated = files.read_hdf5(path, self.group, self.dataset, peek=True)
            crops, dim, count = 1, rows.shape[2], count or stated
            name = f"unknown: hdf5 {self.dataset}"
        else:
            rows, first = files.as_rows(files.open_npy(path), path)
            crops, dim = rows.shape[1] * len(self.files), rows.shape[2]
            words += ", stored crops first" if first else ""
        stride = 0 if self.layout in IN_SEGMENTS else CLIP
        words = words if stride else f"{SEGMENTS} segments of the whole video"
        return Header(
            name, "", words, CLIP, stride, crops, dim, video=self.video, count=count
        )  # fmt: skip

    def values(self) -> np.ndarray:
        """(N, crops, D) float32, checked to be finite."""
        match self.layout:
            case "store":
                return files.checked(Rows(self.files[0]).read(), self.files[0])
            case "mil-txt" | "mil-txt-c":
                return files.read_text_rows(self.files[0])
            case "hdf5":
                return files.read_hdf5(self.files[0], self.group, self.dataset)[0]
            case "frame-hdf5":
                return read_by_frame(self.files[0])
            case "ten-crop-npy":
                return files.read_npy_rows(self.files[0])
        return files.read_crop_rows(self.files)

    def read(self, count: int = 0) -> tuple[list[FeatureRow], Header]:
        """Rows and header. `count` = frames in the video, if known: rows end with it."""
        values, header = self.values(), self.header(count)
        if self.layout == "store":
            stored = Rows(self.files[0])
            first, stop = stored.first, stored.stop
        elif header.stride:
            frames = header.stride
            first, stop = row_frames(len(values), header.count, self.files[0], frames)
        else:
            first, stop = segment_frames(header.count)
        bounds = zip(values[: len(first)], first.tolist(), stop.tolist(), strict=True)
        return [FeatureRow(value, a, b) for value, a, b in bounds], header


@dataclass(frozen=True)
class ForeignRows(StoredRows):
    """Reads the rows of a video when called, from whatever layout they are in."""

    item: Item | None = None

    def __call__(self) -> list[FeatureRow]:
        assert self.item is not None
        return self.item.read(self.header.count)[0]


# -- reading -------------------------------------------------------------------------------------
def find_layout(folder: Path | str) -> str:
    """The layout of a file or folder; `InputError` if it has none, or several."""
    return _layout(_items(Path(folder)), folder)


def _layout(items: Iterable[Item], folder: Path | str) -> str:
    kinds: dict[str, int] = {}
    for item in items:
        kinds[item.layout] = kinds.get(item.layout, 0) + 1
    if len(kinds) != 1:
        found = ", ".join(f"{count} videos as {kind}" for kind, count in sorted(kinds.items()))
        raise InputError(
            f"{folder}: {found or 'no features'}; expected one layout of {', '.join(LAYOUTS)}"
            + ("; name one of them" if kinds else "")
        )
    return next(iter(kinds))


def find_items(folder: Path | str, layout: str = "auto") -> dict[str, Item]:
    """{video: where its features are} of a file or folder, in natural order of the names."""
    if layout not in ("auto", *LAYOUTS):
        raise unknown("layout of features", layout, LAYOUTS)
    items = list(_items(Path(folder)))
    layout = _layout(items, folder) if layout == "auto" else layout
    found: dict[str, Item] = {}
    for item in items:
        if item.layout == layout and item.video in found:
            raise InputError(
                f"{folder}: two features of {item.video}: {found[item.video].files[0]} and "
                f"{item.files[0]}; name the folder of one part"
            )
        if item.layout == layout:
            found[item.video] = item
    return dict(sorted(found.items(), key=lambda pair: natural(pair[0])))


def read_features(
    path: Path | str, layout: str = "auto", video: str = "", count: int = 0
) -> tuple[list[FeatureRow], Header]:
    """Rows and header of one video: a file, or a folder and the video's name.

    count  frames in the video, 0 = not known: rows of segments then stand for 16 frames each

    Raises `InputError` naming the file for what cannot be read, is not finite, or has rows for
    more or fewer frames than `count`; pickled objects other than arrays are never executed.
    """
    return _item(find_items(path, layout), path, video).read(count)


def given_features(
    folder: Path | str, video: str, layout: str = "auto", count: int = 0
) -> ForeignRows:
    """What `Video.given["features"]` wants, for one video of a folder; rows are read when called.

    For many videos, call `find_items` once and `given_item` for each.
    """
    return given_item(_item(find_items(folder, layout), folder, video), count)


def given_item(item: Item, count: int = 0) -> ForeignRows:
    return ForeignRows(item.files[0], item.header(count), item)


def _item(items: Mapping[str, Item], path: Path | str, video: str) -> Item:
    if video and video in items:
        return items[video]
    if len(items) == 1 and not video:
        return next(iter(items.values()))
    what = f"video {video!r}" if video else f"one of the {len(items)} videos by name"
    raise InputError(f"{path}: no features of {what} in it; there are {', '.join([*items][:5])}")


def missing(items: Mapping[str, Item], videos: Iterable[str], folder: Path | str) -> None:
    """`InputError` that lists all videos without features, not the first only."""
    gone = [video for video in videos if video not in items]
    if gone:
        more = f" and {len(gone) - 20} more" if len(gone) > 20 else ""
        raise InputError(
            f"{folder}: no features of {len(gone)} videos: {', '.join(gone[:20])}{more}; "
            "extract them, or take these videos out of the list"
        )


def _items(root: Path) -> Iterator[Item]:
    """All features at `root`, of every layout."""
    crops: dict[tuple[str, str, str], list[tuple[int, Path]]] = {}
    single: list[tuple[str, Path]] = []
    for path in _paths(root):
        folder = "" if path == root else path.parent.relative_to(root).as_posix()
        folder, stem, kind = "" if folder == "." else folder, path.stem, path.suffix.lower()
        if kind == ".safetensors":
            yield Item(stem, (path,), "store", folder)
        elif kind == ".txt" and (path == root or files.looks_numeric(path)):
            layout = "mil-txt-c" if stem.endswith("_C") else "mil-txt"
            yield Item(stem.removesuffix("_C"), (path,), layout, folder)
        elif kind in HDF5_SUFFIXES:
            yield from _hdf5_items(path, folder)
        elif kind == ".npy":
            layout = next((n for n in ("xd-crop-npy", "crop-npy") if CROP[n].search(stem)), "")
            if not layout:
                single.append((folder, path))
                continue
            name = CROP[layout].sub("", stem)
            crops.setdefault((layout, folder, name), []).append((int(stem[-1]), path))
    for (layout, folder, name), parts in crops.items():
        yield Item(name, _all_crops(name, dict(parts)), layout, folder)
    for folder, path in single:
        yield Item(BACKBONE.sub("", path.stem), (path,), "ten-crop-npy", folder)


def _paths(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise InputError(f"{root}: no such file or folder of features")
    found = [
        Path(here, name)
        for here, _, names in os.walk(root)
        for name in names
        if not name.startswith(".")
    ]
    return sorted(found)


def _hdf5_items(path: Path, folder: str) -> Iterator[Item]:
    if by_frame(path):
        yield Item(path.stem, (path,), "frame-hdf5", folder)
        return
    for group, dataset in files.hdf5_groups(path).items():
        kind, _, name = group.rpartition("/")
        place = "/".join(part for part in (folder, kind) if part)
        yield Item(name.removesuffix(".mp4"), (path,), "hdf5", place, group, dataset)


def _all_crops(name: str, parts: Mapping[int, Path]) -> tuple[Path, ...]:
    """The files of a video in the order of their crops; `InputError` if one is missing."""
    gone = [crop for crop in range(max(parts) + 1) if crop not in parts]
    if gone:
        some = next(iter(parts.values()))
        raise InputError(
            f"{some.parent}: crops {', '.join(map(str, gone))} of {name} are missing, up to "
            f"{max(parts)} is there"
        )
    return tuple(parts[crop] for crop in sorted(parts))


# -- writing -------------------------------------------------------------------------------------
def write_features(
    layout: str,
    out: Path | str,
    rows: Sequence[FeatureRow],
    header: Header,
    folder: str = "",
) -> None:
    """The rows of one video, `header.video`, in a layout below the folder `out`.

    folder  "train", "test", a class, or "train/Abuse": kept where the layout has room for it; the
            class folders of UCF-Crime come from the names where it says none

    Rows become 32 segments of unit length (crops averaged) where the layout holds those. `hdf5`
    adds a group to `out`/features.h5 (or to the file `out`). Raises `InputError` for rows that a
    layout cannot hold: segments, or rows not 16 frames apart, as .npy.
    """
    if layout not in LAYOUTS:
        raise unknown("layout of features", layout, LAYOUTS)
    with sink(layout, Path(out)) as put:
        put(rows, header, folder)


def convert(
    source: Path | str,
    to: str,
    out: Path | str,
    progress: Progress | None = None,
    *,
    layout: str = "auto",
    counts: Mapping[str, int] | None = None,
) -> list[str]:
    """All features of a file or folder in another layout; the names of the videos.

    counts  frames of the videos, where known: segments then say which frames they stand for

    `progress(done, of, name)` is called before each video. Existing files are replaced, each when
    the new one is whole. Raises as `read_features` and `write_features` do.
    """
    if to not in LAYOUTS:
        raise unknown("layout of features", to, LAYOUTS)
    items = find_items(source, layout)
    with sink(to, Path(out)) as put:
        for done, (name, item) in enumerate(items.items()):
            if progress:
                progress(done, len(items), name)
            rows, header = item.read((counts or {}).get(name, 0))
            put(rows, replace(header, video=name), item.folder)
    return list(items)
