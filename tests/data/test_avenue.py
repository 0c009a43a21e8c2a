from __future__ import annotations

import shutil

import numpy as np
import pytest
from scipy.io import savemat, whosmat
from tiny_data import real, tiny

from vigil.data.avenue import open_avenue
from vigil.data.layouts import write_as
from vigil.errors import InputError
from vigil.video.read import count_frames


@pytest.fixture
def root(tmp_path):
    return write_as(tiny(), "avenue", tmp_path / "avenue")


def test_real_sample_opens_with_what_is_there():
    data = open_avenue(real("avenue_sample"))
    assert [v.name for v in data.train] == ["12", "16"]
    assert [v.name for v in data.test] == ["08", "17", "18", "19", "20", "21"]
    assert data.info["part"] == "2 of 16 train videos, 6 of 21 test videos"
    assert {(v.size, v.fps) for v in data.test} == {((360, 640), 25.0)}
    lengths = {}
    for video in data.test:
        file = real("avenue_sample") / "testing_label_mask" / f"{int(video.name)}_label.mat"
        ((_, shape, _),) = whosmat(file)
        lengths[video.name] = (count_frames(video), shape[1])
    assert all(frames == masks for frames, masks in lengths.values()), lengths


def test_real_masks_and_labels():
    data = open_avenue(real("avenue_sample"))
    truth = data.test.truth("08")
    masks = truth.masks()
    assert masks.shape == (36, 360, 640)
    assert (masks.any(axis=(1, 2)) == truth.frames).all() and truth.frames.any()


def test_real_masks_of_all_21_videos():
    files = sorted((real("avenue_sample") / "testing_label_mask").glob("*.mat"))
    assert len(files) == 21
    assert sum(whosmat(file)[0][1][1] for file in files) == 15324


def test_masks_are_matched_by_number_not_by_place(root):
    (root / "testing_videos" / "01.avi").unlink()
    data = open_avenue(root)
    assert [v.name for v in data.test] == ["02", "03"]
    assert np.flatnonzero(data.test.truth("03").frames).tolist() == [0, 6, 17]


def test_masks_longer_shorter_or_larger_than_the_video(root):
    masks = root / "testing_label_mask"
    shutil.copy(masks / "2_label.mat", masks / "1_label.mat")  # 17 masks for 20 frames
    with pytest.raises(
        InputError, match="1_label.mat: 17 masks for video 01, which has 20 .*3 fewer"
    ):
        open_avenue(root).test.truth("01")
    shutil.copy(masks / "3_label.mat", masks / "2_label.mat")  # 18 for 17
    with pytest.raises(InputError, match="18 masks for video 02, which has 17 .*1 more"):
        open_avenue(root).test.truth("02")
    cells = np.empty((1, 18), object)
    cells[0, :] = [np.zeros((16, 24), np.uint8)] * 18
    savemat(masks / "3_label.mat", {"volLabel": cells})
    with pytest.raises(InputError, match=r"mask 1 is \(16, 24\); expected \(32, 48\)"):
        open_avenue(root).test.truth("03")


def test_no_labels_for_one_video(root):
    (root / "testing_label_mask" / "2_label.mat").unlink()
    test = open_avenue(root).test
    with pytest.raises(InputError, match="no labels for video 02"):
        test.truth("02")
    assert test.truth("01").frames.sum() == 14


def test_frames_with_ranges_or_frame_masks(tmp_path):
    root = write_as(tiny(), "ucsd-ped2-frames", tmp_path / "avenue")
    (root / "ped2.mat").rename(root / "avenue.mat")
    test = open_avenue(root, fps=12).test
    assert test.truth("01").frames.sum() == 14 and test.videos[0].fps == 12.0
    (root / "testing" / "test_frame_mask").mkdir()
    np.save(root / "testing" / "test_frame_mask" / "01.npy", np.eye(20)[3])
    assert np.flatnonzero(open_avenue(root).test.truth("01").frames).tolist() == [3]
    np.save(root / "testing" / "test_frame_mask" / "01.npy", np.eye(21)[3])
    with pytest.raises(InputError, match="21 labels for video 01, which has 20"):
        open_avenue(root).test.truth("01")


def test_zero_byte_and_renamed_text_videos_stay_listed(root):
    (root / "testing_videos" / "01.avi").write_bytes(b"")
    (root / "testing_videos" / "02.avi").write_text("I am no video")
    (root / "testing_videos" / "notes.txt").write_text("stray")
    data = open_avenue(root)
    assert [v.name for v in data.test] == ["01", "02", "03"]
    for video in data.test.videos[:2]:
        with pytest.raises(InputError, match=f"{video.name}.avi"):
            list(video.frames())
    assert data.test.truth("03").frames.sum() == 3


def test_two_videos_of_one_name_and_an_empty_folder(root, tmp_path):
    shutil.copy(root / "testing_videos" / "01.avi", root / "testing_videos" / "01.mp4")
    with pytest.raises(InputError, match="two videos are called '01'"):
        open_avenue(root)
    with pytest.raises(InputError, match="neither testing_videos"):
        open_avenue(tmp_path / "nowhere")


def test_the_archives_as_they_unpack(root, tmp_path):
    archive = tmp_path / "as unpacked"
    (archive / "ground_truth_demo").mkdir(parents=True)
    (root / "testing_label_mask").rename(archive / "ground_truth_demo" / "testing_label_mask")
    root.rename(archive / "Avenue Dataset")
    data = open_avenue(archive)
    assert len(data.train) == 3 and data.test.truth("01").frames.sum() == 14
