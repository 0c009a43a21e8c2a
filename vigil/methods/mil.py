"""Multiple-instance ranking: the highest segment of an anomalous video above that of a normal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vigil.errors import ModelError
from vigil.methods._temporal import (
    Dropout,
    fired,
    mil_bounds,
    q_mil,
    smoothness,
    sparsity,
    unit_length,
)
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Reason, Units, Window

PAIRS = 30  # of videos in a batch of the authors, whose loss is a sum over them
PUBLISHED = {"fc1": "net.0", "fc2": "net.3", "fc3": "net.5"}  # layers of the authors' network


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MILConfig:
    dim: int = Field(default=4096, ge=1)  # of a row: C3D 4096, R3D 2048, I3D 1024
    frames: int = Field(default=16, ge=1)  # that a row stands for
    features: str = "given-rows"  # where rows come from; a provider of the role "features"
    segments: int = Field(default=32, ge=1)  # of a training video
    k: int = Field(default=1, ge=1)  # highest segments that speak for a video; 1 = the maximum
    # of the k highest, the highest first: "uniform", "linear" (k, k-1, ..., 1), or a list
    weights: Literal["uniform", "linear"] | tuple[float, ...] = "uniform"
    smooth: float = Field(default=8e-5, ge=0)  # weight of squared steps between segments
    sparse: float = Field(default=8e-5, ge=0)  # weight of the sum over segments
    penalty: Literal["squared", "norm", "none"] = "squared"  # on the network's weights
    decay: float = Field(default=1e-3, ge=0)  # weight of that penalty
    dropout: float = Field(default=0.6, ge=0, lt=1)
    optimizer: Literal["adagrad", "adadelta", "adam"] = "adagrad"
    lr: float = Field(default=0.01, gt=0)
    answer: Literal["rows", "segments"] = "rows"  # what is scored: each row, or 32 means of rows

    @field_validator("k")
    @classmethod
    def no_more_than_segments(cls, k: int, info: ValidationInfo) -> int:
        if k > info.data.get("segments", k):
            raise ValueError(f"more than the {info.data['segments']} segments of a video")
        return k

    @field_validator("weights")
    @classmethod
    def shares(cls, weights: Any, info: ValidationInfo) -> Any:
        if isinstance(weights, str):
            return weights
        k, segments = info.data.get("k", 1), info.data.get("segments", len(weights))
        if k not in (1, len(weights)):
            raise ValueError(f"{len(weights)} weights for k = {k}")
        if not 1 <= len(weights) <= segments:
            raise ValueError(f"expected 1 to {segments} weights")
        if min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
            raise ValueError(f"weights >= 0 that sum to 1 expected; sum {sum(weights):.6g}")
        return weights


class MIL(Method):
    """Ranks the segments of videos known only to hold an anomaly above those of normal ones.

    sees         rows of a backbone (C3D, R3D, I3D, ...), one for each 16 frames, unit length
    learns from  normal and anomalous videos, told apart by one label a video; 32 segments each
    score        rank: the network's answer in 0..1 for each row alone, the mean over crops
    live         a row's score is there with its last frame; with answer = "segments" the whole
                 video is needed, or a sliding window of 32 rows
    differs from the paper: rows are scored one by one, not in 32 means (answer = "segments" does
                 that); rank is a mean over pairs, the penalty scaled with it; biases start at 0;
                 each video is drawn once a pass; frames past the last segment keep its score
    cite         @inproceedings{sultani2018real, title={Real-World Anomaly Detection in Surveillance
                 Videos}, author={Sultani, Waqas and Chen, Chen and Shah, Mubarak},
                 booktitle={CVPR}, year={2018}}
    """

    Config = MILConfig
    TINY = {"dim": 64, "frames": 4, "segments": 6, "k": 2}

    def build(self, c: MILConfig) -> None:
        self.windows = {"rows": Window("features", (c.dim,), c.frames)}
        self.channels = {"rows": ("rank",)}
        self.supervision = "video-label"
        self.lookahead = c.frames - 1 if c.answer == "rows" else None
        self.live_rows = c.segments
        self.providers = {"features": c.features}
        self.net = nn.Sequential(  # the middle layer is linear in the authors' code too
            nn.Linear(c.dim, 512), nn.ReLU(), Dropout(c.dropout),
            nn.Linear(512, 32), Dropout(c.dropout), nn.Linear(32, 1),
        )  # fmt: skip
        for layer in self.layers():
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("shares", shares(c.k, c.weights), persistent=False)

    def layers(self) -> list[nn.Linear]:
        return [layer for layer in self.net if isinstance(layer, nn.Linear)]

    # -- learning ------------------------------------------------------------------------------
    def bag(self, units: Units) -> dict[str, Tensor]:
        """{"rows": (segments, crops, D)} of unit length."""
        return {"rows": self.segmented(units.x["rows"])}

    def segmented(self, rows: Tensor) -> Tensor:
        """(N, crops, D) to (segments, crops, D); rows that are segments already stay as they are,
        which `q_mil` would not leave: it drops the last."""
        c = self.config
        return unit_length(rows) if len(rows) == c.segments else q_mil(rows, c.segments)

    def answers(self, rows: Tensor) -> Tensor:
        """(..., crops, D) to (..., crops) in 0..1, float32."""
        logits: Tensor = self.net(rows)
        return logits.float().sigmoid()[..., 0]

    def probability(self, rows: Tensor) -> Tensor:
        """(..., crops, D) to (...) in 0..1, float32: the mean over crops."""
        return self.answers(rows).mean(-1)

    def top(self, scores: Tensor) -> Tensor:
        """(B, segments) to (B,): the weighted sum of the k highest."""
        shares = self.get_buffer("shares")
        return (scores.topk(len(shares), dim=1).values * shares).sum(1)

    def loss(self, batch: Batch) -> Terms:
        """rank, smooth and sparse (anomalous videos alone), and the penalty on weights."""
        return self.terms(
            self.probability(batch.normal["rows"]), self.probability(batch.anomalous["rows"])
        )

    def terms(self, normal: Tensor, anomalous: Tensor) -> Terms:
        """The loss of scores (B, segments). Every anomalous video is compared with every normal;
        scores within 0..1 never reach the hinge, so pairs would give the same mean."""
        c = self.config
        apart = self.top(anomalous)[:, None] - self.top(normal)  # (B, B)
        found = {
            "rank": (1 - apart).relu().mean(),
            "smooth": c.smooth * smoothness(anomalous) / len(anomalous),
            "sparse": c.sparse * sparsity(anomalous),
        }
        return found if c.penalty == "none" else {**found, "weights": self.penalty()}

    def penalty(self) -> Tensor:
        """squared: the sum of squared weights, as in the original, whose loss is `PAIRS` times
        ours; norm: the length of each layer's weights and bias together, as in the ports."""
        if self.config.penalty == "squared":
            squares = [layer.weight.float().square().sum() for layer in self.layers()]
            return self.config.decay / PAIRS * torch.stack(squares).sum()
        flat = [[w.float().flatten() for w in layer.parameters()] for layer in self.layers()]
        squares = [torch.stack([w.dot(w) for w in layer]).sum() for layer in flat]
        return self.config.decay * torch.stack(squares).sqrt().sum()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, weights = self.config, self.parameters()
        if c.optimizer == "adam":
            return {"adam": torch.optim.Adam(weights, lr=c.lr)}
        kind = torch.optim.Adagrad if c.optimizer == "adagrad" else torch.optim.Adadelta
        return {c.optimizer: kind(weights, lr=c.lr, eps=1e-8)}

    # -- scoring -------------------------------------------------------------------------------
    def score(self, units: Units) -> dict[str, Tensor]:
        """{"rank": (N,)} of each row, or of the segment that holds it."""
        rows = units.x["rows"]  # (N, crops, D)
        if self.config.answer == "rows":
            return {"rank": self.probability(unit_length(rows))}
        scores = self.probability(self.segmented(rows))  # (segments,)
        return {"rank": scores[torch.from_numpy(self.owner(len(rows))).to(scores.device)]}

    def owner(self, n: int) -> np.ndarray:
        """(n,) int64: the segment that each of n rows lies in; rows past the last go with it."""
        segments = self.config.segments
        if n == segments:
            return np.arange(n)
        found = np.searchsorted(mil_bounds(n, segments)[1:], np.arange(n), side="right")
        return found.clip(max=segments - 1)

    def explain(self, units: Units) -> list[Reason]:
        """The rows that fired: the k highest of `units`; see `fired`."""
        with torch.no_grad():
            answers = self.answers(unit_length(units.x["rows"]))  # (N, crops)
        index = answers.mean(1).topk(min(len(self.get_buffer("shares")), len(answers))).indices
        return fired(answers, index, "rank")

    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        return {"net": (self.net, (torch.zeros(1, self.config.dim),))}


def shares(k: int, weights: Literal["uniform", "linear"] | tuple[float, ...]) -> Tensor:
    """(k,) float32 that sum to 1."""
    if weights == "uniform":
        return torch.full((k,), 1 / k)
    if weights == "linear":
        falling = torch.arange(k, 0, -1, dtype=torch.float32)
        return falling / falling.sum()
    return torch.tensor(weights)


def from_published(
    state: Mapping[str, Tensor], keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config keys and own tensors from the state dict of the PyTorch ports (fc1, fc2, fc3)."""
    wanted = {f"{layer}.{kind}" for layer in PUBLISHED for kind in ("weight", "bias")}
    if set(state) != wanted:
        raise ModelError(f"no network of mil: found {sorted(state)[:8]}, expected {sorted(wanted)}")
    own = {
        f"{PUBLISHED[key.partition('.')[0]]}.{key.partition('.')[2]}": value
        for key, value in state.items()
    }
    return {**keys, "dim": state["fc1.weight"].shape[1]}, own
