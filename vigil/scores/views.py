"""Late fusion: the scores of several views of one moment become one curve, joined by time.

Each view is scored by itself, by one model for all or by one of its own, and calibrated; then the
plain mean (or the maximum) of the views that see the moment is taken. A view that is missing, or
that ends early, is left out and named; nothing is ever filled in for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vigil.errors import InputError
from vigil.records import Scores
from vigil.scores.fuse import How, fuse

SENSORS = {"depth": "D", "ir": "IR", "rgb": "RGB", "thermal": "T"}
EARLY = 0.25  # of a frame: clocks of two cameras differ that much and still mean one moment


def fusions(views: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Which views are worth joining, by name: each alone, then together.

    Views called CAMERA_SENSOR are joined by camera, by sensor and all, under the names of the
    table of the DAD paper; others one by one and all.

    >>> list(fusions(["front_depth", "front_IR", "top_depth", "top_IR"]))
    ['Top(D)', 'Top(IR)', 'Top(DIR)', 'Front(D)', 'Front(IR)', 'Front(DIR)', 'Fusion(D)', \
'Fusion(IR)', 'Fusion(DIR)']
    >>> fusions(["left", "right"])
    {'left': ('left',), 'right': ('right',), 'all': ('left', 'right')}
    """
    views = sorted(set(views), key=str.lower)
    parts = {view: (view.rpartition("_")[0], view.rpartition("_")[2]) for view in views}
    found: dict[str, tuple[str, ...]] = {}
    if not all(camera and sensor.lower() in SENSORS for camera, sensor in parts.values()):
        found = {view: (view,) for view in views}
        return {**found, "all": tuple(views)} if len(views) > 1 else found
    cameras = sorted({camera for camera, _ in parts.values()}, reverse=True)  # top before front
    for camera in cameras:
        own = tuple(view for view in views if parts[view][0] == camera)
        found |= _by_sensor(camera.capitalize(), own, parts)
    if len(cameras) > 1:
        found |= _by_sensor("Fusion", tuple(views), parts)
    return found


def _by_sensor(
    name: str, views: tuple[str, ...], parts: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, ...]]:
    """These views of each sensor, then of all."""
    sensors = list(dict.fromkeys(parts[view][1] for view in views))
    groups = [[sensor] for sensor in sensors] + ([sensors] if len(sensors) > 1 else [])
    return {
        f"{name}({''.join(SENSORS[sensor.lower()] for sensor in group)})": tuple(
            view for view in views if parts[view][1] in group
        )
        for group in groups
    }


def longest(views: Mapping[str, Scores]) -> str:
    """The view that sees most of the moment; its frames are those of the fused scores."""
    return max(views, key=lambda view: (float(views[view].time[-1]), len(views[view])))


def fuse_views(name: str, views: Mapping[str, Scores], how: How = "mean") -> Scores:
    """Scores {view: scores} of one recording as one, at the frames of its longest view.

    At each frame the newest score of every view that has not ended counts. `InputError` where the
    views were not smoothed alike, or have no frames.
    """
    if not views or not all(len(scores) for scores in views.values()):
        raise InputError(f"{name}: no scores to fuse")
    made = dict(_alike(name, views), views=sorted(views), fused=how)
    time = views[longest(views)].time
    rows = [aligned(scores.time, time) for scores in views.values()]

    def joined(columns: list[np.ndarray]) -> np.ndarray:
        pairs = zip(columns, rows, strict=True)
        return fuse(np.stack([np.where(r < 0, np.nan, c[r]) for c, r in pairs]), how)

    each = list(views.values())
    names = dict.fromkeys(channel for scores in each for channel in scores.channels)
    nothing = {len(scores): np.full(len(scores), np.nan) for scores in each}
    return Scores(
        video=name,
        score=joined([scores.score for scores in each]),
        smoothed=joined([scores.smoothed for scores in each]),
        channels={
            channel: joined([s.channels.get(channel, nothing[len(s)]) for s in each])
            for channel in names
        },
        time=time,
        known_at=np.max([_known(s, r, time) for s, r in zip(each, rows, strict=True)], axis=0),
        warm_up=np.all([(r < 0) | s.warm_up[r] for s, r in zip(each, rows, strict=True)], axis=0),
        made=made,
    )


def aligned(time: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rows (T,) of the newest frames at or before the `wanted` times (T,), -1 where none is: the
    frames at `time` (n,) have ended, or not begun. All in seconds.

    >>> aligned(np.array([0.0, 0.2, 0.4]), np.array([0.0, 0.1, 0.2, 0.5, 0.7])).tolist()
    [0, 0, 1, 2, -1]
    """
    period = float(np.median(np.diff(time))) if len(time) > 1 else np.inf
    early = EARLY * period if np.isfinite(period) else 0.0
    rows = np.searchsorted(time, wanted + early, side="right") - 1
    return np.where(wanted >= time[-1] + period - early, -1, rows)


def _known(scores: Scores, rows: np.ndarray, time: np.ndarray) -> np.ndarray:
    """(T,) at which of the frames at `time` each score was known; 0 where there is none."""
    when = scores.time[scores.known_at[rows]]  # (T,) seconds
    early = EARLY * float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    frames = np.searchsorted(time, when - early).clip(0, len(time) - 1)
    return np.where(rows < 0, 0, frames)


def _alike(name: str, views: Mapping[str, Scores]) -> dict[str, Any]:
    """How the views were scored, as far as they must agree; the rate is the longest one's."""
    for key in ("smoothing", "as_live"):
        found = {str(scores.made.get(key)): view for view, scores in views.items()}
        if len(found) > 1:
            where = ", ".join(f"{value} ({view})" for value, view in found.items())
            raise InputError(f"{name}: views scored with {key} {where}; score them alike")
    made = dict(views[longest(views)].made)
    made["method"] = "+".join(dict.fromkeys(str(s.made.get("method")) for s in views.values()))
    return made


def uneven(name: str, views: Mapping[str, Scores], wanted: Iterable[str]) -> list[str]:
    """What to tell a person of a recording whose views are not all there, or end apart."""
    missing = [view for view in wanted if view not in views]
    notes = [f"{name}: no {view}; the other views are fused" for view in missing]
    time = views[longest(views)].time
    for view, scores in views.items():
        rows = aligned(scores.time, time)
        if (gone := int((rows < 0).sum())) > 0:
            end = float(time[rows >= 0][-1])
            notes.append(
                f"{name}: {view} ends at {end:.2f} s, {gone} frames before the longest view; "
                "from there on the others are fused"
            )
    return notes
