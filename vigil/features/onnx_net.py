"""Running one ONNX file on the CPU, by ONNX Runtime, or by OpenVINO where that alone is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vigil.errors import ExtraError, InputError, ModelError, need_extra
from vigil.features import _engine_onnx, _engine_openvino
from vigil.features.local_net import told

LIMIT = 2**31  # bytes; what one ONNX file can hold
KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
KINDS |= {"f32": np.float32, "f16": np.float16, "u8": np.uint8}


class OnnxInput(NamedTuple):
    """An input: its name, its sides (None where any will do), its type of number."""

    name: str
    shape: tuple[int | None, ...]
    dtype: type


class OnnxNet(NamedTuple):
    """An opened network. `run(name, x)` gives every output by its name."""

    inputs: list[OnnxInput]
    run: Callable[[str, np.ndarray], dict[str, np.ndarray]]


def read_onnx(path: Path) -> bytes:
    """The bytes of an ONNX file; whether they are one is found when it is opened."""
    try:
        if not 0 < path.stat().st_size < LIMIT:
            raise InputError(f"{path}: {path.stat().st_size} bytes; expected 1..{LIMIT - 1}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected an ONNX file") from error


def open_onnx(data: bytes, where: str, threads: int) -> OnnxNet:
    """The network in `data`; ModelError, naming `where`, if it is damaged or cannot run here."""
    try:
        onnxruntime = _engine_onnx.load()
    except ExtraError:
        return with_openvino(data, where, threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # errors are told by exceptions
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        inputs = [as_input(i.name, i.shape, i.type, where) for i in session.get_inputs()]
        names = [output.name for output in session.get_outputs()]
    except ModelError:
        raise
    except Exception as error:  # the library's own kinds have no common base
        raise told(f"{where}: not an ONNX network that can run here", error) from None

    def run(name: str, x: np.ndarray) -> dict[str, np.ndarray]:
        try:
            return dict(zip(names, session.run(names, {name: x}), strict=True))
        except Exception as error:
            raise told(f"{where}: the network failed", error) from None

    return OnnxNet(inputs, run)


def with_openvino(data: bytes, where: str, threads: int) -> OnnxNet:
    """The same by OpenVINO, which reads ONNX as well."""
    try:
        openvino = _engine_openvino.load()
    except ExtraError:
        raise need_extra("onnxruntime", "onnx", f"{where}: an ONNX detector") from None
    try:
        core = openvino.Core()
        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        net = core.compile_model(core.read_model(data, b""), "CPU", hints)
        inputs = [ov_input(port, where) for port in net.inputs]
        # an output that a node passes on unchanged goes by the names of both
        names = [sorted(port.get_names()) for port in net.outputs]
    except ModelError:
        raise
    except Exception as error:
        raise told(f"{where}: not an ONNX network that can run here", error) from None

    def run(name: str, x: np.ndarray) -> dict[str, np.ndarray]:
        try:
            values = zip(names, net({name: x}).to_tuple(), strict=True)
            return {alias: value for aliases, value in values for alias in aliases}
        except Exception as error:
            raise told(f"{where}: the network failed", error) from None

    return OnnxNet(inputs, run)


def ov_input(port: Any, where: str) -> OnnxInput:
    """An input of OpenVINO, under the name it has in the file."""
    sides = [None if side.is_dynamic else side.get_length() for side in port.partial_shape]
    return as_input(port.node.friendly_name, sides, port.element_type.to_string(), where)


def as_input(name: str, shape: Any, kind: str, where: str) -> OnnxInput:
    """An input as we keep it; ModelError for a type of number that no picture has."""
    if kind not in KINDS:
        raise ModelError(f"{where}: input {name!r} is {kind}; expected one of {', '.join(KINDS)}")
    sides = tuple(side if isinstance(side, int) else None for side in shape)
    return OnnxInput(name, sides, KINDS[kind])
