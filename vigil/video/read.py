"""Reading video: files, image folders and URLs as frames in time order.

A file is decoded from its first packet to its last; what its container says about length is never
believed. Pictures are scaled while they are still YUV, so no full-size RGB picture is made where a
small one was asked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import numpy as np

from vigil.errors import ConfigError, InputError
from vigil.files import natural
from vigil.records import Frame, Label, Video
from vigil.video.images import IMAGE_SUFFIXES, Opener, list_images, open_images, scaled_size

__all__ = [
    "IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "count_frames", "find_videos", "open_images",
    "open_video", "part", "scaled_size",
]  # fmt: skip

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".flv", ".3gp", ".ogv", ".y4m", ".h264", ".264", ".h265", ".265",
})  # fmt: skip
OPEN_TIMEOUT, READ_TIMEOUT = 15.0, 30.0  # seconds without data
PROTOCOLS = {"file": "file", "http": "http,tcp,httpproxy", "https": "https,tls,tcp,httpproxy"}

log = logging.getLogger("vigil")


def open_video(
    source: str | Path,
    *,
    name: str | None = None,
    scene: str = "",
    view: str = "",
    label: Label = "unknown",
    given: Mapping[str, Callable[[], Any]] | None = None,
) -> Video:
    """A video file, a folder of images, or a file:// or http(s):// URL as a `Video`.

    The first frame is decoded to learn the true size, after rotation. The name is the file's stem
    or the folder's name. Pixels are taken as square. Frames keep the times the file gives them,
    counted from the first; missing or repeated times are mended so that time always grows.

    Raises InputError, naming the source, where no frame can be read from it.
    """
    path, address = _locate(str(source))
    if path is not None and path.is_dir():
        return open_images(path, name=name, scene=scene, view=view, label=label, given=given)
    frames = FileFrames(address, str(source))
    fps, size = frames.probe()
    stem = path.stem if path is not None else Path(unquote(urlsplit(address).path)).stem
    return Video(name or stem or "video", str(source), fps, size, frames, scene, view, label,
                 given or {})  # fmt: skip


def count_frames(video: Video) -> int:
    """How many frames there are, by decoding them all (image folders: by their files)."""
    if isinstance(video.open, Opener):
        return sum(1 for _ in video.open.times())
    return sum(1 for _ in video.frames())


def part(video: Video, start_s: float, stop_s: float) -> Video:
    """The frames with start_s <= time < stop_s as a video of the same name, times from 0 again.

    Boxes given for each frame are cut alike; other given things are dropped.
    Raises ConfigError for an empty interval.
    """
    if not 0 <= start_s < stop_s:
        raise ConfigError(f"{video.name}: part {start_s}..{stop_s} s; expected 0 <= start < stop")
    frames = PartFrames(video, start_s, stop_s)
    boxes = {"objects": frames.objects} if "objects" in video.given else {}
    return replace(video, open=frames, given=boxes)


def find_videos(folder: str | Path) -> list[Path]:
    """Video files, and folders of images, in a folder and below, in natural order.

    A folder is a video if it holds images and no video files. Hidden names are passed over; a
    subfolder that cannot be read is logged. Raises InputError if `folder` itself cannot be read.
    """
    root, found = Path(folder), []
    list_images(root)

    def skip(error: OSError) -> None:
        log.warning("%s: passed over, cannot be read (%s)", error.filename, error.strerror)

    for place, folders, files in os.walk(root, onerror=skip):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = [Path(place, name) for name in files if not name.startswith(".")]
        videos = [file for file in shown if file.suffix.lower() in VIDEO_SUFFIXES]
        images = any(file.suffix.lower() in IMAGE_SUFFIXES for file in shown)
        found += videos or ([Path(place)] if images else [])
    return sorted(found, key=lambda path: [(natural(p), p) for p in path.relative_to(root).parts])


@dataclass(frozen=True)
class PartFrames(Opener):
    """Opens an interval of another video."""

    video: Video
    start_s: float
    stop_s: float

    def __call__(self, short_side: int | None = None, start: float = 0.0) -> Iterator[Frame]:
        opener = self.video.open
        early = (short_side, self.start_s) if isinstance(opener, Opener) else (short_side,)
        first = None
        for image, time, lost in opener(*early):
            if time >= self.stop_s:
                return
            if time >= self.start_s:
                first = time if first is None else first
                if time - first >= start:
                    yield Frame(image, time - first, lost)

    def times(self) -> Iterator[float]:
        kept = [time for time in self._all_times() if self.start_s <= time < self.stop_s]
        return (time - kept[0] for time in kept)

    def objects(self) -> list[np.ndarray]:
        """The boxes given for the frames of this part."""
        pairs = zip(self.video.given["objects"](), self._all_times(), strict=False)
        return [boxes for boxes, time in pairs if self.start_s <= time < self.stop_s]

    def _all_times(self) -> Iterator[float]:
        opener = self.video.open
        if isinstance(opener, Opener):
            return opener.times()
        return (frame.time for frame in self.video.frames())


@dataclass(frozen=True)
class FileFrames(Opener):
    """Opens a video file or URL: `address` as FFmpeg wants it, `shown` as the user wrote it."""

    address: str
    shown: str

    def probe(self) -> tuple[float, tuple[int, int]]:
        """(frames a second, (height, width) as shown) from the first frame that decodes."""
        decoded = self._decoded()
        try:
            frame, _, fps, _ = next(decoded)
            size = frame.height, frame.width
            return fps, size[::-1] if _quarter_turns(frame) % 2 else size
        finally:
            decoded.close()

    def times(self) -> Iterator[float]:
        return (time for _, time, _, _ in self._decoded())

    def __call__(self, short_side: int | None = None, start: float = 0.0) -> Iterator[Frame]:
        picture = None
        for frame, time, _, lost in self._decoded():
            picture = picture or _Picture(frame, short_side)
            if time >= start:
                yield Frame(picture(frame), time, lost)

    def _decoded(self) -> Generator[tuple[Any, float, float, int], None, None]:
        """(FFmpeg's frame, its time, frames a second, packets lost before it); InputError if there
        is not one."""
        import av

        count = 0
        try:
            with self._container() as container:
                stream = _video_stream(container, self.shown)
                # one thread costs least CPU a frame; whoever has cores to spare reads two videos
                stream.thread_type, stream.codec_context.thread_count = "NONE", 1
                fps = _rate(stream)
                clock = _Clock(1 / fps)
                for frame, lost in _frames(container, stream, self.shown):
                    yield frame, clock(frame.pts, frame.time_base), fps, lost
                    count += 1
        except av.FFmpegError as error:
            raise InputError(
                f"{self.shown}: not readable as video after {count} frames ({error.strerror}); "
                "the file may be truncated, or no video at all"
            ) from error
        if not count:
            raise InputError(f"{self.shown}: not one frame could be decoded; is it truncated?")

    def _container(self) -> Any:
        import av

        allowed = PROTOCOLS[self.address.partition(":")[0]]
        return av.open(
            self.address,
            options={"protocol_whitelist": allowed},
            timeout=(OPEN_TIMEOUT, READ_TIMEOUT),
            metadata_errors="replace",
        )


class _Picture:
    """Makes RGB arrays of FFmpeg's frames, all of the size and turn of the first one."""

    def __init__(self, first: Any, short_side: int | None) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self.turns = _quarter_turns(first)
        self.size = first.height, first.width
        self.height, self.width = scaled_size(self.size, short_side)
        self.scale, self.pack = VideoReformatter(), VideoReformatter()
        self.area = Interpolation.AREA

    def __call__(self, frame: Any) -> np.ndarray:
        if (frame.height, frame.width) != (self.height, self.width):
            # swscale's planar output is twice as fast as its packed one, and keeps all the colour
            frame = self.scale.reformat(
                frame, self.width, self.height, "gbrp", interpolation=self.area, threads=1
            )
        frame = self.pack.reformat(frame, format="rgb24", interpolation=self.area, threads=1)
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        image = rows[: self.height, : self.width * 3].reshape(self.height, self.width, 3)
        return np.array(np.rot90(image, self.turns) if self.turns else image, order="C")


class _Clock:
    """Seconds from the first frame, always growing, whatever the file says."""

    def __init__(self, period: float) -> None:
        self.period, self.time, self.base = period, -period, 0.0
        self.zero: int | None = None

    def __call__(self, pts: int | None, unit: Any) -> float:
        expected = self.time + self.period
        time = expected if pts is None else self._stated(pts, unit)
        if time <= self.time - 1 and pts is not None:  # the file's clock was set back: go on here
            self.zero, self.base = pts, expected
            time = expected
        elif time <= self.time:  # a repeated or swapped time: the next one will be right again
            time = self.time + self.period / 1000
        self.time = time
        return time

    def _stated(self, pts: int, unit: Any) -> float:
        if self.zero is None:
            self.zero, self.base = pts, self.time + self.period
        return self.base + (pts - self.zero) * unit.numerator / unit.denominator


def _frames(container: Any, stream: Any, shown: str) -> Iterator[tuple[Any, int]]:
    """Every frame that decodes, with the packets before it that did not; they are logged too."""
    import av

    broken = told = 0
    for packet in _packets(container, stream, shown):
        try:
            frames = packet.decode() if packet is not None else stream.decode(None)
        except av.InvalidDataError:
            broken += 1
            continue
        for frame in frames:
            yield frame, broken - told
            told = broken
    if broken:
        log.warning("%s: %d damaged packets were passed over", shown, broken)


def _packets(container: Any, stream: Any, shown: str) -> Iterator[Any]:
    """The packets of a stream, then the one that empties the decoder, damage or not."""
    import av

    try:
        yield from container.demux(stream)
    except av.InvalidDataError as error:
        log.warning("%s: damaged, read up to here only (%s)", shown, error.strerror)
        yield None


def _video_stream(container: Any, shown: str) -> Any:
    """The first real video stream; a cover picture of a sound file is none."""
    for stream in container.streams.video:
        if stream.codec_context is not None and not _is_cover(stream):
            return stream
    kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
    raise InputError(f"{shown}: holds no video that can be decoded, only {', '.join(kinds)}")


def _is_cover(stream: Any) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _rate(stream: Any) -> float:
    """Nominal frames a second; 25 where the file gives nothing sensible."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= 1000:
            return float(rate)
    return 25.0


def _quarter_turns(frame: Any) -> int:
    """Quarter turns counter-clockwise that bring a frame upright."""
    return round(frame.rotation / 90) % 4


def _locate(source: str) -> tuple[Path | None, str]:
    """(local path or None, address for FFmpeg) of what a user named; checked before FFmpeg."""
    scheme, separator, _ = source.partition("://")
    scheme = scheme.lower()
    if separator and scheme in ("http", "https"):
        return None, f"{scheme}://{source[len(scheme) + 3 :]}"
    if separator and scheme != "file":
        raise InputError(f"{source}: protocol {scheme!r}; expected a file, http:// or https://")
    path = Path(url2pathname(urlsplit(source).path) if separator else source)
    try:
        if path.is_dir():
            return path, ""
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from None
    if not path.is_file():
        raise InputError(f"{source}: neither a file nor a folder; watch live sources instead")
    if size == 0:
        raise InputError(f"{source}: an empty file (0 bytes); expected a video")
    return path, f"file:{path}"
