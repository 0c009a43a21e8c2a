"""ShanghaiTech Campus: 13 scenes; bicycles, cars, running, fights where people walk.

    training/videos/01_001.avi                       testing/frames/01_0014/000.jpg
    training/frames/01_001/0.jpg, training/01_001/   testing/videos/01_0014.avi, testing/01_0014/
    testing/test_frame_mask/01_0014.npy              (one 0 or 1 a frame)
    testing/test_pixel_mask/01_0014.npy              (T, H, W; where present)

The prefix before "_" is the scene; originally training videos have three digits after it, testing
videos four. The weak split (238 videos to train on, 63 of them anomalous; 199 to test, 44 of them
anomalous) deals the same videos anew, by lists that must lie in the folder: S3R's csv, RTFM's
.list or the SH_Train_new.txt and SH_Test_NEW.txt of its makers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vigil.data.base import DataSet, Split
from vigil.data.folder import listing, videos_in
from vigil.data.labels import (
    check_length,
    facts,
    frame_mask,
    load_npy,
    read_text,
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
FOLDERS = ("{}/videos", "{}/frames", "{}")
FRAME_MASKS = ("test_frame_mask", "testframemask", "frame_masks")
LISTS = {
    "train": ("shanghaitech.training.csv", "SH_Train_new.txt", "shanghai-i3d-train-10crop.list"),
    "test": ("shanghaitech.testing.csv", "SH_Test_NEW.txt", "shanghai-i3d-test-10crop.list"),
}


def open_shanghaitech(
    root: Path | str,
    *,
    split: Literal["weak"] | None = None,
    scene: str | Collection[str] | None = None,
    fps: float = 24.0,
    min_confidence: float = 0.8,
) -> DataSet:
    """ShanghaiTech (330 normal training videos, 107 test videos), whole or in part.

    `split="weak"` deals the videos by the weakly supervised lists; the label of a training video
    then comes from its own frame mask, never from its place in a list. `scene` keeps one scene or
    several ("01", ["01", "12"]). `fps` is that of frame folders. Raises `InputError` where no
    known layout is found.
    """
    root = Path(root)
    if split not in (None, "weak"):
        raise unknown("split of shanghaitech", str(split), ["weak"])
    base = next((b for b in (root, root / "shanghaitech") if _folder(b, "testing")), None)
    if base is None:
        raise InputError(
            f"{root}: no videos in testing/frames/01_0014/ or testing/videos/ below it"
        )
    train, test = (_videos(base, part, fps) for part in ("training", "testing"))
    expected = EXPECTED
    if split == "weak":
        train, test = _deal(base, [*train, *test])
        expected = EXPECTED_WEAK
    train = with_boxes(_of_scene(train, scene), base, "train", min_confidence)
    test = with_boxes(_of_scene(test, scene), base, "test", min_confidence)
    cite = CITE + (CITE_WEAK if split else "")
    info = facts(base, expected, train, test, licence=LICENCE, cite=cite, fps=FPS)
    read = partial(_truth, base)
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


def read_list(path: Path) -> list[str]:
    """The video ids of a list: S3R's csv, "id,label[,frames]" rows, or RTFM's paths of features."""
    ids = []
    for line in read_text(path).splitlines():
        name = line.split(",")[0].strip().replace("\\", "/").rpartition("/")[2]
        name = name.removesuffix(".npy").removesuffix("_i3d").removesuffix("_c3d")
        if name and name != "video-id":
            ids.append(name)
    double = {name for name in ids if ids.count(name) > 1}
    if double:
        raise InputError(f"{path}: {min(double)} is listed twice")
    return ids


def weak_lists(root: Path) -> dict[str, list[str]]:
    """The ids of the weak split, {"train": ..., "test": ...}, from the lists below `root`."""
    found = {}
    for part, names in LISTS.items():
        files = [file for name in names for file in sorted(root.rglob(name))]
        if not files:
            raise InputError(f"{root}: no list of the weak split: one of {', '.join(names)}")
        found[part] = read_list(files[0])
    both = set(found["train"]) & set(found["test"])
    if both:
        raise InputError(f"{root}: {min(both)} is listed for training and for testing")
    return found


def weak_label(base: Path, name: str) -> Label:
    """Anomalous iff the video's own frame mask has a positive; three-digit ids are normal."""
    mask = _mask_file(base, name)
    if mask is not None:
        return "anomalous" if frame_mask(mask).any() else "normal"
    if _was_testing(name):
        raise InputError(f"{base}: no frame mask for video {name}, so its label is not known")
    return "normal"


def _deal(base: Path, videos: Sequence[Video]) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """All videos that are here, in the two parts of the weak split."""
    by_name: Mapping[str, Video] = {video.name: video for video in videos}
    lists = weak_lists(base)
    train = [by_name[name] for name in sorted(lists["train"]) if name in by_name]
    test = [by_name[name] for name in sorted(lists["test"]) if name in by_name]
    if not train and not test:
        raise ConfigError(f"{base}: none of the videos here is in the lists of the weak split")
    labelled = [replace(video, label=weak_label(base, video.name)) for video in train]
    return tuple(labelled), tuple(replace(video, label="unknown") for video in test)


def _was_testing(name: str) -> bool:
    return len(name.rpartition("_")[2]) == 4


def _mask_file(base: Path, name: str) -> Path | None:
    folders = (base / parent / folder for parent in ("testing", ".") for folder in FRAME_MASKS)
    return next((f / f"{name}.npy" for f in folders if (f / f"{name}.npy").is_file()), None)


def _truth(base: Path, video: Video) -> Truth:
    file = _mask_file(base, video.name)
    if file is None and not _was_testing(video.name):  # an original training video: all normal
        return Truth(np.zeros(count_frames(video), bool))
    if file is None:
        raise InputError(f"{base}: no test_frame_mask/{video.name}.npy, the labels of this video")
    frames = frame_mask(file)
    check_length(video, len(frames), file)
    folders = (base / parent / "test_pixel_mask" for parent in ("testing", "."))
    files = (folder / f"{video.name}.npy" for folder in folders)
    masks = [partial(_pixels, file, video) for file in files if file.is_file()]
    return Truth(frames, masks=masks[0] if masks else None)


def _pixels(file: Path, video: Video) -> np.ndarray:
    masks: Any = load_npy(file)
    if masks.ndim != 3 or masks.shape[1:] != video.size:
        raise InputError(f"{file}: {masks.shape}; expected (frames, {video.size[0]}, …) masks")
    check_length(video, len(masks), file, "masks")
    return masks > 0  # (T, H, W)
