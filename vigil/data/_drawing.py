"""Pencils and paper of the generated data sets: camera, textures, sprites, shadows, sensor.

Everything is drawn on an index canvas first (one small integer a body part), then coloured,
then shrunk; so pictures depend on little more than integer drawing. Colours are RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

MARGIN = 6  # pixels around the picture that the shaking camera may show
OVER = 3  # sprites are drawn this many times larger, then averaged


class Camera(NamedTuple):
    """A fixed pinhole camera over flat ground. World: x right, y up, z away, in metres."""

    focal: float  # pixels
    height: float  # metres above the ground
    horizon: float  # row, pixels
    center: float  # column, pixels
    tilt: float = 0.3  # radians that upright things are seen from above

    def project(self, x: float, z: float, y: float = 0.0) -> tuple[float, float]:
        """Column and row of a world point."""
        scale = self.focal / z
        return self.center + x * scale, self.horizon + (self.height - y) * scale

    def on_canvas(self, factor: float) -> Camera:
        """The same camera for a picture `factor` times larger, with the margin around it."""
        return Camera(
            self.focal * factor, self.height, self.horizon * factor + MARGIN,
            self.center * factor + MARGIN, self.tilt,
        )  # fmt: skip

    def ground(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World x and z of every pixel, and where there is ground at all; each (H, W)."""
        rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        below = rows > self.horizon + 0.5
        z = self.focal * self.height / np.where(below, rows - self.horizon, 1.0)
        return (cols - self.center) * z / self.focal, z, below


@dataclass(frozen=True)
class Sprite:
    """A small picture with soft edges; `foot` (column, row) is the pixel it stands on.

    color (h, w, 3) uint16, already multiplied by alpha;  keep (h, w, 1) uint16, 255 - alpha;
    solid (h, w) bool;  shade (h, w, 1) uint16, 0..256 share of light left, and its own foot
    """

    color: np.ndarray
    keep: np.ndarray
    solid: np.ndarray
    foot: tuple[int, int]
    shade: np.ndarray | None = None
    shade_foot: tuple[int, int] = (0, 0)
    pixels: int = 0


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], cells: int, octaves: int
) -> np.ndarray:
    """Cloudy noise (H, W) float32 of mean 0 and spread about 1, from coarse to fine."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        n = cells * 2**octave
        grid = rng.standard_normal((n + 1, n + 1)).astype(np.float32)
        total += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return (total - total.mean()) / (total.std() + 1e-6)


def sample(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The texture repeated endlessly, read at u, v (any shape), in texels."""
    h, w = texture.shape[:2]
    return texture[v.astype(int) % h, u.astype(int) % w]


def line(canvas: np.ndarray, p: Any, q: Any, width: float, part: int) -> None:
    """A thick line with round ends, in canvas pixels."""
    a, b = (round(float(p[0])), round(float(p[1]))), (round(float(q[0])), round(float(q[1])))
    cv2.line(canvas, a, b, part, max(1, round(width)))


def polygon(canvas: np.ndarray, points: Sequence, color: int | tuple) -> None:
    """A filled polygon, in canvas pixels."""
    cv2.fillPoly(canvas, [np.round(np.asarray(points, float)).astype(np.int32)], color)


def disk(canvas: np.ndarray, p: Any, radius: float, color: int | tuple) -> None:
    """A filled circle, in canvas pixels."""
    cv2.circle(canvas, (round(float(p[0])), round(float(p[1]))), max(1, round(radius)), color, -1)


def cut(
    parts: np.ndarray, palette: np.ndarray, tone: np.ndarray | None, foot: tuple[float, float]
) -> Sprite:
    """The sprite of an index canvas: coloured, toned, cropped and shrunk by OVER.

    parts (H, W) uint8, 0 = nothing; palette (n, 3) uint8; tone (H, W) float32 factor or None.
    """
    fx, fy = round(foot[0] / OVER), round(foot[1] / OVER)
    cols, rows = np.flatnonzero(parts.any(0)), np.flatnonzero(parts.any(1))
    x0, x1 = cols[0] // OVER * OVER, -(-(cols[-1] + 1) // OVER) * OVER
    y0, y1 = rows[0] // OVER * OVER, -(-(rows[-1] + 1) // OVER) * OVER
    parts = parts[y0:y1, x0:x1]
    rgba = np.concatenate([palette, np.full((len(palette), 1), 255, np.uint8)], 1)
    rgba[0] = 0
    picture = rgba.view(np.uint32)[parts, 0].view(np.uint8).reshape(*parts.shape, 4)
    if tone is not None:
        toned = picture[..., :3] * tone[y0:y1, x0:x1, None]
        picture[..., :3] = np.clip(toned, 0, 255).astype(np.uint8)
    small = cv2.resize(
        picture, ((x1 - x0) // OVER, (y1 - y0) // OVER), interpolation=cv2.INTER_AREA
    )
    return from_rgba(small, (fx - x0 // OVER, fy - y0 // OVER))


def from_rgba(rgba: np.ndarray, foot: tuple[int, int]) -> Sprite:
    """A sprite from (h, w, 4) uint8, colours already multiplied by alpha."""
    alpha = rgba[..., 3]
    solid = alpha > 127
    return Sprite(
        rgba[..., :3].astype(np.uint16), (255 - alpha[..., None]).astype(np.uint16),
        solid, foot, pixels=int(solid.sum()),
    )  # fmt: skip


def with_shadow(
    sprite: Sprite, slant: float, drop: float, depth: float, soft: float, rise: float = 0.0
) -> Sprite:
    """The sprite with the shadow that it throws on the ground.

    slant, drop: columns right and rows down a row of height; depth 0..1; soft: blur in pixels;
    rise: rows by which the shadow starts above the foot (things that are deep stand over it).
    """
    alpha = (255 - sprite.keep[..., 0]).astype(np.uint8)
    (h, w), (fx, fy) = alpha.shape, sprite.foot
    pad = 2 * round(soft) + 1
    left, right = int(max(0.0, -slant * fy)) + pad, int(max(0.0, slant * fy)) + pad
    high = pad + int(max(0, h - fy) * abs(drop)) + int(max(0.0, -drop * fy))
    low = pad + int(max(0.0, drop * fy))
    matrix = np.array([[1, -slant, slant * fy + left], [0, -drop, drop * fy + high]], np.float64)
    flat = cv2.warpAffine(alpha, matrix, (w + left + right, high + low))
    wide = 2 * round(soft) + 1
    flat = cv2.blur(cv2.blur(flat, (wide, wide)), (wide, wide))
    shade = (256 - flat.astype(np.float32) * depth).astype(np.uint16)[..., None]
    return Sprite(
        sprite.color, sprite.keep, sprite.solid, sprite.foot, shade,
        (fx + left, high + round(rise)), sprite.pixels,
    )  # fmt: skip


def _overlap(
    canvas: np.ndarray, shape: tuple[int, ...], x: int, y: int
) -> tuple[slice, slice, slice, slice] | None:
    x0, y0 = max(0, -x), max(0, -y)
    x1, y1 = min(shape[1], canvas.shape[1] - x), min(shape[0], canvas.shape[0] - y)
    if x0 >= x1 or y0 >= y1:
        return None
    return slice(y + y0, y + y1), slice(x + x0, x + x1), slice(y0, y1), slice(x0, x1)


def shade(canvas: np.ndarray, sprite: Sprite, at: tuple[int, int]) -> None:
    """Darken the canvas (H, W, 3) uint8 where the sprite, standing at `at`, throws its shadow."""
    if sprite.shade is None:
        return
    x, y = at[0] - sprite.shade_foot[0], at[1] - sprite.shade_foot[1]
    if where := _overlap(canvas, sprite.shade.shape, x, y):
        rows, cols, r, c = where
        canvas[rows, cols] = (canvas[rows, cols] * sprite.shade[r, c] >> 8).astype(np.uint8)


def blit(
    canvas: np.ndarray, ids: np.ndarray, sprite: Sprite, at: tuple[int, int], number: int
) -> tuple[slice, slice] | None:
    """Put the sprite on the canvas (H, W, 3) and its number on `ids` (H, W); where it landed."""
    where = _overlap(canvas, sprite.solid.shape, at[0] - sprite.foot[0], at[1] - sprite.foot[1])
    if where is None:
        return None
    rows, cols, r, c = where
    under = canvas[rows, cols] * sprite.keep[r, c] // 255
    canvas[rows, cols] = (under + sprite.color[r, c]).astype(np.uint8)
    ids[rows, cols][sprite.solid[r, c]] = number
    return rows, cols


class Sensor:
    """What a camera adds to the world: drifting light, a shaking mount, noise.

    light (T, 3) gain a frame and colour; shake (T, 2) pixels; noise: spread in grey levels.
    """

    def __init__(
        self, rng: np.random.Generator, size: tuple[int, int], light: np.ndarray,
        shake: np.ndarray, noise: float,
    ) -> None:  # fmt: skip
        self.size, self.light, self.shake = size, light, shake
        self.bank = np.round(
            rng.normal(0, noise, (size[0] + 64, size[1] + 64, 3)).astype(np.float32)
        ).astype(np.int16)
        self.offsets = rng.integers(0, 64, (len(light), 2))

    def see(self, canvas: np.ndarray, frame: int) -> np.ndarray:
        """The picture (H, W, 3) uint8 that frame number `frame` of this canvas becomes."""
        h, w = self.size
        dx, dy = self.shake[frame]
        center = (MARGIN + (w - 1) / 2 + float(dx), MARGIN + (h - 1) / 2 + float(dy))
        picture = cv2.getRectSubPix(canvas, (w, h), center)
        table = np.clip(np.arange(256)[:, None] * self.light[frame], 0, 255).astype(np.uint8)
        picture = cv2.LUT(picture, np.ascontiguousarray(table[:, None]))
        y, x = self.offsets[frame]
        return cv2.add(picture, self.bank[y : y + h, x : x + w], dtype=cv2.CV_8U)

    def crop(self, ids: np.ndarray, frame: int) -> np.ndarray:
        """The part of `ids` (canvas-sized) that the picture shows, (H, W)."""
        h, w = self.size
        dx, dy = np.round(self.shake[frame]).astype(int)
        return ids[MARGIN + dy : MARGIN + dy + h, MARGIN + dx : MARGIN + dx + w]


def drift(rng: np.random.Generator, frames: int, fps: float, spread: float) -> np.ndarray:
    """Slowly changing light (T, 3): a level of its own for each video, clouds, a slight tint."""
    t = np.arange(frames) / fps
    level = 1 + rng.uniform(-spread, spread)
    for seconds in rng.uniform(6, 40, 3):
        level = level + 0.4 * spread * np.sin(2 * np.pi * (t / seconds + rng.random())) / 2
    tint = 1 + rng.uniform(-0.02, 0.02, 3)
    return (np.asarray(level)[:, None] * tint).astype(np.float32)


def tremble(rng: np.random.Generator, frames: int, amount: float) -> np.ndarray:
    """Camera shake (T, 2) in pixels, correlated in time, at most MARGIN - 2."""
    steps = rng.normal(0, 1, (frames + 8, 2))
    smooth = np.stack([np.convolve(s, np.ones(5) / 5, "same") for s in steps.T], 1)[4:-4]
    return np.clip(smooth * amount, 2 - MARGIN, MARGIN - 2)
