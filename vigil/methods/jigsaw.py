"""Jigsaw puzzles in space and time: what normal footage taught to put together, and what not."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.errors import ModelError
from vigil.methods._jigsaw_net import SIDE, FourHead, Lean, Level, PuzzleNet, WideBranch
from vigil.methods._jigsaw_puzzle import as_input, draw, framed, grey
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Reason, Units, Window

CHUNK = 32  # cubes scored at once: what fits a processor's cache
CHANNELS = {"cube": ("spatial", "temporal"), "clip": ("clip_spatial", "clip_temporal")}
LEVELS = {"frame": ("cube",), "clip": ("clip",), "frame,clip": ("cube", "clip")}
TILE_NAMES = tuple(
    f"{y} {x}" for y in ("upper", "middle", "lower") for x in ("left", "centre", "right")
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class JigsawConfig:
    objects: str = "foreground"  # whose cubes: a provider of boxes ("given", ...), or "frame"
    net: Literal["lean", "wide", "fourhead"] = "lean"  # ours; the paper's; the clip extension's
    levels: Literal["frame", "clip", "frame,clip"] = "frame"  # cubes, clips of cubes, or both
    frames: int = Field(default=7, ge=3)  # of a cube, odd
    clips: int = Field(default=5, ge=2)  # cubes of a clip
    answer: Literal["last", "centre"] = "last"  # what a clip answers for: its last cube's middle
    every: int = Field(default=1, ge=1)  # frames from one cube (or clip) to the next
    colour: bool = True
    shuffle: Literal["one", "both"] = "one"  # in time or in place, or both at once
    static: float = Field(default=0.2, ge=0, le=1)  # of the grey range: less is no motion
    flip: bool = True  # mirror every second cube in training
    rows: Literal["worst", "mean"] = "worst"  # of a puzzle, that its score tells
    scale: Literal["log", "probability"] = "log"  # of the scores
    persist: float = Field(
        default=0.25, ge=0, validate_default=True
    )  # seconds over which a thing's scores are averaged
    crop: Literal["area", "roi"] = "area"  # RoIAlign is what published weights were trained on
    short_side: int = Field(default=240, ge=SIDE)  # pixels that frames are read at
    width: int = Field(default=64, ge=16, multiple_of=16)  # of the lean network

    @field_validator("objects")
    @classmethod
    def a_provider(cls, objects: str) -> str:
        if objects == "detector":
            raise ValueError("say which, e.g. onnx:people.toml or fasterrcnn-resnet50-fpn:FILE.pth")
        return objects

    @field_validator("levels")
    @classmethod
    def has_heads(cls, levels: str, info: ValidationInfo) -> str:
        if levels != "frame" and info.data.get("net") == "wide":
            raise ValueError("the network 'wide' knows cubes alone; take lean or fourhead")
        return levels

    @field_validator("frames")
    @classmethod
    def has_a_middle(cls, frames: int) -> int:
        if not frames % 2:
            raise ValueError("a cube has a middle frame: an odd number of frames is needed")
        return frames

    @field_validator("every")
    @classmethod
    def leaves_no_gap(cls, every: int, info: ValidationInfo) -> int:
        if every > info.data.get("frames", every) // 2 + 1:
            raise ValueError("more than half a cube: frames between would have no score")
        return every

    @field_validator("persist")
    @classmethod
    def one_frame_each(cls, persist: float, info: ValidationInfo) -> float:
        return persist if info.data.get("every", 1) == 1 else 0.0


class Jigsaw(Method):
    """Solves spatial and temporal jigsaw puzzles of what is normal; who fits no puzzle stands out.

    sees         cubes of T frames of each object (or of the whole picture), and with levels =
                 "frame,clip" clips of K cubes in a row; pixels alone
    learns from  normal video: each cube's tiles are shuffled, or its moments, and where each
                 belongs is to be told; a draw at each visit
    score        spatial, temporal: minus the log of the probability of the tile, or moment, that
                 seems most out of place in the cube as it is; clip_spatial, clip_temporal likewise
    live         T // 2 frames late; a clip that answers for its centre K T // 2
    differs from the paper: a lean network that sees all frames of a cube at once (net = "wide"
                 is the paper's); task and permutation drawn per visit, not by the sample's number;
                 border black at all times; channels on the scale of normal footage, in logarithms,
                 before they are joined; no test label chooses anything
    cite         @inproceedings{wang2022jigsaw, title={Video Anomaly Detection by Solving Decoupled
                 Spatio-Temporal Jigsaw Puzzles}, author={Wang, Guodong and Wang, Yunhong and Qin,
                 Jie and Zhang, Dongming and Bao, Xiuguo and Huang, Di}, booktitle={ECCV},
                 year={2022}}
    """

    Config = JigsawConfig
    TINY = {
        "objects": "given", "levels": "frame,clip", "frames": 3, "clips": 3, "width": 16,
        "short_side": 64,
    }  # fmt: skip

    def build(self, c: JigsawConfig) -> None:
        half, length = c.frames // 2, c.frames * c.clips
        first = length - 1 - half if c.answer == "last" else length // 2
        places = {"cube": (c.frames, half), "clip": (length, first)}
        self.windows = {name: self.window(*places[name]) for name in LEVELS[c.levels]}
        self.channels = {name: CHANNELS[name] for name in self.windows}
        self.lookahead = max(window.lookahead for window in self.windows.values())
        self.providers = {} if c.objects == "frame" else {"objects": c.objects}
        self.short_side, self.persist = c.short_side, c.persist
        self.net = self.network()

    def window(self, length: int, first: int) -> Window:
        """Cubes of `length` frames that answer for `every` frames from `first` on."""
        c = self.config
        kind: Literal["frames", "objects"] = "frames" if c.objects == "frame" else "objects"
        answers, shape = (first, first + c.every), (length, SIDE, SIDE)
        return Window(kind, shape, length, c.every, anchor=first, answers=answers, crop=c.crop)

    def network(self) -> PuzzleNet:
        c = self.config
        colours, clips = 3 if c.colour else 1, 1 if c.levels == "frame" else c.clips
        if c.net == "lean":
            return Lean(colours, c.frames, clips, c.width)
        return {"wide": WideBranch, "fourhead": FourHead}[c.net](colours, c.frames, c.clips)

    def moments(self, level: str) -> int:
        """What the time puzzle of a level is made of: frames of a cube, cubes of a clip."""
        return int(self.config.clips if level == "clip" else self.config.frames)

    # -- learning ------------------------------------------------------------------------------
    def loss(self, batch: Batch) -> Terms:
        """Mean cross-entropy over the rows of each puzzle of each level; chance is ln 9, ln T,
        ln K. A puzzle that nobody in the batch was drawn for has no term."""
        terms: Terms = {}
        for level in self.windows:
            terms |= self.level_loss(batch.x[level], level)
        return terms

    def level_loss(self, pixels: Tensor, level: str) -> Terms:
        """The terms of (N, T, 3, 64, 64) uint8, by channel."""
        c, (spatial, temporal) = self.config, CHANNELS[level]
        x = self.coloured(pixels)
        if c.flip and self.training:
            mirrored = (torch.rand(len(x)) < 0.5).to(x.device)
            x = torch.where(mirrored.view(-1, 1, 1, 1, 1), x.flip(-1), x)
        puzzle = draw(x, self.moments(level), both=c.shuffle == "both", static=c.static)
        time, place = Level(self.net, level)(as_input(puzzle.x))
        terms = {}
        if puzzle.placed.any():
            terms[spatial] = rows_loss(place[puzzle.placed], puzzle.place[puzzle.placed])
        if puzzle.timed.any():
            terms[temporal] = rows_loss(time[puzzle.timed], puzzle.time[puzzle.timed])
        return terms

    def coloured(self, pixels: Tensor) -> Tensor:
        return pixels if self.config.colour else grey(pixels)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate = 1e-3 if self.config.net == "lean" else 1e-4  # the paper's for the published nets
        return {"adam": torch.optim.Adam(self.parameters(), lr=rate)}

    # -- scoring -------------------------------------------------------------------------------
    def score(self, units: Units) -> dict[str, Tensor]:
        """How badly the unshuffled cube fits together, (N,) a channel."""
        time, place = self.odds(units)
        spatial, temporal = CHANNELS[units.window]
        return {spatial: self.told(place), temporal: self.told(time)}

    def odds(self, units: Units) -> tuple[Tensor, Tensor]:
        """-log of the probability of the right answer for each moment (N, M), each tile (N, 9)."""
        found = []
        for pixels in units.x[units.window].split(CHUNK):
            logits = self.run(units.window, as_input(framed(self.coloured(pixels))))
            found.append([right_odds(part) for part in logits])
        time, place = (torch.cat(parts) for parts in zip(*found, strict=True))
        return time, place

    def told(self, odds: Tensor) -> Tensor:
        """(N, rows) to (N,): of the worst row, or of all."""
        odds = odds if self.config.scale == "log" else 1 - (-odds).exp()
        return odds.amax(1) if self.config.rows == "worst" else odds.mean(1)

    # -- explaining ----------------------------------------------------------------------------
    def explain(self, units: Units) -> list[Reason]:
        """The tile and the moment that seem most out of place. Heat: tiles by how odd they are,
        and what moves at that moment, each as far as its puzzle is to blame."""
        with torch.no_grad():
            time, place = self.odds(units)
        pixels = units.x[units.window]
        return [self.reason(pixels[n], time[n], place[n], units.window) for n in range(len(units))]

    def reason(self, cube: Tensor, time: Tensor, place: Tensor, level: str) -> Reason:
        """Of one cube (T, 3, 64, 64) and its odds (M,), (9,)."""
        spatial, temporal = CHANNELS[level]
        tile, moment = int(place.argmax()), int(time.argmax())
        step = len(cube) // len(time)  # frames of a moment
        at = moment * step + step // 2
        near = cube[[max(at - 1, 0), min(at + 1, len(cube) - 1)]].float()
        moved = (near - cube[at].float()).abs().mean((0, 1))  # (64, 64)
        tiles = framed(F.interpolate(place.view(1, 1, 3, 3), size=SIDE)[0, 0])
        share = place.max() / (place.max() + time.max()).clamp_min(1e-9)
        heat = share * whole(tiles) + (1 - share) * whole(moved)
        return Reason(
            heat=heat.numpy(force=True),
            parts={
                f"{spatial}: tile {TILE_NAMES[tile]}": float(self.told(place[None])),
                f"{temporal}: moment {moment + 1} of {len(time)}": float(self.told(time[None])),
            },
            pictures={"seen": shown(cube[len(cube) // 2]), "out of place": shown(cube[at])},
        )

    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        colours = 3 if self.config.colour else 1
        return {
            name: (Level(self.net, name), (torch.zeros(1, colours, *window.shape),))
            for name, window in self.windows.items()
        }


def rows_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the rows of (n, M, M) with labels (n, M), in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


def right_odds(logits: Tensor) -> Tensor:
    """(n, M, M) to (n, M): -log of the probability that row m gives to m, float32."""
    return -logits.float().log_softmax(2).diagonal(dim1=1, dim2=2)


def whole(heat: Tensor) -> Tensor:
    """Scaled so that the highest is 1."""
    return heat / heat.max().clamp_min(1e-9)


def shown(picture: Tensor) -> np.ndarray:
    """(3, h, w) to (h, w, 3) uint8."""
    return picture.permute(1, 2, 0).numpy(force=True)


def from_published(
    state: Mapping[str, Tensor], keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config keys and own tensors from a state dict of the paper's network or of the four-head."""

    def side(key: str) -> int:
        return isqrt(len(state[f"{key}.weight"]))

    facts: dict[str, Any]
    if {"model.0.weight", "classifier_1.2.weight"} <= set(state):
        first, facts = state["model.0.weight"], {"net": "wide", "levels": "frame"}
        facts["frames"] = side("classifier_1.2")
    elif {"backbone.0.weight", "clip_temp_classifier.3.weight"} <= set(state):
        first, facts = state["backbone.0.weight"], {"net": "fourhead", "levels": "frame,clip"}
        facts["frames"] = side("frame_temp_classifier.3")
        facts["clips"] = side("clip_temp_classifier.3")
    else:
        raise ModelError(
            f"no network of jigsaw: found {sorted(state)[:8]}, expected model.0.weight and "
            "classifier_1.2.weight, or backbone.0.weight and clip_temp_classifier.3.weight"
        )
    facts["colour"] = first.shape[1] == 3
    # the wide network saw RoIAlign's cubes of objects, the four-head one squeezed whole frames
    seen = {"objects": "frame"} if facts["net"] == "fourhead" else {"crop": "roi"}
    given = {**seen, **facts, **keys}
    if any(given[key] != facts[key] for key in facts if key != "levels"):
        wrong = {key: facts[key] for key in facts if given[key] != facts[key]}
        raise ModelError(f"these weights are of {wrong}")
    return given, {f"net.{key}": value for key, value in state.items()}
