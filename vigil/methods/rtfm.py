"""Robust temporal feature magnitude learning: anomalous segments have the longer features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vigil.errors import ModelError
from vigil.methods import _temporal as temporal
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Reason, Units, Window

TOKENS = 8192  # rows of all crops that go through the network at once when scoring
# parts of names in the authors' state dict and ours
PUBLISHED = {
    "Aggregate.": "embed.", ".non_local.g.": ".non_local.value.", ".theta.": ".query.",
    ".phi.": ".key.", ".W.": ".alter.", "fc1.": "head.0.", "fc2.": "head.3.", "fc3.": "head.6.",
}  # fmt: skip


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RTFMConfig:
    dim: int = Field(default=2048, ge=16, multiple_of=16)  # of a row
    frames: int = Field(default=16, ge=1)  # that a row stands for
    features: str = "given-rows"  # where rows come from; a provider of the role "features"
    segments: int = Field(default=32, ge=1)  # of a training video
    quantise: Literal["avg", "lin", "mil"] = "avg"  # how rows become segments
    k: int = Field(default=3, ge=1)  # segments of largest magnitude that speak for a video
    margin: float = Field(default=100.0, gt=0)  # that anomalous magnitudes are drawn to
    magnitude: float = Field(default=1e-4, ge=0)  # weight of the distance from it
    smooth: float = Field(default=8e-4, ge=0)  # weight of squared steps between segments
    sparse: float = Field(default=8e-3, ge=0)  # weight of the sum over segments
    compat: bool = False  # smooth and sparse over the whole batch at once, as in the authors' code
    dropout: float = Field(default=0.7, ge=0, lt=1)  # also of segments, before the k are chosen
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)  # the authors' code has 5e-3


class RTFM(Method):
    """Learns features whose length tells the few anomalous segments of a video from the others.

    sees         rows of a backbone (I3D), one for each 16 frames, any number of crops
    learns from  normal and anomalous videos, told apart by one label a video; 32 segments each
    score        anomaly: the classifier's answer in 0..1 for each row, the mean over crops
    live         needs the whole video: attention runs over all rows; live a window of 32 rows
    differs from the paper: the magnitude term is that of the authors' code (distance from the
                 margin, squared), not a hinge; smooth and sparse run within each video, where
                 the authors' code joins the batch (compat = true); attention in linear time
    cite         @inproceedings{tian2021weakly, title={Weakly-supervised Video Anomaly Detection
                 with Robust Temporal Feature Magnitude Learning}, author={Tian, Yu and Pang,
                 Guansong and Chen, Yuanhong and Singh, Rajvinder and Verjans, Johan W and
                 Carneiro, Gustavo}, booktitle={ICCV}, year={2021}}
    """

    Config = RTFMConfig
    TINY = {"dim": 64, "frames": 4, "segments": 6}

    def build(self, c: RTFMConfig) -> None:
        self.windows = {"rows": Window("features", (c.dim,), c.frames)}
        self.channels = {"rows": ("anomaly",)}
        self.supervision, self.lookahead = "video-label", None
        self.live_rows = c.segments
        self.providers = {"features": c.features}
        self.embed = temporal.MultiScale(c.dim, "batch")
        self.drop = temporal.Dropout(c.dropout)
        self.head = temporal.classifier(c.dim, c.dropout)
        temporal.init_xavier(self)

    # -- learning ------------------------------------------------------------------------------
    def bag(self, units: Units) -> dict[str, Tensor]:
        """{"rows": (segments, crops, D)}."""
        quantise = temporal.QUANTISERS[self.config.quantise]
        return {"rows": quantise(units.x["rows"], self.config.segments)}

    def features(self, rows: Tensor) -> Tensor:
        """(B, crops, T, D) to the same shape: each row seen with its neighbours and its video."""
        return self.drop(self.embed(rows.flatten(0, 1))).unflatten(0, rows.shape[:2])

    def probability(self, features: Tensor) -> Tensor:
        """(B, crops, T, D) to (B, T) in 0..1, float32."""
        answers: Tensor = self.head(features).float().sigmoid()  # (B, crops, T, 1)
        return answers.mean(1)[..., 0]

    def loss(self, batch: Batch) -> Terms:
        """cls, magnitude, smooth and sparse; the last two of anomalous videos alone."""
        count = len(batch.normal["rows"])
        rows = torch.cat([batch.normal["rows"], batch.anomalous["rows"]])  # (2B, T, crops, D)
        features = self.features(rows.transpose(1, 2))  # (2B, crops, T, D)
        scores = self.probability(features)  # (2B, T)
        mask = self.config.dropout if self.training else 0.0
        index = temporal.top_segments(temporal.magnitudes(features), self.config.k, mask)  # (2B, k)
        chosen = temporal.at_segments(features, index)  # (2B, crops, k, D)
        video = temporal.at_segments(scores, index).mean(1)  # (2B,)
        return self.terms(video, scores[count:], chosen[:count], chosen[count:])

    def terms(self, video: Tensor, scores: Tensor, normal: Tensor, anomalous: Tensor) -> Terms:
        """The loss of video scores (2B,), normal first, of the anomalous videos' segment scores
        (B, T), and of the chosen features (B, crops, k, D) of both kinds."""
        c = self.config
        target = (torch.arange(len(video), device=video.device) >= len(normal)).float()
        return {
            "cls": temporal.cross_entropy(video, target),
            "magnitude": c.magnitude * temporal.separation(anomalous, normal, c.margin),
            "smooth": c.smooth * temporal.smoothness(scores, c.compat),
            "sparse": c.sparse * temporal.sparsity(scores, c.compat),
        }

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {
            "adam": torch.optim.Adam(
                self.parameters(), c.lr, weight_decay=c.weight_decay, fused=True
            )
        }

    # -- scoring -------------------------------------------------------------------------------
    def answers(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """A whole video (N, crops, D) to answers in 0..1 and magnitudes, (N, crops) float32 each.

        Crops do not see each other, so a long video goes through a few crops at a time.
        """
        crops = rows.transpose(0, 1)  # (crops, N, D)
        answers, lengths = [], []
        for some in crops.split(max(TOKENS // len(rows), 1)):
            features = self.drop(self.embed(some))  # (n, N, D)
            answers.append(self.head(features).float().sigmoid()[..., 0])
            lengths.append(features.float().norm(dim=-1))
        return torch.cat(answers).T, torch.cat(lengths).T

    def score(self, units: Units) -> dict[str, Tensor]:
        """{"anomaly": (N,)} of the N >= 1 rows of one video."""
        return {"anomaly": self.answers(units.x["rows"])[0].mean(1)}

    def explain(self, units: Units) -> list[Reason]:
        """The rows that fired: the k of largest magnitude in `units`; see `temporal.fired`."""
        with torch.no_grad():
            answers, lengths = self.answers(units.x["rows"])  # (N, crops) each
        index = temporal.top_segments(lengths.mean(1)[None], self.config.k)[0]
        return temporal.fired(answers, index, "anomaly")

    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        example = (torch.zeros(1, self.config.segments, self.config.dim),)
        return {"embed": (self.embed, example), "head": (self.head, example)}


def from_published(
    state: Mapping[str, Tensor], keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config keys and own tensors from the authors' state dict (Aggregate, fc1, fc2, fc3)."""
    own = {}
    for key, value in state.items():
        for theirs, ours in PUBLISHED.items():
            key = key.replace(theirs, ours)
        own[key] = value
    if "head.0.weight" not in own or "embed.conv_1.2.weight" not in own:
        raise ModelError(
            f"no network of rtfm: found {sorted(state)[:8]}; expected Aggregate.conv_1.0.weight, "
            "..., fc3.bias"
        )
    return {**keys, "dim": own["head.0.weight"].shape[1]}, own
