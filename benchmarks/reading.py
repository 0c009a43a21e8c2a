"""Reading video to small RGB frames: Vigil against the OpenCV loop that everyone writes.

    python benchmarks/reading.py [--rounds 9] [--out benchmarks/results/reading.json]

Both sides give the same number of RGB uint8 frames of the same size. The measure is frames per CPU
second (user and system, all threads), taken in turns A B, B A, ... after one warm-up each; a ratio
is the median of the rounds' own ratios, so that slow phases of the machine meet both sides.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av import library_versions

from vigil.video.read import open_video, scaled_size
from vigil.video.write import write_mp4

# name: height, width, frames, noise (grey levels), x264 quality, short side, least ratio wanted
CASES = {
    "1080p": (1080, 1920, 900, 6.0, 22, 240, 1.15),
    "320x240": (240, 320, 1500, 6.0, 22, 112, 0.7),
    "320x240 own size": (240, 320, 1500, 6.0, 22, 240, 0.7),
}


def moving(height: int, width: int, count: int, noise: float) -> Iterator[np.ndarray]:
    """A texture that drifts under a camera's grain, (height, width, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (height // 12, width // 12, 1)) + rng.integers(
        0, 56, (height // 12, width // 12, 3)
    )
    texture = cv2.resize(
        coarse.astype(np.uint8), (width + 200, height + 100), interpolation=cv2.INTER_CUBIC
    )
    grain = rng.normal(0, noise, (height + 64, width + 64, 1)).astype(np.int16)
    for i in range(count):
        x, y = int(100 + 99 * np.sin(i / 40)), int(50 + 49 * np.cos(i / 60))
        dx, dy = rng.integers(0, 64, 2)
        picture = texture[y : y + height, x : x + width].astype(np.int16)
        picture += grain[dy : dy + height, dx : dx + width]
        yield picture.clip(0, 255).astype(np.uint8)


def with_vigil(path: Path, size: tuple[int, int], short_side: int) -> int:
    count = 0
    for frame in open_video(path).frames(short_side):
        assert frame.image.shape == (*size, 3)
        count += 1
    return count


def with_opencv(path: Path, size: tuple[int, int], short_side: int) -> int:
    video, count = cv2.VideoCapture(str(path)), 0
    while True:
        found, image = video.read()
        if not found:
            return count
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        assert image.shape == (*size, 3)
        count += 1


def rate(read: Callable[..., int], *given: object) -> float:
    """Frames per CPU second of one pass over the file."""
    start = time.process_time()
    count = read(*given)
    return count / (time.process_time() - start)


def measure(path: Path, case: tuple, rounds: int) -> dict[str, object]:
    height, width, count, _, _, short_side, wanted = case
    size = scaled_size((height, width), short_side)
    given = path, size, short_side
    assert with_vigil(*given) == with_opencv(*given) == count  # the warm-up
    ours, theirs = [], []
    for i in range(rounds):
        sides = [(with_vigil, ours), (with_opencv, theirs)]
        for read, rates in sides if i % 2 == 0 else sides[::-1]:
            rates.append(rate(read, *given))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "from": [height, width],
        "to": list(size),
        "frames": count,
        "megabits_per_second": round(path.stat().st_size * 8 / (count / 30) / 1e6, 2),
        "vigil_frames_per_cpu_second": round(statistics.median(ours), 1),
        "opencv_frames_per_cpu_second": round(statistics.median(theirs), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_lowest": round(min(ratios), 3),
        "ratio_highest": round(max(ratios), 3),
        "wanted": wanted,
        "reached": statistics.median(ratios) >= wanted,
    }


def cpu() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="paired passes over each clip")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/reading.json")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            path = Path(folder) / f"{case[0]}.mp4"
            if not path.exists():
                write_mp4(path, moving(*case[:4]), 30, quality=case[4])
            row = found[name] = measure(path, case, options.rounds)
            print(
                f"{name:18s} {row['megabits_per_second']:5} Mb/s -> {row['to']}  frames per CPU s: "
                f"vigil {row['vigil_frames_per_cpu_second']}, "
                f"opencv {row['opencv_frames_per_cpu_second']}; ratio {row['ratio']} "
                f"({row['ratio_lowest']} to {row['ratio_highest']}), wanted {row['wanted']}"
            )
    made = {
        "command": f"python benchmarks/reading.py --rounds {options.rounds}",
        "rival": "cv2.VideoCapture + resize INTER_LINEAR + cvtColor BGR2RGB",
        "cpu": cpu(),
        "python": platform.python_version(),
        "av": av.__version__,
        "ffmpeg (av)": {k: ".".join(map(str, v)) for k, v in library_versions.items()},
        "opencv": cv2.__version__,
        "opencv threads": cv2.getNumThreads(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"made": made, "cases": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
