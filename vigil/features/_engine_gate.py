"""What an engine is judged on: examples that differ, and how well it tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vigil.errors import ConfigError

LEAST = 8  # different inputs


def parity(reference: Tensor, found: Tensor) -> float:
    """Relative error of the pairwise differences between the rows of `found`, both (n, ...):

        sqrt( sum_{i<j} |(g_i - g_j) - (f_i - f_j)|^2  /  sum_{i<j} |f_i - f_j|^2 )

    with f the reference's rows and g those found. Computed as |G - F| / |F| with both centred over
    the rows, which is the same: sum_{i<j} |x_i - x_j|^2 = n sum_i |x_i - mean(x)|^2. What all rows
    share, an offset included, counts neither as agreement nor as error. Infinite if a value is not
    finite, or if rows differ where the reference's do not.

    >>> parity(torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [7.5]]))
    0.25
    """
    wanted, error = reference.double(), found.double() - reference.double()
    spread = float((wanted - wanted.mean(0)).norm())
    wrong = float((error - error.mean(0)).norm())
    if wrong == 0:
        return 0.0
    return wrong / spread if spread > 0 and wrong < float("inf") else float("inf")


def told(kinds: Sequence[tuple[torch.dtype, tuple[int, ...]]]) -> str:
    return ", ".join(f"(N, {', '.join(map(str, s))}) {str(d)[6:]}" for d, s in kinds)


def joined(examples: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """The examples' rows, one tensor an input; ConfigError unless at least LEAST differ."""
    shapes = {tuple((x.dtype, tuple(x.shape[1:])) for x in example) for example in examples}
    if len(shapes) > 1:
        raise ConfigError(f"examples of several shapes: {'; '.join(map(told, shapes))}")
    rows = [torch.cat(column).cpu() for column in zip(*examples, strict=True)]
    different = {tuple(x.numpy().tobytes() for x in row) for row in zip(*rows, strict=True)}
    if len(different) < LEAST:
        raise ConfigError(
            f"{len(different)} different examples; an engine is judged on at least {LEAST}"
        )
    return rows


def example_clips(shape: Sequence[int], count: int = 8, seed: int = 0) -> list[tuple[Tensor]]:
    """`count` different inputs of one row, (1, *shape) float32 each, for when there are no clips.

    `shape` is (C, H, W) or (C, T, H, W). Smooth textures, coarse and fine, that drift at different
    speeds; of different contrast and brightness, about -2..2 as after the usual normalisation.
    Real clips judge better.
    """
    if len(shape) not in (3, 4):
        raise ConfigError(f"shape {tuple(shape)}; expected (C, H, W) or (C, T, H, W)")
    (channels, *times), (rows, columns) = shape[:-2], shape[-2:]
    length = times[0] if times else 1
    random = torch.Generator().manual_seed(seed)
    clips = []
    for i in range(count):
        speed = (i % 4) * 2  # pixels a frame
        wide = columns + speed * (length - 1)
        texture = torch.zeros(1, channels, rows, wide)
        for cells in (3, 6 + i % 5, 24):
            coarse = torch.randn(1, channels, cells, cells, generator=random)
            fine = F.interpolate(coarse, (rows, wide), mode="bicubic", align_corners=False)
            texture += fine / cells**0.5
        frames = [texture[..., speed * t : speed * t + columns] for t in range(length)]
        clip = torch.stack(frames, 2) if times else frames[0]  # (1, C, T, H, W) or (1, C, H, W)
        contrast, brightness = 0.3 + 0.9 * i / max(1, count - 1), 0.8 * (-1) ** i * (i % 3) / 2
        clips.append((clip / clip.std() * contrast + brightness,))
    return clips
