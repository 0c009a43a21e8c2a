"""Fit, extend, score, evaluate: what lands on disk and what is remarked on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square
from footage import a_run, film, shelf

from vigil import bundle, fitting, pipeline, reporting, sources
from vigil.data.base import Split
from vigil.errors import ConfigError, InputError
from vigil.pages import safe
from vigil.scores import tables
from vigil.video.read import open_video


def test_another_rate_size_and_scene_are_remarked_on() -> None:
    model = bundle.load(shelf() / "run")
    same = open_video(shelf() / "new.mp4")
    assert pipeline.remarks(model, same) == []
    model.method.scenes = ("road",)
    other = replace(same, fps=25.0, size=(48, 64), scene="shop")
    rate, size, scene = pipeline.remarks(model, other)
    assert rate == "new: 25 frames a second, the model was fitted at 10; time is resampled"
    assert size.startswith("new: 64x48 pixels, the model was fitted at 128x96")
    assert scene == "new: scene 'shop' was never seen in training; the model knows road"


def test_the_same_remark_on_many_videos_is_one_line() -> None:
    notes = [f"v{n}: no scene" for n in range(5)] + ["v1: too small"]
    found = pipeline.gathered(notes)
    assert found == ["v0, v1, v2 and 2 more: no scene", "v1: too small"]


def test_at_another_rate_every_frame_is_scored_and_the_result_says_so(tmp_path: Path) -> None:
    path = film(tmp_path / "fast.mp4", 50, fps=25.0, seed=1)
    found = reporting.score_source(shelf() / "run", str(path), tmp_path / "s")
    scores = tables.read(tmp_path / "s")["fast"]
    assert len(scores) == 50 and scores.made["resampled"] == "from 25 to 10 frames a second"
    assert any("time is resampled" in note for note in found.notes)
    np.testing.assert_allclose(np.diff(scores.time), 0.04, atol=1e-6)


def test_events_on_disk_agree_with_the_scores(tmp_path: Path) -> None:
    found = reporting.score_source(
        shelf() / "run", str(shelf() / "new.mp4"), tmp_path / "s", alarms_per_hour=3600.0
    )
    data = json.loads((tmp_path / "s" / "events.json").read_text())
    with (tmp_path / "s" / "events.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert found.events and len(rows) == len(data["events"]) == len(found.events)
    scores = tables.read(tmp_path / "s")["new"]
    for row, event in zip(rows, found.events, strict=True):
        assert float(row["start_s"]) == pytest.approx(event.start / 10, abs=1e-3)
        assert scores.smoothed[event.peak_frame] == pytest.approx(event.peak)
        assert event.peak > found.threshold.value
    made = json.loads((tmp_path / "s" / "run.json").read_text())
    assert made["source"] == str(shelf() / "new.mp4")
    assert made["threshold"]["value"] == found.threshold.value


def test_scores_of_two_sources_never_share_a_folder(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    for place in ("a", "b"):
        film(tmp_path / place / "cam.2024.mp4", 12)
    folders = [
        reporting.score_source(run, str(tmp_path / place / "cam.2024.mp4")).folder
        for place in ("a", "b", "a")
    ]
    assert [folder.name for folder in folders] == ["cam.2024", "cam.2024-2", "cam.2024"]
    # the model's own folder is replaced when it is extended: no scores go there
    found = reporting.score_source(run / "model", str(shelf() / "new.mp4"))
    assert found.folder.resolve() == (run / "scores" / "new").resolve()


def test_show_finds_the_newest_scores_that_have_the_video(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    for name in ("one", "two"):
        reporting.score_source(run, str(film(tmp_path / f"{name}.mp4", 12)))
    place, scores = reporting.find_scores(run, "one")
    assert place.name == "one" and scores.video == "one"
    with pytest.raises(ConfigError, match="unknown video 'three'.*Known: one, two"):
        reporting.find_scores(run, "three")
    with pytest.raises(InputError, match="no scores here; run `vigil score"):
        reporting.find_scores(tmp_path, "one")


def test_names_with_slashes_become_files_in_one_folder(tmp_path: Path) -> None:
    video = moving_square("rec00/front_IR", 30, size=(96, 128))
    model = bundle.load(shelf() / "run")
    limit = reporting.threshold_of(model)
    scores = pipeline.score_all(model, [video])
    pipeline.save_scores(tmp_path / "s", scores, limit, {})
    path = reporting.show_video(tmp_path / "s", "rec00/front_IR")
    assert path == tmp_path / "s" / "rec00_front_IR.png" and path.stat().st_size > 5000
    assert safe("../../etc") == "_.._etc" and safe("..") == "video"


def test_a_fit_leaves_a_run_that_says_what_was_asked_for(tmp_path: Path) -> None:
    run = json.loads((shelf() / "run" / "run.json").read_text())
    assert run["method"] == "nearest" and run["keys"]["k"] == 3 and "smoothing" in run["keys"]
    assert run["train"] == {"normal": str(shelf() / "normal.mp4")}


def test_a_run_with_a_model_is_not_overwritten_unasked(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    video = replace(open_video(shelf() / "normal.mp4"), label="normal")
    for folder in (run, run / "model"):
        with pytest.raises(ConfigError, match="already holds a model"):
            pipeline.fit(pipeline.method("nearest"), [video], out=folder)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{")  # as a kill may leave it
    pipeline.fit(pipeline.method("nearest"), [video], out=tmp_path / "begun")
    assert (tmp_path / "begun" / "model" / "card.json").is_file()


def test_held_out_footage_is_never_learned_from() -> None:
    videos = [moving_square(f"v{n}", 20, scene="ab"[n % 2]) for n in range(16)]
    learn, held = fitting.split(videos, 0.25)
    names = [video.name for video in learn], [video.name for video in held]
    assert not set(names[0]) & set(names[1]) and len(learn) == 12 and len(held) == 4
    assert {video.scene for video in held} == {"a", "b"}
    (early,), (late,) = fitting.split(videos[:1], 0.25)
    assert len(list(early.frames())) == 15 and len(list(late.frames())) == 5


def test_only_anomalous_footage_or_none_is_refused() -> None:
    method = pipeline.method("nearest")
    with pytest.raises(InputError, match="no training video"):
        pipeline.fit(method, [])
    video = moving_square("v", 30, label="anomalous")
    with pytest.raises(InputError, match="some must be normal"):
        pipeline.fit(method, [video], [video], "/nowhere/at/all")


def test_extend_adds_footage_and_keeps_the_rest(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    model = bundle.load(run)
    old = dict(model.calibration.normal) if model.calibration else {}
    more = replace(open_video(film(tmp_path / "more.mp4", 60, seed=5)), label="normal")
    pipeline.extend(model, [more], run / "model")  # the model's own folder will do
    again = bundle.load(run)
    assert again.card["extended"] == ["more"] and again.card["train"] == ["normal"]
    assert again.calibration is not None and set(again.calibration.normal) == {*old, "more"}
    assert not (run / "model" / "model").exists()


def test_training_sources_are_a_data_set_a_manifest_or_paths(tmp_path: Path) -> None:
    videos, held = sources.find_training([str(shelf() / "normal.mp4")])
    assert [v.label for v in videos] == ["normal"] and held is None
    film(tmp_path / "train" / "a.mp4", 12)
    film(tmp_path / "test" / "b.mp4", 12)
    assert {v.name for v in sources.find_training([str(tmp_path)])[0]} == {"a", "b"}
    from vigil.data.folder import init_folder

    init_folder(tmp_path)  # now it says which are normal
    assert [v.name for v in sources.find_training([str(tmp_path)])[0]] == ["a"]
    with pytest.raises(InputError, match="two videos are called"):
        Split((videos[0], videos[0]))


def test_a_made_version_of_a_generated_set_is_opened_as_it_was_made(tmp_path: Path) -> None:
    folder = tmp_path / "street" / "v1-seed7-240x320-scale0.02"
    folder.mkdir(parents=True)
    assert sources.made_as("street", folder) == (folder, {})  # nothing was made in it
    (folder / "manifest.json").write_text("{}")
    root, options = sources.made_as("street", folder)
    assert root == tmp_path.resolve()
    assert options == {"version": 1, "seed": 7, "size": (240, 320), "scale": 0.02}
    with pytest.raises(ConfigError, match="not a folder of cabin"):
        sources.made_as("cabin", folder)
