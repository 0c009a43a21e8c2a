"""Layouts of data sets learned from normal video alone: UCSD, Avenue, ShanghaiTech."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from vigil.data._layouts_files import (
    Writing,
    cells,
    checked,
    clip,
    fitted_masks,
    image,
    images,
    runs,
)
from vigil.errors import InputError
from vigil.records import Video


def ucsd(work: Writing) -> None:
    """The original one: Train/Train001/001.tif, Test/Test001_gt/001.bmp, Test/UCSDped2.m."""
    for number, video in enumerate(work.normal(), 1):
        name = work.call("train", f"Train{number:03}", video)
        images(video, work.out / "Train" / name, "{:03}.tif", grey=True)
    lines = ["TestVideoFile = {};"]
    for number, video in enumerate(work.dataset.test, 1):
        name, truth = work.call("test", f"Test{number:03}", video), work.truth(video)
        checked(images(video, work.out / "Test" / name, "{:03}.tif", grey=True), truth, video)
        if truth.masks is not None:
            folder = work.out / "Test" / f"{name}_gt"
            folder.mkdir()
            for index, mask in enumerate(fitted_masks(truth, video.size)):
                image(mask.astype(np.uint8) * 255, folder / f"{index:03}.bmp")
        ranges = ", ".join(f"{first + 1}:{stop}" for first, stop in runs(truth.frames))
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{ranges}];")
    (work.out / "Test" / "UCSDped2.m").write_text("\n".join(lines) + "\n")


def ucsd_frames(work: Writing) -> None:
    """The one of later projects: training/frames/01/000.jpg, ped2.mat, pixel_masks.npz."""
    from scipy.io import savemat

    for number, video in enumerate(work.normal(), 1):
        name = work.call("train", f"{number:02}", video)
        images(video, work.out / "training" / "frames" / name, "{:03}.jpg")
    ranges = []
    packed: dict[str, Any] = {}
    for number, video in enumerate(work.dataset.test, 1):
        name, truth = work.call("test", f"{number:02}", video), work.truth(video)
        frames = work.out / "testing" / "frames" / name
        checked(images(video, frames, "{:03}.jpg"), truth, video)
        pairs = [(first + 1, stop) for first, stop in runs(truth.frames)]
        ranges.append(np.array(pairs, float).reshape(-1, 2).T)  # (2, n)
        if truth.masks is not None:
            packed[name] = np.packbits(fitted_masks(truth, video.size), axis=-1)
    savemat(work.out / "ped2.mat", {"gt": cells(ranges)})
    if packed:
        np.savez_compressed(work.out / "pixel_masks.npz", **packed)


def avenue(work: Writing) -> None:
    """training_videos/01.avi, testing_videos/01.avi, testing_label_mask/1_label.mat."""
    from scipy.io import savemat

    for number, video in enumerate(work.normal(), 1):
        name = work.call("train", f"{number:02}", video)
        clip(video, work.out / "training_videos" / f"{name}.avi")
    labels = work.out / "testing_label_mask"
    labels.mkdir()
    for number, video in enumerate(work.dataset.test, 1):
        name, truth = work.call("test", f"{number:02}", video), work.truth(video)
        checked(clip(video, work.out / "testing_videos" / f"{name}.avi"), truth, video)
        masks = fitted_masks(truth, video.size).astype(np.uint8)
        savemat(labels / f"{number}_label.mat", {"volLabel": cells(masks)}, do_compression=True)


def shanghaitech(work: Writing) -> None:
    """training/videos/01_001.avi, testing/frames/01_0001/000.jpg, testing/test_frame_mask/."""
    number = scene_numbers([*work.dataset.train, *work.dataset.test])
    seen: Counter[str] = Counter()
    for video in work.normal():
        scene = number[video.scene]
        seen[scene] += 1
        name = work.call("train", f"{scene}_{seen[scene]:03}", video)
        clip(video, work.out / "training" / "videos" / f"{name}.avi")
    masks = work.out / "testing" / "test_frame_mask"
    masks.mkdir(parents=True)
    for index, video in enumerate(work.dataset.test, 1):
        name = work.call("test", f"{number[video.scene]}_{index:04}", video)
        truth, frames = work.truth(video), work.out / "testing" / "frames" / name
        checked(images(video, frames, "{:03}.jpg"), truth, video)
        np.save(masks / f"{name}.npy", truth.frames.astype(np.uint8))
        if truth.masks is not None:
            pixels = work.out / "testing" / "test_pixel_mask" / f"{name}.npy"
            pixels.parent.mkdir(exist_ok=True)
            np.save(pixels, fitted_masks(truth, video.size).astype(np.uint8))


def shanghaitech_sd(work: Writing) -> None:
    """The scene-dependent one: training/01_001/0.jpg, testing/01_0001/0.jpg, testframemask/."""
    number = scene_numbers([*work.dataset.train, *work.dataset.test], ["01", "06", "10", "12"])
    seen: Counter[str] = Counter()
    for video in work.normal():
        scene = number[video.scene]
        seen[scene] += 1
        name = work.call("train", f"{scene}_{seen[scene]:03}", video)
        images(video, work.out / "training" / name, "{}.jpg")
    masks = work.out / "testframemask"
    masks.mkdir()
    for index, video in enumerate(work.dataset.test, 1):
        name = work.call("test", f"{number[video.scene]}_{index:04}", video)
        truth = work.truth(video)
        checked(images(video, work.out / "testing" / name, "{}.jpg"), truth, video)
        np.save(masks / f"{name}.npy", truth.frames.astype(np.uint8))


def scene_numbers(videos: Iterable[Video], free: list[str] | None = None) -> dict[str, str]:
    """{scene: two digits}, scenes in order of name, from `free` or from 01 on."""
    scenes = sorted({video.scene for video in videos})
    free = free or [f"{n:02}" for n in range(1, 100)]
    if len(scenes) > len(free):
        raise InputError(f"{len(scenes)} scenes; this layout has room for {len(free)}")
    return dict(zip(scenes, free, strict=False))
