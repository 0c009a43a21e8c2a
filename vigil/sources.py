"""Names, paths and folders to data sets and videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vigil import plugins
from vigil.data.base import DataSet, Split
from vigil.errors import unknown
from vigil.records import Video
from vigil.video.ignore import read_ignore
from vigil.video.read import find_videos, open_video

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


def quiet(what: str, done: int, of: int) -> None:
    """Progress nobody asked for."""


def dataset(name: str, root: Path | str | None = None, **options: Any) -> DataSet:
    """A data set by name or alias; the root from the argument, VIGIL_DATA or the user file."""
    from vigil.data.catalog import open_dataset

    return open_dataset(name, Path(root).expanduser() if root else None, **options)


def open_data(name: str, root: Path | str | None = None, **options: Any) -> DataSet:
    """A data set by name, or a folder of one's own by its path."""
    options = {key: value for key, value in options.items() if value is not None}
    if name not in (*plugins.names("data"), *plugins.ALIASES) and Path(name).expanduser().is_dir():
        from vigil.data.folder import open_folder

        return open_folder(Path(name).expanduser(), **options)
    return dataset(name, root, **options)


def find_source(source: str, root: Path | str | None = None) -> list[Video]:
    """Videos of a path (a file, a folder of videos, a folder of pictures) or of a data set's test
    part."""
    path = Path(source).expanduser()
    if path.is_dir():
        inside = find_videos(path)
        return [open_video(found) for found in inside] if inside else [open_video(path)]
    if path.exists() or "://" in source or path.suffix:
        return [open_video(source)]
    if source in plugins.names("data") or source in plugins.ALIASES:
        return list(dataset(source, root).test)
    raise unknown("video, folder or data set", source, plugins.names("data"))


def find_training(
    sources: list[str], root: Path | str | None = None, split: str | None = None
) -> tuple[list[Video], list[Video] | None]:
    """Training videos, and the validation part where there is one, of a data set or of paths."""
    if len(sources) == 1:
        name, path = sources[0], Path(sources[0]).expanduser()
        known = name in plugins.names("data") or name in plugins.ALIASES
        if known or (path / "vigil.toml").is_file():
            data = open_data(name, root, split=split)
            return list(data.train), list(data.val) if data.val else None
    videos = [video for source in sources for video in find_source(source, root)]
    return list(Split(tuple(replace(video, label="normal") for video in videos))), None


def read_mask(path: Path, videos: list[Video]) -> np.ndarray:
    """The regions to ignore, at the size of the first video."""
    return read_ignore(path, videos[0].size)


def make_data(
    name: str,
    out: Path,
    *,
    layout: str | None = None,
    seed: int = 0,
    scale: float = 1.0,
    progress: Progress = quiet,
) -> Path:
    """Generate `street` or `cabin` below `out`, as it is or in another project's layout.

    scale  share of the videos and of their length to make; below 1 for trying things
    """
    if name not in ("street", "cabin"):
        raise unknown("generated data set", name, ["street", "cabin"])
    room = import_module(f"vigil.data.{name}")

    def tell(done: int, of: int, what: str = "") -> None:
        progress(f"make: {what}", done, of)

    made: Path = room.generate(out, seed=seed, scale=scale, progress=tell)
    if layout is None:
        return made
    from vigil.data.layouts import write_as

    data = dataset(name, out, seed=seed, scale=scale)
    return write_as(data, layout, out / layout, progress=tell)
