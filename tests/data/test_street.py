from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vigil.data import street
from vigil.data._generated import Labels
from vigil.data._street_script import EVENTS, plan, seeded, write
from vigil.data._street_tracks import CLASSES, LEFT, X
from vigil.errors import ConfigError

SMALL = {"size": (120, 160), "scale": 0.01}  # one video a scene and split, two in test; 60 frames


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("street")
    return root, street.open_street(root, split="weak", **SMALL)


def event_index(split, scene, event):
    return next(i for s, i, e in plan(split) if (s, e) == (scene, event))


def test_a_video_is_the_same_in_every_process_and_another_one_is_not():
    def digest(frames, labels):
        return hashlib.sha256(frames.tobytes() + labels.boxes.tobytes()).hexdigest()

    frames, labels = street.render("road", "test", 0, size=(120, 160), limit=12)
    code = (
        "import hashlib; from vigil.data.street import render; "
        "f, l = render('road', 'test', 0, size=(120, 160), limit=12); "
        "print(hashlib.sha256(f.tobytes() + l.boxes.tobytes()).hexdigest())"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert child.stdout.strip() == digest(frames, labels)
    for other in (("road", "test", 1, 0), ("road", "train", 0, 0), ("road", "test", 0, 1)):
        again, boxes = street.render(*other, size=(120, 160), limit=12)
        assert (again != frames).mean() > 0.1 and digest(again, boxes) != digest(frames, labels)


@pytest.mark.parametrize(
    "scene, event",
    [("walkway", "vehicle"), ("road", "wrong_way"), ("shop", "theft"), ("shop", "falling"),
     ("walkway", "abandoned")],
)  # fmt: skip
def test_labels_of_frames_boxes_and_pixels_agree(scene, event):
    frames, labels = street.render(scene, "test", event_index("test", scene, event), limit=120)
    truth = labels.truth()
    assert frames.shape == (120, 240, 320, 3) and frames.dtype == np.uint8
    assert truth.frames.any()
    assert (truth.masks().any((1, 2)) == truth.frames).all()
    assert set(truth.classes) - {""} == {event}
    for t in np.flatnonzero(truth.frames):
        filled = np.zeros(truth.masks().shape[1:], bool)
        for x1, y1, x2, y2 in truth.boxes[t].astype(int):
            box = truth.masks()[t, y1:y2, x1:x2]
            assert box[0].any() and box[-1].any() and box[:, 0].any() and box[:, -1].any()
            filled[y1:y2, x1:x2] = True
        assert not (truth.masks()[t] & ~filled).any()
    assert all(len(truth.boxes[t]) == 0 for t in np.flatnonzero(~truth.frames))


def test_an_anomalous_mask_lies_on_what_is_drawn_there():
    index = event_index("test", "walkway", "vehicle")
    frames, labels = street.render("walkway", "test", index, size=(120, 160))
    empty = np.median(frames[::5], axis=0)
    changed = np.abs(frames - empty).max(-1) > 30
    on, off = changed[labels.masks].mean(), changed[~labels.masks].mean()
    assert on > 0.6 and off < 0.05


def test_the_same_vehicles_are_normal_on_the_road_and_anomalous_on_the_walkway():
    kinds = {"car": street.KINDS.index("car"), "bicycle": street.KINDS.index("bicycle")}
    road = np.concatenate(
        [street.render("road", "train", i, size=(120, 160), limit=60)[1].boxes for i in (0, 1)]
    )
    for kind in kinds.values():
        rows = road[road[:, 2] == kind]
        assert len(rows) > 10 and (rows[:, 3] == 0).all()
    vehicle, seen = CLASSES.index("vehicle"), set()
    for scene, index, event in plan("test"):
        story = write(scene, event, seeded(1, 0, "test", scene, index))
        if scene == "walkway":
            for track in story.tracks:
                if track.kind in kinds.values():
                    assert set(track.marks) == {vehicle}
                    seen.add(track.kind)
    assert seen == set(kinds.values())


def test_training_and_validation_scripts_hold_nothing_anomalous():
    for split in ("train", "val"):
        for scene, index, event in plan(split):
            story = write(scene, event, seeded(1, 0, split, scene, index))
            assert event == "" and not any(track.labels().any() for track in story.tracks)


def test_the_test_split_is_balanced_and_every_class_is_seen_in_its_scenes():
    planned = plan("test")
    for scene, events in EVENTS.items():
        found = [event for s, _, event in planned if s == scene]
        assert set(found) == {*events, ""} and found.count("") == 5
    stories = [write(s, e, seeded(1, 0, "test", s, i)) for s, i, e in planned]
    share = []
    for story in stories:
        on = np.zeros(story.frames, bool)
        for track in story.tracks:
            at = np.flatnonzero(track.labels()) + track.start
            on[at[(at >= 0) & (at < story.frames)]] = True
        share.append(on)
    assert 0.4 <= np.concatenate(share).mean() <= 0.6


def test_wrong_way_means_against_the_lane():
    index = event_index("test", "road", "wrong_way")
    story = write("road", "wrong_way", seeded(1, 0, "test", "road", index))
    lanes: dict[int, set] = {}
    for track in story.tracks:
        if track.kind in (street.CAR, street.BICYCLE):
            rows = track.rows()
            goes_left = bool(rows[-1, X] < rows[0, X])
            assert np.allclose(np.cos(rows[:, 2]), np.cos(LEFT if goes_left else 0.0))
            assert (goes_left != (rows[0, 1] > 13)) == bool(track.labels().any())
            lanes.setdefault(round(rows[0, 1]), set()).add(goes_left)
    assert all(len(directions) == 1 for directions in lanes.values())


def test_a_set_opens_with_its_splits_scenes_boxes_and_truth(made):
    _, data = made
    assert len(data.train) == 3 + 6 and len(data.val) == 3 and len(data.test) == 6
    assert {video.scene for video in data.test} == {"road", "walkway", "shop"}
    assert {video.label for video in data.test} == {"unknown"}
    assert {video.label for video in data.val} == {"normal"}
    assert {video.label for video in data.train} == {"normal", "anomalous"}
    video = data.test.videos[0]
    boxes, truth = video.given["objects"](), data.test.truth(video.name)
    assert len(boxes) == len(truth.frames) == 60
    assert boxes[0].shape[1] == 4 and boxes[0].dtype == np.float32
    for video in data.test:
        truth = data.test.truth(video.name)
        assert (truth.masks().any((1, 2)) == truth.frames).all()
    with pytest.raises(ConfigError, match="did you mean"):
        data.test.truth(video.name + "x")


def test_the_mp4_has_as_many_frames_as_its_labels_and_shows_the_same(made):
    root, data = made
    frames = [frame.image for frame in data.test.videos[0].frames()]
    scene, index = data.test.videos[0].scene, int(data.test.videos[0].name[-2:])
    drawn, labels = street.render(scene, "test", index, size=(120, 160), limit=60)
    assert len(frames) == len(labels.codes) == 60
    assert np.abs(np.stack(frames).astype(int) - drawn).mean() < 8
    saved = Labels.load(next(root.glob(f"street/*/test/{data.test.videos[0].name}.npz")))
    assert (saved.masks == labels.masks).all() and (saved.boxes == labels.boxes).all()


def test_a_killed_run_leaves_whole_videos_and_the_next_one_makes_only_the_rest(tmp_path):
    code = (
        "from vigil.data.street import generate; import sys; "
        "generate(sys.argv[1], size=(120, 160), scale=0.01)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    until = time.monotonic() + 30
    while time.monotonic() < until and len(list(tmp_path.glob("street/*/*/*.mp4"))) < 2:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("street/*/*/*.mp4")}
    assert 2 <= len(before) < 12
    assert all(len(Labels.load(p.with_suffix(".npz")).codes) == 60 for p in before)
    folder = street.generate(tmp_path, size=(120, 160), scale=0.01)
    after = {p: p.stat().st_mtime_ns for p in folder.glob("*/*.mp4")}
    assert len(after) == 12 and all(after[p] == at for p, at in before.items())


def test_videos_of_another_state_of_the_generator_are_made_again(tmp_path, monkeypatch):
    options = {"size": (120, 160), "scale": 0.01, "splits": ("val",)}
    folder = street.generate(tmp_path, **options)
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/*.mp4")}
    street.generate(tmp_path, **options)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*/*.mp4")} == before
    monkeypatch.setitem(street.FROZEN, "street/val", "0")
    street.generate(tmp_path, **options)
    after = {p: p.stat().st_mtime_ns for p in folder.glob("*/*.mp4")}
    assert set(after) == set(before) and all(after[p] != before[p] for p in before)


@pytest.mark.parametrize("split", street.SPLITS)
def test_what_happens_in_version_1_is_frozen(split):
    assert street.digest(split) == street.FROZEN[f"street/{split}"]


@pytest.mark.parametrize("scene", street.SCENES)
def test_how_version_1_looks_is_frozen_coarsely(scene):
    assert np.abs(np.subtract(street.looks(scene), street.LOOKS[scene])).max() <= 2


@pytest.mark.parametrize(
    "options", [{"size": (240, 321)}, {"size": (30, 40)}, {"scale": 0.0}, {"version": 2}]
)
def test_what_cannot_be_made_is_refused_with_the_reason(tmp_path, options):
    with pytest.raises(ConfigError, match="expected|exists"):
        street.generate(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown scene 'raod'; did you mean 'road'"):
        street.render("raod", "test", 0)
    with pytest.raises(ConfigError, match="unknown split"):
        street.open_street(tmp_path, split="week")
