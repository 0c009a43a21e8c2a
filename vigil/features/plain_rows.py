"""Rows of features that need no weights: how a frame looks, and how much moves where in a clip.

Frames are averaged down over areas by Pillow in whole numbers, and the projection is made of
signs and simple fractions, so that the same video gives the same rows on every machine.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, relu

from vigil.features.backbone import Backbone, Checked


def area_average(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 averaged over a grid of `size` = (h, w) areas: (1, 3, h, w) float32 holding
    whole grey levels 0..255 (which bfloat16 holds exactly, too)."""
    from PIL import Image

    small = Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1)[None], np.float32)


# -- pixels --------------------------------------------------------------------------------------
class Pixels(Backbone):
    """A colour thumbnail of 16x16, projected at random to 192 numbers, distances nearly kept.

    For trying out, and as the floor that a backbone must beat.
    """

    name: ClassVar[str] = "pixels"
    frames: ClassVar[int] = 1
    size: ClassVar[tuple[int, int]] = (16, 16)
    dim = 192
    preprocessing: ClassVar[str] = "RGB, averaged over 16x16 areas, whole grey levels 0..255"
    checked: ClassVar[Checked] = "formula"

    def build(self) -> nn.Module:
        return Projected(orthogonal(self.dim))

    def frame(self, image: np.ndarray) -> np.ndarray:
        return area_average(image, self.size)


class Projected(nn.Module):
    """(N, 3, 1, 16, 16) grey levels to (N, D): scaled to -1..1, flattened, times the matrix."""

    matrix: Tensor

    def __init__(self, matrix: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.from_numpy(matrix), persistent=False)  # (768, D)

    def forward(self, x: Tensor) -> Tensor:
        scaled = x.float().flatten(1) / 127.5 - 1  # bfloat16 would lose what is near 0
        return (scaled @ self.matrix.float()).to(x.dtype)


def orthogonal(dim: int) -> np.ndarray:
    """(768, dim) float32 with orthonormal columns: `dim` <= 768 columns, drawn at random, of a
    Hadamard matrix (256) times a 3x3 rotation of the colours, its rows given random signs.

    That is the randomised Hadamard transform (Ailon and Chazelle 2006), which keeps distances
    nearly as well as a Gaussian matrix does; no rounding of a decomposition comes into it. The
    draws are raw words of PCG64, whose stream numpy promises to keep.
    """
    hadamard: np.ndarray = np.ones((1, 1))
    for _ in range(8):
        hadamard = np.kron([[1, 1], [1, -1]], hadamard)
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    whole = np.kron(colours, hadamard / 16)  # (768, 768), rows and columns orthonormal
    words = np.random.PCG64(192).random_raw(2 * 768)
    signs = np.where(words[:768] >> np.uint64(63), 1.0, -1.0)
    columns = np.argsort(words[768:], kind="stable")[:dim]
    return (signs[:, None] * whole.T[:, columns]).astype(np.float32)


# -- motion --------------------------------------------------------------------------------------
class Motion(Backbone):
    """How much moves, where, and how fast, in 16 frames; blind to direction.

    A frame becomes 96x128 areas, and the clip a grid of 6x8 cells of 16x16 areas. For each cell
    five numbers: the mean change of brightness between frames 1, 2, 4 and 8 apart, and the
    largest between neighbours; changes below 4 grey levels are taken for noise. A fast thing
    has changed all it can after one frame, a slow one goes on changing, so that the growth over
    the four tells the speed. Square roots of shares of 255 are given: (5, 6, 8) flattened, 240
    numbers in 0..1. A clip played backwards gives the same row.
    """

    name: ClassVar[str] = "motion"
    size: ClassVar[tuple[int, int]] = (96, 128)
    dim = 240
    preprocessing: ClassVar[str] = "RGB, averaged over 96x128 areas, whole grey levels 0..255"
    checked: ClassVar[Checked] = "formula"

    def build(self) -> nn.Module:
        return Changes()

    def frame(self, image: np.ndarray) -> np.ndarray:
        return area_average(image, self.size)


class Changes(nn.Module):
    """(N, 3, T, H, W) grey levels, T > 8, H and W multiples of 16, to (N, 5 * H/16 * W/16)."""

    lags = (1, 2, 4, 8)
    noise = 4.0  # grey levels
    cell = 16

    def forward(self, x: Tensor) -> Tensor:
        clip = x.float()  # differences of bfloat16 would keep few digits
        each = [self.change(clip, lag) for lag in self.lags]
        grids = [*(c.mean(1) for c in each), each[0].amax(1)]
        return (torch.stack(grids, 1) / 255).sqrt().flatten(1).to(x.dtype)

    def change(self, clip: Tensor, lag: int) -> Tensor:
        """Mean absolute change of each cell, beyond the noise: (N, T - lag, H/16, W/16)."""
        by = (clip[:, :, lag:] - clip[:, :, :-lag]).abs().mean(1, keepdim=True)
        return avg_pool3d(relu(by - self.noise), (1, self.cell, self.cell))[:, 0]
