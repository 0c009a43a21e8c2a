"""The small TOML file that says how to feed an ONNX detector and how to read what it gives.

    model = "nanodet.onnx"        # beside this file; not needed if the model is named
    classes = ["person", ...]     # in the order of the network
    keep = ["person"]             # boxes of other classes are dropped; empty = all are kept
    score = 0.35                  # least score of a box
    iou = 0.6                     # boxes of a class that overlap more are one (1 = none are)
    most = 100                    # boxes of a frame, the surest first

    [input]
    size = [320, 320]             # height, width
    mean = [103.53, 116.28, 123.675]    # (pixel in 0..255 - mean) / std, in the order of `colour`
    std = [57.375, 57.12, 58.395]
    colour = "bgr"                # or "rgb"
    fit = "squash"                # or "letterbox" (aspect kept, centred), "corner" (top left)
    pad = 0                       # grey level around a letterboxed picture
    layout = "nchw"               # or "nhwc"
    name = ""                     # of the input; not needed if there is one only

    [output]
    kind = "gfl"                  # see below
    scores = ["s8", "s16", "s32"] # names of outputs
    boxes = ["b8", "b16", "b32"]
    strides = [8, 16, 32]
    sigmoid = false               # whether scores still need a sigmoid

Kinds of output, each with or without a leading batch axis of 1:

    boxes   boxes (N, 4) in `form` and `unit`; scores (N, C), or scores (N,) with `labels` (N,)
    yolo    one output `boxes`, (N, 4 + C) or with `objectness` (N, 5 + C), centre and size;
            `transposed` if it is (4 + C, N). With `strides`: cells not yet decoded, centre =
            (value + cell) * stride, size = exp(value) * stride (YOLOX)
    gfl     per stride scores (n, C) and boxes (n, 4 * B): the distances from the middle of the
            cell to left, top, right, bottom as distributions over 0..B-1 strides (generalised
            focal loss, Li et al., NeurIPS 2020; NanoDet)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from vigil.config import read_toml
from vigil.errors import ConfigError
from vigil.features.local_net import STRICT, checked

SPECS = Path(__file__).parent / "specs"
Side = Annotated[int, Field(ge=16, le=4096)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Stride = Annotated[int, Field(ge=1, le=512)]
Names = Annotated[tuple[str, ...], Field(max_length=8)]


@dataclass(frozen=True, config=STRICT)
class Input:
    """How a frame becomes the network's input."""

    size: tuple[Side, Side]
    mean: tuple[Number, Number, Number] = (0.0, 0.0, 0.0)
    std: tuple[Spread, Spread, Spread] = (1.0, 1.0, 1.0)
    colour: Literal["rgb", "bgr"] = "rgb"
    fit: Literal["squash", "letterbox", "corner"] = "squash"
    pad: Annotated[int, Field(ge=0, le=255)] = 0
    layout: Literal["nchw", "nhwc"] = "nchw"
    name: str = ""


@dataclass(frozen=True, config=STRICT)
class Output:
    """How the network's outputs become boxes."""

    kind: Literal["boxes", "yolo", "gfl"]
    boxes: Annotated[Names, Field(min_length=1)]
    scores: Names = ()
    labels: str = ""
    strides: Annotated[tuple[Stride, ...], Field(max_length=8)] = ()
    sigmoid: bool = False
    objectness: bool = False
    transposed: bool = False
    form: Literal["xyxy", "cxcywh", "xywh"] = "xyxy"
    unit: Literal["pixels", "fraction"] = "pixels"

    def __post_init__(self) -> None:
        counts = len(self.boxes), len(self.scores)
        if self.kind == "gfl" and counts != (len(self.strides),) * 2:
            raise ValueError(
                f"output: {counts[0]} boxes, {counts[1]} scores and {len(self.strides)} strides; "
                "kind 'gfl' needs as many of each"
            )
        if self.kind == "boxes" and counts != (1, 1):
            raise ValueError(f"output: kind 'boxes' needs one of boxes, scores; found {counts}")
        if self.kind == "yolo" and counts != (1, 0):
            raise ValueError(f"output: kind 'yolo' needs one of boxes, no scores; found {counts}")


@dataclass(frozen=True, config=STRICT)
class Spec:
    """A detector's whole description; see the module."""

    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=10000)]
    input: Input
    output: Output
    keep: tuple[str, ...] = ()
    score: Share = 0.35
    iou: Share = 0.6
    most: Annotated[int, Field(ge=1, le=10000)] = 100
    model: str = ""

    def __post_init__(self) -> None:
        if strange := [name for name in self.keep if name not in self.classes]:
            raise ValueError(f"keep: {strange[0]!r} is none of the {len(self.classes)} classes")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; `spec_of` takes it back."""
        return dataclasses.asdict(self)


def spec_of(keys: dict[str, Any], where: Path | str) -> Spec:
    """A checked Spec; `ConfigError` names `where` and the key."""
    spec: Spec = checked(Spec, keys, where)
    return spec


def read_spec(path: Path | str) -> Spec:
    """The spec in a TOML file; `ConfigError` names file and key where it is wrong."""
    return spec_of(read_toml(Path(path)), path)


def spec_beside(model: Path) -> Path:
    """The spec file of a model: MODEL.toml beside it, or the one shipped for that name."""
    for path in (model.with_suffix(".toml"), SPECS / f"{model.stem}.toml"):
        if path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in SPECS.glob("*.toml")))
    raise ConfigError(
        f"{model}: no spec for this detector; write {model.with_suffix('.toml').name} beside it "
        f"(shipped: {shipped})"
    )
