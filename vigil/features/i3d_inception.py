"""I3D on Inception-v1 (Carreira and Zisserman, CVPR 2017), RGB, in its PyTorch conversion.

1024 values of 16 frames. Convolutions and pools are padded as TensorFlow's "SAME": what is needed
for ceil(size / stride) outputs, the odd pixel behind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.features.backbone import Backbone, cut_crops, squash

Triple = tuple[int, int, int]
SMALLEST = 226  # pixels of the shorter side; smaller frames are enlarged before the crop


class I3DInception(Backbone):
    """12,287,264 parameters; the preprocessing is the original one."""

    name = "i3d-inception"
    size = (224, 224)
    dim = 1024
    crop_counts: ClassVar[tuple[int, ...]] = (1, 5, 10)
    weights = "rgb_imagenet.pt or rgb_charades.pt (its logits are left out)"
    preprocessing = (
        "RGB, enlarged to a shorter side of 226 if smaller (bilinear, 8 bit), "
        "crops of 224x224, the centre by default, value / 127.5 - 1"
    )
    checked = "authors' code"

    def build(self) -> nn.Module:
        return Network()

    def frame(self, image: np.ndarray) -> np.ndarray:
        pixels = cut_crops(enlarged(image), self.size, self.crops).astype(np.float32)
        pixels /= np.float32(127.5)
        pixels -= 1
        return pixels.transpose(0, 3, 1, 2)  # (crops, 3, 224, 224)

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if not key.startswith("logits.")}


class I3DInceptionSquash(I3DInception):
    """The same network as the UCF-Crime top-k project feeds it."""

    name = "i3d-inception-squash"
    crop_counts = (1,)
    preprocessing = "RGB squashed to 224x224 (bilinear, no antialias), value / 255"

    def frame(self, image: np.ndarray) -> np.ndarray:
        pixels = squash(image, self.size)  # (224, 224, 3)
        pixels /= np.float32(255)
        return pixels.transpose(2, 0, 1)[None]


def enlarged(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with a shorter side of 226 pixels at least."""
    short = min(image.shape[:2])
    if short >= SMALLEST:
        return image
    import cv2

    scale = 1 + (SMALLEST - short) / short
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)


class Network(nn.Sequential):
    """(N, 3, T, H, W), T >= 9, to (N, 1024)."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(endpoints()))

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).mean((2, 3, 4))  # of one value, for 16 x 224 x 224

    def maps(self, x: Tensor) -> Tensor:
        """(N, 1024, ceil(T/8) - 1, ceil(H/32) - 6, ceil(W/32) - 6)."""
        x = super().forward(x).float()  # on the CPU, torch has no such pool in bfloat16
        return F.avg_pool3d(x, (2, 7, 7), 1)


def endpoints() -> Iterator[tuple[str, nn.Module]]:
    """The parts in their order, by their published names; sizes for 16 x 224 x 224."""
    space, half = ((1, 3, 3), (1, 2, 2)), (2, 2, 2)
    yield "Conv3d_1a_7x7", Unit(3, 64, (7, 7, 7), half)  # 8 x 112 x 112
    yield "MaxPool3d_2a_3x3", Pool(*space)
    yield "Conv3d_2b_1x1", Unit(64, 64, (1, 1, 1))  # 8 x 56 x 56
    yield "Conv3d_2c_3x3", Unit(64, 192, (3, 3, 3))
    yield "MaxPool3d_3a_3x3", Pool(*space)
    yield "Mixed_3b", Mixed(192, 64, (96, 128), (16, 32), 32)  # 8 x 28 x 28
    yield "Mixed_3c", Mixed(256, 128, (128, 192), (32, 96), 64)
    yield "MaxPool3d_4a_3x3", Pool((3, 3, 3), half)
    yield "Mixed_4b", Mixed(480, 192, (96, 208), (16, 48), 64)  # 4 x 14 x 14
    yield "Mixed_4c", Mixed(512, 160, (112, 224), (24, 64), 64)
    yield "Mixed_4d", Mixed(512, 128, (128, 256), (24, 64), 64)
    yield "Mixed_4e", Mixed(512, 112, (144, 288), (32, 64), 64)
    yield "Mixed_4f", Mixed(528, 256, (160, 320), (32, 128), 128)
    yield "MaxPool3d_5a_2x2", Pool((2, 2, 2), half)
    yield "Mixed_5b", Mixed(832, 256, (160, 320), (32, 128), 128)  # 2 x 7 x 7
    yield "Mixed_5c", Mixed(832, 384, (192, 384), (48, 128), 128)


def same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """(N, C, T, H, W) with the zeros that "SAME" wants around it; kernel >= stride."""
    pads: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = k - s + -size % s
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        even = stride == (1, 1, 1)  # then the same number of zeros on both sides, whatever the size
        padding = tuple(k // 2 for k in kernel) if even else 0
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != (1, 1, 1):
            x = same(x, self.kernel, self.stride)
        return F.relu(self.bn(self.conv3d(x)), inplace=True)


class Pool(nn.Module):
    """Maximum over `kernel`, among zeros where it leaves the input."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(same(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """Four branches side by side: 1; 1 then 3; 1 then 3; pool then 1."""

    def __init__(
        self, inputs: int, one: int, two: tuple[int, int], three: tuple[int, int], four: int
    ) -> None:
        super().__init__()
        self.b0 = Unit(inputs, one, (1, 1, 1))
        self.b1a, self.b1b = Unit(inputs, two[0], (1, 1, 1)), Unit(*two, (3, 3, 3))
        self.b2a, self.b2b = Unit(inputs, three[0], (1, 1, 1)), Unit(*three, (3, 3, 3))
        # values after ReLU: the pool's own edge of minus infinity is as good as zeros
        self.b3a, self.b3b = nn.MaxPool3d(3, 1, 1), Unit(inputs, four, (1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)),
        )  # fmt: skip
        return torch.cat(branches, 1)
