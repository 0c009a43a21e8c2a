"""Networks run by ONNX Runtime on the CPU, in float32. Nothing is sent anywhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vigil.errors import need_extra

Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def make(net: nn.Module, sample: Sequence[Tensor], threads: int) -> Run:
    """`net` (tensors to a tuple of tensors) as a function that runs it in ONNX Runtime.

    The graph never touches the disk. `sample` has a batch of 2, since torch takes a
    batch of 1 for a constant.
    """
    onnxruntime = load()
    try:
        import onnxscript  # noqa: F401  (what torch.onnx writes with)
    except ImportError as error:
        raise need_extra("onnxscript", "onnx", "engine onnx") from error
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        net,
        tuple(sample),
        dynamo=True,
        verbose=False,
        dynamic_shapes=(tuple({0: batch} for _ in sample),),
    )
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in session.get_inputs()]

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        given = [x.contiguous().numpy() for x in inputs]
        found = session.run(None, dict(zip(names, given, strict=True)))
        return [torch.from_numpy(y).float() for y in found]

    return run


def load() -> Any:
    """The package, kept from reporting its use to its makers, which it does unless told so first.

    Without the variable it also leaves an identifier of the machine in the home folder.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise need_extra("onnxruntime", "onnx", "engine onnx") from error
    return onnxruntime
