"""Every default of `nearest` moved by 30 % down and up: does the result stand on a lucky number?

    python benchmarks/defaults.py ucsd-ped2 --root DIR --set objects=given --jobs 2

Fits and measures once for each move, as `vigil fit` and `vigil evaluate` do, and writes
results/defaults_DATA.json. On Ped2 every run is a line of results/ped2_log.jsonl. Nothing is chosen
by it: the defaults stay what they were.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARE = 0.3


def moves() -> dict[str, str]:
    """{words: KEY=VALUE}; whole numbers are rounded, `crop` to what it may be, shares capped."""
    from vigil.methods.nearest import NearestConfig

    found = {}
    for item in fields(NearestConfig):
        default = getattr(NearestConfig(), item.name)
        if item.name == "seed" or not isinstance(default, int | float):
            continue
        for sign, word in ((-1, "-30 %"), (1, "+30 %")):
            value = default * (1 + sign * SHARE)
            if item.name == "crop":
                value = round(value / 8) * 8
            elif item.name == "usual":
                value = min(value, 1.0)
            elif isinstance(default, int):
                value = round(value)
            found[f"{item.name} {word}"] = f"{item.name}={value:g}"
    return {**found, "smoothing -30 %": "smoothing=causal:0.14s",
            "smoothing +30 %": "smoothing=causal:0.26s"}  # fmt: skip


def measure(words: str, pair: str, args: argparse.Namespace) -> float:
    """The number that counts with one default moved."""
    command = [sys.executable, str(ROOT / "benchmarks" / "quality.py"), args.data, "--set", pair]
    command += ["--what", f"benchmarks/defaults.py: {words}"]
    command += ["--root", args.root] if args.root else []
    for each in args.set:
        command += ["--set", each]
    threads = {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // args.jobs, 1))}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr[-500:]}")
    found = json.loads(done.stdout)["protocols"]
    declared = next(name for name in found if name.startswith("causal"))
    return float(found[declared]["micro_auc"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--root")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    todo = moves()
    with ThreadPoolExecutor(args.jobs) as pool:
        values = pool.map(lambda item: measure(*item, args), todo.items())
        found = {}
        for words, value in zip(todo, values, strict=True):
            found[words] = round(value, 4)
            print(f"{words:20} {todo[words]:26} {value:.4f}", flush=True)
    worst = min(found, key=lambda words: found[words])
    result = {"data": args.data, "set": args.set, "micro_auc": found, "worst": worst,
              "lowest": found[worst], "highest": max(found.values())}  # fmt: skip
    path = ROOT / "benchmarks" / "results" / f"defaults_{args.data}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
