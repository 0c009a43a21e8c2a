"""Late fusion by time: what the mean is of, what is left out, and that it is said."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from vigil.data.base import TestSplit
from vigil.data.recordings import recordings, without_view
from vigil.errors import InputError
from vigil.metrics.report import evaluate
from vigil.records import Frame, Scores, Truth, Video
from vigil.scores.views import aligned, fuse_views, fusions, longest, uneven

FOUR = ("front_depth", "front_IR", "top_depth", "top_IR")


def scores(values: object, fps: float = 10.0, late: int = 0, **made: object) -> Scores:
    score = np.asarray(values, float)
    n = len(score)
    known = np.minimum(np.arange(n) + late, n - 1)
    how = {"smoothing": "causal:0.2s", "as_live": False, "method": "nearest", "fps": fps, **made}
    return Scores(
        "v", score, score + 0.5, {"a": 2 * score}, np.arange(n) / fps, known, np.zeros(n, bool),
        made=how,
    )  # fmt: skip


def test_the_nine_rows_of_the_paper() -> None:
    rows = fusions(FOUR)
    assert list(rows) == [
        "Top(D)", "Top(IR)", "Top(DIR)", "Front(D)", "Front(IR)", "Front(DIR)", "Fusion(D)",
        "Fusion(IR)", "Fusion(DIR)",
    ]  # fmt: skip
    assert rows["Top(DIR)"] == ("top_depth", "top_IR")
    assert rows["Fusion(IR)"] == ("front_IR", "top_IR")
    assert set(rows["Fusion(DIR)"]) == set(FOUR)
    assert list(fusions(["top_IR", "top_depth"])) == ["Top(D)", "Top(IR)", "Top(DIR)"]
    assert list(fusions(["top_IR", "front_IR"])) == ["Top(IR)", "Front(IR)", "Fusion(IR)"]
    assert fusions(["door", "till"]) == {
        "door": ("door",), "till": ("till",), "all": ("door", "till")
    }  # fmt: skip
    assert fusions(["door"]) == {"door": ("door",)} and fusions([]) == {}


def test_plain_mean_and_the_order_of_views_is_of_no_account() -> None:
    views = {"x": scores([0, 1, 2, 3]), "y": scores([4, 3, 2, 1]), "z": scores([2, 2, 2, 8])}
    made = fuse_views("r", views)
    assert made.video == "r" and made.score.tolist() == [2, 2, 2, 4]
    assert made.smoothed.tolist() == [2.5, 2.5, 2.5, 4.5]
    assert made.channels["a"].tolist() == [4, 4, 4, 8]
    assert made.made["views"] == ["x", "y", "z"] and made.made["fused"] == "mean"
    for order in permutations(views):
        again = fuse_views("r", {view: views[view] for view in order})
        assert again.score.tolist() == made.score.tolist()
    assert fuse_views("r", views, "max").score.tolist() == [4, 3, 2, 8]
    alone = fuse_views("r", {"x": views["x"]})
    assert alone.score.tolist() == [0, 1, 2, 3] and alone.known_at.tolist() == [0, 1, 2, 3]


def test_a_constant_view_leaves_the_ranking() -> None:
    rng = np.random.default_rng(0)
    one = scores(rng.random(50))
    both = fuse_views("r", {"x": one, "y": scores(np.full(50, 3.0))})
    assert np.argsort(both.score).tolist() == np.argsort(one.score).tolist()


def test_after_a_views_end_the_rest_is_fused_and_it_is_said() -> None:
    views = {"x": scores([1, 1, 1, 1, 1]), "y": scores([3, 3, 3])}
    assert longest(views) == "x"
    assert fuse_views("r", views).score.tolist() == [2, 2, 2, 1, 1]
    assert uneven("r", views, ["x", "y", "z"]) == [
        "r: no z; the other views are fused",
        "r: y ends at 0.20 s, 2 frames before the longest view; from there on the others are fused",
    ]
    assert uneven("r", {"x": views["x"]}, ["x"]) == []


def test_another_frame_rate_is_joined_by_time_and_never_by_the_future() -> None:
    slow, fast = scores([0, 10, 20], fps=5.0), scores(np.zeros(6), fps=10.0)
    made = fuse_views("r", {"slow": slow, "fast": fast}, "max")
    assert longest({"slow": slow, "fast": fast}) == "fast"
    assert made.score.tolist() == [0, 0, 10, 10, 20, 20] and made.made["fps"] == 10.0
    # clocks that differ by less than a quarter of a frame mean the same moment
    jitter = np.array([0.02, -0.02, 0.0, 0.024, -0.024, 0.01]) + np.arange(6) / 10
    assert aligned(np.arange(6) / 10, jitter).tolist() == list(range(6))
    assert aligned(np.arange(3) / 10, np.array([0.24, 0.3, 0.9])).tolist() == [2, -1, -1]
    assert aligned(np.zeros(1), np.array([0.0, 5.0])).tolist() == [0, 0]


def test_known_when_the_last_view_knows() -> None:
    made = fuse_views("r", {"x": scores(np.zeros(6)), "y": scores(np.zeros(6), late=2)})
    assert made.known_at.tolist() == [2, 3, 4, 5, 5, 5]
    slow = scores(np.zeros(3), fps=5.0, late=1)  # known at 0.2, 0.4, 0.4 s
    made = fuse_views("r", {"x": scores(np.zeros(6)), "y": slow})
    assert made.known_at.tolist() == [2, 2, 4, 4, 4, 5]


def test_warm_up_is_over_when_one_view_knows() -> None:
    cold = scores(np.zeros(3))
    cold = Scores(**{**cold.__dict__, "warm_up": np.array([True, True, False])})
    assert fuse_views("r", {"x": cold, "y": cold}).warm_up.tolist() == [True, True, False]
    assert not fuse_views("r", {"x": cold, "y": scores(np.zeros(3))}).warm_up.any()


def test_views_scored_in_different_ways_are_refused() -> None:
    views = {"x": scores([1.0]), "y": scores([1.0], smoothing="none")}
    with pytest.raises(InputError, match=r"r: views scored with smoothing causal:0.2s \(x\), none"):
        fuse_views("r", views)
    with pytest.raises(InputError, match="no scores to fuse"):
        fuse_views("r", {})


# -- measured ------------------------------------------------------------------------------------
def frames(short_side: int | None) -> list[Frame]:
    return []


def video(name: str, view: str) -> Video:
    return Video(name, f"memory:{name}", 10.0, (48, 64), frames, view=view)  # type: ignore[arg-type]


def a_test(lengths: dict[str, int], truth: np.ndarray) -> TestSplit:
    videos = tuple(video(name, name.partition("/")[2]) for name in lengths)
    return TestSplit(videos, lambda name: Truth(truth[: lengths[name]]))


def test_rows_of_a_report_join_what_the_views_say() -> None:
    """Each view sees one half of the anomaly; the mean of both sees all of it."""
    truth = np.array([0] * 4 + [1] * 4 + [0] * 4, bool)
    left, right = np.zeros(12), np.zeros(12)
    left[4:6] = right[6:8] = 1.0
    found = {"r/left": scores(left), "r/right": scores(right)}
    report = evaluate(found, a_test({"r/left": 12, "r/right": 12}, truth), data="d", method="m")
    rows = {(row.group, row.protocol): row.metrics["micro_auc"] for row in report.rows}
    assert rows["view: left", "causal:0.2s"].value == rows["view: right", "raw"].value == 0.75
    assert rows["view: all", "causal:0.2s"].value == rows["view: all", "per-video"].value == 1.0
    assert "left + right, 1 of 1 recordings; plain mean" in rows["view: all", "raw"].how
    assert not report.notes


def test_rows_where_a_view_is_missing_or_short() -> None:
    truth = np.array([0, 0, 1, 1], bool)
    lengths = {"a/left": 4, "a/right": 3, "b/left": 4}
    values = {name: scores([0.0, 0.0, 1.0, 1.0][:n]) for name, n in lengths.items()}
    report = evaluate(values, a_test(lengths, truth), data="d", method="m")
    rows = {row.group: row.metrics["micro_auc"] for row in report.rows if row.protocol == "raw"}
    assert "right, 1 of 2 recordings" in rows["view: right"].how
    assert "8 frames" in rows["view: all"].how and rows["view: all"].value == 1.0
    assert report.notes == (
        "a: right ends at 0.20 s, 1 frames before the longest view; from there on the others are "
        "fused",
        "b: no right; the other views are fused",
    )


def test_no_rows_where_nothing_is_to_be_joined() -> None:
    truth = np.array([0, 1], bool)
    report = evaluate({"a": scores([0, 1])}, a_test({"a": 2}, truth), data="d", method="m")
    assert not [row for row in report.rows if row.group.startswith("view")]


def test_names_of_views_and_recordings() -> None:
    for name in ("rec1-front_IR", "rec1/front_IR", "front_IR_rec1", "rec1.front_IR"):
        assert without_view(name, "front_IR") == "rec1"
    assert without_view("front_IR", "front_IR") == "front_IR"
    assert without_view("front_IRx-1", "front_IR") == "front_IRx-1"
    found = recordings(
        [video("r/left", "left"), video("s/left", "left"), video("r/right", "right")]
    )
    assert {r.name: list(r.views) for r in found} == {"r": ["left", "right"], "s": ["left"]}
