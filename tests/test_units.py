"""Cutting: crops, boxes, scales, providers once a frame, bounded memory, time resampling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import moving_square

from vigil.errors import InputError
from vigil.features.base import Provider
from vigil.records import Frame, Video, Window
from vigil.units import Cutter, Seen, corners, cut_pixels, paced, without_ignored


class Ramp(Provider):
    """Flow that says which frame it belongs to; counts how often it is asked."""

    role: ClassVar[str] = "flow"
    asked: ClassVar[list[int]] = []

    def start(self, video: Video, fps: float) -> Ramp:
        return self

    def see(self, frame: Frame, index: int) -> np.ndarray:
        self.asked.append(index)
        return np.full((2, *frame.image.shape[:2]), index, np.float32)

    def finish(self) -> list:
        return []


class Boxes(Provider):
    role: ClassVar[str] = "objects"

    def start(self, video: Video, fps: float) -> Boxes:
        self.rows = video.given["objects"]()
        return self

    def see(self, frame: Frame, index: int) -> np.ndarray:
        return self.rows[index]

    def finish(self) -> list:
        return []


def numbered(frames: int, size: tuple[int, int] = (12, 16), fps: float = 10.0) -> Video:
    """Every pixel of frame t is t."""

    def images(short_side: int | None) -> Iterator[Frame]:
        for t in range(frames):
            yield Frame(np.full((*size, 3), t, np.uint8), t / fps)

    return Video("numbered", "memory", fps, size, images)


def cuts(video: Video, windows: dict[str, Window], providers: dict[str, Provider]) -> list:
    cutter = Cutter(windows, providers, video, video.fps)
    found = [cut for frame in video.frames() for cut in cutter.see(frame)]
    return found + cutter.finish()


def test_frames_of_a_window_come_in_order_and_the_tail_is_end_aligned() -> None:
    window = Window("frames", (4, 6, 8), length=4, stride=4)
    found = cuts(numbered(10), {"clip": window}, {})
    values = [cut.units.x["clip"][0, :, 0, 0, 0].tolist() for cut in found]
    assert values == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert [(cut.first, cut.stop) for cut in found] == [(0, 4), (4, 8), (8, 10)]
    assert [int(cut.units.seen_stop[0]) for cut in found] == [4, 8, 10]


def test_a_short_video_is_padded_or_refused() -> None:
    window = Window("frames", (5, 6, 8), length=5)
    (cut,) = cuts(numbered(3), {"clip": window}, {})
    assert cut.units.x["clip"][0, :, 0, 0, 0].tolist() == [0, 1, 2, 2, 2]
    assert (cut.first, cut.stop) == (0, 3)
    with pytest.raises(InputError, match="memory: 3 frames; 5 at least are needed"):
        cuts(numbered(3), {"clip": replace(window, short="refuse")}, {})


def test_each_provider_is_asked_once_a_frame_however_many_windows() -> None:
    Ramp.asked.clear()
    windows = {
        "short": Window("frames", (2, 6, 8), length=2, providers=("flow",)),
        "long": Window("frames", (5, 6, 8), length=5, providers=("flow",)),
    }
    found = cuts(numbered(9), windows, {"flow": Ramp()})
    assert Ramp.asked == list(range(9))
    last = [cut for cut in found if cut.window == "long"][-1].units.x["long.flow"]
    assert last.shape == (1, 5, 2, 6, 8)
    assert last[0, :, 0, 0, 0].tolist() == [4, 5, 6, 7, 8]


def test_objects_are_cut_where_the_box_is_at_the_anchor_frame() -> None:
    video = moving_square("boxes", 9)
    window = Window("objects", (3, 12, 10), length=3)
    found = cuts(video, {"cube": window}, {"objects": Boxes()})
    assert len(found) == 7
    boxes, images = video.given["objects"](), [frame.image for frame in video.frames()]
    for n, cut in enumerate(found):
        x1, y1, x2, y2 = boxes[n + 1][0].astype(int)
        for t in range(3):
            expected = images[n + t][y1:y2, x1:x2].transpose(2, 0, 1)
            np.testing.assert_array_equal(cut.units.x["cube"][0, t].numpy(), expected)
        np.testing.assert_array_equal(cut.units.box[0], boxes[n + 1][0])
        assert (cut.first, cut.stop) == (n + 1, n + 2)


def test_boxes_stay_in_video_pixels_when_frames_are_read_smaller() -> None:
    window = Window("objects", (1, 4, 4))
    half = np.zeros((24, 32, 3), np.uint8)
    half[10:14, 8:12] = 255
    boxes = np.array([[16, 20, 24, 28]], np.float32)  # of a 48x64 video
    x, found = cut_pixels("box", window, [Seen(half, {"objects": boxes})], (48, 64))
    assert (x["box"] == 255).all()
    np.testing.assert_array_equal(found, boxes)


def test_no_object_is_a_cut_without_units() -> None:
    nothing = Seen(np.zeros((8, 8, 3), np.uint8), {"objects": np.zeros((0, 4)), "flow": None})
    x, boxes = cut_pixels("box", Window("objects", (1, 4, 4)), [nothing], (8, 8))
    assert x["box"].shape == (0, 1, 3, 4, 4) and boxes.shape == (0, 4)


def test_boxes_cut_as_detectors_do() -> None:
    """RoIAlign without half-pixel shift, written out: the mean of bilinear samples of each bin."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 20, 30, 3)).astype(np.uint8)
    box = np.array([[3.3, 4.6, 19.9, 14.2], [-2.0, 1.0, 8.0, 9.0]], np.float32)
    seen = [Seen(image, {"objects": box}) for image in images]
    window = Window("objects", (3, 4, 4), length=3, crop="roi")
    x, boxes = cut_pixels("cube", window, seen, (20, 30))
    np.testing.assert_array_equal(boxes, box)
    x1, y1, x2, y2 = box[0]
    wide, high = (x2 - x1) / 4, (y2 - y1) / 4
    across, down = int(np.ceil(wide)), int(np.ceil(high))  # samples a bin
    for row, column in ((0, 0), (2, 3)):
        total = np.zeros(3)
        for i in range(down):
            for j in range(across):
                y = y1 + (row + (i + 0.5) / down) * high
                at = x1 + (column + (j + 0.5) / across) * wide
                t, left = int(y), int(at)
                fy, fx = y - t, at - left
                part = images[1, t : t + 2, left : left + 2].astype(float)
                total += (part[0, 0] * (1 - fx) + part[0, 1] * fx) * (1 - fy)
                total += (part[1, 0] * (1 - fx) + part[1, 1] * fx) * fy
        mean = total / (down * across)
        np.testing.assert_allclose(x["cube"][0, 1, :, row, column], mean, atol=0.51)
    assert x["cube"].shape == (2, 3, 3, 4, 4) and x["cube"].dtype == torch.uint8


def test_cells_of_a_grid_cover_the_frame() -> None:
    window = Window("places", (1, 2, 2), grid=(2, 3))
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2, 2:4] = 9  # the middle cell of the upper row
    x, boxes = cut_pixels("cell", window, [Seen(image, {})], (40, 60))
    assert boxes[1].tolist() == [20, 0, 40, 20]
    assert x["cell"][:, 0, 0, 0, 0].tolist() == [0, 9, 0, 0, 0, 0]


def test_corners_stay_inside_and_are_never_empty() -> None:
    assert corners(np.array([-5, -5, 3, 3]), 0, 10, 10) == (0, 0, 3, 3)
    assert corners(np.array([20, 20, 30, 30]), 0, 10, 10) == (9, 9, 10, 10)
    assert corners(np.array([4, 4, 6, 6]), 1.0, 10, 10) == (3, 3, 7, 7)


def test_rows_of_the_wrong_dimension_or_past_the_end_are_refused() -> None:
    from vigil.features.rows import GivenRows

    video = moving_square("rows", 12)
    window = Window("features", (32,), length=4, stride=4)
    with pytest.raises(InputError, match="64 dimensions; the method was made for 32"):
        cuts(video, {"rows": window}, {"features": GivenRows()})
    longer = replace(video, given=moving_square("rows", 20).given)
    with pytest.raises(InputError, match="features for frame 12, but the video ends at 12"):
        cuts(longer, {"rows": replace(window, shape=(64,))}, {"features": GivenRows()})


def test_stacked_rows_keep_their_crops() -> None:
    from vigil.features.rows import GivenRows

    window = Window("features", (2, 64), length=8, stride=4)
    found = cuts(moving_square("rows", 18), {"rows": window}, {"features": GivenRows()})
    assert [tuple(cut.units.x["rows"].shape) for cut in found] == [(1, 3, 2, 64)] * 4
    assert [(cut.first, cut.stop) for cut in found] == [(0, 8), (4, 12), (8, 16), (12, 18)]


@pytest.mark.parametrize(
    ("video_fps", "model_fps", "expected"),
    [
        (10, 10, [1, 1, 1, 1, 1, 1]),
        (20, 10, [1, 0, 1, 0, 1, 0]),
        (5, 10, [1, 2, 2, 2, 2, 2]),
        (30, 20, [1, 0, 1, 1, 0, 1]),
    ],
)
def test_time_is_resampled(video_fps: float, model_fps: float, expected: list[int]) -> None:
    found = [ticks for _, ticks in paced(numbered(6, fps=video_fps), model_fps)]
    assert found == expected


def test_variable_frame_rate_follows_the_clock() -> None:
    times = [0.0, 0.05, 0.1, 0.5, 0.55]

    def images(short_side: int | None) -> Iterator[Frame]:
        for time in times:
            yield Frame(np.zeros((4, 4, 3), np.uint8), time)

    video = Video("vfr", "memory", 20.0, (4, 4), images)
    assert [n for _, n in paced(video, 10)] == [1, 0, 1, 4, 0]


def test_ignored_regions_are_black_at_any_size() -> None:
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    frame = Frame(np.full((8, 12, 3), 7, np.uint8), 0.0)
    seen = without_ignored(frame, mask).image
    assert (seen[:4] == 0).all() and (seen[4:] == 7).all()
    assert (frame.image == 7).all(), "the frame itself is not painted on"


def test_memory_is_bounded_by_the_longest_window() -> None:
    video = numbered(250)
    cutter = Cutter({"clip": Window("frames", (7, 4, 4), length=7)}, {}, video, 10)
    for frame in video.frames():
        cutter.see(frame)
    assert len(cutter.seen) == 7
