"""Writing that leaves the old file or the new one, never half; reading what strangers made."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vigil.errors import InputError, StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(path: Path | str) -> Iterator[Path]:
    """A temporary file or folder beside `path` that takes its place when the block ends well.

    Write to the yielded path (make it a folder with `.mkdir()` if a folder is wanted). On any
    error, Ctrl-C included, it is removed and the old `path` stays as it was; a full or read-only
    disk becomes a `StorageError`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", dir=path.parent))
    except OSError as error:
        raise storage_error(path, error) from error
    # the same name inside a scratch folder, so that writers which look at the suffix are content
    new, old = scratch / path.name, scratch / "replaced"
    try:
        yield new
        if new.is_dir() and path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except OSError as error:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise storage_error(path, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def storage_error(path: Path, error: OSError) -> StorageError:
    """What went wrong with the disk, in words."""
    if error.errno in FULL:
        return StorageError(f"disk full while writing {path}; free some space and try again")
    return StorageError(f"cannot write {path}: {error.strerror or error}; choose another place")


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which "2.jpg" comes before "10.jpg", whatever the padding.

    >>> sorted(["10.jpg", "2.jpg", "001.jpg"], key=natural)
    ['001.jpg', '2.jpg', '10.jpg']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p]


ARRAYS = {
    ("numpy", "ndarray"), ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
    ("collections", "OrderedDict"), ("_codecs", "encode"),
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    """Builds plain containers and numpy arrays; any other name is refused unopened."""

    def __init__(self, file: io.BufferedIOBase, allowed: Iterable[tuple[str, str]]) -> None:
        super().__init__(file, encoding="latin1")
        self.allowed = set(allowed)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise InputError(f"it asks for {module}.{name}, which is not data; not opened")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_pickle(path: Path | str, limit: int = 2**32) -> Any:
    """A pickle of plain containers and numpy arrays; `InputError` for anything that is more."""
    path = Path(path)
    try:
        if path.stat().st_size > limit:
            raise InputError(f"{path}: {path.stat().st_size} bytes; at most {limit} expected")
        with path.open("rb") as file:
            return _Unpickler(file, ARRAYS).load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except Exception as error:
        raise InputError(f"{path}: not a readable pickle of arrays ({error})") from error
