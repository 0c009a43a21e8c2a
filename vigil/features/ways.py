"""What is seen of each thing in a frame: place, size, motion, how long it has stayed, its way."""

from __future__ import annotations

import numpy as np

from vigil.features.base import Tracker
from vigil.features.boxes import overlap
from vigil.features.tracks import LOST, matched, motion
from vigil.records import Frame, Video

COLUMNS = (
    "x", "foot",  # middle of the lower edge, in picture heights
    "high", "wide",  # logarithms of picture heights
    "way_x", "way_y",  # velocity over the last second, body heights a second
    "flow_x", "flow_y", "speed",  # of the fastest third of the box, picture heights a second
    "stay", "near",  # logarithms of 1 + seconds within half a body height, within one and a half
    "path", "gone", "turned",  # of the last 3 s, body heights: way gone, distance, difference
    "age",  # logarithm of 1 + seconds that it has been followed
)  # fmt: skip
MEMORY_S = 12.0  # seconds of each thing's way that are kept
PATH_S = 3.0
AROUND = 1.5  # body heights that a thing may move and still be near


class Follower:
    """Things of one video, frame after frame, never ahead."""

    def __init__(self, objects: Tracker, flow: Tracker, video: Video) -> None:
        self.objects, self.flow, self.fps, self.size = objects, flow, video.fps, video.size
        self.boxes = np.zeros((0, 4))
        self.ways: list[list[tuple[float, float, float, float]]] = []  # (frame, x, foot, height)
        self.began: list[int] = []

    def see(self, frame: Frame, index: int) -> np.ndarray:
        """(n, columns) float32 of the things in this frame."""
        boxes = np.asarray(self.objects.see(frame, index), np.float64).reshape(-1, 4)
        flow = self.flow.see(frame, index)  # (2, H, W)
        link = matched(overlap(boxes, self.boxes))
        ways, began = [], []
        for box, old in zip(boxes, link, strict=True):
            here = (float(index), (box[0] + box[2]) / 2, box[3], max(box[3] - box[1], 1.0))
            ways.append(
                [*(self.ways[old] if old >= 0 else []), here][-round(MEMORY_S * self.fps) :]
            )
            began.append(self.began[old] if old >= 0 else index)
        rows = [
            [*placed(box, self.size), *walked(np.array(way), self.fps),
             np.log1p((index - since) / self.fps)]
            for box, way, since in zip(boxes, ways, began, strict=True)
        ]  # fmt: skip
        moved = [fastest(flow, box, self.size) * self.fps for box in boxes]
        taken = set(link.tolist())
        lost = [n for n, way in enumerate(self.ways)
                if n not in taken and index - way[-1][0] <= LOST]  # fmt: skip
        self.boxes = np.concatenate([boxes, self.boxes[lost]])
        self.ways = ways + [self.ways[n] for n in lost]
        self.began = began + [self.began[n] for n in lost]
        full = [[*row[:6], *flowed, *row[6:]] for row, flowed in zip(rows, moved, strict=True)]
        return np.array(full, np.float32).reshape(-1, len(COLUMNS))

    def finish(self) -> None:
        self.objects.finish()
        self.flow.finish()


def placed(box: np.ndarray, size: tuple[int, int]) -> tuple[float, ...]:
    """x, foot, high, wide."""
    x1, y1, x2, y2 = box / size[0]
    return (x1 + x2) / 2, y2, float(np.log(max(y2 - y1, 1e-3))), float(np.log(max(x2 - x1, 1e-3)))


def walked(way: np.ndarray, fps: float) -> tuple[float, ...]:
    """(T, 4) of (frame, x, foot, height) to velocity x, y, stay, near, path, gone, turned."""
    vx, vy, stayed = motion(way, fps)
    body = float(np.median(way[:, 3]))
    away = np.flatnonzero(np.hypot(*(way[:, 1:3] - way[-1, 1:3]).T) > AROUND * body)
    near = (way[-1, 0] - way[away[-1] + 1 if len(away) else 0, 0]) / fps
    recent = way[way[:, 0] >= way[-1, 0] - PATH_S * fps, 1:3] / body
    path, gone = 0.0, 0.0
    if len(recent) > 6:  # means over 5 frames, a quarter of a second apart: jitter is no way
        steps = np.stack([np.convolve(c, np.ones(5) / 5, "valid") for c in recent.T], 1)
        gone = float(np.hypot(*(steps[-1] - steps[0])))
        path = float(np.hypot(*np.diff(steps[:: max(round(fps / 4), 1)], axis=0).T).sum())
    return vx, vy, float(np.log1p(stayed)), float(np.log1p(near)), path, gone, path - gone


def fastest(flow: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(3,) mean x, y and length of the flow over the fastest third of a box, in picture heights
    a frame."""
    height, width = flow.shape[1:]
    fy, fx = height / size[0], width / size[1]
    x, y = min(max(int(box[0] * fx), 0), width - 1), min(max(int(box[1] * fy), 0), height - 1)
    part = flow[:, y : max(int(box[3] * fy), y + 1), x : max(int(box[2] * fx), x + 1)].reshape(
        2, -1
    )
    speed = np.hypot(*part)
    third = max(len(speed) // 3, 1)
    most = np.argpartition(-speed, third - 1)[:third]
    return np.array([*part[:, most].mean(1), speed[most].mean()]) / height
