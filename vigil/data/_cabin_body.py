"""The driver and the car of `cabin`, as pieces and quads in space, seen by two cameras.

Each camera has two sensors: one that sees how near things are, one that sees infrared light.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from vigil.data import _cabin_script as script
from vigil.data._drawing import fractal

SIZE = (120, 160)
OVER = 2
HEAD, RIGHT_ARM, LEFT_ARM, RIGHT_HAND, LEFT_HAND, PHONE, BODY = range(1, 8)
NEAR, FAR = 0.25, 1.9  # metres that the depth sensor tells apart


@dataclass(frozen=True)
class Eye:
    """A camera at `at` looking along `axes` (right, down, forward); focal in pixels of SIZE."""

    at: np.ndarray
    axes: np.ndarray
    focal: float

    def see(self, points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (n, 2) of a fine canvas and distances (n,) of points (n, 3)."""
        seen = (points - self.at) @ self.axes.T
        depth = np.maximum(seen[:, 2], 0.05)
        scale = self.focal * OVER * size[0] / SIZE[0]
        middle = np.array([size[1], size[0]]) * OVER / 2
        return middle + seen[:, :2] / depth[:, None] * scale, depth


def _looking(at: tuple, towards: tuple, up: tuple, focal: float) -> Eye:
    forward = np.subtract(towards, at) / np.linalg.norm(np.subtract(towards, at))
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return Eye(np.array(at, float), np.stack([right, np.cross(forward, right), forward]), focal)


EYES = {
    "front": _looking((0.06, 0.76, 0.98), (0.0, 0.73, 0.0), (0, 1, 0), 118),
    "top": _looking((-0.05, 1.42, 0.22), (-0.03, 0.0, 0.16), (0, 0, 1), 150),
}


class Piece(NamedTuple):
    """A rounded stick from `a` to `b`; `shine` is its infrared reflectance, 0..255."""

    a: np.ndarray
    b: np.ndarray
    radius: float
    part: int
    shine: float


@dataclass(frozen=True)
class Driver:
    """How one driver looks in infrared, and sits: `seat` is moved by (x, z) metres."""

    skin: float
    hair: float
    cloth: float
    sleeve: float
    hat: bool
    glasses: bool
    size: float
    seat: tuple[float, float]


def new_driver(seed: int, size: float) -> Driver:
    """A driver from a seed."""
    rng = np.random.default_rng(seed)
    return Driver(
        rng.uniform(165, 205), rng.uniform(40, 110), rng.uniform(60, 150), rng.uniform(70, 165),
        bool(rng.random() < 0.2), bool(rng.random() < 0.3), size,
        (rng.uniform(-0.03, 0.03), rng.uniform(-0.1, 0.07)),
    )  # fmt: skip


def on_wheel(angle: float) -> np.ndarray:
    """A point (3,) on the rim of the steering wheel; angle 0 is the driver's left."""
    along, up = np.cos(angle), np.sin(angle)
    return np.array([0.185 * along, 0.30 + 0.165 * up, 0.42 - 0.085 * up])


def _ball(at: np.ndarray, radius: float, part: int, shine: float) -> Piece:
    return Piece(at, at, radius, part, shine)


def _limb(
    a: np.ndarray, b: np.ndarray, radii: tuple[float, float], part: int, shine: float, n: int = 4
) -> list[Piece]:
    """A limb of n pieces that grows thinner or thicker."""
    at = [a + (b - a) * (k / n) for k in range(n + 1)]
    thin = (radii[1] - radii[0]) / max(1, n - 1)
    return [Piece(at[k], at[k + 1], radii[0] + k * thin, part, shine) for k in range(n)]


def _elbow(shoulder: np.ndarray, hand: np.ndarray, hint: np.ndarray, size: float) -> np.ndarray:
    """Where the elbow is, for arms of fixed length."""
    line = hand - shoulder
    reach = np.linalg.norm(line)
    out = hint - line * (hint @ line) / max(float(reach) ** 2, 1e-6)
    bend = max(0.0, float((0.29 * size) ** 2 - (reach / 2) ** 2)) ** 0.5
    return (shoulder + hand) / 2 + out / max(np.linalg.norm(out), 1e-6) * bend


def _turned(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Rotation (3, 3) of the head: nod forward, turn left, tilt."""
    cp, sp, cy, sy, cr, sr = (*(f(a) for a in (pitch, yaw, roll) for f in (np.cos, np.sin)),)
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return turn @ nod @ tilt


def body(row: np.ndarray, driver: Driver) -> list[Piece]:
    """The driver in one frame of a script."""
    size = driver.size
    lean, side, twist = row[script.LEAN], row[script.SIDE], row[script.TWIST]
    x0, z0 = driver.seat
    neck = np.array([x0 + side * 1.1, 0.53 * size, z0 + 0.05 + lean])
    across = np.array([np.cos(twist), 0, -np.sin(twist)]) * 0.19 * size
    left, right = neck + across - (0, 0.06, 0), neck - across - (0, 0.06, 0)
    hip = np.array([x0, 0.05, z0 + 0.04])
    pieces = _limb(right, left, (0.075, 0.075), BODY, driver.cloth, 5)
    for share in (-0.75, -0.3, 0.3, 0.75):
        pieces += _limb(neck + across * share * 0.8 - (0, 0.1, 0), hip + across * share * 0.8,
                        (0.1, 0.12), BODY, driver.cloth * (0.92 + 0.1 * share), 3)  # fmt: skip
    for sign in (-1, 1):  # thighs
        pieces += _limb(hip + (sign * 0.1, 0, 0.05), np.array([sign * 0.14, 0.04, 0.55]),
                        (0.085, 0.07), BODY, driver.cloth * 0.6, 3)  # fmt: skip
    for hand, rim, shoulder, sign, arm, palm in (
        (script.RIGHT, np.pi - 0.45, right, -1, RIGHT_ARM, RIGHT_HAND),
        (script.LEFT, 0.45, left, 1, LEFT_ARM, LEFT_HAND),
    ):
        x, y, z, share = row[hand]
        target = (1 - share) * on_wheel(rim + row[script.STEER]) + share * np.array([x, y, z])
        reach = target - shoulder
        longest = 0.575 * size
        if np.linalg.norm(reach) > longest:
            target = shoulder + reach / np.linalg.norm(reach) * longest
        elbow = _elbow(shoulder, target, np.array([sign * 0.6, -1.0, -0.15]), size)
        pieces += _limb(shoulder, elbow, (0.06, 0.048), arm, driver.sleeve)
        pieces += _limb(elbow, target, (0.046, 0.034), arm, driver.sleeve * 0.95)
        pieces.append(_ball(target, 0.044, palm, driver.skin))
        if arm == RIGHT_ARM and row[script.PHONE] > 0.5:
            pieces += _limb(target + (-0.01, 0.05, 0.03), target + (0.0, -0.03, 0.045),
                            (0.026, 0.026), PHONE, 245.0, 1)  # fmt: skip
    return pieces + _head(row, neck, driver)


def _head(row: np.ndarray, neck: np.ndarray, driver: Driver) -> list[Piece]:
    turn = _turned(row[script.PITCH], row[script.YAW], row[script.ROLL])

    def at(x: float, y: float, z: float) -> np.ndarray:
        return neck + turn @ (np.array([x, y, z]) * driver.size)

    pieces = _limb(neck - (0, 0.03, 0), at(0, 0.08, 0), (0.055, 0.05), HEAD, driver.skin * 0.8, 2)
    pieces.append(_ball(at(0, 0.17, 0.0), 0.1 * driver.size, HEAD, driver.hair))
    pieces.append(_ball(at(0, 0.2, -0.015), 0.098 * driver.size, HEAD, driver.hair))
    pieces.append(_ball(at(0, 0.14, 0.035), 0.078 * driver.size, HEAD, driver.skin))
    pieces.append(_ball(at(0, 0.1, 0.045), 0.058 * driver.size, HEAD, driver.skin))
    for sign in (-1, 1):
        pieces.append(_ball(at(sign * 0.1, 0.14, 0.0), 0.02, HEAD, driver.skin * 0.9))
        pieces.append(_ball(at(sign * 0.034, 0.165, 0.105), 0.012, HEAD, 30.0))  # eyes
    pieces.append(_ball(at(0, 0.13, 0.112), 0.016, HEAD, driver.skin * 1.1))  # nose
    pieces += _limb(at(-0.016, 0.088, 0.1), at(0.016, 0.088, 0.1), (0.009, 0.009), HEAD, 70.0, 1)
    if driver.hat:
        pieces.append(_ball(at(0, 0.22, 0.0), 0.1 * driver.size, HEAD, driver.cloth))
        pieces += _limb(
            at(-0.05, 0.22, 0.1), at(0.05, 0.22, 0.1), (0.022, 0.022), HEAD, driver.cloth, 4
        )
    if driver.glasses:
        pieces += _limb(
            at(-0.05, 0.165, 0.103), at(0.05, 0.165, 0.103), (0.01, 0.01), HEAD, 45.0, 6
        )
    return pieces


def wheel(row: np.ndarray) -> list[Piece]:
    """The steering wheel, turned."""
    rim = [on_wheel(angle) for angle in np.linspace(0, 2 * np.pi, 25)]
    pieces = [Piece(rim[k], rim[k + 1], 0.014, 0, 62.0) for k in range(24)]
    hub = np.mean([on_wheel(0), on_wheel(np.pi)], 0)
    for angle in (0.0, np.pi, -np.pi / 2):
        pieces += _limb(hub, on_wheel(angle + row[script.STEER]), (0.03, 0.014), 0, 70.0, 2)
    return pieces


# the car: quads (four corners) and their infrared reflectance
QUADS = (
    (((-1.1, -0.1, -1.0), (1.1, -0.1, -1.0), (1.1, -0.1, 1.0), (-1.1, -0.1, 1.0)), 52),  # floor
    (((-1.3, -0.1, -1.0), (1.3, -0.1, -1.0), (1.3, 1.2, -1.0), (-1.3, 1.2, -1.0)), 84),  # rear
    (((-0.8, 0.66, -0.98), (0.8, 0.66, -0.98), (0.7, 1.0, -0.98), (-0.7, 1.0, -0.98)), 214),
    (((-1.0, 0.0, -0.75), (1.0, 0.0, -0.75), (1.0, 0.55, -0.85), (-1.0, 0.55, -0.85)), 66),
    (((0.62, -0.1, -1.0), (0.62, -0.1, 0.8), (0.62, 0.62, 0.8), (0.62, 0.62, -1.0)), 74),  # door
    (((0.62, 0.62, -0.7), (0.62, 0.62, 0.4), (0.56, 1.1, 0.3), (0.56, 1.1, -0.6)), 226),  # window
    (((-0.26, 0.02, -0.2), (0.26, 0.02, -0.2), (0.26, 0.02, 0.38), (-0.26, 0.02, 0.38)), 92),
    (((-0.27, 0.0, -0.16), (0.27, 0.0, -0.16), (0.25, 0.62, -0.24), (-0.25, 0.62, -0.24)), 104),
    (((-0.13, 0.66, -0.22), (0.13, 0.66, -0.22), (0.12, 0.86, -0.24), (-0.12, 0.86, -0.24)), 112),
    (((-0.42, 0.12, -0.3), (-0.27, 0.12, -0.3), (-0.27, 0.14, 0.6), (-0.42, 0.14, 0.6)), 46),
    (((-0.97, 0.02, -0.2), (-0.46, 0.02, -0.2), (-0.46, 0.02, 0.38), (-0.97, 0.02, 0.38)), 88),
    (((-0.98, 0.0, -0.16), (-0.46, 0.0, -0.16), (-0.48, 0.62, -0.24), (-0.96, 0.62, -0.24)), 98),
    (((-0.8, 0.66, -0.2), (-0.6, 0.66, -0.2), (-0.61, 0.84, -0.22), (-0.79, 0.84, -0.22)), 106),
    (((-1.1, 0.34, 0.62), (0.62, 0.34, 0.62), (0.62, 0.3, 0.9), (-1.1, 0.3, 0.9)), 58),  # dashboard
)


def level(depth: np.ndarray | float) -> np.ndarray:
    """What the depth sensor writes for a distance in metres: near is bright."""
    return np.clip(255 * (1 - (np.asarray(depth) - NEAR) / (FAR - NEAR)), 6, 255)


@lru_cache(maxsize=8)
def cabin(view: str, size: tuple[int, int]) -> np.ndarray:
    """The empty car as one sensor sees it: (H, W) uint8, OVER times larger."""
    eye, sensor = EYES[view.split("_")[0]], view.split("_")[1]
    picture = np.full((size[0] * OVER, size[1] * OVER), 8.0, np.float32)
    rng = np.random.default_rng([17, script.VIEWS.index(view)])
    cells = []
    for corners, shine in QUADS:
        a, b, c, d = np.array(corners, float)
        u, v = np.meshgrid(np.linspace(0, 1, 25), np.linspace(0, 1, 25))
        grid = sum(
            w[..., None] * p
            for w, p in (((1 - u) * (1 - v), a), (u * (1 - v), b), (u * v, c), ((1 - u) * v, d))
        )
        pixels, depth = eye.see(grid.reshape(-1, 3), size)
        pixels, depth = pixels.reshape(25, 25, 2), depth.reshape(25, 25)
        for i in range(24):
            for j in range(24):
                corner = pixels[[i, i, i + 1, i + 1], [j, j + 1, j + 1, j]]
                cells.append((depth[i, j], corner, shine))
    for depth, corner, shine in sorted(cells, key=lambda cell: -cell[0]):
        if depth < 0.12 or np.abs(corner).max() > 4000:
            continue
        value = level(depth) if sensor == "depth" else shine * float(lit(depth))
        cv2.fillPoly(picture, [np.round(corner).astype(np.int32)], float(value))
    texture = fractal(rng, picture.shape, 24, 4) * (0.012 if sensor == "depth" else 0.06)
    return np.clip(picture * (1 + texture), 0, 255).astype(np.uint8)


def lit(depth: np.ndarray | float) -> np.ndarray:
    """How much of the lamp's light comes back from a distance in metres."""
    return np.clip(1.25 - 0.42 * np.asarray(depth), 0.35, 1.15)


def draw(
    view: str, row: np.ndarray, driver: Driver, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """One frame without noise: grey (H, W) uint8, and the body part on each pixel (H, W) uint8."""
    eye = EYES[view.split("_")[0]]
    canvas = cabin(view, size).copy()
    parts = np.zeros_like(canvas)
    pieces = body(row, driver) + wheel(row)
    ends = np.array([piece.a for piece in pieces] + [piece.b for piece in pieces])
    pixels, depths = eye.see(ends, size)
    start, stop = np.round(pixels).astype(int).reshape(2, -1, 2).tolist()
    depth = depths.reshape(2, -1).mean(0)  # (n,)
    radius = np.array([piece.radius for piece in pieces])
    wide = 2 * radius / depth * eye.focal * OVER * size[0] / SIZE[0]
    if view.endswith("IR"):
        shine = np.array([piece.shine for piece in pieces]) * lit(depth)
        tones = np.stack([0.86 * shine, shine])  # (2, n) rim and middle
    else:
        tones = level(depth - np.array([[0.4], [0.8]]) * radius)
    rim, middle = np.minimum(tones, 255).tolist()
    thick = np.maximum(1, np.round([wide, 0.6 * wide])).astype(int).tolist()
    for k in np.argsort(radius - depth, kind="stable").tolist():
        if depth[k] < 0.15:
            continue
        cv2.line(parts, start[k], stop[k], pieces[k].part, thick[0][k])
        cv2.line(canvas, start[k], stop[k], rim[k], thick[0][k])
        cv2.line(canvas, start[k], stop[k], middle[k], thick[1][k])
    grey = cv2.resize(canvas, size[::-1], interpolation=cv2.INTER_AREA)
    return grey, parts[::OVER, ::OVER]
