"""The authors' published checkpoints as models of Vigil: `vigil import FILE --method NAME`.

Read are state dicts, whole modules that `torch.save` pickled (their classes become `Shell`s, none
of their code is looked for), and Sultani's weights_L1L2.mat. A file that holds more than data is
refused and nothing in it is run. Each method says in its `from_published` how keys become its own.
"""

from __future__ import annotations

import io
import re
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vigil import bundle, plugins
from vigil.bundle import Model
from vigil.errors import InputError, ModelError, unknown
from vigil.features.weights import MAGIC, PLAIN, check_file, file_hash, read_any, read_weights
from vigil.files import SafeUnpickler
from vigil.methods import destroyer, jigsaw, mama, mil, rtfm, s3r, scene

State = dict[str, Tensor]
# (state dict as published, config keys given) -> (config keys, tensors of the method);
# raises ModelError where the state dict is not of this method
Layout = Callable[[State, Mapping[str, Any]], tuple[dict[str, Any], State]]
LAYOUTS: dict[str, Layout] = {
    "mil": mil.from_published, "rtfm": rtfm.from_published, "s3r": s3r.from_published,
    "jigsaw": jigsaw.from_published, "mama": mama.from_published,
    "destroyer": destroyer.from_published, "scene": scene.from_published,
}  # fmt: skip

STORES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "LongStorage": torch.int64, "IntStorage": torch.int32,
}  # fmt: skip
PLAIN_OLD = {("collections", "OrderedDict"), ("__builtin__", "set"), ("builtins", "set")}
# modules that were pickled whole: the classes of the two projects, and what they are made of
PICKLED = (
    "network.anomaly_detector_model.AnomalyDetector", "network.fc_layer.AnomalyDetector",
    "torch.nn.modules.linear.Linear", "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.container.Sequential",
)  # fmt: skip


def import_checkpoint(
    path: Path | str, method: str, out: Path | str, *, fps: float = 30.0, **config: Any
) -> Model:
    """A published checkpoint as a model folder `out`, ready to score; it has no calibration.

    method  whose network it is: a key of `LAYOUTS`
    fps     frame rate of the videos that it was trained on (UCF-Crime 30, ShanghaiTech 24)
    config  keys of the method, and of the one it stands on (its own first); those that the file
            tells (its width) need not be given

    Raises InputError for what is no file of weights, ModelError where they are of another network.
    """
    if method not in LAYOUTS:
        raise unknown("method with published checkpoints", method, LAYOUTS)
    path = Path(path)
    state = read_checkpoint(path)
    config, of_base = apart(method, config)
    try:
        keys, own = LAYOUTS[method](state, config)
    except ModelError as error:
        raise ModelError(f"{path}: {error}{hint(state, method)}") from None
    if config.get("dim", keys.get("dim")) != keys.get("dim"):
        raise ModelError(
            f"{path}: made for features of {keys['dim']} dimensions, not {config['dim']}"
        )
    try:
        made = plugins.find("methods", method)(base=base_of(state, method, of_base), **keys)
        made.name = method
        made.set_tensors(own)
    except RuntimeError as error:
        raise ModelError(f"{path}: does not fit {method}: {told(error)}") from error
    model = Model(method, made.eval(), bundle.make_providers(made), card_of(path, made, fps))
    bundle.save(model, out)
    return model


def apart(method: str, keys: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keys for a method, and those that only the method it stands on knows."""
    kind = plugins.find("methods", method)
    known = plugins.find("methods", kind.stands_on).Config if kind.stands_on else kind.Config
    own_fields, fields = kind.Config.__dataclass_fields__, known.__dataclass_fields__
    lower = {key for key in keys if key in fields and key not in own_fields}
    own = {key: value for key, value in keys.items() if key not in lower}
    return own, {key: keys[key] for key in lower}


def base_of(state: State, method: str, config: Mapping[str, Any]) -> Any:
    """The method that `method` stands on, from the same file; None if it needs none."""
    name = plugins.find("methods", method).stands_on
    if name is None:
        return None
    keys, own = LAYOUTS[name](state, config)
    base = plugins.find("methods", name)(**keys)
    base.set_tensors(own)
    return base.eval()


def card_of(path: Path, method: Any, fps: float) -> dict[str, Any]:
    """Where an imported model comes from."""
    return {
        "imported": path.name,
        "sha256": file_hash(path),
        "fps": fps,
        "train": [],
        "val": [],
        "torch": torch.__version__,
        "engine": "torch",
        "dtype": "float32",
        "licence": "that of the published file",
        "cite": (type(method).__doc__ or "").partition("cite")[2].strip(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def hint(state: State, method: str) -> str:
    """For a message: the methods that such a state dict would fit."""
    fits = []
    for name, layout in LAYOUTS.items():
        try:
            layout(state, {})
        except (ModelError, InputError):
            continue
        fits += [name] if name != method else []
    return f"; it looks like one of {' or '.join(fits)}" if fits else ""


def told(error: RuntimeError) -> str:
    """What torch says about a state dict that does not fit, as one short line."""
    lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
    text = " ".join(lines) or str(error)
    return text if len(text) <= 300 else text[:297] + "..."


# -- files ---------------------------------------------------------------------------------------
def read_checkpoint(path: Path | str) -> State:
    """The state dict in a published file, float32 on the CPU, every number finite."""
    path = Path(path)
    check_file(path)
    state = read_mat(path) if path.suffix == ".mat" else read_torch(path)
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{path}: {key} holds NaN or Inf; the file is damaged")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def read_torch(path: Path) -> State:
    """A state dict, those of several networks, or that of a module that was pickled whole."""
    try:
        return read_weights(path)
    except InputError as error:
        state = read_nets(path) or read_module(path)
        if state is None:  # its advice to import the file would lead in a circle
            raise InputError(str(error).partition(", or convert it")[0]) from error
        return state


def read_nets(path: Path) -> State | None:
    """The state dicts net_g, net_d, ... of one file, each tensor as "net_g.its key"; None if the
    file is of another kind."""
    try:
        found = read_any(path)
    except InputError:
        return None
    nets = found.items() if isinstance(found, Mapping) else ()
    parts = {k: v for k, v in nets if str(k).startswith("net_") and isinstance(v, Mapping)}
    return {
        f"{name}.{key.removeprefix('module.')}": value
        for name, part in parts.items()
        for key, value in part.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    } or None


class Shell:
    """Stands in for a pickled module: holds its attributes, has no behaviour."""


def read_module(path: Path) -> State | None:
    """The state dict of a module that was pickled whole; None if the file is of another kind."""
    try:
        with path.open("rb") as file:
            old = MAGIC in file.read(64)
            file.seek(0)
            found = Old(file, path.stat().st_size).read() if old else load_zip(path)
    except Exception:  # what is wrong with it, `read_weights` has said
        return None
    if isinstance(found, Mapping):  # {"model": module, "epoch": ...}
        found = next((value for value in found.values() if isinstance(value, Shell)), None)
    return shell_state(found) if isinstance(found, Shell) else None


def load_zip(path: Path) -> Any:
    """What `torch.save` wrote since 1.6, by torch's own reader of data alone."""
    shells: list[Any] = [(Shell, name) for name in PICKLED]
    with torch.serialization.safe_globals([*PLAIN, *shells]):
        return torch.load(path, map_location="cpu", weights_only=True)


class Old(SafeUnpickler):
    """What `torch.save` wrote before 1.6, modules too, which torch's own reader refuses.

    Three small pickles (magic number, protocol, system), the thing itself with its storages named
    but not held, the list of their names, and then each as a count and that many numbers.
    """

    def __init__(self, file: io.BufferedReader, limit: int) -> None:
        super().__init__(file, PLAIN_OLD)
        self.file, self.left = file, limit
        self.stores: dict[str, tuple[torch.dtype, torch.UntypedStorage]] = {}

    def read(self) -> Any:
        for _ in range(3):
            SafeUnpickler(self.file, ()).load()
        found = self.load()
        for key in SafeUnpickler(self.file, ()).load():
            dtype, store = self.stores[key]
            (count,) = struct.unpack("<q", self.file.read(8))
            data = self.file.read(store.nbytes())
            if count * dtype.itemsize != store.nbytes() or len(data) != store.nbytes():
                raise InputError(f"storage {key} is cut short")
            torch.tensor([], dtype=torch.uint8).set_(store).copy_(
                torch.frombuffer(bytearray(data), dtype=torch.uint8)
            )
        return found

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in PICKLED:
            return Shell
        own = {**STORES, "_rebuild_tensor_v2": view, "_rebuild_parameter": lambda data, *rest: data}
        if module in ("torch", "torch._utils") and name in own:
            return own[name]
        if name == "_get_thnn_function_backend":  # an attribute of modules before 1.3
            return lambda: None
        return super().find_class(module, name)

    def persistent_load(self, saved: Any) -> Any:
        """The class of a module (its source beside it is not looked at), or a storage by name."""
        if saved[0] == "module":
            return saved[1]
        _, dtype, key, _, count, _ = saved
        if key not in self.stores:
            self.left -= count * dtype.itemsize
            if count < 0 or self.left < 0:
                raise InputError(f"storage {key} is larger than the file")
            self.stores[key] = dtype, torch.UntypedStorage(count * dtype.itemsize)
        return self.stores[key]


def view(
    store: tuple[torch.dtype, torch.UntypedStorage],
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *rest: Any,
) -> Tensor:
    """The tensor of a storage that will be filled later."""
    return torch.empty(0, dtype=store[0]).set_(store[1], offset, size, stride)


def shell_state(shell: Shell, start: str = "", seen: frozenset[int] = frozenset()) -> State:
    """Parameters and buffers of a module and of those in it, by their dotted names."""
    found: State = {}
    seen |= {id(shell)}  # a file may hold a ring
    for group in ("_parameters", "_buffers"):
        for name, value in entries(shell, group):
            found |= {start + name: value.detach()} if isinstance(value, Tensor) else {}
    for name, module in entries(shell, "_modules"):
        if isinstance(module, Shell) and id(module) not in seen:
            found |= shell_state(module, f"{start}{name}.", seen)
    return found


def entries(shell: Shell, group: str) -> list[tuple[str, Any]]:
    """The named things of a shell; whatever else the file put there is passed over."""
    held = vars(shell).get(group)
    return [(k, v) for k, v in held.items() if isinstance(k, str)] if isinstance(held, dict) else []


def read_mat(path: Path) -> State:
    """Sultani's weights_L1L2.mat in the ports' names.

    Its keys 0, 2 and 4 hold [W (in, out), b] of the three layers; 1 and 3, dropout, are empty.
    """
    from scipy.io import loadmat

    try:
        found = loadmat(path, variable_names=["0", "2", "4"])
        layers = [found[key].ravel() for key in ("0", "2", "4")]
        pairs = [(layer[0].astype("float32"), layer[1].astype("float32")) for layer in layers]
    except Exception as error:  # a damaged file can make the reader stumble over anything
        reason = re.sub(r"\s+", " ", str(error))[:200]
        raise InputError(
            f"{path}: not the weights of mil; expected arrays [W, b] under 0, 2 and 4 ({reason})"
        ) from error
    state: State = {}
    for n, (weight, bias) in enumerate(pairs, start=1):
        state[f"fc{n}.weight"] = torch.from_numpy(weight).T.contiguous()
        state[f"fc{n}.bias"] = torch.from_numpy(bias).reshape(-1)
    return state
