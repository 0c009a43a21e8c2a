"""Does the Destroyer widen the gap between normal and abnormal scores? Measured on a test part.

    python benchmarks/mama_gap.py ucsd-ped2 MODEL --root DIR
    python benchmarks/mama_gap.py street MODEL

MODEL is the folder of a Destroyer. "without" is the mean of the calibrated channels that its base
has too, "with" that of all; each channel also by itself. Of each, smoothed causally over 0.2 s:

auc      micro AUC over all frames
gap      mean of abnormal frames minus mean of normal ones, each video scaled to 0..1 by its own
         extremes, as the paper does: for comparison, no protocol of ours
spreads  the same difference unscaled, in standard deviations of the normal frames

Writes results/mama_gap_DATA.json; on Ped2 also a line of results/ped2_log.jsonl.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vigil import bundle, pipeline
from vigil.metrics.mama_grid import area
from vigil.records import Scores
from vigil.scores.smooth import smooth

ROOT = Path(__file__).parent.parent
LOG = ROOT / "results" / "ped2_log.jsonl"
HOW = "causal:0.2s"


def facts(rows: list[np.ndarray], labels: list[np.ndarray]) -> dict[str, float]:
    """Of one score: rows (T,) a video, labels (T,) bool."""
    scores, truth = np.concatenate(rows), np.concatenate(labels)
    scaled = np.concatenate([(r - r.min()) / (np.ptp(r) + 1e-8) for r in rows])
    normal = scores[~truth]
    return {
        "auc": round(area(scores, truth), 4),
        "gap": round(float(scaled[truth].mean() - scaled[~truth].mean()), 4),
        "spreads": round(float((scores[truth].mean() - normal.mean()) / normal.std()), 3),
    }


def series(found: Mapping[str, Scores], fps: float) -> dict[str, list[np.ndarray]]:
    """Both means and each channel, of all videos."""
    videos = [one.channels for one in found.values()]
    names = list(videos[0])
    groups = {"without": [n for n in names if not n.startswith("damage")], "with": names}
    groups |= {name: [name] for name in names}
    return {
        title: [smooth(np.mean([video[n] for n in group], 0), HOW, fps) for video in videos]
        for title, group in groups.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("model", type=Path)
    parser.add_argument("--root")
    parser.add_argument(
        "--why", default="the gap with and without the Destroyer", help="for the log"
    )
    args = parser.parse_args()
    data, model = pipeline.dataset(args.data, args.root), bundle.load(args.model)
    found = pipeline.score_all(model, data.test)
    labels = [data.test.truth(name).frames for name in found]
    table = {name: facts(rows, labels) for name, rows in series(found, model.fps).items()}
    result = {"data": args.data, "smoothing": HOW, "table": table}
    print(json.dumps(result, indent=1))
    name = args.data.rpartition("-")[2]
    out = ROOT / "benchmarks" / "results" / f"mama_gap_{name}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    if name == "ped2":
        line = {
            "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "what": "benchmarks/mama_gap.py",
            "why": args.why,
            "micro_auc": {key: row["auc"] for key, row in table.items()},
        }
        with LOG.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
