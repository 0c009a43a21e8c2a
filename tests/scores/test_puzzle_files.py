"""Pickles that the jigsaw projects saved, measured again: for any cube length, and nothing run."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vectors import golden

from vigil.data.base import TestSplit
from vigil.errors import InputError
from vigil.metrics.report import evaluate
from vigil.records import Frame, Scores, Truth, UnitTable, Video
from vigil.scores import tables
from vigil.scores.jigsaw_protocols import anomaly, frame_curve
from vigil.scores.puzzle_files import read_saved


def video(name: str, length: int, view: str = "") -> Video:
    image = np.zeros((8, 8, 3), np.uint8)

    def frames(short_side: int | None):  # type: ignore[no-untyped-def]
        return (Frame(image, t / 45) for t in range(length))

    return Video(name, f"memory:{name}", 45.0, (8, 8), frames, view=view)


def save(path: Path, found: object) -> Path:
    path.write_bytes(pickle.dumps(found))
    return path


@pytest.mark.parametrize("half", [2, 3, 4])
def test_any_cube_length_and_any_number_of_objects(tmp_path: Path, half: int) -> None:
    rng = np.random.default_rng(half)
    pairs = {f: rng.random((1 + f % 3, 2)) for f in range(half, 30 - half)}
    saved = {"01": {f: rows.tolist() for f, rows in pairs.items()}}
    found = read_saved(save(tmp_path / "s.pkl", saved), [video("01", 30)])["01"]
    assert len(found) == 30
    assert found.warm_up.tolist() == [not half <= f < 30 - half for f in range(30)]
    for f, rows in pairs.items():
        s, t = rows.min(0)
        assert found.channels["spatial"][f] == pytest.approx(1 - s)
        assert found.score[f] == pytest.approx(1 - (s + t) / 2)
    assert found.units is not None and len(found.units) == sum(map(len, pairs.values()))
    np.testing.assert_allclose(
        np.exp(-found.units.channels["temporal"]), np.concatenate(list(pairs.values()))[:, 1]
    )


def test_driver_data_by_their_short_names_and_rules(tmp_path: Path) -> None:
    """The golden table of scores, saved as the project does: our rows are the rules' own."""
    arrays, facts = golden("jigsaw_aggregate_dad")
    half, row, saved, videos, truths = facts["T"] // 2, 0, {}, [], {}
    for name, length in facts["lengths"].items():
        frames = range(half, length - half)
        pairs = arrays["frame_pairs"][row : row + len(frames)]
        row += len(frames)
        saved[name] = {f: [list(map(float, pair))] for f, pair in zip(frames, pairs, strict=True)}
        called = f"val{int(name[:2]):02}/rec{int(name[3:])}/top_depth"
        videos.append(video(called, length, "top_depth"))
        truths[called] = Truth(arrays[f"label_{name}"].astype(bool))
    path = save(tmp_path / "top_depth.pkl", saved)
    scores = read_saved(path, videos)
    report = evaluate(
        scores, TestSplit(tuple(videos), truths.__getitem__), data="dad", method="jigsaw, saved"
    )
    rows = {(r.channel, r.protocol): r for r in report.rows if r.group == "all"}
    assert (
        rows["score", "raw"].metrics["micro_auc"].value == report.rows[0].metrics["micro_auc"].value
    )
    curves, labels = [], []
    for one, key in zip(videos, saved, strict=True):
        at = np.array(list(saved[key]))
        pairs = np.array([saved[key][f][0] for f in at])
        own = [frame_curve(pairs[:, c], at, len(truths[one.name].frames)) for c in (0, 1)]
        curves.append(anomaly(np.mean(own, axis=0)))
        labels.append(truths[one.name].frames)
    score, label = np.concatenate(curves), np.concatenate(labels)
    above = score[label][:, None] - score[~label]
    area = float(np.mean((above > 0) + 0.5 * (above == 0)))
    row_found = rows["complete", "jigsaw-frames"]
    assert row_found.metrics["micro_auc"].value == pytest.approx(area, abs=1e-12)
    assert "uses the WHOLE video" in row_found.metrics["micro_auc"].how
    assert ("complete", "raw") in rows and ("spatial", "jigsaw-frames") in rows
    # put right: close to what the project printed, which scales twice and reads late by a frame
    assert area == pytest.approx(float(arrays["frame_micro_complete"]), abs=0.05)


def test_written_as_scores_they_are_measured_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    saved = {"a": {f: rng.random((1, 2)).tolist() for f in range(3, 60)}}
    one = read_saved(save(tmp_path / "s.pkl", saved), [video("a", 63)])
    tables.write(tmp_path / "scores", one.values())
    two = tables.read(tmp_path / "scores")
    truth = Truth(np.arange(63) > 40)
    test = TestSplit((video("a", 63),), lambda name: truth)
    reports = [evaluate(s, test, data="d", method="m") for s in (one, two)]
    assert reports[0].rows == reports[1].rows


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    good = {"01_0001": {3: [[0.5, 0.5]]}}
    path = save(tmp_path / "s.pkl", good)
    view = video("val01/rec1/top_IR", 9, "top_IR")
    assert list(read_saved(path, [view])) == ["val01/rec1/top_IR"]
    other = video("val01/rec1/top_depth", 9, "top_depth")
    with pytest.raises(InputError, match="say which with --view"):
        read_saved(path, [view, other])
    with pytest.raises(InputError, match="no scores of val01/rec2/top_IR; it has 01_0001"):
        read_saved(path, [view, video("val01/rec2/top_IR", 9, "top_IR")])
    with pytest.raises(InputError, match="scores of 02_0001, which is no video"):
        read_saved(save(path, {**good, "02_0001": {}}), [view])
    with pytest.raises(InputError, match="frame 9, but the video has 9 frames"):
        read_saved(save(path, {"01_0001": {9: [[0.5, 0.5]]}}), [view])
    with pytest.raises(InputError, match="at frame 3; expected {video"):
        read_saved(save(path, {"01_0001": {3: [[0.5, 1.5]]}}), [view])
    with pytest.raises(InputError, match="expected {video"):
        read_saved(save(path, {"01_0001": {"x": [[0.5, 0.5]]}}), [view])
    with pytest.raises(InputError, match="expected {video"):
        read_saved(save(path, [1, 2]), [view])
    with pytest.raises(InputError, match="pathlib"):
        read_saved(save(path, {"01_0001": Path("x")}), [view])


# -- the rows of a run of jigsaw -----------------------------------------------------------------
def test_levels_and_what_both_say_together() -> None:
    """Cubes answer all frames, clips from the fifth on: before it the cubes alone are combined."""
    from vigil.metrics.puzzles import by_frames

    t, clip = np.arange(50), np.arange(5, 50)
    s, late = np.linspace(0.2, 0.9, 50), np.linspace(0.8, 0.3, 45)
    nan = np.full
    names = ("spatial", "temporal", "clip_spatial", "clip_temporal")
    raw = [np.r_[-np.log(s), nan(45, np.nan)]] * 2 + [np.r_[nan(50, np.nan), -np.log(late)]] * 2
    first = np.r_[t, clip]
    table = UnitTable(
        np.array(["cube"] * 50 + ["clip"] * 45, object), first, first + 1, first + 1,
        np.zeros((95, 4)), np.zeros(95), dict(zip(names, raw, strict=True)),
    )  # fmt: skip
    curves = by_frames(table, 50)
    assert set(curves) == {
        f"{level}{name}"
        for level in ("", "clip_", "combined_")
        for name in ("spatial", "temporal", "complete")
    }
    np.testing.assert_allclose(curves["complete"], anomaly(frame_curve(s, t, 50)))
    np.testing.assert_allclose(curves["clip_spatial"], anomaly(frame_curve(late, clip, 50)))
    both = np.r_[s[:5], (s[5:] + late) / 2]
    np.testing.assert_allclose(curves["combined_temporal"], anomaly(frame_curve(both, t, 50)))


def test_cubes_of_objects_are_measured_by_blocks_too(tmp_path: Path) -> None:
    """An odd object in one corner, frames 95 to 104 of 200, among regular ones elsewhere."""
    rng = np.random.default_rng(1)
    frames = np.repeat(np.arange(3, 197), 2)
    boxes = np.tile([[2.0, 2, 12, 12], [20, 16, 30, 28]], (194, 1))
    raw = rng.uniform(0.01, 0.1, 388)
    raw[(frames >= 95) & (frames < 105) & (boxes[:, 0] == 2)] = 3.0
    table = UnitTable(
        np.full(388, "cube", object), frames, frames + 1, frames + 1, boxes, raw,
        {"spatial": raw, "temporal": raw},
    )  # fmt: skip
    zero = np.zeros(200)
    made = {"smoothing": "none", "as_live": False, "method": "jigsaw", "fps": 10.0}
    channels = {"spatial": zero, "temporal": zero}
    one = Scores(
        "a", zero, zero, channels, np.arange(200) / 10, np.arange(200), zero > 0, table, made
    )
    truth = Truth((np.arange(200) >= 95) & (np.arange(200) < 105))

    def rows(size: tuple[int, int], units: UnitTable) -> dict[str, float | None]:
        test = TestSplit((replace(video("a", 200), size=size),), lambda name: truth)
        report = evaluate({"a": replace(one, units=units)}, test, data="d", method="jigsaw")
        return {
            r.channel: r.metrics["micro_auc"].value
            for r in report.rows
            if r.protocol == "jigsaw-blocks"
        }

    found = rows((32, 48), table)
    assert set(found) == {"spatial", "temporal", "complete"} and found["complete"] == 1.0
    whole = replace(table, box=np.tile([0.0, 0, 48, 32], (388, 1)))
    assert rows((32, 48), whole) == {}
