"""`street`: three scenes under fixed cameras, generated and labelled to the pixel.

What it shows and what it can and cannot prove: docs/data/street.md. Version 1 is frozen: what
happens in it by `FROZEN` (exactly), how it looks by `LOOKS` (coarsely; anti-aliased drawing may
differ in last bits between builds of OpenCV).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vigil.data import _generated as generated
from vigil.data import _street_figures as figures
from vigil.data import _street_script as script
from vigil.data._drawing import Sensor, Sprite, blit, drift, shade, tremble, with_shadow
from vigil.data._generated import Job, Labels, Progress
from vigil.data._street_looks import BAG, BICYCLE, CAR, KINDS, PERSON, Pose, new_look
from vigil.data._street_places import SCENES, SIZE, Place, place
from vigil.data._street_things import SUN
from vigil.data._street_tracks import CLASSES, FPS, HEADING, PHASE, STRIDE, Track, X, Z
from vigil.data.base import DataSet, Split, TestSplit
from vigil.errors import unknown
from vigil.records import Truth

SPLITS = ("train", "val", "test", "weak")
SEEN = 20  # an actor with fewer visible pixels, or less than a quarter of itself, is not seen
LIGHT = {"road": 0.14, "walkway": 0.14, "shop": 0.07}
FROZEN = {
    "street/train": "19e84664bc9eccf1701e4a7475dc35772b236b803e195de0467dfe593cfb20ed",
    "street/val": "be465f22dd9703e94e4281a96cb720eb253361ad252478f811371c8c107544d0",
    "street/test": "28780a5a9263ce2c0b865379ff5246b48e945de24b4d70b16711a0f45a403bc6",
    "street/weak": "1e93db69af1612eefe20055a4adbfd287afe74c38330521cbbcbbec96f7a311d",
}
LOOKS: dict[str, tuple[int, ...]] = {
    "road": (122, 119, 114, 118, 121, 117, 128, 125, 109, 124, 117, 112,
             103, 107, 98, 101, 103, 101, 156, 150, 144, 143, 145, 142),
    "walkway": (158, 157, 152, 160, 162, 159, 134, 127, 144, 153, 138, 133,
                153, 153, 171, 177, 172, 172, 160, 173, 170, 185, 199, 186),
    "shop": (141, 161, 152, 156, 168, 150, 103, 129, 119, 125, 139, 120,
             127, 168, 145, 153, 164, 169, 172, 176, 190, 191, 156, 168),
}  # fmt: skip


def render(
    scene: str, split: str, index: int, seed: int = 0, *, version: int = 1,
    size: tuple[int, int] = SIZE, limit: int | None = None,
) -> tuple[np.ndarray, Labels]:  # fmt: skip
    """One video, drawn: frames (T, H, W, 3) uint8 RGB at 12 a second, and its labels.

    limit: only the first so many frames. Touches no disk; the same arguments give the same video.
    """
    story, rng = _story(scene, split, index, seed, version)
    stage = place(scene, size)
    total = story.frames
    sensor = Sensor(
        rng, size, drift(rng, total, FPS, LIGHT[scene]),
        tremble(rng, total, rng.uniform(0.1, 0.7) * size[0] / SIZE[0]), rng.uniform(1.4, 2.6),
    )  # fmt: skip
    actors = [_Actor(track, stage) for track in story.tracks]
    length = min(total, limit or total)
    frames = np.empty((length, *size, 3), np.uint8)
    masks, codes = np.zeros((length, *size), bool), np.zeros(length, np.uint8)
    boxes: list[tuple[int, ...]] = []
    for t in range(length):
        canvas, ids, shown = _draw(stage, actors, t)
        frames[t] = sensor.see(canvas, t)
        seen = _seen(sensor.crop(ids, t), shown)
        for number, actor, box in seen:
            code = actor.code(t)
            boxes.append((t, number, actor.track.kind, code, *box))
            if code:
                codes[t] = codes[t] or code
                masks[t] |= sensor.crop(ids, t) == number + 1
    table = np.array(boxes, np.int32).reshape(-1, 8)
    return frames, Labels(codes, table, masks, CLASSES, KINDS)


def digest(split: str, seed: int = 0) -> str:
    """SHA-256 of what happens in all videos of a split: who does what, where, when, with labels.

    Of the scripts, not of pixels, in steps of 1/64 (metre, radian, share), every 8th row; it
    depends on numpy's random streams only.
    """
    total = hashlib.sha256()
    for scene, index, event in script.plan(split):
        story, _ = _story(scene, split, index, seed, 1)
        total.update(f"{scene} {index} {event} {story.frames}".encode())
        for track in story.tracks:
            total.update(np.array([track.kind, track.look, track.start], "<i8").tobytes())
            total.update(np.round(track.rows()[::8] * 64).astype("<i4").tobytes())
            total.update(track.labels().tobytes())
    return total.hexdigest()


def looks(scene: str) -> tuple[int, ...]:
    """Mean levels (24,) of frame 48 of a scene's first test video, in 4x6 fields."""
    frames, _ = render(scene, "test", 0, limit=49)
    return tuple(
        frames[48]
        .reshape(4, 60, 320, 3)[:, :, :318]
        .reshape(4, 60, 6, 53, 3)
        .mean((1, 3, 4))
        .round()
        .astype(int)
        .ravel()
        .tolist()
    )


def _story(
    scene: str, split: str, index: int, seed: int, version: int
) -> tuple[script.Script, np.random.Generator]:
    """The script of one video, and the random numbers that its camera goes on with."""
    if scene not in SCENES:
        raise unknown("scene", scene, SCENES)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    event = {(s, i): e for s, i, e in script.plan(split)}[scene, index]
    rng = script.seeded(version, seed, split, scene, index)
    return script.write(scene, event, rng), rng


class _Actor:
    """A track with its looks, and the sprites already drawn of it."""

    def __init__(self, track: Track, stage: Place) -> None:
        self.track, self.stage = track, stage
        self.rows, self.labels = track.rows(), track.labels()  # (n, 11), (n,)
        self.look = new_look(track.kind, np.random.default_rng(track.look))
        self.sprites: dict[tuple, Sprite] = {}

    def row(self, frame: int) -> np.ndarray | None:
        """The state (11,) at a frame, or None where there is no such figure then."""
        at = frame - self.track.start
        return self.rows[at] if 0 <= at < len(self.rows) else None

    def code(self, frame: int) -> int:
        """The class of what it does at a frame."""
        return int(self.labels[frame - self.track.start])

    def sprite(self, row: np.ndarray) -> Sprite:
        """Its picture in this state; states are rounded, so that pictures can be used again."""
        camera, kind = self.stage.camera, self.track.kind
        size = round(np.log(camera.focal / row[Z]) / 0.03)
        turn = round(row[HEADING] / (np.pi / 8)) % 16 if kind == PERSON else None
        beats = {PERSON: 16, BICYCLE: 16, CAR: 4, BAG: 1}[kind]
        cycle = np.pi / 2 if kind == CAR else 2 * np.pi
        moving = kind != PERSON or row[STRIDE] > 0.05
        phase = round(row[PHASE] / cycle * beats) % beats if moving else 0
        pose = tuple(np.round(row[STRIDE:] * 8).astype(int).tolist())
        key = (size, turn, phase, pose)
        if key not in self.sprites:
            heading = row[HEADING] if turn is None else turn * np.pi / 8
            self.sprites[key] = self._draw(
                float(np.exp(size * 0.03)), float(heading),
                Pose(phase / beats * cycle, *(value / 8 for value in pose)),
            )  # fmt: skip
        return self.sprites[key]

    def _draw(self, scale: float, heading: float, pose: Pose) -> Sprite:
        kind = self.track.kind
        sprite = figures.draw(kind, self.look, pose, heading, scale, self.stage.camera.tilt)
        deep = {CAR: 0.5, BICYCLE: 0.06, BAG: 0.12}.get(kind, 0.04)
        slant, drop, depth = SUN[self.stage.name]
        return with_shadow(sprite, slant, drop, depth, 0.8 + scale / 40, deep * scale)


Shown = tuple[int, _Actor, Sprite]


def _draw(
    stage: Place, actors: Sequence[_Actor], frame: int
) -> tuple[np.ndarray, np.ndarray, list[Shown]]:
    """The canvas (H, W, 3), who is on each pixel (H, W) uint16 (actor + 1), and who was drawn."""
    canvas = stage.background.copy()
    ids = np.zeros(canvas.shape[:2], np.uint16)
    shown, queue = [], []
    for number, actor in enumerate(actors):
        row = actor.row(frame)
        if row is None:
            continue
        column, line = stage.camera.project(row[X], row[Z])
        if not -200 < column < canvas.shape[1] + 200:
            continue
        sprite, at = actor.sprite(row), (round(column), round(line))
        shade(canvas, sprite, at)
        queue.append((-row[Z], number, sprite, at))
        shown.append((number, actor, sprite))
    things = [(-z, -1, sprite, at) for z, sprite, at in stage.standing]
    for _, number, sprite, at in sorted(queue + things, key=lambda item: item[:2]):
        blit(canvas, ids, sprite, at, number + 1)
    return canvas, ids, shown


def _seen(
    ids: np.ndarray, shown: Sequence[Shown]
) -> list[tuple[int, _Actor, tuple[int, int, int, int]]]:
    """Who can be seen in the picture, with the box of the visible pixels."""
    found = []
    for number, actor, sprite in shown:
        on = ids == number + 1
        count = int(np.count_nonzero(on))
        if count >= max(SEEN, sprite.pixels / 4):
            cols, rows = np.flatnonzero(on.any(0)), np.flatnonzero(on.any(1))
            box = (int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1)
            found.append((number, actor, box))
    return found


def generate(
    out: Path | str, *, seed: int = 0, version: int = 1, size: tuple[int, int] = SIZE,
    scale: float = 1.0, splits: Sequence[str] = SPLITS[:3], progress: Progress | None = None,
) -> Path:  # fmt: skip
    """Make the data set under `out`/street; returns its folder. What is already there is kept.

    scale: the share of the videos, and of each video's length, that is made (at least 60 frames,
    one video a scene and split, two in test and weak); for tests.
    """
    generated.check(version, size, SIZE, scale)
    folder = generated.folder(Path(out) / "street", seed, version, size, scale)
    jobs = [_job(*video, seed, version, size, scale) for video in _videos(SPLITS, scale)]
    wanted = [job for job in jobs if job.facts["split"] in splits]
    facts = {
        "name": "street", "version": version, "seed": seed, "fps": FPS, "size": list(size),
        "frozen": FROZEN, "looks": LOOKS,
    }  # fmt: skip
    listed = [dict(job.facts) for job in jobs]
    generated.produce(folder, wanted, {**facts, "videos": listed}, progress)
    return folder


def open_street(
    root: Path | str | None = None, *, split: str | None = None, seed: int = 0, **options: Any
) -> DataSet:
    """Three scenes under fixed cameras, generated and labelled; made on first use.

    It is made under `root`, VIGIL_DATA or the user's cache.

    split: None for one-class training (normal videos only), "weak" for training by video labels;
    options: version, size, scale, progress, as in `generate`.
    """
    if split not in (None, "one-class", "weak"):
        raise unknown("split", str(split), ("one-class", "weak"))
    parts = SPLITS if split == "weak" else SPLITS[:3]
    folder = generate(generated.home(root), seed=seed, splits=parts, **options)
    listed = generated.videos(folder)

    def truth(name: str) -> Truth:
        return generated.truth(folder, "test", name, listed)

    own = ("train", "weak") if split == "weak" else ("train",)
    train = generated.open_part(folder, listed, own, "known")
    test = TestSplit(generated.open_part(folder, listed, ("test",), "unknown"), truth)
    val = Split(generated.open_part(folder, listed, ("val",), "known"))
    info = {
        "licence": "generated by Vigil, Apache-2.0", "folder": str(folder),
        "shows": "three scenes (road, walkway, shop); docs/data/street.md",
        "expected": {"train videos": len(train)},
    }  # fmt: skip
    return DataSet("street", Split(train), test, val, "weak" if split == "weak" else "", info)


def _videos(splits: Sequence[str], scale: float) -> list[tuple[str, str, int, str]]:
    """(split, scene, index, event) of every video that is made."""
    videos = []
    for split in splits:
        plan = script.plan(split)
        least = 2 if split in ("test", "weak") else 1
        kept = max(least, round(scale * len(plan) / len(SCENES)))
        videos += [(split, *video) for video in plan if video[1] < kept]
    return videos


def _job(
    split: str, scene: str, index: int, event: str,
    seed: int, version: int, size: tuple[int, int], scale: float,
) -> Job:  # fmt: skip
    total = int(script.seeded(version, seed, split, scene, index).integers(*script.LENGTH))
    length = generated.shortened(total, scale)
    name = f"{scene}_{index:02d}" if split != "weak" else f"{scene}_weak_{index:02d}"
    facts = {
        "name": name, "split": split, "scene": scene, "label": event or "normal",
        "fps": FPS, "frames": length, "size": list(size),
    }  # fmt: skip

    def make() -> tuple[np.ndarray, Labels]:
        return render(scene, split, index, seed, version=version, size=size, limit=length)

    return Job(f"{split}/{name}", facts, make)
