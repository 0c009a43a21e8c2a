"""A fitted model scores under the engine that its calibration was made under, and says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_contract import FIT, make, videos

from vigil import bundle, engaged, fitting, pipeline
from vigil.bundle import Model
from vigil.errors import ConfigError, ExtraError, ModelError
from vigil.methods._jigsaw_net import Lean, Level
from vigil.records import Units

pytest.importorskip("openvino", reason="openvino is not installed: 'vigil-vad[openvino]'")
TOY = "toy-two-optimizers"  # its generator is a network that an engine may replace


def fitted(folder: Path, **keys: str) -> Model:
    return fitting.fit(make(TOY, folder), videos(), videos(20, 4), folder, **{**FIT, **keys})


def test_the_engine_is_in_the_card_and_scores_after_loading(tmp_path: Path) -> None:
    model = fitted(tmp_path / "run", engine="openvino", dtype="float32")
    facts = json.loads((tmp_path / "run/model/card.json").read_text())["engines"]["generator"]
    assert (facts["engine"], facts["dtype"]) == ("openvino", "float32")
    assert facts["moved"] < 1e-3
    loaded = bundle.load(tmp_path / "run")
    assert list(loaded.method.runners) == ["generator"] and not loaded.remark
    video = videos()[3]
    np.testing.assert_array_equal(
        pipeline.score(loaded, video).score, pipeline.score(model, video).score
    )
    plain = fitted(tmp_path / "plain")
    assert not plain.method.runners and plain.card["engines"] == {}
    np.testing.assert_allclose(
        pipeline.score(loaded, video).score, pipeline.score(plain, video).score, atol=1e-2
    )


def test_training_and_gradients_never_go_through_an_engine(tmp_path: Path) -> None:
    method = fitted(tmp_path / "run", engine="openvino", dtype="float32").method
    x = torch.rand(2, 6, 16, 16, requires_grad=True)
    method.run("generator", x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    with torch.no_grad():
        fast = method.run("generator", x)
        np.testing.assert_allclose(fast, method.generator(x), atol=1e-4)
        method.train()
        assert torch.equal(method.run("generator", x), method.generator(x))


def test_an_engine_that_changes_the_scores_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is asked for by name is an error; where any will do, plain torch stays."""
    wrong = engaged.Runner.__call__

    def noisy(self: engaged.Runner, *inputs: torch.Tensor) -> torch.Tensor:
        found = wrong(self, *inputs)
        assert isinstance(found, torch.Tensor)
        return found + torch.randn(len(found), 1, 1, 1)

    monkeypatch.setattr(engaged.Runner, "__call__", noisy)
    with pytest.raises(ModelError, match="changes the scores of normal footage"):
        fitted(tmp_path / "named", engine="openvino", dtype="float32")
    assert fitted(tmp_path / "any", engine="auto", dtype="auto").card["engines"] == {}


def test_a_machine_without_the_engine_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(tmp_path / "run", engine="openvino", dtype="float32")

    def missing(*_: object) -> None:
        raise ExtraError("openvino is not installed")

    monkeypatch.setattr(engaged, "attempt", missing)
    loaded = bundle.load(tmp_path / "run")
    assert not loaded.method.runners
    notes = pipeline.remarks(loaded, videos()[0])
    assert any("calibrated under openvino float32, scored by plain torch" in n for n in notes)


def test_too_little_footage_keeps_plain_torch() -> None:
    method = make(TOY, Path("unused"))
    none: list[Units] = []
    assert engaged.engage(method, none, "auto", "auto") == {}
    with pytest.raises(ConfigError, match="fewer than 8 inputs of each of its 1 networks"):
        engaged.engage(method, none, "openvino", "float32")


def test_the_small_jigsaw_network_runs_under_an_engine_in_any_batch() -> None:
    net = Lean(3, 7, 5, 16).eval()
    for level, frames in (("cube", 7), ("clip", 35)):
        rows = [(torch.rand(4, 3, frames, 64, 64),) for _ in range(2)]
        run = engaged.runner(Level(net, level), rows, "openvino", "float32", limit=1e-3)
        with torch.no_grad():
            found, wanted = run(rows[0][0][:3]), Level(net, level)(rows[0][0][:3])
        for one, two in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-3)
