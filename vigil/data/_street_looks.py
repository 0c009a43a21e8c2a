"""How one individual of `street` looks, and what its body does: palettes, looks, poses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vigil.data._drawing import OVER

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
        GLASS_LIT: (140, 160, 172), LAMP: (250, 240, 200), REAR: (190, 40, 34),
        ITEM: (226, 176, 60),
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


def blank(width: float, height: float, below: float) -> tuple[np.ndarray, np.ndarray]:
    """An empty index canvas and where the foot stands on it, in canvas pixels."""
    shape = (int(height + below) + 2 * OVER, int(2 * width) + 2 * OVER)
    return np.zeros(shape, np.uint8), np.array([shape[1] / 2, height + OVER])
