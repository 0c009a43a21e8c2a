"""What the generated data sets share: their labels, their folder, making and opening it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vigil.errors import ConfigError, InputError, unknown
from vigil.files import writing
from vigil.records import Label, Truth, Video

COLUMNS = ("frame", "actor", "kind", "class", "x1", "y1", "x2", "y2")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Labels:
    """All that is known about one generated video.

    codes  (T,) uint8 class of each frame, an index into `names`; 0 = normal
    boxes  (N, 8) int32, see COLUMNS: one row a visible actor a frame, the box of its visible
           pixels; class > 0 = anomalous; sorted by frame
    masks  (T, H, W) bool, True on the visible pixels of anomalous actors
    names  of the classes, names[0] == "";  kinds  of the actors
    """

    codes: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    names: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def frames(self) -> np.ndarray:
        """(T,) bool, True = anomalous."""
        return self.codes > 0

    def of_frames(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Boxes (n, 4) float32 of each frame, from some of the rows of `boxes`."""
        cuts = np.searchsorted(rows[:, 0], np.arange(1, len(self.codes)))
        return tuple(np.split(rows[:, 4:].astype(np.float32), cuts))

    def truth(self) -> Truth:
        """The record that metrics read."""
        wrong = self.boxes[self.boxes[:, 3] > 0]
        classes = np.array(self.names)[self.codes]
        return Truth(self.frames, classes, lambda: self.masks, self.of_frames(wrong))

    def save(self, path: Path) -> None:
        """Write one compact .npz; masks only of anomalous frames, one bit a pixel."""
        kept = np.packbits(self.masks[self.frames], axis=-1)
        with writing(path) as new, new.open("wb") as file:
            np.savez_compressed(
                file, codes=self.codes, boxes=self.boxes, masks=kept,
                shape=np.array(self.masks.shape), names=np.array(self.names),
                kinds=np.array(self.kinds),
            )  # fmt: skip

    @staticmethod
    def load(path: Path, pixels: bool = True) -> Labels:
        """Read what `save` wrote; `InputError` naming the file if it is not that.

        pixels: False leaves `masks` empty, (T, 0, 0), which saves time and memory.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                codes, shape = data["codes"], tuple(data["shape"])
                masks = np.zeros(shape if pixels else (len(codes), 0, 0), bool)
                if pixels:
                    masks[codes > 0] = np.unpackbits(data["masks"], axis=-1, count=shape[2])
                names, kinds = tuple(map(str, data["names"])), tuple(map(str, data["kinds"]))
                return Labels(codes, data["boxes"], masks, names, kinds)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise InputError(f"{path}: not the labels of a generated video ({error})") from error


@dataclass(frozen=True)
class Job:
    """One video to be made: where it goes (no suffix), and its line in the manifest."""

    stem: str
    facts: Mapping[str, Any]
    make: Callable[[], tuple[Iterable[np.ndarray], Labels]]


def home(root: Path | str | None) -> Path:
    """Where generated data live: `root`, else VIGIL_DATA, else the user's cache."""
    return Path(root or os.environ.get("VIGIL_DATA") or Path.home() / ".cache" / "vigil")


def check(version: int, size: tuple[int, int], shape: tuple[int, int], scale: float) -> None:
    """Refuse a version, size or scale that cannot be made."""
    if version != 1:
        raise ConfigError(f"version {version}; only version 1 exists")
    if size[0] * shape[1] != size[1] * shape[0] or size[0] % 2 or size[1] % 2 or size[0] < 60:
        raise ConfigError(
            f"size {size}; expected even numbers, at least 60 rows, in the proportion "
            f"{shape[0]}:{shape[1]} (height, width)"
        )
    if not 0 < scale <= 1:
        raise ConfigError(f"scale {scale}; expected 0 < scale <= 1")


def folder(
    parent: Path, seed: int, version: int, size: tuple[int, int], scale: float
) -> Path:  # fmt: skip
    """Where one seed, version and size of a data set goes."""
    name = f"v{version}-seed{seed}-{size[0]}x{size[1]}"
    return parent / (name if scale == 1 else f"{name}-scale{scale:g}")


def shortened(frames: int, scale: float) -> int:
    """How many frames of a video are made at this scale."""
    return frames if scale == 1 else min(frames, max(60, round(scale * frames)))


def produce(
    folder: Path, jobs: list[Job], manifest: Mapping[str, Any], progress: Progress | None
) -> None:
    """Make what is missing of a data set; a video's .mp4 appears last, whole, beside its labels.

    manifest: the facts of the whole set, written first, as manifest.json; videos that stand under
    another manifest were made by another state of the generator, and are made again.
    """
    from vigil.video.write import write_mp4

    text, path = json.dumps(manifest, indent=1), folder / "manifest.json"
    if not path.exists() or path.read_text() != text:
        for stale in folder.glob("**/*.mp4"):
            stale.unlink()
        with writing(path) as new:
            new.write_text(text)
    _sweep(folder)
    for done, job in enumerate(jobs):
        target = folder / f"{job.stem}.mp4"
        if progress:
            progress(done, len(jobs), job.stem)
        if target.exists():
            continue
        frames, labels = job.make()
        labels.save(target.with_suffix(".npz"))
        write_mp4(target, frames, job.facts["fps"])
    if progress:
        progress(len(jobs), len(jobs), "")


def _sweep(folder: Path) -> None:
    """Remove scratch folders of makers that were killed more than an hour ago."""
    for scratch in folder.glob("**/.*.mp4.*"):
        if scratch.is_dir() and time.time() - scratch.stat().st_mtime > 3600:
            shutil.rmtree(scratch, ignore_errors=True)


def videos(folder: Path) -> list[dict[str, Any]]:
    """The manifest's lines, one a video."""
    path = folder / "manifest.json"
    try:
        return list(json.loads(path.read_text())["videos"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a manifest ({error}); remove it and generate again"
        ) from error


def truth(folder: Path, split: str, name: str, listed: Iterable[Mapping[str, Any]]) -> Truth:
    """The labels of one video of a split, as metrics read them."""
    names = [facts["name"] for facts in listed if facts["split"] == split]
    if name not in names:
        raise unknown(f"{split} video", name, names)
    path = folder / split / f"{name}.npz"
    # masks only when asked for: a test split's would fill the memory
    return replace(Labels.load(path, False).truth(), masks=lambda: Labels.load(path).masks)


def open_part(
    folder: Path, listed: Iterable[Mapping[str, Any]], splits: tuple[str, ...], labels: str
) -> tuple[Video, ...]:
    """The videos of some splits, in name order; labels: "known" (training) or "unknown" (test)."""
    chosen = sorted((f for f in listed if f["split"] in splits), key=lambda f: str(f["name"]))
    return tuple(_open_one(folder, facts, labels == "known") for facts in chosen)


def _open_one(folder: Path, facts: Mapping[str, Any], labelled: bool) -> Video:
    """One generated video as a record, its boxes given as a detector would."""
    from vigil.video.read import open_video

    path = folder / facts["split"] / f"{facts['name']}.mp4"

    def objects() -> tuple[np.ndarray, ...]:
        labels = Labels.load(path.with_suffix(".npz"), False)
        return labels.of_frames(labels.boxes)

    label: Label = "unknown"
    if labelled:
        label = "normal" if facts["label"] == "normal" else "anomalous"
    return open_video(
        path, name=facts["name"], scene=facts["scene"], view=facts.get("view", ""), label=label,
        given={"objects": objects},
    )  # fmt: skip
