"""What knowing the scene brings: `scene` and `scene-memory` on the same vehicle, here and there.

    vigil data make street --out data
    vigil extract street --root data --backbone motion --stride 4 --out features
    python benchmarks/scene_street.py --root data --features features --seeds 5

In `street` a vehicle is normal on the road and abnormal on the walkway. Measured is the AUC of the
frames with a vehicle against the normal ones of the walkway alone, and the micro AUC of the whole
test part, both unsmoothed. Every form gets the same steps, batch and learning rate; the weights
are those of the lowest validation loss on normal footage. Interval: 95 % of a t distribution over
the seeds. The silhouette by scene is that of normal training segments in the model's own space.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from vigil import fitting, pipeline
from vigil.data.base import DataSet
from vigil.extraction import told_by, with_features
from vigil.manifolds import points_of, thinned
from vigil.metrics.frames import micro_auc
from vigil.plugins import find
from vigil.records import Video
from vigil.show.manifold import silhouette

PLACE, KIND = "walkway", "vehicle"
Parts = dict[str, list[Video]]


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    logging.getLogger("vigil").setLevel(logging.ERROR)
    data = pipeline.dataset("street", args.root)
    parts = {
        name: with_features(split, args.features, name)
        for name, split in (("train", data.train), ("val", data.val or ()), ("test", data.test))
    }
    rows = []
    for name, keys in forms(args):
        found = [measured(data, parts, name, keys, seed, args) for seed in seeds(name, args.seeds)]
        rows.append({"method": name, **keys, **joined(found)})
        print(json.dumps(rows[-1]), flush=True)
    if args.out:
        facts = {"features": args.features.name, "steps": args.steps, "batch": args.batch}
        args.out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], help="keys of scene, key=value")
    parser.add_argument("--only", default="", help="memory or scene")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def forms(args: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """The memories, with scenes and without, and the six autoencoders."""
    from vigil.config import parse_set

    memory = [("scene-memory", {"by_scene": known}) for known in (False, True)]
    extra = {"standardise": True, "position": 0.02, "like": 0, **parse_set(args.set)}
    both = itertools.product((False, True), (0, 1, 2))
    nets = [("scene", {"variational": v, "mode": mode, **extra}) for v, mode in both]
    return {"": [*memory, *nets], "memory": memory, "scene": nets}[args.only]


def seeds(name: str, count: int) -> range:
    return range(1 if name == "scene-memory" else count)  # a memory draws nothing


def measured(
    data: DataSet,
    parts: Parts,
    name: str,
    keys: dict[str, Any],
    seed: int,
    args: argparse.Namespace,
) -> dict[str, float]:
    """One fit, measured."""
    began = time.process_time()
    own = {**told_by(parts["train"], find("methods", name).Config), **keys}
    fit = {"steps": args.steps, "batch": args.batch, "lr": args.lr, "seed": seed, "device": "cpu"}
    fit |= {"engine": "torch", "dtype": "float32", "val_every": max(args.steps // 10, 1)}
    with tempfile.TemporaryDirectory() as folder:
        method = fitting.method(name, seed=seed, **own)
        model = pipeline.fit(method, parts["train"], parts["val"], Path(folder) / "run", **fit)
    found = pipeline.score_all(model, parts["test"])
    truth = {video.name: data.test.truth(video.name) for video in data.test}
    scores = np.concatenate([found[n].score for n in truth])
    labels = np.concatenate([t.frames for t in truth.values()])
    here = [video.name for video in data.test if video.scene == PLACE]
    kinds = np.concatenate([truth[n].classes for n in here])
    local = np.concatenate([found[n].score for n in here])
    kept = np.isin(kinds, ("", KIND))
    points = thinned(points_of(model, parts["train"]), 600)
    return {
        "vehicle_auc": value(micro_auc(local[kept], kinds[kept] == KIND)),
        "micro_auc": value(micro_auc(scores, labels)),
        "silhouette": silhouette(points.values, points.scenes) or 0.0,
        "cpu_s": time.process_time() - began,
    }


def value(metric: Any) -> float:
    return float(metric.value)


def joined(found: list[dict[str, float]]) -> dict[str, Any]:
    """Mean of each figure, and half the interval where there are several seeds."""
    told: dict[str, Any] = {"seeds": len(found)}
    for key in found[0]:
        values = np.array([each[key] for each in found])
        told[key] = round(float(values.mean()), 4)
        if len(values) > 1 and key != "cpu_s":
            spread = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
            told[f"{key}_pm"] = round(float(spread), 4)
    return told


if __name__ == "__main__":
    main()
