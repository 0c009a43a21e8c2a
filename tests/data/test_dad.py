from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_data import TESTS, masks, tiny

from vigil.data._dad_labels import marked, read_labels
from vigil.data._dad_prepare import prepare_dad
from vigil.data.catalog import describe, open_dataset
from vigil.data.dad import VIEWS, open_dad
from vigil.data.layouts import write_as
from vigil.data.recordings import recordings
from vigil.data.verify import verify
from vigil.errors import ConfigError, InputError
from vigil.video.read import count_frames
from vigil.video.write import write_mp4

LABELS = [  # of the three test recordings, in their order
    masks(i, n, runs).any(axis=(1, 2)) for i, (n, runs, _) in enumerate(TESTS.values())
]
TEST = [f"val01/rec{number}" for number in (1, 2, 3)]
TRAIN = [f"Tester1/normal_driving_{number}" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny data set in both layouts, four views each."""
    folder = tmp_path_factory.mktemp("dad")
    return {name: write_as(tiny(VIEWS), name, folder / name) for name in ("dad", "dad-jigsaw")}


@pytest.fixture
def raw(trees: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the published layout, to be broken."""
    return Path(shutil.copytree(trees["dad"], tmp_path / "raw"))


@pytest.mark.parametrize("layout", ["dad", "dad-jigsaw"])
def test_both_trees_give_the_same_videos_and_labels(trees: dict[str, Path], layout: str) -> None:
    data = open_dataset("dad", trees[layout])
    expected = [f"{r}/{view}" for r in TRAIN for view in sorted(VIEWS)]
    assert [video.name for video in data.train] == expected
    assert [video.name for video in data.test] == [f"{r}/{v}" for r in TEST for v in sorted(VIEWS)]
    assert {video.label for video in data.train} == {"normal"}
    assert {video.label for video in data.test} == {"unknown"}
    assert {video.fps for video in (*data.train, *data.test)} == {45.0}
    names = json.loads((trees[layout] / "vigil_names.json").read_text())
    ours = {v.name: v for v in tiny(VIEWS).test}
    places = {str(Path(place)): old for place, old in names["test"].items()}
    for number, recording in enumerate(recordings(data.test)):
        assert recording.name == TEST[number] and set(recording.views) == set(VIEWS)
        for video in recording.views.values():
            old = ours[places[str(Path(video.source).relative_to(trees[layout]))]]
            truth = data.test.truth(video.name)
            assert truth.frames.tolist() == LABELS[number].tolist() and truth.classes is None
            pixels = [frame.image[..., 0] for frame in video.frames()]
            wanted = [frame.image @ [0.299, 0.587, 0.114] for frame in old.frames()]
            assert np.abs(np.stack(pixels) - np.stack(wanted)).max() <= 0.5 + 1e-9
    assert [p.found for p in verify(data)] == [
        "12 train videos",
        "12 test videos",
        "220 test frames",
    ]


def test_info_compares_with_the_whole_set(trees: dict[str, Path]) -> None:
    found = describe(open_dad(trees["dad"]))
    assert {row["what"]: (row["expected"], row["found"]) for row in found["facts"]} == {
        "train videos": (600, 12), "test videos": (144, 12), "test frames": (1_440_000, 220),
    }  # fmt: skip
    assert found["complete"] is False and "untried on the real files" in found["tried"]
    assert found["left out"] == "1 training recordings of other acts than normal driving"
    one = describe(open_dad(trees["dad-jigsaw"], view="top_ir"))
    assert [row["expected"] for row in one["facts"]] == [150, 36, 360_000]
    assert one["variant"] == "top_IR" and one["parts"]["test"]["views"] == {"top_IR": 3}


def test_a_view_that_is_unknown_or_not_here(raw: Path) -> None:
    with pytest.raises(ConfigError, match="unknown view 'top_rgb'"):
        open_dad(raw, view="top_rgb")
    for folder in raw.glob("*/*/top_IR"):
        shutil.rmtree(folder)
    with pytest.raises(InputError, match="no recording of view top_IR; here are front_IR, front_d"):
        open_dad(raw, view="top_IR")
    with pytest.raises(InputError, match="neither Tester1"):
        open_dad(raw / "val01")


def test_a_view_missing_for_one_recording_is_told(raw: Path) -> None:
    shutil.rmtree(raw / "val01" / "rec2" / "top_IR")
    data = open_dad(raw)
    assert len(data.test) == 11
    assert describe(data)["views missing"] == "val01/rec2 has no top_IR"
    assert data.test.truth("val01/rec2/front_IR").frames.tolist() == LABELS[1].tolist()


def test_a_view_that_stops_early_has_the_labels_of_its_frames(raw: Path) -> None:
    folder = raw / "val01" / "rec1" / "front_depth"
    for number in (17, 18, 19):
        (folder / f"img_{number}.png").unlink()
    test = open_dad(raw).test
    assert test.truth("val01/rec1/front_depth").frames.tolist() == LABELS[0][:17].tolist()
    assert test.truth("val01/rec1/front_IR").frames.tolist() == LABELS[0].tolist()
    for view in ("front_IR", "top_IR", "top_depth"):
        (raw / "val01" / "rec1" / view / "img_19.png").unlink()
    with pytest.raises(InputError, match="20 labels for val01/rec1, whose longest view has 19"):
        open_dad(raw).test.truth("val01/rec1/front_IR")
    cv2.imwrite(str(raw / "val01" / "rec2" / "top_IR" / "img_17.png"), np.zeros((32, 48), np.uint8))
    with pytest.raises(InputError, match="top_IR: 18 frames, but 17 labels for them"):
        open_dad(raw).test.truth("val01/rec2/top_IR")


def test_an_empty_view_opens_and_says_so_when_it_is_read(raw: Path) -> None:
    for file in (raw / "val01" / "rec3" / "top_IR").iterdir():
        file.unlink()
    data = open_dad(raw)
    assert describe(data)["parts"]["test"]["unreadable"] == ["val01/rec3/top_IR"]
    with pytest.raises(InputError, match="a folder without pictures"):
        list(data.test.videos[-2].frames())


def film(path: Path, frames: int) -> None:
    pictures = (np.full((32, 48, 3), 5 * n, np.uint8) for n in range(frames))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path.with_suffix(".mp4"), pictures, 45)
    path.with_suffix(".mp4").rename(path)


def test_video_files_in_both_layouts(tmp_path: Path) -> None:
    for name in ("Tester2/normal_driving_4/front_IR.avi", "val03/rec2/FRONT_ir/film.avi"):
        film(tmp_path / "raw" / name, 6)
    (tmp_path / "raw" / "LABEL.csv").write_text("val03,rec2,0,3,N\n,,4,5,A\n")
    for name in ("training/front_IR/frames/02_0004.avi", "testing/front_IR/03_0002.avi"):
        film(tmp_path / "tree" / name, 6)
    mask = tmp_path / "tree" / "testing" / "frame_masks" / "03_0002.npy"
    mask.parent.mkdir()
    np.save(mask, np.array([0, 0, 0, 0, 1, 1], np.int8))
    for root in ("raw", "tree"):
        data = open_dad(tmp_path / root)
        assert [v.name for v in data.train] == ["Tester2/normal_driving_4/front_IR"]
        assert [v.name for v in data.test] == ["val03/rec2/front_IR"]
        assert data.test.truth("val03/rec2/front_IR").frames.tolist() == [False] * 4 + [True] * 2
        assert all(count_frames(video) == 6 for video in (*data.train, *data.test))


# -- LABEL.csv -------------------------------------------------------------------------------------
def test_all_oddities_of_the_file(tmp_path: Path) -> None:
    text = (
        "val01  ,rec1,0,2499,N\r\n,,2500,3122,A, \r\n , ,3123,9999,N,\r\n\r\n,,,,\r\n"
        ",rec2,0,6248,N\r\n,,6249,7002,A,1\r\n,,7003,7003,A,0\r\n,,7004,9999,N\r\n,,,,,\r\n"
        "val02  , rec1 ,0,0,A\r\n"
    )
    (tmp_path / "LABEL.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_labels(tmp_path / "LABEL.csv")
    assert list(found) == [(1, 1), (1, 2), (2, 1)]
    frames, classes = marked(found[1, 1])
    assert len(frames) == 10_000 and classes is None
    assert np.flatnonzero(frames).tolist() == list(range(2500, 3123))
    frames, classes = marked(found[1, 2])
    assert frames.sum() == 755 and classes is not None
    assert set(classes[6249:7003]) == {"unseen"} and classes[7003] == "seen"
    assert not any(classes[~frames])
    assert marked(found[2, 1])[0].tolist() == [True]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("val01,rec1,0,9,N\n,,11,19,A", "line 2: a gap, frames 10 to 10 of val01/rec1"),
        ("val01,rec1,0,9,N\n\n,,9,19,A", "line 3: an overlap, frames 9 to 9 of val01/rec1"),
        ("val01,rec1,5,9,N", "line 1: a gap, frames 0 to 4 of val01/rec1"),
        ("val01,rec1,0,9,N\n,,10,5,A", "line 2: frames 10 to 5; expected 0 <= first <= last"),
        ("val01,rec1,0,9,X", "line 1: 'X'; expected N .normal. or A"),
        ("val01,rec1,0,x,N", "line 1: frames '0' to 'x'; expected two whole numbers"),
        (",rec1,0,9,N", "line 1: no subject and recording is named"),
        ("val01,rec1,0,9,N\nval02,,0,9,N", "line 2: no subject and recording is named"),
        ("val01,rec1,0,9,N\nval01,rec1,0,9,N", "line 2: val01/rec1 a second time"),
        ("val01,rec1,0,9", "line 1: 4 columns"),
        ("val01,rec,0,9,N", "line 1: 'rec'; expected a name such as rec1"),
        ("val01,rec1,0,9,A,7", "line 1: '7' in the sixth column"),
        ("\n\n", "no label in it"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "LABEL.csv").write_text(rows)
    with pytest.raises(InputError, match=said):
        read_labels(tmp_path / "LABEL.csv")


def test_open_and_closed_acts_are_classes(raw: Path) -> None:
    rows = "val01,rec1,0,2,N\n,,3,8,A,1\n,,9,11,N\n,,12,19,A,0\n,rec2,0,16,N\n,rec3,0,17,N\n"
    (raw / "open_closed_set_annotations_for_test.csv").write_text(rows)
    classes = open_dad(raw).test.truth("val01/rec1/top_IR").classes
    assert classes is not None and sorted(set(classes)) == ["", "seen", "unseen"]


def test_a_recording_without_labels(raw: Path) -> None:
    (raw / "LABEL.csv").write_text("val01,rec1,0,19,N\n")
    with pytest.raises(InputError, match="LABEL.csv: no row of val01/rec2"):
        open_dad(raw).test.truth("val01/rec2/top_IR")
    (raw / "LABEL.csv").unlink()
    with pytest.raises(InputError, match="no LABEL.csv and no testing/frame_masks/01_0001.npy"):
        open_dad(raw).test.truth("val01/rec1/top_IR")


# -- prepare ---------------------------------------------------------------------------------------
def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("link", [False, True])
def test_prepared_is_what_the_projects_scripts_left(
    trees: dict[str, Path], tmp_path: Path, link: bool
) -> None:
    made = prepare_dad(trees["dad"], tmp_path, link=link)
    assert files(made) == files(trees["dad-jigsaw"] / "DAD_Jigsaw")
    with pytest.raises(InputError, match="a DAD_Jigsaw tree already"):
        prepare_dad(made, tmp_path / "again")


def test_stopped_it_goes_on_and_leaves_nothing_half_written(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, of: int, name: str) -> None:
        if done == 14:
            raise Stop

    with pytest.raises(Stop):
        prepare_dad(trees["dad"], tmp_path, progress=stop)
    whole = files(trees["dad-jigsaw"] / "DAD_Jigsaw")
    before = files(tmp_path / "DAD_Jigsaw")
    assert before.items() < whole.items() and not any(".new-" in name for name in before)
    done = tmp_path / "DAD_Jigsaw" / "training" / "front_IR" / "frames" / "01_0001" / "img_0.png"
    changed = done.stat().st_mtime_ns
    other = tmp_path / "DAD_Jigsaw" / "testing" / "top_IR" / "frames" / "01_0002" / "img_3.png"
    other.unlink()  # as another script's stop would leave it
    assert files(prepare_dad(trees["dad"], tmp_path)) == whole
    assert done.stat().st_mtime_ns == changed


def test_faulty_labels_stop_it_before_anything_is_copied(raw: Path, tmp_path: Path) -> None:
    text = (raw / "LABEL.csv").read_text()
    (raw / "LABEL.csv").write_text(text.replace(",,9,11,N", ",,10,11,N"))
    with pytest.raises(InputError, match="line 3: a gap"):
        prepare_dad(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_video_files_become_pictures(tmp_path: Path) -> None:
    film(tmp_path / "raw" / "val03" / "rec2" / "top_depth.avi", 6)
    (tmp_path / "raw" / "LABEL.csv").write_text("val03,rec2,0,3,N\n,,4,5,A\n")
    made = prepare_dad(tmp_path / "raw", tmp_path / "out", view="TOP_depth")
    folder = made / "testing" / "top_depth" / "frames" / "03_0002"
    assert sorted(p.name for p in folder.iterdir()) == [f"img_{n}.png" for n in range(6)]
    picture = cv2.imread(str(folder / "img_4.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (32, 48) and abs(int(picture.mean()) - 20) <= 2
    assert np.load(made / "testing" / "frame_masks" / "03_0002.npy").dtype == np.int8
