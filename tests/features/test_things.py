"""Rows of what moves and stands: exact arithmetic, what they see, and that they keep their word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_square

from vigil import bundle, pipeline, run
from vigil.errors import InputError, ModelError
from vigil.features.base import FeatureRow
from vigil.features.things import BINS, FRAMES, HIGHEST, Memory, Things, binned, facts_of, peaks
from vigil.features.ways import COLUMNS, fastest, placed, walked
from vigil.records import Video


def normal() -> list[Video]:
    return [moving_square(f"n{n}", 40, seed=n, label="normal") for n in range(4)]


@pytest.fixture(scope="module")
def things() -> Things:
    made = Things("given")
    made.fit(normal())
    return made


def rows_of(things: Things, video: Video) -> list[FeatureRow]:
    tracker = things.start(video, video.fps)
    seen = [tracker.see(frame, n) for n, frame in enumerate(video.frames())]
    return [row for row in seen if row is not None] + tracker.finish()


# -- one thing -----------------------------------------------------------------------------------
def test_place_and_size_of_a_box() -> None:
    x, foot, high, wide = placed(np.array([40.0, 60, 80, 180]), (240, 320))
    assert (x, foot) == (0.25, 0.75)
    assert (high, wide) == pytest.approx((np.log(0.5), np.log(1 / 6)))


def test_a_straight_way() -> None:
    t = np.arange(31.0)
    way = np.stack([t, 3 * t, 0 * t + 100, 0 * t + 30], 1)  # a tenth of its height a frame
    vx, vy, stay, near, path, gone, turned = walked(way, fps=10.0)
    assert (vx, vy) == pytest.approx((1.0, 0.0))
    assert stay == pytest.approx(np.log1p(0.5)) and near == pytest.approx(np.log1p(1.5))
    # means over 5 of 31 frames leave 27, of which every second is a step: 2.6 body heights
    assert (path, gone, turned) == pytest.approx((2.6, 2.6, 0.0))


def test_a_way_to_and_fro() -> None:
    t = np.arange(31.0)
    way = np.stack([t, 100 + 15 * np.sin(t / 2), 0 * t + 100, 0 * t + 30], 1)
    *_, near, path, gone, turned = walked(way, fps=10.0)
    assert near == pytest.approx(np.log1p(3.0))  # all the time within 1.5 body heights
    assert turned == pytest.approx(path - gone) and turned > 2


def test_the_fastest_third_of_a_box() -> None:
    flow = np.zeros((2, 12, 16), np.float32)  # half of the video's own 24x32
    flow[0, 4:6, 2:8], flow[1, 4:6, 2:8] = 3.0, -4.0  # 12 of 36 pixels of the box
    found = fastest(flow, np.array([4.0, 8, 16, 20]), (24, 32))
    np.testing.assert_allclose(found, [3 / 12, -4 / 12, 5 / 12])


# -- facts and bins ------------------------------------------------------------------------------
def test_bins_share_a_fact() -> None:
    bounds = np.tile(np.arange(BINS, dtype=np.float32), (3, 1))
    found = binned(np.array([2.25, -5.0, 99.0]), bounds)
    expected = np.zeros((3, BINS))
    expected[0, 2:4], expected[1, 0], expected[2, -1] = (0.75, 0.25), 1, 1
    np.testing.assert_allclose(found, expected)


def test_peaks_rise_even_where_all_is_the_same() -> None:
    assert (np.diff(peaks(np.zeros((5, 3))), axis=1) > 0).all()
    assert (np.diff(peaks(np.full((5, 3), -7.0)), axis=1) > 0).all()
    spread = peaks(np.linspace(0, 1, 101)[:, None])[0]
    np.testing.assert_allclose(spread, np.linspace(0.02, 0.99, BINS), atol=2e-3)


def test_a_known_thing_is_at_no_distance() -> None:
    rng = np.random.default_rng(0)
    kept = torch.from_numpy(rng.normal(0, 1, (40, len(COLUMNS))).astype(np.float32))
    memory = Memory(kept.repeat_interleave(5, 0))  # five neighbours that are the thing itself
    near = memory.compare(kept[:3])[:, :7]
    assert near.max() < 5e-3
    far = kept[:3].clone()
    far[:, 0] += 1.0  # picture heights aside: place 1 / 0.12 clear differences, motion the same
    moved = memory.compare(far)[:, :7]
    assert (moved[:, 1] > near[:, 1] + 0.5).all() and moved[:, 5].max() < 5e-3


def test_facts_are_the_highest_in_a_frame_and_the_mean_over_frames() -> None:
    one, two = np.zeros((2, len(COLUMNS)), np.float32), np.zeros((1, len(COLUMNS)), np.float32)
    one[:, 8], two[:, 8] = (1.0, 3.0), 5.0
    none = np.zeros((0, len(COLUMNS)), np.float32)
    facts = facts_of([one, none, two], Memory(np_rows()))
    assert facts is not None and facts.shape == (HIGHEST,)
    assert facts[8] == 4.0  # of 3 and 5; the frame without a thing does not count
    assert facts[len(COLUMNS) + 8 - 2] == -3.0  # the lowest, as its negative: -1 and -5
    assert facts_of([none, none], Memory(np_rows())) is None


def np_rows() -> torch.Tensor:
    return torch.zeros(9, len(COLUMNS))


# -- rows ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("frames", [1, 8, 21])
def test_rows_cover_every_frame_once(things: Things, frames: int) -> None:
    rows = rows_of(things, moving_square("any", frames))
    starts = list(range(0, frames, FRAMES))
    assert [(row.first, row.stop) for row in rows] == [(s, min(s + 8, frames)) for s in starts]
    for row in rows:
        assert row.value.shape == (1, Things.dim) and row.value.dtype == np.float32
        np.testing.assert_allclose(row.value.sum(), HIGHEST, rtol=1e-5)


def test_nothing_in_sight_is_a_row_of_zeros(things: Things) -> None:
    video = moving_square("empty", 16)
    none = replace(video, given={"objects": lambda: [np.zeros((0, 4), np.float32)] * 16})
    assert all(not row.value.any() for row in rows_of(things, none))


def test_rows_do_not_look_ahead(things: Things) -> None:
    whole = rows_of(things, moving_square("cut", 40, fast=(24, 40)))
    calm = rows_of(things, moving_square("cut", 40))
    for n in range(3):
        np.testing.assert_array_equal(whole[n].value, calm[n].value)
    assert np.abs(whole[4].value - calm[4].value).sum() > 5


def test_a_video_learned_from_does_not_know_itself(things: Things) -> None:
    known = normal()[0]
    stranger = replace(known, source="elsewhere")  # the same frames under another name
    mine, other = (np.mean([r.value for r in rows_of(things, v)], 0)[0] for v in (known, stranger))
    joint = slice((2 * len(COLUMNS) + 4) * BINS, (2 * len(COLUMNS) + 5) * BINS)  # all parts
    weights = np.arange(BINS)
    assert mine[joint] @ weights > other[joint] @ weights + 1


def test_what_was_learned_comes_back(things: Things) -> None:
    again = Things("given")
    again.set_tensors({key: value.clone() for key, value in things.tensors().items()})
    video = moving_square("back", 20, fast=(8, 16))
    for one, two in zip(rows_of(things, video), rows_of(again, video), strict=True):
        np.testing.assert_array_equal(one.value, two.value)
    assert things.describe()["objects"] == {"name": "given"}


def test_refusals() -> None:
    with pytest.raises(InputError, match="nothing remembered; fit on normal video first"):
        Things("given").start(normal()[0], 10.0)
    with pytest.raises(ModelError, match=f"expected bins of {HIGHEST} facts"):
        Things("given").set_tensors({"bounds": torch.zeros(3, BINS)})


def test_a_method_stands_on_them(tmp_path: Path) -> None:
    wrong = [moving_square(f"a{n}", 40, seed=9 + n, fast=(16, 32), label="anomalous")
             for n in range(4)]  # fmt: skip
    keys = {"features": "things:given", "dim": Things.dim, "frames": FRAMES, "k": 4}
    method = pipeline.method("mil", **keys)
    held = [moving_square(f"h{n}", 40, seed=30 + n, label="normal") for n in range(2)]
    model = pipeline.fit(
        method, [*normal(), *wrong], held, tmp_path / "run", steps=60, batch=4, device="cpu"
    )
    video = moving_square("new", 48, seed=77, fast=(16, 32))
    score = run.score_video(model, video).score
    assert score[18:32].mean() > score[:16].mean()
    again = run.score_video(bundle.load(tmp_path / "run"), video).score
    np.testing.assert_array_equal(score, again)
