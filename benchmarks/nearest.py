"""Speed of `nearest` on one core, part by part: python benchmarks/nearest.py [--frames 240]

An H.264 file of 360x240, drawn by `vigil.data.street`, so that anyone can run it. Measured is the
whole way from the file to calibrated frame scores, in one process with one thread, with a full
memory (8000 boxes, 1000 speed maps) and ten boxes in every frame: those of the foreground, filled
up with others of a walker's size. `file` scores units in batches, as `vigil score` does; `live`
each frame at once, as a camera needs it. Time is CPU time; each figure is the median of the rounds
after a warm-up. The result goes to benchmarks/results/nearest.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from vigil import run
from vigil.bundle import Model, make_providers
from vigil.data.street import FPS, render
from vigil.features.base import Tracker
from vigil.features.objects import Foreground
from vigil.methods.nearest import Boxes, Maps, Nearest
from vigil.records import Frame, Video
from vigil.units import Cutter
from vigil.video.read import open_video
from vigil.video.write import write_mp4

SIZE, SCENE, BAR = (240, 360), "walkway", 25.0  # frames a second and core that are wanted
BOXES = 10
PARTS = ("decode", "flow", "objects", "cut", "score")


class Ten(Foreground):
    """The foreground with exactly ten boxes in every frame: the same work for every machine."""

    def start(self, video: Video, fps: float) -> Tracker:
        return FilledUp(super().start(video, fps))


class FilledUp:
    """Boxes of a tracker, the first ten; where there are fewer, others that walk along."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def see(self, frame: Frame, index: int) -> np.ndarray:
        """(10, 4) float32."""
        x = (np.arange(BOXES) * 34 + 1.5 * index) % (SIZE[1] - 20)
        top = 100 + 9 * np.arange(BOXES)
        extra = np.stack([x, top, x + 18, top + 44], 1).astype(np.float32)
        return np.concatenate([self.tracker.see(frame, index), extra])[:BOXES]

    def finish(self) -> list[Any]:
        return self.tracker.finish()


class Clock:
    """CPU seconds spent in functions, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args)
            finally:
                self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - began

        return call


def drawn(folder: Path, split: str, index: int, frames: int) -> Video:
    """A video of `street` as an H.264 file."""
    images, _ = render(SCENE, split, index, size=SIZE, limit=frames)
    path = folder / f"{split}{index}.mp4"
    write_mp4(path, images, FPS)
    return replace(open_video(path), scene=SCENE)


def full(rows: Any, count: int) -> Any:
    """`Boxes` or `Maps` repeated up to `count` rows, each a little different."""
    random = torch.Generator().manual_seed(0)
    at = torch.arange(count) % len(rows.key)
    columns = {name: column[at] for name, column in rows._asdict().items()}
    for name, column in columns.items():
        if column.is_floating_point():
            columns[name] = column * (1 + 0.02 * torch.randn(column.shape, generator=random))
    return type(rows)(**columns)


def model_for(learn: Video, held: Video) -> Model:
    """`nearest` as it comes, fitted and calibrated, with a full memory."""
    method = Nearest()
    model = Model("nearest", method.eval(), make_providers(method), {"fps": float(FPS)})
    model.providers["objects"] = Ten()
    model.providers["objects"].fit([learn])
    cutter = Cutter(method.windows, model.providers, learn, model.fps)
    method.prepare([cut.units for f in learn.frames(method.short_side) for cut in cutter.see(f)])
    boxes: Boxes = full(method.boxes(), method.config.rows)
    maps: Maps = full(method.maps(), method.config.maps)
    method.remember("box", boxes)
    method.remember("map", maps)
    model.calibration = run.calibrate(model, [held], "causal:0.2s", 1.0)
    return model


def measure(model: Model, video: Video, batch: int) -> dict[str, float]:
    """CPU seconds a frame by part, and `all` of them."""
    clock = Clock()
    scorer = run.Scorer(model, video, batch)
    trackers = scorer.cutter.trackers
    for role, tracker in trackers.items():
        setattr(tracker, "see", clock.timed(role, tracker.see))  # noqa: B010
    setattr(scorer.cutter, "see", clock.timed("cutter", scorer.cutter.see))  # noqa: B010
    frames: Iterator[tuple[Frame, int]] = iter(run.frames_for(model, video))
    decode, see, count = clock.timed("decode", next), clock.timed("scorer", scorer.see), 0
    began = time.process_time()
    while (found := decode(frames, None)) is not None:
        see(found[0])
        count += 1
    clock.timed("scorer", scorer.finish)()
    spent = clock.spent | {"all": time.process_time() - began}
    spent["cut"] = spent["cutter"] - spent["flow"] - spent["objects"]
    spent["score"] = spent["scorer"] - spent["cutter"]
    return {name: spent[name] / count for name in (*PARTS, "all")}


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over the rounds."""
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    rates = [1 / one["all"] for one in rounds]
    parts = sum(middle[name] for name in PARTS)
    return {
        "frames_a_cpu_second": round(1 / middle["all"], 1),
        "lowest": round(min(rates), 1),
        "highest": round(max(rates), 1),
        "cpu_ms_a_frame": {name: round(1e3 * middle[name], 2) for name in PARTS},
        "share": {name: round(middle[name] / parts, 3) for name in PARTS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "nearest.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        videos = [
            drawn(Path(folder), *which)
            for which in (("train", 0, args.frames), ("val", 0, 120), ("val", 1, args.frames))
        ]
        model, batches = model_for(*videos[:2]), {"file": 256, "live": 1}
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in batches}
        for number in range(args.rounds + 1):
            for name, batch in batches.items():
                spent = measure(model, videos[2], batch)
                rounds[name] += [spent] if number else []  # the first is the warm-up
    assert isinstance(model.method, Nearest)
    found = {name: summary(each) for name, each in rounds.items()}
    result = {
        "command": f"python benchmarks/nearest.py --frames {args.frames} --rounds {args.rounds}",
        **found,
        "wanted": BAR,
        "reached": all(one["frames_a_cpu_second"] >= BAR for one in found.values()),
        "frame_size": SIZE,
        "boxes_a_frame": BOXES,
        "memory": {"boxes": len(model.method.boxes().key), "maps": len(model.method.maps().key)},
        "config": asdict(model.method.config),
        "providers": {role: one.describe() for role, one in model.providers.items()},
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__,
            "opencv": cv2.__version__,
        },
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    Path(args.out).write_text(text + "\n", encoding="utf-8")
    print(text)


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
