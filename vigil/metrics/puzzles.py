"""Rows of a report for jigsaw puzzles: by level and channel, and under the papers' own rules.

complete     mean of the spatial and the temporal channel of a level (cubes of frames, long clips)
combined     mean of both levels, of the one that is there where the other is not
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vigil.metrics.frames import frame_metrics
from vigil.metrics.protocols import Clip, Protocol
from vigil.records import Metric, UnitTable
from vigil.scores.jigsaw_protocols import anomaly, block_curves, frame_curve, regularity
from vigil.scores.smooth import smooth

Curves = dict[str, np.ndarray]  # {channel: (T,)}
LEVELS = {"": ("spatial", "temporal"), "clip_": ("clip_spatial", "clip_temporal")}
SMALL = 240 * 360  # pixels of a picture up to which a cell of the map is one pixel, else 20x20
WHOLE = "uses the WHOLE video, not to be had live, and supposes that every video holds an anomaly"
RULES = {
    "jigsaw-frames": "lowest probability of each frame's puzzles, each video scaled to 0..1, mean "
    f"over 43 frames, Gaussian over 49: {WHOLE}",
    "jigsaw-blocks": "map of the picture that each object lowers, mean over 5x5x5 cells, its "
    f"lowest cell, each video scaled to 0..1, Gaussian over 49 frames: {WHOLE}",
}


def by_puzzle(
    clips: Mapping[str, Clip], sizes: Mapping[str, tuple[int, int]], main: Protocol, how: str
) -> Iterator[tuple[str, Protocol, Mapping[str, Metric], str]]:
    """Rows as of `report.evaluate`, none where the scores are not those of puzzles.

    sizes  {video: (height, width)};  main, how  the column that counts, and its smoothing
    """
    tables = {name: clip.scores.units for name, clip in clips.items()}
    known = {name: table for name, table in tables.items() if table is not None and puzzle(table)}
    if not clips or len(known) < len(clips):
        return
    complete = {name: levels(clip, how) for name, clip in clips.items()}
    yield from measured(clips, complete, main)
    lengths = {name: len(clip.scores) for name, clip in clips.items()}
    curves = {name: by_frames(table, lengths[name]) for name, table in known.items()}
    yield from measured(clips, curves, rule("jigsaw-frames"))
    if all(has_objects(table, sizes[name]) for name, table in known.items()):
        curves = {name: by_blocks(t, lengths[name], sizes[name]) for name, t in known.items()}
        yield from measured(clips, curves, rule("jigsaw-blocks"))


def measured(
    clips: Mapping[str, Clip], curves: Mapping[str, Curves], way: Protocol
) -> Iterator[tuple[str, Protocol, Mapping[str, Metric], str]]:
    """One row for each channel that all videos have."""
    each = list(curves.values())
    for channel in (c for c in each[0] if all(c in other for other in each)):
        pairs = {name: (curves[name][channel], clip.truth.frames) for name, clip in clips.items()}
        yield channel, way, frame_metrics(pairs), "all"


def rule(name: str) -> Protocol:
    """A named rule whose curves are made already."""
    return Protocol(name, RULES[name], lambda clip, channel: clip.raw(channel))


def puzzle(table: UnitTable) -> bool:
    """Whether the units are cubes or clips with both channels."""
    return any(set(names) <= set(table.channels) for names in LEVELS.values())


def has_objects(table: UnitTable, size: tuple[int, int]) -> bool:
    """Whether the cubes are of objects, not of the whole picture."""
    whole = np.array([0, 0, size[1], size[0]])
    return "spatial" in table.channels and bool(len(table)) and not np.allclose(table.box, whole)


def levels(clip: Clip, how: str) -> Curves:
    """Each level's channels, calibrated, as one; smoothed as declared."""
    found = {}
    for level, names in LEVELS.items():
        if set(names) <= set(clip.scores.channels):
            mean = np.mean([clip.scores.channels[name] for name in names], axis=0)
            found[f"{level}complete"] = smooth(mean, how, clip.fps)
    return found


def lowest(table: UnitTable, names: tuple[str, ...], length: int) -> np.ndarray:
    """(C, T) lowest regularity of the units that answer each frame, NaN where none does."""
    rows = np.isfinite(np.stack([table.channels[name] for name in names])).all(0)
    spans = (table.stop - table.first)[rows].astype(int)
    start = np.repeat(table.first[rows].astype(int), spans)
    frames = start + np.arange(len(start)) - np.repeat(np.cumsum(spans) - spans, spans)
    found = np.full((len(names), length), np.inf)
    for line, name in zip(found, names, strict=True):
        np.minimum.at(line, frames, np.repeat(regularity(table.channels[name][rows]), spans))
    return np.where(np.isfinite(found), found, np.nan)


def by_frames(table: UnitTable, length: int) -> Curves:
    """The anomaly curves of each level and of both, under the rule of frames."""
    there = {level: names for level, names in LEVELS.items() if set(names) <= set(table.channels)}
    values = {level: lowest(table, names, length) for level, names in there.items()}
    if len(values) > 1:
        both = np.stack(list(values.values()))  # (2, 2, T)
        some = np.isfinite(both)
        total = np.where(some, both, 0).sum(0)
        values["combined_"] = np.where(some.any(0), total / np.maximum(some.sum(0), 1), np.nan)
    curves: Curves = {}
    for level, pair in values.items():
        own = [of_frames(line) for line in pair]
        curves |= {f"{level}{name}": anomaly(c) for name, c in zip(LEVELS[""], own, strict=True)}
        curves[f"{level}complete"] = anomaly(np.mean(own, axis=0))
    return curves


def of_frames(line: np.ndarray) -> np.ndarray:
    """(T,) regularity under the rule of frames, from one value a frame, NaN for none."""
    frames = np.flatnonzero(np.isfinite(line))
    return frame_curve(line[frames], frames, len(line))


def by_blocks(table: UnitTable, length: int, size: tuple[int, int]) -> Curves:
    """The anomaly curves of cubes under the rule of blocks."""
    raw = np.stack([table.channels[name] for name in LEVELS[""]], 1)  # (M, 2)
    rows = np.isfinite(raw).all(1)
    block = 1 if size[0] * size[1] <= SMALL else 20
    frames, boxes = table.first[rows].astype(int), table.box[rows]
    curves = block_curves(regularity(raw[rows]), frames, boxes, length, size, block)
    return {n: anomaly(c) for n, c in zip((*LEVELS[""], "complete"), curves, strict=True)}
