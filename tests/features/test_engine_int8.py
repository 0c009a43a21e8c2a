"""OpenVINO in 8 bits: the layers that make the outputs are left as they are."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vigil.features import _engine_openvino as engine
from vigil.features.engines import example_clips, runner

torch.set_num_threads(1)
pytest.importorskip("openvino", reason="the engine that is tested")


class TwoHeads(nn.Module):
    """A trunk, a picture added to what came in, and a row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
                                   nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())  # fmt: skip
        self.picture, self.row = nn.Conv2d(8, 3, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        deep = self.trunk(x)
        return (x + self.picture(deep)).clamp(-1, 1), self.row(deep.mean((2, 3))).softmax(1)


def converted(net: nn.Module | None = None, *shape: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.randn(2, *(shape or (3, 16, 16)))
        return engine.converted((net or TwoHeads()).eval(), [x])


def test_each_output_names_its_nearest_layer() -> None:
    model = converted()
    found = engine.last_layers(model)
    kinds = {node.get_friendly_name(): node.get_type_name() for node in model.get_ops()}
    assert len(found) == 2 and all("trunk" not in name for name in found)
    assert {kinds[name] for name in found} == {"Convolution", "MatMul"}


class Attends(nn.Module):
    """Tokens that attend to each other, written out or by torch's own function."""

    def __init__(self, written_out: bool) -> None:
        super().__init__()
        self.written_out, self.qkv = written_out, nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, 2)
        if self.written_out:
            return (q @ k.transpose(1, 2)).softmax(2) @ v
        return nn.functional.scaled_dot_product_attention(q, k, v)


def test_attention_is_told_from_a_softmax_at_the_end() -> None:
    assert engine.attends(converted(Attends(True), 5, 8))
    assert engine.attends(converted(Attends(False), 5, 8))
    assert not engine.attends(converted())


def test_only_what_is_followed_by_more_is_quantised() -> None:
    pytest.importorskip("nncf", reason="what quantises")
    model = converted()
    last = engine.last_layers(model)
    made = engine.quantised(model, [list(row) for row in example_clips((3, 16, 16))])
    exact = {
        node.get_friendly_name(): all(
            each.get_source_output().get_node().get_type_name() != "FakeQuantize"
            for each in node.inputs()
        )
        for node in made.get_ops()
        if node.get_type_name() in ("Convolution", "MatMul")
    }
    assert len(exact) == 4 and {name for name, whole in exact.items() if whole} == set(last)


def test_eight_bits_keep_the_numbers_nearly() -> None:
    pytest.importorskip("nncf", reason="what quantises")
    run = runner(TwoHeads(), example_clips((3, 16, 16)), "openvino", "int8", limit=1.0)
    assert (run.engine, run.dtype) == ("openvino", "int8")
    assert 0 < run.parity < 0.2
