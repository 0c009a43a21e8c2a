"""What teaches the Destroyer: patches of a prediction made worse, and how worse they look."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Corruption = Literal["colours", "blur", "both"]
WINDOW, SIGMA = 11, 1.5  # of SSIM
BLURS = ((5, 2.0), (9, 2.0))  # pixels and standard deviation: weak, strong
BLACK = -1.0


def split(pictures: Tensor, side: int) -> Tensor:
    """(N, C, H, W) to (N, P, C, side, side), row by row; H and W are multiples of `side`."""
    n, c, h, w = pictures.shape
    cells = pictures.reshape(n, c, h // side, side, w // side, side)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, c, side, side)


def merge(patches: Tensor, columns: int) -> Tensor:
    """What `split` came from, `columns` patches wide."""
    n, p, c, side, _ = patches.shape
    cells = patches.reshape(n, p // columns, columns, c, side, side)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(n, c, p // columns * side, columns * side)


# -- making worse ---------------------------------------------------------------------------------
def corrupt(
    pictures: Tensor, side: int, rates: tuple[float, float], how: Corruption = "colours"
) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) in -1..1 with patches made worse, and which ones (N, P) bool.

    Each picture has a rate of its own, drawn from `rates`, and patches of its own; the others are
    left bit for bit. `how`: colours left out, the patch blurred, or either.
    """
    patches = split(pictures, side)  # (N, P, 3, side, side)
    shape, device = patches.shape[:2], pictures.device
    low, high = rates
    rate = low + (high - low) * torch.rand(shape[0], 1, device=device)
    chosen = torch.rand(shape, device=device) < rate  # (N, P)
    if how == "colours":
        worse = without_colours(patches, rates)
    elif how == "blur":
        worse = blurred(patches)
    else:
        either = (torch.rand(shape, device=device) < 0.5)[..., None, None, None]
        worse = torch.where(either, without_colours(patches, rates), blurred(patches))
    noisy = torch.where(chosen[..., None, None, None], worse, patches)
    return merge(noisy, pictures.shape[3] // side), chosen


def without_colours(patches: Tensor, rates: tuple[float, float]) -> Tensor:
    """Each colour of a patch left out with a probability drawn from `rates` for its picture, the
    brightest if it would be none, and the others raised as dropout does; never outside -1..1."""
    low, high = rates
    light = (patches + 1) / 2  # dark is 0 there, and what is left out is dark
    p = low + (high - low) * torch.rand(len(light), 1, 1, device=light.device)
    out = torch.rand(light.shape[:3], device=light.device) < p  # (N, P, 3)
    brightest = F.one_hot(light.mean((3, 4)).argmax(2), light.shape[2]).bool()
    out = torch.where(out.any(2, keepdim=True), out, brightest)
    left = (light / (1 - p)[..., None, None]).clamp(0, 1)
    return torch.where(out[..., None, None], torch.zeros_like(left), left) * 2 - 1


def blurred(patches: Tensor) -> Tensor:
    """Each patch blurred, weakly or strongly."""
    flat = patches.flatten(0, 1)
    weak, strong = (gaussian(flat, size, sigma) for size, sigma in BLURS)
    some = (torch.rand(len(flat), device=flat.device) < 0.5)[:, None, None, None]
    return torch.where(some, weak, strong).view_as(patches)


def gaussian(pictures: Tensor, size: int, sigma: float, edge: bool = True) -> Tensor:
    """(N, C, H, W) averaged over size x size pixels; `edge` mirrors the border and keeps the size,
    else only whole windows are given."""
    at = torch.arange(size, device=pictures.device, dtype=pictures.dtype) - size // 2
    bell = torch.exp(-at.square() / (2 * sigma * sigma))
    bell = bell / bell.sum()
    n, c, h, w = pictures.shape
    flat = pictures.reshape(n * c, 1, h, w)
    if edge:
        flat = F.pad(flat, (size // 2,) * 4, mode="reflect")
    flat = F.conv2d(F.conv2d(flat, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))
    return flat.view(n, c, *flat.shape[2:])


# -- judging --------------------------------------------------------------------------------------
def ssim(one: Tensor, two: Tensor, span: Tensor | float = 1.0) -> Tensor:
    """Structural similarity (Wang et al., 2004) of pictures (N, C, H, W) of one range `span`,
    (N,); 1 for equal ones."""
    c = one.shape[1]
    stack = torch.cat([one, two, one * one, two * two, one * two], 1)  # (N, 5 C, H, W)
    means = gaussian(stack, WINDOW, SIGMA, edge=False)
    a, b, aa, bb, ab = means.split(c, 1)
    span = torch.as_tensor(span, device=one.device, dtype=one.dtype).reshape(-1, 1, 1, 1)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    top = (2 * a * b + c1) * (2 * (ab - a * b) + c2)
    low = (a * a + b * b + c1) * (aa - a * a + bb - b * b + c2)
    return (top / low).mean((1, 2, 3))


def damage(noisy: Tensor, true: Tensor, side: int, strictness: float) -> Tensor:
    """How much each patch of `noisy` should be destroyed, (N, P) in 0..1: its distance from 1 in
    SSIM to the true frame, `strictness` times."""
    pairs = [(split(x.float(), side).flatten(0, 1) + 1) / 2 for x in (noisy, true)]
    return weight(ssim(*pairs), strictness).view(len(noisy), -1)


def weight(similar: Tensor, strictness: float) -> Tensor:
    return (strictness * (1 - similar)).clamp(0, 1)


def destroyed(output: Tensor, prediction: Tensor, share: Tensor, side: int) -> Tensor:
    """(N, P) what each patch costs: with a share (N, P) it should be black, for the rest be the
    prediction."""
    found, wanted = split(output.float(), side), split(prediction.float(), side)
    to_black = (found - BLACK).square().mean((2, 3, 4))
    to_itself = (found - wanted).square().mean((2, 3, 4))
    return share * to_black + (1 - share) * to_itself
