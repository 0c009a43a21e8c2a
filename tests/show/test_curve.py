"""Pictures of curves: they open, show what they should, and thinning keeps every extreme."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigil.errors import StorageError
from vigil.metrics.frames import eer_point, roc
from vigil.records import Event, Scores, Truth
from vigil.show.curve import curve_png, roc_png, thin, thin_roc


def make(curve, name="clip $7_x$"):
    n = len(curve)
    return Scores(
        name, curve, curve, {}, np.arange(n) / 25, np.arange(n), np.zeros(n, bool),
        made={"method": "a_b$"},
    )  # fmt: skip


def count(picture, rgb, near=25):
    """Pixels close to a colour."""
    far = np.abs(picture[..., ::-1].astype(int) - np.array(rgb)).max(-1)
    return int((far <= near).sum())


def test_everything_asked_for_is_painted(tmp_path):
    curve = np.r_[np.full(100, 0.2), np.full(60, 2.0), np.full(90, 0.3)]
    truth = Truth(curve > 1)
    bare, full = tmp_path / "bare.png", tmp_path / "full.png"
    curve_png(bare, make(curve))
    event = Event("v", 100, 160, 4.0, 6.4, 2.0, 120)
    curve_png(full, make(curve), truth, [event], 1.0, make(curve[::-1].copy()), frame=130)
    plain, rich = cv2.imread(str(bare)), cv2.imread(str(full))
    assert min(plain.shape[:2]) > 300
    shade, red, blue, orange = (250, 229, 201), (192, 57, 43), (37, 99, 168), (180, 83, 9)
    assert count(plain, blue) > 500 and count(rich, blue) > 500
    for colour, pixels in ((shade, 20_000), (red, 1000), (orange, 500)):
        assert count(rich, colour, 12) > pixels > 20 * count(plain, colour, 12)


@pytest.mark.parametrize("curve", [np.zeros(0), np.ones(1), np.full(3, 7.0)])
def test_short_and_flat(tmp_path, curve):
    truth = Truth(np.ones(len(curve), bool))
    curve_png(tmp_path / "c.png", make(curve), truth, threshold=1.0, frame=0)
    assert cv2.imread(str(tmp_path / "c.png")) is not None


def test_roc_with_its_point(tmp_path):
    r = np.random.default_rng(0)
    labels = r.random(5000) < 0.3
    scores = r.normal(size=5000) + labels
    roc_png(
        tmp_path / "r.png", {"a_$b$": roc(scores, labels)}, {"a_$b$": eer_point(scores, labels)}
    )
    assert count(cv2.imread(str(tmp_path / "r.png")), (37, 99, 168)) > 1000


def test_no_global_state(tmp_path):
    """Drawing a report must not open, close or switch a user's own figures."""
    import sys

    curve_png(tmp_path / "c.png", make(np.ones(5)))
    assert "matplotlib.pyplot" not in sys.modules


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        curve_png(tmp_path / "file" / "c.png", make(np.ones(5)))


@given(
    st.integers(1, 3), st.integers(2, 700), st.integers(8, 90), st.integers(0, 2**32 - 1)
)  # fmt: skip
@settings(deadline=None)
def test_thinning_keeps_extremes(curves, n, points, seed):
    r = np.random.default_rng(seed)
    values = [np.round(r.normal(size=n), 1) for _ in range(curves)]
    chosen = thin(values, points)
    assert (np.diff(chosen) > 0).all() and chosen[0] == 0 and chosen[-1] == n - 1
    if n <= points:
        assert len(chosen) == n
        return
    assert len(chosen) <= points + 2
    stretches = max(points // (2 * curves), 1)
    edges = np.linspace(0, n, stretches + 1).astype(int)
    for curve in values:
        for a, b in zip(edges, edges[1:], strict=False):
            kept = curve[chosen[(chosen >= a) & (chosen < b)]]
            assert kept.max() == curve[a:b].max() and kept.min() == curve[a:b].min()


def test_thin_roc_stays_on_the_curve():
    r = np.random.default_rng(1)
    labels = r.random(200_000) < 0.1
    full = roc(r.normal(size=200_000) + 2 * labels, labels)
    chosen = thin_roc(full)
    assert len(chosen) <= 2002 and chosen[0] == 0 and chosen[-1] == len(full.fpr) - 1
    way = full.fpr + full.tpr  # along the curve, so that its upright parts count too
    back = np.interp(way, way[chosen], full.tpr[chosen])
    assert np.abs(back - full.tpr).max() < 1e-3
