"""Loss terms of `mama`, each a scalar in float32. Pictures are (N, 3, H, W) in -1..1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vigil.methods import _mama_nets as nets

Axis = Literal["channels", "width"]
EPS = 1e-6  # added to each difference, as torch's pairwise distance does
FLOOR = 1e-10  # of a squared error: two equal pictures have 100 dB


def intensity(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error."""
    return (found.float() - wanted).square().mean()


def gradient(found: Tensor, wanted: Tensor, bordered: bool = False) -> Tensor:
    """How far the lengths of horizontal and vertical steps between pixels are from the true ones.

    bordered  with zeros right of and below the pictures, as in the authors' code, where two even
              pictures of unlike brightness differ at that edge
    """
    if bordered:
        found, wanted = F.pad(found, (0, 1, 0, 1)), F.pad(wanted, (0, 1, 0, 1))
    total = torch.zeros((), device=found.device)
    for axis in (2, 3):
        steps = [picture.float().diff(dim=axis).abs() for picture in (found, wanted)]
        if bordered:  # the step over the corner belongs to neither direction
            steps = [step.narrow(5 - axis, 0, step.shape[5 - axis] - 1) for step in steps]
        total = total + (steps[0] - steps[1]).abs().mean()
    return total


def fooled(odds: Tensor) -> Tensor:
    """What the generator wants of the judge: 1 for a prediction."""
    return (odds.float() - 1).square().mean() / 2


def judged(true: Tensor, false: Tensor) -> Tensor:
    """What the judge wants: 1 for a frame, 0 for a prediction."""
    return (true.float() - 1).square().mean() / 2 + false.float().square().mean() / 2


def distance(one: Tensor, two: Tensor, axis: Axis = "channels") -> Tensor:
    """Euclidean distance of features (N, C, h, w) at each place, (N, h, w); "width" measures along
    the last axis, (N, C, h), as the authors' code does under any recent torch."""
    return (one - two + EPS).norm(dim=1 if axis == "channels" else -1)


def gap(made: Tensor, true: Tensor, seen: Tensor, axis: Axis = "channels") -> Tensor:
    """How much further features made from frames are from the true ones than from where they
    came from; (N, h, w), or (N, C, h)."""
    return distance(made, true, axis) - distance(made, seen, axis)


def triplet(gaps: Tensor, margin: float) -> Tensor:
    """Mean hinge of `gap`."""
    return (gaps + margin).relu().mean()


def decibels(square: Tensor) -> Tensor:
    """Squared errors of pictures in 0..1 as decibels: minus the peak signal-to-noise ratio."""
    return 10 * square.clamp_min(FLOOR).log10()


# -- how large an error is, and was expected to be ------------------------------------------------
def square(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error (N, 1, H, W) of pictures as if in 0..1."""
    return (found - wanted).square().mean(1, keepdim=True) / 4


def around(found: Tensor, wanted: Tensor) -> Tensor:
    """`square` averaged over 5x5 pixels, and above zero."""
    return F.avg_pool2d(square(found, wanted), 5, 1, 2, count_include_pad=False) + nets.QUIET


def doubt(error: Tensor, expected: Tensor) -> Tensor:
    """What the logarithm of an expected error costs where `error` came out, both (N, 1, H, W):
    minus the log-likelihood of an error spread exponentially (Kendall and Gal 2017 have it for a
    Gaussian residual); least where the two agree."""
    return (excess(error, expected) + expected.float()).mean()


def excess(error: Tensor, expected: Tensor) -> Tensor:
    """The error as a multiple of what was expected."""
    return error * (-expected.float()).exp()


# -- Liu et al.: the predicted frame must move as the true one does -------------------------------
def motion(found: Tensor, wanted: Tensor, before: Tensor) -> Tensor:
    """Mean absolute difference of the flows from the frame before to each."""
    return (flow(before, found) - flow(before, wanted)).abs().mean()


def flow(before: Tensor, now: Tensor, window: int = 7) -> Tensor:
    """Pictures (N, 3, H, W) to flow (N, 2, H/4, W/4) in pixels of that size, differentiable.

    One step of Lucas and Kanade (1981) on means of 4x4 pixels: no weights are needed.
    """
    one, two = (F.avg_pool2d(x.float().mean(1, keepdim=True), 4) for x in (before, now))
    mean = F.pad((one + two) / 2, (1, 1, 1, 1), mode="replicate")
    dx = (mean[:, :, 1:-1, 2:] - mean[:, :, 1:-1, :-2]) / 2  # (N, 1, h, w)
    dy = (mean[:, :, 2:, 1:-1] - mean[:, :, :-2, 1:-1]) / 2
    dt = two - one
    products = torch.cat([dx * dx, dx * dy, dy * dy, dx * dt, dy * dt], 1)
    xx, xy, yy, xt, yt = F.avg_pool2d(products, window, 1, window // 2).unbind(1)
    xx, yy = xx + 1e-4, yy + 1e-4  # even ground does not move
    solved = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], 1)
    return solved / (xx * yy - xy * xy)[:, None]
