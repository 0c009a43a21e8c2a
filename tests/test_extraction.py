"""From video to the scores of a weak method: by files of features, and straight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import movies
import numpy as np
import pytest
from footage import shelf, vigil

from vigil import bundle, extraction, fitting, pipeline
from vigil.data.base import TestSplit
from vigil.errors import InputError, ModelError
from vigil.features.extract import extract
from vigil.features.extracted import Extracted
from vigil.features.store import file_of
from vigil.records import Video
from vigil.video.read import open_video


def film(path: Path, seed: int, hurry: bool) -> Video:
    """A dot that walks, or that runs for a while."""
    rng = np.random.default_rng(seed)
    at, images = rng.uniform(0, 60), []
    for n in range(150):
        at += 9 if hurry and 60 <= n < 110 else 1
        image = np.full((64, 96, 3), 90, np.uint8)
        x = int(at % 80)
        image[20:44, x : x + 12] = 210
        images.append(image)
    movies.make(path, images)
    return open_video(path, label="anomalous" if hurry else "normal")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weak")


@pytest.fixture(scope="module")
def videos(place: Path) -> list[Video]:
    return [film(place / f"v{n}.mp4", n, n % 2 == 1) for n in range(8)]


@pytest.fixture(scope="module")
def model(place: Path, videos: list[Video]) -> bundle.Model:
    extract(videos, place / "rows", Extracted("motion"))
    train = extraction.with_features(videos, place / "rows", "train")
    method = fitting.method("mil", dim=240)
    held = [video for video in train if video.label == "normal"][:2]
    return fitting.fit(method, train, held, place / "run", steps=40, batch=4)


def test_straight_from_video_is_as_by_files(
    place: Path, videos: list[Video], model: bundle.Model
) -> None:
    again = bundle.load(place / "run")
    assert again.card["features"]["backbone"] == "motion"
    by_files = pipeline.score_all(again, extraction.with_features(videos, place / "rows", "test"))
    extraction.ready(again, videos)
    straight = pipeline.score_all(again, videos)
    for name, scores in by_files.items():
        np.testing.assert_allclose(straight[name].score, scores.score, atol=1e-6)
        np.testing.assert_allclose(straight[name].smoothed, scores.smoothed, atol=1e-6)
        assert np.isfinite(scores.score).all() and len(scores) == 150


def test_what_hurries_is_found(place: Path, videos: list[Video], model: bundle.Model) -> None:
    fresh = [film(place / f"w{n}.mp4", 50 + n, n % 2 == 1) for n in range(4)]
    extraction.ready(model, fresh)
    scores = pipeline.score_all(model, fresh)
    for n in (1, 3):
        curve = scores[f"w{n}"].score
        assert curve[64:104].mean() > curve[:48].mean()
    assert isinstance(TestSplit(tuple(fresh)), TestSplit)


def test_the_videos_need_not_be_there(
    place: Path, videos: list[Video], model: bundle.Model
) -> None:
    """Rows that came with a video are scored without its pictures."""
    from vigil.video.images import Opener

    class Gone(Opener):
        def __call__(self, short_side=None, start=0.0):
            raise InputError("the pictures are not here")

        def times(self):
            return (n / 25 for n in range(150))

    one = extraction.with_features(videos[:1], place / "rows", "test")[0]
    whole = pipeline.score(model, one)
    bare = pipeline.score(model, replace(one, open=Gone()))
    np.testing.assert_array_equal(bare.score, whole.score)


def test_features_of_another_kind_are_refused(
    place: Path, videos: list[Video], model: bundle.Model
) -> None:
    extract(videos[:1], place / "half", Extracted("motion", stride=8))
    other = extraction.with_features(videos[:1], place / "half", "test")
    with pytest.raises(InputError, match="stride 8, but 16 is needed"):
        extraction.check_features(model, other)
    wrong = dict(model.card["features"], backbone="r3d-18", weights="0" * 64)
    with pytest.raises(ModelError, match=r"weights of r3d-18: found none; .* SHA-256 0{16}"):
        extraction.maker_of(wrong, None)


def test_missing_features_are_all_named(place: Path, videos: list[Video]) -> None:
    extract(videos[:1], place / "one", Extracted("motion"))
    with pytest.raises(InputError, match="no features of 7 videos: v1, v2"):
        extraction.with_features(videos, place / "one", "test")
    assert file_of(place / "one", "v0").is_file()


def test_a_model_without_provenance_says_what_to_give(
    place: Path, videos: list[Video], model: bundle.Model
) -> None:
    bare = bundle.load(place / "run")
    del bare.card["features"]
    with pytest.raises(InputError, match="give --features DIR"):
        extraction.ready(bare, videos)


def test_rows_count_a_videos_own_frames(
    place: Path, videos: list[Video], model: bundle.Model
) -> None:
    """A model of rows takes every rate as it is: there is nothing to resample."""
    one = extraction.with_features(videos[1:2], place / "rows", "test")[0]
    slow = replace(one, fps=one.fps / 2, open=one.open)
    at_own, at_half = (pipeline.score(model, v, smoothing="none") for v in (one, slow))
    np.testing.assert_array_equal(at_half.score, at_own.score)
    assert "resampled" not in at_half.made
    assert not [note for note in pipeline.remarks(model, slow) if "frames a second" in note]


def test_a_fit_on_rows_of_two_kinds_is_refused(place: Path, videos: list[Video]) -> None:
    extract(videos[:2], place / "mixed-one", Extracted("motion"))
    extract(videos[2:4], place / "mixed-two", Extracted("motion", stride=8))
    train = [*extraction.with_features(videos[:2], place / "mixed-one", "train"),
             *extraction.with_features(videos[2:4], place / "mixed-two", "train")]  # fmt: skip
    with pytest.raises(InputError, match="stride 8, but 16 is needed"):
        fitting.fit(fitting.method("mil", dim=240), train, train[:1], place / "mixed", steps=1)


def test_from_a_url_into_a_url_and_scored_from_one(tmp_path: Path) -> None:
    """Videos and features in fsspec's memory; the same rows as from files."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: 'vigil-vad[ray]'")
    far = fsspec.filesystem("memory")
    for name in ("new", "normal"):
        far.put_file(str(shelf() / f"{name}.mp4"), f"/shop/monday/{name}.mp4")
    words = ("extract", "memory://shop/monday", "--backbone", "motion")
    done = vigil(*words, "--out", "memory://shop/rows")
    assert done.code == 0 and "2 made" in done.err
    here = tmp_path / "rows"
    assert vigil("extract", shelf() / "new.mp4", "--backbone", "motion", "--out", here).code == 0
    assert far.cat("/shop/rows/new.safetensors") == (here / "new.safetensors").read_bytes()
    again = vigil(*words, "--out", "memory://shop/rows")
    assert "0 made, 2 were there" in again.err
    refused = vigil(*words, "--out", tmp_path / "x", "--workers", 2)
    assert refused.code == 2 and "--ray" in refused.err
    for source, out in (("memory://shop/monday/new.mp4", "far"), (shelf() / "new.mp4", "near")):
        assert vigil("score", shelf() / "run", source, "--out", tmp_path / out).code == 0
    one, two = (tmp_path / out / "scores.parquet" for out in ("far", "near"))
    assert one.read_bytes() == two.read_bytes()
    gone = vigil("score", shelf() / "run", "memory://shop/gone.mp4")
    assert gone.code == 3 and "memory://shop/gone.mp4" in gone.err
