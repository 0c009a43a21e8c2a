"""FlowNet2-SD against its authors' code, and as a provider of flow along a video."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vigil.errors import ConfigError, ModelError
from vigil.features import engines
from vigil.features.flownet2sd import FlowNet2SD, FlowNet2SDFlow, stretched
from vigil.features.quick_net import Quick
from vigil.records import Frame, Video

torch.set_num_threads(1)
GOLDEN = Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
fill, clips = importlib.import_module("fill"), importlib.import_module("clips")
FLOW = 2e-5  # of the largest flow: what the golden file suggests
FACTS = json.loads((GOLDEN / "backbone_flownet2sd.json").read_text())
VIDEO = Video("v", "made in a test", 10.0, (121, 163), lambda short_side: iter(()))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The published file: its keys and container, weights by formula."""
    layout = json.loads((GOLDEN / "checkpoints" / "backbone_flownet2sd.json").read_text())
    tensors = fill.state(layout["tensors"], 1, layout["gain"])
    path = tmp_path_factory.mktemp("flow") / "FlowNet2-SD.pth"
    state = {key: torch.from_numpy(value) for key, value in tensors.items()}
    torch.save({"arch": "FlowNet2SD", "epoch": 1, "best_EPE": 0.5, "state_dict": state}, path)
    yield str(path)
    path.unlink()  # 180 MB


@pytest.fixture(scope="module")
def seed(weights: str) -> FlowNet2SDFlow:
    return FlowNet2SDFlow(weights, variant="seed")


@pytest.fixture(scope="module")
def gold() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "backbone_flownet2sd.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def pairs() -> list[np.ndarray]:
    """Frames 3 and 4 of the three clips, (2, H, W, 3) uint8 RGB each."""
    made = [clips.clip(1, index) for index in range(3)]
    assert [fill.check(clip) for clip in made] == FACTS["clips"]["crc"]
    return [clip[3:5] for clip in made]


def assert_near(ours: Any, gold: np.ndarray, what: str) -> None:
    ours = np.asarray(ours)
    assert ours.shape == gold.shape, f"{what}: {ours.shape}, expected {gold.shape}"
    error = np.abs(ours.astype(np.float64) - gold).max() / np.abs(gold).max()
    assert error <= FLOW, f"{what}: {error:.2e} of the largest value; at most {FLOW:.0e}"


# -- the network ----------------------------------------------------------------------------------
def test_size() -> None:
    assert sum(p.numel() for p in FlowNet2SD().parameters()) == 45_371_666 == FACTS["params"]
    assert len(FlowNet2SD().state_dict()) == 60


def test_frames_are_prepared_as_there(seed: FlowNet2SDFlow, pairs: Any, gold: Any) -> None:
    for index, pair in enumerate(pairs):
        resized = cv2.resize(np.ascontiguousarray(pair[0][:, :, ::-1]), (256, 256))
        first, second = (seed.prepare(image) / 255 for image in pair)  # (3, 256, 256), -1..1
        np.testing.assert_array_equal(np.rint(first * 127.5 + 127.5), resized.transpose(2, 0, 1))
        found = {
            "sub": resized[::16, ::16], "corner": resized[:6, :6], "corner_end": resized[-6:, -6:]
        }  # fmt: skip
        for part, values in found.items():
            np.testing.assert_array_equal(values, gold[f"resized_{index}_{part}"])
        for name, values in (("first", first), ("second", second)):
            near = {"rtol": 0, "atol": 1e-6}
            stored = gold[f"input_{index}_{name}_sub"]
            np.testing.assert_allclose(values[:, ::16, ::16], stored, **near)
            whole = [FACTS["facts"][f"input_{index}_{name}"][k] for k in ("mean", "std", "min")]
            values = values.astype(np.float64)
            np.testing.assert_allclose([values.mean(), values.std(), values.min()], whole, **near)


def test_flow_and_every_stage(seed: FlowNet2SDFlow, pairs: Any, gold: Any) -> None:
    net, stages, quarter = seed.ready(), {}, []
    for name in (key.removeprefix("stage_") for key in gold if key.startswith("stage_")):
        rows = stages.setdefault(name, [])

        def note(module: Any, given: Any, y: torch.Tensor, rows: Any = rows) -> None:
            std, mean = torch.std_mean(y, correction=0)
            rows.append([mean.item(), std.item(), y.abs().max().item()])

        net.get_submodule(name).register_forward_hook(note)
    net.get_submodule("predict_flow2").register_forward_hook(
        lambda module, given, y: quarter.append(y[0].numpy())
    )
    flow = np.stack([seed.between(*pair) * 255 for pair in pairs])  # (3, 2, 256, 256)
    direct = fill.uniform("backbone.direct", 1, (1, 3, 2, 128, 192), 0, 255)
    assert fill.check(direct) == FACTS["direct"]["crc"]
    with torch.inference_mode():
        straight = net(torch.from_numpy(direct)).numpy()[0]
    for module in net.modules():
        module._forward_hooks.clear()
    assert_near(flow[:, :, ::4, ::4], gold["flow_sub"], "flow")
    assert_near(flow[:, :, :10, :10], gold["flow_corner"], "corner")
    assert_near(np.stack(quarter[:3]), gold["flow_quarter"], "at a quarter of the size")
    assert_near(straight[:, ::3, ::3], gold["flow_direct"], "ready-made pair")
    assert len(stages) == 9
    for name, rows in stages.items():
        for column in range(3):
            ours = [row[column] for row in rows]
            assert_near(ours, gold[f"stage_{name}"][:, column], f"{name}, column {column}")


def test_half_precision_and_channels_last(weights: str, seed: FlowNet2SDFlow, pairs: Any) -> None:
    pair = np.stack([seed.prepare(image) for image in pairs[0]], 1)[None]
    net = FlowNet2SDFlow(weights).ready().bfloat16().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        half = net(torch.from_numpy(pair).bfloat16())[0].float().numpy()
    whole = seed.between(*pairs[0]) * 255
    assert np.linalg.norm(half - whole) < 0.05 * np.linalg.norm(whole)


# -- the provider ---------------------------------------------------------------------------------
def test_standard_frames_are_rgb_of_their_own_size(weights: str, pairs: Any) -> None:
    """Where a frame's sides are multiples of 64, the flow is the network's own."""
    provider, pair = FlowNet2SDFlow(weights), [image[:128, :192] for image in pairs[0]]
    x = np.stack([image.transpose(2, 0, 1) for image in pair], 1)[None]  # (1, 3, 2, 128, 192)
    with torch.inference_mode():
        expected = provider.ready()(torch.from_numpy(x).float())[0].numpy()
    tracker = provider.start(VIDEO, fps=10.0)
    first = tracker.see(Frame(pair[0], 0.0), 0)
    assert first.shape == (2, 128, 192) and not first.any()
    np.testing.assert_allclose(tracker.see(Frame(pair[1], 0.1), 1), expected, rtol=1e-5)
    again = tracker.see(Frame(pair[1], 0.2), 2)  # the camera repeats a frame: nothing new
    np.testing.assert_allclose(again, expected, rtol=1e-5)
    assert tracker.finish() == []
    late = provider.start(VIDEO, fps=10.0)
    late.see(Frame(pair[0], 0.0), 0)
    found = late.see(Frame(pair[1], 0.2), 1)  # two periods passed: half as fast
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected / 2, rtol=1e-5)


def test_other_sizes_are_rounded_to_64_and_the_flow_is_scaled_back(weights: str) -> None:
    frames = clips.clip(1, 2, 2)  # (2, 121, 163, 3)
    provider = FlowNet2SDFlow(weights)
    assert provider.prepare(frames[0]).shape == (3, 128, 192)
    resized = [cv2.resize(image, (192, 128)) for image in frames]
    flow = provider.between(*frames)
    assert flow.shape == (2, 121, 163)
    inner = provider.between(*resized)  # (2, 128, 192), in its own pixels
    expected = [cv2.resize(inner[0], (163, 121)) * 163 / 192,
                cv2.resize(inner[1], (163, 121)) * 121 / 128]  # fmt: skip
    np.testing.assert_allclose(flow, expected, rtol=1e-4, atol=1e-4)
    assert FlowNet2SDFlow(weights, size=(64, 256)).prepare(frames[0]).shape == (3, 64, 256)
    assert provider.prepare(np.zeros((20, 30, 3), np.uint8)).shape == (3, 64, 64)


def test_stretched_flow_keeps_its_meaning() -> None:
    """One pixel right and two down on half the width and a third of the height."""
    flow = np.stack([np.full((4, 5), 1.0), np.full((4, 5), 2.0)]).astype(np.float32)
    large = stretched(flow, (12, 10))
    assert large.shape == (2, 12, 10) and large.dtype == np.float32
    assert (large[0] == 2).all() and (large[1] == 6).all()


def test_seed_tracker_gives_coarse_maps_only(seed: FlowNet2SDFlow, pairs: Any, gold: Any) -> None:
    tracker = seed.start(VIDEO, fps=25.0)
    zeros = tracker.see(Frame(pairs[2][0], 0.0), 0)
    assert zeros.shape == (2, 256, 256) and not zeros.any()
    flow = tracker.see(Frame(pairs[2][1], 0.04), 1)
    assert_near(flow[:, ::4, ::4] * 255, gold["flow_sub"][2], "flow")


def test_a_saved_model_needs_no_file(weights: str, pairs: Any) -> None:
    made = FlowNet2SDFlow(weights, variant="seed", size=(64, 64))
    made.fit([])
    fresh = FlowNet2SDFlow()
    fresh.set_tensors(made.tensors())
    assert fresh.describe() == made.describe()
    assert made.describe()["variant"] == "seed" and made.describe()["name"] == "flownet2-sd"
    np.testing.assert_array_equal(fresh.between(*pairs[2]), made.between(*pairs[2]))


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_flow_is_the_same_under_an_engine(weights: str, seed: Any, pairs: Any, dtype: str) -> None:
    """The gate of 2 % lets bfloat16 through: the means are taken off before, in float32."""
    pytest.importorskip("openvino", reason="the engine that is compared")
    if dtype == "bf16" and not engines.cpu_facts()["avx512_bf16"]:
        pytest.skip("this processor has no units for bfloat16")
    settings = {"variant": "seed", "size": (128, 128)}
    fast = FlowNet2SDFlow(weights, **settings, engine="openvino", dtype=dtype)
    fast.ready()
    wanted = FlowNet2SDFlow(weights, **settings).between(*pairs[0])
    found = fast.between(*pairs[0])
    assert isinstance(fast.quarter, Quick) and all(fast.quarter.made.values())
    near = 1e-4 if dtype == "float32" else 0.02
    assert np.linalg.norm(found - wanted) < near * np.linalg.norm(wanted)
    assert fast.tensors().keys() == seed.tensors().keys()  # saved models know no engine


# -- what a user can get wrong --------------------------------------------------------------------
def test_a_missing_file_says_which_is_wanted(tmp_path: Path) -> None:
    for given, words in ((None, "no weights given"), (tmp_path / "x.pth", r"no file \S+x\.pth")):
        with pytest.raises(ModelError, match=rf"flownet2-sd: {words}; it reads FlowNet2-SD\.pth"):
            FlowNet2SDFlow(given).start(VIDEO, 10.0)


def test_another_file_is_refused_by_key(tmp_path: Path) -> None:
    torch.save({"conv0.0.weight": torch.zeros(64, 6, 3, 3)}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=r"x\.pth: weights do not fit flownet2-sd: 59 missing"):
        FlowNet2SDFlow(tmp_path / "x.pth").start(VIDEO, 10.0)


@pytest.mark.parametrize(
    "wrong", [{"variant": "bgr"}, {"size": (100, 64)}, {"size": (0, 64)}, {"colour": "RGB"}]
)
def test_wrong_settings_are_refused_by_key(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FlowNet2SDFlow("x.pth", **wrong)
