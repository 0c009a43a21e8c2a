"""What a network answers to normal cubes, kept, and how far from that an answer is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vigil.errors import ModelError
from vigil.methods._jigsaw_boxes import shape_of
from vigil.methods._layers import keys, nearest
from vigil.records import Units

NEIGHBOURS = 3
FLOOR = -6.0  # of a log-probability: 1 in 400; below that, how impossible does not count


class NormalAnswers(nn.Module):
    """Answers to at most `most` normal cubes of one level, spread evenly over the footage by a
    fixed hash.

    The cubes are taken in before training and asked again whenever the weights have changed, so
    they stay in memory until the model is saved, without them. shape: if not 0, a row ends in the
    size and form of its box, times this, so that an answer is held against those of its like.
    """

    def __init__(self, channels: dict[str, int], most: int, shape: float = 0.0) -> None:
        super().__init__()
        self.most, self.shape, self.fresh = most, shape, False
        for name, dim in channels.items():
            self.register_buffer(name, torch.empty(0, dim + 2 * bool(shape)))
        self.forget()

    def forget(self) -> None:
        self.key, self.cubes = torch.empty(0, dtype=torch.int64), None  # type: Tensor, Tensor | None
        self.shapes = torch.empty(0, 2 * bool(self.shape))

    def shaped(self, units: Units) -> Tensor:
        """(N, 2) what rows end in, or (N, 0)."""
        return self.shape * shape_of(units) if self.shape else torch.empty(len(units), 0)

    def take(self, units: Units, cubes: Tensor) -> None:
        """Take in the cubes (N, T, C, 64, 64) uint8 of some normal units."""
        key = torch.cat([self.key, keys(units, 0)])
        cubes = cubes if self.cubes is None else torch.cat([self.cubes, cubes])
        kept = key.argsort()[: self.most].sort().values
        shapes = torch.cat([self.shapes, self.shaped(units)])
        self.key, self.cubes, self.shapes = key[kept], cubes[kept], shapes[kept]
        self.fresh = False

    def renew(self, ask: Callable[[Tensor], dict[str, Tensor]]) -> None:
        """Ask all cubes again, if their answers may be old. `ask`: cubes to rows by channel."""
        if self.fresh or self.cubes is None:
            return
        for name, rows in ask(self.cubes).items():
            setattr(self, name, torch.cat([rows.cpu(), self.shapes], 1))
        self.fresh = True

    def far(self, name: str, rows: Tensor, units: Units) -> Tensor:
        """Mean distance of the rows (N, D) of units to the nearest normal ones, (N,). ModelError
        without any."""
        known: Tensor = getattr(self, name).to(rows.device)
        if not len(known):
            raise ModelError(f"no answers to normal cubes ({name}): fit with against=normal")
        rows = torch.cat([rows, self.shaped(units).to(rows)], 1)
        return nearest(rows, known, NEIGHBOURS)[0].mean(1)


def sheet(log_odds: Tensor) -> Tensor:
    """(N, rows, values) log-probabilities to (N, D): one answer sheet a cube."""
    return log_odds.clamp_min(FLOOR).flatten(1)
