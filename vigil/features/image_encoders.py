"""Image encoders: one frame to one row. CLIP's towers (open_clip) and any model of timm.

CLIP's row is the projected class token, not normalised. Frames are squashed to the square that
the tower sees, since the usual centre crop would cut off the sides of the scene.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vigil.errors import ConfigError, need_extra
from vigil.features.backbone import Backbone, Checked

MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32)  # of CLIP's training, 0..1
STD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32)


class OneFrame(nn.Module):
    """A network for images, fed with clips of one frame: (N, 3, 1, H, W) to (N, D)."""

    def __init__(self, image: nn.Module) -> None:
        super().__init__()
        self.image = image

    def forward(self, x: Tensor) -> Tensor:
        return self.image(x.squeeze(2))


def under_image(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys as `OneFrame` has them."""
    return {f"image.{key}": value for key, value in state.items()}


# -- CLIP ----------------------------------------------------------------------------------------
class Clip(Backbone):
    """What the CLIP towers share.

    Reads state dicts of the whole of CLIP, OpenAI's or open_clip's (the text tower is left out),
    or of the visual tower alone. OpenAI's own files are programs (TorchScript), not data: save
    the state dict of the loaded model with `torch.save` and give that file.
    """

    architecture: ClassVar[str]  # of open_clip; OpenAI's weights need the QuickGELU ones
    frames: ClassVar[int] = 1
    size: ClassVar[tuple[int, int]] = (224, 224)
    preprocessing: ClassVar[str] = (
        "RGB, antialiased bicubic (Pillow) to 224x224, aspect not kept, /255, "
        "mean 0.48145466 0.4578275 0.40821073, std 0.26862954 0.26130258 0.27577711"
    )
    checked: ClassVar[Checked] = "library"

    def build(self) -> nn.Module:
        """Raises ExtraError without open_clip."""
        return OneFrame(clip_tower(self.architecture))

    def frame(self, image: np.ndarray) -> np.ndarray:
        from PIL import Image

        picture = Image.fromarray(image).resize(self.size[::-1], Image.Resampling.BICUBIC)
        pixels = np.asarray(picture).astype(np.float32) / np.float32(255)  # (h, w, 3)
        return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1)[None])

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        visual = {k[7:]: v for k, v in state.items() if k.startswith("visual.")}
        return under_image(visual or state)


def clip_tower(architecture: str) -> nn.Module:
    """The visual tower of one of open_clip's transformers, without the text tower beside it."""
    try:
        from open_clip import get_model_config
        from open_clip.model import CLIPVisionCfg
        from open_clip.transformer import QuickGELU, VisionTransformer
    except ImportError as error:
        raise need_extra("open_clip_torch", "clip", "a CLIP encoder") from error
    config = get_model_config(architecture)
    vision = CLIPVisionCfg(**config["vision_cfg"])
    assert isinstance(vision.layers, int)  # else one of the ResNets
    return VisionTransformer(
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        width=vision.width,
        layers=vision.layers,
        heads=vision.width // vision.head_width,
        mlp_ratio=vision.mlp_ratio,
        output_dim=config["embed_dim"],
        act_layer=QuickGELU if config.get("quick_gelu") else nn.GELU,
    )


class ClipB32(Clip):
    """ViT-B/32, 88 M parameters."""

    name: ClassVar[str] = "clip-vit-b-32"
    architecture: ClassVar[str] = "ViT-B-32-quickgelu"
    dim = 512
    weights: ClassVar[str] = "a state dict of OpenAI's CLIP ViT-B/32"


class ClipB16(Clip):
    """ViT-B/16, 86 M parameters."""

    name: ClassVar[str] = "clip-vit-b-16"
    architecture: ClassVar[str] = "ViT-B-16-quickgelu"
    dim = 512
    weights: ClassVar[str] = "a state dict of OpenAI's CLIP ViT-B/16"


class ClipL14(Clip):
    """ViT-L/14, 304 M parameters."""

    name: ClassVar[str] = "clip-vit-l-14"
    architecture: ClassVar[str] = "ViT-L-14-quickgelu"
    dim = 768
    weights: ClassVar[str] = "a state dict of OpenAI's CLIP ViT-L/14"


class ClipL14SquashBGR(ClipL14):
    """ViT-L/14 fed as the published features of the scene-aware autoencoder were made: blue and
    red swapped, and scaled to -1..1. For use with those features only."""

    name: ClassVar[str] = "clip-vit-l-14-squash-bgr"
    preprocessing: ClassVar[str] = (
        "BGR, 8-bit bilinear (OpenCV) to 224x224, aspect not kept, /127.5 - 1"
    )
    checked: ClassVar[Checked] = "formula"

    def frame(self, image: np.ndarray) -> np.ndarray:
        import cv2

        pixels = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
        scaled = pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)  # (h, w, 3)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


# -- timm ----------------------------------------------------------------------------------------
class Timm(Backbone):
    """A model of timm without its classifier; frames as timm's own evaluation prepares them,
    which for most models cuts the centre square out of the frame."""

    model: ClassVar[str]  # timm's name for it, with the tag of the weights if one was given
    config: ClassVar[dict[str, Any]]  # timm's data configuration: input_size, mean, ...
    head: ClassVar[frozenset[str]]  # keys of the classifier, left out
    frames: ClassVar[int] = 1
    checked: ClassVar[Checked] = "library"

    def build(self) -> nn.Module:
        return OneFrame(headless(self.model))

    @cached_property
    def transform(self) -> Callable[[Any], Tensor]:
        from timm.data import create_transform

        return create_transform(**self.config, is_training=False)

    def frame(self, image: np.ndarray) -> np.ndarray:
        from PIL import Image

        return self.transform(Image.fromarray(image)).numpy()[None]

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return under_image({k: v for k, v in state.items() if k not in self.head})


def timm_backbone(name: str) -> type[Backbone]:
    """The backbone called "timm:<model>" or "timm:<model>.<tag>", a tag naming weights and with
    them their preprocessing; without a tag, timm's default. Nothing is downloaded.

    Raises ConfigError, with near names, for what timm does not know; ExtraError without timm.
    """
    model = name.removeprefix("timm:")
    check_timm(model)
    import timm

    with torch.device("meta"):  # facts alone, no memory and no time
        net = headless(model)
        whole = timm.create_model(model, pretrained=False)
    config = timm.data.resolve_data_config({}, pretrained_cfg=net.pretrained_cfg)
    mean, std = (" ".join(f"{c:g}" for c in config[k]) for k in ("mean", "std"))
    facts = {
        "__doc__": f"timm's {model}.",
        "name": name,
        "model": model,
        "config": config,
        "head": frozenset(whole.state_dict()) - frozenset(net.state_dict()),
        "size": config["input_size"][1:],
        "dim": net.head_hidden_size,  # of what leaves the net; num_features may lie before it
        "weights": f"the weights of timm's {model}, in timm's own keys",
        "preprocessing": (
            f"timm's evaluation: RGB, {config['interpolation']}, {config['crop_mode']} crop "
            f"{config['crop_pct']:g} to {config['input_size'][1]}x{config['input_size'][2]}, "
            f"/255, mean {mean}, std {std}"
        ),
    }
    return type("Timm", (Timm,), facts)


def check_timm(model: str) -> None:
    """Refuse a model that timm does not have, or a tag that it has not for that model."""
    try:
        import timm
    except ImportError as error:
        raise need_extra("timm", "clip", f"the backbone timm:{model}") from error
    architecture, _, tag = model.partition(".")
    tagged = timm.list_models(f"{architecture}.*", pretrained=True) if tag else []
    if timm.is_model(architecture) and (not tag or model in tagged):
        return
    known = tagged or timm.list_models()
    close = difflib.get_close_matches(model if tagged else architecture, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join('timm:' + c for c in close)}?" if close else ""
    raise ConfigError(
        f"timm {timm.__version__} has no model {model!r} (timm.list_models() lists all){hint}"
    )


def headless(model: str) -> Any:
    """timm's model without weights and classifier: (N, 3, H, W) to (N, D)."""
    import timm

    return timm.create_model(model, pretrained=False, num_classes=0)
