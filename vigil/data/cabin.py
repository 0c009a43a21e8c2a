"""`cabin`: a driver seen by four synchronous sensors, generated and labelled.

Two cameras (front, top), each with a depth-like and an infrared-like sensor; 15 frames a second.
What it shows and what it can and cannot prove: docs/data/cabin.md. Version 1 is frozen: what
happens in it by `FROZEN` (exactly), how it looks by `LOOKS` (coarsely).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vigil.data import _cabin_body as bodies
from vigil.data import _cabin_script as script
from vigil.data import _generated as generated
from vigil.data._cabin_body import HEAD, LEFT_HAND, PHONE, RIGHT_ARM, RIGHT_HAND, SIZE
from vigil.data._cabin_script import CLASSES, FPS, SPLITS, VIEWS
from vigil.data._drawing import drift
from vigil.data._generated import Job, Labels, Progress
from vigil.data.base import DataSet, Split, TestSplit
from vigil.errors import unknown
from vigil.records import Truth, Video

KINDS = ("head", "right hand", "left hand", "right arm")
# body part -> what its box is drawn around, an index into KINDS + 1
ACTOR = np.zeros(8, np.uint8)
ACTOR[[HEAD, RIGHT_HAND, PHONE, LEFT_HAND, RIGHT_ARM]] = 1, 2, 2, 3, 4
# which of them does what is labelled
DOES = {
    "phone": (1,), "reaching_back": (1, 3), "hands_off": (1, 2), "drowsy": (0,),
    "looking_aside": (0,),
}  # fmt: skip
SEEN = 12  # an actor with fewer visible pixels is not seen
FROZEN = {
    "cabin/train": "0bd4c89f71e283447217eea30935b1cf8db9a7ebd98793f601e92ebef308211e",
    "cabin/val": "b94beda15c85cc0d889d2857d620116745f910cd75274445445dc24ad7d81426",
    "cabin/test": "7415d6d7382092890107b395499ea592cbdbb1698a891e5b4536b1b27e3b54d6",
}
LOOKS: dict[str, tuple[int, ...]] = {
    "front_depth": (7, 8, 7, 62, 48, 86, 48, 91, 109, 152, 132, 87),
    "front_IR": (11, 14, 14, 85, 47, 86, 71, 124, 74, 77, 80, 48),
    "top_depth": (70, 92, 90, 69, 72, 121, 121, 89, 68, 167, 189, 104),
    "top_IR": (32, 40, 32, 29, 35, 62, 55, 52, 33, 69, 68, 55),
}  # fmt: skip


def render(
    view: str, split: str, index: int, seed: int = 0, *, version: int = 1,
    size: tuple[int, int] = SIZE, limit: int | None = None,
) -> tuple[np.ndarray, Labels]:  # fmt: skip
    """One view of one recording: frames (T, H, W, 3) uint8, grey in RGB, and its labels.

    Classes belong to the recording, so they are the same in all views; boxes and masks to what
    this view sees (the front camera sees no lap). limit: only the first so many frames.
    """
    story = _story(view, split, index, seed, version)
    driver = bodies.new_driver(story.driver, story.size)
    total = len(story.codes)
    length = min(total, limit or total)
    sensor = _Sensor(view, story.driver, total, size)
    frames, masks = np.empty((length, *size), np.uint8), np.zeros((length, *size), bool)
    boxes: list[tuple[int, ...]] = []
    for t in range(length):
        grey, parts = bodies.draw(view, story.rows[t], driver, size)
        frames[t] = sensor.see(grey, t)
        doing = DOES.get(CLASSES[story.codes[t]], ())
        owner = ACTOR[parts]
        for actor in range(len(KINDS)):
            on = owner == actor + 1
            if np.count_nonzero(on) < SEEN:
                continue
            cols, rows = np.flatnonzero(on.any(0)), np.flatnonzero(on.any(1))
            code = int(story.codes[t]) if actor in doing else 0
            boxes.append((t, actor, actor, code, int(cols[0]), int(rows[0]),
                          int(cols[-1]) + 1, int(rows[-1]) + 1))  # fmt: skip
            if code:
                masks[t] |= on
    table = np.array(boxes, np.int32).reshape(-1, 8)
    labels = Labels(story.codes[:length], table, masks, CLASSES, KINDS)
    return np.repeat(frames[..., None], 3, axis=-1), labels


def digest(split: str, seed: int = 0) -> str:
    """SHA-256 of what the driver does in all recordings of a split, with labels.

    Of the scripts, not of pixels, in steps of 1/512; it depends on numpy's random streams only.
    """
    total = hashlib.sha256()
    for index, event in script.plan(split):
        story = _story(VIEWS[0], split, index, seed, 1)
        total.update(f"{index} {event} {story.driver} {round(story.size * 512)}".encode())
        total.update(np.round(story.rows * 512).astype("<i4").tobytes())
        total.update(story.codes.tobytes())
    return total.hexdigest()


def looks(view: str) -> tuple[int, ...]:
    """Mean levels (12,) of frame 48 of a view of the first test recording, in 3x4 fields."""
    frames, _ = render(view, "test", 0, limit=49)
    fields = frames[48, ..., 0].reshape(3, 40, 4, 40).mean((1, 3))
    return tuple(fields.round().astype(int).ravel().tolist())


def _story(view: str, split: str, index: int, seed: int, version: int) -> script.Script:
    if view not in VIEWS:
        raise unknown("view", view, VIEWS)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    event = dict(script.plan(split))[index]
    return script.write(event, script.seeded(version, seed, split, index))


class _Sensor:
    """Grain and drifting light of one of the four sensors."""

    def __init__(self, view: str, seed: int, frames: int, size: tuple[int, int]) -> None:
        rng = np.random.default_rng([seed, VIEWS.index(view)])
        infrared = view.endswith("IR")
        self.size = size
        self.light = drift(rng, frames, FPS, 0.14 if infrared else 0.02)[:, 0]
        spread = 3.0 if infrared else 2.0
        bank = rng.normal(0, spread, (size[0] + 32, size[1] + 32)).astype(np.float32)
        self.bank = np.round(bank).astype(np.int16)
        self.offsets = rng.integers(0, 32, (frames, 2))

    def see(self, grey: np.ndarray, frame: int) -> np.ndarray:
        """One frame (H, W) uint8 with its noise."""
        h, w = self.size
        y, x = self.offsets[frame]
        table = np.clip(np.arange(256) * self.light[frame], 0, 255).astype(np.uint8)
        return cv2.add(table[grey], self.bank[y : y + h, x : x + w], dtype=cv2.CV_8U)


def generate(
    out: Path | str, *, seed: int = 0, version: int = 1, size: tuple[int, int] = SIZE,
    scale: float = 1.0, splits: Sequence[str] = SPLITS, views: Sequence[str] = VIEWS,
    progress: Progress | None = None,
) -> Path:  # fmt: skip
    """Make the data set under `out`/cabin; returns its folder. What is already there is kept.

    scale: the share of the recordings, and of each one's length, that is made (at least 60
    frames, one recording a split, three in test); for tests.
    """
    generated.check(version, size, SIZE, scale)
    folder = generated.folder(Path(out) / "cabin", seed, version, size, scale)
    jobs = []
    for split in SPLITS:
        plan = script.plan(split)
        kept = max(3 if split == "test" else 1, round(scale * len(plan)))
        for index, event in plan[:kept]:
            jobs += [_job(split, index, event, v, seed, version, size, scale) for v in VIEWS]
    wanted = [j for j in jobs if j.facts["split"] in splits and j.facts["view"] in views]
    facts = {
        "name": "cabin", "version": version, "seed": seed, "fps": FPS, "size": list(size),
        "frozen": FROZEN, "looks": LOOKS,
    }  # fmt: skip
    listed = [dict(job.facts) for job in jobs]
    generated.produce(folder, wanted, {**facts, "videos": listed}, progress)
    return folder


def _job(
    split: str, index: int, event: str, view: str,
    seed: int, version: int, size: tuple[int, int], scale: float,
) -> Job:  # fmt: skip
    total = int(script.seeded(version, seed, split, index).integers(*script.LENGTH))
    length = generated.shortened(total, scale)
    name = f"rec{index:02d}/{view}"
    facts = {
        "name": name, "split": split, "scene": "", "view": view, "label": event or "normal",
        "fps": FPS, "frames": length, "size": list(size),
    }  # fmt: skip

    def make() -> tuple[np.ndarray, Labels]:
        return render(view, split, index, seed, version=version, size=size, limit=length)

    return Job(f"{split}/{name}", facts, make)


def open_cabin(
    root: Path | str | None = None, view: str = "all", *, seed: int = 0, **options: Any
) -> DataSet:
    """A driver seen by four sensors, generated and labelled; made on first use.

    It is made under `root`, VIGIL_DATA or the user's cache.

    view: one of VIEWS, or "all"; a video is called RECORDING/VIEW, so that views of one moment
    can be joined. options: version, size, scale, progress, as in `generate`.
    """
    if view != "all" and view not in VIEWS:
        raise unknown("view", view, ("all", *VIEWS))
    views = VIEWS if view == "all" else (view,)
    folder = generate(generated.home(root), seed=seed, views=views, **options)
    listed = [facts for facts in generated.videos(folder) if facts["view"] in views]

    def part(name: str, label: str) -> tuple[Video, ...]:
        return generated.open_part(folder, listed, (name,), label)

    def truth(name: str) -> Truth:
        return generated.truth(folder, "test", name, listed)

    train = part("train", "known")
    info = {
        "licence": "generated by Vigil, Apache-2.0", "folder": str(folder),
        "shows": "a driver seen by four sensors; docs/data/cabin.md",
        "expected": {"train videos": len(train)},
    }  # fmt: skip
    test = TestSplit(part("test", "unknown"), truth)
    return DataSet("cabin", Split(train), test, Split(part("val", "known")), view, info)
