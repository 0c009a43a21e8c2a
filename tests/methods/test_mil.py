"""MIL ranking: the authors' numbers, hand-made losses, scoring by rows and by segments."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from weak_bags import found, train, units

from vigil.config import preset, split_keys
from vigil.errors import ConfigError, ModelError
from vigil.methods._temporal import mil_bounds
from vigil.methods.base import make_config
from vigil.methods.mil import MIL, MILConfig, from_published
from vigil.records import Batch

GOLDEN = Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
fill = importlib.import_module("fill")
ARRAYS = dict(np.load(GOLDEN / "mil_network_losses.npz"))
FACTS = json.loads((GOLDEN / "mil_network_losses.json").read_text())
LAYOUT = json.loads((GOLDEN / "checkpoints" / "mil.json").read_text())
PORT = {"penalty": "norm", "optimizer": "adadelta"}


def published(dim: int, seed: int = 1) -> dict[str, Tensor]:
    """The authors' state dict of some width, filled by formula."""
    shapes = {key: item["shape"] for key, item in LAYOUT["tensors"]["64"].items()}
    shapes["fc1.weight"] = [512, dim]
    state = fill.state(shapes, seed, LAYOUT["gain"])
    return {key: torch.from_numpy(value) for key, value in state.items()}


def made(dim: int, **keys: object) -> MIL:
    config, own = from_published(published(dim), keys)
    method = MIL(**config)
    method.set_tensors(own)
    return method.eval()


def total(terms: dict[str, Tensor], *, penalty: bool) -> Tensor:
    kept = [v for k, v in terms.items() if penalty or k != "weights"]
    return torch.stack(kept).sum()


# -- parity --------------------------------------------------------------------------------------
@pytest.mark.parametrize("dim", [64, 4096])
def test_network_and_losses_equal_the_authors(dim: int) -> None:
    bag = torch.from_numpy(fill.normal(f"mil.bag.D{dim}", 1, (6, 32, dim)))[:, :, None]
    facts = next(net for net in FACTS["nets"] if net["D"] == dim)
    assert fill.check(bag.numpy()) == facts["crc"]
    batch = Batch(normal={"rows": bag[:3]}, anomalous={"rows": bag[3:]})
    method = made(dim, **PORT)
    assert sum(p.numel() for p in method.parameters()) == facts["params"]
    np.testing.assert_allclose(
        method.probability(bag).detach(), ARRAYS[f"D{dim}_scores"][..., 0], atol=5e-6, rtol=0
    )
    weights = {"original": [1.0], **{name: v["w"] for name, v in FACTS["weights"].items()}}
    for name, shares in weights.items():
        terms = made(dim, weights=shares, **PORT).loss(batch)
        for kind, penalty in (("loss", False), ("regularised", True)):
            wanted = ARRAYS[f"D{dim}_{kind}_{name}"]
            value = total(terms, penalty=penalty).detach()
            np.testing.assert_allclose(value, wanted, atol=2e-6, rtol=0, err_msg=f"{kind} {name}")
    total(method.loss(batch), penalty=True).backward()
    inverse = {"0": "fc1", "3": "fc2", "5": "fc3"}
    norms = {
        f"{inverse[k.split('.')[1]]}.{k.split('.')[2]}": float(p.grad.norm())
        for k, p in method.named_parameters()
    }
    wanted_norms = ARRAYS[f"D{dim}_grad_norm"]
    np.testing.assert_allclose([norms[k] for k in FACTS["grad_keys"]], wanted_norms, rtol=1e-4)


def test_losses_of_given_scores_equal_the_authors() -> None:
    scores = torch.from_numpy(fill.uniform("mil.scores", 1, (8, 32, 1)))[..., 0]
    weights = {"original": [1.0], **{name: v["w"] for name, v in FACTS["weights"].items()}}
    for name, shares in weights.items():
        terms = MIL(dim=8, weights=shares).terms(scores[:4], scores[4:])
        value = total(terms, penalty=False).detach()
        np.testing.assert_allclose(value, ARRAYS[f"spread_loss_{name}"], atol=2e-6, rtol=0)


def test_scores_of_whole_videos_equal_the_authors() -> None:
    """Network and their frame rule (a tail scored 0) typed out; ours leaves no frame at 0."""
    arrays = np.load(GOLDEN / "mil_evaluation.npz")
    facts = json.loads((GOLDEN / "mil_evaluation.json").read_text())
    method = made(16)
    frames, ours, labels = [], [], []
    for video in facts["videos"]:
        rows = torch.from_numpy(fill.normal("mil.eval." + video["path"], 1, (32, 16)))
        scores = method.probability(rows[:, None]).detach().numpy()  # (32,)
        count, each = video["num_frames"], video["num_frames"] // 32
        theirs = np.zeros(count, np.float32)
        theirs[: 32 * each] = np.repeat(scores, each)
        label = np.zeros(count, np.int8)
        for start, stop in np.reshape(video["events"], (2, 2)):
            if start >= 0:
                label[start:stop] = 1
        frames.append(theirs)
        labels.append(label)
        ours.append(scores[np.minimum(np.arange(count) // each, 31)])
    from sklearn.metrics import roc_auc_score

    np.testing.assert_allclose(np.concatenate(frames), arrays["frame_scores"], atol=5e-6, rtol=0)
    np.testing.assert_array_equal(np.concatenate(labels), arrays["frame_labels"])
    auc = roc_auc_score(np.concatenate(labels), np.concatenate(frames))
    assert auc == pytest.approx(float(arrays["auc"]), abs=1e-9)
    assert (np.concatenate(ours) > 0).all()


def test_published_keys_of_another_network_are_refused() -> None:
    with pytest.raises(ModelError, match="no network of mil"):
        from_published({"fc1.weight": torch.zeros(1, 1)}, {})


# -- losses --------------------------------------------------------------------------------------
NORMAL, ANOMALOUS = torch.tensor([[0.1, 0.2, 0.3, 0.2]]), torch.tensor([[0.2, 0.9, 0.4, 0.1]])


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ([1.0], 0.4001944), ([0.5, 0.5], 0.6001944), ([0.5, 0.3, 0.2], 0.6401944),
        ([0.4, 0.3, 0.2, 0.1], 0.7001944),
    ],
)  # fmt: skip
def test_losses_by_hand(weights: list[float], wanted: float) -> None:
    terms = MIL(dim=8, weights=weights, penalty="none").terms(NORMAL, ANOMALOUS)
    assert float(sum(terms.values())) == pytest.approx(wanted, abs=1e-7)
    assert float(terms["smooth"] + terms["sparse"]) == pytest.approx(1.944e-4, abs=1e-8)


def test_one_highest_is_the_maximum_exactly() -> None:
    torch.manual_seed(0)
    scores = torch.rand(7, 32)
    method = MIL(dim=8, k=1, weights=[1.0])
    assert torch.equal(method.top(scores), scores.amax(1))
    assert torch.equal(MIL(dim=8, k=4).top(scores), scores.topk(4).values.mean(1))
    linear = MIL(dim=8, k=4, weights="linear").top(scores)
    torch.testing.assert_close(linear, MIL(dim=8, weights=[0.4, 0.3, 0.2, 0.1]).top(scores))


def test_all_pairs_and_paired_means_agree() -> None:
    torch.manual_seed(0)
    normal, anomalous = torch.rand(30, 32), torch.rand(30, 32)
    for keys in ({}, {"k": 3, "weights": "linear"}):
        method = MIL(dim=8, **keys)
        paired = (1 - method.top(anomalous) + method.top(normal)).relu().mean()
        assert float(method.terms(normal, anomalous)["rank"]) == pytest.approx(
            float(paired), abs=1e-6
        )


def test_order_of_segments_changes_smoothness_alone() -> None:
    torch.manual_seed(0)
    normal, anomalous = torch.rand(4, 32), torch.rand(4, 32)
    method = MIL(dim=8, k=3)
    before = method.terms(normal, anomalous)
    after = method.terms(normal, anomalous[:, torch.randperm(32)])
    assert torch.equal(before["rank"], after["rank"])
    assert float(before["smooth"]) != pytest.approx(float(after["smooth"]), rel=1e-3)


def test_penalties_by_hand() -> None:
    squared, norm = made(16), made(16, **PORT)
    state = published(16)
    weights = [state[f"fc{n}.weight"].double() for n in (1, 2, 3)]
    wanted = 1e-3 / 30 * sum(float((w**2).sum()) for w in weights)
    assert float(squared.penalty().detach()) == pytest.approx(wanted, rel=1e-5)
    layers = [
        torch.cat([state[f"fc{n}.{k}"].flatten() for k in ("weight", "bias")]) for n in (1, 2, 3)
    ]
    wanted = 1e-3 * sum(float((x.double() ** 2).sum().sqrt()) for x in layers)
    assert float(norm.penalty().detach()) == pytest.approx(wanted, rel=1e-5)
    assert "weights" not in made(16, penalty="none").terms(NORMAL, ANOMALOUS)


def test_terms_are_float32_under_autocast() -> None:
    method, rows = made(16), torch.randn(2, 32, 1, 16)
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.loss(Batch(normal={"rows": rows}, anomalous={"rows": rows}))
    assert all(term.dtype == torch.float32 for term in terms.values())


# -- configuration -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"weights": [0.5, 0.4]}, "sum 0.9"),
        ({"weights": [1.5, -0.5]}, "sum to 1"),
        ({"k": 33}, "more than the 32 segments"),
        ({"segments": 2, "weights": [0.4, 0.3, 0.3]}, "1 to 2 weights"),
        ({"k": 2, "weights": [0.4, 0.3, 0.3]}, "3 weights for k = 2"),
        ({"weights": "falling"}, "weights"),
    ],
)
def test_wrong_weights_are_refused(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_config(MILConfig, keys)


@pytest.mark.parametrize(("dim", "count"), [(4096, 2_114_113), (2048, 1_065_537), (1024, 541_249)])
def test_parameters(dim: int, count: int) -> None:
    method = MIL(dim=dim)
    assert sum(p.numel() for p in method.parameters()) == count
    assert all((layer.bias == 0).all() for layer in method.layers())


def test_optimizers() -> None:
    (original,) = MIL(dim=8).optimizers().values()
    assert isinstance(original, torch.optim.Adagrad)
    assert original.defaults["lr"] == 0.01 and original.defaults["eps"] == 1e-8
    (port,) = MIL(dim=8, **PORT).optimizers().values()
    assert isinstance(port, torch.optim.Adadelta)
    assert port.defaults["lr"] == 0.01 and port.defaults["eps"] == 1e-8


@pytest.mark.parametrize(
    "name",
    ["mil-c3d", "mil-c3d-port", "mil-r3d101", "mil-r3d152", "mil-r3d152-top6", "mil-i3d"],
)
def test_presets(name: str) -> None:
    own, fit = split_keys(preset(name), MILConfig)
    config = make_config(MILConfig, own)
    assert fit["batch"] == 30 and fit["steps"] >= 20_000
    if name.endswith("top6"):
        assert config.dim == 2048 and config.weights == (0.3, 0.3, 0.1, 0.1, 0.1, 0.1)


# -- segments and scoring ------------------------------------------------------------------------
def test_bags_have_unit_length_and_segments_stay() -> None:
    torch.manual_seed(0)
    method = made(16)
    rows = torch.randn(100, 1, 16)
    bag = method.bag(units(rows))["rows"]
    torch.testing.assert_close(bag.norm(dim=-1), torch.ones(32, 1))
    mean = rows[3:6].mean(0)  # bounds 0, 3, 6, ...
    torch.testing.assert_close(bag[1], mean / mean.norm())
    torch.testing.assert_close(method.bag(units(bag))["rows"], bag)  # a file of 32 rows


def test_crops_are_averaged() -> None:
    torch.manual_seed(0)
    method, rows = made(16), torch.randn(5, 10, 16)
    with torch.no_grad():
        each = torch.stack([method.score(units(rows[:, n : n + 1]))["rank"] for n in range(10)])
        torch.testing.assert_close(method.score(units(rows))["rank"], each.mean(0))


@pytest.mark.parametrize("n", [1, 5, 31, 32, 33, 100, 1000])
def test_segments_answer_for_every_row(n: int) -> None:
    """Each row gets the score of the segment it was averaged into; rows past the last bound, that
    of the last segment."""
    torch.manual_seed(n)
    method, rows = made(16, answer="segments"), torch.randn(n, 1, 16)
    bag = method.bag(units(rows))["rows"]
    with torch.no_grad():
        segments, scores = method.probability(bag), method.score(units(rows))["rank"]
    assert scores.shape == (n,) and method.lookahead is None
    bounds = np.arange(33) if n == 32 else mil_bounds(n)
    for row in range(n):
        holding = [i for i in range(32) if bounds[i] <= row < max(bounds[i + 1], bounds[i] + 1)]
        wanted = segments[holding[0]] if holding else segments[31]
        torch.testing.assert_close(scores[row], wanted)


def test_zero_rows_are_no_nan() -> None:
    method = made(16)
    assert method.score(units(torch.zeros(40, 1, 16)))["rank"].isfinite().all()


def test_reasons_show_what_fired() -> None:
    torch.manual_seed(0)
    method, seen = made(16, k=2), units(torch.randn(9, 3, 16))
    scores = method.score(seen)["rank"].detach()
    reasons = method.explain(seen)
    fired = {n for n, reason in enumerate(reasons) if reason.heat.max() > 0}
    assert fired == set(scores.topk(2).indices.tolist())
    for score, reason in zip(scores, reasons, strict=True):
        assert sum(reason.parts.values()) == pytest.approx(float(score), rel=1e-5)
        assert list(reason.parts) == ["crop 0", "crop 1", "crop 2"]


# -- learning ------------------------------------------------------------------------------------
@pytest.mark.parametrize("keys", [{}, {"k": 3, "weights": "linear", **PORT, "lr": 1.0}])
def test_planted_anomalies_are_found(keys: dict[str, object]) -> None:
    torch.manual_seed(0)
    method = MIL(dim=64, **keys)
    assert max(found(method)) < 0.7
    trace = train(method, 60)
    assert np.mean(trace[-10:]) < 0.9 * np.mean(trace[:10])
    videos, frames = found(method)
    assert videos > 0.9 and frames > 0.9


def test_same_seed_same_trace() -> None:
    traces = []
    for _ in range(2):
        torch.manual_seed(0)
        traces.append(train(MIL(dim=64), 5))
    assert traces[0] == traces[1]
