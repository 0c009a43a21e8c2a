from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from tiny_data import real, tiny

from vigil.data.layouts import write_as
from vigil.data.ucsd import open_ped1, open_ped2
from vigil.errors import InputError


@pytest.fixture
def frames(tmp_path):
    """Ped2 in miniature: three test videos of 20, 17 and 18 frames."""
    return write_as(tiny(), "ucsd-ped2-frames", tmp_path / "ped2")


@pytest.fixture
def original(tmp_path):
    return write_as(tiny(), "ucsd-ped2", tmp_path / "UCSD" / "UCSDped2")


def ranges(root):
    return list(loadmat(root / "ped2.mat")["gt"].ravel())


def save(root, entries):
    cells = np.empty((1, len(entries)), object)
    cells[0, :] = entries
    savemat(root / "ped2.mat", {"gt": cells})


def boxes(root, part, found):
    folder = root / "detections"
    folder.mkdir(exist_ok=True)
    file = folder / f"ped2_{part}_detect_result_yolov3.pkl"
    file.write_bytes(pickle.dumps(found))
    return file


# -- the real thing ---------------------------------------------------------------------------


def test_real_ped2_counts():
    data = open_ped2(real("ped2"))
    train = [sum(1 for _ in os.scandir(video.source)) for video in data.train]
    assert (len(train), sum(train), len(data.test)) == (16, 2550, 12)
    truths = [data.test.truth(video.name) for video in data.test]
    assert sum(len(truth.frames) for truth in truths) == 2010
    assert sum(int(truth.frames.sum()) for truth in truths) == 1648
    for truth in truths:
        masks = truth.masks()
        assert masks.shape == (len(truth.frames), 240, 360)
        assert (masks.any(axis=(1, 2)) == truth.frames).all()
    assert {(video.size, video.fps) for video in data.test} == {((240, 360), 10.0)}
    assert "part" not in data.info


def test_real_ped2_boxes_give_the_known_number_of_cubes():
    """The counts of the Jigsaw-VAD repository: T = 7, centres T-1.. in training, T//2.. in test."""
    data = open_ped2(real("ped2"))
    counts = {}
    for part, margin in ((data.train, 6), (data.test, 3)):
        found = [video.given["objects"]() for video in part]
        assert all(b.dtype == np.float32 and b.shape[1:] == (5,) for rows in found for b in rows)
        assert all((b[:, 4] > 0.5).all() for rows in found for b in rows)
        counts[margin] = sum(len(b) for rows in found for b in rows[margin : len(rows) - margin])
    assert counts == {6: 27660, 3: 31925}


# -- labels and boxes that do not fit -----------------------------------------------------------


def test_labels_beyond_the_end_name_video_and_lengths(frames):
    found = ranges(frames)
    found[1] = np.array([[3.0], [18.0]])
    save(frames, found)
    data = open_ped2(frames)
    with pytest.raises(
        InputError, match=r"ped2\.mat: abnormal up to frame 18 of video 02.* has 17"
    ):
        data.test.truth("02")
    assert data.test.truth("01").frames.sum() == 14  # the others go on


def test_a_mat_for_another_number_of_videos_is_refused(frames):
    save(frames, ranges(frames)[:2])
    with pytest.raises(InputError, match="labels for 2 videos, but 3 test videos"):
        open_ped2(frames).test.truth("01")


def test_masks_of_another_length_or_size_are_refused(frames):
    with np.load(frames / "pixel_masks.npz") as arrays:
        masks = dict(arrays)
    masks["01"], masks["02"] = masks["01"][:-1], masks["02"][:, :, :-1]
    np.savez(frames / "pixel_masks.npz", **masks)
    test = open_ped2(frames).test
    with pytest.raises(InputError, match="19 masks for video 01, which has 20"):
        test.truth("01").masks()
    with pytest.raises(InputError, match=r"expected uint8 \(T, 32, 6\)"):
        test.truth("02").masks()
    assert test.truth("03").masks().shape == (18, 32, 48)


def test_without_any_labels_videos_open_and_truth_says_so(frames):
    (frames / "ped2.mat").unlink()
    (frames / "pixel_masks.npz").unlink()
    data = open_ped2(frames)
    assert len(data.test) == 3
    with pytest.raises(InputError, match="no labels for video 01"):
        data.test.truth("01")


def test_masks_alone_are_labels_enough(original):
    (original / "Test" / "UCSDped2.m").unlink()
    truth = open_ped2(original).test.truth("Test001")
    assert np.flatnonzero(~truth.frames).tolist() == [0, 1, 2, 9, 10, 11]


def test_mask_pictures_of_another_length_are_refused(original):
    (original / "Test" / "Test001_gt" / "019.bmp").unlink()
    truth = open_ped2(original).test.truth("Test001")
    with pytest.raises(InputError, match="19 mask pictures for video Test001, which has 20"):
        truth.masks()


def test_only_boxes_above_the_confidence_are_given(frames):
    rows = np.array([[1, 2, 3, 4, 0.5], [5, 6, 7, 8, 0.51], [-3.4, 0, 9, 9, 0.9]])
    found = {"01": [rows] * 20, "02": [rows[:0]] * 17, "03": [rows] * 17}
    boxes(frames, "test", found)
    given = {v.name: v.given["objects"] for v in open_ped2(frames).test}
    assert given["01"]()[19].tolist() == rows[1:].astype(np.float32).tolist()
    assert [b.shape for b in given["02"]()] == [(0, 5)] * 17
    with pytest.raises(InputError, match="17 frames of boxes for video 03, which has 18"):
        given["03"]()
    least = {v.name: v for v in open_ped2(frames, min_confidence=0.4).test}["01"]
    assert len(least.given["objects"]()[0]) == 3
    assert all("objects" not in v.given for v in open_ped2(frames).train)


def test_a_box_file_that_would_run_code_is_refused_and_runs_nothing(frames, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    file = boxes(frames, "test", {"01": Evil()})
    data = open_ped2(frames)
    with pytest.raises(InputError, match="system"):
        data.test.videos[0].given["objects"]()
    assert not (tmp_path / "ran").exists()
    for wrong in ([1, 2], {"01": [np.ones((2, 4))] * 20}, {"02": []}, {"01": [[["a"] * 5]] * 20}):
        file.write_bytes(pickle.dumps(wrong))
        with pytest.raises(InputError, match=file.name):
            open_ped2(frames).test.videos[0].given["objects"]()


# -- layouts --------------------------------------------------------------------------------------


def test_stray_files_and_mask_folders_are_no_videos(original):
    for name in (".DS_Store", "Test/._Test001", "Test/readme.txt", "Test/Test001/Thumbs.db"):
        (original / name).write_bytes(b"stray")
    (original / "Test" / ".hidden").mkdir()
    data = open_ped2(original)
    assert [v.name for v in data.test] == ["Test001", "Test002", "Test003"]
    assert len(list(data.test.videos[0].frames())) == 20


def test_original_archive_is_found_from_above(original):
    assert len(open_ped2(original.parent).test) == 3
    with pytest.raises(InputError, match="UCSDped1/Test"):
        open_ped1(original.parent)


def test_frames_may_lie_without_the_frames_folder(frames):
    for part in ("training", "testing"):
        (frames / part / "frames").rename(frames / "moved")
        (frames / part).rmdir()
        (frames / "moved").rename(frames / part)
    data = open_ped2(frames, fps=30)
    assert [v.fps for v in data.test] == [30.0] * 3
    assert data.test.truth("01").frames.sum() == 14


def test_ped1_reads_its_own_label_file(original):
    (original / "Test" / "UCSDped2.m").rename(original / "Test" / "UCSDped1.m")
    data = open_ped1(original)
    assert data.name == "ucsd-ped1"
    assert data.test.truth("Test003").frames.sum() == 3
    assert data.info["part"] == "3 of 34 train videos, 3 of 36 test videos"


def test_an_empty_video_stays_listed_and_says_why_when_read(frames):
    for file in (frames / "testing" / "frames" / "02").iterdir():
        file.unlink()
    data = open_ped2(frames)
    assert [v.name for v in data.test] == ["01", "02", "03"]
    with pytest.raises(InputError, match="02"):
        list(data.test.videos[1].frames())
