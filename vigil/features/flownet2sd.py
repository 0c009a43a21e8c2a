"""FlowNet2-SD (Ilg et al., CVPR 2017): optical flow of small displacements by a network.

    flownet2-sd:WEIGHTS.pth    45,371,666 parameters

Values are those of flow.py: pixels of the frames read, per nominal frame period, at the points of
the earlier frame. The weights are the user's own file, under the terms of its authors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.errors import ModelError
from vigil.features.base import Tracker
from vigil.features.local_net import STRICT, LocalNet
from vigil.features.quick_net import Dtype, Engine, under
from vigil.features.raft import ColourPairs
from vigil.records import Frame, Video

STEP = 64  # rows and columns the network sees are multiples of this
SEED_SIZE = (256, 256)
Side = Annotated[int, Field(ge=STEP, multiple_of=STEP)]


@dataclass(frozen=True, config=STRICT)
class FlowNetSettings:
    """size: rows and columns the network sees, multiples of 64 (default: the frame's own, rounded;
    256x256 for the variant seed); device: where the network runs; engine, dtype: under what
    (quick_net.py), chosen for each size; variant: how it is fed:

    standard  RGB 0..255, as it was trained
    seed      as "Making Anomalies More Anomalous" feeds it: BGR -255..255, twice the contrast; the
              flow stays as coarse as the network gives it, in its pixels, divided by 255
    """

    size: tuple[Side, Side] | None = None
    variant: Literal["standard", "seed"] = "standard"
    device: str = "cpu"
    engine: Engine = "torch"
    dtype: Dtype = "auto"


class FlowNet2SDFlow(LocalNet):
    """Flow by FlowNet2-SD; `weights` is the path of its published file, or of a TOML file.

    Raises ModelError when first used, if that file is missing or does not fit.
    """

    name = "flownet2-sd"
    role: ClassVar[str] = "flow"
    reads = "FlowNet2-SD.pth, 60 tensors, bare or under 'state_dict'"
    Settings: ClassVar[type] = FlowNetSettings

    def __init__(self, weights: Path | str | None = None, **settings: Any) -> None:
        super().__init__(weights, **settings)

    def build(self) -> nn.Module:
        return FlowNet2SD()

    def adopt(self, state: Mapping[str, Tensor], where: str) -> None:
        super().adopt(state, where)
        self.quarter = under(Quarter(self.net).eval(), self.settings)

    def ready(self) -> nn.Module:
        if self.net is None and not (self.file and self.file.is_file()):
            found = f"no file {self.file}" if self.file else "no weights given"
            raise ModelError(f"{self.name}: {found}; it reads {self.reads} ({self.name}:FILE)")
        return super().ready()

    def start(self, video: Video, fps: float) -> Tracker:
        self.ready()
        if self.settings.variant == "seed":
            return CoarsePairs(self.between, fps, self.size_for(video.size))
        return ColourPairs(self.between, fps, 0.0, 1)

    def size_for(self, frame: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns the network sees of a frame of this size."""
        height, width = (max(round(n / STEP), 1) * STEP for n in frame)
        usual = SEED_SIZE if self.settings.variant == "seed" else (height, width)
        return self.settings.size or usual

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """One frame (H, W, 3) uint8 RGB to what the network sees, (3, h, w) float32."""
        seed = self.settings.variant == "seed"
        height, width = self.size_for(image.shape[:2])
        image = np.ascontiguousarray(image[:, :, ::-1]) if seed else image  # BGR
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        pixels = image.astype(np.float32).transpose(2, 0, 1)  # (3, h, w)
        return (pixels / np.float32(127.5) - 1) * 255 if seed else pixels

    def between(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Two RGB frames (H, W, 3) uint8 to (2, H, W) float32, in pixels; seed: (2, h, w) / 255."""
        net = self.ready()
        pair = np.stack([self.prepare(before), self.prepare(now)], 1)  # (3, 2, h, w)
        with torch.inference_mode():
            frames = torch.from_numpy(pair[None]).to(next(net.parameters()).device)
            found = net(frames, self.quarter)
        flow = found[0].numpy(force=True)  # (2, h, w)
        return flow / 255 if self.settings.variant == "seed" else stretched(flow, now.shape[:2])


class CoarsePairs(ColourPairs):
    """Pairs of frames whose flow has one size, whatever theirs: the first frame's zeros too."""

    def __init__(self, estimate: Any, fps: float, size: tuple[int, int]) -> None:
        super().__init__(estimate, fps, 0.0, 1)
        self.size = size

    def see(self, frame: Frame, index: int) -> np.ndarray:
        flow = super().see(frame, index)
        if not self.pairs:
            self.flow = flow = np.zeros((2, *self.size), np.float32)
        return flow


def stretched(flow: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(2, h, w) flow resized to `size` = (H, W), its values with it: (2, H, W) float32."""
    (height, width), (h, w) = size, flow.shape[1:]
    scale = np.array([width / w, height / h], np.float32)[:, None, None]
    return np.stack([cv2.resize(part, (width, height)) for part in flow]) * scale


class FlowNet2SD(nn.Module):
    """(N, 3, 2, H, W), two frames in 0..255, H and W multiples of 64, to (N, 2, H, W) pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = conv(6, 64)
        self.conv1, self.conv1_1 = conv(64, 64, 2), conv(64, 128)
        self.conv2, self.conv2_1 = conv(128, 128, 2), conv(128, 128)
        self.conv3, self.conv3_1 = conv(128, 256, 2), conv(256, 256)
        self.conv4, self.conv4_1 = conv(256, 512, 2), conv(512, 512)
        self.conv5, self.conv5_1 = conv(512, 512, 2), conv(512, 512)
        self.conv6, self.conv6_1 = conv(512, 1024, 2), conv(1024, 1024)
        self.deconv5, self.deconv4 = deconv(1024, 512), deconv(1026, 256)
        self.deconv3, self.deconv2 = deconv(770, 128), deconv(386, 64)
        for level, inputs, outputs in ((5, 1026, 512), (4, 770, 256), (3, 386, 128), (2, 194, 64)):
            self.add_module(f"inter_conv{level}", nn.Sequential(plain(inputs, outputs)))
            self.add_module(f"predict_flow{level}", plain(outputs, 2))
            self.add_module(
                f"upsampled_flow{level + 1}_to_{level}", nn.ConvTranspose2d(2, 2, 4, 2, 1)
            )
        self.predict_flow6 = plain(1024, 2)

    def forward(self, frames: Tensor, quarter: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """`quarter`: what stands in for the method of that name."""
        x = (frames - frames.mean((2, 3, 4), keepdim=True)) / 255
        flow = (quarter or self.quarter)(x)
        return F.interpolate(20 * flow, scale_factor=4.0, mode="bilinear", align_corners=False)

    def quarter(self, x: Tensor) -> Tensor:
        """(N, 3, 2, H, W) around 0 to (N, 2, H/4, W/4), a twentieth of the flow."""
        x = x.transpose(1, 2).flatten(1, 2)  # (N, 6, H, W): the first frame's channels first
        two = self.conv2_1(self.conv2(self.conv1_1(self.conv1(self.conv0(x)))))
        three = self.conv3_1(self.conv3(two))
        four = self.conv4_1(self.conv4(three))
        five = self.conv5_1(self.conv5(four))
        level = self.conv6_1(self.conv6(five))  # (N, 1024, H/64, W/64)
        flow = self.predict_flow6(level)
        for number, skip in ((5, five), (4, four), (3, three), (2, two)):
            level, flow = self.finer(number, skip, level, flow)
        return flow

    def finer(self, number: int, skip: Tensor, level: Tensor, flow: Tensor) -> list[Tensor]:
        """Maps and flow of a level, at 1 / 2**number of the frame, from those of half its size."""
        part = self.get_submodule
        up = part(f"upsampled_flow{number + 1}_to_{number}")(flow)
        level = torch.cat([skip, part(f"deconv{number}")(level), up], 1)
        return [level, part(f"predict_flow{number}")(part(f"inter_conv{number}")(level))]


class Quarter(nn.Module):
    """The costly part, which an engine may run; what comes before and after needs float32."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net.quarter(x)
        return found


def plain(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(plain(inputs, outputs, stride), nn.LeakyReLU(0.1, inplace=True))


def deconv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.1, inplace=True)
    )
