"""Names, paths and folders to data sets and videos."""

from __future__ import annotations

import atexit
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vigil import plugins
from vigil.data.base import DataSet, Split
from vigil.errors import ConfigError, InputError, VigilError, unknown
from vigil.records import Video
from vigil.remote import fetched, find, is_remote
from vigil.video.ignore import read_ignore
from vigil.video.read import find_videos, open_video

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


def quiet(what: str, done: int, of: int) -> None:
    """Progress nobody asked for."""


GENERATED = ("street", "cabin")


def known(name: str) -> bool:
    """Whether a data set goes by this name or alias."""
    return name in plugins.ALIASES or name in plugins.names("data")


def dataset(
    name: str, root: Path | str | None = None, *, progress: Progress = quiet, **options: Any
) -> DataSet:
    """A data set by name or alias; the root from the argument, VIGIL_DATA or the user file.

    A generated one is made first where it is missing, which `progress` tells; its root is the
    folder that holds `street/`, or one version, seed and scale in it (street/v1-seed0-...).
    """
    from vigil.data.catalog import open_dataset

    where = Path(root).expanduser() if root else None
    if name in GENERATED:
        where, made = made_as(name, where)
        options = {**made, **options, "progress": maker(progress)}
    return open_dataset(name, where, **options)


def made_as(name: str, root: Path | None) -> tuple[Path | None, dict[str, Any]]:
    """The root and the options that one made version of a generated data set stands for."""
    if root is None or not (root / "manifest.json").is_file():
        return root, {}
    root = root.resolve()
    form = r"v(\d+)-seed(\d+)-(\d+)x(\d+)(?:-scale([0-9.e-]+))?"
    found = re.fullmatch(form, root.name)
    if found is None or root.parent.name != name:
        raise ConfigError(
            f"{root}: not a folder of {name}; expected .../{name}/v1-seed0-240x320, or the folder "
            f"that holds {name}/"
        )
    version, seed, height, width = map(int, found.groups()[:4])
    size, scale = (height, width), float(found[5] or 1)
    return root.parent.parent, {"version": version, "seed": seed, "size": size, "scale": scale}


def maker(progress: Progress) -> Callable[..., None]:
    """Progress as the generators and the writers of layouts tell it."""

    def tell(done: int, of: int, what: str = "") -> None:
        progress(f"make: {what}", done, of)

    return tell


def open_data(
    name: str, root: Path | str | None = None, *, progress: Progress = quiet, **options: Any
) -> DataSet:
    """A data set by name, or a folder of one's own by its path."""
    options = {key: value for key, value in options.items() if value is not None}
    if known(name):
        return dataset(name, root, progress=progress, **options)
    view = options.pop("view", "all")
    path = Path(name).expanduser()
    if not path.exists():
        raise unknown("data set or folder", name, plugins.names("data"))
    from vigil.data.folder import open_folder

    if options:
        raise ConfigError(f"{name}: a folder of your own has no {', '.join(options)}; leave it out")
    return of_view(open_folder(path), view)


def of_view(data: DataSet, view: str) -> DataSet:
    """The data set with the videos of one view alone, or of "all"."""
    if view == "all":
        return data
    parts = {"train": data.train, "val": data.val, "test": data.test}
    views = {video.view for part in parts.values() for video in part or ()}
    if view not in views:
        raise unknown(f"view of {data.name}", view, ("all", *views - {""}))
    kept = {
        name: replace(part, videos=tuple(video for video in part if video.view == view))
        for name, part in parts.items()
        if part is not None
    }
    return replace(data, **kept)  # type: ignore[arg-type]


def find_problems(
    name: str, root: Path | str | None = None, *, progress: Progress = quiet, **options: Any
) -> list[Any]:
    """All that `vigil data verify` finds; a data set that does not even open is one problem."""
    from vigil.data.verify import Problem, verify

    def tell(done: int, of: int, what: str) -> None:
        progress(f"verify: {what}", done, of)

    try:
        data = open_data(name, root, progress=progress, **options)
    except InputError as error:
        return [Problem(str(root or name), str(error), "a data set that opens")]
    return list(verify(data, tell))


def find_source(
    source: str,
    root: Path | str | None = None,
    split: str | None = None,
    progress: Progress = quiet,
    view: str | None = None,
) -> list[Video]:
    """Videos of a path (a file, a folder of videos, a folder of pictures), of a URL (see
    `vigil.remote`) or of a data set's test part."""
    path = Path(source).expanduser()
    if view and not known(source):
        raise ConfigError(f"--view {view}: {source} is no data set, whose views have names")
    if is_remote(source):
        return [brought(url) for url in find(source)]
    if path.is_dir():
        inside = find_videos(path)
        return [open_video(found) for found in inside] if inside else [open_video(path)]
    if path.exists() or "://" in source or path.suffix:
        return [open_video(source)]
    if known(source):
        return list(open_data(source, root, split=split, view=view, progress=progress).test)
    raise unknown("video, folder or data set", source, plugins.names("data"))


def openable(
    source: str,
    root: Path | None,
    split: str | None,
    failures: dict[str, str],
    progress: Progress = quiet,
    view: str | None = None,
) -> Iterator[Video]:
    """The videos of a source; those that cannot be opened are noted and the rest goes on."""
    path = Path(source).expanduser()
    inside = find_videos(path) if path.is_dir() else []
    if not inside:
        yield from find_source(source, root, split, progress, view)
        return
    names: dict[str, Path] = {}
    for found in inside:
        try:
            video = open_video(found)
            if video.name in names:
                raise InputError(
                    f"{found}: another video is called {video.name!r} too ({names[video.name]}); "
                    "rename one"
                )
        except VigilError as error:
            failures[str(found)] = str(error)
            continue
        names[video.name] = found
        yield video


def brought(url: str) -> Video:
    """A video from elsewhere, copied here for as long as this process lasts."""
    copies = ExitStack()
    atexit.register(copies.close)
    return replace(open_video(copies.enter_context(fetched(url))), source=url)


def find_training(
    sources: list[str],
    root: Path | str | None = None,
    split: str | None = None,
    progress: Progress = quiet,
    view: str | None = None,
) -> tuple[list[Video], list[Video] | None]:
    """Training videos, and the validation part where there is one, of a data set or of paths."""
    if len(sources) == 1:
        name, path = sources[0], Path(sources[0]).expanduser()
        if known(name) or (path / "vigil.toml").is_file():
            data = open_data(name, root, split=split, view=view, progress=progress)
            return list(data.train), list(data.val) if data.val else None
    found = (find_source(source, root, None, progress, view) for source in sources)
    videos = [video for each in found for video in each]
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
    if name not in GENERATED:
        raise unknown("generated data set", name, GENERATED)
    tell = maker(progress)
    if layout is None:
        room = import_module(f"vigil.data.{name}")
        made: Path = room.generate(out, seed=seed, scale=scale, progress=tell)
        return made
    from vigil.data.layouts import LAYOUTS, WANTS, write_as

    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    options = {"split": WANTS[layout]} if layout in WANTS and name == "street" else {}
    data = dataset(name, out, seed=seed, scale=scale, progress=progress, **options)
    return write_as(data, layout, out / layout, progress=tell)


def prepare_data(
    name: str,
    out: Path,
    root: Path | None = None,
    *,
    view: str | None = None,
    link: bool = False,
    progress: Progress = quiet,
) -> Path:
    """A data set as published in the layout that a project learns from; see `prepare_dad`."""
    from vigil.data._dad_prepare import prepare_dad
    from vigil.data.catalog import folder_of

    if plugins.ALIASES.get(name, name) != "dad":
        raise unknown("data set to prepare", name, ["dad"])

    def tell(done: int, of: int, what: str) -> None:
        progress(f"prepare: {what}", done, of)

    return prepare_dad(folder_of(name, root), out, view or "all", link=link, progress=tell)


def loader_of(layout: str) -> str | None:
    """The data set that reads a layout, or None where Vigil has none yet."""
    name = layout.removesuffix("-frames").removesuffix("-jigsaw")
    return name if known(name) else None
