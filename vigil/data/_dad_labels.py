"""LABEL.csv of the driver data: who, which recording, from which frame to which, and what.

val01  ,rec1,0,2499,N      the subject is named on its first row only, with trailing spaces,
,,2500,3122,A              a recording on its first row only; the last frame is included
,rec2,0,9999,N,            blank rows may stand anywhere; a sixth column says 1 where an act
,,6249,7002,A,1            occurs in no training recording
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vigil.data.labels import read_text
from vigil.errors import InputError

Key = tuple[int, int]  # subject, recording


class Stretch(NamedTuple):
    """Frames [start, stop) of one recording, and what they are."""

    start: int
    stop: int
    abnormal: bool
    unseen: str  # the sixth column: "1", "0" or, where there is none, ""


def read_labels(path: Path) -> dict[Key, list[Stretch]]:
    """The stretches of every recording; they tile it from frame 0 on, without gap or overlap.

    `InputError` names the line that is wrong.
    """
    found: dict[Key, list[Stretch]] = {}
    subject = recording = 0
    for line, row in enumerate(csv.reader(read_text(path).splitlines()), 1):
        cells = [cell.strip() for cell in row]
        where = f"{path}, line {line}"
        if not any(cells) or (line == 1 and is_header(cells)):
            continue
        if len(cells) < 5:
            raise InputError(f"{where}: {len(cells)} columns; expected {','.join(COLUMNS)}")
        if cells[0]:
            subject, recording = number(cells[0], where, "val01"), 0
        if cells[1]:
            recording = number(cells[1], where, "rec1")
            if (subject, recording) in found:
                raise InputError(f"{where}: {name(subject, recording)} a second time")
        if not subject or not recording:
            raise InputError(f"{where}: no subject and recording is named before these frames")
        found.setdefault((subject, recording), []).append(stretch(cells, where))
        check_tiles(found[subject, recording][-2:], name(subject, recording), where)
    if not found:
        raise InputError(f"{path}: no label in it; expected rows such as val01,rec1,0,2499,N")
    return found


COLUMNS = ("subject", "recording", "first frame", "last frame", "N or A")


def is_header(cells: list[str]) -> bool:
    """Whether a first row only names the columns."""
    return len(cells) > 3 and not any(char.isdigit() for char in cells[2] + cells[3])


def number(text: str, where: str, like: str) -> int:
    """The number at the end of "val01" or "rec1"."""
    match = re.fullmatch(r"[A-Za-z_ ]*0*([1-9][0-9]*)", text)
    if match is None:
        raise InputError(f"{where}: {text!r}; expected a name such as {like}")
    return int(match[1])


def name(subject: int, recording: int) -> str:
    """A test recording as it is called everywhere: val01/rec1."""
    return f"val{subject:02}/rec{recording}"


def stretch(cells: list[str], where: str) -> Stretch:
    """One row's frames, their last one included in the file, excluded here."""
    try:
        first, last = int(cells[2]), int(cells[3])
    except ValueError:
        raise InputError(
            f"{where}: frames {cells[2]!r} to {cells[3]!r}; expected two whole numbers"
        ) from None
    if not 0 <= first <= last:
        raise InputError(f"{where}: frames {first} to {last}; expected 0 <= first <= last")
    if cells[4] not in ("N", "A"):
        raise InputError(f"{where}: {cells[4]!r}; expected N (normal) or A (anomalous)")
    unseen = cells[5] if len(cells) > 5 else ""
    if unseen not in ("", "0", "1"):
        raise InputError(f"{where}: {unseen!r} in the sixth column; expected 0, 1 or nothing")
    return Stretch(first, last + 1, cells[4] == "A", unseen)


def check_tiles(pair: list[Stretch], what: str, where: str) -> None:
    """A stretch begins where the one before it ends, the first one at frame 0."""
    expected, first = (pair[0].stop if len(pair) > 1 else 0), pair[-1].start
    if first > expected:
        raise InputError(f"{where}: a gap, frames {expected} to {first - 1} of {what} unlabelled")
    if first < expected:
        raise InputError(
            f"{where}: an overlap, frames {first} to {min(expected, pair[-1].stop) - 1} of {what} "
            "labelled twice"
        )


def marked(stretches: list[Stretch]) -> tuple[np.ndarray, np.ndarray | None]:
    """(T,) bool, True where anomalous; (T,) class "seen" or "unseen" of those frames, None where
    the file does not tell them apart."""
    length = stretches[-1].stop
    frames = np.zeros(length, bool)
    classes = np.full(length, "", "<U6")
    for start, stop, abnormal, unseen in stretches:
        frames[start:stop] = abnormal
        classes[start:stop] = ("unseen" if unseen == "1" else "seen") if abnormal else ""
    told = any(part.unseen for part in stretches)
    return frames, classes if told else None
