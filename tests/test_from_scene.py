"""The commands of docs/from/scene.md, as they stand there, in order, in folders of that project.

Three things are changed: features are 8 numbers wide, fits last two steps, and `pixels`, which
needs no weights, extracts in the place of CLIP.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from footage import vigil
from scene_tree import scene_tree
from test_docs import blocks

from vigil.features._frame_hdf5 import write_by_frame
from vigil.methods.scene import Scene
from vigil.video.read import open_images

PAGE = ROOT / "docs" / "from" / "scene.md"
NAMES = {
    "training/01_001": "01_0016", "training/01_002": "01_0051", "training/06_001": "06_001",
    "training/06_002": "06_002", "testing/01_0001": "01_0014", "testing/06_0002": "06_0147",
}  # fmt: skip
WIDE = 8
SHORT = ["steps=2", "batch=4", "val_every=1", "latent=4", "hidden=8", "like=5"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data_root/, features/ and weights/ of the scene-aware project."""
    pytest.importorskip("h5py")
    tree = scene_tree(tmp_path / "data_root" / "shanghai-sd")
    (tree / "vigil_names.json").unlink()
    for place, name in NAMES.items():
        folder = tree / place
        folder.rename(folder.with_name(f"new-{name}"))
        mask = tree / "testframemask" / f"{folder.name}.npy"
        if mask.is_file():
            mask.rename(mask.with_name(f"{name}.npy"))
    for place, name in NAMES.items():
        folder = (tree / place).with_name(name)
        folder.with_name(f"new-{name}").rename(folder)
        rows = np.random.default_rng(len(list(folder.iterdir()))).normal(size=(80, 1, WIDE))
        count = sum(1 for _ in open_images(folder, fps=24).frames())
        part = place.split("/")[0]
        out = tmp_path / "features" / "shanghai-sd" / "frame" / part
        out.mkdir(parents=True, exist_ok=True)
        write_by_frame(out / f"{name}.h5", rows[:count])
    (tmp_path / "weights").mkdir()
    torch.save({"model": published(), "optim": {}, "iter": 100},
               tmp_path / "weights" / "best_model_shanghai-sd_1_-1_30_16.pth")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


def published() -> dict[str, torch.Tensor]:
    """The authors' names, at a small width."""
    method = Scene(dim=WIDE, latent=4, hidden=8)
    method.name_scenes(4)
    state = {k.removeprefix("net."): v for k, v in method.state_dict().items()}
    return {k: v for k, v in state.items() if not re.match("memory|mean|deviation", k)}


def small(words: list[str]) -> list[str]:
    """The same command, made small as said above."""
    line = re.sub(r"--backbone \S+ --weights \S+", "--backbone pixels", shlex.join(words))
    keys = SHORT if words[1:3] == ["fit", "scene"] else []
    return shlex.split(line + "".join(f" --set {key}" for key in keys))[1:]


def test_page_of_the_scene_aware_project(project: Path) -> None:
    text = "".join(block.text for block in blocks(PAGE))
    lines = [line for line in text.splitlines() if line.startswith("vigil ")]
    said = {}
    for line in lines:
        done = vigil(*small(shlex.split(line)))
        assert done.code == 0, f"{line}\n{done.err}"
        said[line] = done
    assert len(said) > 15
    assert (project / "results/aware/report.html").is_file()
    for name in ("tsne.png", "01_0014.png", "01_0014-frame20.png"):
        assert (project / "results" / name).stat().st_size > 3000, name
    lines = (project / "runs/named/metrics.jsonl").read_text().splitlines()
    assert {"error", "contrast", "classify"} <= set(json.loads(lines[-1]))
    found = next(done for line, done in said.items() if "evaluate models/aware" in line)
    assert "segment-max-oracle" in found.out
    info = next(done for line, done in said.items() if "data info" in line)
    assert "made anew for this split" in info.out + info.err


def test_page_leaves_no_block_out() -> None:
    assert all(not block.why and block.language == "bash" for block in blocks(PAGE))
