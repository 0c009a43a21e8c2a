"""Segments, the network over time and the terms, against authors' numbers and literal formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from vectors import GOLDEN, fill, golden

from vigil.methods import _temporal as t


# -- segments ------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [5, 31, 32, 33, 100, 1000])
def test_bins_equal_the_authors(n: int) -> None:
    arrays, _ = golden("quantisation_qmil_qavg")
    rows = torch.from_numpy(fill.normal(f"quant.n{n}", 1, (n, 6)))
    np.testing.assert_array_equal(t.mil_bounds(n), arrays[f"qmil_bounds_n{n}"])
    np.testing.assert_array_equal(t.avg_bounds(n), arrays[f"qavg_bounds_n{n}"])
    np.testing.assert_allclose(t.q_mil(rows), arrays[f"qmil_n{n}"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(t.q_avg(rows), arrays[f"qavg_n{n}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("n", [1, 5, 32, 57])
def test_interpolation_equals_the_authors(n: int) -> None:
    arrays, _ = golden("s3r_qlin")
    rows = torch.from_numpy(fill.positive(f"qlin.T{n}", 1, (n, 10, 8), 1.0))
    found = t.q_lin(rows).transpose(0, 1)  # (10, 32, 8)
    np.testing.assert_allclose(found, arrays[f"out_T{n}"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("n", [1, 5, 9, 32, 57, 1000])
def test_interpolation_has_half_pixel_centres(n: int) -> None:
    rows = torch.from_numpy(fill.normal("any", n, (n, 3)))
    wanted = F.interpolate(rows.T[None], 32, mode="linear", align_corners=False)[0].T
    np.testing.assert_allclose(t.q_lin(rows), wanted, atol=2e-6, rtol=0)


@pytest.mark.parametrize("rule", t.QUANTISERS)
@pytest.mark.parametrize("n", [1, 2, 5, 33, 997])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_always_the_asked_number_of_segments(rule: str, n: int, kind: torch.dtype) -> None:
    rows = torch.from_numpy(fill.normal("rows", n, (n, 2, 5))).to(kind)
    found = t.QUANTISERS[rule](rows, 32)
    assert found.shape == (32, 2, 5) and found.dtype == torch.float32
    assert found.isfinite().all()
    if rule == "mil":
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(32, 2))


def test_zero_rows_stay_zero() -> None:
    assert (t.q_mil(torch.zeros(7, 1, 5)) == 0).all()


def test_known_bounds() -> None:
    found = t.mil_bounds(100).tolist()
    assert found[:9] == [0, 3, 6, 9, 12, 15, 19, 22, 25] and found[-3:] == [93, 96, 99]
    assert np.bincount(t.mil_bounds(5)).tolist() == [5, 7, 9, 7, 5]
    assert np.diff(np.searchsorted(t.avg_bounds(5)[:-1], range(6))).tolist() == [7, 6, 7, 6, 6]
    # 17 rows in 32: every other bound is an exact half
    even, away = t.mil_bounds(17, half="even"), t.mil_bounds(17, half="away")
    assert even[:4].tolist() == [0, 0, 1, 2] and away[:4].tolist() == [0, 1, 1, 2]


# -- networks ------------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [1, 2, 37, 300])
def test_both_orders_of_attention_agree(length: int) -> None:
    q, k, v = (torch.from_numpy(fill.normal(n, length, (2, 64, length))) for n in "qkv")
    wanted = torch.einsum("ncs,nts->nct", v, torch.einsum("nct,ncs->nts", q, k) / length)
    torch.testing.assert_close(t.attend(q, k, v), wanted, atol=1e-4, rtol=1e-5)


def test_non_local_is_the_identity_at_first_and_divides_by_its_length() -> None:
    block = t.NonLocal(512).eval()
    x = torch.from_numpy(fill.normal("x", 1, (1, 512, 37)))
    torch.testing.assert_close(block(x), x, atol=0, rtol=0)
    torch.nn.init.ones_(block.alter[1].weight)
    affinity = block.query(x).transpose(1, 2) @ block.key(x) / 37  # (1, T, T)
    seen = (affinity @ block.value(x).transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(block(x), block.alter(seen) + x, atol=1e-5, rtol=0)


def test_linear_form_equals_the_golden_block() -> None:
    """The authors' T x T block with T = 32 against ours, forced to either order by its width."""
    arrays, _ = golden("s3r_dim128_batch")
    layout = json.loads((GOLDEN / "checkpoints" / "s3r_dim128.json").read_text())
    start = "video_embedding.0.non_local."
    state = fill.state(layout["tensors"], 1, layout["gain"])
    block = t.NonLocal(32).eval()  # 16 channels inside, so T = 32 goes the linear way
    block.load_state_dict(
        {k.removeprefix(start): torch.tensor(v) for k, v in state.items() if k.startswith(start)}
    )
    found = block(torch.from_numpy(arrays["non_local_in_first"])).detach()
    np.testing.assert_allclose(found, arrays["non_local_out_first"], atol=2e-5)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("length", [1, 2, 40])
def test_any_length_and_each_video_for_itself(norm, length: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    network = t.MultiScale(64, norm).eval()
    rows = torch.randn(3, length, 64)
    found = network(rows)
    assert found.shape == rows.shape
    torch.testing.assert_close(network(rows[1:2]), found[1:2], atol=1e-5, rtol=1e-5)


def test_bfloat16_stays_near() -> None:
    torch.manual_seed(0)
    network = t.MultiScale(64, "group").eval()
    torch.nn.init.ones_(network.non_local.alter[1].weight)
    rows = torch.randn(2, 32, 64)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(rows)
    torch.testing.assert_close(found.float(), network(rows), atol=0.1, rtol=0.05)


def test_xavier() -> None:
    layer = torch.nn.Linear(100, 50)
    t.init_xavier(torch.nn.Sequential(layer))
    edge = (6 / 150) ** 0.5
    assert 0.98 * edge < layer.weight.abs().max() <= edge and (layer.bias == 0).all()


# -- selection -----------------------------------------------------------------------------------
def test_largest_magnitudes_are_chosen_for_all_crops() -> None:
    features = torch.zeros(2, 3, 5, 4)  # (B, crops, T, C)
    features[0, :, 3, 0], features[0, :, 1, 2] = 9.0, 5.0
    features[1, 0, 4] = 7.0  # length 14 in one crop of three
    magnitude = t.magnitudes(features)
    assert magnitude[0].tolist() == [0, 5, 0, 9, 0] and magnitude[1, 4] == pytest.approx(14 / 3)
    index = t.top_segments(magnitude, 2)
    assert index[0].tolist() == [3, 1] and index[1, 0] == 4
    assert t.at_segments(features, index)[0, 2, :, 0].tolist() == [9, 0]
    scores = torch.arange(10.0).view(2, 5)
    assert t.at_segments(scores, index)[0].tolist() == [3, 1]
    assert t.top_segments(magnitude, 9).shape == (2, 5)


def test_hidden_segments_are_not_chosen() -> None:
    torch.manual_seed(0)
    magnitude = torch.arange(1.0, 1001).repeat(20, 1)
    best = t.top_segments(magnitude, 1, mask=0.7)[:, 0]
    assert len(best.unique()) > 5  # the largest is hidden in 7 of 10 draws
    assert (t.top_segments(magnitude, 1) == 999).all()


# -- terms ---------------------------------------------------------------------------------------
def loss_inputs() -> dict[str, Tensor]:
    crest = fill.normal("loss.crest_abnormal", 1, (12, 3, 32), 12, 12)
    crest = crest * (0.8 + 0.1 * np.arange(12, dtype=np.float32))[:, None, None]
    made = {
        "normal": fill.uniform("loss.score_normal", 1, (3, 1), 0.02, 0.98),
        "anomalous": fill.uniform("loss.score_abnormal", 1, (3, 1), 0.02, 0.98),
        "crest": crest.astype(np.float32),
        "crest_normal": fill.normal("loss.crest_normal", 1, (12, 3, 32), 5),
        "scores": fill.uniform("loss.abnormal_scores", 1, (96,)).reshape(3, 32),
        "macro": fill.uniform("loss.macro_scores", 1, (6, 1), 0.02, 0.98),
    }
    return {key: torch.from_numpy(value) for key, value in made.items()}


def test_terms_equal_the_authors() -> None:
    arrays, _ = golden("mag_losses_alone")
    x = loss_inputs()
    both = torch.cat([x["normal"], x["anomalous"]])
    target = torch.tensor([[0.0]] * 3 + [[1.0]] * 3)
    found = {
        "loss_cls": t.cross_entropy(both, target),
        "loss_mag_weighted": 1e-4 * t.separation(x["crest"], x["crest_normal"]),
        "loss_smooth": 8e-4 * t.smoothness(x["scores"], compat=True),
        "loss_sparse": 8e-3 * t.sparsity(x["scores"], compat=True),
        "loss_macro": t.cross_entropy(x["macro"], 0.0),
        "crest_abnormal_norm": x["crest"].mean(1).norm(dim=1),
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, arrays[name], rtol=1e-6, err_msg=name)


def test_terms_by_hand() -> None:
    scores = torch.tensor([[0.1, 0.4, 0.2], [0.9, 0.8, 0.3]])
    assert 8e-4 * t.smoothness(scores, compat=True) == pytest.approx(7.04e-4, rel=1e-5)
    assert 8e-4 * t.smoothness(scores) == pytest.approx(3.12e-4, rel=1e-5)
    assert 8e-3 * t.sparsity(scores, compat=True) == pytest.approx(1.0583e-2, rel=1e-4)
    assert t.sparsity(scores) == pytest.approx((0.7 + 2.0) / 2)
    same = torch.full((32, 32), 0.3)
    torch.testing.assert_close(t.sparsity(same), t.sparsity(same, compat=True))


def test_separation_pulls_both_kinds() -> None:
    one, two = (torch.randn(4, 3, 8, requires_grad=True) for _ in range(2))
    t.separation(one, two).backward()
    for features in (one, two):
        assert features.grad is not None and features.grad.abs().min() > 0


def test_terms_are_float32_under_autocast() -> None:
    x = {key: value.bfloat16() for key, value in loss_inputs().items()}
    with torch.autocast("cpu", torch.bfloat16):
        for value in (
            t.cross_entropy(x["macro"], 0.0), t.separation(x["crest"], x["crest_normal"]),
            t.smoothness(x["scores"]), t.sparsity(x["scores"]),
        ):  # fmt: skip
            assert value.dtype == torch.float32 and value.isfinite()
