"""Rows of features on disk: one safetensors file a video, with a header that says what made them.

    features    (N, crops, D) float32
    first, stop (N,) int64: the frames [first, stop) that each row stands for

"My features differ" is then a question of comparing two headers. Files are memory-mapped when read
and appear only when whole; rows are streamed, so a video may be as long as it likes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vigil import __version__
from vigil.errors import InputError
from vigil.features.base import FeatureRow
from vigil.features.value_files import head
from vigil.files import storage_error, writing

SUFFIX = ".safetensors"
SAME = ("backbone", "weights", "preprocessing", "frames", "stride", "dim")  # must agree to be mixed


@dataclass(frozen=True)
class Header:
    """What made the rows of one video.

    backbone, preprocessing  its name and its words;  weights  SHA-256 of the file, "" without one
    frames, stride           of one clip, and from one clip to the next
    crops, dim               of one row;  engine, dtype, parity  how the network ran
    video, fps, size         what it was made from: the video's name, rate and (height, width)
    count                    frames in the video;  damaged  (first, stop) of frames it had lost
    """

    backbone: str
    weights: str
    preprocessing: str
    frames: int
    stride: int
    crops: int
    dim: int
    engine: str = ""
    dtype: str = "float32"
    parity: float = 0.0
    video: str = ""
    fps: float = 0.0
    size: tuple[int, int] = (0, 0)
    count: int = 0
    damaged: tuple[tuple[int, int], ...] = ()
    versions: Mapping[str, str] = field(default_factory=lambda: {"vigil": __version__})

    def identity(self) -> dict[str, Any]:
        """What two headers must share for their rows to be of one kind."""
        return {name: getattr(self, name) for name in SAME}


def compare(found: Mapping[str, Any], wanted: Mapping[str, Any], where: object) -> None:
    """`InputError` naming both values if features were not made as is needed."""
    for key in SAME:
        one, two = found.get(key), wanted.get(key)
        if one != two:
            raise InputError(
                f"{where}: features made with {key} {short(one)}, but {short(two)} is needed; "
                "extract them again, or use a model fitted on such features"
            )


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 90 else text[:87] + "..."


class Rows:
    """The rows of one video, memory-mapped: `header`, `first`, `stop`, and `read`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = safe_open(path, framework="np")
            told = json.loads((self.file.metadata() or {}).get("vigil", "{}"))
            known = {item.name for item in fields(Header)}
            told = {key: value for key, value in told.items() if key in known}
            self.header = Header(**{**told, "size": tuple(told.get("size", (0, 0)))})
            self.first = self.file.get_tensor("first")
            self.stop = self.file.get_tensor("stop")
            self.values = self.file.get_slice("features")
            self.shape = tuple(self.values.get_shape())
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not a readable file of features ({error}); delete it and extract again"
            ) from error
        rows, crops, dim = (*self.shape, 0, 0, 0)[:3]
        wanted = (len(self.first), self.header.crops, self.header.dim)
        if (rows, crops, dim) != wanted or len(self.stop) != rows or len(self.shape) != 3:
            raise InputError(f"{path}: features {self.shape}, expected {wanted} by its header")

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows [start, stop) as (n, crops, D) float32."""
        return np.asarray(self.values[start : len(self.first) if stop is None else stop])

    def rows(self) -> list[FeatureRow]:
        """All of them as a provider gives them."""
        value = self.read()
        return [
            FeatureRow(value[n], int(a), int(b))
            for n, (a, b) in enumerate(zip(self.first, self.stop, strict=True))
        ]


def file_of(folder: Path | str, video: str) -> Path:
    """Where the rows of a video are kept."""
    return Path(folder) / f"{video}{SUFFIX}"


class Writer:
    """Takes rows one after the other and leaves one whole file, or none.

    Use as a context; `keep(header)` at the end says that all rows came.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.bounds, self.header = path, list[tuple[int, int]](), None
        self.shape: tuple[int, ...] = ()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.scratch = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        except OSError as error:
            raise storage_error(path, error) from error

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.scratch.close()

    def add(self, row: FeatureRow) -> None:
        """One row, (crops, D) float32."""
        self.shape = row.value.shape
        self.bounds.append((row.first, row.stop))
        try:
            self.scratch.write(np.ascontiguousarray(row.value, np.float32).tobytes())
        except OSError as error:
            raise storage_error(self.path, error) from error

    def keep(self, header: Header) -> None:
        """All rows came: write the file."""
        bounds = np.array(self.bounds, np.int64).reshape(-1, 2)
        layout: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
            "features": (np.dtype(np.float32), (len(bounds), *self.shape)),
            "first": (bounds.dtype, (len(bounds),)),
            "stop": (bounds.dtype, (len(bounds),)),
        }
        with writing(self.path) as new, new.open("wb") as out:
            out.write(head(layout, asdict(header)))
            self.scratch.seek(0)
            shutil.copyfileobj(self.scratch, out, 2**20)
            out.write(bounds[:, 0].tobytes() + bounds[:, 1].tobytes())


def write_rows(path: Path, rows: Iterable[FeatureRow], header: Header) -> None:
    """Rows that are all at hand, as one file."""
    with Writer(path) as writer:
        for row in rows:
            writer.add(row)
        writer.keep(header)


@dataclass(frozen=True)
class StoredRows:
    """Reads the rows of one file when called; `header` says what made them."""

    path: Path
    header: Header

    def __call__(self) -> list[FeatureRow]:
        return Rows(self.path).rows()
