from __future__ import annotations

import resource
import tomllib

import numpy as np
import pytest
from tiny_data import video

from vigil.data._layouts_files import clip, images
from vigil.data.folder import find_sources, init_folder, open_folder, videos_in
from vigil.errors import ConfigError, InputError, StorageError


def avi(path, frames=20):
    clip(video(path.stem, frames), path)


def folder(path, frames=6):
    images(video(path.name, frames), path, "{}.png")


@pytest.fixture
def mine(tmp_path):
    """train/{day.avi, night.avi}, test/hall/{one.avi, two/*.png}."""
    root = tmp_path / "mine"
    for name in ("train/day.avi", "train/night.avi", "test/hall/one.avi"):
        avi(root / name)
    folder(root / "test/hall/two")
    return root


def manifest(root, text):
    (root / "vigil.toml").write_text(text)
    return open_folder(root)


VIDEO = '[[video]]\npath = "test/hall/one.avi"\n'


def test_without_a_manifest_videos_can_be_scored_only(mine):
    data = open_folder(mine)
    assert (len(data.train), data.val) == (0, None)
    assert [v.name for v in data.test] == ["one", "two", "day", "night"]
    assert "vigil data init" in data.info["note"]
    with pytest.raises(InputError, match="no labels"):
        data.test.truth("one")


def test_init_guesses_and_what_it_writes_opens(mine):
    file = init_folder(mine)
    rows = tomllib.loads(file.read_text())["video"]
    assert [(r["path"], r["name"], r["split"], r["label"], r.get("scene", "")) for r in rows] == [
        ("test/hall/one.avi", "one", "test", "unknown", "hall"),
        ("test/hall/two", "two", "test", "unknown", "hall"),
        ("train/day.avi", "day", "train", "normal", ""),
        ("train/night.avi", "night", "train", "normal", ""),
    ]
    assert file.read_text().startswith("# The videos of this folder")
    data = open_folder(mine)
    assert data.name == "mine"
    assert [(v.name, v.label) for v in data.train] == [("day", "normal"), ("night", "normal")]
    assert [(v.name, v.scene) for v in data.test] == [("one", "hall"), ("two", "hall")]
    with pytest.raises(InputError, match="nothing says when"):
        data.test.truth("one")


@pytest.mark.parametrize(
    ("place", "split", "label"),
    [
        ("training_videos/a.avi", "train", "normal"),
        ("Testing/abnormal/a.avi", "test", "anomalous"),
        ("validation/a.avi", "val", "normal"),
        ("train/Anomaly-Videos/a.avi", "train", "anomalous"),
        ("normal/a.avi", "train", "normal"),
        ("abnormal/a.avi", "test", "anomalous"),
        ("Testing_Normal_Videos_Anomaly/a.avi", "test", "normal"),
        ("cellar/a.avi", "test", "unknown"),
        ("a.avi", "test", "unknown"),
    ],
)
def test_what_folder_names_mean(tmp_path, place, split, label):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    (row,) = tomllib.loads(init_folder(tmp_path).read_text())["video"]
    assert (row["split"], row["label"]) == (split, label)
    assert row.get("scene", "") == ("cellar" if "cellar" in place else "")


def test_equal_file_names_get_the_folder_before_them(tmp_path):
    for camera in ("north", "south"):
        avi(tmp_path / camera / "a.avi", 3)
    init_folder(tmp_path)
    assert [v.name for v in open_folder(tmp_path).test] == ["north-a.avi", "south-a.avi"]


def test_names_that_need_quoting_survive(tmp_path):
    name = 'a "quoted" \\ näme\x7f.avi'
    avi(tmp_path / name, 3)
    (row,) = tomllib.loads(init_folder(tmp_path).read_text())["video"]
    assert row["path"] == name


def test_init_overwrites_only_when_told_and_leaves_no_half_file(mine):
    (mine / "vigil.toml").write_text("# mine\n")
    with pytest.raises(ConfigError, match="exists"):
        init_folder(mine)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # no file may grow beyond 100 bytes
    try:
        with pytest.raises(StorageError, match="disk full"):
            init_folder(mine, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (mine / "vigil.toml").read_text() == "# mine\n"
    assert sorted(p.name for p in mine.iterdir()) == ["test", "train", "vigil.toml"]
    init_folder(mine, force=True)
    assert len(tomllib.loads((mine / "vigil.toml").read_text())["video"]) == 4


def test_a_folder_without_videos(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for function in (open_folder, init_folder):
        with pytest.raises(InputError, match="no video and no folder of images"):
            function(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        open_folder(tmp_path / "nowhere")


def test_intervals_in_frames_are_half_open_and_carry_classes(mine):
    data = manifest(mine, VIDEO + 'frames = [[2, 5], [7, 8, "falling"]]\n')
    truth = data.test.truth("one")
    assert np.flatnonzero(truth.frames).tolist() == [2, 3, 4, 7]
    assert truth.classes[[1, 2, 7]].tolist() == ["", "anomaly", "falling"]
    assert data.test.videos[0].label == "unknown"  # no truth travels with a video


def test_intervals_in_seconds_use_the_time_of_each_frame(mine):
    truth = manifest(mine, VIDEO + "seconds = [[0.3, 0.75]]\n").test.truth("one")  # 10 frames/s
    assert np.flatnonzero(truth.frames).tolist() == [3, 4, 5, 6, 7]
    assert len(truth.frames) == 20


def test_a_normal_test_video_has_truth(mine):
    assert not manifest(mine, VIDEO + 'label = "normal"\n').test.truth("one").frames.any()
    assert not manifest(mine, VIDEO + "frames = []\n").test.truth("one").frames.any()


@pytest.mark.parametrize(
    "line", ["frames = [[2, 21]]", "frames = [[20, 22]]", "seconds = [[1, 4]]"]
)
def test_intervals_past_the_end_name_the_length(mine, line):
    with pytest.raises(InputError, match="one is abnormal from .* but it is 2"):
        manifest(mine, VIDEO + line).test.truth("one")


def test_rates_of_image_folders(mine):
    two = '[[video]]\npath = "test/hall/two"\n'
    assert manifest(mine, two).test.videos[0].fps == 25.0
    assert manifest(mine, "fps = 12\n" + two).test.videos[0].fps == 12.0
    assert manifest(mine, "fps = 12\n" + two + "fps = 3.5\n").test.videos[0].fps == 3.5
    assert open_folder(mine, fps=7).test.videos[0].fps == 3.5


def test_splits_views_and_validation(mine):
    data = manifest(
        mine,
        'name = "hall"\n[[video]]\npath = "train/day.avi"\nsplit = "train"\nview = "front"\n'
        '[[video]]\npath = "train/night.avi"\nsplit = "val"\nname = "late"\n',
    )
    assert data.name == "hall"
    assert [(v.name, v.label, v.view) for v in data.train] == [("day", "normal", "front")]
    assert [v.name for v in data.val] == ["late"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae = 'x'\n" + VIDEO, "line 1: unknown key 'nmae'; did you mean 'name'"),
        (
            VIDEO + "\nlable = 'normal'\n",
            "line 4: video 1: unknown key 'lable'; did you mean 'label'",
        ),
        (VIDEO + "label = 'weird'\n", "line 3: video 1: unknown label 'weird'"),
        (VIDEO + "split = 'trian'\n", "line 3: .*did you mean 'train'"),
        (VIDEO + "fps = 0\n", "line 3: video 1: fps = 0; expected 0 < fps"),
        ("fps = nan\n" + VIDEO, "line 1: fps = nan"),
        (VIDEO + "scene = 3\n", "line 3: video 1: scene = 3; expected str"),
        (VIDEO + "seconds = [[5, 3]]\n", r"line 3: video 1: seconds: \[5, 3\]; expected such as"),
        (VIDEO + "seconds = [3, 5]\n", "line 3: video 1: seconds: 3; expected such as"),
        (VIDEO + "frames = [[1.5, 3]]\n", "line 3: video 1: frames"),
        (VIDEO + "frames = [[-1, 3]]\n", "line 3: video 1: frames"),
        (VIDEO + "seconds = [[1, inf]]\n", "line 3: video 1: seconds"),
        (VIDEO + "frames = [[1, 3]]\nseconds = [[1, 3]]\n", "line 3: video 1: both"),
        (
            VIDEO + "label = 'normal'\nframes = [[1, 3]]\n",
            "line 3: video 1: label = 'normal', and yet",
        ),
        (VIDEO + VIDEO, "line 3: video 2: a second video called 'one'"),
        (VIDEO + "[[video]]\nname = 'b'\n", "line 3: video 2: no path"),
        (VIDEO + "name = '../b'\n", "line 3: video 1: name = '../b'"),
        ("name = 'x'\n", r"line 1: no \[\[video\]\]"),
        ("name = \n", "line 1"),
        ("video = [3]\n", "line 1: 3; expected a table"),
        ("outside = 'yes'\n" + VIDEO, "line 1: outside = 'yes'; expected bool"),
    ],
)
def test_manifest_faults_name_line_video_and_key(mine, text, message):
    with pytest.raises(InputError, match=message) as caught:
        manifest(mine, text)
    assert str(mine / "vigil.toml") in str(caught.value)


@pytest.mark.parametrize(
    "path", ["../other.avi", "test/../../other.avi", "{root}/other.avi", "link.avi"]
)
def test_paths_outside_need_saying_so(mine, path):
    avi(mine.parent / "other.avi", 5)
    (mine / "link.avi").symlink_to(mine.parent / "other.avi")
    text = f'[[video]]\npath = "{path.format(root=mine.parent)}"\nname = "o"\n'
    with pytest.raises(InputError, match="line 2: video 1: path = .* outside = true"):
        manifest(mine, text)
    data = manifest(mine, "outside = true\n" + text)
    assert sum(1 for _ in data.test.videos[0].frames()) == 5


def test_missing_and_broken_videos_stay_listed_and_the_rest_goes_on(mine):
    (mine / "train" / "day.avi").write_bytes(b"")
    data = manifest(
        mine,
        '[[video]]\npath = "train/day.avi"\n[[video]]\npath = "gone.avi"\n' + VIDEO,
    )
    assert [v.name for v in data.test] == ["day", "gone", "one"]
    for name, item in zip(("day", "gone"), data.test, strict=False):
        with pytest.raises(InputError, match=name):
            list(item.frames())
    assert sum(1 for _ in data.test.videos[2].frames()) == 20


def test_sources_are_videos_and_folders_of_images(tmp_path):
    avi(tmp_path / "a" / "10.avi", 3)
    avi(tmp_path / "a" / "2.AVI".lower(), 3)
    folder(tmp_path / "b" / "c", 2)
    (tmp_path / "a" / "poster.png").write_bytes(b"beside a video: not an image folder")
    for stray in (".hidden/x.avi", "a/.x.avi", "b/readme.txt"):
        (tmp_path / stray).parent.mkdir(exist_ok=True)
        (tmp_path / stray).write_bytes(b"")
    found = [p.relative_to(tmp_path).as_posix() for p in find_sources(tmp_path)]
    assert found == ["a/2.avi", "a/10.avi", "b/c"]
    assert [v.name for v in videos_in(tmp_path / "a")] == ["2", "10"]
