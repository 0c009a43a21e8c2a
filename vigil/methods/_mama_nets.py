"""Networks of `mama` and `destroyer`: U-Nets and a judge of patches, with the authors' shapes.

At their width of 64: generator and two encoders 36 076 611 weights, judge 6 831 489, Destroyer
7 701 827.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROLES = {"motion": "flow", "label": "segmentation"}  # what each kind of feature is learned from
QUIET = 1e-5  # squared error below which little is unexpected; a level of 255 is 1.5e-5
DOUBT = 4.5  # at first above the logarithm of `QUIET`: a squared error of 0.001


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Twice: convolution 3x3, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def unit(features: Tensor) -> Tensor:
    """(N, C, h, w) with channel vectors of length one, float32."""
    return F.normalize(features.float(), dim=1)


class Encoder(nn.Module):
    """(N, inputs, H, W) to four levels: `width` channels at full size, twice as many at each half
    of it."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        channels = (inputs, width, 2 * width, 4 * width, 8 * width)
        self.levels = nn.ModuleList(double(a, b) for a, b in pairwise(channels))

    def forward(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for level in self.levels:
            x = level(F.max_pool2d(found[-1], 2) if found else x)
            found.append(x)
        return found


class Deepest(Encoder):
    """The last level alone as unit features (N, 8 width, H/8, W/8): a target for `F2LM`."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return unit(super().forward(x)[-1])


class UNet(nn.Module):
    """(N, inputs, H, W) to a picture (N, 3, H, W) in -1..1, of any H, W >= 8.

    fold     pixels a side that become channels: the levels work at H / fold, W / fold (multiples)
    change   the picture is the last three channels of the input and what is added to them
    doubt    {"frame": the picture, "doubt": (N, 1, H, W)}: also the logarithm of the squared
             error that the picture is expected to have there; learns, but teaches nothing else
    """

    def __init__(
        self, inputs: int, width: int, fold: int = 1, change: bool = False, doubt: bool = False
    ) -> None:
        super().__init__()
        self.fold, self.change = fold, change
        self.encoder = Encoder(inputs * fold**2, width)
        steps = (8 * width, 4 * width, 2 * width, width)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairwise(steps))
        self.joins = nn.ModuleList(double(a, b) for a, b in pairwise(steps))
        self.head = nn.Conv2d(width, 3 * fold**2, 3, padding=1)
        self.doubt = doubter(width, fold**2) if doubt else None

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        levels = self.levels(x)
        found = self.decode(levels, levels[-1], x[:, -3:])
        return found if self.doubt else found["frame"]

    def levels(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.encoder(F.pixel_unshuffle(x, self.fold) if self.fold > 1 else x)
        return found

    def decode(self, levels: list[Tensor], deep: Tensor, last: Tensor) -> dict[str, Tensor]:
        for up, join, skip in zip(self.ups, self.joins, levels[-2::-1], strict=True):
            deep = join(torch.cat([skip, padded(up(deep), skip)], 1))
        drawn = self.unfolded(self.head(deep))
        found = {"frame": (last + drawn).clamp(-1, 1) if self.change else drawn.tanh()}
        if self.doubt:
            above = F.softplus(self.unfolded(self.doubt(deep.detach())))
            found["doubt"] = above + math.log(QUIET)  # never below: the loss would run away
        return found

    def unfolded(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, self.fold) if self.fold > 1 else x


def doubter(width: int, outputs: int) -> nn.Sequential:
    """The head that says how large an error is to be expected."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, outputs, 3, padding=1)
    )


def padded(x: Tensor, like: Tensor) -> Tensor:
    """Zeros around `x` until it has the height and width of `like`."""
    down, right = like.shape[2] - x.shape[2], like.shape[3] - x.shape[3]
    if not down and not right:
        return x
    return F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))


class F2LM(UNet):
    """A U-Net that turns what it saw in the frames into motion and label features as well, and
    predicts from all three.

    Gives {"frame": (N, 3, H, W), "seen", "motion", "label": unit features (N, 8 width, h, w)}.
    """

    def __init__(
        self, inputs: int, width: int, fold: int = 1, change: bool = False, doubt: bool = False
    ) -> None:
        super().__init__(inputs, width, fold, change, doubt)
        deep = 8 * width
        self.to_motion, self.to_label = double(deep, deep), double(deep, deep)
        self.fuse = double(3 * deep, deep)
        self.squeeze = nn.Sequential(
            nn.Linear(deep, deep // 8), nn.ReLU(), nn.Linear(deep // 8, deep), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        levels = self.levels(x)
        seen = levels[-1]
        motion, label = self.to_motion(seen), self.to_label(seen)
        fused = self.weighed(self.fuse(torch.cat([seen, motion, label], 1)))
        return {
            **self.decode(levels, fused, x[:, -3:]),
            "seen": unit(seen), "motion": unit(motion), "label": unit(label),
        }  # fmt: skip

    def weighed(self, fused: Tensor) -> Tensor:
        """Squeeze and excitation: each channel by how much its mean is worth."""
        gain: Tensor = self.squeeze(fused.mean((2, 3)))
        return fused * gain[:, :, None, None]


def judge(width: int) -> nn.Sequential:
    """(N, 3, H, W) to the odds (N, 1, h, w) that each patch is of a true frame."""
    channels = (3, width, 2 * width, 4 * width, 4 * width)
    layers: list[nn.Module] = []
    for n, (a, b) in enumerate(pairwise(channels)):
        layers += [nn.Conv2d(a, b, 4, 2 if n < 3 else 1, 2), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 4, 1, 2), nn.Sigmoid())


# -- first weights, as the authors draw them ------------------------------------------------------
def init_generator(net: nn.Module) -> None:
    """Truncated normal, 0.02; transposed convolutions and normalisations keep torch's own."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if isinstance(net, UNet) and net.change:  # at first nothing moves
        nn.init.zeros_(net.head.weight)
    if isinstance(net, UNet) and net.doubt:
        nn.init.constant_(net.doubt[-1].bias, DOUBT)  # type: ignore[arg-type]


def init_normal(net: nn.Module) -> None:
    """Normal, 0.02, around 0 for convolutions and around 1 for normalisations."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)


# -- the authors' names ---------------------------------------------------------------------------
def renamed(key: str) -> str:
    """A key of the authors' U-Nets (without _x, _y, _z) as ours.

    >>> renamed("down2.mpconv.1.conv.3.weight"), renamed("up1.conv.conv.0.weight")
    ('encoder.levels.2.3.weight', 'joins.0.0.weight')
    """
    part, _, rest = key.partition(".")
    name, digit = part.rstrip("0123456789"), part[-1]
    rest = rest.removeprefix("mpconv.1.").removeprefix("conv.").removeprefix("conv.")
    match name:
        case "inc":
            return f"encoder.levels.0.{rest}"
        case "down":
            return f"encoder.levels.{digit}.{rest}"
        case "up" if rest.startswith("up."):
            return f"ups.{int(digit) - 1}.{rest.removeprefix('up.')}"
        case "up":
            return f"joins.{int(digit) - 1}.{rest}"
        case "outc":
            return f"head.{rest}"
        case "transform_xtoy" | "transform_xtoz":
            return f"{'to_motion' if name.endswith('y') else 'to_label'}.{rest}"
        case "fusion_conv":
            return f"fuse.{rest}"
        case "se":
            return rest.replace("fc1.", "squeeze.0.").replace("fc2.", "squeeze.2.")
    return key


def part(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """The tensors under `start`, without it; all of them if there are none."""
    found = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
    return found or dict(state)


def place(key: str, config: Mapping[str, Any]) -> str:
    """Where a tensor of net_g goes; "" if to an encoder that this model does without."""
    head, _, rest = key.partition(".")
    for end, kind in (("_y", "motion"), ("_z", "label")):
        if head.endswith(end) and head.startswith(("inc", "down")):
            name = renamed(f"{head.removesuffix(end)}.{rest}").removeprefix("encoder.")
            return f"targets.{kind}.{name}" if config[ROLES[kind]] != "none" else ""
    name = renamed(f"{head.removesuffix('_x')}.{rest}")
    return f"generator.{name}"
