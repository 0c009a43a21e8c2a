"""Frame scores to events, and the threshold that keeps false alarms to what a person will bear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vigil.errors import ConfigError, InputError
from vigil.records import Event, Scores

LOW = 0.7  # an event ends when the score falls below this share of the threshold ...
HOLD_S = 1.0  # ... and stays there for so many seconds


class Hysteresis:
    """Events of one stream, score by score: opens at `high`, closes `hold` frames below `low`."""

    def __init__(self, high: float, low: float, hold: int) -> None:
        self.high, self.low, self.hold = high, low, max(hold, 1)
        self.start: int | None = None
        self.last = 0  # newest frame of the open event at or above `low`

    def push(self, frame: int, score: float) -> tuple[int, int] | None:
        """The event [start, stop) that ends for certain with this frame, if one does."""
        if self.start is None:
            if score >= self.high:
                self.start, self.last = frame, frame
            return None
        if score >= self.low:
            self.last = frame
        return self.close() if frame - self.last >= self.hold else None

    def close(self) -> tuple[int, int] | None:
        """End the open event, if any: at the end of a video."""
        if self.start is None:
            return None
        event, self.start = (self.start, self.last + 1), None
        return event


def spans(values: np.ndarray, high: float, fps: float) -> list[tuple[int, int]]:
    """Events [start, stop) of the frame scores (T,) of one video."""
    gate = Hysteresis(high, LOW * high, round(HOLD_S * fps))
    found = [gate.push(frame, float(value)) for frame, value in enumerate(values)]
    return [span for span in [*found, gate.close()] if span]


@dataclass(frozen=True)
class Threshold:
    """Where an alarm starts, and how that was found.

    value  on the smoothed, calibrated frame score;  alarms_per_hour  asked for
    hours  of normal footage it stands on;  counted  false alarms there at `value`
    extrapolated  True when the footage is too short to count so rare an event
    """

    value: float
    alarms_per_hour: float
    hours: float
    counted: int
    extrapolated: bool

    def words(self) -> str:
        """For a person: where the threshold comes from."""
        how = "extrapolated from" if self.extrapolated else "counted on"
        footage = (
            f"{self.hours * 60:.1f} minutes"
            if self.hours * 60 >= 1
            else f"{self.hours * 3600:.0f} s"
        )
        return (
            f"{self.value:.2f}, for at most {count(self.alarms_per_hour, 'false alarm')} an hour, "
            f"{how} {footage} of normal footage ({count(self.counted, 'alarm')} there)"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return dict(self.__dict__)


def count(number: float, what: str) -> str:
    """A number with its noun.

    >>> count(1, "alarm"), count(0.5, "alarm")
    ('1 alarm', '0.5 alarms')
    """
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def threshold(normal: Sequence[np.ndarray], fps: float, alarms_per_hour: float) -> Threshold:
    """The lowest threshold at which normal footage raises at most that many alarms an hour.

    normal  smoothed frame scores (T,) of each normal validation video, at `fps` frames a second.
    Peaks a hold apart are counted; where the footage is shorter than an alarm is rare, the rate is
    carried on by an exponential tail over the highest peaks, and the result says so.
    """
    if alarms_per_hour <= 0:
        raise ConfigError(f"alarms per hour: {alarms_per_hour}; expected more than 0")
    hours = sum(len(values) for values in normal) / fps / 3600
    if not hours:
        raise InputError("a threshold needs normal footage; found none")
    peaks = np.sort(np.concatenate([cluster_peaks(v, round(HOLD_S * fps)) for v in normal]))[::-1]
    allowed = alarms_per_hour * hours  # alarms that the footage at hand may raise
    if allowed >= 1:
        k = int(allowed)
        value = float(np.nextafter(peaks[k], np.inf)) if k < len(peaks) else float(peaks[-1])
    else:
        tail = peaks[: max(10, len(peaks) // 5)]
        excess = max(float((tail - tail[-1]).mean()), 0.05)
        value = float(tail[-1] + excess * np.log(len(tail) / allowed))
        value = max(value, float(np.nextafter(peaks[0], np.inf)))
    value = max(value, 1e-6)
    counted = sum(len(spans(values, value, fps)) for values in normal)
    return Threshold(value, alarms_per_hour, hours, counted, allowed < 1)


def cluster_peaks(values: np.ndarray, hold: int) -> np.ndarray:
    """The highest score of each stretch of `hold` frames: peaks that could be separate alarms."""
    hold = max(hold, 1)
    starts = np.arange(0, len(values), hold)
    return np.maximum.reduceat(values, starts)


def find_events(scores: Scores, high: float, fps: float) -> list[Event]:
    """The events of one video's smoothed scores, with what drove each at its peak."""
    events = []
    step = 1 / fps
    for start, stop in spans(scores.smoothed, high, fps):
        peak = start + int(scores.smoothed[start:stop].argmax())
        parts = {name: float(values[peak]) for name, values in scores.channels.items()}
        end = float(scores.time[stop]) if stop < len(scores) else float(scores.time[-1]) + step
        events.append(
            Event(
                scores.video,
                start,
                stop,
                float(scores.time[start]),
                end,
                float(scores.smoothed[peak]),
                peak,
                parts,
                peak_box(scores, peak),
            )  # fmt: skip
        )
    return events


def peak_box(scores: Scores, frame: int) -> tuple[float, float, float, float] | None:
    """The box of the unit that scored highest at a frame, if the units were kept."""
    table = scores.units
    if table is None:
        return None
    rows = np.flatnonzero((table.first <= frame) & (frame < table.stop))
    if not len(rows):
        return None
    x1, y1, x2, y2 = (float(v) for v in table.box[rows[table.score[rows].argmax()]])
    return x1, y1, x2, y2
