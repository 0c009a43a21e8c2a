"""Who and what moves through `street`: articulated people, and the vehicles beside them.

A figure is drawn from a pose in three dimensions (forward, left, up), turned to its heading and
looked at slightly from above; so one skeleton gives every view, running, crouching and lying.
"""

from __future__ import annotations

import numpy as np

from vigil.data._drawing import OVER, Sprite, cut, disk, line, polygon
from vigil.data._street_looks import (
    BICYCLE,
    CAR,
    DARKER,
    HAIR,
    ITEM,
    PACK,
    PACK_LIT,
    PERSON,
    SHIRT,
    SHIRT_FAR,
    SHIRT_LIT,
    SHOE,
    SKIN,
    SKIN_FAR,
    TROUSERS,
    TROUSERS_FAR,
    TROUSERS_LIT,
    Look,
    Pose,
    blank,
)  # fmt: skip
from vigil.data._street_vehicles import bag, bicycle, car


def draw(kind: int, look: Look, pose: Pose, heading: float, scale: float, tilt: float) -> Sprite:
    """The sprite of one figure; heading 0 looks right, pi/2 away; scale in pixels a metre."""
    s = scale * OVER
    if kind == PERSON:
        return _person(look, pose, heading, s, tilt)
    if kind == BICYCLE:
        return bicycle(look, pose, np.cos(heading) >= 0, s)
    if kind == CAR:
        return car(look, pose, np.cos(heading) >= 0, s, tilt)
    return bag(look, s, tilt)


def skeleton(pose: Pose, seat: bool = False) -> dict[str, np.ndarray]:
    """Joints (3,) = forward, left, up, in body heights, standing on 0."""
    p: dict[str, np.ndarray] = {}
    hip = np.array([-0.12 * pose.crouch, 0.0, 0.0])
    lean = pose.lean + 0.5 * pose.crouch + 0.25 * pose.hide
    swing, lowest = pose.stride * np.sin(pose.phase), 0.0
    for side, sign in (("l", 1.0), ("r", -1.0)):
        thigh = sign * swing + 1.25 * pose.crouch
        lift = max(0.0, float(sign * np.cos(pose.phase)))
        knee = thigh - pose.stride * (0.25 + 1.3 * lift) - 2.1 * pose.crouch
        p["hip" + side] = hip + (0, sign * 0.05, 0)
        p["knee" + side] = p["hip" + side] + 0.25 * _dir(thigh)
        p["ankle" + side] = p["knee" + side] + 0.24 * _dir(knee)
        p["toe" + side] = p["ankle" + side] + 0.085 * np.array([1.0, 0, -0.15])
        lowest = min(lowest, float(p["ankle" + side][2]))
    p["chest"] = hip + 0.31 * np.array([np.sin(lean), 0, np.cos(lean)])
    p["head"] = p["chest"] + 0.135 * np.array([np.sin(lean * 0.8), 0, np.cos(lean * 0.8)])
    p["hip"] = hip
    for side, sign in (("l", 1.0), ("r", -1.0)):
        out = pose.reach if side == "r" else 0.0
        upper = -sign * 0.75 * swing * (1 - pose.hide) + 1.6 * out + 0.25 * pose.hide
        lower = upper + 0.25 + pose.bend - 0.2 * out + 1.6 * pose.hide
        inward = np.array([0, -sign * 0.09 * pose.hide, 0])
        p["shoulder" + side] = p["chest"] + (0, sign * 0.1, -0.02)
        p["elbow" + side] = p["shoulder" + side] + 0.17 * _dir(upper) + (0, sign * 0.015, 0)
        p["hand" + side] = p["elbow" + side] + 0.17 * _dir(lower) + inward
    for joint in p.values():
        joint[2] += 0.035 - lowest
    if pose.fall:
        cos, sin = np.cos(pose.fall), np.sin(pose.fall)
        for joint in p.values():
            u, w = joint[0], joint[2]
            joint[0], joint[2] = u * cos + w * sin, w * cos - u * sin + 0.05 * sin
    return p


def _dir(angle: float) -> np.ndarray:
    return np.array([np.sin(angle), 0.0, -np.cos(angle)])


def _person(look: Look, pose: Pose, heading: float, s: float, tilt: float) -> Sprite:
    size = look.height * s
    lying = np.sin(min(pose.fall, 1.5))
    canvas, foot = blank(size * (0.42 + 0.75 * lying), size * 1.12, size * (0.16 + 0.3 * lying))
    cos, sin = np.cos(heading), np.sin(heading)
    at, depth = {}, {}
    for name, (u, v, w) in skeleton(pose).items():
        x, z = u * cos - v * sin, u * sin + v * cos
        at[name] = foot + size * np.array([x, -w * np.cos(tilt) - z * np.sin(tilt)])
        depth[name] = z
    near, far = ("r", "l") if depth["shoulderr"] < depth["shoulderl"] else ("l", "r")
    wide = size * look.width
    pack_first = look.pack == 1 and sin < 0.3
    if pack_first:
        _pack(canvas, at, cos, wide)
    _leg(canvas, at, far, wide, TROUSERS_FAR, TROUSERS_FAR)
    _arm(canvas, at, far, wide, SHIRT_FAR, SKIN_FAR)
    _leg(canvas, at, near, wide, TROUSERS, TROUSERS_LIT)
    _torso(canvas, at, wide, look)
    if look.pack == 1 and not pack_first:
        _pack(canvas, at, cos, wide)
    _head(canvas, at, cos, sin, size, look)
    _arm(canvas, at, near, wide, SHIRT_LIT, SKIN)
    if pose.reach > 0.4 or pose.hide > 0.4:
        disk(canvas, at["handr"], 0.03 * size, ITEM)
    _cloth_pattern(canvas, look, foot, s)
    return cut(canvas, look.palette, None, tuple(foot))


def _leg(canvas: np.ndarray, at: dict, side: str, wide: float, part: int, lit: int) -> None:
    line(canvas, at["ankle" + side], at["toe" + side], 0.045 * wide, SHOE)
    line(canvas, at["hip" + side], at["knee" + side], 0.088 * wide, part)
    line(canvas, at["knee" + side], at["ankle" + side], 0.062 * wide, part)
    light = np.array([-0.02 * wide, 0])
    line(canvas, at["hip" + side] + light, at["knee" + side] + light, 0.034 * wide, lit)
    line(canvas, at["knee" + side] + light * 0.7, at["ankle" + side] + light, 0.024 * wide, lit)


def _arm(canvas: np.ndarray, at: dict, side: str, wide: float, part: int, skin: int) -> None:
    line(canvas, at["shoulder" + side], at["elbow" + side], 0.06 * wide, part)
    line(canvas, at["elbow" + side], at["hand" + side], 0.046 * wide, part)
    disk(canvas, at["hand" + side], 0.022 * wide, skin)


def _torso(canvas: np.ndarray, at: dict, wide: float, look: Look) -> None:
    axis = at["chest"] - at["hip"]
    length = float(np.hypot(*axis)) or 1.0
    side = np.array([-axis[1], axis[0]]) / length
    span = abs(float((at["shoulderl"] - at["shoulderr"]) @ side)) / 2
    top, low = max(span, 0.055 * wide) + 0.012 * wide, max(span * 0.75, 0.058 * wide)
    hem = at["hip"] - axis * (0.22 if look.shape else 0.08)
    neck = at["chest"] + axis * 0.06
    polygon(
        canvas, [hem - side * low, hem + side * low, neck + side * top, neck - side * top], SHIRT
    )
    line(canvas, neck - side * top * 0.6, neck + side * top * 0.6, 0.06 * wide, SHIRT)
    sign = -1.0 if side[0] > 0 else 1.0  # light comes from the left
    a, b = hem + sign * side * low * 0.85, neck + sign * side * top * 0.85
    polygon(
        canvas, [hem + sign * side * low * 0.1, a, b, neck + sign * side * top * 0.2], SHIRT_LIT
    )


def _head(
    canvas: np.ndarray, at: dict, cos: float, sin: float, size: float, look: Look
) -> None:  # fmt: skip
    line(canvas, at["chest"], at["head"], 0.05 * size, SKIN_FAR)
    radius = 0.06 * size
    up = (at["head"] - at["chest"]) / (np.hypot(*(at["head"] - at["chest"])) or 1.0)
    side = np.array([-up[1], up[0]])
    disk(canvas, at["head"], radius * 1.04, HAIR)
    if sin < 0.75:  # the face is seen
        face = at["head"] + side * radius * 0.3 * cos - up * radius * 0.22
        disk(canvas, face, radius * 0.8, SKIN)
    if look.hair == 2:  # long hair
        back = at["head"] - side * radius * 0.7 * cos
        line(canvas, back, back - up * radius * 1.7, radius * 0.9, HAIR)
    disk(canvas, at["head"] + up * radius * 0.45, radius * 0.72, HAIR)


def _pack(canvas: np.ndarray, at: dict, cos: float, wide: float) -> None:
    middle = at["chest"] * 0.62 + at["hip"] * 0.38 - np.array([0.1 * wide * cos, 0])
    line(canvas, middle, middle - (at["chest"] - at["hip"]) * 0.35, 0.13 * wide, PACK)
    line(canvas, middle, middle - (at["chest"] - at["hip"]) * 0.1, 0.08 * wide, PACK_LIT)


def _cloth_pattern(canvas: np.ndarray, look: Look, foot: np.ndarray, s: float) -> None:
    """Print the pattern on the shirt: patterned pixels take the palette's darker copy."""
    if look.pattern == 0:
        return
    rows = ((np.arange(canvas.shape[0]) - foot[1]) / s * 7)[:, None]
    cols = ((np.arange(canvas.shape[1]) - foot[0]) / s * 7)[None]
    if look.pattern == 1:
        on = rows % 1 < 0.5
    elif look.pattern == 2:
        on = cols % 1 < 0.5
    elif look.pattern == 3:
        on = (rows % 1 < 0.5) ^ (cols % 1 < 0.5)
    else:
        on = rows > -1.12 * 7  # all but a yoke over the shoulders
    canvas[on & (canvas >= SHIRT) & (canvas <= SHIRT_FAR)] += DARKER
