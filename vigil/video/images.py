"""Folders of images read as video, and what every reader of frames shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vigil.errors import ConfigError, InputError
from vigil.files import natural
from vigil.records import Frame, Label, Video

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})


class Opener(ABC):
    """What `Video.open` is here: called, it yields frames; it can also tell their times alone."""

    @abstractmethod
    def __call__(self, short_side: int | None = None, start: float = 0.0) -> Iterator[Frame]:
        """The frames from `start` seconds on; their times count from the video's first frame."""

    @abstractmethod
    def times(self) -> Iterator[float]:
        """The time of every frame, without making its picture."""


def scaled_size(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """(h, w) of the frames that `short_side` asks for: aspect kept, rounded, never enlarged.

    >>> scaled_size((1080, 1920), 240), scaled_size((240, 320), 480)
    ((240, 427), (240, 320))
    """
    short = min(size)
    if short_side is None or short_side >= short:
        return size
    if short_side < 1:
        raise ConfigError(f"short_side {short_side}; expected at least 1 pixel")
    height, width = ((2 * side * short_side + short) // (2 * short) for side in size)
    return height, width


@dataclass(frozen=True)
class ImageFrames(Opener):
    """Opens a folder of images: frame i at i / fps seconds."""

    files: tuple[Path, ...]
    fps: float
    size: tuple[int, int]

    def __call__(self, short_side: int | None = None, start: float = 0.0) -> Iterator[Frame]:
        import cv2

        height, width = size = scaled_size(self.size, short_side)
        for file, time in zip(self.files, self.times(), strict=True):
            if time < start:
                continue
            image = read_image(file)
            if image.shape[:2] != self.size:
                raise InputError(
                    f"{file}: {_size(image.shape[:2])} pixels, but the first image of the folder "
                    f"has {_size(self.size)}; expected one size"
                )
            if size != self.size:
                image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            yield Frame(image, time)

    def times(self) -> Iterator[float]:
        return (i / self.fps for i in range(len(self.files)))


def open_images(
    folder: str | Path,
    *,
    fps: float = 25.0,
    suffixes: Sequence[str] | None = None,
    files: Sequence[str | Path] | None = None,
    name: str | None = None,
    scene: str = "",
    view: str = "",
    label: Label = "unknown",
    given: Mapping[str, Callable[[], Any]] | None = None,
) -> Video:
    """A folder of images as one video, in natural order of their names ("2" before "10").

    Images are tif, jpg, png or bmp (or just `suffixes`), grey or colour; 16-bit values keep their
    high byte. Hidden files and anything else in the folder are passed over. `files` instead
    names the images in order (paths, or names in the folder). The name is the folder's.

    Raises InputError (no such folder, unreadable, without images, first image broken); a broken
    image, or one of another size, raises InputError with its name when it is reached.
    """
    folder = Path(folder)
    chosen = [folder / f for f in files] if files is not None else list_images(folder, suffixes)
    if not chosen:
        wanted = ", ".join(sorted(suffixes or IMAGE_SUFFIXES))
        raise InputError(f"{folder}: a folder without images; expected files in {wanted}")
    height, width, _ = read_image(chosen[0]).shape
    return Video(
        name or folder.resolve().name, str(folder), fps, (height, width),
        ImageFrames(tuple(chosen), fps, (height, width)), scene, view, label, given or {},
    )  # fmt: skip


def list_images(folder: Path, suffixes: Sequence[str] | None = None) -> list[Path]:
    """The images directly in a folder, in natural order; InputError if it cannot be read."""
    try:
        files = [f for f in folder.iterdir() if _is_image(f, suffixes) and f.is_file()]
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror}); expected a folder"
        ) from None
    return sorted(files, key=lambda file: (natural(file.name), file.name))


def read_image(file: Path) -> np.ndarray:
    """One image as (H, W, 3) uint8 RGB; InputError with its name if that fails."""
    import cv2

    try:
        coded = np.frombuffer(file.read_bytes(), np.uint8)
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except cv2.error as error:
        raise InputError(f"{file}: not a readable image ({error.err})") from None
    if image is None:
        raise InputError(f"{file}: not a readable image; replace it or take it out of the folder")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_image(file: Path, suffixes: Sequence[str] | None) -> bool:
    allowed = IMAGE_SUFFIXES if suffixes is None else suffixes
    return not file.name.startswith(".") and file.suffix.lower() in allowed


def _size(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"
