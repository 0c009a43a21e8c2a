"""`jigsaw` against plain PyTorch: cubes a second of training and of scoring, in pairs.

    OMP_NUM_THREADS=1 python benchmarks/jigsaw.py --out benchmarks/results/jigsaw.json

Training: a step of a preset (puzzles drawn, forward, backward, Adam) in bfloat16 and channels last
against the same step of the same network in float32, contiguous, eager. Scoring: batches of 32
cubes through the runner that Vigil chooses, and through OpenVINO in bfloat16, against eager
float32. Pixels are random: speed does not depend on them. CPU seconds, medians over the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vigil.config import preset, split_keys
from vigil.errors import VigilError
from vigil.features.engines import cpu_facts, runner
from vigil.methods import _jigsaw_net
from vigil.methods._jigsaw_net import SIDE
from vigil.methods.jigsaw import Jigsaw, JigsawConfig
from vigil.records import Batch

SCORED = 32  # cubes of a scored batch
CASES: dict[str, tuple[dict[str, Any], int]] = {  # keys of the method, cubes of a training step
    "jigsaw-ped2": (split_keys(preset("jigsaw-ped2"), JigsawConfig)[0], 64),
    "lean, all moments": ({"objects": "given", "colour": False}, 64),
    "wide": ({"objects": "given", "colour": False, "net": "wide"}, 16),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    found: dict[str, Any] = {
        "processor": cpu_facts(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(), "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    for name in CASES:
        found[name] = {
            "parameters": sum(weights.numel() for weights in made(name).parameters()),
            "cubes of a step": CASES[name][1],
            "training": training(name, args.rounds), "scoring": scoring(name, args.rounds),
        }  # fmt: skip
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        with open(args.out, "w") as file:
            file.write(text + "\n")


def made(name: str) -> Jigsaw:
    torch.manual_seed(0)
    return Jigsaw(**{**CASES[name][0], "against": "truth"})  # the network alone, no memory


def paired(calls: dict[str, Callable[[], Any]], cubes: int, rounds: int) -> dict[str, Any]:
    """Cubes a CPU second of each, and how many times the last one's every other one does: median,
    lowest and highest over the rounds, in each of which all are called in turn."""
    for call in calls.values():
        call()
    times = np.array([[timed(call) for call in calls.values()] for _ in range(rounds)])
    *ours, rival = calls
    facts: dict[str, Any] = {
        f"{name}, cubes/s": round(cubes / float(value), 1)
        for name, value in zip(calls, np.median(times, axis=0), strict=True)
    }
    for column, name in enumerate(ours):
        ratio = times[:, -1] / times[:, column]
        facts[f"{rival} over {name}"] = [
            round(float(value), 2) for value in (np.median(ratio), ratio.min(), ratio.max())
        ]
    return facts


def timed(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


# -- training ------------------------------------------------------------------------------------
def training(name: str, rounds: int) -> dict[str, Any]:
    cubes = CASES[name][1]
    batch = Batch(x={"cube": torch.randint(0, 256, (cubes, 7, 3, SIDE, SIDE)).to(torch.uint8)})
    ours, rival = step(made(name), batch, True), step(made(name), batch, False)
    return paired({"preset": ours, "float32 contiguous": rival}, cubes, rounds)


def step(method: Jigsaw, batch: Batch, fast: bool) -> Callable[[], None]:
    """A training step as the preset makes it, or as one writes it down."""
    if not fast:
        method.to(memory_format=torch.contiguous_format)
    optimizers = method.train().optimizers()

    def loss(batch: Batch) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return method(batch)

    def one() -> None:
        with layout(fast):
            method.fit_step(batch, optimizers, Tensor.backward, loss)

    return one


@contextmanager
def layout(fast: bool) -> Iterator[None]:
    """The networks' own memory layout, or plain contiguous."""
    kept = _jigsaw_net.last
    setattr(_jigsaw_net, "last", kept if fast else plain)  # noqa: B010
    try:
        yield
    finally:
        setattr(_jigsaw_net, "last", kept)  # noqa: B010


def plain(x: Tensor) -> Tensor:
    return x.contiguous()


# -- scoring -------------------------------------------------------------------------------------
def scoring(name: str, rounds: int) -> dict[str, Any]:
    """The network alone, unshuffled cubes; a runner's own checks use other cubes."""
    method = made(name).eval()
    rival = made(name).eval().to(memory_format=torch.contiguous_format)
    level, (example,) = method.networks()["cube"]
    x = torch.rand(SCORED, *example.shape[1:])
    rows = [(torch.rand_like(x),), (torch.rand_like(x),)]
    calls: dict[str, Callable[[], Any]] = {}
    facts: dict[str, Any] = {}
    for engine, dtype in (("auto", "auto"), ("openvino", "bf16"), ("openvino", "float32")):
        try:
            run = runner(level, rows, engine, dtype, threads=torch.get_num_threads())
        except VigilError as error:  # not installed, or its numbers are too far off
            facts[f"{engine}/{dtype}"] = str(error)
            continue
        facts[f"{engine}/{dtype}"] = {key: run.describe()[key] for key in ("engine", "dtype")}
        facts[f"{engine}/{dtype}"]["parity"] = round(run.parity, 4)
        calls[f"{engine}/{dtype}"] = lambda run=run: run(x)  # type: ignore[misc]
    calls["eager float32"] = lambda: eager(rival.networks()["cube"][0], x)
    return facts | paired(calls, SCORED, rounds)


@torch.no_grad()
def eager(net: nn.Module, x: Tensor) -> Any:
    with layout(fast=False):
        return net(x)


if __name__ == "__main__":
    main()
