"""Training videos to batches: frames cached once, windows cut on the fly, each seen once a pass.

Which sample a step sees depends on (seed, step) alone, so a run killed anywhere and resumed sees
the same batches as one that never stopped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vigil.errors import InputError
from vigil.features.base import Provider
from vigil.features.rows import GivenRows
from vigil.features.store import Rows, StoredRows
from vigil.methods.base import Method
from vigil.records import Batch, Units, Video
from vigil.train.cache import Bags
from vigil.train.pixels import Pixels
from vigil.units import Cutter, join, needs_pictures, paced

PIECE = 2048  # rows of units handed to `prepare` at a time


def bags(
    method: Method,
    providers: Mapping[str, Provider],
    videos: Iterable[Video],
    fps: float,
    ignore: np.ndarray | None = None,
) -> Iterator[Units]:
    """The units of each video in order, one window at a time, in pieces of bounded size.

    A method that needs whole videos (`lookahead` None) gets each bag in one piece.
    """
    rows = all(window.kind == "features" for window in method.windows.values())
    for video in videos:
        if kept := without_frames(method, providers, video):
            yield from kept
            continue
        fps = video.fps if rows else fps  # rows count a video's own frames
        cutter = Cutter(method.windows, providers, video, fps)
        held: dict[str, list[Units]] = {name: [] for name in method.windows}

        def pieces(limit: int, held: dict[str, list[Units]] = held) -> Iterator[Units]:
            for name, parts in held.items():
                if sum(map(len, parts)) >= limit and (units := join(parts)):
                    held[name] = []
                    yield units

        pictures = needs_pictures(method.windows, video)
        for frame, count in paced(video, fps, method.short_side, ignore, pictures):
            for _ in range(count):
                for cut in cutter.see(frame):
                    held[cut.window].append(cut.units)
            if method.lookahead is not None:
                yield from pieces(PIECE)
        for cut in cutter.finish():
            held[cut.window].append(cut.units)
        yield from pieces(1)


def without_frames(method: Method, providers: Mapping[str, Provider], video: Video) -> list[Units]:
    """The units of a video whose file of features says how long it is, in one piece a window: its
    frames need not be gone through. Empty where they must be."""
    rows, shapes = video.given.get("features"), [w.shape for w in method.windows.values()]
    alone = [type(provider) for provider in providers.values()] == [GivenRows]
    single = all(window.kind == "features" for window in method.windows.values())
    if not (alone and single and isinstance(rows, StoredRows) and rows.header.count):
        return []
    if any(shape != (rows.header.dim,) for shape in shapes):
        return []
    values, first, stop = arrays(rows)
    if not np.isfinite(np.vdot(values, values)):  # one pass; as good as every value's
        return []  # what is wrong is said where rows are looked at one by one
    x, stop = torch.from_numpy(values), stop.clip(max=rows.header.count)  # (N, crops, D)
    height, width = video.size
    box = np.array([[0, 0, width, height]], np.float32).repeat(len(x), 0)
    return [
        Units(name, video.name, {name: x}, first, stop, stop, box, video.scene, video.size)
        for name in method.windows
    ]


def arrays(rows: StoredRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (N, crops, D) and the frames they stand for, first (N,) and stop (N,)."""
    if type(rows) is StoredRows:
        stored = Rows(rows.path)
        return stored.read(), stored.first, stored.stop
    found = rows()  # of another project
    bounds = np.array([(row.first, row.stop) for row in found]).T
    return np.stack([row.value for row in found]), bounds[0], bounds[1]


class Order:
    """Position p of an endless sequence that visits each of `n` items once a pass, shuffled."""

    def __init__(self, n: int, seed: int, name: str) -> None:
        self.n, self.seed = n, (seed, zlib.crc32(name.encode()))
        self.epoch, self.order = -1, np.arange(n)

    def take(self, start: int, count: int) -> list[int]:
        """Items at positions [start, start + count)."""
        items = []
        for position in range(start, start + count):
            epoch, row = divmod(position, self.n)
            if epoch != self.epoch:
                self.epoch = epoch
                self.order = np.random.default_rng((*self.seed, epoch)).permutation(self.n)
            items.append(int(self.order[row]))
        return items


class Samples:
    """Batches for a method's kind of supervision; `batch(step)` is a pure function of the seed."""

    def __init__(
        self,
        method: Method,
        providers: Mapping[str, Provider],
        videos: Iterable[Video],
        fps: float,
        folder: Path,
        seed: int,
        size: int,
        ignore: np.ndarray | None = None,
    ) -> None:
        self.method, self.size = method, size
        videos = list(videos)
        self.groups: dict[str, dict[str, Any]] = {}
        rows = all(window.kind == "features" for window in method.windows.values())
        self.source: Bags | RowSource | Pixels
        if method.supervision == "video-label":
            made = ((v.source, whole(method, providers, v, fps, ignore)) for v in videos)
            self.source = Bags(method, made, len(videos), folder)
        elif rows:
            self.source = RowSource(method, providers, videos, fps, ignore)
        else:
            self.source = Pixels(method, providers, videos, fps, folder, ignore)
        self.orders = {}
        for group, items in self.grouped(videos).items():
            if not items:
                raise InputError(f"training: no sample of {group}; are the videos long enough?")
            self.groups[group] = {"items": items}
            self.orders[group] = Order(len(items), seed, group)

    def grouped(self, videos: list[Video]) -> dict[str, list[Any]]:
        """Samples by what is drawn evenly: windows; labels; or windows x scenes."""
        method = self.method
        if isinstance(self.source, Bags):
            return {
                label: [n for n, video in enumerate(videos) if video.label == label]
                for label in ("normal", "anomalous")
            }
        items = self.source.items
        if method.supervision == "scene":
            return {
                f"{name}@{scene}": [i for i in items[name] if videos[i[0]].scene == scene]
                for name in items
                for scene in method.scenes
            }
        return dict(items)

    @property
    def steps_a_pass(self) -> int:
        """Steps until every sample of the largest group was seen."""
        most = max(len(group["items"]) for group in self.groups.values())
        return -(-most // self.size)

    def draw(self, group: str, step: int, size: int) -> list[Any]:
        items = self.groups[group]["items"]
        return [items[i] for i in self.orders[group].take(step * size, size)]

    def batch(self, step: int, into: Batch | None = None) -> Batch:
        """What step `step` sees. `into`: an older batch that is needed no more; its memory is
        used again where that is possible."""
        method = self.method
        if isinstance(self.source, Bags):
            old = into or Batch()
            return Batch(
                normal=self.source.batch(self.draw("normal", step, self.size), old.normal),
                anomalous=self.source.batch(self.draw("anomalous", step, self.size), old.anomalous),
            )
        x: dict[str, Tensor] = {}
        scene = None
        for name in method.windows:
            if method.supervision == "scene":
                each = max(self.size // len(method.scenes), 2)
                drawn = [self.draw(f"{name}@{s}", step, each) for s in method.scenes]
                x |= self.source.cut(name, [item for group in drawn for item in group])
                scene = torch.arange(len(method.scenes)).repeat_interleave(each)
            else:
                x |= self.source.cut(name, self.draw(name, step, self.size))
        return Batch(x=x, scene=scene)


def whole(
    method: Method,
    providers: Mapping[str, Provider],
    video: Video,
    fps: float,
    ignore: np.ndarray | None,
) -> dict[str, Units]:
    """All units of a video by window; windows without any are left out."""
    found: dict[str, list[Units]] = {name: [] for name in method.windows}
    for units in bags(method, providers, [video], fps, ignore):
        found[units.window].append(units)
    joined = {name: join(parts) for name, parts in found.items()}
    return {name: units for name, units in joined.items() if units}


class RowSource:
    """Units of every video in memory: rows of features, one a sample; for a method that needs the
    whole video as many as it sees live, one after the other (the last repeated in a short one)."""

    def __init__(
        self,
        method: Method,
        providers: Mapping[str, Provider],
        videos: list[Video],
        fps: float,
        ignore: np.ndarray | None,
    ) -> None:
        self.units = [whole(method, providers, video, fps, ignore) for video in videos]
        self.long = method.live_rows if method.lookahead is None else 0  # rows of a sequence
        self.items = {
            name: [
                (n, 0, row)
                for n, units in enumerate(self.units)
                for row in range(self.starts(len(units.get(name, ()))))
            ]
            for name in method.windows
        }

    def starts(self, rows: int) -> int:
        """Places in a video of so many rows where a sample may begin."""
        return max(rows - self.long + 1, 1) if rows and self.long else rows

    def cut(self, name: str, items: Iterable[tuple[int, int, int]]) -> dict[str, Tensor]:
        """The tensors of some samples, stacked."""
        rows = [(self.units[n][name], row) for n, _, row in items]
        return {
            key: torch.stack([self.sample(u.x[key], row) for u, row in rows])
            for key in rows[0][0].x
        }

    def sample(self, rows: Tensor, row: int) -> Tensor:
        """One row of (N, ...), or the sequence that begins there."""
        if not self.long:
            return rows[row]
        found = rows[row : row + self.long]
        lack = self.long - len(found)
        return torch.cat([found, found[-1:].expand(lack, *found.shape[1:])]) if lack else found
