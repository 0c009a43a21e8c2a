"""Is a data set what it should be? Every fault found, none of them raised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vigil.data.base import DataSet, Split
from vigil.data.catalog import open_dataset
from vigil.errors import InputError, VigilError
from vigil.records import Video
from vigil.video.images import list_images, read_image
from vigil.video.read import count_frames

log = logging.getLogger("vigil")
Progress = Callable[[int, int, str], None]  # videos done, of how many, the one at hand


@dataclass(frozen=True)
class Problem:
    """One fault of a data set: the file, what was found there, what was expected."""

    file: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}: {self.found}; expected {self.expected}"


def verify(dataset: DataSet, progress: Progress | None = None) -> list[Problem]:
    """Decode every frame and read every label; all that is wrong, in the order of the videos.

    Found are: files that cannot be read to their end, empty ones, frames of another size, holes
    in the numbers of frames, missing labels, labels or given boxes longer or shorter than the
    video, one file under two names, counts that differ from what is known of the data set.
    `progress(done, of, name)` is called before each video. Never raises for a fault of the data.
    """
    problems: list[Problem] = []
    found: dict[str, int] = {}
    done, total = 0, sum(map(len, (dataset.train, dataset.val or (), dataset.test)))
    for part, split in {"train": dataset.train, "val": dataset.val, "test": dataset.test}.items():
        if split is None:
            continue
        counts = []
        for video in split:
            if progress:
                progress(done, total, video.name)
            done += 1
            count, faults = _video(video)
            counts.append(count)
            problems += faults
        found |= {f"{part} videos": len(split), f"{part} frames": sum(counts)}
    problems += _twice(dataset)
    if dataset.info.get("labels") != "none":  # a folder of videos to be scored has none to miss
        found["abnormal test frames"], faults = _labels(dataset)
        problems += faults
    return problems + list(_facts(dataset, found))


def verify_named(name: str, root: Path | str | None = None, **options: Any) -> list[Problem]:
    """`verify` for a data set by name, one that does not even open (duplicate names) included."""
    try:
        dataset = open_dataset(name, root, **options)
    except InputError as error:
        return [Problem(str(root or name), str(error), "a data set that opens")]
    return verify(dataset)


def _video(video: Video) -> tuple[int, list[Problem]]:
    """The number of frames that can be read, and what is wrong with them."""
    folder = Path(video.source)
    read = _pictures(folder) if folder.is_dir() and list_images(folder) else _decoded(video)
    count, problems = read
    return count, [*problems, *_numbers(folder), *_stated(video, count), *_given(video)]


def _decoded(video: Video) -> tuple[int, list[Problem]]:
    """All frames of a video file, and all that its reader complains of or gives up at."""
    whole = "a video that can be read to its end"
    count, heard = 0, _Heard()
    log.addHandler(heard)
    try:
        for _ in video.frames():
            count += 1
    except VigilError as error:
        heard.messages.append(str(error))
    except Exception as error:  # a decoder met something nobody foresaw; the others go on
        heard.messages.append(f"{type(error).__name__}: {error}")
    finally:
        log.removeHandler(heard)
    found = heard.messages or ([] if count else ["no frame"])
    return count, [Problem(video.source, message, whole) for message in found]


class _Heard(logging.Handler):
    """Keeps what is logged: readers go on after damage, and say so there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _pictures(folder: Path) -> tuple[int, list[Problem]]:
    """Every image of a folder by itself, so that a broken one does not hide the next."""
    good, problems = 0, []
    size: tuple[int, ...] = ()
    for file in list_images(folder):
        try:
            found = read_image(file).shape[:2]
        except VigilError as error:
            problems.append(Problem(str(file), str(error), "a readable image"))
            continue
        size = size or found
        good += found == size
        if found != size:
            what = f"{found[1]}x{found[0]} pixels"
            problems.append(Problem(str(file), what, f"{size[1]}x{size[0]} as the first"))
    return good, problems


def _numbers(folder: Path) -> Iterator[Problem]:
    """Holes and repeats in the numbers of an image folder's files."""
    files = list_images(folder) if folder.is_dir() else []
    digits = ("".join(c for c in file.stem if c.isdecimal()) for file in files)
    numbers = sorted(int(digit) for digit in digits if digit)
    for before, after in zip(numbers, numbers[1:], strict=False):
        if after == before:
            yield Problem(str(folder), f"two frames numbered {after}", "each number once")
        elif after > before + 1:
            gap = f"{before + 1}" if after == before + 2 else f"{before + 1} to {after - 1}"
            yield Problem(str(folder), f"no frame {gap}", f"every frame up to {numbers[-1]}")


def _stated(video: Video, count: int) -> Iterator[Problem]:
    """Fewer frames than the container says: cut off, most likely."""
    if not Path(video.source).is_file() or count == 0:
        return
    import av

    try:
        with av.open(video.source) as container:
            stated = container.streams.video[0].frames
    except Exception:  # its reading has already been told about
        return
    if count < stated:
        yield Problem(video.source, f"{count} frames can be read", f"the {stated} it says it has")


def _given(video: Video) -> Iterator[Problem]:
    for role, load in video.given.items():
        try:
            load()
        except VigilError as error:
            yield Problem(video.source, str(error), f"{role} for every frame")


def _twice(dataset: DataSet) -> Iterator[Problem]:
    """One file in two parts or under two names: a test video to learn from, say."""
    seen: dict[Path, str] = {}
    for part in ("train", "val", "test"):
        split: Split | None = getattr(dataset, part)
        for video in split or ():
            path, name = Path(video.source).resolve(), f"{part} video {video.name}"
            if path in seen:
                yield Problem(video.source, f"it is {seen[path]} and {name}", "one place for each")
            seen[path] = name


def _labels(dataset: DataSet) -> tuple[int, list[Problem]]:
    """How many test frames are labelled abnormal; labels and masks that do not fit."""
    abnormal, problems = 0, []
    for video in dataset.test:
        try:
            truth = dataset.test.truth(video.name)
            frames = count_frames(video)
            if len(truth.frames) != frames:
                raise InputError(f"{len(truth.frames)} labels for {frames} frames of {video.name}")
            abnormal += int(truth.frames.sum())
            masks = None if truth.masks is None else truth.masks().any(axis=(1, 2))
        except VigilError as error:
            problems.append(Problem(video.source, str(error), "one label a frame"))
            continue
        if masks is not None and (masks != truth.frames).any():
            differ = f"masks and labels of {video.name} differ on {(masks != truth.frames).sum()}"
            problems.append(Problem(video.source, f"{differ} frames", "a mask where abnormal"))
    return abnormal, problems


def _facts(dataset: DataSet, found: dict[str, int]) -> Iterator[Problem]:
    for what, expected in dataset.info.get("expected", {}).items():
        if what in found and found[what] != expected:
            where = str(dataset.info.get("root", dataset.name))
            yield Problem(where, f"{found[what]} {what}", f"{expected} in the complete set")
