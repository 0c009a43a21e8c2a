"""Values of a provider kept on disk: computed once a frame or pair, read back ever after.

One safetensors file a video and provider:

    flow, segmentation   (T, K, H, W) float16
    objects              boxes (n, 4) float32 of all frames, first (T + 1,) int64: the boxes of
                         frame t are rows first[t] .. first[t + 1]
    frames               (T,) uint32, a checksum of every frame that was seen

Its header says what made it and from what. Flow is rounded to float16 (11 bits of precision), also
in the run that computes it, so that every run gives the same numbers. Values go to an unnamed
scratch file as they come and to their place when the video has ended: memory stays small, an
interrupted video leaves nothing behind, and two processes that make one file both leave a whole
one. Flow of frames of 360 x 240 takes 350 kB a frame.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from vigil import __version__
from vigil.errors import ConfigError, InputError
from vigil.features.base import Provider, Tracker
from vigil.features.local_net import content_hash
from vigil.features.segmentation import halved
from vigil.features.value_files import Kept, Scratch, checksum
from vigil.records import Frame, Video
from vigil.video.read import PartFrames

ROLES = ("objects", "flow", "segmentation")
FORMAT = 1


class Cached(Provider):
    """Any provider of objects, flow or segmentation, with its values kept in `folder`.

    `stale`: what to do with a kept file that was made from something else, or is damaged: "refuse"
    (InputError with both values) or "recompute". A file whose frames turn out to be others only
    midway is refused in either case. Streams ("rtsp://...", a device) are not kept. A tracker must
    be finished for its values to be kept.
    """

    def __init__(
        self,
        provider: Provider,
        folder: Path | str,
        stale: Literal["refuse", "recompute"] = "refuse",
    ) -> None:
        if provider.role not in ROLES:
            raise ConfigError(f"a provider of {provider.role} is not kept; only {', '.join(ROLES)}")
        if stale not in ("refuse", "recompute"):
            raise ConfigError(f"stale {stale!r}; expected 'refuse' or 'recompute'")
        self.role = provider.role  # type: ignore[misc]
        self.provider, self.folder, self.stale = provider, Path(folder), stale
        self.made_by: dict[str, Any] | None = None

    def fit(self, videos: Iterable[Video]) -> None:
        self.provider.short_side, self.made_by = self.short_side, None
        self.provider.fit(videos)

    def start(self, video: Video, fps: float) -> Tracker:
        self.provider.short_side = self.short_side
        if is_stream(video.source):
            return self.provider.start(video, fps)
        return CachedValues(self, video, fps)

    def tensors(self) -> dict[str, Tensor]:
        return self.provider.tensors()

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        self.made_by = None
        self.provider.set_tensors(state)

    def describe(self) -> dict[str, Any]:
        rounded = {"kept": "float16"} if self.role == "flow" else {}
        return {**self.provider.describe(), **rounded}

    def maker(self) -> dict[str, Any]:
        """The provider's settings and a hash of what it has learned."""
        if self.made_by is None:
            learned = content_hash(self.provider.tensors())
            self.made_by = {"provider": plain(self.provider.describe()), "learned": learned}
        return self.made_by

    def path(self, video: Video) -> Path:
        """Where the values of a video, or of a part of one, are kept."""
        name = re.sub(r"[^\w.-]", "_", video.name)[:80]
        opener = video.open
        span = f" {opener.start_s}..{opener.stop_s}" if isinstance(opener, PartFrames) else ""
        place = hashlib.sha256((video.source + span).encode()).hexdigest()[:8]
        return self.folder / f"{name}-{place}.{self.role}.safetensors"


def plain(value: Any) -> Any:
    """As JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(value))


class CachedValues:
    """The tracker of one video: reads its file if there is one that fits, else makes it."""

    def __init__(self, owner: Cached, video: Video, fps: float) -> None:
        self.owner, self.video, self.fps = owner, video, fps
        self.path = owner.path(video)
        self.kept: Kept | None = None
        self.tracker: Tracker | None = None
        self.scratch: Scratch | None = None

    def see(self, frame: Frame, index: int) -> np.ndarray:
        """The value for this frame, as the provider gives it (flow rounded to float16)."""
        if index == 0:
            self.open(frame.image)
        if self.kept is not None:
            return self.kept.value(index, frame.image)
        assert self.tracker is not None, "frames are seen in order, from the first"
        value = self.tracker.see(frame, index)
        if self.owner.role == "flow":
            value = halved(value)
        if self.scratch is not None and not self.scratch.add(value, checksum(frame.image)):
            self.scratch = None  # its frames change size: not kept
        return value.astype(np.float32) if self.owner.role == "flow" else value

    def open(self, image: np.ndarray) -> None:
        """Decide, at the first frame, whether to read or to compute."""
        header = self.header(image)
        try:
            self.kept = Kept(self.path, header) if self.path.exists() else None
        except InputError:
            if self.owner.stale == "refuse":
                raise
        if self.kept is None:
            self.tracker = self.owner.provider.start(self.video, self.fps)
            self.scratch = Scratch(self.path, header)

    def header(self, image: np.ndarray) -> dict[str, Any]:
        """What the values depend on; a kept file must agree with all of it but the versions."""
        return {
            "format": FORMAT,
            "role": self.owner.role,
            **self.owner.maker(),
            "video": self.video.name,
            "source": source_facts(self.video.source),
            "fps": self.fps,
            "video_fps": self.video.fps,
            "size": list(self.video.size),
            "scene": self.video.scene,
            "read_at": list(image.shape[:2]),
            "short_side": min(image.shape[:2]),
            "first_frame": checksum(image),
            "versions": versions(),
        }

    def finish(self) -> list[Any]:
        """The video has ended: what was computed takes its place on disk."""
        rest = self.tracker.finish() if self.tracker else []
        if self.scratch is not None:
            self.scratch.save()
            self.scratch = None
        if self.kept is not None:
            self.kept.check_end()
        return rest


# -- what values depend on -----------------------------------------------------------------------
def is_stream(source: str) -> bool:
    """Whether frames come from an address or a device, which have no end."""
    path = Path(source)
    return "://" in source or (path.exists() and not path.is_file() and not path.is_dir())


def source_facts(source: str) -> dict[str, Any]:
    """Size, time and first bytes of a file, or of the files of a folder; else the name alone."""
    path = Path(source)
    try:
        inside = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        facts = [p.stat() for p in inside]
        with inside[0].open("rb") as file:
            first = hashlib.sha256(file.read(2**16)).hexdigest()
    except (OSError, ValueError, IndexError):
        return {"name": source}
    return {
        "files": len(inside),
        "bytes": sum(fact.st_size for fact in facts),
        "changed": max(fact.st_mtime_ns for fact in facts),
        "first_bytes": first,
    }


def versions() -> dict[str, str]:
    """Of what computed: told in the file, not compared."""
    return {
        "vigil": __version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "torch": str(torch.__version__),
    }
