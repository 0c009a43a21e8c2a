"""Training frames, and what providers saw in them, on disk; windows are cut from there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vigil.errors import InputError
from vigil.features.base import Provider
from vigil.features.tracks import Tracks
from vigil.files import writing
from vigil.methods.base import Method
from vigil.records import Video, Window
from vigil.units import Seen, anchor_boxes, cut_pixels, paced
from vigil.video.windows import places

LOG = logging.getLogger("vigil")
MAPS = ("flow", "segmentation")  # as large as frames: kept on disk, in half precision


class Pixels:
    """All training frames on disk (memory-mapped) and what providers saw in them; windows are cut
    from there."""

    def __init__(
        self,
        method: Method,
        providers: Mapping[str, Provider],
        videos: Iterable[Video],
        fps: float,
        folder: Path,
        ignore: np.ndarray | None = None,
    ) -> None:
        self.method, self.videos = method, list(videos)
        self.frames: list[np.ndarray] = []
        self.values: list[list[dict[str, Any]]] = []
        folder.mkdir(parents=True, exist_ok=True)
        for n, video in enumerate(self.videos):
            images, values = see_all(method, providers, video, fps, ignore)
            path = folder / f"{n}.npy"
            with writing(path) as new:
                np.save(new, images)
            self.frames.append(np.load(path, mmap_mode="r"))
            self.values.append(on_disk(values, folder / str(n)))
        self.items = {name: self.index(window) for name, window in method.windows.items()}

    def index(self, window: Window) -> list[tuple[int, int, int]]:
        """Every unit there is to draw: (video, start frame, box row)."""
        items, length = [], window.length
        short = [n for n, frames in enumerate(self.frames) if len(frames) < length]
        for n in short:
            LOG.warning("%s: %d frames, fewer than the %d that are looked at: not learned from (%d "
                        "such videos)", self.videos[n].source, len(self.frames[n]), length,
                        len(short))  # fmt: skip
        for n, video in enumerate(self.videos):
            if n in short:
                continue
            for place in places(window, len(self.frames[n])):
                seen = self.seen(n, place.start, window)
                boxes = anchor_boxes(window, seen[window.middle], video.size)
                items += [(n, place.start, row) for row in range(len(boxes))]
        return items

    def seen(self, n: int, start: int, window: Window) -> list[Seen]:
        """The frames of one window of video n."""
        last = len(self.frames[n]) - 1
        rows = [min(start + t, last) for t in range(window.length)]
        return [Seen(self.frames[n][row], self.values[n][row]) for row in rows]

    def cut(self, name: str, items: Iterable[tuple[int, int, int]]) -> dict[str, Tensor]:
        """The tensors of some units of a window, stacked."""
        window = self.method.windows[name]
        parts: dict[str, list[Tensor]] = {}
        for n, start, row in items:
            seen = self.seen(n, start, window)
            x, _ = cut_pixels(name, window, seen, self.videos[n].size, row)
            for key, value in x.items():
                parts.setdefault(key, []).append(value[0])
        return {key: torch.stack(values) for key, values in parts.items()}


def see_all(
    method: Method,
    providers: Mapping[str, Provider],
    video: Video,
    fps: float,
    ignore: np.ndarray | None,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """All frames (T, H, W, 3) of a video and the providers' values for each."""
    trackers = {role: provider.start(video, fps) for role, provider in providers.items()}
    wanted = {role for window in method.windows.values() for role in window.providers}
    tracks = Tracks(fps) if "track" in wanted else None
    images: list[np.ndarray] = []
    values: list[dict[str, Any]] = []
    for frame, count in paced(video, fps, method.short_side, ignore):
        for _ in range(count):
            seen = {role: t.see(frame, len(images)) for role, t in trackers.items()}
            if tracks and "objects" in seen:
                seen["track"] = tracks.see(seen["objects"], len(images))
            values.append(seen)
            images.append(frame.image)
    for tracker in trackers.values():
        tracker.finish()
    if not images:
        raise InputError(f"{video.source}: no frame in it")
    return np.stack(images), values


def on_disk(values: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The same values with maps of one shape kept in files beside `path`, half as exact."""
    for role in MAPS:
        maps = [seen[role] for seen in values if role in seen]
        if not maps or len({np.shape(each) for each in maps}) > 1:
            continue
        with writing(path.with_suffix(f".{role}.npy")) as new:
            np.save(new, np.stack(maps).astype(np.float16))
        kept = np.load(path.with_suffix(f".{role}.npy"), mmap_mode="r")
        values = [{**seen, role: kept[t]} for t, seen in enumerate(values)]
    return values
