"""Event metrics on planted intervals."""

from __future__ import annotations

import numpy as np
import pytest

from vigil.metrics.events import event_hits, intervals
from vigil.records import Event, Truth


def event(start, stop):
    return Event("v", start, stop, start / 25, stop / 25, 1.0, start)


def test_touching_is_not_meeting():
    frames = np.zeros(90_000, bool)  # one hour at 25 frames/s
    frames[100:200] = True
    truth, fps = {"v": Truth(frames)}, {"v": 25.0}
    for span, hit in {
        (0, 100): 0,
        (0, 101): 1,
        (199, 300): 1,
        (200, 300): 0,
        (150, 160): 1,
    }.items():
        found = event_hits({"v": [event(*span)]}, truth, fps)
        assert found["event_recall"].value == hit == found["event_precision"].value
        rate = (1 - hit) / ((90_000 - 100) / 25 / 3600)
        assert found["false_alarms_per_hour"].value == pytest.approx(rate)


def test_nothing_to_count_has_a_reason():
    none = event_hits({}, {"v": Truth(np.zeros(50, bool))}, {"v": 25.0})
    assert none["event_recall"].value is None and none["event_precision"].value is None
    assert none["false_alarms_per_hour"].value == 0.0
    wholly = event_hits({}, {"v": Truth(np.ones(50, bool))}, {"v": 25.0})
    assert wholly["false_alarms_per_hour"].value is None
    assert wholly["event_recall"].value == 0.0
    assert event_hits({}, {}, {})["event_recall"].value is None


def test_videos_without_truth_do_not_count():
    found = event_hits({"w": [event(0, 5)]}, {"v": Truth(np.ones(5, bool))}, {"v": 25.0})
    assert "0 of 1" in found["event_recall"].how and found["event_precision"].value is None


def test_intervals_at_both_ends():
    assert intervals(np.array([1, 0, 1, 1])).tolist() == [[0, 1], [2, 4]]
    assert intervals(np.zeros(3)).shape == (0, 2)
