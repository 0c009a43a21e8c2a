"""3D-ResNets (Hara et al., CVPR 2018) trained on Kinetics-700 and Moments in Time: 2048 values.

The weights were trained at 112 x 112; the features of the systems here were made at 224 x 224,
which the global pool allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.features.backbone import Backbone, squash

Triple = tuple[int, int, int]
MEAN = np.array([0.4345, 0.4051, 0.3775], np.float32)
STD = np.array([0.2768, 0.2713, 0.2737], np.float32)
SCALE, SHIFT = 1 / (255 * STD), -MEAN / STD


class R3D(Backbone):
    """Base of the three depths: blocks of each of the four layers."""

    blocks: ClassVar[tuple[int, int, int, int]]
    size = (224, 224)
    dim = 2048
    preprocessing = (
        "RGB squashed to 224x224 (bilinear, no antialias), /255, "
        "mean (.4345, .4051, .3775), std (.2768, .2713, .2737)"
    )
    checked = "authors' code"

    def build(self) -> nn.Module:
        return Network(self.blocks)

    def frame(self, image: np.ndarray) -> np.ndarray:
        pixels = squash(image, self.size)  # (224, 224, 3)
        pixels *= SCALE
        pixels += SHIFT
        return pixels.transpose(2, 0, 1)[None]

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if not key.startswith("fc.")}


class R3D50(R3D):
    """Depth 50; 46,198,976 parameters."""

    name, blocks = "r3d-50", (3, 4, 6, 3)
    weights = "r3d50_KM_200ep.pth (1039 classes; its fc is left out)"


class R3D101(R3D):
    """Depth 101; 85,245,120 parameters."""

    name, blocks = "r3d-101", (3, 4, 23, 3)
    weights = "r3d101_KM_200ep.pth (1039 classes; its fc is left out)"


class R3D152(R3D):
    """Depth 152; 117,403,840 parameters. The "3dResNet" of the UCF-Crime top-k project."""

    name, blocks = "r3d-152", (3, 8, 36, 3)
    weights = "r3d152_KM_200ep.pth (1039 classes; its fc is left out)"


def conv(inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> nn.Conv3d:
    """A convolution padded by half its kernel, without bias: batch norm follows."""
    one, two, three = (k // 2 for k in kernel)
    return nn.Conv3d(inputs, outputs, kernel, stride, (one, two, three), bias=False)


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut: to `width` channels, over space, to four times `width`.

    The stride sits in the second convolution. With `project`, the shortcut is a convolution too.
    """

    def __init__(
        self, inputs: int, width: int, first: Triple, second: Triple, stride: Triple, project: bool
    ) -> None:
        super().__init__()
        outputs, one = 4 * width, (1, 1, 1)
        self.conv1, self.bn1 = conv(inputs, width, first), nn.BatchNorm3d(width)
        self.conv2, self.bn2 = conv(width, width, second, stride), nn.BatchNorm3d(width)
        self.conv3, self.bn3 = conv(width, outputs, one), nn.BatchNorm3d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if project:
            shortcut = conv(inputs, outputs, one, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x), inplace=True)


class Network(nn.Module):
    """(N, 3, T, H, W) to the mean over time and place, (N, 2048)."""

    def __init__(self, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, (7, 7, 7), (1, 2, 2)), nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        self.layer1 = layer(64, 64, blocks[0], 1)
        self.layer2 = layer(256, 128, blocks[1], 2)
        self.layer3 = layer(512, 256, blocks[2], 2)
        self.layer4 = layer(1024, 512, blocks[3], 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))  # (N, 64, T/2, H/4, W/4)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (N, 2048, T/16, H/32, W/32)
        return x.mean((2, 3, 4))


def layer(inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
    """`count` blocks, the first with the stride and a projected shortcut."""
    one, three = (1, 1, 1), (3, 3, 3)
    first = Bottleneck(inputs, width, one, three, (stride, stride, stride), True)
    others = (Bottleneck(4 * width, width, one, three, one, False) for _ in range(count - 1))
    return nn.Sequential(first, *others)
