"""XD-Violence: 4,754 videos from films and the web, of six kinds of violence, some of several.

    rgb.list, audio.list, flow.list               3,954 training videos (2,049 normal)
    rgb_test.list, ...                            800 to test (300 normal)
    annotations.txt, annotations_multiclasses.txt first and last frame of each event
    videos/NAME.mp4                               (anywhere below the root, or nowhere at all)

The lists may also be csv (S3R, VadCLIP) or name one file a video; labels may be VadCLIP's arrays. A
video's classes are read from its name: "..._label_B2-G-0" holds shooting and an explosion, and
"..._label_A" is normal. Without the videos the data set opens for work with features; how long a
video is then comes from the feature files below the root, 16 frames a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vigil.data._weak_lists import (
    Entry,
    Events,
    Lists,
    check_parts,
    files_below,
    matching,
    read_entries,
    read_lists,
)
from vigil.data._weak_truth import Convention, cut_labels, marked, offsets, read_segments
from vigil.data._weak_videos import ByVideo, Finder, counted, lost
from vigil.data.base import DataSet, Split
from vigil.data.labels import facts, test_split
from vigil.errors import InputError
from vigil.records import Label, Truth, Video
from vigil.video.read import count_frames

CITE = """@inproceedings{wu2020not,
  title = {Not only Look, but also Listen: Learning Multimodal Violence Detection under Weak
           Supervision},
  author = {Wu, Peng and Liu, Jing and Shi, Yujia and Sun, Yujia and Shao, Fangtao and
            Wu, Zhaoyang and Yang, Zhiwei},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2020}
}"""
LICENCE = "no licence in the files; published for research, with the request to cite"
CLASSES = {
    "B1": "fighting", "B2": "shooting", "B4": "riot", "B5": "abuse", "B6": "car accident",
    "G": "explosion",
}  # fmt: skip
SIZE = (360, 640)  # taken for a video that is not here; the videos differ
EXPECTED = {"train videos": 3954, "test videos": 800}
TRAIN_LABELS = {"anomalous": 1905, "normal": 2049}
TEST_COUNTS = {"anomalous": 500, "normal": 300, "annotated": 500}
LOST = ("v=8cTqh9tMz_I__#1_label_A",)
TRAIN_LISTS = (
    "rgb.list", "audio.list", "flow.list", "*xd*train*.list", "*xd*train*.csv", "*xd*rgb.csv",
)  # fmt: skip
TEST_LISTS = (
    "rgb_test.list", "audio_test.list", "flow_test.list", "*xd*test*.list", "*xd*test*.csv",
)  # fmt: skip
TIMES = ("*annotations_multiclasses*.txt", "*annotations.txt")
SEGMENTS, SEGMENT_CLASSES = ("*gt_segment.npy",), ("*gt_label.npy",)
WHOLE = ("gt.npy", "gt-xd*.npy", "gt_xd*.npy")


def open_xd_violence(
    root: Path | str,
    *,
    annotations: Path | str | None = None,
    events: Convention = "half-open",
    fps: float = 24.0,
) -> DataSet:
    """XD-Violence (3,954 training videos with labels, 800 test videos with times).

    annotations  a file of times, or a folder that holds one, if it is not below the root
    events       how first and last frames are meant: "half-open" ([s, e) from 0; events start at
                 0), "one-based" (from 1, last included) or "inclusive" (from 0, last included)
    fps          of videos that are not here

    Raises `InputError` where no list is found, or one says of a video what its name does not.
    """
    offsets(events)
    root = Path(root)
    files = files_below(root)
    train, test = (read_lists(matching(files, part)) for part in (TRAIN_LISTS, TEST_LISTS))
    check_parts(
        root, train, test, "XD-Violence: rgb.list and rgb_test.list (or audio, flow), or "
        "lists and csv files with xd in their names"
    )  # fmt: skip
    for lists in (train, test):
        _check_kinds(lists)
    finder = Finder(root, files, fps, SIZE)
    learn = tuple(_video(finder, train.entries[name], True) for name in sorted(train.entries))
    tests = tuple(_video(finder, test.entries[name], False) for name in sorted(test.entries))
    known = _Known([*_more(annotations), *files], test, finder, events)
    info = facts(root, EXPECTED, learn, tests, licence=LICENCE, cite=CITE, fps=f"{fps:g}")
    info["expected"] |= {"train labels": TRAIN_LABELS}
    info |= _told(train, test, known, finder.at_hand([*learn, *tests]))
    split = test_split(tests, partial(_truth, known))
    return DataSet("xd-violence", Split(learn), split, info=info)


def _more(annotations: Path | str | None) -> list[Path]:
    """The file, or the files of the folder, that a user named."""
    place = Path(annotations).expanduser() if annotations is not None else None
    if place is None or place.is_file():
        return [place] if place else []
    return files_below(place)


# -- what a name says ----------------------------------------------------------------------------
def codes_of(name: str) -> set[str]:
    """The codes of the classes that a video's name tells, none for a normal one.

    Raises `InputError` for a name without "_label_", or with a code that nobody knows.
    """
    said = name.rpartition("_label_")
    codes = set(said[2].split("-")) - {"0"}
    if not said[1] or not codes <= {"A", *CLASSES} or ("A" in codes and len(codes) > 1):
        raise InputError(
            f"{name}: expected a name that ends in _label_A or in codes of {', '.join(CLASSES)}, "
            "such as _label_B2-G-0"
        )
    return codes - {"A"}


def class_of(codes: set[str]) -> str:
    """One name for a set of codes.

    >>> class_of({"G", "B2"}), class_of(set())
    ('explosion+shooting', '')
    """
    return "+".join(sorted(CLASSES[code] for code in codes))


def _check_kinds(lists: Lists) -> None:
    """`InputError` if a column of classes is not what a name says."""
    for entry in lists.entries.values():
        said, told = set(entry.kind.split("-")) - {"", "0", "A", "Normal"}, codes_of(entry.name)
        if entry.kind and said != told:
            raise InputError(
                f"{lists.source}: {entry.name} is listed as {entry.kind}, its name says "
                f"{class_of(told) or 'normal'}"
            )


def _video(finder: Finder, entry: Entry, train: bool) -> Video:
    label: Label = "unknown"
    if train:
        label = "anomalous" if codes_of(entry.name) else "normal"
    return finder.video(entry.name, f"videos/{entry.name}.mp4", entry.frames, label)


# -- when something happens ----------------------------------------------------------------------
class _Known:
    """Times or labels of the test videos, by name, and where they come from."""

    def __init__(self, files: Sequence[Path], test: Lists, finder: Finder, convention: str) -> None:
        self.test, self.convention = test, convention
        self.source: Path | None = None
        self.events: Mapping[str, Events] = {}
        self.labels: Mapping[str, np.ndarray] = {}
        times = matching(files, TIMES)
        segments, classes = matching(files, SEGMENTS), matching(files, SEGMENT_CLASSES)
        whole = matching(files, WHOLE)
        orders = matching(files, TEST_LISTS)
        names = [entry.name for entry in read_entries(orders[0])] if orders else []
        if times:
            self.source = times[0]
            self.events = {entry.name: entry.events or () for entry in read_entries(times[0])}
        elif segments and classes:
            self.source = segments[0]
            self.events = read_segments(segments[0], classes[0], names, codes_of)
        elif whole:
            self.source = whole[0]
            lengths = {name: finder.count(name) or 0 for name in names}
            self.labels = cut_labels(whole[0], lengths, lambda name: not codes_of(name))


def _truth(known: _Known, video: Video) -> Truth:
    """(T,) labels and classes of a test video; a frame of two classes is "explosion+shooting"."""
    name, codes, source = video.name, codes_of(video.name), known.source
    length = count_frames(video)
    if name in known.labels:
        frames = known.labels[name][:length]
        if len(frames) < length:
            raise InputError(f"{source}: {len(frames)} labels for {name}, which has {length}")
        return Truth(frames, np.where(frames, class_of(codes), ""))
    events = known.events.get(name, ())
    if bool(events) != bool(codes):
        where = source or "no annotations.txt below the folder of the data set"
        raise InputError(
            f"{where}: {len(events)} events of {name}, whose name says "
            f"{class_of(codes) or 'normal'}"
        )
    unknown = {kind for _, _, kind in events} - {"", *CLASSES}
    if unknown:
        raise InputError(
            f"{source}: class {min(unknown)!r} for {name}; known: {', '.join(CLASSES)}"
        )
    named = tuple((s, e, CLASSES.get(kind) or class_of(codes)) for s, e, kind in events)
    found = marked(named, length, known.convention, source, name)
    return Truth(found.frames, found.classes)


# -- what is told about it -----------------------------------------------------------------------
def _told(train: Lists, test: Lists, known: _Known, at_hand: str) -> dict[str, Any]:
    """Counts beside the published ones, classes, the convention, and what was noticed."""
    classes = {name: class_of(codes_of(name)) for name in train.entries}
    notes = [*train.notes, *test.notes]
    if len(train.entries) > EXPECTED["train videos"] // 2:
        notes += lost(train.entries, LOST)
    anomalous = sum(bool(codes_of(name)) for name in test.entries)
    with_times = sum(
        bool(known.events.get(name))
        or bool(known.labels[name].any() if name in known.labels else 0)
        for name in test.entries
    )
    found = {
        "anomalous": anomalous,
        "normal": len(test.entries) - anomalous,
        "annotated": with_times,
    }
    told: dict[str, Any] = {
        "intervals": f"{known.convention}, of half-open [s, e), one-based s..e, inclusive 0-based",
        "classes": ByVideo({name: kind for name, kind in classes.items() if kind}),
        "test annotations": counted(found, TEST_COUNTS),
        "videos": at_hand,
        "notes": "; ".join(notes),
    }
    return {key: value for key, value in told.items() if value}
