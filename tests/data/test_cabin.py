from __future__ import annotations

import numpy as np
import pytest

from vigil.data import cabin
from vigil.data._cabin_script import (
    LAP,
    LEFT,
    PITCH,
    RIGHT,
    STEER,
    VIEWS,
    plan,
    ramp,
    seeded,
    write,
)  # fmt: skip
from vigil.errors import ConfigError

SMALL = {"scale": 0.01}  # one recording a split, three in test; 60 frames


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("cabin")
    return root, cabin.open_cabin(root, **SMALL)


def index_of(event, nth=0):
    return [i for i, e in plan("test") if e == event][nth]


def story_of(event, nth=0):
    return write(event, seeded(1, 0, "test", index_of(event, nth)))


def test_a_recording_is_deterministic_and_its_views_share_classes_not_pixels():
    rendered = {view: cabin.render(view, "test", 0, limit=40) for view in VIEWS}
    again = cabin.render("top_IR", "test", 0, limit=40)
    assert (again[0] == rendered["top_IR"][0]).all()
    for view, (frames, labels) in rendered.items():
        assert frames.shape == (40, 120, 160, 3) and (frames[..., 0] == frames[..., 2]).all()
        assert (labels.codes == rendered["top_IR"][1].codes).all()
        if view != "top_IR":
            assert np.abs(frames.astype(int) - rendered["top_IR"][0]).mean() > 10


@pytest.mark.parametrize("event", cabin.CLASSES[1:])
def test_every_labelled_frame_is_seen_by_some_view_and_no_other_frame_is(event):
    views = [cabin.render(view, "test", index_of(event))[1] for view in ("front_IR", "top_IR")]
    seen = np.any([labels.masks.any((1, 2)) for labels in views], axis=0)
    assert views[0].frames.any() and (seen == views[0].frames).all()
    for labels in views:
        boxed = {int(row[0]) for row in labels.boxes if row[3]}
        assert boxed == set(np.flatnonzero(labels.masks.any((1, 2))).tolist())


def test_hands_in_the_lap_are_seen_from_above_only():
    front, top = (cabin.render(v, "test", index_of("hands_off"))[1] for v in ("front_IR", "top_IR"))
    on = top.frames
    assert top.masks.any((1, 2))[on].mean() > 0.95
    assert front.masks.sum() < 0.2 * top.masks.sum()


def test_hands_off_holds_both_hands_in_the_lap_and_a_normal_driver_never_does():
    story = story_of("hands_off")
    both = (story.rows[:, RIGHT][:, 3] > 0.9) & (story.rows[:, LEFT][:, 3] > 0.9)
    assert both.sum() > 0.7 * (story.codes > 0).sum() and (story.codes[both] > 0).all()
    for hand, place in ((RIGHT, LAP[0]), (LEFT, LAP[1])):
        assert np.linalg.norm(story.rows[both][:, hand][:, :3] - place, axis=1).max() < 0.08
    for split in ("train", "val"):
        for index, event in plan(split):
            rows = write(event, seeded(1, 0, split, index)).rows
            assert not ((rows[:, RIGHT][:, 3] > 0.5) & (rows[:, LEFT][:, 3] > 0.5)).any()


def test_drowsy_frames_are_usual_one_by_one_and_unusual_over_seconds():
    normal = np.concatenate(
        [write(e, seeded(1, 0, "train", i)).rows[:, PITCH] for i, e in plan("train")]
    )
    story = story_of("drowsy")
    drowsy = story.rows[story.codes > 0]
    assert np.quantile(drowsy[:, PITCH], 0.9) < normal.max() + 0.1
    steering = np.concatenate(
        [
            np.abs(np.diff(write(e, seeded(1, 0, "train", i)).rows[:, STEER]))
            for i, e in plan("train")
        ]
    )
    assert np.abs(np.diff(drowsy[:, STEER])).mean() < 0.5 * steering.mean()


def test_ramp_is_zero_outside_one_inside_and_half_at_its_ends():
    share = ramp(100, 30, 60, 6)
    assert share[:26].max() == share[65:].max() == 0 and share[34:57].min() == 1
    assert share[30] == share[60] == 0.5


def test_training_and_validation_are_normal_and_test_is_balanced():
    for split in ("train", "val"):
        assert all(
            e == "" and not write(e, seeded(1, 0, split, i)).codes.any() for i, e in plan(split)
        )
    codes = np.concatenate([write(e, seeded(1, 0, "test", i)).codes for i, e in plan("test")])
    assert 0.4 <= (codes > 0).mean() <= 0.6 and set(codes) == set(range(len(cabin.CLASSES)))


def test_a_set_opens_by_view_and_views_of_one_moment_join_by_name(made):
    root, data = made
    assert len(data.train) == len(data.val) == 4 and len(data.test) == 12
    for video in data.test:
        recording, _, view = video.name.partition("/")
        assert view == video.view and recording.startswith("rec")
        assert len(data.test.truth(video.name).frames) == 60
    one = cabin.open_cabin(root, "top_depth", **SMALL)
    assert {video.view for video in one.test} == {"top_depth"} and len(one.test) == 3
    with pytest.raises(ConfigError, match="did you mean 'top_IR'"):
        cabin.open_cabin(root, "top_ir")


def test_the_mp4_has_as_many_frames_as_its_labels(made):
    _, data = made
    video = data.test.videos[0]
    frames = [frame.image for frame in video.frames()]
    assert len(frames) == len(data.test.truth(video.name).frames) == len(video.given["objects"]())
    assert frames[0].shape == (120, 160, 3) and video.fps == 15


@pytest.mark.parametrize("split", cabin.SPLITS)
def test_what_happens_in_version_1_is_frozen(split):
    assert cabin.digest(split) == cabin.FROZEN[f"cabin/{split}"]


@pytest.mark.parametrize("view", VIEWS)
def test_how_version_1_looks_is_frozen_coarsely(view):
    assert np.abs(np.subtract(cabin.looks(view), cabin.LOOKS[view])).max() <= 2
