"""Every error a user can cause, as one tree.

    VigilError            base; carries the exit code of the command line
    ├── ConfigError   2   an unknown name or key, or a value outside its range
    ├── InputError    3   a file, stream, label or mask that is not what it should be
    ├── ModelError    4   a model folder or checkpoint that does not fit
    ├── StorageError  5   the disk is full, read-only or in use by somebody else
    └── ExtraError    6   an optional package is missing

A message says what was found, what was expected and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VigilError(Exception):
    """Base of all errors that are the user's to mend; anything else is a fault in Vigil."""

    exit_code = 1


class ConfigError(VigilError):
    """An unknown name or key, or a value outside its range."""

    exit_code = 2


class InputError(VigilError):
    """A file, stream, label or mask that is not what it should be."""

    exit_code = 3


class ModelError(VigilError):
    """A model folder or checkpoint that cannot be used as asked."""

    exit_code = 4


class StorageError(VigilError):
    """Nothing can be written: disk full, read-only, or in use."""

    exit_code = 5


class ExtraError(VigilError):
    """An optional package is missing; the message names the extra that brings it."""

    exit_code = 6


def unknown(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """A `ConfigError` for a name nobody knows, with the nearest known one as a hint.

    >>> str(unknown("method", "neerest", ["nearest", "mil"]))
    "unknown method 'neerest'; did you mean 'nearest'? Known: mil, nearest"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ConfigError(f"unknown {what} {name!r}; {hint}Known: {', '.join(names) or 'none'}")


def need_extra(package: str, extra: str, why: str) -> ExtraError:
    """An `ExtraError` that says which extra to install."""
    return ExtraError(f"{why} needs the package {package!r}: pip install 'vigil-vad[{extra}]'")
