"""Where the recordings of the driver data lie: as published, or in a DAD_Jigsaw tree.

The test folders of both say the same by other names, val01/rec1 and 01_0001; here every recording
has its published name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vigil.data.folder import UNREADABLE, listing
from vigil.errors import InputError, VigilError
from vigil.records import Frame, Label, Video
from vigil.video.images import IMAGE_SUFFIXES, ImageFrames, Opener, list_images, read_image
from vigil.video.read import VIDEO_SUFFIXES, open_video

VIEWS = ("front_depth", "front_IR", "top_depth", "top_IR")
FORMS = ("{}/frames", "{}/videos", "{}")  # below training/ and testing/ of a DAD_Jigsaw tree


@dataclass(frozen=True, order=True)
class Place:
    """One view of one recording: a folder of pictures or a video file.

    part  "train" (subject: Tester; normal driving only) or "test" (subject: val)
    """

    part: str
    subject: int
    number: int
    view: str
    path: Path

    @property
    def recording(self) -> str:
        """Its published name: Tester1/normal_driving_1, val01/rec1."""
        if self.part == "train":
            return f"Tester{self.subject}/normal_driving_{self.number}"
        return f"val{self.subject:02}/rec{self.number}"

    @property
    def short(self) -> str:
        """Its name in a DAD_Jigsaw tree."""
        return f"{self.subject:02}_{self.number:04}"

    def video(self, fps: float) -> Video:
        """The video; one that cannot be opened raises the reason when its frames are read."""
        label: Label = "normal" if self.part == "train" else "unknown"
        name = f"{self.recording}/{self.view}"
        try:
            if self.path.is_file():
                return open_video(self.path, name=name, view=self.view, label=label)
            pictures = Pictures(self.path, fps, size_of(self.path))
        except VigilError as error:
            return Video(
                name, str(self.path), fps, UNREADABLE, Refuses(str(error)), "", self.view, label
            )
        return Video(name, str(self.path), fps, pictures.size, pictures, "", self.view, label)


@dataclass(frozen=True)
class Pictures(Opener):
    """Opens a folder of pictures, listed only then: the whole set has seven million."""

    folder: Path
    fps: float
    size: tuple[int, int]

    def frames(self) -> ImageFrames:
        return ImageFrames(tuple(list_images(self.folder)), self.fps, self.size)

    def __call__(self, short_side: int | None = None, start: float = 0.0) -> Iterator[Frame]:
        return self.frames()(short_side, start)

    def times(self) -> Iterator[float]:
        return self.frames().times()


@dataclass(frozen=True)
class Refuses:
    """In the place of an opener: raises why nothing can be read."""

    reason: str

    def __call__(self, short_side: int | None = None) -> Iterator[Frame]:
        raise InputError(self.reason)


def size_of(folder: Path) -> tuple[int, int]:
    """(height, width) of any picture of a folder."""
    file = first_of(folder, IMAGE_SUFFIXES)
    if file is None:
        raise InputError(f"{folder}: a folder without pictures; expected img_0.png, img_1.png, ...")
    height, width, _ = read_image(file).shape
    return height, width


def first_of(folder: Path, suffixes: frozenset[str]) -> Path | None:
    """Some file of these kinds in a folder, without listing all of it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if Path(entry.name).suffix.lower() in suffixes and not entry.name.startswith("."):
                return Path(entry.path)
    return None


def view_of(name: str) -> str:
    """The view that a folder or file is named after, however it is capitalised; "" for none.

    >>> view_of("FRONT_ir"), view_of("notes")
    ('front_IR', '')
    """
    return next((view for view in VIEWS if view.lower() == name.lower()), "")


# -- as published --------------------------------------------------------------------------------
def published(base: Path) -> list[Place]:
    """Tester1/normal_driving_1/front_IR/img_0.png, val01/rec1/...; also front_IR.avi."""
    found: list[Place] = []
    for folder in listing(base):
        match = re.fullmatch(r"(tester|val)_?0*([0-9]+)", folder.name.lower())
        if match is None or not folder.is_dir():
            continue
        part = "train" if match[1] == "tester" else "test"
        for recording in listing(folder):
            number = recording_number(recording, part)
            if number is not None:
                found += views_in(recording, part, int(match[2]), number)
    return sorted(found)


def recording_number(folder: Path, part: str) -> int | None:
    """The number of a recording that counts: those of training are of normal driving only."""
    start = "normal" if part == "train" else "rec"
    if not folder.is_dir() or not folder.name.lower().startswith(start):
        return None
    digits = re.search(r"([0-9]+)$", folder.name)
    return int(digits[1]) if digits else 1


def left_out(base: Path) -> int:
    """How many training recordings show something else than normal driving."""
    testers = [f for f in listing(base) if re.fullmatch(r"tester_?[0-9]+", f.name.lower())]
    inside = [folder for tester in testers if tester.is_dir() for folder in listing(tester)]
    return sum(f.is_dir() and recording_number(f, "train") is None for f in inside)


def views_in(recording: Path, part: str, subject: int, number: int) -> Iterator[Place]:
    """The views of one recording."""
    for path in listing(recording):
        folder = path.is_dir()
        view = view_of(path.name if folder else path.stem)
        if view and (folder or path.suffix.lower() in VIDEO_SUFFIXES):
            yield Place(part, subject, number, view, inner(path))


def inner(path: Path) -> Path:
    """The video file in a folder that holds no pictures, else the path itself."""
    if not path.is_dir() or first_of(path, IMAGE_SUFFIXES):
        return path
    return first_of(path, VIDEO_SUFFIXES) or path


# -- a DAD_Jigsaw tree ---------------------------------------------------------------------------
def jigsaw(base: Path) -> list[Place]:
    """training/front_IR/frames/01_0001/img_0.png, testing/...; also 01_0001.avi."""
    found: list[Place] = []
    for part, folder in {"train": base / "training", "test": base / "testing"}.items():
        for of_view in listing(folder) if folder.is_dir() else ():
            view = view_of(of_view.name)
            forms = (folder / form.format(of_view.name) for form in FORMS)
            inside = next((f for f in forms if f.is_dir() and listing(f)), None) if view else None
            for path in listing(inside) if inside else ():
                match = re.fullmatch(r"([0-9]+)_([0-9]+)", path.stem)
                if match and (path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES):
                    found.append(Place(part, int(match[1]), int(match[2]), view, inner(path)))
    return sorted(found)


def find(root: Path) -> tuple[Path, list[Place], bool]:
    """The folder that holds the data, its recordings, and whether it is a DAD_Jigsaw tree."""
    for base in (root, root / "DAD", root / "DAD_Jigsaw"):
        if not base.is_dir():
            continue
        for places, tree in ((published(base), False), (jigsaw(base), True)):
            if places:
                return base, places, tree
    raise InputError(
        f"{root}: neither Tester1/normal_driving_1/front_IR/ nor training/front_IR/frames/01_0001/ "
        "below it; give the folder that holds the driver data, or a DAD_Jigsaw tree"
    )
