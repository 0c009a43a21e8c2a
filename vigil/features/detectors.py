"""Detectors of objects: any ONNX detector with a small spec, and those of torchvision.

    onnx:MODEL.onnx | onnx:SPEC.toml        see detector_spec.py; nothing of torch is needed
    fasterrcnn-resnet50-fpn:WEIGHTS.pth     and the other names below; published COCO weights,
                                            or a TOML file with weights, keep, score, most, device

Boxes are (n, 4) float32 in pixels of the video's own size, the surest first. A saved model holds
network, spec and settings: the files are asked for once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vigil.errors import ConfigError, ModelError, unknown
from vigil.features.base import Provider, Tracker
from vigil.features.decode import Found, decode
from vigil.features.detector_spec import Input, Spec, read_spec, spec_beside, spec_of
from vigil.features.local_net import (
    STRICT,
    EachFrame,
    LocalNet,
    as_tensor,
    pixels,
    saved_json,
)
from vigil.features.objects import clip
from vigil.features.onnx_net import OnnxInput, OnnxNet, open_onnx, read_onnx
from vigil.features.quick_net import Dtype, Engine, quickened, under
from vigil.records import Video


class OnnxDetector(Provider):
    """Any ONNX detector that a spec file describes (detector_spec.py says how).

    `file` is the model (its spec is `spec`, or beside it, or shipped for its name), or the spec
    (the model is its key `model`). `threads`: None = as many as torch uses.
    """

    role: ClassVar[str] = "objects"

    def __init__(
        self,
        file: Path | str | None = None,
        spec: Path | str | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"onnx: threads {threads}; expected >= 1")
        self.file = Path(file) if file else None
        self.spec_file = Path(spec) if spec else None
        self.threads = threads
        self.where = "onnx"  # what error messages name
        self.data = b""
        self.spec: Spec | None = None
        self.net: OnnxNet | None = None

    def ready(self) -> tuple[Spec, OnnxNet]:
        """Spec and network, read from the files at the first call and tried once."""
        if self.spec is None:
            if self.file is None:
                raise ConfigError(
                    "onnx: no detector given; name an ONNX file or a spec (onnx:FILE)"
                )
            self.take(*self.read(self.file))
        assert self.spec is not None and self.net is not None
        return self.spec, self.net

    def read(self, file: Path) -> tuple[bytes, Spec, str]:
        """The model's bytes, its spec, and the names of both."""
        model, spec_file = file, self.spec_file
        if file.suffix == ".toml":
            spec_file, spec = file, read_spec(file)
            if not spec.model:
                raise ConfigError(f"{file}: key 'model' is missing; expected the ONNX file's name")
            model = file.parent / spec.model
        else:
            spec_file = spec_file or spec_beside(model)
            spec = read_spec(spec_file)
        return read_onnx(model), spec, f"{model} (spec {spec_file})"

    def take(self, data: bytes, spec: Spec, where: str) -> None:
        """Open the network and let it see one grey picture: what does not fit is told now."""
        net = open_onnx(data, where, self.threads or torch.get_num_threads())
        entrance = input_of(net.inputs, spec.input, where)
        self.data, self.spec, self.where, self.net = data, spec, where, net
        self.entrance = entrance
        try:
            self.look(np.full((64, 64, 3), 128, np.uint8))
        except BaseException:
            self.data, self.spec, self.net = b"", None, None
            raise

    def look(self, image: np.ndarray) -> Found:
        """What the detector sees in one RGB frame (H, W, 3) uint8; boxes in pixels of it."""
        spec, net = self.ready()
        x, scale, shift = prepare(image, spec.input)
        x = x.astype(self.entrance.dtype, copy=False)
        found = decode(spec, net.run(self.entrance.name, x), self.where)
        return found._replace(boxes=(found.boxes - np.tile(shift, 2)) / np.tile(scale, 2))

    def fit(self, videos: Iterable[Video]) -> None:
        self.ready()  # a wrong file is told before any work begins

    def start(self, video: Video, fps: float) -> Tracker:
        self.ready()
        return EachFrame(lambda image: to_video(self.look(image).boxes, image, video))

    def tensors(self) -> dict[str, Tensor]:
        spec, _ = self.ready()
        return {"onnx": as_tensor(self.data), "spec": as_tensor(json.dumps(spec.as_dict()))}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        if not {"onnx", "spec"} <= set(state):
            raise ModelError("onnx: the saved model holds no detector; fit it again")
        where = "saved detector"
        spec = spec_of(saved_json(state["spec"], where), where)
        self.take(state["onnx"].numpy(force=True).tobytes(), spec, where)

    def describe(self) -> dict[str, Any]:
        spec, _ = self.ready()
        text = json.dumps(spec.as_dict()).encode()
        hashes = {"model": hashlib.sha256(self.data), "spec": hashlib.sha256(text)}
        settings = {key: getattr(spec, key) for key in ("keep", "score", "iou", "most")}
        return {"name": "onnx", **settings, **{k: v.hexdigest() for k, v in hashes.items()}}


def input_of(inputs: list[OnnxInput], spec: Input, where: str) -> OnnxInput:
    """The input that takes the picture; ModelError if there is none of the spec's size."""
    named = [i for i in inputs if i.name == spec.name] if spec.name else inputs
    if len(named) != 1 or len(inputs) != 1:
        names = ", ".join(i.name for i in inputs) or "none"
        raise ModelError(
            f"{where}: input.name: {spec.name!r}; the model's inputs are {names}, and one is needed"
        )
    wanted = (1, 3, *spec.size) if spec.layout == "nchw" else (1, *spec.size, 3)
    shape = named[0].shape
    if len(shape) != 4 or any(
        have not in (None, want) for have, want in zip(shape, wanted, strict=True)
    ):
        raise ModelError(
            f"{where}: input.size, input.layout: the spec says {wanted}; the model's input "
            f"{named[0].name!r} is {tuple('any' if s is None else s for s in shape)}"
        )
    return named[0]


def prepare(image: np.ndarray, spec: Input) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An RGB frame (H, W, 3) uint8 as the network's input, with (x, y) scale and shift from
    pixels of the frame to pixels of the input."""
    (height, width), (h, w) = image.shape[:2], spec.size
    scale = np.array([w / width, h / height])
    new_w, new_h = w, h
    if spec.fit != "squash":
        one = float(scale.min())
        new_w, new_h = max(round(width * one), 1), max(round(height * one), 1)
        scale = np.array([new_w / width, new_h / height])
    resized = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    left, top = ((w - new_w) // 2, (h - new_h) // 2) if spec.fit == "letterbox" else (0, 0)
    if (new_h, new_w) != (h, w):
        canvas = np.full((h, w, 3), spec.pad, np.uint8)
        canvas[top : top + new_h, left : left + new_w] = resized
        resized = canvas
    if spec.colour == "bgr":
        resized = resized[:, :, ::-1]
    mean, std = (np.array(values, np.float32) for values in (spec.mean, spec.std))
    x = (resized.astype(np.float32) - mean) / std  # (h, w, 3)
    if spec.layout == "nchw":
        x = x.transpose(2, 0, 1)
    return np.ascontiguousarray(x[None]), scale, np.array([left, top], np.float64)


def to_video(boxes: np.ndarray, image: np.ndarray, video: Video) -> np.ndarray:
    """(n, 4) boxes in pixels of a frame to float32 pixels of the video's own size, clipped."""
    (height, width), size = image.shape[:2], video.size
    scale = np.array([size[1] / width, size[0] / height] * 2)
    return clip((boxes * scale).astype(np.float32), size)


# -- torchvision ---------------------------------------------------------------------------------
@dataclass(frozen=True, config=STRICT)
class DetectorSettings:
    """keep: names of COCO classes, empty = all; score: least score (the library's own least, 0.05
    for most, stands before it); most: boxes of a frame; device: where the network runs; engine,
    dtype: under what its trunk runs (quick_net.py), chosen for each size of video. What follows
    the trunk returns as many boxes as there are, which no engine is judged on: plain torch."""

    keep: tuple[str, ...] = ()
    score: Annotated[float, Field(ge=0, le=1)] = 0.5
    most: Annotated[int, Field(ge=1, le=10000)] = 100
    device: str = "cpu"
    engine: Engine = "torch"
    dtype: Dtype = "auto"


class TorchvisionDetector(LocalNet):
    """A detector of torchvision with its published COCO weights, which lie in a local file.

    `frozen`: eps of the frozen batch norm under which it was trained; None = it has none.
    """

    role: ClassVar[str] = "objects"
    reads: ClassVar[str] = "the COCO weights that torchvision publishes for it"
    Settings: ClassVar[type] = DetectorSettings
    frozen: ClassVar[float | None] = None
    OLD: ClassVar[tuple[tuple[str, str], ...]] = (  # keys of files older than torchvision 0.13
        (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
        (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    )

    @property
    def builder(self) -> str:
        """The function of torchvision that builds it."""
        return self.name.replace("-", "_")

    def build(self) -> nn.Module:
        from torchvision.models import get_model

        net = get_model(self.builder, weights=None, weights_backbone=None)
        if self.frozen is not None:
            freeze_norms(net, self.frozen)
        return net

    def categories(self) -> list[str]:
        """Names of the classes, by label."""
        from torchvision.models import get_model_weights

        weights: Any = get_model_weights(self.builder)
        return list(next(iter(weights)).meta["categories"])

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = dict(state)
        for pattern, new in self.OLD:
            named = {re.sub(pattern, new, key): value for key, value in named.items()}
        return named

    def look(self, image: np.ndarray) -> Found:
        """What the detector sees in one RGB frame (H, W, 3) uint8; boxes in pixels of it."""
        device = next(self.ready().parameters()).device
        with torch.inference_mode():
            (out,) = self.quick([pixels(image, device)])
        found = Found(*(out[key].numpy(force=True) for key in ("boxes", "scores", "labels")))
        sure = found.scores >= self.settings.score
        if self.settings.keep:
            sure &= np.isin(found.labels, self.labels)
        order = np.argsort(-found.scores[sure], kind="stable")[: self.settings.most]
        return found.only(np.flatnonzero(sure)[order])

    def kept_labels(self) -> list[int]:
        """Labels of the classes to keep; `ConfigError` for a class nobody knows."""
        names = self.categories()
        for name in self.settings.keep:
            if name not in names:
                raise unknown("class", name, set(names) - {"__background__", "N/A"})
        return [names.index(name) for name in self.settings.keep]

    def adopt(self, state: Mapping[str, Tensor], where: str) -> None:
        self.labels = self.kept_labels()
        super().adopt(state, where)
        net: Any = self.net
        self.quick = quickened(net, {"backbone": under(net.backbone, self.settings)})

    def start(self, video: Video, fps: float) -> Tracker:
        self.ready()
        return EachFrame(lambda image: to_video(self.look(image).boxes, image, video))


def freeze_norms(net: nn.Module, eps: float) -> None:
    """Batch norm in place of which the library puts its frozen form when it loads its weights."""
    from torchvision.ops import FrozenBatchNorm2d

    for part in net.modules():
        for name, child in list(part.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(part, name, FrozenBatchNorm2d(child.num_features, eps=eps))


class FasterRCNN(TorchvisionDetector):
    name = "fasterrcnn-resnet50-fpn"
    frozen = 0.0


class FasterRCNNV2(TorchvisionDetector):
    name = "fasterrcnn-resnet50-fpn-v2"


class FasterRCNNMobile(TorchvisionDetector):
    name = "fasterrcnn-mobilenet-v3-large-fpn"
    frozen = 1e-5


class FasterRCNNMobile320(FasterRCNNMobile):
    name = "fasterrcnn-mobilenet-v3-large-320-fpn"


class RetinaNet(TorchvisionDetector):
    name = "retinanet-resnet50-fpn"
    frozen = 0.0
    OLD = (
        *TorchvisionDetector.OLD,
        *(
            (
                rf"^(head\.(?:classification|regression)_head\.conv)\.{2 * n}\.(weight|bias)$",
                rf"\1.{n}.0.\2",
            )
            for n in range(4)
        ),
    )


class RetinaNetV2(TorchvisionDetector):
    name = "retinanet-resnet50-fpn-v2"


class FCOS(TorchvisionDetector):
    name = "fcos-resnet50-fpn"
    frozen = 1e-5


class SSD300(TorchvisionDetector):
    name = "ssd300-vgg16"


class SSDLite(TorchvisionDetector):
    name = "ssdlite320-mobilenet-v3-large"
