"""Where `street` happens: a road, a walkway, a shop. Backgrounds, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vigil.data._drawing import (
    MARGIN, OVER, Camera, Sprite, blit, cut, disk, fractal, line, polygon, sample, shade,
    with_shadow,
)  # fmt: skip

SIZE = (240, 320)  # (height, width) that the cameras below are made for
CAMERAS = {
    "road": Camera(300, 5.5, 20, 160, 0.30),
    "walkway": Camera(260, 4.6, 30, 160, 0.34),
    "shop": Camera(230, 2.9, 28, 160, 0.26),
}
SCENES = tuple(CAMERAS)
# how shadows fall: columns right and rows down a row of height, depth
SUN = {"road": (0.55, 0.16, 0.42), "walkway": (0.7, 0.2, 0.38), "shop": (0.12, 0.1, 0.3)}
Standing = tuple[float, Sprite, tuple[int, int]]  # z, picture, where its foot is on the canvas


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
    standing = tuple(_stand(camera, name, *thing, rng) for thing in THINGS[name])
    ids = np.zeros(shape, np.uint8)
    for _, sprite, at in standing:
        shade(background, sprite, at)
    for _, sprite, at in sorted(standing, key=lambda thing: -thing[0]):
        blit(background, ids, sprite, at, 0)
    return Place(name, camera, background, standing)


def _mix(picture: np.ndarray, where: np.ndarray, color: tuple, share: np.ndarray | float) -> None:
    """Paint a colour over part of a float picture (H, W, 3); share 0..1 may be (H, W)."""
    share = np.broadcast_to(np.asarray(share, np.float32), where.shape)[where][:, None]
    picture[where] = picture[where] * (1 - share) + np.array(color, np.float32) * share


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
    _mix(picture, where & near, joint, 0.55)


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
    _mix(picture, frame, (214, 206, 192), 0.9)
    level = sample(rng.uniform(0.75, 1.15, (1, 64)), np.floor(x / period + 0.5), up * 0)
    glass = np.stack([70 + 26 * up, 92 + 26 * up, 112 + 24 * up], -1) * (0.6 * level)[..., None]
    picture[inside] = glass[inside]
    _mix(picture, inside & (_joints(offset, 9.0, 0.03) | _joints(up, 0.9, 0.03)), (205, 198, 186), 0.8)
    sill = wall & (offset < wide + 0.16) & (np.abs(up - span[0] + 0.14) < 0.06)
    _mix(picture, sill, (176, 168, 156), 1.0)


def _bricks(
    camera: Camera, shape: tuple[int, int], z: float, color: tuple, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, up, wall = _wall(camera, shape, z)
    picture = _surface(shape, x, up, color, 0.05, rng)
    tone = sample(
        rng.normal(1, 0.08, (64, 64)), np.floor(x / 0.5 + np.floor(up / 0.22) % 2 * 0.5), up / 0.22
    )
    picture *= tone[..., None]
    _mix(picture, wall & _joints(up, 0.22, 0.018), (176, 160, 148), 0.35)
    return picture, x, up, wall


def _road(camera: Camera, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    picture, x, up, wall = _bricks(camera, shape, 20.0, (158, 104, 84), rng)
    _windows(picture, x, up, wall, 4.2, (3.5, 5.6), 0.8, rng)
    _windows(picture, x, up, wall, 6.3, (0.6, 2.5), 1.9, rng)
    for k, color in enumerate([(176, 66, 58), (62, 108, 128), (196, 160, 78), (88, 120, 80)]):
        awning = wall & (np.abs(x - 6.3 * (k - 1.5)) < 2.3) & (up > 2.6) & (up < 3.1)
        stripes = np.where(_joints(x, 0.8, 0.2), 1.0, 0.72)
        _mix(picture, awning, color, stripes * 0.95)
    _mix(picture, wall & (up < 0.35), (104, 98, 94), 0.8)
    x, z, ground = camera.ground(shape)
    ground &= z < 20
    slabs, asphalt = ground & ((z < 9.7) | (z > 16.3)), ground & (z >= 9.7) & (z <= 16.3)
    paving = _surface(shape, x, z, (170, 164, 154), 0.04, rng)
    _tiles(paving, x, z, slabs, (0.9, 0.6), 0.035, (112, 106, 100), rng)
    picture[slabs] = paving[slabs]
    picture[asphalt] = _surface(shape, x, z, (98, 100, 104), 0.055, rng)[asphalt]
    for lane in (11.5, 14.5):  # wheel tracks
        _mix(picture, asphalt & (np.abs(np.abs(z - lane) - 0.7) < 0.25), (80, 82, 86), 0.35)
    _mix(picture, asphalt & (np.abs(z - 13) < 0.07) & (x % 3 < 1.6), (226, 226, 220), 0.85)
    for edge in (10.95, 15.15):  # the bicycle lanes' line
        _mix(picture, asphalt & (np.abs(z - edge) < 0.05), (216, 214, 200), 0.6)
    for kerb, face in ((9.7, 1), (16.3, -1)):
        _mix(picture, ground & (np.abs(z - kerb) < 0.14), (196, 192, 184), 0.9)
        _mix(picture, ground & (np.abs(z - kerb - 0.2 * face) < 0.06), (60, 60, 62), 0.7)
    stop = ground & (np.abs(x + 4.2) < 1.5) & (np.abs(z - 17.1) < 0.45)
    _mix(picture, stop, (188, 166, 104), 0.45)  # people may wait here
    return picture


def _walkway(camera: Camera, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    picture, x, up, wall = _bricks(camera, shape, 20.0, (188, 174, 152), rng)
    _windows(picture, x, up, wall, 3.6, (3.9, 6.2), 1.1, rng)
    _windows(picture, x, up, wall, 3.6, (0.3, 3.0), 1.35, rng)
    _mix(picture, wall & (up > 3.2) & (up < 3.55), (112, 104, 96), 0.85)
    for k in range(-8, 9):  # columns of an arcade
        column = wall & (np.abs(x - 1.8 - 3.6 * k) < 0.22)
        shading = 1 - np.abs(x - 1.72 - 3.6 * k) * 1.2
        _mix(picture, column, (216, 204, 184), np.clip(shading, 0.2, 1))
    x, z, ground = camera.ground(shape)
    ground &= z < 20
    paving = _surface(shape, x, z, (186, 174, 156), 0.035, rng)
    _tiles(paving, x, z, ground, (1.0, 1.0), 0.04, (138, 126, 112), rng)
    picture[ground] = paving[ground]
    band = ground & (_joints(z, 4.0, 0.3) | _joints(x, 6.0, 0.25))
    _mix(picture, band, (150, 104, 88), 0.5)
    lawn = ground & (z > 17.2) & (np.abs(x - 1.5) > 3.2)
    grass = _surface(shape, x * 2, z * 2, (96, 128, 66), 0.13, rng)
    picture[lawn] = grass[lawn]
    _mix(picture, ground & (np.abs(z - 17.2) < 0.12) & (np.abs(x - 1.5) > 3.2), (196, 188, 174), 0.9)
    lawn = ground & (z < 9.6) & (x < -3.4 - 0.12 * (z - 5))
    picture[lawn] = grass[lawn]
    return picture


def _products(
    u: np.ndarray, up: np.ndarray, rng: np.random.Generator, shelf: float = 0.42, pack: float = 0.16
) -> np.ndarray:
    """Shelves full of goods, seen from the front: (H, W, 3) float; u, up in metres."""
    row, col = np.floor(up / shelf), np.floor(u / pack)
    kind = np.floor(u / (pack * 4)) + row * 7  # a few of the same stand together
    colors = rng.uniform(50, 225, (1, 97, 3)).astype(np.float32)
    colors = 0.62 * colors + 0.38 * colors.mean(-1, keepdims=True) + np.float32([14, 4, -10])
    goods = sample(colors, kind, u * 0)
    tops = sample(rng.uniform(0.5, 0.86, (1, 89)).astype(np.float32), kind, u * 0)
    inner = (u / pack) % 1
    goods *= (0.8 + 0.3 * np.cos((inner - 0.35) * 3))[..., None]
    goods *= sample(rng.normal(1, 0.06, (31, 61)), col, row)[..., None]
    height = (up / shelf) % 1
    _mix(goods, (height > 0.2) & (height < 0.4) & (inner > 0.15) & (inner < 0.85), (240, 238, 230), 0.6)
    _mix(goods, (height > tops) | (inner < 0.06), (52, 48, 46), 0.85)
    _mix(goods, height < 0.09, (206, 202, 196), 0.95)
    return goods


def _shop(camera: Camera, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    x, up, wall = _wall(camera, shape, 9.0)
    picture = _surface(shape, x, up, (214, 208, 196), 0.02, rng)
    shelves = wall & (up < 2.1) & (up > 0.12)
    picture[shelves] = _products(x, up, rng)[shelves]
    _mix(picture, wall & (np.abs(up - 2.16) < 0.07), (120, 62, 58), 0.95)
    _mix(picture, wall & (up > 2.45) & (up < 2.95) & (np.abs(x) < 2.2), (120, 62, 58), 0.9)
    _mix(picture, wall & (up > 2.55) & (up < 2.85) & (np.abs(x) < 2.0) & _joints(x, 0.33, 0.1), (240, 226, 200), 0.9)
    _mix(picture, shelves & _joints(x, 1.3, 0.03), (190, 186, 180), 0.9)
    x, z, ground = camera.ground(shape)
    ground &= z < 9
    floor = _surface(shape, x, z, (196, 190, 178), 0.02, rng)
    _tiles(floor, x, z, ground, (0.6, 0.6), 0.02, (150, 142, 130), rng)
    picture[ground] = floor[ground]
    for lamp in (-2.2, 0.8, 3.4):  # tubes under the ceiling, mirrored in the floor
        _mix(picture, ground, (250, 248, 240), 0.28 * np.exp(-(((x - lamp) / 0.5) ** 2)))
    # side walls: x = -+3.9 seen in perspective
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    for side in (-3.9, 3.9):
        depth = camera.focal * side / np.where(np.abs(cols - camera.center) < 1, 1, cols - camera.center)
        high = camera.height - (rows - camera.horizon) * depth / camera.focal
        seen = (depth > 0) & (depth < 9.0) & (high > 0)
        picture[seen] = _surface(shape, depth, high, (198, 190, 176), 0.02, rng)[seen] * 0.92
        racks = seen & (high < 2.1) & (high > 0.12) & ((depth > 6.0) | (side < 0))
        picture[racks] = _products(depth, high, rng)[racks] * 0.82
        _mix(picture, seen & (np.abs(high - 2.16) < 0.06), (120, 62, 58), 0.9)
    return picture


# what, where (x, z); drawn in depth order with the people
THINGS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "road": (("lamp", 2.6, 9.9), ("tree", -1.2, 16.6), ("tree", 8.4, 16.6), ("bin", 5.3, 16.8),
             ("sign", -5.9, 16.8), ("lamp", 6.2, 16.5), ("bin", -3.0, 9.85)),
    "walkway": (("lamp", -3.2, 11.8), ("planter", 4.9, 14.0), ("pillar", -5.4, 15.0),
                ("bench", -6.6, 17.0), ("pillar", 1.2, 8.2), ("tree", 9.5, 18.0), ("bin", 3.6, 10.4)),
    "shop": (("gondola", -0.4, 5.7), ("pillar", 2.75, 5.5), ("crate", -2.6, 4.3)),
}  # fmt: skip
PALETTE = np.array(
    [(0, 0, 0), (66, 70, 74), (96, 102, 106), (88, 66, 48), (116, 90, 66), (62, 92, 48),
     (82, 116, 58), (108, 140, 72), (168, 160, 150), (196, 188, 176), (138, 130, 122),
     (136, 92, 58), (166, 118, 78), (236, 226, 190), (58, 92, 150), (236, 236, 232)], np.uint8,
)  # fmt: skip


def _stand(
    camera: Camera, scene: str, what: str, x: float, z: float, rng: np.random.Generator
) -> Standing:
    s = camera.focal / z * OVER
    canvas = np.zeros((int(4.6 * s) + 8 * OVER, int(4.2 * s) + 2 * OVER), np.uint8)
    foot = np.array([canvas.shape[1] / 2, canvas.shape[0] - 4.0 * OVER - 0.2 * s])
    palette, tone = PALETTE, None
    if what == "gondola":
        palette, canvas = _gondola(canvas, foot, s, rng)
    else:
        _thing(what, canvas, foot, s, rng)
        if what in ("tree", "planter", "pillar"):
            tone = np.clip(1 + 0.09 * fractal(rng, canvas.shape, 24, 3), 0.6, 1.4)
    slant, drop, depth = SUN[scene]
    sprite = cut(canvas, palette, tone, tuple(foot))
    sprite = with_shadow(sprite, slant, drop, depth, 1.2 + s / OVER / 30, 0.03 * s / OVER)
    column, row = camera.project(x, z)
    return z, sprite, (round(column), round(row))


def _thing(
    what: str, canvas: np.ndarray, foot: np.ndarray, s: float, rng: np.random.Generator
) -> None:
    def at(u: float, w: float) -> np.ndarray:
        return foot + s * np.array([u, -w])

    if what == "lamp":
        line(canvas, at(0, 0), at(0, 4.1), 0.12 * s, 1)
        line(canvas, at(-0.03, 0.3), at(-0.03, 4.1), 0.04 * s, 2)
        line(canvas, at(0, 0), at(0, 0.5), 0.22 * s, 1)
        line(canvas, at(0, 4.1), at(0.7, 4.2), 0.09 * s, 1)
        line(canvas, at(0.55, 4.15), at(0.95, 4.18), 0.16 * s, 13)
    elif what == "tree":
        line(canvas, at(0, 0), at(0.05, 2.2), 0.24 * s, 3)
        line(canvas, at(-0.05, 0), at(0, 2.2), 0.1 * s, 4)
        for part, shift in ((5, 0.0), (6, 0.18), (7, 0.36)):
            for _ in range(34 - 8 * part + 40):
                u, w = rng.normal(-shift * 0.7, 0.55), rng.normal(3.1 + shift * 0.7, 0.42)
                disk(canvas, at(np.clip(u, -1.5, 1.5), np.clip(w, 2.2, 4.1)), 0.2 * s, part)
    elif what == "pillar":
        polygon(canvas, [at(-0.2, 0), at(0.2, 0), at(0.2, 3.4), at(-0.2, 3.4)], 8)
        polygon(canvas, [at(-0.16, 0), at(-0.02, 0), at(-0.02, 3.4), at(-0.16, 3.4)], 9)
        polygon(canvas, [at(0.1, 0), at(0.2, 0), at(0.2, 3.4), at(0.1, 3.4)], 10)
        polygon(canvas, [at(-0.28, 0), at(0.28, 0), at(0.28, 0.3), at(-0.28, 0.3)], 10)
    elif what == "planter":
        polygon(canvas, [at(-0.95, 0), at(0.95, 0), at(1.0, 0.5), at(-1.0, 0.5)], 8)
        polygon(canvas, [at(-1.0, 0.5), at(1.0, 0.5), at(0.95, 0.72), at(-0.95, 0.72)], 9)
        for part in (5, 6, 7):
            for _ in range(26):
                disk(canvas, at(rng.uniform(-0.85, 0.8), rng.uniform(0.65, 1.0 + 0.05 * part)), 0.13 * s, part)
    elif what == "bench":
        for u in (-0.7, 0.7):
            line(canvas, at(u, 0), at(u, 0.85), 0.07 * s, 1)
        for w, part in ((0.44, 11), (0.5, 12), (0.7, 11), (0.85, 12)):
            line(canvas, at(-0.85, w), at(0.85, w), 0.08 * s, part)
    elif what == "sign":
        line(canvas, at(0, 0), at(0, 2.6), 0.08 * s, 2)
        polygon(canvas, [at(-0.3, 2.1), at(0.3, 2.1), at(0.3, 2.7), at(-0.3, 2.7)], 14)
        line(canvas, at(-0.12, 2.25), at(-0.12, 2.55), 0.08 * s, 15)
        line(canvas, at(-0.12, 2.4), at(0.12, 2.4), 0.08 * s, 15)
        line(canvas, at(0.12, 2.25), at(0.12, 2.55), 0.08 * s, 15)
    else:  # bin, crate
        wide, high = (0.24, 0.85) if what == "bin" else (0.4, 0.55)
        low, lit = (1, 2) if what == "bin" else (11, 12)
        polygon(canvas, [at(-wide, 0), at(wide, 0), at(wide, high), at(-wide, high)], low)
        polygon(canvas, [at(-wide, high), at(wide, high), at(wide * 0.9, high + 0.14), at(-wide * 0.9, high + 0.14)], lit)
        for w in np.arange(0.15, high, 0.16):
            line(canvas, at(-wide * 0.9, w), at(wide * 0.7, w), 0.025 * s, lit)


def _gondola(
    canvas: np.ndarray, foot: np.ndarray, s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A low rack in the middle of the shop: an index canvas with a palette of its own."""
    rows, cols = np.mgrid[: canvas.shape[0], : canvas.shape[1]].astype(np.float32)
    u, up = (cols - foot[0]) / s, (foot[1] - rows) / s
    goods = _products(u + 4, up, rng, 0.36, 0.13)
    colors = np.clip(np.round(goods / 51), 0, 5).astype(int)  # 6 levels a colour: 216 entries
    front = (np.abs(u) < 1.45) & (up > 0) & (up < 1.1)
    index = (colors[..., 0] * 36 + colors[..., 1] * 6 + colors[..., 2] + 1).astype(np.uint8)
    palette = np.zeros((240, 3), np.uint8)
    palette[1:217] = [(r * 48, g * 48, b * 47) for r in range(6) for g in range(6) for b in range(6)]
    palette[230], palette[231] = (206, 200, 190), (150, 144, 136)
    canvas[front] = index[front]
    canvas[(np.abs(u) < 1.45 - (up - 1.1) * 0.2) & (up >= 1.1) & (up < 1.26)] = 230
    canvas[(np.abs(u) < 1.48) & (up > -0.02) & (up < 0.06)] = 231
    return palette, canvas
