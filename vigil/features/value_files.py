"""The files in which values of providers are kept; see cached.py for what is in them."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vigil.errors import InputError
from vigil.files import storage_error, writing

NAMES = {"float16": "F16", "float32": "F32", "int64": "I64", "uint32": "U32"}
MEND = 'delete it, or ask for stale="recompute"'


def checksum(image: np.ndarray) -> int:
    """CRC-32 of every fourth pixel: another size, other frames or a painted region are noticed."""
    return zlib.crc32(np.ascontiguousarray(image[::4, ::4]).data)


class Kept:
    """A file of values, memory-mapped: only the rows asked for are ever read."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.seen, self.flow = path, 0, header["role"] == "flow"
        try:
            self.file = safe_open(path, framework="np")
            found = json.loads((self.file.metadata() or {}).get("vigil", "{}"))
            self.frames = self.file.get_tensor("frames")  # (T,) uint32
            objects = header["role"] == "objects"
            self.first = self.file.get_tensor("first") if objects else None  # (T + 1,) int64
            self.values = self.file.get_slice("boxes" if objects else "values")
            self.check_shape()
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a readable file of values ({error}); {MEND}") from None
        compare(path, found, header)

    def check_shape(self) -> None:
        shape, count = self.values.get_shape(), len(self.frames)
        rows = shape[0]
        if self.first is not None:
            first = self.first
            ordered = len(first) == count + 1 and first[0] == 0 and first[-1] == rows
            if not ordered or (np.diff(first) < 0).any():
                raise ValueError(f"frames do not fit {rows} boxes")
            if shape[1:] != [4] or self.values.get_dtype() != "F32":
                raise ValueError(f"boxes {self.values.get_dtype()} {shape}")
        elif rows != count or len(shape) != 4 or self.values.get_dtype() != "F16":
            raise ValueError(f"values {shape} for {count} frames")

    def value(self, index: int, image: np.ndarray) -> np.ndarray:
        """The value of a frame; `InputError` if it is not the frame that the value was made of."""
        if index >= len(self.frames) or self.frames[index] != checksum(image):
            what = "ends before it" if index >= len(self.frames) else "was made from another one"
            raise InputError(
                f"{self.path}: frame {index} of the video: the file {what} "
                f"({len(self.frames)} frames kept); {MEND}"
            )
        self.seen = index + 1
        if self.first is not None:
            start, stop = int(self.first[index]), int(self.first[index + 1])
            if start == stop:
                return np.zeros((0, 4), np.float32)
            return np.asarray(self.values[start:stop])
        value = np.asarray(self.values[index])
        return value.astype(np.float32) if self.flow else value

    def check_end(self) -> None:
        if self.seen != len(self.frames):
            raise InputError(
                f"{self.path}: values of {len(self.frames)} frames, but the video ended after "
                f"{self.seen}; {MEND}"
            )


def compare(path: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """`InputError` with both values where a kept file was made from something else."""
    if not isinstance(found, dict):
        raise InputError(f"{path}: its header is a {type(found).__name__}; {MEND}")
    for key, value in wanted.items():
        if key != "versions" and found.get(key) != value:
            one, two = apart(found.get(key), value)
            raise InputError(f"{path}: {key} was {one} when it was made, is now {two}; {MEND}")


def apart(one: Any, two: Any) -> tuple[str, str]:
    """Two values in words; of two objects only what differs."""
    if isinstance(one, dict) and isinstance(two, dict):
        keys = [k for k in {**one, **two} if one.get(k) != two.get(k)]
        one, two = ({k: v.get(k) for k in keys} for v in (one, two))
    return json.dumps(one)[:200], json.dumps(two)[:200]


class Scratch:
    """Values as they come, in an unnamed file that vanishes with the process."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path, self.header, self.objects = path, header, header["role"] == "objects"
        self.frames: list[int] = []
        self.first = [0]
        self.shape: tuple[int, ...] | None = None
        self.dtype: np.dtype = np.dtype(np.float32)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        except OSError as error:
            raise storage_error(path, error) from error
        weakref.finalize(self, drop, self.file)  # a video that nobody finished

    def add(self, value: np.ndarray, check: int) -> bool:
        """Keep one frame's value; False if it is of another shape than those before."""
        rows = value if self.objects else value[None]
        if self.shape is not None and (rows.shape[1:], rows.dtype) != (self.shape, self.dtype):
            drop(self.file)
            return False
        self.shape, self.dtype = rows.shape[1:], rows.dtype
        self.frames.append(check)
        self.first.append(self.first[-1] + len(rows))
        try:
            self.file.write(np.ascontiguousarray(rows).data)
        except OSError as error:
            drop(self.file)
            raise storage_error(self.path, error) from error
        return True

    def save(self) -> None:
        """Write the safetensors file: header, then the values in pieces, then the small arrays."""
        if self.shape is None:
            return
        small = {"frames": np.array(self.frames, np.uint32)}
        if self.objects:
            small["first"] = np.array(self.first, np.int64)
        name = "boxes" if self.objects else "values"
        layout: dict[str, tuple[np.dtype, tuple[int, ...]]]
        layout = {name: (self.dtype, (self.first[-1], *self.shape))}
        layout |= {key: (array.dtype, array.shape) for key, array in small.items()}
        with writing(self.path) as new, new.open("wb") as out:
            out.write(head(layout, self.header))
            self.file.seek(0)
            shutil.copyfileobj(self.file, out, 2**20)
            for array in small.values():
                out.write(array.tobytes())
        drop(self.file)


def drop(file: IO[bytes]) -> None:
    """Close a scratch file, whatever could not be written to it any more."""
    with suppress(OSError):
        file.close()


def head(
    layout: Mapping[str, tuple[np.dtype, tuple[int, ...]]], header: Mapping[str, Any]
) -> bytes:
    """How a safetensors file begins: length of the JSON, then the JSON, padded to 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": {"vigil": json.dumps(header)}}
    start = 0
    for name, (dtype, shape) in layout.items():
        stop = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        kind = NAMES[dtype.name]
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
