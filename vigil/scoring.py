"""Cuts to unit scores, unit scores to frame scores: what `run` and calibration share."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
import torch

from vigil.bundle import Model
from vigil.errors import InputError
from vigil.records import Units
from vigil.scores.fuse import Reducer, fuse
from vigil.scores.tubes import Tubes
from vigil.units import Cut, join


class Scored(NamedTuple):
    """Units that were scored: channels {name: (N,) or (N, answered)}, raw."""

    units: Units
    channels: dict[str, np.ndarray]


MEMORY = 2**29  # bytes of units that wait to be scored together


class UnitScorer:
    """Scores cuts, many at a time for a file, at once for a camera."""

    def __init__(self, model: Model, batch: int, as_live: bool) -> None:
        self.model, self.method, self.batch = model, model.method.eval(), batch
        self.whole = model.method.lookahead is None and not as_live
        self.sliding = model.method.lookahead is None and as_live
        self.waiting: list[Cut] = []
        self.bags: dict[str, deque[Units]] = {}

    def push(self, cuts: list[Cut]) -> list[tuple[Cut, Scored | None]]:
        """Take cuts in; those scored now, in order."""
        if self.sliding:
            return [(cut, self.slide(cut)) for cut in cuts]
        self.waiting += cuts
        rows = max(sum(len(cut.units) for cut in self.waiting), len(self.waiting))
        full = rows >= self.batch or sum(map(size_of, self.waiting)) >= MEMORY
        return self.flush() if full and not self.whole else []

    def flush(self) -> list[tuple[Cut, Scored | None]]:
        """Score everything that waits."""
        waiting, self.waiting = self.waiting, []
        done: dict[int, Scored] = {}
        for name in self.method.windows:
            cuts = [(n, cut) for n, cut in enumerate(waiting) if cut.window == name]
            units = join(cut.units for _, cut in cuts)
            if units is None:
                continue
            channels, row = self.score(units), 0
            for n, cut in cuts:
                rows = slice(row, row + len(cut.units))
                if len(cut.units):
                    done[n] = Scored(cut.units, {k: v[rows] for k, v in channels.items()})
                row += len(cut.units)
        return [(cut, done.get(n)) for n, cut in enumerate(waiting)]

    def slide(self, cut: Cut) -> Scored | None:
        """A method that wants the whole video, live: the last rows as its bag, the newest kept."""
        if not len(cut.units):
            return None
        bag = self.bags.setdefault(cut.window, deque(maxlen=self.method.live_rows))
        bag.append(cut.units)
        units = join(bag)
        assert units is not None
        return Scored(cut.units, {k: v[-len(cut.units) :] for k, v in self.score(units).items()})

    @torch.no_grad()
    def score(self, units: Units) -> dict[str, np.ndarray]:
        """Raw channels of the method, checked: right rows, finite."""
        device = next(self.method.parameters(), torch.empty(0)).device
        if device.type != "cpu":
            units = moved(units, device)
        channels = {k: v.float().numpy(force=True) for k, v in self.method.score(units).items()}
        expected = self.method.channels[units.window]
        assert set(channels) == set(expected), f"channels {set(channels)}, not {set(expected)}"
        for name, values in channels.items():
            assert len(values) == len(units), f"{name}: {len(values)} scores, {len(units)} units"
            if not np.isfinite(values).all():
                raise InputError(
                    f"{units.video}: channel {name!r} is not finite near frame "
                    f"{units.first[~np.isfinite(values).reshape(len(values), -1).all(1)][0]}; "
                    "a frame or a feature row is damaged"
                )
        return channels


def size_of(cut: Cut) -> int:
    """Bytes of a cut's tensors."""
    return sum(x.numel() * x.element_size() for x in cut.units.x.values())


def without_tensors(scored: Scored) -> Scored:
    """The same scores without the pixels or rows they came from."""
    u = scored.units
    bare = Units(u.window, u.video, {}, u.first, u.stop, u.seen_stop, u.box, u.scene, u.size)
    return Scored(bare, scored.channels)


def moved(units: Units, device: torch.device) -> Units:
    """The same units with their tensors on a device."""
    return Units(
        units.window, units.video, {k: v.to(device) for k, v in units.x.items()},
        units.first, units.stop, units.seen_stop, units.box, units.scene, units.size,
    )  # fmt: skip


def spread(values: np.ndarray, answered: tuple[int, int]) -> np.ndarray:
    """(N,) or (N, parts) scores of units to one column, or one for each answered frame."""
    if values.ndim == 1:
        return values[:, None]
    return np.repeat(values, (answered[1] - answered[0]) // values.shape[1], axis=1)


class FrameScorer:
    """Scored units to frame scores of one video: calibrate, fuse, reduce, hold over gaps."""

    def __init__(self, model: Model) -> None:
        self.model, self.windows = model, model.method.windows
        self.names = model.method.channels
        self.reducers = {
            name: Reducer(window.reduce, self.names[name]) for name, window in self.windows.items()
        }
        self.held: dict[str, np.ndarray] = {}
        tau = model.method.persist * float(model.card["fps"])
        self.tubes = {name: Tubes(tau) for name in self.windows} if tau else {}

    def add(self, cut: Cut, scored: Scored | None) -> np.ndarray:
        """Take in one place of one window; the fused score of each of its units, (N,)."""
        reducer = self.reducers[cut.window]
        reducer.cover(cut.first, cut.stop)
        if scored is None:
            return np.zeros(0)
        window, units = self.windows[cut.window], scored.units
        calibrated = np.stack(
            [
                self.surprise(name, spread(scored.channels[name], window.answered))
                for name in self.names[cut.window]
            ]
        )  # (C, N, 1 or answered)
        fused = fuse(calibrated, self.model.method.fuse_units)  # (N, 1 or answered)
        values = np.concatenate([fused[None], calibrated]).transpose(1, 2, 0)  # (N, A, 1 + C)
        if self.tubes:
            tube = self.tubes[cut.window]
            values = tube.push(int(units.first[0]), units.box, values[:, 0])[:, None]
        for n in range(len(units)):
            base = max(int(units.seen_stop[n]) - window.length, 0) + window.answered[0]
            for frame in range(int(units.first[n]), int(units.stop[n])):
                column = min(max(frame - base, 0), values.shape[1] - 1)
                reducer.add(frame, values[n, column])
        return values[..., 0].max(1)

    def comparable(self, window: str, score: float) -> float:
        """A window's frame score, rare or not among its own normal ones."""
        calibration = self.model.calibration
        curve = calibration.windows.get(window) if calibration else None
        return float(curve(np.array(score))) if curve else float(score)

    def surprise(self, name: str, values: np.ndarray) -> np.ndarray:
        calibration = self.model.calibration
        return calibration.units[name](values) if calibration else values.astype(np.float64)

    def take(self, frame: int) -> tuple[float, np.ndarray, bool]:
        """(fused score, channels (C,), warm-up?) of a frame all of whose units are known."""
        answers, channels = [], []
        for name, reducer in self.reducers.items():
            values = reducer.take(frame)
            if values is None and self.windows[name].gap == "hold":
                values = self.held.get(name)
            if values is not None:
                self.held[name] = values
                answers.append(self.comparable(name, values[0]))
            channels.append(values[1:] if values is not None else np.zeros(len(self.names[name])))
        row = np.concatenate(channels)
        if not answers:  # nobody looked: the last answer is held, before the first the floor
            if not self.held:
                return 0.0, row, True
            row = np.concatenate([
                self.held.get(name, np.zeros(1 + len(self.names[name])))[1:]
                for name in self.reducers
            ])  # fmt: skip
            answers = [self.comparable(name, v[0]) for name, v in self.held.items()]
        fused = max(answers) if self.model.method.fuse_windows == "max" else float(np.mean(answers))
        return float(fused), row, False
