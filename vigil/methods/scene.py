"""Scene-aware reconstruction: what is normal depends on where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.errors import ConfigError, InputError, ModelError
from vigil.methods import _scene_nets as nets
from vigil.methods._row_memory import RowMemory
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Reason, Units, Window

AT_ONCE = 128  # segments that go through the network together when scoring
OURS = ("memory", "mean", "deviation")  # what no published network has
NEAR = 3  # codes whose distance is averaged


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SceneConfig:
    dim: int = Field(default=768, ge=8, multiple_of=4)  # of a row; `vigil fit` reads it
    frames: int = Field(default=1, ge=1)  # that a row is made of; read likewise
    features: str = "given-rows"  # where rows come from; a provider of the role "features"
    segment: int = Field(default=16, ge=2, le=nets.POSITIONS)  # rows reconstructed together
    hop: int = Field(default=4, ge=1)  # rows between two segments when scoring; 16 as published
    mode: Literal[0, 1, 2] = 1  # 0 reconstruction; 1 and scenes apart; 2 and scenes named
    latent: int = Field(default=256, ge=1)  # numbers of a row's code
    hidden: int = Field(default=256, ge=1)  # within a Transformer layer, and of the classifier
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    variational: bool = False  # codes drawn at random around a mean
    standardise: bool = False  # rows to mean 0 and variance 1, column by column, first
    position: float = Field(default=1.0, gt=0)  # spread of the first positions; 0.02 is usual
    reconstruct: float = Field(default=2.0, gt=0)  # weight of the squared error
    contrast: float = Field(default=1.0, ge=0)  # weight of scenes apart, from mode 1 on
    classify: float = Field(default=0.05, ge=0)  # weight of scenes named, in mode 2
    temporal: float = Field(default=0.0, ge=0)  # weight of the steps from row to row
    divergence: float = Field(default=1e-3, ge=0)  # weight of codes near the standard normal
    temperature: float = Field(default=0.07, gt=0)  # of the contrast
    like: int = Field(default=500, ge=0)  # normal rows of each scene kept to be shown
    by_scene: bool = False  # score also how far codes lie from those kept of their scene
    lr: float = Field(default=1e-4, gt=0)


class Scene(Method):
    """Rebuilds short sequences of rows through codes that lie apart for each scene.

    sees         rows of an image encoder (CLIP ViT-L/14 in the original), one a frame
    learns from  normal videos that say which scene they show; equally many segments of 16 rows
                 of each scene in a batch
    score        error: squared error of each row, the mean over the segments that cover it;
                 with by_scene=true also distance: of its code's direction to the 3 nearest of
                 the normal rows kept of its scene
    live         needs the whole video; live a row is rebuilt with the 15 before it
    differs from the original (no paper): segments overlap and every frame has a score of its own,
                 where the original gives 16 frames their largest error and drops the rest
                 (hop = 16 and the protocol segment-max for that); all windows of a scene count
                 equally, not all videos; anchors without company are left out of the contrast;
                 the variational form, which its README only names, is our reading; by_scene is
                 ours, as the error alone does not ask which scene a video shows
    cite         @misc{ahn2025study, title={Study: Scene-aware Video Anomaly Detection},
                 author={SkiddieAhn}, howpublished={GitHub, SkiddieAhn/Study-Scene-aware-VAD},
                 year={2025}}
    """

    Config = SceneConfig
    TINY = {"dim": 64, "frames": 4, "segment": 4, "hop": 2, "latent": 16, "hidden": 16, "like": 20}
    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)

    def build(self, c: SceneConfig) -> None:
        if c.dim % c.heads:
            raise ConfigError(f"scene: {c.heads} heads do not divide rows of {c.dim}; set heads=1")
        if c.by_scene and not c.like:
            raise ConfigError("scene: by_scene=true compares with the rows kept; set like above 0")
        self.windows = {"rows": Window("features", (c.dim,), c.frames)}
        self.channels = {"rows": ("error", "distance") if c.by_scene else ("error",)}
        self.supervision, self.lookahead = "scene", None
        self.live_rows = c.segment
        self.providers = {"features": c.features}
        self.net = nets.AutoEncoder(
            c.dim, c.latent, c.hidden, c.heads, c.dropout,
            variational=c.variational, position=c.position,
        )  # fmt: skip
        self.draw = int(torch.randint(2**31, ()))  # of the classifier's first weights
        self.classifier = nn.Sequential()  # its width is that of the scenes found
        self.memory = RowMemory(c.dim, c.like)
        self.kept: dict[str, tuple[Tensor, Tensor]] = {}  # by scene, made when first needed
        self.register_buffer("mean", torch.zeros(c.dim))
        self.register_buffer("deviation", torch.ones(c.dim))

    # -- learning ------------------------------------------------------------------------------
    def prepare(self, bags: Iterable[Units]) -> None:
        """Count the scenes; scale columns if asked to; keep some normal rows to be shown."""
        c = self.config
        if c.mode and len(self.scenes) < 2:
            raise ConfigError(
                f"scene: mode {c.mode} tells scenes apart, and the training videos show one "
                f"({self.scenes[0]!r}); say which video shows which in the data set's manifest, "
                "or fit with mode=0"
            )
        self.name_scenes(len(self.scenes))
        self.memory.forget()
        count, total, square = 0, torch.zeros(c.dim).double(), torch.zeros(c.dim).double()
        for units in bags:
            rows = units.x["rows"].double()  # (N, crops, D)
            count += rows.shape[0] * rows.shape[1]
            total, square = total + rows.sum((0, 1)), square + rows.square().sum((0, 1))
            self.memory.take(units, rows.mean(1))
        self.memory.thin()
        if c.standardise and count:
            mean = total / count
            spread = (square / count - mean.square()).clamp_min(0).sqrt()
            self.mean, self.deviation = mean.float(), spread.clamp_min(1e-6).float()

    def name_scenes(self, count: int) -> None:
        """A classifier of so many scenes, with weights that this method's seed decides."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.draw)
            made = nets.scene_classifier(self.config.dim, self.config.hidden, count)
        self.classifier = made.requires_grad_(self.config.mode == 2).to(self.mean.device)

    def scaled(self, rows: Tensor) -> Tensor:
        return (rows.float() - self.mean) / self.deviation

    def loss(self, batch: Batch) -> Terms:
        """Of segments (B, T, crops, D): crops stand for segments of their own."""
        c, rows = self.config, self.scaled(batch.x["rows"])
        scene = batch.scene if batch.scene is not None else torch.zeros(len(rows)).long()
        scene = scene.repeat_interleave(rows.shape[2])
        x = rows.transpose(1, 2).flatten(0, 1)  # (B crops, T, D)
        seen = self.net.encode(x)
        found = self.net.decode(seen.back)
        terms = {"error": c.reconstruct * F.mse_loss(found.float(), x)}
        if c.temporal:
            terms["temporal"] = c.temporal * nets.temporal_difference(found, x)
        if seen.log_variance is not None:
            terms["divergence"] = c.divergence * nets.divergence(seen.latent, seen.log_variance)
        if c.mode:
            terms["contrast"] = c.contrast * nets.supervised_contrast(
                seen.feature, scene, c.temperature
            )
        if c.mode == 2:
            named = self.classifier(seen.feature)
            terms["classify"] = c.classify * F.cross_entropy(named.float(), scene)
        return terms

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        return {"adam": torch.optim.Adam(weights, self.config.lr, fused=True)}

    # -- scoring -------------------------------------------------------------------------------
    def segments(self, rows: Tensor, hop: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Some segments (n, T, crops, D) of a video's rows (N, crops, D) and the rows that each
        answers for, (n, T), -1 = none. One more ends with the video, for the rows left over; a
        video that is too short is filled with its last row."""
        long, count = self.config.segment, len(rows)
        rows = torch.cat([rows, rows[-1:].expand(max(long - count, 0), -1, -1)])
        starts = list(range(0, len(rows) - long + 1, hop))
        at = torch.tensor(starts)[:, None] + torch.arange(long)  # (n, T)
        if (done := starts[-1] + long) < len(rows):
            last = torch.arange(len(rows) - long, len(rows))
            tail = last.masked_fill(last < done, -1)
            index, answers = torch.cat([at, last[None]]), torch.cat([at, tail[None]])
        else:
            index, answers = at, at
        answers = answers.masked_fill(answers >= count, -1)
        for some, told in zip(index.split(AT_ONCE), answers.split(AT_ONCE), strict=True):
            yield rows[some.to(rows.device)], told

    def errors(self, rows: Tensor) -> Tensor:
        """(N,) float32 squared error of each row (crops, D) of one video, the mean over segments,
        columns and crops."""
        total, count = torch.zeros(len(rows)), torch.zeros(len(rows))
        for some, answers in self.segments(self.scaled(rows), self.config.hop):
            x = some.transpose(1, 2).flatten(0, 1)  # (n crops, T, D)
            apart = (self.run("net", x).float() - x).square().mean(2)  # (n crops, T)
            each = apart.unflatten(0, (len(some), -1)).mean(1).cpu()  # (n, T)
            told = answers >= 0
            total.index_add_(0, answers[told], each[told])
            count.index_add_(0, answers[told], torch.ones(int(told.sum())))
        return total / count

    def codes(self, rows: Tensor) -> Tensor:
        """(N, D) of length 1: what tells scenes apart, of each row (N, D) alone."""
        parts = self.scaled(rows).to(self.mean.device).split(AT_ONCE * self.config.segment)
        found = torch.cat([self.net.encode(part[:, None]).feature for part in parts])
        return F.normalize(found.float(), dim=1).cpu()

    def distances(self, units: Units) -> Tensor:
        """(N,) mean distance of each row's code to the nearest normal ones of the scene; of all
        scenes, in one never seen."""
        if not len(self.memory):
            raise InputError("this `scene` keeps no normal rows; fit it with like above 0")
        scene = units.scene if units.scene in self.memory.scenes else ""
        if scene not in self.kept:
            among = self.memory.of(scene)
            self.kept[scene] = among, self.codes(self.memory.row[among])
        among, memory = self.kept[scene]
        query = self.codes(units.x["rows"].float().mean(1))
        return self.memory.search(query, among, memory, NEAR)[0].mean(1)

    def score(self, units: Units) -> dict[str, Tensor]:
        """{"error": (N,)} of the N >= 1 rows of one video, with `by_scene` also "distance"."""
        found = {"error": self.errors(units.x["rows"])}
        return found | ({"distance": self.distances(units)} if self.config.by_scene else {})

    def manifold(self, units: Units) -> Tensor:
        """(segments, D): what tells scenes apart, of segments that do not overlap."""
        found = []
        for some, _ in self.segments(self.scaled(units.x["rows"]), self.config.segment):
            found.append(self.net.encode(some.mean(2)).feature)
        return torch.cat(found)

    def explain(self, units: Units) -> list[Reason]:
        """Heat: the columns that each row is wrong in, (1, D); the nearest normal frame of the same
        scene beside it."""
        rows = units.x["rows"]
        with torch.no_grad():
            long = self.config.segment
            x = self.scaled(rows).mean(1)[:, None].expand(-1, long, -1)  # each as if it stood still
            heat = (self.run("net", x.contiguous()).float() - x).abs().mean(1)  # (N, D)
        like: list[tuple[str, int] | None] = [None] * len(units)
        if len(self.memory):
            among = self.memory.of(units.scene)
            memory = F.normalize(self.memory.row[among].cpu(), dim=1)
            query = F.normalize(rows.float().mean(1).cpu(), dim=1)
            found = self.memory.search(query, among, memory, 1)[1]
            like = [self.memory.place(int(row)) for row in found[:, 0]]
        parts = [{"error": float(h.square().mean())} for h in heat]
        if self.config.by_scene:
            with torch.no_grad():
                far = self.distances(units).tolist()
            parts = [{**part, "distance": each} for part, each in zip(parts, far, strict=True)]
        shown = zip(heat, parts, like, strict=True)
        return [Reason(h[None].numpy(force=True), part, like=near) for h, part, near in shown]

    # -- leaving and coming back ---------------------------------------------------------------
    def train(self, mode: bool = True) -> Scene:
        self.kept = {}  # codes change with the weights
        super().train(mode)
        return self

    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        return {"net": (self.net, (torch.zeros(1, self.config.segment, self.config.dim),))}

    def facts(self) -> dict[str, Any]:
        return self.memory.facts()

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        self.memory.set_facts(facts)
        self.kept = {}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take back what was learned; a published network has no memory and no scale."""
        self.kept = {}
        if "classifier.3.bias" in state:
            self.name_scenes(len(state["classifier.3.bias"]))
        kept = {k: v for k, v in self.state_dict().items() if k.split(".")[0] in OURS}
        super().set_tensors({**kept, **state})


def from_published(
    state: Mapping[str, Tensor], keys: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config keys and own tensors from the authors' state dict."""
    wanted = {
        "pos_embedding",
        "proj_to_latent.weight",
        "recon_to_org.weight",
        "classifier.3.weight",
    }
    layer = "encoder.layers.0.linear1.weight"
    if not wanted | {layer} <= set(state):
        raise ModelError(
            f"no network of scene: found {sorted(state)[:8]}; expected pos_embedding, "
            "encoder.layers.0..., classifier.3.weight"
        )
    latent, dim = state["proj_to_latent.weight"].shape
    told = {"dim": dim, "latent": latent, "hidden": len(state[layer])}
    own = {k if k.startswith("classifier.") else f"net.{k}": v for k, v in state.items()}
    return {**keys, **told}, own
