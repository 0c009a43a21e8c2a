"""CUHK Avenue: one camera at a building's entrance; running, throwing, wrong way, loitering.

    training_videos/01.avi                 testing_videos/01.avi
    training/frames/01/0000.jpg            testing/frames/01/0000.jpg     (instead of the above)
    testing_label_mask/1_label.mat         (volLabel: 1xT cells of (H, W) masks)
    avenue.mat                             (key gt, as in UCSD; instead of the masks)
    test_frame_mask/01.npy                 (one 0 or 1 a frame; instead of the masks)

Videos and masks are matched by number, so that a part of the set opens with what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vigil.data.base import DataSet, Split
from vigil.data.folder import videos_in
from vigil.data.labels import (
    check_length,
    facts,
    frame_mask,
    in_order,
    load_mat,
    mark,
    mat_ranges,
    test_split,
    with_boxes,
)
from vigil.errors import InputError
from vigil.records import Truth, Video
from vigil.video.read import count_frames

CITE = """@inproceedings{lu2013abnormal,
  title = {Abnormal Event Detection at 150 {FPS} in {MATLAB}},
  author = {Lu, Cewu and Shi, Jianping and Jia, Jiaya},
  booktitle = {IEEE International Conference on Computer Vision (ICCV)},
  year = {2013}
}"""
LICENCE = "no licence in the files; published for research, with the request to cite"
EXPECTED = {
    "train videos": 16, "test videos": 21, "test frames": 15324, "abnormal test frames": 3712,
}  # fmt: skip
TRAIN = ("training_videos", "training/videos", "training/frames", "training")
TEST = ("testing_videos", "testing/videos", "testing/frames", "testing")
LABEL_MASKS = ("testing_label_mask", "ground_truth_demo/testing_label_mask")
FRAME_MASKS = ("test_frame_mask", "testing/test_frame_mask", "testframemask", "frame_masks")


def open_avenue(root: Path | str, *, fps: float = 25.0, min_confidence: float = 0.8) -> DataSet:
    """CUHK Avenue (16 training, 21 test videos, 640x360), as avi or frames, whole or in part.

    `fps` is that of frame folders; .avi files know their own. `min_confidence` is that of shipped
    boxes. Raises `InputError` where no known layout is found.
    """
    root = Path(root)
    base = next((b for b in (root, root / "Avenue Dataset") if _first(b, TEST)), None)
    test_folder = base and _first(base, TEST)
    if base is None or test_folder is None:
        raise InputError(f"{root}: neither testing_videos/*.avi nor testing/frames/01/ below it")
    train = videos_in(_first(base, TRAIN), fps=fps, label="normal", missing_ok=True)
    test = videos_in(test_folder, fps=fps, skip="_mask")
    train = with_boxes(train, base, "train", min_confidence, "avenue")
    test = with_boxes(test, base, "test", min_confidence, "avenue")
    info = facts(base, EXPECTED, train, test, licence=LICENCE, cite=CITE, fps="25 frames/s (.avi)")
    read = partial(_truth, (base, root), test)
    return DataSet("avenue", Split(train), test_split(test, read), info=info)


def _first(base: Path, names: Sequence[str]) -> Path | None:
    return next((base / name for name in names if (base / name).is_dir()), None)


def _truth(roots: Sequence[Path], test: Sequence[Video], video: Video) -> Truth:
    number = video.name.lstrip("0") or "0"
    base = roots[0]
    for file in (r / folder / f"{number}_label.mat" for r in roots for folder in LABEL_MASKS):
        if file.is_file():
            frames = np.array([cell.any() for cell in _cells(file, video)], bool)  # (T,)
            return Truth(frames, masks=partial(_masks, file, video))
    for name in FRAME_MASKS:
        file = base / name / f"{video.name}.npy"
        if file.is_file():
            frames = frame_mask(file)
            check_length(video, len(frames), file)
            return Truth(frames)
    file = base / "avenue.mat"
    if file.is_file():
        ranges = in_order(mat_ranges(file), test, file)[video.name]
        return Truth(mark(ranges, count_frames(video), str(file), video.name))
    raise InputError(
        f"{base}: no labels for video {video.name}: "
        f"no testing_label_mask/{number}_label.mat, {video.name}.npy or avenue.mat"
    )


def _cells(file: Path, video: Video) -> list[np.ndarray]:
    """`volLabel`: one (H, W) mask a frame, as many and as large as the video's frames."""
    cells = [np.asarray(cell) for cell in load_mat(file, "volLabel").ravel()]
    check_length(video, len(cells), file, "masks")
    for index, cell in enumerate(cells):
        if cell.shape != video.size:
            raise InputError(
                f"{file}: mask {index + 1} is {cell.shape}; expected {video.size} as the video"
            )
    return cells


def _masks(file: Path, video: Video) -> np.ndarray:
    return np.stack(_cells(file, video)) > 0  # (T, H, W)
