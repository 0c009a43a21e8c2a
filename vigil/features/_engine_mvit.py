"""torchvision's MViTv2 with its relative positions folded into queries and keys.

MViTv2 adds to the attention of query i and key j three products, of the query with one learnt row
each for their distance in time, height and width (Li et al., CVPR 2022, eq. 4). Written out, that
is a sum of tensors as large as the attention itself, which no engine does fast. But

    s q.k + q.Rt[t(i), t(j)] + q.Rh[h(i), h(j)] + q.Rw[w(i), w(j)]  =  q'.k'

with q' the scaled query followed by its products with the T + H + W rows it may meet, and k' the
key followed by three one-hot vectors that pick the right ones: plain attention, the same numbers.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Sizes = tuple[int, int, int]  # of a grid of tokens: T, H, W


def fold(net: nn.Module) -> nn.Module:
    """`net` itself, every MViT in it with its attention replaced; other networks as they are."""
    known = sys.modules.get("torchvision.models.video.mvit")
    if known is None:  # nobody has imported it, so no MViT can be there
        return net
    for part in net.modules():
        if isinstance(part, known.MViT):
            place = part.pos_encoding
            sizes: Sizes = (place.temporal_size, *place.spatial_size)
            for block in part.blocks:
                attention: Any = block.attn
                _, seen = pooled(attention.pool_q, attention, sizes)
                if attention.rel_pos_t is not None:
                    block.attn = Folded(attention, sizes)
                sizes = seen
    return net


def pooled(pool: nn.Module | None, attention: Any, sizes: Sizes) -> tuple[Tensor | None, Sizes]:
    """What a pool does to the sizes of a grid; it is asked with zeros."""
    if pool is None:
        return None, sizes
    tokens = 1 + sizes[0] * sizes[1] * sizes[2]
    zeros = attention.qkv.weight.new_zeros(1, attention.num_heads, tokens, attention.head_dim)
    with torch.no_grad():
        return pool(zeros, sizes)


def rows(learnt: Tensor, queries: int, keys: int) -> Tensor:
    """The learnt row of every pair of places along one axis: (queries, keys, head_dim).

    The coarser of both is scaled to the finer; distances then run from 1 - keys on.
    """
    count = 2 * max(queries, keys) - 1
    if len(learnt) != count:
        learnt = F.interpolate(learnt.T[None], size=count, mode="linear")[0].T
    of_query = torch.arange(queries)[:, None] * max(keys / queries, 1.0)
    of_key = (torch.arange(keys) + 1.0 - keys) * max(queries / keys, 1.0)
    return learnt[(of_query - of_key).long()].detach().clone()


class Folded(nn.Module):
    """One attention of an MViTv2 for tokens (B, 1 + T*H*W, C), the first of them the class."""

    def __init__(self, attention: Any, sizes: Sizes) -> None:
        super().__init__()
        self.old, self.heads, self.dim = attention, attention.num_heads, attention.head_dim
        _, self.query_sizes = pooled(attention.pool_q, attention, sizes)
        _, keys = pooled(attention.pool_k, attention, sizes)
        learnt = attention.rel_pos_t, attention.rel_pos_h, attention.rel_pos_w
        tables = [rows(*given) for given in zip(learnt, self.query_sizes, keys, strict=True)]
        for name, table in zip("thw", tables, strict=True):
            self.register_buffer(f"rows_{name}", table)
        places = torch.cartesian_prod(*map(torch.arange, keys))  # (T*H*W, 3)
        picks = [F.one_hot(places[:, i], keys[i]) for i in range(3)]
        picked = F.pad(torch.cat(picks, -1), (0, 0, 1, 0))  # (1 + T*H*W, T + H + W)
        self.picks: Tensor
        self.register_buffer("picks", picked.to(attention.qkv.weight.dtype))

    def forward(self, x: Tensor, sizes: Sizes) -> tuple[Tensor, Sizes]:
        old, batch = self.old, x.shape[0]  # `len` would be traced as a constant
        qkv = old.qkv(x).reshape(batch, -1, 3, self.heads, self.dim).transpose(1, 3)
        q, k, v = qkv.unbind(2)  # (B, heads, tokens, dim) each
        q = q if old.pool_q is None else old.pool_q(q, sizes)[0]
        k = k if old.pool_k is None else old.pool_k(k, sizes)[0]
        v = v if old.pool_v is None else old.pool_v(v, sizes)[0]
        wide_k = torch.cat([k, self.picks.expand(batch, self.heads, -1, -1)], -1)
        wide_q = torch.cat([q * old.scaler, self.met(q)], -1)
        y = (wide_q @ wide_k.transpose(2, 3)).softmax(-1) @ v
        if old.residual_pool:
            y = y + (q if old.residual_with_cls_embed else F.pad(q[:, :, 1:], (0, 0, 1, 0)))
        y = y.transpose(1, 2).reshape(batch, -1, self.heads * self.dim)
        return old.project(y), self.query_sizes

    def met(self, q: Tensor) -> Tensor:
        """Products of each query with all rows it may meet: (B, heads, tokens, T + H + W)."""
        grid = q[:, :, 1:].reshape(q.shape[0], self.heads, *self.query_sizes, self.dim)
        products = [
            torch.einsum("bnthwc,tkc->bnthwk", grid, self.rows_t),
            torch.einsum("bnthwc,hkc->bnthwk", grid, self.rows_h),
            torch.einsum("bnthwc,wkc->bnthwk", grid, self.rows_w),
        ]
        return F.pad(torch.cat(products, -1).flatten(2, 4), (0, 0, 1, 0))  # the class meets none
