"""`scene`: the authors' numbers, the three modes, segments that overlap, scenes found and kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor
from vectors import GOLDEN, fill, golden

from vigil.config import preset, split_keys
from vigil.errors import ConfigError, ModelError
from vigil.methods import _scene_nets as nets
from vigil.methods.base import make_config
from vigil.methods.scene import Scene, SceneConfig, from_published
from vigil.records import Batch, Units
from vigil.scores.segment_protocol import segment_max

LAYOUT = json.loads((GOLDEN / "checkpoints" / "scene.json").read_text())
ARRAYS, FACTS = golden("scene_autoencoder")
LOSSES, _ = golden("scene_losses")
SCORING, VIDEOS = golden("scene_scoring")
SCENES = ("01", "06", "10", "12")


def published() -> dict[str, Tensor]:
    state = fill.state(LAYOUT["tensors"]["model"], 1, LAYOUT["gain"])
    return {key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}


def made(**keys: object) -> Scene:
    """The published size with formula-made weights."""
    keys, own = from_published(published(), keys)
    method = Scene(**keys)
    method.scenes = SCENES
    method.set_tensors(own)
    return method.eval()


@pytest.fixture(scope="module")
def method() -> Scene:
    return made()


@pytest.fixture(scope="module")
def x() -> Tensor:
    rows = fill.normal("scene.batch", 1, (12, 16, 768), 0.5)
    assert fill.check(rows) == FACTS["crc"]
    return torch.from_numpy(rows)


def units(rows: Tensor, video: str = "v", scene: str = "01", frames: int = 1) -> Units:
    """Rows (N, D) of one crop, `frames` frames each."""
    n = len(rows)
    first = np.arange(n) * frames
    box = np.zeros((n, 4), np.float32)
    stop = first + frames
    return Units("rows", video, {"rows": rows[:, None]}, first, stop, stop, box, scene)


# -- the authors' numbers ------------------------------------------------------------------------
def test_parameters_are_as_many_as_published() -> None:
    method = Scene()
    method.scenes = SCENES
    method.name_scenes(4)
    assert sum(weight.numel() for weight in method.parameters()) == 12_615_172
    assert FACTS["params"] == 12_615_172


def test_network_gives_the_authors_numbers(method: Scene, x: Tensor) -> None:
    with torch.no_grad():
        seen = method.net.encode(x)
        encoder = method.net.encoder(x + method.net.pos_embedding[:, :16])
        found = {
            "recon_sub": method.net(x)[:, ::3, ::8],
            "logits": method.classifier(seen.feature),
            "feature": seen.feature,
            "latent_sub": seen.latent[:, ::5],
            "encoder_sub": encoder[:, ::5, ::8],
            "decoder_sub": method.net.decoder(seen.back)[:, ::5, ::8],
        }
    for name, value in found.items():
        np.testing.assert_allclose(value, ARRAYS[name], atol=2e-5, rtol=0, err_msg=name)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_losses_and_gradients_of_the_modes(mode: int, x: Tensor) -> None:
    method = made(mode=mode, dropout=0.0)
    method.train()
    scene = torch.from_numpy(ARRAYS["labels"])
    terms = method.loss(Batch(x={"rows": x[:, :, None]}, scene=scene))
    mse, contrast, cross = (float(ARRAYS[k]) for k in ("mse", "supcon", "cross_entropy"))
    wanted = {"error": 2 * mse, "contrast": contrast, "classify": 0.05 * cross}
    names = ["error", "contrast", "classify"][: mode + 1]
    assert list(terms) == names
    for name in names:
        assert float(terms[name].detach()) == pytest.approx(wanted[name], rel=1e-5), name
    total = torch.stack(list(terms.values())).sum()
    assert float(total.detach()) == pytest.approx(float(ARRAYS[f"total_mode{mode}"]), rel=1e-5)
    total.backward()
    own = dict(method.named_parameters())
    for key, norm in zip(FACTS["grad_keys"], ARRAYS[f"grad_norm_mode{mode}"], strict=True):
        grad = own[key if key.startswith("classifier") else f"net.{key}"].grad
        if norm < 0:
            assert grad is None, key
        else:
            assert float(grad.norm()) == pytest.approx(float(norm), rel=5e-5), key


@pytest.mark.parametrize("temperature", [0.07, 0.1, 0.5])
def test_contrast_is_the_authors(temperature: float) -> None:
    features = torch.from_numpy(LOSSES["supcon_features"])
    labels = torch.from_numpy(LOSSES["supcon_labels"])
    alone = sum(int((labels == label).sum()) == 1 for label in labels)
    found = nets.supervised_contrast(features, labels, temperature)
    # theirs counts anchors without company as zeros of the mean, ours leaves them out
    scaled = float(found) * (len(labels) - alone) / len(labels)
    assert scaled == pytest.approx(float(LOSSES[f"supcon_tau{temperature}"]), rel=1e-5)


def test_other_losses_are_the_authors() -> None:
    found, wanted = (
        torch.from_numpy(fill.normal(f"loss.{name}", 1, (3, 9, 14))) for name in ("pred", "target")
    )
    mean, log_variance = (
        torch.from_numpy(fill.normal(f"loss.{name}", 1, (5, 8))) for name in ("mu", "logvar")
    )
    steps = float(nets.temporal_difference(found, wanted))
    assert steps == pytest.approx(float(LOSSES["temporal"]), rel=1e-5)
    assert float((found - wanted).square().mean()) == pytest.approx(float(LOSSES["mse"]), rel=1e-5)
    apart = float(nets.divergence(mean, log_variance))
    assert apart == pytest.approx(float(LOSSES["kl"]), rel=1e-5)


def test_scores_are_the_authors() -> None:
    method = made(hop=16)
    curves = []
    for name, count in VIDEOS["videos"].items():
        rows = fill.normal(f"scene.test.{name}", 1, (count, 768), 0.5)
        rows[SCORING[f"label_{name}"] == 1] *= np.float32(1.06)
        with torch.no_grad():
            curves.append(segment_max(method.score(units(torch.from_numpy(rows)))["error"].numpy()))
    np.testing.assert_allclose(np.concatenate(curves), SCORING["raw"], rtol=2e-5)


# -- losses --------------------------------------------------------------------------------------
def naive_contrast(features: Tensor, labels: list[int], temperature: float) -> float:
    """Khosla et al. 2020, equation 2, word by word."""
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    total, anchors = 0.0, 0
    for i in range(len(labels)):
        positives = [p for p in range(len(labels)) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        others = [torch.exp(unit[i] @ unit[a] / temperature) for a in range(len(labels)) if a != i]
        below = torch.stack(others).sum()
        logs = [torch.log(torch.exp(unit[i] @ unit[p] / temperature) / below) for p in positives]
        total -= float(torch.stack(logs).mean())
        anchors += 1
    return total / anchors


def test_contrast_of_collapsed_and_of_perfect_clusters() -> None:
    labels = torch.arange(4).repeat_interleave(30)
    same = torch.ones(120, 8)
    assert float(nets.supervised_contrast(same, labels)) == pytest.approx(np.log(119), abs=1e-3)
    apart = torch.eye(8)[labels]
    floor = np.log(29 + 90 * np.exp(-1 / 0.07))
    assert float(nets.supervised_contrast(apart, labels)) == pytest.approx(floor, abs=1e-3)
    assert floor == pytest.approx(3.3673, abs=1e-3) and np.log(119) == pytest.approx(
        4.7791, abs=1e-3
    )


def test_contrast_against_a_double_loop_in_any_order() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(9, 5), [0, 0, 1, 1, 1, 2, 2, 3, 0]  # 3 stands alone
    found = float(nets.supervised_contrast(features, torch.tensor(labels)))
    assert found == pytest.approx(naive_contrast(features, labels, 0.07), rel=1e-5)
    order = torch.randperm(9)
    shuffled = nets.supervised_contrast(features[order], torch.tensor(labels)[order])
    assert float(shuffled) == pytest.approx(found, rel=1e-5)
    assert float(nets.supervised_contrast(features, torch.arange(9))) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_contrast_is_finite_in_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    labels = torch.arange(4).repeat_interleave(5)
    features = torch.randn(20, 16).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nets.supervised_contrast(features, labels)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert features.grad is not None and features.grad.isfinite().all()
    wanted = nets.supervised_contrast(features.detach().float(), labels)
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-5)


# -- the variational form ------------------------------------------------------------------------
def small(**keys: object) -> Scene:
    torch.manual_seed(0)
    method = Scene(
        **{"dim": 16, "segment": 4, "hop": 2, "latent": 4, "hidden": 8, "like": 5} | keys
    )
    method.scenes = ("a", "b")
    return method


def test_variational_form_draws_in_training_only() -> None:
    method = small(variational=True)
    method.prepare([])
    x = torch.randn(6, 4, 1, 16)
    batch = Batch(x={"rows": x}, scene=torch.tensor([0, 0, 0, 1, 1, 1]))
    one, two = (float(method.train().loss(batch)["error"].detach()) for _ in range(2))
    assert one != two
    assert set(method.loss(batch)) == {"error", "divergence", "contrast"}
    rows = units(torch.randn(9, 16))
    with torch.no_grad():
        assert torch.equal(method.eval().score(rows)["error"], method.score(rows)["error"])
    zero = torch.zeros(3, 5)
    assert float(nets.divergence(zero, zero)) == 0
    assert float(nets.divergence(zero + 1, zero)) == pytest.approx(2.5)  # 5 columns x 1/2


def test_logarithm_of_the_variance_is_bounded() -> None:
    net = nets.AutoEncoder(16, 4, 8, 4, 0.0, variational=True)
    assert net.proj_to_variance is not None
    torch.nn.init.constant_(net.proj_to_variance.bias, 1e6)
    seen = net.encode(torch.randn(2, 4, 16))
    assert seen.log_variance is not None and float(seen.log_variance.max().detach()) == 10


# -- segments ------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [1, 3, 4, 5, 6, 17, 40])
@pytest.mark.parametrize("hop", [1, 2, 3, 4])
def test_every_row_is_answered_for(count: int, hop: int) -> None:
    method = small()
    rows = torch.arange(count).float()[:, None, None]  # (N, 1, 1), each its own number
    times = torch.zeros(count)
    for some, answers in method.segments(rows, hop):
        assert some.shape[1:] == (4, 1, 1)
        steps = some[:, :, 0, 0].diff(dim=1)
        assert ((steps == 1) | (some[:, 1:, 0, 0] == count - 1)).all()  # rows in a row
        told = answers >= 0
        assert (some[:, :, 0, 0][told] == answers[told]).all()  # each answers for itself
        times.index_add_(0, answers[told], torch.ones(int(told.sum())))
    assert (times >= 1).all()
    if hop == 4:
        assert (times == 1).all()


def test_a_spike_raises_its_neighbours_only() -> None:
    method = small().eval()
    torch.manual_seed(1)
    rows = torch.randn(40, 16)
    spiked = rows.clone()
    spiked[20] += 5
    with torch.no_grad():
        before = method.score(units(rows))["error"]
        after = method.score(units(spiked))["error"]
    changed = (after - before).abs() > 1e-6
    near = changed.nonzero()[:, 0]
    assert changed[20] and near.min() > 16 and near.max() < 24  # within segments of 4 rows


def test_error_is_a_mean_over_segments_columns_and_crops() -> None:
    method = small().eval()
    torch.manual_seed(2)
    rows = torch.randn(6, 2, 16)  # two crops
    with torch.no_grad():
        found = method.errors(rows)
        parts = [(method.net(rows[a : a + 4, c][None])[0] - rows[a : a + 4, c]).square().mean(1)
                 for a in (0, 2) for c in (0, 1)]  # fmt: skip
    first, last = (parts[0] + parts[1]) / 2, (parts[2] + parts[3]) / 2  # (4,) each
    wanted = torch.cat([first[:2], (first[2:] + last[:2]) / 2, last[2:]])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


# -- scenes --------------------------------------------------------------------------------------
def test_scenes_are_counted_and_come_back() -> None:
    method = small(mode=2)
    method.scenes = ("a", "b", "c")
    method.prepare([units(torch.randn(8, 16), f"v{n}", scene) for n, scene in enumerate("abc")])
    assert method.classifier[3].out_features == 3
    again = small(mode=2)
    again.scenes = method.scenes
    again.set_facts(method.facts())
    again.set_tensors(method.tensors())
    for key, value in method.tensors().items():
        assert torch.equal(value, again.tensors()[key]), key
    assert again.memory.place(0) == method.memory.place(0)


def test_one_scene_is_refused_where_scenes_are_told_apart() -> None:
    method = small()
    method.scenes = ("hall",)
    with pytest.raises(ConfigError, match="mode 1 tells scenes apart, and .* show one .'hall'"):
        method.prepare([])
    plain = small(mode=0)
    plain.scenes = ("hall",)
    plain.prepare([units(torch.randn(5, 16), scene="hall")])
    assert plain.loss(Batch(x={"rows": torch.randn(2, 4, 1, 16)})).keys() == {"error"}


def test_a_reason_names_a_normal_frame_of_the_same_scene() -> None:
    method = small()
    torch.manual_seed(3)
    road, walk = torch.randn(6, 16), torch.randn(6, 16)
    method.scenes = ("road", "walk")
    method.prepare([units(road, "r", "road"), units(walk, "w", "walk")])
    reasons = method.eval().explain(units(road[2:4], "new", "road"))
    assert all(reason.like is not None and reason.like[0] == "r" for reason in reasons)
    assert method.explain(units(walk[4:5] * 3, "new", "walk"))[0].like in {
        ("w", n) for n in range(6)
    }
    assert method.explain(units(road[:1], "new", "walk"))[0].like[0] == "w"  # "not here"
    kept = set(zip(method.memory.scene.tolist(), method.memory.frame.tolist(), strict=True))
    assert len(kept) == 10  # five of each


def test_columns_are_standardised_when_asked_for() -> None:
    torch.manual_seed(4)
    rows = torch.randn(50, 16) * 3 + 7
    plain, scaled = small(), small(standardise=True)
    for method in (plain, scaled):
        method.prepare([units(rows[:20]), units(rows[20:], "w", "b")])
    assert torch.equal(plain.scaled(rows), rows)
    torch.testing.assert_close(scaled.mean, rows.mean(0), rtol=1e-5, atol=1e-5)
    assert float(scaled.scaled(rows).std(0, correction=0).mean()) == pytest.approx(1, abs=1e-4)


def test_preset_is_the_published_setting() -> None:
    own, fit = split_keys(preset("scene-sd"), SceneConfig)
    assert make_config(SceneConfig, own) == SceneConfig()
    assert (fit["steps"], fit["batch"], fit["val_every"], fit["save_every"]) == (
        5000,
        120,
        100,
        1000,
    )


def test_state_dict_of_something_else() -> None:
    with pytest.raises(ModelError, match="no network of scene: found .'fc1.weight'."):
        from_published({"fc1.weight": torch.zeros(2, 2)}, {})
    with pytest.raises(ConfigError, match="4 heads do not divide|multiple of 4"):
        Scene(dim=18)


@pytest.mark.parametrize("mode", [0, 1])
def test_training_lowers_the_loss_and_parts_scenes(mode: int) -> None:
    """Two scenes that share their rows but for a small offset: told apart in mode 1."""
    torch.manual_seed(5)
    method = small(mode=mode, lr=3e-3, position=0.02, dropout=0.0)
    method.prepare([])
    optimizers = method.optimizers()
    offset = torch.nn.functional.one_hot(torch.arange(2), 16).float()[:, None, None] * 2
    scene = torch.tensor([0] * 8 + [1] * 8)
    first = last = 0.0
    for step in range(80):
        rng = torch.Generator().manual_seed(step)
        x = torch.randn(16, 4, 1, 16, generator=rng) + offset[scene]
        terms = method.fit_step(Batch(x={"rows": x}, scene=scene), optimizers, Tensor.backward)
        last = float(terms["error"].detach())
        first = first or last
    assert last < first
    seen = method.eval().net.encode(x[:, :, 0]).feature.detach()
    contrast = float(nets.supervised_contrast(seen, scene))
    if mode:
        assert contrast < 2.4  # ln 15 = 2.71 together, ln 7 = 1.95 apart
