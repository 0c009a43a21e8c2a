"""Extraction on a Ray cluster: two one-core workers against one, and against one local process.

    python benchmarks/ray.py [--clips 16] [--frames 64] [--rounds 3]

The cluster is two machines of one core each, both on this computer; the side with one worker runs
on a cluster of one such machine. Each worker is a process on one core, decoding included. Every
run makes all features anew; times count from when every worker has finished a video, so that
starting processes, paid once however long the job, is told apart (`start_s`). What the others had
already begun by then is not counted for two workers, so that their rate is a lower bound. Sides
take turns within each round.

`cores_got` is the CPU time of all processes of a side over wall time. Where it is below the number
of workers, others were using the machine, and `two_over_one` says more about them than about Ray.
`a_cpu_second` is the ratio of videos a CPU second, two workers against one: it stays near 1 if the
second worker costs the first nothing, busy machine or not; twice that is what two free cores give.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["OMP_NUM_THREADS"] = "1"
sys.path = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from vigil import plugins  # noqa: E402
from vigil.cluster import extract_on_ray  # noqa: E402
from vigil.features.engines import cpu_facts  # noqa: E402
from vigil.features.extract import extract  # noqa: E402
from vigil.features.extracted import Extracted  # noqa: E402
from vigil.records import Video  # noqa: E402
from vigil.video.read import open_video  # noqa: E402
from vigil.video.write import write_mp4  # noqa: E402

MACHINE = {"num_cpus": 1, "object_store_memory": 200 * 2**20}


def footage(folder: Path, clips: int, frames: int) -> list[Video]:
    """Textured clips that drift, 320x240 at 30 frames a second."""
    videos = []
    for n in range(clips):
        ground = np.random.default_rng(n).integers(0, 255, (60, 80, 3), np.uint8)
        ground = ground.repeat(4, 0).repeat(4, 1)
        path = folder / f"clip{n:02}.mp4"
        write_mp4(path, (np.roll(ground, 2 * t, 1) for t in range(frames)), 30.0)
        videos.append(open_video(path))
    return videos


def cpu_seconds() -> float:
    """CPU time of this process and all below it, those that ended included."""
    below, told = {os.getpid()}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        told[int(path.parent.name)] = (int(words[1]), sum(map(int, words[11:15])))
    for pid in sorted(told):  # parents come first, unless numbers have wrapped around
        if told[pid][0] in below:
            below.add(pid)
    return sum(told[pid][1] for pid in below) / os.sysconf("SC_CLK_TCK")


def on_ray(machines: int, videos: list[Video], folder: Path, options: dict[str, Any]) -> dict:
    """One run on a fresh cluster: seconds from the first finished videos to the last."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**MACHINE, "include_dashboard": False})
    for _ in range(machines - 1):
        cluster.add_node(**MACHINE)
    cluster.wait_for_nodes()
    seen: list[tuple[float, int, float]] = []

    def tell(words: str, done: int, of: int) -> None:
        seen.append((time.perf_counter(), done, cpu_seconds()))

    began = time.perf_counter()
    try:
        result = extract_on_ray(cluster.address, videos, folder, options, tell)
    finally:
        cluster.shutdown()
    assert len(result.made) == len(videos), result.failed
    first, last = seen[machines - 1], seen[-1]
    begun = machines - 1  # each worker but the one that finished last may be near its next end
    made, wall = last[1] - first[1] - begun, last[0] - first[0]
    return {
        "videos_per_s": made / wall,
        "videos_per_cpu_s": made / (last[2] - first[2]),
        "cores_got": (last[2] - first[2]) / wall,
        "start_s": first[0] - began,
        "whole_s": last[0] - began,
    }


def locally(videos: list[Video], folder: Path, options: dict[str, Any]) -> dict:
    """One run in this process, the network made before the clock starts."""
    maker = Extracted(**options)
    maker.runner()
    start, before = time.perf_counter(), cpu_seconds()
    extract(videos, folder, maker)
    wall, cpu = time.perf_counter() - start, cpu_seconds() - before
    return {
        "videos_per_s": len(videos) / wall,
        "videos_per_cpu_s": len(videos) / cpu,
        "cores_got": cpu / wall,
        "whole_s": wall,
    }


def equal(one: Path, two: Path) -> bool:
    """Whether two folders hold the same files, bit for bit."""
    names = sorted(p.name for p in one.iterdir())
    same = all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    return same and names == sorted(p.name for p in two.iterdir())


def measure(place: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds; the sides in turns, in the other order every second round."""
    torch.manual_seed(0)
    weights = place / "random.pt"
    torch.save(plugins.find("backbones", options.backbone)().build().state_dict(), weights)
    how = {"backbone": options.backbone, "weights": weights, "engine": "torch",
           "dtype": "float32", "threads": 1}  # fmt: skip
    videos, rounds = footage(place / "clips", options.clips, options.frames), []
    for n in range(options.rounds):
        out = place / f"round{n}"
        sides = {
            "local": lambda out=out: locally(videos, out / "local", how),
            "one": lambda out=out: on_ray(1, videos, out / "one", how),
            "two": lambda out=out: on_ray(2, videos, out / "two", how),
        }
        names = list(sides) if n % 2 == 0 else list(sides)[::-1]
        found: dict[str, Any] = {name: sides[name]() for name in names}
        found["two_over_one"] = found["two"]["videos_per_s"] / found["one"]["videos_per_s"]
        found["a_cpu_second"] = found["two"]["videos_per_cpu_s"] / found["one"]["videos_per_cpu_s"]
        found["one_over_local"] = found["one"]["videos_per_s"] / found["local"]["videos_per_s"]
        found["bit_equal"] = all(equal(out / "local", out / side) for side in ("one", "two"))
        rounds.append(found)
        print(json.dumps(found), flush=True)
    return rounds


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="r3d-18")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/ray.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        rounds = measure(Path(place), options)
    found = {
        "made": {
            "command": " ".join(["python benchmarks/ray.py", *sys.argv[1:]]),
            "backbone": f"{options.backbone}, random weights, torch float32, one core a worker",
            "clips": f"{options.clips} of {options.frames} frames, 320x240",
            "cpu": cpu_facts(),
            "python": platform.python_version(),
            **{package: version(package) for package in ("ray", "torch", "av")},
        },
        "two_over_one": statistics.median(r["two_over_one"] for r in rounds),
        "a_cpu_second": statistics.median(r["a_cpu_second"] for r in rounds),
        "one_over_local": statistics.median(r["one_over_local"] for r in rounds),
        "bit_equal": all(r["bit_equal"] for r in rounds),
        "rounds": rounds,
    }
    options.out.write_text(json.dumps(rounded(found), indent=2) + "\n")


if __name__ == "__main__":
    main()
