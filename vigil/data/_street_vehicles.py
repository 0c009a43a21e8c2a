"""Bicycles, cars and bags of `street`, seen from the side and slightly from above."""

from __future__ import annotations

import cv2
import numpy as np

from vigil.data._drawing import Sprite, cut, disk, line, polygon
from vigil.data._street_looks import (
    BODY,
    BODY_DARK,
    BODY_LIT,
    FRAME,
    GLASS,
    GLASS_LIT,
    HAIR,
    LAMP,
    PACK,
    PACK_LIT,
    REAR,
    RIM,
    SHIRT,
    SHIRT_FAR,
    SHIRT_LIT,
    SHOE,
    SKIN,
    TROUSERS,
    TROUSERS_FAR,
    TROUSERS_LIT,
    TYRE,
    Look,
    Pose,
    blank,
)  # fmt: skip


def _wheel(canvas: np.ndarray, at: np.ndarray, radius: float, phase: float, spokes: int) -> None:
    disk(canvas, at, radius, TYRE)
    if spokes > 4:  # a bicycle: mostly air, so only the rim and a few spokes stay
        disk(canvas, at, radius * 0.84, 0)
        for k in range(spokes // 2):
            tip = radius * 0.84 * _turn(phase + 2 * np.pi * k / spokes)
            line(canvas, at - tip, at + tip, radius * 0.05, RIM)
        disk(canvas, at, radius * 0.12, RIM)
        return
    disk(canvas, at, radius * 0.6, RIM)
    for k in range(spokes):
        tip = radius * 0.5 * _turn(phase + 2 * np.pi * k / spokes)
        line(canvas, at, at + tip, radius * 0.2, TYRE)


def _turn(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def bicycle(look: Look, pose: Pose, right: bool, s: float) -> Sprite:
    canvas, foot = blank(1.05 * s, 1.85 * s, 0.1 * s)
    xy = lambda u, w: foot + s * np.array([u, -w])  # noqa: E731  metres -> canvas
    rear, front, crank, seat, bar = (
        xy(-0.52, 0.34),
        xy(0.52, 0.34),
        xy(-0.05, 0.3),
        xy(-0.22, 0.92),
        xy(0.4, 1.02),
    )
    pedal = {k: xy(-0.05, 0.3) + 0.17 * s * _turn(pose.phase + k * np.pi) for k in (0, 1)}
    hip, chest = seat + s * np.array([0.02, -0.08]), xy(0.08, 1.45)
    _rider_leg(canvas, hip, pedal[1], s, TROUSERS_FAR, TROUSERS_FAR)
    _wheel(canvas, rear, 0.34 * s, 2 * pose.phase, 8)
    _wheel(canvas, front, 0.34 * s, 2 * pose.phase, 8)
    tubes = [(rear, crank), (crank, seat), (rear, seat), (seat, bar), (crank, bar), (bar, front)]
    for a, b in tubes:
        line(canvas, a, b, 0.045 * s, FRAME)
    line(canvas, seat - (0.1 * s, 0), seat + (0.1 * s, 0), 0.06 * s, TYRE)
    line(canvas, bar, bar + s * np.array([0.1, 0.03]), 0.05 * s, TYRE)
    line(canvas, hip, chest, 0.26 * s, SHIRT)
    line(canvas, hip - (0.04 * s, 0), chest - (0.05 * s, 0), 0.12 * s, SHIRT_LIT)
    _rider_leg(canvas, hip, pedal[0], s, TROUSERS, TROUSERS_LIT)
    line(canvas, chest + s * np.array([0.03, 0.06]), bar, 0.09 * s, SHIRT_FAR)
    disk(canvas, bar, 0.045 * s, SKIN)
    disk(canvas, chest + s * np.array([0.09, -0.22]), 0.115 * s, SKIN)
    cap = chest + s * np.array([0.06, -0.27])
    disk(canvas, cap, 0.11 * s, PACK if look.hair else HAIR)
    canvas, foot = (canvas, foot) if right else _mirror(canvas, foot)
    return cut(canvas, look.palette, None, tuple(foot))


def _rider_leg(
    canvas: np.ndarray, hip: np.ndarray, foot: np.ndarray, s: float, part: int, lit: int
) -> None:
    middle, reach = (hip + foot) / 2, np.hypot(*(hip - foot))
    out = np.sqrt(max(0.0, (0.43 * s) ** 2 - (reach / 2) ** 2))
    knee = middle + out * np.array([0.96, -0.28])
    line(canvas, hip, knee, 0.15 * s, part)
    line(canvas, knee, foot, 0.1 * s, part)
    line(canvas, hip, knee, 0.06 * s, lit)
    line(canvas, foot, foot + (0.11 * s, 0), 0.07 * s, SHOE)


def _mirror(canvas: np.ndarray, foot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return cv2.flip(canvas, 1), np.array([canvas.shape[1] - foot[0], foot[1]])


# outlines from rear to front: (along, up, what the surface behind the edge is made of)
CARS = (
    ((-2.0, 0.3, BODY), (-2.05, 0.8, BODY), (-1.85, 1.0, GLASS), (-1.4, 1.46, BODY_LIT),
     (0.35, 1.48, GLASS_LIT), (1.0, 0.98, BODY_LIT), (1.95, 0.86, BODY), (2.05, 0.55, BODY),
     (2.0, 0.3, BODY)),
    ((-2.2, 0.3, BODY), (-2.25, 0.85, BODY_LIT), (-1.55, 0.98, GLASS), (-0.95, 1.42, BODY_LIT),
     (0.3, 1.44, GLASS_LIT), (0.95, 0.96, BODY_LIT), (2.05, 0.84, BODY), (2.2, 0.55, BODY),
     (2.15, 0.3, BODY)),
    ((-2.2, 0.3, BODY), (-2.25, 1.0, GLASS), (-2.2, 1.8, BODY_LIT), (0.95, 1.84, GLASS_LIT),
     (1.45, 1.12, BODY_LIT), (2.1, 0.98, BODY), (2.2, 0.55, BODY), (2.15, 0.3, BODY)),
)  # fmt: skip


def car(look: Look, pose: Pose, right: bool, s: float, tilt: float) -> Sprite:
    outline = CARS[look.shape]
    wide = 1.65 * np.sin(tilt) * s  # how far the other side lies further up
    canvas, foot = blank(2.4 * s, 2.0 * s + wide, 0.1 * s)
    near = [foot + s * np.array([u, -w]) for u, w, _ in outline]
    far = [p - np.array([0, wide]) for p in near]
    for i in range(len(near) - 1):
        polygon(canvas, [near[i], near[i + 1], far[i + 1], far[i]], outline[i][2])
    polygon(canvas, near, BODY)
    roof = [p for p, (_, w, _) in zip(near, outline, strict=True) if w > 0.93]
    middle = np.mean(roof, 0)
    glass = [middle + (p - middle) * (0.86, 0.78) for p in roof]
    polygon(canvas, glass, GLASS)
    polygon(canvas, [glass[1], (glass[1] + glass[2]) / 2, middle], GLASS_LIT)
    post = (glass[1] + glass[2]) / 2
    line(canvas, (post[0], glass[1][1]), (post[0], foot[1] - 0.35 * s), 0.05 * s, BODY_DARK)
    low = foot - (0, 0.36 * s)
    line(canvas, low - (1.9 * s, 0), low + (1.9 * s, 0), 0.12 * s, BODY_DARK)
    line(
        canvas,
        foot + s * np.array([-1.9, -0.82]),
        foot + s * np.array([1.9, -0.8]),
        0.03 * s,
        BODY_LIT,
    )
    line(canvas, near[-2] - (0.12 * s, 0.1 * s), near[-2] - (0.02 * s, 0.1 * s), 0.14 * s, LAMP)
    line(canvas, near[1] + (0.03 * s, 0.04 * s), near[1] + (0.09 * s, 0.04 * s), 0.14 * s, REAR)
    for u in (-1.3, 1.35):
        _wheel(canvas, foot + s * np.array([u, -0.31]), 0.33 * s, pose.phase, 4)
    canvas, foot = (canvas, foot) if right else _mirror(canvas, foot)
    return cut(canvas, look.palette, None, tuple(foot))


def bag(look: Look, s: float, tilt: float) -> Sprite:
    w, h, back = ((0.21, 0.62, 0.25), (0.3, 0.42, 0.3), (0.28, 0.38, 0.4))[look.shape]
    canvas, foot = blank(0.6 * s, 1.1 * s, 0.1 * s)
    up = np.array([0, -back * np.sin(tilt) * s])
    a, b = foot + s * np.array([-w, 0]), foot + s * np.array([w, 0])
    c, d = b - (0, h * s), a - (0, h * s)
    polygon(canvas, [d, c, c + up, d + up], PACK_LIT)
    polygon(canvas, [a, b, c, d], PACK)
    line(canvas, (a * 0.5 + d * 0.5), (b * 0.5 + c * 0.5), 0.05 * s, HAIR)
    top = (c + d) / 2 + up / 2
    line(canvas, top - (0.1 * s, 0), top - (0.1 * s, 0.13 * s), 0.04 * s, TYRE)
    line(canvas, top + (0.1 * s, 0), top + (0.1 * s, -0.13 * s), 0.04 * s, TYRE)
    line(canvas, top - (0.1 * s, 0.13 * s), top + (0.1 * s, -0.13 * s), 0.04 * s, TYRE)
    return cut(canvas, look.palette, None, tuple(foot))
