"""Seconds of `mama` against plain float32 torch: learning, predicting, the whole way to a score.

    OMP_NUM_THREADS=1 python benchmarks/mama.py --out benchmarks/results/mama.json

step     a training step of preset `small`, batch of 4, against the same network and terms in
         float32 NCHW with AdamW as torch gives it; and the losses of both after equal steps
predict  one prediction at 256 x 256 and at `small`'s size: vigil.features.engines.runner against
         eager float32
path     a frame's score at 256 x 256 with FlowNet2-SD and DeepLabv3-ResNet101 (weights drawn at
         random, which cost the same): the authors compute three flows and four maps anew for each
         window, Vigil one of each, the rest kept; with the helpers as they are, and under an engine
grid     the oracle over 1176 weightings of 107 videos, filtered once against filtered inside
live     `small`, frame by frame, from pixels to channels without decoding: frames a second of
         one core, and how many frames it waits for
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scene import processor
from torch import Tensor, nn

from vigil.config import preset, split_keys
from vigil.features.engines import runner
from vigil.features.flownet2sd import FlowNet2SD
from vigil.features.segmentation import DeepLabResNet101
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


def clips(method: Mama, n: int, seed: int) -> dict[str, Tensor]:
    """Smooth blobs that move, so that there is something to learn."""
    random = np.random.default_rng(seed)
    length, side = method.windows["clip"].length, method.config.size
    coarse = random.uniform(0, 255, (n, 3, side // 8, side // 8))
    ground = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=side, mode="bilinear")
    shifts = random.integers(-2, 3, n)
    rows = [torch.stack([g.roll(int(s) * t, -1) for t in range(length)])
            for g, s in zip(ground, shifts, strict=True)]  # fmt: skip
    return {"clip": torch.stack(rows).round().to(torch.uint8)}


# -- learning ------------------------------------------------------------------------------------
def step(rounds: int, steps: int = 60) -> dict[str, Any]:
    ours, rival = learner(fast=True), learner(fast=False)
    found = paired(lambda: ours(0), lambda: rival(0), rounds)
    whole = learner(fast=False, fold=1)
    unfolded = paired(lambda: ours(0), lambda: whole(0), max(rounds // 2, 2))
    curves = [[learn(n) for n in range(steps)] for learn in (learner(True), learner(False))]
    late = [round(float(np.mean(curve[-15:])), 5) for curve in curves]
    found["loss after equal steps"] = {"steps": steps, "vigil": late[0], "rival": late[1]}
    return {**found, "without folding": unfolded}


def learner(fast: bool, **keys: Any) -> Callable[[int], float]:
    method = small(**keys).train()
    if not fast:
        method = method.to(memory_format=torch.contiguous_format)
        method.clip = plain_layout(method.clip)  # type: ignore[method-assign]
    optimizers: dict[str, torch.optim.Optimizer] = method.optimizers()
    if not fast:
        rate = method.config.lr_generator
        optimizers = {"generator": torch.optim.AdamW(method.generator.parameters(), rate,
                                                     weight_decay=rate, foreach=False)}  # fmt: skip

    def one(batch: Batch) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            return method.loss(batch)

    def learn(n: int) -> float:
        terms = method.fit_step(Batch(x=clips(method, 4, n)), optimizers, Tensor.backward, one)
        return float(terms["intensity"].detach() + terms["gradient"].detach())

    return learn


def plain_layout(
    clip: Callable[..., tuple[Tensor, Tensor]],
) -> Callable[..., tuple[Tensor, Tensor]]:
    def made(x: Any) -> tuple[Tensor, Tensor]:
        past, target = clip(x)
        return past.contiguous(), target

    return made


# -- scoring -------------------------------------------------------------------------------------
def engine(net: nn.Module, shape: tuple[int, ...], limit: float = 1.0) -> Any:
    """The runner that Vigil would choose for one row at a time; the gate is left open, since
    weights drawn at random are no measure of it."""
    torch.manual_seed(1)
    return runner(net, [(torch.randn(1, *shape),) for _ in range(8)], limit=limit)


@torch.no_grad()
def predict(rounds: int) -> dict[str, Any]:
    found = {}
    for name, method in (("256 x 256, width 64", full()), ("small", small())):
        net = method.generator.eval().to(memory_format=torch.contiguous_format)
        x = torch.randn(1, 12, method.config.size, method.config.size)
        fast = engine(net, tuple(x.shape[1:]))
        found[name] = paired(lambda: fast(x), lambda: net(x), rounds)  # noqa: B023
        found[name] |= {"engine": f"{fast.engine} {fast.dtype}", "parity": round(fast.parity, 4)}
    return found


def full() -> Mama:
    torch.manual_seed(0)
    return Mama(flow="dis", segmentation="foreground-segmentation", adversarial=0.0).eval()


@torch.no_grad()
def path(rounds: int) -> dict[str, Any]:
    """Eager float32 is what the authors' loop does for one window; flows and maps of earlier frames
    are the same numbers again, so keeping them changes no score."""
    method, flow, labels = full(), FlowNet2SD().eval(), DeepLabResNet101().build().eval()
    side = method.config.size
    x = {"clip": torch.randint(0, 256, (1, 5, 3, side, side)).to(torch.uint8),
         "clip.flow": torch.randn(1, 5, 2, side, side),
         "clip.segmentation": torch.randn(1, 5, 21, side, side)}  # fmt: skip
    at = np.arange(1)
    units = Units("clip", "v", x, at + 4, at + 5, at + 5, np.zeros((1, 4), np.float32))
    pair, frame = torch.rand(1, 3, 2, side, side) * 255, torch.randn(1, 3, side, side)
    maps = Maps(labels)

    def theirs() -> None:
        method.runners = {}
        for _ in range(3):
            flow(pair)
        maps(frame.expand(4, -1, -1, -1))
        method.score(units)

    chosen = {name: engine(net, tuple(example[0].shape[1:]))
              for name, (net, example) in method.networks().items()}  # fmt: skip

    def ours() -> None:
        method.runners = chosen
        flow(pair), maps(frame), method.score(units)

    helpers = engine(flow, tuple(pair.shape[1:])), engine(maps, tuple(frame.shape[1:]))

    def all_under_engines() -> None:
        method.runners = chosen
        helpers[0](pair), helpers[1](frame), method.score(units)

    return {
        "as Vigil runs it": paired(ours, theirs, rounds),
        "helpers under an engine too": paired(all_under_engines, theirs, rounds),
        "engines": {name: f"{run.engine} {run.dtype}" for name, run in
                    {**chosen, "flow": helpers[0], "segmentation": helpers[1]}.items()},
    }  # fmt: skip


class Maps(nn.Module):
    """DeepLab's logits on its own grid."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net.classifier(self.net.backbone(x)["out"])
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
    x = clips(method, frames, 0)["clip"]
    at = np.arange(1)
    fast = engine(method.generator, (12, method.config.size, method.config.size))
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
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    parts: dict[str, Callable[[], Any]] = {
        "step": lambda: step(args.rounds), "predict": lambda: predict(args.rounds),
        "path": lambda: path(max(args.rounds // 2, 2)), "grid": grid, "live": live,
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
