"""Why a cube scored high: the tile and the moment that seem most out of place, painted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from vigil.methods._jigsaw_net import SIDE
from vigil.methods._jigsaw_puzzle import framed
from vigil.records import Reason

TILE_NAMES = tuple(
    f"{y} {x}" for y in ("upper", "middle", "lower") for x in ("left", "centre", "right")
)


def reason(
    cube: Tensor,
    time: Tensor,
    place: Tensor,
    scores: Mapping[str, float],
    channels: tuple[str, str],
) -> Reason:
    """Of one cube (T, 3, 64, 64), its odds (M,) of moments and (9,) of tiles, 0 where that puzzle
    is not played, and the scores of those of its two `channels`, place and time, that are."""
    spatial, temporal = channels
    tile, moment = int(place.argmax()), int(time.argmax())
    step = len(cube) // len(time)  # frames of a moment
    at = moment * step + step // 2
    near = cube[[max(at - 1, 0), min(at + 1, len(cube) - 1)]].float()
    moved = (near - cube[at].float()).abs().mean((0, 1))  # (64, 64)
    tiles = framed(F.interpolate(place.view(1, 1, 3, 3), size=SIDE)[0, 0])
    share = place.max() / (place.max() + time.max()).clamp_min(1e-9)
    heat = share * whole(tiles) + (1 - share) * whole(moved)
    named = {
        spatial: f"tile {TILE_NAMES[tile]}",
        temporal: f"moment {moment + 1} of {len(time)}",
    }
    return Reason(
        heat=heat.numpy(force=True),
        parts={f"{name}: {named[name]}": value for name, value in scores.items()},
        pictures={"seen": shown(cube[len(cube) // 2]), "out of place": shown(cube[at])},
    )


def whole(heat: Tensor) -> Tensor:
    """Scaled so that the highest is 1."""
    return heat / heat.max().clamp_min(1e-9)


def shown(picture: Tensor) -> np.ndarray:
    """(3, h, w) to (h, w, 3) uint8."""
    return picture.permute(1, 2, 0).numpy(force=True)
