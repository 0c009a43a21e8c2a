"""Writing frames as H.264 .mp4: whole clips of an event, annotated video, generated data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vigil.errors import ConfigError, ExtraError, InputError, VigilError
from vigil.files import writing
from vigil.records import Video

BT601 = 6  # the matrix swscale takes where none is named, so every reader agrees on the colours


def write_mp4(
    path: Path | str, frames: Iterable[np.ndarray], fps: float, *, quality: int = 23
) -> int:
    """Write RGB frames, (H, W, 3) uint8 of one size, as H.264 yuv420p; return how many.

    `quality` is the constant rate factor, 0 (best) to 51. An odd height or width grows by one
    pixel that repeats the edge, for yuv420p needs even sizes. The same frames give the same bytes
    with the same libraries. The file appears when it is complete, or not at all.

    Raises ConfigError (fps, quality), InputError (no frames, wrong or changing shape),
    StorageError (disk full or read-only), ExtraError (no H.264 encoder in this PyAV).
    """
    if not 0 < fps <= 1000:
        raise ConfigError(f"{path}: frame rate {fps}; expected 0 < fps <= 1000")
    if not 0 <= quality <= 51:
        raise ConfigError(f"{path}: quality {quality}; expected 0 (best) to 51")
    if Path(path).suffix.lower() != ".mp4":
        raise ConfigError(f"{path}: expected a file name that ends in .mp4")
    import av

    try:
        with writing(path) as new:
            return _encode(new, Path(path), frames, fps, quality)
    except VigilError:
        raise
    except av.FFmpegError as error:
        raise InputError(f"{path}: these frames cannot be encoded ({error})") from error


def write_clip(
    path: Path | str,
    video: Video,
    start: int,
    stop: int,
    draw: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> int:
    """Cut the frames [start, stop) of a video into an .mp4; return how many were written.

    `draw(image, index)` may return another picture for each frame; `index` counts in `video`.
    Raises as `write_mp4` does, and ConfigError for an empty interval.
    """
    if not 0 <= start < stop:
        raise ConfigError(f"{video.name}: clip [{start}, {stop}); expected 0 <= start < stop")
    frames = enumerate(frame.image for frame in islice(video.frames(), stop))
    cut = islice(frames, start, None)
    return write_mp4(path, (draw(x, i) if draw else x for i, x in cut), video.fps)


def _encode(new: Path, path: Path, frames: Iterable[np.ndarray], fps: float, quality: int) -> int:
    """All frames into the file `new`, which is to become `path`."""
    import av

    count, size = 0, (0, 0)
    with av.open(str(new), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as file:
        for image in frames:
            if count == 0:
                size = _checked(image, path, None)
                stream = _stream(file, size, fps, quality)
            _checked(image, path, size)
            odd = [(0, side % 2) for side in size] + [(0, 0)]
            picture = np.pad(image, odd, mode="edge") if any(s % 2 for s in size) else image
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = count
            file.mux(stream.encode(frame))
            count += 1
        if count == 0:
            raise InputError(f"{path}: no frames to write")
        file.mux(stream.encode(None))
    return count


def _checked(image: np.ndarray, path: Path, size: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of a frame that can be written."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(
            f"{path}: a frame of shape {image.shape}, {image.dtype}; expected (H, W, 3) uint8"
        )
    found = image.shape[:2]
    if size is not None and found != size:
        raise InputError(f"{path}: a frame of size {found} after frames of size {size}")
    return found


def _stream(file: Any, size: tuple[int, int], fps: float, quality: int) -> Any:
    """One H.264 stream; one thread and no time of day, so that the bytes repeat."""
    import av

    rate = Fraction(fps).limit_denominator(10_000)
    options = {"crf": str(quality), "preset": "veryfast", "flags": "+bitexact"}
    try:
        stream = file.add_stream("libx264", rate=rate, options=options)
    except (av.FFmpegError, ValueError) as error:
        raise ExtraError("writing .mp4 needs PyAV with libx264: pip install -U av") from error
    stream.height, stream.width = (side + side % 2 for side in size)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    stream.codec_context.time_base = 1 / rate
    stream.codec_context.colorspace = BT601
    return stream
