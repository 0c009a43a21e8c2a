"""What a report page is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vigil.metrics.frames import EqualError, Roc
from vigil.records import Event, Report, Scores, Truth


@dataclass(frozen=True)
class KeyFrame:
    """One telling picture: `picture` (H, W, 3) uint8 RGB, painted; `parts` {channel: signed share};
    `like_picture` the most similar normal example, where the method knows one."""

    frame: int
    time_s: float
    picture: np.ndarray
    text: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    like_picture: np.ndarray | None = None


@dataclass(frozen=True)
class VideoSection:
    """One video of the page; `threshold` where an alarm starts, on the smoothed score."""

    name: str
    scores: Scores
    scene: str = ""
    truth: Truth | None = None
    events: Sequence[Event] = ()
    threshold: float | None = None
    keys: tuple[KeyFrame, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole report. `threshold` says in words where the alarm threshold comes from; `made` is
    how it was made (method, configuration, data, seed, versions), nested as it comes."""

    title: str
    subtitle: str
    report: Report
    videos: tuple[VideoSection, ...] = ()
    roc: Roc | None = None
    eer: EqualError | None = None
    made: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    threshold: str = ""
