"""Your own videos: any folder of video files and image folders, described by `vigil.toml`.

Without that manifest the videos can only be scored. `init_folder` guesses one from the names of
the folders and writes it for a person to correct; its first lines explain every key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vigil.data._manifest import Entry, Manifest, manifest_text, read_manifest
from vigil.data.base import DataSet, Split, TestSplit
from vigil.data.labels import test_split
from vigil.errors import ConfigError, InputError, VigilError
from vigil.files import natural, writing
from vigil.records import Frame, Label, Truth, Video
from vigil.video.images import Opener
from vigil.video.read import IMAGE_SUFFIXES, VIDEO_SUFFIXES, count_frames, open_images, open_video

MANIFEST = "vigil.toml"
UNREADABLE = (1, 1)  # the size of a video that could not be opened
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
LABELS: dict[str, Label] = {
    "normal": "normal", "regular": "normal", "abnormal": "anomalous", "anomalous": "anomalous",
    "anomaly": "anomalous", "anomalies": "anomalous",
}  # fmt: skip
PLAIN = {"videos", "video", "frames", "images", "clips", "data"}


def open_folder(root: Path | str, *, fps: float = 25.0) -> DataSet:
    """A folder with its `vigil.toml` (or that file itself); without one, videos to be scored only.

    `fps` is that of image folders whose manifest does not say. Raises `InputError` naming line,
    video and key where the manifest is wrong. A video that cannot be opened stays in the data set
    and raises when its frames are asked for.
    """
    root = Path(root)
    file = root if root.suffix == ".toml" else root / MANIFEST
    if file.is_file():
        return _from_manifest(read_manifest(file), fps)
    sources = find_sources(root)
    if not sources:
        raise InputError(f"{root}: no video and no folder of images in it")
    names = _names(root, sources)
    videos = [_open(source, fps, name=names[source]) for source in sources]
    note = f"no {MANIFEST} here: videos can be scored, not learned from or measured; "
    info = {
        "root": str(root),
        "labels": "none",
        "note": note + f"write one with `vigil data init {root}`",
    }
    return DataSet(root.resolve().name, Split(()), TestSplit(tuple(videos)), info=info)


def init_folder(folder: Path | str, *, fps: float = 25.0, force: bool = False) -> Path:
    """Guess splits, labels and scenes from folder names; write `vigil.toml`, and return its path.

    An existing one is never overwritten without `force`. Raises `InputError` where there is no
    video, `ConfigError` where there is a manifest already.
    """
    folder = Path(folder)
    file = folder / MANIFEST
    if file.exists() and not force:
        raise ConfigError(f"{file} exists; edit it, or ask to overwrite it (force)")
    sources = find_sources(folder)
    if not sources:
        raise InputError(f"{folder}: no video and no folder of images in it")
    names = _names(folder, sources)
    entries = [_guess(source, folder, names[source]) for source in sources]
    text = manifest_text(Manifest(file, tuple(entries), folder.resolve().name, fps))
    with writing(file) as new:
        new.write_text(text, encoding="utf-8")
    return file


def videos_in(
    folder: Path | None,
    *,
    fps: float = 25.0,
    label: Label = "unknown",
    skip: str = "/",
    missing_ok: bool = False,
) -> tuple[Video, ...]:
    """Every video file and image folder directly in a folder, in the natural order of the names.

    Subfolders whose names end in `skip`, hidden ones and other files are passed over. What cannot
    be opened stays listed, and raises when its frames are asked for. Raises `InputError` for a
    folder that is not there (unless `missing_ok`) and for two videos of one name.
    """
    if folder is None or not folder.is_dir():
        if missing_ok:
            return ()
        raise InputError(f"{folder}: no such folder")
    found = [
        path
        for path in listing(folder)
        if not path.name.startswith(".")
        and (path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir())
        and not path.name.endswith(skip)
    ]
    return Split(tuple(_open(path, fps, label=label) for path in found)).videos


def listing(folder: Path) -> list[Path]:
    """What lies in a folder, in natural order; `InputError` if it cannot be looked into."""
    try:
        return sorted(folder.iterdir(), key=lambda path: natural(path.name))
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error


def find_sources(root: Path) -> list[Path]:
    """Video files anywhere below `root`, and folders that hold images and no video."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    found = []
    for here, folders, files in os.walk(root, onerror=_cannot_look):
        folders[:] = [name for name in folders if not name.startswith(".")]
        seen = [Path(here) / name for name in files if not name.startswith(".")]
        videos = [path for path in seen if path.suffix.lower() in VIDEO_SUFFIXES]
        images = any(path.suffix.lower() in IMAGE_SUFFIXES for path in seen)
        found += videos or ([Path(here)] if images else [])
    return sorted(found, key=lambda path: natural(path.relative_to(root).as_posix()))


def _cannot_look(error: OSError) -> None:
    raise InputError(f"{error.filename}: {error.strerror}") from error


def _open(source: Path, fps: float, name: str = "", **about: Any) -> Video:
    """The video at `source`, or one in its place that raises the reason when it is read."""
    name = name or _stem(source)
    try:
        if source.is_dir():
            return open_images(source, fps=fps, name=name, **about)
        return open_video(source, name=name, **about)
    except VigilError as error:
        message = str(error)

    def refuse(short_side: int | None) -> Iterator[Frame]:
        raise InputError(message)

    return Video(name, str(source), fps, UNREADABLE, refuse, **about)


def _stem(source: Path) -> str:
    return source.stem if source.suffix.lower() in VIDEO_SUFFIXES else source.resolve().name


def _names(root: Path, sources: list[Path]) -> dict[Path, str]:
    """The last part of each path where that is unique, else the whole path below the root."""
    stems = [_stem(source) for source in sources]
    names = {}
    for source, stem in zip(sources, stems, strict=True):
        parts = [*source.relative_to(root).parts[:-1], source.name]
        names[source] = stem if stems.count(stem) == 1 else "-".join(parts)
    return names


def _guess(source: Path, root: Path, name: str) -> Entry:
    """Split, label and scene from the folders between the root and the video."""
    splits: list[str] = []
    labels: list[Label] = []
    scene: list[str] = []
    for part in source.relative_to(root).parts[:-1]:
        words = re.split(r"[^a-z]+", part.lower())
        said = len(splits) + len(labels)
        splits += [SPLITS[word] for word in words if word in SPLITS]
        labels += [LABELS[word] for word in words if word in LABELS]
        if len(splits) + len(labels) == said and part.lower() not in PLAIN:
            scene.append(part)
    split = splits[0] if splits else "train" if labels[:1] == ["normal"] else "test"
    label = labels[0] if labels else "unknown" if split == "test" else "normal"
    return Entry(source.relative_to(root).as_posix(), name, split, label, "/".join(scene))


def _from_manifest(manifest: Manifest, fps: float) -> DataSet:
    root = manifest.file.parent
    parts: dict[str, list[Video]] = {"train": [], "val": [], "test": []}
    for entry in sorted(manifest.entries, key=lambda entry: natural(entry.name)):
        label = "unknown" if entry.split == "test" else entry.label
        rate = entry.fps or manifest.fps or fps
        about = {"label": label, "scene": entry.scene, "view": entry.view}
        parts[entry.split].append(_open(root / entry.path, rate, entry.name, **about))
    by_name = {entry.name: entry for entry in manifest.entries}
    test = test_split(parts["test"], lambda v: _truth(manifest.file, by_name[v.name], v))
    val = Split(tuple(parts["val"])) if parts["val"] else None
    name = manifest.name or root.resolve().name
    return DataSet(name, Split(tuple(parts["train"])), test, val, info={"root": str(root)})


def _truth(file: Path, entry: Entry, video: Video) -> Truth:
    """(T,) labels of a test video: all normal, or abnormal where its spans say."""
    if entry.spans is None and entry.label != "normal":
        raise InputError(
            f"{file}: video {entry.name} is {entry.label}, and nothing says when; "
            'give it seconds, frames or label = "normal"'
        )
    if entry.seconds:
        time = np.array(list(_times(video)))  # (T,) seconds
        end = time[-1] + 1 / video.fps if len(time) else 0.0
        unit, slack = "s", 1.0  # people round up
    else:
        time = np.arange(count_frames(video), dtype=float)  # (T,) frame index
        end, unit, slack = float(len(time)), "frames", 0.0
    classes = np.full(len(time), "", object)  # (T,)
    for start, stop, what in entry.spans or ():
        if stop > end + slack or start >= end:
            raise InputError(
                f"{file}: video {entry.name} is abnormal from {start:g} to {stop:g} {unit}, "
                f"but it is {end:g} {unit} long"
            )
        classes[(time >= start) & (time < stop)] = what
    return Truth(classes != "", classes.astype(str))


def _times(video: Video) -> Iterator[float]:
    if isinstance(video.open, Opener):
        return video.open.times()
    return (frame.time for frame in video.frames())
