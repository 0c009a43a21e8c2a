"""destroyer: the authors' network and loss, an untouched base, what it sees, import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_square
from footage import vigil
from mama_parts import SMALL, batch, clips, net, params, published, units
from test_mama_losses import SIDE, stored
from vectors import GOLDEN

from vigil import bundle, pipeline, run
from vigil.authors import import_checkpoint
from vigil.bundle import Model
from vigil.data.base import Split
from vigil.errors import ConfigError, ModelError
from vigil.methods import _mama_nets as nets
from vigil.methods import _mama_patches as patches
from vigil.methods.destroyer import Destroyer, from_published
from vigil.methods.mama import Mama

TINY = {"width": 4, "grid": 2}


def small(**keys: object) -> Destroyer:
    torch.manual_seed(0)
    return Destroyer(base=Mama(**{**SMALL, **keys}), **TINY)


# -- the authors' numbers ------------------------------------------------------------------------
def test_network_loss_and_gradients() -> None:
    arrays, facts, prediction, _, noisy = stored()
    theirs = nets.UNet(3, 64).eval()
    assert params(theirs) == facts["params"] == 7_701_827
    state = net("mama_a_best", "net_a")
    theirs.load_state_dict({nets.renamed(key): value for key, value in state.items()})
    output = theirs(noisy)
    np.testing.assert_allclose(output[:1].detach(), arrays["output"], atol=5e-5)
    np.testing.assert_allclose(output[..., ::4, ::4].detach(), arrays["output_sub_all"], atol=5e-5)
    parts = patches.split(output.detach(), SIDE)
    np.testing.assert_allclose(parts[0, :3], arrays["patches_of_output_first"], atol=5e-5)
    similar = torch.from_numpy(arrays["ssim"])
    for strictness, name in ((4.0, "loss_sum"), (1.0, "loss_sum_lambda1")):
        share = patches.weight(similar, strictness)
        loss = patches.destroyed(output, prediction, share, SIDE).sum()
        assert loss.item() == pytest.approx(float(arrays[name]), rel=1e-5)
        if strictness == 4:
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            weights = dict(theirs.named_parameters())
            found = [weights[nets.renamed(key)].grad.norm() for key in facts["grad_keys"]]  # type: ignore[union-attr]
            np.testing.assert_allclose(found, arrays["grad_norm"], rtol=2e-3, atol=1e-6)


# -- the base ------------------------------------------------------------------------------------
def test_it_needs_a_base_that_fits() -> None:
    with pytest.raises(ConfigError, match="needs a base model of method 'mama'"):
        Destroyer()
    with pytest.raises(ConfigError, match="grid 8 on predictions of 32 pixels"):
        Destroyer(base=Mama(**SMALL))
    with pytest.raises(ConfigError, match="least <= most"):
        Destroyer(base=Mama(**SMALL), **TINY, least=0.4, most=0.3)
    with pytest.raises(ConfigError, match="32 pixels are no multiple of 3"):
        Destroyer(base=Mama(**SMALL), **TINY, fold=3)
    with pytest.raises(ConfigError, match="key 'corruption'"):
        Destroyer(base=Mama(**SMALL), **TINY, corruption="salt")


def test_training_changes_nothing_of_the_base() -> None:
    method = small(flow="dis").train()
    assert method.training and not any(m.training for m in method.generator.modules())
    before = {k: v.clone() for k, v in method.generator.state_dict().items()}
    optimizers = method.optimizers()
    seen = []
    for _ in range(12):
        seen.append(method.fit_step(batch(4), optimizers, lambda loss: loss.backward()))
    assert seen[-1]["destroy"] < seen[0]["destroy"]
    for key, value in method.generator.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_it_never_asks_for_flow_or_segmentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vigil.features.flow import Flow

    base = Model("mama", Mama(**{**SMALL, "flow": "dis"}), {}, {"fps": 10})

    def never(*args: object) -> None:
        raise AssertionError("flow was asked for")

    monkeypatch.setattr(Flow, "start", never)
    made = pipeline.method("destroyer", base=base, **TINY)
    videos = [moving_square(f"v{n}", 15, seed=n) for n in range(4)]
    model = pipeline.fit(made, Split(tuple(videos[:3])), videos[3:], tmp_path / "d", steps=2,
                         batch=2, device="cpu")  # fmt: skip
    scores = run.score_video(model, moving_square("test", 15))
    assert set(scores.channels) == {"error", "damage"}
    assert (tmp_path / "d" / "model" / "base" / "config.toml").is_file()


def test_with_margins_it_has_the_bases_channels() -> None:
    base = Mama(**{**SMALL, "flow": "dis"})
    method = Destroyer(base=base, **TINY, margins=True).eval()
    assert method.channels["clip"] == ("error", "motion", "damage")
    x = clips(2, roles=("flow",))
    with torch.no_grad():
        found, wanted = method.score(units(x)), base.eval().score(units(x))
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


# -- what it does --------------------------------------------------------------------------------
def test_it_learns_to_blacken_what_is_degraded() -> None:
    """Trained on even grey predictions, it darkens patches that lack a colour more than others."""

    class Exact(torch.nn.Module):
        def forward(self, past: torch.Tensor) -> torch.Tensor:
            return past[:, -3:]

    method = small()
    method.generator.generator = Exact()  # type: ignore[assignment]
    torch.manual_seed(0)
    method = method.train()
    optimizer = torch.optim.AdamW(method.net.parameters(), 5e-3)

    def still(n: int) -> dict[str, torch.Tensor]:
        grey = torch.randint(100, 200, (n, 1, 1, 8, 8)).repeat_interleave(4, 3)
        return {"clip": grey.repeat_interleave(4, 4).expand(n, 5, 3, 32, 32).to(torch.uint8)}

    for _ in range(80):
        method.fit_step(type(batch())(x=still(8)), {"a": optimizer}, lambda loss: loss.backward())
    method.eval()
    past, _ = method.generator.clip(still(8))
    whole = method.generator.predict(past)["frame"]
    broken = whole.clone()
    broken[:, 0, :16, :16] = -1  # one patch has lost its red
    with torch.no_grad():
        kept, left = method.net(whole), method.net(broken)
    drop = (kept - left)[:, 1:].mean((0, 1))  # of the other two colours
    assert float(drop[:16, :16].mean()) > 5 * float(drop[20:, 20:].abs().mean())
    assert float(drop[:16, :16].mean()) > 0.1


def test_explained_by_pictures() -> None:
    method = small().eval()
    x = clips(2)
    reasons = method.explain(units(x))
    assert set(reasons[0].pictures) == {"seen", "predicted", "error", "destroyed"}
    with torch.no_grad():
        scores = method.score(units(x))
    assert reasons[1].parts["damage"] == pytest.approx(float(scores["damage"][1]), abs=1e-4)


# -- published files -----------------------------------------------------------------------------
def test_import(tmp_path: Path) -> None:
    held: dict[str, object] = {"net_g": {}, "net_a": {}, "a_auc_list": [np.float64(0.5)]}
    for key, value in published("mama_a_best").items():
        name, _, rest = key.partition(".")
        held[name][rest] = value  # type: ignore[index]
    torch.save(held, tmp_path / "a.pth")
    import_checkpoint(tmp_path / "a.pth", "destroyer", tmp_path / "m", fps=10)
    model = bundle.load(tmp_path / "m")
    arrays, _, _, _, noisy = stored()
    assert isinstance(model.method, Destroyer)
    with torch.no_grad():
        output = model.method.net(noisy)
    np.testing.assert_allclose(output[:1], arrays["output"], atol=5e-5)
    assert isinstance(model.method.base, Mama) and model.method.base.config.colours == "bgr"
    import_with_providers(tmp_path)
    with pytest.raises(ModelError, match="no Destroyer"):
        from_published({"net_g.x": torch.zeros(1)}, {})
    with pytest.raises(ModelError, match="no Destroyer"):
        import_checkpoint(
            GOLDEN / "checkpoints" / "mama_a_best_tiny.pth", "destroyer", tmp_path / "n"
        )


def import_with_providers(folder: Path) -> None:
    """Keys that the Destroyer does not know are the base's; its margins are then channels."""
    keys = ("margins=true", "grid=4", "size=64", "flow=dis", "segmentation=foreground-segmentation")
    words = [word for key in keys for word in ("--set", key)]
    done = vigil("import", folder / "a.pth", "--method", "destroyer", "--out", folder / "w", *words)
    assert done.code == 0, done.err
    method = bundle.load(folder / "w").method
    assert isinstance(method, Destroyer)
    assert method.providers == {"flow": "dis", "segmentation": "foreground-segmentation"}
    assert method.generator.config.size == 64 and method.generator.config.distance == "width"
    with torch.no_grad():
        found = method.score(units(clips(1, 64, tuple(method.providers))))
    assert set(found) == {"error", "motion", "label", "damage"}
    with pytest.raises(ConfigError, match="unknown key 'flows'"):
        import_checkpoint(folder / "a.pth", "destroyer", folder / "x", flows="dis")
