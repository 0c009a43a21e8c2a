"""The papers' ways from cubes to frames: the authors' numbers, and what was put right."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from vectors import fill, golden

from vigil.errors import InputError
from vigil.metrics.frames import micro_auc
from vigil.records import UnitTable
from vigil.scores import jigsaw_protocols as rules

CHANNELS = ("spatial", "temporal", "complete")


def padded_macro(curves: list[np.ndarray], labels: list[np.ndarray]) -> float:
    """The published macro AUC: (label 0, score 0) and (label 1, score 1) are added to each."""
    areas = []
    for curve, label in zip(curves, labels, strict=True):
        truth = np.r_[label.astype(bool), False, True]
        single = np.r_[curve, 0.0, 1.0].astype(np.float32)  # as published: near ties are ties
        areas.append(micro_auc(single, truth).value)
    return float(np.mean(areas))


def check(arrays, curves, labels, start="", scale_again=False, auc=1e-6) -> None:
    """Micro and macro AUC of {channel: [curve of each video]} against the stored ones. The curves
    are the stored ones too: in videos of 26 frames one near tie is worth 2e-4."""
    truth = np.concatenate(labels).astype(bool)
    for name in CHANNELS:
        found = [rules.anomaly(curve, compat=True) for curve in curves[name]]
        again = [rules.scaled(c, np.ones(len(c), bool)) for c in curves[name]]
        micro = [rules.anomaly(c, compat=True) for c in (again if scale_again else curves[name])]
        joined = np.concatenate(micro)
        if f"{start}final_anomaly_{name}" in arrays:
            np.testing.assert_allclose(joined, arrays[f"{start}final_anomaly_{name}"], atol=1e-6)
        assert micro_auc(joined, truth).value == pytest.approx(
            float(arrays[f"{start}micro_{name}"]), abs=auc
        )
        assert padded_macro(found, labels) == pytest.approx(
            float(arrays[f"{start}macro_{name}"]), abs=auc
        )


# -- the authors' numbers ------------------------------------------------------------------------
def test_smoothers_equal_the_published() -> None:
    arrays, _ = golden("jigsaw_smoothers")
    np.testing.assert_allclose(rules.taps(compat=True), arrays["taps49"], atol=1e-9)
    for n in (60, 100):
        values = fill.uniform(f"smooth.{n}", 1, (n,)).astype(np.float64)
        np.testing.assert_allclose(rules.moving_mean(values), arrays[f"mean43_{n}"], atol=1e-6)
        np.testing.assert_allclose(rules.gaussian(values, True), arrays[f"gauss49_{n}"], atol=1e-6)


@pytest.mark.parametrize(("name", "tolerance"), [("ped2", 5e-6), ("avenue", 5e-5)])
def test_blocks_equal_the_published(name: str, tolerance: float) -> None:
    arrays, facts = golden(f"jigsaw_aggregate_{name}")
    size, row = (facts["height"], facts["width"]), 0
    curves: dict[str, list[np.ndarray]] = {channel: [] for channel in CHANNELS}
    labels = []
    for video, length in facts["lengths"].items():
        found = arrays[f"det_{video}__f64"]
        boxes, frames = [], []
        for frame in range(3, length - 3):
            here = found[found[:, 0] == frame, 1:]
            sure = here[here[:, 4] > facts["confidence"]]
            kept = rules.kept_objects(here, facts["confidence"])
            boxes.append(here[kept, :4])
            stored = arrays[f"kept_{video}"]
            rows = stored[stored[:, 0] == frame, 1]
            np.testing.assert_array_equal(here[kept], sure[rows])
            frames += [frame] * len(kept)
        scores = arrays["object_scores"][row : row + len(frames)]
        row += len(frames)
        made = rules.block_curves(
            scores, np.array(frames), np.concatenate(boxes), length, size, facts["block"], True
        )
        for channel, curve in zip(CHANNELS, made, strict=True):
            np.testing.assert_allclose(curve, arrays[f"{channel}_{video}"], atol=tolerance)
            curves[channel].append(arrays[f"{channel}_{video}"])
        labels.append(arrays[f"label_{video}"])
    assert row == facts["objects"]
    check(arrays, curves, labels, auc=1e-4)


def cube_scores(*logits: np.ndarray) -> np.ndarray:
    """(N, C) lowest diagonal entry of the row softmax of each (N, M, M), written out."""
    columns = []
    for matrix in logits:
        e = np.exp(matrix - matrix.max(2, keepdims=True))
        p = e / e.sum(2, keepdims=True)
        columns.append(np.diagonal(p, axis1=1, axis2=2).min(1))
    return np.stack(columns, 1)


def test_frames_equal_the_published() -> None:
    arrays, facts = golden("jigsaw_aggregate_stc")
    scores = cube_scores(arrays["spatial_logits"], arrays["temporal_logits"])
    np.testing.assert_allclose(scores, arrays["cube_scores"], atol=1e-6)
    curves: dict[str, list[np.ndarray]] = {channel: [] for channel in CHANNELS}
    for n, (video, length) in enumerate(facts["lengths"].items()):
        rows = arrays["item_video"] == n
        pair = [
            rules.frame_curve(scores[rows, c], arrays["item_frame"][rows], length, compat=True)
            for c in (0, 1)
        ]
        for channel, curve in zip(CHANNELS, [*pair, np.mean(pair, axis=0)], strict=True):
            np.testing.assert_allclose(curve, arrays[f"{channel}_{video}"], atol=1e-6)
            curves[channel].append(curve)
    check(arrays, curves, [arrays[f"label_{video}"] for video in facts["lengths"]])


@pytest.mark.parametrize("level", ["frame", "clip", "combined"])
def test_driver_data_equal_the_published(level: str) -> None:
    arrays, facts = golden("jigsaw_aggregate_dad")
    half, span = facts["T"] // 2, facts["T"] * facts["K"]
    curves: dict[str, list[np.ndarray]] = {channel: [] for channel in CHANNELS}
    stops = {"frame": half, "combined": half, "clip": span - 1}
    row = 0
    for video, length in facts["lengths"].items():
        frames = np.arange(half, length - stops[level])
        scores = arrays[f"{level}_pairs"][row : row + len(frames)]
        row += len(frames)
        pair = [rules.frame_curve(column, frames, length, compat=True) for column in scores.T]
        for channel, curve in zip(CHANNELS, [*pair, np.mean(pair, axis=0)], strict=True):
            np.testing.assert_allclose(curve, arrays[f"{level}_{channel}_{video}"], atol=1e-6)
            curves[channel].append(curve)
    assert row == len(arrays[f"{level}_pairs"])
    labels = [arrays[f"label_{video}"] for video in facts["lengths"]]
    check(arrays, curves, labels, f"{level}_", scale_again=True)


# -- objects -------------------------------------------------------------------------------------
def test_real_boxes_give_the_known_number_of_objects(real_data: Path) -> None:
    """27,499 and 31,735 at T = 7; clipped to the picture, every one of them names a cell."""
    counts = {}
    for part, margin in (("train", 6), ("test", 3)):
        file = real_data / "ped2" / "detections" / f"ped2_{part}_detect_result_yolov3.pkl"
        if not file.is_file():
            pytest.skip(f"{file.name} is not at hand")
        found = pickle.loads(file.read_bytes())  # our own copy, checked by the data set's test
        total = 0
        for rows in found.values():
            for boxes in rows[margin : len(rows) - margin]:
                boxes = np.asarray(boxes, np.float64).reshape(-1, 5)
                kept = boxes[rules.kept_objects(boxes, 0.5), :4]
                total += len(kept)
                edges = np.rint(kept).clip(0, [359, 239, 359, 239])
                assert (edges[:, 2:] >= edges[:, :2]).all()
        counts[part] = total
    assert counts == {"train": 27499, "test": 31735}


def test_a_box_that_leaves_the_picture_lowers_the_map() -> None:
    box, score = np.array([[-3.4, 5.0, 9.0, 20.0]]), np.array([[0.1], [0.9]])
    boxes, frames = np.concatenate([box, box + 12]), np.array([4, 6])
    right = rules.block_curves(score, frames, boxes, 12, (32, 48), 1)
    published = rules.block_curves(score, frames, boxes, 12, (32, 48), 1, compat=True)
    assert right[0].argmin() == 4 and right[0][4] == 0
    assert published[0].argmin() != 4


# -- what was put right --------------------------------------------------------------------------
def test_impulses() -> None:
    impulse = np.zeros(100)
    impulse[50] = 1
    mean = rules.moving_mean(impulse)
    np.testing.assert_allclose(mean[29:72], 1 / 43)
    assert not mean[:29].any() and not mean[72:].any()
    edge = np.arange(100.0)
    np.testing.assert_array_equal(rules.moving_mean(edge)[:21], edge[:21])
    np.testing.assert_array_equal(rules.moving_mean(edge)[-21:], edge[-21:])
    assert rules.taps(True).sum() == pytest.approx(0.778896, abs=1e-6)
    assert rules.taps().sum() == pytest.approx(1)
    assert rules.gaussian(impulse, compat=True).argmax() == 51
    assert rules.gaussian(impulse).argmax() == 50
    np.testing.assert_allclose(rules.gaussian(np.ones(70)), 1)


@pytest.mark.parametrize("compat", [False, True])
def test_any_length(compat: bool) -> None:
    for n in range(61):
        values = np.linspace(0, 1, n)
        assert len(rules.moving_mean(values)) == len(rules.gaussian(values, compat)) == n
        frames = np.arange(n)
        assert np.isfinite(rules.frame_curve(values, frames, n, compat)).all()


def test_a_certain_score_is_a_score_and_a_constant_video_neutral() -> None:
    frames = np.arange(3, 50)
    scores = np.linspace(0.2, 1.0, 47)
    assert rules.frame_curve(scores, frames, 50)[49] == 1  # the highest of the video
    same = rules.scaled(np.r_[np.ones(3), np.full(47, 0.7)], np.arange(50) >= 3)
    assert (same[3:] == 0.5).all() and (same[:3] == 1).all()
    nothing = rules.frame_curve(np.zeros(0), np.zeros(0, int), 20)
    assert (nothing == 1).all()
    empty = rules.block_curves(np.zeros((0, 2)), np.zeros(0, int), np.zeros((0, 4)), 9, (24, 36))
    assert (empty == 0.5).all() and empty.shape == (3, 9)


def test_scores_of_another_video_are_refused() -> None:
    with pytest.raises(InputError, match=r"frames 3\.\.50 of a video of 50"):
        rules.frame_curve(np.ones(2), np.array([3, 50]), 50)


def test_the_table_of_a_run() -> None:
    n = np.arange(60)
    raw = np.where((n > 25) & (n < 35), 3.0, 0.5)
    table = UnitTable(
        np.array(["cube"] * 60, object), n, n + 1, n + 4, np.tile([2.0, 2, 20, 20], (60, 1)),
        raw, {"spatial": raw, "temporal": raw[::-1]},
    )  # fmt: skip
    for rule in ("frames", "blocks"):
        curve = rules.units_curve(table, ("spatial", "temporal"), 60, (24, 36), rule)
        assert curve.shape == (60,) and 25 < curve.argmax() < 35
