"""mama: the authors' networks and totals, what depends on what, training, scores, import."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_square
from mama_parts import BOTH, SMALL, authors_mama, batch, clips, params, published, units
from vectors import GOLDEN, fill, golden

from vigil import authors, bundle, pipeline, run
from vigil.authors import import_checkpoint
from vigil.bundle import Model
from vigil.config import fit_config, preset, split_keys
from vigil.data.base import Split
from vigil.errors import ConfigError, InputError, ModelError
from vigil.methods import _mama_losses as losses
from vigil.methods import _mama_nets as nets
from vigil.methods.base import make_config
from vigil.methods.mama import Mama, MamaConfig, from_published, slow_down
from vigil.train.batches import Samples
from vigil.train.loop import Trainer

CHECKPOINTS = GOLDEN / "checkpoints"


@pytest.fixture(scope="module")
def theirs() -> Mama:
    return authors_mama(64, gradient=1.0)


def golden_inputs(facts: dict) -> dict[str, torch.Tensor]:  # type: ignore[type-arg]
    made = {
        "frames": fill.uniform("mama.frames", 1, (2, 12, 64, 64), -1, 1),
        "target": fill.uniform("mama.target", 1, (2, 3, 64, 64), -1, 1),
        "flow": fill.normal("mama.flow", 1, (2, 6, 64, 64), 0.05),
        "seg": fill.normal("mama.seg", 1, (2, 84, 64, 64), 2.0),
    }
    for name, array in made.items():
        assert fill.check(array) == facts["inputs"][name]["crc"], name
    return {name: torch.from_numpy(array) for name, array in made.items()}


# -- the authors' numbers ------------------------------------------------------------------------
def test_parameter_counts() -> None:
    paper = Mama()
    assert params(paper.generator) + params(paper.targets) == 36_076_611
    assert params(paper.judge) == 6_831_489
    assert {k: params(v) for k, v in nets.F2LM(12, 8).named_children()}["head"] == 219


def test_networks_and_features(theirs: Mama) -> None:
    arrays, facts = golden("mama_generator")
    x = golden_inputs(facts)
    with torch.no_grad():
        found = theirs.generator(x["frames"])
        motion, label = theirs.targets["motion"](x["flow"]), theirs.targets["label"](x["seg"])
        odds = [theirs.judge(picture) for picture in (x["target"], found["frame"])]
    np.testing.assert_allclose(found["frame"][:1], arrays["pred"], atol=5e-5)
    np.testing.assert_allclose(found["frame"][..., ::4, ::4], arrays["pred_sub_all"], atol=5e-5)
    for name, value in (
        ("frame", found["seen"]), ("motion", motion), ("ftom", found["motion"]),
        ("label", label), ("ftol", found["label"]),
    ):  # fmt: skip
        np.testing.assert_allclose(value[:1, ::2], arrays[f"{name}_feature_sub"], atol=2e-6)
        torch.testing.assert_close(value.norm(dim=1), torch.ones(2, 8, 8))
    np.testing.assert_allclose(odds[0], arrays["disc_target"], atol=1e-5)
    np.testing.assert_allclose(odds[1], arrays["disc_pred"], atol=1e-5)


def terms_of(method: Mama, x: dict[str, torch.Tensor], legacy: bool) -> dict[str, torch.Tensor]:
    """The authors' terms from the golden inputs."""
    found = method.generator(x["frames"])
    axis = "width" if legacy else "channels"
    terms = {
        "intensity": losses.intensity(found["frame"], x["target"]),
        "gradient": losses.gradient(found["frame"], x["target"], bordered=True),
        "adversarial": losses.fooled(method.judge(found["frame"])),
    }
    for kind, name in (("motion", "flow"), ("label", "seg")):
        true = method.targets[kind](x[name])
        gaps = losses.gap(found[kind], true, found["seen"], axis)  # type: ignore[arg-type]
        terms[f"triplet_{kind}_{'legacy' if legacy else 'channel'}"] = losses.triplet(gaps, 0.2)
    return terms


def total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    weights = {"adversarial": 0.05}
    return torch.stack([weights.get(name, 1.0) * value for name, value in terms.items()]).sum()


@pytest.mark.parametrize("legacy", [True, False])
def test_totals(theirs: Mama, legacy: bool) -> None:
    arrays, facts = golden("mama_generator")
    terms = terms_of(theirs, golden_inputs(facts), legacy)
    for name, value in terms.items():
        assert value.item() == pytest.approx(float(arrays[f"loss_{name}"]), rel=1e-5), name
    whole = total(terms)
    kind = "legacy" if legacy else "channel"
    assert whole.item() == pytest.approx(float(arrays[f"loss_generator_total_{kind}"]), rel=1e-5)
    if legacy:
        check_gradients(theirs, whole, arrays, facts)


def check_gradients(theirs: Mama, whole: torch.Tensor, arrays: dict, facts: dict) -> None:  # type: ignore[type-arg]
    """The length of the gradient of each weight."""
    theirs.zero_grad()
    whole.backward()  # type: ignore[no-untyped-call]
    weights = dict(theirs.named_parameters())
    keys = {key: weights[nets.place(key, BOTH)].grad for key in facts["grad_keys"]}
    found = [float(grad.norm()) for grad in keys.values() if grad is not None]
    theirs.zero_grad()
    np.testing.assert_allclose(found, arrays["grad_norm_total_legacy"], rtol=2e-3, atol=1e-6)


def test_the_judges_loss_and_the_scores(theirs: Mama) -> None:
    arrays, facts = golden("mama_generator")
    x = golden_inputs(facts)
    with torch.no_grad():
        found = theirs.generator(x["frames"])
        loss = losses.judged(theirs.judge(x["target"]), theirs.judge(found["frame"]))
        square = ((found["frame"] - x["target"]) / 2).square().flatten(1).mean(1)
        for kind, name in (("motion", "flow"), ("label", "seg")):
            gaps = losses.gap(found[kind], theirs.targets[kind](x[name]), found["seen"], "width")
            hinge = (gaps + 0.2).relu().flatten(1).mean(1)
            np.testing.assert_allclose(hinge, arrays[f"score_{kind}_legacy"], rtol=1e-5)
    for name in ("loss_discriminator", "loss_discriminator_from_step"):
        assert float(loss) == pytest.approx(float(arrays[name]), rel=1e-5)
    np.testing.assert_allclose(square, arrays["score_error"], rtol=1e-5)
    assert -float(losses.decibels(square).mean()) == pytest.approx(
        float(arrays["psnr_mean"]), rel=1e-5
    )


def test_a_step_of_training(theirs: Mama) -> None:
    """The total in train mode, and the statistics of the first normalisation after it."""
    arrays, facts = golden("mama_generator")
    method = authors_mama(64)
    method.train()
    whole = total(terms_of(method, golden_inputs(facts), legacy=True))
    assert whole.item() == pytest.approx(
        float(arrays["loss_generator_total_legacy_trainmode"]), rel=1e-4
    )
    statistics = method.generator.encoder.levels[0][1].running_mean  # type: ignore[union-attr,index]
    np.testing.assert_allclose(statistics, arrays["bn_after_train_forward"], atol=1e-5)


def test_full_size(theirs: Mama) -> None:
    arrays, _ = golden("mama_generator_256")
    frames = torch.from_numpy(fill.uniform("mama256.frames", 1, (1, 12, 256, 256), -1, 1))
    flow = torch.from_numpy(fill.normal("mama256.flow", 1, (1, 6, 256, 256), 0.05))
    seg = torch.from_numpy(fill.normal("mama256.seg", 1, (1, 84, 256, 256), 2.0))
    with torch.no_grad():
        found = theirs.generator(frames)
        odds = theirs.judge(found["frame"])
        y4, z4 = theirs.targets["motion"](flow), theirs.targets["label"](seg)
    frame = found["frame"]
    assert frame.shape == (1, 3, 256, 256) and float(frame.abs().max()) <= 1
    assert found["seen"].shape == (1, 512, 32, 32) and odds.shape == (1, 1, 35, 35)
    assert float(odds.min()) > 0 and float(odds.max()) < 1
    np.testing.assert_allclose(frame[..., ::8, ::8], arrays["pred_sub"], atol=5e-5)
    np.testing.assert_allclose(odds, arrays["disc_pred"], atol=5e-5)
    for name, value in (
        ("x4", found["seen"]), ("y4", y4), ("z4", z4),
        ("xy", found["motion"]), ("xz", found["label"]),
    ):  # fmt: skip
        np.testing.assert_allclose(value[:, ::16, ::4, ::4], arrays[f"{name}_sub"], atol=5e-5)
    assert float(frame.mean()) == pytest.approx(float(arrays["pred_mean"]), abs=5e-5)


# -- networks ------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(100, 90), (17, 33), (8, 8)])
@pytest.mark.parametrize("kind", [nets.UNet, nets.F2LM])
def test_any_size(kind, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    found = kind(12, 4).eval()(torch.zeros(2, 12, *size))
    frame = found if kind is nets.UNet else found["frame"]
    assert frame.shape == (2, 3, *size)


def test_the_prediction_depends_on_the_frames_alone() -> None:
    method = Mama(**{**SMALL, **BOTH}).eval()
    x = clips(2, roles=("flow", "segmentation"))
    # another pattern: a flow three times as strong has the same features, scaled, and their
    # directions are all that the triplets look at
    other = {**x, "clip.flow": x["clip.flow"].roll(5, -1) + 1,
             "clip.segmentation": x["clip.segmentation"].roll(5, -1) + 1}  # fmt: skip
    with torch.no_grad():
        (one, frame, _), (two, again, _) = method.measured(x), method.measured(other)
        losses_of = [method.loss(type(batch())(x=y)) for y in (x, other)]
        found = method.predict(method.clip(x)[0])
        gaps = [method.gaps(found, y) for y in (x, other)]
    assert torch.equal(frame, again) and torch.equal(one["error"], two["error"])
    for kind in ("motion", "label"):
        assert not torch.equal(gaps[0][kind], gaps[1][kind])
        assert losses_of[0][f"triplet_{kind}"] != losses_of[1][f"triplet_{kind}"]


@pytest.mark.parametrize("role", ["flow", "segmentation"])
def test_without_a_provider_its_terms_are_gone(role: str) -> None:
    method = Mama(**{**SMALL, **BOTH, role: "none"})
    kind = {"flow": "motion", "segmentation": "label"}[role]
    assert kind not in method.channels["clip"] and role not in method.providers
    terms = method.train().loss(batch(roles=tuple(method.providers)))
    assert not any(kind in name for name in terms) and "intensity" in terms


def test_features_need_no_plain_network() -> None:
    with pytest.raises(ConfigError, match="--set flow=none"):
        Mama(**{**SMALL, "features": False, "flow": "dis"})


# -- training ------------------------------------------------------------------------------------
def test_one_backward_pass_keeps_the_sides_apart() -> None:
    """The judge learns from its own term alone, the generator from all others."""
    torch.manual_seed(0)
    method = Mama(**SMALL).train()
    past, target = method.clip(batch().x)
    frame = method.predict(past)["frame"]
    terms = method.contest(frame, target)
    terms["adversarial"].backward(retain_graph=True)  # type: ignore[no-untyped-call]
    assert all(w.grad is None for w in method.judge.parameters())
    assert any(w.grad is not None for w in method.generator.parameters())
    method.zero_grad()
    terms["judge"].backward()  # type: ignore[no-untyped-call]
    assert all(w.grad is not None for w in method.judge.parameters())
    assert all(w.grad is None for w in method.generator.parameters())


def test_validation_looks_at_normal_losses_alone() -> None:
    method = Mama(**SMALL)
    assert set(method.train().loss(batch())) == {"intensity", "gradient", "adversarial", "judge"}
    assert set(method.eval().loss(batch())) == {"intensity", "gradient"}


def test_steps_tell_psnr_and_lower_the_loss() -> None:
    torch.manual_seed(0)
    method = Mama(**{**SMALL, "flow": "dis", "lr_generator": 2e-3}).train()
    optimizers = method.optimizers()
    told = []
    made = batch(2, roles=("flow",))
    made.x["clip"][:] = torch.arange(0, 256, 8)[:, None]  # shades that stay as they are
    for _ in range(25):
        told.append(method.fit_step(made, optimizers, lambda loss: loss.backward()))
    assert told[-1]["intensity"] < told[0]["intensity"]
    assert told[-1]["psnr"] > told[0]["psnr"]
    assert float(told[-1]["spread_motion"]) > 0 and int(method.steps) == 25
    assert all(value.dtype == torch.float32 for value in told[-1].values())


def test_fixed_targets_leave_the_encoders_alone() -> None:
    for fixed in (True, False):
        method = Mama(**{**SMALL, "flow": "dis", "fixed_targets": fixed}).train()
        terms = method.loss(batch(roles=("flow",)))
        terms["triplet_motion"].backward()  # type: ignore[no-untyped-call]
        assert all((w.grad is None) == fixed for w in method.targets.parameters())


def test_rates_fall_to_zero_along_a_cosine() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.4)
    rates = []
    for step in (0, 5, 10, 20):
        slow_down({"one": optimizer}, step, 10)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.4, 0.2, 0, 0])
    slow_down({"one": optimizer}, 3, 0)
    assert optimizer.param_groups[0]["lr"] == rates[-1]  # 0: never touched


def test_after_validation_it_trains_on(tmp_path: Path) -> None:
    """Every part is back in train mode, and statistics move with the next step."""
    method = Mama(**SMALL)
    videos = [moving_square(f"v{n}", 12, seed=n) for n in range(2)]
    samples = [Samples(method, {}, videos, 10.0, tmp_path / k, 0, 4) for k in ("a", "b")]
    config = fit_config({"steps": 3, "batch": 4, "device": "cpu"})
    trainer = Trainer(method, samples[0], samples[1], config, tmp_path)
    trainer.step(0)
    assert "val_intensity" in trainer.validate()
    assert all(module.training for module in method.modules())
    before = method.generator.encoder.levels[0][1].running_mean.clone()  # type: ignore[union-attr,index]
    trainer.step(1)
    after = method.generator.encoder.levels[0][1].running_mean  # type: ignore[union-attr,index]
    assert not torch.equal(before, after)


def test_every_window_once_a_pass(tmp_path: Path) -> None:
    """Windows weigh the same, whatever their video's length; fewer videos than the batch."""
    videos = [moving_square(f"v{n}", length, seed=n) for n, length in enumerate((30, 7, 5))]
    samples = [
        Samples(Mama(**SMALL), {}, videos, 10.0, tmp_path / name, 7, 8) for name in ("a", "b")
    ]
    total = 26 + 3 + 1
    drawn = [s.draw("clip", step, 6) for s in samples for step in range(total // 6)]
    first, second = drawn[: total // 6], drawn[total // 6 :]
    assert first == second  # the seed alone decides
    seen = [item for step in first for item in step]
    assert len(seen) == len(set(seen)) == total
    assert len(samples[0].batch(0).x["clip"]) == 8


@pytest.mark.parametrize("steps", [4, 2])
def test_resumed_is_uninterrupted(steps: int, tmp_path: Path) -> None:
    """Stopped after `steps` of 4 and resumed; at the last step there is nothing left to do."""
    videos = [moving_square(f"v{n}", 20, seed=n) for n in range(4)]
    keys = {"batch": 4, "save_every": 2, "val_every": 2, "device": "cpu", "engine": "torch"}

    def fit(out: Path, steps: int, resume: bool = False) -> Model:
        method = pipeline.method("mama", seed=1, **{**SMALL, "decay": 4})
        return pipeline.fit(method, Split(tuple(videos[:3])), videos[3:], out, steps=steps,
                            resume=resume, **keys)  # fmt: skip

    whole = fit(tmp_path / "whole", 4)
    fit(tmp_path / "cut", steps)
    again = fit(tmp_path / "cut", 4, resume=True)
    for key, value in whole.method.tensors().items():
        assert torch.equal(value, again.method.tensors()[key]), key
    rows = [json.loads(r) for r in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3]


def test_toy_anomalies_are_found(tmp_path: Path) -> None:
    """A square that runs four times as fast, after a hundred steps; the Destroyer does no harm."""
    normal = [moving_square(f"n{n}", 60, seed=n, size=(64, 64)) for n in range(4)]
    keys = {**SMALL, "size": 64, "adversarial": 0.0, "lr_generator": 3e-3, "decay": 120}
    fit = {"batch": 4, "device": "cpu", "smoothing": "none", "engine": "torch"}
    method = pipeline.method("mama", seed=0, **keys, area=0.25)
    learn, held = Split(tuple(normal[:3])), normal[3:]
    base = pipeline.fit(method, learn, held, tmp_path / "toy", steps=120, **fit)
    second = pipeline.method("destroyer", base=base, width=4, grid=4, lr_destroyer=3e-3, decay=60)
    model = pipeline.fit(second, learn, held, tmp_path / "second", steps=60, **fit)
    odd = moving_square("odd", 80, seed=1, size=(64, 64), fast=(40, 60))
    areas = []
    for one in (base, model):
        score = run.score_video(one, odd).score
        fast, slow = score[41:60], np.r_[score[5:40], score[66:]]
        areas.append((fast[:, None] > slow).mean() + (fast[:, None] == slow).mean() / 2)
    assert areas[0] > 0.8 and areas[1] > areas[0] - 0.02, areas


# -- scores --------------------------------------------------------------------------------------
def test_frames_answered_are_those_predicted() -> None:
    window = Mama(**SMALL).windows["clip"]
    assert window.answered == (4, 5) and window.lookahead == 0


def test_equal_frames_have_a_finite_score() -> None:
    method = Mama(**SMALL)
    frame = torch.rand(2, 3, 32, 32)
    assert method.error(frame, frame)["error"].tolist() == [-100, -100]
    off = method.error(frame, frame + 0.2)["error"]
    assert off.tolist() == pytest.approx([-20, -20], abs=1e-3)


def test_the_worst_place_counts() -> None:
    method = Mama(**{**SMALL, "area": 0.25})
    assert method.channels["clip"] == ("error", "place")
    frame, true = torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32)
    true[1, :, 8:16, 8:16] = 1  # 1/16 of the frame
    found = [float(value[1]) for value in method.error(frame, true).values()]
    assert found == pytest.approx([10 * np.log10(0.25 / 16), 10 * np.log10(0.25)], abs=1e-4)


def test_colours_and_flow_scale() -> None:
    x = clips(1, roles=("flow",))
    plain, bgr = (Mama(**{**SMALL, "flow": "dis", "colours": c}) for c in ("rgb", "bgr"))
    past, other = plain.clip(x)[0], bgr.clip(x)[0]
    assert torch.equal(past[:, :3].flip(1), other[:, :3])
    assert float(past.min()) >= -1 and float(past.max()) <= 1
    flow = plain.context(x, "motion")
    assert torch.equal(flow[:, :2], x["clip.flow"][:, 1] / 32)  # from frame 0 to frame 1
    assert flow.shape == (1, 6, 32, 32)
    seed = Mama(**{**SMALL, "flow": "dis", "flow_scale": 1.0})
    assert torch.equal(seed.context(x, "motion")[:, 4:], x["clip.flow"][:, 3])


def test_explained_by_pictures() -> None:
    torch.manual_seed(0)
    method = Mama(**{**SMALL, "flow": "dis"}).eval()
    x = clips(3, roles=("flow",))
    reasons = method.explain(units(x))
    assert len(reasons) == 3
    seen = x["clip"][1, 4].permute(1, 2, 0).numpy()
    assert set(reasons[1].pictures) == {"seen", "predicted", "error"}
    np.testing.assert_array_equal(reasons[1].pictures["seen"], seen)
    assert reasons[1].heat.shape == (32, 32) and reasons[1].heat.max() > 0
    with torch.no_grad():
        scores = method.score(units(x))
    assert reasons[2].parts["error"] == pytest.approx(float(scores["error"][2]), abs=1e-4)


@pytest.mark.parametrize("name", ["paper", "small", "ffp", "mama-ped2", "mama-avenue",
                                  "mama-shanghai"])  # fmt: skip
def test_presets(name: str) -> None:
    own, common = split_keys(preset(name), MamaConfig)
    config = make_config(MamaConfig, own)
    fit_config(common)
    assert config.size == (128 if name == "small" else 256)
    if name == "ffp":
        assert not config.features and config.motion == 2 and config.gradient == 1


def test_the_weights_of_liu_et_al() -> None:
    terms = Mama(**{**SMALL, "features": False, "motion": 2.0}).train().loss(batch())
    assert set(terms) == {"intensity", "gradient", "motion", "adversarial", "judge"}
    assert all(term.isfinite() for term in terms.values())


# -- published files -----------------------------------------------------------------------------
def test_import(tmp_path: Path) -> None:
    """The container with numpy numbers beside the tensors; the same prediction afterwards."""
    state = published("mama_g_best")
    held = {"net_g": {}, "net_d": {}, "step": 3000, "g_auc_list": [np.float64(0.5)]}
    for key, value in state.items():
        name, _, rest = key.partition(".")
        held[name][rest] = value  # type: ignore[index]
    torch.save(held, tmp_path / "0_g_best_auc_ped2.pth")
    import_checkpoint(tmp_path / "0_g_best_auc_ped2.pth", "mama", tmp_path / "m", size=64, fps=10)
    model = bundle.load(tmp_path / "m")
    arrays, facts = golden("mama_generator")
    assert isinstance(model.method, Mama)
    with torch.no_grad():
        found = model.method.predict(golden_inputs(facts)["frames"])["frame"]
    np.testing.assert_allclose(found[:1], arrays["pred"], atol=5e-5)
    assert model.card["facts"] == {"legacy": {"colours": "bgr", "distance": "width"}}
    assert model.method.config.flow_scale == 1 and not model.method.kinds
    for file in tmp_path.glob("*.pth"):
        file.unlink()


def test_every_published_tensor_has_a_place() -> None:
    method = Mama(**{**from_published(published("mama_g_best"), BOTH)[0]})
    own = from_published(published("mama_g_best"), BOTH)[1]
    assert set(own) == set(method.state_dict())
    assert {k: v.shape for k, v in own.items()} == {
        k: v.shape for k, v in method.state_dict().items()
    }


def test_a_real_container_of_other_networks_is_refused(tmp_path: Path) -> None:
    """Real files with numpy scalars in them are read; their stand-in networks are none of ours."""
    path = CHECKPOINTS / "mama_g_best_tiny.pth"
    assert set(authors.read_checkpoint(path)) == {
        f"net_{n}.{k}" for n in "gd" for k in ("weight", "bias")
    }
    with pytest.raises(ModelError, match="no generator of mama"):
        import_checkpoint(path, "mama", tmp_path / "m")
    (tmp_path / "text.pth").write_text("nothing")
    with pytest.raises(InputError, match="text.pth"):
        import_checkpoint(tmp_path / "text.pth", "mama", tmp_path / "m")
