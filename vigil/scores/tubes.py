"""Scores along tubes: a thing must stay abnormal for a while before its score says so.

A box is linked to the box of the frames before that it overlaps most, and the scores are averaged
along the links, causally. Flicker of a detector or of the flow dies out where it stands, while
something abnormal keeps its score as it moves. (Whole-frame smoothing alone would first take the
highest flicker of every frame and then average those.)
"""

from __future__ import annotations

import numpy as np

from vigil.features.boxes import overlap

OVERLAP = 0.2  # intersection over union from which two boxes may be the same thing
LOST = 3  # frames a thing may be missed for and still be found again


class Tubes:
    """The tubes of one window of one video. `tau` is the time constant of the mean, in frames."""

    def __init__(self, tau: float) -> None:
        self.step = 1.0 - np.exp(-1.0 / tau) if tau > 0 else 1.0
        self.boxes = np.zeros((0, 4))
        self.values: np.ndarray | None = None
        self.frames = np.zeros(0, dtype=np.int64)

    def push(self, frame: int, boxes: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The values (N, K) of the boxes (N, 4) of one frame, averaged along their tubes.

        y = y' + a (x - y') with the y' of the box linked to, a = 1 - exp(-1 / tau); a new thing
        starts at y' = 0, so it has to earn its score. NaN stays out of the mean.
        """
        boxes, values = np.asarray(boxes, np.float64), np.asarray(values, np.float64)
        if self.values is None:
            self.values = np.zeros((0, values.shape[1]))
        fresh = frame - self.frames <= LOST
        old_boxes, old_values = self.boxes[fresh], self.values[fresh]
        before = np.zeros_like(values)
        linked = np.zeros(len(old_boxes), dtype=bool)
        if len(boxes) and len(old_boxes):
            shared = overlap(boxes, old_boxes)  # (N, M)
            best = shared.argmax(1)
            found = shared[np.arange(len(boxes)), best] >= OVERLAP
            before[found] = old_values[best[found]]
            linked[best[found]] = True
        out = before + self.step * (np.nan_to_num(values) - before)
        missed = ~linked  # kept a little, at the place where they were last seen
        self.boxes = np.concatenate([boxes, old_boxes[missed]])
        self.values = np.concatenate([out, old_values[missed]])
        ages = np.full(len(boxes), frame)
        self.frames = np.concatenate([ages, self.frames[fresh][missed]])
        return np.where(np.isnan(values), np.nan, out)
