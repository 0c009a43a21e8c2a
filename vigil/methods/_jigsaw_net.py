"""The networks of `jigsaw`: what a shuffled cube was, as logits of two puzzles.

A cube is (N, C, T, 64, 64) float in 0..1, a clip K cubes in a row, (N, C, K T, 64, 64). Every
network has `cube(x)` -> (time (N, T, T), place (N, 9, 9)); those with four heads also `clip(x)` ->
(time (N, K, K), place (N, 9, 9)). Rows and values of the matrices: `_jigsaw_puzzle`. One made for
`pairs` answers for each of `pairs_of` by itself: (N, 2 P, T) or (N, 2 P, K) in place of the first.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vigil.errors import InputError
from vigil.methods._jigsaw_layers import Halves, conv3, packed

SIDE = 64  # pixels of a cube along both sides
TILES = 9  # of a cube, three along each side
SLOPE = 0.1  # of `Lean`'s heads: without, one training in three left all their units below zero
LEAST = 1e-6  # mean square, so that noise alone is not made as large as a thing that moves
Logits = tuple[Tensor, Tensor]  # time, place
Puzzle = Literal["both", "time", "place"]


class PuzzleNet(nn.Module):
    """What the networks have in common: their sizes, checked."""

    levels: tuple[str, ...] = ("cube", "clip")
    pairs = False

    def __init__(self, colours: int, frames: int, clips: int) -> None:
        super().__init__()
        self.colours, self.frames, self.clips = colours, frames, clips

    def length(self, level: str) -> int:
        """Frames that a level looks at."""
        return self.frames * (self.clips if level == "clip" else 1)

    def check(self, x: Tensor, level: str) -> None:
        """`InputError` unless `x` has the shape that the network was made for."""
        wanted = (self.colours, self.length(level), SIDE, SIDE)
        if tuple(x.shape[1:]) != wanted:
            raise InputError(f"{level}: found shape {tuple(x.shape)}, expected (N, *{wanted})")

    def cube(self, x: Tensor) -> Logits:
        raise NotImplementedError

    def clip(self, x: Tensor) -> Logits:
        raise NotImplementedError

    def times(self, x: Tensor, level: str, pairs: bool = False) -> Tensor:
        """The answers of the time puzzle alone, of the moments in `x`, or of all their pairs."""
        found: Logits = getattr(self, level)(x)
        return found[0]

    def places(self, x: Tensor, level: str) -> Tensor:
        """The answers of the place puzzle alone, (N, 9, 9)."""
        found: Logits = getattr(self, level)(x)
        return found[1]


def pairs_of(moments: int) -> list[tuple[int, int]]:
    """The pairs of moments that are asked for, half the moments apart.

    >>> pairs_of(7)
    [(0, 3), (1, 4), (2, 5), (3, 6)]
    """
    apart = moments // 2
    return [(first, first + apart) for first in range(moments - apart)]


class Level(nn.Module):
    """One level of a network as a module of its own, for engines and exports: both puzzles, or the
    one that is played."""

    def __init__(self, net: PuzzleNet, level: str, puzzle: Puzzle = "both") -> None:
        super().__init__()
        self.net, self.level, self.puzzle = net, level, puzzle

    def forward(self, x: Tensor) -> Logits | Tensor:
        self.net.check(x, self.level)
        if self.puzzle == "time":
            return self.net.times(x, self.level, self.net.pairs)
        if self.puzzle == "place":
            return self.net.places(x, self.level)
        found: Logits = getattr(self.net, self.level)(x)
        return found


def head(
    wide: int, hidden: int, out: int, dropout: float | None = None, slope: float = 0.0
) -> nn.Sequential:
    """Two linear layers; `slope` is what is left of the hidden ones below zero."""
    drop = [] if dropout is None else [nn.Dropout(dropout)]
    bend = nn.LeakyReLU(slope) if slope else nn.ReLU()
    return nn.Sequential(nn.Linear(wide, hidden), bend, *drop, nn.Linear(hidden, out))


class WideBranch(PuzzleNet):
    """The network of Wang et al. 2022, cubes alone; tensors are named as in its checkpoints.

    1,570,530 parameters for 7 frames in colour, 2.45 G multiplications a cube.
    """

    levels = ("cube",)

    def __init__(self, colours: int, frames: int, clips: int = 1) -> None:
        super().__init__(colours, frames, clips)
        self.model = nn.Sequential(
            *conv3(colours, 32), *conv3(32, 32), Halves(),
            *conv3(32, 64), *conv3(64, 64), Halves(),
            *conv3(64, 64), *conv3(64, 64), nn.MaxPool3d((frames, 2, 2), stride=(1, 2, 2)),
        )  # fmt: skip
        self.conv2d = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.InstanceNorm2d(64), nn.ReLU(), nn.Dropout2d(0.3)
        )
        self.pool = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())
        self.classifier_1 = head(1024, 512, frames * frames)
        self.classifier_2 = head(1024, 512, TILES * TILES)

    def trunk(self, x: Tensor) -> Tensor:
        """(N, C, T, 64, 64) to (N, 64, 8, 8): the largest over time."""
        found: Tensor = self.model(packed(x))[:, :, 0]
        return found

    def cube(self, x: Tensor) -> Logits:
        seen = self.pool(self.conv2d(self.trunk(x)))  # (N, 1024)
        t = self.frames
        return self.classifier_1(seen).view(-1, t, t), self.classifier_2(seen).view(-1, 9, 9)


class FourHead(PuzzleNet):
    """The four-head network of the clip-level extension; tensors named as in its checkpoints.

    48,851,404 parameters for 5 cubes of 7 grey frames, 36.7 M of them in one layer; 5.6 G
    multiplications a cube, 27.9 G a clip.
    """

    def __init__(self, colours: int, frames: int, clips: int) -> None:
        super().__init__(colours, frames, clips)
        long = (5, 3, 3)
        self.backbone = nn.Sequential(
            *conv3(colours, 32), *conv3(32, 32), Halves(),
            *conv3(32, 64, long), *conv3(64, 64, long), Halves(),
            *conv3(64, 128), *conv3(128, 128),
        )  # fmt: skip

        def branch(kernel: tuple[int, int, int], moments: int) -> nn.Sequential:
            pool = nn.AdaptiveMaxPool3d((moments, 4, 4))
            return nn.Sequential(*conv3(128, 128, kernel, bias=True), pool, nn.Flatten())

        t, k = frames, clips
        self.frame_temporal_processor = branch(long, t)
        self.clip_temporal_processor = branch(long, t * k)
        self.spatial_processor = branch((1, 3, 3), 1)
        self.frame_temp_classifier = head(128 * 16 * t, 512, t * t, 0.5)
        self.frame_spat_classifier = head(128 * 16, 512, TILES * TILES, 0.5)
        self.clip_temp_classifier = head(128 * 16 * t * k, 512, k * k, 0.5)
        self.clip_spat_classifier = head(128 * 16, 512, TILES * TILES, 0.5)

    def cube(self, x: Tensor) -> Logits:
        seen = self.backbone(packed(x))  # (N, 128, T, 16, 16)
        time = self.frame_temp_classifier(self.frame_temporal_processor(seen))
        place = self.frame_spat_classifier(self.spatial_processor(seen))
        return time.view(-1, self.frames, self.frames), place.view(-1, 9, 9)

    def clip(self, x: Tensor) -> Logits:
        seen = self.backbone(packed(x))  # (N, 128, K T, 16, 16)
        time = self.clip_temp_classifier(self.clip_temporal_processor(seen))
        place = self.clip_spat_classifier(self.spatial_processor(seen))
        return time.view(-1, self.clips, self.clips), place.view(-1, 9, 9)


def conv2(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """As `conv3` for pictures. No bias before the norm, so a cube's contrast does not count."""
    padding = (kernel - 1) // 2 if stride == 1 else (kernel - stride + 1) // 2
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, padding, bias=False),
        nn.GroupNorm(8, out),
        nn.ReLU(inplace=True),
    )


class Among(nn.Module):
    """A convolution of each moment beside one of the mean of all: where it differs from the rest.

    Shuffled moments give shuffled outputs (Zaheer et al., Deep Sets, 2017), so what was learned of
    one order holds for all of them. With `lift`, how far moments are from their mean is brought to
    one size first: what moves in a whole picture is little, and would drown in what does not.
    """

    def __init__(self, channels: int, out: int, stride: int = 1, lift: bool = False) -> None:
        super().__init__()
        self.lift = lift
        self.own = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.rest = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(8, out)

    def forward(self, x: Tensor, moments: int) -> Tensor:
        """(N moments, C, h, w) to (N moments, C', h', w')."""
        if self.lift:
            apart, mean = lifted(x, moments)
            both = self.own(apart).unflatten(0, (-1, moments)) + self.rest(mean)[:, None]
        elif moments == 2:
            both = self.of_two(x[::2], x[1::2])
        else:
            own, rest = self.own(x), self.rest(mean_of(x, moments))
            both = own.unflatten(0, (-1, moments)) + rest[:, None]
        found: Tensor = torch.relu_(self.norm(both.flatten(0, 1)))
        return found

    def of_two(self, one: Tensor, other: Tensor) -> Tensor:
        """(N, C, h, w) each to (N, 2, C', h', w'), by two convolutions in place of three: of what
        they share, and of how far each is from it."""
        weight, stride = self.own.weight, self.own.stride
        both = (weight + self.rest.weight) / 2
        shared = nn.functional.conv2d(one + other, both, None, stride, padding=1)
        apart = nn.functional.conv2d(one - other, weight / 2, None, stride, padding=1)
        return torch.stack([shared + apart, shared - apart], 1)


def lifted(x: Tensor, moments: int) -> tuple[Tensor, Tensor]:
    """(N moments, C, h, w): how far each is from the mean of all, of mean square 1 a unit, in the
    same shape; and the mean (N, C, h, w). What stands still stays near 0."""
    each = x.unflatten(0, (-1, moments))
    mean = each.mean(1)
    apart = each - mean[:, None]
    size = (apart.square().mean((1, 2, 3, 4), keepdim=True) + LEAST).sqrt()
    return (apart / size).flatten(0, 1), mean


class Tiles(nn.Module):
    """From a map of 15 x 15 the place where each tile lies now, by one network for all nine."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(channels, hidden, 5, 5, bias=False), nn.ReLU())
        self.name = head(2 * hidden + TILES, 2 * hidden, TILES, slope=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 15, 15) to (N, 9, 9): row j, which place holds tile j."""
        token = self.look(x).flatten(2).transpose(1, 2)  # (N, place, hidden)
        all_of_it = token.mean(1, keepdim=True).expand_as(token)
        place = torch.eye(TILES, dtype=token.dtype, device=x.device).expand(x.shape[0], -1, -1)
        named: Tensor = self.name(torch.cat([token, all_of_it, place], 2))  # (N, place, tile)
        return named.transpose(1, 2)


class Lean(PuzzleNet):
    """Our own: every moment, and every tile, is looked at by the same small network and compared
    with the mean of all, in 2-D convolutions.

    With `pairs`, two moments are shown at a time: how far apart they are can then not be told by
    what lies between, only by knowing how fast such things move. Tensors lie as torch's own order
    has it: with channels last its group normalisation takes up to ten times as long in bfloat16.
    `whole` is for whole pictures, of which little moves.
    1.2 M parameters with the heads for clips; 75 M multiplications a cube.
    """

    def __init__(
        self,
        colours: int,
        frames: int,
        clips: int,
        width: int = 64,
        pairs: bool = False,
        whole: bool = False,
    ) -> None:
        super().__init__(colours, frames, clips)
        self.pairs = pairs
        self.eye = conv2(colours, width // 2, 8, 4)  # (60, 60) to (15, 15), 5 x 5 a tile
        self.still = nn.Sequential(conv2(width // 2, width), conv2(width, width))
        self.moving = nn.ModuleList(
            [Among(width // 2, width, 2, whole), Among(width, width), Among(width, width)]
        )  # (8, 8)
        self.time = head(16 * width, 4 * width, frames, slope=SLOPE)
        self.place = Tiles(width, 2 * width)
        if clips > 1:
            self.slow = Among(width, width, 1, whole)
            self.clip_time = head(16 * width, 4 * width, clips, slope=SLOPE)
            self.clip_place = Tiles(width, 2 * width)

    def see(self, x: Tensor) -> Tensor:
        """(N, C, t, 64, 64) to (N t, width / 2, 15, 15): each frame by itself, tiles alone."""
        inside = x[..., 2:-2, 2:-2].transpose(1, 2).flatten(0, 1)
        found: Tensor = self.eye(inside)
        return found

    def move(self, seen: Tensor, moments: int) -> Tensor:
        """(N t, width / 2, 15, 15) to (N t, width, 8, 8): frames among those of their cube."""
        for layer in self.moving:
            seen = layer(seen, moments)
        return seen

    def when(self, seen: Tensor, count: int, level: str, pairs: bool) -> Tensor:
        """Answers of the time puzzle from `count` frames of each unit, all at once or in pairs:
        (N, count, frames) or (N, 2 P, frames); of a clip with cubes for frames."""
        if level == "clip":
            seen = mean_of(self.move(seen, self.frames), self.frames)  # (N K, width, 8, 8)
            count = count // self.frames
        together, rows = (2, 2 * len(pairs_of(count))) if pairs else (count, count)
        seen = two(seen, count) if pairs else seen
        if level == "clip":
            found: Tensor = self.clip_time(pooled(self.slow(seen, together)))
        else:
            found = self.time(pooled(self.move(seen, together)))
        return found.unflatten(0, (-1, rows))

    def where(self, seen: Tensor, count: int, level: str) -> Tensor:
        """Answers of the place puzzle from `count` frames of each unit."""
        tiles = self.place if level == "cube" else self.clip_place
        found: Tensor = tiles(self.still(mean_of(seen, count)))
        return found

    def times(self, x: Tensor, level: str, pairs: bool = False) -> Tensor:
        return self.when(self.see(x), x.shape[2], level, pairs)

    def places(self, x: Tensor, level: str) -> Tensor:
        return self.where(self.see(x), x.shape[2], level)

    def both(self, x: Tensor, level: str) -> Logits:
        seen, count = self.see(x), self.length(level)
        return self.when(seen, count, level, self.pairs), self.where(seen, count, level)

    def cube(self, x: Tensor) -> Logits:
        return self.both(x, "cube")

    def clip(self, x: Tensor) -> Logits:
        return self.both(x, "clip")


def two(seen: Tensor, count: int) -> Tensor:
    """(N count, ...) to (N 2 P, ...): the moments pair by pair, as `pairs_of` has them."""
    each, apart = seen.unflatten(0, (-1, count)), count // 2
    return torch.stack([each[:, :-apart], each[:, apart:]], 2).flatten(0, 2)


def mean_of(x: Tensor, moments: int) -> Tensor:
    """(N moments, C, h, w) to (N, C, h, w)."""
    return x.unflatten(0, (-1, moments)).mean(1)


def pooled(x: Tensor) -> Tensor:
    """(N, C, 8, 8) to (N, 16 C). Torch finds the largest 15 times as fast with channels last."""
    return nn.functional.max_pool2d(x.contiguous(memory_format=torch.channels_last), 2).flatten(1)
