"""Boxes to moving things: velocity and time stayed, by linking boxes from frame to frame."""

from __future__ import annotations

import numpy as np

from vigil.features.boxes import overlap

OVERLAP = 0.2  # intersection over union from which two boxes may be the same thing
LOST = 3  # frames a thing may be missed for and still be found again
MEMORY_S = 6.0  # seconds of each thing's way that are kept
VELOCITY_S = 1.0  # seconds over which a velocity is measured
STAY = 0.5  # body heights that a thing may move and still have stayed


class Tracks:
    """The things of one video. `see` a frame's boxes, get what is known of each."""

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.boxes = np.zeros((0, 4))
        self.ways: list[list[tuple[float, float, float, float]]] = []  # (frame, x, foot, height)

    def see(self, boxes: np.ndarray, frame: int) -> np.ndarray:
        """(N, 4) boxes of a frame to (N, 3): velocity x, y in body heights a second, and the
        seconds it has stayed where it is (within STAY body heights)."""
        boxes = np.asarray(boxes, np.float64)[:, :4]
        link = matched(overlap(boxes, self.boxes))
        ways = []
        for box, old in zip(boxes, link, strict=True):
            way = self.ways[old] if old >= 0 else []
            here = (float(frame), (box[0] + box[2]) / 2, box[3], box[3] - box[1])
            ways.append([*way, here][-round(MEMORY_S * self.fps) :])
        taken = set(link.tolist())
        lost = [
            n for n, way in enumerate(self.ways) if n not in taken and frame - way[-1][0] <= LOST
        ]
        self.boxes = np.concatenate([boxes, self.boxes[lost]])
        self.ways = ways + [self.ways[n] for n in lost]
        facts = [motion(np.array(way), self.fps) for way in ways]
        return np.array(facts, np.float32).reshape(-1, 3)


def matched(shared: np.ndarray) -> np.ndarray:
    """(N, M) overlaps to (N,): the old box of each new one, or -1; the largest overlaps first."""
    link = np.full(len(shared), -1)
    used = np.zeros(shared.shape[1], bool)
    for flat in np.argsort(-shared, axis=None, kind="stable"):
        new, old = divmod(int(flat), shared.shape[1])
        if shared[new, old] < OVERLAP:
            break
        if link[new] < 0 and not used[old]:
            link[new], used[old] = old, True
    return link


def motion(way: np.ndarray, fps: float) -> tuple[float, float, float]:
    """(T, 4) of (frame, x, foot, height) to velocity x, y and seconds stayed."""
    now, body = way[-1, 0], float(np.median(way[:, 3])) or 1.0
    recent = way[way[:, 0] >= now - VELOCITY_S * fps]
    third = max(len(recent) // 3, 1)  # means of both ends: the jitter of boxes cancels
    first, last = recent[:third].mean(0), recent[-third:].mean(0)
    seconds = max((last[0] - first[0]) / fps, 1 / fps)
    vx, vy = (last[1:3] - first[1:3]) / body / seconds
    away = np.hypot(*(way[:, 1:3] - way[-1, 1:3]).T) > STAY * body
    since = np.flatnonzero(away)
    start = way[since[-1] + 1 if len(since) else 0, 0]
    return float(vx), float(vy), float((now - start) / fps)
