from __future__ import annotations

import functools
import gc
import http.server
import logging
import os
import pickle
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import cv2
import movies
import numpy as np
import pytest
import scipy.io

from vigil.errors import ConfigError, InputError
from vigil.records import Frame, Video
from vigil.video.read import count_frames, find_videos, open_video, part, scaled_size
from vigil.video.write import write_mp4

DATA = Path(os.environ.get("VIGIL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def pictures(n: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    return [movies.numbered(i, height, width) for i in range(n)]


def numbers(video: Video, short_side: int | None = None) -> list[int]:
    return [movies.number(frame.image) for frame in video.frames(short_side)]


@pytest.fixture
def ten(tmp_path):
    return movies.make(tmp_path / "ten.mp4", pictures(10))


# -- what comes out ------------------------------------------------------------------------------
def test_frames_are_exact_and_in_order_with_b_frames(tmp_path):
    b_frames = {"bf": "3", "b-adapt": "0", "g": "30"}
    video = open_video(movies.make(tmp_path / "b.mp4", pictures(75), options=b_frames))
    assert numbers(video) == list(range(75))
    assert count_frames(video) == 75
    assert (video.name, video.fps, video.size) == ("b", 25, (64, 96))
    times = [frame.time for frame in video.frames()]
    assert times == [i / 25 for i in range(75)]


@pytest.mark.parametrize("suffix, codec", [("avi", "mpeg4"), ("mkv", "ffv1"), ("mov", "mjpeg")])
def test_other_containers(tmp_path, suffix, codec):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = movies.make(tmp_path / f"v.{suffix}", pictures(12), codec=codec, pix_fmt=pix_fmt)
    assert numbers(open_video(path)) == list(range(12))


def test_variable_frame_rate_keeps_every_time(tmp_path):
    pts = [7, 8, 12, 100, 101, 350, 1007]
    path = movies.make(tmp_path / "v.mkv", pictures(7), pts=pts, unit=Fraction(1, 1000))
    video = open_video(path)
    assert [f.time for f in video.frames()] == [(p - 7) / 1000 for p in pts]
    assert numbers(video) == list(range(7))
    assert count_frames(video) == 7


def test_times_that_repeat_or_go_back_are_mended():
    from vigil.video.read import _Clock

    clock, unit = _Clock(0.04), Fraction(1, 25)
    times = [clock(pts, unit) for pts in (50, 51, 51, 52, None, 54, 0, 1, 2)]
    assert times[:2] == [0, 0.04]
    assert 0.04 < times[2] < 0.08  # the repeated one, between its neighbours
    assert times[3] == 0.08 and times[4] == pytest.approx(0.12) and times[5] == 0.16
    assert times[6:] == pytest.approx([0.20, 0.24, 0.28])  # the file's clock was set back by 2 s
    assert (np.diff(times) > 0).all()


def test_first_time_may_be_missing():
    from vigil.video.read import _Clock

    clock = _Clock(0.5)
    assert [clock(pts, Fraction(1, 2)) for pts in (None, 40, 41)] == [0, 0.5, 1.0]


def test_one_frame(tmp_path):
    video = open_video(movies.make(tmp_path / "one.mp4", pictures(1)))
    assert numbers(video) == [0] and count_frames(video) == 1 and 0 < video.fps <= 1000


@pytest.mark.parametrize("height, width", [(63, 97), (65, 96), (64, 95), (17, 33)])
def test_odd_sizes(tmp_path, height, width):
    ramp = np.linspace(30, 220, width, dtype=np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()
    path = movies.make(tmp_path / "o.mkv", [image] * 3, codec="ffv1", pix_fmt="yuv444p")
    video = open_video(path)
    for frame in video.frames():
        assert frame.image.shape == (height, width, 3)
        assert np.abs(frame.image.astype(int) - image).max() <= 3
    assert next(video.frames(15)).image.shape == (*scaled_size((height, width), 15), 3)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotation_is_honoured(tmp_path, turn):
    upright = np.full((48, 80, 3), 40, np.uint8)
    upright[:12, :20] = 230  # a bright mark in the upper left
    stored = np.ascontiguousarray(np.rot90(upright, -turn // 90))
    path = movies.make(tmp_path / "r.mp4", [stored] * 3, turn=turn)
    video = open_video(path)
    assert video.size == (48, 80)
    for short_side in (None, 24):
        image = next(video.frames(short_side)).image
        assert image.shape == ((48, 80, 3) if short_side is None else (24, 40, 3))
        assert image.flags["C_CONTIGUOUS"]
        h, w = image.shape[:2]
        assert image[: h // 8, : w // 8].mean() > 200
        assert image[-h // 4 :].mean() < 60 and image[:, -w // 4 :].mean() < 60


@pytest.mark.parametrize(
    "pix_fmt, codec", [("gray", "ffv1"), ("yuv420p10le", "ffv1"), ("gray10le", "ffv1")]
)
def test_grey_and_ten_bits(tmp_path, pix_fmt, codec):
    ramp = np.linspace(16, 235, 96).astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (64, 96, 3)).copy()
    video = open_video(movies.make(tmp_path / "g.mkv", [image] * 2, codec=codec, pix_fmt=pix_fmt))
    for frame in video.frames():
        assert frame.image.shape == (64, 96, 3) and frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - image).max() <= 3


@pytest.mark.parametrize("short_side", [None, 32])
def test_colour_is_rgb(tmp_path, short_side):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:] = (200, 60, 30)
    video = open_video(movies.make(tmp_path / "c.mp4", [image] * 2))
    found = next(video.frames(short_side)).image.reshape(-1, 3).mean(0)
    assert np.abs(found - (200, 60, 30)).max() < 4


def test_scaled_size():
    assert scaled_size((1080, 1920), 240) == (240, 427)  # 426.67
    assert scaled_size((1920, 1080), 240) == (427, 240)
    assert scaled_size((240, 320), 112) == (112, 149)  # 149.33
    assert scaled_size((100, 150), 25) == (25, 38)  # 37.5 rounds up
    assert scaled_size((240, 320), 240) == scaled_size((240, 320), 999) == (240, 320)
    assert scaled_size((240, 320), None) == (240, 320)
    with pytest.raises(ConfigError, match="short_side 0"):
        scaled_size((240, 320), 0)


@pytest.mark.parametrize("tint, highest, mean", [(0, 3, 0.7), (50, 10, 2)])
@pytest.mark.parametrize("short_side", [60, 77, 112, 239])
def test_small_frames_are_what_area_averaging_gives(tmp_path, short_side, tint, highest, mean):
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 205, (30, 40, 1)), rng.integers(0, tint + 1, (30, 40, 3))
    coarse = (grey + colour).astype(np.uint8)
    image = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    video = open_video(write_mp4_path(tmp_path / "a.mp4", [image] * 2))
    full = next(video.frames()).image
    small = next(video.frames(short_side)).image
    h, w = scaled_size((240, 320), short_side)
    area = cv2.resize(full, (w, h), interpolation=cv2.INTER_AREA)
    assert small.shape == (h, w, 3)
    difference = np.abs(small.astype(int) - area)
    assert np.percentile(difference, 99.5) <= highest and difference.mean() < mean


def write_mp4_path(path: Path, images: list[np.ndarray]) -> Path:
    write_mp4(path, images, 25, quality=12)
    return path


def test_frames_may_be_kept_and_written_to(ten):
    for short_side in (None, 24):
        kept = [f.image for f in open_video(ten).frames(short_side)]
        gc.collect()
        assert [movies.number(image) for image in kept] == list(range(10))
        assert all(i.flags["C_CONTIGUOUS"] and i.dtype == np.uint8 for i in kept)
        kept[0][:] = 0
        assert [movies.number(image) for image in kept] == list(range(10))


def test_a_change_of_size_is_brought_to_the_first_size(tmp_path):
    small = movies.make(tmp_path / "1.h264", pictures(5))
    large = movies.make(tmp_path / "2.h264", pictures(5, 128, 192))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    video = open_video(both)
    assert {f.image.shape for f in video.frames()} == {(64, 96, 3)}
    assert numbers(video) == [*range(5), *range(5)]


def test_names_and_pickling(ten):
    video = open_video(str(ten), name="gate", scene="yard", view="north", label="normal")
    assert (video.name, video.scene, video.view, video.label) == ("gate", "yard", "north", "normal")
    assert numbers(pickle.loads(pickle.dumps(video))) == list(range(10))
    assert open_video(ten).name == "ten" and video.source == str(ten)


def test_file_names_with_colons_percents_and_spaces(ten):
    odd = ten.rename(ten.with_name("cam 1 at 10:30 %03d.mp4"))
    assert count_frames(open_video(odd)) == 10
    assert count_frames(open_video(odd.as_uri())) == 10
    assert open_video(odd.as_uri()).name == odd.stem


def test_http(ten):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(ten.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        video = open_video(f"{place}/ten.mp4")
        assert video.name == "ten" and numbers(video) == list(range(10))
        with pytest.raises(InputError, match="nothing.mp4"):
            open_video(f"{place}/nothing.mp4")
        server.shutdown()


@pytest.mark.parametrize("url", ["rtsp://cam/1", "concat://a", "ftp://x/y.mp4", "pipe://0"])
def test_other_protocols_are_refused(url):
    with pytest.raises(InputError, match="protocol"):
        open_video(url)


# -- parts ---------------------------------------------------------------------------------------
def test_part(ten):
    boxes = [np.full((1, 4), i, np.float32) for i in range(10)]
    video = open_video(ten, given={"objects": lambda: boxes, "features": lambda: []})
    middle = part(video, 0.12, 0.28)  # frames 3 4 5 6
    assert middle.name == "ten" and numbers(middle) == [3, 4, 5, 6]
    assert [f.time for f in middle.frames(24)] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert count_frames(middle) == 4 and set(middle.given) == {"objects"}
    assert [b[0, 0] for b in middle.given["objects"]()] == [3, 4, 5, 6]
    assert numbers(part(middle, 0.04, 9)) == [4, 5, 6]
    assert [f.time for f in part(middle, 0.04, 9).frames()] == pytest.approx([0, 0.04, 0.08])
    assert count_frames(part(video, 5, 6)) == 0 and numbers(part(video, 5, 6)) == []
    with pytest.raises(ConfigError, match="start < stop"):
        part(video, 2, 2)


def test_part_of_a_video_with_another_opener():
    def frames(short_side):
        return (Frame(movies.numbered(i), i / 10) for i in range(8))

    video = Video("made", "memory", 10.0, (64, 96), frames)
    assert numbers(part(video, 0.2, 0.5)) == [2, 3, 4]
    assert count_frames(video) == 8 and count_frames(part(video, 0.2, 0.5)) == 3


def test_find_videos(tmp_path):
    for place in ("10", "2", "a/frames", ".hidden"):
        (tmp_path / place).mkdir(parents=True)
    for file in ("10.mp4", "9.AVI", ".x.mp4", "._9.avi", "note.txt", "cover.jpg"):
        (tmp_path / file).touch()
    for file in ("10/001.jpg", "2/1.tif", "a/frames/5.png", ".hidden/1.jpg", "a/Thumbs.db"):
        (tmp_path / file).touch()
    found = [str(path.relative_to(tmp_path)) for path in find_videos(tmp_path)]
    assert found == ["2", "9.AVI", "10", "10.mp4", "a/frames"]
    assert find_videos(tmp_path / "2") == [tmp_path / "2"]
    with pytest.raises(InputError, match="nowhere"):
        find_videos(tmp_path / "nowhere")


# -- bad input -----------------------------------------------------------------------------------
def bad(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.mp4"
    good = movies.make(tmp_path / "good.mp4", pictures(30))
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is a shopping list\n" * 200)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(20_000))
    elif kind == "truncated":  # the index stands at the end and is lost
        path.write_bytes(good.read_bytes()[:-1500])
    elif kind == "sound":
        movies.sound(path)
    elif kind == "no_pictures":  # all of the container, none of the data
        data = bytearray(good.read_bytes())
        start = data.index(b"mdat") + 4
        data[start : data.index(b"moov") - 4] = bytes(data.index(b"moov") - 4 - start)
        path.write_bytes(data)
    elif kind == "pipe":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "text", "noise", "truncated", "sound", "no_pictures", "pipe"]
)
def test_bad_files_are_named(tmp_path, kind):
    with pytest.raises(InputError, match=f"{kind}.mp4"):
        open_video(bad(tmp_path, kind))


def test_damage_in_the_middle_is_passed_over(tmp_path):
    rng = np.random.default_rng(0)
    grain = rng.integers(-15, 16, (60, 64, 96, 3))
    images = [(movies.numbered(i) + g).astype(np.uint8) for i, g in enumerate(grain)]
    path = movies.make(tmp_path / "hurt.mp4", images, options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = rng.bytes(1500)
    path.write_bytes(data)
    video = open_video(path)
    found = numbers(video)
    assert 45 <= len(found) <= 60
    assert found[:20] == list(range(20)) and found[-20:] == list(range(40, 60))
    assert count_frames(video) == len(found)
    times = [frame.time for frame in video.frames(24)]
    assert times[-20:] == [i / 25 for i in range(40, 60)]  # later frames keep their place in time
    assert (np.diff(times) > 0).all()


def test_broken_packets_are_counted(tmp_path, caplog):
    path = movies.make(tmp_path / "b.avi", pictures(20), codec="ffv1", pix_fmt="yuv444p",
                      options={"g": "1", "slicecrc": "1"})  # fmt: skip
    data = path.read_bytes()
    chunks = [i for i in range(data.index(b"movi"), len(data)) if data[i : i + 4] == b"00dc"]
    hurt = bytearray(data)
    for i in (chunks[7], chunks[8]):
        hurt[i + 8 : i + 40] = bytes([255] * 32)
    path.write_bytes(hurt)
    with caplog.at_level(logging.WARNING, logger="vigil"):
        found = numbers(open_video(path))
    assert found == [*range(7), *range(9, 20)]
    assert "b.avi: 2 damaged packets" in caplog.text


# -- cost ----------------------------------------------------------------------------------------
def open_files() -> set[str]:
    links = [Path("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
    return {os.readlink(link) for link in links if link.is_symlink()}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see open files")
def test_stopping_early_lets_the_file_go(ten):
    video = open_video(ten)
    assert str(ten) not in open_files()
    frames = video.frames(24)
    next(frames)
    assert str(ten) in open_files()
    frames.close()
    assert str(ten) not in open_files()
    for _ in video.frames():
        break
    gc.collect()
    assert str(ten) not in open_files()


PEAK = """
import resource, sys
from vigil.video.read import open_video
for path in sys.argv[1:]:
    n = sum(1 for _ in open_video(path).frames(32))
    print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_length(tmp_path):
    files = [str(tmp_path / "short.mp4"), str(tmp_path / "long.mp4")]
    for path, n in zip(files, (500, 5000), strict=True):
        write_mp4(path, (movies.numbered(i % 256) for i in range(n)), 25)
    command = [sys.executable, "-c", PEAK, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (short, low), (long, high) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (short, long) == (500, 5000)
    assert (high - low) / 1024 < 60  # MiB; all the long file's frames as arrays take 23


# -- real files ----------------------------------------------------------------------------------
def test_avenue_lengths_equal_their_labels():
    folder = DATA / "avenue_sample"
    files = sorted(folder.glob("testing_videos/*.avi"))
    if not files:
        pytest.skip(f"no CUHK Avenue sample in {folder} (set VIGIL_DATA)")
    for file in files:
        video = open_video(file)
        masks = scipy.io.loadmat(folder / "testing_label_mask" / f"{int(video.name)}_label.mat")
        assert count_frames(video) == masks["volLabel"].size
        assert video.size == (360, 640) and video.fps == 25
