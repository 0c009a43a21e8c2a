"""Rows of a report for `scene`: measured as the scene-aware project does, for comparison.

segment-max          its rule without smoothing; see `vigil.scores.segment_protocol`
segment-max-oracle   with the Gaussian that suits the TEST LABELS best, as published: a ceiling
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vigil.metrics.frames import frame_metrics, micro_auc
from vigil.metrics.protocols import Clip, Protocol
from vigil.records import Metric, UnitTable
from vigil.scores.segment_protocol import SEGMENT, SIGMAS, joined, segment_max

CHANNEL = "error"  # of rows that were reconstructed
RULE = (
    f"largest error of each {SEGMENT} frames, the rest of each video dropped; the authors' own "
    "numbers with hop = 16"
)
Row = tuple[str, Protocol, Mapping[str, Metric], str]


class Oracle(NamedTuple):
    """The best smoothing ON THE TEST LABELS."""

    sigma: int
    micro_auc: float


def oracle(curves: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> Oracle:
    """The first best Gaussian of the authors' twenty, by micro AUC on (T,) labels of the curves."""
    truth = np.concatenate(labels)
    areas = [micro_auc(joined(curves, sigma), truth).value or 0.0 for sigma in SIGMAS]
    best = int(np.argmax(areas))
    return Oracle(best, areas[best])


def by_segment(clips: Mapping[str, Clip]) -> Iterator[Row]:
    """Rows as of `report.evaluate`, none where the scores are not errors of single rows."""
    errors = {
        name: frame_errors(clip.scores.units, len(clip.scores)) for name, clip in clips.items()
    }
    curves = {name: segment_max(e) for name, e in sorted(errors.items()) if e is not None}
    curves = {name: curve for name, curve in curves.items() if len(curve)}
    if not curves or any(e is None for e in errors.values()):
        return
    labels = {name: clips[name].truth.frames[: len(c)] for name, c in curves.items()}
    pairs = {name: (curve, labels[name]) for name, curve in curves.items()}
    lost = sum(len(clip.scores) for clip in clips.values()) - sum(map(len, curves.values()))
    rule = f"{RULE} ({lost} frames here)"
    yield CHANNEL, named("segment-max", rule), frame_metrics(pairs), "all"
    best = oracle(list(curves.values()), list(labels.values()))
    smooth = joined(list(curves.values()), best.sigma)
    edges = np.cumsum([len(curve) for curve in curves.values()])[:-1]
    parts = zip(curves, np.split(smooth, edges), strict=True)
    best_pairs = {name: (part, labels[name]) for name, part in parts}
    how = f"{rule}; one Gaussian of {best.sigma} frames over all videos, chosen on the test labels"
    yield CHANNEL, named("segment-max-oracle", how), frame_metrics(best_pairs), "all"


def named(name: str, how: str) -> Protocol:
    """A rule whose curves are made already."""
    return Protocol(name, how, lambda clip, channel: clip.raw(channel))


def frame_errors(table: UnitTable | None, length: int) -> np.ndarray | None:
    """(T,) raw error of each frame; None where units have none, or do not answer every frame."""
    if table is None or CHANNEL not in table.channels or set(table.window) != {"rows"}:
        return None
    found = np.full(length, np.nan)
    spans = zip(table.first, table.stop, table.channels[CHANNEL], strict=True)
    for first, stop, error in spans:
        found[int(first) : int(stop)] = error
    return found if np.isfinite(found).all() else None
