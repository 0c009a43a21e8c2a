"""Smoothers: the formulas written out, no look into the future, stream equal to array."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigil.errors import ConfigError
from vigil.scores.smooth import Smoother, delay, smooth

curves = st.lists(st.floats(-1e6, 1e6), max_size=60).map(np.array)


def literal_causal(x, tau_frames):
    y = [x[0]]
    for value in x[1:]:
        a = 1 - math.exp(-1 / tau_frames)
        y.append((1 - a) * y[-1] + a * value)
    return np.array(y)


def literal_centred(x, sigma):
    out = []
    for t in range(len(x)):
        top = bottom = 0.0
        for k in range(-math.floor(4 * sigma + 0.5), math.floor(4 * sigma + 0.5) + 1):
            if 0 <= t + k < len(x):
                weight = math.exp(-k * k / (2 * sigma * sigma))
                top, bottom = top + weight * x[t + k], bottom + weight
        out.append(top / bottom)
    return np.array(out)


@pytest.mark.parametrize("fps", [10.0, 25.0, 29.97])
def test_formulas(fps):
    x = np.random.default_rng(0).normal(size=90)
    np.testing.assert_allclose(
        smooth(x, "causal:0.5s", fps), literal_causal(x, 0.5 * fps), atol=1e-13
    )
    np.testing.assert_allclose(
        smooth(x, "centred:0.5s", fps), literal_centred(x, 0.5 * fps), atol=1e-13
    )
    np.testing.assert_array_equal(smooth(x, "none", fps), x)


def test_frames_and_seconds_are_one_scale():
    x = np.random.default_rng(1).normal(size=40)
    for kind in ("causal", "centred"):
        np.testing.assert_array_equal(smooth(x, f"{kind}:0.5s", 20), smooth(x, f"{kind}:10f", 99))


def test_settles_to_one_over_e_after_the_time_constant():
    x = np.r_[1.0, np.zeros(50)]
    assert smooth(x, "causal:2s", 10)[20] == pytest.approx(math.exp(-1), abs=1e-12)


@pytest.mark.parametrize("how", ["none", "causal:0.5s", "centred:0.3s", "centred:5f"])
@pytest.mark.parametrize("t", [0, 7, 49])
def test_delay_is_exact(how, t):
    """A change `delay` frames ahead is felt; one frame later it is not."""
    x = np.random.default_rng(2).normal(size=100)
    late = t + delay(how, 10)
    beyond = x.copy()
    beyond[late + 1 :] += 5
    assert smooth(beyond, how, 10)[t] == smooth(x, how, 10)[t]
    at = x.copy()
    at[late] += 5
    assert smooth(at, how, 10)[t] != smooth(x, how, 10)[t]


def test_delay_values():
    assert [delay(h, 10) for h in ("none", "causal:9s", "centred:0.5s", "centred:3f")] == [
        0, 0, 20, 12,
    ]  # fmt: skip


@given(curves, st.sampled_from(["none", "causal:0.5s", "causal:3f", "causal:100s", "causal:0.01s"]))
@settings(deadline=None)
def test_stream_is_bit_identical(x, how):
    smoother = Smoother(how, 12.5)
    streamed = np.array([smoother.push(value) for value in x])
    assert streamed.tobytes() == smooth(x, how, 12.5).tobytes()


@given(curves.filter(len), st.sampled_from(["causal:0.4s", "centred:0.4s", "centred:30s"]))
@settings(deadline=None)
def test_stays_inside_the_curve(x, how):
    y = smooth(x, how, 25)
    slack = 1e-12 * np.abs(x).max()
    assert len(y) == len(x)
    assert x.min() - slack <= y.min() and y.max() <= x.max() + slack


def test_short_and_empty():
    for how in ("none", "causal:1s", "centred:1s"):
        assert smooth(np.zeros(0), how, 25).shape == (0,)
        assert smooth(np.array([3.5], np.float32), how, 25).tolist() == [3.5]


def test_the_input_is_left_alone():
    x = np.array([1.0, 2.0])
    smooth(x, "none", 25)[0] = 9
    assert x.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "how",
    ["", "causal", "causal:", "causal:0s", "causal:-1s", "mean:3s", "centred:1", "causal:1e9s"],
)
def test_unknown_is_refused(how):
    with pytest.raises(ConfigError, match="expected 'none'"):
        smooth(np.ones(3), how, 25)


def test_bad_rate_and_live_look_ahead_are_refused():
    with pytest.raises(ConfigError, match="rate above 0"):
        delay("causal:1s", 0)
    with pytest.raises(ConfigError, match="looks ahead"):
        Smoother("centred:1s", 25)
