"""Fit a method on a data set, measure it, write what came out; Ped2 goes into the committed log.

    python benchmarks/quality.py street
    python benchmarks/quality.py ucsd-ped2 --root DIR --set objects=given
    python benchmarks/quality.py street --seed 1          # people and moments nobody looked at

Every evaluation on Ped2, this script's own and those made while developing, is a line of
results/ped2_log.jsonl. Fit, scores and metrics are those of `vigil fit` and `vigil evaluate`.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from vigil import fitting, pipeline
from vigil.config import parse_set, split_keys
from vigil.metrics.report import table

ROOT = Path(__file__).parent.parent
LOG = ROOT / "results" / "ped2_log.jsonl"


def measure(args: argparse.Namespace) -> dict[str, object]:
    options = {"seed": args.seed} if args.data in ("street", "cabin") else {}
    data = pipeline.dataset(args.data, args.root, **options)
    method = args.method
    from vigil import plugins

    own, common = split_keys(parse_set(args.set), plugins.find("methods", method).Config)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made = fitting.method(method, seed=int(common.get("seed", 0)), **own)
        model = pipeline.fit(made, data.train, data.val, Path(folder) / "run", **common)
        fitted = time.perf_counter()
        scores = pipeline.score_all(model, data.test)
        done = time.perf_counter()
    rows = table(pipeline.evaluate(scores, data.test, data=data.name))
    counted = [r for r in rows if r["group"] == "all" and r["channel"] == "score"]
    frames = sum(len(s) for s in scores.values())
    return {
        "data": args.data,
        "generated_seed": args.seed,
        "method": method,
        "set": args.set,
        "config": asdict(made.config),
        "fit_s": round(fitted - began, 1),
        "score_s": round(done - fitted, 1),
        "frames": frames,
        "frames_per_s": round(frames / (done - fitted), 1),
        "processor": platform.processor() or platform.machine(),
        "protocols": {r["protocol"]: short(r) for r in counted},
        "groups": {r["group"]: r["micro_auc"] for r in rows if r["group"] != "all"},
        "channels": {
            f"{r['channel']} {r['protocol']}": r["micro_auc"]
            for r in rows
            if r["group"] == "all" and r["channel"] != "score"
        },
    }


def short(row: dict[str, object]) -> dict[str, object]:
    names = ("micro_auc", "macro_auc_defined", "macro_auc_padded", "ap", "eer")
    return {name: row[name] for name in names if name in row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--root")
    parser.add_argument("--method", default="nearest")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0, help="of generated data")
    parser.add_argument("--name", help="write benchmarks/results/quality_NAME.json")
    parser.add_argument("--what", default="benchmarks/quality.py", help="a word for the log")
    args = parser.parse_args()
    found = measure(args)
    print(json.dumps(found, indent=2))
    if "ped2" in args.data:
        line = {"date": time.strftime("%Y-%m-%dT%H:%M:%S"), "what": args.what, "set": args.set}
        line["config"] = found["config"]
        line["micro_auc"] = {k: round(v["micro_auc"], 4) for k, v in found["protocols"].items()}
        with LOG.open("a") as file:
            file.write(json.dumps(line) + "\n")
    if args.name:
        path = ROOT / "benchmarks" / "results" / f"quality_{args.name}.json"
        path.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
