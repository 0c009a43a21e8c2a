"""Where `street` happens: a road, a walkway, a shop. Backgrounds, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vigil.data._drawing import MARGIN, Camera, blit, fractal, sample, shade
from vigil.data._street_things import THINGS, Standing, mix, products, stand

SIZE = (240, 320)  # (height, width) that the cameras below are made for
CAMERAS = {
    "road": Camera(300, 5.5, 20, 160, 0.30),
    "walkway": Camera(260, 4.6, 30, 160, 0.34),
    "shop": Camera(230, 2.9, 28, 160, 0.26),
}
SCENES = tuple(CAMERAS)


@dataclass(frozen=True)
class Place:
    """One scene as its camera sees it; background (H + margins, W + margins, 3) uint8."""

    name: str
    camera: Camera
    background: np.ndarray
    standing: tuple[Standing, ...]


@lru_cache(maxsize=6)
def place(name: str, size: tuple[int, int]) -> Place:
    """A scene drawn for frames of `size` (height, width); always the same."""
    factor = size[0] / SIZE[0]
    camera = CAMERAS[name].on_canvas(factor)
    shape = (size[0] + 2 * MARGIN, size[1] + 2 * MARGIN)
    fine = Camera(
        camera.focal * 2, camera.height, camera.horizon * 2, camera.center * 2, camera.tilt
    )
    rng = np.random.default_rng([7, SCENES.index(name)])
    painter = {"road": _road, "walkway": _walkway, "shop": _shop}[name]
    picture = painter(fine, (shape[0] * 2, shape[1] * 2), rng)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    background = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA)
    standing = tuple(stand(camera, name, *thing, rng) for thing in THINGS[name])
    ids = np.zeros(shape, np.uint8)
    for _, sprite, at in standing:
        shade(background, sprite, at)
    for _, sprite, at in sorted(standing, key=lambda thing: -thing[0]):
        blit(background, ids, sprite, at, 0)
    return Place(name, camera, background, standing)


def _joints(u: np.ndarray, period: float, width: float) -> np.ndarray:
    """Where u (metres) lies within `width` of a multiple of `period`."""
    return np.abs((u / period + 0.5) % 1 - 0.5) * period < width


def _surface(
    shape: tuple[int, int], u: np.ndarray, v: np.ndarray, color: tuple, rough: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """A rough surface (H, W, 3) float: grain tied to the world, patches tied to nothing."""
    grain = sample(fractal(rng, (512, 512), 64, 3), u * 40, v * 40)
    patches = sample(fractal(rng, (512, 512), 6, 3), u * 20, v * 20)
    tone = 1 + rough * (0.5 * grain + patches) + 0.04 * fractal(rng, shape, 3, 2)
    return np.array(color, np.float32) * tone[..., None]


def _tiles(
    picture: np.ndarray, u: np.ndarray, v: np.ndarray, where: np.ndarray, size: tuple[float, float],
    spread: float, joint: tuple, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Slabs of slightly different tone with joints between, over part of the picture."""
    row = np.floor(v / size[1])
    shift = (row % 2) * 0.5 * size[0]
    tone = sample(rng.normal(1, spread, (64, 64)), np.floor((u + shift) / size[0]), row)
    picture[where] *= tone[where][:, None]
    thin = 0.006 * np.maximum(1.0, np.abs(v) * 0.25)
    near = _joints(u + shift, size[0], thin) | _joints(v, size[1], thin * 1.6)
    mix(picture, where & near, joint, 0.55)


def _wall(
    camera: Camera, shape: tuple[int, int], z: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World x, height and where, for the upright plane at depth z; each (H, W)."""
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    up = camera.height - (rows - camera.horizon) * z / camera.focal
    return (cols - camera.center) * z / camera.focal, up, up > 0


def _windows(
    picture: np.ndarray, x: np.ndarray, up: np.ndarray, wall: np.ndarray, period: float,
    span: tuple[float, float], wide: float, rng: np.random.Generator,
) -> None:  # fmt: skip
    """A row of windows with frames, sills and a sky gradient in the glass."""
    offset = np.abs((x / period + 0.5) % 1 - 0.5) * period
    inside = wall & (offset < wide) & (up > span[0]) & (up < span[1])
    frame = wall & (offset < wide + 0.1) & (up > span[0] - 0.1) & (up < span[1] + 0.1)
    mix(picture, frame, (214, 206, 192), 0.9)
    level = sample(rng.uniform(0.75, 1.15, (1, 64)), np.floor(x / period + 0.5), up * 0)
    glass = np.stack([70 + 26 * up, 92 + 26 * up, 112 + 24 * up], -1) * (0.6 * level)[..., None]
    picture[inside] = glass[inside]
    mix(
        picture,
        inside & (_joints(offset, 9.0, 0.03) | _joints(up, 0.9, 0.03)),
        (205, 198, 186),
        0.8,
    )
    sill = wall & (offset < wide + 0.16) & (np.abs(up - span[0] + 0.14) < 0.06)
    mix(picture, sill, (176, 168, 156), 1.0)


def _bricks(
    camera: Camera, shape: tuple[int, int], z: float, color: tuple, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, up, wall = _wall(camera, shape, z)
    picture = _surface(shape, x, up, color, 0.05, rng)
    tone = sample(
        rng.normal(1, 0.08, (64, 64)), np.floor(x / 0.5 + np.floor(up / 0.22) % 2 * 0.5), up / 0.22
    )
    picture *= tone[..., None]
    mix(picture, wall & _joints(up, 0.22, 0.018), (176, 160, 148), 0.35)
    return picture, x, up, wall


def _road(camera: Camera, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    picture, x, up, wall = _bricks(camera, shape, 20.0, (158, 104, 84), rng)
    _windows(picture, x, up, wall, 4.2, (3.5, 5.6), 0.8, rng)
    _windows(picture, x, up, wall, 6.3, (0.6, 2.5), 1.9, rng)
    for k, color in enumerate([(176, 66, 58), (62, 108, 128), (196, 160, 78), (88, 120, 80)]):
        awning = wall & (np.abs(x - 6.3 * (k - 1.5)) < 2.3) & (up > 2.6) & (up < 3.1)
        stripes = np.where(_joints(x, 0.8, 0.2), 1.0, 0.72)
        mix(picture, awning, color, stripes * 0.95)
    mix(picture, wall & (up < 0.35), (104, 98, 94), 0.8)
    x, z, ground = camera.ground(shape)
    ground &= z < 20
    slabs, asphalt = ground & ((z < 9.7) | (z > 16.3)), ground & (z >= 9.7) & (z <= 16.3)
    paving = _surface(shape, x, z, (170, 164, 154), 0.04, rng)
    _tiles(paving, x, z, slabs, (0.9, 0.6), 0.035, (112, 106, 100), rng)
    picture[slabs] = paving[slabs]
    picture[asphalt] = _surface(shape, x, z, (98, 100, 104), 0.055, rng)[asphalt]
    for lane in (11.5, 14.5):  # wheel tracks
        mix(picture, asphalt & (np.abs(np.abs(z - lane) - 0.7) < 0.25), (80, 82, 86), 0.35)
    mix(picture, asphalt & (np.abs(z - 13) < 0.07) & (x % 3 < 1.6), (226, 226, 220), 0.85)
    for edge in (10.95, 15.15):  # the bicycle lanes' line
        mix(picture, asphalt & (np.abs(z - edge) < 0.05), (216, 214, 200), 0.6)
    for kerb, face in ((9.7, 1), (16.3, -1)):
        mix(picture, ground & (np.abs(z - kerb) < 0.14), (196, 192, 184), 0.9)
        mix(picture, ground & (np.abs(z - kerb - 0.2 * face) < 0.06), (60, 60, 62), 0.7)
    stop = ground & (np.abs(x + 4.2) < 1.5) & (np.abs(z - 17.1) < 0.45)
    mix(picture, stop, (188, 166, 104), 0.45)  # people may wait here
    return picture


def _walkway(camera: Camera, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    picture, x, up, wall = _bricks(camera, shape, 20.0, (188, 174, 152), rng)
    _windows(picture, x, up, wall, 3.6, (3.9, 6.2), 1.1, rng)
    _windows(picture, x, up, wall, 3.6, (0.3, 3.0), 1.35, rng)
    mix(picture, wall & (up > 3.2) & (up < 3.55), (112, 104, 96), 0.85)
    for k in range(-8, 9):  # columns of an arcade
        column = wall & (np.abs(x - 1.8 - 3.6 * k) < 0.22)
        shading = 1 - np.abs(x - 1.72 - 3.6 * k) * 1.2
        mix(picture, column, (216, 204, 184), np.clip(shading, 0.2, 1))
    x, z, ground = camera.ground(shape)
    ground &= z < 20
    paving = _surface(shape, x, z, (186, 174, 156), 0.035, rng)
    _tiles(paving, x, z, ground, (1.0, 1.0), 0.04, (138, 126, 112), rng)
    picture[ground] = paving[ground]
    band = ground & (_joints(z, 4.0, 0.3) | _joints(x, 6.0, 0.25))
    mix(picture, band, (150, 104, 88), 0.5)
    lawn = ground & (z > 17.2) & (np.abs(x - 1.5) > 3.2)
    grass = _surface(shape, x * 2, z * 2, (96, 128, 66), 0.13, rng)
    picture[lawn] = grass[lawn]
    mix(picture, ground & (np.abs(z - 17.2) < 0.12) & (np.abs(x - 1.5) > 3.2), (196, 188, 174), 0.9)
    lawn = ground & (z < 9.6) & (x < -3.4 - 0.12 * (z - 5))
    picture[lawn] = grass[lawn]
    return picture


def _shop(camera: Camera, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    x, up, wall = _wall(camera, shape, 9.0)
    picture = _surface(shape, x, up, (214, 208, 196), 0.02, rng)
    shelves = wall & (up < 2.1) & (up > 0.12)
    picture[shelves] = products(x, up, rng)[shelves]
    mix(picture, wall & (np.abs(up - 2.16) < 0.07), (120, 62, 58), 0.95)
    mix(picture, wall & (up > 2.45) & (up < 2.95) & (np.abs(x) < 2.2), (120, 62, 58), 0.9)
    mix(
        picture,
        wall & (up > 2.55) & (up < 2.85) & (np.abs(x) < 2.0) & _joints(x, 0.33, 0.1),
        (240, 226, 200),
        0.9,
    )
    mix(picture, shelves & _joints(x, 1.3, 0.03), (190, 186, 180), 0.9)
    x, z, ground = camera.ground(shape)
    ground &= z < 9
    floor = _surface(shape, x, z, (196, 190, 178), 0.02, rng)
    _tiles(floor, x, z, ground, (0.6, 0.6), 0.02, (150, 142, 130), rng)
    picture[ground] = floor[ground]
    for lamp in (-2.2, 0.8, 3.4):  # tubes under the ceiling, mirrored in the floor
        mix(picture, ground, (250, 248, 240), 0.28 * np.exp(-(((x - lamp) / 0.5) ** 2)))
    # side walls: x = -+3.9 seen in perspective
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    for side in (-3.9, 3.9):
        depth = (
            camera.focal
            * side
            / np.where(np.abs(cols - camera.center) < 1, 1, cols - camera.center)
        )
        high = camera.height - (rows - camera.horizon) * depth / camera.focal
        seen = (depth > 0) & (depth < 9.0) & (high > 0)
        picture[seen] = _surface(shape, depth, high, (198, 190, 176), 0.02, rng)[seen] * 0.92
        racks = seen & (high < 2.1) & (high > 0.12) & ((depth > 6.0) | (side < 0))
        picture[racks] = products(depth, high, rng)[racks] * 0.82
        mix(picture, seen & (np.abs(high - 2.16) < 0.06), (120, 62, 58), 0.9)
    return picture
