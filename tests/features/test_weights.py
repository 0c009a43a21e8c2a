"""Weight files as people publish them: every container, and nothing in them is ever run."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vigil import plugins
from vigil.errors import ConfigError, InputError, ModelError
from vigil.features.weights import file_hash, read_weights

LAYOUTS = Path(__file__).parent.parent / "golden" / "checkpoints"
NAMES = {
    "c3d": "c3d", "r3d-50": "r3d50", "i3d-inception": "i3d_inception",
    "i3d-inception-squash": "i3d_inception", "i3d-r50": "i3d_r50",
}  # fmt: skip
SMALL = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.tensor([0.5, -1.0]),
    "n.num_batches_tracked": torch.tensor(7),
}
Write = Callable[[Any, Path], None]


def legacy(thing: Any, path: Path) -> None:
    torch.save(thing, path, _use_new_zipfile_serialization=False)


def pickled(thing: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(thing))


def old_pickled(thing: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(thing, protocol=2))


WAYS: dict[str, Write] = {
    "zip.pth": torch.save, "legacy.pth": legacy, "plain.pickle": pickled,
    "python2.pkl": old_pickled,
}  # fmt: skip
BESIDE = {  # what training scripts save beside the tensors
    "epoch": 200, "arch": "resnet", "best": np.float64(0.5), "auc": [np.float32(0.25)],
    "curve": np.zeros(3), "scheduler": {"milestones": Counter([50, 100])},
    "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
}  # fmt: skip


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert torch.equal(found[key], value) and found[key].dtype == value.dtype, key


# -- containers -----------------------------------------------------------------------------------
@pytest.mark.parametrize("way", WAYS)
def test_bare_state_dict(way: str, tmp_path: Path) -> None:
    path = tmp_path / way
    WAYS[way](SMALL, path)
    assert_same(read_weights(path), SMALL)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "python2.pkl"])
def test_state_dict_among_other_things(way: str, tmp_path: Path) -> None:
    path = tmp_path / way
    state = OrderedDict((f"module.{key}", torch.nn.Parameter(value.float(), False))
                        for key, value in SMALL.items())  # fmt: skip
    beside = {k: v for k, v in BESIDE.items() if k != "scheduler" or "pickle" not in way}
    WAYS[way]({**beside, "state_dict": state}, path)
    found = read_weights(path)
    assert_same({k: v.data for k, v in found.items()}, {k: v.float() for k, v in SMALL.items()})


def test_settings_of_the_training_script_are_let_through(tmp_path: Path) -> None:
    settings = argparse.Namespace(lr=0.1, name="x")
    torch.save({"args": settings, "model": {"net": SMALL}}, tmp_path / "a.pt")
    assert_same(read_weights(tmp_path / "a.pt"), SMALL)


def test_safetensors(tmp_path: Path) -> None:
    save_file({f"module.{key}": value for key, value in SMALL.items()}, tmp_path / "a.safetensors")
    found = read_weights(tmp_path / "a.safetensors")
    assert_same(dict(sorted(found.items())), dict(sorted(SMALL.items())))


@pytest.mark.parametrize("way", ["python2.pkl", "plain.pickle", "zip.pth"])
def test_arrays_become_tensors(way: str, tmp_path: Path) -> None:
    WAYS[way]({key: value.numpy() for key, value in SMALL.items()}, tmp_path / way)
    assert_same(read_weights(tmp_path / way), SMALL)


@pytest.mark.parametrize("way", ["zip.pth", "legacy.pth"])
def test_tensors_of_a_gpu_come_to_the_cpu(way: str, tmp_path: Path) -> None:
    """The place "cpu" written in the file is made "cuda:0", as a file from a GPU has it."""
    path, places = tmp_path / way, (b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    WAYS[way](SMALL, path)
    if way == "legacy.pth":
        data = path.read_bytes()
        assert places[0] in data
        path.write_bytes(data.replace(*places))
    else:
        with zipfile.ZipFile(path) as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w") as new:
            for name, data in members.items():
                new.writestr(name, data.replace(*places) if name.endswith("data.pkl") else data)
        assert any(places[0] in data for data in members.values())
    found = read_weights(path)
    assert_same(found, SMALL)
    assert all(value.device.type == "cpu" for value in found.values())


# -- published layouts ----------------------------------------------------------------------------
def published(name: str) -> dict[str, Tensor]:
    """The published keys and shapes, every tensor full of one number: small files, true layouts."""
    layout = json.loads((LAYOUTS / f"backbone_{NAMES[name]}.json").read_text())["tensors"]
    return {
        key: torch.tensor(1.0 + n / 1024).expand(spec["shape"])
        if spec["dtype"] == "float32"
        else torch.zeros(spec["shape"], dtype=torch.int64)
        for n, (key, spec) in enumerate(layout.items())
    }


@pytest.mark.parametrize("way", ["zip.pth", "legacy.pth"])
@pytest.mark.parametrize("name", NAMES)
def test_published_layout_loads(name: str, way: str, tmp_path: Path) -> None:
    state = published(name)
    boxed = {f"module.{key}": value for key, value in state.items()}
    WAYS[way]({"state_dict": boxed, "epoch": 200, "arch": "x"}, tmp_path / way)
    net = plugins.find("backbones", name)().network(read_weights(tmp_path / way))
    for key, value in net.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(value, state[key]), key
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("name", ["i3d-inception", "i3d-r50"])
def test_files_older_than_the_counters_of_batch_norm_load(name: str) -> None:
    full = published(name)
    state = {key: value for key, value in full.items() if "num_batches_tracked" not in key}
    net = plugins.find("backbones", name)().network(state)
    counters = {k: v for k, v in net.state_dict().items() if "num_batches_tracked" in k}
    assert len(counters) in (53, 57) and not any(value.any() for value in counters.values())


def test_the_head_may_have_any_number_of_classes() -> None:
    state = published("i3d-inception")
    state["logits.conv3d.weight"] = torch.ones(()).expand(157, 1024, 1, 1, 1)
    state["logits.conv3d.bias"] = torch.zeros(157)
    plugins.find("backbones", "i3d-inception-squash")().network(state)


def test_a_safetensors_file_feeds_a_network(tmp_path: Path) -> None:
    state = {key: value.contiguous() for key, value in published("i3d-inception").items()}
    save_file(state, tmp_path / "i3d.safetensors")
    net = plugins.find("backbones", "i3d-inception")().network(
        read_weights(tmp_path / "i3d.safetensors")
    )
    key = "Mixed_5c.b2b.conv3d.weight"
    assert torch.equal(net.state_dict()[key], state[key])


def test_hash_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert file_hash(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


# -- the wrong file -------------------------------------------------------------------------------
def test_another_networks_weights_are_refused_by_key() -> None:
    with pytest.raises(ModelError) as told:
        plugins.find("backbones", "i3d-inception")().network(published("i3d-r50"))
    words = str(told.value)
    assert "285 missing (Conv3d_1a_7x7.conv3d.weight," in words
    assert "267 unknown (conv1.weight," in words and "rgb_imagenet.pt" in words


def test_missing_keys_and_shapes_are_named() -> None:
    state = published("c3d")
    del state["conv3b.bias"]
    state["conv1.weight"] = torch.zeros(64, 2, 3, 3, 3)
    with pytest.raises(ModelError) as told:
        plugins.find("backbones", "c3d")().network(state)
    assert "1 missing (conv3b.bias)" in str(told.value)
    shapes = "conv1.weight (64, 2, 3, 3, 3), expected (64, 3, 3, 3, 3)"
    assert f"1 of another shape ({shapes})" in str(told.value)


def test_weights_that_are_no_numbers_are_refused() -> None:
    state = {**published("c3d"), "conv2.bias": torch.full((128,), torch.nan)}
    with pytest.raises(ModelError, match=r"not finite in conv2\.bias"):
        plugins.find("backbones", "c3d")().network(state)


@pytest.mark.parametrize("name", NAMES)
def test_no_weights_says_which_file_is_wanted(name: str) -> None:
    with pytest.raises(ModelError, match=r"no weights given; it reads \S+\.(pickle|pth|pt) "):
        plugins.find("backbones", name)().network(None)


@pytest.mark.parametrize(
    ("name", "crops"), [("c3d", 10), ("r3d-152", 5), ("i3d-r50", 3), ("i3d-inception-squash", 10)]
)
def test_crops_it_cannot_make_are_refused(name: str, crops: int) -> None:
    with pytest.raises(ConfigError, match=f"{name}: {crops} crops; it can make 1"):
        plugins.find("backbones", name)(crops)


# -- no file of weights ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "data", [b"", b"<html>quota exceeded", b"hello world" * 20, b"\x80\x02}q\x00.", b"PK\3\4"]
)
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_other_files_are_refused_by_name(data: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=name):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("way", WAYS)
def test_truncated_files_are_refused(way: str, share: float, tmp_path: Path) -> None:
    WAYS[way](SMALL, tmp_path / way)
    data = (tmp_path / way).read_bytes()
    (tmp_path / way).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=f"{way}: not a readable file of weights"):
        read_weights(tmp_path / way)


def test_a_protocol_that_cannot_be_checked_is_named(tmp_path: Path) -> None:
    """torch reads such files only by trusting them."""
    torch.save(SMALL, tmp_path / "a.pt", pickle_protocol=4)
    with pytest.raises(InputError, match=r"not a readable file of weights \(Unsupported operand"):
        read_weights(tmp_path / "a.pt")


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pth: No such file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(InputError, match="not a file"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    "thing", [{}, [1, 2], {"epoch": 3}, {"state_dict": {"a": "b"}}, {1: SMALL}]
)
def test_no_state_dict_in_it(thing: Any, tmp_path: Path) -> None:
    torch.save(thing, tmp_path / "a.pth")
    with pytest.raises(InputError, match="no state dict of tensors"):
        read_weights(tmp_path / "a.pth")


# -- malice ---------------------------------------------------------------------------------------
class Trap:
    """Unpickled without care, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


class Nested:
    """A tensor's storage whose bytes are a trap: torch's own unpickling would open them."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        import torch.storage

        return torch.storage._load_from_bytes, (pickle.dumps(Trap(self.mark)),)


@pytest.mark.parametrize("trap", [Trap, Nested])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_in_a_file_is_run(way: str, trap: type, tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / way
    WAYS[way]({"state_dict": {**SMALL, "x": trap(mark)}}, path)
    with pytest.raises(InputError, match=way):
        read_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize("trap", [Trap, Nested])
def test_the_traps_do_work_on_the_careless(trap: type, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    try:
        pickle.loads(pickle.dumps(trap(mark)))
    except Exception as error:  # of torch, after the harm: a folder's name is no storage
        assert trap is Nested, error
    assert mark.exists()
