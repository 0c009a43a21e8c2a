from __future__ import annotations

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from tiny_data import real, tiny, video

from vigil.data._layouts_files import clip
from vigil.data.base import DataSet, Split, TestSplit
from vigil.data.folder import init_folder, open_folder
from vigil.data.layouts import write_as
from vigil.data.shanghaitech import open_shanghaitech
from vigil.data.ucsd import open_ped2
from vigil.data.verify import Problem, verify, verify_named
from vigil.records import Frame, Truth


def checked(dataset):
    """The problems of a miniature, the facts of the complete set left out."""
    return verify(replace(dataset, info={}))


@pytest.fixture
def ucsd(tmp_path):
    return write_as(tiny(), "ucsd-ped2-frames", tmp_path / "ped2")


@pytest.fixture
def sht(tmp_path):
    return write_as(tiny(), "shanghaitech", tmp_path / "sht")


def test_nothing_is_wrong_with_ped2():
    assert verify(open_ped2(real("ped2"))) == []


def test_nothing_is_wrong_with_a_fresh_miniature(ucsd, sht):
    assert checked(open_ped2(ucsd)) == []
    assert checked(open_shanghaitech(sht)) == []


def test_facts_of_the_complete_set_are_compared(ucsd):
    assert verify(open_ped2(ucsd)) == [
        Problem(str(ucsd), "3 train videos", "16 in the complete set"),
        Problem(str(ucsd), "3 test videos", "12 in the complete set"),
        Problem(str(ucsd), "58 train frames", "2550 in the complete set"),
        Problem(str(ucsd), "55 test frames", "2010 in the complete set"),
        Problem(str(ucsd), "17 abnormal test frames", "1648 in the complete set"),
    ]


def test_every_fault_is_found_and_none_stops_the_search(sht):
    videos, frames = sht / "training" / "videos", sht / "testing" / "frames"
    masks = sht / "testing" / "test_frame_mask"
    whole = (videos / "01_001.avi").read_bytes()
    (videos / "01_001.avi").write_bytes(whole[: len(whole) // 2])  # truncated
    (videos / "01_002.avi").write_bytes(b"")
    (videos / "02_001.avi").write_text("no video")
    (frames / "01_0001" / "004.jpg").unlink()  # a hole; and now one label too many
    (frames / "01_0002" / "003.jpg").write_bytes(b"\xff\xd8 no picture")
    (masks / "02_0003.npy").unlink()
    found = {}
    for problem in checked(open_shanghaitech(sht)):
        found.setdefault(problem.file.rpartition("/")[2], []).append(problem.found)
    assert set(found) == {"01_001.avi", "01_002.avi", "02_001.avi", "01_0001", "003.jpg", "02_0003"}
    assert found["01_0001"][0] == "no frame 4"
    assert "20 labels for video 01_0001, which has 19 frames (1 more" in found["01_0001"][1]
    assert "003.jpg: not a readable image" in found["003.jpg"][0]
    assert "no test_frame_mask/02_0003.npy" in found["02_0003"][0]


def test_labels_longer_and_shorter(sht):
    masks = sht / "testing" / "test_frame_mask"
    np.save(masks / "01_0001.npy", np.zeros(21, np.uint8))
    np.save(masks / "01_0002.npy", np.zeros(16, np.uint8))
    found = [problem.found for problem in checked(open_shanghaitech(sht))]
    assert len(found) == 2
    assert "21 labels for video 01_0001, which has 20 frames (1 more" in found[0]
    assert "16 labels for video 01_0002, which has 17 frames (1 fewer" in found[1]


def test_masks_that_contradict_the_labels(ucsd):
    with np.load(ucsd / "pixel_masks.npz") as arrays:
        packed = dict(arrays)
    packed["01"][4] = 0
    np.savez(ucsd / "pixel_masks.npz", **packed)
    (problem,) = checked(open_ped2(ucsd))
    assert problem.found == "masks and labels of 01 differ on 1 frames"


def test_numbers_with_repeats_and_holes(ucsd):
    frames = ucsd / "training" / "frames" / "01"
    shutil.copy(frames / "003.jpg", frames / "3.jpg")
    for index in (7, 8, 9):
        (frames / f"{index:03}.jpg").unlink()
    assert [(p.found, p.expected) for p in checked(open_ped2(ucsd))] == [
        ("two frames numbered 3", "each number once"),
        ("no frame 7 to 9", "every frame up to 17"),
    ]


def test_every_bad_picture_of_a_folder_is_named(ucsd):
    frames = ucsd / "training" / "frames" / "01"
    cv2.imwrite(str(frames / "005.jpg"), np.zeros((16, 24, 3), np.uint8))
    (frames / "000.jpg").write_bytes(b"")
    (frames / "009.jpg").write_text("no picture")
    found = [(p.file.rpartition("/")[2], p.expected) for p in checked(open_ped2(ucsd))]
    assert found == [
        ("000.jpg", "a readable image"),
        ("005.jpg", "48x32 as the first"),
        ("009.jpg", "a readable image"),
    ]


def test_damage_that_the_reader_survives_is_told(sht):
    file = sht / "training" / "videos" / "01_001.avi"
    data = bytearray(file.read_bytes())
    first, last = data.find(b"movi"), data.find(b"idx1")
    middle = (first + last) // 2
    data[middle : middle + (last - first) // 4] = b"\x55" * ((last - first) // 4)
    file.write_bytes(data)
    found = checked(open_shanghaitech(sht))
    assert found and {problem.file for problem in found} == {str(file)}


def test_one_file_in_two_places(ucsd):
    data = open_ped2(ucsd)
    leak = replace(data.test.videos[0], name="01x")
    data = replace(data, train=Split((*data.train.videos, leak)))
    (problem,) = checked(data)
    assert problem.found == "it is train video 01x and test video 01"


def test_whatever_a_decoder_raises_is_one_problem():
    def broken(short_side):
        yield Frame(np.zeros((32, 48, 3), np.uint8), 0.0)
        raise ZeroDivisionError("odd header")

    train = (replace(video("a", 3), open=broken), video("b", 3))
    data = DataSet(
        "d", Split(train), TestSplit((video("t", 2),), lambda n: Truth(np.zeros(2, bool)))
    )
    (problem,) = verify(data)
    assert problem.found == "ZeroDivisionError: odd header"
    assert str(problem).startswith("memory/a: ZeroDivisionError")


def test_a_set_that_does_not_open_is_one_problem(sht):
    shutil.copy(sht / "training/videos/01_001.avi", sht / "training/videos/01_001.mp4")
    (problem,) = verify_named("shanghaitech", sht)
    assert "two videos are called '01_001'" in problem.found


def test_progress(ucsd):
    seen = []
    verify(open_ped2(ucsd), progress=lambda *row: seen.append(row))
    names = ["01", "02", "03", "01", "02", "03"]
    assert seen == [(done, 6, name) for done, name in enumerate(names)]


def test_a_folder_to_be_scored_misses_no_labels_but_a_manifest_may(tmp_path):
    clip(video("a", 5), tmp_path / "a.avi")
    assert verify(open_folder(tmp_path)) == []
    init_folder(tmp_path)
    (problem,) = verify(open_folder(tmp_path))
    assert "nothing says when" in problem.found
