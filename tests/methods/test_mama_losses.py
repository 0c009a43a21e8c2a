"""Loss terms and patches of mama and destroyer, against the authors' numbers and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from vectors import fill, golden

from vigil.methods import _mama_losses as losses
from vigil.methods import _mama_patches as patches

SIDE = 32


def pictures(seed: int, n: int = 4, size: int = 64) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand((n, 3, size, size), generator=random) * 2 - 1


# -- the authors' numbers ------------------------------------------------------------------------
def test_losses_alone() -> None:
    arrays, facts = golden("mama_losses")
    one, two = (
        torch.from_numpy(fill.uniform(f"loss.img_{k}", 1, (2, 3, 9, 13), -1, 1)) for k in "ab"
    )
    true, false = (torch.from_numpy(fill.uniform(f"loss.disc_{k}", 1, (2, 1, 6, 5))) for k in "ab")

    def unit(x: Tensor) -> Tensor:
        return F.normalize(x, dim=1)

    def drawn(name: str) -> Tensor:
        return torch.from_numpy(fill.normal(f"loss.feat{name}", 1, (2, 16, 5, 7)))

    anchor = unit(drawn("a"))
    positive, negative = unit(anchor + unit(drawn("p"))), unit(anchor + 1.2 * unit(drawn("n")))
    square = (one - two).square() / 4
    found = {
        "intensity": losses.intensity(one, two),
        "gradient": losses.gradient(one, two, bordered=True),
        "adversarial": losses.fooled(true),
        "discriminator": losses.judged(true, false),
        "flow_l1": (one - two).abs().mean(),  # what `motion` takes of two flows
        "sse": square.mean(),
        "psnr": -losses.decibels(square.flatten(1).mean(1)).mean(),
    }
    for axis, name in (("channels", "channel"), ("width", "legacy")):
        gaps = losses.gap(anchor, positive, negative, axis)  # type: ignore[arg-type]
        found[f"triplet_{name}"] = losses.triplet(gaps, facts["margin"])
    for name, value in found.items():
        assert float(value) == pytest.approx(float(arrays[name]), rel=1e-6), name


def stored() -> tuple[dict[str, np.ndarray], dict, Tensor, Tensor, Tensor]:  # type: ignore[type-arg]
    """Arrays and facts of mama_destroyer; prediction, true frame and corrupted prediction."""
    arrays, facts = golden("mama_destroyer")
    size, cells = facts["size"], 9
    blocks = np.kron(fill.uniform("destroyer.A", 1, (2, 3, 12, 12), -0.85, 0.85), np.ones((8, 8)))
    made = blocks + fill.normal("destroyer.A.grain", 1, (2, 3, size, size), 0.15)
    made = np.clip(made, -1, 1).astype(np.float32)
    assert fill.check(made) == int(arrays["A_crc"])
    prediction = torch.from_numpy(made)
    amp = torch.from_numpy(fill.uniform("destroyer.amp", 1, (cells,), 0, 0.25))
    delta = torch.from_numpy(fill.normal("destroyer.delta", 1, (2, 3, size, size)))
    delta = patches.merge(patches.split(delta, SIDE) * amp[None, :, None, None, None], 3)
    true = (prediction + delta).clamp(-1, 1)
    mask = torch.from_numpy(fill.uniform("destroyer.mask", 1, (cells,)) < 0.4)
    drop = torch.from_numpy(fill.uniform("destroyer.drop", 1, (2, cells, 3)) < 0.4)
    parts = patches.split(prediction, SIDE)
    worse = torch.where(drop[..., None, None], torch.zeros(()), parts / np.float32(0.6))
    noisy = patches.merge(torch.where(mask[None, :, None, None, None], worse, parts), 3)
    np.testing.assert_array_equal(true[:1], arrays["target"])
    np.testing.assert_array_equal(noisy[:1], arrays["noisy"])
    return arrays, facts, prediction, true, noisy


def test_similarity_and_weights() -> None:
    arrays, facts, prediction, true, noisy = stored()
    span = torch.tensor(facts["L_guess"]).flatten()
    pairs = [patches.split(x, SIDE).flatten(0, 1) for x in (noisy, true)]
    similar = patches.ssim(*pairs, span).view(2, 9)
    np.testing.assert_allclose(similar, arrays["ssim"], atol=2e-5)
    np.testing.assert_allclose(patches.weight(similar, 4.0), arrays["weight"], atol=8e-5)
    light = [(x + 1) / 2 for x in (prediction, true)]
    apart = [patches.split(x, SIDE).flatten(0, 1) for x in light]
    found = patches.ssim(*apart).view(2, 9)
    np.testing.assert_allclose(found, arrays["ssim_patch_unit_L1"], atol=2e-5)
    for name, value in (
        ("ssim_full_signed", patches.ssim(prediction, true, 2.0)),
        ("ssim_full_unit", patches.ssim(*light)),
        ("ssim_full_unit_L1", patches.ssim(*light)),
    ):
        assert float(value.mean()) == pytest.approx(float(arrays[name]), abs=2e-5), name


def test_blurs() -> None:
    arrays, _, prediction, *_ = stored()
    for name, (size, sigma) in zip(("weak", "strong"), patches.BLURS, strict=True):
        found = patches.gaussian(prediction[:1], size, sigma)[:, :, ::3, ::3]
        np.testing.assert_allclose(found, arrays[f"blur_{name}"], atol=2e-6)


# -- generator losses by hand --------------------------------------------------------------------
def test_even_pictures_have_no_gradient_loss() -> None:
    one, two = torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), -0.25)
    assert float(losses.gradient(one, two)) == 0
    assert float(losses.gradient(one, two, bordered=True)) == pytest.approx(0.0625)
    same = pictures(0)
    assert float(losses.gradient(same, same)) == 0


def test_gradient_loss_is_the_formula() -> None:
    one, two = pictures(1, 1, 5)[0].numpy(), pictures(2, 1, 5)[0].numpy()
    across = np.abs(np.abs(np.diff(one, axis=2)) - np.abs(np.diff(two, axis=2))).mean()
    down = np.abs(np.abs(np.diff(one, axis=1)) - np.abs(np.diff(two, axis=1))).mean()
    found = losses.gradient(torch.from_numpy(one)[None], torch.from_numpy(two)[None])
    assert float(found) == pytest.approx(across + down, rel=1e-6)


def test_the_contest() -> None:
    half = torch.full((2, 1, 3, 3), 0.5)
    assert float(losses.fooled(half)) == 0.125
    assert float(losses.judged(half, half)) == 0.25
    assert float(losses.judged(torch.ones(1), torch.zeros(1))) == 0


def test_decibels() -> None:
    frame = torch.zeros(1, 3, 8, 8)
    off = losses.intensity(frame + 0.2, frame) / 4  # 0.2 in -1..1 is 0.1 in 0..1
    assert -float(losses.decibels(off)) == pytest.approx(20, abs=1e-4)
    assert -float(losses.decibels(torch.zeros(()))) == 100  # finite


def test_distance_is_along_channels() -> None:
    random = torch.Generator().manual_seed(0)
    one, two = (F.normalize(torch.randn((2, 16, 5, 7), generator=random), dim=1) for _ in "ab")
    found = losses.distance(one, two)
    assert found.shape == (2, 5, 7)
    by_hand = np.sqrt(((one - two).numpy().astype(np.float64) ** 2).sum(1))
    np.testing.assert_allclose(found, by_hand, atol=1e-4)
    assert losses.distance(one, two, "width").shape == (2, 16, 5)
    assert float(losses.triplet(losses.gap(one, one, two), 0.2)) == 0  # drawn, and the other far
    assert float(losses.triplet(losses.gap(one, two, one), 0.2)) > 1


def test_flow_without_weights() -> None:
    """A texture that moved by 2 pixels to the right; and no motion where nothing moved."""
    random = torch.Generator().manual_seed(3)
    ground = patches.gaussian(torch.randn((1, 3, 96, 96), generator=random), 61, 9.0) * 8
    found = losses.flow(ground, ground.roll(2, 3))[:, :, 4:-4, 4:-4] * 4  # in whole pixels
    assert float(found[:, 0].median()) == pytest.approx(2, abs=0.4)
    assert float(found[:, 1].median()) == pytest.approx(0, abs=0.2)
    assert float(losses.flow(ground, ground).abs().max()) == 0
    moving = ground.roll(2, 3).requires_grad_()
    loss = losses.motion(moving, ground, ground)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) > 0 and moving.grad is not None and moving.grad.isfinite().all()


# -- patches -------------------------------------------------------------------------------------
def test_split_and_merge_are_inverse() -> None:
    x = pictures(0, 2, 256)
    parts = patches.split(x, 32)
    assert parts.shape == (2, 64, 3, 32, 32)
    assert torch.equal(parts[1, 9], x[1, :, 32:64, 32:64])  # row 1, column 1
    assert torch.equal(patches.merge(parts, 8), x)
    wide = torch.rand(1, 3, 16, 48)
    assert torch.equal(patches.merge(patches.split(wide, 16), 3), wide)


@pytest.mark.parametrize("how", ["colours", "blur", "both"])
def test_corruption_stays_in_range_and_leaves_the_rest(how: str) -> None:
    torch.manual_seed(0)
    x = pictures(5, 6, 64)
    noisy, chosen = patches.corrupt(x, 16, (0.05, 0.5), how)  # type: ignore[arg-type]
    assert noisy.shape == x.shape and chosen.shape == (6, 16)
    assert float(noisy.min()) >= -1 and float(noisy.max()) <= 1
    before, after = patches.split(x, 16), patches.split(noisy, 16)
    changed = (before != after).flatten(2).any(2)
    assert torch.equal(changed, chosen)  # every chosen one visibly, every other bit for bit
    assert len({tuple(row) for row in chosen.tolist()}) > 1  # each picture has its own


def test_corruption_has_the_rate_asked_for() -> None:
    torch.manual_seed(0)
    x = pictures(5, 64, 64)
    _, chosen = patches.corrupt(x, 8, (0.3, 0.3))
    assert float(chosen.float().mean()) == pytest.approx(0.3, abs=0.02)
    _, chosen = patches.corrupt(x, 8, (0.05, 0.5))
    each = chosen.float().mean(1)
    assert float(each.min()) < 0.2 and float(each.max()) > 0.35  # a rate of its own


def test_colours_left_out_are_dark() -> None:
    torch.manual_seed(1)
    x = pictures(6, 8, 32) * 0.5
    worse = patches.without_colours(patches.split(x, 16), (0.05, 0.5))
    dark = (worse == -1).all(-1).all(-1)  # (N, P, 3)
    assert dark.any(2).all()
    kept = worse[~dark]
    assert (kept >= patches.split(x, 16)[~dark]).all()  # raised, as dropout does


def test_weights_of_patches() -> None:
    assert patches.weight(torch.tensor([1.0, 0.9, 0.75, 0.2, -0.5]), 4.0).tolist() == (
        pytest.approx([0, 0.4, 1, 1, 1])
    )
    x = pictures(7, 2, 64)
    assert float(patches.damage(x, x, 16, 4.0).max()) < 1e-4
    grey = torch.zeros(1, 3, 32, 32) + 0.01 * pictures(8, 1, 32)
    assert float(patches.ssim((grey + 1) / 2, (grey + 1.04) / 2)) > 0.99  # a shift is no damage


def test_similarity_at_once_is_patch_by_patch() -> None:
    one, two = pictures(9, 12, 16), pictures(10, 12, 16)
    found = patches.ssim(one, two)
    each = torch.cat([patches.ssim(a[None], b[None]) for a, b in zip(one, two, strict=True)])
    torch.testing.assert_close(found, each, atol=1e-5, rtol=0)
    assert patches.ssim(one, one).tolist() == pytest.approx([1.0] * 12, abs=1e-5)


def test_similarity_is_the_formula() -> None:
    one, two = (pictures(seed, 1, 11).double().add(1).div(2) for seed in (11, 12))
    at = np.arange(11) - 5
    bell = np.exp(-(at**2) / (2 * 1.5**2))
    bell = np.outer(bell, bell) / np.outer(bell, bell).sum()
    values = []
    for a, b in zip(one[0].numpy(), two[0].numpy(), strict=True):
        ma, mb = (bell * a).sum(), (bell * b).sum()
        va, vb = (bell * (a - ma) ** 2).sum(), (bell * (b - mb) ** 2).sum()
        cov = (bell * (a - ma) * (b - mb)).sum()
        top = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
        values.append(top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    assert float(patches.ssim(one, two)) == pytest.approx(np.mean(values), rel=1e-9)


def test_what_a_patch_costs() -> None:
    prediction, output = pictures(13, 2, 32), pictures(14, 2, 32)
    none, all_ = torch.zeros(2, 4), torch.ones(2, 4)
    kept = patches.destroyed(output, prediction, none, 16)
    by_hand = patches.split((output - prediction).square(), 16).mean((2, 3, 4))
    torch.testing.assert_close(kept, by_hand)
    black = patches.destroyed(torch.full_like(output, -1), prediction, all_, 16)
    assert float(black.abs().max()) == 0  # black is -1 exactly
