"""Videos of weakly labelled sets: their files where they are here, their names and lengths else.

Such sets are mostly worked with as features that others have extracted, so a data set opens without
one video in it. What stands in a video's place knows its length, and says what is missing when its
pictures are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vigil.data._weak_lists import shown, video_id
from vigil.errors import InputError, VigilError
from vigil.records import Frame, Label, Video
from vigil.video.images import Opener
from vigil.video.read import VIDEO_SUFFIXES, open_video

CLIP = 16  # frames of a row in the published features


@dataclass(frozen=True)
class Absent(Opener):
    """A video that is not here: `count` frames by the lists or the features, None = not known."""

    name: str
    root: Path
    count: int | None
    fps: float
    reason: str = ""

    def __call__(self, short_side: int | None = None, start: float = 0.0) -> Iterator[Frame]:
        raise InputError(
            self.reason
            or f"{self.name}: no file {self.name}.mp4 (or .avi, ...) below {self.root}, so its "
            "pictures cannot be had; put it there, or work with features alone (--features DIR)"
        )

    def times(self) -> Iterator[float]:
        if self.count is None:
            raise InputError(
                f"{self.name}: neither the video nor a list with its number of frames is below "
                f"{self.root}; how long it is cannot be known"
            )
        return (i / self.fps for i in range(self.count))


class ByVideo(dict[str, str]):
    """{video: class, or "a+b"}, printed as how many videos there are of each class."""

    def __str__(self) -> str:
        kinds = Counter(kind for value in self.values() for kind in value.split("+"))
        return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))


class Finder:
    """Videos by name: opened where their files are, with something in their place else."""

    def __init__(
        self, root: Path, files: Sequence[Path], fps: float, size: tuple[int, int]
    ) -> None:
        self.root, self.fps, self.size = root, fps, size
        self.videos = _by_name(f for f in files if f.suffix.lower() in VIDEO_SUFFIXES)
        arrays = (f for f in files if f.suffix.lower() == ".npy" and "mask" not in f.parent.name)
        self.rows = {video_id(file.name): file for file in arrays}

    def video(
        self, name: str, path: str, count: int | None, label: Label, scene: str = ""
    ) -> Video:
        """The video called `name`; `path` is where it would lie, `count` its frames if listed."""
        file, reason = self.videos.get(name), ""
        if file is not None:
            try:
                return open_video(file, name=name, label=label, scene=scene)
            except VigilError as error:
                reason = str(error)
        count = self.count(name) if count is None else count
        absent = Absent(name, self.root, count, self.fps, reason)
        source = str(file or self.root / path)
        return Video(name, source, self.fps, self.size, absent, scene, label=label)

    def count(self, name: str) -> int | None:
        """Frames by the rows of a feature file, 16 each, where one lies here."""
        rows = _rows(self.rows[name]) if name in self.rows else None
        return None if rows is None else rows * CLIP

    def at_hand(self, videos: Iterable[Video]) -> str:
        """How many of the videos are here, in words; "" if all are."""
        names = [video.name for video in videos]
        here = sum(name in self.videos for name in names)
        if here == len(names):
            return ""
        return f"{here} of {len(names)}; the others open for work with features alone"


def _by_name(files: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        name = file.stem
        if name in found:
            raise InputError(f"two videos are called {name!r}: {found[name]} and {file}")
        found[name] = file
    return found


def _rows(file: Path) -> int | None:
    """The rows of a feature file (T, [crops,] D) by its header; None if it is no such file."""
    try:
        array: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        return int(array.shape[0]) if array.ndim in (2, 3) else None
    except Exception:  # whoever reads the features themselves will say what is wrong with them
        return None


def counted(found: Mapping[str, int], known: Mapping[str, int]) -> str:
    """Counts in words, each that differs from the published one with that beside it."""
    words = ", ".join(
        f"{count:,} {what}" + (f" (published: {known[what]:,})" if count != known[what] else "")
        for what, count in found.items()
    )
    return words + (": as published" if dict(found) == dict(known) else "")


def lost(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """A note on videos that copies of a list are known to have lost."""
    gone = [name for name in known if name not in set(names)]
    return [f"not in the list: {shown(gone)}, known to be missing from some copies"] if gone else []
