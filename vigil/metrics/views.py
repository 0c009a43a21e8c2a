"""Rows of a report for each view, and for views joined: what several cameras are good for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from vigil.data.base import TestSplit
from vigil.data.recordings import recordings
from vigil.metrics.frames import frame_metrics
from vigil.metrics.protocols import FINAL, Clip, Protocol, protocol
from vigil.records import Metric, Recording
from vigil.scores.views import fuse_views, fusions, longest, uneven

PROTOCOLS = ("smoothed", "raw", "per-video")  # that views are measured under


def joint(test: TestSplit, clips: Mapping[str, Clip]) -> tuple[Recording, ...]:
    """The recordings of a test part as far as they are measured; () where no two views join."""
    found = recordings(video for video in test if video.name in clips)
    return found if any(len(recording.views) > 1 for recording in found) else ()


def by_view(
    found: tuple[Recording, ...], clips: Mapping[str, Clip], how: str
) -> Iterator[tuple[str, Protocol, Mapping[str, Metric], str]]:
    """Rows as of `report.evaluate`, of each view and of views joined, under each protocol; `how` is
    the smoothing that the scores declare. A recording that lacks a view is measured by the others.
    """
    views = fusions(view for recording in found for view in recording.views)
    joined = {name: join(found, clips, wanted) for name, wanted in views.items()}
    for kind in PROTOCOLS:
        if kind == "raw" and how == "none":
            continue  # the same numbers again
        for name, wanted in views.items():
            way = protocol(kind, how, joined[name], FINAL)
            words = f"{' + '.join(wanted)}, {len(joined[name])} of {len(found)} recordings"
            words += "; plain mean of their scores at each moment" if len(wanted) > 1 else ""
            told = Protocol(way.name, f"{words}; {way.how}", way.curve)
            yield FINAL, told, frame_metrics(way.pairs(joined[name], FINAL)), f"view: {name}"


def join(
    found: tuple[Recording, ...], clips: Mapping[str, Clip], wanted: tuple[str, ...]
) -> dict[str, Clip]:
    """{recording: its wanted views as one clip}, of those recordings that have any of them."""
    joined = {}
    for recording in found:
        own = {v: clips[recording.views[v].name] for v in wanted if v in recording.views}
        if own:
            joined[recording.name] = fused(recording.name, own)
    return joined


def fused(name: str, views: Mapping[str, Clip]) -> Clip:
    """One recording's views as one clip; the truth is that of the longest one."""
    scores = {view: clip.scores for view, clip in views.items()}
    return replace(views[longest(scores)], scores=fuse_views(name, scores))


def notes(found: tuple[Recording, ...], clips: Mapping[str, Clip]) -> tuple[str, ...]:
    """Which recordings lack a view, or have views that end apart."""
    names = sorted({view for recording in found for view in recording.views})
    told: list[str] = []
    for recording in found:
        own = {view: clips[video.name].scores for view, video in recording.views.items()}
        told += uneven(recording.name, own, names)
    return tuple(told)
