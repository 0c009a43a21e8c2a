"""Jigsaw puzzles in space and time: what normal footage taught to put together, and what not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vigil.methods._jigsaw_config import JigsawConfig as JigsawConfig
from vigil.methods._jigsaw_import import from_published as from_published
from vigil.methods._jigsaw_memory import NormalAnswers, sheet
from vigil.methods._jigsaw_net import (
    SIDE,
    TILES,
    FourHead,
    Lean,
    Level,
    Puzzle,
    PuzzleNet,
    WideBranch,
    pairs_of,
)
from vigil.methods._jigsaw_puzzle import as_input, draw, framed, grey
from vigil.methods._jigsaw_reason import reason
from vigil.methods.base import Method, Terms
from vigil.records import Batch, Reason, Units, Window

CHUNK = 32  # cubes scored at once: what fits a processor's cache
CHANNELS: dict[str, tuple[str, str]] = {
    "cube": ("spatial", "temporal"),
    "clip": ("clip_spatial", "clip_temporal"),
}
LEVELS = {"frame": ("cube",), "clip": ("clip",), "frame,clip": ("cube", "clip")}


class Jigsaw(Method):
    """Solves spatial and temporal jigsaw puzzles of what is normal; who fits no puzzle stands out.

    sees         cubes of T frames of each object (or of the whole picture), and with levels =
                 "frame,clip" clips of K cubes in a row; pixels alone
    learns from  normal video: each cube's tiles are shuffled, or its moments, and where each
                 belongs is to be told; a draw at each visit
    score        spatial, temporal: how far the answers to the cube as it is are from those to
                 normal cubes, or minus the log of the probability of the tile, or moment, that
                 seems most out of place; clip_spatial, clip_temporal likewise
    live         T // 2 frames late; a clip that answers for its centre K T // 2
    differs from the paper: a lean network that sees all frames of a cube at once (net = "wide"
                 is the paper's); task and permutation drawn per visit, not by the sample's number;
                 border black at all times; channels on the scale of normal footage, in logarithms,
                 before they are joined; no test label chooses anything. Of things, unless told
                 otherwise, time puzzles of two moments, and answers held against those to normal
                 cubes of boxes of like shape, not the truth
    cite         @inproceedings{wang2022jigsaw, title={Video Anomaly Detection by Solving Decoupled
                 Spatio-Temporal Jigsaw Puzzles}, author={Wang, Guodong and Wang, Yunhong and Qin,
                 Jie and Zhang, Dongming and Bao, Xiuguo and Huang, Di}, booktitle={ECCV},
                 year={2022}}
    """

    Config = JigsawConfig
    TINY = {
        "objects": "given", "levels": "frame,clip", "frames": 3, "clips": 3, "width": 16,
        "short_side": 64,
    }  # fmt: skip

    def build(self, c: JigsawConfig) -> None:
        half, length = c.frames // 2, c.frames * c.clips
        first = length - 1 - half if c.answer == "last" else length // 2
        places = {"cube": (c.frames, half), "clip": (length, first)}
        self.windows = {name: self.window(*places[name]) for name in LEVELS[c.levels]}
        played = {"place": slice(0, 1), "time": slice(1, 2)}.get(c.shuffle, slice(2))
        self.channels = {name: tuple(list(CHANNELS[name])[played]) for name in self.windows}
        self.lookahead = max(window.lookahead for window in self.windows.values())
        self.providers = {} if c.objects == "frame" else {"objects": c.objects}
        self.short_side, self.persist = c.short_side, c.persist
        self.net = self.network()
        self.known = nn.ModuleDict()
        if c.against == "normal":
            for level in self.windows:
                sizes = {  # rows, times values
                    name: len(right) * (1 + int(right.max()))
                    for name, right in self.right(level).items()
                }
                self.known[level] = NormalAnswers(sizes, c.memory, c.shape, c.apart)

    def window(self, length: int, first: int) -> Window:
        """Cubes of `length` frames that answer for `every` frames from `first` on."""
        c = self.config
        kind: Literal["frames", "objects"] = "frames" if c.objects == "frame" else "objects"
        answers, shape = (first, first + c.every), (length, SIDE, SIDE)
        return Window(kind, shape, length, c.every, anchor=first, answers=answers, crop=c.crop)

    def network(self) -> PuzzleNet:
        c = self.config
        colours, clips = 3 if c.colour else 1, 1 if c.levels == "frame" else c.clips
        if c.net == "lean":
            pairs, whole = c.pieces == "pairs", c.objects == "frame"
            return Lean(colours, c.frames, clips, c.width, pairs, whole)
        return {"wide": WideBranch, "fourhead": FourHead}[c.net](colours, c.frames, c.clips)

    def moments(self, level: str) -> int:
        """What the time puzzle of a level is made of: frames of a cube, cubes of a clip."""
        return int(self.config.clips if level == "clip" else self.config.frames)

    def right(self, level: str) -> dict[str, Tensor]:
        """The right answers to an unshuffled unit by channel, a row each: place (9,), time (M,)."""
        count, (spatial, temporal) = self.moments(level), CHANNELS[level]
        pairs = self.config.pieces == "pairs"
        order = torch.tensor(pairs_of(count)).flatten() if pairs else torch.arange(count)
        both = {spatial: torch.arange(TILES), temporal: order}
        return {name: both[name] for name in self.channels[level]}

    # -- learning ------------------------------------------------------------------------------
    def prepare(self, bags: Iterable[Units]) -> None:
        """Keep normal cubes, whose answers scores are held against."""
        if not self.known:
            return
        for level in self.known:
            self.normal(level).forget()
        for units in bags:
            self.normal(units.window).take(units, self.coloured(units.x[units.window]))

    def normal(self, level: str) -> NormalAnswers:
        """The answers to normal cubes of a level."""
        found = self.known[level]
        assert isinstance(found, NormalAnswers)
        return found

    def train(self, mode: bool = True) -> Jigsaw:
        if mode:
            self.outdate()
        return super().train(mode)

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        super().set_tensors(state)
        self.outdate()

    def outdate(self) -> None:
        """The answers in memory may be those of other weights."""
        for level in self.known:
            self.normal(level).fresh = False

    def tensors(self) -> dict[str, Tensor]:
        if not self.training:
            self.renew()
        return super().tensors()

    @torch.no_grad()
    def renew(self) -> None:
        """Answers in memory are those of the weights as they are."""
        for level in self.known:
            self.normal(level).renew(partial(self.sheets, level=level))

    def loss(self, batch: Batch) -> Terms:
        """Mean cross-entropy over the rows of each puzzle of each level; chance is ln 9, ln T,
        ln K. A puzzle that nobody in the batch was drawn for has no term."""
        terms: Terms = {}
        for level in self.windows:
            terms |= self.level_loss(batch.x[level], level)
        return terms

    def level_loss(self, pixels: Tensor, level: str) -> Terms:
        """The terms of (N, T, 3, 64, 64) uint8, by channel."""
        c, (spatial, temporal) = self.config, CHANNELS[level]
        x = self.coloured(pixels)
        if c.flip and self.training:
            mirrored = (torch.rand(len(x)) < 0.5).to(x.device)
            x = torch.where(mirrored.view(-1, 1, 1, 1, 1), x.flip(-1), x)
        pairs = c.pieces == "pairs"  # alone, what stands still may be anywhere in time
        static = 0.0 if pairs else c.static
        puzzle = draw(x, self.moments(level), task=c.shuffle, static=static)
        terms = {}
        if puzzle.placed.any():
            place = self.net.places(as_input(puzzle.x[puzzle.placed]), level)
            terms[spatial] = rows_loss(place, puzzle.place[puzzle.placed])
        if puzzle.timed.any():
            shown, order = puzzle.x[puzzle.timed], puzzle.time[puzzle.timed]
            if pairs:
                shown, order = shown[:, : 2 * (shown.shape[1] // order.shape[1])], order[:, :2]
            terms[temporal] = rows_loss(self.net.times(as_input(shown), level), order)
        return terms

    def coloured(self, pixels: Tensor) -> Tensor:
        return pixels if self.config.colour else grey(pixels)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate = 1e-3 if self.config.net == "lean" else 1e-4  # the paper's for the published nets
        return {"adam": torch.optim.Adam(self.parameters(), lr=rate)}

    # -- scoring -------------------------------------------------------------------------------
    def score(self, units: Units) -> dict[str, Tensor]:
        """How badly the unshuffled cube fits together, (N,) a channel."""
        level = units.window
        if self.config.against == "truth":
            return {name: self.told(odds) for name, odds in self.odds(units).items()}
        self.renew()
        sheets, known = self.sheets(self.coloured(units.x[level]), level), self.normal(level)
        return {name: known.far(name, sheets[name], units) for name in self.channels[level]}

    def answers(self, cubes: Tensor, level: str) -> dict[str, Tensor]:
        """Log-probabilities of all answers to the unshuffled cubes (N, T, C, 64, 64) uint8 by
        channel: place (N, 9, 9), time (N, rows, M)."""
        found = []
        device = next(self.parameters()).device
        for part in cubes.split(CHUNK):
            logits = self.run(level, as_input(framed(part.to(device))))
            logits = (logits,) if isinstance(logits, Tensor) else logits  # time, place
            found.append([answer.float().log_softmax(2) for answer in logits])
        each = (torch.cat(parts) for parts in zip(*found, strict=True))
        return dict(zip(self.channels[level][::-1], each, strict=True))

    def sheets(self, cubes: Tensor, level: str) -> dict[str, Tensor]:
        """Whole answers of each channel as rows (N, D)."""
        return {name: sheet(answer) for name, answer in self.answers(cubes, level).items()}

    def odds(self, units: Units) -> dict[str, Tensor]:
        """-log of the probability of the right answer by channel: each tile (N, 9), each row of the
        time puzzle (N, rows)."""
        level = units.window
        found = {}
        for name, answer in self.answers(self.coloured(units.x[level]), level).items():
            right = self.right(level)[name].to(answer.device).expand(len(answer), -1)
            found[name] = -answer.gather(2, right[..., None])[..., 0]
        return {name: found[name] for name in self.channels[level]}

    def told(self, odds: Tensor) -> Tensor:
        """(N, rows) to (N,): of the worst row, or of all."""
        odds = odds if self.config.scale == "log" else 1 - (-odds).exp()
        return odds.amax(1) if self.config.rows == "worst" else odds.mean(1)

    # -- explaining ----------------------------------------------------------------------------
    def explain(self, units: Units) -> list[Reason]:
        """The tile and the moment that seem most out of place. Heat: tiles by how odd they are,
        and what moves at that moment, each as far as its puzzle is to blame."""
        with torch.no_grad():
            odds, scores = self.odds(units), self.score(units)
        pixels, right = units.x[units.window], self.right(units.window)
        count, (spatial, temporal) = self.moments(units.window), CHANNELS[units.window]
        place = odds.get(spatial, torch.zeros(len(units), TILES))
        moments = torch.zeros(len(units), count)
        if temporal in odds:
            time, order = odds[temporal], right[temporal].to(odds[temporal].device)
            moments = torch.stack([time[:, order == m].mean(1) for m in range(count)], 1)
        return [
            reason(pixels[n], moments[n], place[n], {k: float(v[n]) for k, v in scores.items()},
                   (spatial, temporal))
            for n in range(len(units))
        ]  # fmt: skip

    def networks(self) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        colours = 3 if self.config.colour else 1
        played: dict[str, Puzzle] = {"time": "time", "place": "place"}
        puzzle = played.get(self.config.shuffle, "both")
        return {
            name: (Level(self.net, name, puzzle), (torch.zeros(1, colours, *window.shape),))
            for name, window in self.windows.items()
        }


def rows_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the rows of (n, M, M) with labels (n, M), in float32."""
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
