from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_data import real, tiny

from vigil.data._weak_lists import read_entries, video_id
from vigil.data._weak_truth import marked, padded, read_objects
from vigil.data.catalog import describe
from vigil.data.layouts import write_as
from vigil.data.ucf_crime import ABNORMAL, CLASSES, class_of, open_ucf_crime
from vigil.errors import ConfigError, InputError
from vigil.video.read import count_frames

TEST = """Abuse/Abuse028_x264.mp4 40 Abuse 5 10 -1 -1
Arson/Arson011_x264.mp4 50 Arson 10 20 30 51
Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4 33 Normal -1 -1 -1 -1
"""
TRAIN = "Abuse/Abuse001_x264.mp4 64\nTraining_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4 48\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "Test_Annotation.txt").write_text(TEST)
    (tmp_path / "Train_Annotation.txt").write_text(TRAIN)
    return tmp_path


def only(tmp_path: Path, *files: str) -> Path:
    """A folder with some of the real annotation files alone."""
    source, target = real("ucf_crime") / "annotations", tmp_path / "some"
    target.mkdir()
    for file in files:
        shutil.copy(source / file, target / file)
    return target


def frames(data):
    return {video.name: data.test.truth(video.name).frames for video in data.test}


# -- the real lists ---------------------------------------------------------------------------
@pytest.mark.parametrize("events", ["one-based", "half-open", "inclusive"])
def test_real_counts(events):
    data = open_ucf_crime(real("ucf_crime"), events=events)
    assert len(data.train) == 1610 and len(data.test) == 290
    labels = [video.label for video in data.train]
    assert (labels.count("anomalous"), labels.count("normal")) == (810, 800)
    found = frames(data)
    assert sum(map(len, found.values())) == 1_111_808
    assert sum(int(f.sum()) for f in found.values()) == ABNORMAL[events]
    assert sum(bool(f.any()) for f in found.values()) == 140
    assert sum(len(padded(f)) for f in found.values()) == 1_114_144


def test_real_events_as_the_annotations_count_them():
    entries = read_entries(real("ucf_crime") / "annotations" / "Test_Annotation_ekosman.txt")
    events = [event for entry in entries for event in entry.events]
    assert sum(end - start for start, end, _ in events) == 84_189  # under [s, e)
    assert sum(len(entry.events) == 2 for entry in entries) == 16
    over = [e for e in entries if any(end > e.frames for _, end, _ in e.events)]
    assert len(over) == 5
    cut = sum(end - e.frames for e in over for _, end, _ in e.events if end > e.frames)
    assert cut == 7 and 84_189 - cut == ABNORMAL["half-open"]
    lengths = [entry.frames for entry in entries]
    assert (min(lengths), max(lengths)) == (155, 107_997)


def test_real_info_says_that_the_counts_are_right():
    facts = describe(open_ucf_crime(real("ucf_crime")))
    assert facts["complete"]
    assert facts["test annotations"].endswith(": as published")
    assert "84,189 frames of events, 7 frames beyond" in facts["test annotations"]
    assert "Abuse 48" in facts["classes"] and facts["videos"].startswith("3 of 1900")
    assert "notes" not in facts


def test_real_classes_by_video():
    data = open_ucf_crime(real("ucf_crime"))
    assert set(data.info["classes"].values()) == set(CLASSES)
    kinds = [set(data.test.truth(v.name).classes) - {""} for v in data.test]
    assert sum(k == {"RoadAccidents"} for k in kinds) == 23
    assert set().union(*kinds) == set(CLASSES) and max(map(len, kinds)) == 1


def test_real_videos_are_found_and_the_others_say_that_they_are_not():
    data = open_ucf_crime(real("ucf_crime"))
    by_name = {video.name: video for video in (*data.train, *data.test)}
    here = by_name["Normal_Videos_006_x264"]
    assert next(here.frames()).image.shape == (240, 320, 3)
    assert len(data.test.truth(here.name).frames) == 450
    absent = by_name["Abuse028_x264"]
    assert count_frames(absent) == 1412
    with pytest.raises(InputError, match=r"Abuse028_x264: no file Abuse028_x264\.mp4.*--features"):
        next(absent.frames())


@pytest.mark.parametrize(
    "files",
    [
        ("Anomaly_Train.txt", "Temporal_Anomaly_Annotation.txt", "All_Annotation_frames.txt"),
        ("Train_Annotation_ekosman.txt", "Test_Annotation_ekosman.txt"),
        ("Train_Annotation_ekosman.txt", "Test_Annotation_henryy.txt"),
        ("All_Annotation_frames.txt",),
        (
            "vadclip_ucf_CLIP_rgb.csv", "vadclip_ucf_CLIP_rgbtest.csv", "All_Annotation_frames.txt",
            "vadclip_gt_segment_ucf.npy", "vadclip_gt_label_ucf.npy",
        ),
    ],
)  # fmt: skip
def test_every_projects_lists_say_the_same(tmp_path, files):
    data = open_ucf_crime(only(tmp_path, *files), events="half-open")
    whole = open_ucf_crime(real("ucf_crime"), events="half-open")
    assert {v.name: v.label for v in data.train} == {v.name: v.label for v in whole.train}
    found, wanted = frames(data), frames(whole)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in found)


def test_two_videos_that_a_copy_of_the_list_has_lost_are_noticed(tmp_path):
    folder = only(tmp_path, "Train_Annotation_ekosman.txt", "Test_Annotation_henryy.txt")
    file = folder / "Train_Annotation_ekosman.txt"
    lines = file.read_text().splitlines()
    kept = [x for x in lines if "Videos499_" not in x and "Videos521_" not in x]
    (folder / "Train_Annotation.txt").write_text("\n".join(kept))
    lists = {"whole": file.read_text()}
    file.unlink()
    facts = describe(open_ucf_crime(folder))
    assert "not in the list: Normal_Videos499_x264, Normal_Videos521_x264" in facts["notes"]
    assert facts["part"] == "1608 of 1610 train videos" and not facts["complete"]
    (folder / "Anomaly_Train.txt").write_text(
        "\n".join(line.split()[0] for line in lists["whole"].splitlines())
    )
    facts = describe(open_ucf_crime(folder))
    assert facts["complete"]
    lacks = "Train_Annotation.txt lacks of Anomaly_Train.txt: Normal_Videos499_x264, Normal"
    assert lacks in facts["notes"]


def test_labels_are_never_dealt_out_in_a_wrong_order(tmp_path):
    """VadCLIP's arrays follow its csv; Sultani's list is in another order, and is refused."""
    files = ("vadclip_gt_segment_ucf.npy", "vadclip_gt_label_ucf.npy", "vadclip_Anomaly_Test.txt")
    folder = only(tmp_path, *files)
    listed = (folder / "vadclip_Anomaly_Test.txt").read_text().split()
    rows = [f"{path.removesuffix('.mp4')}__5.npy,{path.split('/')[0]}" for path in listed]
    rows = [row.replace("Testing_Normal_Videos_Anomaly", "Normal", 2) for row in rows]
    (folder / "ucf_CLIP_rgbtest.csv").write_text("path,label\n" + "\n".join(rows))
    with pytest.raises(InputError, match="another order than the list"):
        open_ucf_crime(folder)


def test_real_rtfm_and_s3r_lists_of_both_path_styles(tmp_path):
    lists = real("shanghaitech") / "weak_splits" / "cliptsa_lists"
    text = (lists / "ucf-i3d.list").read_text()
    windows = text.replace("path/to/", "E:\\DATASETS\\UCF Crime\\train\\")
    s3r = "video-id\n" + text.replace("path/to/", "").replace("_i3d.npy", "")
    found = []
    for name, body in (
        ("ucf-i3d.list", text), ("ucf-i3d-w.train.list", windows), ("ucf-crime.training.csv", s3r)
    ):  # fmt: skip
        (tmp_path / name).write_text(body)
        found.append([entry.name for entry in read_entries(tmp_path / name)])
        folder = tmp_path / name.split(".")[-1]
        folder.mkdir(exist_ok=True)
    assert found[0] == found[1] == found[2] and len(found[0]) == 1610
    data = open_ucf_crime(tmp_path)
    labels = [video.label for video in data.train]
    assert (labels.count("anomalous"), labels.count("normal")) == (810, 800)
    first = [bool(class_of(name)) for name in found[0]]
    assert all(first[:810]) and not any(first[810:])  # the order carries the label there


def test_rtfm_ground_truth_of_real_lengths(tmp_path):
    """gt-ucf.npy: every video filled to 16 frames, one after the other; 1,114,144 in all."""
    folder = only(tmp_path, "Test_Annotation_ekosman.txt", "Temporal_Anomaly_Annotation.txt")
    wanted = frames(open_ucf_crime(folder, events="inclusive"))
    listing = real("shanghaitech") / "weak_splits" / "cliptsa_lists" / "ucf-i3d-test.list"
    order = [entry.name for entry in read_entries(listing)]
    lengths = {e.name: e.frames for e in read_entries(folder / "Test_Annotation_ekosman.txt")}
    whole = np.concatenate([np.pad(wanted[n], (0, -lengths[n] % 16)) for n in order])
    assert len(whole) == 1_114_144
    for name in ("Test_Annotation_ekosman.txt", "Temporal_Anomaly_Annotation.txt"):
        (folder / name).unlink()
    shutil.copy(listing, folder / "ucf-i3d-test.list")
    counts = "".join(f"x/{name}.mp4 {count}\n" for name, count in lengths.items())
    (folder / "Test_Annotation.txt").write_text(counts)
    np.save(folder / "gt-ucf.npy", whole.astype(np.float64))
    found = frames(open_ucf_crime(folder, events="inclusive"))
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    np.save(folder / "gt-ucf.npy", whole[16:])
    with pytest.raises(InputError, match=r"expected one 0 or 1 for each of 1114144 frames"):
        open_ucf_crime(folder)
    np.save(folder / "gt-ucf.npy", np.roll(whole, 5000))
    with pytest.raises(InputError, match="another order"):
        open_ucf_crime(folder)


# -- small ones -------------------------------------------------------------------------------
def test_conventions_differ_by_a_frame_an_event(root):
    spans = {}
    for events in ("one-based", "half-open", "inclusive"):
        truth = open_ucf_crime(root, events=events).test.truth
        spans[events] = np.flatnonzero(truth("Abuse028_x264").frames)[[0, -1]].tolist()
        arson = truth("Arson011_x264")
        assert arson.frames[-1] and len(arson.frames) == 50  # its end, 51, is cut off
        assert set(arson.classes) == {"", "Arson"}
    assert spans == {"one-based": [4, 9], "half-open": [5, 9], "inclusive": [5, 10]}
    with pytest.raises(ConfigError, match="convention of intervals 'open'"):
        open_ucf_crime(root, events="open")


def test_events_far_beyond_the_video_are_refused(root):
    (root / "Test_Annotation.txt").write_text(TEST.replace("30 51", "30 91"))
    with pytest.raises(InputError, match="30 to 91 of video Arson011_x264, which has 50 frames"):
        open_ucf_crime(root).test.truth("Arson011_x264")


def test_a_list_that_contradicts_the_names(root):
    (root / "Test_Annotation.txt").write_text(TEST.replace("40 Abuse", "40 Arson"))
    with pytest.raises(InputError, match="Abuse028_x264 is listed as Arson, its name says Abuse"):
        open_ucf_crime(root)
    (root / "Test_Annotation.txt").write_text(
        TEST.replace("Normal -1 -1 -1 -1", "Normal 3 9 -1 -1")
    )
    with pytest.raises(InputError, match=r"\d+ abnormal frames in Normal_Videos_003.*says normal"):
        open_ucf_crime(root).test.truth("Normal_Videos_003_x264")


@pytest.mark.parametrize(
    "line, told",
    [
        ("Abuse/Abuse028_x264.mp4 40 Abuse 5", "line 4.*expected a video"),
        ("Abuse/Abuse030_x264.mp4 40 Abuse 9 5 -1 -1", "frames 9 to 5"),
        ("Abuse/Abuse028_x264.mp4 40 Abuse 5 10 -1 -1", "Abuse028_x264 is listed twice"),
    ],
)
def test_bad_lines(root, line, told):
    (root / "Test_Annotation.txt").write_text(TEST + line)
    with pytest.raises(InputError, match=told):
        open_ucf_crime(root)


def test_lists_that_disagree(root):
    text = "Abuse028_x264.mp4  Abuse  6  10  -1  -1\n"
    (root / "Temporal_Anomaly_Annotation.txt").write_text(text)
    with pytest.raises(InputError, match="disagree on Abuse028_x264"):
        open_ucf_crime(root)


def test_one_video_in_both_parts_and_no_list(root):
    (root / "Train_Annotation.txt").write_text(TRAIN + "Abuse/Abuse028_x264.mp4 40\n")
    with pytest.raises(InputError, match="Abuse028_x264 is listed for training and for testing"):
        open_ucf_crime(root)
    for file in root.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="no list of UCF-Crime"):
        open_ucf_crime(root)


def test_structs_of_matlab(root):
    from scipy.io import savemat

    lines = [" ".join(line.split()[:2]) for line in TEST.splitlines()]
    (root / "Test_Annotation.txt").write_text("\n".join(lines))
    for name, pairs in (
        ("Abuse028_x264", [[5, 10]]), ("Arson011_x264", [[10, 20], [30, 51]]),
        ("Normal_Videos_003_x264", [[-1, -1]]),
    ):  # fmt: skip
        struct = {"VideoName": name, "Anno": np.array(pairs, float)}
        savemat(root / f"{name}.mat", {"Annotation_file": struct})
    found = frames(open_ucf_crime(root))
    assert [int(f.sum()) for f in found.values()] == [6, 11 + 21, 0]
    (root / "Abuse028_x264.mat").write_bytes(b"no MATLAB file")
    with pytest.raises(InputError, match=r"Abuse028_x264\.mat: no MATLAB Annotation_file"):
        open_ucf_crime(root)


def test_json_of_s3r_gives_labels_and_lengths(root):
    (root / "Test_Annotation.txt").unlink()
    (root / "ucf-crime.testing.csv").write_text("video-id\nAbuse028_x264\nNormal_Videos_003_x264\n")
    labels = [0.0] * 16 + [1.0] * 8 + [0.0] * 24
    table = {
        "Abuse028_x264": {"num_frames": 48, "labels": labels},
        "Normal_Videos_003_x264": {"num_frames": 32, "labels": [0.0] * 32},
    }
    file = root / "ucf-crime_ground_truth.testing.json"
    file.write_text(json.dumps(table))
    assert [(len(f), int(f.sum())) for f in frames(open_ucf_crime(root)).values()] == [
        (48, 8), (32, 0)
    ]  # fmt: skip
    table["Abuse028_x264"]["num_frames"] = 64
    file.write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"\(48,\) labels for 64 frames"):
        open_ucf_crime(root)


def test_a_generated_set_in_this_layout_comes_back_exactly(tmp_path):
    source = tiny()
    folder = write_as(source, "ucf-crime", tmp_path / "ucf")
    names = json.loads((folder / "vigil_names.json").read_text())
    data = open_ucf_crime(folder)
    assert [v.label for v in data.train].count("anomalous") == 1
    for path, name in names["test"].items():
        if name == "road":  # three events: more than a line was meant for, read all the same
            assert len(np.flatnonzero(np.diff(source.test.truth(name).frames))) == 4
        found = data.test.truth(video_id(path))
        assert np.array_equal(found.frames, source.test.truth(name).frames)
    assert "classes that the published set has not: Running" in data.info["notes"]
    assert "videos" not in data.info


def test_names_out_of_paths():
    assert video_id("E:\\a b\\Abuse001_x264_i3d.npy") == "Abuse001_x264"
    assert video_id("x/Abuse001_x264__7.npy") == "Abuse001_x264"
    assert video_id("Abuse/Abuse001_x264_C.txt") == "Abuse001_x264"
    assert video_id("01_0014_i3d.npy") == video_id("01_0014") == "01_0014"
    assert video_id("v=8__#1_label_A__vggish.npy") == "v=8__#1_label_A"
    assert video_id("Bad.Boys.1995__#00_label_G-0-0__4.npy") == "Bad.Boys.1995__#00_label_G-0-0"


def test_overlapping_classes_are_both_named():
    found = marked(((0, 4, "b"), (2, 6, "a")), 8, "half-open", "x", "v")
    assert found.classes.tolist() == ["b", "b", "a+b", "a+b", "a", "a", "", ""]
    assert found.beyond == 0 and marked(((3, 10, "a"),), 8, "half-open", "x", "v").beyond == 2


def test_object_arrays_run_nothing(tmp_path):
    array = np.empty(1, object)
    array[0] = Path("/")
    np.save(tmp_path / "gt_segment_ucf.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match="which is not data; not opened"):
        read_objects(tmp_path / "gt_segment_ucf.npy")
