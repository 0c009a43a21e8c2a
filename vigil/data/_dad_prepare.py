"""`vigil data prepare dad`: the published driver data as a DAD_Jigsaw tree.

It does the work of three scripts of the clip-level extension of Jigsaw-VAD: recordings of normal
driving and of the test are gathered by view, video files become pictures, LABEL.csv becomes one
mask a recording.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vigil.data._dad_places import VIEWS, Place, find, view_of
from vigil.data._layouts_files import images
from vigil.data.dad import labels
from vigil.errors import InputError, unknown
from vigil.files import writing
from vigil.video.images import list_images
from vigil.video.read import count_frames

Progress = Callable[[int, int, str], None]  # recordings done, of how many, the one at hand
PARTS = {"train": "training", "test": "testing"}


def prepare_dad(
    root: Path | str,
    out: Path | str,
    view: str = "all",
    *,
    link: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write `out`/DAD_Jigsaw from the published layout in `root`; the folder.

    Labels are read first, so a fault in them costs no copying. Each folder of pictures appears
    whole or not at all; one that is there with as many pictures is kept, so a stopped call goes on
    where it was. link: hard links in place of copies (on one disk; they take no room).
    Raises `InputError` naming file and line for faulty labels, and where labels and frames differ.
    """
    if view != "all" and not view_of(view):
        raise unknown("view", view, ("all", *VIEWS))
    base, places, tree = find(Path(root))
    if tree:
        raise InputError(f"{base}: a DAD_Jigsaw tree already; `vigil data info dad` opens it")
    chosen = [p for p in places if view == "all" or p.view == view_of(view)]
    tests = {place.short: place for place in chosen if place.part == "test"}
    masks = {name: labels(base, place, places, 1.0)[0] for name, place in tests.items()}
    made = Path(out) / "DAD_Jigsaw"
    for done, place in enumerate(chosen):
        if progress:
            progress(done, len(chosen), f"{place.recording}/{place.view}")
        gather(place, made / PARTS[place.part] / place.view / "frames" / place.short, link)
    for name, frames in masks.items():
        with writing(made / "testing" / "frame_masks" / f"{name}.npy") as new:
            np.save(new, frames.astype(np.int8))  # (T,), the same for all views
    if progress:
        progress(len(chosen), len(chosen), "")
    return made


def gather(place: Place, folder: Path, link: bool) -> None:
    """One view's pictures under their own names, or a video file's frames."""
    video = place.path.is_file()
    there = len(list_images(folder)) if folder.is_dir() else 0
    count = count_frames(place.video(1.0)) if video else len(list_images(place.path))
    if there == count:
        return
    with writing(folder) as new:
        if video:
            images(place.video(1.0), new, "img_{}.png", grey=True)
            return
        new.mkdir()
        for file in list_images(place.path):
            put(file, new / file.name, link)


def put(file: Path, new: Path, link: bool) -> None:
    """A hard link where it is wanted and the disk can do it, else a copy."""
    if link:
        try:
            os.link(file, new)
            return
        except OSError:
            pass  # another disk, or one that knows no links
    shutil.copyfile(file, new)
