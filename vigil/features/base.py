"""What a provider is: something computed once a frame (or pair of frames) beside the pixels.

Roles and the value a tracker gives for each frame:

    objects       (n, 4) float32 boxes in pixels of the video's own size; n may be 0
    flow          (2, H, W) float32, from the previous frame to this one, in pixels of the frames
                  read, per nominal frame period; zeros at the first frame
    track         (n, 3) float32, made from the objects: velocity x, y in body heights a second,
                  seconds stayed
    segmentation  (K, h, w) float16
    features      a `FeatureRow` when one is complete at this frame, else None
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from vigil.records import Frame, Video


class FeatureRow(NamedTuple):
    """One row of features, (crops, D) float32, for the frames [first, stop)."""

    value: np.ndarray
    first: int
    stop: int


class Tracker(Protocol):
    """Follows one video, frame after frame, never ahead."""

    def see(self, frame: Frame, index: int) -> Any:
        """The value for this frame. Called once a frame, in order."""

    def finish(self) -> list[Any]:
        """Values left when the video ends (the padded last rows of features); else empty."""


class Provider:
    """Makes trackers. What it learns from training videos is saved with the model."""

    role: ClassVar[str]
    short_side: int | None = None  # frames are read at this size; boxes are scaled back

    def fit(self, videos: Iterable[Video]) -> None:
        """Learn from the normal training videos (a background, say); most need nothing."""

    def start(self, video: Video, fps: float) -> Tracker:
        """A fresh tracker for one video whose frames come at the nominal rate `fps`."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """What was learned, to be saved with the model."""
        return {}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave."""

    def describe(self) -> dict[str, Any]:
        """Name and settings, for the model's card and every report row."""
        return {"name": type(self).__name__.lower()}
