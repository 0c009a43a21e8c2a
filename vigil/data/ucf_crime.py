"""UCF-Crime: 1,900 surveillance videos of 13 kinds of crime and of normal life, 128 hours.

    Anomaly_Train.txt, Train_Annotation.txt      810 anomalous and 800 normal videos to train on
    Temporal_Anomaly_Annotation.txt, Test_Annotation.txt        140 and 150 to test, with times
    Videos/Abuse/Abuse001_x264.mp4               (anywhere below the root, or nowhere at all)

The lists may be anywhere below the root, and be those of S3R (csv, json), RTFM (.list, gt-ucf.npy),
VadCLIP (csv, npy) or ekosman (with numbers of frames). What a video shows is read from its name,
and held against what a list says of it. Without the videos the data set opens for work with
features; the lengths of the videos then come from the lists.
"""

from __future__ import annotations

import re
from collections import Counter
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
    shown,
    video_id,
)
from vigil.data._weak_truth import (
    SLACK,
    Convention,
    cut_labels,
    marked,
    offsets,
    read_anno,
    read_s3r,
    read_segments,
)
from vigil.data._weak_videos import ByVideo, Finder, counted, lost
from vigil.data.base import DataSet, Split
from vigil.data.labels import facts, test_split
from vigil.errors import InputError
from vigil.records import Label, Truth, Video
from vigil.video.read import count_frames

CITE = """@inproceedings{sultani2018real,
  title = {Real-world Anomaly Detection in Surveillance Videos},
  author = {Sultani, Waqas and Chen, Chen and Shah, Mubarak},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2018}
}"""
LICENCE = "no licence in the files; published for research, with the request to cite"
CLASSES = (
    "Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting", "RoadAccidents",
    "Robbery", "Shooting", "Shoplifting", "Stealing", "Vandalism",
)  # fmt: skip
FPS, SIZE = 30.0, (240, 320)  # of every published video
EXPECTED = {"train videos": 1610, "test videos": 290, "test frames": 1111808}
TRAIN_LABELS = {"anomalous": 810, "normal": 800}
TEST_COUNTS = {
    "anomalous": 140, "normal": 150, "of two events": 16, "frames": 1111808,
    "frames of events": 84189, "frames beyond the videos' ends, cut off": 7,
}  # fmt: skip
ABNORMAL = {"one-based": 84338, "half-open": 84182, "inclusive": 84331}  # within the videos
LOST = ("Normal_Videos499_x264", "Normal_Videos521_x264")
TRAIN_LISTS = (
    "*anomaly_train*.txt", "*train_annotation*.txt", "*ucf*train*.csv", "ucf-i3d.list",
    "*ucf*train*.list", "*ucf_clip_rgb.csv",
)  # fmt: skip
TEST_LISTS = (
    "*test_annotation*.txt", "*temporal_anomaly_annotation*.txt", "*anomaly_test*.txt",
    "*ucf*test*.csv", "*ucf*test*.list",
)  # fmt: skip
BOTH_LISTS = ("*all_annotation*.txt",)
JSON, MATLAB = ("*ucf*ground_truth*.json",), ("*_x264.mat",)
SEGMENTS, SEGMENT_CLASSES = ("*gt_segment_ucf*.npy",), ("*gt_label_ucf*.npy",)
SEGMENT_ORDER = ("*ucf_clip_rgbtest*.csv",)
WHOLE, WHOLE_ORDER = ("gt-ucf*.npy",), ("*ucf*test*.list", "*ucf*test*.csv")


def open_ucf_crime(root: Path | str, *, events: Convention = "one-based") -> DataSet:
    """UCF-Crime (1,610 training videos with a label each, 290 test videos with times).

    events  how the lists' first and last frames are meant: "one-based" (Sultani's own evaluation:
            counted from 1, last one included), "half-open" ([s, e) from 0, ekosman's) or
            "inclusive" (both from 0, RTFM's); they differ by a frame an event

    Raises `InputError` where no list is found, or one says of a video what its name does not.
    """
    offsets(events)
    root = Path(root)
    files = files_below(root)
    train, test = (_lists(files, part) for part in (TRAIN_LISTS, TEST_LISTS))
    check_parts(
        root, train, test, "UCF-Crime: Anomaly_Train.txt, Train_Annotation.txt, "
        "Temporal_Anomaly_Annotation.txt, Test_Annotation.txt, or S3R's, RTFM's or VadCLIP's"
    )  # fmt: skip
    known = _Known(files, test, events)
    finder = Finder(root, files, FPS, SIZE)
    learn = tuple(_video(finder, entry, entry.frames, True) for entry in _sorted(train))
    tests = tuple(_video(finder, entry, known.length(entry), False) for entry in _sorted(test))
    info = facts(root, EXPECTED, learn, tests, licence=LICENCE, cite=CITE, fps=f"{FPS:g}")
    info["expected"] |= {"train labels": TRAIN_LABELS, "abnormal test frames": ABNORMAL[events]}
    info |= _told(train, test, known, finder.at_hand([*learn, *tests]))
    split = test_split(tests, partial(_truth, known))
    return DataSet("ucf-crime", Split(learn), split, info=info)


# -- what a name says ----------------------------------------------------------------------------
def class_of(name: str) -> str:
    """The class that a video's name tells, "" for normal ones.

    >>> class_of("RoadAccidents021_x264"), class_of("Normal_Videos_003_x264")
    ('RoadAccidents', '')
    """
    found = re.match(r"[A-Za-z]+", name)
    kind = found[0] if found else ""
    return "" if kind in ("Normal", "Training", "Testing") else kind


def _lists(files: Sequence[Path], patterns: Sequence[str]) -> Lists:
    """The lists of one part, each entry held against its name."""
    lists = read_lists(matching(files, patterns))
    entries, alone = dict(lists.entries), not lists.entries
    whole = read_lists(matching(files, BOTH_LISTS))  # both parts in one, test videos with times
    for name, entry in whole.entries.items():
        if alone and (entry.events is not None) == (patterns is TEST_LISTS):
            entries[name] = entry
        elif name in entries:
            entries[name] = entries[name]._replace(frames=entries[name].frames or entry.frames)
    source = lists.source or whole.source
    for entry in entries.values():
        _check_kind(entry, source)
    return lists._replace(entries=entries, source=source)


def _check_kind(entry: Entry, source: Path | None) -> None:
    """`InputError` if the column of classes, or the folder, is not what the name says."""
    kind = class_of(entry.name)
    if not kind and not entry.name.startswith("Normal"):
        raise InputError(f"{source}: {entry.name}; expected names such as Abuse001_x264")
    folder = entry.folder if entry.folder in CLASSES or "Normal_Videos" in entry.folder else ""
    for said in (entry.kind, "Normal" if "Normal" in folder else folder):
        if said and said != (kind or "Normal"):
            raise InputError(
                f"{source}: {entry.name} is listed as {said}, its name says {kind or 'Normal'}"
            )


def _sorted(lists: Lists) -> list[Entry]:
    return [lists.entries[name] for name in sorted(lists.entries)]


def _video(finder: Finder, entry: Entry, count: int | None, train: bool) -> Video:
    kind = class_of(entry.name)
    part = "Training" if train else "Testing"
    path = f"Videos/{kind or f'{part}_Normal_Videos_Anomaly'}/{entry.name}.mp4"
    label: Label = "unknown"
    if train:
        label = "anomalous" if kind else "normal"
    return finder.video(entry.name, path, count, label)


# -- when something happens ----------------------------------------------------------------------
class _Known:
    """Times or labels of the test videos, by name, from the lists or whatever else is there."""

    def __init__(self, files: Sequence[Path], test: Lists, convention: str) -> None:
        self.test, self.convention, self.source = test, convention, test.source
        self.labels: dict[str, np.ndarray] = {}  # (T,) or (T rounded up to 16,) bool
        self.events: dict[str, Events] = {
            name: entry.events for name, entry in test.entries.items() if entry.events is not None
        }
        if self.events or not test.entries:
            return
        for read in (_from_matlab, _from_s3r, _from_segments, _from_whole):
            found, self.source = read(files, test)
            for name, value in found.items():
                if isinstance(value, tuple):
                    self.events[name] = value
                else:
                    self.labels[name] = value
            if found:
                return

    def length(self, entry: Entry) -> int | None:
        """Frames of a test video, by the lists or as many as there are labels."""
        labels = self.labels.get(entry.name)
        return entry.frames or (None if labels is None else len(labels))


Found = tuple[Mapping[str, Events | np.ndarray], Path | None]


def _from_matlab(files: Sequence[Path], test: Lists) -> Found:
    """Sultani's structs, one file a video."""
    named = {video_id(file.name): file for file in matching(files, MATLAB)}
    chosen = [name for name in test.entries if name in named]
    found = {name: tuple((*p, class_of(name)) for p in read_anno(named[name])) for name in chosen}
    return found, named[chosen[0]].parent if chosen else None


def _from_s3r(files: Sequence[Path], test: Lists) -> Found:
    """S3R's json of labels by name."""
    for file in matching(files, JSON):
        return read_s3r(file), file
    return {}, None


def _from_segments(files: Sequence[Path], test: Lists) -> Found:
    """VadCLIP's two arrays, in the order of its list."""
    pair = [matching(files, patterns)[:1] for patterns in (SEGMENTS, SEGMENT_CLASSES)]
    orders = matching(files, SEGMENT_ORDER)
    if not all(pair) or not orders:
        return {}, None
    names = [entry.name for entry in read_entries(orders[0])]
    found = read_segments(pair[0][0], pair[1][0], names, lambda name: {class_of(name)} - {""})
    return found, pair[0][0]


def _from_whole(files: Sequence[Path], test: Lists) -> Found:
    """RTFM's one array, in the order of its list; the lists must give the lengths."""
    whole, orders = matching(files, WHOLE), matching(files, WHOLE_ORDER)
    if not whole or not orders:
        return {}, None
    names = [entry.name for entry in read_entries(orders[0])]
    lengths = {name: test.entries[name].frames for name in names if name in test.entries}
    unknown = [name for name in names if not lengths.get(name)]
    if unknown:
        raise InputError(
            f"{whole[0]}: it names no video, and no list gives the frames of {shown(unknown)}; put "
            "Test_Annotation.txt beside it"
        )
    known = {name: frames or 0 for name, frames in lengths.items()}
    return cut_labels(whole[0], known, lambda name: not class_of(name)), whole[0]


def _truth(known: _Known, video: Video) -> Truth:
    """(T,) labels and classes of a test video, as long as the video or, without it, the lists."""
    name, kind, source = video.name, class_of(video.name), known.source
    length, listed = count_frames(video), known.length(known.test.entries[video.name])
    if listed is not None and abs(listed - length) > SLACK:
        raise InputError(f"{source}: {listed} frames for {name}, which has {length}: another cut?")
    if name in known.events:
        events = tuple((start, end, kind) for start, end, _ in known.events[name])
        frames = marked(events, length, known.convention, source, name).frames
    elif name in known.labels:
        frames = known.labels[name][:length]
        if len(frames) < length:
            raise InputError(f"{source}: {len(frames)} labels for {name}, which has {length}")
    else:
        raise InputError(f"{name}: no times or labels of it below the data set's folder")
    if frames.any() != bool(kind):
        raise InputError(
            f"{source}: {int(frames.sum())} abnormal frames in {name}, whose name says "
            f"{kind or 'normal'}"
        )
    return Truth(frames, np.where(frames, kind, ""))


# -- what is told about it -----------------------------------------------------------------------
def _told(train: Lists, test: Lists, known: _Known, at_hand: str) -> dict[str, Any]:
    """Counts beside the published ones, classes, the convention, and what was noticed."""
    classes = ByVideo({name: class_of(name) for name in train.entries if class_of(name)})
    notes = [*train.notes, *test.notes]
    if len(train.entries) > EXPECTED["train videos"] // 2:
        notes += lost(train.entries, LOST)
    odd = sorted(set(classes.values()) - set(CLASSES))
    if odd:
        notes.append(f"classes that the published set has not: {', '.join(odd)}")
    told: dict[str, Any] = {
        "intervals": f"{known.convention}, of one-based s..e, half-open [s, e), inclusive 0-based",
        "classes": classes,
        "test annotations": counted(_test_counts(known), TEST_COUNTS),
        "videos": at_hand,
        "notes": "; ".join(notes),
    }
    return {key: value for key, value in told.items() if value}


def _test_counts(known: _Known) -> dict[str, int]:
    """What the annotations of the test part add up to, intervals taken as [s, e)."""
    entries = known.test.entries.values()
    kinds = Counter("anomalous" if class_of(entry.name) else "normal" for entry in entries)
    found = {"anomalous": kinds["anomalous"], "normal": kinds["normal"]}
    lengths = {entry.name: known.length(entry) for entry in entries}
    if all(lengths.values()):
        found["frames"] = sum(length or 0 for length in lengths.values())
    if known.events:
        ends = [(lengths[n], s, e) for n, found in known.events.items() for s, e, _ in found]
        found["of two events"] = sum(len(events) == 2 for events in known.events.values())
        found["frames of events"] = sum(e - s for _, s, e in ends)
        beyond = sum(max(e - n, 0) for n, _, e in ends if n)
        found["frames beyond the videos' ends, cut off"] = beyond
    return found
