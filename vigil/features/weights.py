"""Reading weight files that strangers published: nothing in them is ever run."""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from vigil.errors import InputError
from vigil.files import ARRAYS, SafeUnpickler

CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "net")
LIMIT = 2**33  # bytes; the largest published file here has half a gigabyte
MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # in the first bytes of what torch saved before 1.6
TENSORS = {
    ("torch._utils", "_rebuild_tensor"), ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"), ("torch.storage", "_load_from_bytes"),
}  # fmt: skip
# numbers and settings that training scripts put beside the tensors, under old and new names
PLAIN: list[Any] = [
    np.dtype, np.ndarray, argparse.Namespace, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
    *(
        (np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")
    ),
    *(
        (np.zeros(1).__reduce__()[0], f"numpy.{core}.multiarray._reconstruct")
        for core in ("core", "_core")
    ),
]  # fmt: skip


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The state dict in a weight file, on the CPU.

    Reads safetensors and everything `torch.save` or `pickle` wrote as plain tensors: state dicts,
    bare or under a key such as "state_dict", with or without "module." in front of every key,
    saved on any device. Raises InputError for what is no such file or holds more than data.
    """
    path = Path(path)
    check_file(path)
    state = find_state(read_any(path))
    if state is None:
        raise InputError(f"{path}: no state dict of tensors in it; expected {{name: tensor, ...}}")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a file of weights") from error
    if not path.is_file() or not 0 < size <= LIMIT:
        raise InputError(f"{path}: not a file of 1..{LIMIT} bytes")


def read_any(path: Path) -> Any:
    """Whatever the file holds, if it is data alone."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with path.open("rb") as file:
            head = file.read(64)
            if head.startswith(b"PK\x03\x04") or MAGIC in head:
                return load_torch(path)
            file.seek(0)
            return Plain(file, ARRAYS | TENSORS).load()
    except Exception as error:  # a damaged file can make any reader stumble over anything
        asked = re.search(r"(?:GLOBAL|asks for) ([\w.]*\w)[, ]", str(error))
        if asked:
            raise InputError(
                f"{path}: asks for {asked[1]}, which is not data, so it was not opened; save its "
                "state dict alone, or convert it with `vigil import`"
            ) from error
        reason = str(error).rpartition("Unpickler error:")[2].strip()
        reason = reason.partition("\n")[0].partition(". ")[0]
        raise InputError(f"{path}: not a readable file of weights ({reason})") from error


def load_torch(file: Path | IO[bytes]) -> Any:
    """What `torch.save` wrote, tensors on the CPU; training scripts' scalars are let through."""
    with torch.serialization.safe_globals(PLAIN), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about pickle protocols and old storages: read all the same
        return torch.load(file, map_location="cpu", weights_only=True)


class Plain(SafeUnpickler):
    """Containers, arrays and tensors that `pickle.dump` wrote, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):  # runs pickles inside: ours not
            return lambda data: load_torch(io.BytesIO(data))
        return super().find_class(module, name)


def find_state(found: Any) -> dict[str, Tensor] | None:
    """The first mapping of names to tensors: the thing itself, or under a usual key."""
    if not isinstance(found, Mapping) or not found:
        return None
    tensors = {key: as_tensor(value) for key, value in found.items() if isinstance(key, str)}
    if len(tensors) == len(found) and None not in tensors.values():
        return {key: value for key, value in tensors.items() if value is not None}
    for key in CONTAINERS:
        state = find_state(found.get(key))
        if state is not None:
            return state
    return None


def as_tensor(value: Any) -> Tensor | None:
    """A tensor, or an array of numbers made one; None for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))
    return value if isinstance(value, Tensor) else None
