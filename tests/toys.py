"""Small unlike methods that prove the contract: each bends it where a real method later will."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vigil import plugins
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Units, Window

strict = ConfigDict(extra="forbid")
CARD = """{what}

sees: toy · learns from: toy · score: toy · live: yes · differs from the paper: none · cite: none
"""


@dataclass(frozen=True, config=strict)
class Nothing:
    width: int = 8


class Pair(Method):
    Config = Nothing
    __doc__ = CARD.format(what="Bags of normal against bags of anomalous videos, rows in crops.")

    def build(self, c: Nothing) -> None:
        self.windows = {"rows": Window("features", (64,), length=4, stride=4)}
        self.channels = {"rows": ("rank",)}
        self.supervision, self.lookahead = "video-label", 3
        self.providers = {"features": "given-rows"}
        self.net = nn.Sequential(
            nn.Linear(64, c.width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(c.width, 1), nn.Sigmoid()
        )

    def bag(self, units: Units) -> dict[str, Tensor]:
        rows = torch.linspace(0, len(units) - 1, 6).round().long()
        return {"rows": units.x["rows"][rows]}  # (6, crops, 64)

    def loss(self, batch: Batch) -> Terms:
        normal = self.net(batch.normal["rows"]).mean(2)[..., 0]  # (B, 6)
        anomalous = self.net(batch.anomalous["rows"]).mean(2)[..., 0]
        return {
            "rank": (1 - anomalous.amax(1) + normal.amax(1)).relu().mean(),
            "sparse": 1e-3 * anomalous.sum(1).mean(),
        }

    def score(self, units: Units) -> dict[str, Tensor]:
        return {"rank": self.net(units.x["rows"]).mean(1)[..., 0]}  # (N, crops, 64) -> (N,)


class WholeVideo(Pair):
    """Scores depend on the whole bag, so it needs the whole video.

    sees: toy · learns from: toy · score: toy · live: window · differs from the paper: - · cite: -
    """

    def build(self, c: Nothing) -> None:
        super().build(c)
        self.lookahead, self.live_rows = None, 4

    def score(self, units: Units) -> dict[str, Tensor]:
        value = self.net(units.x["rows"]).mean(1)[..., 0]
        return {"rank": value - value.mean()}


class TwoOptimizers(Method):
    Config = Nothing
    __doc__ = CARD.format(what="A generator predicts the last frame, a critic judges it.")

    def build(self, c: Nothing) -> None:
        self.windows = {"clip": Window("frames", (3, 16, 16), length=3, answers=(2, 3))}
        self.channels = {"clip": ("error",)}
        self.lookahead = 0
        self.generator = nn.Conv2d(6, 3, 3, padding=1)
        self.critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())

    def halves(self, x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        clip = x["clip"].float() / 255  # (B, 3, 3, 16, 16)
        return clip[:, :2].flatten(1, 2), clip[:, 2]

    def loss(self, batch: Batch) -> Terms:
        past, last = self.halves(batch.x)
        fake = self.generator(past)
        return {"l2": (fake - last).square().mean(), "fool": -self.critic(fake).mean() * 1e-3}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "generator": torch.optim.Adam(self.generator.parameters(), 1e-3),
            "critic": torch.optim.Adam(self.critic.parameters(), 1e-3),
        }

    def fit_step(self, batch, optimizers, backward, model=None) -> Terms:  # type: ignore[no-untyped-def]
        past, last = self.halves(batch.x)
        fake = self.generator(past).detach()
        optimizers["critic"].zero_grad()
        judge = (self.critic(fake).mean() - self.critic(last).mean()).tanh()
        backward(judge)
        optimizers["critic"].step()
        terms = super().fit_step(batch, {"generator": optimizers["generator"]}, backward, model)
        return {**terms, "critic": judge}

    def score(self, units: Units) -> dict[str, Tensor]:
        past, last = self.halves(units.x)
        return {"error": (self.run("generator", past) - last).square().mean((1, 2, 3))}

    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        return {"generator": (self.generator, (torch.zeros(1, 6, 16, 16),))}


class OnAnother(Method):
    Config = Nothing
    stands_on = "toy-two-optimizers"
    __doc__ = CARD.format(what="Learns to see the faults of a frozen base model's predictions.")

    def build(self, c: Nothing) -> None:
        assert isinstance(self.base, TwoOptimizers)
        self.windows, self.lookahead = dict(self.base.windows), self.base.lookahead
        self.channels = {"clip": ("error", "damage")}
        self.net = nn.Conv2d(3, 3, 1)

    def loss(self, batch: Batch) -> Terms:
        assert isinstance(self.base, TwoOptimizers)
        past, last = self.base.halves(batch.x)
        with torch.no_grad():
            fake = self.base.eval().generator(past)
        return {"damage": (self.net(fake) - last).square().mean()}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": torch.optim.Adam(self.net.parameters(), 1e-3)}

    def score(self, units: Units) -> dict[str, Tensor]:
        assert isinstance(self.base, TwoOptimizers)
        past, last = self.base.halves(units.x)
        damage = (self.net(self.base.generator(past)) - last).square().mean((1, 2, 3))
        return {**self.base.score(units), "damage": damage}


class TwoWindows(Method):
    Config = Nothing
    __doc__ = CARD.format(what="Object cubes of 7 frames and whole-frame clips of 35.")

    def build(self, c: Nothing) -> None:
        self.windows = {
            "cube": Window("objects", (7, 8, 8), length=7),
            "clip": Window("frames", (35, 8, 8), length=35, answers=(17, 18), gap="hold"),
        }
        self.channels = {"cube": ("order", "place"), "clip": ("long",)}
        self.lookahead = 17
        self.providers = {"objects": "given"}
        self.cube, self.clip = nn.Linear(7 * 3, 2), nn.Linear(35 * 3, 1)

    def loss(self, batch: Batch) -> Terms:
        cube, clip = self.values(batch.x["cube"]), self.values(batch.x["clip"])
        return {
            "cube": self.cube(cube).square().mean() + self.cube.weight.square().mean(),
            "clip": (self.clip(clip) - 1).square().mean(),
        }

    @staticmethod
    def values(x: Tensor) -> Tensor:
        return (x.float() / 255).mean((-1, -2)).flatten(1)  # (B, T * 3)

    def score(self, units: Units) -> dict[str, Tensor]:
        values = self.values(units.x[units.window])
        if units.window == "clip":
            return {"long": self.clip(values)[:, 0]}
        order, place = self.cube(values).unbind(1)
        return {"order": order, "place": place}


class NeedsFlow(Method):
    Config = Nothing
    __doc__ = CARD.format(what="Motion of overlapping clips; one value for each answered frame.")

    def build(self, c: Nothing) -> None:
        self.windows = {
            "clip": Window(
                "frames", (4, 12, 16), length=4, stride=2, providers=("flow",), reduce="mean"
            )
        }
        self.channels = {"clip": ("motion",)}
        self.lookahead = 3
        self.providers = {"flow": "farneback"}
        self.scale = nn.Parameter(torch.ones(1))

    def loss(self, batch: Batch) -> Terms:
        return {"scale": (self.scale * self.motion(batch.x) - 1).square().mean()}

    @staticmethod
    def motion(x: Mapping[str, Tensor]) -> Tensor:
        return x["clip.flow"].square().sum(2).add(1e-6).sqrt().mean((-1, -2))  # (B, 4)

    def score(self, units: Units) -> dict[str, Tensor]:
        zero = units.x["clip"].float().mean((1, 2, 3, 4)) * 0  # lets the heat reach the pixels
        return {"motion": self.scale * self.motion(units.x) + zero[:, None]}


class Crops(Method):
    Config = Nothing
    __doc__ = CARD.format(what="One-class on stacked rows of any number of crops.")

    def build(self, c: Nothing) -> None:
        self.windows = {"rows": Window("features", (2, 64), length=8, stride=4)}
        self.channels = {"rows": ("error",)}
        self.lookahead = 7
        self.providers = {"features": "given-rows"}
        self.net = nn.Linear(128, c.width)
        self.back = nn.Linear(c.width, 128)

    def loss(self, batch: Batch) -> Terms:
        return {"error": self.error(batch.x["rows"]).mean()}

    def error(self, x: Tensor) -> Tensor:
        flat = x.flatten(-2)  # (B, crops, 128)
        return (self.back(self.net(flat)) - flat).square().mean((1, 2))

    def score(self, units: Units) -> dict[str, Tensor]:
        return {"error": self.error(units.x["rows"])}


class SceneBatched(Crops):
    """Equal numbers of each scene in a batch, classified.

    sees: toy · learns from: toy · score: toy · live: yes · differs from the paper: - · cite: -
    """

    def build(self, c: Nothing) -> None:
        super().build(c)
        self.supervision = "scene"

    def loss(self, batch: Batch) -> Terms:
        assert batch.scene is not None
        counts = batch.scene.bincount(minlength=len(self.scenes))
        assert (counts == counts[0]).all() and len(counts) == len(self.scenes)
        latent = self.net(batch.x["rows"].flatten(-2)).mean(1)  # (B, width)
        return {**super().loss(batch), "scene": nn.functional.cross_entropy(latent, batch.scene)}


class GradientFree(Method):
    Config = Nothing
    __doc__ = CARD.format(what="A memory of normal object colours; nothing is trained.")

    def build(self, c: Nothing) -> None:
        self.windows = {"object": Window("objects", (1, 4, 4))}
        self.channels = {"object": ("distance",)}
        self.providers = {"objects": "given"}
        self.register_buffer("memory", torch.zeros(0, 48))
        self.names: list[str] = []

    def prepare(self, bags: Iterable[Units]) -> None:
        pieces = list(bags)
        self.memory = torch.cat([p.x["object"].float().flatten(1) for p in pieces])
        self.names = [p.video for p in pieces]

    def extend(self, bags: Iterable[Units]) -> None:
        old, names = self.memory, self.names
        self.prepare(bags)
        self.memory, self.names = torch.cat([old, self.memory]), names + self.names

    def score(self, units: Units) -> dict[str, Tensor]:
        rows = units.x["object"].float().flatten(1)
        return {"distance": torch.cdist(rows, self.memory).amin(1)}

    def facts(self) -> dict[str, Any]:
        return {"names": self.names}

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        self.names = list(facts["names"])


TOYS: dict[str, type[Method]] = {
    "toy-pair": Pair,
    "toy-whole-video": WholeVideo,
    "toy-two-optimizers": TwoOptimizers,
    "toy-on-another": OnAnother,
    "toy-two-windows": TwoWindows,
    "toy-needs-flow": NeedsFlow,
    "toy-crops": Crops,
    "toy-scene-batched": SceneBatched,
    "toy-gradient-free": GradientFree,
}
plugins.add("methods", TOYS)
