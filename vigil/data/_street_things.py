"""What stands in the way in `street`: lamps, trees, pillars, racks, drawn with the people."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vigil.data._drawing import (
    OVER,
    Camera,
    Sprite,
    cut,
    disk,
    fractal,
    line,
    polygon,
    sample,
    with_shadow,
)  # fmt: skip

# how shadows fall: columns right and rows down a row of height, depth
SUN = {"road": (0.55, 0.16, 0.42), "walkway": (0.7, 0.2, 0.38), "shop": (0.12, 0.1, 0.3)}
Standing = tuple[float, Sprite, tuple[int, int]]  # z, picture, where its foot is on the canvas
# what, where (x, z); drawn in depth order with the people
THINGS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "road": (("lamp", 2.6, 9.9), ("tree", -1.2, 16.6), ("tree", 8.4, 16.6), ("bin", 5.3, 16.8),
             ("sign", -5.9, 16.8), ("lamp", 6.2, 16.5), ("bin", -3.0, 9.85)),
    "walkway": (("lamp", -3.2, 11.8), ("planter", 4.9, 14.0), ("pillar", -5.4, 15.0),
                ("bench", -6.6, 17.0), ("pillar", 1.2, 8.2), ("tree", 9.5, 18.0),
                ("bin", 3.6, 10.4)),
    "shop": (("gondola", -0.4, 5.7), ("pillar", 2.75, 5.5), ("crate", -2.6, 4.3)),
}  # fmt: skip
PALETTE = np.array(
    [(0, 0, 0), (66, 70, 74), (96, 102, 106), (88, 66, 48), (116, 90, 66), (62, 92, 48),
     (82, 116, 58), (108, 140, 72), (168, 160, 150), (196, 188, 176), (138, 130, 122),
     (136, 92, 58), (166, 118, 78), (236, 226, 190), (58, 92, 150), (236, 236, 232)], np.uint8,
)  # fmt: skip


def mix(picture: np.ndarray, where: np.ndarray, color: tuple, share: np.ndarray | float) -> None:
    """Paint a colour over part of a float picture (H, W, 3); share 0..1 may be (H, W)."""
    share = np.broadcast_to(np.asarray(share, np.float32), where.shape)[where][:, None]
    picture[where] = picture[where] * (1 - share) + np.array(color, np.float32) * share


def products(
    u: np.ndarray, up: np.ndarray, rng: np.random.Generator, shelf: float = 0.42, pack: float = 0.16
) -> np.ndarray:
    """Shelves full of goods, seen from the front: (H, W, 3) float; u, up in metres."""
    row, col = np.floor(up / shelf), np.floor(u / pack)
    kind = np.floor(u / (pack * 4)) + row * 7  # a few of the same stand together
    colors = rng.uniform(50, 225, (1, 97, 3)).astype(np.float32)
    colors = (
        0.62 * colors + 0.38 * colors.mean(-1, keepdims=True) + np.array([14, 4, -10], np.float32)
    )
    goods = sample(colors, kind, u * 0)
    tops = sample(rng.uniform(0.5, 0.86, (1, 89)).astype(np.float32), kind, u * 0)
    inner = (u / pack) % 1
    goods *= (0.8 + 0.3 * np.cos((inner - 0.35) * 3))[..., None]
    goods *= sample(rng.normal(1, 0.06, (31, 61)), col, row)[..., None]
    height = (up / shelf) % 1
    mix(
        goods,
        (height > 0.2) & (height < 0.4) & (inner > 0.15) & (inner < 0.85),
        (240, 238, 230),
        0.6,
    )
    mix(goods, (height > tops) | (inner < 0.06), (52, 48, 46), 0.85)
    mix(goods, height < 0.09, (206, 202, 196), 0.95)
    return goods


def stand(
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


Put = Callable[[float, float], np.ndarray]  # metres beside and above the foot -> canvas pixels


def _thing(
    what: str, canvas: np.ndarray, foot: np.ndarray, s: float, rng: np.random.Generator
) -> None:
    def at(u: float, w: float) -> np.ndarray:
        return foot + s * np.array([u, -w])

    if what in ("tree", "planter"):
        _plant(what, canvas, at, s, rng)
    elif what in ("bin", "crate"):
        _box(what, canvas, at, s)
    else:
        _furniture(what, canvas, at, s)


def _furniture(what: str, canvas: np.ndarray, at: Put, s: float) -> None:
    """A lamp, a pillar, a bench or the sign of a bus stop."""
    if what == "lamp":
        line(canvas, at(0, 0), at(0, 4.1), 0.12 * s, 1)
        line(canvas, at(-0.03, 0.3), at(-0.03, 4.1), 0.04 * s, 2)
        line(canvas, at(0, 0), at(0, 0.5), 0.22 * s, 1)
        line(canvas, at(0, 4.1), at(0.7, 4.2), 0.09 * s, 1)
        line(canvas, at(0.55, 4.15), at(0.95, 4.18), 0.16 * s, 13)
    elif what == "pillar":
        polygon(canvas, [at(-0.2, 0), at(0.2, 0), at(0.2, 3.4), at(-0.2, 3.4)], 8)
        polygon(canvas, [at(-0.16, 0), at(-0.02, 0), at(-0.02, 3.4), at(-0.16, 3.4)], 9)
        polygon(canvas, [at(0.1, 0), at(0.2, 0), at(0.2, 3.4), at(0.1, 3.4)], 10)
        polygon(canvas, [at(-0.28, 0), at(0.28, 0), at(0.28, 0.3), at(-0.28, 0.3)], 10)
    elif what == "bench":
        for u in (-0.7, 0.7):
            line(canvas, at(u, 0), at(u, 0.85), 0.07 * s, 1)
        for w, part in ((0.44, 11), (0.5, 12), (0.7, 11), (0.85, 12)):
            line(canvas, at(-0.85, w), at(0.85, w), 0.08 * s, part)
    else:
        line(canvas, at(0, 0), at(0, 2.6), 0.08 * s, 2)
        polygon(canvas, [at(-0.3, 2.1), at(0.3, 2.1), at(0.3, 2.7), at(-0.3, 2.7)], 14)
        line(canvas, at(-0.12, 2.25), at(-0.12, 2.55), 0.08 * s, 15)
        line(canvas, at(-0.12, 2.4), at(0.12, 2.4), 0.08 * s, 15)
        line(canvas, at(0.12, 2.25), at(0.12, 2.55), 0.08 * s, 15)


def _plant(what: str, canvas: np.ndarray, at: Put, s: float, rng: np.random.Generator) -> None:
    """A tree, or bushes in a stone box."""
    if what == "tree":
        line(canvas, at(0, 0), at(0.05, 2.2), 0.24 * s, 3)
        line(canvas, at(-0.05, 0), at(0, 2.2), 0.1 * s, 4)
        for part, shift in ((5, 0.0), (6, 0.18), (7, 0.36)):
            for _ in range(74 - 8 * part):
                u, w = rng.normal(-shift * 0.7, 0.55), rng.normal(3.1 + shift * 0.7, 0.42)
                disk(canvas, at(np.clip(u, -1.5, 1.5), np.clip(w, 2.2, 4.1)), 0.2 * s, part)
        return
    polygon(canvas, [at(-0.95, 0), at(0.95, 0), at(1.0, 0.5), at(-1.0, 0.5)], 8)
    polygon(canvas, [at(-1.0, 0.5), at(1.0, 0.5), at(0.95, 0.72), at(-0.95, 0.72)], 9)
    for part in (5, 6, 7):
        for _ in range(26):
            u, w = rng.uniform(-0.85, 0.8), rng.uniform(0.65, 1.0 + 0.05 * part)
            disk(canvas, at(u, w), 0.13 * s, part)


def _box(what: str, canvas: np.ndarray, at: Put, s: float) -> None:
    """A litter bin or a wooden crate."""
    wide, high = (0.24, 0.85) if what == "bin" else (0.4, 0.55)
    low, lit = (1, 2) if what == "bin" else (11, 12)
    back = [at(wide * 0.9, high + 0.14), at(-wide * 0.9, high + 0.14)]
    polygon(canvas, [at(-wide, 0), at(wide, 0), at(wide, high), at(-wide, high)], low)
    polygon(canvas, [at(-wide, high), at(wide, high), *back], lit)
    for w in np.arange(0.15, high, 0.16):
        line(canvas, at(-wide * 0.9, w), at(wide * 0.7, w), 0.025 * s, lit)


def _gondola(
    canvas: np.ndarray, foot: np.ndarray, s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A low rack in the middle of the shop: an index canvas with a palette of its own."""
    rows, cols = np.mgrid[: canvas.shape[0], : canvas.shape[1]].astype(np.float32)
    u, up = (cols - foot[0]) / s, (foot[1] - rows) / s
    goods = products(u + 4, up, rng, 0.36, 0.13)
    colors = np.clip(np.round(goods / 51), 0, 5).astype(int)  # 6 levels a colour: 216 entries
    front = (np.abs(u) < 1.45) & (up > 0) & (up < 1.1)
    index = (colors[..., 0] * 36 + colors[..., 1] * 6 + colors[..., 2] + 1).astype(np.uint8)
    palette = np.zeros((240, 3), np.uint8)
    palette[1:217] = [
        (r * 48, g * 48, b * 47) for r in range(6) for g in range(6) for b in range(6)
    ]
    palette[230], palette[231] = (206, 200, 190), (150, 144, 136)
    canvas[front] = index[front]
    canvas[(np.abs(u) < 1.45 - (up - 1.1) * 0.2) & (up >= 1.1) & (up < 1.26)] = 230
    canvas[(np.abs(u) < 1.48) & (up > -0.02) & (up < 0.06)] = 231
    return palette, canvas
