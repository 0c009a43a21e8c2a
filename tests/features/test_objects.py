"""Boxes: given ones are clipped; the foreground finds what is new, and little else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from vigil.errors import ConfigError, InputError
from vigil.features.objects import Foreground, Given, clip
from vigil.records import Frame, Video

SIZE = (120, 160)
FPS = 10.0
GROUND = cv2.GaussianBlur(
    np.random.default_rng(3).integers(60, 180, (140, 180, 3)).astype(np.uint8), (0, 0), 3
)
Painter = Callable[[int], list[tuple[int, int, int, int]]]


def scene(
    boxes: Painter = lambda t: [], frames: int = 40, *, seed: int = 0, noise: float = 2.0,
    shake: int = 0, drift: float = 0.0, ground: np.ndarray = GROUND, name: str = "square",
) -> Video:  # fmt: skip
    """A textured ground with dark boxes on it, seen by a noisy, trembling camera."""

    def opened(short_side: int | None) -> Iterator[Frame]:
        random = np.random.default_rng(seed)
        for t in range(frames):
            dy, dx = random.integers(-shake, shake + 1, 2) + 10
            image = ground[dy : dy + SIZE[0], dx : dx + SIZE[1]].astype(np.float32)
            for x1, y1, x2, y2 in boxes(t):
                image[y1:y2, x1:x2] = 20
            image = image * (1 + drift * t / frames) + random.normal(0, noise, (*SIZE, 1))
            yield Frame(image.clip(0, 255).astype(np.uint8), t / FPS)

    return Video(f"v{seed}", "made in a test", FPS, SIZE, opened, scene=name)


def walking(t: int) -> list[tuple[int, int, int, int]]:
    return [(10 + 3 * t, 40, 22 + 3 * t, 70)]


def seen(provider: Foreground, video: Video) -> list[np.ndarray]:
    tracker = provider.start(video, video.fps)
    return [tracker.see(frame, i) for i, frame in enumerate(video.frames(provider.short_side))]


def overlap(a: np.ndarray, b: tuple[int, int, int, int]) -> float:
    """Intersection over union."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return float(both / union)


def fitted(**keys: float) -> Foreground:
    provider = Foreground(**keys)
    provider.fit([scene(walking, seed=1), scene(seed=2)])
    return provider


@pytest.mark.parametrize("wrong", [{}, {"shake": 1}, {"drift": 0.25}, {"noise": 5.0}], ids=str)
def test_a_walker_is_found_and_nothing_else(wrong: dict) -> None:
    for t, boxes in enumerate(seen(fitted(), scene(walking, seed=7, **wrong))):
        assert len(boxes) == 1 and boxes.dtype == np.float32
        assert overlap(boxes[0], walking(t)[0]) > 0.6


@pytest.mark.parametrize("wrong", [{}, {"shake": 1}, {"drift": 0.25}, {"noise": 5.0}], ids=str)
def test_an_empty_scene_has_no_boxes(wrong: dict) -> None:
    assert sum(len(boxes) for boxes in seen(fitted(), scene(seed=8, **wrong))) == 0


def test_a_bag_left_behind_stays_foreground() -> None:
    bag = (100, 80, 112, 92)
    boxes = seen(fitted(), scene(lambda t: [bag] if t >= 10 else [], 600, seed=9))
    assert not any(len(b) for b in boxes[:10])
    assert all(len(b) == 1 and overlap(b[0], bag) > 0.5 for b in boxes[10:])  # a minute


def test_it_gives_way_after_keep_s() -> None:
    bag = (100, 80, 112, 92)
    boxes = seen(fitted(keep_s=2.0), scene(lambda t: [bag], 150, seed=9))
    assert len(boxes[5]) == 1 and not len(boxes[-1])


def test_two_apart_are_two_and_a_body_cut_in_half_is_one() -> None:
    boxes = seen(
        fitted(), scene(lambda t: [(20, 40, 32, 70), (60, 40, 72, 53), (60, 55, 72, 70)], 3)
    )
    assert sorted(round(b[0] / 10) for b in boxes[-1].tolist()) == [2, 6]


def test_without_a_known_scene_it_builds_the_background_from_the_stream() -> None:
    boxes = seen(Foreground(), scene(walking, 45, seed=4))
    assert not len(boxes[0])  # the first frame is all there is to compare with
    found = [max((overlap(b, walking(t)[0]) for b in boxes[t]), default=0) for t in range(20, 45)]
    assert min(found) > 0.6
    assert np.mean([len(b) for b in boxes[30:]]) < 1.2  # where it stood at first heals


def test_another_scene_than_the_learned_one_is_noticed() -> None:
    other = np.ascontiguousarray(255 - GROUND[::-1])
    boxes = seen(fitted(), scene(walking, 45, seed=5, ground=other))
    assert max(overlap(b, walking(40)[0]) for b in boxes[40]) > 0.6


def test_boxes_are_in_pixels_of_the_video_whatever_was_read() -> None:
    def small(short_side: int | None) -> Iterator[Frame]:
        for frame in scene(walking, seed=7).open(None):
            yield Frame(cv2.resize(frame.image, (80, 60), interpolation=cv2.INTER_AREA), frame.time)

    video = Video("half", "made in a test", FPS, SIZE, small, scene="square")
    provider = Foreground()
    provider.fit([video])
    boxes = seen(provider, video)
    assert overlap(boxes[20][0], walking(20)[0]) > 0.5


def test_same_again_after_saving() -> None:
    one, two = fitted(), Foreground()
    two.set_tensors(one.tensors())
    assert list(one.tensors()) == ["background:square"]
    video = scene(walking, seed=7)
    for a, b in zip(seen(one, video), seen(two, video), strict=True):
        np.testing.assert_array_equal(a, b)


def test_given_boxes_are_clipped_and_tiny_ones_dropped() -> None:
    rows = [
        np.array([[-5, 10, 20, 130, 0.9], [5, 5, 6, 30, 0.4], [np.nan, 0, 9, 9, 1]]),
        np.empty(0),
    ]
    video = scene(frames=3)
    video = Video("g", "boxes.pkl", FPS, SIZE, video.open, given={"objects": lambda: rows})
    tracker = Given().start(video, FPS)
    frames = list(video.frames())
    assert tracker.see(frames[0], 0).tolist() == [[0, 10, 20, 120]]
    assert tracker.see(frames[1], 1).shape == (0, 4)
    with pytest.raises(InputError, match="boxes for 2 frames, but frame 2"):
        tracker.see(frames[2], 2)


def test_no_given_boxes_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(InputError, match="objects=foreground"):
        Given().start(scene(), FPS)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="weak"):
        Foreground(weak=30, strong=20)


def test_clip_keeps_the_order() -> None:
    boxes = np.array([[0, 0, 4, 4], [2, 2, 50, 50], [1, 1, 2, 2]], np.float32)
    assert clip(boxes, (20, 30)).tolist() == [[0, 0, 4, 4], [2, 2, 30, 20]]
