"""Which box is which thing: identities over time, by overlap from frame to frame."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vigil.features.boxes import overlap
from vigil.features.tracks import LOST, matched


def link(boxes: Iterable[np.ndarray]) -> list[np.ndarray]:
    """One (N, 4+) array of boxes a frame to one (N,) int64 array of identities a frame.

    Boxes that overlap (intersection over union of 0.2 at least, the largest first) are the same
    thing; one that is missed keeps its identity for 3 frames. Identities count from 0 and are
    never used again. Only the past is looked at.

    >>> here, there = np.array([[0, 0, 9, 9.0]]), np.array([[50, 0, 59, 9], [1, 0, 10, 9.0]])
    >>> [ids.tolist() for ids in link([here, there, np.empty((0, 4)), here])]
    [[0], [1, 0], [], [0]]
    """
    ids: list[np.ndarray] = []
    known, names, last = np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.int64)
    count = 0
    for frame, found in enumerate(boxes):
        now = (
            np.asarray(found, np.float64).reshape(len(found), -1)[:, :4]
            if len(found)
            else known[:0]
        )
        old = matched(overlap(now, known))  # (N,) rows of `known`, or -1
        new = old < 0
        mine = np.where(new, 0, names[old] if len(names) else 0)
        mine[new] = np.arange(count, count + new.sum())
        count += int(new.sum())
        stay = (frame - last <= LOST) & ~np.isin(np.arange(len(names)), old)
        known = np.concatenate([now, known[stay]])
        names = np.concatenate([mine, names[stay]])
        last = np.concatenate([np.full(len(now), frame), last[stay]])
        ids.append(mine.astype(np.int64))
    return ids
