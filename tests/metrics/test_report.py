"""Reports: each protocol against its formula, groups, notes, refusals; real Ped2 labels."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vigil.data.base import TestSplit
from vigil.errors import ConfigError, InputError
from vigil.metrics.protocols import ORACLE
from vigil.metrics.report import counted, evaluate, roc_of, table, truths
from vigil.records import Event, Scores, Truth, Video
from vigil.scores.smooth import smooth

FPS = 10.0
HOW = "causal:0.3s"


def video(name, scene=""):
    return Video(name, f"{name}.mp4", FPS, (4, 4), open=lambda side: iter(()), scene=scene)


def scores(name, curve, how=HOW, **channels):
    n = len(curve)
    return Scores(
        name, curve, smooth(curve, how, FPS), channels, np.arange(n) / FPS, np.arange(n),
        np.zeros(n, bool), made={"smoothing": how, "as_live": False},
    )  # fmt: skip


@pytest.fixture
def case():
    """Three videos in two scenes, two classes; one video wholly normal."""
    r = np.random.default_rng(0)
    labels = {"a": np.zeros(120, bool), "b": np.zeros(90, bool), "c": np.zeros(60, bool)}
    labels["a"][30:60] = labels["b"][50:80] = labels["b"][10:15] = True
    classes = {name: np.where(value, "fall", "") for name, value in labels.items()}
    classes["b"][10:15] = "run"
    truth = {n: Truth(labels[n], classes[n] if n != "c" else None) for n in labels}
    own = {}
    for name, label in labels.items():
        curve = label + r.normal(size=len(label)) + (name == "b")
        own[name] = scores(name, curve, motion=r.normal(size=len(label)) + 2 * label)
    test = TestSplit(
        (video("a", "road"), video("b", "shop"), video("c", "road")), truth=truth.__getitem__
    )
    return own, test, truth


def one(report, channel, protocol, group="all"):
    (row,) = [
        r for r in report.rows if (r.channel, r.protocol, r.group) == (channel, protocol, group)
    ]
    return row


def micro(truth, curves):
    return roc_auc_score(
        np.concatenate([truth[n].frames for n in curves]), np.concatenate(list(curves.values()))
    )


def test_every_protocol_by_its_formula(case):
    own, test, truth = case
    report = evaluate(own, test, data="toy", method="m")
    for channel in ("score", "motion"):
        raw = {n: s.score if channel == "score" else s.channels["motion"] for n, s in own.items()}
        soft = {n: smooth(c, HOW, FPS) for n, c in raw.items()}
        expected = {
            HOW: soft,
            "raw": raw,
            "centred:0.5s": {n: smooth(c, "centred:0.5s", FPS) for n, c in raw.items()},
            "per-video": {n: (c - c.min()) / (c.max() - c.min()) for n, c in soft.items()},
        }
        for protocol, curves in expected.items():
            metric = one(report, channel, protocol).metrics["micro_auc"]
            assert metric.value == pytest.approx(micro(truth, curves), abs=1e-12), protocol
        best = max(micro(truth, {n: smooth(c, h, FPS) for n, c in raw.items()}) for h in ORACLE)
        oracle = one(report, channel, "oracle").metrics["micro_auc"]
        assert oracle.value == pytest.approx(best, abs=1e-12)
        assert "ON THE TEST LABELS" in oracle.how
    assert "WHOLE video" in one(report, "score", "per-video").metrics["ap"].how
    assert "known 2 s late" in one(report, "score", "centred:0.5s").metrics["ap"].how


def test_the_column_that_counts(case):
    own, test, _ = case
    report = evaluate(own, test, data="toy", method="m")
    row = counted(report)
    assert (row.channel, row.protocol, row.group) == ("score", HOW, "all")
    assert list(row.metrics) == ["micro_auc", "macro_auc_padded", "macro_auc_defined", "ap", "eer"]
    for metric in row.metrics.values():
        assert "declared before the run" in metric.how and "no test label used" in metric.how
    assert counted(evaluate(own, test, data="toy", method="m", protocols=["raw"])) is None


def test_stored_smoothing_is_what_counts(case):
    """The final score may be smoothed in ways no name reproduces: its stored column is measured."""
    own, test, truth = case
    stored = {}
    for name, s in own.items():
        stored[name] = Scores(
            name, s.score, truth[name].frames * 1.0, s.channels, s.time, s.known_at, s.warm_up,
            made={"smoothing": "volume:5x5x5"},
        )  # fmt: skip
    report = evaluate(stored, test, data="toy", method="m")
    assert counted(report).metrics["micro_auc"].value == 1.0
    assert any("channel 'motion' not measured as 'smoothed'" in note for note in report.notes)
    assert one(report, "motion", "raw").metrics["micro_auc"].value < 1


def test_classes_and_scenes(case):
    own, test, truth = case
    report = evaluate(own, test, data="toy", method="m")
    for kind, span in {"run": ("b", 10, 15), "fall": None}.items():
        row = one(report, "score", HOW, f"class: {kind}")
        label, value = [], []
        for name, t in truth.items():
            classes = t.classes if t.classes is not None else np.full(len(t.frames), "")
            keep = (classes == kind) | ~t.frames
            label.append(classes[keep] == kind)
            value.append(own[name].smoothed[keep])
        expected = roc_auc_score(np.concatenate(label), np.concatenate(value))
        assert row.metrics["micro_auc"].value == pytest.approx(expected, abs=1e-12)
        assert set(row.metrics) == {"micro_auc", "ap", "eer"}
        assert span is None or "5 anomalous" in row.metrics["ap"].how
    road = one(report, "score", HOW, "scene: road").metrics["micro_auc"]
    expected = micro(truth, {n: own[n].smoothed for n in ("a", "c")})
    assert road.value == pytest.approx(expected, abs=1e-12)
    assert not any(
        r.group != "all" for r in evaluate(own, test, data="", method="", per_class=False).rows
    )


def test_events_row(case):
    own, test, _ = case
    events = {
        "a": [Event("a", 59, 70, 5.9, 7.0, 1, 60), Event("a", 60, 70, 6, 7, 1, 60)],
        "b": [Event("b", 0, 90, 0.0, 9.0, 1, 5)],
    }
    metrics = one(evaluate(own, test, data="t", method="m", events=events), "events", HOW).metrics
    assert metrics["event_recall"].value == 1.0  # 30-60 by one shared frame, both of b by one
    assert metrics["event_precision"].value == pytest.approx(2 / 3)
    normal_hours = (90 + 55 + 60) / FPS / 3600
    assert metrics["false_alarms_per_hour"].value == pytest.approx(1 / normal_hours)


def test_all_normal_and_no_truth(case):
    own, test, truth = case

    def partly(name):
        if name == "a":
            raise InputError("a: no labels at hand")
        return truth[name]

    report = evaluate(own, TestSplit(test.videos, truth=partly), data="t", method="m")
    assert report.notes == ("test video 'a' left out, no truth: a: no labels at hand",)
    assert report.made["videos"] == 2
    assert all(m.how.endswith("; 2 of 3 test videos") for m in counted(report).metrics.values())
    normal = TestSplit(test.videos[2:], truth=truth.__getitem__)
    row = counted(evaluate({"c": own["c"]}, normal, data="t", method="m"))
    assert row.metrics["micro_auc"].value is None
    assert "all 60 frames are normal" in row.metrics["micro_auc"].how
    assert roc_of({"c": own["c"]}, normal) is None
    nothing = evaluate(own, TestSplit(test.videos), data="t", method="m")
    assert len(nothing.notes) == 3 and counted(nothing).metrics["eer"].value is None
    assert truths(TestSplit(test.videos))[0] == {}


def test_refusals(case):
    own, test, truth = case
    with pytest.raises(InputError, match="test video 'b' has no scores"):
        evaluate({"a": own["a"], "c": own["c"]}, test, data="t", method="m")
    short = {**own, "b": scores("b", np.ones(89))}
    with pytest.raises(InputError, match="'b': 89 scores but labels for 90 frames"):
        evaluate(short, test, data="t", method="m")
    mixed = {**own, "b": scores("b", np.ones(90), "none")}
    with pytest.raises(InputError, match="'none' in b"):
        evaluate(mixed, test, data="t", method="m")
    with pytest.raises(ConfigError, match="did you mean 'oracle'"):
        evaluate(own, test, data="t", method="m", protocols=["oracel"])
    holed = {**own, "b": scores("b", np.ones(90), motion=np.r_[np.ones(7), np.nan, np.ones(82)])}
    with pytest.raises(InputError, match="b: the score of frame 7 is nan"):
        evaluate(holed, test, data="t", method="m", protocols=["raw"])


def test_scores_left_over_are_noted(case):
    own, test, _ = case
    report = evaluate({**own, "z": scores("z", np.ones(3))}, test, data="t", method="m")
    assert report.notes == ("scores of videos outside the test part, not used: z",)


def test_unsmoothed_and_as_live_are_named(case):
    own, test, _ = case
    plain = {n: scores(n, s.score, "none") for n, s in own.items()}
    report = evaluate(plain, test, data="t", method="m")
    assert [r.protocol for r in report.rows if r.group == "all"].count("raw") == 1
    assert counted(report).protocol == "raw"
    for s in own.values():
        s.made["as_live"] = True
    assert counted(evaluate(own, test, data="t", method="m")).protocol == f"{HOW} as-live"


def test_table_is_plain_json(case):
    own, test, _ = case
    report = evaluate(own, test, data="toy", method="m")
    lines = json.loads(json.dumps(table(report)))
    assert len(lines) == len(report.rows)
    first = lines[0]
    assert first["micro_auc"] == report.rows[0].metrics["micro_auc"].value
    assert first["how"]["eer"].startswith("at threshold")
    assert [first[k] for k in ("data", "split", "method", "channel", "protocol", "group")] == [
        "toy", "test", "m", "score", HOW, "all",
    ]  # fmt: skip


def test_ped2_labels():
    """Real labels: a score that is the truth plus known noise, measured as scikit-learn does."""
    home = Path(os.environ.get("VIGIL_DATA", Path(__file__).parents[3] / "shared/data")) / "ped2"
    if not home.exists():
        pytest.skip(f"no UCSD Ped2 at {home}; set VIGIL_DATA")
    from scipy.io import loadmat

    ranges = loadmat(home / "ped2.mat", squeeze_me=True)["gt"]
    truth, own, r = {}, {}, np.random.default_rng(0)
    for folder, spans in zip(sorted((home / "testing/frames").iterdir()), ranges, strict=True):
        label = np.zeros(len(list(folder.glob("*.jpg"))), bool)
        for first, last in np.asarray(spans).reshape(2, -1).T:
            label[first - 1 : last] = True
        truth[folder.name] = Truth(label)
        own[folder.name] = scores(folder.name, label + r.normal(size=len(label)))
    assert sum(t.frames.sum() for t in truth.values()) == 1648
    test = TestSplit(tuple(map(video, truth)), truth=truth.__getitem__)
    row = counted(evaluate(own, test, data="ucsd-ped2", method="noise"))
    expected = micro(truth, {name: s.smoothed for name, s in own.items()})
    assert row.metrics["micro_auc"].value == pytest.approx(expected, abs=1e-12)
    assert "2010 frames, 1648 anomalous" in row.metrics["micro_auc"].how
