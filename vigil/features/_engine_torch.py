"""Networks run by torch itself on the CPU: bfloat16 weights, channels last, compiled if asked."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vigil.errors import ModelError

Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by rank


def make(
    net: nn.Module, sample: Sequence[Tensor], dtype: str, threads: int, compile: bool = False
) -> Run:
    """`net` (tensors to a tuple of tensors) as a function that runs it in "float32" or "bf16".

    The weights themselves are bfloat16, since autocast converts them anew in every call. Tensors
    lie channels last; a network that cannot live with that keeps torch's own order. `compile`
    costs 10 to 50 s and needs a C++ compiler: without one, raises ModelError.
    """
    if compile and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise ModelError("torch.compile needs a C++ compiler, and none is here: install g++")
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    last = copy.deepcopy(net).to(kind)
    for p in last.parameters():
        p.data = laid_out(p.data, kind, channels_last=True)
    try:
        return tried(last, sample, kind, threads, compile, channels_last=True)
    except RuntimeError:  # a `view` of what is no longer contiguous
        return tried(copy.deepcopy(net).to(kind), sample, kind, threads, compile, False)


def tried(
    net: nn.Module,
    sample: Sequence[Tensor],
    kind: torch.dtype,
    threads: int,
    compile: bool,
    channels_last: bool,
) -> Run:
    """The function, after one call of it."""
    call = torch.compile(net, options={"freezing": True}) if compile else net
    mode = Float32WhereNeeded if kind is torch.bfloat16 and not compile else nullcontext

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        given = [laid_out(x, kind, channels_last) for x in inputs]
        with using(threads), torch.no_grad(), mode():
            return [y.float().contiguous() for y in call(*given)]

    run(sample)
    return run


def laid_out(x: Tensor, kind: torch.dtype, channels_last: bool) -> Tensor:
    """Floating-point inputs in `kind` and, if asked, with their channels last."""
    if x.is_floating_point():
        x = x.to(kind)
    layout = LAYOUTS.get(x.ndim) if channels_last else None
    return x if layout is None else x.contiguous(memory_format=layout)


@contextmanager
def using(threads: int) -> Iterator[None]:
    """Torch with so many threads; it keeps that number for each calling thread."""
    before = torch.get_num_threads()
    if before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Float32WhereNeeded(TorchFunctionMode):
    """Does in float32 what torch cannot do in bfloat16 on the CPU (avg_pool3d, ...)."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        try:
            return func(*args, **kwargs)
        except NotImplementedError as error:
            if "BFloat16" not in str(error):
                raise
        wide = func(*map(widened, args), **{k: widened(v) for k, v in kwargs.items()})
        return wide.bfloat16()


def widened(value: Any) -> Any:
    """A bfloat16 tensor as float32; anything else as it is."""
    narrow = isinstance(value, Tensor) and value.dtype is torch.bfloat16
    return value.float() if narrow else value
