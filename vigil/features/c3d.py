"""C3D (Tran et al., ICCV 2015), trained on Sports-1M: 4096 values of fc6 for 16 frames.

The preprocessing is that of the widely used PyTorch extractor for UCF-Crime: one mean colour
instead of the mean clip of the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.features.backbone import Backbone, squash

RESIZED = (128, 171)  # rows, columns before the crop
CROP = (8, 30, 112, 112)  # top, left (29.5, rounded half to even), rows, columns
MEAN = np.array([124, 117, 104], np.float32)
SCALE = np.float32(0.0167)
HEADS = ("fc7.", "fc8.")


class C3D(Backbone):
    """Eight convolutions 3 x 3 x 3 and one linear layer; 61,214,464 parameters."""

    name = "c3d"
    size = (112, 112)
    dim = 4096
    weights = "c3d.pickle (Sports-1M; conv1..conv5b, fc6; its fc7 and fc8 are left out)"
    preprocessing = (
        "RGB squashed to 128x171 (bilinear, no antialias), centre 112x112, "
        "(value - (124, 117, 104)) * 0.0167"
    )
    checked = "authors' code"

    def build(self) -> nn.Module:
        return Network()

    def frame(self, image: np.ndarray) -> np.ndarray:
        pixels = squash(image, RESIZED, CROP)  # (112, 112, 3)
        pixels -= MEAN
        pixels *= SCALE
        return pixels.transpose(2, 0, 1)[None]

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if not key.startswith(HEADS)}


class Network(nn.Module):
    """(N, 3, 16, 112, 112) to fc6 after ReLU, (N, 4096). Every convolution has a bias."""

    # name: channels in, channels out
    CONVS: ClassVar[dict[str, tuple[int, int]]] = {
        "conv1": (3, 64), "conv2": (64, 128), "conv3a": (128, 256), "conv3b": (256, 256),
        "conv4a": (256, 512), "conv4b": (512, 512), "conv5a": (512, 512), "conv5b": (512, 512),
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        for name, (inputs, outputs) in self.CONVS.items():
            self.add_module(name, nn.Conv3d(inputs, outputs, 3, padding=1))
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.pool2, self.pool3, self.pool4 = nn.MaxPool3d(2), nn.MaxPool3d(2), nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6 = nn.Linear(8192, 4096)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.conv("1", x))  # (N, 64, 16, 56, 56)
        x = self.pool2(self.conv("2", x))  # (N, 128, 8, 28, 28)
        x = self.pool3(self.conv("3b", self.conv("3a", x)))  # (N, 256, 4, 14, 14)
        x = self.pool4(self.conv("4b", self.conv("4a", x)))  # (N, 512, 2, 7, 7)
        x = self.pool5(self.conv("5b", self.conv("5a", x)))  # (N, 512, 1, 4, 4)
        return F.relu(self.fc6(x.flatten(1)), inplace=True)

    def conv(self, which: str, x: Tensor) -> Tensor:
        return F.relu(self.get_submodule(f"conv{which}")(x), inplace=True)
