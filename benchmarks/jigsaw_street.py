"""`jigsaw` on what is slow: clips of seconds against cubes of half a second, on `street`.

    vigil data make street --out DATA
    OMP_NUM_THREADS=1 python benchmarks/jigsaw_street.py --root DATA --work DIR

A loiterer looks like any walker for half a second. Four heads on one trunk learn cubes of 7 frames
(0.6 s) and clips of 35 (2.9 s) of the same footage, of each thing (the boxes of the data set) or of
the whole picture. Measured is the micro AUC of each class's frames against all normal frames, by
level, over the frames that have both a cube and a clip; causal:0.2s. Weights are those of the
lowest puzzle loss on held-out normal footage. Each training takes 4 to 8 minutes of a core, once: a
run that was killed goes on. `street` is generated: figures here are no measure of real cameras.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vigil import fitting, pipeline
from vigil.config import split_keys
from vigil.data.base import DataSet
from vigil.features.engines import cpu_facts
from vigil.files import writing
from vigil.methods.jigsaw import JigsawConfig
from vigil.metrics.frames import micro_auc
from vigil.metrics.protocols import Clip
from vigil.metrics.puzzles import levels

OUT = Path(__file__).parent / "results" / "jigsaw_street.json"
KEYS: dict[str, Any] = {
    "levels": "frame,clip", "colour": False, "steps": 600, "batch": 32, "width": 32, "lr": 1e-3,
    "device": "cpu", "engine": "torch", "dtype": "float32", "val_every": 100, "save_every": 600,
}  # fmt: skip
BOXES, SEEDS = ("given", "frame"), (0, 1, 2)
SMOOTHING = "causal:0.2s"
Curves = Mapping[str, np.ndarray]  # {level: (T,)} of one video


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="where `street` lies, or is made")
    parser.add_argument("--work", type=Path, required=True, help="trainings and their figures")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    logging.getLogger("vigil").setLevel(logging.ERROR)
    data = pipeline.dataset("street", args.root)
    found: dict[str, dict[str, Any]] = {boxes: {} for boxes in BOXES}
    for seed in SEEDS:
        for boxes in BOXES:
            folder = args.work / f"{boxes}-{seed}"
            if not (folder / "facts.json").is_file():
                measured(data, boxes, seed, folder)
            found[boxes][str(seed)] = json.loads((folder / "facts.json").read_text())
            print(boxes, seed, json.dumps(found[boxes][str(seed)]), flush=True)
    result = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/jigsaw_street.py --root DATA --work DIR",
        "processor": cpu_facts(), "torch": torch.__version__, "data": "street, seed 0",
        "keys": KEYS, "smoothing": SMOOTHING,
        "how": "micro AUC against all normal frames, over frames that have a cube and a clip",
        "mean of seeds": {boxes: mean_of(list(runs.values())) for boxes, runs in found.items()},
        "runs": found,
    }  # fmt: skip
    with writing(args.out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n")


def measured(data: DataSet, boxes: str, seed: int, folder: Path) -> None:
    """Fit, score, measure; what was found is written last."""
    shutil.rmtree(folder, ignore_errors=True)
    own, common = split_keys({**KEYS, "objects": boxes}, JigsawConfig)
    began, method = time.process_time(), fitting.method("jigsaw", seed=seed, **own)
    train, val = list(data.train), list(data.val or ())
    model = pipeline.fit(method, train, val, folder / "run", seed=seed, **common)
    fitted = time.process_time()
    scores = pipeline.score_all(model, list(data.test), smoothing=SMOOTHING)
    clips = {
        video.name: Clip(scores[video.name], data.test.truth(video.name), "", video.fps)
        for video in data.test
    }
    first = method.windows["clip"].answered[0]
    facts = {
        "cpu_minutes_fit": round((fitted - began) / 60, 2),
        "cpu_minutes_scored": round((time.process_time() - fitted) / 60, 2),
        "val": lowest(folder / "run" / "metrics.jsonl"), "micro_auc": by_class(clips, first),
    }  # fmt: skip
    shutil.rmtree(folder / "run")
    with writing(folder / "facts.json") as path:
        path.write_text(json.dumps(facts))


def lowest(metrics: Path) -> dict[str, float]:
    """Each puzzle's loss on held-out footage at the step that was kept."""
    rows = [row for row in map(json.loads, metrics.open()) if "val" in row]
    kept = min(rows, key=lambda row: row["val"])
    return {name[4:]: round(v, 3) for name, v in kept.items() if name.startswith("val_")}


def by_class(clips: Mapping[str, Clip], first: int) -> dict[str, dict[str, float]]:
    """{class: {level or channel: AUC}} over the frames from `first` on; "all" classes too."""
    curves = {name: by_level(clip) for name, clip in clips.items()}
    kinds = np.concatenate([kinds_of(clip)[first:] for clip in clips.values()])
    found: dict[str, dict[str, float]] = {}
    for kind in ("all", *sorted(set(kinds.tolist()) - {""})):
        keep = np.ones(len(kinds), bool) if kind == "all" else np.isin(kinds, ["", kind])
        found[kind] = {
            level: round(auc(np.concatenate([c[level][first:] for c in curves.values()])[keep],
                             kinds[keep] != ""), 3)
            for level in next(iter(curves.values()))
        }  # fmt: skip
    return found


def by_level(clip: Clip) -> Curves:
    """Frame, clip and both; and the time puzzle of either level alone."""
    each = levels(clip, SMOOTHING)
    return {"frame": each["complete"], "clip": each["clip_complete"],
            "both": clip.scores.smoothed, "frame, time": clip.scores.channels["temporal"],
            "clip, time": clip.scores.channels["clip_temporal"]}  # fmt: skip


def kinds_of(clip: Clip) -> np.ndarray:
    """(T,) the class of each frame, "" where it is normal."""
    assert clip.truth.classes is not None
    return np.where(clip.truth.frames, clip.truth.classes, "")


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    value = micro_auc(scores, labels).value
    assert value is not None
    return value


def mean_of(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over seeds of `by_class`."""
    tables = [run["micro_auc"] for run in runs]
    return {
        kind: {level: round(float(np.mean([t[kind][level] for t in tables])), 3) for level in row}
        for kind, row in tables[0].items()
    }


if __name__ == "__main__":
    main()
