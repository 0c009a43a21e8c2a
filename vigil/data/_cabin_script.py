"""What the driver of `cabin` does: a table of joints' targets, one row a frame. Only numpy.

World in metres, driver's seat as origin: x to the driver's left, y up, z forward. (Seen from the
front, the driver's left is on the right.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FPS = 15
LENGTH = (225, 301)  # frames of a recording
VIEWS = ("front_depth", "front_IR", "top_depth", "top_IR")
SPLITS = ("train", "val", "test")
CLASSES = ("", "phone", "reaching_back", "hands_off", "drowsy", "looking_aside")
# columns of a script
STEER, PITCH, YAW, ROLL, LEAN, SIDE, TWIST, PHONE = range(8)
RIGHT, LEFT = slice(8, 12), slice(12, 16)  # a hand: x, y, z it is drawn to, and how much (0..1)
COLUMNS = 16
GEAR, CHIN, RADIO = (-0.30, 0.16, 0.26), (-0.04, 0.60, 0.15), (-0.36, 0.34, 0.50)
EAR, LAP_PHONE = (-0.125, 0.70, 0.06), (-0.06, 0.19, 0.26)
BACK = (-0.34, 0.50, -0.34)
LAP = ((-0.12, 0.14, 0.27), (0.12, 0.14, 0.27))


@dataclass(frozen=True)
class Script:
    """One recording before it is drawn: rows (T, 16), class code of each frame (T,), the driver.

    driver: seed of the looks;  size: of the body, 1 = average
    """

    rows: np.ndarray
    codes: np.ndarray
    driver: int
    size: float


def write(event: str, rng: np.random.Generator) -> Script:
    """The script of one recording; `event` is a class name, or "" for normal driving."""
    frames = int(rng.integers(*LENGTH))
    rows, codes = np.zeros((frames, COLUMNS)), np.zeros(frames, np.uint8)
    rows[:, STEER] = _wander(rng, frames, 0.30, (2.0, 7.0))
    for column, spread in ((PITCH, 0.05), (YAW, 0.08), (ROLL, 0.05), (LEAN, 0.03), (SIDE, 0.025)):
        rows[:, column] = rng.normal(0, spread * 0.5) + _wander(rng, frames, spread, (2.0, 9.0))
    busy = np.zeros(frames, bool)
    if event:
        _anomaly(event, rows, codes, busy, rng)
    _habits(rows, busy, rng)
    window = np.ones(5) / 5
    for column in range(COLUMNS):
        if column not in (8, 9, 10, 12, 13, 14):
            rows[:, column] = np.convolve(np.pad(rows[:, column], 2, mode="edge"), window, "valid")
    return Script(rows, codes, int(rng.integers(2**31)), float(rng.uniform(0.9, 1.1)))


def _wander(
    rng: np.random.Generator, frames: int, spread: float, seconds: tuple[float, float]
) -> np.ndarray:
    """A slow irregular swing (frames,) of about the given spread."""
    t, total = np.arange(frames) / FPS, np.zeros(frames)
    for period in rng.uniform(*seconds, 4):
        total += np.sin(2 * np.pi * (t / period + rng.random()))
    return total * spread / 2


def ramp(frames: int, start: float, stop: float, edge: float) -> np.ndarray:
    """0 outside, 1 inside [start, stop), smooth over `edge` frames on both sides; (frames,)."""
    t = np.arange(frames)
    share = np.clip(np.minimum((t - start) / edge + 0.5, (stop - t) / edge + 0.5), 0, 1)
    return share * share * (3 - 2 * share)


def _hand(rows: np.ndarray, hand: slice, place: tuple, share: np.ndarray) -> None:
    """Draw a hand towards a place, by a share (T,)."""
    on = share > 0
    rows[on, hand.start : hand.start + 3] = place
    rows[on, hand.stop - 1] = share[on]


def _near(place: tuple, rng: np.random.Generator, spread: float = 0.02) -> tuple:
    return tuple(np.asarray(place) + rng.normal(0, spread, 3))


def _habits(rows: np.ndarray, busy: np.ndarray, rng: np.random.Generator) -> None:
    """What every driver does now and then: look in mirrors and at the dials, shift, scratch,
    rest one hand in the lap or on the lever, lean over, look over the shoulder, tune the radio."""
    frames = len(rows)
    t = rng.uniform(0, 40)
    while t < frames:
        kind, length = rng.integers(9), rng.uniform(0.7, 1.4) * FPS
        length *= (1.0, 1.0, 1.8, 1.8, 3.5, 3.5, 2.5, 1.6, 2.0)[kind]
        span = slice(max(0, int(t) - 6), min(frames, int(t + length) + 6))
        if not busy[span].any():
            share = ramp(frames, t, t + length, 0.4 * FPS)
            if kind == 0:
                rows[:, YAW] += share * rng.choice([-1, 1]) * rng.uniform(0.5, 0.9)
            elif kind == 1:
                rows[:, PITCH] += share * rng.uniform(0.3, 0.55)
            elif kind == 2:
                _hand(rows, RIGHT, _near(CHIN, rng, 0.03), share)
            elif kind == 3:
                _hand(rows, RIGHT, _near(GEAR, rng), share)
                rows[:, SIDE] -= 0.06 * share
            elif kind == 4:
                _hand(rows, RIGHT, _near(GEAR if rng.random() < 0.5 else LAP[0], rng, 0.03), share)
            elif kind == 5:
                _hand(rows, LEFT, _near(LAP[1], rng, 0.03), share)
            elif kind == 6:
                rows[:, SIDE] += rng.uniform(-0.09, 0.09) * share
                rows[:, LEAN] += rng.uniform(-0.05, 0.09) * share
                rows[:, TWIST] += rng.uniform(-0.25, 0.25) * share
            elif kind == 7:
                turn = rng.choice([-1, 1])
                rows[:, YAW] += turn * rng.uniform(0.9, 1.2) * share
                rows[:, TWIST] += turn * rng.uniform(0.2, 0.5) * share
                rows[:, SIDE] += turn * rng.uniform(0.03, 0.11) * share
            else:
                _hand(rows, RIGHT, _near(RADIO, rng, 0.03), share)
                rows[:, SIDE] -= rng.uniform(0.03, 0.1) * share
                rows[:, LEAN] += rng.uniform(0.02, 0.1) * share
        t += length + rng.uniform(0.4, 2.6) * FPS


def _spans(frames: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """When the act happens: once or twice, anywhere, about two thirds of the frames."""
    if rng.random() < 0.5:
        length = rng.uniform(0.6, 0.95) * frames
        start = rng.uniform(-0.3 * length, frames - 0.7 * length)
        return [(int(start), int(start + length))]
    halves: list[tuple[int, int]] = []
    for k in range(2):
        length = rng.uniform(0.3, 0.42) * frames
        start = frames * k / 2 + rng.uniform(-0.05, 0.13) * frames
        start = max(start, halves[-1][1] + 1.5 * FPS) if halves else start
        halves.append((int(start), int(start + length)))
    return halves


def _anomaly(
    event: str, rows: np.ndarray, codes: np.ndarray, busy: np.ndarray, rng: np.random.Generator
) -> None:
    """Overlay an act on the driving, and label the frames it fills."""
    frames = len(rows)
    for start, stop in _spans(frames, rng):
        share = ramp(frames, start, stop, 0.6 * FPS)
        on = share > 0.5
        codes[on] = CLASSES.index(event)
        ACTS[event](rows, share, start, stop, rng)
        busy |= share > 0


def _phone(
    rows: np.ndarray, share: np.ndarray, start: int, stop: int, rng: np.random.Generator
) -> None:
    low = rng.random() < 0.5  # in the lap: the camera in front cannot see it
    _hand(rows, RIGHT, _near(LAP_PHONE if low else EAR, rng, 0.01), share)
    rows[:, PHONE] = np.maximum(rows[:, PHONE], share > 0.35)
    if low:
        rows[:, PITCH] += share * 0.28 * (_wander(rng, len(rows), 1.0, (1.5, 4.0)) > 0)
    else:
        rows[:, ROLL] += 0.12 * share


def _reaching(
    rows: np.ndarray, share: np.ndarray, start: int, stop: int, rng: np.random.Generator
) -> None:
    _hand(rows, RIGHT, _near(BACK, rng, 0.04), share)
    rows[:, TWIST] -= rng.uniform(0.4, 0.7) * share
    rows[:, SIDE] -= rng.uniform(0.05, 0.12) * share
    turns = 0.5 + 0.5 * np.sign(_wander(rng, len(rows), 1.0, (1.5, 4.0)))
    rows[:, YAW] -= share * turns * rng.uniform(0.5, 0.9)


def _hands_off(
    rows: np.ndarray, share: np.ndarray, start: int, stop: int, rng: np.random.Generator
) -> None:
    for hand, place in ((RIGHT, LAP[0]), (LEFT, LAP[1])):
        _hand(rows, hand, _near(place, rng, 0.015), share)


def _drowsy(
    rows: np.ndarray, share: np.ndarray, start: int, stop: int, rng: np.random.Generator
) -> None:
    """The head sinks over seconds and jerks up; steering stops. No single frame is unusual."""
    t = np.arange(len(rows))
    sink, at = np.zeros(len(rows)), float(start)
    side = rng.uniform(-0.15, 0.15)
    while at < stop:
        length = rng.uniform(3.0, 5.5) * FPS
        sink = np.maximum(sink, np.clip((t - at) / length, 0, 1) * (t < at + length) * (t >= at))
        at += length
    rows[:, PITCH] += 0.5 * sink * share
    rows[:, ROLL] += side * sink * share
    rows[:, LEAN] += 0.05 * sink * share
    rows[:, STEER] *= 1 - 0.85 * share


def _aside(
    rows: np.ndarray, share: np.ndarray, start: int, stop: int, rng: np.random.Generator
) -> None:
    """Looks to one side for seconds; mirrors take about one."""
    rows[:, YAW] += share * rng.choice([-1, 1]) * rng.uniform(0.75, 1.0)


Act = Callable[[np.ndarray, np.ndarray, int, int, np.random.Generator], None]
ACTS: dict[str, Act] = {
    "phone": _phone, "reaching_back": _reaching, "hands_off": _hands_off, "drowsy": _drowsy,
    "looking_aside": _aside,
}  # fmt: skip


def plan(split: str) -> list[tuple[int, str]]:
    """(index, event) of every recording of a split; event "" for a normal one."""
    events = ("",) * {"train": 8, "val": 3, "test": 4}[split]
    if split == "test":
        events += CLASSES[1:] * 2
    order = np.random.default_rng([13, len(events)]).permutation(len(events))
    return [(index, events[k]) for index, k in enumerate(order)]


def seeded(version: int, seed: int, split: str, index: int) -> np.random.Generator:
    """The random numbers of one recording."""
    return np.random.default_rng([2025, version, seed, SPLITS.index(split), index])
