"""`jigsaw` on the generated drivers of `cabin`: views, levels, seeds, and ablations.

    vigil data make cabin --out DATA
    OMP_NUM_THREADS=1 python benchmarks/jigsaw_cabin.py --root DATA --work DIR

Each training is one view's, with the keys of the preset `jigsaw-dad` but for those of `CHEAP`. It
is made once: a training whose answers lie in DIR is not made again, so that a run that was killed
goes on, and what needs no training (`--tables` does only that) takes ten seconds. In all it takes
about 25 minutes of one core.
Weights are the last ones or those with the lowest puzzle loss on held-out normal footage, no test
label chooses anything. `cabin` is generated: figures here are no measure of driver monitoring.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jigsaw_answers import Kept, asked, load, save
from jigsaw_cabin_tables import ALONE, VIEWS, Bench

from vigil import fitting, pipeline
from vigil.config import preset, split_keys
from vigil.data.base import DataSet
from vigil.features.engines import cpu_facts
from vigil.files import writing
from vigil.methods.jigsaw import SIDE, JigsawConfig
from vigil.records import Frame, Video
from vigil.units import resized

OUT = Path(__file__).parent / "results" / "jigsaw_cabin.json"
CHEAP: dict[str, Any] = {
    "epochs": None, "lr": 1e-3, "steps": 200, "batch": 16, "width": 32,
    "device": "cpu", "engine": "torch", "dtype": "float32", "val_every": 50, "save_every": 200,
}  # fmt: skip
SEEDS = (0, 1, 2)


class Job(NamedTuple):
    """One training: of which kind, of which view, from which seed, with which keys."""

    kind: str
    view: str
    seed: int
    keys: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.view}-{self.seed}"


KINDS: dict[str, dict[str, Any]] = {
    "four": {},  # cubes and clips, both puzzles: four heads on one trunk
    "frame": {"levels": "frame", "batch": 32},
    "pairs": {"levels": "frame", "batch": 32, "pieces": "pairs"},
    "clip": {"levels": "clip"},
    "time": {"levels": "frame", "batch": 32, "shuffle": "time"},
    "place": {"levels": "frame", "batch": 32, "shuffle": "place"},
    "static0": {"levels": "frame", "batch": 32, "static": 0.0},
    "static0.1": {"levels": "frame", "batch": 32, "static": 0.1},
    "static0.2": {"levels": "frame", "batch": 32, "static": 0.2},
}


def plan() -> list[Job]:
    """All trainings, the most wanted first."""
    own = {kind: tuple(keys.items()) for kind, keys in KINDS.items()}
    wanted = [(kind, view, 0) for kind in ("four", "frame") for view in VIEWS]
    wanted += [("four", view, seed) for seed in SEEDS[1:] for view in VIEWS]
    alone = ("time", "place", "static0", "static0.1", "static0.2", "clip")
    wanted += [(kind, ALONE, 0) for kind in alone]
    wanted += [("pairs", view, 0) for view in VIEWS]
    wanted += [("frame", view, seed) for seed in SEEDS[1:] for view in VIEWS]
    wanted += [(kind, ALONE, seed) for seed in SEEDS[1:] for kind in alone]
    wanted += [("pairs", view, seed) for seed in SEEDS[1:] for view in VIEWS]
    return [Job(kind, view, seed, own[kind]) for kind, view, seed in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, help="where `cabin` lies, or is made")
    parser.add_argument("--work", type=Path, required=True, help="trainings and their answers")
    parser.add_argument("--minutes", type=float, default=60, help="begin no training after these")
    parser.add_argument(
        "--tables", action="store_true", help="train nothing, measure what is there"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    logging.getLogger("vigil").setLevel(logging.ERROR)
    data, began = pipeline.dataset("cabin", args.root), time.monotonic()
    for job in () if args.tables else plan():
        if time.monotonic() - began > 60 * args.minutes:
            break
        if not (args.work / job.name / "facts.json").is_file():
            print(job.name, json.dumps(trained(job, data, args.work / job.name)), flush=True)
    result = told(args.work, data)
    text = json.dumps(result, indent=1)
    args.out.write_text(text + "\n")
    print(text)


# -- one training --------------------------------------------------------------------------------
def keys_of(job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """The method's keys, and those of the fit."""
    return split_keys({**preset("jigsaw-dad"), **CHEAP, **dict(job.keys)}, JigsawConfig)


def trained(job: Job, data: DataSet, folder: Path) -> dict[str, Any]:
    """Fit, ask, keep the answers; facts of it, written last."""
    parts = {
        name: [small(video) for video in part if video.view == job.view]
        for name, part in (("train", data.train), ("val", data.val or ()), ("test", data.test))
    }
    own, common = keys_of(job)
    began, wall = time.process_time(), time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    made = fitting.method("jigsaw", seed=job.seed, **own)
    model = pipeline.fit(
        made, parts["train"], parts["val"], folder / "run", seed=job.seed, **common
    )
    fitted = time.process_time()
    save(folder / "answers.npz", {
        name: {video.name: asked(model, video, 3 if name == "train" else 1) for video in part}
        for name, part in parts.items()
    })  # fmt: skip
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").open()]
    held: dict[str, Any] = min(
        (row for row in rows if "val" in row), key=lambda row: row["val"], default={}
    )
    facts = {
        "cpu_minutes_fit": round((fitted - began) / 60, 2),
        "cpu_minutes_asked": round((time.process_time() - fitted) / 60, 2),
        "minutes": round((time.monotonic() - wall) / 60, 2), "fps": model.fps, "steps": len(rows),
        "kept_step": held.get("step", len(rows) - 1) + 1,
        "val": {k[4:]: round(v, 3) for k, v in held.items() if k.startswith("val_")},
    }  # fmt: skip
    shutil.rmtree(folder / "run")
    with writing(folder / "facts.json") as path:
        path.write_text(json.dumps(facts))
    return facts


def small(video: Video) -> Video:
    """The video with its frames in memory, brought to the size of the cubes once and not for each
    cube that holds them; the pixels of the cubes stay the same."""
    frames = [Frame(resized(frame.image, SIDE, SIDE), frame.time) for frame in video.frames(SIDE)]
    return replace(video, size=(SIDE, SIDE), open=lambda short_side: iter(frames))


def there(work: Path, kind: str) -> dict[int, dict[str, Kept]]:
    """{seed: {view: answers}} of the trainings of a kind that are done."""
    found: dict[int, dict[str, Kept]] = {}
    for job in (job for job in plan() if job.kind == kind):
        folder = work / job.name
        if (folder / "facts.json").is_file():
            method = fitting.method("jigsaw", **keys_of(job)[0])
            fps = json.loads((folder / "facts.json").read_text())["fps"]
            found.setdefault(job.seed, {})[job.view] = load(folder / "answers.npz", method, fps)
    return found


def told(work: Path, data: DataSet) -> dict[str, Any]:
    """Everything that the trainings at hand can say."""
    done = [job.name for job in plan() if (work / job.name / "facts.json").is_file()]
    result: dict[str, Any] = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/jigsaw_cabin.py --root DATA --work DIR",
        "processor": cpu_facts(), "torch": torch.__version__, "data": "cabin, seed 0",
        "keys": {**preset("jigsaw-dad"), **CHEAP}, "kinds": KINDS,
        "how": "micro AUC; lists: one value a seed of training; no test label chose anything",
        "trainings": {n: json.loads((work / n / "facts.json").read_text()) for n in done},
    }  # fmt: skip
    spent = [row[f"cpu_minutes_{what}"] for row in result["trainings"].values()
             for what in ("fit", "asked")]  # fmt: skip
    result["cpu_minutes"] = round(sum(spent), 1)
    bench = Bench(data.test)
    four = {seed: views for seed, views in there(work, "four").items() if len(views) == len(VIEWS)}
    result |= bench.of_four(four) if four else {}
    result["trained apart"] = {}
    for kind in KINDS:
        result["trained apart"] |= bench.apart(kind, there(work, kind))
    return result


if __name__ == "__main__":
    main()
