"""The keys of `jigsaw`, and which of them suit one another."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from vigil.methods._jigsaw_net import SIDE

# what finds most among the generated things of `street`; and the papers' form, for all else
OURS: dict[str, Any] = {"pieces": "pairs", "against": "normal", "shape": 80.0, "apart": True}
PAPERS: dict[str, Any] = {"pieces": "all", "against": "truth", "shape": 0.0, "apart": False}


def usual(**limits: Any) -> Any:
    """A key of `OURS`, set by the keys before it unless it is given."""
    return Field(default=None, description="by what is seen", validate_default=True, **limits)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class JigsawConfig:
    objects: str = "foreground"  # whose cubes: a provider of boxes ("given", ...), or "frame"
    net: Literal["lean", "wide", "fourhead"] = "lean"  # ours; the paper's; the clip extension's
    levels: Literal["frame", "clip", "frame,clip"] = "frame"  # cubes, clips of cubes, or both
    frames: int = Field(default=7, ge=3)  # of a cube, odd
    clips: int = Field(default=5, ge=2)  # cubes of a clip
    answer: Literal["last", "centre"] = "last"  # what a clip answers for: its last cube's middle
    every: int = Field(default=1, ge=1)  # frames from one cube (or clip) to the next
    colour: bool = True
    shuffle: Literal["one", "both", "time", "place"] = "one"  # way of a cube; the last two: alone
    pieces: Literal["all", "pairs"] = usual()  # moments of a time puzzle shown at once
    against: Literal["truth", "normal"] = usual()  # what answers are held against when scoring
    memory: int = Field(default=4000, ge=10)  # normal cubes whose answers are kept
    shape: float = usual(ge=0)  # what a box's size and form count in that comparison
    apart: bool = usual()  # things that the picture's edge cuts are compared with such alone
    static: float = Field(default=0.2, ge=0, le=1)  # of the grey range: less is no motion
    flip: bool = True  # mirror every second cube in training
    rows: Literal["worst", "mean"] = "worst"  # of a puzzle, that its score tells
    scale: Literal["log", "probability"] = "log"  # of the scores
    persist: float = Field(
        default=0.25, ge=0, validate_default=True
    )  # seconds over which a thing's scores are averaged
    crop: Literal["area", "roi"] = "area"  # RoIAlign is what published weights were trained on
    short_side: int = Field(default=240, ge=SIDE)  # pixels that frames are read at
    width: int = Field(default=64, ge=16, multiple_of=16)  # of the lean network

    @field_validator("objects")
    @classmethod
    def a_provider(cls, objects: str) -> str:
        if objects == "detector":
            raise ValueError("say which, e.g. onnx:people.toml or fasterrcnn-resnet50-fpn:FILE.pth")
        return objects

    @field_validator("levels")
    @classmethod
    def has_heads(cls, levels: str, info: ValidationInfo) -> str:
        if levels != "frame" and info.data.get("net") == "wide":
            raise ValueError("the network 'wide' knows cubes alone; take lean or fourhead")
        return levels

    @field_validator("pieces", "against", "shape", "apart", mode="before")
    @classmethod
    def suits_what_is_seen(cls, value: Any, info: ValidationInfo) -> Any:
        """Ours for cubes of things, seen by our network; the papers' for all else."""
        seen, name = info.data, str(info.field_name)
        things = seen.get("objects") != "frame" and seen.get("levels") == "frame"
        ours = things and seen.get("net") == "lean" and seen.get("against") != "truth"
        return value if value is not None else (OURS if ours else PAPERS)[name]

    @field_validator("shape", "apart")
    @classmethod
    def has_boxes_to_compare(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("objects") == "frame":
            raise ValueError("with objects=frame the one box is the picture")
        if value and info.data.get("against") == "truth":
            raise ValueError("boxes are compared with those of normal cubes: set against=normal")
        return value

    @field_validator("pieces")
    @classmethod
    def any_number(cls, pieces: str, info: ValidationInfo) -> str:
        if pieces == "pairs" and info.data.get("net") != "lean":
            raise ValueError("only the network 'lean' takes two moments as well as all")
        return pieces

    @field_validator("frames")
    @classmethod
    def has_a_middle(cls, frames: int) -> int:
        if not frames % 2:
            raise ValueError("a cube has a middle frame: an odd number of frames is needed")
        return frames

    @field_validator("every")
    @classmethod
    def leaves_no_gap(cls, every: int, info: ValidationInfo) -> int:
        if every > info.data.get("frames", every) // 2 + 1:
            raise ValueError("more than half a cube: frames between would have no score")
        return every

    @field_validator("persist")
    @classmethod
    def one_frame_each(cls, persist: float, info: ValidationInfo) -> float:
        return persist if info.data.get("every", 1) == 1 else 0.0
