"""Puzzles made of cubes, and the one place where their conventions are written down.

A cube is (N, T, C, 64, 64), uint8 or float in 0..1; a clip is K of them in a row, (N, K T, C, 64,
64). Its inner 60 x 60 pixels are nine tiles of 20 x 20, counted row by row; the border of two
pixels is black always, shuffled or not.

    place   label[n, j] = p   what was tile j now lies at place p   (row: original tile)
    time    label[n, t] = q   what is at moment t now was at q      (row: present moment)

The two are inverse to one another; that is how the published networks learned them, so both stay.
A moment is one frame of a cube, or one whole cube of a clip, whose frames keep their order. Both
levels share both conventions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vigil.errors import InputError

BORDER, TILE, ACROSS = 2, 20, 3  # pixels, pixels, tiles
LEFT_ALONE = 1e-4  # share of the draws that are the identity on purpose
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
FEW = 8  # cubes made grey at once: what fits a processor's cache


class Puzzle(NamedTuple):
    """Shuffled cubes and their solutions."""

    x: Tensor  # like the input
    time: Tensor  # (N, M) int64, M moments
    place: Tensor  # (N, 9) int64
    timed: Tensor  # (N,) bool: the time puzzle counts
    placed: Tensor  # (N,) bool: the place puzzle counts


def draw(
    x: Tensor,
    moments: int,
    *,
    task: str = "one",
    static: float = 0.0,
    generator: torch.Generator | None = None,
) -> Puzzle:
    """Puzzles of `x`: a half, drawn anew each time, is shuffled in time, the rest in place.

    moments  of the time puzzle: T frames of a cube, or K cubes of a clip
    task     "one": as said; "both": every one in time and in place; "time", "place": that alone
    static   a cube whose first and last frame differ by less in every pixel has no order to find:
             it keeps its own, and is learned with that
    """
    n = len(x)
    every = torch.ones(n, dtype=torch.bool)
    timed = {"both": every, "time": every, "place": ~every}.get(task)
    timed = half(n, generator) if timed is None else timed
    placed = every if task == "both" else ~timed
    place = torch.where(placed[:, None], permutations(n, 9, generator), torch.arange(9))
    order = torch.where(timed[:, None], permutations(n, moments, generator), torch.arange(moments))
    place, order, timed, placed = (part.to(x.device) for part in (place, order, timed, placed))
    x = move_tiles(x, place) if placed.any() else framed(x)
    order[is_static(x, static)] = torch.arange(moments, device=x.device)
    return Puzzle(reorder(x, order), order, place, timed, placed)


def half(n: int, generator: torch.Generator | None = None) -> Tensor:
    """(n,) bool, one in two True; with n = 1 a coin decides."""
    odd = int(torch.randint(2, (), generator=generator))
    return torch.randperm(n, generator=generator) < (n + odd) // 2


def permutations(count: int, n: int, generator: torch.Generator | None = None) -> Tensor:
    """(count, n) int64: each row one of all n! permutations, evenly drawn."""
    drawn = torch.rand(count, n, generator=generator, dtype=torch.float64).argsort(1)
    alone = torch.rand(count, 1, generator=generator) < LEFT_ALONE
    return torch.where(alone, torch.arange(n), drawn)


def move_tiles(x: Tensor, place: Tensor) -> Tensor:
    """(N, T, C, 64, 64) with tile j of cube n at place[n, j], and the border black."""
    n, t, c = x.shape[:3]
    inside = slice(BORDER, BORDER + ACROSS * TILE)
    tiles = x[..., inside, inside].reshape(n, t * c, ACROSS, TILE, ACROSS, TILE)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (N, 9, T C, 20, 20)
    rows = torch.arange(n, device=x.device)[:, None]
    tiles = tiles[rows, place.argsort(1)]  # what comes to lie at each place
    whole = tiles.unflatten(1, (ACROSS, ACROSS)).permute(0, 3, 1, 4, 2, 5)
    return F.pad(whole.reshape(n, t, c, ACROSS * TILE, ACROSS * TILE), [BORDER] * 4)


def framed(x: Tensor) -> Tensor:
    """(N, T, C, 64, 64) with its border black, tiles where they are: what is scored."""
    return F.pad(x[..., BORDER:-BORDER, BORDER:-BORDER], [BORDER] * 4)


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """(N, T, ...) with moment order[n, t] of cube n at moment t; moments may be blocks of frames.

    >>> reorder(torch.arange(6)[None], torch.tensor([[2, 0, 1]])).tolist()
    [[4, 5, 0, 1, 2, 3]]
    """
    blocks = x.unflatten(1, (order.shape[1], -1))
    return blocks[torch.arange(len(x), device=x.device)[:, None], order].flatten(1, 2)


def is_static(x: Tensor, threshold: float) -> Tensor:
    """(N,) bool: no pixel of the last frame differs from the first by `threshold` (of 0..1).

    Raises InputError for floats beyond 1: the threshold would mean something else.
    """
    first, last = (checked(part).float() for part in (x[:, 0], x[:, -1]))
    scale = 255.0 if x.dtype == torch.uint8 else 1.0
    return (last - first).abs().flatten(1).amax(1) < threshold * scale


def checked(x: Tensor) -> Tensor:
    """`x`, if its values are uint8 or in 0..1."""
    if x.is_floating_point() and x.numel() and (x.amax() > 1 or x.amin() < 0):
        found = f"{float(x.amin()):g}..{float(x.amax()):g}"
        raise InputError(f"cubes of floats in {found}; expected 0..1, or uint8")
    return x


def grey(x: Tensor) -> Tensor:
    """(N, T, 3, H, W) uint8 to (N, T, 1, H, W) uint8; grey pictures keep their values."""
    found = torch.empty_like(x[:, :, :1], memory_format=torch.contiguous_format)
    for part, into in zip(x.split(FEW), found.split(FEW), strict=True):
        red, green, blue = (part[:, :, n : n + 1] * weight for n, weight in enumerate(LUMA))
        into.copy_(red.add_(green).add_(blue).round_())
    return found


def as_input(x: Tensor) -> Tensor:
    """(N, T, C, H, W) uint8 to what networks take, (N, C, T, H, W) float in 0..1."""
    return x.transpose(1, 2).float().div_(255)
