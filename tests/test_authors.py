"""Published checkpoints: every container, equal scores, and files that must be refused."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, moving_square

from vigil import authors, bundle, run
from vigil.authors import import_checkpoint, read_checkpoint
from vigil.errors import ConfigError, InputError, ModelError
from vigil.records import Units

GOLDEN = ROOT / "tests" / "golden"
CHECKPOINTS = GOLDEN / "checkpoints"
sys.path.insert(0, str(GOLDEN))
fill = importlib.import_module("fill")
MIL_FILES = ["mil_module_D64.pt", "mil_module_sibling_path_D64.pt", "mil_state_D64.pt"]


def state_of(name: str, part: str | None = None) -> dict[str, torch.Tensor]:
    layout = json.loads((CHECKPOINTS / f"{name}.json").read_text())
    spec = layout["tensors"][part] if part else layout["tensors"]
    made = fill.state(spec, 1, layout["gain"])
    return {key: torch.from_numpy(np.asarray(value)) for key, value in made.items()}


def check_mil(path: Path, out: Path) -> bundle.Model:
    """Import, save, load again: the scores of the authors' network."""
    import_checkpoint(path, "mil", out)
    model = bundle.load(out)
    assert model.method.config.dim == 64
    bag = torch.from_numpy(fill.normal("mil.bag.D64", 1, (6, 32, 64)))[:, :, None]
    wanted = np.load(GOLDEN / "mil_network_losses.npz")["D64_scores"][..., 0]
    found = model.method.probability(bag).detach()
    np.testing.assert_allclose(found, wanted, atol=5e-6, rtol=0)
    return model


# -- what is read --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MIL_FILES)
def test_mil_containers(name: str, tmp_path: Path) -> None:
    model = check_mil(CHECKPOINTS / name, tmp_path / "model")
    assert model.card["imported"] == name and model.card["fps"] == 30
    scores = run.score_video(with_rows_of_16(model), moving_square("any", 40))
    assert len(scores) == 40 and np.ptp(scores.score) > 0


def with_rows_of_16(model: bundle.Model) -> bundle.Model:
    """Rows of the test footage stand for 4 frames each; the model's window says the same."""
    from vigil.records import Window

    model.method.windows = {"rows": Window("features", (64,), length=4, stride=4)}
    model.method.lookahead = 3
    return model


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_prefixes_and_wrappers(prefix: str, wrapped: bool, tmp_path: Path) -> None:
    state: Any = OrderedDict((prefix + k, v) for k, v in state_of("mil", "64").items())
    torch.save({"epoch": 3, "state_dict": state} if wrapped else state, tmp_path / "c.pt")
    check_mil(tmp_path / "c.pt", tmp_path / "model")


MODULE = """
from torch import nn

class AnomalyDetector(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 512), nn.Linear(512, 32), nn.Linear(32, 1)
        self.relu1, self.dropout1, self.sig = nn.ReLU(), nn.Dropout(0.6), nn.Sigmoid()
"""


@pytest.mark.filterwarnings("ignore:Couldn.t retrieve source")
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_whole_modules_of_any_age(
    zipped: bool, wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickled here, also in the form of before torch 1.6, which keeps the class's source too."""
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "fc_layer.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    network = importlib.import_module("network.fc_layer").AnomalyDetector()
    network.load_state_dict(state_of("mil", "64"))
    file = tmp_path / "whole.pt"
    found = {"epoch": 9, "model": network} if wrapped else network
    torch.save(found, file, _use_new_zipfile_serialization=zipped)
    for name in ("network", "network.fc_layer"):
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "network" / "fc_layer.py").write_text("raise SystemExit('it was imported')")
    check_mil(file, tmp_path / "model")


def test_state_dicts_of_before_torch_1_6(tmp_path: Path) -> None:
    torch.save(state_of("mil", "64"), tmp_path / "o.pt", _use_new_zipfile_serialization=False)
    check_mil(tmp_path / "o.pt", tmp_path / "model")


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    torch.save({k: v.half() for k, v in state_of("mil", "64").items()}, tmp_path / "half.pt")
    assert all(v.dtype == torch.float32 for v in read_checkpoint(tmp_path / "half.pt").values())


@pytest.mark.parametrize("row", [False, True])
def test_sultanis_mat(row: bool, tmp_path: Path) -> None:
    """[W (in, out), b] under 0, 2 and 4; b as a vector or as one row."""
    from scipy.io import savemat

    state, found = state_of("mil", "64"), {}
    for key, layer in (("0", "fc1"), ("2", "fc2"), ("4", "fc3")):
        pair = np.empty(2, object)
        pair[0] = state[f"{layer}.weight"].numpy().T
        pair[1] = state[f"{layer}.bias"].numpy()[None if row else ...]
        found[key] = pair
    savemat(tmp_path / "weights_L1L2.mat", {**found, "1": np.empty(0), "3": np.empty(0)})
    check_mil(tmp_path / "weights_L1L2.mat", tmp_path / "model")


def test_rtfm_state(tmp_path: Path) -> None:
    """The published file's name and size, and the authors' scores after a round trip."""
    torch.save(state_of("rtfm"), tmp_path / "rtfm2935-i3d.pkl")
    import_checkpoint(tmp_path / "rtfm2935-i3d.pkl", "rtfm", tmp_path / "model", fps=24.0)
    model = bundle.load(tmp_path / "model")
    video = torch.from_numpy(fill.positive("rtfm.infer0", 1, (1, 10, 6, 2048), 0.5))[0]
    first = np.arange(6)
    rows = {"rows": video.transpose(0, 1)}  # (6, 10, 2048)
    seen = Units("rows", "v", rows, first, first + 1, first + 1, np.zeros((6, 4), np.float32))
    with torch.no_grad():
        found = model.method.score(seen)["anomaly"]
    wanted = np.load(GOLDEN / "rtfm_inference.npz")["case0_scores"][0, :, 0]
    np.testing.assert_allclose(found, wanted, atol=2e-6, rtol=0)
    assert model.fps == 24


# -- what is refused -----------------------------------------------------------------------------
class Bad:
    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)

    def __init__(self, path: Path) -> None:
        self.path = str(path)


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle", "inside"])
def test_code_is_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    file, mark = tmp_path / "evil.pt", tmp_path / "ran"
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Bad(mark)))
    else:
        what: Any = Bad(mark)
        if kind == "inside":  # behind a real module
            what = {"model": state_of("mil", "64"), "extra": [Bad(mark)]}
        torch.save(what, file, _use_new_zipfile_serialization=kind != "old torch")
    with pytest.raises(InputError, match="not data"):
        import_checkpoint(file, "mil", tmp_path / "model")
    assert not mark.exists() and not (tmp_path / "model").exists()


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_an_old_module_cut_short_is_refused(keep: float, tmp_path: Path) -> None:
    """The old form names its storages first and fills them last."""
    file = tmp_path / "old.pt"
    torch.save(state_of("mil", "64"), file, _use_new_zipfile_serialization=False)
    whole = file.read_bytes()
    with file.open("rb") as opened:
        found = authors.Old(opened, len(whole)).read()
    assert all(torch.equal(found[k], v) for k, v in state_of("mil", "64").items())
    file.write_bytes(whole[: int(len(whole) * keep)])
    with file.open("rb") as opened, pytest.raises(InputError, match="cut short|larger"):
        authors.Old(opened, len(whole)).read()
    with pytest.raises(InputError, match="old.pt"):
        read_checkpoint(file)


def test_a_ring_of_modules_ends() -> None:
    one, two = authors.Shell(), authors.Shell()
    vars(one).update(_modules={"a": two}, _parameters={"w": torch.ones(1)}, state="mine")
    vars(two).update(_modules={"b": one}, _buffers={"m": torch.ones(1)}, _parameters=[1])
    assert set(authors.shell_state(one)) == {"w", "a.m"}


def test_a_network_of_another_method_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"mil_state_D64.pt: no network of rtfm.*one of mil"):
        import_checkpoint(CHECKPOINTS / "mil_state_D64.pt", "rtfm", tmp_path / "model")
    with pytest.raises(ConfigError, match="did you mean 'mil'"):
        import_checkpoint(CHECKPOINTS / "mil_state_D64.pt", "mill", tmp_path / "model")


def test_another_width_is_told_with_both_values(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="64 dimensions, not 2048"):
        import_checkpoint(CHECKPOINTS / MIL_FILES[0], "mil", tmp_path / "model", dim=2048)


def test_wrong_shapes_missing_and_damaged_numbers(tmp_path: Path) -> None:
    state = state_of("mil", "64")
    torch.save({**state, "fc2.weight": torch.zeros(16, 512)}, tmp_path / "shape.pt")
    with pytest.raises(ModelError, match=r"shape.pt: does not fit mil: size mismatch for net.3"):
        import_checkpoint(tmp_path / "shape.pt", "mil", tmp_path / "model")
    torch.save({k: v for k, v in state.items() if k != "fc3.bias"}, tmp_path / "less.pt")
    with pytest.raises(ModelError, match="less.pt: no network of mil"):
        import_checkpoint(tmp_path / "less.pt", "mil", tmp_path / "model")
    torch.save({**state, "fc3.bias": torch.tensor([float("nan")])}, tmp_path / "nan.pt")
    with pytest.raises(InputError, match=r"nan.pt: fc3.bias holds NaN"):
        import_checkpoint(tmp_path / "nan.pt", "mil", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["none.pt", "noise.pt", "noise.mat", "short.pt", "text.pkl"])
def test_no_weights_at_all(name: str, tmp_path: Path) -> None:
    if name.startswith("noise"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(300))
    elif name.startswith("short"):
        (tmp_path / name).write_bytes((CHECKPOINTS / MIL_FILES[2]).read_bytes()[:2000])
    elif name.startswith("text"):
        (tmp_path / name).write_text("not a pickle")
    with pytest.raises(InputError, match=name):
        import_checkpoint(tmp_path / name, "mil", tmp_path / "model")


def test_keys_of_the_method_are_kept(tmp_path: Path) -> None:
    model = import_checkpoint(
        CHECKPOINTS / MIL_FILES[0], "mil", tmp_path / "model", answer="segments"
    )
    assert model.method.lookahead is None
    assert bundle.load(tmp_path / "model").method.config.answer == "segments"
