"""Extraction from file to file: speed, what is lost on the way, the price of ten crops, memory.

    python benchmarks/extraction.py [--only speed crops memory] [--rounds 5] [--minutes 120]

speed   C3D through `vigil.features.extract.extract`, H.264 of 30 frames a second. In turns with it:
        decoding alone, preprocessing alone, the network alone. Efficiency is the rate's share of
        1 / (1 / decoding + 1 / network), in wall seconds and in CPU seconds. The second is the
        one to trust on a machine with other work: with all cores busy, time goes as CPU seconds go.
crops   I3D with ten crops against one: the network's cost, the whole way, and the frames decoded.
memory  the highest resident memory of a process that makes `motion` rows of a minute, and of the
        same minute repeated. The file is repeated packet by packet, so it is made in seconds.

Weights are drawn by the formula of tests/golden (no trained ones are needed): speed does not
depend on them, and every engine has to pass the gate with them as in use.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from vigil.features.engines import cpu_facts
from vigil.features.extract import extract
from vigil.features.extracted import Clips, Extracted
from vigil.records import Frame, Video
from vigil.video.read import open_video
from vigil.video.write import write_mp4

sys.path += [str(Path(__file__).parents[1] / "tests/golden"), str(Path(__file__).parent)]
import fill
from reading import moving

FPS = 30
SPEED = {"320x240": (240, 320, 320), "1080p": (1080, 1920, 160)}  # height, width, frames
BARS = {"video_seconds_per_second": 8.0, "efficiency": 0.85, "crops": 10.5, "memory_mb": 300}
SIDE = 2048  # of the matrices
Call = Callable[[], object]


# -- what is measured with -----------------------------------------------------------------------
def made(name: str, folder: Path, options: argparse.Namespace, crops: int = 1) -> Extracted:
    """A backbone with weights by formula, from a file of the published layout."""
    text = Path(fill.__file__).with_name("checkpoints") / f"backbone_{name.replace('-', '_')}.json"
    spec, path = json.loads(text.read_text()), folder / f"{name}.pth"
    state = fill.state(spec["tensors"], 1, spec["gain"])
    torch.save({key: torch.from_numpy(value) for key, value in state.items()}, path)
    return Extracted(name, path, crops, None, options.engine, options.dtype, options.threads)


def clip(folder: Path, height: int, width: int, frames: int, quality: int = 22) -> Path:
    path = folder / f"{height}x{width}x{frames}.mp4"
    if not path.exists():
        write_mp4(path, moving(height, width, frames, 6.0), FPS, quality=quality)
    return path


def ready(maker: Extracted, images: list[np.ndarray]) -> np.ndarray:
    """A clip (crops, 3, 16, h, w) laid out as engines want it, so that none copies it first."""
    return maker.clip(np.stack(images)).copy(order="C")


def in_turns(calls: dict[str, Call], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each call in each round, after one unmeasured round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    order = list(calls)
    for n in range(rounds + 1):
        for name in order if n % 2 else order[::-1]:
            wall, cpu = time.perf_counter(), time.process_time()
            calls[name]()
            if n:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def median(values: Iterator[float] | list[float], digits: int = 3) -> float:
    return round(statistics.median(values), digits)


def bf16_gflops(threads: int) -> Call:
    """One product of bfloat16 matrices: what the processor can do at most."""
    a = torch.randn(SIDE, SIDE).bfloat16()
    return lambda: a @ a


def extracting(video: Video, folder: Path, maker: Extracted) -> Call:
    """The whole way from the file to a file of features, from the beginning each time."""

    def call() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            done = extract([video], out, maker)
            assert done.made == [video.name], done.failed

    return call


# -- speed and efficiency ------------------------------------------------------------------------
def speed(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    maker = made("c3d", folder, options)
    facts = {k: maker.runner().describe()[k] for k in ("engine", "dtype", "parity", "threads")}
    cases = {}
    for name, (height, width, frames) in SPEED.items():
        video = open_video(clip(folder, height, width, frames))
        times = in_turns(stages(video, folder, maker, options.threads), options.rounds)
        cases[name] = {"from": [height, width], "frames": frames, **summed(times, frames)}
        print(name, json.dumps(cases[name]), flush=True)
    return {"backbone": "c3d", "weights": "by formula; passed the gate", **facts, "cases": cases}


def stages(video: Video, folder: Path, maker: Extracted, threads: int) -> dict[str, Call]:
    images = [frame for frame, _ in zip(video.frames(), range(16), strict=False)]
    count = sum(1 for _ in video.frames())
    one = ready(maker, [frame.image for frame in images])

    def decode() -> None:
        for _ in video.frames():
            pass

    def prepare() -> None:
        clips = Clips(16, 16, maker.backbone.frame, maker.rows_of)
        for n in range(count):
            clips.push(images[n % 16])

    def network() -> None:
        for _ in range(count // 16):
            maker.rows_of(one)

    whole = extracting(video, folder, maker)
    return {"decode": decode, "prepare": prepare, "network": network, "extract": whole,
            "matmul bf16": bf16_gflops(threads)}  # fmt: skip


def summed(times: dict[str, list[tuple[float, float]]], frames: int) -> dict[str, Any]:
    """Rates, and efficiency paired round by round."""
    peak = times.pop("matmul bf16")
    whole, parts = times["extract"], zip(times["decode"], times["network"], strict=True)
    serial = [(d[0] + n[0], d[1] + n[1]) for d, n in parts]
    shares = [(s[0] / e[0], s[1] / e[1]) for s, e in zip(serial, whole, strict=True)]
    video = frames / FPS
    return {
        "video_seconds_per_second": median([video / wall for wall, _ in whole], 2),
        "video_seconds_per_second_best": round(max(video / wall for wall, _ in whole), 2),
        "video_seconds_per_cpu_second": median([video / cpu for _, cpu in whole], 2),
        "efficiency_wall": median([wall for wall, _ in shares]),
        "efficiency_cpu": median([cpu for _, cpu in shares]),
        "efficiency_cpu_range": [round(f(cpu for _, cpu in shares), 3) for f in (min, max)],
        "cpu_ms_a_frame": {k: median([1000 * c / frames for _, c in t]) for k, t in times.items()},
        "wall_ms_a_frame": {k: median([1000 * w / frames for w, _ in t]) for k, t in times.items()},
        "matmul_bf16_gflops_wall": round(2 * SIDE**3 / min(w for w, _ in peak) / 1e9),
        "matmul_bf16_gflops_per_cpu_second": round(
            2 * SIDE**3 / median([c for _, c in peak]) / 1e9
        ),
    }


# -- ten crops -----------------------------------------------------------------------------------
def crops(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    ten = made("i3d-r50", folder, options, 10)
    one = Extracted("i3d-r50", ten.weights, threads=options.threads)
    one.made = ten.runner()  # the same network; an engine is chosen on single crops
    path, opened = clip(folder, 240, 320, 48), [0, 0]
    video = counted(open_video(path), opened)
    images = [frame.image for frame, _ in zip(open_video(path).frames(), range(16), strict=False)]
    inputs = {10: ready(ten, images), 1: ready(one, images)}
    times = in_turns(
        {
            "network 1": lambda: one.rows_of(inputs[1]),
            "network 10": lambda: ten.rows_of(inputs[10]),
        },
        options.rounds,
    )
    decoded = {}
    for n, maker in ((1, one), (10, ten)):
        opened[:] = 0, 0
        extracting(video, folder, maker)()
        decoded[n] = {"opened": opened[0], "frames": opened[1]}
    whole = in_turns(
        {f"extract {n}": extracting(video, folder, m) for n, m in ((1, one), (10, ten))},
        min(2, options.rounds),
    )
    pairs = {k: list(zip(t[f"{k} 1"], t[f"{k} 10"], strict=True))
             for k, t in (("network", times), ("extract", whole))}  # fmt: skip
    facts = ten.runner().describe()
    found = {
        "backbone": "i3d-r50",
        **{k: facts[k] for k in ("engine", "dtype", "parity", "threads")},
        "ten_over_one_network_cpu": median([b[1] / a[1] for a, b in pairs["network"]], 2),
        "ten_over_one_network_wall": median([b[0] / a[0] for a, b in pairs["network"]], 2),
        "ten_over_one_extract_cpu": median([b[1] / a[1] for a, b in pairs["extract"]], 2),
        "network_share_of_extract_cpu": {
            n: median(
                [
                    3 * a[1] / b[1]
                    for a, b in zip(times[f"network {n}"], whole[f"extract {n}"], strict=False)
                ]
            )
            for n in (1, 10)
        },  # three clips
        "decoded": decoded,
        "cpu_ms": {k: median([1000 * c for _, c in t], 1) for k, t in (times | whole).items()},
    }
    print("crops", json.dumps(found), flush=True)
    return found


def counted(video: Video, opened: list[int]) -> Video:
    """The video, counting how often it is opened and the frames that are taken."""
    inner = video.open

    def frames(short_side: int | None = None) -> Iterator[Frame]:
        opened[0] += 1
        for frame in inner(short_side):
            opened[1] += 1
            yield frame

    return replace(video, open=frames)


# -- memory --------------------------------------------------------------------------------------
def memory(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    minute = clip(folder, 240, 320, 60 * FPS, quality=30)
    found = {}
    for minutes in (1, options.minutes):
        path = repeated(minute, folder / f"{minutes}min.mp4", minutes)
        command = [sys.executable, __file__, "--child", str(path), "--threads", "1"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        path.unlink()
        found[f"{minutes} min"] = json.loads(done.stdout)
        print(minutes, "min", done.stdout.strip(), flush=True)
    one, many = (row["peak_mb"] for row in found.values())
    return {"backbone": "motion", "from": [240, 320], "fps": FPS, **found,
            "more_mb": round(many - one, 1)}  # fmt: skip


def repeated(path: Path, to: Path, times: int) -> Path:
    """The same packets `times` over, each time later."""
    with av.open(str(path)) as source, av.open(str(to), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        packets = [p for p in source.demux(stream) if p.dts is not None]
        kept = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets]
        length, unit = sum(p.duration for p in packets), stream.time_base
        for n in range(times):
            for data, pts, dts, key in kept:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = copy, unit, key
                packet.pts, packet.dts = pts + n * length, dts + n * length
                out.mux_one(packet)
    return to


def child(path: Path) -> None:
    """Extracts one file in this process; tells its highest memory.

    VmHWM, not getrusage: the latter begins with what the parent held.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        done = extract([open_video(path)], out, Extracted("motion", threads=1))
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    told = {"frames": done.frames, "peak_mb": round(peak / 1024, 1),
            "wall_seconds": round(done.seconds, 1),
            "cpu_seconds": round(time.process_time(), 1)}  # fmt: skip
    print(json.dumps(told))


PARTS = {"speed": speed, "crops": crops, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of the network")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--minutes", type=int, default=120, help="of the long file")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "extraction.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        return child(options.child)
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.only:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as folder:
            part = PARTS[name](Path(folder), options)
        loads = [round(load, 2), round(os.getloadavg()[0], 2)]
        found[name] = {**part, "rounds": options.rounds, "load_before_and_after": loads}
        found["made"] = {
            "command": "python benchmarks/extraction.py", "bars": BARS, "cpu": cpu_facts(),
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "openvino", "av", "numpy")},
        }  # fmt: skip
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
