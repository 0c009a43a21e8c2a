"""Painting on pictures: heat lands in its box, colours follow the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from vigil.errors import InputError
from vigil.show.overlay import ALARM, CALM, Mark, draw

GREY = np.full((120, 200, 3), 90, np.uint8)


def changed(out, image=GREY):
    """Rows and columns that differ: (y1, y2, x1, x2)."""
    y, x = np.nonzero((out != image).any(-1))
    return y.min(), y.max() + 1, x.min(), x.max() + 1


def test_heat_stays_in_its_box_and_points_where_it_should():
    heat = np.zeros((8, 8))
    heat[6, 1] = 1.0
    out = draw(GREY, [Mark((40, 20, 120, 100), 1.0, heat)])
    assert changed(out) == (20, 100, 40, 120)
    inner = out[22:98, 42:118].astype(int)
    y, x = np.unravel_index(np.abs(inner - 90).sum(-1).argmax(), inner.shape[:2])
    assert y / 76 == pytest.approx(6.5 / 8, abs=0.08)
    assert x / 76 == pytest.approx(1.5 / 8, abs=0.08)


def test_boxes_are_in_pixels_of_the_video():
    out = draw(GREY, [Mark((80, 40, 240, 200), 1.0)], size=(240, 400))
    assert changed(out) == (20, 100, 40, 120)


def test_colour_follows_the_threshold():
    marks = [Mark((10, 10, 60, 60), 2.0), Mark((100, 10, 150, 60), 0.5)]
    out = draw(GREY, marks, threshold=1.0)
    assert tuple(out[10, 30]) == ALARM and tuple(out[10, 120]) == CALM


def test_bar_length_and_colour():
    def filled(score):
        row = draw(GREY, score=score, threshold=1.0)[-2].astype(int)
        return (row.max(-1) > 120)[:95].mean(), row[2]

    low, calm = filled(0.25)
    high, alarm = filled(1.5)
    assert low == pytest.approx(50 / 200 * 200 * 0.5 / 95, abs=0.06) and high == 1.0
    assert calm[2] > calm[0] and alarm[0] > alarm[2]


def test_weak_units_glow_less():
    heat = np.ones((4, 4))
    out = draw(
        GREY, [Mark((10, 10, 60, 60), 4.0, heat), Mark((100, 10, 150, 60), 0.4, heat)]
    ).astype(int)
    assert np.abs(out[35, 35] - 90).sum() > 2 * np.abs(out[35, 125] - 90).sum()


def test_the_picture_is_left_alone_and_odd_input_survives():
    image = GREY.copy()
    odd = [
        Mark((-50, -50, -10, -10), 1.0, np.ones((2, 2))),
        Mark((190, 110, 900, 900), 1.0, np.ones(0)),
        Mark((5, 5, 5, 5), 1.0, np.full((3, 3), np.nan), "text that is far too long " * 20),
        Mark((0, 0, 200, 120), -1.0, -np.ones((2, 2))),
    ]  # fmt: skip
    out = draw(image, odd, score=-3.0, threshold=0.0, text="x")
    assert out.shape == image.shape and out.dtype == np.uint8
    assert (image == 90).all()
    assert draw(GREY[:3, :3], odd, score=1.0, threshold=1.0).shape == (3, 3, 3)
    assert (draw(GREY) == GREY).all()


def test_wrong_picture_is_refused():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(InputError, match="expected"):
            draw(wrong)
