"""Nearest normal row of the same scene: no training, one row a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from vigil.errors import InputError
from vigil.methods._row_memory import RowMemory
from vigil.methods.base import Method
from vigil.records import Reason, Units, Window


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SceneMemoryConfig:
    dim: int = Field(default=768, ge=1)  # of a row; `vigil fit` reads it from the features
    frames: int = Field(default=1, ge=1)  # that a row is made of; read likewise
    features: str = "given-rows"  # where rows come from; a provider of the role "features"
    scale: Literal["unit", "standard", "none"] = "unit"  # rows of length 1; columns of variance 1
    k: int = Field(default=3, ge=1)  # neighbours averaged
    rows: int = Field(default=4000, ge=1)  # kept of each scene
    by_scene: bool = True  # false: one memory for all scenes, to measure what scenes bring
    seed: int = Field(default=0, ge=0)  # of the rows kept when there are more


class SceneMemory(Method):
    """How far a row of features is from the nearest normal ones of its own scene.

    sees         rows of an image encoder or a backbone; the mean of several crops
    learns from  normal video; keeps at most `rows` rows of each scene, chosen by a fixed hash, so
                 that extending a memory equals fitting on all
    score        distance: mean distance to the k nearest normal rows of the scene; in a scene
                 never seen, to those of all scenes
    live         causal; known as soon as the row is
    differs from a published method: ours; the plainest thing that knows scenes, beside `scene`
    cite         none; k nearest neighbours of deep features as in @article{bergman2020deep,
                 title={Deep Nearest Neighbor Anomaly Detection}, author={Bergman, Liron and Cohen,
                 Niv and Hoshen, Yedid}, journal={arXiv:2002.10445}, year={2020}}
    """

    Config = SceneMemoryConfig
    TINY = {"dim": 64, "frames": 4, "rows": 50}
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)

    def build(self, c: SceneMemoryConfig) -> None:
        self.windows = {"rows": Window("features", (c.dim,), c.frames)}
        self.channels = {"rows": ("distance",)}
        self.lookahead = c.frames - 1
        self.providers = {"features": c.features}
        self.memory = RowMemory(c.dim, c.rows, c.seed)
        self.register_buffer("mean", torch.zeros(c.dim))
        self.register_buffer("deviation", torch.ones(c.dim))
        self.scaled: dict[str, tuple[Tensor, Tensor]] = {}  # by scene, made when first needed

    # -- memory --------------------------------------------------------------------------------
    def prepare(self, bags: Iterable[Units]) -> None:
        """Start over with an empty memory, then take in all normal rows."""
        self.memory.forget()
        self.extend(bags)
        if self.config.scale == "standard" and len(self.memory):
            self.mean = self.memory.row.mean(0)
            self.deviation = self.memory.row.std(0, correction=0).clamp_min(1e-6)

    def extend(self, bags: Iterable[Units]) -> None:
        """Take in more normal rows; columns keep the scale of the first footage."""
        for units in bags:
            self.memory.take(units, units.x["rows"].float().mean(1))
        self.memory.thin()
        self.scaled = {}

    def points(self, rows: Tensor) -> Tensor:
        """(N, D) rows as they are compared."""
        if self.config.scale == "unit":
            return F.normalize(rows, dim=1)
        return (rows - self.mean) / self.deviation

    def at(self, scene: str) -> tuple[Tensor, Tensor]:
        """Rows of the memory that a scene is compared with, and these rows scaled."""
        if not len(self.memory):
            raise InputError("this `scene-memory` has no memory; fit it on normal video first")
        scene = scene if self.config.by_scene and scene in self.memory.scenes else ""
        if scene not in self.scaled:
            known = self.config.by_scene and scene in self.memory.scenes
            among = self.memory.of(scene) if known else torch.arange(len(self.memory))
            self.scaled[scene] = among, self.points(self.memory.row[among].cpu())
        return self.scaled[scene]

    # -- scoring -------------------------------------------------------------------------------
    def search(self, units: Units) -> tuple[Tensor, Tensor]:
        """Distances (N, k), rising, and rows of the memory (N, k)."""
        among, memory = self.at(units.scene)
        query = self.points(units.x["rows"].float().mean(1).cpu())
        return self.memory.search(query, among, memory, self.config.k)

    def score(self, units: Units) -> dict[str, Tensor]:
        """{"distance": (N,)} mean distance to the k nearest."""
        return {"distance": self.search(units)[0].mean(1)}

    def explain(self, units: Units) -> list[Reason]:
        """The nearest normal frame of the scene; heat: the columns that differ, (1, D)."""
        near, row = self.search(units)
        apart = self.points(units.x["rows"].float().mean(1)) - self.points(
            self.memory.row[row[:, 0]]
        )
        return [
            Reason(
                heat=apart[n : n + 1].abs().numpy(force=True),
                parts={"distance": float(near[n].mean())},
                like=self.memory.place(int(row[n, 0])),
            )
            for n in range(len(units))
        ]

    def manifold(self, units: Units) -> Tensor:
        """(N, D) rows as they are compared, for a picture of what is normal."""
        return self.points(units.x["rows"].float().mean(1))

    # -- leaving and coming back ---------------------------------------------------------------
    def facts(self) -> dict[str, Any]:
        return self.memory.facts()

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        self.memory.set_facts(facts)
        self.scaled = {}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        super().set_tensors(state)
        self.scaled = {}
