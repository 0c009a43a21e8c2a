"""Backbones under each engine: plain float32 torch against the runner that Vigil chooses.

    python benchmarks/engines.py [--only jigsaw-wide] [--seconds 20] [--threads 1] [--int8]

All sides of a network are measured in turns in one run, forward and backward, after at least two
seconds of warm-up; figures are medians, in wall and in CPU seconds of a call. The rival beside
eager torch is OpenVINO used as its manual says, with fixed shapes and its bfloat16 hint. The rates
of plain matrix products, measured between the rounds, say what the processor could do at most.

Weights are random: speed does not depend on them, but `parity` does. So that the networks tell
clips apart at all, batch norms are set from the clips and their outputs shifted to mostly positive.
Even so what all clips share is several times as large as what tells them apart, more than in
trained networks, so the gate is left open here, and `parity` shows what it would have seen.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import Tensor, nn

from vigil import fitting, plugins
from vigil.features import engines
from vigil.features.engines import cpu_facts, example_clips, parity, runner

NAMES = {  # batch
    "c3d": 1, "i3d-inception": 1, "r3d-18": 1, "s3d": 1, "mvit-v2-s": 1, "swin3d-t": 1,
    "clip-vit-b-32": 16, "clip-vit-l-14": 1, "clip-vit-l-14-x16": 16,
    "jigsaw-wide": 32, "unet-256": 1,
}  # fmt: skip
LARGE = ("clip-vit-l-14-x16",)  # only when asked for: all engines at once take over 10 GB
METHODS: dict[str, tuple[str, dict[str, Any], str]] = {  # method, keys, which of its networks
    "jigsaw-wide": ("jigsaw", {"net": "wide", "levels": "frame"}, "cube"),
    "unet-256": ("mama", {"features": False, "flow": "none", "segmentation": "none"}, "generator"),
}  # the trunk as published; the plain U-Net of Liu et al. 2018, four frames to the next
SHIFT = 2.0  # of what batch norms give, in standard deviations
SIDE = 2048  # of the matrices
Call = Callable[[], object]


def built(name: str) -> tuple[nn.Module, list[tuple[Tensor]]]:
    """The network with random weights, and 8 clips, or a batch of inputs twice."""
    batch = NAMES[name]
    torch.manual_seed(0)
    if name in METHODS:
        method, keys, part = METHODS[name]
        net, (example,) = fitting.method(method, **keys).networks()[part]
        shape = tuple(example.shape[1:])
    else:
        kind = plugins.find("backbones", name.removesuffix(f"-x{batch}"))
        net, shape = kind().build(), (3, kind.frames, *kind.size)
    net = net.eval()
    clips = example_clips(shape, 8 if batch == 1 else 2 * batch)
    if batch > 1:
        rows = torch.cat([clip[0] for clip in clips])
        clips = [(part,) for part in rows.split(batch)]
    settle(net, torch.cat([clip[0] for clip in clips])[:8])
    return net, clips


def settle(net: nn.Module, clips: Tensor) -> None:
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        nn.init.constant_(norm.bias, SHIFT)
        norm.train()
    with torch.no_grad():
        net(clips)
    net.eval()


def openvino_own(net: nn.Module, clip: Tensor, threads: int) -> Call:
    """OpenVINO alone, in bfloat16, for this one shape."""
    model = openvino.convert_model(net, example_input=clip, input=list(clip.shape))
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads}  # fmt: skip
    compiled, given = openvino.Core().compile_model(model, "CPU", settings), clip.numpy()
    return lambda: compiled([given])


def sides(
    net: nn.Module, clips: Sequence[tuple[Tensor]], threads: int, int8: bool
) -> tuple[dict[str, Call], dict[str, float | str], engines.Runner]:
    """What is measured; the parity of each, or why it cannot run; the runner chosen."""
    task, clip = engines.Task.of(net, list(clips), threads), clips[0][0]
    chosen = runner(net, list(clips), threads=threads, limit=math.inf)
    calls: dict[str, Call] = {
        "eager torch float32": lambda: net(clip),
        "openvino own bf16": openvino_own(net, clip, threads),
        "vigil": lambda: chosen(clip),
    }
    found: dict[str, float | str] = {}
    names = engines.candidates("auto", "auto", False) + ["openvino/int8"] * int8
    for name in names:
        try:
            run = engines.attempt(task, name)
        except engines.VigilError as error:
            found[name] = str(error)
            continue
        calls[name] = lambda run=run: run([clip])  # type: ignore[misc]
        rows = [run([part])[0] for (part,) in clips]
        found[name] = round(parity(task.expected[0], torch.cat(rows)), 5)
    return calls, found, chosen


def matmul(dtype: torch.dtype) -> Call:
    a = torch.randn(SIDE, SIDE).to(dtype)
    return lambda: a @ a


def in_turns(calls: dict[str, Call], seconds: float) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds of each; every call leads as often as it follows."""
    start = time.perf_counter()
    while time.perf_counter() - start < 2:  # the warm-up
        for call in calls.values():
            call()
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    order, start = list(calls), time.perf_counter()
    while time.perf_counter() - start < seconds or len(wall[order[0]]) < 3:
        for name in order:
            t, c = time.perf_counter(), time.process_time()
            calls[name]()
            wall[name].append(time.perf_counter() - t)
            cpu[name].append(time.process_time() - c)
        order.reverse()
    return {n: (statistics.median(wall[n]), statistics.median(cpu[n])) for n in calls}


def measure(name: str, seconds: float, threads: int, int8: bool) -> dict[str, object]:
    net, clips = built(name)
    calls, found, chosen = sides(net, clips, threads, int8)
    calls |= {"matmul float32": matmul(torch.float32), "matmul bf16": matmul(torch.bfloat16)}
    times = in_turns(calls, seconds)
    rates = {k: round(2 * SIDE**3 / times.pop(f"matmul {k}")[1] / 1e9) for k in ("float32", "bf16")}
    eager, own, ours = (times[k] for k in ("eager torch float32", "openvino own bf16", "vigil"))
    return {
        "input": [NAMES[name], *clips[0][0].shape[1:]],
        "vigil_chose": f"{chosen.engine}/{chosen.dtype}",
        "eager_over_vigil": round(eager[1] / ours[1], 2),
        "eager_over_vigil_wall": round(eager[0] / ours[0], 2),
        "openvino_own_over_vigil": round(own[1] / ours[1], 3),
        "matmul_gflops": rates,
        "matmul_bf16_over_float32": round(rates["bf16"] / rates["float32"], 2),
        "cpu_ms": {k: round(1000 * t[1], 1) for k, t in times.items()},
        "wall_ms": {k: round(1000 * t[0], 1) for k, t in times.items()},
        "parity": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NAMES,
                        default=[name for name in NAMES if name not in LARGE])  # fmt: skip
    parser.add_argument("--seconds", type=float, default=20, help="of measuring a network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--int8", action="store_true", help="OpenVINO's 8 bits too")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/engines.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    cases = json.loads(options.out.read_text())["cases"] if options.out.exists() else {}
    for name in options.only:
        cases[name] = measure(name, options.seconds, options.threads, options.int8)
        print(name, json.dumps(cases[name]), flush=True)
        made = {
            "command": "python benchmarks/engines.py",
            "threads": options.threads,
            "seconds": options.seconds,
            "rival": "eager float32 torch; OpenVINO with its bf16 hint and fixed shapes",
            "cpu": cpu_facts(),
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "openvino", "onnxruntime", "nncf")},
        }
        options.out.write_text(json.dumps({"made": made, "cases": cases}, indent=2) + "\n")
        gc.collect()


if __name__ == "__main__":
    main()
