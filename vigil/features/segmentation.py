"""What stands where: 21 maps of 32 x 32 logits a frame, kept in half precision.

    deeplabv3-resnet101:WEIGHTS.pth           60,996,202 parameters with its auxiliary head
    deeplabv3-resnet50:WEIGHTS.pth
    deeplabv3-mobilenet-v3-large:WEIGHTS.pth
    foreground-segmentation                   a proxy without weights

DeepLabv3 (Chen et al., 2017) computes its logits on a grid and then enlarges them bilinearly: the
grid itself is kept, which is exact and 64 times smaller. Channels are the 21 classes of Pascal VOC,
0 = background, 15 = person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vigil.features.backbone import squash
from vigil.features.base import Tracker
from vigil.features.local_net import STRICT, EachFrame, LocalNet
from vigil.features.objects import Blobs, Foreground
from vigil.features.quick_net import Dtype, Engine, under
from vigil.records import Video

CLASSES, GRID = 21, 32
BACKGROUND, THING = 0, 15  # channels of the proxy; 15 is a person in DeepLab's
LOGIT = 8.0  # of a cell that is wholly one of the two
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, RGB in 0..1
STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True, config=STRICT)
class SegmentationSettings:
    """colours: "imagenet" = RGB, normalised as the network was trained; "signed-bgr" = BGR in
    -1..1, as Making Anomalies More Anomalous fed it (its released weights need that); device:
    where the network runs; engine, dtype: under what (quick_net.py)."""

    colours: Literal["imagenet", "signed-bgr"] = "imagenet"
    device: str = "cpu"
    engine: Engine = "torch"
    dtype: Dtype = "auto"


class Logits(nn.Module):
    """DeepLab up to its grid: (B, 3, side, side) to (B, 21, 32, 32)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.backbone, self.classifier = net.backbone, net.classifier

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.backbone(x)["out"])
        return found


class DeepLab(LocalNet):
    """Base of the three: frames squashed to `side` pixels square, a cell every side / 32."""

    role: ClassVar[str] = "segmentation"
    reads: ClassVar[str] = "COCO_WITH_VOC_LABELS_V1 of torchvision"
    Settings: ClassVar[type] = SegmentationSettings
    side: ClassVar[int] = 256

    def build(self) -> nn.Module:
        from torchvision.models import get_model

        return get_model(
            self.name.replace("-", "_"), weights=None, weights_backbone=None, num_classes=CLASSES
        )

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: v for k, v in state.items() if not k.startswith("aux_classifier.")}

    def adopt(self, state: Mapping[str, Tensor], where: str) -> None:
        super().adopt(state, where)
        self.logits = under(Logits(self.net).eval(), self.settings)

    def look(self, image: np.ndarray) -> np.ndarray:
        """One RGB frame (H, W, 3) uint8 to logits (21, 32, 32) float16."""
        net = self.ready()
        small = squash(image, (self.side, self.side))  # (side, side, 3) 0..255
        if self.settings.colours == "imagenet":
            x = (small / 255 - MEAN) / STD
        else:
            x = small[:, :, ::-1] / 127.5 - 1
        one = torch.tensor(np.ascontiguousarray(x.transpose(2, 0, 1)[None]))  # (1, 3, side, side)
        with torch.inference_mode():
            one = one.to(next(net.parameters()).device)
            logits = self.logits(one)  # (1, 21, 32, 32)
        return halved(logits[0].numpy(force=True))

    def start(self, video: Video, fps: float) -> Tracker:
        self.ready()
        return EachFrame(self.look)


class DeepLabResNet101(DeepLab):
    name = "deeplabv3-resnet101"


class DeepLabResNet50(DeepLab):
    name = "deeplabv3-resnet50"


class DeepLabMobile(DeepLab):
    name = "deeplabv3-mobilenet-v3-large"
    side = 512  # a cell is 16 pixels here, 8 in the others


def halved(values: np.ndarray) -> np.ndarray:
    """As float16; what lies beyond its range (65504) becomes its end."""
    return values.clip(-65504, 65504).astype(np.float16)


class ForegroundSegmentation(Foreground):
    """A proxy without weights: of each cell, the share p that differs from the scene's background.

    Channel 0 (background) is 8 (1 - p), channel 15 ("thing", whatever it is) is 8 p, and the other
    19 are 0, so that a softmax gives a pure cell 0.99. Settings are those of `Foreground`; here
    `least`, the smallest area of a box, has no effect.
    """

    role: ClassVar[str] = "segmentation"

    def start(self, video: Video, fps: float) -> Tracker:
        return ForegroundMaps(self, self.background.get(video.scene), video.size, fps)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "name": "foreground-segmentation"}


class ForegroundMaps(Blobs):
    """Foreground of one video as maps of logits in place of boxes."""

    def boxes(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) of 0 and 1 to (21, 32, 32) float16."""
        share = np.asarray(
            cv2.resize(mask.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        )
        maps = np.zeros((CLASSES, GRID, GRID), np.float16)
        maps[BACKGROUND], maps[THING] = LOGIT * (1 - share), LOGIT * share
        return maps
