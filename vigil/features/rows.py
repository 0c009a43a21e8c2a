"""Feature rows that came with a data set, given frame by frame as if a backbone made them now."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vigil.errors import InputError
from vigil.features.base import FeatureRow, Provider, Tracker
from vigil.records import Frame, Video


class GivenRows(Provider):
    """Rows from `video.given["features"]`: a list of `FeatureRow`, in time order."""

    role: ClassVar[str] = "features"

    def start(self, video: Video, fps: float) -> Tracker:
        if "features" not in video.given:
            raise InputError(f"{video.source}: no features came with it; extract them first")
        return RowTracker(list(video.given["features"]()), video.source)


class RowTracker:
    """Gives each row at the last frame it stands for."""

    def __init__(self, rows: list[FeatureRow], source: str) -> None:
        for row in rows:
            if not np.isfinite(row.value).all():
                raise InputError(f"{source}: features of frames {row.first}..{row.stop} are NaN")
        self.rows, self.next = rows, 0

    def see(self, frame: Frame, index: int) -> FeatureRow | None:
        if self.next < len(self.rows) and self.rows[self.next].stop - 1 <= index:
            self.next += 1
            return self.rows[self.next - 1]
        return None

    def finish(self) -> list[FeatureRow]:
        """Rows that end beyond the last frame: the padded tail."""
        return self.rows[self.next :]
