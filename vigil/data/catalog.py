"""Finding data sets by name, and saying what is in one."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vigil.data.base import DataSet, Split
from vigil.data.folder import UNREADABLE
from vigil.data.labels import read_text
from vigil.errors import InputError, VigilError, unknown
from vigil.plugins import ALIASES, find, names
from vigil.records import Video
from vigil.video.read import count_frames

# beside the name and its aliases
MORE_FOLDERS = {"avenue": ("avenue_sample",), "dad": ("DAD_Jigsaw",)}


def open_dataset(name: str, root: Path | str | None = None, **options: Any) -> DataSet:
    """The data set called `name` (or an alias, "ped2"), opened by its loader.

    Its folder is `root`, else the subfolder of the environment variable VIGIL_DATA that bears the
    name or an alias, else the line `name = "folder"` in the user's roots.toml. `options` are the
    loader's own. Raises `ConfigError` for an unknown name or option, `InputError` for a folder
    that is not to be found or holds something else. A generated data set ("street") needs no
    folder: it is made on first use, below `root`, VIGIL_DATA or the user's cache.
    """
    loader = find("data", name)
    if options:
        _check_options(name, loader, options)
    if _places_itself(loader):
        return loader(root, **options)
    return loader(folder_of(name, root), **options)


def list_datasets() -> list[dict[str, str]]:
    """One row a known data set: name, aliases, root (where found, else ""), about."""
    rows = []
    for name in names("data"):
        try:
            about = (inspect.getdoc(find("data", name)) or "").partition("\n")[0]
        except (ImportError, VigilError) as error:
            about = f"cannot be loaded: {error}"
        aliases = ", ".join(alias for alias, target in ALIASES.items() if target == name)
        found = _known_root(name)
        rows.append({"name": name, "aliases": aliases, "root": str(found or ""), "about": about})
    return rows


def describe(dataset: DataSet, count: bool = False) -> dict[str, Any]:
    """What `vigil data info` prints: parts, sizes, rates, and known facts beside what is here.

    Frames of image folders are counted always, those of video files (which must be decoded for
    it) with `count`. Labels are not read: `verify` compares those. Plain values only.
    """
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    parts = {part: _part(split, count) for part, split in splits.items() if split is not None}
    found = {f"{part} {what}": row[what] for part, row in parts.items() for what in row}
    found |= dataset.info.get("found", {})
    expected = dataset.info.get("expected", {})
    facts = [{"what": w, "expected": e, "found": found.get(w)} for w, e in expected.items()]
    known = {key: value for key, value in dataset.info.items() if key not in ("expected", "found")}
    return {
        "name": dataset.name,
        "variant": dataset.variant,
        "parts": parts,
        "facts": facts,
        "complete": all(f["found"] in (None, f["expected"]) for f in facts) if facts else None,
        **{
            key: value if isinstance(value, int | float) else str(value)
            for key, value in known.items()
        },
    }


def _part(split: Split, count: bool) -> dict[str, Any]:
    unreadable = [video.name for video in split if video.size == UNREADABLE]
    good = [video for video in split if video.size != UNREADABLE]
    folders = all(Path(video.source).is_dir() for video in good)
    return {
        "videos": len(split),
        "frames": sum(map(count_frames, good)) if count or folders else None,
        "sizes": _values(good, lambda video: f"{video.size[1]}x{video.size[0]}"),
        "fps": _values(good, lambda video: f"{video.fps:g}"),
        "scenes": _values(split, lambda video: video.scene),
        "views": _values(split, lambda video: video.view),
        "labels": _values(split, lambda video: video.label),
        "given": _values(split, lambda video: ", ".join(video.given)),
        "unreadable": unreadable,
    }


def _values(videos: Iterable[Video], what: Callable[[Video], str]) -> dict[str, int]:
    """How many videos have each value, the empty one left out."""
    values = [what(video) for video in videos]
    return {value: values.count(value) for value in sorted(set(values)) if value}


def _places_itself(loader: Callable[..., Any]) -> bool:
    """Whether a loader can do without a folder, as those of generated data sets can."""
    root = inspect.signature(loader).parameters.get("root")
    return root is not None and root.default is None


def _check_options(name: str, loader: Callable[..., Any], options: dict[str, Any]) -> None:
    takes = list(inspect.signature(loader).parameters.values())[1:]  # the first is the root
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in takes):
        return
    known = [parameter.name for parameter in takes]
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)


def folder_of(name: str, root: Path | str | None) -> Path:
    """Where a data set lies; `InputError` that says how to tell."""
    found = Path(root).expanduser() if root is not None else _known_root(name)
    if found is None:
        place = os.environ.get("VIGIL_DATA", "")
        here = f"now {place}, which has none of {', '.join(_folders(name))}" if place else "not set"
        raise InputError(
            f"where is the data set {name!r}? Say it in one of three ways: root (--root FOLDER); "
            f"the environment variable VIGIL_DATA, a folder with a subfolder {name} ({here}); "
            f'or a line {name} = "FOLDER" in {user_file()}'
        )
    if not found.exists():
        raise InputError(f"{found}: no such folder; it was to hold the data set {name!r}")
    return found


def _known_root(name: str) -> Path | None:
    """The folder of a data set by environment or user file, or None."""
    place = Path(os.environ.get("VIGIL_DATA") or os.devnull).expanduser()
    if place.is_dir():
        folders = {_plain(path.name): path for path in sorted(place.iterdir()) if path.is_dir()}
        for candidate in map(_plain, _folders(name)):
            if candidate in folders:
                return folders[candidate]
    roots = _user_roots()
    return next((roots[key] for key in map(_plain, _folders(name)) if key in roots), None)


def _folders(name: str) -> list[str]:
    """The names a data set's folder may have: as asked, the full name, aliases."""
    full = ALIASES.get(name, name)
    aliases = [alias for alias, target in ALIASES.items() if target == full]
    return list(dict.fromkeys([name, full, *aliases, *MORE_FOLDERS.get(full, ())]))


def _plain(name: str) -> str:
    return re.sub(r"[-_ .]", "", name.lower())


def user_file() -> Path:
    """Where a user may keep the folders of data sets: `ped2 = "/data/ped2"`, one a line."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "vigil" / "roots.toml"


def _user_roots() -> dict[str, Path]:
    file = user_file()
    if not file.is_file():
        return {}
    try:
        table = tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: {error}") from error
    wrong = next((key for key, value in table.items() if not isinstance(value, str)), None)
    if wrong is not None:
        raise InputError(f'{file}: {wrong} = {table[wrong]!r}; expected {wrong} = "FOLDER"')
    return {_plain(key): Path(value).expanduser() for key, value in table.items()}
