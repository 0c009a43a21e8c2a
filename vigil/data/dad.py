"""DAD, driver anomaly detection: a driver seen by two cameras, each with depth and infrared.

Two layouts are read, pictures or video files, and give the same names. The published one:

    Tester1/normal_driving_1/front_IR/img_0.png      25 subjects, 45 frames a second, 224x171
    val01/rec1/top_depth/img_0.png                   6 subjects, 10,000 frames a recording
    LABEL.csv                                        (see _dad_labels.py)

and the one that the clip-level extension of Jigsaw-VAD makes of it (`vigil data prepare dad`):

    DAD_Jigsaw/training/front_IR/frames/01_0001/img_0.png
    DAD_Jigsaw/testing/frame_masks/01_0001.npy       (one 0 or 1 a frame)

Training is one-class: of the training recordings only those of normal driving are taken, though
the data set's own paper learns from the anomalous ones too. Untried on the real files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from vigil.data._dad_labels import Key, Stretch, marked, read_labels
from vigil.data._dad_places import VIEWS, Place, find, left_out, view_of
from vigil.data.base import DataSet, Split
from vigil.data.labels import facts, frame_mask, test_split
from vigil.errors import InputError, unknown
from vigil.records import Truth, Video
from vigil.video.read import count_frames

CITE = """@inproceedings{kopuklu2021driver,
  title = {Driver Anomaly Detection: A Dataset and Contrastive Learning Approach},
  author = {Kopuklu, Okan and Zheng, Jiapeng and Xu, Hang and Rigoll, Gerhard},
  booktitle = {IEEE Winter Conference on Applications of Computer Vision (WACV)},
  year = {2021}
}"""
LICENCE = "no licence in the files; published for research, with the request to cite"
FPS = "45 frames/s as published (option fps)"
RECORDINGS = {"train": 150, "test": 36}  # of normal driving; all
LENGTH = 10_000  # frames of a test recording
LABELS = ("open_closed_set_annotations_for_test.csv", "LABEL.csv")
MASKS = ("testing/frame_masks", "frame_masks")


def open_dad(root: Path | str, view: str = "all", *, fps: float = 45.0) -> DataSet:
    """Driver anomaly detection (150 normal training, 36 test recordings, 4 views of each).

    A video is called RECORDING/VIEW, e.g. val01/rec1/front_IR, so that views of one moment can be
    joined. `view` keeps one of VIEWS, or "all". `fps` is that of folders of pictures. Raises
    `InputError` where no known layout is found, and for a view that is not here; labels are read,
    and checked, when asked for.
    """
    if view != "all" and not view_of(view):
        raise unknown("view", view, ("all", *VIEWS))
    base, places, tree = find(Path(root))
    wanted = VIEWS if view == "all" else (view_of(view),)
    found = [place for place in places if place.view in wanted]
    if not found:
        here = ", ".join(sorted({place.view for place in places}))
        raise InputError(f"{base}: no recording of view {wanted[0]}; here are {here}")
    parts = {
        part: {place: place.video(fps) for place in found if place.part == part}
        for part in RECORDINGS
    }
    train, test = (tuple(videos.values()) for videos in parts.values())
    known = expected(len(wanted))
    info = facts(base, known, train, test, licence=LICENCE, cite=CITE, fps=FPS, tried=TRIED)
    info |= {"layout": "DAD_Jigsaw" if tree else "as published"} | notes(base, found, wanted, tree)
    read = partial(truth, base, {v.name: place for place, v in parts["test"].items()}, places, fps)
    name = "" if view == "all" else wanted[0]
    return DataSet("dad", Split(train), test_split(test, read), None, name, info)


def short_name(recording: str) -> str:
    """A recording's name in a DAD_Jigsaw tree; any other name as it is.

    >>> short_name("val01/rec2"), short_name("Tester25/normal_driving_6"), short_name("01")
    ('01_0002', '25_0006', '01')
    """
    match = re.fullmatch(r"(?:val|Tester)0*(\d+)/(?:rec|normal_driving_)(\d+)", recording)
    return f"{int(match[1]):02}_{int(match[2]):04}" if match else recording


TRIED = "on generated trees of both layouts; untried on the real files"


def expected(views: int) -> dict[str, int]:
    """What is known of the complete set, in so many of its views."""
    count = {f"{part} videos": views * number for part, number in RECORDINGS.items()}
    return {**count, "test frames": views * RECORDINGS["test"] * LENGTH}


def notes(
    base: Path, places: Sequence[Place], wanted: Sequence[str], tree: bool
) -> dict[str, str | int]:
    """What a person should know of the files: views that are missing, recordings left out."""
    views: dict[str, set[str]] = {}
    for place in places:
        views.setdefault(place.recording, set()).add(place.view)
    gaps = [f"{name} has no {v}" for name, has in views.items() for v in wanted if v not in has]
    found: dict[str, str | int] = {"views missing": "; ".join(gaps)} if gaps else {}
    if not tree and (other := left_out(base)):
        found["left out"] = f"{other} training recordings of other acts than normal driving"
    return found


# -- labels --------------------------------------------------------------------------------------
def truth(
    base: Path, by_name: Mapping[str, Place], places: Sequence[Place], fps: float, video: Video
) -> Truth:
    """The labels of one view: those of its recording, as far as the view goes on."""
    frames, classes = labels(base, by_name[video.name], places, fps)
    count = count_frames(video)  # a camera may stop before the others
    if count > len(frames):
        raise InputError(f"{video.source}: {count} frames, but {len(frames)} labels for them")
    return Truth(frames[:count], None if classes is None else classes[:count])


def labels(
    base: Path, place: Place, places: Sequence[Place], fps: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """(T,) bool of one test recording, and its classes if they are told.

    `InputError` where its longest view has not as many frames.
    """
    frames, classes, file = stated(base, place)
    views = (p for p in places if (p.part, p.recording) == (place.part, place.recording))
    longest = 0
    for view in views:
        longest = max(longest, count_frames(view.video(fps)))
        if longest == len(frames):
            return frames, classes
    raise InputError(
        f"{file}: {len(frames)} labels for {place.recording}, whose longest view has {longest} "
        "frames; expected one a frame"
    )


def stated(base: Path, place: Place) -> tuple[np.ndarray, np.ndarray | None, Path]:
    """(T,) bool of one test recording as a file says, its classes if they are told, the file."""
    masks = (base / folder / f"{place.short}.npy" for folder in MASKS)
    mask = next((file for file in masks if file.is_file()), None)
    if mask is not None:
        return frame_mask(mask), None, mask
    files = (folder / name for folder in (base, base.parent) for name in LABELS)
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise InputError(f"{base}: no LABEL.csv and no testing/frame_masks/{place.short}.npy")
    found = read_once(file, file.stat().st_mtime_ns)
    if (place.subject, place.number) not in found:
        raise InputError(f"{file}: no row of {place.recording}")
    return *marked(found[place.subject, place.number]), file


@cache
def read_once(file: Path, changed: int) -> dict[Key, list[Stretch]]:
    """The labels of a file, read again only where it has changed."""
    return read_labels(file)
