"""RAFT: the library's own numbers, with the times and repeats of every other flow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft_large, raft_small

from vigil.errors import ConfigError, ModelError
from vigil.features.raft import Raft, RaftLarge, RaftSmall
from vigil.records import Frame, Video


def nothing(short_side: int | None) -> Iterator[Frame]:
    return iter(())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of raft-small."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "small.safetensors"
    save_file(raft_small(weights=None).state_dict(), path)
    return path


def picture(seed: int, size: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0))


def library(path: Path, before: np.ndarray, now: np.ndarray, updates: int) -> np.ndarray:
    """(2, H, W) as torchvision gives it for frames of a size that it takes."""
    from safetensors.torch import load_file

    net = raft_small(weights=None).eval()
    net.load_state_dict(load_file(path))
    one, two = (torch.from_numpy(i).permute(2, 0, 1)[None] / 255 * 2 - 1 for i in (before, now))
    with torch.no_grad():
        return net(one, two, num_flow_updates=updates)[-1][0].numpy()


def follow(
    provider: Raft, images: list[np.ndarray], times: list[float], fps: float = 10.0
) -> list[np.ndarray]:
    video = Video("v", "test", fps, images[0].shape[:2], nothing)
    tracker = provider.start(video, fps)
    seen = zip(images, times, strict=True)
    flows = [tracker.see(Frame(image, t), n) for n, (image, t) in enumerate(seen)]
    assert tracker.finish() == []
    return flows


def test_equals_the_library(small: Path) -> None:
    images = [picture(n, (136, 160)) for n in range(3)]
    flows = follow(RaftSmall(small, updates=3), images, [0.0, 0.1, 0.2])
    assert all(f.shape == (2, 136, 160) and f.dtype == np.float32 for f in flows)
    assert not flows[0].any()
    for n in (1, 2):
        want = library(small, images[n - 1], images[n], 3)
        assert np.abs(want).max() > 0.01
        np.testing.assert_allclose(flows[n], want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize(("size", "whole"), [((130, 155), (136, 160)), ((40, 200), (128, 200))])
def test_frames_are_continued_at_the_edge(
    small: Path, size: tuple[int, int], whole: tuple[int, int]
) -> None:
    images = [picture(n, size) for n in range(2)]
    flow = follow(RaftSmall(small, updates=2), images, [0.0, 0.1])[1]
    pad = ((0, whole[0] - size[0]), (0, whole[1] - size[1]), (0, 0))
    wide = [np.pad(image, pad, "edge") for image in images]
    want = library(small, wide[0], wide[1], 2)[:, : size[0], : size[1]]
    assert flow.shape == (2, *size) and flow.flags.c_contiguous
    np.testing.assert_allclose(flow, want, atol=1e-5 * np.abs(want).max())


def test_times_and_repeats_as_in_every_flow(small: Path) -> None:
    one, two, three = (picture(n, (128, 128)) for n in range(3))
    flows = follow(RaftSmall(small, updates=1), [one, two, two.copy(), three], [0.0, 0.2, 0.3, 0.4])
    near = {"atol": 1e-5}
    np.testing.assert_allclose(flows[1], library(small, one, two, 1) / 2, **near)  # two periods
    np.testing.assert_array_equal(flows[2], flows[1])  # the frame was repeated
    np.testing.assert_allclose(flows[3], library(small, two, three, 1) / 2, **near)


def test_saved_with_the_model(small: Path) -> None:
    one, two = RaftSmall(small, updates=1), RaftSmall("gone.pth")
    two.set_tensors({key: value.clone() for key, value in one.tensors().items()})
    images = [picture(n, (128, 128)) for n in range(2)]
    np.testing.assert_array_equal(one.between(*images), two.between(*images))
    assert one.describe() == two.describe()
    assert one.describe()["updates"] == 1 and one.describe()["name"] == "raft-small"


def test_large_has_the_published_layout() -> None:
    with torch.device("meta"):
        built, own = RaftLarge().build(), raft_large(weights=None)
    assert list(built.state_dict()) == list(own.state_dict())
    assert sum(p.numel() for p in built.parameters()) == 5_257_536


def test_wrong_settings_and_files(small: Path) -> None:
    with pytest.raises(ConfigError, match=r"raft-small: key 'updates': .*found 0"):
        RaftSmall(small, updates=0)
    with pytest.raises(ConfigError, match="raft-large: no weights given"):
        RaftLarge().start(Video("v", "t", 10.0, (9, 9), nothing), 10.0)
    with pytest.raises(ModelError, match=r"small\.safetensors: weights do not fit raft-large"):
        RaftLarge(small).fit([])
