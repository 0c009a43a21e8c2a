"""Surprise: rank among normals inside, an exponential tail beyond, order always kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigil.errors import InputError
from vigil.scores.calibrate import Surprise, fit, merge

numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=80)


@given(numbers, numbers)
def test_order_is_never_reversed(normal: list[float], seen: list[float]) -> None:
    values = np.sort(np.array(seen))
    found = fit(np.array(normal))(values)
    assert (np.diff(found) >= -1e-9).all() and (found >= 0).all() and np.isfinite(found).all()


def test_surprise_is_minus_log10_of_the_share_as_high() -> None:
    normal = np.arange(1000.0)
    curve = fit(normal)
    for value in (0.0, 100.0, 500.0, 900.0):
        share = (normal >= value).sum() / 1001
        assert curve(np.array(value)) == pytest.approx(-np.log10(share), abs=1e-3)


def test_the_tail_goes_on_exponentially() -> None:
    normal = np.random.default_rng(0).exponential(2.0, 200_000)
    curve = fit(normal)
    # of an exponential of scale 2, one in a million is at 2 ln(1e6)
    assert curve(np.array(2 * np.log(1e6))) == pytest.approx(6, abs=0.15)
    assert curve(np.array(1e9)) > curve(np.array(1e8)) > 100


def test_one_value_and_constant_values_still_calibrate() -> None:
    for normal in ([3.0], [3.0] * 50, [0.0] * 5):
        curve = fit(np.array(normal))
        low, here, above = curve(np.array([-1.0, normal[0], normal[0] + 1]))
        assert low <= here < above


def test_nothing_or_nan_is_refused() -> None:
    with pytest.raises(InputError, match="found none"):
        fit(np.zeros(0))
    with pytest.raises(InputError, match="NaN"):
        fit(np.array([1.0, np.nan]))


def test_json_and_back_is_the_same_map() -> None:
    curve = fit(np.random.default_rng(1).normal(size=3000))
    again = Surprise.from_dict(curve.as_dict())
    values = np.linspace(-5, 9, 500)
    np.testing.assert_array_equal(curve(values), again(values))
    assert len(curve.knots) <= 256
    broken = {**curve.as_dict(), "knots": curve.knots[::-1].tolist()}
    with pytest.raises(InputError, match="must rise"):
        Surprise.from_dict(broken)


def test_thinning_changes_little() -> None:
    normal = np.random.default_rng(2).gamma(2.0, size=50_000)
    curve = fit(normal)
    values = np.quantile(normal, [0.1, 0.5, 0.9, 0.94])
    share = [(normal >= v).mean() for v in values]
    np.testing.assert_allclose(curve(values), -np.log10(share), atol=0.01)


def test_a_merged_map_is_the_map_of_both() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.normal(0, 1, 4000), rng.normal(2, 1, 2000)
    both, merged = fit(np.concatenate([one, two])), merge(fit(one), fit(two))
    values = np.linspace(-2, 4, 50)
    np.testing.assert_allclose(merged(values), both(values), atol=0.05)
    assert merged.count == 6000
