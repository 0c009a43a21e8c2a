"""What a method saw, painted on the picture: heat inside each unit's box, boxes, a score bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vigil.errors import InputError

CALM, ALARM, INK, GROUND = (86, 180, 233), (230, 70, 50), (255, 255, 255), (16, 18, 24)  # RGB
HEAT_SHARE = 0.6  # of the colour that the hottest place takes
BAR = 0.08  # height of the score bar as a share of the picture's shorter side


@dataclass(frozen=True)
class Mark:
    """One unit to paint. `box` (x1, y1, x2, y2) in pixels of the video's own size; `heat` (h, w)
    stretched over the box, higher = more to blame, or None; `text` beside the box."""

    box: tuple[float, float, float, float]
    score: float
    heat: np.ndarray | None = None
    text: str = ""


def draw(
    image: np.ndarray,
    marks: Sequence[Mark] = (),
    *,
    score: float | None = None,
    threshold: float | None = None,
    size: tuple[int, int] | None = None,
    text: str = "",
) -> np.ndarray:
    """A painted copy of `image` (H, W, 3) uint8 RGB.

    size       (height, width) of the video that the boxes belong to; default the image's own
    score      of the frame: a bar along the bottom, its tick at `threshold`, red from there on
    threshold  boxes of units at or above it are red, others blue; None paints all of them red
    Heat keeps its colour between frames where scores do: its strength is the unit's score over the
    larger of the threshold and the highest score in the picture.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"picture {image.shape} {image.dtype}; expected (H, W, 3) uint8 RGB")
    height, width = size or image.shape[:2]
    scale = np.array([image.shape[1] / width, image.shape[0] / height] * 2)
    boxes = [_inside(np.asarray(mark.box) * scale, image) for mark in marks]
    out = _heated(image, marks, boxes, threshold)
    thick = max(1, round(min(out.shape[:2]) / 240))
    for mark, (x1, y1, x2, y2) in zip(marks, boxes, strict=True):
        fires = threshold is None or mark.score >= threshold
        cv2.rectangle(out, (x1, y1), (x2 - 1, y2 - 1), ALARM if fires else CALM, thick)
        if mark.text:
            _label(out, mark.text, x1, y1)
    if score is not None:
        _bar(out, score, threshold, text)
    return out


def _inside(box: np.ndarray, image: np.ndarray) -> tuple[int, int, int, int]:
    """A box in whole pixels, at least one of them inside the picture."""
    height, width = image.shape[:2]
    x1, y1 = (int(np.clip(np.floor(v), 0, n - 1)) for v, n in ((box[0], width), (box[1], height)))
    x2, y2 = (int(np.clip(np.ceil(v), 1, n)) for v, n in ((box[2], width), (box[3], height)))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _heated(
    image: np.ndarray,
    marks: Sequence[Mark],
    boxes: Sequence[tuple[int, int, int, int]],
    threshold: float | None,
) -> np.ndarray:
    """The picture with every unit's heat laid over its box; where boxes overlap, the hotter one."""
    heat = np.zeros(image.shape[:2], np.float32)  # (H, W) in 0..1
    top = max([mark.score for mark in marks] + [threshold or 0.0, 1e-9])
    for mark, (x1, y1, x2, y2) in zip(marks, boxes, strict=True):
        if mark.heat is None or not mark.heat.size:
            continue
        own = np.nan_to_num(np.asarray(mark.heat, np.float32)).clip(0)
        own = own / max(float(own.max()), 1e-9) * np.clip(mark.score / top, 0, 1)
        own = cv2.resize(own.astype(np.float32), (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
        heat[y1:y2, x1:x2] = np.maximum(heat[y1:y2, x1:x2], own)
    colour = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = (HEAT_SHARE * np.sqrt(heat))[..., None]  # (H, W, 1); root: faint heat stays visible
    return np.ascontiguousarray((image * (1 - alpha) + colour * alpha).round().astype(np.uint8))


def _bar(out: np.ndarray, score: float, threshold: float | None, text: str) -> None:
    """Score bar in the bottom rows: full at twice the threshold (or at 4, one in ten thousand)."""
    height, width = out.shape[:2]
    high = int(np.clip(BAR * min(height, width), min(10, height), 48))
    top, strip = height - high, out[height - high :]
    strip[:] = (strip * 0.25 + np.array(GROUND) * 0.75).astype(np.uint8)
    full = 2 * threshold if threshold and threshold > 0 else 4.0
    fires = threshold is not None and score >= threshold
    end = round(width * float(np.clip(score / full, 0, 1)))
    strip[:, :end] = (strip[:, :end] * 0.3 + np.array(ALARM if fires else CALM) * 0.7).astype(
        np.uint8
    )
    if threshold is not None:
        tick = round(width * min(threshold / full, 1.0)) if full else 0
        cv2.line(out, (tick, top), (tick, height - 1), INK, max(1, high // 16))
    words = f"{score:.2f}" + (f"  {text}" if text else "")
    if high >= 14:
        size = high / 42
        cv2.putText(
            out, words, (high // 3, height - high // 4), cv2.FONT_HERSHEY_SIMPLEX, size, INK,
            max(1, round(size * 1.6)), cv2.LINE_AA,
        )  # fmt: skip


def _label(out: np.ndarray, text: str, x: int, y: int) -> None:
    """Small text on a dark ground, above the box where there is room, else inside it."""
    size = max(0.32, min(out.shape[:2]) / 900)
    (width, high), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    y = y if y >= high + base + 2 else y + high + base + 2
    x = max(0, min(x, out.shape[1] - width - 4))
    cv2.rectangle(out, (x, y - high - base - 2), (x + width + 4, y), GROUND, -1)
    cv2.putText(
        out, text, (x + 2, y - base), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA
    )  # fmt: skip
