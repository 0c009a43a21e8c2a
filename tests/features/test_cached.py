"""Kept values: the same bits again without computing, and never those of something else."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from vigil.errors import ConfigError, InputError
from vigil.features.base import Provider, Tracker
from vigil.features.cached import Cached
from vigil.features.flow import Dis, Farneback
from vigil.features.objects import Foreground, Given
from vigil.features.rows import GivenRows
from vigil.features.segmentation import ForegroundSegmentation
from vigil.records import Frame, Video

FRAMES, SIZE = 24, (48, 64)


def pictures(frames: int = FRAMES, seed: int = 0, size: tuple[int, int] = SIZE) -> Iterator[Frame]:
    """A bright square that crosses noise."""
    random = np.random.default_rng(seed)
    for t in range(frames):
        image = random.integers(60, 90, (*size, 3)).astype(np.uint8)
        image[18:34, 2 * t % 50 : 2 * t % 50 + 12] = 220
        yield Frame(image, t / 10)


def film(name: str = "v", **keys: Any) -> Video:
    return Video(name, f"made:{name}", 10.0, SIZE, lambda short_side: pictures(**keys))


class Counted(Provider):
    """Any provider; counts how often it began and how many frames it looked at."""

    def __init__(self, inner: Provider) -> None:
        self.inner, self.begun, self.looked = inner, 0, 0
        self.role = inner.role  # type: ignore[misc]

    def start(self, video: Video, fps: float) -> Tracker:
        self.begun += 1
        self.tracker = self.inner.start(video, fps)
        return self

    def see(self, frame: Frame, index: int) -> Any:
        self.looked += 1
        return self.tracker.see(frame, index)

    def finish(self) -> list[Any]:
        return self.tracker.finish()

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()

    def tensors(self) -> dict[str, Any]:
        return self.inner.tensors()


def run(provider: Provider, video: Video, fps: float = 10.0) -> list[np.ndarray]:
    """The values of a whole video."""
    tracker = provider.start(video, fps)
    values = [tracker.see(frame, index) for index, frame in enumerate(video.frames())]
    assert tracker.finish() == []
    return values


def foreground(kind: type[Foreground] = Foreground, seed: int = 5) -> Foreground:
    provider = kind()
    provider.fit([film("normal", seed=seed)])
    return provider


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize(
    "make",
    [foreground, Dis, lambda: foreground(ForegroundSegmentation)],
    ids=["objects", "flow", "segmentation"],
)
def test_same_bits_computed_once(make: Callable[[], Provider], tmp_path: Path) -> None:
    provider, again = Counted(make()), Counted(make())
    plain = run(make(), film())
    if provider.role == "flow":  # the one thing that is rounded: 11 bits of precision
        plain = [value.astype(np.float16).astype(np.float32) for value in plain]
    assert any(len(value) and value.any() for value in plain)
    first, second = run(Cached(provider, tmp_path), film()), run(Cached(again, tmp_path), film())
    for a, b, c in zip(plain, first, second, strict=True):
        assert a.dtype == b.dtype == c.dtype and a.shape == b.shape == c.shape
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert (provider.begun, provider.looked) == (1, FRAMES)
    assert (again.begun, again.looked) == (0, 0)
    (name,) = files(tmp_path)
    assert name.startswith("v-") and name.endswith(f".{provider.role}.safetensors")
    with safe_open(tmp_path / name, framework="np") as file:
        assert len(file.get_tensor("frames")) == FRAMES
        assert '"short_side": 48' in file.metadata()["vigil"]


def test_no_boxes_at_all_are_kept_too(tmp_path: Path) -> None:
    empty = replace(film(), given={"objects": lambda: [np.empty((0, 4))] * FRAMES})
    for _ in range(2):
        values = run(Cached(Given(), tmp_path), empty)
        assert all(v.shape == (0, 4) and v.dtype == np.float32 for v in values)


def test_videos_of_one_name_and_roles_lie_side_by_side(tmp_path: Path) -> None:
    one, two = film(), replace(film(seed=3), source="elsewhere/v")
    for _ in range(2):
        a, b = (run(Cached(Dis(), tmp_path), video) for video in (one, two))
        assert not np.array_equal(a[-1], b[-1])
        run(Cached(foreground(), tmp_path), one)
    assert len(files(tmp_path)) == 3


def test_learned_things_are_passed_on(tmp_path: Path) -> None:
    cached = Cached(Foreground(), tmp_path)
    cached.fit([film("normal", seed=5)])
    other = Cached(Foreground(), tmp_path)
    other.set_tensors(cached.tensors())
    assert list(cached.tensors()) == ["background:"]
    for a, b in zip(run(cached, film()), run(other, film()), strict=True):
        np.testing.assert_array_equal(a, b)
    assert cached.describe() == Foreground().describe() and cached.role == "objects"
    assert Cached(Dis(), tmp_path).describe() == {**Dis().describe(), "kept": "float16"}


# -- what does not belong --------------------------------------------------------------------
@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with the flow of a video that lies in a file."""
    (tmp_path / "v.mp4").write_bytes(b"video")
    run(Cached(Dis(), tmp_path / "kept"), on_disk(tmp_path))
    return tmp_path / "kept"


def on_disk(folder: Path, **keys: Any) -> Video:
    return replace(film(**keys), source=str(folder / "v.mp4"))


def refused(kept: Path, provider: Provider, video: Video, told: str, fps: float = 10.0) -> None:
    """Refused with `told`; computed anew and kept if asked to."""
    with pytest.raises(InputError, match=told) as caught:
        run(Cached(provider, kept), video, fps)
    assert str(kept) in str(caught.value) and 'stale="recompute"' in str(caught.value)
    anew = run(Cached(provider, kept, stale="recompute"), video, fps)
    for a, b in zip(anew, run(Cached(provider, kept), video, fps), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(files(kept)) == 1


def test_other_settings_are_refused(kept: Path) -> None:
    told = r'provider was \{"steps": 12\} when it was made, is now \{"steps": 6\}'
    refused(kept, Dis(steps=6), on_disk(kept.parent), told)
    refused(kept, Farneback(), on_disk(kept.parent), r'"name": "dis".*is now .*"farneback"')


def test_another_rate_is_refused(kept: Path) -> None:
    refused(kept, Dis(), on_disk(kept.parent), r"fps was 10\.0 when it was made, is now 5\.0", 5.0)


def test_a_changed_file_is_refused(kept: Path) -> None:
    (kept.parent / "v.mp4").write_bytes(b"other!")
    refused(kept, Dis(), on_disk(kept.parent), r'source was .*"bytes": 5.*is now .*"bytes": 6')


def test_other_frames_are_refused(kept: Path) -> None:
    refused(kept, Dis(), on_disk(kept.parent, seed=1), r"first_frame was \d+ .* is now \d+")


def test_frames_that_differ_only_later_are_refused(kept: Path) -> None:
    video = on_disk(kept.parent, frames=FRAMES - 1)
    with pytest.raises(InputError, match="values of 24 frames, but the video ended after 23"):
        run(Cached(Dis(), kept), video)
    with pytest.raises(InputError, match=r"frame 24 of the video: the file ends before it"):
        run(Cached(Dis(), kept), on_disk(kept.parent, frames=FRAMES + 1))

    def painted(short_side: int | None) -> Iterator[Frame]:
        for index, frame in enumerate(pictures()):
            frame.image[:8, :8] = 0 if index == 9 else frame.image[:8, :8]
            yield frame

    with pytest.raises(InputError, match="frame 9 of the video: the file was made from another"):
        run(Cached(Dis(), kept), replace(video, open=painted))


def test_what_was_learned_counts(tmp_path: Path) -> None:
    run(Cached(foreground(), tmp_path), film())
    refused(tmp_path, foreground(seed=6), film(), 'learned was "[0-9a-f]+" .* is now "[0-9a-f]+"')


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "swapped"])
def test_damaged_files_are_refused(kept: Path, damage: str) -> None:
    path = kept / files(kept)[0]
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[:-100],
            "empty": b"",
            "text": b"not a file of values",
            "swapped": data.replace(b'"values"', b'"volues"'),
        }[damage]
    )
    refused(kept, Dis(), on_disk(kept.parent), "not a readable file of values")


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="provider of features is not kept"):
        Cached(GivenRows(), tmp_path)
    with pytest.raises(ConfigError, match="stale 'ignore'"):
        Cached(Dis(), tmp_path, stale="ignore")  # type: ignore[arg-type]


def test_streams_are_not_kept(tmp_path: Path) -> None:
    run(Cached(Dis(), tmp_path / "kept"), replace(film(), source="rtsp://camera/1"))
    run(Cached(Dis(), tmp_path / "kept"), replace(film(), source=os.devnull))
    assert files(tmp_path / "kept") == []


# -- interruptions, memory, company ----------------------------------------------------------
def test_an_unfinished_video_is_not_kept(tmp_path: Path) -> None:
    tracker = Cached(Dis(), tmp_path).start(film(), 10.0)
    for index, frame in enumerate(pictures(5)):
        tracker.see(frame, index)
    del tracker
    gc.collect()
    assert files(tmp_path) == []


def test_frames_that_change_size_are_computed_but_not_kept(tmp_path: Path) -> None:
    def growing(short_side: int | None) -> Iterator[Frame]:
        yield from pictures(3)
        yield from pictures(3, size=(60, 80))

    values = run(Cached(Dis(), tmp_path), replace(film(), open=growing))
    assert values[-1].shape == (2, 60, 80) and files(tmp_path) == []


CHILD = """
import resource, sys, time
sys.path.insert(0, {tests!r})
import test_cached as t
from vigil.errors import StorageError
if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
tracker = t.Cached(t.Dis(), {folder!r}).start(t.film(frames={frames}), 10.0)
try:
    for index, frame in enumerate(t.pictures({frames})):
        tracker.see(frame, index)
    print("seen", flush=True)
    time.sleep({wait})
    tracker.finish()
except StorageError as error:
    sys.exit(str(error))
"""


def child(
    folder: Path, frames: int = FRAMES, wait: float = 0, limit: int = 0
) -> subprocess.Popen[str]:
    code = CHILD.format(
        tests=str(Path(__file__).parent), folder=str(folder), frames=frames, wait=wait, limit=limit
    )
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)


def test_killed_before_the_end_nothing_is_left(tmp_path: Path) -> None:
    with child(tmp_path, wait=60) as process:
        assert process.stdout is not None and process.stdout.readline() == "seen\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert files(tmp_path) == []
    assert len(run(Cached(Dis(), tmp_path), film())) == FRAMES


def test_killed_while_writing_no_half_file(tmp_path: Path) -> None:
    with child(tmp_path, frames=1500) as process:  # 18 MB to write
        assert process.stdout is not None and process.stdout.readline() == "seen\n"
        until = time.monotonic() + 5
        while not files(tmp_path) and process.poll() is None and time.monotonic() < until:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    for path in tmp_path.glob("*.safetensors"):  # it was quicker: then it is whole
        with safe_open(path, framework="np") as file:
            assert len(file.get_tensor("frames")) == 1500
    assert len(run(Cached(Dis(), tmp_path), film(frames=1500))) == 1500


def test_two_processes_make_one_whole_file(tmp_path: Path) -> None:
    with child(tmp_path) as one, child(tmp_path) as two:
        errors = [process.communicate()[1] for process in (one, two)]
    assert errors == ["", ""] and len(files(tmp_path)) == 1
    provider = Counted(Dis())
    want = run(Dis(), film())
    for a, b in zip(want, run(Cached(provider, tmp_path), film()), strict=True):
        np.testing.assert_array_equal(a.astype(np.float16), b)
    assert provider.looked == 0


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with child(tmp_path, limit=100_000) as process:
        _, error = process.communicate()
    assert process.returncode == 1 and files(tmp_path) == []
    assert error.startswith("disk full while writing") and "Traceback" not in error


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    video = film(frames=800, size=(96, 128))  # 800 x 49 kB of float16: 39 MB

    def last(provider: Provider) -> Any:
        tracker = provider.start(video, 10.0)
        for index, frame in enumerate(video.frames()):
            value = tracker.see(frame, index)
        tracker.finish()
        return value

    results = []
    for _ in range(2):  # made, then read
        tracemalloc.start()
        results.append(last(Cached(Dis(), tmp_path)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6e6
    np.testing.assert_array_equal(*results)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 39e6
