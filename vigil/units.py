"""Frames and what providers see in them -> Units. The same cutting for files, cameras and training.

`Cutter` runs along one video; it keeps only the frames that a window may still need, asks every
provider once a frame, and gives the units of each window as soon as its last frame is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from vigil.errors import InputError
from vigil.features.base import FeatureRow, Provider, Tracker
from vigil.features.tracks import Tracks
from vigil.records import Frame, Units, Video, Window
from vigil.video.images import Opener
from vigil.video.windows import Place, at, tail


class Cut(NamedTuple):
    """The units of one window place; `units` may have no rows (no object in sight)."""

    window: str
    first: int
    stop: int
    units: Units


class Seen(NamedTuple):
    """One frame with what the providers made of it, by role."""

    image: np.ndarray  # (H, W, 3) uint8
    values: Mapping[str, Any]


class Cutter:
    """Cuts the windows of one video; see the module."""

    def __init__(
        self,
        windows: Mapping[str, Window],
        providers: Mapping[str, Provider],
        video: Video,
        fps: float,
    ) -> None:
        self.windows, self.video = windows, video
        self.trackers: dict[str, Tracker] = {
            role: provider.start(video, fps) for role, provider in providers.items()
        }
        wanted = {role for window in windows.values() for role in window.providers}
        self.tracks = Tracks(fps) if "track" in wanted else None
        pixels = [w.length for w in windows.values() if w.kind != "features"]
        self.seen: deque[Seen] = deque(maxlen=max(pixels, default=1))
        self.rows: list[FeatureRow] = []
        self.count = 0  # frames seen
        self.next_row: dict[str, int] = {}

    def see(self, frame: Frame) -> list[Cut]:
        """Take the next frame in; the cuts of every window that ends with it."""
        values = {role: tracker.see(frame, self.count) for role, tracker in self.trackers.items()}
        if self.tracks:
            values["track"] = self.tracks.see(values["objects"], self.count)
        row = values.pop("features", None)
        self.seen.append(Seen(frame.image, values))
        self.count += 1
        cuts = []
        for name, window in self.windows.items():
            if window.kind != "features" and (place := at(window, self.count - 1)):
                cuts.append(self.cut(name, window, place))
        return cuts + (self.take_rows([row]) if row is not None else [])

    def finish(self) -> list[Cut]:
        """The end of the video: the windows of the tail."""
        if not self.count:
            raise InputError(f"{self.video.source}: no frame in it")
        left = {role: tracker.finish() for role, tracker in self.trackers.items()}
        cuts = self.take_rows(left.get("features", []))
        for name, window in self.windows.items():
            if window.kind == "features":
                cuts += self.last_rows(name, window)
            elif place := tail(window, self.count):
                if self.count < window.length and window.short == "refuse":
                    raise InputError(
                        f"{self.video.source}: {self.count} frames; "
                        f"{window.length} at least are needed"
                    )
                cuts.append(self.cut(name, window, place))
        return cuts

    def cut(self, name: str, window: Window, place: Place) -> Cut:
        """The units of a window of pixels that ends with the newest frame."""
        seen = list(self.seen)[-window.length :]
        seen += [seen[-1]] * (window.length - len(seen))  # a short video: its last frame repeated
        x, boxes = cut_pixels(name, window, seen, self.video.size)
        return Cut(name, place.first, place.stop, self.units(name, x, boxes, place, self.count))

    def units(
        self, name: str, x: dict[str, torch.Tensor], boxes: np.ndarray, place: Place, seen_stop: int
    ) -> Units:
        n = len(boxes)
        return Units(
            name, self.video.name, x,
            np.full(n, place.first), np.full(n, place.stop), np.full(n, seen_stop), boxes,
            self.video.scene, self.video.size,
        )  # fmt: skip

    # -- rows of features: the backbone or the file says which frames a row stands for ------------
    def take_rows(self, rows: Sequence[FeatureRow]) -> list[Cut]:
        cuts = []
        for row in rows:
            if row.first >= self.count:
                raise InputError(
                    f"{self.video.source}: features for frame {row.first}, but the video ends at "
                    f"{self.count}; they belong to another video or another frame rate"
                )
            self.rows.append(row)
            for name, window in self.windows.items():
                if window.kind == "features":
                    cuts += self.cut_rows(name, window)
        longest = max(
            (rows_in(w) for w in self.windows.values() if w.kind == "features"), default=1
        )
        del self.rows[: max(len(self.rows) - 2 * longest, 0)]
        return cuts

    def cut_rows(self, name: str, window: Window) -> list[Cut]:
        """A unit of the newest `rows_in(window)` rows, every `stride` frames of rows."""
        need = rows_in(window)
        if len(self.rows) < need or self.rows[-need].first % window.stride:
            return []
        return [self.row_unit(name, window, self.rows[-need:], self.rows[-need].first)]

    def row_unit(self, name: str, window: Window, rows: list[FeatureRow], first: int) -> Cut:
        stop = min(rows[-1].stop, self.count)  # the last rows of a video may be padded
        value = np.stack([row.value for row in rows], axis=-2)  # (crops, R, D)
        if len(window.shape) == 1:
            value = value[..., 0, :]  # (crops, D)
        if value.shape[-1] != window.shape[-1]:
            raise InputError(
                f"{self.video.source}: features have {value.shape[-1]} dimensions; "
                f"the method was made for {window.shape[-1]}"
            )
        height, width = self.video.size
        box = np.array([[0, 0, width, height]], np.float32)
        x = {name: torch.from_numpy(value[None])}  # (1, crops, [R,] D)
        self.next_row[name] = stop
        units = self.units(name, x, box, Place(first, first, stop), stop)
        return Cut(name, first, stop, units)

    def last_rows(self, name: str, window: Window) -> list[Cut]:
        """An end-aligned unit for rows that no regular one answers for; short videos are padded."""
        answered = self.next_row.get(name, 0)
        rows = self.rows[-rows_in(window) :]
        if not rows or answered >= min(rows[-1].stop, self.count):
            return []
        rows = rows + [rows[-1]] * (rows_in(window) - len(rows))
        return [self.row_unit(name, window, rows, max(rows[0].first, answered))]


def rows_in(window: Window) -> int:
    """Rows of features that make one unit: R of a shape (R, D), 1 of (D,)."""
    return window.shape[0] if len(window.shape) == 2 else 1


def cut_pixels(
    name: str, window: Window, seen: Sequence[Seen], size: tuple[int, int], row: int | None = None
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """The tensors and boxes of one place of a window of pixels; `seen` holds its T frames.

    `row` picks one of the boxes, as training does.

    Returns {"name": (N, T, 3, H, W) uint8, "name.role": ...} and boxes (N, 4) in video pixels.
    """
    boxes = anchor_boxes(window, seen[window.middle], size)
    boxes = boxes if row is None else boxes[row : row + 1]
    height, width = seen[0].image.shape[:2]
    scale = np.array([width / size[1], height / size[0]] * 2, np.float32)
    crops = [corners(box * scale, window.context, height, width) for box in boxes]
    h, w = window.shape[1:]
    if window.crop == "roi":
        x = {name: roi_aligned(seen, boxes * scale, h, w)}
    else:
        x = {name: np.empty((len(boxes), window.length, 3, h, w), np.uint8)}
        for n, (x1, y1, x2, y2) in enumerate(crops):
            for t, frame in enumerate(seen):
                x[name][n, t] = resized(frame.image[y1:y2, x1:x2], h, w).transpose(2, 0, 1)
    for role in window.providers:
        x[f"{name}.{role}"] = (
            seen[window.middle].values[role][slice(None) if row is None else slice(row, row + 1)]
            if role == "track"
            else cut_values(role, seen, crops, h, w)
        )
    return {key: torch.from_numpy(value) for key, value in x.items()}, boxes


def roi_aligned(seen: Sequence[Seen], boxes: np.ndarray, h: int, w: int) -> np.ndarray:
    """Boxes (N, 4) in pixels of the frames, cut by RoIAlign as detectors do: (N, T, 3, h, w) uint8.

    Corners are not rounded; bilinear samples, as many as fit, are averaged (He et al., ICCV 2017).
    """
    from torchvision.ops import roi_align  # its import costs a second

    stack = np.concatenate([frame.image.transpose(2, 0, 1) for frame in seen])  # (3 T, H, W)
    found = roi_align(
        torch.from_numpy(stack)[None].float(), [torch.from_numpy(boxes).float()], (h, w),
        sampling_ratio=-1, aligned=False,
    )  # (N, 3 T, h, w)  # fmt: skip
    return found.round().clamp(0, 255).byte().view(len(boxes), len(seen), 3, h, w).numpy()


def cut_values(
    role: str, seen: Sequence[Seen], crops: Sequence[tuple[int, int, int, int]], h: int, w: int
) -> np.ndarray:
    """A provider's maps (K, h', w') cut like the pixels: (N, T, K, H, W) float32.

    Flow keeps its unit, pixels of the frames read: resizing does not rescale the values.
    """
    height, width = seen[0].image.shape[:2]
    channels = len(seen[0].values[role])
    out = np.empty((len(crops), len(seen), channels, h, w), np.float32)
    for t, frame in enumerate(seen):
        value = np.asarray(frame.values[role], np.float32)
        if not len(crops):
            continue
        fy, fx = value.shape[1] / height, value.shape[2] / width  # maps may be coarser than frames
        for n, (x1, y1, x2, y2) in enumerate(crops):
            a, b = int(y1 * fy), max(int(np.ceil(y2 * fy)), int(y1 * fy) + 1)
            c, d = int(x1 * fx), max(int(np.ceil(x2 * fx)), int(x1 * fx) + 1)
            patch = np.ascontiguousarray(value[:, a:b, c:d].transpose(1, 2, 0))  # (h', w', K)
            out[n, t] = resized(patch, h, w).reshape(h, w, channels).transpose(2, 0, 1)
    return out


def anchor_boxes(window: Window, frame: Seen, size: tuple[int, int]) -> np.ndarray:
    """Boxes to cut, (N, 4) float32 in video pixels: the objects, the cells, or the whole frame."""
    height, width = size
    if window.kind == "objects":
        return np.asarray(frame.values["objects"], np.float32)[:, :4].reshape(-1, 4)
    rows, columns = window.grid if window.kind == "places" else (1, 1)
    y, x = np.mgrid[0:rows, 0:columns].reshape(2, -1)
    cells = np.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], 1)  # (N, 4)
    return (cells * [width, height, width, height]).astype(np.float32)


def corners(box: np.ndarray, context: float, height: int, width: int) -> tuple[int, int, int, int]:
    """Whole pixels of a box widened by `context` of its size, inside the frame, at least 1x1."""
    x1, y1, x2, y2 = (float(v) for v in box)
    dx, dy = context * (x2 - x1) / 2, context * (y2 - y1) / 2
    left = min(max(int(np.floor(x1 - dx)), 0), width - 1)
    top = min(max(int(np.floor(y1 - dy)), 0), height - 1)
    right = max(min(int(np.ceil(x2 + dx)), width), left + 1)
    bottom = max(min(int(np.ceil(y2 + dy)), height), top + 1)
    return left, top, right, bottom


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w, C) to (height, width, C): area averages when shrinking, bilinear when enlarging."""
    if image.shape[:2] == (height, width):
        return image
    shrink = image.shape[0] >= height and image.shape[1] >= width
    how = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=how)


def join(parts: Iterable[Units]) -> Units | None:
    """Pieces of one window of one video as one record; None if there are no rows at all."""
    pieces = [part for part in parts if len(part)]
    if not pieces:
        return None
    one = pieces[0]
    if len(pieces) == 1:
        return one
    return Units(
        one.window, one.video, {key: torch.cat([p.x[key] for p in pieces]) for key in one.x},
        np.concatenate([p.first for p in pieces]), np.concatenate([p.stop for p in pieces]),
        np.concatenate([p.seen_stop for p in pieces]), np.concatenate([p.box for p in pieces]),
        one.scene, one.size,
    )  # fmt: skip


NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


def needs_pictures(windows: Mapping[str, Window], video: Video) -> bool:
    """Whether anything looks at the frames: not if all windows are rows that came with the video,
    which then need not even be here."""
    rows = all(window.kind == "features" for window in windows.values())
    return not (rows and "features" in video.given and isinstance(video.open, Opener))


def frames_of(video: Video, short_side: int | None, pictures: bool) -> Iterator[Frame]:
    """The video's frames, without their pictures where nobody looks at them."""
    if pictures or not isinstance(video.open, Opener):
        return video.frames(short_side)
    return (Frame(NO_PICTURE, time) for time in video.open.times())


def paced(
    video: Video,
    fps: float,
    short_side: int | None = None,
    ignore: np.ndarray | None = None,
    pictures: bool = True,
) -> Iterator[tuple[Frame, int]]:
    """The video's frames, each with how many ticks of the rate `fps` it stands for.

    A video at another rate is resampled in time: the newest frame stands for every tick it has
    passed, so frames of a faster video stand for 0 or 1 ticks, those of a slower one for more.
    """
    same = abs(video.fps / fps - 1) < 0.02
    passed, before = 0, 0.0
    for frame in frames_of(video, short_side, pictures):
        lost = frame.missing(before, fps)  # what comes after damage keeps its place
        ticks = 1 + lost if same else int((frame.time + 1e-6) * fps) + 1 - passed
        passed, before = passed + ticks, frame.time
        yield without_ignored(frame, ignore if pictures else None), ticks


def without_ignored(frame: Frame, ignore: np.ndarray | None) -> Frame:
    """The frame with ignored regions (H, W) bool painted black; the mask is scaled to it."""
    if ignore is None:
        return frame
    height, width = frame.image.shape[:2]
    rows = np.arange(height) * ignore.shape[0] // height
    columns = np.arange(width) * ignore.shape[1] // width
    image = frame.image.copy()
    image[ignore[np.ix_(rows, columns)]] = 0
    return Frame(image, frame.time)
