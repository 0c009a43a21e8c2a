"""`mil`, `rtfm` and `s3r` on the weak split of `street`: extractors, top-k, seeds, classes.

    python benchmarks/weak_street.py --rows FOLDER --name weak_street

Prints micro AUC over the frames of the test part for extractor x (max, top-k), against k = 1..6
(mean and weighted), and for each method with its three seeds and classes. Rows of an extractor are
made once, by the provider that `vigil fit` would use, and kept below --rows. Settings were chosen
by cross-validation on the 78 training videos (docs/methods/mil.md); no test video had a part in it.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vigil import fitting, pipeline
from vigil.data.base import DataSet, TestSplit
from vigil.features.base import FeatureRow, Provider
from vigil.features.extracted import Extracted
from vigil.features.things import Things
from vigil.metrics.report import table
from vigil.records import Video

RESULTS = Path(__file__).parent / "results"
EXTRACTORS = ("pixels", "motion", "things", "things:given")
TOP = 8  # of 32 segments
STEPS = {"mil": 200, "rtfm": 150, "s3r": 150}
KEYS: dict[str, dict[str, Any]] = {
    "mil": {"k": TOP},
    "rtfm": {"k": TOP, "margin": 20.0},
    "s3r": {"k": TOP, "margin": 20.0},
}
DONE: dict[Any, dict[str, Any]] = {}  # a fit that two tables show is made once
FIT = {"batch": 16, "smoothing": "centred:1s", "device": "cpu"}


# -- rows ----------------------------------------------------------------------------------------
def provider(name: str) -> Provider:
    kind, _, objects = name.partition(":")
    return Things(objects or "foreground") if kind == "things" else Extracted(name)


def rows_of(maker: Provider, video: Video) -> list[FeatureRow]:
    """What a fit or a camera would see of the video."""
    tracker = maker.start(video, video.fps)
    found = [tracker.see(frame, n) for n, frame in enumerate(video.frames())]
    return [row for row in found if row is not None] + tracker.finish()


def with_rows(data: DataSet, name: str, folder: Path) -> DataSet:
    """The data set with one extractor's rows given, read from `folder` where they were made."""
    assert data.val is not None
    folder = folder / name.replace(":", "-")
    folder.mkdir(parents=True, exist_ok=True)
    maker: list[Provider] = []

    def given(part: str, videos: Iterable[Video]) -> tuple[Video, ...]:
        return tuple(with_its_rows(part, video) for video in videos)

    def with_its_rows(part: str, video: Video) -> Video:
        path = folder / f"{part}_{video.name}.npz"
        if not path.is_file():
            if not maker:
                maker.append(provider(name))
                maker[0].fit([v for v in data.train if v.label == "normal"])
            rows = rows_of(maker[0], video)
            places = {key: [getattr(row, key) for row in rows] for key in ("first", "stop")}
            np.savez(path, value=np.stack([row.value for row in rows]), **places)
        with np.load(path) as kept:
            columns = (kept["value"], kept["first"].tolist(), kept["stop"].tolist())
        rows = [FeatureRow(*row) for row in zip(*columns, strict=True)]
        return replace(video, given={**video.given, "features": lambda: rows})

    test = TestSplit(given("test", data.test), data.test.truth)
    return replace(
        data, train=type(data.train)(given("train", data.train)), test=test,
        val=type(data.val)(given("val", data.val)),
    )  # fmt: skip


# -- one fit -------------------------------------------------------------------------------------
def measure(data: DataSet, method: str, seed: int, **keys: Any) -> dict[str, Any]:
    """Fit and measure once: {"auc", "groups", "trace", "seconds"}."""
    first: Any = next(iter(data.train)).given["features"]
    row = first()[0]
    own = {"dim": row.value.shape[1], "frames": row.stop - row.first, **KEYS[method], **keys}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made = fitting.method(method, seed=seed, **own)
        run = Path(folder) / "run"
        model = pipeline.fit(made, data.train, data.val, run, steps=STEPS[method], seed=seed, **FIT)
        lines = (run / "metrics.jsonl").read_text().splitlines()
        trace = [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]
        found = table(pipeline.evaluate(model, data.test, data="street"))
    score = [r for r in found if r["channel"] == "score"]
    return {
        "auc": next(r["micro_auc"] for r in score if r["protocol"] == FIT["smoothing"]),
        "protocols": {r["protocol"]: r["micro_auc"] for r in score if r["group"] == "all"},
        "groups": {r["group"]: r["micro_auc"] for r in found if r["group"] != "all"},
        "trace": trace,
        "seconds": round(time.perf_counter() - began, 1),
    }


def seeds(data: DataSet, method: str, count: int, **keys: Any) -> dict[str, Any]:
    """The same with several seeds: the mean of their AUC, and the lowest and highest."""
    own = {**KEYS[method], **keys}
    kind = (id(data), method, count, *sorted(own.items()))
    if kind not in DONE:
        DONE[kind] = summed([measure(data, method, seed, **keys) for seed in range(count)])
    return DONE[kind]


def summed(runs: list[dict[str, Any]]) -> dict[str, Any]:
    groups = {g: float(np.mean([r["groups"][g] for r in runs])) for g in runs[0]["groups"]}
    auc = [run["auc"] for run in runs]
    protocols = {p: float(np.mean([r["protocols"][p] for r in runs])) for p in runs[0]["protocols"]}
    return {"mean": float(np.mean(auc)), "low": min(auc), "high": max(auc), "seeds": auc,
            "protocols": protocols, "groups": groups, "trace": runs[0]["trace"]}  # fmt: skip


# -- the tables ----------------------------------------------------------------------------------
def said(found: dict[str, Any]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def by_extractor(sets: dict[str, DataSet], count: int) -> dict[str, Any]:
    print(f"\nmicro AUC of mil, mean of {count} seeds (lowest to highest)")
    print(f"{'extractor':14} {'max':22} {'top-' + str(TOP)}")
    found = {}
    for name, data in sets.items():
        found[name] = {f"k={k}": seeds(data, "mil", count, k=k) for k in (1, TOP)}
        print(
            f"{name:14} {said(found[name]['k=1']):22} {said(found[name][f'k={TOP}'])}", flush=True
        )
    return found


def by_k(data: DataSet, count: int) -> dict[str, Any]:
    print(f"\n{'k':3} {'mean of the k highest':22} weighted k, k-1, ..., 1")
    found = {}
    for k in range(1, 7):
        kinds = ({}, {"weights": "linear"}) if k > 1 else ({},)
        found[k] = {
            kind.get("weights", "mean"): seeds(data, "mil", count, k=k, **kind) for kind in kinds
        }
        print(f"{k:<3} " + " ".join(f"{said(x):22}" for x in found[k].values()), flush=True)
    return found


def by_method(sets: dict[str, DataSet], count: int) -> dict[str, Any]:
    found = {}
    for name, data in sets.items():
        for method in STEPS:
            one = found[f"{method} {name}"] = seeds(data, method, count)
            one["same_trace"] = measure(data, method, 0)["trace"] == one["trace"]
            print(f"\n{method} on {name}: {said(one)}, same seed same trace: {one['same_trace']}")
            protocols = "  ".join(f"{p} {v:.3f}" for p, v in one["protocols"].items())
            print(f"  {protocols}")
            groups = "  ".join(f"{g.split()[-1]} {v:.3f}" for g, v in one["groups"].items())
            print(f"  {groups}", flush=True)
    return found


def bare(found: Any) -> Any:
    """Without the traces, rounded."""
    if isinstance(found, dict):
        return {str(key): bare(value) for key, value in found.items() if key != "trace"}
    if isinstance(found, list):
        return [bare(value) for value in found]
    return round(found, 4) if isinstance(found, float) else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="where `street` lies, or is made")
    parser.add_argument("--rows", type=Path, default=Path("features") / "weak_street")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--name", help="write benchmarks/results/NAME.json")
    args = parser.parse_args()
    data = pipeline.dataset("street", args.root, split="weak")
    sets = {name: with_rows(data, name, args.rows) for name in EXTRACTORS}
    found = {
        "steps": STEPS, "keys": KEYS, "fit": FIT, "processor": platform.processor(),
        "methods": by_method({k: sets[k] for k in ("things:given", "things")}, args.seeds),
        "extractors": by_extractor(sets, args.seeds),
        "k": by_k(sets["things:given"], args.seeds),
    }  # fmt: skip
    if args.name:
        (RESULTS / f"{args.name}.json").write_text(json.dumps(bare(found), indent=2) + "\n")


if __name__ == "__main__":
    main()
