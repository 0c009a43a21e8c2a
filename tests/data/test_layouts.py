from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from tiny_data import SIZE, TESTS, masks, tiny, video

from vigil.data._layouts_dad import moments
from vigil.data.avenue import open_avenue
from vigil.data.base import DataSet, Split, TestSplit
from vigil.data.layouts import LAYOUTS, write_as
from vigil.data.shanghaitech import open_shanghaitech, read_list
from vigil.data.ucsd import open_ped2
from vigil.errors import ConfigError, InputError
from vigil.records import Truth
from vigil.video.read import count_frames

LABELS = {
    name: masks(i, n, runs).any(axis=(1, 2)) for i, (name, (n, runs, _)) in enumerate(TESTS.items())
}
NORMAL = {"learn0": 18, "learn1": 19, "learn3": 21}
LOADERS = {
    "ucsd-ped2": open_ped2,
    "ucsd-ped2-frames": open_ped2,
    "avenue": open_avenue,
    "shanghaitech": open_shanghaitech,
    "shanghaitech-sd": open_shanghaitech,
}


@pytest.mark.parametrize("layout", LOADERS)
def test_written_and_read_again_frames_labels_and_masks_are_the_same(layout, tmp_path):
    root = write_as(tiny(), layout, tmp_path / layout)
    names = json.loads((root / "vigil_names.json").read_text())
    found = LOADERS[layout](root)
    assert [names["train"][v.name] for v in found.train] == list(NORMAL)
    assert [count_frames(v) for v in found.train] == list(NORMAL.values())
    assert {v.label for v in found.train} == {"normal"}
    assert sorted(names["test"][v.name] for v in found.test) == sorted(TESTS)
    for item in found.test:
        old = names["test"][item.name]
        truth = found.test.truth(item.name)
        assert truth.frames.tolist() == LABELS[old].tolist()
        assert sum(1 for _ in item.frames()) == count_frames(item) == len(LABELS[old])
        assert item.size == SIZE
        if layout != "shanghaitech-sd":  # which has no pixel masks
            index = list(TESTS).index(old)
            assert (truth.masks() == masks(index, *TESTS[old][:2])).all()


@pytest.mark.parametrize("layout", ["ucsd-ped2", "avenue", "shanghaitech"])
def test_pixels_stay_close(layout, tmp_path):
    data = tiny()
    root = write_as(data, layout, tmp_path / layout)
    found = LOADERS[layout](root)
    ours = {v.name: v for v in data.test}
    names = json.loads((root / "vigil_names.json").read_text())["test"]
    for item in found.test:
        old = [frame.image for frame in ours[names[item.name]].frames()]
        for index, frame in enumerate(item.frames()):
            want = old[index].astype(float)
            if layout == "ucsd-ped2":
                grey = want @ [0.299, 0.587, 0.114]
                assert np.abs(frame.image[..., 0] - grey).max() <= 0.5 + 1e-9
            else:
                assert np.abs(frame.image - want).mean() < 6


def test_scenes_become_two_digits(tmp_path):
    root = write_as(tiny(), "shanghaitech", tmp_path / "sht")
    found = open_shanghaitech(root)
    assert [v.name for v in found.train] == ["01_001", "01_002", "02_001"]
    assert [(v.name, v.scene) for v in found.test] == [
        ("01_0001", "01"), ("01_0002", "01"), ("02_0003", "02"),
    ]  # fmt: skip
    sd = write_as(tiny(), "shanghaitech-sd", tmp_path / "sd")
    assert sorted(p.name for p in (sd / "testing").iterdir()) == ["01_0001", "01_0002", "06_0003"]
    assert (sd / "training" / "06_001" / "20.jpg").is_file()
    assert np.load(sd / "testframemask" / "06_0003.npy").tolist() == [1, *[0] * 5, 1, *[0] * 10, 1]


def test_original_ucsd_files_look_as_published(tmp_path):
    root = write_as(tiny(), "ucsd-ped2", tmp_path / "ped2")
    assert (root / "Test" / "UCSDped2.m").read_text() == (
        "TestVideoFile = {};\n"
        "TestVideoFile{end+1}.gt_frame = [4:9, 13:20];\n"
        "TestVideoFile{end+1}.gt_frame = [];\n"
        "TestVideoFile{end+1}.gt_frame = [1:1, 7:7, 18:18];\n"
    )
    assert len(list((root / "Test" / "Test001_gt").glob("*.bmp"))) == 20
    assert cv2.imread(str(root / "Train/Train001/001.tif"), cv2.IMREAD_UNCHANGED).shape == SIZE


def test_ucf_crime_annotations(tmp_path):
    root = write_as(tiny(), "ucf-crime", tmp_path / "ucf")
    normal = "Training_Normal_Videos_Anomaly/Normal_Videos{:03}_x264.mp4"
    train = [normal.format(1), normal.format(2), "Running/Running001_x264.mp4", normal.format(3)]
    assert (root / "Anomaly_Train.txt").read_text().splitlines() == train
    counts = [18, 19, 20, 21]
    rows = (root / "Train_Annotation.txt").read_text().splitlines()
    assert rows == [f"{name} {count} " for name, count in zip(train, counts, strict=True)]
    assert (root / "Temporal_Anomaly_Annotation.txt").read_text().splitlines() == [
        "WrongWay001_x264.mp4  WrongWay  4  9  13  20  ",
        "Normal_Videos_004_x264.mp4  Normal  -1  -1  -1  -1  ",
        "WrongWay002_x264.mp4  WrongWay  1  1  7  7  18  18  ",
    ]
    rows = (root / "Test_Annotation.txt").read_text().splitlines()
    assert rows[0] == "WrongWay/WrongWay001_x264.mp4 20 WrongWay 4 9 13 20 "
    assert rows[1].startswith(
        "Testing_Normal_Videos_Anomaly/Normal_Videos_004_x264.mp4 17 Normal -1"
    )
    import av

    with av.open(str(root / "Videos" / train[2])) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_s3r_lists_put_the_anomalous_first_and_pad_labels_to_16(tmp_path):
    base = write_as(tiny(), "s3r", tmp_path / "s3r") / "data" / "shanghaitech"
    train = read_list(base / "shanghaitech.training.csv")
    assert train == ["02_0001", "01_001", "01_002", "02_003"]
    test = read_list(base / "shanghaitech.testing.csv")
    assert test == ["01_0002", "02_0003", "01_004"]
    truth = json.loads((base / "shanghaitech_ground_truth.testing.json").read_text())
    assert {name: row["num_frames"] for name, row in truth.items()} == dict.fromkeys(test, 32)
    assert truth["01_0002"]["labels"][:20] == LABELS["park"].astype(float).tolist()
    assert truth["01_0002"]["labels"][20:] == [1.0] * 12  # the last label, repeated
    assert truth["01_004"]["labels"] == [0.0] * 32
    assert (base / "i3d" / "train" / "README.txt").is_file()
    assert sorted(p.stem for p in (base / "videos" / "test").iterdir()) == sorted(test)


def test_dad_writes_views_and_the_odd_csv(tmp_path):
    root = write_as(tiny(("front_IR", "top_depth")), "dad", tmp_path / "dad")
    training = sorted(p.name for p in (root / "Tester1").iterdir())
    assert training == ["distraction_1", *(f"normal_driving_{i}" for i in (1, 2, 3))]
    folder = root / "Tester1" / "normal_driving_1" / "top_depth"
    assert sorted(p.name for p in folder.iterdir())[:3] == ["img_0.png", "img_1.png", "img_10.png"]
    assert cv2.imread(str(folder / "img_17.png"), cv2.IMREAD_UNCHANGED).shape == SIZE
    assert sorted(p.name for p in (root / "val01" / "rec2").iterdir()) == ["front_IR", "top_depth"]
    assert (root / "LABEL.csv").read_text().splitlines() == [
        "val01  ,rec1,0,2,N", ",,3,8,A", ",,9,11,N", ",,12,19,A",
        ",rec2,0,16,N",
        ",rec3,0,0,A", ",,1,5,N", ",,6,6,A", ",,7,16,N", ",,17,17,A",
    ]  # fmt: skip


def test_dad_jigsaw_learns_from_normal_recordings_and_shares_masks_between_views(tmp_path):
    root = write_as(tiny(("front_IR", "top_IR")), "dad-jigsaw", tmp_path / "j") / "DAD_Jigsaw"
    for view in ("front_IR", "top_IR"):
        recordings = sorted(p.name for p in (root / "training" / view / "frames").iterdir())
        assert recordings == ["01_0001", "01_0002", "01_0003"]
        assert len(list((root / "testing" / view / "frames" / "01_0003").iterdir())) == 18
    mask = np.load(root / "testing" / "frame_masks" / "01_0001.npy")
    assert mask.dtype == np.int8 and mask.astype(bool).tolist() == LABELS["park"].tolist()


def test_labels_without_masks_survive_a_layout_whose_labels_are_masks(tmp_path):
    labels = np.array([0, 1, 1, 0], bool)
    test = TestSplit((video("a", 4),), lambda name: Truth(labels))
    root = write_as(DataSet("d", Split((video("n", 5),)), test), "avenue", tmp_path / "a")
    assert open_avenue(root).test.truth("01").frames.tolist() == labels.tolist()


def test_nothing_is_left_behind_where_labels_do_not_fit(tmp_path):
    test = TestSplit((video("a", 4),), lambda name: Truth(np.zeros(5, bool)))
    data = DataSet("d", Split((video("n", 5),)), test)
    for layout in LAYOUTS:
        with pytest.raises(InputError, match="4 frames, but 5 labels"):
            write_as(data, layout, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused_and_unknown_layouts_are(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists"):
        write_as(tiny(), "avenue", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ConfigError, match="did you mean 'avenue'"):
        write_as(tiny(), "avenu", tmp_path / "x")


def test_progress_names_each_video(tmp_path):
    seen = []
    write_as(tiny(), "ucsd-ped2", tmp_path / "p", progress=lambda *row: seen.append(row))
    assert seen == [(done, 7, name) for done, name in enumerate([*NORMAL, *TESTS])]


@pytest.mark.parametrize("form", ["{}-front_IR", "{}/front_IR", "front_IR_{}", "{}.front_IR"])
def test_views_of_one_moment_are_found_by_name(form):
    other = form.replace("front_IR", "top_IR")
    names = [(form.format("rec1"), "front_IR"), (other.format("rec1"), "top_IR")]
    names += [(form.format("rec2"), "front_IR"), ("alone", "")]
    found = moments(video(name, 3, view=view) for name, view in names)
    assert [list(views) for views in found.values()] == [
        ["front_IR", "top_IR"], ["front_IR"], ["front_depth"],
    ]  # fmt: skip
