"""Scores and truth to a report: every row says under which protocol its numbers were obtained.

The column that counts is channel "score" under the smoothing the scores were made with: declared
before the run, no per-video normalisation, no test label in any choice. What else is customary
stands beside it under its own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vigil.data.base import TestSplit
from vigil.errors import ConfigError, InputError, unknown
from vigil.metrics.events import event_hits
from vigil.metrics.frames import EqualError, Pair, Roc, eer_point, frame_metrics, pooled, roc
from vigil.metrics.protocols import FINAL, PROTOCOLS, Clip, Protocol, declared, protocol
from vigil.metrics.puzzles import by_puzzle
from vigil.metrics.segments import by_segment
from vigil.metrics.views import by_view, joint
from vigil.metrics.views import notes as view_notes
from vigil.records import Event, Metric, Report, Row, Scores, Truth

Measured = tuple[str, Protocol, Mapping[str, Metric], str]  # channel, how, what, group


def evaluate(
    scores: Mapping[str, Scores],
    test: TestSplit,
    *,
    data: str,
    method: str,
    split: str = "test",
    protocols: Sequence[str] = PROTOCOLS,
    per_class: bool = True,
    events: Mapping[str, Sequence[Event]] | None = None,
) -> Report:
    """Measure `scores` {video name: Scores} against the truth of the test part.

    protocols  some of `PROTOCOLS`; "smoothed" is the column that counts and is named after the
               smoothing, e.g. "causal:0.5s"
    per_class  add rows for each class of anomaly and each scene
    events     {video name: events}, measured in a row of their own

    Views of one moment get rows of their own, each alone and joined (group "view: ...").
    Videos without truth are left out and named in the notes. `InputError` names a video without
    scores, and one whose labels are longer or shorter than its scores.
    """
    for name in protocols:
        if name not in PROTOCOLS:
            raise unknown("protocol", name, PROTOCOLS)
    clips, notes = _clips(scores, test)
    made = _declared([scores[video.name] for video in test])
    main = declared(made["smoothing"])
    found, refused = _by_channel(clips, protocols, made["smoothing"])
    sizes = {video.name: video.size for video in test}
    found += by_puzzle(clips, sizes, main, made["smoothing"])
    found += by_segment(clips)
    if events is not None:
        found.append(("events", main, _events(clips, events), "all"))
    if per_class:
        found += _by_group(clips, main)
    together = joint(test, clips)
    found += by_view(together, clips, made["smoothing"])
    live = " as-live" if made["as_live"] else ""
    part = f"; {len(clips)} of {len(test)} test videos" if len(clips) < len(test) else ""
    rows = tuple(
        Row(data, split, method, channel, way.name + live, _said(metrics, way.how + part), group)
        for channel, way, metrics, group in found
    )
    made |= {"data": data, "split": split, "method": method, "videos": len(clips)}
    made |= {"channel": FINAL, "protocol": main.name + live}
    return Report(rows, notes + refused + view_notes(together, clips), made)


def table(report: Report) -> list[dict[str, Any]]:
    """The rows as flat dicts, one key a metric (None where not measured), `how` {metric: words}."""
    return [
        {
            "data": row.data, "split": row.split, "method": row.method, "channel": row.channel,
            "protocol": row.protocol, "group": row.group,
            **{name: metric.value for name, metric in row.metrics.items()},
            "how": {name: metric.how for name, metric in row.metrics.items()},
        }
        for row in report.rows
    ]  # fmt: skip


def counted(report: Report) -> Row | None:
    """The row of the column that counts; None if it was not asked for."""
    wanted = (report.made.get("channel"), report.made.get("protocol"), "all")
    found = [r for r in report.rows if (r.channel, r.protocol, r.group) == wanted]
    return found[0] if found else None


def truths(test: TestSplit) -> tuple[dict[str, Truth], tuple[str, ...]]:
    """The truth of every test video that has one, and a note for each that has none."""
    found: dict[str, Truth] = {}
    notes = []
    for video in test:
        try:
            found[video.name] = test.truth(video.name)
        except InputError as error:
            notes.append(f"test video {video.name!r} left out, no truth: {error}")
    return found, tuple(notes)


def roc_of(scores: Mapping[str, Scores], test: TestSplit) -> tuple[Roc, EqualError] | None:
    """ROC and equal error of the column that counts; None where all frames are of one class."""
    clips, _ = _clips(scores, test)
    pair = pooled({name: (clip.scores.smoothed, clip.truth.frames) for name, clip in clips.items()})
    curve, point = roc(*pair), eer_point(*pair)
    return None if curve is None or point is None else (curve, point)


# -- what is measured --------------------------------------------------------------------------
def _clips(
    scores: Mapping[str, Scores], test: TestSplit
) -> tuple[dict[str, Clip], tuple[str, ...]]:
    """Every test video with truth, checked against its scores."""
    found, notes = truths(test)
    clips = {}
    for video in test:
        if video.name not in scores:
            raise InputError(
                f"test video {video.name!r} has no scores ({len(scores)} videos have, the test "
                f"part has {len(test)}); score the whole test part first"
            )
        if video.name not in found:
            continue
        own, truth = scores[video.name], found[video.name]
        if len(own) != len(truth.frames):
            raise InputError(
                f"test video {video.name!r}: {len(own)} scores but labels for {len(truth.frames)} "
                "frames; mend the labels or score the video they were made for"
            )
        clips[video.name] = Clip(own, truth, video.scene, video.fps)
    extra = sorted(set(scores) - {video.name for video in test})
    if extra:
        notes += (f"scores of videos outside the test part, not used: {', '.join(extra)}",)
    return clips, notes


def _declared(scores: Sequence[Scores]) -> dict[str, Any]:
    """Smoothing and way of scoring, which must be one for all videos."""
    made: dict[str, Any] = {}
    for key, default in (("smoothing", "not said"), ("as_live", False)):
        kinds = {own.made.get(key, default): own.video for own in scores} or {"none": ""}
        if len(kinds) > 1 or "not said" in kinds:
            where = ", ".join(f"{kind!r} in {name}" for kind, name in kinds.items())
            raise InputError(f"scores made with {key}: {where}; expected one for all test videos")
        made[key] = next(iter(kinds))
    return made


def _by_channel(
    clips: Mapping[str, Clip], names: Sequence[str], how: str
) -> tuple[list[Measured], tuple[str, ...]]:
    """Every channel under every protocol, and notes on what could not be measured."""
    each = [clip.scores.channels for clip in clips.values()]
    channels = [name for name in each[0] if all(name in other for other in each)] if each else []
    found: list[Measured] = []
    refused = []
    for channel in (FINAL, *channels):
        for name in names:
            if name == "raw" and how == "none" and "smoothed" in names:
                continue  # the same numbers again
            try:
                way = protocol(name, how, clips, channel)
                found.append((channel, way, frame_metrics(way.pairs(clips, channel)), "all"))
            except ConfigError as error:  # a smoothing that only the final score can have
                refused.append(f"channel {channel!r} not measured as {name!r}: {error}")
    return found, tuple(refused)


def _by_group(clips: Mapping[str, Clip], way: Protocol) -> Iterator[Measured]:
    """Each class's frames against all normal ones; each scene's videos, where there are several."""
    for kind in sorted(set().union(*(_classes(clip.truth) for clip in clips.values()))):
        metrics = frame_metrics(_class_pairs(clips, way, kind), macro=False)
        yield FINAL, way, metrics, f"class: {kind}"
    scenes = sorted({clip.scene for clip in clips.values()})
    for scene in scenes if len(scenes) > 1 else ():
        own = {name: clip for name, clip in clips.items() if clip.scene == scene}
        yield FINAL, way, frame_metrics(way.pairs(own, FINAL)), f"scene: {scene or 'unnamed'}"


def _class_pairs(clips: Mapping[str, Clip], way: Protocol, kind: str) -> dict[str, Pair]:
    """Frames of one class and normal ones; those of other classes are left out."""
    pairs = {}
    for name, clip in clips.items():
        labels, classes = clip.truth.frames, clip.truth.classes
        own = labels & _of_class(classes, kind)
        keep = own | ~labels
        pairs[name] = (way.curve(clip, FINAL)[keep], own[keep])
    return pairs


def _classes(truth: Truth) -> set[str]:
    """Names of the classes of the anomalous frames."""
    if truth.classes is None:
        return set()
    names = np.unique(truth.classes[truth.frames]).tolist()
    return {kind for name in names for kind in name.split("+")} - {""}


def _of_class(classes: np.ndarray | None, kind: str) -> np.ndarray | bool:
    """(T,) bool: frames of a class; "fighting+shooting" is of both."""
    if classes is None:
        return False
    among = [name for name in np.unique(classes).tolist() if kind in name.split("+")]
    return np.isin(classes, among)


def _events(clips: Mapping[str, Clip], events: Mapping[str, Sequence[Event]]) -> dict[str, Metric]:
    fps = {name: clip.fps for name, clip in clips.items()}
    return event_hits(events, {name: clip.truth for name, clip in clips.items()}, fps)


def _said(metrics: Mapping[str, Metric], how: str) -> dict[str, Metric]:
    """The metrics with the protocol's words added to their own."""
    return {
        name: Metric(metric.name, metric.value, f"{metric.how}; {how}")
        for name, metric in metrics.items()
    }
