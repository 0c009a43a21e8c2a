"""Videos and features that lie elsewhere: any place fsspec knows a URL for (s3://, gs://, ...).

A local path, file:// and http(s):// are read where they are; they are not remote in this sense.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vigil.errors import ExtraError, InputError, StorageError, VigilError, need_extra
from vigil.files import natural
from vigil.video.read import VIDEO_SUFFIXES

HERE = ("file", "http", "https")  # read without fetching


def is_remote(place: object) -> bool:
    """Whether a place can only be reached through fsspec."""
    scheme, separator, _ = str(place).partition("://")
    return bool(separator) and scheme.lower() not in HERE


def local_path(place: Path | str) -> Path:
    """The path that a place on this machine, file:// included, stands for."""
    if str(place).lower().startswith("file://"):
        return Path(url2pathname(urlsplit(str(place)).path))
    return Path(place)


def find(url: str) -> list[str]:
    """URLs of the video files at `url`, itself or below it, in natural order."""
    system, path = opened(url)
    with reading(url):
        found = [path] if system.isfile(path) else system.find(path)
    videos = [str(name) for name in found if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        raise InputError(f"{url}: no video there; expected files such as .mp4 or .avi")
    return [str(system.unstrip_protocol(name)) for name in sorted(videos, key=natural)]


@contextmanager
def fetched(url: str) -> Iterator[Path]:
    """A copy of a remote file, of the same name, for as long as the block lasts."""
    with TemporaryDirectory(prefix="vigil-") as folder:
        copy = Path(folder) / PurePosixPath(urlsplit(url).path or url).name
        if not fetch(url, copy):
            raise InputError(f"{url}: cannot be read (no such file)")
        yield copy


def fetch(url: str, path: Path) -> bool:
    """Copy a remote file to `path`; False if there is none."""
    system, there = opened(url)
    with reading(url):
        if not system.isfile(there):
            return False
        system.get_file(there, str(path))
    return True


def put(path: Path, url: str) -> None:
    """Copy a file to `url`, where it appears when it is complete, or not at all."""
    system, there = opened(url)
    try:
        system.makedirs(system._parent(there), exist_ok=True)
        with system.transaction, path.open("rb") as source, system.open(there, "wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except Exception as error:  # each kind of storage raises its own
        raise StorageError(f"cannot write {url}: {error}; choose another place") from error


def opened(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError:
        raise need_extra("fsspec", "ray", f"reading {url}") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ExtraError(f"{url}: {error}") from error
    except Exception as error:
        raise InputError(f"{url}: not a URL that can be opened ({error})") from error
    return system, path


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Whatever a storage raises becomes an `InputError` that names the URL."""
    try:
        yield
    except VigilError:
        raise
    except Exception as error:
        raise InputError(f"{url}: cannot be read ({error})") from error
