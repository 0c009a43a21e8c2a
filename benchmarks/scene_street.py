"""What knowing the scene brings: `scene` and `scene-memory` on the same vehicle, here and there.

    vigil data make street --out data
    python benchmarks/scene_street.py --root data --features rows --make given --steps 300 \\
        --lr 1e-3 --set latent=8
    vigil extract street --root data --backbone pixels --out pixels
    python benchmarks/scene_street.py --root data --features pixels --steps 200 --batch 24 \\
        --set standardise=true hop=8

In `street` a vehicle is normal on the road and abnormal on the walkway. Measured is the micro AUC
of its frames there, against the normal frames of all scenes, of the walkway alone, and of the road
alone, where vehicles drive; of each scene, and of all. All unsmoothed. Every form gets the same
steps, batch and learning rate; the weights are those of the lowest validation loss on normal
footage. Interval: 95 % of a t distribution over the seeds. The silhouette by scene is that of
normal training segments in the model's own space; `rows_tell` the share of held-out normal rows
whose nearest training row shows the same scene.

`--make given|foreground` makes rows that show no background: of every thing in a frame (the boxes
of the data set, or what differs from the background) how long and high it is, how fast, how long it
has stayed, in soft bins, each alone and in pairs; the highest of all things, the mean of 4 frames.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

from vigil import fitting, pipeline
from vigil.config import parse_set
from vigil.data.base import DataSet
from vigil.extraction import told_by, with_features
from vigil.features.base import FeatureRow, Provider
from vigil.features.store import Header, file_of, write_rows
from vigil.features.ways import COLUMNS, Follower
from vigil.manifolds import draw_manifolds, points_of, thinned
from vigil.metrics.frames import micro_auc
from vigil.plugins import find
from vigil.records import Video
from vigil.show.manifold import silhouette

PLACE, KIND, TRAFFIC = "walkway", "vehicle", "road"
FORMS = ("memory", "ae0", "ae1", "ae2", "vae0", "vae1", "vae2")  # variational or not, and mode
BINS, STRIDE, PAIRS = 6, 4, ((0, 1), (0, 2), (1, 2))  # of facts
Parts = dict[str, list[Video]]


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    logging.getLogger("vigil").setLevel(logging.ERROR)
    data = pipeline.dataset("street", args.root, seed=args.draw)
    if args.make and not args.features.is_dir():
        make_rows(data, args.features, args.make)
    parts = {
        name: with_features(split, args.features, name)
        for name, split in (("train", data.train), ("val", data.val or ()), ("test", data.test))
    }
    facts = {"features": args.features.name, "steps": args.steps, "batch": args.batch,
             "lr": args.lr, "draw": args.draw, "set": args.set}  # fmt: skip
    run: dict[str, Any] = {**facts, "rows_tell": rows_tell(parts), "rows": []}
    others = json.loads(args.out.read_text()) if args.out and args.out.is_file() else []
    others = [other for other in others if facts != {key: other[key] for key in facts}]
    print(json.dumps(run), flush=True)
    for name, keys in forms(args):
        found = [measured(data, parts, name, keys, seed, args) for seed in seeds(name, args.seeds)]
        run["rows"].append({"method": name, **keys, **joined(found)})
        print(json.dumps(run["rows"][-1]), flush=True)
        if args.out:
            args.out.write_text(json.dumps([*others, run], indent=1) + "\n")
    if args.picture:
        models = [args.models / name for name in ("scenes-unknown", "scenes-apart")]
        draw_manifolds(models, "street", args.picture, root=args.root, features=args.features)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path)
    parser.add_argument("--draw", type=int, default=0, help="the seed of `street`")
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--make", choices=("given", "foreground"), help="rows of things")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], help="keys of scene, key=value")
    parser.add_argument("--only", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--models", type=Path, help="keep the models of the first seed here")
    parser.add_argument("--picture", type=Path, help="draw modes 0 and 1 side by side")
    parser.add_argument("--out", type=Path, help="a list of runs; the same run's is replaced")
    return parser.parse_args()


def forms(args: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """The memories, with scenes and without, and the autoencoders."""
    known = [{"by_scene": told} for told in (False, True)] if "memory" in args.only else []
    extra = {"position": 0.02, "by_scene": True, **parse_set(args.set)}
    nets = [{"variational": name.startswith("v"), "mode": int(name[-1]), **extra}
            for name in args.only if name != "memory"]  # fmt: skip
    return [("scene-memory", keys) for keys in known] + [("scene", keys) for keys in nets]


def seeds(name: str, count: int) -> range:
    return range(1 if name == "scene-memory" else count)  # a memory draws nothing


# -- rows of things ------------------------------------------------------------------------------
def make_rows(data: DataSet, folder: Path, objects: str) -> None:
    """Rows of all videos, below `folder`, in bins between the training videos' quantiles."""
    boxes, flow = find("providers", objects)(), find("providers", "dis-trail")()
    boxes.fit(list(data.train))
    seen = {
        part: [(video, things(video, boxes, flow)) for video in videos]
        for part, videos in (("train", data.train), ("val", data.val or ()), ("test", data.test))
    }
    usual = np.concatenate([rows for _, frames in seen["train"] for rows in frames])
    low, high = np.quantile(usual, (0.02, 0.98), axis=0)
    bounds = np.linspace(low, high, BINS).T  # (facts, BINS)
    words = f"things by length, height, speed, stay in {BINS} bins; boxes: {objects}"
    for part, videos in seen.items():
        for video, frames in videos:
            each = np.stack([binned(facts, bounds) for facts in frames])
            rows = [
                FeatureRow(each[n : n + STRIDE].mean(0)[None], n, min(n + STRIDE, len(each)))
                for n in range(0, len(each), STRIDE)
            ]
            header = Header(
                "things-alone", "", words, STRIDE, STRIDE, 1, each.shape[1], video=video.name,
                fps=video.fps, size=video.size, count=len(each),
            )  # fmt: skip
            write_rows(file_of(folder / part, video.name), rows, header)


def things(video: Video, boxes: Provider, flow: Provider) -> list[np.ndarray]:
    """Facts (n, 4) of the things in each frame; none of them says where a thing is."""
    follower = Follower(boxes.start(video, video.fps), flow.start(video, video.fps), video)
    found = []
    for number, frame in enumerate(video.frames()):
        told = dict(zip(COLUMNS, follower.see(frame, number).T, strict=True))  # (n,) each
        speed = np.log1p(4 * told["speed"] / np.exp(told["high"]))
        found.append(np.stack(
            [told["wide"] - told["high"], told["high"], speed, told["stay"]], 1
        ))  # fmt: skip
    return found


def binned(facts: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Facts (n, 4) of a frame's things to one row: a thing is shared by the two bins it is
    between, and of each bin, or pair of bins of two facts, the row has the highest share."""
    if not len(facts):
        return np.zeros(4 * BINS + len(PAIRS) * BINS**2, np.float32)
    alone = []
    for values, peaks in zip(facts.T, bounds, strict=True):
        at = np.interp(values, peaks, np.arange(BINS))
        alone.append(np.maximum(1 - np.abs(at[:, None] - np.arange(BINS)), 0))  # (n, BINS)
    pairs = [(alone[a][:, :, None] * alone[b][:, None]).reshape(len(facts), -1) for a, b in PAIRS]
    return np.concatenate([*alone, *pairs], 1).max(0).astype(np.float32)


def rows_tell(parts: Parts) -> float:
    """Share of held-out normal rows whose nearest training row is of the same scene."""
    sides = []
    for name in ("train", "val"):
        rows = [torch.from_numpy(r.value[0]) for v in parts[name] for r in v.given["features"]()]
        scenes = [v.scene for v in parts[name] for _ in v.given["features"]()]
        sides.append((F.normalize(torch.stack(rows), dim=1), np.array(scenes)))
    (known, where), (held, here) = sides
    near = torch.cat([(part @ known.T).argmax(1) for part in held.split(512)])
    return round(float((where[near.numpy()] == here).mean()), 4)


# -- one fit -------------------------------------------------------------------------------------
def measured(
    data: DataSet,
    parts: Parts,
    name: str,
    keys: dict[str, Any],
    seed: int,
    args: argparse.Namespace,
) -> dict[str, float]:
    """One fit, measured by its score and by each channel of it."""
    began = time.process_time()
    own = {**told_by(parts["train"], find("methods", name).Config), **keys}
    fit = {"steps": args.steps, "batch": args.batch, "lr": args.lr, "seed": seed, "device": "cpu"}
    fit |= {"engine": "torch", "dtype": "float32", "val_every": max(args.steps // 10, 1)}
    with tempfile.TemporaryDirectory() as folder:
        kept = args.models and name == "scene" and seed == 0 and not keys["variational"]
        names = ("scenes-unknown", "scenes-apart", "scenes-named")
        out = args.models / names[keys["mode"]] if kept else Path(folder) / "run"
        method = fitting.method(name, seed=seed, **own)
        model = pipeline.fit(method, parts["train"], parts["val"], out, **fit)
    found = pipeline.score_all(model, parts["test"])
    truth = {video.name: data.test.truth(video.name) for video in data.test}
    scenes = np.concatenate([[v.scene] * len(truth[v.name].frames) for v in data.test])
    kinds = np.concatenate([truth[video.name].classes for video in data.test])
    told: dict[str, float] = {}
    channels = next(iter(found.values())).channels
    for channel in ("score", *(channels if len(channels) > 1 else ())):
        each = [s.score if channel == "score" else s.channels[channel] for s in found.values()]
        told |= {f"{channel}.{k}": v for k, v in areas(np.concatenate(each), kinds, scenes).items()}
    points = thinned(points_of(model, parts["train"]), 600)
    apart = silhouette(points.values, points.scenes) or 0.0
    return {**told, "silhouette": apart, "cpu_s": time.process_time() - began}


def areas(scores: np.ndarray, kinds: np.ndarray, scenes: np.ndarray) -> dict[str, float]:
    """Micro AUC of vehicles where they should not be against normal frames; of all; by scene."""
    odd, normal = (kinds == KIND) & (scenes == PLACE), kinds == ""
    against = {"vehicle": normal, "vehicle_here": normal & (scenes == PLACE),
               "vehicle_traffic": normal & (scenes == TRAFFIC)}  # fmt: skip
    found = {name: area(scores, odd, others) for name, others in against.items()}
    found["all"] = area(scores, ~normal, normal)
    for scene in sorted(set(scenes)):
        at = scenes == scene
        found[scene] = area(scores, ~normal & at, normal & at)
    return found


def area(scores: np.ndarray, odd: np.ndarray, normal: np.ndarray) -> float:
    found = micro_auc(scores[odd | normal], odd[odd | normal]).value
    assert found is not None  # street has both in every scene
    return float(found)


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
