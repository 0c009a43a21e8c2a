"""Speed of `nearest`, stage by stage, on one core: python benchmarks/nearest.py [--frames 200]

Frames are drawn here (360x240, twelve walkers), so that anyone can run it. The result goes to
benchmarks/results/nearest.json; the machine's load at the time is part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from vigil.features.flow import Dis
from vigil.features.objects import Foreground
from vigil.methods.nearest import Nearest
from vigil.records import Frame, Video
from vigil.units import Cutter

SIZE, FPS = (240, 360), 10.0
GROUND = cv2.GaussianBlur(
    np.random.default_rng(0).integers(60, 200, (*SIZE, 3)).astype(np.uint8), (0, 0), 3
)


def video(seed: int, frames: int) -> Video:
    """Twelve dark walkers on a textured ground, with noise."""

    def opened(short_side: int | None) -> Iterator[Frame]:
        random = np.random.default_rng(seed)
        left, top = random.uniform(0, 360, 12), random.uniform(60, 190, 12)
        for t in range(frames):
            image = GROUND.astype(np.float32) + random.normal(0, 2, (*SIZE, 1))
            for x, y in zip((left + t * 1.2) % 350, top, strict=True):
                image[int(y) : int(y) + 34, int(x) : int(x) + 14] = 20 + (int(y) % 30)
            yield Frame(image.clip(0, 255).astype(np.uint8), t / FPS)

    return Video(f"v{seed}", "drawn", FPS, SIZE, opened)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    count = parser.parse_args().frames
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    method = Nearest().eval()
    providers = {"objects": Foreground(), "flow": Dis()}
    providers["objects"].fit([video(1, count)])
    cutter = Cutter(method.windows, providers, video(1, count), FPS)
    method.prepare([c.units for f in video(1, count).frames() for c in cutter.see(f)])
    frames, spent = list(video(2, count).frames()), {}
    trackers = {role: provider.start(video(2, count), FPS) for role, provider in providers.items()}
    for role, tracker in trackers.items():
        begin = time.process_time()
        for index, frame in enumerate(frames):
            tracker.see(frame, index)
        spent[role] = time.process_time() - begin
    cutter = Cutter(method.windows, providers, video(2, count), FPS)
    begin, scoring, boxes = time.process_time(), 0.0, 0
    for frame in frames:
        for cut in cutter.see(frame):
            start = time.process_time()
            with torch.no_grad():
                method.score(cut.units)
            scoring += time.process_time() - start
            boxes += len(cut.units)
    whole = time.process_time() - begin
    result = {
        "cpu_ms_a_frame": {
            **{role: 1e3 * s / count for role, s in spent.items()},
            "score": 1e3 * scoring / count,
            "all but decoding": 1e3 * whole / count,
        },
        "frames_a_cpu_second": count / whole, "boxes_a_frame": boxes / count,
        "memory_rows": len(method.key), "frame_size": SIZE, "load": os.getloadavg()[0],
        "cpu": platform.processor() or platform.machine(), "torch": torch.__version__,
    }  # fmt: skip
    (Path(__file__).parent / "results" / "nearest.json").write_text(
        json.dumps(result, indent=1) + "\n"
    )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
