"""Nearest normal example: no training, no weights, real time on a CPU core."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from vigil.errors import InputError
from vigil.methods.base import Method
from vigil.records import Reason, Units, Window

CELLS = 4  # cells of gradient histograms along each side of a crop
CHUNK = 1024  # rows compared with the memory at once
AROUND = 100  # normal boxes whose mean speed is what a place is used to
FLOOR = 0.1  # of a usual distance: nearer than that is all the same
COLUMNS = ("key", "video", "frame", "scene", "foot", "extent", "flow", "look", "thumb")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NearestConfig:
    objects: str = "foreground"  # needs nothing downloaded; "given" = boxes of the data set
    flow: str = "dis"  # as useful as Farneback at a quarter of its time
    short_side: int = Field(default=240, ge=32)  # a walker of 1/8 the height still has 30 pixels
    crop: int = Field(default=32, ge=8, multiple_of=8)  # pixels a side; finer is noise at 240
    bins: int = Field(default=8, ge=4)  # directions of gradients, 22.5 degrees each
    fastest: float = Field(
        default=0.5, gt=0, le=1
    )  # share of a box that moves when its object does
    reach: float = Field(default=4.0, gt=0)  # body heights away that weigh like one unit apart
    k: int = Field(default=3, ge=1)  # neighbours averaged: one odd normal example is not enough
    rows: int = Field(default=16000, ge=1)  # of memory; exact search stays under 2 ms a frame
    seed: int = Field(default=0, ge=0)  # of the rows kept when there are more


class Rows(NamedTuple):
    """Descriptors of N boxes; lengths in frame heights, before perspective is taken out."""

    key: Tensor  # (N,) int64, random but fixed by video, frame and box: the lowest are kept
    video: Tensor  # (N,) int64 index into `names`
    frame: Tensor  # (N,) int64
    scene: Tensor  # (N,) int64 index into `places`
    foot: Tensor  # (N, 2) where it stands: x, y of the middle of the lower edge
    extent: Tensor  # (N, 2) log height, log width
    flow: Tensor  # (N, 3) velocity and speed, frame heights a frame period
    look: Tensor  # (N, 16 * bins) gradient histograms, unit length
    thumb: Tensor  # (N, 3, crop, crop) uint8, for a person to see

    def take(self, rows: Tensor | slice) -> Rows:
        return Rows(*(column[rows] for column in self))


class Nearest(Method):
    """Distance from each object to the nearest normal ones seen at that place.

    sees         boxes (background difference, or given) with dense optical flow, frame by frame
    learns from  normal video; keeps descriptors of at most `rows` boxes, chosen by a fixed hash,
                 so that extending a memory equals fitting it on everything
    score        mean of calibrated channels: motion (velocity), size, look (gradients), each the
                 exact mean distance to the k nearest rows, place included; speed against the place
    live         causal; no look-ahead
    differs from AI-VAD: no detector, pose or deep features; FlowNet2 became DIS; one kNN for all
                 channels, with the place as coordinates, in place of a Gaussian mixture
    cite         @article{reiss2022attribute, title={Attribute-based Representations for Accurate
                 and Interpretable Video Anomaly Detection}, author={Reiss, Tal and Hoshen, Yedid},
                 journal={arXiv:2212.00789}, year={2022}}
    """

    Config = NearestConfig
    TINY = {"crop": 16, "rows": 64, "short_side": 32}

    key: Tensor  # these and the other columns of `Rows` are buffers
    video: Tensor
    frame: Tensor
    scene: Tensor
    look: Tensor
    thumb: Tensor

    def build(self, c: NearestConfig) -> None:
        shape = (1, c.crop, c.crop)
        self.windows = {"box": Window("objects", shape, anchor=0, providers=("flow",))}
        self.channels = {"box": ("motion", "size", "look", "speed")}
        self.providers = {"objects": c.objects, "flow": c.flow}
        self.short_side, self.lookahead = c.short_side, 0
        self.names: list[str] = []  # of the videos that memory rows come from
        self.places: list[str] = []  # of their scenes
        for name, column in zip(COLUMNS, self.empty(), strict=True):
            self.register_buffer(name, column)
        self.index: dict[str, Index] = {}

    def empty(self) -> Rows:
        c = self.config
        ids = (torch.empty(0, dtype=torch.int64) for _ in range(4))  # buffers must not be shared
        return Rows(
            next(ids), next(ids), next(ids), next(ids),
            torch.empty(0, 2), torch.empty(0, 2), torch.empty(0, 3),
            torch.empty(0, CELLS * CELLS * c.bins),
            torch.empty(0, 3, c.crop, c.crop, dtype=torch.uint8),
        )  # fmt: skip

    # -- learning ------------------------------------------------------------------------------
    def prepare(self, bags: Iterable[Units]) -> None:
        """Start over with an empty memory, then take in all normal boxes."""
        self.names, self.places = [], []
        self.remember(self.empty())
        self.extend(bags)

    def extend(self, bags: Iterable[Units]) -> None:
        """Take in more normal boxes; the same memory as if all had come at once."""
        rows = self.memory()
        for units in bags:
            if len(units):
                new = self.describe(units, known=False)
                rows = Rows(*(torch.cat(pair) for pair in zip(rows, new, strict=True)))
            if len(rows.key) > 2 * self.config.rows:
                rows = self.thin(rows)
        if not len(rows.key):
            raise InputError("no object in any normal video; check the boxes or the background")
        self.remember(self.thin(rows))

    def thin(self, rows: Rows) -> Rows:
        """The rows with the lowest keys, as many for every scene, in the order of their keys."""
        rows = rows.take(rows.key.argsort())
        share = max(self.config.rows // max(len(self.places), 1), 1)
        kept = torch.zeros(len(rows.key), dtype=torch.bool)
        for scene in range(len(self.places)):
            kept[(rows.scene == scene).nonzero()[:share, 0]] = True
        return rows.take(kept)

    def memory(self) -> Rows:
        return Rows(*(getattr(self, name) for name in COLUMNS))

    def remember(self, rows: Rows) -> None:
        for name, column in zip(COLUMNS, rows, strict=True):
            setattr(self, name, column)
        self.index = {}

    # -- describing ----------------------------------------------------------------------------
    def describe(self, units: Units, known: bool = True) -> Rows:
        """Descriptors of every box; an unknown scene gets index -1, or is learned."""
        n, (height, _) = len(units), units.size
        pixels, flow = units.x["box"][:, 0], units.x["box.flow"][:, 0]  # (N, 3|2, H, W)
        box = torch.from_numpy(np.asarray(units.box, np.float32)) / height  # (N, 4)
        wide, high = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
        read = height * min(1.0, self.config.short_side / min(units.size))  # as the frames were
        if not known:
            self.names += [units.video] * (units.video not in self.names)
            self.places += [units.scene] * (units.scene not in self.places)
        scene = self.places.index(units.scene) if units.scene in self.places else -1
        video = self.names.index(units.video) if units.video in self.names else -1
        return Rows(
            key=keys(units, self.config.seed),
            video=torch.full((n,), video),
            frame=torch.from_numpy(np.asarray(units.first, np.int64)),
            scene=torch.full((n,), scene),
            foot=torch.stack([(box[:, 0] + box[:, 2]) / 2, box[:, 3]], 1),
            extent=torch.stack([high, wide], 1).clamp_min(1e-3).log(),
            flow=velocity(flow / read, self.config.fastest),
            look=gradients(pixels, self.config.bins),
            thumb=pixels,
        )

    # -- scoring -------------------------------------------------------------------------------
    def score(self, units: Units) -> dict[str, Tensor]:
        """(N,) a channel: logarithm of the mean distance to the k nearest, 0 = usual.

        "speed" is one-sided: how many times as fast as the nearest AROUND boxes by place. The
        logarithm keeps a very odd box from drowning all that comes after it in a smoothed curve.
        """
        names = self.channels["box"]
        if not len(units):
            return {name: torch.zeros(0) for name in names}
        raw = {name: near.mean(1) for name, (near, _) in self.search(units).items()}
        raw["speed"] = self.at(units.scene).relative_speed(self.describe(units))
        return {name: (raw[name] + FLOOR).log() for name in names}

    def search(self, units: Units) -> dict[str, tuple[Tensor, Tensor]]:
        """{channel: distances (N, k) rising, memory rows (N, k)}, within a known scene."""
        if not len(self.key):
            raise InputError("this `nearest` has no memory; fit it on normal video first")
        rows = self.describe(units)
        index = self.at(units.scene)
        points = index.points(rows)
        found = {c: nearest(points[c], index.memory[c], self.config.k) for c in points}
        return {c: (near / index.typical[c], index.rows[row]) for c, (near, row) in found.items()}

    def at(self, scene: str) -> Index:
        """What the memory knows of a scene; of a scene never seen, everything."""
        if scene not in self.index:
            known = self.places.index(scene) if scene in self.places else -1
            rows = (
                (self.scene == known).nonzero()[:, 0] if known >= 0 else torch.arange(len(self.key))
            )
            self.index[scene] = Index(self.memory().take(rows), rows, self.config)
        return self.index[scene]

    def explain(self, units: Units) -> list[Reason]:
        """Heat: fast pixels and unlike gradients; beside it the most similar normal box."""
        found = self.search(units)
        rows = self.describe(units)
        names = self.channels["box"]
        score = self.score(units)
        raw = torch.stack([score[name] for name in names], 1)  # (N, C)
        share = raw.exp() / raw.exp().sum(1, keepdim=True)
        flow = units.x["box.flow"][:, 0].square().sum(1).sqrt()  # (N, H, W)
        fast = flow / flow.flatten(1).amax(1).clamp_min(1e-9)[:, None, None]
        odd = (rows.look - self.look[found["look"][1][:, 0]]).square()
        odd = odd.view(len(units), 1, CELLS, CELLS, -1).sum(-1)  # (N, 1, 4, 4)
        odd = F.interpolate(odd, size=flow.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        odd = odd / odd.flatten(1).amax(1).clamp_min(1e-9)[:, None, None]
        part = dict(zip(names, share[:, :, None, None].unbind(1), strict=True))  # (N, 1, 1)
        heat = (part["motion"] + part["speed"]) * fast + part["look"] * odd
        near, at = (torch.cat([found[c][i] for c in found], 1) for i in (0, 1))  # (N, channels k)
        like = at.gather(1, near.argmin(1, keepdim=True))[:, 0]
        return [self.reason(units, i, heat[i], raw[i], int(like[i])) for i in range(len(units))]

    def reason(self, units: Units, i: int, heat: Tensor, raw: Tensor, like: int) -> Reason:
        pictures = {"seen": units.x["box"][i, 0], "nearest normal": self.thumb[like]}
        return Reason(
            heat=heat.numpy(),
            parts=dict(zip(self.channels["box"], (raw / len(raw)).tolist(), strict=True)),
            pictures={name: p.permute(1, 2, 0).numpy() for name, p in pictures.items()},
            like=(self.names[int(self.video[like])], int(self.frame[like])),
        )

    # -- leaving and coming back ---------------------------------------------------------------
    def facts(self) -> dict[str, Any]:
        return {"videos": self.names, "scenes": self.places}

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        self.names, self.places, self.index = list(facts["videos"]), list(facts["scenes"]), {}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        super().set_tensors(state)
        self.index = {}


class Index:
    """The memory of one scene in comparable units: body heights, and normal speed as one."""

    def __init__(self, memory: Rows, rows: Tensor, config: NearestConfig) -> None:
        self.rows, self.reach = rows, config.reach
        self.body = float(memory.extent[:, 0].median().exp())  # height of a normal object
        self.speed = float(memory.flow[:, 2].square().mean().sqrt().clamp_min(1e-5))
        self.foot, self.fast = memory.foot, memory.flow[:, 2]
        self.memory = self.points(memory)
        self.typical = {c: usual(m, memory, config.k) for c, m in self.memory.items()}

    def points(self, rows: Rows) -> dict[str, Tensor]:
        """{channel: (N, D)}; a Euclidean distance of 1 is a clear difference in each.

        The place is part of every channel: the nearest normal example is one from nearby, so
        that perspective and the habits of each place are learned, not modelled.
        """
        foot = rows.foot / (self.body * self.reach)
        return {
            "motion": torch.cat([rows.flow / self.speed, foot], 1),
            "size": torch.cat([rows.extent, foot], 1),
            "look": torch.cat([rows.look, foot], 1),
        }

    def relative_speed(self, rows: Rows) -> Tensor:
        """(N,) speed over the mean speed of the normal boxes that stand nearest; 1 = as usual."""
        near = nearest(rows.foot, self.foot, min(AROUND, len(self.foot)))[1]  # (N, AROUND)
        usual_here = self.fast[near].mean(1) + 0.3 * self.speed  # where all stand, walking is fine
        return (1.3 * rows.flow[:, 2] / usual_here).clamp_min(1)  # slow is no proof of normal


def usual(points: Tensor, memory: Rows, k: int) -> float:
    """How far normal boxes are from those of other videos: the distance nine in ten stay below.

    It makes scenes comparable: one seen for long or crowded has a dense memory. A memory of a
    single video leaves out the same frame instead.
    """
    some = slice(0, 512)  # keys are random, so the first rows are a fair sample
    apart = torch.cdist(points[some], points)  # (n, M)
    label = memory.video if len(memory.video.unique()) > 1 else memory.frame
    apart[label[some, None] == label] = torch.inf
    near = apart.topk(min(k, len(points)), 1, largest=False).values.mean(1)
    near = near[near.isfinite()]
    return max(float(near.quantile(0.9)), 1e-3) if len(near) else 1.0


def velocity(flow: Tensor, fastest: float) -> Tensor:
    """(N, 2, H, W) flow to (N, 3): mean dx, dy and mean length over the fastest share of pixels.

    Length and mean vector agree for a body that moves as one; limbs and turns pull them apart.
    """
    flow = flow.flatten(2)  # (N, 2, P)
    length = flow.square().sum(1).sqrt()  # (N, P)
    speed, place = length.topk(max(round(fastest * length.shape[1]), 1), 1)  # (N, n)
    mean = [flow[:, axis].gather(1, place).mean(1) for axis in (0, 1)]
    return torch.stack([*mean, speed.mean(1)], 1)


def soft_histogram(at: Tensor, weight: Tensor, bins: int) -> Tensor:
    """(N, n) positions on a circle of `bins`, weighted (N, n), to (N, bins)."""
    low = at.floor()
    part = at - low
    low = low.long() % bins
    out = torch.zeros(len(at), bins, dtype=weight.dtype)
    out.scatter_add_(1, low, weight * (1 - part))
    return out.scatter_add_(1, (low + 1) % bins, weight * part)


def gradients(pixels: Tensor, bins: int) -> Tensor:
    """(N, 3, H, W) uint8 to (N, 16 * bins): histograms of gradient directions, unit length.

    Directions are taken modulo 180 degrees, on 4 x 4 cells, the square root of each share taken
    (Hellinger), so that contrast and lighting count little.
    """
    grey = pixels.float().mean(1, keepdim=True) / 255  # (N, 1, H, W)
    grey = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = (grey[:, 0, 1:-1, 2:] - grey[:, 0, 1:-1, :-2]) / 2
    dy = (grey[:, 0, 2:, 1:-1] - grey[:, 0, :-2, 1:-1]) / 2  # (N, H, W)
    n, h, w = dx.shape
    cell = (n, CELLS, h // CELLS, CELLS, w // CELLS)
    angle = torch.atan2(dy, dx).div(torch.pi).mul(bins)  # modulo `bins` below = modulo pi

    def cells(x: Tensor) -> Tensor:
        return x.reshape(cell).permute(0, 1, 3, 2, 4).reshape(n * CELLS * CELLS, -1)

    strength = (dx.square() + dy.square()).sqrt()
    shares = soft_histogram(cells(angle), cells(strength), bins).reshape(n, -1)
    shares = shares + 1e-2 * strength.new_ones(())  # flat crops are alike, whatever their noise
    return (shares / shares.sum(1, keepdim=True)).sqrt()


def nearest(query: Tensor, memory: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Exact Euclidean distances (N, k), rising, and rows (N, k) of the k nearest in (M, D).

    With fewer than k rows in memory the last is repeated.
    """
    middle = memory.mean(0)  # small numbers keep the expanded square exact
    memory, query = memory - middle, query - middle
    norm = memory.square().sum(1)  # (M,)
    rows = []
    for part in query.split(CHUNK):
        apart = torch.addmm(norm, part, memory.T, alpha=-2)  # (n, M) less a constant a row
        rows.append(apart.topk(min(k, len(memory)), 1, largest=False).indices)
    row = torch.cat(rows)  # (N, k')
    near = (query[:, None] - memory[row]).square().sum(2).sqrt()  # no cancellation left
    near, order = near.sort(1)
    row = row.gather(1, order)
    fill = torch.arange(k).clamp_max(row.shape[1] - 1)
    return near[:, fill], row[:, fill]


def keys(units: Units, seed: int) -> Tensor:
    """(N,) int64: a hash of seed, video, frame and box, the same in whatever order they come."""
    box = np.ascontiguousarray(units.box, np.float32).view(np.uint32).astype(np.uint64)
    parts = [np.asarray(units.first, np.uint64), *box.reshape(-1, 4).T]
    mixed = np.full(len(units), zlib.crc32(units.video.encode()) + (seed << 32), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:  # splitmix64 (Steele et al., OOPSLA 2014)
            mixed = (mixed ^ part) + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
    return torch.from_numpy((mixed >> np.uint64(1)).astype(np.int64))
