"""A data set of a few small videos made in memory, and the way to the real ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vigil.data.base import DataSet, Split, TestSplit
from vigil.records import Frame, Truth, Video

SIZE = (32, 48)  # (height, width)


def real(name: str) -> Path:
    """The folder of a real data set; the test is skipped, with the reason, where it is not."""
    repository = Path(__file__).resolve().parents[2]
    root = Path(os.environ.get("VIGIL_DATA") or repository.parent / "shared" / "data") / name
    if not root.is_dir():
        pytest.skip(f"real data not at hand: no {root}")
    return root


def masks(seed: int, length: int, runs: list[tuple[int, int]]) -> np.ndarray:
    """A block that moves through the picture while a run lasts, (T, H, W) bool."""
    found = np.zeros((length, *SIZE), bool)
    for first, stop in runs:
        for index in range(first, stop):
            x = (3 * index + 5 * seed) % 36
            found[index, 8 : 16 + seed, x : x + 9] = True
    return found


def video(name: str, length: int, mask: np.ndarray | None = None, **about: object) -> Video:
    """Smooth moving colour, white where the mask is."""

    def frames(short_side: int | None) -> object:
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        for index in range(length):
            grey = 90 + 50 * np.sin((x + 2 * index) / 9) * np.cos(y / 7)
            image = np.stack([grey, grey + 10, grey + 20], -1).astype(np.uint8)
            if mask is not None:
                image[mask[index]] = 250
            yield Frame(image, index / 10)

    return Video(name, f"memory/{name}", 10.0, SIZE, frames, **about)  # type: ignore[arg-type]


TESTS = {  # name: length, abnormal runs [first, stop), scene
    "park": (20, [(3, 9), (12, 20)], "park"),
    "quiet": (17, [], "park"),
    "road": (18, [(0, 1), (6, 7), (17, 18)], "road"),
}


def tiny(views: tuple[str, ...] = ("",)) -> DataSet:
    """Three normal and one anomalous training video, three test videos; 17 to 20 frames each."""
    train, test, truths = [], [], {}
    for view in views:
        end = f"-{view}" if view else ""
        for index, label in enumerate(("normal", "normal", "anomalous", "normal")):
            scene = "park" if index < 2 else "road"
            train.append(
                video(f"learn{index}{end}", 18 + index, label=label, scene=scene, view=view)
            )
        for index, (name, (length, runs, scene)) in enumerate(TESTS.items()):
            mask = masks(index, length, runs)
            test.append(video(name + end, length, mask, scene=scene, view=view))
            labels = mask.any(axis=(1, 2))
            classes = np.where(labels, "wrong way", "")
            truths[name + end] = Truth(labels, classes, masks=lambda mask=mask: mask)
    return DataSet(
        "tiny", Split(tuple(train)), TestSplit(tuple(test), truths.__getitem__),
        info={"classes": {"learn2": "running"}},
    )  # fmt: skip
