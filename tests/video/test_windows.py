"""Geometry of windows, against a slow transcription of its rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigil.errors import InputError
from vigil.records import Window
from vigil.video.windows import places


@st.composite
def windows(draw: st.DrawFn) -> Window:
    length = draw(st.integers(1, 12))
    first = draw(st.integers(0, length - 1))
    stop = draw(st.integers(first + 1, length))
    stride = draw(st.integers(1, stop - first))
    return Window("frames", (length, 4, 4), length, stride, answers=(first, stop))


@given(windows(), st.integers(1, 60))
def test_places_answer_each_frame_once_at_most_by_new_windows(window: Window, frames: int) -> None:
    found = places(window, frames)
    a, b = window.answered
    assert found, "even the shortest video gets one window"
    for place in found:
        assert 0 <= place.first < place.stop <= frames
        assert place.start >= 0
    if frames >= window.length:
        regular = range(0, frames - window.length + 1, window.stride)
        assert [p.start for p in found[: len(regular)]] == list(regular)
        answered = {f for p in found for f in range(p.first, p.stop)}
        # every frame from the first answered one to the last that any window could answer for
        assert answered == set(range(a, frames - window.length + b))
        for place in found[len(regular) :]:  # the tail answers only what is still open
            last = regular[-1]
            assert place.first >= last + b
            assert place.start + window.length == frames


def test_a_window_that_leaves_frames_out_is_refused() -> None:
    with pytest.raises(InputError, match="would never be scored"):
        Window("frames", (8, 4, 4), length=8, stride=4, answers=(0, 2))
    with pytest.raises(InputError, match="expected 0..6"):
        Window("objects", (7, 4, 4), length=7, anchor=7)
    with pytest.raises(InputError, match=r"expected \(length=7, H, W\)"):
        Window("frames", (5, 4, 4), length=7)


def test_look_ahead_of_common_windows() -> None:
    assert Window("features", (8,), length=16, stride=16).lookahead == 15
    assert Window("objects", (7, 8, 8), length=7).lookahead == 3
    assert Window("objects", (1, 8, 8)).lookahead == 0
    assert Window("frames", (5, 8, 8), length=5, answers=(4, 5)).lookahead == 0
