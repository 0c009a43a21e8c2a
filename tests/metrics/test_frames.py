"""Frame metrics against scikit-learn, against their definitions, and on planted cases."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from vigil.errors import InputError
from vigil.metrics import frames as F

floats = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1e-310, 1e300, -1e300, 0.5]),
    st.floats(-1e300, 1e300),  # scikit-learn itself sums the scores, so they must not overflow
)


@st.composite
def cases(draw):
    """Scores with ties, runs, subnormals and both zeros, in either float type, and labels."""
    width = draw(st.sampled_from([32, 64]))
    if draw(st.booleans()):
        values = draw(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=6))
        scores = draw(st.lists(st.sampled_from(values), min_size=2, max_size=80))
    else:
        scores = draw(st.lists(floats, min_size=2, max_size=80))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 1e308 as float32 is inf
        scores = np.array(scores).astype(f"f{width // 8}")
    assume(np.isfinite(scores).all())
    scores = np.repeat(scores, draw(st.integers(1, 4)))
    labels = draw(hnp.arrays(bool, len(scores)))
    assume(labels.any() and not labels.all())
    return scores, labels


@given(cases())
@settings(deadline=None, max_examples=300)
def test_equal_to_scikit_learn(case):
    scores, labels = case
    assert F.micro_auc(scores, labels).value == pytest.approx(
        roc_auc_score(labels, scores), abs=1e-12
    )
    assert F.ap(scores, labels).value == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    ours = F.roc(scores, labels)
    np.testing.assert_allclose(ours.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(ours.tpr, tpr, atol=1e-12)
    np.testing.assert_array_equal(ours.thresholds, thresholds)


def literal_auc(scores, labels):
    """Every pair of an anomalous and a normal frame; a tie is half right."""
    won = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[labels] for b in scores[~labels]
    ]
    return sum(won) / len(won)


def literal_eer(scores, labels):
    """Walk the ROC edge by edge; on the one that crosses fpr = 1 - tpr, solve for the point."""
    points = [(0.0, 0.0, np.inf)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        alarm = scores >= threshold
        points.append((alarm[~labels].mean(), alarm[labels].mean(), threshold))
    for (x0, y0, _), (x1, y1, threshold) in zip(points, points[1:], strict=False):
        if x1 + y1 >= 1 - 1e-12:
            share = (1 - x0 - y0) / (x1 - x0 + y1 - y0)
            return x0 + share * (x1 - x0), threshold
    raise AssertionError


@given(cases())
@settings(deadline=None, max_examples=150)
@example((np.zeros(4), np.array([True, False, True, False])))
@example((np.array([3.0, 2, 1, 0]), np.array([True, True, False, False])))
@example((np.array([0.0, 1, 2, 3]), np.array([True, True, False, False])))
def test_area_and_equal_error_by_definition(case):
    scores, labels = case
    assert F.micro_auc(scores, labels).value == pytest.approx(literal_auc(scores, labels), abs=1e-9)
    rate, threshold = literal_eer(scores, labels)
    point = F.eer_point(scores, labels)
    assert point.rate == pytest.approx(rate, abs=1e-9) == F.eer(scores, labels).value
    assert point.threshold == threshold
    alarm = scores >= point.threshold
    assert (point.fpr, point.tpr) == pytest.approx((alarm[~labels].mean(), alarm[labels].mean()))


def test_planted_values():
    scores, labels = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    assert F.micro_auc(scores, labels).value == 0.75
    assert F.ap(scores, labels).value == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-15)
    assert F.eer(scores, labels).value == 0.5
    constant = F.frame_metrics({"a": (np.ones(10), np.arange(10) < 3)})
    assert constant["micro_auc"].value == 0.5 == constant["eer"].value
    assert constant["ap"].value == pytest.approx(0.3)


def test_perfect_and_reversed():
    labels = np.arange(100) >= 60
    for scores, area, error in ((np.arange(100.0), 1, 0), (-np.arange(100.0), 0, 1)):
        assert F.micro_auc(scores, labels).value == area
        assert F.eer(scores, labels).value == error


def test_both_zeros_are_one_score():
    scores, labels = np.array([0.0, -0.0]), np.array([True, False])
    assert F.micro_auc(scores, labels).value == 0.5
    assert len(F.roc(scores, labels).thresholds) == 2


@pytest.mark.parametrize(("kind", "scale"), [("f4", 1), ("f4", 1e30), ("f8", 1), ("f8", 1e200)])
@pytest.mark.parametrize("sign", ["positive", "both"])
def test_every_path_of_the_sort(kind, scale, sign):
    """Few runs and many, keys that leave a bit to spare and keys that do not, on 20,000 frames."""
    r = np.random.default_rng(3)
    drawn = (r.normal(size=20_000) * scale).astype(kind)
    drawn = np.abs(drawn) if sign == "positive" else drawn
    for scores in (drawn, np.repeat(drawn[:1250], 16), r.choice(drawn[:50], 20_000)):
        labels = r.random(len(scores)) < 0.3
        assert F.micro_auc(scores, labels).value == pytest.approx(
            roc_auc_score(labels, scores), abs=1e-12
        )
        assert F.ap(scores, labels).value == pytest.approx(
            average_precision_score(labels, scores), abs=1e-12
        )


def test_great_range_of_both_signs_keeps_neighbours_apart():
    """No bit is to spare here; two floats that differ in the last place must stay two."""
    scores = np.array([-1e300, 1.0, np.nextafter(1.0, 2), 1e300])
    labels = np.array([True, False, True, False])
    assert F.micro_auc(scores, labels).value == 0.25
    np.testing.assert_array_equal(F.roc(scores, labels).thresholds[1:], scores[::-1])


@pytest.mark.parametrize("kind", [np.float16, np.int64, bool, np.uint8])
def test_other_number_types(kind):
    scores, labels = np.array([0, 1, 1, 0]).astype(kind), np.array([0, 1, 0, 0], np.uint8)
    assert F.micro_auc(scores, labels).value == roc_auc_score(labels, scores)


def test_one_class_has_a_reason():
    for labels, why in ((np.zeros(5, bool), "all 5 frames are normal"), (np.ones(5), "anomalous")):
        for metric in (F.micro_auc, F.ap, F.eer):
            found = metric(np.arange(5.0), labels)
            assert found.value is None and why in found.how
        assert F.roc(np.arange(5.0), labels) is None
        assert F.eer_point(np.arange(5.0), labels) is None
    assert F.micro_auc(np.zeros(0), np.zeros(0)).how == "no frames"
    assert {m.value for m in F.frame_metrics({}).values()} == {None}


def test_macro_rules():
    r = np.random.default_rng(4)
    pair = (r.random(50), r.random(50) < 0.4)
    videos = {
        "both": pair,
        "normal": (r.random(20), np.zeros(20, bool)),
        "all": (r.random(9), np.ones(9)),
    }  # fmt: skip
    padded = roc_auc_score(np.r_[pair[1], 0, 1], np.r_[pair[0], -9, 9])
    assert F.macro_auc_padded(videos).value == pytest.approx((padded + 2) / 3, abs=1e-12)
    defined = F.macro_auc_defined(videos)
    assert defined.value == pytest.approx(roc_auc_score(pair[1], pair[0]), abs=1e-12)
    assert "1 of 3 videos" in defined.how
    assert F.macro_auc_defined({"normal": videos["normal"]}).value is None


def test_no_number_is_named():
    scores = np.arange(6.0)
    for bad in (np.nan, np.inf, -np.inf):
        scores[4] = bad
        with pytest.raises(InputError, match="frame 4 is"):
            F.micro_auc(scores, np.arange(6) > 2)
        with pytest.raises(InputError, match="clip 7: the score of frame 4"):
            F.frame_metrics({"clip 7": (scores, np.arange(6) > 2)})


def test_wrong_shapes_and_labels():
    with pytest.raises(InputError, match=r"\(3,\) and labels \(4,\)"):
        F.ap(np.ones(3), np.ones(4))
    with pytest.raises(InputError, match="labels other than 0"):
        F.ap(np.ones(3), np.array([0, 1, 2]))


def test_order_of_frames_and_monotone_change_do_not_matter():
    r = np.random.default_rng(5)
    scores, labels = np.round(r.normal(size=500), 1), r.random(500) < 0.2
    shuffle = r.permutation(500)
    for metric in (F.micro_auc, F.ap, F.eer):
        expected = metric(scores, labels).value
        assert metric(scores[shuffle], labels[shuffle]).value == expected
        assert metric(np.exp(scores).astype(np.float32), labels).value == expected
