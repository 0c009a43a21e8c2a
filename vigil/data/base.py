"""What a data set is: a training part without truth, a test part whose truth metrics ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vigil.errors import InputError
from vigil.records import Truth, Video


@dataclass(frozen=True)
class Split:
    """Videos of one part of a data set, in name order, each name once."""

    videos: tuple[Video, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for video in self.videos:
            if video.name in seen:
                raise InputError(
                    f"two videos are called {video.name!r}; rename one: {video.source}"
                )
            seen.add(video.name)

    def __iter__(self) -> Iterator[Video]:
        return iter(self.videos)

    def __len__(self) -> int:
        return len(self.videos)


@dataclass(frozen=True)
class TestSplit(Split):
    """The test part. `truth(name)` reads one video's labels; only `vigil.metrics` may call it."""

    __test__ = False  # not a test class, whatever pytest thinks of its name
    truth: Callable[[str], Truth] = field(default=lambda name: no_truth(name), repr=False)


@dataclass(frozen=True)
class DataSet:
    """One data set, opened: its parts, and what `vigil data info` prints about it.

    info  facts to print and check: {"licence": ..., "cite": ..., "expected": {"train videos": 16}}
    """

    name: str
    train: Split
    test: TestSplit
    val: Split | None = None
    variant: str = ""  # "weak" for a split by another name
    info: Mapping[str, Any] = field(default_factory=dict)


def no_truth(name: str) -> Truth:
    """The truth of a data set without labels: an error that says so."""
    raise InputError(f"{name}: no labels at hand; give labels or use `vigil score` instead")
