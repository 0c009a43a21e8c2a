"""What every layout is written with: pictures, video files, runs of frames, fitted masks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vigil.data.base import DataSet
from vigil.errors import InputError
from vigil.records import Truth, Video
from vigil.video.write import write_mp4

Progress = Callable[[int, int, str], None]  # videos done, of how many, the one at hand
GREY = np.array([0.299, 0.587, 0.114])  # BT.601 weights of R, G, B


@dataclass
class Writing:
    """One data set on its way into a folder, and what each of its videos is called there."""

    dataset: DataSet
    out: Path
    progress: Progress | None = None
    names: dict[str, dict[str, str]] = field(default_factory=dict)  # {part: {new: old}}

    def call(self, part: str, new: str, video: Video) -> str:
        """Note the new name of a video, and say that it is being written."""
        if self.progress:
            total = len(self.dataset.train) + len(self.dataset.test)
            self.progress(sum(map(len, self.names.values())), total, video.name)
        self.names.setdefault(part, {})[new] = video.name
        return new

    def normal(self) -> list[Video]:
        """The training videos of a one-class data set: those not known to be anomalous."""
        return [video for video in self.dataset.train if video.label != "anomalous"]

    def truth(self, video: Video) -> Truth:
        return self.dataset.test.truth(video.name)


def images(video: Video, folder: Path, form: str, grey: bool = False) -> int:
    """Every frame as a picture called `form.format(index)`; how many. Grey as BT.601 luma."""
    folder.mkdir(parents=True)
    count = 0
    for index, frame in enumerate(video.frames()):
        picture = frame.image
        if grey:
            picture = (picture @ GREY + 0.5).astype(np.uint8)  # (H, W)
        image(picture, folder / form.format(index))
        count = index + 1
    return count


def image(picture: np.ndarray, path: Path) -> None:
    """One (H, W) or (H, W, 3) RGB picture, in the format of the suffix; jpg at quality 95."""
    import cv2

    pixels = picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    good, data = cv2.imencode(path.suffix, pixels, quality)
    assert good, path.suffix
    path.write_bytes(data.tobytes())  # and not cv2.imwrite, which hides a full disk


def clip(video: Video, path: Path) -> int:
    """A video file with every frame once: .mp4 as H.264, .avi as MPEG-4; how many frames."""
    if path.suffix == ".mp4":
        return write_mp4(path, (frame.image for frame in video.frames()), video.fps, quality=18)
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with av.open(str(path), "w") as container:
        rate = Fraction(video.fps).limit_denominator(1001)
        stream: Any = container.add_stream("mpeg4", rate=rate, options={"qmin": "2"})
        stream.height, stream.width = video.size
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for index, frame in enumerate(video.frames()):
            picture: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), "rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
            count = index + 1
        container.mux(stream.encode(None))
    return count


def runs(frames: np.ndarray) -> list[tuple[int, int]]:
    """Runs of True as [first, stop), in order.

    >>> runs(np.array([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], frames.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def fitted_masks(truth: Truth, size: tuple[int, int]) -> np.ndarray:
    """(T, H, W) bool masks that say the same as the frame labels.

    In layouts whose frame labels are read off the masks, an abnormal frame whose mask is empty
    (all hidden, or no masks at hand) gets a full one, and a normal frame an empty one.
    """
    frames = truth.frames
    masks = np.zeros((len(frames), *size), bool) if truth.masks is None else truth.masks().copy()
    masks[~frames] = False
    masks[frames & ~masks.any(axis=(1, 2))] = True
    return masks


def class_name(truth: Truth) -> str:
    """What happens first in an abnormal video, as one word: "wrong way" -> "WrongWay"."""
    found = truth.classes[truth.frames] if truth.classes is not None else np.zeros(0, str)
    return camel(str(found[0])) if len(found) else "Anomaly"


def camel(text: str) -> str:
    return "".join(word.capitalize() for word in re.split(r"[^A-Za-z]+", text)) or "Anomaly"


def checked(count: int, truth: Truth, video: Video) -> None:
    """Labels are written for what was written, or not at all."""
    if count != len(truth.frames):
        raise InputError(f"{video.name}: {count} frames, but {len(truth.frames)} labels")


def cells(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Arrays of any shapes as one row of MATLAB cells, (1, n) object."""
    arrays = list(arrays)
    row = np.empty((1, len(arrays)), object)
    for index, array in enumerate(arrays):
        row[0, index] = array
    return row
