"""Where the objects are: boxes that came with the data, or what differs from the background.

`Foreground` needs no weights: it compares each frame with a background learned from the normal
videos of the scene, or with one that it builds from the stream itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from vigil.errors import ConfigError, InputError
from vigil.features.base import Provider, Tracker
from vigil.records import Frame, Video

MIN_SIDE = 3.0  # pixels; a smaller given box holds nothing to look at


class Given(Provider):
    """The boxes that came with the data set: `video.given["objects"]`, clipped to the frame."""

    role: ClassVar[str] = "objects"

    def start(self, video: Video, fps: float) -> Tracker:
        if "objects" not in video.given:
            raise InputError(
                f"{video.source}: no boxes came with this video; use objects=foreground"
            )
        return GivenBoxes(video, list(video.given["objects"]()))


class GivenBoxes:
    """Boxes of one video, frame after frame."""

    def __init__(self, video: Video, boxes: list[np.ndarray]) -> None:
        self.video, self.boxes = video, boxes

    def see(self, frame: Frame, index: int) -> np.ndarray:
        """(n, 4) float32 in pixels of the video's own size."""
        if index >= len(self.boxes):
            raise InputError(
                f"{self.video.source}: boxes for {len(self.boxes)} frames, "
                f"but frame {index} was read; make the boxes again for this video"
            )
        return clip(np.asarray(self.boxes[index], np.float32), self.video.size)

    def finish(self) -> list[Any]:
        return []


def clip(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(n, 4+) boxes cut off at the frame of `size` (height, width); tiny and broken ones dropped.

    >>> clip(np.array([[-5, 2, 10, 12], [3, 3, 4, 4]], np.float32), (20, 20)).tolist()
    [[0.0, 2.0, 10.0, 12.0]]
    """
    if not boxes.size:
        return np.empty((0, 4), np.float32)
    height, width = size
    boxes = boxes[np.isfinite(boxes[:, :4]).all(1), :4]
    boxes = boxes.clip(0, np.array([width, height, width, height], np.float32))
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return boxes[(wide >= MIN_SIDE) & (high >= MIN_SIDE)]


class Foreground(Provider):
    """Boxes of what differs from the background of the scene.

    A pixel is foreground where the frame lies outside the range of the background around it (so
    that a pixel of camera shake is no difference) by more than `weak` grey levels; a blob needs
    `least` of the frame height squared as area, and one pixel beyond `strong`. The
    background follows the light within `adapt_s` seconds; what stands still on it stays foreground
    for `keep_s` seconds, so that a bag left behind is seen for minutes.
    """

    role: ClassVar[str] = "objects"
    SAMPLES: ClassVar[int] = 48  # frames of a scene that its background is the median of

    def __init__(
        self,
        weak: float = 10.0,
        strong: float = 25.0,
        least: float = 0.0012,
        adapt_s: float = 20.0,
        keep_s: float = 600.0,
    ) -> None:
        if not 0 < weak <= strong or least <= 0 or min(adapt_s, keep_s) <= 0:
            raise ConfigError("foreground: expected 0 < weak <= strong and the rest above 0")
        self.weak, self.strong, self.least = weak, strong, least
        self.adapt_s, self.keep_s = adapt_s, keep_s
        self.background: dict[str, np.ndarray] = {}  # scene -> (H, W, 3) uint8

    def fit(self, videos: Iterable[Video]) -> None:
        """The median of frames a second apart, evenly drawn over all videos of each scene."""
        drawn: dict[str, list[np.ndarray]] = {}
        seen: dict[str, int] = {}
        random = np.random.default_rng(0)
        for video in videos:
            pool, every = drawn.setdefault(video.scene, []), max(round(video.fps), 1)
            for index, frame in enumerate(video.frames(self.short_side)):
                if index % every or (pool and pool[0].shape != frame.image.shape):
                    continue
                count = seen[video.scene] = seen.get(video.scene, 0) + 1
                if len(pool) < self.SAMPLES:
                    pool.append(frame.image)
                elif (place := int(random.integers(count))) < self.SAMPLES:
                    pool[place] = frame.image
        self.background = {scene: median(pool) for scene, pool in drawn.items() if pool}

    def start(self, video: Video, fps: float) -> Tracker:
        return Blobs(self, self.background.get(video.scene), video.size, fps)

    def tensors(self) -> dict[str, Tensor]:
        return {f"background:{s}": torch.from_numpy(b) for s, b in self.background.items()}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        self.background = {key.partition(":")[2]: t.numpy() for key, t in state.items()}

    def describe(self) -> dict[str, Any]:
        keys = ("weak", "strong", "least", "adapt_s", "keep_s")
        return {"name": "foreground", **{key: getattr(self, key) for key in keys}}


def median(frames: list[np.ndarray]) -> np.ndarray:
    """Per pixel and colour, (H, W, 3) uint8, in slices of rows so that memory stays small."""
    stack = np.stack(frames)  # (n, H, W, 3)
    middle = len(stack) // 2
    return np.concatenate(
        [np.partition(part, middle, axis=0)[middle] for part in np.array_split(stack, 8, axis=1)]
    )


def strongest(image: Any) -> np.ndarray:
    """(H, W, 3) to (H, W): the largest of the three colours, ten times as fast as NumPy."""
    red, green, blue = cv2.split(image)
    return cv2.max(cv2.max(red, green), blue)


class Blobs:
    """Foreground of one video, frame after frame."""

    BOOT_S = 12.0  # seconds over which a stream without a known scene builds its background
    DARKEST = 0.5  # share of light that the deepest shadow leaves
    UNEVEN = 0.08  # standard deviation of that share over 5x5 pixels of one shadow
    TINT = 8.0  # grey levels by which a colour in shadow may be off
    FLOODED = 0.5  # share of foreground beyond which the background must be of something else

    def __init__(
        self, rule: Foreground, known: np.ndarray | None, size: tuple[int, int], fps: float
    ) -> None:
        self.rule, self.known, self.size, self.fps = rule, known, size, fps
        self.background: np.ndarray | None = None  # (H, W, 3) float32
        self.samples: list[np.ndarray] | None = None  # while booting
        self.since = 0  # frames since the boot began
        self.flooded = 0  # frames in a row that were mostly foreground

    def see(self, frame: Frame, index: int) -> np.ndarray:
        """(n, 4) float32 boxes in pixels of the video's own size."""
        image = cv2.GaussianBlur(frame.image, (3, 3), 0)  # (H, W, 3)
        if self.background is None or self.background.shape != image.shape:
            self.begin(image)
        mask = self.mask(image)
        share = cv2.countNonZero(mask) / mask.size
        self.flooded = self.flooded + 1 if share > self.FLOODED else 0
        if self.flooded and (index == 0 or self.flooded > 2 * self.fps):
            self.boot(image)  # another scene, or somebody moved the camera
            mask = np.zeros_like(mask)
        self.learn(image, mask)
        return self.boxes(mask)

    def begin(self, image: np.ndarray) -> None:
        if self.known is not None and self.known.shape == image.shape:
            self.adopt(cv2.GaussianBlur(self.known, (3, 3), 0).astype(np.float32))
        else:
            self.boot(image)

    def boot(self, image: np.ndarray) -> None:
        self.samples, self.since, self.flooded = [image], 0, 0
        self.adopt(image.astype(np.float32))

    def adopt(self, background: np.ndarray) -> None:
        """Take a background; its range over 3x3 pixels is what shake may show."""
        self.background = background
        self.still = np.clip(background, 0, 255).astype(np.uint8)
        self.grey = cv2.cvtColor(self.still, cv2.COLOR_RGB2GRAY).astype(np.float32) + 1
        square = np.ones((3, 3), np.uint8)
        self.low, self.high = cv2.erode(self.still, square), cv2.dilate(self.still, square)
        self.thumb = np.maximum(background[::4, ::4], 8)

    def mask(self, image: np.ndarray) -> np.ndarray:
        """(H, W) uint8, 1 = foreground."""
        gain = float(np.median(image[::4, ::4] / self.thumb).clip(0.5, 2))  # light of the scene
        image = np.asarray(cv2.convertScaleAbs(image, alpha=1 / gain))
        beyond = cv2.max(cv2.subtract(image, self.high), cv2.subtract(self.low, image))
        apart = strongest(beyond)  # (H, W)
        apart[self.shadow(image, apart > self.rule.weak)] = 0
        weak: Any = (apart > self.rule.weak).astype(np.uint8)
        weak = cv2.morphologyEx(weak, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        side = max(image.shape[0] // 60, 1)  # a body cut at the belt is one body
        weak = cv2.morphologyEx(weak, cv2.MORPH_CLOSE, np.ones((2 * side + 1, 3), np.uint8))
        count, labels = cv2.connectedComponents(weak, connectivity=8)
        sure = np.bincount(labels[apart > self.rule.strong], minlength=count) > 0
        sure[0] = False
        return sure[labels].astype(np.uint8)

    def shadow(self, image: np.ndarray, where: np.ndarray) -> np.ndarray:
        """(H, W) bool: the background's own colour and texture, only darker, and no edge near."""
        shade = cv2.divide(
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), self.grey
        )  # (H, W) share of the light that is left
        mean = cv2.blur(shade, (5, 5))
        uneven = cv2.blur(shade * shade, (5, 5)) - mean * mean
        found = where & (mean > self.DARKEST) & (mean < 0.97) & (uneven < self.UNEVEN**2)
        place = np.nonzero(found)
        still = self.still[place].astype(np.float32)  # (n, 3)
        tint = np.abs(image[place] - shade[place][:, None] * still).max(1, initial=0)
        found[place] = tint < self.TINT
        return cv2.morphologyEx(
            found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
        ).astype(bool)

    def learn(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Let the background follow the light; a boot takes the median of what it has seen."""
        self.since += 1
        every = max(round(self.fps / 2), 1)
        if self.since % every:
            return
        assert self.background is not None
        if self.samples is not None:
            self.samples.append(image)
            n = len(self.samples)
            if n in (3, 5, 9, 13) or n % 8 == 0:
                self.adopt(median(self.samples).astype(np.float32))
            if self.since > self.BOOT_S * self.fps:
                self.samples = None
            return
        seconds = every / self.fps
        background = self.background.copy()
        cv2.accumulateWeighted(image, background, min(seconds / self.rule.adapt_s, 1), 1 - mask)
        cv2.accumulateWeighted(image, background, min(seconds / self.rule.keep_s, 1), mask)
        self.adopt(background)

    def boxes(self, mask: np.ndarray) -> np.ndarray:
        """(n, 4) boxes of the blobs, scaled to the video's own size."""
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        x, y, w, h, area = stats[1:].T
        found = np.stack([x, y, x + w, y + h], 1).astype(np.float32)
        height, width = mask.shape
        found = found[area >= self.rule.least * height * height]
        scale = np.array([self.size[1] / width, self.size[0] / height] * 2, np.float32)
        return clip(found * scale, self.size)

    def finish(self) -> list[Any]:
        return []
