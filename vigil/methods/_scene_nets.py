"""Networks and losses of `scene`: an autoencoder of short sequences of rows, named as published."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSITIONS = 512  # rows of the table of positions
LOG_VARIANCE = 10.0  # the logarithm of a variance stays within this
UNDERFLOW = 1e-8  # added to the sum over others, as the authors do


class Dropout(nn.Dropout):
    """The same; on CPUs four decisions from each number drawn, where drawing is what takes time."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        drawn = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 4),)).view(torch.int16)
        kept = drawn[: x.numel()].view(x.shape) >= round(self.p * 65536) - 32768
        return x * kept.to(x.dtype).mul_(1 / (1 - self.p))


class Attention(nn.Module):
    """Softmax attention of several heads, (B, T, D) to (B, T, D).

    `place` (1, T, D) counts as if it were added to x, whose own gradient is then not worked out
    where nobody asks for it. Written out, since for 16 rows PyTorch's own copies more than it
    multiplies.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, Dropout(dropout)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        each = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (B, T, 3 D)
        if place is not None:
            each += F.linear(place, self.in_proj_weight)
        parts = each.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, h, T, D/h)
        query, key, value = parts.unbind()
        near = (query @ key.transpose(2, 3)).float() * query.shape[3] ** -0.5  # (B, h, T, T)
        seen = self.drop(near.softmax(3)).to(value.dtype) @ value
        found: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return found


class Layer(nn.Module):
    """A Transformer layer, of x + place, that normalises after each sum."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads, dropout)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        seen = self.drop(self.self_attn(x, place))
        x = x if place is None else x + place
        x = self.norm1(x + seen)
        inner = self.drop(self.linear1(x).relu())
        found: Tensor = self.norm2(x + self.drop(self.linear2(inner)))
        return found


class Layers(nn.Module):
    """Two of them; `place` is for the first."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(dim, heads, hidden, dropout) for _ in range(2))

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        for n, layer in enumerate(self.layers):
            x = layer(x, place if n == 0 else None)
        return x


class Coded(NamedTuple):
    """B segments of T rows, encoded."""

    latent: Tensor  # (B, T, latent): the mean, where the code is drawn at random
    log_variance: Tensor | None  # (B, T, latent)
    back: Tensor  # (B, T, D) the code brought back to the width of a row
    feature: Tensor  # (B, D) mean of it over time: what tells scenes apart


class AutoEncoder(nn.Module):
    """(B, T, D) to (B, T, D) through a narrow code for each row; see `Coded`."""

    def __init__(
        self, dim: int, latent: int, hidden: int, heads: int, dropout: float, *,
        variational: bool = False, position: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(1, POSITIONS, dim) * position)
        self.encoder = Layers(dim, heads, hidden, dropout)
        self.proj_to_latent = nn.Linear(dim, latent)
        self.proj_to_variance = nn.Linear(dim, latent) if variational else None
        self.recon_to_org = nn.Linear(latent, dim)
        self.decoder = Layers(dim, heads, hidden, dropout)
        self.output_proj = nn.Linear(dim, dim)

    def encode(self, x: Tensor) -> Coded:
        seen = self.encoder(x, self.pos_embedding[:, : x.shape[1]])
        latent, log_variance = self.proj_to_latent(seen), None
        code = latent
        if self.proj_to_variance is not None:
            log_variance = self.proj_to_variance(seen).clamp(-LOG_VARIANCE, LOG_VARIANCE)
            if self.training:
                code = latent + (log_variance / 2).exp() * torch.randn_like(latent)
        back = self.recon_to_org(code)
        return Coded(latent, log_variance, back, back.mean(1))

    def decode(self, back: Tensor) -> Tensor:
        found: Tensor = self.output_proj(self.decoder(back))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x).back)


def scene_classifier(dim: int, hidden: int, scenes: int) -> nn.Sequential:
    """(B, dim) to (B, scenes)."""
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.ReLU(), nn.LayerNorm(hidden), nn.Linear(hidden, scenes)
    )


# -- losses --------------------------------------------------------------------------------------
def supervised_contrast(features: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, outside the logarithm) of (B, D) features.

    For each anchor the mean over its class of -log(e^s / sum of e^s over all others), s = cosine /
    temperature; the mean over anchors that have company. Logarithms of sums in float32 throughout:
    e^(1/0.07) is beyond half precision. 0 where every label stands alone.
    """
    unit = F.normalize(features.float(), dim=1)
    with torch.autocast(unit.device.type, enabled=False):
        near = unit @ unit.T / temperature  # (B, B)
    self_ = torch.eye(len(near), dtype=torch.bool, device=near.device)
    floor = near.new_full((len(near), 1), UNDERFLOW).log()
    others = torch.cat([near.masked_fill(self_, -torch.inf), floor], 1).logsumexp(1)  # (B,)
    company = (labels[:, None] == labels) & ~self_
    count = company.sum(1)  # (B,)
    each = (others[:, None] - near).masked_fill(~company, 0).sum(1) / count.clamp_min(1)
    return each.sum() / (count > 0).sum().clamp_min(1)


def temporal_difference(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the steps from row to row, (B, T, D) each."""
    return F.mse_loss(found.float().diff(dim=1), wanted.float().diff(dim=1))


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the standard normal, summed over the last axis, the mean
    over all others."""
    mean, log_variance = mean.float(), log_variance.float()
    inner = 1 + log_variance - mean.square() - log_variance.exp()
    return (-0.5 * inner.sum(-1)).mean()
