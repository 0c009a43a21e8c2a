"""The weak split where no video is at hand: names, labels and lengths from lists, masks, json."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_data import real

from vigil.data._weak_truth import padded, read_s3r
from vigil.data.catalog import describe
from vigil.data.shanghaitech import open_shanghaitech, read_list
from vigil.errors import InputError
from vigil.video.read import count_frames


@pytest.fixture
def root(tmp_path):
    (tmp_path / "SH_Train_new.txt").write_text("01_001,0\n01_0014,1\n")
    (tmp_path / "SH_Test_NEW.txt").write_text("01_002,0,40\n01_0015,1,-1\n")
    (tmp_path / "test_frame_mask").mkdir()
    for name in ("01_0014", "01_0015"):
        np.save(tmp_path / "test_frame_mask" / f"{name}.npy", np.repeat([0, 1], [20, 10]))
    return tmp_path


def test_real_split_without_one_video():
    data = open_shanghaitech(real("shanghaitech"), split="weak")
    facts = describe(data)
    assert facts["complete"] and facts["S3R's ground truth"].endswith("as published")
    assert facts["parts"]["train"]["labels"] == {"anomalous": 63, "normal": 175}
    frames = {video.name: data.test.truth(video.name).frames for video in data.test}
    assert (len(frames), sum(bool(f.any()) for f in frames.values())) == (199, 44)
    with pytest.raises(InputError, match=r"no file 01_0015\.mp4"):
        next(video for video in data.test if video.name == "01_0015").frames()


def test_real_ground_truth_is_that_of_both_projects():
    root = real("shanghaitech")
    data = open_shanghaitech(root, split="weak")
    shipped = read_s3r(root / "s3r" / "shanghaitech_ground_truth.testing.json")
    order = read_list(root / "s3r" / "shanghaitech.testing.csv")
    made = {name: padded(data.test.truth(name).frames) for name in order}
    assert all(np.array_equal(made[name], shipped[name]) for name in order)
    whole = np.concatenate(list(made.values()))
    assert (len(whole), int(whole.sum())) == (142_912, 8_028)
    assert np.array_equal(whole, np.load(root / "weak_splits" / "gt-sh.npy") > 0)
    lengths = [len(labels) for labels in made.values()]
    assert (min(lengths), max(lengths)) == (208, 1792)


def test_lengths_and_labels(root):
    data = open_shanghaitech(root, split="weak")
    assert {v.name: v.label for v in data.train} == {"01_001": "normal", "01_0014": "anomalous"}
    assert [count_frames(video) for video in data.test] == [30, 40]
    assert [int(data.test.truth(v.name).frames.sum()) for v in data.test] == [10, 0]
    assert {video.scene for video in data.train} == {"01"}
    with pytest.raises(InputError, match="01_001: neither the video nor a list"):
        count_frames(data.train.videos[0])


def test_column_of_labels_counts_without_masks_and_must_agree_with_them(root):
    (root / "test_frame_mask" / "01_0014.npy").unlink()
    assert open_shanghaitech(root, split="weak").train.videos[1].label == "anomalous"
    np.save(root / "test_frame_mask" / "01_0014.npy", np.zeros(30, np.uint8))
    with pytest.raises(InputError, match="01_0014 is anomalous in a list, normal by"):
        open_shanghaitech(root, split="weak")


def test_json_of_s3r_stands_for_masks(root):
    (root / "test_frame_mask" / "01_0015.npy").unlink()
    table = {"01_0015": {"num_frames": 32, "labels": [0.0] * 20 + [1.0] * 12}}
    file = root / "shanghaitech_ground_truth.testing.json"
    file.write_text(json.dumps(table))
    truth = open_shanghaitech(root, split="weak").test.truth("01_0015")
    assert (len(truth.frames), int(truth.frames.sum())) == (32, 12)
    file.write_text('{"01_0015": {"num_frames": 2, "labels": [0.0, 3.0]}}')
    with pytest.raises(InputError, match=r"ground_truth\.testing\.json: .*expected"):
        open_shanghaitech(root, split="weak")
