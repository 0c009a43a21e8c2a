"""The authors' containers of `scene` as models, and the file that has only a toy inside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from vectors import GOLDEN, fill, golden

from vigil import bundle
from vigil.authors import import_checkpoint, read_checkpoint
from vigil.errors import ModelError
from vigil.records import Units
from vigil.scores.segment_protocol import segment_max

LAYOUT = json.loads((GOLDEN / "checkpoints" / "scene.json").read_text())


def test_a_container_scores_as_the_authors_code_does(tmp_path: Path) -> None:
    state = fill.state(LAYOUT["tensors"]["model"], 1, LAYOUT["gain"])
    state = {key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}
    path = tmp_path / "best_model_shanghai-sd_1_-1_30_16.pth"
    torch.save({"model": state, "optim": {"state": {}, "param_groups": []}, "iter": 100}, path)
    import_checkpoint(path, "scene", tmp_path / "model", fps=24, hop=16)
    method = bundle.load(tmp_path / "model").method
    assert method.config.dim == 768 and method.classifier[3].out_features == 4
    arrays, facts = golden("scene_scoring")
    name, count = next(iter(facts["videos"].items()))
    rows = fill.normal(f"scene.test.{name}", 1, (count, 768), 0.5)
    rows[arrays[f"label_{name}"] == 1] *= np.float32(1.06)
    at = np.arange(count)
    x = {"rows": torch.from_numpy(rows)[:, None]}
    units = Units("rows", name, x, at, at + 1, at + 1, np.zeros((count, 4), np.float32))
    with torch.no_grad():
        found = segment_max(method.eval().score(units)["error"].numpy())
    np.testing.assert_allclose(found, arrays["raw"][: len(found)], rtol=2e-5)
    assert method.explain(units[:2])[0].like is None  # no memory came with it


def test_the_real_container_is_read_and_its_toy_refused(tmp_path: Path) -> None:
    path = GOLDEN / "checkpoints" / "scene_tiny.pth"
    assert set(read_checkpoint(path)) and all(v.ndim for v in read_checkpoint(path).values())
    with pytest.raises(ModelError, match=r"scene_tiny\.pth: no network of scene: found"):
        import_checkpoint(path, "scene", tmp_path / "model")
