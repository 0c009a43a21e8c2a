"""S3R: snippets against what a dictionary of normal ones can rebuild, learned from video labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vigil.errors import ConfigError, ModelError
from vigil.methods import _dictionary
from vigil.methods._s3r import Network, Seen, splice
from vigil.methods._temporal import (
    QUANTISERS,
    at_segments,
    cross_entropy,
    magnitudes,
    separation,
    smoothness,
    sparsity,
    top_segments,
)
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Reason, Units, Window

TOKENS = 8192  # rows x crops scored at once; crops meet only in the mean of their scores
SHOWN = 5  # atoms that a reason names
# how names begin in the authors' state dict, and in ours
PUBLISHED = {
    "video_embedding.0.": "net.video_embedding.",
    "macro_embedding.0.": "net.macro_embedding.",
    "en_normal.en_normal_module.query_embedding.": "net.en_normal.query.",
    "en_normal.en_normal_module.cache_embedding.": "net.en_normal.key.",
    "en_normal.en_normal_module.value_embedding.": "net.en_normal.value.",
    "de_normal.channel_attention.channel_gate.mlp.1.": "net.de_normal.squeeze.",
    "de_normal.channel_attention.channel_gate.mlp.3.": "net.de_normal.excite.",
    "video_classifier.": "net.video_classifier.",
    "macro_classifier.mlp.": "net.macro_classifier.",
}
NO_DICTIONARY = (
    "s3r has no dictionary: fit it, or import the published weights together with the dictionary "
    "that they were trained with, a file of its own (--dictionary FILE.npy)"
)
UNUSED = ("video_projection.", "macro_projection.")  # saved by the authors' code, never called


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class S3RConfig:
    dim: int = Field(default=2048, ge=32, multiple_of=32)  # channels of a feature row
    frames: int = Field(default=16, ge=1)  # that a row stands for
    features: str = "given-rows"  # where rows come from; a provider of the role "features"
    segments: int = Field(default=32, ge=1)  # that a training video becomes
    quantise: Literal["lin", "avg", "mil"] = "lin"  # how; "avg" uses all rows of a long video
    dictionary: str = "taskaware"  # or "textbook", "universal", "both", or a .npy file (atoms, dim)
    percent: float = Field(default=90, gt=0, le=100)  # atoms for a hundred normal videos
    universal: str = ""  # .npy file of the dictionary that "universal" and "both" choose from
    k: int = Field(default=3, ge=1)  # segments of largest magnitude that speak for a video
    dropout: float = Field(default=0.7, ge=0, lt=1)  # also of segments, before the k are chosen
    margin: float = Field(default=100, gt=0)  # length that anomalous features should have
    magnitude: float = Field(default=1e-4, ge=0)  # weight of the lengths' term
    smooth: float = Field(default=8e-4, ge=0)  # weight of jumps between anomalous scores
    sparse: float = Field(default=8e-3, ge=0)  # weight of the anomalous scores themselves
    compat: bool = False  # smooth and sparse over the flattened batch, as the authors' code does
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=5e-3, ge=0)
    setting: Literal["weak", "one-class"] = "weak"  # one-class: normal videos only; our reading
    donor: str = ""  # one-class: .npy file (rows, dim) of features of unrelated footage
    snippet: float = Field(default=1, ge=0)  # one-class: weight of the known labels of segments
    dictionary_seed: int = Field(default=42, ge=0)  # of its first atoms


class S3R(Method):
    """Self-supervised sparse representation: what no dictionary of normal features rebuilds.

    sees         rows of clip features, any number of crops (I3D of ten crops in the paper)
    learns from  videos labelled normal or anomalous as a whole; a dictionary of the normal ones
                 comes first. `setting="one-class"`: normal videos and a donor's features
    score        anomaly: mean over crops of a classifier on what is left of each row when a gate
                 has taken out the channels that atoms of the dictionary explain
    live         needs the whole video; live it sees the last 32 rows. One-class: 32 rows
    differs from the authors' code: smoothness and sparsity by video (`compat` for theirs); basis
                 of the dictionary by OMP and least squares; weights chosen on held-out training
                 videos; labels by name. The one-class setting is our reading; no code has it
    cite         @inproceedings{wu2022self, title={Self-supervised Sparse Representation for Video
                 Anomaly Detection}, author={Wu, Jhih-Ciang and Hsieh, He-Yen and Chen, Ding-Jie
                 and Fuh, Chiou-Shann and Liu, Tyng-Luh}, booktitle={ECCV}, year={2022}}
    """

    Config = S3RConfig
    TINY = {"dim": 64, "frames": 4, "segments": 8, "margin": 5.0}
    dictionary: Tensor  # (S, dim); no rows until `prepare`, or until one is loaded
    donor: Tensor  # (M, dim) of the one-class setting, not part of the model

    def build(self, c: S3RConfig) -> None:
        self.one_class = c.setting == "one-class"
        if self.one_class:
            shape, length = (c.segments, c.dim), c.segments * c.frames
            stride = c.frames * max(c.segments // 2, 1)
            self.windows = {"rows": Window("features", shape, length, stride, reduce="mean")}
            self.supervision, self.lookahead = "normal", length - 1
        else:
            # any row is taken, whatever its stride: the rows know their frames
            self.windows = {"rows": Window("features", (c.dim,), c.frames)}
            self.supervision, self.lookahead = "video-label", None
        self.channels, self.live_rows = {"rows": ("anomaly",)}, c.segments
        self.providers = {"features": c.features}
        self.net = Network(c.dim, c.dropout)
        self.register_buffer("dictionary", torch.empty(0, c.dim))
        self.register_buffer("donor", torch.empty(0, c.dim), persistent=False)
        self.crops = 0  # of the features learned from

    # -- the dictionary ------------------------------------------------------------------------
    def prepare(self, bags: Iterable[Units]) -> None:
        """Read the dictionary, or learn it from the normal videos; see `_dictionary`."""
        c = self.config
        if self.one_class:
            if not c.donor:
                raise ConfigError(
                    "s3r one-class: it makes its own anomalies from features of unrelated footage; "
                    "give their file (--set donor=FILE.npy, rows x dim, of the same backbone)"
                )
            self.donor = _dictionary.read(c.donor, c.dim)
        memory = _dictionary.read(c.universal, c.dim) if c.universal else None
        if c.dictionary in _dictionary.KINDS:
            if memory is None and c.dictionary in ("universal", "both"):
                raise _dictionary.need_memory(c.dictionary)  # before all features are read
            normal = _dictionary.gather(self.videos(bags))
            made = _dictionary.build(c.dictionary, normal, c.percent, memory, c.dictionary_seed)
        elif c.dictionary.endswith(".npy"):
            made = _dictionary.read(c.dictionary, c.dim)
            next(iter(self.videos(bags)), None)  # for the number of crops
        else:
            known = ", ".join(_dictionary.KINDS)
            raise ConfigError(f"dictionary {c.dictionary!r}: expected {known} or a .npy file")
        self.dictionary = made.to(self.dictionary.device)

    def videos(self, bags: Iterable[Units]) -> Iterator[Tensor]:
        """(segments, crops, dim) of each."""
        for units in bags:
            rows = units.x["rows"]
            self.crops = rows.shape[1]
            if self.one_class:  # (N, crops, segments, dim)
                yield rows.transpose(1, 2).flatten(0, 1)
            else:
                yield self.bag(units)["rows"]

    def atoms(self) -> Tensor:
        """The dictionary (S, dim); ModelError where there is none yet."""
        if not len(self.dictionary):
            raise ModelError(NO_DICTIONARY)
        return self.dictionary

    # -- learning ------------------------------------------------------------------------------
    def bag(self, units: Units) -> dict[str, Tensor]:
        """One training video as its segments, (segments, crops, dim)."""
        quantise = QUANTISERS[self.config.quantise]
        return {"rows": quantise(units.x["rows"], self.config.segments)}

    def loss(self, batch: Batch) -> Terms:
        """Terms "cls", "magnitude", "smooth", "sparse", "macro"; one-class also "snippet"."""
        if not self.one_class:
            normal, anomalous = (b["rows"].transpose(1, 2) for b in (batch.normal, batch.anomalous))
            return self.terms(normal, anomalous)  # (B, crops, segments, dim) each
        normal = batch.x["rows"]  # (B, crops, segments, dim)
        if not len(self.donor):
            raise ModelError("s3r one-class: the donor's features are read in `prepare`")
        anomalous, mask = splice(normal, self.donor)
        return self.terms(normal, anomalous, mask)

    def terms(self, normal: Tensor, anomalous: Tensor, mask: Tensor | None = None) -> Terms:
        """Of videos (B, crops, T, dim) of each kind; `mask` (B, T) where anomalous is known."""
        c, pairs = self.config, len(normal)
        seen: Seen = self.net(torch.cat([normal, anomalous]), self.atoms())  # of 2B videos
        hidden = c.dropout if self.training else 0.0
        index = top_segments(magnitudes(seen.features), c.k, hidden)  # (2B, k)
        chosen = at_segments(seen.features, index)  # (2B, crops, k, dim)
        score = at_segments(seen.scores, index).mean(1)  # (2B,)
        label = (torch.arange(len(score), device=score.device) >= pairs).float()
        strange = seen.scores[pairs:]  # (B, T)
        found = {
            "cls": cross_entropy(score, label),
            "magnitude": c.magnitude * separation(chosen[pairs:], chosen[:pairs], c.margin),
            "smooth": c.smooth * smoothness(strange, c.compat),
            "sparse": c.sparse * sparsity(strange, c.compat),
            # what atoms of normal videos rebuild is normal in either kind of video
            "macro": cross_entropy(seen.macro, 0.0),
        }
        if mask is not None:
            known = torch.cat([torch.zeros_like(mask), mask]).float()  # (2B, T)
            found["snippet"] = c.snippet * cross_entropy(seen.scores, known)
        return found

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam, its weight decay on every weight, biases and norms included, as in the paper."""
        c = self.config
        return {
            "adam": torch.optim.Adam(
                self.parameters(), c.lr, weight_decay=c.weight_decay, fused=True
            )
        }

    # -- scoring -------------------------------------------------------------------------------
    def score(self, units: Units) -> dict[str, Tensor]:
        """ "anomaly" of each row (N,); one-class of each row of each window (N, segments)."""
        rows = units.x["rows"]
        if self.one_class:  # (N, crops, segments, dim)
            few = max(TOKENS // (rows.shape[1] * rows.shape[2]), 1)
            parts = [self.net(part, self.atoms()).scores for part in rows.split(few)]
            return {"anomaly": torch.cat(parts)}
        crops = rows.transpose(0, 1)  # (crops, N, dim)
        few = max(TOKENS // len(rows), 1)
        parts = [self.net(part[:, None], self.atoms()).scores for part in crops.split(few)]
        return {"anomaly": torch.cat(parts).mean(0)}

    @torch.no_grad()
    def explain(self, units: Units) -> list[Reason]:
        """Heat: what is left of each channel, (crops, dim); one-class (segments, dim). Parts: the
        atoms that rebuild most of the row; they share its score as they share the rebuilding."""
        rows, score = units.x["rows"], self.score(units)["anomaly"]
        if self.one_class:
            seen = self.net(rows, self.atoms())  # N videos of `segments` rows
            left, share = seen.features.abs().mean(1), seen.attention.mean((1, 2))
            score = score.amax(1)
        else:
            seen = self.net(rows.transpose(0, 1)[None], self.atoms())  # one video of N rows
            left = seen.features[0].abs().transpose(0, 1)  # (N, crops, dim)
            share = seen.attention[0].mean(0)  # (N, S)
        return [reason(*row) for row in zip(left, share, score.tolist(), strict=True)]

    # -- leaving and coming back ---------------------------------------------------------------
    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        rows = torch.zeros(1, max(self.crops, 1), 32, self.config.dim)
        some = self.dictionary if len(self.dictionary) else torch.ones(1, self.config.dim)
        return {"network": (self.net, (rows.to(some.device), some))}

    def facts(self) -> dict[str, Any]:
        return {"crops": self.crops, "atoms": len(self.dictionary)}

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        self.crops = int(facts.get("crops", 0))

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        if "dictionary" not in state:
            raise ModelError(NO_DICTIONARY)
        super().set_tensors(state)


def reason(left: Tensor, share: Tensor, score: float) -> Reason:
    """Why a row (h, w) scored so: its heat and the atoms (S,) that rebuild it."""
    weight, atom = share.float().topk(min(SHOWN, len(share)))
    named = zip(atom.tolist(), weight.tolist(), strict=True)
    parts = {f"atom {n}": score * part for n, part in named}
    return Reason(left.float().numpy(force=True), parts | {"others": score - sum(parts.values())})


def from_published(
    state: Mapping[str, Tensor], keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config keys and own tensors from the authors' state dict.

    The dictionary is not in it: `keys` should name its file, {"dictionary": "FILE.npy"}.
    """
    own = {}
    for key, value in state.items():
        start = next((s for s in PUBLISHED if key.startswith(s)), None)
        if start:
            own[PUBLISHED[start] + key.removeprefix(start)] = value
        elif not key.startswith(UNUSED):
            raise ModelError(f"no network of s3r: found {key!r}, which none of its layers has")
    if "net.en_normal.value.weight" not in own:
        raise ModelError(
            f"no network of s3r: found {sorted(state)[:8]}; expected video_embedding.0.conv_1.0."
            "weight, ..., macro_classifier.mlp.6.bias"
        )
    dim = own["net.en_normal.value.weight"].shape[0]
    if (file := str(keys.get("dictionary", ""))).endswith(".npy"):
        own["dictionary"] = _dictionary.read(file, dim)
    return {**keys, "dim": dim}, own
