"""ShanghaiTech Campus: 13 scenes; bicycles, cars, running, fights where people walk.

    training/videos/01_001.avi                       testing/frames/01_0014/000.jpg
    training/frames/01_001/0.jpg, training/01_001/   testing/videos/01_0014.avi, testing/01_0014/
    testing/test_frame_mask/01_0014.npy              (one 0 or 1 a frame)
    testing/test_pixel_mask/01_0014.npy              (T, H, W; where present)

The prefix before "_" is the scene; originally training videos have three digits after it, testing
videos four. The weak split (238 videos to train on, 63 of them anomalous; 199 to test, 44 of them
anomalous) deals the same videos anew, by lists that must lie in the folder: S3R's csv, RTFM's
.list or the SH_Train_new.txt and SH_Test_NEW.txt of its makers. It opens without videos too, for
work with features: lengths then come from the masks, S3R's json or the lists.

The split sd, and sd-original with the original labels: see `vigil.data._shanghaitech_sd`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vigil.data import _shanghaitech_sd as sd
from vigil.data._weak_lists import Entry, Lists, files_below, matching, read_entries, read_lists
from vigil.data._weak_truth import read_s3r
from vigil.data._weak_videos import Finder, counted
from vigil.data.base import DataSet, Split
from vigil.data.folder import listing, videos_in
from vigil.data.labels import (
    check_length,
    facts,
    frame_mask,
    load_npy,
    test_split,
    with_boxes,
)
from vigil.errors import ConfigError, InputError, unknown
from vigil.records import Label, Truth, Video
from vigil.video.read import count_frames

CITE = """@inproceedings{liu2018future,
  title = {Future Frame Prediction for Anomaly Detection -- A New Baseline},
  author = {Liu, Wen and Luo, Weixin and Lian, Dongze and Gao, Shenghua},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2018}
}"""
CITE_WEAK = """
@inproceedings{zhong2019graph,
  title = {Graph Convolutional Label Noise Cleaner: Train a Plug-and-play Action Classifier for
           Anomaly Detection},
  author = {Zhong, Jia-Xing and Li, Nannan and Kong, Weijie and Liu, Shan and Li, Thomas H.
            and Li, Ge},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2019}
}"""
LICENCE = "no licence in the files; published for research, with the request to cite"
FPS = "24 frames/s by common account for frame folders, which state none (option fps)"
EXPECTED = {
    "train videos": 330, "test videos": 107, "test frames": 40791, "abnormal test frames": 17326,
}  # fmt: skip
EXPECTED_WEAK = {"train videos": 238, "test videos": 199}
OWN = {  # citation and known facts of a split of its own
    "weak": (CITE_WEAK, EXPECTED_WEAK),
    **dict.fromkeys(sd.SPLITS, (sd.CITE, sd.EXPECTED)),
}
WEAK_LABELS = {"anomalous": 63, "normal": 175}
WEAK_COUNTS = {"anomalous": 44, "normal": 155}
SIZE = (480, 856)  # taken for a video that is not here
FOLDERS = ("{}/videos", "{}/frames", "{}")
FRAME_MASKS = ("test_frame_mask", "testframemask", "frame_masks")
LISTS = {
    "train": ("shanghaitech*train*.csv", "SH_Train_new*.txt", "*shanghai*train*.list"),
    "test": ("shanghaitech*test*.csv", "SH_Test_NEW*.txt", "*shanghai*test*.list"),
}
GROUND_TRUTH = ("shanghaitech*ground_truth*.json",)


def open_shanghaitech(
    root: Path | str,
    *,
    split: Literal["weak", "sd", "sd-original"] | None = None,
    scene: str | Collection[str] | None = None,
    fps: float = 24.0,
    min_confidence: float = 0.8,
) -> DataSet:
    """ShanghaiTech (330 normal training videos, 107 test videos), whole or in part.

    `split="weak"` deals the videos by the weakly supervised lists; the label of a training video
    then comes from its own frame mask (or a list's column of labels), never from its place in a
    list. `split="sd"` is the scene-dependent one, with masks made anew in `testframemask/`;
    "sd-original" the same videos with the original masks. `scene` keeps one scene or several
    ("01", ["01", "12"]). `fps` is that of frame folders.
    Raises `InputError` where no known layout is found.
    """
    root = Path(root)
    if split not in (None, "weak", *sd.SPLITS):
        raise unknown("split of shanghaitech", str(split), ["weak", *sd.SPLITS])
    if split in sd.SPLITS:
        root = next((root / name for name in sd.FOLDERS if (root / name).is_dir()), root)
    base = next((b for b in (root, root / "shanghaitech") if _folder(b, "testing")), None)
    if base is None and split is None:
        raise InputError(
            f"{root}: no videos in testing/frames/01_0014/ or testing/videos/ below it"
        )
    base = base or root
    train, test = (_videos(base, part, fps) for part in ("training", "testing"))
    weak = _Weak(base, [*train, *test], fps) if split == "weak" else None
    if weak:
        train, test = weak.train, weak.test
    if split in sd.SPLITS:
        find = partial(_mask_file, base, split=split)
        train, test = sd.deal(base, train, test, Finder(base, [], fps, SIZE), find)
    train = with_boxes(_of_scene(train, scene), base, "train", min_confidence, "shanghai")
    test = with_boxes(_of_scene(test, scene), base, "test", min_confidence, "shanghai")
    cite, expected = OWN.get(split or "", ("", EXPECTED))
    info = facts(base, expected, train, test, licence=LICENCE, cite=CITE + cite, fps=FPS)
    if weak:
        info["expected"] |= {"train labels": WEAK_LABELS}
        info |= weak.told()
    if split in sd.SPLITS:
        info["labels"] = sd.told(base, str(split), [find(video.name) for video in test])
    read = partial(_truth, base, weak.ground if weak else {}, split)
    return DataSet("shanghaitech", Split(train), test_split(test, read), None, split or "", info)


def _folder(base: Path, part: str) -> Path | None:
    """Where the videos of a part lie: the first of the known places that holds anything."""
    places = [base / form.format(part) for form in FOLDERS]
    return next((place for place in places if place.is_dir() and listing(place)), None)


def _videos(base: Path, part: str, fps: float) -> tuple[Video, ...]:
    label: Label = "normal" if part == "training" else "unknown"
    found = videos_in(_folder(base, part), fps=fps, label=label, skip="_mask", missing_ok=True)
    return tuple(replace(video, scene=video.name.split("_")[0]) for video in found)


def _of_scene(videos: Iterable[Video], scene: str | Collection[str] | None) -> tuple[Video, ...]:
    wanted = {scene} if isinstance(scene, str) else set(scene or ())
    videos = tuple(videos)
    there = {video.scene for video in videos}
    if wanted - there and videos:
        raise unknown("scene of shanghaitech", min(wanted - there), there)
    return tuple(video for video in videos if not wanted or video.scene in wanted)


# -- the weak split ------------------------------------------------------------------------------
def read_list(path: Path) -> list[str]:
    """The video ids of a list: S3R's csv, "id,label[,frames]" rows, or RTFM's paths of features."""
    return [entry.name for entry in read_entries(path)]


def weak_lists(root: Path) -> dict[str, list[str]]:
    """The ids of the weak split, {"train": ..., "test": ...}, from the lists below `root`."""
    return {part: list(lists.entries) for part, lists in _lists(root, files_below(root)).items()}


def _lists(root: Path, files: Sequence[Path]) -> dict[str, Lists]:
    found = {}
    for part, names in LISTS.items():
        found[part] = read_lists(matching(files, names))
        if not found[part].entries:
            raise InputError(f"{root}: no list of the weak split: one of {', '.join(names)}")
    both = set(found["train"].entries) & set(found["test"].entries)
    if both:
        raise InputError(f"{root}: {min(both)} is listed for training and for testing")
    return found


def weak_label(base: Path, name: str, kind: str = "") -> Label:
    """Anomalous iff the video's own frame mask has a positive; three-digit ids are normal.

    `kind` is what a list says of it ("1" anomalous, "0" normal, "" nothing): it counts where no
    mask is, and `InputError` is raised where the two disagree. Beside S3R's lists lies no mask at
    all; a four-digit id is then anomalous, as all 107 of the original test videos are.
    """
    mask = _mask_file(base, name)
    said: Label = "anomalous" if kind == "1" else "normal"
    if mask is None and _was_testing(name):
        if not kind and not _mask_folders(base):
            return "anomalous"
        if not kind:
            raise InputError(f"{base}: no frame mask for video {name}, so its label is not known")
        return said
    found: Label = "anomalous" if mask is not None and frame_mask(mask).any() else "normal"
    if kind and said != found:
        raise InputError(f"{base}: {name} is {said} in a list, {found} by {mask or 'its name'}")
    return found


class _Weak:
    """The two parts of the weak split: videos that are here, and the places of those that are not.

    Where some videos lie in the published folders, those that do not are left out. Else all stand
    by name, as in a tree of S3R, and are read from wherever below the root their files lie.
    """

    def __init__(self, base: Path, videos: Sequence[Video], fps: float) -> None:
        files = files_below(base)
        self.base, self.by_name = base, {video.name: video for video in videos}
        self.lists = _lists(base, files)
        jsons = matching(files, GROUND_TRUTH)
        self.ground = read_s3r(jsons[0]) if jsons else {}  # {name: (16 n,) bool}
        self.finder = Finder(base, [] if videos else files, fps, SIZE)
        parts = {part: self.part(lists) for part, lists in self.lists.items()}
        if not any(parts.values()):
            raise ConfigError(f"{base}: none of the videos here is in the lists of the weak split")
        kinds = {entry.name: entry.kind for entry in self.lists["train"].entries.values()}
        self.train = tuple(
            replace(v, label=weak_label(base, v.name, kinds[v.name])) for v in parts["train"]
        )
        self.test = tuple(replace(video, label="unknown") for video in parts["test"])

    def part(self, lists: Lists) -> list[Video]:
        """The videos of one list, in the order of their names."""
        entries = [lists.entries[name] for name in sorted(lists.entries)]
        if self.by_name:
            return [self.by_name[entry.name] for entry in entries if entry.name in self.by_name]
        return [self.by_list(entry) for entry in entries]

    def by_list(self, entry: Entry) -> Video:
        """A video by its name; its length is known without its file, if a list or mask is here."""
        mask, labels = _mask_file(self.base, entry.name), self.ground.get(entry.name)
        count = entry.frames if labels is None else len(labels)
        count = count if mask is None else len(frame_mask(mask))
        part = "testing" if _was_testing(entry.name) else "training"
        path, scene = f"{part}/videos/{entry.name}.avi", entry.name.split("_")[0]
        return self.finder.video(entry.name, path, count, "unknown", scene)

    def told(self) -> dict[str, str]:
        """What is added to the data set's info."""
        notes = [note for lists in self.lists.values() for note in lists.notes]
        told = {"notes": "; ".join(notes)}
        if not self.by_name:
            told["videos"] = self.finder.at_hand([*self.train, *self.test])
        if not _mask_folders(self.base):
            told["labels"] = "of training videos by their names: no frame mask is here"
        if self.ground:
            anomalous = sum(bool(labels.any()) for labels in self.ground.values())
            found = {"anomalous": anomalous, "normal": len(self.ground) - anomalous}
            told["S3R's ground truth"] = counted(found, WEAK_COUNTS)
        return {key: value for key, value in told.items() if value}


def _was_testing(name: str) -> bool:
    return len(name.rpartition("_")[2]) == 4


def _mask_folders(base: Path) -> list[Path]:
    folders = (base / parent / folder for parent in ("testing", ".") for folder in FRAME_MASKS)
    return [folder for folder in folders if folder.is_dir()]


def _mask_file(base: Path, name: str, split: str | None = None) -> Path | None:
    folders = _mask_folders(base)
    folders = sd.mask_folders(base, split, folders) if split in sd.SPLITS else folders
    files = (folder / f"{name}.npy" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _truth(
    base: Path,
    ground: Mapping[str, np.ndarray],
    split: str | None,
    video: Video,
) -> Truth:
    file = _mask_file(base, video.name, split)
    if file is None and not _was_testing(video.name):  # an original training video: all normal
        return Truth(np.zeros(count_frames(video), bool))
    if file is None and video.name in ground:
        return Truth(_unpadded(ground[video.name], count_frames(video), video.name))
    if file is None:
        wanted = sd.RELABELLED if split == "sd" else FRAME_MASKS[0]
        raise InputError(f"{base}: no {wanted}/{video.name}.npy, the labels of this video")
    frames = frame_mask(file)
    check_length(video, len(frames), file)
    folders = (base / parent / "test_pixel_mask" for parent in ("testing", "."))
    files = (folder / f"{video.name}.npy" for folder in folders)
    masks = [partial(_pixels, file, video) for file in files if file.is_file()]
    return Truth(frames, masks=masks[0] if masks else None)


def _unpadded(labels: np.ndarray, length: int, name: str) -> np.ndarray:
    """(T,) of S3R's labels, which fill a multiple of 16 frames."""
    if len(labels) != -(-length // 16) * 16:
        raise InputError(
            f"S3R's ground truth: {len(labels)} labels for {name}, which has {length} frames; "
            "expected its length rounded up to 16"
        )
    return labels[:length]


def _pixels(file: Path, video: Video) -> np.ndarray:
    masks: Any = load_npy(file)
    if masks.ndim != 3 or masks.shape[1:] != video.size:
        raise InputError(f"{file}: {masks.shape}; expected (frames, {video.size[0]}, …) masks")
    check_length(video, len(masks), file, "masks")
    return masks > 0  # (T, H, W)
