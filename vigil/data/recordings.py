"""Videos that are views of one moment, found by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vigil.records import Recording, Video


def without_view(name: str, view: str) -> str:
    """The name of the recording in the name of one of its views.

    >>> without_view("rec01/top_IR", "top_IR"), without_view("top_IR-rec01", "top_IR")
    ('rec01', 'rec01')
    """
    return re.sub(form(view), "", name).strip("-_./ ") or name if view else name


def form(view: str) -> str:
    """A regular expression for a view's name in that of a video or path, as a word of its own."""
    return rf"[-_./ ]*(?<![^\W_]){re.escape(view)}(?![^\W_])"


def recordings(videos: Iterable[Video]) -> tuple[Recording, ...]:
    """Videos whose names differ by their view only, joined; one without a view stands alone.

    In the order of each recording's first video.
    """
    found: dict[str, dict[str, Video]] = {}
    for video in videos:
        found.setdefault(without_view(video.name, video.view), {})[video.view] = video
    return tuple(Recording(name, views) for name, views in found.items())
