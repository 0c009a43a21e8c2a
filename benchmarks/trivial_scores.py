"""How far six trivial scores get on a generated data set: none may pass for a method.

    python benchmarks/trivial_scores.py street
    python benchmarks/trivial_scores.py cabin

Each score sees test frames at 160 pixels' width, and normal training frames of the same scene
and view where it needs something to compare with. AUC is `micro_auc`: all frames of all test
videos together; a class's row holds its own frames against all normal frames. A score that is
good upside down is as good, so `best_way` holds max(AUC, 1 - AUC), and the bar is for that.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from vigil.data.base import DataSet
from vigil.data.cabin import open_cabin
from vigil.data.street import open_street
from vigil.records import Video

BAR = 0.75
SCORES = (
    "frame difference", "foreground area", "brightness", "thumbnail neighbour", "mean flow",
    "frame index",
)  # fmt: skip
Key = tuple[str, str]


def grey_frames(video: Video) -> np.ndarray:
    """(T, H, W) uint8 at 160 pixels' width."""
    frames = []
    for frame in video.frames():
        grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
        size = (160, round(160 * grey.shape[0] / grey.shape[1]))
        frames.append(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    return np.stack(frames)


def thumbnails(frames: np.ndarray) -> np.ndarray:
    """(T, 192) float32: 16x12 pictures."""
    small = [cv2.resize(f, (16, 12), interpolation=cv2.INTER_AREA) for f in frames]
    return np.stack(small).reshape(len(small), -1).astype(np.float32)


def learn(data: DataSet) -> tuple[dict[Key, np.ndarray], dict[Key, np.ndarray]]:
    """Median background (H, W) and thumbnails (N, 192) of each scene and view."""
    some, small = defaultdict(list), defaultdict(list)
    for video in data.train:
        frames = grey_frames(video)
        some[video.scene, video.view].append(frames[::12])
        small[video.scene, video.view].append(thumbnails(frames[::2]))
    background = {k: np.median(np.concatenate(v), 0).astype(np.float32) for k, v in some.items()}
    return background, {k: np.concatenate(v) for k, v in small.items()}


def neighbour(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Euclidean distance (T,) to the nearest known row."""
    squared = (rows**2).sum(1)[:, None] + (known**2).sum(1)[None] - 2 * rows @ known.T
    return np.sqrt(np.maximum(squared.min(1), 0))


def flow(frames: np.ndarray) -> np.ndarray:
    """Mean length (T,) of the optical flow from the frame before, pixels."""
    engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    pairs = zip(frames[:-1], frames[1:], strict=True)
    lengths = [np.linalg.norm(engine.calc(a, b, None), axis=-1).mean() for a, b in pairs]
    return np.array(lengths[:1] + lengths)


def scores(frames: np.ndarray, background: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The six scores (6, T), in the order of SCORES."""
    level = frames.mean((1, 2))
    moved = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((1, 2))
    lit = frames * (background.mean() / level)[:, None, None]
    area = (np.abs(lit - background) > 20).mean((1, 2))
    near = neighbour(thumbnails(frames), known)
    return np.stack(
        [np.append(moved[:1], moved), area, level, near, flow(frames), np.arange(len(frames))]
    )


def best(truth: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """AUC of a score as it is, and of the better of it and its opposite."""
    auc = float(roc_auc_score(truth, score))
    return {"micro_auc": round(auc, 4), "best_way": round(max(auc, 1 - auc), 4)}


def measure(data: DataSet) -> dict:
    """All rows: over all, by class, by scene, by view."""
    background, known = learn(data)
    found, classes, scenes, views = [], [], [], []
    for video in data.test:
        key = (video.scene, video.view)
        found.append(scores(grey_frames(video), background[key], known[key]))
        truth = data.test.truth(video.name)
        assert truth.classes is not None and len(truth.classes) == found[-1].shape[1]
        classes.append(truth.classes)
        scenes.append(np.full(len(truth.classes), video.scene))
        views.append(np.full(len(truth.classes), video.view))
    table, name = np.concatenate(found, 1), np.concatenate(classes)
    scene, view = np.concatenate(scenes), np.concatenate(views)
    groups = {"all": np.full(len(name), True)}
    groups |= {f"class: {c}": (name == c) | (name == "") for c in sorted(set(name)) if c}
    groups |= {f"scene: {s}": scene == s for s in sorted(set(scene)) if s}
    groups |= {f"view: {v}": view == v for v in sorted(set(view)) if v}
    rows = {
        group: {
            "anomalous frames": int((name[on] != "").sum()), "frames": int(on.sum()),
            **{s: best(name[on] != "", table[i, on]) for i, s in enumerate(SCORES)},
        }
        for group, on in groups.items()
    }  # fmt: skip
    return {"videos": len(data.test), "rows": rows}


def main() -> None:
    """Measure, print, write JSON; exit status 1 where the bar is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=("street", "cabin"))
    parser.add_argument("--root", type=Path, help="where the data set is or will be generated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    open_data = open_street if args.data == "street" else lambda r, **k: open_cabin(r, "all", **k)
    result = {"data": args.data, "seed": args.seed, "version": 1, "bar": BAR}
    result |= measure(open_data(args.root, seed=args.seed))
    print(f"| {args.data} | frames (anomalous) | " + " | ".join(SCORES) + " |")
    print("|---" * (len(SCORES) + 2) + "|")
    for group, row in result["rows"].items():
        cells = [f"{row[s]['micro_auc']:.3f}" for s in SCORES]
        print(f"| {group} | {row['frames']} ({row['anomalous frames']}) | {' | '.join(cells)} |")
    worst = max(result["rows"]["all"][s]["best_way"] for s in SCORES)
    print(f"\nbest of the six over all frames, either way up: {worst:.3f}; the bar is {BAR}")
    args.out.mkdir(parents=True, exist_ok=True)
    suffix = "" if args.seed == 0 else f"_seed{args.seed}"
    path = args.out / f"trivial_{args.data}{suffix}.json"
    path.write_text(json.dumps(result | {"best of all": worst}, indent=1) + "\n")
    raise SystemExit(worst > BAR)


if __name__ == "__main__":
    main()
