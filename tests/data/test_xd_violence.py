from __future__ import annotations

import numpy as np
import pytest
from tiny_data import real

from vigil.data.catalog import describe
from vigil.data.xd_violence import CLASSES, class_of, codes_of, open_xd_violence
from vigil.errors import InputError
from vigil.video.read import count_frames

A, B, C = "film__#1_label_A", "film__#2_label_B2-G-0", "v=x__#1_label_B6"
TIMES = f"{B} B2 10 20 G 15 30\n{C} B6 0 16\n"


@pytest.fixture
def root(tmp_path):
    """Three test videos with feature files of 4 rows, one crop for the first; two to train on."""
    lines = [f"/media/x/RGBTest/{name}__{crop}.npy" for name in (A, B, C) for crop in range(5)]
    (tmp_path / "rgb_test.list").write_text("\n".join(lines))
    (tmp_path / "rgb.list").write_text(
        "D:\\RGB\\a__#1_label_A__0.npy\nD:\\RGB\\b__#1_label_G__0.npy\n"
    )
    (tmp_path / "annotations_multiclasses.txt").write_text(TIMES)
    (tmp_path / "i3d").mkdir()
    for name in (A, B, C):
        for crop in range(5):
            np.save(tmp_path / "i3d" / f"{name}__{crop}.npy", np.zeros((4, 8), np.float32))
    return tmp_path


def annotations():
    return real("ucf_crime") / "annotations"  # where the development data keeps those of XD too


# -- the real lists ---------------------------------------------------------------------------
def test_real_counts_and_labels():
    facts = describe(open_xd_violence(real("xd_violence"), annotations=annotations()))
    assert facts["complete"]
    assert facts["parts"]["train"]["labels"] == {"anomalous": 1905, "normal": 2049}
    assert facts["parts"]["test"]["videos"] == 800
    assert facts["test annotations"] == "500 anomalous, 300 normal, 500 annotated: as published"
    assert "notes" not in facts


def test_real_videos_have_several_classes():
    data = open_xd_violence(real("xd_violence"))
    classes = data.info["classes"]
    assert len(classes) == 1905
    assert classes["Bad.Boys.1995__#00-26-51_00-27-53_label_B2-0-0"] == "shooting"
    assert sum("+" in kind for kind in classes.values()) == 243
    kinds = {part for kind in classes.values() for part in kind.split("+")}
    assert kinds == set(CLASSES.values())
    assert str(classes).startswith("abuse 50, car accident 444, explosion 382")


def test_real_times_of_every_form_agree(tmp_path):
    """annotations.txt and VadCLIP's arrays mark the same frames; the arrays carry classes too."""
    names = "vadclip_annotations.txt", "vadclip_annotations_multiclasses.txt"
    places = [annotations() / name for name in names]
    (tmp_path / "arrays").mkdir()
    for kind in ("segment", "label"):
        source = annotations() / f"vadclip_gt_{kind}.npy"
        (tmp_path / "arrays" / source.name).write_bytes(source.read_bytes())
    places.append(tmp_path / "arrays")
    tests = (real("xd_violence") / "list" / "rgb_test.list").read_text()
    (tmp_path / "root" / "i3d").mkdir(parents=True)
    (tmp_path / "root" / "rgb_test.list").write_text(tests)
    names = ["Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6", "v=GI49YSCruwY__#1_label_B4-0-0"]
    for name in names:
        rows = np.zeros((400, 4), np.float32)
        np.save(tmp_path / "root" / "i3d" / f"{name}__0.npy", rows)
    found = [open_xd_violence(tmp_path / "root", annotations=place).test for place in places]
    for name in names:
        plain, multi, arrays = (test.truth(name) for test in found)
        assert np.array_equal(plain.frames, multi.frames)
        assert np.array_equal(multi.frames, arrays.frames)
        assert np.array_equal(multi.classes, arrays.classes)
    multi = found[1].truth(names[0]).classes  # B2 157-180, G 185-244, ..., B6 338-360 and G 282-355
    assert [multi[157], multi[181], multi[200]] == ["shooting", "", "explosion"]
    assert multi[340] == "car accident+explosion" and multi[357] == "car accident"
    assert set(found[0].truth(names[0]).classes) == {"", "car accident+explosion+shooting"}
    assert found[1].truth(names[1]).frames.sum() == 1410 + 170 + 660


def test_a_list_that_has_lost_a_video_is_noticed(tmp_path):
    lists = real("shanghaitech") / "weak_splits" / "cliptsa_lists"
    for part in ("train", "test"):
        (tmp_path / f"xd-i3d-{part}.list").write_text((lists / f"xd-i3d-{part}.list").read_text())
    facts = describe(open_xd_violence(tmp_path))
    assert facts["part"] == "3953 of 3954 train videos"
    assert facts["notes"].startswith("not in the list: v=8cTqh9tMz_I__#1_label_A")


# -- small ones -------------------------------------------------------------------------------
def test_truth_and_lengths_come_from_features_and_times(root):
    data = open_xd_violence(root)
    assert [(v.name, v.label) for v in data.train] == [
        ("a__#1_label_A", "normal"), ("b__#1_label_G", "anomalous")
    ]  # fmt: skip
    assert {video.label for video in data.test} == {"unknown"}
    assert [count_frames(video) for video in data.test] == [64, 64, 64]
    classes = data.test.truth(B).classes
    assert set(classes[10:15]) == {"shooting"} and set(classes[20:30]) == {"explosion"}
    assert set(classes[15:20]) == {"explosion+shooting"}
    assert not data.test.truth(A).frames.any() and data.test.truth(C).frames.sum() == 16
    assert open_xd_violence(root, events="inclusive").test.truth(C).frames.sum() == 17
    assert open_xd_violence(root, events="one-based").test.truth(C).frames.sum() == 16


def test_without_video_or_features_the_length_is_not_known(root):
    for file in (root / "i3d").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="neither the video nor a list with its number of frames"):
        open_xd_violence(root).test.truth(A)
    with pytest.raises(InputError, match=rf"no file {A}\.mp4"):
        open_xd_violence(root).test.videos[0].frames()


def test_one_array_of_labels(root):
    (root / "annotations_multiclasses.txt").unlink()
    labels = np.zeros(192)
    labels[64 + 3 : 64 + 9] = labels[128:130] = 1
    np.save(root / "gt.npy", labels)
    test = open_xd_violence(root).test
    assert [int(test.truth(name).frames.sum()) for name in (A, B, C)] == [0, 6, 2]
    assert set(test.truth(B).classes) == {"", "explosion+shooting"}
    np.save(root / "gt.npy", labels[::-1])
    with pytest.raises(InputError, match="another order than the list"):
        open_xd_violence(root)


def test_names_say_the_classes():
    assert codes_of(B) == {"B2", "G"} and codes_of(A) == set()
    assert class_of({"B1", "B6"}) == "car accident+fighting"
    for name in ("film__#1", "film_label_B3", "film_label_A-G"):
        with pytest.raises(InputError, match="expected a name that ends in _label_A"):
            codes_of(name)


def test_contradictions(root):
    (root / "xd_CLIP_rgbtest.csv").write_text(f"path,label\n/x/{A}__0.npy,B1-0-0\n")
    with pytest.raises(InputError, match=f"{A} is listed as B1-0-0, its name says normal"):
        open_xd_violence(root)
    (root / "xd_CLIP_rgbtest.csv").unlink()
    for times, told in (
        (TIMES + f"{A} B1 3 9\n", "1 events of film__#1_label_A, whose name says normal"),
        (TIMES.replace("G 15", "X 15"), "class 'X' for film__#2"),
        (TIMES.replace("30", "300"), "frames 15 to 300 of video film__#2.*has 64 frames"),
        (f"{C} B6 0 16\n", "0 events of film__#2.*explosion"),
    ):
        (root / "annotations_multiclasses.txt").write_text(times)
        test = open_xd_violence(root).test
        with pytest.raises(InputError, match=told):
            test.truth(A if "#1" in told else B)
    (root / "rgb.list").write_text(f"{A}__0.npy\n")
    with pytest.raises(InputError, match="is listed for training and for testing"):
        open_xd_violence(root)


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(InputError, match="no list of XD-Violence"):
        open_xd_violence(tmp_path)
