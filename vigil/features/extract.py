"""Videos to files of features: decode, preprocess and network overlap; what is done is skipped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vigil.errors import InputError, VigilError
from vigil.features.base import FeatureRow
from vigil.features.extracted import Clips, Extracted
from vigil.features.store import Rows, Writer, compare, file_of
from vigil.records import Video

AHEAD = 4  # clips that decoding may be in front of the network
TOGETHER = 16  # frames of an image encoder that go through the network at once
Tell = Callable[[str, int, int], None]


@dataclass
class Extraction:
    """What one call did: names of videos made and skipped, reasons of those that failed, frames
    lost to damage as (first, stop)."""

    made: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    frames: int = 0
    seconds: float = 0.0

    def add(self, other: Extraction) -> None:
        """Take in what another call did."""
        self.made += other.made
        self.skipped += other.skipped
        self.failed |= other.failed
        self.damaged |= other.damaged
        self.frames, self.seconds = self.frames + other.frames, self.seconds + other.seconds

    def rate(self) -> float:
        """Frames a second, decoding included."""
        return self.frames / self.seconds if self.seconds else 0.0


def extract(
    videos: Iterable[Video], folder: Path | str, maker: Extracted, tell: Tell | None = None
) -> Extraction:
    """Rows of every video into `folder`, one file each, in order.

    Videos whose file is there and was made the same way are skipped; a file made another way is
    refused (InputError with both values), never overwritten. A video that cannot be read is noted
    with the reason, and the rest goes on. `tell(words, done, of)` hears of the progress.
    """
    videos, done = list(videos), Extraction()
    check_names(videos)
    for n, video in enumerate(videos):
        path = file_of(folder, video.name)
        if path.is_file():
            check_made(path, maker)
            done.skipped.append(video.name)
            continue
        if tell:
            tell(f"{video.name}  {done.rate():.0f} frames/s", n, len(videos))
        maker.runner()  # chosen before the clock starts
        began = time.perf_counter()
        try:
            clips = extract_one(video, path, maker)
        except InputError as error:
            done.failed[video.name] = str(error)
            continue
        done.frames += clips.count
        done.made.append(video.name)
        done.damaged |= {video.name: clips.damaged} if clips.damaged else {}
        done.seconds += time.perf_counter() - began
    if tell:
        tell(f"{done.rate():.0f} frames/s", len(videos), len(videos))
    return done


def check_names(videos: Iterable[Video]) -> None:
    """`InputError` where two videos would share one file."""
    seen: dict[str, str] = {}
    for video in videos:
        if video.name in seen:
            raise InputError(
                f"two videos are called {video.name!r}: {seen[video.name]} and {video.source}; "
                "rename one, or extract their folders one by one"
            )
        seen[video.name] = video.source


def check_made(path: Path, maker: Extracted) -> None:
    """A file that is there must be of the same kind, crops included."""
    header = Rows(path).header
    backbone = maker.backbone
    wanted = {
        "backbone": maker.name,
        "weights": maker.hash,
        "preprocessing": backbone.preprocessing,
        "frames": backbone.frames,
        "stride": maker.stride,
        "dim": backbone.dim,
    }
    compare(header.identity(), wanted, path)
    if header.crops != backbone.crops:
        raise InputError(
            f"{path}: features of {header.crops} crops, {backbone.crops} asked for; "
            "choose another --out"
        )


def extract_one(video: Video, path: Path, maker: Extracted) -> Clips:
    """One video's file; returns what went through: its frames, the damaged ones."""
    clips = Clips(maker.backbone.frames, maker.stride, maker.backbone.frame, maker.rows_of)
    with Writer(path) as writer:
        for rows in batches(read_ahead(video, clips), maker):
            for row in rows:
                writer.add(row)
        if not clips.count:
            raise InputError(f"{video.source}: no frame in it")
        trim(writer, clips.count)
        writer.keep(maker.header(video, clips.count, clips.damaged))
    return clips


def trim(writer: Writer, count: int) -> None:
    """The last row stands for the frames that there are."""
    writer.bounds = [(first, min(stop, count)) for first, stop in writer.bounds]


def batches(
    clips: Iterable[tuple[np.ndarray, int]], maker: Extracted
) -> Iterator[list[FeatureRow]]:
    """Clips through the network: one at a time, images several at a time."""
    together = TOGETHER if maker.backbone.frames == 1 else 1
    held: list[tuple[np.ndarray, int]] = []

    def rows() -> list[FeatureRow]:
        crops = maker.backbone.crops
        given = [clip for clip, _ in held]  # one clip is not copied: ten crops of it are 96 MB
        found = maker.rows_of(np.concatenate(given) if len(given) > 1 else given[0])
        parts = found.reshape(len(held), crops, -1)  # (n, crops, D)
        made = [FeatureRow(v, s, s + maker.stride) for v, (_, s) in zip(parts, held, strict=True)]
        held.clear()
        return made

    for clip in clips:
        held.append(clip)
        if len(held) == together:
            yield rows()
    if held:
        yield rows()


def read_ahead(video: Video, clips: Clips) -> Iterator[tuple[np.ndarray, int]]:
    """Clips of a video, decoded and prepared by a thread that runs AHEAD of the network."""
    found: queue.Queue[tuple[np.ndarray, int] | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: tuple[np.ndarray, int] | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                found.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            before = 0.0
            for frame in video.frames():
                for _ in range(clips.mended(frame, before, video.fps)):
                    clip = clips.push(frame)
                    if clip is not None and not put(clip):
                        return
                before = frame.time
            for clip in clips.rest():
                put(clip)
            put(None)
        except VigilError as error:
            put(error)
        except BaseException as error:  # told where the clips are waited for
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := found.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
