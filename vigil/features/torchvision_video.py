"""torchvision's video networks, without their heads, for the weights trained on Kinetics-400.

The features are what the classifier would have seen. Frames are prepared as by the preset that
comes with each weight (`torchvision.models.video.*_Weights.DEFAULT.transforms()`), to the bit:
bilinear resize without antialiasing, rounded back to whole grey levels, centre crop, mean, std.
Source: torchvision's documentation of each weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vigil.features.backbone import Backbone, Checked, cut_crops

KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))  # mean, std of 0..1
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SLOWFAST = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


class TorchvisionVideo(Backbone):
    """What all of them share.

    builder  the function of `torchvision.models.video`
    head     the part that is left out; its entries in a published file are dropped
    resize   (rows, columns), or the shorter side where the aspect is kept
    colours  mean and standard deviation of the channels, in 0..1
    """

    builder: ClassVar[str]
    head: ClassVar[str]
    resize: ClassVar[tuple[int, int] | int]
    colours: ClassVar[tuple[tuple[float, float, float], tuple[float, float, float]]]
    crop_counts: ClassVar[tuple[int, ...]] = (1, 5, 10)
    checked: ClassVar[Checked] = "library"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if hasattr(cls, "resize"):
            cls.preprocessing = words(cls.resize, cls.size, cls.colours)

    def build(self) -> nn.Module:
        from torchvision.models import video

        net: nn.Module = getattr(video, self.builder)(weights=None)
        setattr(net, self.head, nn.Identity())
        return net

    def frame(self, image: np.ndarray) -> np.ndarray:
        resized = whole_levels(image, target(image, self.resize))  # (h', w', 3) in 0..255
        cut = cut_crops(resized, self.size, self.crops) / np.float32(255)
        mean, std = (np.array(c, np.float32) for c in self.colours)
        return np.ascontiguousarray(((cut - mean) / std).transpose(0, 3, 1, 2))

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: v for k, v in state.items() if not k.startswith(self.head + ".")}


def words(
    resize: tuple[int, int] | int, size: tuple[int, int], colours: tuple[tuple[float, ...], ...]
) -> str:
    """The preprocessing in words, for headers."""
    to = f"shorter side {resize}" if isinstance(resize, int) else f"{resize[0]}x{resize[1]}"
    mean, std = (" ".join(f"{c:g}" for c in part) for part in colours)
    return (
        f"RGB, bilinear to {to} without antialiasing, whole grey levels, "
        f"crop {size[0]}x{size[1]}, /255, mean {mean}, std {std}"
    )


def target(image: np.ndarray, resize: tuple[int, int] | int) -> tuple[int, int]:
    """Rows and columns of the resized frame; the longer side is rounded down."""
    if not isinstance(resize, int):
        return resize
    height, width = image.shape[:2]
    if height <= width:
        return resize, int(resize * width / height)
    return int(resize * height / width), resize


def whole_levels(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 resized to `size` = (h, w): (h, w, 3) float32, whole numbers 0..255.

    torch's own kernel, not `squash`: theirs differ by 1e-4 of a level, and where a value lies
    half-way between two levels that decides which it becomes.
    """
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    if image.shape[:2] != size:
        pixels = interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=False)
    return pixels.round_()[0].permute(1, 2, 0).numpy()


class ResNet18(TorchvisionVideo):
    """The three networks of Tran et al. 2018, trained and measured on 16 frames, 15 a second."""

    size: ClassVar[tuple[int, int]] = (112, 112)
    dim = 512
    head: ClassVar[str] = "fc"
    resize: ClassVar[tuple[int, int] | int] = (128, 171)
    colours = KINETICS


class R3D18(ResNet18):
    """3D convolutions all through."""

    name: ClassVar[str] = "r3d-18"
    builder: ClassVar[str] = "r3d_18"
    weights: ClassVar[str] = "torchvision's r3d_18-b3b3357e.pth (Kinetics-400)"


class MC318(ResNet18):
    """3D convolutions in the first stage, 2D ones above."""

    name: ClassVar[str] = "mc3-18"
    builder: ClassVar[str] = "mc3_18"
    weights: ClassVar[str] = "torchvision's mc3_18-a90a0ba3.pth (Kinetics-400)"


class R2Plus1D18(ResNet18):
    """Each 3D convolution split into one over space and one over time."""

    name: ClassVar[str] = "r2plus1d-18"
    builder: ClassVar[str] = "r2plus1d_18"
    weights: ClassVar[str] = "torchvision's r2plus1d_18-91a641e6.pth (Kinetics-400)"


class S3D(TorchvisionVideo):
    """Separable Inception (Xie et al. 2018).

    It was measured on 128 frames and needs at least 14; we give it 16, as all rows of the weakly
    supervised methods stand for 16 frames, and as few as are sensible come soonest from a camera.
    """

    name: ClassVar[str] = "s3d"
    size: ClassVar[tuple[int, int]] = (224, 224)
    dim = 1024
    builder: ClassVar[str] = "s3d"
    head: ClassVar[str] = "classifier"
    resize: ClassVar[tuple[int, int] | int] = (256, 256)
    colours = KINETICS
    weights: ClassVar[str] = "torchvision's s3d-d76dad2f.pth (Kinetics-400)"

    def build(self) -> nn.Module:
        # Its pool of 2x7x7 meets maps of 2x7x7, and the forward pass ends in a mean over all that
        # is left: without the pool the numbers are the same, and bf16, which it lacks, works.
        net = super().build()
        net.avgpool = nn.Identity()
        return net


class Swin3D(TorchvisionVideo):
    """Video Swin Transformers (Liu et al. 2022), trained and measured on 32 frames, 15 a second."""

    frames: ClassVar[int] = 32
    size: ClassVar[tuple[int, int]] = (224, 224)
    dim = 768
    head: ClassVar[str] = "head"
    resize: ClassVar[tuple[int, int] | int] = 256
    colours = IMAGENET


class Swin3DT(Swin3D):
    """Tiny: 28 M parameters."""

    name: ClassVar[str] = "swin3d-t"
    builder: ClassVar[str] = "swin3d_t"
    weights: ClassVar[str] = "torchvision's swin3d_t-7615ae03.pth (Kinetics-400)"


class Swin3DS(Swin3D):
    """Small: 50 M parameters."""

    name: ClassVar[str] = "swin3d-s"
    builder: ClassVar[str] = "swin3d_s"
    weights: ClassVar[str] = "torchvision's swin3d_s-da41c237.pth (Kinetics-400)"


class Swin3DB(Swin3D):
    """Base: 88 M parameters; either of its two published weights fits."""

    name: ClassVar[str] = "swin3d-b"
    dim = 1024
    builder: ClassVar[str] = "swin3d_b"
    weights: ClassVar[str] = (
        "torchvision's swin3d_b_1k-24f7c7c6.pth or swin3d_b_22k-7c6ae6fa.pth (Kinetics-400)"
    )


class MViTV2S(TorchvisionVideo):
    """Multiscale ViT v2, small (Li et al. 2022): exactly 16 frames, measured at 7.5 a second."""

    name: ClassVar[str] = "mvit-v2-s"
    size: ClassVar[tuple[int, int]] = (224, 224)
    dim = 768
    builder: ClassVar[str] = "mvit_v2_s"
    head: ClassVar[str] = "head"
    resize: ClassVar[tuple[int, int] | int] = 256
    colours = SLOWFAST
    weights: ClassVar[str] = "torchvision's mvit_v2_s-ae3be167.pth (Kinetics-400)"
