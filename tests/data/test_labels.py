from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square
from scipy.io import savemat
from tiny_data import video

from vigil.data import labels
from vigil.errors import InputError


def test_mark_counts_from_one_and_includes_the_last():
    found = labels.mark(np.array([[2, 3], [5, 5]], np.uint8), 6, "f", "v")
    assert found.tolist() == [False, True, True, False, True, False]
    assert labels.mark(np.zeros((0, 2)), 3, "f", "v").tolist() == [False] * 3


@pytest.mark.parametrize(
    ("pair", "message"), [((0, 2), "0 to 2"), ((3, 2), "3 to 2"), ((5, 7), "has 6")]
)
def test_mark_refuses_what_cannot_be(pair, message):
    with pytest.raises(InputError, match=message):
        labels.mark(np.array([pair]), 6, "gt.mat", "03")


def test_mat_ranges_reads_2xn_flat_pairs_empty_and_wrapped_cells(tmp_path):
    cells = np.empty((1, 5), object)
    cells[0, 0] = np.array([[5, 140], [90, 200]])
    cells[0, 1] = np.array([61, 180], np.uint8)
    cells[0, 2] = np.array([[7], [9]])
    cells[0, 3] = np.zeros((2, 0))
    wrapped = np.empty((1, 1), object)
    wrapped[0, 0] = np.array([[3.0], [4.0]])
    cells[0, 4] = wrapped
    savemat(tmp_path / "x.mat", {"gt": cells})
    found = [ranges.tolist() for ranges in labels.mat_ranges(tmp_path / "x.mat")]
    assert found == [[[5, 90], [140, 200]], [[61, 180]], [[7, 9]], [], [[3, 4]]]


def test_mat_faults_name_the_file(tmp_path):
    path = tmp_path / "x.mat"
    savemat(path, {"other": 1})
    with pytest.raises(InputError, match=r"x\.mat: no variable 'gt'"):
        labels.mat_ranges(path)
    savemat(path, {"gt": np.ones((3, 4))})
    with pytest.raises(InputError, match="entry 1 of 'gt'.*expected starts over ends"):
        labels.mat_ranges(path)
    for garbage in (b"", b"not a mat file at all" * 20, path.read_bytes()[:150]):
        path.write_bytes(garbage)
        with pytest.raises(InputError, match=r"x\.mat"):
            labels.mat_ranges(path)


def test_m_ranges_reads_what_matlab_would(tmp_path):
    path = tmp_path / "UCSDped1.m"
    path.write_text(
        "TestVideoFile = {};\n% gt_frame = [1:2];\n"
        "TestVideoFile{end+1}.gt_frame = [60:152];\n"
        "TestVideoFile{end+1}.gt_frame = [5 : 90, 140:200];  % two\n"
        "TestVideoFile{end+1}.gt_frame=[ 7, ...\n 9:10 ];\n"
        "TestVideoFile{end+1}.gt_frame = [];\n"
    )
    found = [ranges.tolist() for ranges in labels.m_ranges(path)]
    assert found == [[[60, 152]], [[5, 90], [140, 200]], [[7, 7], [9, 10]], []]
    path.write_text("x.gt_frame = [a:b];")
    with pytest.raises(InputError, match="expected ranges"):
        labels.m_ranges(path)


def test_frame_mask_takes_zeros_and_ones_only_and_no_pickle(tmp_path):
    path = tmp_path / "m.npy"
    np.save(path, np.array([[0, 1, 1]], np.uint8))
    assert labels.frame_mask(path).tolist() == [False, True, True]
    for wrong in (np.array([0, 2]), np.zeros((2, 2)), np.array([0.0, np.nan])):
        np.save(path, wrong)
        with pytest.raises(InputError, match=r"m\.npy"):
            labels.frame_mask(path)
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"m\.npy: not a readable array"):
        labels.frame_mask(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"m\.npy"):
        labels.frame_mask(path)


def test_lengths_are_told_both_ways():
    clip = video("07", 5)
    labels.check_length(clip, 5, "x.npy")
    with pytest.raises(InputError, match="x.npy: 6 labels for video 07, which has 5 .*1 more"):
        labels.check_length(clip, 6, "x.npy")
    with pytest.raises(InputError, match="3 labels .*has 5 .*2 fewer"):
        labels.check_length(clip, 3, "x.npy")


def test_truth_is_read_when_asked_for_and_once():
    asked = []
    split = labels.test_split([video("a", 3)], lambda v: asked.append(v.name) or "truth")
    assert asked == []
    assert split.truth("a") == split.truth("a") == "truth"
    assert asked == ["a"]
    with pytest.raises(InputError, match="no test video is called 'b'; there are a"):
        split.truth("b")


def test_of_several_files_of_boxes_the_sets_own_is_taken(tmp_path: Path) -> None:
    """Jigsaw-VAD ships the boxes of all its data sets in one folder."""
    (tmp_path / "detect").mkdir()
    boxes = {"avenue": [[0, 0, 5, 5, 0.9]], "ped2": [[1, 2, 7, 8, 0.9]]}
    for name, rows in boxes.items():
        path = tmp_path / "detect" / f"{name}_test_detect_result_yolov3.pkl"
        path.write_bytes(pickle.dumps({"01": [np.array(rows)] * 3}))
    one = replace(moving_square("01", 3), given={})
    given = {n: labels.with_boxes([one], tmp_path, "test", 0.5, n)[0].given for n in boxes}
    for name, rows in boxes.items():
        np.testing.assert_allclose(given[name]["objects"]()[0][:, :4], [rows[0][:4]])
    assert "objects" not in labels.with_boxes([one], tmp_path, "test", 0.5, "shanghai")[0].given
