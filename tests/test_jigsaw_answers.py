"""The benchmark's short way from kept answers to scores is the long way of `vigil score`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT, moving_square

from vigil import fitting, pipeline, run
from vigil.bundle import Model
from vigil.records import Video
from vigil.scores.tubes import Tubes

TINY = {"objects": "frame", "levels": "frame,clip", "frames": 3, "clips": 3, "width": 16}
PLAIN = {"steps": 3, "batch": 4, "engine": "torch", "dtype": "float32", "device": "cpu"}


def module(name: str) -> ModuleType:
    """A benchmark's module, which no package holds."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    made = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(made)
    return made


answers = module("jigsaw_answers")
PARTS = {
    "train": [moving_square("a", 30), moving_square("bb", 30)],
    "val": [moving_square("eeeee", 40), moving_square("dddd", 33)],
    "test": [moving_square("eeeee", 41, fast=(20, 30)), moving_square("ffffff", 29)],
}


def fitted(folder: Path, **keys: object) -> Model:
    method = fitting.method("jigsaw", **{**TINY, **keys})
    return pipeline.fit(method, PARTS["train"], PARTS["val"], folder / "run", **PLAIN)


def kept(model: Model, path: Path, step: int = 3):  # type: ignore[no-untyped-def]
    parts = {
        part: {v.name: answers.asked(model, v, step if part == "train" else 1) for v in videos}
        for part, videos in PARTS.items()
    }
    answers.save(path, parts)
    return answers.load(path, model.method, model.fps)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return fitted(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def asked(model: Model, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return kept(model, tmp_path_factory.mktemp("answers") / "answers.npz")


# rounding of the networks' sums, in other batches, times the steepest part of the scale of normal
# footage
CLOSE = {"rtol": 2e-3, "atol": 2e-3}


def same(model: Model, asked, way, videos: list[Video] = PARTS["test"]) -> None:  # type: ignore[no-untyped-def]
    found = answers.scores(asked, way)
    assert set(found) == {video.name for video in videos}
    for video in videos:
        long, short = run.score_video(model, video), found[video.name]
        np.testing.assert_allclose(short.score, long.score, **CLOSE)
        np.testing.assert_allclose(short.smoothed, long.smoothed, **CLOSE)
        np.testing.assert_array_equal(short.warm_up, long.warm_up)


def test_scores_are_those_of_the_pipeline(model: Model, asked) -> None:  # type: ignore[no-untyped-def]
    same(model, asked, answers.Way())
    with pytest.raises(AssertionError):
        same(model, asked, answers.Way(persist=0))


@pytest.mark.parametrize(
    "keys",
    [
        {"rows": "mean", "scale": "probability", "answer": "centre", "persist": 0.0},
        {"pieces": "pairs", "levels": "frame"},
        {"shuffle": "time"},
    ],
)
def test_other_ways_too(tmp_path: Path, keys: dict) -> None:  # type: ignore[type-arg]
    model = fitted(tmp_path, **keys)
    way = {k: v for k, v in keys.items() if k in answers.Way.__dataclass_fields__}
    same(model, kept(model, tmp_path / "a.npz"), answers.Way(**way))


def test_against_normal_answers(tmp_path: Path) -> None:
    model = fitted(tmp_path, against="normal", memory=1000)
    same(model, kept(model, tmp_path / "a.npz", step=1), answers.Way(against="normal"))


def test_where_a_clip_answers(asked) -> None:  # type: ignore[no-untyped-def]
    units = np.arange(6.0)  # clips of nine frames in fourteen
    way = {name: answers.Way(answer=name, persist=0) for name in ("first", "centre", "last", "all")}
    curves = {n: answers.on_frames(asked, 14, "clip", units, w) for n, w in way.items()}
    first = {n: int(np.flatnonzero(np.isfinite(c))[0]) for n, c in curves.items()}
    assert first == {"first": 1, "centre": 4, "last": 7, "all": 0}
    assert all(np.isfinite(curves[n]).sum() == 6 for n in ("first", "centre", "last"))
    assert curves["all"][[0, 5, 13]].tolist() == [0.0, 2.5, 5.0]
    found = [answers.scores(asked, answers.Way(answer=name))["eeeee"] for name in way]
    assert [int(scores.warm_up.sum()) for scores in found] == [1, 1, 1, 0]


def test_a_level_that_does_not_answer_is_left_out() -> None:
    nan = np.nan
    cube, clip = np.array([nan, 1, 2, 3, nan]), np.array([nan, nan, nan, 5, nan])
    mean, warm = answers.joined([cube, clip])
    assert mean.tolist() == [0, 1, 2, 4, 4] and warm.tolist() == [True] + [False] * 4


def test_earned_is_the_mean_along_a_tube() -> None:
    values, tubes = np.random.default_rng(0).random(20), Tubes(3.0)
    box = np.array([[0.0, 0, 64, 48]])
    long = [tubes.push(n, box, np.array([[v]]))[0, 0] for n, v in enumerate(values)]
    np.testing.assert_allclose(answers.earned(values, 3.0), long)


def test_the_papers_rule_scales_each_video(asked) -> None:  # type: ignore[no-untyped-def]
    found = answers.papers(asked)
    assert set(found) == {"eeeee", "ffffff"}
    for scores in found.values():
        assert 0 <= scores.score.min() < scores.score.max() <= 1
