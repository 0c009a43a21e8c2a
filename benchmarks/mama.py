"""Seconds of `mama` against plain float32 torch: learning, predicting, the whole way to a score.

    OMP_NUM_THREADS=1 python benchmarks/mama.py --out benchmarks/results/mama.json

step     a training step of preset `small`, batch of 4, against the same network and terms in
         float32 NCHW with AdamW as torch gives it; the losses of both after equal steps; the same
         without folding; and one of `paper`, batch of 1, with flow and labels given
predict  one prediction at 256 x 256 and at `small`'s size against eager float32: under the engine
         that passes the gate of 2 % (a fit's own gate looks at scores and is wider), and under
         OpenVINO in bfloat16 and in 8 bits, with what that changes
path     a frame's score at 256 x 256 with FlowNet2-SD and DeepLabv3-ResNet101 (`drawn` weights,
         which cost the same as trained ones): the authors compute three flows and four maps anew
         for each window, Vigil one of each, the rest kept; networks and helpers under engines as in
         predict, and helpers in plain torch, which is the default
grid     the oracle over 1176 weightings of 107 videos, filtered once against filtered inside
live     `small`, frame by frame, from pixels to channels without decoding: frames a second of
         one core, and how many frames it waits for
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scene import processor
from torch import Tensor, nn

from vigil.config import preset, split_keys
from vigil.features.engines import Runner, example_clips, runner
from vigil.features.flownet2sd import FlowNet2SD, Quarter
from vigil.features.segmentation import DeepLabResNet101, Logits
from vigil.methods.mama import Mama, MamaConfig
from vigil.metrics import mama_grid
from vigil.records import Batch, Units


def paired(ours: Callable[[], Any], rival: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """CPU milliseconds of each, medians, and the ratio of each pair: median, lowest, highest."""
    ours(), rival()
    times = [(timed(ours), timed(rival)) for _ in range(rounds)]
    ratios = sorted(there / here for here, there in times)
    here, there = (1e3 * float(np.median(column)) for column in zip(*times, strict=True))
    median = float(np.median(ratios))
    return {
        "vigil_ms": round(here, 2), "rival_ms": round(there, 2),
        "rival_over_vigil": [round(ratio, 2) for ratio in (median, ratios[0], ratios[-1])],
    }  # fmt: skip


def timed(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def small(**keys: Any) -> Mama:
    own, _ = split_keys(preset("small"), MamaConfig)
    torch.manual_seed(0)
    return Mama(**{**own, **keys})


@lru_cache(128)
def clips(length: int, side: int, n: int, seed: int) -> Tensor:
    """Smooth blobs that move, (n, length, 3, side, side): so that there is something to learn."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (n, 3, side // 8, side // 8))
    ground = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=side, mode="bilinear")
    shifts = random.integers(-2, 3, n)
    rows = [torch.stack([g.roll(int(s) * t, -1) for t in range(length)])
            for g, s in zip(ground, shifts, strict=True)]  # fmt: skip
    return torch.stack(rows).round().to(torch.uint8)


def seen(method: Mama, n: int, seed: int) -> dict[str, Tensor]:
    """What a batch holds; flow and labels, where the method asks for them, are noise."""
    length, side = method.windows["clip"].length, method.config.size
    sizes = {"flow": (2, side, side), "segmentation": (21, side, side)}
    maps = {f"clip.{role}": noise((n, length, *sizes[role])) for role in method.providers}
    return {"clip": clips(length, side, n, seed), **maps}


@lru_cache(4)
def noise(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# -- learning ------------------------------------------------------------------------------------
def step(rounds: int, steps: int = 60) -> dict[str, Any]:
    ours, rival = learner(small(), fast=True), learner(small(), fast=False)
    found = paired(lambda: ours(0), lambda: rival(0), 2 * rounds)
    whole = learner(small(fold=1), fast=False)
    unfolded = paired(lambda: ours(0), lambda: whole(0), max(rounds // 2, 2))
    curves = [[learn(n) for n in range(steps)]
              for learn in (learner(small(), True), learner(small(), False))]  # fmt: skip
    late = [round(float(np.mean(curve[-15:])), 5) for curve in curves]
    found["loss after equal steps"] = {"steps": steps, "vigil": late[0], "rival": late[1]}
    one, other = (learner(full(adversarial=0.05), fast, rows=1) for fast in (True, False))
    paper = paired(lambda: one(0), lambda: other(0), 2)
    return {**found, "without folding": unfolded, "paper, 256 x 256": paper}


def learner(method: Mama, fast: bool, rows: int = 4) -> Callable[[int], float]:
    """A training step; of seed n, whose clips are made at the first call."""
    method = method.train()
    if not fast:
        method = method.to(memory_format=torch.contiguous_format)
        for net in (method.generator.encoder, *method.targets.values()):
            net.register_forward_pre_hook(lambda net, given: given[0].contiguous())
    optimizers: dict[str, torch.optim.Optimizer] = method.optimizers()
    if not fast:
        optimizers = {
            name: torch.optim.AdamW([w for group in made.param_groups for w in group["params"]],
                                    made.defaults["lr"], foreach=False,
                                    weight_decay=made.defaults["weight_decay"])
            for name, made in optimizers.items()
        }  # fmt: skip

    def one(batch: Batch) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return method.loss(batch)

    def learn(n: int) -> float:
        batch = Batch(x=seen(method, rows, n))
        terms = method.fit_step(batch, optimizers, Tensor.backward, one)
        return float(terms["intensity"].detach() + terms["gradient"].detach())

    return learn


# -- scoring -------------------------------------------------------------------------------------
def drawn(net: nn.Module, *inputs: Tensor) -> nn.Module:
    """Weights drawn so that what comes in comes out as large, as it does when trained: torch's own
    leave little but biases, which is no measure of an engine. `inputs` settle normalisations."""
    torch.manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            inward = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else (
                layer.weight.shape[0] * layer.weight[0, 0].numel() / np.prod(layer.stride)
            )  # fmt: skip
            nn.init.normal_(layer.weight, 0, (2 / inward) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        net.train()(*inputs)
    return net.eval()


def textures(shape: tuple[int, ...]) -> list[tuple[Tensor]]:
    return example_clips(shape)


def engine(net: nn.Module, shape: tuple[int, ...], dtype: str = "auto") -> Runner:
    """The runner that Vigil would choose for one row at a time, told by textures and a gate of 2 %;
    of a type that is asked for with the gate open."""
    name, limit = ("auto", 0.02) if dtype == "auto" else ("openvino", inf)
    return runner(net, textures(shape), name, dtype, limit=limit)


@torch.no_grad()
def predict(rounds: int, dtypes: Sequence[str]) -> dict[str, Any]:
    found = {}
    for name, method in (("256 x 256, width 64", full()), ("small", small())):
        shape = (12, method.config.size, method.config.size)
        x = torch.cat([x for (x,) in textures(shape)])[:4]
        net = drawn(method.generator, x).to(memory_format=torch.contiguous_format)
        for dtype in dtypes:
            fast = engine(net, shape, dtype)
            made = paired(lambda: fast(x[:1]), lambda: net(x[:1]), rounds)  # noqa: B023
            made |= {"engine": f"{fast.engine} {fast.dtype}", "parity": round(fast.parity, 4)}
            found[f"{name}, {dtype}"] = made | {"tried": dict(fast.tried)}
    return found


def full(**keys: Any) -> Mama:
    torch.manual_seed(0)
    named = {"flow": "dis", "segmentation": "foreground-segmentation", "adversarial": 0.0}
    return Mama(**{**named, **keys}).eval()


@torch.no_grad()
def path(rounds: int, dtypes: Sequence[str]) -> dict[str, Any]:
    """Eager float32 is what the authors' loop does for one window; flows and maps of earlier frames
    are the same numbers again, so keeping them changes no score."""
    method, side = full(), 256
    pairs, frames = (torch.cat([x for (x,) in textures((3, *t, side, side))]) for t in ((2,), ()))
    flow = drawn(FlowNet2SD(), pairs[:2])
    maps = drawn(Logits(DeepLabResNet101().build()), frames[:2])
    x = seen(method, 1, 0)
    at = np.arange(1)
    units = Units("clip", "v", x, at + 4, at + 5, at + 5, np.zeros((1, 4), np.float32))
    pair, frame = 64 * pairs[:1] + 128, frames[:1]
    for net, example in method.networks().values():
        shape = tuple(example[0].shape[1:])
        drawn(net, torch.cat([x for (x,) in textures(shape)])[:2])

    def theirs() -> None:
        method.runners = {}
        for _ in range(3):
            flow(pair)
        maps(frame.expand(4, -1, -1, -1))
        method.score(units)

    nets = {name: (net, tuple(example[0].shape[1:]))
            for name, (net, example) in method.networks().items()}  # fmt: skip
    nets |= {"flow": (Quarter(flow), (3, 2, side, side)), "segmentation": (maps, (3, side, side))}
    found: dict[str, Any] = {}
    for dtype in dtypes:
        fast = {name: engine(net, shape, dtype) for name, (net, shape) in nets.items()}

        def plain_helpers(fast: dict[str, Runner] = fast) -> None:
            method.runners = {**fast}
            flow(pair), maps(frame), method.score(units)

        def all_under_engines(fast: dict[str, Runner] = fast) -> None:
            method.runners = {**fast}
            flow(pair, fast["flow"]), fast["segmentation"](frame), method.score(units)

        made = paired(all_under_engines, theirs, rounds)
        if dtype == "bf16":
            found["bf16, helpers in plain torch"] = paired(plain_helpers, theirs, rounds)
        found[dtype] = made | {
            name: f"{run.engine} {run.dtype}, {1e3 * run.seconds:.0f} ms, parity {run.parity:.4f}"
            for name, run in fast.items()
        }
    return found


# -- measuring -----------------------------------------------------------------------------------
def grid(videos: int = 107, frames: int = 380) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    terms = [{name: rng.normal(size=frames) for name in mama_grid.TERMS[:3]} for _ in range(videos)]
    labels = [rng.random(frames) < 0.4 for _ in range(videos)]
    began = time.process_time()
    best = mama_grid.oracle(terms, labels, gaussian=True)
    half = time.process_time()
    rival = filtered_inside(terms, labels)
    seconds = half - began, time.process_time() - half
    return {
        "frames": videos * frames, "vigil_s": round(seconds[0], 2), "rival_s": round(seconds[1], 2),
        "rival_over_vigil": round(seconds[1] / seconds[0], 2),
        "micro_auc": [best.micro_auc, rival], "differ_by": abs(best.micro_auc - rival),
    }  # fmt: skip


def filtered_inside(videos: list[dict[str, np.ndarray]], labels: list[np.ndarray]) -> float:
    """As one writes it: for each weighting mix, scale, filter each video, then scikit-learn."""
    from scipy.ndimage import gaussian_filter1d
    from sklearn.metrics import auc, roc_curve

    names, table = mama_grid.grid(damage=False)
    truth, best = np.concatenate(labels), 0.0
    for weights in table:
        rows = []
        for video in videos:
            scores = [(video[n] - video[n].mean()) / (video[n].std() + 1e-8) for n in names]
            row = sum(w * s for w, s in zip(weights, scores, strict=True))
            rows.append(gaussian_filter1d((row - row.min()) / (np.ptp(row) + 1e-8), 10))
        alarms, hits, _ = roc_curve(truth, np.concatenate(rows))
        best = max(best, float(auc(alarms, hits)))
    return best


@torch.no_grad()
def live(frames: int = 60) -> dict[str, Any]:
    """A score is there as soon as it is computed: no frame ahead is needed."""
    method = small().eval()
    x, at, shape = seen(method, frames, 0)["clip"], np.arange(1), (12, *[method.config.size] * 2)
    drawn(method.generator, torch.cat([x for (x,) in textures(shape)])[:4])
    fast = engine(method.generator, shape, "bf16")
    found: dict[str, Any] = {"chosen": f"{fast.engine} {fast.dtype}",
                             "frames_ahead": method.lookahead}  # fmt: skip
    for name, runners in (("eager float32", {}), ("engine", {"generator": fast})):
        method.runners = runners
        costs = []
        for n in range(frames):
            units = Units("clip", "v", {"clip": x[n : n + 1]}, at, at + 1, at + 1, np.zeros((1, 4)))
            costs.append(timed(lambda: method.score(units)))  # noqa: B023
        typical, worst = float(np.median(costs[5:])), float(np.quantile(costs[5:], 0.95))
        found[name] = {"ms_a_frame": round(1e3 * typical, 1), "ms_95": round(1e3 * worst, 1),
                       "frames_a_second": round(1 / typical, 1)}  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["step", "predict", "path", "grid", "live"])
    parser.add_argument("--dtypes", nargs="*", default=["auto", "bf16", "int8"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    parts: dict[str, Callable[[], Any]] = {
        "step": lambda: step(args.rounds), "predict": lambda: predict(args.rounds, args.dtypes),
        "path": lambda: path(max(args.rounds // 2, 2), args.dtypes), "grid": grid, "live": live,
    }  # fmt: skip
    found: dict[str, Any] = {
        "threads": torch.get_num_threads(), "processor": processor(), "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    found |= {name: parts[name]() for name in args.only}
    text = json.dumps(found, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
