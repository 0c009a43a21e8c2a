"""What the box of a cube tells beside its pixels, which are squeezed to a square."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vigil.records import Units

EDGE = 0.01  # picture heights from the edge: a thing that comes so near is cut by it
LEAST = 0.01  # picture heights: a smaller box is taken for one of this size


def cut_sides(units: Units) -> Tensor:
    """(N, 4) bool, left, top, right, bottom: the box comes within `EDGE` of that edge of the
    picture. How large such a thing is, and how it moves, is not what is seen of it."""
    (height, width), box = units.size, boxes(units)
    far = torch.tensor([width, height]) - EDGE * height
    return torch.cat([box[:, :2] <= EDGE * height, box[:, 2:] >= far], 1)


def shape_of(units: Units) -> Tensor:
    """(N, 2): logarithms of a box's height in picture heights, and of its width over its height."""
    sides = (boxes(units)[:, 2:] - boxes(units)[:, :2]) / units.size[0]
    width, height = sides.clamp_min(LEAST).log().unbind(1)
    return torch.stack([height, width - height], 1)


def boxes(units: Units) -> Tensor:
    """(N, 4) x1, y1, x2, y2 in pixels."""
    return torch.from_numpy(np.asarray(units.box, np.float32))[:, :4]
