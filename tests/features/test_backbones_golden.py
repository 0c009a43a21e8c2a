"""Backbones against their authors' code: same weights, same clips, same numbers at every stage.

The golden files say how weights and clips are made and within what a sound copy agrees.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vigil.features.backbone import Backbone, short_side, squash
from vigil.features.c3d import C3D
from vigil.features.i3d_inception import I3DInception, I3DInceptionSquash, enlarged
from vigil.features.i3d_resnet import I3DResNet50
from vigil.features.resnet3d import R3D50, R3D101, R3D152

torch.set_num_threads(1)
GOLDEN = Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
fill, clips = importlib.import_module("fill"), importlib.import_module("clips")
FEATURES = 1e-5  # of the largest value: what every file suggests
ALL, ENDS = range(10), (0, 9)


@dataclass(frozen=True)
class Case:
    """One golden file. `resized` makes what it stores before crop and normalisation.

    parameters  of the network, and of its published file (without running statistics)
    keys        of the network
    crops       of the three clips that are run
    """

    file: str
    backbone: type[Backbone]
    resized: Callable[[np.ndarray], np.ndarray]
    parameters: tuple[int, int]
    keys: int
    layout: str = ""
    crops: tuple[Any, Any, Any] = ((0,), (0,), (0,))
    tolerance: tuple[float, float] = (1e-5, 5e-5)  # of resized frames and of the input


def squashed(size: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: squash(image, size) / 255


CASES = [
    Case("c3d", C3D, squashed((128, 171)), (61_214_464, 79_991_015), 18),
    Case("r3d50", R3D50, squashed((224, 224)), (46_198_976, 48_327_887), 318),
    Case("r3d101", R3D101, squashed((224, 224)), (85_245_120, 87_374_031), 624),
    Case("r3d152", R3D152, squashed((224, 224)), (117_403_840, 119_532_751), 930),
    Case(
        "i3d_inception", I3DInception, lambda image: enlarged(image) / np.float32(127.5) - 1,
        (12_287_264, 12_697_264), 342, tolerance=(1e-6, 1e-6),
    ),
    Case(
        "i3d_seed3", I3DInceptionSquash, squashed((224, 224)), (12_287_264, 12_697_264), 342,
        "i3d_inception",
    ),
    Case(
        "i3d_r50", I3DResNet50, lambda image: short_side(image, 256), (27_223_872, 28_043_472), 318,
        crops=(ALL, ENDS, ENDS), tolerance=(0, 1e-5),
    ),
]  # fmt: skip


@dataclass
class Run:
    """What our code makes of one golden file's clips."""

    case: Case
    gold: dict[str, np.ndarray]
    facts: dict[str, Any]
    tensors: dict[str, Tensor]  # of the published file
    resized: list[list[np.ndarray]] = field(default_factory=list)  # frames 0, 5, 10, 15 of a clip
    inputs: list[np.ndarray] = field(default_factory=list)  # (crops, 3, 16, h, w) a clip
    features: list[np.ndarray] = field(default_factory=list)  # (crops run, D) a clip
    stages: dict[str, list[list[float]]] = field(default_factory=dict)
    direct: np.ndarray | None = None
    bfloat16: np.ndarray | None = None  # clip 0, crop 0
    parameters: int = 0


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.file)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Every clip, and the ready-made tensor, through preprocessing and network."""
    case: Case = request.param
    layout = read(GOLDEN / "checkpoints" / f"backbone_{case.layout or case.file}.json")
    tensors = fill.state(layout["tensors"], 1, layout["gain"])
    with np.load(GOLDEN / f"backbone_{case.file}.npz") as arrays:
        gold = dict(arrays)
    facts = read(GOLDEN / f"backbone_{case.file}.json")
    tensors = {key: torch.from_numpy(value) for key, value in tensors.items()}
    run = Run(case, gold, facts, tensors)
    backbone = case.backbone(len(case.crops[0]))
    net = backbone.network(tensors)
    run.parameters = sum(parameter.numel() for parameter in net.parameters())
    for index, crops in enumerate(case.crops):
        see_clip(run, backbone, net, index, crops)
    if "direct" in facts:
        shape = [int(n) for n in re.findall(r"\d+", facts["direct"]["input"])]
        x = fill.normal("backbone.direct", 1, shape)
        assert fill.check(x) == facts["direct"]["crc"]
        run.direct = watched(run, net, x, getattr(net, "maps", net)).ravel()
    net, x = net.bfloat16(), torch.from_numpy(run.inputs[0][:1]).bfloat16()
    with torch.inference_mode():
        x = x.contiguous(memory_format=torch.channels_last_3d)
        run.bfloat16 = net.to(memory_format=torch.channels_last_3d)(x).float().numpy()[0]
    yield run


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def see_clip(run: Run, backbone: Backbone, net: nn.Module, index: int, crops: Any) -> None:
    """Put one clip's frames, input and features, and the stages of its first crop, into `run`."""
    clip = clips.clip(1, index)
    assert fill.check(clip) == run.facts["clips"]["crc"][index]
    run.resized.append([run.case.resized(image) for image in clip[::5]])
    x = np.stack([backbone.frame(image) for image in clip], 2)  # (crops, 3, 16, h, w)
    assert x.dtype == np.float32 and x.shape == (backbone.crops, 3, 16, *backbone.size)
    run.inputs.append(x)
    rows = [watched(run, net, x[:1], net)]
    with torch.inference_mode():
        rows += [net(torch.from_numpy(x[k : k + 1])).numpy() for k in crops[1:]]
    run.features.append(np.concatenate(rows))


def watched(
    run: Run, net: nn.Module, x: np.ndarray, call: Callable[[Tensor], Tensor]
) -> np.ndarray:
    """`call(x)`, with mean, deviation and largest value of each stage added to `run.stages`."""
    hooks = []
    for name in (key.removeprefix("stage_") for key in run.gold if key.startswith("stage_")):
        rows = run.stages.setdefault(name, [])

        def note(module: nn.Module, given: Any, y: Tensor, rows: list[list[float]] = rows) -> None:
            std, mean = torch.std_mean(y, correction=0)
            rows.append([mean.item(), std.item(), y.abs().max().item()])

        hooks.append(net.get_submodule(name).register_forward_hook(note))
    with torch.inference_mode():
        y = call(torch.from_numpy(x)).numpy()
    for hook in hooks:
        hook.remove()
    return y


def assert_near(ours: Any, gold: np.ndarray, share: float, what: str) -> None:
    """Equal within `share` of the largest value of `gold`."""
    ours = np.asarray(ours)
    assert ours.shape == gold.shape, f"{what}: {ours.shape}, expected {gold.shape}"
    error = np.abs(ours.astype(np.float64) - gold).max() / np.abs(gold).max()
    assert error <= share, f"{what}: {error:.2e} of the largest value; at most {share:.0e}"


def close(ours: Any, gold: np.ndarray, tolerance: float, what: str) -> None:
    """Equal within `tolerance`."""
    np.testing.assert_allclose(ours, gold, rtol=0, atol=tolerance, err_msg=what)


def test_numbers_are_drawn_as_when_the_files_were_made() -> None:
    assert fill.selftest()


def test_sizes(run: Run) -> None:
    """Parameters and keys are those of the table in the facts; the file has its heads beside."""
    case, counters = run.case, "num_batches_tracked"
    assert run.parameters == case.parameters[0]
    kept = case.backbone().own_keys(run.tensors)
    assert len(kept) == case.keys and set(kept) < set(run.tensors)
    running = ("running_mean", "running_var", counters)
    in_file = [value for key, value in run.tensors.items() if not key.endswith(running)]
    assert sum(value.numel() for value in in_file) == case.parameters[1]
    assert run.features[0].shape[1] == case.backbone.dim


def test_resized_frames(run: Run) -> None:
    as_stored = (lambda x: x) if run.case.file == "i3d_r50" else (lambda x: np.moveaxis(x, -1, 0))
    for index, frames in enumerate(run.resized):
        stack = np.stack(frames)  # (4, H, W, 3)
        parts = {
            "sub": stack[:, ::16, ::16], "corner": stack[0, :6, :6],
            "corner_end": stack[-1, -6:, -6:],
        }  # fmt: skip
        for part, ours in parts.items():
            name = f"resized_{index}_{part}"
            close(as_stored(ours), run.gold[name], run.case.tolerance[0], name)


def test_input(run: Run) -> None:
    """Stored samples, and mean, deviation and range of every input as a whole."""
    seen = set()
    for index, crops in enumerate(run.inputs):
        for k, x in enumerate(crops):  # (3, 16, h, w)
            name = f"input_{index}" + (f"_crop{k}" if len(crops) > 1 else "")
            for part, ours in (("sub", x[:, ::5, ::16, ::16]), ("corner", x[:, 0, :4, :4])):
                if f"{name}_{part}" in run.gold:
                    close(ours, run.gold[f"{name}_{part}"], run.case.tolerance[1], name)
                    seen.add(f"{name}_{part}")
            x = x.astype(np.float64)
            whole = [run.facts["facts"][name][key] for key in ("mean", "std", "min", "max")]
            close([x.mean(), x.std(), x.min(), x.max()], whole, run.case.tolerance[1], name)
    assert seen == {key for key in run.gold if key.startswith("input_")}


def test_features(run: Run) -> None:
    gold = run.gold["features"]  # (3, D), or (3, 10, D)
    for index, crops in enumerate(run.case.crops):
        rows = gold[index][list(crops)] if gold.ndim == 3 else gold[index : index + 1]
        assert_near(run.features[index], rows, FEATURES, f"clip {index}")
    if run.direct is not None:
        assert_near(run.direct, run.gold["features_direct"], FEATURES, "ready-made tensor")
    assert ("features_direct" in run.gold) == (run.direct is not None)


def test_stages(run: Run) -> None:
    """Mean, deviation and largest value inside the network, clips and ready-made tensor."""
    assert len(run.stages) >= 5
    for name, rows in run.stages.items():
        gold = run.gold[f"stage_{name}"]  # (clips, 3)
        for column, what in enumerate(("mean", "deviation", "largest")):
            assert_near([row[column] for row in rows], gold[:, column], FEATURES, f"{name} {what}")


def test_the_left_out_head_gives_the_published_logits(run: Run) -> None:
    if "logits" not in run.gold:
        assert run.case.file != "i3d_inception"
        return
    weight = run.tensors["logits.conv3d.weight"].flatten(1).numpy()  # (400, 1024)
    logits = np.concatenate(run.features) @ weight.T + run.tensors["logits.conv3d.bias"].numpy()
    assert_near(logits, run.gold["logits"], FEATURES, "logits")


def test_half_precision_and_channels_last(run: Run) -> None:
    """The same network in bfloat16, channels innermost: near, and nearer than another clip."""
    assert run.bfloat16 is not None
    ours, other = run.features[0][0], run.features[1][0]
    error = np.linalg.norm(run.bfloat16 - ours) / np.linalg.norm(ours)
    assert error < 0.02 < np.linalg.norm(other - ours) / np.linalg.norm(ours)
