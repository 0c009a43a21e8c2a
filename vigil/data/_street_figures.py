"""Who and what moves through `street`: articulated people, bicycles, cars, bags.

A figure is drawn from a pose in three dimensions (forward, left, up), turned to its heading and
looked at slightly from above; so one skeleton gives every view, running, crouching and lying.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vigil.data._drawing import OVER, Sprite, cut, disk, line, polygon

PERSON, BICYCLE, CAR, BAG = range(4)
KINDS = ("person", "bicycle", "car", "bag")
# palette entries
(_, TROUSERS, TROUSERS_LIT, TROUSERS_FAR, SHIRT, SHIRT_LIT, SHIRT_FAR, SKIN, SKIN_FAR, HAIR, SHOE,
 PACK, PACK_LIT, TYRE, RIM, FRAME, BODY, BODY_LIT, BODY_DARK, GLASS, GLASS_LIT, LAMP, REAR,
 ITEM) = range(24)  # fmt: skip
DARKER = 24  # the same entries again, darker: for patterns
PAINT = ((232, 232, 228), (176, 180, 184), (52, 54, 58), (112, 116, 122), (150, 38, 36),
         (44, 74, 122), (36, 84, 66), (196, 164, 96), (92, 126, 150), (126, 92, 70))  # fmt: skip


class Pose(NamedTuple):
    """What a body does. Angles in radians, the rest 0..1."""

    phase: float = 0.0  # of the stride, or of the wheels
    stride: float = 0.0  # swing of the thighs
    bend: float = 0.0  # elbows
    lean: float = 0.0
    crouch: float = 0.0
    fall: float = 0.0  # 0 upright, 1.5 lying
    reach: float = 0.0  # one arm stretched out
    hide: float = 0.0  # both hands at the belly


class Look(NamedTuple):
    """How one individual looks; palette (48, 3) uint8."""

    height: float
    width: float
    palette: np.ndarray
    pattern: int
    hair: int
    pack: int
    shape: int


def new_look(kind: int, rng: np.random.Generator) -> Look:
    """A new individual."""
    palette = np.zeros((2 * DARKER, 3), np.uint8)
    shirt, trousers = _cloth(rng), _cloth(rng) * 0.65
    skin = np.array([(236, 196, 168), (198, 146, 112), (148, 100, 72), (98, 66, 48)])[
        rng.integers(4)
    ]
    hair = np.array([(40, 30, 24), (82, 56, 34), (150, 116, 66), (120, 116, 112)])[rng.integers(4)]
    body = np.array(PAINT[rng.integers(len(PAINT))]) * rng.uniform(0.85, 1.1)
    pack = _cloth(rng)
    entries = {
        TROUSERS: trousers, TROUSERS_LIT: trousers * 1.2, TROUSERS_FAR: trousers * 0.75,
        SHIRT: shirt * 0.86, SHIRT_LIT: shirt * 1.1, SHIRT_FAR: shirt * 0.68, SKIN: skin,
        SKIN_FAR: skin * 0.78, HAIR: hair, SHOE: trousers * 0.3 + 20, PACK: pack * 0.8,
        PACK_LIT: pack * 1.1, TYRE: np.full(3, 34), RIM: np.full(3, 150), FRAME: body,
        BODY: body, BODY_LIT: body * 1.25 + 12, BODY_DARK: body * 0.6, GLASS: (58, 72, 84),
        GLASS_LIT: (140, 160, 172), LAMP: (250, 240, 200), REAR: (190, 40, 34), ITEM: (226, 176, 60),
    }  # fmt: skip
    for part, color in entries.items():
        palette[part] = np.clip(color, 8, 250)
    palette[DARKER:] = palette[:DARKER] * 0.68
    height = {PERSON: rng.uniform(1.52, 1.92), BICYCLE: 1.0, CAR: 1.0, BAG: 1.0}[kind]
    return Look(
        float(height), float(rng.uniform(0.9, 1.2)), palette, int(rng.integers(5)),
        int(rng.integers(3)), int(rng.integers(4)), int(rng.integers(3)),
    )  # fmt: skip


def _cloth(rng: np.random.Generator) -> np.ndarray:
    """A colour people wear: any hue, mostly muted."""
    hue, grey, value = rng.random(), rng.uniform(0.25, 0.95), rng.uniform(60, 215)
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0, 1 / 3, 2 / 3])))
    return value * (grey + (1 - grey) * wheel)


def draw(kind: int, look: Look, pose: Pose, heading: float, scale: float, tilt: float) -> Sprite:
    """The sprite of one figure; heading 0 looks right, pi/2 away; scale in pixels a metre."""
    s = scale * OVER
    if kind == PERSON:
        return _person(look, pose, heading, s, tilt)
    if kind == BICYCLE:
        return _bicycle(look, pose, np.cos(heading) >= 0, s)
    if kind == CAR:
        return _car(look, pose, np.cos(heading) >= 0, s, tilt)
    return _bag(look, s, tilt)


def _canvas(width: float, height: float, below: float) -> tuple[np.ndarray, np.ndarray]:
    """An empty index canvas and where the foot stands on it, in canvas pixels."""
    shape = (int(height + below) + 2 * OVER, int(2 * width) + 2 * OVER)
    return np.zeros(shape, np.uint8), np.array([shape[1] / 2, height + OVER])


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
    canvas, foot = _canvas(size * (0.42 + 0.75 * lying), size * 1.12, size * (0.16 + 0.3 * lying))
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
    polygon(canvas, [hem - side * low, hem + side * low, neck + side * top, neck - side * top], SHIRT)
    line(canvas, neck - side * top * 0.6, neck + side * top * 0.6, 0.06 * wide, SHIRT)
    sign = -1.0 if side[0] > 0 else 1.0  # light comes from the left
    a, b = hem + sign * side * low * 0.85, neck + sign * side * top * 0.85
    polygon(canvas, [hem + sign * side * low * 0.1, a, b, neck + sign * side * top * 0.2], SHIRT_LIT)


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


def _bicycle(look: Look, pose: Pose, right: bool, s: float) -> Sprite:
    canvas, foot = _canvas(1.05 * s, 1.85 * s, 0.1 * s)
    xy = lambda u, w: foot + s * np.array([u, -w])  # noqa: E731  metres -> canvas
    rear, front, crank, seat, bar = xy(-0.52, 0.34), xy(0.52, 0.34), xy(-0.05, 0.3), xy(
        -0.22, 0.92
    ), xy(0.4, 1.02)
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


def _car(look: Look, pose: Pose, right: bool, s: float, tilt: float) -> Sprite:
    outline = CARS[look.shape]
    wide = 1.65 * np.sin(tilt) * s  # how far the other side lies further up
    canvas, foot = _canvas(2.4 * s, 2.0 * s + wide, 0.1 * s)
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
    line(canvas, foot + s * np.array([-1.9, -0.82]), foot + s * np.array([1.9, -0.8]), 0.03 * s, BODY_LIT)
    line(canvas, near[-2] - (0.12 * s, 0.1 * s), near[-2] - (0.02 * s, 0.1 * s), 0.14 * s, LAMP)
    line(canvas, near[1] + (0.03 * s, 0.04 * s), near[1] + (0.09 * s, 0.04 * s), 0.14 * s, REAR)
    for u in (-1.3, 1.35):
        _wheel(canvas, foot + s * np.array([u, -0.31]), 0.33 * s, pose.phase, 4)
    canvas, foot = (canvas, foot) if right else _mirror(canvas, foot)
    return cut(canvas, look.palette, None, tuple(foot))


def _bag(look: Look, s: float, tilt: float) -> Sprite:
    w, h, back = ((0.24, 0.62, 0.25), (0.36, 0.42, 0.3), (0.33, 0.36, 0.4))[look.shape]
    canvas, foot = _canvas(0.6 * s, 1.1 * s, 0.1 * s)
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
