"""Nearest normal example: no training, no weights, real time on a CPU core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from vigil.errors import InputError
from vigil.methods._layers import CELLS, gradients, keys, nearest, velocity
from vigil.methods.base import Method
from vigil.records import Reason, Units, Window

MAP = (32, 48)  # rows and columns of the map of speeds: cells of a quarter of a body
BODY = 3  # cells that a body covers along each side


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NearestConfig:
    objects: str = "foreground"  # needs nothing downloaded; "given" = boxes of the data set
    flow: str = "dis-trail"  # noise differs from frame to frame, a body's speed does not
    short_side: int = Field(default=240, ge=32)  # a walker of 1/8 the height still has 30 pixels
    crop: int = Field(default=32, ge=8, multiple_of=8)  # pixels a side; finer is noise at 240
    bins: int = Field(default=8, ge=4)  # directions of gradients, 22.5 degrees each
    place: float = Field(default=0.15, gt=0)  # frame heights apart that are one clear difference
    size: float = Field(default=0.3, gt=0)  # the same for the logarithm of height and width
    look: float = Field(default=0.35, gt=0)  # the same for gradient histograms of unit length
    stay: float = Field(default=0.7, gt=0)  # the same for the logarithm of seconds stayed
    k: int = Field(default=3, ge=1)  # neighbours averaged: one odd normal example is not enough
    usual: float = Field(default=0.99, gt=0, le=1)  # share of normal speeds a place is used to
    persist: float = Field(default=0.25, ge=0)  # seconds a thing must stay odd for a full score
    rows: int = Field(default=8000, ge=1)  # boxes kept of each scene; exact search stays fast
    maps: int = Field(default=1000, ge=1)  # speed maps kept of each scene
    seed: int = Field(default=0, ge=0)  # of the rows kept when there are more


class Boxes(NamedTuple):
    """Descriptors of N boxes; lengths in frame heights."""

    key: Tensor  # (N,) int64, random but fixed by video, frame and box: the lowest are kept
    video: Tensor  # (N,) int64 index into `names`
    frame: Tensor  # (N,) int64
    scene: Tensor  # (N,) int64 index into `places`
    foot: Tensor  # (N, 2) where it stands: x, y of the middle of the lower edge
    extent: Tensor  # (N, 2) log height, log width
    track: Tensor  # (N, 3) velocity in body heights a second, log of 1 + seconds stayed
    flow: Tensor  # (N, 3) velocity and speed of the pixels, frame heights a frame period
    look: Tensor  # (N, 16 * bins) gradient histograms, unit length
    thumb: Tensor  # (N, 3, crop, crop) uint8, for a person to see


class Maps(NamedTuple):
    """Speed maps of N frames."""

    key: Tensor  # (N,) int64, as above
    scene: Tensor  # (N,) int64
    speed: Tensor  # (N, *MAP) float32, body-sized means, frame heights a frame period


class Nearest(Method):
    """How far each object, and each place's motion, is from the nearest normal ones.

    sees         boxes (background difference, or given), followed from frame to frame, and dense
                 optical flow averaged along its path
    learns from  normal video; keeps descriptors of at most `rows` boxes and `maps` speed maps a
                 scene, chosen by a fixed hash, so that extending a memory equals fitting on all
    score        manner: exact mean distance to the k nearest normal boxes by place, size, motion,
                 time stayed and look together; rush: largest speed of a body-sized window over
                 what is usual there; the larger of the two, each calibrated
    live         causal; no look-ahead
    differs from AI-VAD: no detector, pose or deep features; FlowNet2 became DIS; one joint
                 distance, place included, in place of one density for each attribute
    cite         @article{reiss2022attribute, title={Attribute-based Representations for Accurate
                 and Interpretable Video Anomaly Detection}, author={Reiss, Tal and Hoshen, Yedid},
                 journal={arXiv:2212.00789}, year={2022}}
    """

    Config = NearestConfig
    TINY = {"crop": 16, "rows": 64, "maps": 16, "short_side": 32}
    fuse_windows = "max"

    def build(self, c: NearestConfig) -> None:
        box = Window("objects", (1, c.crop, c.crop), anchor=0, providers=("flow", "track"))
        self.windows = {"box": box, "whole": Window("frames", (1, *MAP), providers=("flow",))}
        self.channels = {"box": ("manner",), "whole": ("rush",)}
        self.providers = {"objects": c.objects, "flow": c.flow}
        self.short_side, self.lookahead, self.persist = c.short_side, 0, c.persist
        self.names: list[str] = []  # of the videos that boxes in memory come from
        self.places: list[str] = []  # of their scenes
        self.forget()

    # -- memory --------------------------------------------------------------------------------
    def forget(self) -> None:
        """An empty memory."""
        c = self.config
        a, b, d, e, f, g = (torch.empty(0, dtype=torch.int64) for _ in range(6))  # none shared
        self.remember("box", Boxes(
            a, b, d, e, torch.empty(0, 2), torch.empty(0, 2), torch.empty(0, 3), torch.empty(0, 3),
            torch.empty(0, CELLS * CELLS * c.bins),
            torch.empty(0, 3, c.crop, c.crop, dtype=torch.uint8),
        ))  # fmt: skip
        self.remember("map", Maps(f, g, torch.empty(0, *MAP)))

    def remember(self, what: str, rows: Boxes | Maps) -> None:
        for name, column in rows._asdict().items():
            self.register_buffer(f"{what}_{name}", column)
        self.index: dict[str, Index] = {}

    def boxes(self) -> Boxes:
        return Boxes(*(self.get_buffer(f"box_{name}") for name in Boxes._fields))

    def maps(self) -> Maps:
        return Maps(*(self.get_buffer(f"map_{name}") for name in Maps._fields))

    def prepare(self, bags: Iterable[Units]) -> None:
        """Start over with an empty memory, then take in all normal boxes and speeds."""
        self.names, self.places = [], []
        self.forget()
        self.extend(bags)

    def extend(self, bags: Iterable[Units]) -> None:
        """Take in more normal footage; the same memory as if all had come at once."""
        boxes, maps, c = self.boxes(), self.maps(), self.config
        for units in bags:
            self.names += [units.video] if units.video not in self.names else []
            self.places += [units.scene] if units.scene not in self.places else []
            if units.window == "box":
                boxes = thinned(joined(boxes, self.describe(units)), c.rows, slack=2)
            else:
                maps = thinned(joined(maps, self.speeds(units)), c.maps, slack=2)
        if not len(maps.key):
            raise InputError("no frame of normal video to learn from")
        self.remember("box", thinned(boxes, c.rows))
        self.remember("map", thinned(maps, c.maps))

    # -- describing ----------------------------------------------------------------------------
    def scene_of(self, units: Units) -> Tensor:
        """(N,) index of the units' scene, -1 where it was never seen in training."""
        known = self.places.index(units.scene) if units.scene in self.places else -1
        return torch.full((len(units),), known)

    def read_height(self, units: Units) -> float:
        """Height in pixels of the frames as they were read."""
        return float(units.size[0] * min(1.0, self.config.short_side / min(units.size)))

    def describe(self, units: Units) -> Boxes:
        """Descriptors of every box."""
        pixels, flow = units.x["box"][:, 0], units.x["box.flow"][:, 0]  # (N, 3|2, H, W)
        box = torch.from_numpy(np.asarray(units.box, np.float32)) / units.size[0]  # (N, 4)
        wide, high = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
        track = units.x["box.track"].float()  # (N, 3)
        video = self.names.index(units.video) if units.video in self.names else -1
        return Boxes(
            key=keys(units, self.config.seed),
            video=torch.full((len(units),), video),
            frame=torch.from_numpy(np.asarray(units.first, np.int64)),
            scene=self.scene_of(units),
            foot=torch.stack([(box[:, 0] + box[:, 2]) / 2, box[:, 3]], 1),
            extent=torch.stack([high, wide], 1).clamp_min(1e-3).log(),
            track=torch.cat([track[:, :2], track[:, 2:].log1p()], 1),
            flow=velocity(flow / self.read_height(units), 0.5),
            look=gradients(pixels, self.config.bins),
            thumb=pixels.to(torch.uint8),
        )

    def speeds(self, units: Units) -> Maps:
        """Body-sized means of the length of the flow."""
        flow = units.x["whole.flow"][:, 0] / self.read_height(units)  # (N, 2, *MAP)
        length = flow.square().sum(1, keepdim=True).sqrt()  # (N, 1, *MAP)
        edge = BODY // 2
        padded = F.pad(length, (edge, edge, edge, edge), mode="replicate")
        speed = F.avg_pool2d(padded, BODY, stride=1)[:, 0]  # (N, *MAP)
        return Maps(keys(units, self.config.seed), self.scene_of(units), speed)

    # -- scoring -------------------------------------------------------------------------------
    def score(self, units: Units) -> dict[str, Tensor]:
        """ "manner" of boxes: mean distance to the k nearest; "rush" of frames: largest ratio."""
        if units.window == "whole":
            return {"rush": self.ratio(units).flatten(1).amax(1)}
        if not len(self.at(units.scene).rows):
            return {"manner": torch.ones(len(units))}  # any object is new where none ever was
        return {"manner": self.search(units)[0].mean(1)}

    def ratio(self, units: Units) -> Tensor:
        """(N, *MAP) speed over what is usual at each place of the scene."""
        return self.speeds(units).speed / self.at(units.scene).usual

    def search(self, units: Units) -> tuple[Tensor, Tensor]:
        """Distances (N, k), rising, and rows of the memory (N, k)."""
        index = self.at(units.scene)
        near, row = nearest(index.points(self.describe(units)), index.memory, self.config.k)
        return near, index.rows[row]

    def at(self, scene: str) -> Index:
        """What the memory knows of a scene; of a scene never seen, everything."""
        boxes, maps = self.boxes(), self.maps()
        if not len(maps.key):
            raise InputError("this `nearest` has no memory; fit it on normal video first")
        if scene not in self.index:
            known = self.places.index(scene) if scene in self.places else None
            mine, frames = (
                torch.arange(len(column)) if known is None else (column == known).nonzero()[:, 0]
                for column in (boxes.scene, maps.scene)
            )
            own = Boxes(*(column[mine] for column in boxes))
            self.index[scene] = Index(own, mine, maps.speed[frames], self.config)
        return self.index[scene]

    # -- explaining ----------------------------------------------------------------------------
    def explain(self, units: Units) -> list[Reason]:
        """Heat: where motion is faster than usual, or what of a box differs from the most similar
        normal one, which is shown beside it."""
        if units.window == "whole":
            heat = (self.ratio(units) - 1).clamp_min(0)  # (N, *MAP)
            return [Reason(heat=h.numpy(), parts={"speed": 1.0}) for h in heat]
        if not len(self.at(units.scene).rows):
            return [Reason(heat=np.ones((1, 1), np.float32), parts={}) for _ in range(len(units))]
        rows, (near, found) = self.describe(units), self.search(units)
        like = Boxes(*(column[found[:, 0]] for column in self.boxes()))  # the nearest of each
        shares = self.at(units.scene).shares(rows, like)
        flow = units.x["box.flow"][:, 0].square().sum(1).sqrt()  # (N, H, W)
        fast = flow / flow.flatten(1).amax(1).clamp_min(1e-9)[:, None, None]
        odd = (rows.look - like.look).square().view(len(units), 1, CELLS, CELLS, -1).sum(-1)
        odd = F.interpolate(odd, size=flow.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        odd = odd / odd.flatten(1).amax(1).clamp_min(1e-9)[:, None, None]
        look = shares["look"][:, None, None]
        heat = (1 - look) * fast + look * odd  # (N, H, W)
        return [
            Reason(
                heat=heat[i].numpy(),
                parts={n: float(s[i]) * float(near[i].mean()) for n, s in shares.items()},
                pictures={"seen": shown(rows.thumb[i]), "nearest normal": shown(like.thumb[i])},
                like=(self.names[int(like.video[i])], int(like.frame[i])),
            )
            for i in range(len(units))
        ]

    # -- leaving and coming back ---------------------------------------------------------------
    def facts(self) -> dict[str, Any]:
        return {"videos": self.names, "scenes": self.places}

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        self.names, self.places, self.index = list(facts["videos"]), list(facts["scenes"]), {}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        super().set_tensors(state)
        self.index = {}


class Index:
    """The memory of one scene in comparable units."""

    def __init__(self, boxes: Boxes, rows: Tensor, speed: Tensor, config: NearestConfig) -> None:
        self.rows, self.config = rows, config
        self.walk = root_mean_square(boxes.track[:, :2])  # usual velocities are one unit
        self.flow = root_mean_square(boxes.flow)
        self.memory = self.points(boxes)  # (M, D)
        self.usual = usual_speed(speed, config.usual)  # (*MAP)

    def parts(self, rows: Boxes) -> dict[str, Tensor]:
        """What a distance is made of; 1 is a clear difference in each."""
        c = self.config
        motion = [rows.track[:, :2] / self.walk, rows.flow / self.flow]
        return {
            "place": rows.foot / c.place,
            "size": rows.extent / c.size,
            "motion": torch.cat(motion, 1),
            "stay": rows.track[:, 2:] / c.stay,
            "look": rows.look / c.look,
        }

    def points(self, rows: Boxes) -> Tensor:
        """(N, D): the nearest normal example is one from nearby, so that perspective and the
        habits of each place are learned, not modelled."""
        return torch.cat(tuple(self.parts(rows).values()), 1)

    def shares(self, rows: Boxes, like: Boxes) -> dict[str, Tensor]:
        """{part: (N,) its share of the squared distance between each row and its like}; sum 1."""
        pairs = zip(self.parts(rows).items(), self.parts(like).values(), strict=True)
        squares = {name: (one - two).square().sum(1) for (name, one), two in pairs}
        total = torch.stack(tuple(squares.values())).sum(0).clamp_min(1e-12)
        return {name: square / total for name, square in squares.items()}


def root_mean_square(x: Tensor) -> float:
    """Of the lengths of the rows of (N, D)."""
    return max(float(x.square().sum(1).mean().sqrt()), 1e-5) if len(x) else 1.0


def usual_speed(speed: Tensor, share: float) -> Tensor:
    """(N, *MAP) normal speeds to (*MAP): what `share` of them stay below within a cell, and
    nowhere less than the usual peak of a frame: where nobody was seen yet, walking is no rush."""
    here = torch.quantile(speed, share, dim=0)[None, None]  # (1, 1, *MAP)
    near = F.max_pool2d(here, 3, stride=1, padding=1)[0, 0]
    return near.clamp_min(max(float(speed.flatten(1).amax(1).median()), 1e-5))


def shown(thumb: Tensor) -> np.ndarray:
    """(3, h, w) to (h, w, 3) uint8."""
    return thumb.permute(1, 2, 0).numpy()


def joined(one: Any, two: Any) -> Any:
    """The rows of two `Boxes` or two `Maps`."""
    return type(one)(*(torch.cat(pair) for pair in zip(one, two, strict=True)))


def thinned(rows: Any, most: int, slack: int = 1) -> Any:
    """At most `most` rows of each scene, those with the lowest keys, in the order of scene and key,
    each once; left as they are while there are not more than `slack` times as many."""
    if slack > 1 and len(rows.key) <= slack * most:
        return rows
    order = rows.key.argsort()
    key = rows.key[order]
    order = order[torch.cat([key[:1] == key[:1], key[1:] != key[:-1]])]  # the same footage again
    scene = rows.scene[order]
    kept = [order[scene == s][:most] for s in scene.unique()]
    return type(rows)(*(column[torch.cat(kept)] for column in rows)) if kept else rows
