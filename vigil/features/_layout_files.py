"""The files of other projects' features: what is in them, checked, and writing them.

Values are (N, crops, D) float32 wherever they leave this module.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vigil.errors import InputError, need_extra
from vigil.files import ARRAYS, SafeUnpickler, writing

SEGMENTS = 32
TEXT_LIMIT = 2**26  # bytes of a text file; 32 rows of 4096 numbers take about one million
HDF5_WHY = "reading and writing features in HDF5"


# -- text: 32 lines of D numbers --------------------------------------------------------------
def text_dim(path: Path) -> int:
    """How many numbers the first line has."""
    try:
        with path.open("rb") as file:
            return len(file.readline(TEXT_LIMIT).split())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def read_text_rows(path: Path) -> np.ndarray:
    """(32, 1, D) from a text of 32 lines; any whitespace between numbers, empty lines ignored."""
    try:
        if path.stat().st_size > TEXT_LIMIT:
            raise InputError(f"{path}: {path.stat().st_size} bytes; at most {TEXT_LIMIT} expected")
        text = path.read_text(encoding="latin1")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    try:
        lines = text.splitlines() if text.strip() else ["0"]
        values = np.loadtxt(lines, np.float32, comments=None, ndmin=2)
    except ValueError:
        raise InputError(f"{path}: {_text_fault(text)}") from None
    if len(values) != SEGMENTS:
        raise InputError(f"{path}: {_text_fault(text)}")
    return checked(values[:, None], path)


def _text_fault(text: str) -> str:
    """What is wrong with a text of rows, in words."""
    widths = [count for line in text.splitlines() if (count := len(line.split()))]
    if len(widths) != SEGMENTS or len(set(widths)) != 1:
        return (
            f"{len(widths)} lines of {min(widths, default=0)} to {max(widths, default=0)} numbers; "
            f"expected {SEGMENTS} lines of equally many"
        )
    brackets = "; nested brackets, as one project wrote for I3D, cannot be read"
    more = brackets if text.lstrip().startswith("[") else ""
    return f"a word that is no number{more}; expected numbers only"


def write_text_rows(path: Path, values: np.ndarray, end: str = "") -> None:
    """(32, D) as text that gives back the same float32 values; `end` closes each line."""
    with writing(path) as new, new.open("w", encoding="ascii") as file:
        for row in values:
            file.write(" ".join(f"{value:.9g}" for value in row.tolist()) + end + "\n")


# -- npy -----------------------------------------------------------------------------------------
def open_npy(path: Path) -> np.ndarray:
    """The array of an .npy, memory-mapped; one of Python objects through a restricted unpickler."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Object arrays" not in str(error) and "Array can't be memory-mapped" not in str(error):
            raise InputError(f"{path}: not a readable array ({error})") from error
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{path}: not a readable array ({error})") from error
    return _unpickled(path)


def _unpickled(path: Path) -> np.ndarray:
    """An object array: a list of equally shaped numeric arrays, or one wrapped array."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read: Any = np.lib.format.read_array_header_1_0
            read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
            read(file)
            found = SafeUnpickler(io.BytesIO(file.read()), ARRAYS).load()
        array = np.asarray(found)
        if array.dtype == object:
            array = np.stack([np.asarray(item, np.float32) for item in array.ravel()])
        return array[0] if found.shape == () else array
    except InputError as error:
        raise InputError(f"{path}: {error}; save it anew as a plain float array") from None
    except Exception as error:  # a damaged file can raise anything
        raise InputError(
            f"{path}: an array of Python objects that are not equally long rows of numbers "
            f"({error}); save it anew as a plain float array"
        ) from None


def as_rows(array: np.ndarray, path: Path) -> tuple[np.ndarray, bool]:
    """((T, crops, D) view, whether the crops came first in the file).

    (T, D) is one crop; (10, T, D) with T other than 1, 5 and 10 has its crops first.
    """
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise InputError(
            f"{path}: {array.dtype} {array.shape}; expected floats (rows, crops, D) or (rows, D)"
        )
    if array.ndim == 2:
        return array[:, None], False
    first = array.shape[0] == 10 and array.shape[1] not in (1, 5, 10)
    return (array.transpose(1, 0, 2) if first else array), first


def read_npy_rows(path: Path) -> np.ndarray:
    """(T, crops, D) of one file that holds all crops."""
    return checked(as_rows(open_npy(path), path)[0], path)


def read_crop_rows(paths: Sequence[Path]) -> np.ndarray:
    """(T, crops, D) of one file (T, D) a crop."""
    arrays = [as_rows(open_npy(path), path)[0] for path in paths]
    for path, array in zip(paths, arrays, strict=True):
        if array.shape != arrays[0].shape or array.shape[1] != 1:
            raise InputError(
                f"{path}: {array.shape}, but {paths[0].name} has {arrays[0].shape}; "
                "expected (rows, 1, D), the same for every crop"
            )
    parts = [checked(array, path) for path, array in zip(paths, arrays, strict=True)]
    return np.concatenate(parts, axis=1)


def write_npy(path: Path, values: np.ndarray) -> None:
    with writing(path) as new:
        np.save(new, np.ascontiguousarray(values, np.float32))


def checked(values: np.ndarray, path: Path) -> np.ndarray:
    """The same as float32 in memory; `InputError` with file and row for NaN and infinity."""
    rows = np.ascontiguousarray(values, np.float32)
    finite = np.isfinite(rows).reshape(len(rows), -1).all(1)
    if not finite.all():
        raise InputError(
            f"{path}: row {int(np.flatnonzero(~finite)[0])} holds NaN or infinity; "
            "extract the features of this video again"
        )
    return rows


# -- HDF5: one file, a group a video -------------------------------------------------------------
def hdf5() -> Any:
    """The package h5py; `ExtraError` where it is missing."""
    try:
        import h5py
    except ImportError:
        raise need_extra("h5py", "hdf5", HDF5_WHY) from None
    return h5py


def hdf5_groups(path: Path) -> dict[str, str]:
    """{group "Class/Name.mp4": its set of features} of a file; links out of it are not followed."""
    found: dict[str, str] = {}
    h5py = hdf5()

    def visit(name: str, item: Any) -> None:
        group, _, dataset = name.rpartition("/")
        if isinstance(item, h5py.Dataset) and dataset.endswith("_features"):
            if group in found:
                raise InputError(
                    f"{path}: {group} holds {found[group]} and {dataset}; expected one kind"
                )
            found[group] = dataset

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{path}: not a readable HDF5 file ({error})") from error
    return found


def read_hdf5(path: Path, group: str, dataset: str, peek: bool = False) -> tuple[np.ndarray, int]:
    """((32, 1, D), frames of the video, 0 if not said); with `peek` one row of zeros instead."""
    h5py = hdf5()
    where = Path(f"{path}/{group}")
    try:
        with h5py.File(path, "r") as file:
            item = file[group][dataset]
            shape, kind = tuple(item.shape), item.dtype.kind
            if len(shape) != 2 or shape[0] != SEGMENTS or kind != "f" or shape[1] > 2**20:
                raise InputError(
                    f"{where}: {dataset} {item.dtype} {shape}; expected floats ({SEGMENTS}, D)"
                )
            count = int(file[group]["total_frames"][()]) if "total_frames" in file[group] else 0
            rows = np.zeros((1, shape[1])) if peek else np.asarray(item)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{where}: not readable ({error})") from error
    return checked(rows[:, None], where), max(count, 0)


def put_hdf5(file: Any, group: str, dataset: str, values: np.ndarray, count: int) -> None:
    """(32, D) and the video's length into an open file."""
    if group in file:
        del file[group]
    made = file.create_group(group)
    made.create_dataset(dataset, data=np.asarray(values, np.float32))
    made.create_dataset("total_frames", data=count)
    made.create_dataset("valid_frames", data=count // 16 * 16)


def looks_numeric(path: Path) -> bool:
    """Whether a text begins like a row of numbers; a README does not."""
    try:
        with path.open("rb") as file:
            words = file.read(64).split()
    except OSError:
        return False
    return bool(words) and all(
        set(word.lower()) <= set(b"0123456789.+-enaift[],") for word in itertools.islice(words, 3)
    )
