"""A small tree in the scene-aware project's layout: two scenes, squares that cross the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import moving_square

from vigil.data.base import DataSet, Split, TestSplit
from vigil.data.layouts import write_as
from vigil.records import Truth, Video


def scene_set(frames: int = 40) -> DataSet:
    """Two normal videos of each of two scenes; in the two test videos a square runs for a while."""

    def film(name: str, scene: str, seed: int, **facts: object) -> Video:
        return moving_square(name, frames + seed, seed=seed, size=(48, 64), scene=scene, **facts)

    learn = [film(f"n{n}", "ab"[n % 2], n, label="normal") for n in range(4)]
    test = [film(f"t{n}", "ab"[n], n, fast=(12, 24)) for n in range(2)]

    def truth(name: str) -> Truth:
        found = np.zeros(frames + int(name[1]), bool)
        found[12:24] = True
        return Truth(found)

    return DataSet("squares", Split(tuple(learn)), TestSplit(tuple(test), truth))


def scene_tree(out: Path) -> Path:
    """training/01_001/0.jpg, ..., testing/01_0001/, testing/06_0002/, testframemask/."""
    return write_as(scene_set(), "shanghaitech-sd", out)
