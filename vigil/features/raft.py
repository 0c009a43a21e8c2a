"""Optical flow by RAFT (Teed and Deng, ECCV 2020), as torchvision builds it, from a local file.

    raft-small:WEIGHTS.pth     990,162 parameters
    raft-large:WEIGHTS.pth     5,257,536 parameters

Values are those of flow.py: pixels of the frames read, per nominal frame period, at the points of
the earlier frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from vigil.features.base import Tracker
from vigil.features.flow import Pairs
from vigil.features.local_net import STRICT, LocalNet, pixels
from vigil.features.quick_net import Dtype, Engine, under
from vigil.records import Frame, Video

MULTIPLE, SMALLEST = 8, 128  # sides that the network takes, in pixels


@dataclass(frozen=True, config=STRICT)
class RaftSettings:
    """updates: how often the estimate is refined; trail_s: seconds of running mean along the path
    of what moves (0 = none); device: where the network runs; engine, dtype: under what
    (quick_net.py), chosen for each size of video."""

    updates: Annotated[int, Field(ge=1, le=100)] = 12
    trail_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    device: str = "cpu"
    engine: Engine = "torch"
    dtype: Dtype = "auto"


class Refined(nn.Module):
    """Two images (B, 3, H, W) each to the last estimate, (B, 2, H, W)."""

    def __init__(self, net: nn.Module, updates: int) -> None:
        super().__init__()
        self.net, self.updates = net, updates

    def forward(self, before: Tensor, now: Tensor) -> Tensor:
        found: Tensor = self.net(before, now, num_flow_updates=self.updates)[-1]
        return found


class Raft(LocalNet):
    """Base of both sizes: `between` gives the flow of two RGB frames."""

    role: ClassVar[str] = "flow"
    Settings: ClassVar[type] = RaftSettings

    def build(self) -> nn.Module:
        from torchvision.models import get_model

        return get_model(self.name.replace("-", "_"), weights=None)

    def adopt(self, state: Mapping[str, Tensor], where: str) -> None:
        super().adopt(state, where)
        assert self.net is not None
        self.refined = under(Refined(self.net, self.settings.updates).eval(), self.settings)

    def between(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Two RGB frames (H, W, 3) uint8 to (2, H, W) float32: dx, dy in pixels."""
        net = self.ready()
        device = next(net.parameters()).device
        (height, width), pair = before.shape[:2], (before, now)
        one, two = (padded(pixels(image, device) * 2 - 1) for image in pair)
        with torch.inference_mode():
            flow = self.refined(one, two)  # (1, 2, H', W')
        return np.ascontiguousarray(flow[0, :, :height, :width].numpy(force=True))

    def start(self, video: Video, fps: float) -> Tracker:
        self.ready()
        return ColourPairs(self.between, fps, self.settings.trail_s, 1)


class RaftSmall(Raft):
    name = "raft-small"
    reads = "raft_small_C_T_V2 of torchvision"


class RaftLarge(Raft):
    name = "raft-large"
    reads = "raft_large_C_T_SKHT_V2 (or another raft_large) of torchvision"


def padded(image: torch.Tensor) -> torch.Tensor:
    """(3, H, W) to (1, 3, H', W'), continued by its edge at the bottom and on the right.

    >>> padded(torch.zeros(3, 130, 20)).shape
    torch.Size([1, 3, 136, 128])
    """
    height, width = image.shape[-2:]
    down, right = (max(-n % MULTIPLE, SMALLEST - n) for n in (height, width))
    return functional.pad(image[None], (0, right, 0, down), mode="replicate")


class ColourPairs(Pairs):
    """Pairs of frames for an estimator that sees colour; times and repeats as in `Pairs`."""

    old: np.ndarray  # (H, W, 3) of the newest frame that differs from the one before it
    new: np.ndarray

    def see(self, frame: Frame, index: int) -> np.ndarray:
        self.new = frame.image
        flow = super().see(frame, index)
        if not self.repeats:
            self.old = frame.image
        return flow

    def between(self, before: np.ndarray, now: np.ndarray) -> Any:
        return self.estimate(self.old, self.new)
