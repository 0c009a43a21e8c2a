"""The scene-dependent split: exact lists, whose masks, trees of the makers and of our own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from tiny_data import real, tiny

from vigil.data._shanghaitech_sd import ORIGINAL_ABNORMAL, TEST, TRAIN, listed
from vigil.data.catalog import describe
from vigil.data.layouts import write_as
from vigil.data.shanghaitech import open_shanghaitech
from vigil.errors import ConfigError, InputError
from vigil.video.read import count_frames


def test_lists_are_those_of_the_makers():
    train, test = listed(TRAIN), listed(TEST)
    assert (len(train), len(test)) == (35, 18) and not set(train) & set(test)
    assert sum(len(name) == 7 for name in train) == 9  # test videos of the original set
    assert all(len(name) == 7 for name in test)
    assert {name[:2] for name in train} == {name[:2] for name in test} == {"01", "06", "10", "12"}
    assert train[:2] == ["01_0016", "01_0051"] and train[-1] == "12_015"
    assert "12_009" in train and "12_010" not in train and test[-1] == "12_0175"


def test_real_masks_without_one_video(tmp_path):
    shutil.copytree(real("shanghaitech") / "test_frame_mask", tmp_path / "test_frame_mask")
    data = open_shanghaitech(tmp_path, split="sd-original")
    assert (len(data.train), len(data.test)) == (35, 18)
    lengths = [count_frames(video) for video in data.test]
    assert sum(lengths) == 5946 and sum(n // 16 * 16 for n in lengths) == 5824
    truths = [data.test.truth(video.name).frames for video in data.test]
    assert sum(int(frames.sum()) for frames in truths) == ORIGINAL_ABNORMAL
    assert "not those made anew" in data.info["labels"] and data.variant == "sd-original"
    with pytest.raises(InputError, match=r"no testframemask/01_0014\.npy, the labels"):
        open_shanghaitech(tmp_path, split="sd").test.truth("01_0014")
    (tmp_path / "test_frame_mask").rename(tmp_path / "testframemask")
    with pytest.raises(InputError, match="these masks are the original ones .3,523 abnormal"):
        open_shanghaitech(tmp_path, split="sd")
    mask = tmp_path / "testframemask" / "01_0014.npy"
    np.save(mask, np.zeros_like(np.load(mask)))  # made anew: fewer
    data = open_shanghaitech(tmp_path, split="sd")
    assert not data.test.truth("01_0014").frames.any()
    assert data.info["labels"] == "made anew for this split, testframemask/"


def test_a_tree_of_the_makers_and_a_part_of_one(tmp_path):
    made = write_as(tiny(), "shanghaitech-sd", tmp_path / "made")
    (made / "vigil_names.json").unlink()
    tree = tmp_path / "root" / "shanghai-sd"
    tree.parent.mkdir()
    made.rename(tree)
    (tree / "training" / "01_001").rename(tree / "training" / "01_0016")
    for part, old, new in (("testing", "01_0001", "01_0014"), ("testing", "06_0003", "06_0147")):
        (tree / part / old).rename(tree / part / new)
        (tree / "testframemask" / f"{old}.npy").rename(tree / "testframemask" / f"{new}.npy")
    data = open_shanghaitech(tree.parent, split="sd")  # found below the root
    assert [(v.name, v.label, v.scene) for v in data.train] == [
        ("01_0016", "normal", "01"), ("06_001", "normal", "06"),
    ]  # fmt: skip
    assert [(v.name, v.label) for v in data.test] == [
        ("01_0014", "unknown"),
        ("06_0147", "unknown"),
    ]
    assert data.test.truth("01_0014").frames.sum() == 14
    facts = describe(data)
    assert "Cao" in facts["cite"] and not facts["complete"]


def test_the_original_tree_is_dealt_anew(tmp_path):
    root = write_as(tiny(), "shanghaitech", tmp_path / "sht")
    (root / "vigil_names.json").unlink()
    with pytest.raises(InputError, match="none of the videos here is one of ShanghaiTech-sd"):
        open_shanghaitech(root, split="sd")
    (root / "testing/frames/01_0001").rename(root / "testing/frames/01_0016")
    data = open_shanghaitech(root, split="sd")
    assert [(v.name, v.label) for v in data.train] == [("01_0016", "normal")] and not len(data.test)


def test_a_generated_tree_stays_as_it_lies(tmp_path):
    root = write_as(tiny(), "shanghaitech-sd", tmp_path / "sd")
    data = open_shanghaitech(root, split="sd")
    assert [v.name for v in data.train] == ["01_001", "01_002", "06_001"]
    assert [v.name for v in data.test] == ["01_0001", "01_0002", "06_0003"]
    assert data.test.truth("06_0003").frames.sum() == 3
    with pytest.raises(ConfigError, match="split of shanghaitech 'sdd'.* did you mean"):
        open_shanghaitech(root, split="sdd")
