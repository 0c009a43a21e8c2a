"""Flow: a shifted texture moves by its shift, whatever the clock says about the frames between."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vigil.errors import ConfigError
from vigil.features.flow import Dis, DisTrail, Farneback, Flow
from vigil.records import Frame, Video

SIZE = (96, 128)


def nothing(short_side: int | None):
    return iter(())


VIDEO = Video("v", "made in a test", 10.0, SIZE, nothing)


def texture(dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
    """(96, 128, 3) uint8: smoothed noise, moved by dx to the right and dy down."""
    noise = np.random.default_rng(0).integers(0, 256, (160, 192)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 2.0)
    noise = (noise - noise.min()) / (noise.max() - noise.min()) * 255
    by = np.array([[1, 0, dx - 32], [0, 1, dy - 32]], np.float32)
    grey = cv2.warpAffine(noise, by, (SIZE[1], SIZE[0]), flags=cv2.INTER_CUBIC)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, 2)


def inner(flow: np.ndarray) -> np.ndarray:
    """Median dx, dy away from the edges."""
    return np.median(flow[:, 16:-16, 16:-16], axis=(1, 2))


@pytest.mark.parametrize(
    "provider", [Dis(), Farneback(), DisTrail()], ids=["dis", "farneback", "dis-trail"]
)
@pytest.mark.parametrize("shift", [(3.0, 0.0), (-2.0, 1.5), (0.0, -4.0)])
def test_a_shifted_texture_flows_by_its_shift(provider: Flow, shift: tuple[float, float]) -> None:
    tracker = provider.start(VIDEO, fps=10.0)
    for index in range(4):
        image = texture(shift[0] * index, shift[1] * index)
        flow = tracker.see(Frame(image, index / 10), index)
        expected = np.array(shift) if index else np.zeros(2)
        assert flow.shape == (2, *SIZE) and flow.dtype == np.float32
        np.testing.assert_allclose(inner(flow), expected, atol=0.15)
    assert tracker.finish() == []


def test_first_frame_is_zero_everywhere() -> None:
    assert not Dis().start(VIDEO, 10.0).see(Frame(texture(), 0.0), 0).any()


def test_time_between_frames_scales_the_flow() -> None:
    tracker = Dis().start(VIDEO, fps=10.0)
    tracker.see(Frame(texture(0), 0.0), 0)
    late = tracker.see(Frame(texture(4), 0.2), 1)  # two periods passed
    early = tracker.see(Frame(texture(6), 0.25), 2)  # half a period
    np.testing.assert_allclose(inner(late), [2, 0], atol=0.1)
    np.testing.assert_allclose(inner(early), [4, 0], atol=0.15)


def test_repeated_frame_keeps_the_flow_and_does_not_double_the_next() -> None:
    tracker = Dis().start(VIDEO, fps=10.0)
    tracker.see(Frame(texture(0), 0.0), 0)
    moving = tracker.see(Frame(texture(2), 0.1), 1)
    assert tracker.see(Frame(texture(2), 0.2), 2) is moving
    after = tracker.see(Frame(texture(6), 0.3), 3)
    np.testing.assert_allclose(inner(after), [2, 0], atol=0.1)


def test_a_picture_that_stays_the_same_stops_flowing() -> None:
    tracker = Dis().start(VIDEO, fps=10.0)
    tracker.see(Frame(texture(0), 0.0), 0)
    tracker.see(Frame(texture(2), 0.1), 1)
    flows = [tracker.see(Frame(texture(2), 0.2 + i / 10), 2 + i) for i in range(5)]
    assert flows[1].any() and not flows[2].any() and not flows[4].any()


def test_trail_takes_noise_out() -> None:
    random = np.random.default_rng(1)
    spread = {}
    for trail in (0.0, 0.4):
        random = np.random.default_rng(1)
        tracker = Dis(trail_s=trail).start(VIDEO, fps=10.0)
        for index in range(12):
            noise = random.normal(0, 12, (*SIZE, 1))
            image = (texture(index).astype(np.float32) + noise).clip(0, 255).astype(np.uint8)
            flow = tracker.see(Frame(image, index / 10), index)
        spread[trail] = float((flow[0, 16:-16, 24:-24] - 1).std())
    assert spread[0.4] < 0.7 * spread[0.0]


def test_trail_follows_what_moves() -> None:
    """A patch crossing a still ground keeps its own speed, and leaves the ground still."""
    ground, tracker = texture(), DisTrail().start(VIDEO, fps=10.0)
    patch = 255 - texture(50, 20)[:40, :32]
    for index in range(12):
        image = ground.copy()
        x = 10 + 4 * index
        image[30:70, x : x + 32] = patch
        flow = tracker.see(Frame(image, index / 10), index)
    np.testing.assert_allclose(np.median(flow[0, 38:62, x + 8 : x + 24]), 4, atol=0.3)
    assert np.abs(flow[:, 5:20, 10:-10]).max() < 0.3


@pytest.mark.parametrize("size", [(4, 6), (7, 40), (33, 9)])
def test_tiny_frames_flow_too(size: tuple[int, int]) -> None:
    tracker = Dis().start(Video("t", "t", 10.0, size, nothing), 10.0)
    for index in range(3):
        image = np.ascontiguousarray(texture(index)[: size[0], : size[1]])
        assert tracker.see(Frame(image, index / 10), index).shape == (2, *size)


@pytest.mark.parametrize(
    "make", [lambda: Dis(finest=-1), lambda: Farneback(window=1), lambda: Dis(trail_s=-1)]
)
def test_wrong_settings_are_refused(make) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()


def test_describe_names_the_settings() -> None:
    assert Dis().describe() == {"name": "dis", "finest": 1, "steps": 12, "trail_s": 0.0}
    assert DisTrail().describe() == {**Dis().describe(), "trail_s": 0.4}
    assert Farneback(window=9).describe()["window"] == 9
