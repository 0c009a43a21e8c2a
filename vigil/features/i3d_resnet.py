"""I3D on ResNet-50 (Carreira and Zisserman, CVPR 2017; Wang et al., CVPR 2018), Kinetics-400.

2048 values of 16 frames and each of one, five or ten crops: the extractor behind the published
features of RTFM and S3R.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.features.backbone import Backbone, cut_crops, short_side
from vigil.features.resnet3d import Bottleneck, conv

SIDE = 256  # pixels of the shorter side before the crops
MEAN, STD = np.float32(114.75), np.float32(57.375)  # of all three channels, of values 0..255


class I3DResNet50(Backbone):
    """27,223,872 parameters; the published recipe takes ten crops."""

    name = "i3d-r50"
    size = (224, 224)
    dim = 2048
    crop_counts = (1, 5, 10)
    weights = (
        "i3d_r50_kinetics.pth (converted from i3d_baseline_32x2_IN_pretrain_400k.pkl; "
        "its fc is left out)"
    )
    preprocessing = (
        "RGB with the shorter side at 256 (bilinear, antialiased, 8 bit), crops of 224x224 in the "
        "order of torchvision's TenCrop, or the centre alone, (value - 114.75) / 57.375"
    )
    checked = "authors' code"

    def build(self) -> nn.Module:
        return Network()

    def frame(self, image: np.ndarray) -> np.ndarray:
        crops = cut_crops(short_side(image, SIDE), self.size, self.crops)
        pixels = crops.astype(np.float32)  # (crops, 224, 224, 3)
        pixels -= MEAN
        pixels /= STD
        return pixels.transpose(0, 3, 1, 2)

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if not key.startswith("fc.")}


class Network(nn.Module):
    """(N, 3, T, H, W) to the mean over time and place, (N, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, (5, 7, 7), (2, 2, 2)), nn.BatchNorm3d(64)
        self.maxpool1 = nn.MaxPool3d((2, 3, 3), 2)
        self.layer1 = layer(64, 64, 1, (1, 1, 1))
        self.maxpool2 = nn.MaxPool3d((2, 1, 1))
        self.layer2 = layer(256, 128, 2, (1, 0, 1, 0))
        self.layer3 = layer(512, 256, 2, (1, 0, 1, 0, 1, 0))
        self.layer4 = layer(1024, 512, 2, (0, 1, 0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool1(F.relu(self.bn1(self.conv1(x)), inplace=True))  # (N, 64, 4, 55, 55)
        x = self.maxpool2(self.layer1(x))  # (N, 256, 2, 55, 55)
        x = self.layer4(self.layer3(self.layer2(x)))  # (N, 2048, 2, 7, 7)
        return x.mean((2, 3, 4))


def layer(inputs: int, width: int, stride: int, temporal: Sequence[int]) -> nn.Sequential:
    """One block an entry of `temporal`: 1 if it looks one frame back and ahead, 0 if at its own."""
    return nn.Sequential(
        *(
            Bottleneck(
                inputs if first else 4 * width,
                width,
                (3, 1, 1) if wide else (1, 1, 1),
                (1, 3, 3),
                (1, stride, stride) if first else (1, 1, 1),
                project=first,
            )
            for first, wide in zip([True] + [False] * (len(temporal) - 1), temporal, strict=True)
        )
    )
