"""Four cameras of 45 frames a second scored live by `jigsaw`, one model each, joined as they come.

    OMP_NUM_THREADS=1 python benchmarks/jigsaw_views_live.py

What is timed is what a watch runs: four files are decoded in step, each by `vigil.run.stream`
(reading, cubes or clips, network, calibration, smoothing), and the four scores of each moment
become one. CPU seconds of one process with one thread; 45 frames a second of four views are held
where a moment costs at most 22.2 ms on average. The files show `cabin` drawn at 168x224 (DAD's
frames are 171x224) and played at 45 frames a second. Weights are random: speed does not depend on
them. Every setting runs in a process of its own, so that the peak memory (Python and libraries
included) is its own. Delay: from a frame to the moment at which its score is certain, without the
time that computing takes; the worst moment is the longest that the next joined score takes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vigil import run
from vigil.bundle import Model
from vigil.data.cabin import render
from vigil.engaged import engage
from vigil.features.engines import cpu_facts
from vigil.methods.jigsaw import Jigsaw
from vigil.scores.fuse import fuse
from vigil.train.batches import bags
from vigil.video.read import open_video, part
from vigil.video.write import write_mp4

OUT = Path(__file__).parent / "results" / "jigsaw_views_live.json"
VIEWS = ("front_depth", "front_IR", "top_depth", "top_IR")
SIZE, FPS = (168, 224), 45.0
WARM = 40  # moments before the clock starts
GREY = {"objects": "frame", "colour": False, "short_side": 64}
CASES: dict[str, tuple[dict[str, Any], int]] = {  # keys of the method, moments timed
    "frame": ({}, 120),
    "clip": ({"levels": "clip"}, 60),
    "clip, every 4": ({"levels": "clip", "every": 4}, 120),
    "frame and clip": ({"levels": "frame,clip"}, 60),
    "frame and clip, every 4": ({"levels": "frame,clip", "every": 4}, 120),
    "frame, every 4": ({"every": 4}, 160),
    "frame, pairs, normal answers": ({"pieces": "pairs", "against": "normal"}, 120),
    "frame, wide, every 4": ({"net": "wide", "every": 4}, 40),
    "frame and clip, fourhead, every 4": (
        {"net": "fourhead", "levels": "frame,clip", "every": 4}, 16
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--one", help="measure this case here, print JSON")
    parser.add_argument("--engine", choices=("torch", "auto"), default="auto")
    parser.add_argument("--files", type=Path, help="where the four files lie")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measured(args.one, args.engine, args.files)))
        return
    result: dict[str, Any] = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/jigsaw_views_live.py",
        "processor": cpu_facts(), "threads": 1, "torch": torch.__version__,
        "views": len(VIEWS), "fps": FPS, "size": SIZE, "load": round(os.getloadavg()[0], 2),
        "cases": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        drawn(Path(folder))
        for name in args.only:
            found = {engine: apart(name, engine, folder) for engine in ("torch", "auto")}
            result["cases"][name] = {"keys": CASES[name][0], **found}
            print(name, json.dumps(found), flush=True)
            args.out.write_text(json.dumps(result, indent=1) + "\n")


def drawn(folder: Path) -> None:
    """The four files, 5 s each."""
    for view in VIEWS:
        frames, _ = render(view, "test", 0, size=SIZE)
        write_mp4(folder / f"{view}.mp4", frames[:225], FPS)


def apart(name: str, engine: str, folder: str) -> dict[str, Any]:
    """The figures of a case, from a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--engine", engine, "--files", folder]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@torch.no_grad()
def measured(name: str, engine: str, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    keys, moments = CASES[name]
    videos = [open_video(folder / f"{view}.mp4") for view in VIEWS]
    models = [ready(keys, n, engine, video) for n, video in enumerate(videos)]
    streams = zip(*(run.stream(m, v) for m, v in zip(models, videos, strict=True)), strict=True)
    for _ in range(WARM):
        next(streams)
    walls, began = [], time.process_time()
    for _ in range(moments):
        tick = time.perf_counter()
        rows = next(streams)
        fuse(np.array([[row.smoothed] for row in rows]), "mean")
        walls.append(time.perf_counter() - tick)
    cost = (time.process_time() - began) / moments
    late = rows[0].known_at - rows[0].frame
    return {
        "engines": models[0].card.get("engines", {}),
        "ms_a_moment": round(1e3 * cost, 2), "frames_a_second": round(len(VIEWS) / cost, 1),
        "a_view": round(1 / cost, 1), "holds_45": cost <= 1 / FPS,
        "worst_moment_ms": round(1e3 * max(walls), 1),
        "delay_frames": late, "delay_ms": round(1e3 * late / FPS),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }  # fmt: skip


def ready(keys: dict[str, Any], seed: int, engine: str, video: Any) -> Model:
    """A model of random weights, calibrated on the first second of its own view."""
    torch.manual_seed(seed)
    method = Jigsaw(**{**GREY, **keys})
    model = Model("jigsaw", method, {}, {"fps": FPS})
    few = part(video, 0, 1.2)
    method.prepare(bags(method, {}, [few], FPS))
    method.eval()
    if engine == "auto":
        facts = engage(method, bags(method, {}, [few], FPS), "auto", "auto")
        model.card["engines"] = {k: f"{v['engine']}/{v['dtype']}" for k, v in facts.items()}
    model.calibration = run.calibrate(model, [few], "causal:0.2s", 1.0)
    return model


if __name__ == "__main__":
    main()
