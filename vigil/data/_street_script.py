"""What happens in one video of `street`: who is there, and the one thing that should not be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from vigil.data._street_looks import BAG, BICYCLE, CAR
from vigil.data._street_places import SCENES
from vigil.data._street_tracks import (
    CLASSES,
    FPS,
    TOWARDS,
    WAITING,
    Track,
    band,
    browse,
    customer,
    edge,
    lane,
    leave_shop,
    person,
    pick_side,
    route,
    shelf,
    to_shelf,
    waiting,
    walker,
)  # fmt: skip

# what can go wrong where
EVENTS = {
    "road": ("running", "wrong_way", "loitering", "falling", "abandoned", "erratic"),
    "walkway": ("vehicle", "running", "loitering", "falling", "abandoned", "erratic"),
    "shop": ("running", "loitering", "falling", "abandoned", "erratic", "theft"),
}
# how many people are in sight on average, from quiet to busy
CROWD = {"road": (0.6, 4.0), "walkway": (1.2, 6.5), "shop": (0.8, 3.4)}
LENGTH = (150, 211)  # frames; a video's first random number
LANES = ((CAR, 12.1, 1.0), (CAR, 14.0, -1.0), (BICYCLE, 10.35, 1.0), (BICYCLE, 15.65, -1.0))


@dataclass(frozen=True)
class Script:
    """One video before it is drawn: frames, and tracks (some of them labelled)."""

    scene: str
    frames: int
    tracks: tuple[Track, ...]


def write(scene: str, event: str, rng: np.random.Generator) -> Script:
    """The script of one video; `event` is a class name, or "" for a normal one."""
    frames = int(rng.integers(*LENGTH))
    tracks = list(_people(scene, frames, bool(event) and event != "wrong_way", rng))
    if scene in WAITING and rng.random() < 0.6:
        tracks += [waiting(scene, rng, frames) for _ in range(int(rng.integers(1, 3)))]
    wrong = int(rng.integers(len(LANES))) if event == "wrong_way" else -1
    if scene == "road":
        for number, (kind, z, direction) in enumerate(LANES):
            if number == wrong:
                tracks += lane(kind, z, -direction, 1.1, frames, rng, scene, event)
            else:
                crowd = rng.uniform(0.1, 1.1 if kind == CAR else 0.7)
                tracks += lane(kind, z, direction, crowd, frames, rng, scene)
    if event and event != "wrong_way":
        tracks += _event(scene, event, frames, rng)
    return Script(scene, frames, tuple(tracks))


def _people(
    scene: str, frames: int, fewer: bool, rng: np.random.Generator
) -> Iterable[Track]:  # fmt: skip
    """Passers-by; one fewer on average where an event brings somebody of its own."""
    low, high = CROWD[scene]
    crowd = max(0.3, rng.uniform(low, high) - 0.9 * fewer)
    before = 30 * FPS  # people who came before the video began are already on their way
    begin, tracks = -before, []
    seen = 0.0
    while seen < crowd * frames:
        group = customer(rng) if scene == "shop" and rng.random() < 0.75 else walker(scene, rng)
        begin = int(rng.integers(-before, frames))
        inside = [max(0, min(frames, begin + len(t.marks)) - max(0, begin)) for t in group]
        seen += 0.85 * sum(inside)
        for track in group:
            track.start = begin
            tracks.append(track)
    return tracks


def _event(scene: str, event: str, frames: int, rng: np.random.Generator) -> list[Track]:
    """The tracks of one event, put at a random moment; some begin before or end after the video."""
    if event == "vehicle" or (event == "erratic" and scene == "road" and rng.random() < 0.5):
        kind = BICYCLE if event == "erratic" or rng.random() < 0.5 else CAR
        z, sway = (rng.uniform(12.4, 13.6), 1.6) if event == "erratic" else (band(scene, rng), 0.0)
        return list(lane(kind, z, pick_side(rng), 0.9, frames, rng, scene, event, sway))
    tracks = EVENT[event](scene, frames, rng)
    marked = [(t.start, np.flatnonzero(t.labels())) for t in tracks]
    first = min(start + int(on[0]) for start, on in marked if len(on))
    stop = max(start + int(on[-1]) + 1 for start, on in marked if len(on))
    length = stop - first
    shift = round(rng.uniform(-0.25 * length, frames - 0.75 * length)) - first
    for track in tracks:
        track.start += shift
    return tracks


def _running(scene: str, frames: int, rng: np.random.Generator) -> list[Track]:
    tracks: list[Track] = []
    begin = 0
    while begin < 0.75 * frames:
        points = route(scene, rng)
        track = person(rng, *points[0]).mark("running")
        speed = rng.uniform(3.0, 4.4) if scene != "shop" else rng.uniform(2.4, 3.2)
        for x, z in points[1:]:
            track.run(x, z, speed)
        track.start = begin
        begin += len(track.marks) + int(rng.uniform(0, 1.5) * FPS)
        tracks.append(track)
    return tracks


def _enter(scene: str, x: float, z: float, rng: np.random.Generator) -> tuple[Track, float]:
    """Somebody who walks into the picture and up to a place, and the speed."""
    speed, z0 = rng.uniform(0.95, 1.4), min(max(z, 3.9), 5.0) if scene == "shop" else z
    track = person(rng, edge(scene, z0, pick_side(rng)), z0)
    if scene == "shop":
        to_shelf(track, x, z, speed)
    else:
        track.go(x, z, speed)
    return track, speed


def _leave(scene: str, track: Track, rng: np.random.Generator, speed: float) -> None:
    if scene == "shop":
        leave_shop(track, rng, speed)
    else:
        track.go(edge(scene, track.z, pick_side(rng)), track.z, speed)


def _spot(scene: str, rng: np.random.Generator) -> tuple[float, float]:
    """A place well inside the picture where people pass."""
    z = band(scene, rng) if scene != "shop" or rng.random() < 0.6 else rng.uniform(6.6, 7.8)
    if scene == "shop" and z > 5.6:
        return float(rng.uniform(1.5, 2.3)), float(z)  # where the rack hides nothing
    return float(rng.uniform(-0.65, 0.65) * edge(scene, z, 1, 0.0)), float(z)


def _aside(scene: str, rng: np.random.Generator) -> tuple[float, float]:
    """A place where nobody has any business: the gutter, the lawn, in front of the camera."""
    if scene == "road":
        z = rng.uniform(9.9, 10.6) if rng.random() < 0.5 else rng.uniform(15.6, 16.1)
        return float(rng.uniform(-0.6, 0.6) * edge(scene, z, 1, 0.0)), float(z)
    if scene == "walkway":
        left = rng.random() < 0.5
        return (rng.uniform(-4.6, -4.1), rng.uniform(8.2, 9.2)) if left else (
            rng.uniform(4.5, 8.5), rng.uniform(17.5, 18.0))  # fmt: skip
    return float(rng.uniform(-1.2, 1.2)), float(rng.uniform(3.35, 3.5))


def _loitering(scene: str, frames: int, rng: np.random.Generator) -> list[Track]:
    x, z = _aside(scene, rng) if rng.random() < 0.6 else _spot(scene, rng)
    track, speed = _enter(scene, x, z, rng)
    track.mark("loitering")
    side = pick_side(rng)
    until = len(track.marks) + rng.uniform(0.6, 1.1) * frames
    while len(track.marks) < until:
        reach = rng.uniform(0.5, 1.3)
        track.go(x + side * reach, z + rng.uniform(-0.25, 0.25), rng.uniform(0.45, 0.8))
        if rng.random() < 0.6:
            track.stay(rng.uniform(0.3, 1.2), track.heading + rng.uniform(-2.5, 2.5))
        side = -side
    _leave(scene, track.mark(""), rng, speed)
    return [track]


def _falling(scene: str, frames: int, rng: np.random.Generator) -> list[Track]:
    x, z = _spot(scene, rng)
    track, speed = _enter(scene, x, z, rng)
    heading = track.heading
    track.mark("falling").stay(0.25, heading, lean=0.4, crouch=0.2, fall=0.35)
    track.stay(0.25, heading, fall=1.0, bend=0.8)
    for _ in range(int(rng.integers(3, 6))):
        track.stay(
            rng.uniform(0.11, 0.2) * frames / FPS, heading, fall=1.52, bend=rng.uniform(0, 1.5)
        )
    track.stay(0.5, heading, fall=0.7, crouch=0.5).stay(0.5, heading, crouch=0.9)
    _leave(scene, track.mark(""), rng, speed * 0.7)
    return [track]


def _abandoned(scene: str, frames: int, rng: np.random.Generator) -> list[Track]:
    x, z = _spot(scene, rng)
    owner, speed = _enter(scene, x, z, rng)
    owner.stay(0.6, lean=0.3, crouch=0.7)
    put = len(owner.marks)
    _leave(scene, owner, rng, speed)
    bag = Track(BAG, int(rng.integers(2**31)), x + 0.25, z - 0.05, start=put - 4)
    bag.mark("abandoned").stay(rng.uniform(0.7, 1.1) * frames / FPS)
    finder, speed = _enter(scene, x + 0.3, z, rng)
    finder.start = bag.start + len(bag.marks) - len(finder.marks) - 4
    finder.stay(0.6, lean=0.3, crouch=0.7)
    _leave(scene, finder, rng, speed)
    return [owner, bag, finder]


def _erratic(scene: str, frames: int, rng: np.random.Generator) -> list[Track]:
    (x, z), side = _spot(scene, rng), pick_side(rng)
    low, high = {"road": (16.8, 18.9), "walkway": (10.0, 16.5), "shop": (3.6, 5.0)}[scene]
    z = float(np.clip(z, low, high))
    track, speed = _enter(scene, -side * edge(scene, z, 1, -1.5), z, rng)
    track.mark("erratic")
    until, heading = len(track.marks) + rng.uniform(0.6, 1.0) * frames, 0.0
    limit = edge(scene, low, 1, -0.8)
    while len(track.marks) < until:
        heading += rng.choice([-1, 1]) * rng.uniform(1.2, 2.6)
        far = rng.uniform(0.9, 1.9)
        x = np.clip(track.x + far * np.cos(heading), -limit, limit)
        z = np.clip(track.z + far * np.sin(heading), low - 0.3, high + 0.3)
        track.go(float(x), float(z), rng.uniform(1.8, 2.7), lean=0.1, bend=0.6)
    _leave(scene, track.mark(""), rng, speed)
    return [track]


def _theft(scene: str, frames: int, rng: np.random.Generator) -> list[Track]:
    first = shelf(rng)
    track, speed = _enter(scene, *first, rng)
    until = len(track.marks) + 0.85 * frames
    while len(track.marks) < until:
        browse(track, rng)
        track.mark("theft").stay(0.4, TOWARDS + rng.uniform(-0.7, 0.7), bend=0.9)
        turned = track.heading
        for _ in range(int(rng.integers(5, 9))):  # bent over it, looking left and right
            track.stay(rng.uniform(0.6, 1.1), turned + rng.uniform(-0.5, 0.5), hide=1.0, crouch=0.7)
        track.mark("")
        to_shelf(track, *shelf(rng), speed)
    leave_shop(track, rng, speed * 1.2)
    return [track]


EVENT: dict[str, Callable[[str, int, np.random.Generator], list[Track]]] = {
    "running": _running, "loitering": _loitering, "falling": _falling, "abandoned": _abandoned,
    "erratic": _erratic, "theft": _theft,
}  # fmt: skip


def plan(split: str) -> list[tuple[str, int, str]]:
    """(scene, index, event) of every video of a split; event "" for a normal one."""
    normal = {"train": 12, "val": 4, "test": 5, "weak": 0}[split]
    repeats = {"train": 0, "val": 0, "test": 2, "weak": 2}[split]
    own = {"road": "wrong_way", "walkway": "vehicle", "shop": "theft"}  # seen in one scene only
    videos = []
    for scene in SCENES:
        events = EVENTS[scene] * repeats + (own[scene],) * repeats + ("",) * normal
        # mixed, so that a video's number says nothing
        order = np.random.default_rng([11, SCENES.index(scene), len(events)]).permutation(
            len(events)
        )
        videos += [(scene, index, events[k]) for index, k in enumerate(order)]
    return videos


def seeded(version: int, seed: int, split: str, scene: str, index: int) -> np.random.Generator:
    """The random numbers of one video."""
    splits = ("train", "val", "test", "weak")
    return np.random.default_rng(
        [2024, version, seed, splits.index(split), SCENES.index(scene), index]
    )


assert set(EVENT) | {"vehicle", "wrong_way"} == set(CLASSES) - {""}
