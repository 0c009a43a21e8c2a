"""From a camera's frame to a score of `scene`: frames a second, by image encoder and stride.

    OMP_NUM_THREADS=1 python benchmarks/scene_live.py --out benchmarks/results/scene_live.json

What is timed is the generator that a watch runs: preprocessing, encoder, the sequence of the last
16 rows through `scene`, the frame's score; not the camera's own decoding. Once with the encoder in
eager float32 torch, once under the engine that Vigil chooses. CPU seconds of one core; 25 frames a
second are held where a frame costs at most 40 ms on average. Each encoder runs in a process of its
own, so that the peak memory (Python and libraries included) is its own. Weights are random, so
the gate of the engines is left open: speed does not depend on weights, the gate does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vigil.bundle import Model
from vigil.features.engines import cpu_facts, runner
from vigil.features.extracted import Extracted
from vigil.methods.scene import Scene
from vigil.records import Frame, Video
from vigil.run import Scorer

ENCODERS = ("clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14", "timm:resnet50",
            "timm:mobilenetv3_large_100", "pixels", "motion")  # fmt: skip
STRIDES = (1, 4, 16)
SIZE, FPS = (480, 640), 25.0
ROWS = 8  # timed at each stride


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(ENCODERS))
    parser.add_argument("--one", help="measure this encoder here, print JSON")
    parser.add_argument("--engine", choices=("torch", "auto"), default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measured(args.one, args.engine)))
        return
    told: dict[str, Any] = {"command": "python benchmarks/scene_live.py", "threads": 1,
                            "frame": SIZE, "cpu": cpu_facts(), "encoders": {}}  # fmt: skip
    for name in args.only:
        sides = {"eager float32": "torch", "vigil": "auto"}
        told["encoders"][name] = {side: apart(name, engine) for side, engine in sides.items()}
        print(name, json.dumps(told["encoders"][name]), flush=True)
        if args.out:
            args.out.write_text(json.dumps(told, indent=1) + "\n")


def apart(name: str, engine: str) -> dict[str, Any]:
    """The figures of an encoder, from a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--engine", engine]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@torch.no_grad()
def measured(name: str, engine: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    provider = Extracted(name)
    network = provider.backbone.build().eval()
    dtype = "float32" if engine == "torch" else "auto"
    made = runner(network, provider.examples(), engine, dtype, threads=1, limit=math.inf)
    weights = sum(w.numel() for w in network.parameters())
    del network
    provider.made = made
    dim, rates = provider.backbone.dim, {}
    for stride in STRIDES:
        provider.stride = stride
        method = Scene(dim=dim, like=0, frames=max(provider.backbone.frames, stride)).eval()
        model = Model("scene", method, {"features": provider}, {"fps": FPS})
        cost = seconds_a_frame(model, provider.backbone.frames + 2 * stride, ROWS * stride)
        rates[str(stride)] = {"fps": round(1 / cost, 1), "ms_a_frame": round(1e3 * cost, 2),
                              "holds_25": cost <= 0.04}  # fmt: skip
    own = sum(w.numel() for w in method.net.parameters())
    return {
        "engine": f"{made.engine}/{made.dtype}", "dim": dim, "parameters": weights + own,
        "of_scene": own, "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "stride": rates,
    }  # fmt: skip


def seconds_a_frame(model: Model, warm: int, count: int) -> float:
    """CPU seconds of a frame, the mean over `count` of them after `warm` others."""
    frames = textures()
    shown = [next(frames) for _ in range(warm + count)]
    scorer = Scorer(model, camera(), 1, as_live=True, keep=False)
    for frame in shown[:warm]:
        scorer.see(frame)
    began = time.process_time()
    for frame in shown[warm:]:
        scorer.see(frame)
    return (time.process_time() - began) / count


def textures() -> Iterator[Frame]:
    """Noise that drifts; what it shows does not change what it costs."""
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    for n in range(10**6):
        yield Frame(np.roll(image, n, 1), n / FPS)


def camera() -> Video:
    return Video("camera", "camera", FPS, SIZE, lambda short_side: textures())


if __name__ == "__main__":
    main()
