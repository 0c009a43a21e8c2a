"""Regions never to look at: a clock, trees, a neighbour's window. From a mask or from polygons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vigil.errors import InputError


def read_ignore(path: Path | str, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, True = ignored, for videos of `size` (height, width).

    A picture: white is ignored; it is scaled to the size. A .json file: {"polygons": [[[x, y],
    ...], ...]} in pixels of the video, or in fractions of it if no number is above 1.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a mask picture or a .json of polygons")
    mask = from_polygons(path, size) if path.suffix == ".json" else from_picture(path, size)
    if mask.all():
        raise InputError(f"{path}: everything would be ignored; white marks what to ignore")
    return mask


def from_picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    data = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    if picture is None:
        raise InputError(f"{path}: not a picture; expected a mask, white where to ignore")
    scaled = cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(scaled) > 127


def from_polygons(path: Path, size: tuple[int, int]) -> np.ndarray:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        polygons = [np.asarray(polygon, np.float64) for polygon in data["polygons"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected {{'polygons': [[[x, y], ...], ...]}} ({error})"
        ) from error
    mask = np.zeros(size, np.uint8)
    for n, points in enumerate(polygons):
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise InputError(f"{path}: polygon {n}: expected three points [x, y] or more")
        if not np.isfinite(points).all():
            raise InputError(f"{path}: polygon {n}: a coordinate is not a finite number")
        if all(p.max() <= 1 for p in polygons):
            points = points * [size[1], size[0]]
        clipped = points.clip(-1e6, 1e6).round().astype(np.int32)
        cv2.fillPoly(mask, [clipped], 1)
    return mask > 0
