"""Features of the scene-aware project: one HDF5 file a video, one small dataset a frame.

features/shanghai-sd/frame/training/01_0016.h5    0000, 0001, ...: float32 (1, D) each
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vigil.errors import InputError
from vigil.features._layout_files import checked, hdf5
from vigil.files import writing

DIGITS = 4  # of a key; longer videos simply have longer ones


def is_by_frame(file: Any) -> bool:
    """Whether an open file holds a dataset a frame: its keys are numbers."""
    return bool(len(file)) and next(iter(file)).isdigit()


def by_frame(path: Path) -> bool:
    """The same of a file's path; `InputError` for what is no HDF5 file."""
    try:
        with hdf5().File(path, "r") as file:
            return is_by_frame(file)
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error})") from error


def read_by_frame(path: Path, peek: bool = False) -> np.ndarray:
    """(T, 1, D) float32 in the order of the numbers; with `peek` the first row alone.

    Raises `InputError` for a gap in the numbers, another shape, and what is not finite.
    """
    try:
        with hdf5().File(path, "r") as file:
            names = sorted(file, key=int)
            if [int(name) for name in names] != list(range(len(names))):
                gap = next(n for n, name in enumerate(names) if int(name) != n)
                raise InputError(f"{path}: no features of frame {gap}; expected 0000, 0001, ...")
            rows = [np.asarray(file[name]) for name in (names[:1] if peek else names)]
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{path}: not readable as features of frames ({error})") from error
    shape = rows[0].shape
    for number, row in enumerate(rows):
        if row.shape != shape or row.size != row.shape[-1] or row.dtype.kind != "f":
            raise InputError(
                f"{path}: frame {number}: {row.dtype} {row.shape}, the first has {shape}; expected "
                "floats (1, D), or (D,), the same for all"
            )
    return checked(np.stack([row.reshape(1, -1) for row in rows]), path)


def write_by_frame(path: Path, values: np.ndarray) -> None:
    """(T, 1, D) as one dataset a frame."""
    with writing(path) as new, hdf5().File(new, "w") as file:
        for number, row in enumerate(np.asarray(values, np.float32)):
            file.create_dataset(f"{number:0{DIGITS}}", data=row)
