"""The Destroyer: a second network that paints black what of a prediction looks degraded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vigil.errors import ConfigError, ModelError
from vigil.methods import _mama_nets as nets
from vigil.methods import _mama_patches as patches
from vigil.methods import mama
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Reason, Units, Window


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DestroyerConfig:
    width: int = Field(default=64, ge=1)  # channels at full size
    fold: int = Field(default=1, ge=1)  # pixels a side that become channels first: full size / fold
    change: bool = False  # give what is added to the prediction, not the picture
    grid: int = Field(default=8, ge=1)  # patches along each side of a frame
    corruption: patches.Corruption = "colours"  # how predictions are made worse to learn from
    least: float = Field(default=0.05, ge=0, le=1)  # share of patches made worse, and of colours
    most: float = Field(default=0.5, gt=0, lt=1)  # left out in one: drawn from least..most
    strictness: float = Field(default=4.0, gt=0)  # a patch is destroyed from SSIM 1 - 1/this on
    margins: bool = False  # the base's margins too; its providers then run in training as well
    lr_destroyer: float = Field(default=2e-4, gt=0)  # also the weight decay
    decay: int = Field(default=0, ge=0)  # steps in which the rate falls to zero; 0: constant


class Destroyer(Method):
    """Looks at predictions of a trained `mama` and destroys what looks degraded in them.

    sees         the base's prediction alone; the true frame is only compared with what is left
    learns from  normal video: patches of predictions made worse are to become black, as far as
                 they are worse (SSIM); the others are to stay
    score        error, place, excesses: as the base's; damage, damage_place: errors of what is left
    live         causal: a frame is scored when it is there
    differs from the paper: patches of their own in each picture, made worse in 0..1 and always
                 visibly, SSIM in 0..1, black is -1 everywhere, the base never changes, its flow and
                 segmentation are not computed, fixed equal weights
    cite         @article{hong2024making, title={Making Anomalies More Anomalous: Video Anomaly
                 Detection Using a Novel Generator and Destroyer}, author={Hong, Seungkyun and
                 Ahn, Sunghyun and Jo, Youngwan and Park, Sanghyun}, journal={IEEE Access},
                 year={2024}}
    """

    Config = DestroyerConfig
    TINY = {"width": 4, "grid": 2}
    stands_on = "mama"

    def build(self, c: DestroyerConfig) -> None:
        if not isinstance(self.base, mama.Mama):
            found = self.base.name if self.base else "none"
            raise ConfigError(f"destroyer: stands on a model of mama; found one of {found}")
        size = self.base.config.size
        self.side = size // c.grid
        if size % c.grid or self.side < patches.WINDOW or c.least > c.most:
            raise ConfigError(
                f"destroyer: grid {c.grid} on predictions of {size} pixels, {c.least}..{c.most}; "
                f"expected whole patches of {patches.WINDOW} pixels or more, and least <= most"
            )
        if size % c.fold:
            raise ConfigError(
                f"destroyer: predictions of {size} pixels are no multiple of {c.fold}"
            )
        kinds = self.base.kinds if c.margins else ()
        self.providers = {nets.ROLES[kind]: self.base.providers[nets.ROLES[kind]] for kind in kinds}
        self.windows = {"clip": self.window(tuple(self.providers))}
        errors, excess = self.base.errors, self.base.excess
        self.damages = ("damage", "damage_place")[: len(errors)]
        self.channels = {"clip": (*errors, *excess, *kinds, *self.damages)}
        self.short_side, self.lookahead = self.base.short_side, 0
        self.net = nets.UNet(3, c.width, c.fold, c.change)
        nets.init_normal(self.net)
        if c.change:  # at first nothing is destroyed
            nn.init.zeros_(self.net.head.weight)
        self.to(memory_format=torch.channels_last)
        self.base.requires_grad_(False).eval()
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # made so far

    @property
    def generator(self) -> mama.Mama:
        """The base."""
        assert isinstance(self.base, mama.Mama)
        return self.base

    def window(self, roles: tuple[str, ...]) -> Window:
        w = self.generator.windows["clip"]
        return Window("frames", w.shape, w.length, answers=w.answers, providers=roles)

    def train(self, mode: bool = True) -> Destroyer:
        """The base stays as it is, statistics of normalisation included."""
        super().train(mode)
        if self.base is not None:
            self.base.eval()
        return self

    # -- learning -------------------------------------------------------------------------------
    def loss(self, batch: Batch) -> Terms:
        """{"destroy": mean over patches of w (left - black)² + (1 - w) (left - prediction)²}."""
        c, (past, target) = self.config, self.generator.clip(batch.x)
        with torch.no_grad():
            prediction = self.generator.predict(past)["frame"]
            noisy, _ = patches.corrupt(prediction, self.side, (c.least, c.most), c.corruption)
            share = patches.damage(noisy, target, self.side, c.strictness)  # (N, P)
        left = self.net(noisy.contiguous(memory_format=torch.channels_last))
        return {"destroy": patches.destroyed(left, prediction, share, self.side).mean()}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate = self.config.lr_destroyer
        return {
            "destroyer": torch.optim.AdamW(
                self.net.parameters(), rate, weight_decay=rate, fused=True
            )
        }

    def fit_step(
        self,
        batch: Batch,
        optimizers: Mapping[str, torch.optim.Optimizer],
        backward: Callable[[Tensor], None],
        model: Callable[[Batch], Terms] | None = None,
    ) -> Terms:
        mama.slow_down(optimizers, int(self.steps), self.config.decay)
        self.steps += 1
        return super().fit_step(batch, optimizers, backward, model)

    # -- scoring --------------------------------------------------------------------------------
    def measured(self, x: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Channels (n,) each; the prediction, the true frame, what is left, (n, 3, H, W)."""
        if self.config.margins:
            channels, frame, target = self.generator.measured(x, self.run)
        else:
            past, target = self.generator.clip(x)
            found = self.generator.predict(past, self.run)
            frame = found["frame"]
            channels = self.generator.error(frame, target, found.get("doubt"))
        left = self.run("destroyer", frame.contiguous(memory_format=torch.channels_last)).float()
        worse = self.generator.error(left, target)
        channels |= dict(zip(self.damages, worse.values(), strict=True))
        return channels, frame, target, left

    def score(self, units: Units) -> dict[str, Tensor]:
        """Errors and damages in decibels, with `margins` also the base's "motion", "label"."""
        parts = [self.measured(x)[0] for x in self.generator.chunks(units)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def explain(self, units: Units) -> list[Reason]:
        """As the base's, with what is left of the prediction."""
        reasons = []
        with torch.no_grad():
            for x in self.generator.chunks(units):
                channels, frame, target, left = self.measured(x)
                for n in range(len(frame)):
                    parts = {name: float(value[n]) for name, value in channels.items()}
                    one = self.generator.reason(parts, frame[n], target[n])
                    pictures = {**one.pictures, "destroyed": self.generator.shown(left[n])}
                    reasons.append(Reason(one.heat, one.parts, pictures))
        return reasons

    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        side = self.generator.config.size
        own = {"destroyer": (self.net, (torch.zeros(1, 3, side, side),))}
        return {**self.generator.networks(), **own}


def from_published(
    state: Mapping[str, Tensor], keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config keys and own tensors from the authors' net_a; its net_g is the base."""
    net = {k.removeprefix("net_a."): v for k, v in state.items() if k.startswith("net_a.")}
    if "inc.conv.conv.0.weight" not in net:
        raise ModelError(
            f"no Destroyer: found {sorted(state)[:4]}; expected net_a.inc.conv.conv.0.weight, ..."
        )
    own = {f"net.{nets.renamed(key)}": value for key, value in net.items()}
    own["steps"] = torch.zeros((), dtype=torch.int64)
    return {**keys, "width": len(net["inc.conv.conv.0.weight"])}, own
