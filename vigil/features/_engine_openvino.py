"""Networks run by OpenVINO on the CPU, in float32, bfloat16 or 8 bits. Nothing is sent anywhere."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from vigil.errors import need_extra

Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def converted(net: nn.Module, sample: Sequence[Tensor]) -> Any:
    """`net` (tensors to a tuple of tensors) as an OpenVINO model of any batch size.

    `sample` are inputs with a batch of 2, to trace the network with.
    """
    # traced here: OpenVINO's own tracing runs the network six times
    traced = torch.jit.trace(net, tuple(sample), check_trace=False)
    root = logging.getLogger()
    level = root.level
    try:
        model = load().convert_model(traced, example_input=tuple(sample))
    finally:
        root.setLevel(level)  # a failed conversion leaves it at ERROR: our warnings would be lost
    shapes = {p: [-1, *x.shape[1:]] for p, x in zip(model.inputs, sample, strict=True)}
    model.reshape(shapes)  # an open batch size was measured to cost no time
    return model


def make(model: Any, precision: str, threads: int) -> Run:
    """The model as a function; `precision` is "f32" or "bf16", of what is not done in 8 bits."""
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # several workers would all be pinned to the same cores
    }
    return runs(load().Core().compile_model(model, "CPU", settings))


def runs(compiled: Any) -> Run:
    """A compiled model as a function; each calling thread has a request of its own."""
    own = threading.local()

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        given = [x.contiguous().numpy() for x in inputs]
        found = own.request.infer(given, share_inputs=True)
        return [torch.from_numpy(found[port]).float() for port in compiled.outputs]

    return run


def quantised(model: Any, clips: Sequence[Sequence[Tensor]]) -> Any:
    """The model in 8 bits, its ranges measured on `clips` (post-training quantisation).

    The layers that make the outputs stay as exact as they are: there an error is mended by nothing
    that follows. Attention is quantised as such, or ViT-B/32 would be four times as far off.
    """
    try:
        import nncf
    except ImportError as error:
        raise need_extra("nncf", "openvino", "int8") from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    data = nncf.Dataset([tuple(x.numpy() for x in clip) for clip in clips])
    with redirect_stdout(StringIO()):  # its progress bars
        return nncf.quantize(
            model.clone(),
            data,
            preset=nncf.QuantizationPreset.MIXED,  # ranges need not be even around zero
            model_type=nncf.ModelType.TRANSFORMER if attends(model) else None,
            subset_size=len(clips),
            ignored_scope=nncf.IgnoredScope(names=last_layers(model), validate=False),
        )


def attends(model: Any) -> bool:
    """Whether tokens attend to each other: what is multiplied there is best left out of 8 bits."""
    for node in model.get_ops():
        kind = node.get_type_name()
        users = [each.get_node() for out in node.outputs() for each in out.get_target_inputs()]
        if kind == "ScaledDotProductAttention" or (
            kind == "Softmax" and any(user.get_type_name() == "MatMul" for user in users)
        ):
            return True
    return False


def last_layers(model: Any) -> list[str]:
    """The convolution, or product with a matrix, that each output is nearest to."""
    found = set()
    for result in model.get_results():
        queue, seen = [result], set()
        while queue and not any(kind in queue[0].get_type_name() for kind in ("Conv", "MatMul")):
            node = queue.pop(0)
            before = [each.get_source_output().get_node() for each in node.inputs()]
            queue += [each for each in before if each.get_friendly_name() not in seen]
            seen |= {each.get_friendly_name() for each in before}
        found |= {node.get_friendly_name() for node in queue[:1]}
    return sorted(found)


def load() -> Any:
    """The package, kept from reporting its use to its makers: a watched room is nobody's business.

    It does so as soon as it is imported, if it finds `openvino_telemetry`.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise need_extra("openvino", "openvino", "engine openvino") from error
    return openvino
