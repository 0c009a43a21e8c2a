"""Hysteresis and the alarm budget, against slow transcriptions and planted rates."""

from __future__ import annotations

import numpy as np
import pytest

from vigil.errors import ConfigError
from vigil.records import Scores
from vigil.scores.events import HOLD_S, LOW, find_events, spans, threshold


def test_an_event_opens_high_and_closes_a_hold_below_low() -> None:
    values = np.array([0, 3, 2.2, 1, 2.2, 0, 0, 0, 0, 3, 0, 0, 0.0])
    # high 3, low 2.1, hold 2 frames at 2 fps
    assert spans(values, 3.0, 2.0) == [(1, 5), (9, 10)]
    assert spans(np.array([0.0, 5, 5]), 3.0, 2.0) == [(1, 3)], "an open event ends with the video"
    assert spans(np.array([2.9, 2.9]), 3.0, 2.0) == []
    assert pytest.approx(0.7) == LOW and HOLD_S == 1.0


def normals(hours: float, fps: float, seed: int) -> list[np.ndarray]:
    """White exponential noise in ten videos."""
    rng = np.random.default_rng(seed)
    return list(rng.exponential(1.0, (10, int(hours * 3600 * fps / 10))))


def test_counted_thresholds_keep_the_budget_and_use_it() -> None:
    footage = normals(2.0, 5.0, 0)
    for budget in (1.0, 5.0, 20.0):
        found = threshold(footage, 5.0, budget)
        alarms = sum(len(spans(values, found.value, 5.0)) for values in footage)
        assert not found.extrapolated and alarms == found.counted
        assert alarms <= budget * 2.0
        assert alarms >= 0.4 * budget * 2.0, "a higher threshold than needed misses events"


def test_extrapolated_thresholds_hold_on_footage_not_seen() -> None:
    found = threshold(normals(0.2, 5.0, 1), 5.0, 1.0)
    assert found.extrapolated and "extrapolated" in found.words()
    fresh = normals(40.0, 5.0, 2)
    rate = sum(len(spans(values, found.value, 5.0)) for values in fresh) / 40.0
    assert 0.1 <= rate <= 6.0, f"{rate} false alarms an hour, 1 was asked for"


def test_fewer_alarms_need_a_higher_threshold() -> None:
    footage = normals(1.0, 5.0, 3)
    values = [threshold(footage, 5.0, budget).value for budget in (50, 10, 2, 0.5, 0.1)]
    assert values == sorted(values)
    with pytest.raises(ConfigError, match="more than 0"):
        threshold(footage, 5.0, 0)


def test_events_carry_times_peak_and_parts() -> None:
    smoothed = np.array([0.0, 4.0, 5.0, 0.0, 0.0, 0.0])
    time = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    scores = Scores(
        "v", smoothed, smoothed, {"motion": smoothed * 2}, time, np.arange(6), np.zeros(6, bool)
    )
    (event,) = find_events(scores, 3.0, 2.0)
    assert (event.start, event.stop, event.start_s, event.stop_s) == (1, 3, 0.5, 1.5)
    assert (event.peak, event.peak_frame, event.parts) == (5.0, 2, {"motion": 10.0})
