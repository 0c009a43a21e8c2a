"""Rows of a backbone, made from the frames as they come: the same for files and for cameras."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vigil import plugins
from vigil.errors import ConfigError
from vigil.features.backbone import Backbone
from vigil.features.base import FeatureRow, Provider, Tracker
from vigil.features.engines import Runner, runner
from vigil.features.store import Header
from vigil.features.weights import file_hash, read_weights
from vigil.records import Frame, Video

GATE = 8  # different clips that an engine is judged on


class Extracted(Provider):
    """A backbone as a provider of the role "features".

    backbone  a name of `vigil extract --backbone`;  weights  the published file, if it needs one
    stride    frames from one clip to the next; default the length of a clip
    engine, dtype, threads  see `vigil.features.engines.runner`
    """

    role: ClassVar[str] = "features"

    def __init__(
        self,
        backbone: str,
        weights: Path | str | None = None,
        crops: int = 1,
        stride: int | None = None,
        engine: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.backbone: Backbone = plugins.find("backbones", backbone)(crops)
        self.name = backbone
        self.stride = self.backbone.frames if stride is None else stride
        if self.stride < 1:
            raise ConfigError(f"stride {stride}; expected 1 or more frames")
        self.weights = Path(weights) if weights else None
        self.options: dict[str, Any] = {"engine": engine, "dtype": dtype, "threads": threads}
        self.hash = file_hash(self.weights) if self.weights and self.weights.is_file() else ""
        self.made: Runner | None = None

    def runner(self) -> Runner:
        """The network under its engine, made and measured when first asked for."""
        if self.made is None:
            if not self.weights and self.options["engine"] == "auto":  # nothing to gain
                self.options |= {"engine": "torch", "dtype": "float32"}
            state = read_weights(self.weights) if self.weights else None
            network = self.backbone.network(state)
            self.made = runner(network, self.examples(), **self.options)
        return self.made

    def shared(self, threads: int) -> dict[str, Any]:
        """What another process needs to make the same rows: the engine and number format that
        were chosen here, on `threads` of its cores."""
        made = self.runner().describe()
        chosen = {"engine": made["engine"], "dtype": made["dtype"], "threads": threads}
        return {"backbone": self.name, "weights": self.weights, "crops": self.backbone.crops,
                "stride": self.stride, **chosen}  # fmt: skip

    def examples(self) -> list[tuple[Tensor, ...]]:
        """Different clips, one crop of each as the backbone prepares it, to choose an engine by."""
        clips = sample_clips(self.backbone.frames)
        return [(torch.from_numpy(self.clip(clip)[:1]),) for clip in clips]

    def clip(self, frames: np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 to (crops, 3, T, h, w) float32."""
        return stacked([self.backbone.frame(frame) for frame in frames])

    def start(self, video: Video, fps: float) -> Tracker:
        return Clips(self.backbone.frames, self.stride, self.backbone.frame, self.rows_of)

    def rows_of(self, clips: np.ndarray) -> np.ndarray:
        """(n, 3, T, h, w) float32 to (n, D) float32."""
        found = self.runner()(torch.from_numpy(clips))
        assert isinstance(found, Tensor)
        return found.float().numpy()

    def header(self, video: Video, count: int, damaged: list[tuple[int, int]]) -> Header:
        """What is written beside the rows of a video of `count` frames, some of them lost."""
        made = self.runner().describe()
        backbone = self.backbone
        versions = {**Header.__dataclass_fields__["versions"].default_factory(),  # type: ignore
                    "torch": torch.__version__, made["engine"]: made["version"]}  # fmt: skip
        return Header(
            self.name, self.hash, backbone.preprocessing, backbone.frames, self.stride,
            backbone.crops, backbone.dim, made["engine"], made["dtype"], made["parity"],
            video.name, video.fps, video.size, count, tuple(damaged), versions,
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        made = self.runner().describe()
        return {
            "name": self.name,
            "weights": self.hash,
            "preprocessing": self.backbone.preprocessing,
            "frames": self.backbone.frames,
            "stride": self.stride,
            "crops": self.backbone.crops,
            "dim": self.backbone.dim,
            "engine": made["engine"],
            "dtype": made["dtype"],
            "parity": made["parity"],
        }


class Clips:
    """Clips of one video: row i stands for the frames [i * stride, (i + 1) * stride).

    The last, unfinished clip is filled with its last frame, so every frame has a row.
    """

    def __init__(self, length: int, stride: int, prepare: Any, rows_of: Any) -> None:
        self.length, self.stride = length, stride
        self.prepare, self.rows_of = prepare, rows_of
        self.waiting: list[np.ndarray] = []  # prepared frames (crops, 3, h, w) from `start` on
        self.start, self.count, self.covered = 0, 0, 0
        self.damaged: list[tuple[int, int]] = []  # frames that the file had lost

    def see(self, frame: Frame, index: int) -> FeatureRow | None:
        """The row that is complete with this frame, if one is."""
        clip = self.push(frame)
        return None if clip is None else self.row(*clip)

    def push(self, frame: Frame) -> tuple[np.ndarray, int] | None:
        """Take a frame in; the clip (crops, 3, T, h, w) that it completes, and its start."""
        if self.count >= self.start:
            self.waiting.append(self.prepare(frame.image))
        self.count += 1
        return self.cut() if self.count == self.start + self.length else None

    def mended(self, frame: Frame, before: float, fps: float) -> int:
        """How many frames this one stands for: itself and those that damage took before it, so
        that the clips around the damage keep their places."""
        lost = frame.missing(before, fps)
        if lost:
            self.damaged.append((self.count, self.count + lost))
        return 1 + lost

    def cut(self) -> tuple[np.ndarray, int]:
        """The clip at `start`, and the next start."""
        frames = self.waiting + [self.waiting[-1]] * (self.length - len(self.waiting))
        clip, start = stacked(frames), self.start  # (crops, 3, T, h, w)
        self.start, self.covered = start + self.stride, start + self.length
        self.waiting = self.waiting[self.stride :]
        return clip, start

    def rest(self) -> Iterator[tuple[np.ndarray, int]]:
        """At the end: the unfinished clip, if frames remain that no clip has covered."""
        if self.waiting and self.covered < self.count:
            yield self.cut()

    def row(self, clip: np.ndarray, start: int) -> FeatureRow:
        return FeatureRow(self.rows_of(clip), start, start + self.stride)

    def finish(self) -> list[FeatureRow]:
        """The row of the unfinished clip; it stands for the frames up to the end only."""
        return [
            FeatureRow(row.value, row.first, self.count)
            for row in (self.row(*clip) for clip in self.rest())
        ]


def stacked(frames: list[np.ndarray]) -> np.ndarray:
    """T frames (crops, 3, h, w) as (crops, 3, T, h, w) in C order: engines copy anything else."""
    crops, colours, height, width = frames[0].shape
    clip = np.empty((crops, colours, len(frames), height, width), np.float32)
    return np.stack(frames, 2, out=clip)


def sample_clips(length: int) -> Iterator[np.ndarray]:
    """GATE clips (T, 120, 160, 3) uint8 of drifting textures of many kinds: what an engine must
    tell apart before it is trusted with video."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:120, 0:160] / 40
    for n in range(GATE):
        waves = rng.uniform(0.5, 6, (3, 2)) * rng.choice([-1, 1], (3, 2))
        speed, light = rng.uniform(-0.6, 0.6, 3), rng.uniform(40, 200)
        block = rng.integers(0, 80, (15, 20, 3)).repeat(8, 0).repeat(8, 1)
        frames = []
        for t in range(length):
            wave = [
                np.sin(a * x + b * y + v * t + n) for (a, b), v in zip(waves, speed, strict=True)
            ]
            image = light + 45 * np.stack(wave, 2) + np.roll(block, (n - 4) * t, 1)  # (120, 160, 3)
            frames.append(image.clip(0, 255).astype(np.uint8))
        yield np.stack(frames)
