"""Optical flow from the previous frame to this one, by OpenCV, on the CPU, without weights.

    dis        dense inverse search (Kroeger et al., ECCV 2016): about 4 ms a frame at 360x240
    dis-trail  the same, averaged along the path of what moves
    farneback  polynomial expansion (Farneback, SCIA 2003): about 16 ms a frame

Values are pixels of the frames read, per nominal frame period: a camera that drops every second
frame shows the same flow as one that does not. Each is a running mean along the path of what
moves, over the last `trail_s` seconds (0, the default: of this pair of frames alone): noise is
different in every frame, a body's speed is not.
"""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np

from vigil.errors import ConfigError
from vigil.features.base import Provider, Tracker
from vigil.records import Frame, Video

EDGE = cv2.BORDER_REPLICATE
REPEATS = 2  # repeated frames in a row that count as a stutter; more, and nothing is moving


class Flow(Provider):
    """Base of both estimators: pairs frames, scales by time, reuses what a stutter repeats."""

    role: ClassVar[str] = "flow"
    smallest = 16  # pixels a side the estimator needs; smaller frames are continued at the edge

    def __init__(self, trail_s: float = 0.0) -> None:
        if trail_s < 0:
            raise ConfigError(f"flow: trail_s {trail_s}; expected >= 0 seconds")
        self.trail_s = trail_s

    def start(self, video: Video, fps: float) -> Tracker:
        return Pairs(self.estimator(), fps, self.trail_s, self.smallest)

    def estimator(self) -> Any:
        """A function of two grey frames (H, W) uint8 that gives (H, W, 2) float32."""
        raise NotImplementedError


class Dis(Flow):
    """Dense inverse search down to 1 / 2**finest of the frame's size.

    Half the size keeps what people of 30 pixels do apart at a quarter of the time of full size;
    OpenCV's own presets go to a quarter and then smooth (variational refinement), which mixes
    small objects with the ground.
    """

    def __init__(self, finest: int = 1, steps: int = 12, trail_s: float = 0.0) -> None:
        super().__init__(trail_s)
        if finest < 0 or steps < 1:
            raise ConfigError(f"dis: finest {finest}, steps {steps}; expected >= 0, >= 1")
        self.finest, self.steps = finest, steps
        self.smallest = 32 << finest  # four patches at the finest scale; OpenCV crashes on fewer

    def estimator(self) -> Any:
        search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(self.finest)
        search.setGradientDescentIterations(self.steps)
        search.setPatchStride(4)  # half the patch
        search.setVariationalRefinementIterations(0)
        return lambda before, now: search.calc(before, now, None)

    def describe(self) -> dict[str, Any]:
        return {"name": "dis", "finest": self.finest, "steps": self.steps, "trail_s": self.trail_s}


class DisTrail(Dis):
    """`Dis`, averaged along the path of what moves over 0.4 seconds."""

    def __init__(self, finest: int = 1, steps: int = 12, trail_s: float = 0.4) -> None:
        super().__init__(finest, steps, trail_s)


class Farneback(Flow):
    """Polynomial expansion over `window` pixels, `levels` of a pyramid of scale 1/2."""

    def __init__(self, window: int = 15, levels: int = 3, trail_s: float = 0.0) -> None:
        super().__init__(trail_s)
        if window < 3 or levels < 1:
            raise ConfigError(f"farneback: window {window}, levels {levels}; expected >= 3, >= 1")
        self.window, self.levels = window, levels

    def estimator(self) -> Any:
        levels, window = self.levels, self.window
        estimate: Any = cv2.calcOpticalFlowFarneback
        return lambda before, now: estimate(before, now, None, 0.5, levels, window, 3, 5, 1.2, 0)

    def describe(self) -> dict[str, Any]:
        keys = ("window", "levels", "trail_s")
        return {"name": "farneback", **{key: getattr(self, key) for key in keys}}


class Pairs:
    """Flow along one video. Frame times, not frame counts, decide the speed."""

    def __init__(self, estimate: Any, fps: float, trail_s: float, smallest: int) -> None:
        self.estimate, self.fps, self.trail_s = estimate, fps, trail_s
        self.smallest = smallest
        self.grey: np.ndarray | None = None  # the newest frame that differs from the one before it
        self.time = 0.0
        self.flow = np.zeros((2, 1, 1), np.float32)
        self.repeats = 0
        self.pairs = 0  # of unlike frames seen

    def see(self, frame: Frame, index: int) -> np.ndarray:
        """(2, H, W) float32: dx, dy in pixels per 1/fps seconds; zeros at the first frame."""
        grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)  # (H, W)
        if self.grey is None or grey.shape != self.grey.shape:
            self.flow, self.pairs = np.zeros((2, *grey.shape), np.float32), 0
        elif np.array_equal(grey, self.grey):
            self.repeats += 1
            if self.repeats > REPEATS:
                self.flow = np.zeros_like(self.flow)
            return self.flow
        else:
            seconds = max(frame.time - self.time, 1e-6)
            moved = self.between(self.grey, grey)  # pixels between the two frames
            self.flow = self.steady(moved, moved / (seconds * self.fps), seconds)
        self.grey, self.time, self.repeats = grey, frame.time, 0
        return self.flow

    def between(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(2, H, W) pixels that each point of `before` moved."""
        height, width = now.shape
        down, right = max(self.smallest - height, 0), max(self.smallest - width, 0)
        if down or right:
            edge = (0, down, 0, right, EDGE)
            before, now = cv2.copyMakeBorder(before, *edge), cv2.copyMakeBorder(now, *edge)
        flow = self.estimate(before, now)[:height, :width]  # (H, W, 2)
        return np.ascontiguousarray(flow.transpose(2, 0, 1))

    def steady(self, moved: np.ndarray, flow: np.ndarray, seconds: float) -> np.ndarray:
        """(2, H, W): `flow` averaged with what was known where each pixel came from."""
        self.pairs += 1
        if self.pairs == 1 or not self.trail_s:
            return flow
        height, width = flow.shape[1:]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        before = [
            cv2.remap(part, x - moved[0], y - moved[1], cv2.INTER_LINEAR, borderMode=EDGE)
            for part in self.flow
        ]
        new = 1 - np.exp(-seconds / self.trail_s)
        return (new * flow + (1 - new) * np.stack(before)).astype(np.float32)

    def finish(self) -> list[np.ndarray]:
        return []
