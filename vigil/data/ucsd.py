"""UCSD Ped1 and Ped2: a fixed camera over a walkway; bicycles, carts and skaters are abnormal.

Two layouts are read. The original one:

    UCSDped2/Train/Train001/001.tif        UCSDped2/Test/Test001/001.tif
    UCSDped2/Test/Test001_gt/001.bmp       (pixel masks)
    UCSDped2/Test/UCSDped2.m               (TestVideoFile{end+1}.gt_frame = [61:180];)

and the one most later projects use, `frames/` being optional:

    training/frames/01/000.jpg             testing/frames/01/000.jpg
    ped2.mat                               (key gt: one 2xN array a video, 1-based, inclusive)
    pixel_masks.npz                        (a video: numpy.packbits(mask (T, H, W), axis=-1))
    detections/ped2_test_detect_*.pkl      (boxes; x1, y1, x2, y2, confidence)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vigil.data.base import DataSet, Split
from vigil.data.folder import videos_in
from vigil.data.labels import (
    check_length,
    facts,
    in_order,
    load_npy,
    m_ranges,
    mark,
    mat_ranges,
    test_split,
    with_boxes,
)
from vigil.errors import InputError
from vigil.records import Truth, Video
from vigil.video.read import count_frames, open_images

CITE = """@inproceedings{mahadevan2010anomaly,
  title = {Anomaly Detection in Crowded Scenes},
  author = {Mahadevan, Vijay and Li, Weixin and Bhalodia, Viral and Vasconcelos, Nuno},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2010}
}"""
LICENCE = "no licence in the files; published for research, with the request to cite"
FPS = "10 frames/s by common account; the files state none (option fps)"
EXPECTED = {
    "ped1": {
        "train videos": 34, "test videos": 36, "train frames": 6800, "test frames": 7200,
    },
    "ped2": {
        "train videos": 16, "test videos": 12, "train frames": 2550, "test frames": 2010,
        "abnormal test frames": 1648,
    },
}  # fmt: skip
LAYOUTS = (("training/frames", "testing/frames"), ("training", "testing"), ("Train", "Test"))
Masks = Callable[[], np.ndarray]


def open_ped1(root: Path | str, *, fps: float = 10.0, min_confidence: float = 0.5) -> DataSet:
    """UCSD Ped1 (34 training, 36 test videos, 238x158), in either layout."""
    return _open(Path(root), "ped1", fps, min_confidence)


def open_ped2(root: Path | str, *, fps: float = 10.0, min_confidence: float = 0.5) -> DataSet:
    """UCSD Ped2 (16 training, 12 test videos, 360x240), in either layout.

    `min_confidence`: shipped boxes are given only if their confidence is greater. Raises
    `InputError` where no known layout is found; labels are read, and checked, when asked for.
    """
    return _open(Path(root), "ped2", fps, min_confidence)


def _open(root: Path, short: str, fps: float, min_confidence: float) -> DataSet:
    base, train_folder, test_folder = _find(root, short)
    train = videos_in(train_folder, fps=fps, label="normal", missing_ok=True)
    test = videos_in(test_folder, fps=fps, skip="_gt")
    train = with_boxes(train, base, "train", min_confidence, short)
    test = with_boxes(test, base, "test", min_confidence, short)
    read = partial(_truth, base, test_folder, short, test)
    info = facts(base, EXPECTED[short], train, test, licence=LICENCE, cite=CITE, fps=FPS)
    return DataSet(f"ucsd-{short}", Split(train), test_split(test, read), info=info)


def _find(root: Path, short: str) -> tuple[Path, Path, Path]:
    """The folder that holds the set, its training and its test folder."""
    for base in (root, root / f"UCSD{short}", *root.glob(f"UCSD_Anomaly*/UCSD{short}")):
        for train, test in LAYOUTS:
            if (base / test).is_dir():
                return base, base / train, base / test
    raise InputError(
        f"{root}: neither testing/frames/01/*.jpg nor UCSD{short}/Test/Test001/*.tif below it; "
        f"give the folder that holds UCSD {short.capitalize()}"
    )


def _truth(base: Path, folder: Path, short: str, test: Sequence[Video], video: Video) -> Truth:
    masks = _masks(base, folder, video)
    files = [base / f"{short}.mat", *sorted(folder.glob("UCSD*.m")), *sorted(base.glob("UCSD*.m"))]
    file = next((file for file in files if file.is_file()), None)
    if file is not None:
        ranges = in_order(_ranges(file), test, file)[video.name]
        return Truth(mark(ranges, count_frames(video), str(file), video.name), masks=masks)
    if masks is not None:
        frames = np.array([mask.any() for mask in masks()], bool)  # (T,)
        return Truth(frames, masks=masks)
    raise InputError(
        f"{base}: no labels for video {video.name}: no {short}.mat, UCSD{short}.m, _gt"
    )


def _ranges(file: Path) -> list[np.ndarray]:
    return mat_ranges(file) if file.suffix == ".mat" else m_ranges(file)


def _masks(base: Path, folder: Path, video: Video) -> Masks | None:
    """How to open the (T, H, W) bool masks of one video, or None where it has none."""
    pictures, packed = folder / f"{video.name}_gt", base / "pixel_masks.npz"
    if pictures.is_dir():
        return partial(_mask_pictures, pictures, video)
    if packed.is_file() and video.name in load_npy(packed):
        return partial(_packed_masks, packed, video)
    return None


def _mask_pictures(folder: Path, video: Video) -> np.ndarray:
    frames = [f.image.any(axis=2) for f in open_images(folder, name=video.name).frames()]
    check_length(video, len(frames), folder, "mask pictures")
    if frames[0].shape != video.size:
        raise InputError(f"{folder}: masks {frames[0].shape}; expected {video.size} as the video")
    return np.stack(frames)  # (T, H, W)


def _packed_masks(file: Path, video: Video) -> np.ndarray:
    with load_npy(file) as arrays:
        packed = arrays[video.name]  # (T, H, ceil(W / 8)) uint8
    height, width = video.size
    if packed.dtype != np.uint8 or packed.shape[1:] != (height, -(-width // 8)):
        raise InputError(
            f"{file}: {packed.dtype} {packed.shape} for video {video.name}; "
            f"expected uint8 (T, {height}, {-(-width // 8)}), packed along the rows"
        )
    check_length(video, len(packed), file, "masks")
    return np.unpackbits(packed, axis=-1, count=width).astype(bool)  # (T, H, W)
