"""`mil`, `rtfm` and `s3r` killed in the middle of a fit and resumed end as if never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, moving_square
from safetensors.torch import load_file

from vigil import pipeline
from vigil.bundle import Model
from vigil.records import Video

KEYS = {"dim": 64, "frames": 4, "segments": 6}
STEPS = 60
FIT = {"steps": STEPS, "batch": 3, "save_every": 4, "val_every": 10, "seed": 5, "device": "cpu"}
CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, "tests")
import test_weak_resume as t
from vigil.train import loop
step = loop.Trainer.step
def slow(self, n):  # so that the kill comes between two saves, not after the end
    time.sleep(0.02)
    return step(self, n)
loop.Trainer.step = slow
t.fitted(sys.argv[1], Path(sys.argv[2]))
"""


def bag(n: int) -> Video:
    """A video with rows of features of its own; every second one holds something fast."""
    wrong = n % 2 == 1
    label = "anomalous" if wrong else "normal"
    return moving_square(f"bag{n}", 44 + n, seed=n, fast=(12, 28) if wrong else (0, 0), label=label)


def fitted(name: str, out: Path, resume: bool = False) -> Model:
    method = pipeline.method(name, seed=5, **KEYS)
    return pipeline.fit(
        method, [bag(n) for n in range(8)], [bag(n) for n in range(20, 24)], out,
        resume=resume, **FIT,
    )  # fmt: skip


def steps_of(run: Path) -> list[int]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def losses_of(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize("name", ["mil", "rtfm", "s3r"])
def test_killed_and_resumed_is_as_never_killed(name: str, tmp_path: Path) -> None:
    whole = fitted(name, tmp_path / "whole")
    run = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", CHILD, name, str(run)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 90
        while not (run / "last" / "state.json").is_file():
            assert child.poll() is None and time.monotonic() < deadline, "it ended before the kill"
            time.sleep(0.01)
        time.sleep(np.random.default_rng().uniform(0, 0.3))  # anywhere between two saves
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert not (run / "model").exists()
    stopped = json.loads((run / "last" / "state.json").read_text())["step"]
    assert 0 < stopped < STEPS
    resumed = fitted(name, run, resume=True)
    assert steps_of(run) == list(range(STEPS))  # each step once, none lost
    assert losses_of(run) == losses_of(tmp_path / "whole")
    for key, value in whole.method.tensors().items():
        assert torch.equal(value, resumed.method.tensors()[key]), key
    models = [load_file(path / "model" / "model.safetensors") for path in (tmp_path / "whole", run)]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_the_seed_alone_decides_the_trace(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    fitted("mil", one)
    fitted("mil", two)
    assert losses_of(one) == losses_of(two)
