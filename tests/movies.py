"""Small video files made on the spot, and pictures whose number can be read back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8


def numbered(index: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A grey picture, (height, width, 3), whose columns spell `index` in black and white."""
    image = np.full((height, width, 3), 128, np.uint8)
    step = width // BITS
    for bit in range(BITS):
        image[:, bit * step : (bit + 1) * step] = 235 if index >> bit & 1 else 20
    return image


def number(image: np.ndarray) -> int:
    """The index that `numbered` wrote."""
    height, width, _ = image.shape
    step = width / BITS
    middle = [int((bit + 0.5) * step) for bit in range(BITS)]
    return sum(int(image[height // 2, x].mean() > 128) << bit for bit, x in enumerate(middle))


def make(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    unit: Fraction = Fraction(1, 25),
    turn: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode RGB pictures with full control over codec, times and rotation."""
    with av.open(str(path), "w") as file:
        stream = None
        for i, image in enumerate(images):
            if stream is None:
                stream = file.add_stream(codec, rate=25, options=options or {})
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.codec_context.time_base = unit
                stream.codec_context.thread_count = 1
                if turn:
                    stream.set_display_rotation(turn)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (i if pts is None else pts[i]), unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def sound(path: Path) -> Path:
    """A file with one second of silence and no pictures."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        for i in range(16):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16000, 1024 * i
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path
