"""What `mil`, `rtfm` and `s3r` share: 32 segments of a video, the network over time, the terms.

Segments: three published rules turn (T, ..., C) rows of any T >= 1 into a fixed number of segments;
they differ, and a model knows only the one it was trained with (`QUANTISERS`).
Terms are computed in float32 whatever the precision of the networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.records import Reason


# -- segments ------------------------------------------------------------------------------------
def q_lin(rows: Tensor, segments: int = 32) -> Tensor:
    """(T, ..., C) to (segments, ..., C) float32: linear interpolation along time (S3R).

    Half-pixel centres, edges clamped, no antialiasing: of a long video two rows a segment count.
    """
    n = len(rows)
    at = ((np.arange(segments) + 0.5) * n / segments - 0.5).clip(0, n - 1)
    low = np.floor(at).astype(np.int64)
    part = torch.from_numpy((at - low).astype(np.float32)).to(rows.device)
    part = part.view(-1, *[1] * (rows.ndim - 1))  # (segments, 1, ...)
    below = rows[torch.from_numpy(low)].float()
    above = rows[torch.from_numpy(np.minimum(low + 1, n - 1))].float()
    return below * (1 - part) + above * part


def q_avg(rows: Tensor, segments: int = 32) -> Tensor:
    """(T, ..., C) to (segments, ..., C) float32: the mean of each segment's rows (RTFM)."""
    return bin_means(rows, avg_bounds(len(rows), segments))


def q_mil(rows: Tensor, segments: int = 32) -> Tensor:
    """(T, ..., C) to (segments, ..., C) float32: means of unit length (Sultani et al.).

    The last row is left out unless the last segment would be empty; a zero row stays zero.
    """
    return unit_length(bin_means(rows, mil_bounds(len(rows), segments)))


def avg_bounds(n: int, segments: int = 32) -> np.ndarray:
    """(segments + 1,) int64, first row of each segment under `q_avg` and one past the last."""
    return np.linspace(0, n, segments + 1).astype(np.int64)


def mil_bounds(n: int, segments: int = 32, half: Literal["even", "away"] = "even") -> np.ndarray:
    """(segments + 1,) int64, the same under `q_mil`.

    half  where exact halves go: "even" as in numpy, which made the published text features, or
          "away" from zero as in MATLAB, which made the original ones
    """
    bounds = np.linspace(0, n - 1, segments + 1)
    return (np.round(bounds) if half == "even" else np.floor(bounds + 0.5)).astype(np.int64)


def bin_means(rows: Tensor, bounds: np.ndarray) -> Tensor:
    """(T, ..., C) to (bins, ..., C) float32: means of rows [b_i, b_i+1), row b_i if none."""
    spans = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    return torch.stack([rows[a : max(b, a + 1)].float().mean(0) for a, b in spans])


def unit_length(rows: Tensor) -> Tensor:
    """(..., C) float32 divided by its length; zeros stay zeros."""
    return F.normalize(rows.float(), dim=-1)


QUANTISERS: dict[str, Callable[[Tensor, int], Tensor]] = {"lin": q_lin, "avg": q_avg, "mil": q_mil}


# -- networks ------------------------------------------------------------------------------------
class Dropout(nn.Dropout):
    """The same with another draw on CPUs, where torch's takes a large part of a step of `mil`."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        kept = torch.rand(x.shape) < 1 - self.p
        return x * kept * (1 / (1 - self.p))


class NonLocal(nn.Module):
    """Every position of (n, C, T) sees every other; the attention is divided by T, no softmax.

    Starts as the identity: the last normalisation has zero weight and bias (Wang et al. 2018).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.value, self.query, self.key = (nn.Conv1d(channels, inner, 1) for _ in range(3))
        norm = nn.BatchNorm1d(channels)
        nn.init.zeros_(norm.weight)
        self.alter = nn.Sequential(nn.Conv1d(inner, channels, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        seen = attend(self.query(x), self.key(x), self.value(x))  # (n, C/2, T)
        out: Tensor = self.alter(seen.to(x.dtype))  # (n, C, T)
        return out + x


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(n, c, T) three times to (n, c, T) float32: sum over positions s of (q_t . k_s / T) v_s.

    Without a softmax the product is associative, so (v k^T) q costs c * c * T in place of c * T * T
    and never holds a T x T matrix; for T < c the other order is the cheaper one.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, key, value = query.float(), key.float(), value.float()
        length = query.shape[2]
        key = key / length
        if length < query.shape[1]:
            return value @ (key.transpose(1, 2) @ query)  # (n, c, T) @ (n, T, T)
        return (value @ key.transpose(1, 2)) @ query  # (n, c, c) @ (n, c, T)


class MultiScale(nn.Module):
    """Multi-scale temporal network over (n, T, dim), any T >= 1 (Tian et al. 2021, figure 3).

    Three dilated convolutions see near and far neighbours, a non-local block the whole video; a
    fourth convolution joins them and the input is added.

    norm  "batch" after each ReLU (RTFM) or "group" of 8 before it (S3R)
    dim   a multiple of 8, of 32 for "group"
    """

    def __init__(self, dim: int, norm: Literal["batch", "group"]) -> None:
        super().__init__()
        inner = dim // 4
        for n, dilation in enumerate((1, 2, 4), start=1):
            conv = nn.Conv1d(dim, inner, 3, padding=dilation, dilation=dilation)
            self.add_module(f"conv_{n}", normed(conv, norm))
        self.conv_4 = nn.Sequential(nn.Conv1d(dim, inner, 1, bias=False), nn.ReLU())
        self.non_local = NonLocal(inner)
        self.conv_5 = normed(nn.Conv1d(dim, dim, 3, padding=1, bias=False), norm)

    def forward(self, rows: Tensor, made: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """made: attention (n, T, S) and atoms (S, dim) whose product `rows` is, if it is one."""
        if self.training:
            return self.learning(rows, made)
        x = rows.transpose(1, 2)  # (n, dim, T)
        near = [self.get_submodule(f"conv_{n}")(x) for n in (1, 2, 3)]  # (n, dim/4, T) each
        far = self.non_local(self.conv_4(x))  # (n, dim/4, T)
        return (self.conv_5(torch.cat([*near, far], 1)) + x).transpose(1, 2)  # (n, T, dim)

    def learning(self, rows: Tensor, made: tuple[Tensor, Tensor] | None) -> Tensor:
        """The same values by whatever has the cheaper gradients: see `as_product`, `of_product`."""
        layers: list[Any] = [self.get_submodule(f"conv_{n}") for n in (1, 2, 3, 4)]
        last: Any = self.conv_5
        if made is not None and cheaper(rows, made[1]):
            attention = made[0].transpose(1, 2)  # (n, S, T)
            parts = [layer[1:](of_product(layer[0], attention, made[1])) for layer in layers]
        else:
            x = lowered(rows)
            parts = [layer[1:](as_product(layer[0], x)) for layer in layers]
        parts[3] = self.non_local(parts[3])  # (n, dim/4, T) each
        joined = torch.cat(parts, 1).transpose(1, 2)  # (n, T, dim)
        return last[1:](as_product(last[0], joined)).transpose(1, 2) + rows


def cheaper(rows: Tensor, atoms: Tensor) -> bool:
    """Whether convolving the attention costs less than convolving the rows (n, T, C) it made of
    atoms (S, C): the kernels must first be taken to the atoms."""
    tokens, channels = rows.shape[0] * rows.shape[1], rows.shape[2]
    return len(atoms) * (tokens + channels) < tokens * channels


def lowered(x: Tensor) -> Tensor:
    """In the number format that autocast, if it is on, gives to convolutions."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def as_product(conv: nn.Conv1d, rows: Tensor) -> Tensor:
    """(n, T, C) to (n, O, T): `conv`, which keeps the length, as products of matrices. In
    bfloat16 on a CPU their gradient takes less than half the time of the convolution's."""
    (size,), (step,), length = conv.kernel_size, conv.dilation, rows.shape[1]
    if size == 1:
        return F.linear(rows, conv.weight.flatten(1), conv.bias).transpose(1, 2)
    if (size, step) == (3, 1):
        return in_pairs(conv, rows)
    border = size // 2 * step
    padded = F.pad(rows, (0, 0, border, border))
    near = torch.cat([padded[:, k * step : k * step + length] for k in range(size)], 2)
    weight = conv.weight.to(rows.dtype).transpose(1, 2).flatten(1)  # (O, size * C)
    return F.linear(near, weight, conv.bias).transpose(1, 2)


def in_pairs(conv: nn.Conv1d, rows: Tensor) -> Tensor:
    """The same for three neighbours: two places at once by four products in place of six.

    F(2, 3) of Winograd's minimal filtering (Lavin and Gray, CVPR 2016).
    """
    length = rows.shape[1]
    padded = F.pad(rows, (0, 0, 1, 1 + length % 2))
    last = padded.shape[1] - 3
    a, b, c, d = (padded[:, k : k + last : 2] for k in range(4))  # (n, T / 2, C) each
    left, middle, right = conv.weight.unbind(2)  # (O, C) each
    kernels = (left, (left + middle + right) / 2, (left - middle + right) / 2, right)
    w, x, y, z = (
        F.linear(part, kernel.to(rows.dtype))
        for part, kernel in zip((a - c, b + c, c - b, b - d), kernels, strict=True)
    )
    found = torch.stack([w + x + y, x - y - z], 2).flatten(1, 2)[:, :length]  # (n, T, O)
    return (found if conv.bias is None else found + conv.bias).transpose(1, 2)


def of_product(conv: nn.Conv1d, attention: Tensor, atoms: Tensor) -> Tensor:
    """`conv` over what attention (n, S, T) makes of atoms (S, C), without making it: both are
    linear, so its kernel can act on the atoms, and attention takes the place of channels."""
    kernel = torch.einsum("ock,sc->osk", conv.weight, atoms)
    assert not isinstance(conv.padding, str)
    return F.conv1d(attention, kernel, conv.bias, 1, conv.padding, conv.dilation)


def normed(conv: nn.Conv1d, norm: Literal["batch", "group"]) -> nn.Sequential:
    """A convolution with its ReLU and normalisation, in the order that each paper's code has."""
    if norm == "batch":
        return nn.Sequential(conv, nn.ReLU(), nn.BatchNorm1d(conv.out_channels))
    return nn.Sequential(conv, nn.GroupNorm(8, conv.out_channels), nn.ReLU())


def classifier(dim: int, dropout: float) -> nn.Sequential:
    """(..., dim) to logits (..., 1): dim, dim/4, dim/16, 1. The sigmoid is taken in float32."""
    return nn.Sequential(
        nn.Linear(dim, dim // 4), nn.ReLU(), Dropout(dropout),
        nn.Linear(dim // 4, dim // 16), nn.ReLU(), Dropout(dropout),
        nn.Linear(dim // 16, 1),
    )  # fmt: skip


def init_xavier(network: nn.Module) -> None:
    """Xavier-uniform weights and zero biases in every convolution and linear layer."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv1d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


# -- selection -----------------------------------------------------------------------------------
def magnitudes(features: Tensor) -> Tensor:
    """(B, crops, T, C) to (B, T) float32: length of each feature, the mean over crops."""
    return features.float().norm(dim=-1).mean(1)


def top_segments(magnitude: Tensor, k: int, mask: float = 0.0) -> Tensor:
    """(B, T) to (B, min(k, T)) int64: the segments of largest magnitude, the largest first.

    mask  share of segments hidden at random before choosing, for training; no gradient flows
    """
    magnitude = magnitude.detach()
    if mask:
        magnitude = magnitude * F.dropout(torch.ones_like(magnitude), mask)
    return magnitude.topk(min(k, magnitude.shape[1]), dim=1).indices


def at_segments(x: Tensor, index: Tensor) -> Tensor:
    """Segments `index` (B, k) of scores (B, T) or of features (B, crops, T, C), in float32."""
    x = x.float()
    if x.ndim == 2:
        return x.gather(1, index)  # (B, k)
    wide = index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
    return x.gather(2, wide)  # (B, crops, k, C)


def fired(answers: Tensor, index: Tensor, channel: str) -> list[Reason]:
    """Why each of N rows scored as it did: heat is the score of the rows `index` (k,), 0 elsewhere.

    answers  (N, crops) whose mean over crops is the score; parts are the crops' shares of it. A
             row of features says nothing about places in the picture, so heat is (1, 1).
    """
    chosen, crops = set(index.tolist()), answers.shape[1]
    names = [channel] if crops == 1 else [f"crop {n}" for n in range(crops)]
    return [
        Reason(
            heat=np.full((1, 1), sum(row) / crops if n in chosen else 0.0, np.float32),
            parts={name: value / crops for name, value in zip(names, row, strict=True)},
        )
        for n, row in enumerate(answers.tolist())
    ]


# -- terms of the loss, unweighted ---------------------------------------------------------------
def cross_entropy(probability: Tensor, target: Tensor | float) -> Tensor:
    """Mean binary cross-entropy of probabilities in 0..1, any shape, in float32."""
    with torch.autocast(probability.device.type, enabled=False):  # which refuses it in half
        probability = probability.float()
        wanted = torch.as_tensor(target, dtype=torch.float32, device=probability.device)
        return F.binary_cross_entropy(probability, wanted.expand_as(probability))


def separation(anomalous: Tensor, normal: Tensor, margin: float = 100.0) -> Tensor:
    """Mean squared (|margin - length of anomalous| + length of normal), over pairs and crops.

    Both (..., k, C), the features of the chosen segments; their mean over k is measured. As in
    both authors' code; the paper writes a hinge on the difference of the lengths.
    """
    long, short = (x.float().mean(-2).norm(dim=-1) for x in (anomalous, normal))  # (...)
    return ((margin - long).abs() + short).square().mean()


def smoothness(scores: Tensor, compat: bool = False) -> Tensor:
    """Sum of squared differences of neighbouring scores (B, T).

    compat  as in both authors' code also between the end of one video and the start of the next
    """
    scores = scores.float()
    return (scores.flatten() if compat else scores).diff(dim=-1).square().sum()


def sparsity(scores: Tensor, compat: bool = False) -> Tensor:
    """Sum of each video's scores (B, T), the mean over videos, as in the papers.

    compat  as in both authors' code one Euclidean length for the whole batch; of 32 videos with
            equal scores in 32 segments both forms give the same value, so the weight stays
    """
    scores = scores.float()
    return scores.norm() if compat else scores.sum(1).mean()
