"""Event-level metrics: did the alarms find what happened, and how often did they ring for nothing.

One shared frame is enough for a found event and a true interval to meet. That is what a person
who is called to the screen would count; it says nothing of how well the borders fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vigil.records import Event, Metric, Truth


def intervals(frames: np.ndarray) -> np.ndarray:
    """Runs of True in (T,) bool as rows [start, stop), (n, 2).

    >>> intervals(np.array([False, True, True, False, True])).tolist()
    [[1, 3], [4, 5]]
    """
    edges = np.diff(np.asarray(frames, np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def event_hits(
    events: Mapping[str, Sequence[Event]], truths: Mapping[str, Truth], fps: Mapping[str, float]
) -> dict[str, Metric]:
    """How the found events of each video meet its true intervals; videos without truth are left.

    event_recall           true intervals that some event meets, as a share of all
    event_precision        events that meet some true interval, as a share of all
    false_alarms_per_hour  events that meet none, an hour of normal footage
    """
    found = true = hits = alarms = 0
    hours = 0.0
    for name, truth in truths.items():
        spans = intervals(truth.frames)  # (n, 2)
        own = np.array([(e.start, e.stop) for e in events.get(name, ())], int).reshape(-1, 2)
        meet = (own[:, None, 0] < spans[:, 1]) & (spans[:, 0] < own[:, None, 1])  # (events, n)
        found, true = found + len(own), true + len(spans)
        hits, alarms = hits + int(meet.any(0).sum()), alarms + int((~meet.any(1)).sum())
        hours += (len(truth.frames) - int(truth.frames.sum())) / fps[name] / 3600
    return {
        metric.name: metric
        for metric in (
            _share("event_recall", hits, true, "true intervals met by an event"),
            _share("event_precision", found - alarms, found, "events that meet a true interval"),
            _rate(alarms, hours),
        )
    }


def _share(name: str, part: int, whole: int, what: str) -> Metric:
    if not whole:
        return Metric(name, None, f"none to count: {what}")
    return Metric(name, part / whole, f"{part} of {whole} {what}; one shared frame is enough")


def _rate(alarms: int, hours: float) -> Metric:
    if not hours:
        return Metric("false_alarms_per_hour", None, "no normal footage")
    how = f"{alarms} events that meet nothing, in {hours * 60:.1f} minutes of normal footage"
    return Metric("false_alarms_per_hour", alarms / hours, how)
