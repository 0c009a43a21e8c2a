"""ShanghaiTech-sd: the scene-dependent deal of 53 videos, four scenes (Cao et al., CVPR 2023).

A bicycle is normal on the road (01) and abnormal where people walk (06, 10). Nine of the training
videos are test videos of the original set. Its makers labelled the test part anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vigil.data._weak_videos import Finder
from vigil.data.labels import frame_mask
from vigil.errors import InputError
from vigil.records import Label, Video

CITE = """
@inproceedings{cao2023new,
  title = {A New Comprehensive Benchmark for Semi-supervised Video Anomaly Detection and
           Anticipation},
  author = {Cao, Congqi and Lu, Yue and Wang, Peng and Zhang, Yanning},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2023}
}"""
TRAIN = {
    "01": "0016 0051 0063 0073 0076 0129 0131 0134 0177",
    "06": "001 002 003 004 005 007 008 009 014",
    "10": "001 002 006 007 008 009 010 011",
    "12": "002 003 004 005 006 007 008 009 015",
}
TEST = {
    "01": "0014 0029 0052 0138 0139 0163",
    "06": "0147 0150 0155",
    "10": "0037 0074",
    "12": "0142 0148 0151 0154 0173 0174 0175",
}
EXPECTED = {"train videos": 35, "test videos": 18, "test frames": 5946}
ORIGINAL_ABNORMAL = 3523  # test frames by the original masks; by the new ones there are fewer
FOLDERS = ("shanghai-sd", "shanghaitech-sd")  # that the makers' tree may lie in
RELABELLED = "testframemask"  # the folder of the new masks, beside training/ and testing/
MADE = "vigil_names.json"  # in a tree that Vigil wrote, whose videos have other numbers
SPLITS = ("sd", "sd-original")  # with the new masks, with the original ones


def listed(part: dict[str, str]) -> list[str]:
    """The names of a list: 01_0016, ..."""
    return [f"{scene}_{number}" for scene, numbers in part.items() for number in numbers.split()]


def deal(
    base: Path,
    train: Sequence[Video],
    test: Sequence[Video],
    finder: Finder,
    mask: Callable[[str], Path | None],
) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """The two parts, by the lists, of the videos that are here; where none is, all stand by name,
    for work with features. A tree that Vigil wrote stays as it lies."""
    if (base / MADE).is_file():
        return tuple(train), tuple(test)
    here = {video.name: video for video in (*train, *test)}

    def part(names: Sequence[str], label: Label) -> tuple[Video, ...]:
        found = [here[name] for name in names if name in here]
        if not here:
            found = [by_name(finder, name, mask(name)) for name in names]
        return tuple(replace(video, label=label) for video in found)

    learn, measure = part(listed(TRAIN), "normal"), part(listed(TEST), "unknown")
    if not learn and not measure:
        raise InputError(f"{base}: none of the videos here is one of ShanghaiTech-sd")
    return learn, measure


def by_name(finder: Finder, name: str, mask: Path | None) -> Video:
    """A video that is not here; its mask, where there is one, tells its length."""
    count = None if mask is None else len(frame_mask(mask))
    part = "testing" if len(name.partition("_")[2]) == 4 else "training"
    return finder.video(name, f"{part}/{name}", count, "unknown", name.partition("_")[0])


def mask_folders(base: Path, split: str | None, known: Sequence[Path]) -> list[Path]:
    """Where masks are looked for: the new ones for "sd", the original ones first for the other."""
    new = [base / RELABELLED, base / "testing" / RELABELLED]
    old = [folder for folder in known if folder.name != RELABELLED]
    return new if split == "sd" else [*old, *new]


def told(base: Path, split: str, files: Sequence[Path | None]) -> str:
    """In words, whose labels are used. `InputError` where new ones are asked for and the original
    ones lie in their place."""
    if split == "sd-original":
        return "those of the original ShanghaiTech, not those made anew for this split"
    masks = [frame_mask(file) for file in files if file is not None]
    if len(masks) == len(listed(TEST)) and sum(int(m.sum()) for m in masks) == ORIGINAL_ABNORMAL:
        raise InputError(
            f"{base}/{RELABELLED}: these masks are the original ones ({ORIGINAL_ABNORMAL:,} "
            "abnormal frames); get those made anew for ShanghaiTech-sd, or ask for "
            "--split sd-original"
        )
    return f"made anew for this split, {RELABELLED}/"
