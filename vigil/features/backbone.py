"""What a backbone is: a frozen network that turns a clip, or an image, into one row of features.

One file a family holds its network, its preprocessing and the layout of its published weights.
All preprocessing happens frame by frame, so that a clip is a stack of finished frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vigil.errors import ConfigError, ModelError

Checked = Literal["authors' code", "library", "key layout", "formula"]


class Backbone:
    """One backbone. A subclass sets the facts below and gives `build`, `frame`, `own_keys`.

    name           as in `vigil extract --backbone NAME`
    frames         of one clip, T; 1 for an image encoder
    size           rows and columns that the network sees
    dim            of one row of features, D
    crop_counts    how many crops of a frame it knows how to make
    weights        the published file it reads, in words; "" if it needs none
    preprocessing  in words; features made under other words are other features
    checked        against what its numbers were checked
    """

    name: ClassVar[str]
    frames: ClassVar[int] = 16
    size: ClassVar[tuple[int, int]]
    dim: int
    crop_counts: ClassVar[tuple[int, ...]] = (1,)
    weights: ClassVar[str] = ""
    preprocessing: ClassVar[str]
    checked: ClassVar[Checked]

    def __init__(self, crops: int = 1) -> None:
        if crops not in self.crop_counts:
            known = ", ".join(map(str, self.crop_counts))
            raise ConfigError(f"{self.name}: {crops} crops; it can make {known}")
        self.crops = crops

    def build(self) -> nn.Module:
        """The network, (N, 3, T, H, W) float32 as `frame` made them to (N, D); T = 1 axis kept."""
        raise NotImplementedError

    def frame(self, image: np.ndarray) -> np.ndarray:
        """One RGB frame (H, W, 3) uint8 of any size to what the network sees: (crops, 3, h, w)
        float32, resized, cropped, and normalised or left as grey levels for the network."""
        raise NotImplementedError

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published state dict in the network's own keys: heads dropped, names mapped."""
        return dict(state)

    def network(self, state: Mapping[str, Tensor] | None) -> nn.Module:
        """The network with the published weights `state`, in eval mode, without gradients.

        Raises ModelError, naming keys and shapes, if they do not fit.
        """
        net = self.build()
        if state is not None:
            load_strictly(net, self.own_keys(state), self.name, self.weights)
        elif self.weights:
            raise ModelError(f"{self.name}: no weights given; it reads {self.weights} (--weights)")
        return net.eval().requires_grad_(False)


def load_strictly(
    net: nn.Module, state: Mapping[str, Tensor], name: str, weights: str = ""
) -> None:
    """Load `state`; every key must be there with its shape, but the counters of batch norm."""
    expected = net.state_dict()
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in expected and not k.endswith("num_batches_tracked")]
    shapes = [
        f"{k} {tuple(state[k].shape)}, expected {tuple(expected[k].shape)}"
        for k in expected
        if k in state and state[k].shape != expected[k].shape
    ]
    found = [
        f"{len(what)} {word} ({', '.join(what[:4])}{', ...' if len(what) > 4 else ''})"
        for word, what in (("missing", missing), ("unknown", extra), ("of another shape", shapes))
        if what
    ]
    if found:
        wanted = f"; it reads {weights}" if weights else ""
        raise ModelError(f"weights do not fit {name}: {'; '.join(found)}{wanted}")
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise ModelError(f"weights of {name}: not finite in {', '.join(bad[:4])}; damaged file?")
    counters = {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    net.load_state_dict({**counters, **{k: v for k, v in state.items() if k in expected}})


# -- frames to what a network sees ---------------------------------------------------------------
def squash(
    image: np.ndarray, size: tuple[int, int], crop: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """(H, W, 3) uint8 resized to `size` = (h, w), aspect not kept, as float32 (h, w, 3) in 0..255.

    Bilinear between pixel centres, without antialiasing. `crop` = (top, left, rows, columns) of
    the result: only those pixels are ever computed.

    >>> squash(np.arange(4, dtype=np.uint8).reshape(1, 4, 1).repeat(3, 2), (1, 2))[0, :, 0]
    array([0.5, 2.5], dtype=float32)
    """
    top, left, rows, columns = crop or (0, 0, *size)
    y0, y1, fy = taps(image.shape[0], size[0], top, rows)
    x0, x1, fx = taps(image.shape[1], size[1], left, columns)
    fx, fy = fx[None, :, None], fy[:, None, None]
    upper, lower = (
        # never more of the frame than is needed; `take` is cheaper than an index here
        blend(line.take(x0, 1).astype(np.float32), line.take(x1, 1).astype(np.float32), fx)
        for line in (image[y0], image[y1])  # (rows, W, 3)
    )
    return blend(upper, lower, fy)  # (rows, columns, 3)


def blend(one: np.ndarray, two: np.ndarray, share: np.ndarray) -> np.ndarray:
    """one + share * (two - one), in the memory of `one`; `two` is spoilt."""
    two -= one
    two *= share
    one += two
    return one


def taps(old: int, new: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both neighbours, and the share of the second, of `count` of `new` samples along one axis."""
    at = (np.arange(first, first + count, dtype=np.float32) + np.float32(0.5)) * np.float32(
        old / new
    ) - np.float32(0.5)
    at = at.clip(0, old - 1)
    low = at.astype(np.int64)
    return low, np.minimum(low + 1, old - 1), at - low.astype(np.float32)


def short_side(image: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) uint8 with its shorter side scaled to `side`: antialiased bilinear, as Pillow.

    The longer side is floor(side * long / short).
    """
    from PIL import Image

    height, width = image.shape[:2]
    if min(height, width) == side:
        return image
    long = side * max(height, width) // min(height, width)
    wide, high = (long, side) if height < width else (side, long)
    return np.asarray(Image.fromarray(image).resize((wide, high), Image.Resampling.BILINEAR))


def cut_crops(image: np.ndarray, size: tuple[int, int], crops: int) -> np.ndarray:
    """1, 5 or 10 crops of `size` out of (H, W, 3): (crops, h, w, 3).

    1 is the centre; 5 are top left, top right, bottom left, bottom right, centre; 10 are those
    five and the same five of the mirrored frame.
    """
    (height, width), (h, w) = image.shape[:2], size
    top, left = round((height - h) / 2), round((width - w) / 2)
    corners = [(0, 0), (0, width - w), (height - h, 0), (height - h, width - w), (top, left)]
    if crops == 1:
        corners = corners[-1:]
    images = [image, image[:, ::-1]] if crops == 10 else [image]
    return np.stack([i[y : y + h, x : x + w] for i in images for y, x in corners])
