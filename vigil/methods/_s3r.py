"""The networks of S3R, and the pseudo anomalies of its one-class setting."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vigil.methods._temporal import Dropout, MultiScale, classifier, init_xavier

REDUCTION = 16  # of the channels inside the gate
SHARE = (0.1, 0.5)  # of a sequence that a pseudo anomaly covers


class Seen(NamedTuple):
    """What the network makes of B videos of N crops and T rows, S atoms, C channels."""

    scores: Tensor  # (B, T) in 0..1, float32
    macro: Tensor  # (B,) in 0..1, float32
    features: Tensor  # (B, N, T, C) the rows' own, what is usual gated away
    usual: Tensor  # (B, N, T, C) the rebuilt ones, gated the other way
    gate: Tensor  # (B, N, C) in 0..1
    rebuilt: Tensor  # (B, N, T, C) before their embedding
    attention: Tensor  # (B, N, T, S) sums to 1 over the atoms


class Network(nn.Module):
    """Rows (B, N, T, C) and a dictionary (S, C) shared by all to `Seen`; any N, T and S >= 1."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.en_normal = EnNormal(dim)
        self.video_embedding, self.macro_embedding = (MultiScale(dim, "group") for _ in range(2))
        self.dropout = Dropout(dropout)
        self.de_normal = DeNormal(dim)
        self.video_classifier, self.macro_classifier = (classifier(dim, dropout) for _ in range(2))
        init_xavier(self)

    def forward(self, rows: Tensor, dictionary: Tensor) -> Seen:
        crops = rows.flatten(0, 1)  # (B * N, T, C)
        key, atoms = self.en_normal.embed(dictionary)
        rebuilt, attention = self.en_normal.rebuild(crops, key, atoms)
        own = self.dropout(self.video_embedding(crops))  # (B * N, T, C)
        usual = self.dropout(self.macro_embedding(rebuilt, (attention, atoms)))
        gate = self.de_normal(own, usual)  # (B * N, C)
        own, usual = own * gate[:, None], usual * (1 - gate[:, None])
        micro = self.video_classifier(own)[..., 0].float().sigmoid()  # (B * N, T)
        macro = self.macro_classifier(usual.mean(1))[..., 0].float().sigmoid()  # (B * N,)

        def videos(x: Tensor) -> Tensor:
            return x.unflatten(0, rows.shape[:2])

        return Seen(
            videos(micro).mean(1), videos(macro).mean(1), videos(own), videos(usual),
            videos(gate), videos(rebuilt), videos(attention),
        )  # fmt: skip


class EnNormal(nn.Module):
    """Rebuilds rows (n, T, C) from the dictionary (S, C): softmax attention over its atoms.

    The scale 1 / sqrt(C / 4) of other attentions is not there, as in the authors' code. Their
    shrinkage of small weights is off in every released configuration and left out.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Linear(dim, dim // 4) for _ in range(2))
        self.value = nn.Linear(dim, dim)
        self.made: tuple[list[Tensor], list[tuple[int, int]], bool] | None = None
        self.embedded: tuple[Tensor, Tensor] | None = None

    def forward(self, rows: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        return self.rebuild(rows, *self.embed(dictionary))

    def rebuild(self, rows: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """From the atoms' keys (S, C / 4) and values (S, C): the rows, and the attention."""
        attention = (self.query(rows) @ key.T).softmax(-1)  # (n, T, S)
        return attention.to(value.dtype) @ value, attention

    def embed(self, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the atoms: once for a whole batch, and once for good when scoring."""
        parts = [dictionary, *self.key.parameters(), *self.value.parameters()]
        if self.training or torch.is_grad_enabled() or any(p.is_inference() for p in parts):
            return self.key(dictionary), self.value(dictionary)
        # whatever changes a weight or the dictionary changes its place or its version
        now = [(p.data_ptr(), p._version) for p in parts]
        cast = torch.is_autocast_enabled(dictionary.device.type)
        known = self.made is not None and (self.made[1:] == (now, cast))
        if self.embedded is None or self.made is None or not known or not same(self.made[0], parts):
            self.made = (parts, now, cast)  # holds the tensors, so that no place is used again
            self.embedded = (self.key(dictionary), self.value(dictionary))
        return self.embedded


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    """Whether two lists hold the very same tensors."""
    return all(a is b for a, b in zip(one, two, strict=True))


class DeNormal(nn.Module):
    """How much of each channel is a row's own, (n, C) in 0..1; constant over time.

    It looks at the means over time of rows (n, T, C) and of what was rebuilt from normal atoms.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(dim, dim // REDUCTION)
        self.excite = nn.Linear(dim // REDUCTION, dim)

    def forward(self, own: Tensor, usual: Tensor) -> Tensor:
        apart = own.mean(1) - usual.mean(1)  # (n, C)
        return self.excite(self.squeeze(apart).relu()).sigmoid()


def splice(normal: Tensor, donor: Tensor) -> tuple[Tensor, Tensor]:
    """Pseudo anomalies of normal rows (B, N, T, C): a span of each becomes a donor's rows (M, C).

    The span has a random place and covers 10 to 50 % of the T rows, at least one; the donor's
    rows stay in their order. Our reading of the paper's pseudo anomalies, not its code.
    Gives the rows (B, N, T, C) and where they were replaced, (B, T) bool.
    """
    videos, _, length, _ = normal.shape
    low = max(round(SHARE[0] * length), 1)
    high = max(round(SHARE[1] * length), low)
    device = normal.device
    span = torch.randint(low, high + 1, (videos, 1), device=device)
    first = (torch.rand(videos, 1, device=device) * (length - span + 1)).long()
    at = torch.arange(length, device=device) - first  # (B, T)
    mask = (at >= 0) & (at < span)
    start = torch.randint(len(donor), (videos, 1), device=device)
    other = donor[(start + at) % len(donor)].to(normal.dtype)  # (B, T, C)
    return torch.where(mask[:, None, :, None], other[:, None], normal), mask
