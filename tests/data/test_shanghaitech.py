from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_data import real, tiny

from vigil.data.labels import frame_mask
from vigil.data.layouts import write_as
from vigil.data.shanghaitech import open_shanghaitech, read_list, weak_label, weak_lists
from vigil.errors import ConfigError, InputError


@pytest.fixture
def root(tmp_path):
    """Training 01_001, 01_002, 02_001 (.avi); testing 01_0001, 01_0002 (normal), 02_0003."""
    return write_as(tiny(), "shanghaitech", tmp_path / "sht")


def weak(root, train="video-id\n02_0003\n01_001\n01_0002\n", test="video-id\n01_0001\n02_001\n"):
    (root / "shanghaitech.training.csv").write_text(train)
    (root / "shanghaitech.testing.csv").write_text(test)


def test_real_masks():
    files = sorted((real("shanghaitech") / "test_frame_mask").glob("*.npy"))
    masks = [frame_mask(file) for file in files]
    assert (len(masks), sum(map(len, masks))) == (107, 40791)
    assert sum(int(mask.sum()) for mask in masks) == 17326
    assert len({file.stem[:2] for file in files}) == 12  # scene 13 was filmed for training only


def test_real_weak_split_by_name():
    root = real("shanghaitech")
    lists = weak_lists(root)
    labels = {p: [weak_label(root, name) for name in names] for p, names in lists.items()}
    assert (len(lists["train"]), labels["train"].count("anomalous")) == (238, 63)
    assert (len(lists["test"]), labels["test"].count("anomalous")) == (199, 44)


def test_real_lists_of_three_projects_agree():
    root = real("shanghaitech")
    s3r, makers = root / "s3r", root / "weak_splits"
    train = read_list(s3r / "shanghaitech.training.csv")
    assert sorted(train) == sorted(read_list(makers / "SH_Train_new.txt"))
    assert train == read_list(makers / "cliptsa_lists" / "shanghai-i3d-train-10crop.list")
    test = read_list(s3r / "shanghaitech.testing.csv")
    assert sorted(test) == sorted(read_list(makers / "SH_Test_NEW.txt"))
    rows = [line.split(",") for line in (makers / "SH_Train_new.txt").read_text().split()]
    assert all((weak_label(root, name) == "anomalous") == (label == "1") for name, label in rows)


def test_real_ground_truth_is_the_mask_padded_with_its_last_value():
    root = real("shanghaitech")
    truth = json.loads((root / "s3r" / "shanghaitech_ground_truth.testing.json").read_text())
    checked = 0
    for name, row in truth.items():
        file = root / "test_frame_mask" / f"{name}.npy"
        if file.is_file():
            mask = frame_mask(file)
            assert np.pad(mask, (0, -len(mask) % 16), mode="edge").tolist() == row["labels"]
            checked += 1
    assert checked == 44


def test_scenes_and_one_scene(root):
    assert {v.scene for v in open_shanghaitech(root).train} == {"01", "02"}
    data = open_shanghaitech(root, scene="02")
    assert [v.name for v in (*data.train, *data.test)] == ["02_001", "02_0003"]
    assert len(open_shanghaitech(root, scene=["01", "02"]).test) == 3
    with pytest.raises(ConfigError, match="unknown scene of shanghaitech '07'"):
        open_shanghaitech(root, scene="07")


@pytest.mark.parametrize("name", ["testframemask", "frame_masks", "testing/frame_masks"])
def test_masks_under_other_names(root, name):
    (root / "testing" / "test_frame_mask").rename(root / name)
    assert open_shanghaitech(root).test.truth("02_0003").frames.sum() == 3


def test_weak_split_deals_by_list_and_labels_by_mask(root):
    weak(root)
    data = open_shanghaitech(root, split="weak")
    assert data.variant == "weak"
    assert {v.name: v.label for v in data.train} == {
        "01_0002": "normal",  # an original test video whose mask has no positive
        "01_001": "normal",
        "02_0003": "anomalous",
    }
    assert {v.name: v.label for v in data.test} == {"01_0001": "unknown", "02_001": "unknown"}
    assert data.test.truth("01_0001").frames.sum() == 14
    normal = data.test.truth("02_001").frames
    assert len(normal) == 21 and not normal.any()


def test_weak_split_reads_rows_and_paths(root):
    (root / "SH_Train_new.txt").write_text("02_0003,1\n01_001,0\n")
    (root / "shanghai-i3d-test-10crop.list").write_text(
        "/data/x/01_0001_i3d.npy\nD:\\features\\02_001_i3d.npy\n"
    )
    data = open_shanghaitech(root, split="weak")
    assert [v.name for v in data.train] == ["01_001", "02_0003"]
    assert [v.name for v in data.test] == ["01_0001", "02_001"]


def test_weak_split_faults(root):
    with pytest.raises(InputError, match="no list of the weak split"):
        open_shanghaitech(root, split="weak")
    weak(root, test="video-id\n01_001\n")
    with pytest.raises(InputError, match="01_001 is listed for training and for testing"):
        open_shanghaitech(root, split="weak")
    weak(root, train="video-id\n01_001\n01_001\n")
    with pytest.raises(InputError, match="01_001 is listed twice"):
        open_shanghaitech(root, split="weak")
    weak(root)
    (root / "testing" / "test_frame_mask" / "02_0003.npy").unlink()
    with pytest.raises(InputError, match="no frame mask for video 02_0003"):
        open_shanghaitech(root, split="weak")
    with pytest.raises(ConfigError, match="split of shanghaitech 'strong'"):
        open_shanghaitech(root, split="strong")


def test_missing_and_wrong_masks_are_told_when_asked_for(root):
    masks = root / "testing" / "test_frame_mask"
    (masks / "01_0001.npy").unlink()
    np.save(masks / "01_0002.npy", np.zeros(16, np.uint8))
    test = open_shanghaitech(root).test
    with pytest.raises(InputError, match=r"no test_frame_mask/01_0001\.npy"):
        test.truth("01_0001")
    with pytest.raises(InputError, match="16 labels for video 01_0002, which has 17 .*1 fewer"):
        test.truth("01_0002")
    assert test.truth("02_0003").frames.sum() == 3


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(InputError, match="no videos in testing"):
        open_shanghaitech(tmp_path)
