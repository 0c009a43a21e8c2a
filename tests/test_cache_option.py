"""`--cache`: boxes and flow are computed once, for each part of a video, whatever run asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from footage import shelf, vigil

from vigil import bundle, fitting, pipeline
from vigil.errors import VigilError
from vigil.features.flow import Dis
from vigil.features.objects import Foreground
from vigil.video.read import open_video


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_fit_keeps_each_part_of_its_video_apart(tmp_path: Path) -> None:
    """One video is split for validation: two parts of one source, two files a provider."""
    video = open_video(shelf() / "normal.mp4")
    cache = tmp_path / "cache"
    kept = fitting.fit(fitting.method("nearest"), [video], out=tmp_path / "one", cache=cache)
    plain = fitting.fit(fitting.method("nearest"), [video], out=tmp_path / "two")
    assert len([name for name in files(cache) if ".objects." in name]) == 2
    assert len([name for name in files(cache) if ".flow." in name]) == 2
    near = pipeline.score(kept, video).score
    # flow is kept in half precision: the same to its rounding
    np.testing.assert_allclose(near, pipeline.score(plain, video).score, rtol=0.05, atol=0.05)


def test_the_second_run_computes_nothing_and_scores_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, film = tmp_path / "cache", shelf() / "new.mp4"
    run = tmp_path / "run"
    assert vigil("fit", "nearest", shelf() / "normal.mp4", "--out", run, "--cache", cache).code == 0
    words = ("score", run, film, "--cache", cache, "--out")
    assert vigil(*words, tmp_path / "first").code == 0
    made = files(cache)

    def never(*_: object) -> None:
        raise VigilError("computed again")

    monkeypatch.setattr(Foreground, "start", never)
    monkeypatch.setattr(Dis, "start", never)
    done = vigil(*words, tmp_path / "second")
    assert done.code == 0, done.err
    assert files(cache) == made
    one, two = (tmp_path / name / "scores.parquet" for name in ("first", "second"))
    assert one.read_bytes() == two.read_bytes()


def test_another_films_values_are_made_anew(tmp_path: Path) -> None:
    """A cache that a different model left behind is not believed."""
    cache = tmp_path / "cache"
    video = open_video(shelf() / "normal.mp4")
    fitting.fit(fitting.method("nearest"), [video], out=tmp_path / "a", cache=cache)
    small = fitting.method("nearest", short_side=48)
    one = fitting.fit(small, [video], out=tmp_path / "b", cache=cache)
    two = fitting.fit(fitting.method("nearest", short_side=48), [video], out=tmp_path / "c")
    boxes = [bundle.load(tmp_path / run).method.boxes().foot for run in ("b", "c")]
    np.testing.assert_array_equal(boxes[0], boxes[1])
    assert len(one.method.boxes().key) == len(two.method.boxes().key)


def test_not_together_with_a_cluster(tmp_path: Path) -> None:
    done = vigil("score", tmp_path, "x.mp4", "--cache", tmp_path, "--ray", "localhost:1")
    assert done.code == 2
    assert "--cache" in done.err
