"""`vigil.toml`: what a person says about the videos of a folder, read strictly and written once."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vigil.data.labels import read_text
from vigil.errors import InputError, unknown
from vigil.records import Label

HEAD = """\
# The videos of this folder, for Vigil. Correct what was guessed wrongly; lines may be removed.
#   path     below this folder; an absolute path, or one outside, needs outside = true at the top
#   name     what the video is called everywhere, each name once
#   split    train: learn from it; val: choose and calibrate with it; test: measure or score it
#   label    normal, anomalous or unknown
#   scene    videos of one fixed camera share a scene          view   front, top, infrared, ...
#   fps      frames a second of an image folder (a video file knows its own)
#   seconds  when it is abnormal: [[3.0, 5.5], [9.0, 12.0, "falling"]], from, up to, what (if known)
#   frames   the same counted in frames from 0, the last one not included: [[75, 138]]
# A test video is measured if its label is normal, or if seconds or frames say when it is abnormal.
"""
TOP: dict[str, tuple[type, ...]] = {
    "name": (str,), "fps": (int, float), "outside": (bool,), "video": (list,),
}  # fmt: skip
KEYS: dict[str, tuple[type, ...]] = {
    "path": (str,), "name": (str,), "split": (str,), "label": (str,), "scene": (str,),
    "view": (str,), "fps": (int, float), "seconds": (list,), "frames": (list,),
}  # fmt: skip
SPANS = ("seconds", "frames")
CHOICES = {"split": ("train", "val", "test"), "label": ("normal", "anomalous", "unknown")}
Span = tuple[float, float, str]
Kinds = Mapping[str, tuple[type, ...]]


@dataclass(frozen=True)
class Entry:
    """One `[[video]]` of a manifest; spans are [from, up to) in seconds or frames, and what."""

    path: str
    name: str = ""
    split: str = "test"
    label: Label = "unknown"
    scene: str = ""
    view: str = ""
    fps: float | None = None
    seconds: tuple[Span, ...] | None = None
    frames: tuple[Span, ...] | None = None

    @property
    def spans(self) -> tuple[Span, ...] | None:
        """When it is abnormal; None where nothing is said."""
        return self.frames if self.seconds is None else self.seconds


@dataclass(frozen=True)
class Manifest:
    """A manifest, checked: paths stay in its folder, names differ, spans run forward."""

    file: Path
    entries: tuple[Entry, ...]
    name: str = ""
    fps: float | None = None


def read_manifest(file: Path) -> Manifest:
    """The manifest in `file`; `InputError` naming line, key and video of the first fault."""
    text = read_text(file)
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{file}: {error}") from error
    reader = _Reader(file, text)
    return Manifest(file, reader.entries(table), table.get("name", ""), table.get("fps"))


def manifest_text(manifest: Manifest) -> str:
    """The manifest as a person will read it, every key explained at the top."""
    text = f"{HEAD}\nname = {_quoted(manifest.name)}\nfps = {float(manifest.fps or 25)}\n"
    return text + "".join(_written(entry) for entry in manifest.entries)


def _written(entry: Entry) -> str:
    keys = {key: value for key, value in asdict(entry).items() if value}
    text = "\n[[video]]\n" + "".join(f"{key} = {_quoted(value)}\n" for key, value in keys.items())
    return text + ("# seconds = [[0.0, 0.0]]\n" if entry.split == "test" else "")


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{text!a}: a name that is not valid text; rename it") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class _Reader:
    """Checks a parsed manifest; keeps the text, to name the line of a fault."""

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.lines = file, text.splitlines()
        self.heads = [i for i, line in enumerate(self.lines) if re.match(r"\s*\[\[", line)]

    def fault(self, message: str, key: str = "", index: int | None = None) -> InputError:
        """The error, with the line of `key` in the video `index` (None: the top of the file)."""
        table = index is not None and index < len(self.heads)
        first = self.heads[index] if table and index is not None else 0
        stop = next((head for head in self.heads if head > first), len(self.lines))
        keyed = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        hits = (i for i in range(first, stop) if key and keyed.match(self.lines[i]))
        what = "" if index is None else f"video {index + 1}: "
        return InputError(f"{self.file}, line {next(hits, first) + 1}: {what}{message}")

    def entries(self, table: Mapping[str, Any]) -> tuple[Entry, ...]:
        self.known(table, TOP)
        self.positive(table)
        if not table.get("video"):
            raise self.fault("no [[video]] in it; `vigil data init` writes them")
        found: dict[str, Entry] = {}
        for index, keys in enumerate(table["video"]):
            if not isinstance(keys, dict):
                raise self.fault(f"{keys!r}; expected a table [[video]]", "video")
            entry = self.entry(keys, index, table.get("outside", False))
            if entry.name in found:
                raise self.fault(f"a second video called {entry.name!r}", "name", index)
            found[entry.name] = entry
        return tuple(found.values())

    def known(self, table: Mapping[str, Any], kinds: Kinds, index: int | None = None) -> None:
        """Every key known, every value of its kind."""
        for key, value in table.items():
            if key not in kinds:
                raise self.fault(str(unknown("key", key, kinds)), key, index)
            if type(value) not in kinds[key]:
                wanted = " or ".join(kind.__name__ for kind in kinds[key])
                raise self.fault(f"{key} = {value!r}; expected {wanted}", key, index)
            if key in CHOICES and value not in CHOICES[key]:
                raise self.fault(str(unknown(key, value, CHOICES[key])), key, index)

    def positive(self, table: Mapping[str, Any], index: int | None = None) -> None:
        if not 0 < table.get("fps", 1) <= 1000:
            raise self.fault(f"fps = {table['fps']}; expected 0 < fps <= 1000", "fps", index)

    def entry(self, keys: Mapping[str, Any], index: int, outside: bool) -> Entry:
        self.known(keys, KEYS, index)
        self.positive(keys, index)
        if not keys.get("path"):
            raise self.fault("no path; say which file or image folder it is", "path", index)
        self.inside(keys["path"], index, outside)
        name = keys.get("name") or self.stem(keys["path"])
        if re.search(r"[/\\\x00-\x1f]", name) or name.startswith("."):
            raise self.fault(f"name = {name!r}; expected no / and no dot in front", "name", index)
        split = keys.get("split", "test")
        label = keys.get("label", "unknown" if split == "test" else "normal")
        if "seconds" in keys and "frames" in keys:
            raise self.fault("both seconds and frames; expected one of them", "frames", index)
        spans = {key: self.spans(keys[key], key, index) for key in SPANS if key in keys}
        if label == "normal" and any(spans.values()):
            raise self.fault("label = 'normal', and yet abnormal at times", "label", index)
        scene, view, fps = keys.get("scene", ""), keys.get("view", ""), keys.get("fps")
        seconds, frames = spans.get("seconds"), spans.get("frames")
        return Entry(keys["path"], name, split, label, scene, view, fps, seconds, frames)

    def inside(self, path: str, index: int, outside: bool) -> None:
        """A manifest from elsewhere must not make Vigil read what lies beside its folder."""
        root = self.file.parent.resolve()
        if "\0" in path or not (outside or (root / path).resolve().is_relative_to(root)):
            raise self.fault(
                f"path = {path!r} lies outside {root}; if that is meant, "
                "write outside = true at the top of the file",
                "path",
                index,
            )

    def stem(self, path: str) -> str:
        full = self.file.parent / path
        return full.resolve().name if full.is_dir() else full.stem

    def spans(self, rows: list[Any], key: str, index: int) -> tuple[Span, ...]:
        found = []
        kinds = (int,) if key == "frames" else (int, float)
        for row in rows:
            times = row[:2] if isinstance(row, list) else []
            good = len(times) == 2 and all(type(t) in kinds and math.isfinite(t) for t in times)
            what = row[2:] if good else []
            if not good or not 0 <= times[0] < times[1] or not _one_text(what):
                example = "[75, 138]" if key == "frames" else '[3.0, 5.5] or [3.0, 5.5, "falling"]'
                raise self.fault(f"{key}: {row!r}; expected such as {example}", key, index)
            found.append((times[0], times[1], what[0] if what else "anomaly"))
        return tuple(found)


def _one_text(rest: list[Any]) -> bool:
    return not rest or (len(rest) == 1 and isinstance(rest[0], str) and rest[0] != "")
