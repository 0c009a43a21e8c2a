"""Where windows lie in a video, and how unit scores become frame scores. Geometry only."""

from __future__ import annotations

from typing import NamedTuple

from vigil.records import Window


class Place(NamedTuple):
    """One window of a video: it sees frames [start, start + length), answers [first, stop)."""

    start: int
    first: int
    stop: int


def at(window: Window, index: int) -> Place | None:
    """The regular window whose last frame is `index`, if there is one.

    >>> at(Window("frames", (4, 8, 8), length=4, stride=2), 5)
    Place(start=2, first=2, stop=6)
    """
    start = index + 1 - window.length
    if start < 0 or start % window.stride:
        return None
    first, stop = window.answered
    return Place(start, start + first, start + stop)


def tail(window: Window, frames: int) -> Place | None:
    """The last window, aligned with the end, for frames that no regular window answers for.

    A video shorter than the window gets one window from frame 0 (its last frame repeated) that
    answers for all it can. Frames already answered for are not answered again, so nothing earlier
    is rewritten.

    >>> tail(Window("frames", (4, 8, 8), length=4, stride=4), 10)
    Place(start=6, first=8, stop=10)
    """
    first, stop = window.answered
    if frames < window.length:
        first = min(first, frames - 1)
        return Place(0, first, min(max(stop, first + 1), frames))
    start = frames - window.length
    last = start - start % window.stride  # of the last regular window
    if start == last:
        return None
    return Place(start, max(start + first, last + stop), start + stop)


def places(window: Window, frames: int) -> list[Place]:
    """All windows of a video of `frames` frames, the tail included, in time order."""
    if frames < 1:
        return []
    regular = [at(window, index) for index in range(window.length - 1, frames)]
    last = tail(window, frames)
    return [place for place in regular if place] + ([last] if last else [])
