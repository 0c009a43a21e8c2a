"""Lists of weakly labelled videos, as several projects write them, read to one form.

    S3R            csv, column video-id                 RTFM      paths of feature files (.list)
    Sultani        Class/Name.mp4                       VadCLIP   csv, columns path, label
                   Name.mp4  Class  s1  e1  s2  e2      XD   name s e s e ..., name B2 s e G s e
    ekosman        Class/Name.mp4 frames [Class s1 e1 s2 e2]
    ShanghaiTech   id,label[,frames]

Paths may be Linux or Windows ones. A video is known by its name alone; rows of several crops of one
video are one entry. Where a row stands in its list means nothing here.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from vigil.data.labels import read_text
from vigil.errors import InputError
from vigil.files import natural

SUFFIXES = (".npy", ".mp4", ".avi", ".mkv", ".mat", ".txt", ".h5", ".hdf5", ".safetensors")
# what projects append to a video's name: crop, backbone, "all crops" of Sultani's writer
TAIL = re.compile(r"(__\d{1,2}|__vggish|_(i3d|c3d|r3d\d*|clip|C)|(?<=x264)_\d)$")
FORM = re.compile(r"w(n|n?(w(nn)+)+|(nn)+)?")  # words and numbers of a line

Events = tuple[tuple[int, int, str], ...]  # (start, end, class), as the file says it


class Entry(NamedTuple):
    """One video of a list; None and "" where the list does not say."""

    name: str
    folder: str = ""
    kind: str = ""  # the label column: a class, "Normal", "0", "1", "B1-B2-0"
    frames: int | None = None
    events: Events | None = None  # () = normal, by these annotations


def video_id(path: str) -> str:
    """The name of a video in a path of its own or of its features.

    >>> video_id("D:\\\\i3d\\\\Abuse001_x264_i3d.npy"), video_id("RGB/v=a1__#1_label_A__4.npy")
    ('Abuse001_x264', 'v=a1__#1_label_A')
    """
    return without_tail(path)[0]


def without_tail(path: str) -> tuple[str, bool]:
    """(name, whether a crop's number was taken off it)."""
    name = path.replace("\\", "/").rpartition("/")[2].strip()
    suffix = os.path.splitext(name)[1]
    name = name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name
    crop = False
    while found := TAIL.search(name):
        crop |= found[0].lstrip("_").isdigit()
        name = name[: found.start()]
    return name, crop


def read_entries(path: Path) -> list[Entry]:
    """All videos of a list, in its order; `InputError` with file and line for what is none."""
    read = {".csv": _csv_rows, ".list": _path_rows}.get(path.suffix.lower(), _text_rows)
    found: dict[str, Entry] = {}
    for entry, crop in read(path):
        if entry.name in found and not crop:
            raise InputError(f"{path}: {entry.name} is listed twice")
        if entry.name in found and entry.kind != found[entry.name].kind:
            raise InputError(f"{path}: {entry.name} is listed as {entry.kind} and otherwise")
        found.setdefault(entry.name, entry)
    if not found:
        raise InputError(f"{path}: no video in this list")
    return list(found.values())


Rows = Iterator[tuple[Entry, bool]]


def _path_rows(path: Path) -> Rows:
    for line in read_text(path).splitlines():
        if line.strip():
            yield _entry(line.strip())


def _csv_rows(path: Path) -> Rows:
    rows = csv.reader(read_text(path).splitlines())
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and row[0].strip() in ("video-id", "path")):
            continue
        if len(row) > 2:
            raise InputError(f"{path}, line {number}: {row}; expected a video-id, or path,label")
        yield _entry(row[0], kind=row[1].strip() if len(row) == 2 else "")


def _text_rows(path: Path) -> Rows:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if len(words) == 1 and "," in line:
            yield _comma_row(line.strip(), f"{path}, line {number}")
        elif words:
            yield _spaced_row(words, f"{path}, line {number}")


def _comma_row(line: str, where: str) -> tuple[Entry, bool]:
    """id,label[,frames] of ShanghaiTech's weak split; -1 frames = not said."""
    name, kind, *more = line.split(",")
    if kind not in ("0", "1") or len(more) > 1 or not all(map(_number, more)):
        raise InputError(f"{where}: {line!r}; expected id,0 or id,1, and a number of frames")
    frames = int(more[0]) if more and int(more[0]) > 0 else None
    return _entry(name, kind=kind, frames=frames)


def _spaced_row(words: Sequence[str], where: str) -> tuple[Entry, bool]:
    form = "".join("n" if n and _number(word) else "w" for n, word in enumerate(words))
    if not FORM.fullmatch(form):
        raise InputError(
            f"{where}: {' '.join(words)[:120]!r}; expected a video, and perhaps its frames, its "
            "class and pairs of first and last frame"
        )
    frames = int(words[1]) if re.match(r"wn(w|$)", form) else None
    kind, events = "", []
    rest = words[2:] if frames is not None else words[1:]
    kinds, numbers = [word for word in rest if not _number(word)], list[int]()
    for word in rest:
        if not _number(word):
            kind = word
            continue
        numbers.append(int(word))
        if len(numbers) == 2:
            start, end = numbers
            numbers = []
            if (start, end) == (-1, -1):
                continue
            if not 0 <= start <= end:
                raise InputError(f"{where}: frames {start} to {end}; expected 0 <= first <= last")
            events.append((start, end, kind))
    said = len(rest) > 0
    one = kinds[0] if len(set(kinds)) == 1 else ""
    return _entry(words[0], kind=one, frames=frames, events=tuple(events) if said else None)


def _entry(
    path: str, kind: str = "", frames: int | None = None, events: Events | None = None
) -> tuple[Entry, bool]:
    name, crop = without_tail(path)
    folder = path.replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
    return Entry(name, folder, kind, frames, events), crop


def _number(word: str) -> bool:
    return re.fullmatch(r"-?\d{1,9}", word) is not None


# -- finding them --------------------------------------------------------------------------------
def files_below(root: Path) -> list[Path]:
    """Every file below a folder, hidden ones left out, in natural order of the paths."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    found = []
    for here, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: natural(path.relative_to(root).as_posix()))


def matching(files: Iterable[Path], patterns: Sequence[str]) -> list[Path]:
    """Files whose names fit, capitals or not: those of the first pattern before the others."""
    files = list(files)
    return list(
        dict.fromkeys(f for p in patterns for f in files if fnmatch(f.name.lower(), p.lower()))
    )


class Lists(NamedTuple):
    """The lists of one part: the first one counts, from the others comes what it does not say."""

    entries: dict[str, Entry]
    source: Path | None
    notes: tuple[str, ...] = ()


def read_lists(files: Sequence[Path]) -> Lists:
    """Entries of the first list, filled in by the others; where they differ, a note."""
    if not files:
        return Lists({}, None)
    entries = {entry.name: entry for entry in read_entries(files[0])}
    notes = []
    for file in files[1:]:
        other = {entry.name: entry for entry in read_entries(file)}
        more = [name for name in other if name not in entries]
        for words, names in (
            ("lacks", [name for name in entries if name not in other]),
            ("has beside those", more),
        ):
            if names:
                notes.append(f"{file.name} {words} of {files[0].name}: {shown(names)}")
        for name in entries.keys() & other.keys():
            entries[name] = _filled(entries[name], other[name], f"{file.name} and {files[0].name}")
    return Lists(entries, files[0], tuple(notes))


def check_parts(root: Path, train: Lists, test: Lists, wanted: str) -> None:
    """`InputError` where neither part lists a video (`wanted` names the set and its lists), or
    both list the same one."""
    if not train.entries and not test.entries:
        raise InputError(f"{root}: no list of {wanted}")
    if both := set(train.entries) & set(test.entries):
        raise InputError(f"{root}: {min(both)} is listed for training and for testing")


def _filled(one: Entry, two: Entry, where: str) -> Entry:
    """An entry with what another list says beyond it; `InputError` where the two disagree."""
    merged = {}
    for field in ("kind", "frames", "events"):
        first, second = getattr(one, field), getattr(two, field)
        unsaid = first is None or first == ""
        merged[field] = second if unsaid else first
        if field == "frames" and None not in (first, second) and first != second:
            raise InputError(f"{where} disagree on {one.name}: {first} and {second} frames")
    if one.events is not None and two.events is not None and _spans(one) != _spans(two):
        raise InputError(f"{where} disagree on {one.name}: events {one.events} and {two.events}")
    return one._replace(folder=one.folder or two.folder, **merged)


def _spans(entry: Entry) -> list[tuple[int, int]]:
    return [(start, end) for start, end, _ in entry.events or ()]


def shown(names: Sequence[str]) -> str:
    """A few names in words."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(sorted(names)[:6]) + more
