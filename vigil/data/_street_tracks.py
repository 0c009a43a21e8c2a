"""What one figure of `street` does from its first frame to its last: tracks, and normal life.

A track is a plain table, one row a frame; nothing here draws. Only numpy is used, so a script
is the same wherever it is computed (up to the last bits of sin and cos).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from vigil.data._street_looks import BICYCLE, CAR, PERSON
from vigil.data._street_places import CAMERAS, SIZE

FPS = 12
X, Z, HEADING, PHASE, STRIDE, BEND, LEAN, CROUCH, FALL, REACH, HIDE = range(11)
LEFT, AWAY, TOWARDS = np.pi, np.pi / 2, -np.pi / 2
CLASSES = (
    "", "vehicle", "running", "wrong_way", "loitering", "falling", "abandoned", "erratic", "theft",
)  # fmt: skip
# where people stand for long and nobody wonders: a bus stop, a bench
WAITING = {"road": (-4.2, 17.1), "walkway": (-6.6, 16.5)}


@dataclass
class Track:
    """A figure's rows, appended act by act. `label` is the class of what is appended next."""

    kind: int
    look: int  # seed of its appearance
    x: float
    z: float
    heading: float = 0.0
    label: int = 0
    start: int = 0  # frame of the first row
    phase: float = 0.0
    parts: list[np.ndarray] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)

    def add(
        self, xs: np.ndarray, zs: np.ndarray, heading: np.ndarray | float, **pose: float
    ) -> None:
        """Append frames at the given places; pose values are held."""
        if not len(xs):
            return
        rows = np.zeros((len(xs), 11))
        moved = np.hypot(np.diff(xs, prepend=self.x), np.diff(zs, prepend=self.z))
        step = (0.72 + 0.5 * pose.get("bend", 0)) / np.pi  # metres a radian
        step = {CAR: 0.33, BICYCLE: 0.66}.get(self.kind, step)
        rows[:, X], rows[:, Z], rows[:, HEADING] = xs, zs, heading
        rows[:, PHASE] = self.phase + np.cumsum(moved) / step
        names = ("stride", "bend", "lean", "crouch", "fall", "reach", "hide")
        for column, name in enumerate(names, STRIDE):
            rows[:, column] = pose.get(name, 0.0)
        self.x, self.z, self.phase = float(xs[-1]), float(zs[-1]), float(rows[-1, PHASE])
        self.heading = float(rows[-1, HEADING])
        self.parts.append(rows)
        self.marks += [self.label] * len(xs)

    def go(self, x: float, z: float, speed: float, **pose: float) -> Track:
        """Walk straight to a place, at `speed` metres a second."""
        distance = float(np.hypot(x - self.x, z - self.z))
        n = max(1, round(distance / speed * FPS))
        share = np.arange(1, n + 1) / n
        heading = self.nearest(np.arctan2(z - self.z, x - self.x))
        pose = {"stride": 0.25 + 0.16 * speed, **pose}
        self.add(self.x + share * (x - self.x), self.z + share * (z - self.z), heading, **pose)
        return self

    def run(self, x: float, z: float, speed: float) -> Track:
        """Run straight to a place."""
        return self.go(x, z, speed, stride=0.85, bend=1.25, lean=0.2)

    def stay(self, seconds: float, heading: float | None = None, **pose: float) -> Track:
        """Stay in place."""
        n = max(1, round(seconds * FPS))
        turned = self.heading if heading is None else self.nearest(heading)
        self.add(np.full(n, self.x), np.full(n, self.z), turned, **pose)
        return self

    def mark(self, name: str) -> Track:
        """From here on the figure does something of this class; "" for nothing unusual."""
        self.label = CLASSES.index(name)
        return self

    def nearest(self, heading: float) -> float:
        """The same direction, without a needless full turn."""
        return self.heading + (heading - self.heading + np.pi) % (2 * np.pi) - np.pi

    def rows(self) -> np.ndarray:
        """All rows (n, 11), corners rounded over five frames."""
        rows = np.concatenate(self.parts)
        for column in (X, Z, HEADING, STRIDE, BEND, LEAN, CROUCH, FALL, REACH, HIDE):
            padded = np.pad(rows[:, column], 2, mode="edge")
            rows[:, column] = np.convolve(padded, np.ones(5) / 5, "valid")
        return rows

    def labels(self) -> np.ndarray:
        """Class code of every row (n,)."""
        return np.array(self.marks, np.uint8)


def edge(scene: str, z: float, side: float, pad: float = 1.0) -> float:
    """World x just outside the picture at depth z, on the left (side -1) or right (+1)."""
    return float(side * (z * SIZE[1] / 2 / CAMERAS[scene].focal + pad))


def person(rng: np.random.Generator, x: float, z: float, heading: float = 0.0) -> Track:
    """Somebody new at a place."""
    return Track(PERSON, int(rng.integers(2**31)), x, z, heading, phase=rng.uniform(0, 6))


def pick_side(rng: np.random.Generator) -> int:
    """Left (-1) or right (+1)."""
    return int(rng.integers(2)) * 2 - 1


def band(scene: str, rng: np.random.Generator) -> float:
    """A depth at which people cross the picture."""
    if scene == "road":
        return float(rng.uniform(7.9, 9.3) if rng.random() < 0.55 else rng.uniform(16.8, 18.9))
    if scene == "shop":
        return float(rng.uniform(3.7, 5.0))
    return float(rng.uniform(9.9, 16.6))


def route(scene: str, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Places that somebody who crosses the scene passes, from outside to outside."""
    side, z = pick_side(rng), band(scene, rng)
    through = [(edge(scene, z, side), z), (edge(scene, z, -side), z + rng.uniform(-0.3, 0.3))]
    if scene != "walkway" or rng.random() < 0.6:
        return through
    front = (rng.uniform(-1.6, 0.4), 5.0)
    if rng.random() < 0.5:
        turn = (front[0] + rng.uniform(-0.5, 2.0), rng.uniform(10.0, 14.0))
        points = [front, turn, (edge(scene, turn[1], side), turn[1])]
    else:
        gate = (rng.uniform(0.5, 2.5), 18.3)
        points = [front, gate, (edge(scene, 18.6, side), 18.6)]
    return points if rng.random() < 0.5 else points[::-1]


def walker(scene: str, rng: np.random.Generator) -> list[Track]:
    """One person or a small group that crosses the scene, perhaps pausing for a moment."""
    points, speed = route(scene, rng), rng.uniform(0.95, 1.5)
    pauses = rng.random(len(points)) < 0.35
    seconds, cuts = rng.uniform(0.8, 2.4, len(points)), rng.uniform(0.3, 0.7, len(points))
    group = 1 if rng.random() < 0.72 else int(rng.integers(2, 4))
    tracks = []
    for k in range(group):
        dx, dz = (0.0, 0.0) if k == 0 else (rng.uniform(-0.3, 0.3), 0.55 * k)
        at = [(x + dx, z + dz) for x, z in points]
        track = person(rng, *at[0])
        for i in range(1, len(at)):
            (x0, z0), (x1, z1), share = at[i - 1], at[i], cuts[i]
            if pauses[i]:
                track.go(x0 + share * (x1 - x0), z0 + share * (z1 - z0), speed)
                turn = track.heading + rng.uniform(-0.8, 0.8)
                track.stay(seconds[i], turn)
            track.go(x1, z1, speed)
        tracks.append(track)
    return tracks


def shelf(rng: np.random.Generator) -> tuple[float, float]:
    """A place in the shop in front of goods: the wall at the back or the rack in the middle."""
    if rng.random() < 0.55:
        return float(rng.uniform(-2.4, 2.2)), float(rng.uniform(8.1, 8.4))
    return float(rng.uniform(-1.4, 0.8)), float(rng.uniform(4.9, 5.15))


def to_shelf(track: Track, x: float, z: float, speed: float) -> None:
    """Walk to a shelf around the rack that stands in the middle."""
    if (track.z < 5.6) != (z < 5.6):
        way = 1.75 if track.x + x > 0 else -2.5
        track.go(way, 5.0 if track.z < 5.6 else 7.0, speed)
        track.go(way, 7.0 if track.z < 5.6 else 5.0, speed)
    track.go(x, z, speed)


def leave_shop(track: Track, rng: np.random.Generator, speed: float) -> None:
    """Walk out of the shop's picture."""
    z, side = rng.uniform(3.9, 5.0), pick_side(rng)
    if track.z > 5.6:
        to_shelf(track, 1.9 if track.x > 0 else -2.3, 5.0, speed)
    track.go(edge("shop", z, side), z, speed)


def customer(rng: np.random.Generator) -> list[Track]:
    """Somebody who looks at shelves, takes something into the hand and walks on."""
    speed, z = rng.uniform(0.8, 1.25), rng.uniform(3.9, 5.0)
    track = person(rng, edge("shop", z, pick_side(rng)), z)
    for _ in range(int(rng.integers(1, 4))):
        to_shelf(track, *shelf(rng), speed)
        browse(track, rng)
    leave_shop(track, rng, speed)
    return [track]


def browse(track: Track, rng: np.random.Generator) -> None:
    """Look at a shelf and take something from it: normal."""
    track.stay(rng.uniform(0.6, 2.0), AWAY)
    track.stay(rng.uniform(0.7, 1.3), AWAY, reach=1.0, lean=0.15)
    track.stay(rng.uniform(0.4, 0.9), AWAY + rng.uniform(-1, 1), bend=0.9)


def waiting(scene: str, rng: np.random.Generator, frames: int) -> Track:
    """Somebody who stands where people wait, longer than the video lasts."""
    x, z = WAITING[scene]
    track = person(rng, x + rng.uniform(-1.2, 1.2), z + rng.uniform(-0.3, 0.3), TOWARDS)
    while len(track.marks) < frames:
        track.stay(rng.uniform(1, 4), TOWARDS + rng.uniform(-1.2, 1.2))
    return track


def lane(
    kind: int, z: float, direction: float, crowd: float, frames: int, rng: np.random.Generator,
    scene: str, label: str = "", sway: float = 0.0,
) -> Iterator[Track]:  # fmt: skip
    """Vehicles one behind the other; they slow down and stop together.

    crowd: how many are in sight on average;  sway: metres they swing from side to side.
    """
    speed = rng.uniform(4.2, 7.0) if kind == CAR else rng.uniform(2.8, 4.4)
    pace = np.full(frames, speed / FPS)
    if rng.random() < 0.4:  # traffic stops for a moment
        at, hold = rng.uniform(0, frames), rng.uniform(1, 3) * FPS
        away = np.abs(np.arange(frames) - at) - hold / 2
        pace *= np.clip(away / FPS, 0, 1)
    travelled = np.cumsum(pace)
    width = 2 * edge(scene, z, 1, 2.4 if kind == CAR else 1.0)
    nose = rng.uniform(-0.2, 0.8) * width
    while nose > -travelled[-1] - width / 2:
        x = direction * (nose - width / 2 + travelled)
        track = Track(kind, int(rng.integers(2**31)), x[0], z)
        track.label = CLASSES.index(label)
        beat = rng.uniform(0, 6)
        zs = z + rng.uniform(-0.12, 0.12) + sway * np.sin(beat + travelled * (1.0 if sway else 0))
        track.add(x, zs, 0.0 if direction > 0 else np.pi)
        yield track
        nose -= (5.2 if kind == CAR else 2.4) + rng.exponential(width / crowd)
