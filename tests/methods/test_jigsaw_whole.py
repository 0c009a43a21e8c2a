"""jigsaw on whole pictures: the little that moves is not drowned by the much that stands still."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vigil.methods._jigsaw_net import Among, Lean, lifted
from vigil.methods.jigsaw import Jigsaw
from vigil.records import Batch


def pictures(n: int, frames: int = 3) -> Tensor:
    """(n, frames, 3, 64, 64) uint8: a dim spot drifts to the right over a still, bright ground."""
    random = torch.Generator().manual_seed(0)
    ground = torch.randint(60, 200, (1, 1, 1, 64, 64), generator=random)
    x = ground.expand(n, frames, 3, 64, 64).clone()
    start = torch.randint(6, 30, (n, 2), generator=random)
    for one, (row, column) in zip(x, start.tolist(), strict=True):
        for t in range(frames):
            one[t, :, row : row + 8, column + 4 * t : column + 4 * t + 8] += 20
    return x.to(torch.uint8)


def learned(x: Tensor, whole: bool) -> float:
    """The loss of the time puzzle after a few steps, as a share of chance."""
    torch.manual_seed(0)
    method = Jigsaw(objects="frame", colour=False, frames=3, width=16, shuffle="time", static=0.0)
    if not whole:
        method.net = Lean(1, 3, 1, 16)
    method.train()
    optimizers, losses = method.optimizers(), []
    for _ in range(60):
        found = method.fit_step(Batch(x={"cube": x}), optimizers, Tensor.backward)
        losses.append(float(found["temporal"].detach()))
    return sum(losses[-10:]) / 10 / math.log(3)


def test_a_small_thing_in_a_still_picture_has_an_order() -> None:
    x = pictures(24)
    assert learned(x, whole=True) < 0.75
    assert learned(x, whole=False) > 0.95


def test_only_whole_pictures_are_looked_at_so() -> None:
    kinds = {o: Jigsaw(objects=o, levels="frame,clip").net for o in ("frame", "given")}
    layers = {o: [net.moving[0], net.slow] for o, net in kinds.items() if isinstance(net, Lean)}
    assert [layer.lift for layer in layers["frame"]] == [True, True]
    assert [layer.lift for layer in layers["given"]] == [False, False]


def test_how_far_from_the_mean() -> None:
    x = torch.rand(6, 2, 4, 4, dtype=torch.float64)
    apart, mean = lifted(x, 3)
    for n in range(2):
        own = x[3 * n : 3 * n + 3]
        torch.testing.assert_close(mean[n], own.mean(0))
        far = own - own.mean(0)
        wanted = far / (far.square().mean() + 1e-6).sqrt()
        torch.testing.assert_close(apart[3 * n : 3 * n + 3], wanted)
    still, _ = lifted(torch.ones(3, 2, 4, 4), 3)
    assert not still.any()


@pytest.mark.parametrize("moments", [2, 3])
def test_shuffled_moments_give_shuffled_answers(moments: int) -> None:
    torch.manual_seed(0)
    layer, x = Among(2, 8, 2, lift=True), torch.rand(moments, 2, 8, 8)
    order = torch.randperm(moments)
    torch.testing.assert_close(layer(x, moments)[order], layer(x[order], moments))


def test_how_much_moves_does_not_count() -> None:
    x = torch.rand(3, 2, 8, 8)
    mean = x.mean(0)
    (all_of_it, same), (a_little, again) = (lifted(mean + s * (x - mean), 3) for s in (1.0, 0.1))
    torch.testing.assert_close(all_of_it, a_little, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(same, again)
