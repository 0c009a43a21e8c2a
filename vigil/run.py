"""The one generator: frames in, scored frames out. Files and cameras run through the same code.

    frames -> (time resampled) -> Cutter -> method.score -> calibrate -> fuse -> reduce -> score

A frame's score is given as soon as every window that answers for it has been seen and is never
changed afterwards. For a file, units are scored in batches; for a camera, at every frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from vigil.bundle import Calibration, Model
from vigil.errors import InputError
from vigil.records import Frame, Scores, Units, UnitTable, Video
from vigil.scores.calibrate import Surprise
from vigil.scores.calibrate import fit as fit_surprise
from vigil.scores.smooth import Smoother, delay, smooth
from vigil.scoring import FrameScorer, Scored, UnitScorer, without_tensors
from vigil.units import Cut, Cutter, needs_pictures, paced


class FrameScore(NamedTuple):
    """One frame's answer: calibrated score, calibrated channels, and when it was known."""

    frame: int
    time: float
    score: float
    channels: np.ndarray  # (C,) in the order of `channel_names(model)`
    known_at: int
    warm_up: bool
    smoothed: float = float("nan")  # only in `stream`, where it can be known at once


def channel_names(model: Model) -> tuple[str, ...]:
    """The channels of all windows, in order."""
    return tuple(name for names in model.method.channels.values() for name in names)


class Peak(NamedTuple):
    """The highest unit of a stretch of time, kept so that it can be explained afterwards."""

    frame: int  # in ticks
    score: float
    units: Units  # one row
    image: np.ndarray  # (H, W, 3) uint8, the frame


class Scorer:
    """Scores one video: `see` frames, take what is known, `finish`.

    The frames of `see` are the model's ticks, already at its frame rate.
    keep        keep the table of units (for a file; a camera would fill the memory)
    peak_every  ticks in each stretch that one `Peak` is kept of; 0 = none
    """

    def __init__(
        self,
        model: Model,
        video: Video,
        batch: int = 256,
        as_live: bool = False,
        keep: bool = True,
        peak_every: int = 0,
    ) -> None:
        self.model, self.keep, self.peak_every = model, keep, peak_every
        windows = model.method.windows.values()
        self.cutter = Cutter(model.method.windows, model.providers, video, model.fps)
        self.units = UnitScorer(model, batch, as_live)
        self.frames = FrameScorer(model)
        late = max(window.lookahead for window in windows)
        self.lookahead = model.method.lookahead if model.method.lookahead is not None else late
        self.longest = max(window.length for window in windows)
        self.whole = self.units.whole
        self.times: list[float] = []  # of the frames seen and not yet given
        self.given = 0
        self.scored_to = 0  # frames seen when the last units were scored
        self.table: list[tuple[Scored, np.ndarray]] = []
        self.images: dict[int, np.ndarray] = {}  # frames whose units may still be scored
        self.peaks: dict[int, Peak] = {}

    def see(self, frame: Frame) -> list[FrameScore]:
        """Take the next frame in; the frame scores that are now certain."""
        self.times.append(frame.time)
        if self.peak_every:
            self.images[self.cutter.count] = frame.image
        self.add(self.units.push(self.cutter.see(frame)))
        if not self.units.waiting:
            self.scored_to = self.cutter.count
        return self.give(0 if self.whole else self.scored_to - self.lookahead)

    def finish(self) -> list[FrameScore]:
        """The end of the video: the rest."""
        self.add(self.units.push(self.cutter.finish()))
        self.add(self.units.flush())
        return self.give(self.cutter.count)

    def add(self, scored: list[tuple[Cut, Scored | None]]) -> None:
        """Take in what was scored just now."""
        for cut, result in scored:
            fused = self.frames.add(cut, result)
            if result is None:
                continue
            if self.keep:
                self.table.append((without_tensors(result), fused))
            if self.peak_every:
                self.note_peak(result.units, fused)
        if scored:
            oldest = self.cutter.count - self.longest - 1
            self.images = {k: v for k, v in self.images.items() if k >= oldest}

    def note_peak(self, units: Units, fused: np.ndarray) -> None:
        n = int(fused.argmax())
        frame = int(units.first[n] + units.stop[n] - 1) // 2
        old = self.peaks.get(frame // self.peak_every)
        if frame in self.images and (old is None or fused[n] > old.score):
            peak = Peak(frame, float(fused[n]), units[n : n + 1], self.images[frame])
            self.peaks[frame // self.peak_every] = peak

    def give(self, stop: int) -> list[FrameScore]:
        rows = []
        for index in range(self.given, stop):
            score, channels, warm_up = self.frames.take(index)
            if self.model.calibration:
                score = float(self.model.calibration.frame(np.array(score)))
            last = self.cutter.count - 1
            known = last if self.whole else min(index + self.lookahead, last)
            time = self.times[index - self.given]
            rows.append(FrameScore(index, time, score, channels, known, warm_up))
        del self.times[: len(rows)]
        self.given = max(self.given, stop)
        return rows


def stream(
    model: Model, video: Video, batch: int = 1, as_live: bool = True
) -> Iterator[FrameScore]:
    """Frame scores of a camera (or a file read like one), each as soon as it is known.

    Indices and times are those of the model's ticks; at the model's own rate, of the frames.
    """
    model = model.at(video)
    scorer = Scorer(model, video, batch, as_live, keep=False)
    smoother = Smoother(model.calibration.smoothing if model.calibration else "none", model.fps)
    for frame, count in frames_for(model, video):
        for _ in range(count):
            for row in scorer.see(frame):
                yield row._replace(smoothed=smoother.push(row.score))
    for row in scorer.finish():
        yield row._replace(smoothed=smoother.push(row.score))


def frames_for(model: Model, video: Video, pictures: bool = False) -> Iterator[tuple[Frame, int]]:
    """The video's frames as the model sees them, each with how many ticks it stands for; with
    `pictures` also for a model that looks at rows of features alone."""
    pictures = pictures or needs_pictures(model.method.windows, video)
    return paced(video, model.fps, model.method.short_side, model.ignore, pictures)


def score_video(
    model: Model,
    video: Video,
    *,
    batch: int = 256,
    as_live: bool = False,
    smoothing: str = "",
    peaks: list[Peak] | None = None,
) -> Scores:
    """All frame scores of a video file, at its own frames, with the table of its units.

    as_live    a method that needs the whole video sees a sliding window of it instead
    smoothing  "causal:1s", "centred:0.5s", "none"; default the one the model was fitted with
    peaks      a list to fill with the highest unit of every second, in time order
    """
    model = model.at(video)
    smoothing = smoothing or (model.calibration.smoothing if model.calibration else "none")
    every = max(round(model.fps), 1) if peaks is not None else 0
    scorer = Scorer(model, video, batch, as_live, peak_every=every)
    rows: list[FrameScore] = []
    newest, times = [], []  # of each source frame: the last tick it has passed, its time
    for frame, count in frames_for(model, video, pictures=peaks is not None):
        for _ in range(count):
            rows += scorer.see(frame)
        newest.append(scorer.cutter.count - 1)
        times.append(frame.time)
    rows += scorer.finish()
    made: dict[str, object] = {"smoothing": smoothing, "as_live": as_live, "method": model.name}
    made |= {"fps": video.fps, "model_fps": model.fps}
    if abs(video.fps / model.fps - 1) >= 0.02:
        made["resampled"] = f"from {video.fps:g} to {model.fps:g} frames a second"
    if peaks is not None:
        source = np.searchsorted(newest, np.arange(len(rows)))  # ticks -> the video's own frames
        peaks += [peak._replace(frame=int(source[peak.frame])) for peak in scorer.peaks.values()]
    return to_scores(model, video, rows, np.array(newest), np.array(times), scorer, made)


def to_scores(
    model: Model,
    video: Video,
    rows: list[FrameScore],
    newest: np.ndarray,
    times: np.ndarray,
    scorer: Scorer,
    made: dict[str, object],
) -> Scores:
    """Scores at the video's own frames from those at the model's ticks."""
    how = str(made["smoothing"])
    score = np.array([row.score for row in rows])
    smoothed = smooth(score, how, model.fps)
    known = np.array([row.known_at for row in rows]) + delay(how, model.fps)
    known = np.minimum(known, len(rows) - 1)
    source = np.searchsorted(newest, np.arange(len(rows)))  # tick -> the frame that made it known
    channels = np.stack([row.channels for row in rows])
    names = channel_names(model)
    return Scores(
        video=video.name,
        score=score[newest],
        smoothed=smoothed[newest],
        channels={name: channels[newest, c] for c, name in enumerate(names)},
        time=times,
        known_at=source[known[newest]],
        warm_up=np.array([row.warm_up for row in rows])[newest],
        units=unit_table(scorer.table, names, source),
        made=made,
    )


def unit_table(
    table: list[tuple[Scored, np.ndarray]], names: tuple[str, ...], source: np.ndarray
) -> UnitTable:
    """The units of all windows as one table, frames counted in the video's own."""
    frame = np.append(source, source[-1] + 1)
    parts = [scored.units for scored, _ in table]

    def column(values: list[np.ndarray], width: tuple[int, ...] = ()) -> np.ndarray:
        return np.concatenate(values) if values else np.zeros((0, *width))

    channels = {
        name: column([
            scored.channels[name].reshape(len(scored.units), -1).max(1)
            if name in scored.channels else np.full(len(scored.units), np.nan)
            for scored, _ in table
        ])
        for name in names
    }  # fmt: skip
    return UnitTable(
        window=np.array([units.window for units in parts for _ in range(len(units))], dtype=object),
        first=frame[column([units.first for units in parts]).astype(int)],
        stop=frame[column([units.stop for units in parts]).astype(int)],
        seen_stop=frame[column([units.seen_stop for units in parts]).astype(int)],
        box=column([units.box for units in parts], (4,)),
        score=column([fused for _, fused in table]),
        channels=channels,
    )


# -- calibration: what normal scores look like ---------------------------------------------------
def calibrate(
    model: Model, videos: Iterable[Video], smoothing: str, alarms_per_hour: float
) -> Calibration:
    """Surprise maps and normal frame scores from held-out normal videos; see `scores.calibrate`.

    First each channel's raw unit scores, then the frame scores that follow from them; frames of
    the warm-up are left out.
    """
    seen = {video.name: all_places(model, video) for video in videos}
    raw: dict[str, list[np.ndarray]] = {name: [] for name in channel_names(model)}
    for scored, _ in seen.values():
        for _, result in scored:
            for name, channel in (result.channels if result else {}).items():
                raw[name].append(channel.ravel())
    for name, values in raw.items():
        if not values:
            raise InputError(
                f"calibration: no unit of channel {name!r} in {len(seen)} normal validation "
                "videos; give longer footage, or footage with something moving in it"
            )
    units = {name: fit_surprise(np.concatenate(values)) for name, values in raw.items()}
    unit_model = Model(model.name, model.method, model.providers, model.card)
    rest = (model.fps, smoothing, alarms_per_hour)
    unit_model.calibration = Calibration(units, {}, FLAT, {}, *rest)
    windows: dict[str, list[np.ndarray]] = {name: [] for name in model.method.windows}
    for places in seen.values():
        for name, curve in window_frames(unit_model, *places).items():
            windows[name].append(curve)
    maps = {name: fit_surprise(np.concatenate(curves)) for name, curves in windows.items()}
    unit_model.calibration = Calibration(units, maps, FLAT, {}, *rest)
    fused = {name: fused_frames(unit_model, *places) for name, places in seen.items()}
    frame = fit_surprise(np.concatenate(list(fused.values())))
    normal = {name: frame(values) for name, values in fused.items()}
    return Calibration(units, maps, frame, normal, *rest)


FLAT = Surprise(np.zeros(1), np.zeros(1), 1.0, 1)  # stands in until frames are calibrated


def window_frames(
    model: Model, scored: list[tuple[Cut, Scored | None]], count: int
) -> dict[str, np.ndarray]:
    """{window: (T,) its fused scores of the frames it answers for}."""
    frames = FrameScorer(model)
    for cut, result in scored:
        frames.add(cut, result)
    found = {}
    for name, reducer in frames.reducers.items():
        values = [reducer.take(frame) for frame in range(count)]
        found[name] = np.array([value[0] for value in values if value is not None])
    return found


def all_places(model: Model, video: Video) -> tuple[list[tuple[Cut, Scored | None]], int]:
    """Every scored place of a video, without the pixels, and the number of ticks."""
    model = model.at(video)
    cutter = Cutter(model.method.windows, model.providers, video, model.fps)
    units = UnitScorer(model, batch=256, as_live=False)
    scored: list[tuple[Cut, Scored | None]] = []

    def keep(found: list[tuple[Cut, Scored | None]]) -> None:
        for cut, result in found:
            bare = without_tensors(result) if result else None
            scored.append((cut._replace(units=bare.units) if bare else cut, bare))

    for frame, count in frames_for(model, video):
        for _ in range(count):
            keep(units.push(cutter.see(frame)))
    keep(units.push(cutter.finish()))
    keep(units.flush())
    return scored, cutter.count


def fused_frames(model: Model, scored: list[tuple[Cut, Scored | None]], count: int) -> np.ndarray:
    """The fused scores, (T,) before frame calibration, of the frames after the warm-up."""
    frames = FrameScorer(model)
    for cut, result in scored:
        frames.add(cut, result)
    rows = [frames.take(frame) for frame in range(count)]
    return np.array([score for score, _, warm_up in rows if not warm_up])
