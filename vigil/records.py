"""The records that travel between rooms: frozen, and checked when they are made.

Higher scores always mean more anomalous. Boxes are (x1, y1, x2, y2) in pixels of the video's own
size, whatever size the frames were read at. Times are seconds from the first frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from vigil.errors import InputError

Label = Literal["normal", "anomalous", "unknown"]
Kind = Literal["frames", "objects", "places", "features"]


class Frame(NamedTuple):
    """One picture: `image` (H, W, 3) uint8 RGB, `time` in seconds from the first frame; `lost`
    counts the damaged packets that were passed over just before it."""

    image: np.ndarray
    time: float
    lost: int = 0

    def missing(self, before: float, fps: float) -> int:
        """Frames that damage took away between the one at time `before` and this one."""
        gap = round((self.time - before) * fps) - 1 if self.lost else 0
        return min(max(gap, 0), self.lost)


@dataclass(frozen=True)
class Video:
    """One video and how to open it. Holds no truth: a test set's labels live elsewhere.

    `open(short_side)` yields frames in time order; `short_side` in pixels asks for smaller ones
    (aspect kept, never enlarged), None for the video's own size. `given` holds what came with the
    data set beside the pixels, by provider role: {"objects": f}, where f() returns one (n, 4+)
    float array of boxes a frame; {"features": f}, where f() returns rows.
    """

    name: str
    source: str
    fps: float
    size: tuple[int, int]  # (height, width)
    open: Callable[[int | None], Iterator[Frame]] = field(repr=False, compare=False)
    scene: str = ""
    view: str = ""
    label: Label = "unknown"
    given: Mapping[str, Callable[[], Any]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError(f"a video needs a name; found none for {self.source}")
        if not (0 < self.fps <= 1000 and np.isfinite(self.fps)):
            raise InputError(f"{self.source}: frame rate {self.fps}; expected 0 < fps <= 1000")
        if min(self.size) < 1:
            raise InputError(f"{self.source}: frame size {self.size}; expected at least 1x1")

    def frames(self, short_side: int | None = None) -> Iterator[Frame]:
        """Frames in time order, from the start, each time it is called."""
        return self.open(short_side)


@dataclass(frozen=True)
class Recording:
    """Views of one moment, joined by time: a driver seen by several cameras, say."""

    name: str
    views: Mapping[str, Video]

    def __post_init__(self) -> None:
        for view, video in self.views.items():
            if video.view != view:
                raise InputError(f"{self.name}: view {view!r} holds a video of view {video.view!r}")


@dataclass(frozen=True)
class Window:
    """What a method looks at, cut by `vigil.units`.

    kind     frames: the whole picture; objects: one unit a box of the anchor frame; places: one
             unit a cell of `grid`; features: rows of a backbone or a feature file
    shape    of one unit's pixels, (T, H, W), T = length; of one row, (D,)
    length   frames looked at;  stride  frames between the starts of two windows
    anchor   the frame, counted from the window's start, whose boxes are cut and (unless `answers`
             says otherwise) the one frame the unit answers for; default the middle one
    answers  (first, stop) frames answered for, counted from the start; default the anchor alone
             for objects and places, the whole window for frames and features
    providers  roles needed beside the pixels ("flow", "segmentation"); "objects" is implied by
             kind; "track" follows the objects: velocity and time stayed, (N, 3)
    reduce   how units that answer one frame become one: max over objects, mean over overlaps
    gap      frames nobody answers for: hold the last value, or the calibrated floor
    short    a video shorter than the window: pad (repeat the last frame) or refuse
    """

    kind: Kind
    shape: tuple[int, ...]
    length: int = 1
    stride: int = 1
    anchor: int | None = None
    answers: tuple[int, int] | None = None
    providers: tuple[str, ...] = ()
    reduce: Literal["max", "mean"] = "max"
    gap: Literal["hold", "floor"] = "floor"
    short: Literal["pad", "refuse"] = "pad"
    grid: tuple[int, int] = (1, 1)
    context: float = 0.0  # how much a box is widened before it is cut, as a share of its size
    crop: Literal["area", "roi"] = "area"  # how boxes are brought to size: whole pixels, RoIAlign

    def __post_init__(self) -> None:
        first, stop = self.answered
        if min(self.length, self.stride) < 1:
            raise InputError(f"window: length {self.length}, stride {self.stride}; expected >= 1")
        if not 0 <= self.middle < self.length:
            raise InputError(f"window: anchor {self.anchor}; expected 0..{self.length - 1}")
        if not 0 <= first < stop <= self.length:
            raise InputError(f"window: answers {self.answered} outside 0..{self.length}")
        if stop - first < self.stride:
            raise InputError(
                f"window: answers {stop - first} frames every {self.stride}; "
                "the frames between would never be scored"
            )
        if self.kind != "features" and (len(self.shape) != 3 or self.shape[0] != self.length):
            raise InputError(f"window: shape {self.shape}; expected (length={self.length}, H, W)")

    @property
    def middle(self) -> int:
        """The anchor frame, counted from the window's start."""
        return self.length // 2 if self.anchor is None else self.anchor

    @property
    def answered(self) -> tuple[int, int]:
        """First and stop of the frames a unit answers for, counted from the window's start."""
        if self.answers is not None:
            return self.answers
        if self.kind in ("objects", "places"):
            return self.middle, self.middle + 1
        return 0, self.length

    @property
    def lookahead(self) -> int:
        """Frames after an answered one that must be seen before all its units are known."""
        return self.length - 1 - self.answered[0]


@dataclass(frozen=True)
class Units:
    """N rows of a method's input, all of one window of one video, in time order.

    x          tensors (N, ...): the window's own under its name, a provider's under
               "window.provider"; pixels uint8, flow float32 in pixels (of the frames read) a frame
    first, stop  (N,) frames answered for;  seen_stop  (N,) one past the last frame looked at
    box        (N, 4) pixels of the video's own size
    """

    window: str
    video: str
    x: Mapping[str, Tensor]
    first: np.ndarray
    stop: np.ndarray
    seen_stop: np.ndarray
    box: np.ndarray
    scene: str = ""
    size: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        n = len(self.first)
        lengths = {"stop": len(self.stop), "seen_stop": len(self.seen_stop), "box": len(self.box)}
        lengths |= {key: len(value) for key, value in self.x.items()}
        wrong = {key: length for key, length in lengths.items() if length != n}
        if wrong:
            raise InputError(f"units of {self.video}: {n} rows, but {wrong}")
        if n and not (self.first < self.stop).all():
            raise InputError(f"units of {self.video}: a row answers for no frame")

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, rows: slice | np.ndarray) -> Units:
        """The same record with some of its rows."""
        return Units(
            self.window, self.video, {k: v[rows] for k, v in self.x.items()},
            self.first[rows], self.stop[rows], self.seen_stop[rows], self.box[rows],
            self.scene, self.size,
        )  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    x          units drawn from normal videos: {"window": (B, ...), "window.provider": (B, ...)}
    normal, anomalous   for supervision "video-label": whole bags, (B, rows, crops, D) each
    scene      (B,) int64 index into the method's `scenes`, for supervision "scene"
    """

    x: Mapping[str, Tensor] = field(default_factory=dict)
    normal: Mapping[str, Tensor] = field(default_factory=dict)
    anomalous: Mapping[str, Tensor] = field(default_factory=dict)
    scene: Tensor | None = None


@dataclass(frozen=True)
class UnitTable:
    """What every unit of one video scored: the ground for region metrics and heat maps.

    window (N,) names; first, stop, seen_stop (N,); box (N, 4); score (N,) calibrated and fused;
    channels {name: (N,)} raw, NaN where the unit's window has no such channel.
    """

    window: np.ndarray
    first: np.ndarray
    stop: np.ndarray
    seen_stop: np.ndarray
    box: np.ndarray
    score: np.ndarray
    channels: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Scores:
    """One value for every frame of one video.

    score     (T,) calibrated, unsmoothed: 1 = one normal frame in ten scores as high, 2 = one in
              a hundred, ...; higher is more anomalous
    smoothed  (T,) the same after the smoothing that `made` names
    channels  {name: (T,)} calibrated channels, before fusion
    time      (T,) seconds;  known_at (T,) frame index at which `smoothed` was known
    warm_up   (T,) True where no unit answered and nothing earlier could be held
    made      how: method, model, smoothing, protocol, fps, ...
    """

    video: str
    score: np.ndarray
    smoothed: np.ndarray
    channels: Mapping[str, np.ndarray]
    time: np.ndarray
    known_at: np.ndarray
    warm_up: np.ndarray
    units: UnitTable | None = None
    made: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.score)
        rows = {"smoothed": self.smoothed, "time": self.time, "known_at": self.known_at}
        rows |= {"warm_up": self.warm_up, **self.channels}
        wrong = {key: len(value) for key, value in rows.items() if len(value) != n}
        if wrong:
            raise InputError(f"scores of {self.video}: {n} frames, but {wrong}")
        for key, value in {"score": self.score, "smoothed": self.smoothed}.items():
            if not np.isfinite(value).all():
                bad = int(np.flatnonzero(~np.isfinite(value))[0])
                raise InputError(f"scores of {self.video}: {key} is {value[bad]} at frame {bad}")

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True)
class Reason:
    """Why one unit scored as it did.

    heat   (h, w) float, in unit coordinates (the box), higher = more to blame
    parts  signed share of each channel; they sum to the unit's score
    pictures  {"seen": (h, w, 3) uint8, "nearest normal": ..., "predicted": ...}
    like   (video, frame) of the most similar normal example, where the method knows one
    """

    heat: np.ndarray
    parts: Mapping[str, float]
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    like: tuple[str, int] | None = None


@dataclass(frozen=True)
class Event:
    """An interval worth a person's time, [start, stop) in frames and in seconds."""

    video: str
    start: int
    stop: int
    start_s: float
    stop_s: float
    peak: float
    peak_frame: int
    parts: Mapping[str, float] = field(default_factory=dict)
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Truth:
    """What really happened in one test video; `vigil.metrics` alone asks for it.

    frames (T,) bool, True = anomalous;  classes (T,) str, "" where normal, or None
    masks  opener of (T, H, W) bool pixel labels, or None;  boxes  per frame (n, 4), or None
    """

    frames: np.ndarray
    classes: np.ndarray | None = None
    masks: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    boxes: tuple[np.ndarray, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Metric:
    """One measured number and how it was obtained; `value` None with the reason in `how`."""

    name: str
    value: float | None
    how: str


@dataclass(frozen=True)
class Row:
    """One line of a report: what was scored, under which protocol, and what came out."""

    data: str
    split: str
    method: str
    channel: str
    protocol: str
    metrics: Mapping[str, Metric]
    group: str = "all"  # or "class: running", "scene: road"


@dataclass(frozen=True)
class Report:
    """All rows of one evaluation, with what was noticed on the way."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)
