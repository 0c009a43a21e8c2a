"""The forms in which `jigsaw` computes what its formulas say, against the formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vigil.methods._jigsaw_layers import Halves, Normed, conv3
from vigil.methods._jigsaw_net import Among, pairs_of, pooled, two
from vigil.methods._jigsaw_puzzle import FEW, LUMA, draw, grey

torch.set_num_threads(1)


@pytest.mark.parametrize("stride", [1, 2])
def test_two_moments_take_two_convolutions_for_three(stride: int) -> None:
    torch.manual_seed(0)
    layer, x = Among(16, 16, stride), torch.randn(6, 16, 9, 9)
    own, rest = layer.own(x), layer.rest(x.unflatten(0, (3, 2)).mean(1))
    expected = layer.norm(own + rest.repeat_interleave(2, 0)).relu()
    torch.testing.assert_close(layer(x, 2), expected, rtol=1e-4, atol=1e-5)
    wrong = layer.norm(own - rest.repeat_interleave(2, 0)).relu()
    assert (layer(x, 2) - wrong).abs().max() > 0.1


def test_pairs_lie_as_they_are_named() -> None:
    frames = torch.arange(14)[:, None]  # of two units
    expected = [n * 7 + frame for n in range(2) for pair in pairs_of(7) for frame in pair]
    assert two(frames, 7)[:, 0].tolist() == expected


def test_the_largest_of_squares_is_that_of_torch() -> None:
    x = torch.randn(3, 5, 8, 8)
    assert torch.equal(pooled(x), nn.functional.max_pool2d(x, 2).flatten(1))


@pytest.mark.parametrize("batch", [1, 3])
def test_packed_tensors_are_normalised_alike(batch: int) -> None:
    """In float32, to see more than bfloat16's digits; values and gradients."""
    torch.manual_seed(0)
    x, slope = 3 + torch.randn(batch, 4, 3, 6, 6), torch.randn(batch, 4, 3, 6, 6)
    found, expected = (x.clone().requires_grad_() for _ in range(2))
    nn.InstanceNorm3d(4)(expected).backward(slope)
    with torch.autocast("cpu", torch.bfloat16):
        y = Normed(4).train()(found)
    y.backward(slope)
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(y, nn.InstanceNorm3d(4)(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-5)


def test_learning_in_bfloat16_stays_packed_and_near_float32() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*conv3(3, 8), Halves(), *conv3(8, 8)).train()
    x = torch.rand(2, 3, 3, 16, 16)
    plain = net(x)
    plain.square().sum().backward()
    wanted = [weight.grad.clone() for weight in net.parameters()]  # type: ignore[union-attr]
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        fast = net(x)
    assert fast.dtype is torch.bfloat16
    assert fast.is_contiguous(memory_format=torch.channels_last_3d)
    assert (fast.float() - plain).norm() < 0.02 * plain.norm()
    fast.float().square().sum().backward()
    for weight, want in zip(net.parameters(), wanted, strict=True):
        assert (weight.grad - want).norm() < 0.1 * want.norm()  # type: ignore[operator]


def test_grey_is_the_formula_rounded() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (FEW + 3, 3, 3, 8, 8), dtype=torch.uint8)
    red, green, blue = (x[:, :, n].double() * LUMA[n] for n in range(3))
    off = grey(x)[:, :, 0].double() - (red + green + blue)
    assert grey(x).shape == (FEW + 3, 3, 1, 8, 8) and off.abs().max() <= 0.5 + 1e-4
    alike = x[:, :, :1].expand(-1, -1, 3, -1, -1)
    assert torch.equal(grey(alike), x[:, :, :1])


def test_time_alone_leaves_every_tile_in_its_place() -> None:
    x = torch.randint(1, 256, (4, 5, 1, 64, 64), dtype=torch.uint8)
    puzzle = draw(x, 5, task="time")
    for unit, order, found in zip(x, puzzle.time, puzzle.x, strict=True):
        assert torch.equal(found[..., 2:-2, 2:-2], unit[order][..., 2:-2, 2:-2])
    assert not puzzle.x[..., :2, :].any() and not puzzle.x[..., -2:].any()
    assert (puzzle.place == torch.arange(9)).all() and not puzzle.placed.any()
