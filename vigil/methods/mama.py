"""Making anomalies more anomalous: predict the next frame, and motion and labels from frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from vigil.errors import ConfigError, ModelError
from vigil.methods import _mama_losses as losses
from vigil.methods import _mama_nets as nets
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Reason, Units, Window

PAST, CLASSES = 4, 21  # frames looked at; maps of a provider of segmentation
CHUNK = 2**19  # pixels of a channel that go through the networks at once when scoring
DIGITS = 4  # of a margin; what is smaller is of the arithmetic, not of the video
Run = Callable[..., Any]  # of a network by name and its inputs, as `Method.run`
INPUTS = {"motion": 2 * (PAST - 1), "label": CLASSES * PAST}  # channels of its encoder


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MamaConfig:
    size: int = Field(default=256, ge=16)  # pixels a side that every frame is brought to
    width: int = Field(default=64, ge=1)  # channels at full size
    fold: int = Field(default=1, ge=1)  # pixels a side that become channels first: full size / fold
    ahead: int = Field(default=1, ge=1)  # frames from the last one seen to the predicted one
    change: bool = False  # predict what is added to the last frame, not the picture
    doubt: bool = False  # also predict how large the error will be; two more channels
    flow: str = "dis"  # a provider of the role "flow", or "none"
    segmentation: str = "foreground-segmentation"  # of the role "segmentation", or "none"
    flow_scale: float | None = Field(default=None, gt=0)  # what flow is multiplied by; 1 / size
    features: bool = True  # motion and label features; false: the plain U-Net of Liu et al.
    colours: str = Field(default="rgb", pattern="^(rgb|bgr)$")  # order in the networks
    distance: losses.Axis = "channels"  # of features; "width": as the published weights learned
    margin: float = Field(default=0.2, ge=0)  # of the triplet terms
    fixed_targets: bool = False  # triplet terms leave the encoders of flow and labels alone
    gradient: float = Field(default=1.0, ge=0)  # weights of the terms
    triplet: float = Field(default=1.0, ge=0)
    adversarial: float = Field(default=0.05, ge=0)  # 0: no judge
    motion: float = Field(default=0.0, ge=0)  # Liu et al.: the flow to the prediction
    judge: int = Field(default=128, ge=1)  # channels of the judge's first layer
    area: float = Field(default=1.0, gt=0, le=1)  # side, of the frame's, of the places whose worst
    # is a channel of its own; 1: only the whole frame
    lr_generator: float = Field(default=2e-4, gt=0)  # also the weight decay of both
    lr_judge: float = Field(default=2e-5, gt=0)
    decay: int = Field(default=0, ge=0)  # steps in which both rates fall to zero; 0: constant


class Mama(Method):
    """Predicts each frame from the four before it; what is not as predicted is anomalous.

    sees         four frames and one later, squashed to a square; optical flow and a segmentation of
                 the four (either may be "none")
    learns from  normal video: squared error, gradients, a judge of patches; and features made
                 from frames are drawn to those of flow and labels, away from the frames' own
    score        error: minus the PSNR of the prediction; place: the same of its worst place, if
                 `area` is below 1; excess, excess_place: the same as a multiple of the error that
                 the network expects, if `doubt`; motion, label: how much further the made features
                 are from the true ones than from the frames'
    live         causal: a frame is scored when it is there
    differs from the paper: distances along channels, no border in the gradient term, colours and
                 flow on the providers' own scale, margins without the hinge as scores, fixed
                 equal weights in place of the best on test labels, weights chosen on held-out
                 normal video; the flow and labels are of whichever providers are named
    cite         @article{hong2024making, title={Making Anomalies More Anomalous: Video Anomaly
                 Detection Using a Novel Generator and Destroyer}, author={Hong, Seungkyun and
                 Ahn, Sunghyun and Jo, Youngwan and Park, Sanghyun}, journal={IEEE Access},
                 year={2024}}
                 @inproceedings{liu2018future, title={Future Frame Prediction for Anomaly
                 Detection -- A New Baseline}, author={Liu, Wen and Luo, Weixin and Lian, Dongze
                 and Gao, Shenghua}, booktitle={CVPR}, year={2018}}
    """

    Config = MamaConfig
    TINY = {"size": 32, "width": 4, "judge": 4, "flow": "farneback"}

    def build(self, c: MamaConfig) -> None:
        self.kinds = tuple(k for k, r in nets.ROLES.items() if getattr(c, r) != "none")
        if self.kinds and not c.features:
            wanted = " ".join(f"--set {nets.ROLES[kind]}=none" for kind in self.kinds)
            raise ConfigError(f"features = false has no use for flow or segmentation: {wanted}")
        self.providers = {nets.ROLES[kind]: getattr(c, nets.ROLES[kind]) for kind in self.kinds}
        if c.size % c.fold:
            raise ConfigError(f"size {c.size} is no multiple of fold {c.fold}")
        length, roles = PAST + c.ahead, tuple(self.providers)
        answers = (length - 1, length)
        self.windows = {
            "clip": Window("frames", (length, c.size, c.size), length, 1, None, answers, roles)
        }
        self.errors = ("error",) if c.area == 1 else ("error", "place")
        self.excess = ("excess", "excess_place")[: len(self.errors)] if c.doubt else ()
        self.channels = {"clip": (*self.errors, *self.excess, *self.kinds)}
        self.short_side, self.lookahead = c.size, 0
        unet = nets.F2LM if c.features else nets.UNet
        self.generator = unet(3 * PAST, c.width, c.fold, c.change, c.doubt)
        self.targets = nn.ModuleDict({k: nets.Deepest(INPUTS[k], c.width) for k in self.kinds})
        self.judge = nets.judge(c.judge) if c.adversarial else nn.Sequential()
        nets.init_generator(self.generator)
        nets.init_generator(self.targets)
        nets.init_normal(self.judge)
        self.to(memory_format=torch.channels_last)
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # made so far
        self.noted: Terms = {}  # of the last step: told, but not learned from

    # -- what the networks see ------------------------------------------------------------------
    def clip(self, x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Four frames (N, 12, H, W) and the last of the window (N, 3, H, W), in -1..1."""
        frames = x["clip"]  # (N, 4 + ahead, 3, H, W)
        frames = frames.flip(2) if self.config.colours == "bgr" else frames
        past, target = (part / 127.5 for part in (frames[:, :PAST].flatten(1, 2), frames[:, -1]))
        return past.contiguous(memory_format=torch.channels_last).sub_(1), target.sub_(1)

    def context(self, x: Mapping[str, Tensor], kind: str) -> Tensor:
        """The flow between the four frames (N, 6, H, W), or their labels (N, 84, H, W)."""
        values = x[f"clip.{nets.ROLES[kind]}"]  # (N, 4 + ahead, 2 | 21, H, W)
        if kind == "motion":
            scale = self.config.flow_scale or 1 / self.config.size
            values = values[:, 1:PAST] * scale  # a frame's flow is that from the one before
        else:
            values = values[:, :PAST]
        return values.flatten(1, 2).contiguous(memory_format=torch.channels_last)

    def predict(self, past: Tensor, run: Run | None = None) -> dict[str, Tensor]:
        """{"frame": (N, 3, H, W), "doubt": (N, 1, H, W) if asked for, and of `nets.F2LM` "seen",
        "motion", "label"} of four frames."""
        found = (run or self.run)("generator", past)
        found = {"frame": found} if isinstance(found, Tensor) else found
        return {name: value.float() for name, value in found.items()}

    def gaps(
        self, found: Mapping[str, Tensor], x: Mapping[str, Tensor], run: Run | None = None
    ) -> dict[str, Tensor]:
        """{kind: `losses.gap` of its features at every place}."""
        gaps = {}
        for kind in self.kinds:
            true = (run or self.run)(f"target_{kind}", self.context(x, kind)).float()
            if self.config.fixed_targets:
                true = true.detach()
            gaps[kind] = losses.gap(found[kind], true, found["seen"], self.config.distance)
            if self.training:  # of zero, if all features have become the same
                self.noted[f"spread_{kind}"] = true.detach().var((0, 2, 3)).sum()
        return gaps

    # -- learning -------------------------------------------------------------------------------
    def loss(self, batch: Batch) -> Terms:
        """intensity, gradient, triplet terms; in training also adversarial and judge, which only
        make sense against each other, so that validation does without."""
        c, (past, target) = self.config, self.clip(batch.x)
        self.noted = {}
        found = self.predict(past)
        frame = found["frame"]
        terms = {"intensity": losses.intensity(frame, target)}
        self.noted["psnr"] = -losses.decibels(terms["intensity"].detach() / 4)
        if c.gradient:
            terms["gradient"] = c.gradient * losses.gradient(frame, target)
        if c.motion:
            before = past[:, -3:]
            terms["motion"] = c.motion * losses.motion(frame, target, before)
        for kind, gap in self.gaps(found, batch.x).items():
            terms[f"triplet_{kind}"] = c.triplet * losses.triplet(gap, c.margin)
        if c.doubt and self.training:  # says nothing about the prediction
            terms["doubt"] = losses.doubt(losses.around(frame.detach(), target), found["doubt"])
        return terms | (self.contest(frame, target) if c.adversarial and self.training else {})

    def contest(self, frame: Tensor, target: Tensor) -> Terms:
        """Both sides of the contest at once: each term reaches the weights of its own side alone,
        so that one backward pass serves both optimizers."""
        fixed = {name: weight.detach() for name, weight in self.judge.named_parameters()}
        odds = functional_call(self.judge, fixed, (frame,))
        true, false = self.judge(torch.cat([target, frame.detach()])).chunk(2)
        return {
            "adversarial": self.config.adversarial * losses.fooled(odds),
            "judge": losses.judged(true, false),
        }

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        rates = {"generator": c.lr_generator, "judge": c.lr_judge}
        sides = {"generator": [*self.generator.parameters(), *self.targets.parameters()]}
        sides |= {"judge": list(self.judge.parameters())} if c.adversarial else {}
        return {
            name: torch.optim.AdamW(w, rates[name], weight_decay=c.lr_generator, fused=True)
            for name, w in sides.items()
        }

    def fit_step(
        self,
        batch: Batch,
        optimizers: Mapping[str, torch.optim.Optimizer],
        backward: Callable[[Tensor], None],
        model: Callable[[Batch], Terms] | None = None,
    ) -> Terms:
        """One step for both sides, from the same prediction."""
        slow_down(optimizers, int(self.steps), self.config.decay)
        terms = super().fit_step(batch, optimizers, backward, model)
        self.steps += 1
        return {**terms, **self.noted}

    # -- scoring --------------------------------------------------------------------------------
    def score(self, units: Units) -> dict[str, Tensor]:
        """Errors and excesses in decibels; "motion", "label": mean gap of features, in -2..2."""
        parts = [self.measured(x)[0] for x in self.chunks(units)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def chunks(self, units: Units) -> Iterator[dict[str, Tensor]]:
        """The units' tensors, a few rows at a time."""
        rows = max(CHUNK // self.config.size**2, 1)
        for start in range(0, len(units), rows):
            yield {key: value[start : start + rows] for key, value in units.x.items()}

    def measured(
        self, x: Mapping[str, Tensor], run: Run | None = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Channels (n,) each, the prediction and the true frame, (n, 3, H, W) in -1..1.

        `run` runs the networks, for a method that stands on this one and has engines of its own.
        """
        past, target = self.clip(x)
        found = self.predict(past, run)
        channels = self.error(found["frame"], target, found.get("doubt"))
        for kind, gap in self.gaps(found, x, run).items():
            channels[kind] = gap.flatten(1).mean(1).round(decimals=DIGITS)
        return channels, found["frame"], target

    def error(
        self, frame: Tensor, target: Tensor, expected: Tensor | None = None
    ) -> dict[str, Tensor]:
        """(N, 3, H, W) twice to decibels (N,) of the whole frame and of its worst place; with
        what was expected, (N, 1, H, W), also those of the error as a multiple of it."""
        found = dict(zip(self.errors, self.worst(losses.square(frame, target)), strict=True))
        if expected is None:
            return found
        beyond = self.worst(losses.excess(losses.around(frame, target), expected))
        return found | dict(zip(self.excess, beyond, strict=True))

    def worst(self, values: Tensor) -> list[Tensor]:
        """(N, 1, H, W) above 0 to decibels (N,) of the mean, and of that of the worst place."""
        found = [values.flatten(1).mean(1)]
        if len(self.errors) > 1:
            side = max(round(self.config.area * self.config.size), 1)
            found.append(F.avg_pool2d(values, side, max(side // 4, 1)).flatten(1).amax(1))
        return [losses.decibels(mean) for mean in found]

    # -- explaining -----------------------------------------------------------------------------
    def explain(self, units: Units) -> list[Reason]:
        """The frame, its prediction, and where they differ, which is the heat."""
        reasons = []
        with torch.no_grad():
            for x in self.chunks(units):
                channels, frame, target = self.measured(x)
                for n in range(len(frame)):
                    parts = {name: float(value[n]) for name, value in channels.items()}
                    reasons.append(self.reason(parts, frame[n], target[n]))
        return reasons

    def reason(self, parts: dict[str, float], frame: Tensor, target: Tensor) -> Reason:
        """Of one prediction (3, H, W)."""
        square = losses.square(frame[None], target[None])[0, 0]
        near = self.config.size // 32 * 2 + 1  # pixels a side: single ones say little
        heat = F.avg_pool2d(square[None], near, 1, near // 2)[0]
        pictures = {"seen": self.shown(target), "predicted": self.shown(frame)}
        pictures["error"] = self.shown(4 * (frame - target).abs() - 1)  # white: a quarter off
        return Reason(heat=heat.numpy(force=True), parts=parts, pictures=pictures)

    def pictures(self, batch: Batch) -> dict[str, np.ndarray]:
        """{"samples": (1, N H, 3 W, 3) uint8} for a tracker of training: a row of a batch is its
        frame, prediction and error."""
        past, target = self.clip(batch.x)
        frame = self.predict(past)["frame"]
        rows = [
            np.concatenate(list(self.reason({}, one, true).pictures.values()), 1)
            for one, true in zip(frame, target, strict=True)
        ]
        return {"samples": np.concatenate(rows)[None]}

    def shown(self, picture: Tensor) -> np.ndarray:
        """(3, H, W) in -1..1 to (H, W, 3) uint8 RGB."""
        picture = picture.flip(0) if self.config.colours == "bgr" else picture
        scaled = ((picture.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return scaled.permute(1, 2, 0).numpy(force=True)

    # -- leaving and coming back ----------------------------------------------------------------
    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        side = self.config.size
        inputs = {k: INPUTS[k] for k in self.kinds}
        named = {f"target_{k}": (self.targets[k], n) for k, n in inputs.items()}
        all_ = {"generator": (self.generator, 3 * PAST), **named}
        return {name: (net, (torch.zeros(1, n, side, side),)) for name, (net, n) in all_.items()}

    def facts(self) -> dict[str, Any]:
        """Where it goes with the authors' code rather than with what is right."""
        c = self.config
        wrong = {"colours": c.colours == "bgr", "distance": c.distance == "width"}
        return {"legacy": {key: getattr(c, key) for key, used in wrong.items() if used}}


def slow_down(optimizers: Mapping[str, torch.optim.Optimizer], step: int, decay: int) -> None:
    """Each rate along half a cosine, from where it began to zero after `decay` steps."""
    for optimizer in optimizers.values() if decay else ():
        for group in optimizer.param_groups:
            group.setdefault("first_lr", group["lr"])
            group["lr"] = group["first_lr"] * (1 + math.cos(math.pi * min(step / decay, 1))) / 2


def from_published(
    state: Mapping[str, Tensor], keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config keys and own tensors from the authors' net_g, and net_d where the file has it.

    Flow and segmentation are "none" unless `keys` name the providers that it was trained with:
    "flownet2-sd:FILE.toml" with variant = "seed", "deeplabv3-resnet101:FILE.toml" with colours =
    "signed-bgr".
    """
    generator = nets.part(state, "net_g.")
    if "inc_x.conv.conv.0.weight" not in generator:
        raise ModelError(
            f"no generator of mama: found {sorted(state)[:4]}; expected "
            "net_g.inc_x.conv.conv.0.weight, ..."
        )
    legacy = {"colours": "bgr", "distance": "width", "flow_scale": 1.0}
    given = {"flow": "none", "segmentation": "none", **legacy, **keys}
    given["width"] = len(generator["inc_x.conv.conv.0.weight"])
    judge = nets.part(state, "net_d.net.") if any(k.startswith("net_d.") for k in state) else {}
    given["adversarial"] = given.get("adversarial", 0.05) if judge else 0.0
    given["judge"] = len(judge["0.weight"]) if judge else MamaConfig.judge
    own = {f"judge.{key}": value for key, value in judge.items()} if given["adversarial"] else {}
    for key, value in generator.items():
        own |= {name: value} if (name := nets.place(key, given)) else {}
    return given, own | {"steps": torch.zeros((), dtype=torch.int64)}
