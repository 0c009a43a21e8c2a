from __future__ import annotations

import subprocess
import sys

import movies
import numpy as np
import pytest

from vigil.errors import ConfigError, InputError
from vigil.video.read import count_frames, open_video
from vigil.video.write import write_clip, write_mp4


def pictures(n, height=64, width=96):
    return [movies.numbered(i, height, width) for i in range(n)]


def test_what_is_written_is_read_back(tmp_path):
    import av

    path = tmp_path / "new" / "v.mp4"
    assert write_mp4(path, iter(pictures(40)), 30000 / 1001) == 40
    video = open_video(path)
    assert video.fps == pytest.approx(30000 / 1001, rel=1e-6) and video.size == (64, 96)
    assert [movies.number(f.image) for f in video.frames()] == list(range(40))
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    assert [p.name for p in path.parent.iterdir()] == ["v.mp4"]


def test_colour_survives(tmp_path):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, :48], image[:, 48:] = (200, 60, 30), (20, 90, 210)
    write_mp4(tmp_path / "c.mp4", [image] * 3, 25, quality=10)
    found = next(open_video(tmp_path / "c.mp4").frames()).image.astype(int)
    assert np.abs(found[:, :40] - (200, 60, 30)).max() < 8
    assert np.abs(found[:, 56:] - (20, 90, 210)).max() < 8


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, pictures(30), 25)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_sizes_grow_by_one_repeated_pixel(tmp_path):
    assert write_mp4(tmp_path / "o.mp4", pictures(3, 63, 97), 25, quality=10) == 3
    video = open_video(tmp_path / "o.mp4")
    assert video.size == (64, 98)
    image = next(video.frames()).image.astype(int)
    assert np.abs(image[63] - image[62]).max() < 12


def test_quality_changes_the_size(tmp_path):
    rng = np.random.default_rng(0)
    noise = list(rng.integers(0, 256, (5, 64, 96, 3), dtype=np.uint8))
    for quality in (10, 40):
        write_mp4(tmp_path / f"{quality}.mp4", noise, 25, quality=quality)
    assert (tmp_path / "10.mp4").stat().st_size > 2 * (tmp_path / "40.mp4").stat().st_size


@pytest.mark.parametrize(
    "frames, message",
    [
        ([], "no frames"),
        ([np.zeros((64, 96), np.uint8)], r"\(64, 96\)"),
        ([np.zeros((64, 96, 3), np.float32)], "float32"),
        ([np.zeros((64, 96, 3), np.uint8), np.zeros((32, 96, 3), np.uint8)], r"\(32, 96\)"),
    ],
)
def test_bad_frames_leave_the_old_file(tmp_path, frames, message):
    path = tmp_path / "v.mp4"
    path.write_text("old")
    with pytest.raises(InputError, match=message):
        write_mp4(path, frames, 25)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_an_error_of_the_frames_passes_through(tmp_path):
    def frames():
        yield movies.numbered(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mp4(tmp_path / "v.mp4", frames(), 25)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keys", [{"fps": 0}, {"fps": float("nan")}, {"fps": 25, "quality": 99}])
def test_bad_settings(tmp_path, keys):
    with pytest.raises(ConfigError, match=r"v\.mp4"):
        write_mp4(tmp_path / "v.mp4", pictures(1), **keys)
    with pytest.raises(ConfigError, match=r"\.mp4"):
        write_mp4(tmp_path / "v.avi", pictures(1), 25)


FULL = """
import resource, signal, sys
import numpy as np
from vigil.errors import StorageError
from vigil.video.write import write_mp4
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # no file may grow beyond
frames = np.random.default_rng(0).integers(0, 256, (40, 128, 128, 3), dtype=np.uint8)
try:
    write_mp4(sys.argv[1], frames, 25, quality=1)
except StorageError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert "disk full" in done.stdout and "v.mp4" in done.stdout
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_write_clip(tmp_path):
    write_mp4(tmp_path / "v.mp4", pictures(20), 10)
    video = open_video(tmp_path / "v.mp4")
    assert write_clip(tmp_path / "clip.mp4", video, 5, 9) == 4
    clip = open_video(tmp_path / "clip.mp4")
    assert [movies.number(f.image) for f in clip.frames()] == [5, 6, 7, 8] and clip.fps == 10

    seen = []

    def draw(image, index):
        seen.append(index)
        return movies.numbered(200 + index)

    assert write_clip(tmp_path / "drawn.mp4", video, 18, 99, draw) == 2  # the video ends at 20
    assert seen == [18, 19] and count_frames(open_video(tmp_path / "drawn.mp4")) == 2
    drawn = open_video(tmp_path / "drawn.mp4").frames()
    assert [movies.number(f.image) for f in drawn] == [218, 219]
    with pytest.raises(ConfigError, match="clip"):
        write_clip(tmp_path / "x.mp4", video, 5, 5)
    with pytest.raises(InputError, match="no frames"):
        write_clip(tmp_path / "x.mp4", video, 50, 60)
