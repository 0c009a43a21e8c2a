"""Detectors, RAFT and DeepLabv3 under an engine: the same values, and what the gate refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vigil.errors import ConfigError, ModelError
from vigil.features.detectors import DetectorSettings, SSDLite
from vigil.features.quick_net import Quick, under
from vigil.features.raft import RaftSmall
from vigil.features.segmentation import DeepLabMobile

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import fill

IMAGE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8), (0, 0), 3
)
MOVED = np.roll(IMAGE, 3, 1)
FAST = {"engine": "openvino", "dtype": "float32"}


def weights(provider: RaftSmall | DeepLabMobile, folder: Path, gain: float) -> Path:
    made = fill.state_like(provider.build().state_dict(), 1, gain)
    path = folder / "weights.safetensors"
    save_file({key: torch.from_numpy(value) for key, value in made.items()}, path)
    return path


def test_segmentation_is_the_same_under_an_engine(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the engine that is compared")
    file = weights(DeepLabMobile(), tmp_path, 1.5)
    plain, fast = DeepLabMobile(file), DeepLabMobile(file, **FAST)
    wanted, found = plain.look(IMAGE), fast.look(IMAGE)
    assert isinstance(fast.logits, Quick) and all(fast.logits.made.values())
    np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())
    assert fast.tensors().keys() == plain.tensors().keys()  # saved models know no engine


def test_flow_is_the_same_under_an_engine(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the engine that is compared")
    file = weights(RaftSmall(), tmp_path, 1.0)
    plain, fast = RaftSmall(file, updates=2), RaftSmall(file, updates=2, **FAST)
    plain.ready(), fast.ready()
    wanted, found = plain.between(IMAGE, MOVED), fast.between(IMAGE, MOVED)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
    fast.between(IMAGE[:60], MOVED[:60])  # continued to the same size: no second engine
    assert len(fast.refined.made) == 1


def test_boxes_are_the_same_with_the_trunk_under_an_engine(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the engine that is compared")
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    save_file(SSDLite().build().state_dict(), file)
    plain, fast = SSDLite(file, score=0.0), SSDLite(file, score=0.0, **FAST)
    wanted, found = plain.look(IMAGE), fast.look(IMAGE)
    assert len(wanted.boxes) and isinstance(fast.quick.backbone, Quick)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.1)
    assert fast.tensors().keys() == plain.tensors().keys()


class Keen(nn.Module):
    """Tells images apart by what bfloat16 has no digits for."""

    def forward(self, x: Tensor) -> Tensor:
        level = x.mean((1, 2, 3))[:, None]
        return ((1000 + level) * 3 - 3000).sin()


def test_the_gate_decides() -> None:
    refused = Quick(Keen(), "torch", "bf16")
    with pytest.raises(ModelError, match="changes the numbers"):
        refused(torch.zeros(1, 3, 32, 32))
    settled = Quick(Keen(), "auto")
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(settled(x), Keen()(x), rtol=1e-3, atol=1e-3)
    made = next(iter(settled.made.values()))
    assert made is None or made.parity <= 0.02  # None: plain torch


def test_engines_are_of_the_processor() -> None:
    with pytest.raises(ConfigError, match="key 'engine'.*runs on the CPU, the network on 'cuda:0'"):
        under(Keen(), DetectorSettings(engine="auto", device="cuda:0"))
    with pytest.raises(ConfigError, match="engine"):
        SSDLite(engine="fastest")
