"""`jigsaw` against plain PyTorch: cubes a second of training and of scoring, in pairs.

    OMP_NUM_THREADS=1 python benchmarks/jigsaw.py --out benchmarks/results/jigsaw.json

Training: a step of a preset (puzzles drawn, forward, backward, Adam) in bfloat16 against the same
step of the same network in float32, contiguous, eager. Scoring: batches of 32
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
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vigil import bundle, engaged, extraction
from vigil.config import preset, split_keys
from vigil.features.engines import Runner, cpu_facts, runner
from vigil.methods import _jigsaw_net, jigsaw
from vigil.methods._jigsaw_net import SIDE
from vigil.methods._jigsaw_puzzle import LUMA
from vigil.methods.jigsaw import Jigsaw, JigsawConfig
from vigil.records import Batch
from vigil.train.batches import bags

OF_MEMORY = ("against", "memory", "shape", "apart")
SCORED = 32  # cubes of a scored batch
WAYS = [("openvino", "float32"), ("openvino", "bf16"), ("openvino", "int8"), ("torch", "bf16")]
CASES: dict[str, tuple[dict[str, Any], int]] = {  # keys of the method, cubes of a training step
    "jigsaw-ped2": (split_keys(preset("jigsaw-ped2"), JigsawConfig)[0], 64),
    "lean, all moments": ({"objects": "given", "colour": False, "pieces": "all"}, 64),
    "wide": ({"objects": "given", "colour": False, "net": "wide"}, 16),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="a fitted jigsaw")
    parser.add_argument("--source", default="ucsd-ped2", help="what --model was fitted on")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    found: dict[str, Any] = {
        "processor": cpu_facts(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(), "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    for name in args.only:
        found[name] = {
            "parameters": sum(weights.numel() for weights in made(name).parameters()),
            "cubes of a step": CASES[name][1],
            "training": training(name, args.rounds), "scoring": scoring(name, args.rounds),
        }  # fmt: skip
    if args.model:
        found["trained"] = trained(args.model, args.source, args.root, args.rounds)
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def made(name: str) -> Jigsaw:
    torch.manual_seed(0)
    keys = {key: value for key, value in CASES[name][0].items() if key not in OF_MEMORY}
    return Jigsaw(**keys, against="truth")  # the network alone


def paired(calls: dict[str, Callable[[], Any]], cubes: int, rounds: int) -> dict[str, Any]:
    """Cubes a CPU second of each; and how many times those of each rival, whose names begin with
    "float32", each of ours does: median, lowest and highest over the rounds of calls in turn."""
    for call in calls.values():
        call()
    times = np.array([[timed(call) for call in calls.values()] for _ in range(rounds)])
    columns = dict(zip(calls, times.T, strict=True))
    facts: dict[str, Any] = {
        f"{name}, cubes/s": round(cubes / float(np.median(column)), 1)
        for name, column in columns.items()
    }
    rivals = [name for name in calls if name.startswith("float32")]
    for ours, rival in product([name for name in calls if name not in rivals], rivals):
        ratio = columns[rival] / columns[ours]
        facts[f"{rival} over {ours}"] = [
            round(float(value), 2) for value in (np.median(ratio), ratio.min(), ratio.max())
        ]
    return facts


def timed(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


# -- the same as one writes it down ---------------------------------------------------------------
@contextmanager
def plainly() -> Iterator[None]:
    """Without what Vigil does in another way than its formulas say."""
    places = ((_jigsaw_net.Among, "of_two", three), (_jigsaw_net, "pooled", pooled),
              (jigsaw, "grey", grey))  # fmt: skip
    kept = [getattr(owner, name) for owner, name, _ in places]
    for owner, name, plain in places:
        setattr(owner, name, plain)
    try:
        yield
    finally:
        for (owner, name, _), ours in zip(places, kept, strict=True):
            setattr(owner, name, ours)


def three(self: Any, one: Tensor, other: Tensor) -> Tensor:
    both = torch.stack([one, other], 1)
    own, rest = self.own(both.flatten(0, 1)), self.rest(both.mean(1))
    found: Tensor = own.unflatten(0, (-1, 2)) + rest[:, None]
    return found


def pooled(x: Tensor) -> Tensor:
    return nn.functional.max_pool2d(x, 2).flatten(1)


def grey(x: Tensor) -> Tensor:
    weights = torch.tensor(LUMA).view(3, 1, 1)
    return (x.float() * weights).sum(2, keepdim=True).round().to(torch.uint8)


def plain(call: Callable[[], Any]) -> Callable[[], Any]:
    def called() -> None:
        with plainly():
            call()

    return called


# -- training ------------------------------------------------------------------------------------
def training(name: str, rounds: int) -> dict[str, Any]:
    cubes = CASES[name][1]
    batch = Batch(x={"cube": torch.randint(0, 256, (cubes, 7, 3, SIDE, SIDE)).to(torch.uint8)})
    ours, rival, written = (step(made(name), batch, fast) for fast in (True, False, False))
    calls = {"preset": ours, "float32": rival, "float32, plainly": plain(written)}
    return paired(calls, cubes, rounds)


def step(method: Jigsaw, batch: Batch, fast: bool) -> Callable[[], Any]:
    """A training step, in bfloat16 as the preset has it or in float32."""
    optimizers = method.train().optimizers()

    def loss(batch: Batch) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return method(batch)

    return lambda: method.fit_step(batch, optimizers, Tensor.backward, loss)


# -- scoring -------------------------------------------------------------------------------------
def scoring(name: str, rounds: int) -> dict[str, Any]:
    """Weights drawn at random, gate open: how fast each would be, and how far off it is."""
    net, (example,) = made(name).eval().networks()["cube"]
    rows = torch.rand(2 * SCORED, *example.shape[1:])
    found = {way: runner(net, [(rows,)], *way, limit=inf) for way in WAYS}
    return compared(net, found, rows, rounds)


def compared(
    net: nn.Module, made: dict[tuple[str, str], Runner], rows: Tensor, rounds: int
) -> dict[str, Any]:
    x = rows[:SCORED]

    @torch.no_grad()
    def eager() -> None:
        net(x)

    calls: dict[str, Callable[[], Any]] = {
        f"{run.engine} {run.dtype}": (lambda run=run: run(x)) for run in made.values()
    }
    facts = {f"{run.engine} {run.dtype}, parity": round(run.parity, 4) for run in made.values()}
    return facts | paired(
        calls | {"float32": eager, "float32, plainly": plain(eager)}, SCORED, rounds
    )


def trained(folder: Path, source: str, root: Path | None, rounds: int) -> dict[str, Any]:
    """Weights of a fitted model, on normal cubes, and by how much each engine moves its scores: a
    fit refuses more than 0.05."""
    model = bundle.load(folder)
    method = model.method.eval()
    learned, _ = extraction.training(
        [source], None, root, split=None, view=None, features=None, progress=lambda *_: None
    )
    method.runners = {}
    units = engaged.firsts(
        bags(method, model.providers, list(learned)[3:5], model.fps, model.ignore), 1
    )
    scores, inputs = engaged.recorded(method, units)
    made, facts = {}, {}
    for way in WAYS:
        method.runners = {**engaged.chosen(method, inputs, *way)}
        made[way] = method.runners["cube"]
        moved = engaged.change(scores, engaged.scores(method, units))
        facts[f"{made[way].engine} {made[way].dtype}, moved"] = round(moved, 4)
    method.runners = {}
    net, _ = method.networks()["cube"]
    return facts | compared(net, made, inputs["cube"][0], rounds)


if __name__ == "__main__":
    main()
