"""Rows of features without weights: what moves and stands in the picture, against what is usual.

Boxes are followed from frame to frame and described by place, size, motion and stay; the normal
videos of each scene are remembered. A row says of eight frames how far things get from that
memory, in several parts and together, in soft histogram bins: a network on top learns from video
labels which of it is abnormal.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vigil import plugins
from vigil.errors import InputError, ModelError
from vigil.features.base import FeatureRow, Provider, Tracker
from vigil.features.ways import COLUMNS, Follower
from vigil.records import Frame, Video

FRAMES = 8  # that a row stands for
BINS = 8  # of each fact
NEAR = 5  # neighbours whose distance is averaged
ROUND = 60  # neighbours by place that say what is usual there
MOST = 4000  # boxes of a scene that are remembered
# columns of a description that make up each part of a distance, and one clear difference in it
PARTS: dict[str, tuple[tuple[str, ...], float]] = {
    "place": (("x", "foot"), 0.12),  # picture heights
    "size": (("high", "wide"), 0.25),  # logarithms
    "way": (("way_x", "way_y"), 1.0),  # in what is usual in the scene, as is flow
    "flow": (("flow_x", "flow_y"), 1.0),
    "stay": (("stay", "near"), 0.5),  # logarithms of seconds
    "path": (("path", "gone"), 1.0),  # body heights
}
SPACES: tuple[tuple[str, ...], ...] = (
    ("place",), ("place", "size"), ("place", "way", "flow"), ("place", "stay"), ("place", "path"),
    ("size", "way", "flow"), ("place", "size", "way", "flow", "stay", "path"),
)  # fmt: skip
USUAL = 6  # facts that compare with what is usual at the place
# facts of a row: the highest of each column, the lowest of all but the place, what is unusual
HIGHEST = len(COLUMNS) + (len(COLUMNS) - 2) + len(SPACES) + USUAL


class Things(Provider):
    """Rows of `FRAMES` frames, one crop, `Things.dim` numbers in 0..1, of unit sum for each fact.

    objects  provider of the boxes: "foreground", "given", or another with its file after a colon
    Rows of a video that was learned from leave its own boxes out of the memory, so that they
    look as rows of a new video do. Nothing looks ahead.
    """

    role: ClassVar[str] = "features"
    dim: ClassVar[int] = -(-HIGHEST * BINS // 32) * 32

    def __init__(self, objects: str = "foreground") -> None:
        name, _, file = objects.partition(":")
        kind = plugins.find("providers", name)
        self.name = objects
        self.objects: Provider = kind(file) if file else kind()
        self.flow: Provider = plugins.find("providers", "dis-trail")()
        self.memory: dict[str, Tensor] = {}  # scene -> (M, columns) float32
        self.owner: dict[str, Tensor] = {}  # scene -> (M,) int64, of which video
        self.bounds = torch.empty(0, BINS)  # (facts, BINS) where the bins of each fact peak

    # -- learning ------------------------------------------------------------------------------
    def fit(self, videos: Iterable[Video]) -> None:
        """Remember the things of normal videos, then what facts about them are usual."""
        videos = list(videos)
        self.objects.fit(videos)
        seen: dict[str, list[tuple[int, list[np.ndarray]]]] = {}
        for video in videos:
            follower = Follower(self.objects.start(video, video.fps),
                                self.flow.start(video, video.fps), video)  # fmt: skip
            found = [follower.see(frame, n) for n, frame in enumerate(video.frames())]
            seen.setdefault(video.scene, []).append((mark(video), found))
        self.memory, self.owner = {}, {}
        for scene, parts in seen.items():
            boxes = [np.concatenate(found) for _, found in parts]  # (n, columns) each
            whole = np.concatenate(boxes)
            whose = np.repeat([own for own, _ in parts], [len(b) for b in boxes])
            every = max(-(-len(whole) // MOST), 1)
            self.memory[scene] = torch.from_numpy(whole[::every])
            self.owner[scene] = torch.from_numpy(whose[::every].astype(np.int64))
        facts = [
            facts_of(found[n : n + FRAMES], self.recall(scene, own))
            for scene, parts in seen.items()
            for own, found in parts
            for n in range(0, len(found), FRAMES)
        ]
        known = np.stack([fact for fact in facts if fact is not None] or [np.zeros(HIGHEST)])
        self.bounds = torch.from_numpy(peaks(known))

    def recall(self, scene: str, own: int = 0) -> Memory:
        """The memory of a scene, of all scenes for one never seen, without one video's boxes."""
        if not self.memory:
            raise InputError("things: nothing remembered; fit on normal video first")
        scenes = [scene] if scene in self.memory else list(self.memory)
        rows = torch.cat([self.memory[s] for s in scenes])
        keep = torch.cat([self.owner[s] for s in scenes]) != own
        return Memory(rows[keep] if keep.any() else rows)

    def start(self, video: Video, fps: float) -> Tracker:
        follower = Follower(self.objects.start(video, fps), self.flow.start(video, fps), video)
        return Rows(follower, self.recall(video.scene, mark(video)), self.bounds.numpy())

    # -- leaving and coming back ---------------------------------------------------------------
    def tensors(self) -> dict[str, Tensor]:
        own = {f"objects.{key}": value for key, value in self.objects.tensors().items()}
        own |= {f"memory:{scene}": rows for scene, rows in self.memory.items()}
        own |= {f"owner:{scene}": rows for scene, rows in self.owner.items()}
        return {**own, "bounds": self.bounds}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        if "bounds" not in state or state["bounds"].shape != (HIGHEST, BINS):
            raise ModelError(f"things: expected bins of {HIGHEST} facts; fit the model again")
        self.bounds = state["bounds"]
        self.memory = {k[7:]: v for k, v in state.items() if k.startswith("memory:")}
        self.owner = {k[6:]: v for k, v in state.items() if k.startswith("owner:")}
        self.objects.set_tensors(
            {key[8:]: value for key, value in state.items() if key.startswith("objects.")}
        )

    def describe(self) -> dict[str, Any]:
        return {"name": "things", "objects": self.objects.describe(),
                "flow": self.flow.describe(), "frames": FRAMES, "dim": self.dim}  # fmt: skip


def mark(video: Video) -> int:
    """A number that stands for one video; never 0."""
    return zlib.crc32(video.source.encode()) + 1


class Rows:
    """The rows of one video."""

    def __init__(self, follower: Follower, memory: Memory, bounds: np.ndarray) -> None:
        self.follower, self.memory, self.bounds = follower, memory, bounds
        self.held: list[np.ndarray] = []  # descriptions of the frames of the row to come
        self.first = 0

    def see(self, frame: Frame, index: int) -> FeatureRow | None:
        """The row that is complete with this frame, if one is."""
        self.held.append(self.follower.see(frame, index))
        return self.row() if len(self.held) == FRAMES else None

    def row(self) -> FeatureRow:
        value = np.zeros((1, Things.dim), np.float32)
        facts = facts_of(self.held, self.memory)
        if facts is not None:
            value[0, : HIGHEST * BINS] = binned(facts, self.bounds).ravel()
        first, self.first = self.first, self.first + len(self.held)
        self.held = []
        return FeatureRow(value, first, self.first)

    def finish(self) -> list[FeatureRow]:
        """The row of what frames are left."""
        self.follower.finish()
        return [self.row()] if self.held else []


class Memory:
    """The normal things of one scene in comparable units."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows.float()  # (M, columns)
        moved = {part: self.columns(self.rows, PARTS[part][0]) for part in ("way", "flow")}
        self.usual = {part: root_mean_square(values) for part, values in moved.items()}
        self.points = self.parts(self.rows)

    @staticmethod
    def columns(rows: Tensor, names: Sequence[str]) -> Tensor:
        return rows[:, [COLUMNS.index(name) for name in names]]

    def parts(self, rows: Tensor) -> dict[str, Tensor]:
        """Each part of descriptions (N, columns), 1 = one clear difference."""
        return {
            part: self.columns(rows, names) / (clear * self.usual.get(part, 1.0))
            for part, (names, clear) in PARTS.items()
        }

    def compare(self, rows: Tensor) -> Tensor:
        """(N, columns) to (N, spaces + USUAL): distances to the nearest normal things, by parts,
        and height, width, shape and speed against those of things that stood nearby."""
        if not len(self.rows):
            return torch.ones(len(rows), len(SPACES) + USUAL)
        squares = {
            part: torch.cdist(points, self.points[part]).square()  # (N, M)
            for part, points in self.parts(rows).items()
        }
        few = min(NEAR, len(self.rows))
        far = [
            torch.stack([squares[part] for part in space]).sum(0)
            .topk(few, largest=False).values.sqrt().mean(1)
            for space in SPACES
        ]  # fmt: skip
        close = squares["place"].topk(min(ROUND, len(self.rows)), largest=False).indices  # (N, 60)
        return torch.stack([*far, *self.unlike(rows, close)], 1)

    def unlike(self, rows: Tensor, close: Tensor) -> list[Tensor]:
        """(N,) each: taller, wider, flatter than usual, smaller, and two ratios of speed."""
        at = {name: COLUMNS.index(name) for name in ("high", "wide", "speed")}
        high = torch.quantile(self.rows[close, at["high"]], 0.6, dim=1)
        wide = torch.quantile(self.rows[close, at["wide"]], 0.6, dim=1)
        speed = torch.quantile(self.rows[close, at["speed"]], 0.9, dim=1).clamp_min(1e-3)
        taller, wider = rows[:, at["high"]] - high, rows[:, at["wide"]] - wide
        own = rows[:, at["speed"]]
        return [taller, wider, wider - taller, -taller, own / high.exp(), own / speed]


def root_mean_square(x: Tensor) -> float:
    """Of the lengths of the rows of (N, D)."""
    return max(float(x.square().sum(1).mean().sqrt()), 1e-3) if len(x) else 1.0


def facts_of(frames: Sequence[np.ndarray], memory: Memory) -> np.ndarray | None:
    """Descriptions (n, columns) of some frames' things to (HIGHEST,) float64 facts: of each frame
    the highest of its things, the mean over the frames; None where there was nothing."""
    counts = [len(rows) for rows in frames]
    if not any(counts):
        return None
    rows = torch.from_numpy(np.concatenate(list(frames)))  # (N, columns)
    facts = torch.cat([rows, -rows[:, 2:], memory.compare(rows)], 1)  # (N, HIGHEST)
    each = [part.amax(0) for part in facts.split(counts) if len(part)]
    return torch.stack(each).double().mean(0).numpy()


def peaks(facts: np.ndarray) -> np.ndarray:
    """Facts (N, F) of normal rows to (F, BINS) float32: even quantiles, rising strictly."""
    at = np.quantile(facts, np.linspace(0.02, 0.99, BINS), axis=0).T  # (F, BINS)
    step = 1e-6 + 1e-4 * np.abs(at).max(1, keepdims=True)
    return (np.maximum.accumulate(at, 1) + step * np.arange(BINS)).astype(np.float32)


def binned(facts: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(F,) facts to (F, BINS) float32 shares of the two bins whose peaks a fact lies between."""
    out = np.zeros(bounds.shape, np.float32)
    for row, (fact, peak) in enumerate(zip(facts, bounds, strict=True)):
        at = float(np.interp(fact, peak, np.arange(BINS)))
        low = min(int(at), BINS - 2)
        out[row, low], out[row, low + 1] = low + 1 - at, at - low
    return out
