"""What more than one method uses verbatim: exact neighbours, simple descriptors of a box."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vigil.records import Units

CELLS = 4  # cells of gradient histograms along each side of a crop
CHUNK = 1024  # rows compared with the memory at once


def velocity(flow: Tensor, fastest: float) -> Tensor:
    """(N, 2, H, W) flow to (N, 3): mean dx, dy and mean length over the fastest share of pixels.

    Length and mean vector agree for a body that moves as one; limbs and turns pull them apart.
    """
    flow = flow.flatten(2)  # (N, 2, P)
    length = flow.square().sum(1).sqrt()  # (N, P)
    speed, place = length.topk(max(round(fastest * length.shape[1]), 1), 1)  # (N, n)
    mean = [flow[:, axis].gather(1, place).mean(1) for axis in (0, 1)]
    return torch.stack([*mean, speed.mean(1)], 1)


def soft_histogram(at: Tensor, weight: Tensor, bins: int) -> Tensor:
    """(N, n) positions on a circle of `bins`, weighted (N, n), to (N, bins)."""
    low = at.floor()
    part = at - low
    low = low.long() % bins
    out = torch.zeros(len(at), bins, dtype=weight.dtype)
    out.scatter_add_(1, low, weight * (1 - part))
    return out.scatter_add_(1, (low + 1) % bins, weight * part)


def gradients(pixels: Tensor, bins: int) -> Tensor:
    """(N, 3, H, W) uint8 to (N, 16 * bins): histograms of gradient directions, unit length.

    Directions are taken modulo 180 degrees, on 4 x 4 cells, the square root of each share taken
    (Hellinger), so that contrast and lighting count little.
    """
    grey = pixels.float().mean(1, keepdim=True) / 255  # (N, 1, H, W)
    grey = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = (grey[:, 0, 1:-1, 2:] - grey[:, 0, 1:-1, :-2]) / 2
    dy = (grey[:, 0, 2:, 1:-1] - grey[:, 0, :-2, 1:-1]) / 2  # (N, H, W)
    n, h, w = dx.shape
    cell = (n, CELLS, h // CELLS, CELLS, w // CELLS)
    inside = (h // CELLS) * (w // CELLS)  # pixels of a cell
    angle = torch.atan2(dy, dx).div(torch.pi).mul(bins)  # modulo `bins` below = modulo pi

    def cells(x: Tensor) -> Tensor:
        return x.reshape(cell).permute(0, 1, 3, 2, 4).reshape(n * CELLS * CELLS, inside)

    strength = (dx.square() + dy.square()).sqrt()
    shares = soft_histogram(cells(angle), cells(strength), bins)
    shares = shares.reshape(n, CELLS * CELLS * bins)
    shares = shares + 1e-2 * strength.new_ones(())  # flat crops are alike, whatever their noise
    return (shares / shares.sum(1, keepdim=True)).sqrt()


def nearest(query: Tensor, memory: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Exact Euclidean distances (N, k), rising, and rows (N, k) of the k nearest in (M, D).

    With fewer than k rows in memory the last is repeated.
    """
    middle = memory.mean(0)  # small numbers keep the expanded square exact
    memory, query = memory - middle, query - middle
    norm = memory.square().sum(1)  # (M,)
    rows = []
    for part in query.split(CHUNK):
        apart = torch.addmm(norm, part, memory.T, alpha=-2)  # (n, M) less a constant a row
        rows.append(apart.topk(min(k, len(memory)), 1, largest=False).indices)
    row = torch.cat(rows)  # (N, k')
    near = (query[:, None] - memory[row]).square().sum(2).sqrt()  # no cancellation left
    near, order = near.sort(1)
    row = row.gather(1, order)
    fill = torch.arange(k).clamp_max(row.shape[1] - 1)
    return near[:, fill], row[:, fill]


def keys(units: Units, seed: int) -> Tensor:
    """(N,) int64: a hash of seed, video, frame and box, the same in whatever order they come."""
    box = np.ascontiguousarray(units.box, np.float32).view(np.uint32).astype(np.uint64)
    parts = [np.asarray(units.first, np.uint64), *box.reshape(-1, 4).T]
    mixed = np.full(len(units), zlib.crc32(units.video.encode()) + (seed << 32), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:  # splitmix64 (Steele et al., OOPSLA 2014)
            mixed = (mixed ^ part) + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
    return torch.from_numpy((mixed >> np.uint64(1)).astype(np.int64))
