"""What a network answers to normal cubes, kept, and how far from that an answer is."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vigil.errors import ModelError
from vigil.methods._jigsaw_boxes import cut_sides, shape_of
from vigil.methods._layers import keys, nearest
from vigil.records import Units

NEIGHBOURS = 3
FLOOR = -6.0  # of a log-probability: 1 in 400; below that, how impossible does not count
CUT = 20.0  # how far a thing that the edge cuts is from whole ones; answers differ by 4 or so
AT_ONCE = 256  # cubes asked
FEW = 10  # cut things: what is usual among fewer cannot be told


class NormalAnswers(nn.Module):
    """Answers to at most `most` normal cubes of one level, spread evenly over the footage by a
    fixed hash.

    The cubes are taken in before training and asked again whenever the weights have changed, so
    they stay in memory until the model is saved, without them.

    shape  if not 0, a row ends in the size and form of its box, times this, so that an answer is
           held against those of its like
    apart  a row ends in which edges of the picture cut its thing, and distances of cut things and
           of whole ones are told in multiples of what is usual among normal things of their kind
    """

    def __init__(
        self, channels: dict[str, int], most: int, shape: float = 0.0, apart: bool = False
    ) -> None:
        super().__init__()
        self.most, self.shape, self.apart, self.fresh = most, shape, apart, False
        self.width = 2 * bool(shape) + 4 * apart  # of what a row ends in
        for name, dim in channels.items():
            self.register_buffer(name, torch.empty(0, dim + self.width))
            self.register_buffer(f"{name}_usual", torch.ones(2))  # distance of whole, cut things
        self.forget()

    def forget(self) -> None:
        self.key = torch.empty(0, dtype=torch.int64)
        self.cubes: list[Tensor] = []  # each by itself: none is copied to make room for another
        self.ends = torch.empty(0, self.width)
        self.video = torch.empty(0, dtype=torch.int64)

    def take(self, units: Units, cubes: Tensor) -> None:
        """Take in the cubes (N, T, C, 64, 64) uint8 of some normal units."""
        key, before = torch.cat([self.key, keys(units, 0)]), len(self.key)
        kept = key.argsort()[: self.most].sort().values
        video = torch.full((len(units),), zlib.crc32(units.video.encode()))
        self.cubes = [
            self.cubes[n] if n < before else cubes[n - before].clone() for n in kept.tolist()
        ]
        self.ends = torch.cat([self.ends, self.end(units)])[kept]
        self.video = torch.cat([self.video, video])[kept]
        self.key, self.fresh = key[kept], False

    def end(self, units: Units) -> Tensor:
        """(N, width) what the rows of units end in."""
        shapes = [self.shape * shape_of(units)] if self.shape else []
        sides = [CUT * cut_sides(units)] if self.apart else []
        return torch.cat([torch.empty(len(units), 0), *shapes, *sides], 1)

    def renew(self, ask: Callable[[Tensor], dict[str, Tensor]]) -> None:
        """Ask all cubes again, if their answers may be old. `ask`: cubes to rows by channel."""
        if self.fresh or not self.cubes:
            return
        parts = [
            ask(torch.stack(self.cubes[n : n + AT_ONCE]))
            for n in range(0, len(self.cubes), AT_ONCE)
        ]
        for name in parts[0]:
            rows = torch.cat([part[name].cpu() for part in parts])
            setattr(self, name, torch.cat([rows, self.ends], 1))
            if self.apart:
                setattr(self, f"{name}_usual", self.usual(getattr(self, name)))
        self.fresh = True

    def usual(self, rows: Tensor) -> Tensor:
        """(2,) the median distance of whole things, and of cut ones, to those of other videos."""
        far = torch.zeros(len(rows))
        for video in self.video.unique():
            own = self.video == video
            others = rows[~own] if not own.all() else rows
            far[own] = nearest(rows[own], others, NEIGHBOURS)[0].mean(1)
        cut = self.ends[:, -4:].any(1)
        kinds = [far[kind] if kind.sum() >= FEW else far for kind in (~cut, cut)]
        return torch.stack([kind.median() for kind in kinds]).clamp_min(1e-3)

    def far(self, name: str, rows: Tensor, units: Units) -> Tensor:
        """Mean distance of the rows (N, D) of units to the nearest normal ones, (N,). ModelError
        without any."""
        known: Tensor = getattr(self, name).to(rows.device)
        if not len(known):
            raise ModelError(f"no answers to normal cubes ({name}): fit with against=normal")
        far = nearest(torch.cat([rows, self.end(units).to(rows)], 1), known, NEIGHBOURS)[0].mean(1)
        usual: Tensor = getattr(self, f"{name}_usual").to(rows.device)
        return far / usual[cut_sides(units).any(1).long().to(rows.device)] if self.apart else far


def sheet(log_odds: Tensor) -> Tensor:
    """(N, rows, values) log-probabilities to (N, D): one answer sheet a cube."""
    return log_odds.clamp_min(FLOOR).flatten(1)
