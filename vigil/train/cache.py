"""What a method makes of every training video, made once: a batch is then an index into it.

Bags of 2 GiB and more lie one after the other in a file without a name below the run's folder,
memory-mapped: a training set larger than memory is fine, the system keeps in memory what fits, and
a run that ends or is killed leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from vigil.errors import InputError
from vigil.files import storage_error
from vigil.methods.base import Method
from vigil.records import Units

IN_MEMORY = 2**31  # bytes of a training set's bags from which on they go to a file


class Bags:
    """The bags of all videos by key, (videos, rows, ...); see the module.

    made  the source and the units by window of each of `count` videos; batches name them by place

    A bag that draws random numbers (from torch's generator, which the trainer seeds by step) is
    drawn anew for every batch; its units stay in memory for that.
    """

    def __init__(
        self,
        method: Method,
        made: Iterable[tuple[str, dict[str, Units]]],
        count: int,
        folder: Path,
    ) -> None:
        self.method = method
        self.drawn: dict[int, dict[str, Units]] = {}
        stacks: dict[str, Stack] = {}
        for n, (source, units) in enumerate(made):
            bag, random = self.first(units)
            if random:
                self.drawn[n] = units
            if not bag or (stacks and set(bag) != set(stacks)):
                expected = ", ".join(stacks) or "its rows"
                raise InputError(f"{source}: training found {sorted(bag)}, expected {expected}")
            for key, value in bag.items():
                if key not in stacks:
                    stacks[key] = Stack(folder, count, value)
                stacks[key].add(value, source)
        self.kept = {key: stack.whole() for key, stack in stacks.items()}

    def bag(self, units: dict[str, Units]) -> dict[str, Tensor]:
        """One video's, from the units of all windows."""
        return {k: v for part in units.values() for k, v in self.method.bag(part).items()}

    def first(self, units: dict[str, Units]) -> tuple[dict[str, Tensor], bool]:
        """The bag, and whether random numbers were drawn for it; those are put back."""
        before = torch.get_rng_state()
        with torch.no_grad():
            bag = self.bag(units)
        random = not torch.equal(before, torch.get_rng_state())
        if random:
            torch.set_rng_state(before)
        return bag, random

    def batch(
        self, videos: Sequence[int], into: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """{key: (B, rows, ...)} of some videos, written over the batch `into` if one is given:
        memory fresh from the system costs several times the copying."""
        index, found = torch.tensor(videos), dict(into or {})
        for key, value in self.kept.items():
            shape = (len(videos), *value.shape[1:])
            if key not in found or found[key].shape != shape:
                found[key] = pages(shape, value.dtype)
            torch.index_select(value, 0, index, out=found[key])
        for row, n in enumerate(videos):
            if n in self.drawn:
                for key, value in self.bag(self.drawn[n]).items():
                    found[key][row] = value
        return found


class Stack:
    """`count` tensors of one shape, in memory or, from `IN_MEMORY` bytes on, in a file."""

    def __init__(self, folder: Path, count: int, one: Tensor) -> None:
        self.folder, self.shape, self.dtype = folder, (count, *one.shape), one.dtype
        self.done = 0
        self.file: IO[bytes] | None = None
        if count * one.nbytes < IN_MEMORY:
            self.all = pages(self.shape, self.dtype)
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        except OSError as error:
            raise storage_error(folder, error) from error

    def add(self, value: Tensor, source: str) -> None:
        """The next one."""
        if (value.shape, value.dtype) != (self.shape[1:], self.dtype):
            raise InputError(
                f"{source}: {tuple(value.shape)} {value.dtype} where other training videos gave "
                f"{self.shape[1:]} {self.dtype}; have all features the same number of crops?"
            )
        if self.file is None:
            self.all[self.done] = value
        else:
            try:
                self.file.write(np.ascontiguousarray(value.numpy(force=True)).data)
            except OSError as error:
                raise storage_error(self.folder, error) from error
        self.done += 1

    def whole(self) -> Tensor:
        """All of them, (count, ...); a file lives as long as the tensor."""
        if self.file is not None:
            try:
                self.file.flush()
                self.all = pages(self.shape, self.dtype, self.file.fileno())
            except OSError as error:
                raise storage_error(self.folder, error) from error
            self.file.close()
        return self.all


def pages(shape: Sequence[int], dtype: torch.dtype, file: int = -1) -> Tensor:
    """A tensor on the pages of an open file, or (-1) of memory: large ones where the system has
    them, since to touch 4 kB at a time for the first time costs more than to fill them."""
    size = int(np.prod(shape)) * dtype.itemsize
    if file != -1:
        found = mmap.mmap(file, size, access=mmap.ACCESS_COPY)
    elif not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(*shape, dtype=dtype)
    else:
        found = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a kernel without them
            found.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(found, dtype=dtype).view(*shape)
