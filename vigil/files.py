"""Writing that leaves the old file or the new one, never half; reading what strangers made."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vigil.errors import InputError, StorageError, VigilError

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
        sweep(path)
        scratch = Path(tempfile.mkdtemp(prefix=scratch_start(path), dir=path.parent))
        held = hold(scratch)
    except OSError as error:
        raise storage_error(path, error) from error
    # the same name inside a scratch folder, so that writers which look at the suffix are content
    new, old = scratch / path.name, scratch / "replaced"
    try:
        yield new
        if new.is_dir() and path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except BaseException as error:
        if old.exists() and not path.exists():
            os.replace(old, path)
        told = of_system(error)
        if told is None:
            raise
        raise storage_error(path, told) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if held is not None:
            os.close(held)


SETTLED = 10.0  # seconds after which a scratch folder that nobody holds has lost its writer


def scratch_start(path: Path) -> str:
    """How the names of scratch folders for `path` begin."""
    return f".{path.name[:80]}.new-"


def hold(folder: Path) -> int | None:
    """Lock a folder for as long as this process lives; None where the system cannot."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def sweep(path: Path) -> None:
    """Remove what killed writers of `path` left: scratch folders whose lock is free."""
    with os.scandir(path.parent) as entries:
        start = scratch_start(path)
        left = [Path(entry.path) for entry in entries if entry.name.startswith(start)]
    for scratch in left:
        try:
            fresh = time.time() - scratch.stat().st_mtime < SETTLED
        except OSError:
            continue  # its writer was quicker
        handle = None if fresh else hold(scratch)
        if handle is not None:
            shutil.rmtree(scratch, ignore_errors=True)
            os.close(handle)


def of_system(error: BaseException) -> OSError | None:
    """The system's error in an exception; safetensors and numpy tell it in words only."""
    if isinstance(error, OSError):
        short = error.errno is None and re.fullmatch(r"\d+ requested and \d+ written", str(error))
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if short else error
    number = re.search(r"\(os error (\d+)\)$", str(error))
    if number is None or isinstance(error, VigilError):
        return None
    return OSError(int(number[1]), os.strerror(int(number[1])))


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


class SafeUnpickler(pickle.Unpickler):
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
            return SafeUnpickler(file, ARRAYS).load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except Exception as error:
        raise InputError(f"{path}: not a readable pickle of arrays ({error})") from error
