"""Training in two processes at once, as torchrun and accelerate launch start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vigil import bundle, fitting
from vigil.errors import ConfigError

SCRIPT = """
import os, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from test_cache import KEYS, samples, stored
from vigil.config import FitConfig
from vigil.methods.rtfm import RTFM
from vigil.train.loop import train

out, rank = Path(sys.argv[1]), os.environ["RANK"]
(out / rank).mkdir()
(out / "run").mkdir(exist_ok=True)
torch.manual_seed(0)
method = RTFM(**KEYS, margin=2.0, dropout=0.0)
videos = stored(out / rank, 16)
made, val = samples(method, videos[:12], out / "a"), samples(method, videos[12:], out / "b")
config = FitConfig(steps=30, batch=3, device="cpu", val_every=10, save_every=15)
train(method, made, val, config, out / "run")
torch.save(method.tensors(), out / f"{rank}.pt")
torch.distributed.destroy_process_group()
"""


WHOLE = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
import test_weak_resume as t
model = t.fitted("mil", Path(sys.argv[1]) / "run")
print("calibrated", model.calibration is not None)
torch.distributed.destroy_process_group()
"""


def launched(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The script in two processes, as torchrun starts it."""
    (folder / "script.py").write_text(script)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": f"{here}:{here.parent}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command, str(folder / "script.py"), str(folder)],
        env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_a_whole_fit_in_two_processes_leaves_one_model(tmp_path: Path) -> None:
    done = launched(WHOLE, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(done.stdout.split("\n"))[1:] == ["calibrated False", "calibrated True"]
    assert bundle.load(tmp_path / "run").calibration is not None
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 60  # written once


def test_several_processes_need_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="--out"):
        fitting.new_run("mil")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_learn_one_model(tmp_path: Path) -> None:
    done = launched(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(one[key], two[key]) for key in one) and one.keys() == two.keys()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(30))  # written once
    loss = [row["cls"] + row["magnitude"] + row["smooth"] + row["sparse"] for row in rows]
    assert sum(loss[-5:]) < 0.8 * sum(loss[:5]), loss
