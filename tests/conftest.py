"""What several tests share: small videos made in memory, and where the real data lies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vigil.features.base import FeatureRow
from vigil.records import Frame, Video

torch.set_num_threads(1)
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data for development; tests that need it are skipped without it."""
    folder = Path(os.environ.get("VIGIL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("real data not at hand: set VIGIL_DATA to a folder that holds ped2/, ...")
    return folder


def moving_square(
    name: str,
    frames: int,
    *,
    speed: float = 2.0,
    size: tuple[int, int] = (48, 64),
    fps: float = 10.0,
    seed: int = 0,
    fast: tuple[int, int] = (0, 0),
    **facts: object,
) -> Video:
    """A bright square crosses a textured ground; in frames fast[0]..fast[1] it runs four times as
    fast. Boxes, and rows of features in three crops of four frames each, come with it."""
    rng = np.random.default_rng((seed, len(name)))
    ground = rng.integers(40, 90, (*size, 3)).astype(np.float64)
    steps = np.where((np.arange(frames) >= fast[0]) & (np.arange(frames) < fast[1]), 4, 1) * speed
    x = (5 + np.cumsum(steps) + rng.uniform(0, 20)) % (size[1] - 12)
    noise = np.random.default_rng((seed, len(name), 1)).normal(0, 2, (8, *size, 3))

    def image(t: int) -> np.ndarray:
        picture = ground + noise[t % 8]
        picture[18:30, int(x[t]) : int(x[t]) + 10] = 220
        return picture.clip(0, 255).astype(np.uint8)

    def open_frames(short_side: int | None) -> Iterator[Frame]:
        for t in range(frames):
            yield Frame(image(t), t / fps)

    def boxes() -> list[np.ndarray]:
        return [np.array([[int(v), 18, int(v) + 10, 30]], np.float32) for v in x]

    def rows() -> list[FeatureRow]:
        found = []
        for first in range(0, frames, 4):
            stop = min(first + 4, frames)
            mean = np.mean([image(t)[::6, ::8].mean(-1).ravel() for t in range(first, stop)], 0)
            value = np.stack([mean, mean[::-1], mean * 0.9]) / 255  # (3, 64)
            found.append(FeatureRow(value.astype(np.float32), first, first + 4))
        return found

    given: dict[str, Callable[[], object]] = {"objects": boxes, "features": rows}
    return Video(name, f"memory:{name}", fps, size, open_frames, given=given, **facts)  # type: ignore[arg-type]


@pytest.fixture
def square() -> Callable[..., Video]:
    """`moving_square`, for tests to call."""
    return moving_square
