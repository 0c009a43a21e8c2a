"""Rows without weights: exact values, and what they must see and be blind to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vigil.errors import ModelError
from vigil.features.plain_rows import Motion, Pixels, orthogonal


def motion_row(images: np.ndarray, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """(16, H, W, 3) uint8 to (5, 6, 8): lags 1, 2, 4, 8 and the largest, a cell each."""
    own = Motion()
    clip = torch.from_numpy(np.stack([own.frame(image) for image in images], 2))
    row = own.network(None).to(dtype)(clip.to(dtype))
    assert row.shape == (1, 240) and row.dtype == dtype
    return row.float().numpy().reshape(5, 6, 8)


def crossing(speed: float, down: bool = False) -> np.ndarray:
    """A bright square of 16 crosses a grey ground: (16, 96, 128, 3) uint8."""
    images = np.full((16, 96, 128, 3), 60, np.uint8)
    for t in range(16):
        x = int(round(8 + speed * t))
        images[t, 40:56, x : x + 16] = 200
    return images.transpose(0, 2, 1, 3) if down else images


# -- pixels --------------------------------------------------------------------------------------
def test_projection_is_orthonormal_and_always_the_same() -> None:
    matrix = orthogonal(192)
    assert matrix.shape == (768, 192) and matrix.dtype == np.float32
    exact = matrix.astype(np.float64)
    np.testing.assert_allclose(exact.T @ exact, np.eye(192), atol=1e-6)
    # 1 / sqrt(16 * 16 * 3), ... * 2) and ... * 6): the three rows of the rotation of colours
    sizes = np.unique(np.abs(matrix).round(6))
    np.testing.assert_allclose(sizes, [0, 0.025516, 0.036084, 0.044194, 0.051031], atol=1e-6)
    signs = np.sign(matrix[:4, :6]).astype(int).tolist()
    assert signs == [
        [1, 1, 1, 1, 1, 1], [-1, -1, 1, -1, 1, 1], [1, 1, -1, -1, 1, 1], [-1, -1, -1, 1, 1, 1],
    ]  # fmt: skip


def test_pixels_of_a_tiny_image() -> None:
    own = Pixels()
    image = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [102, 153, 204]]], np.uint8)
    seen = own.frame(image)  # each of the four pixels fills 8x8 of the 16x16
    assert seen.shape == (1, 3, 16, 16) and seen.dtype == np.float32
    np.testing.assert_array_equal(seen[0, :, ::8, ::8].reshape(3, 4), image.reshape(4, 3).T)
    row = own.network(None)(torch.from_numpy(seen)[:, :, None])
    assert row.shape == (1, 192)
    expected = [-0.274241, 1.078338, 0.795495, -0.014434, 1.198002, 0.335876]
    np.testing.assert_allclose(row[0, :6].numpy(), expected, atol=2e-6)
    scaled = image.repeat(8, 0).repeat(8, 1).transpose(2, 0, 1).ravel() / 127.5 - 1
    np.testing.assert_allclose(row[0].numpy(), scaled @ orthogonal(192), atol=2e-6)


def test_pixels_average_areas_in_whole_levels() -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[0, 0] = 90  # one of the 2x3 pixels of its area
    seen = Pixels().frame(image)
    assert seen[0, :, 0, 0].tolist() == [15, 15, 15] and seen.sum() == 45


def test_pixels_in_bfloat16() -> None:
    own, image = Pixels(), np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    x = torch.from_numpy(own.frame(image))[:, :, None]
    row = own.network(None)(x)
    half = own.network(None).to(torch.bfloat16)(x.bfloat16()).float()
    assert (half - row).norm() / row.norm() < 0.004  # measured: 0.002


@pytest.mark.parametrize("own", [Pixels(), Motion()])
def test_weights_are_refused(own: Pixels | Motion) -> None:
    with pytest.raises(ModelError, match=f"do not fit {own.name}: 1 unknown"):
        own.network({"layer.weight": torch.zeros(1)})


# -- motion --------------------------------------------------------------------------------------
def test_a_step_in_one_cell_has_the_values_by_hand() -> None:
    images = np.full((16, 96, 128, 3), 100, np.uint8)
    images[8:, 16:32, 48:64] = 164  # cell (1, 3), from frame 8 on; 64 levels, 60 beyond the noise
    row = motion_row(images)
    # the step lies between 1 of 15, 2 of 14, 4 of 12 and 8 of 8 pairs
    expected = np.sqrt(np.array([60 / 15, 60 * 2 / 14, 60 * 4 / 12, 60, 60]) / 255)
    np.testing.assert_allclose(row[:, 1, 3], expected, rtol=1e-6)
    np.testing.assert_allclose(
        expected, [0.125245, 0.183339, 0.280056, 0.485071, 0.485071], atol=1e-6
    )
    row[:, 1, 3] = 0
    assert not row.any()


def test_stillness_and_faint_noise_are_zero() -> None:
    noise = np.random.default_rng(0).integers(100, 105, (16, 96, 128, 3), np.uint8)  # 4 levels
    assert not motion_row(noise).any()


def test_blind_to_direction_and_mirrored_with_the_picture() -> None:
    images = crossing(3)
    row = motion_row(images)
    assert row.max() > 0.2
    np.testing.assert_allclose(motion_row(images[::-1]), row, atol=1e-6)
    np.testing.assert_allclose(motion_row(images[:, :, ::-1]), row[:, :, ::-1], atol=1e-6)
    assert not row[:, :2].any() and not row[:, 4:].any()  # the rows it never comes near


def test_speed_shows_in_the_growth_over_the_lags() -> None:
    slow, fast = (motion_row(crossing(speed)).sum((1, 2)) for speed in (0.5, 6))
    assert fast[0] > 2 * slow[0]
    assert slow[3] / slow[0] > 1.5 * fast[3] / fast[0]


def test_any_size_and_turned_frames() -> None:
    assert motion_row(crossing(3, down=True)).max() > 0.1
    tiny = np.zeros((16, 5, 7, 3), np.uint8)
    tiny[::2] = 255
    row = motion_row(tiny)
    np.testing.assert_allclose(row[0], np.sqrt(251 / 255), rtol=1e-6)
    assert not row[1:4].any()  # two, four and eight frames apart it is the same picture


def test_motion_in_bfloat16() -> None:
    noisy = np.random.default_rng(0).integers(0, 60, (16, 96, 128, 3), np.uint8) + crossing(2) // 2
    row, half = motion_row(noisy), motion_row(noisy, torch.bfloat16)
    assert np.linalg.norm(half - row) / np.linalg.norm(row) < 0.004  # measured: 0.002
