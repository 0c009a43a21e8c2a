"""What the tests of `mama` and `destroyer` share: the authors' state dicts, small clips."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vectors import GOLDEN, fill

from vigil.methods.mama import Mama, from_published
from vigil.records import Batch, Units

SMALL: dict[str, Any] = {"size": 32, "width": 4, "judge": 4, "flow": "none", "segmentation": "none"}
BOTH = {"flow": "dis", "segmentation": "foreground-segmentation"}


@cache
def net(file: str, part: str) -> dict[str, Tensor]:
    """net_g, net_d or net_a of a published file, filled by formula."""
    layout = json.loads((GOLDEN / "checkpoints" / f"{file}.json").read_text())
    made = fill.state(layout["tensors"][part], 1, layout["gain"])
    return {key: torch.from_numpy(np.asarray(value)) for key, value in made.items()}


def published(file: str) -> dict[str, Tensor]:
    """All networks of a file, as `vigil import` reads them."""
    parts = ("net_g", "net_d") if file == "mama_g_best" else ("net_g", "net_a")
    return {f"{part}.{key}": value for part in parts for key, value in net(file, part).items()}


def authors_mama(size: int, **keys: Any) -> Mama:
    """Their generator and judge with the golden weights, in eval mode."""
    config, own = from_published(published("mama_g_best"), {"size": size, **BOTH, **keys})
    method = Mama(**config)
    method.set_tensors(own)
    return method.eval()


def clips(n: int, size: int = 32, roles: tuple[str, ...] = (), seed: int = 0) -> dict[str, Tensor]:
    """What a batch or units of n windows hold."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 5, 3, size, size), generator=random)
    x = {"clip": pixels.to(torch.uint8)}
    for role, channels in (("flow", 2), ("segmentation", 21)):
        if role in roles:
            x[f"clip.{role}"] = torch.randn((n, 5, channels, size, size), generator=random)
    return x


def batch(n: int = 2, **keys: Any) -> Batch:
    return Batch(x=clips(n, **keys))


def units(x: dict[str, Tensor]) -> Units:
    n = np.arange(len(x["clip"]))
    return Units("clip", "v", x, n + 4, n + 5, n + 5, np.zeros((len(n), 4), np.float32))


def params(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
