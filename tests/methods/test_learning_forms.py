"""What training computes in another way than scoring: the same values, the same gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vigil.methods import _temporal as temporal
from vigil.methods._temporal import Dropout, MultiScale


def gradients(net: MultiScale, rows: Tensor, *more: Tensor) -> list[Tensor]:
    """The output, and the gradients of every weight and input of a fixed mix of it."""
    wanted = [*net.parameters(), *(x for x in (rows, *more) if x.requires_grad)]
    out = net(rows, more) if more else net(rows)
    mix = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * mix).sum(), wanted)]


def block() -> MultiScale:
    """Without the normalisation that differs in training by its nature."""
    torch.manual_seed(0)
    net = MultiScale(32, "group").double()
    net.non_local.alter[1] = nn.GroupNorm(1, 8).double()
    for weight in net.parameters():  # biases that keep every ReLU away from its corner
        weight.data += 0.1 * torch.randn_like(weight)
    return net


@pytest.mark.parametrize("length", [1, 2, 5, 8, 32])
def test_products_equal_convolutions(length: int) -> None:
    net, rows = block(), torch.randn(3, length, 32, dtype=torch.float64, requires_grad=True)
    for one, two in zip(gradients(net.train(), rows), gradients(net.eval(), rows), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)


def test_convolving_attention_equals_convolving_what_it_made() -> None:
    net, atoms = block(), torch.randn(5, 32, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(4, 9, 5, dtype=torch.float64, requires_grad=True)
    assert temporal.cheaper(torch.empty(4, 9, 32), atoms)
    found = []
    for training in (True, False):
        net.train(training)
        attention = scores.softmax(-1)
        out = net(attention @ atoms, (attention, atoms))
        total = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
        found.append([out, *torch.autograd.grad(total, [scores, atoms, *net.parameters()])])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)


def test_many_atoms_are_no_saving() -> None:
    assert temporal.cheaper(torch.empty(640, 32, 2048), torch.empty(400, 2048))
    assert not temporal.cheaper(torch.empty(10, 32, 2048), torch.empty(400, 2048))
    assert not temporal.cheaper(torch.empty(640, 32, 64), torch.empty(64, 64))


def test_pairs_in_bfloat16_are_as_near_as_the_convolution() -> None:
    torch.manual_seed(0)
    conv, rows = nn.Conv1d(512, 256, 3, padding=1), torch.randn(4, 32, 512).relu()
    exact = conv(rows.transpose(1, 2)).detach()
    low = conv.bfloat16()
    errors = [
        float((found.detach().float() - exact).norm() / exact.norm())
        for found in (
            temporal.in_pairs(low, rows.bfloat16()),
            low(rows.bfloat16().transpose(1, 2)),
        )
    ]
    assert errors[0] < 0.01 and errors[0] < 3 * errors[1], errors


@pytest.mark.parametrize("p", [0.0, 0.6, 0.7])
def test_dropout(p: float) -> None:
    torch.manual_seed(0)
    drop, x = Dropout(p), torch.ones(400_000, requires_grad=True)
    out = drop(x)
    kept = out != 0
    assert abs(float(kept.float().mean()) - (1 - p)) < 0.005
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / (1 - p)))
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(slope != 0, kept)
    assert drop(x.detach().bfloat16()).dtype == torch.bfloat16
    assert drop.eval()(x) is x
