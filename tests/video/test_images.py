from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import movies
import numpy as np
import pytest

from vigil.errors import InputError
from vigil.video.images import open_images
from vigil.video.read import count_frames, open_video, part

DATA = Path(os.environ.get("VIGIL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def save(path: Path, image: np.ndarray) -> None:
    """RGB, or grey as (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


@pytest.fixture
def folder(tmp_path):
    for i in range(12):  # 1.png .. 12.png: as text, 10 would come before 2
        save(tmp_path / "street 3" / f"{i + 1}.png", movies.numbered(i))
    return tmp_path / "street 3"


def numbers(video, short_side=None):
    return [movies.number(frame.image) for frame in video.frames(short_side)]


def test_natural_order_times_and_size(folder):
    video = open_video(folder)
    assert (video.name, video.fps, video.size) == ("street 3", 25, (64, 96))
    assert numbers(video) == numbers(video, 32) == list(range(12))
    assert count_frames(video) == 12
    video = open_images(folder, fps=10, name="s", label="normal", view="left")
    assert [f.time for f in video.frames()] == [i / 10 for i in range(12)]
    assert (video.name, video.label, video.view) == ("s", "normal", "left")
    assert next(video.frames(32)).image.shape == (32, 48, 3)
    assert next(video.frames()).image.flags["C_CONTIGUOUS"]


def test_stray_files_are_passed_over(folder):
    for stray in (".DS_Store", "Thumbs.db", "notes.txt", "._1.png", ".13.png", "gt.mat"):
        (folder / stray).write_bytes(b"\0\5\26\7 not an image")
    (folder / "14.png").mkdir()
    assert numbers(open_video(folder)) == list(range(12))


def test_chosen_files_and_suffixes(folder):
    for i in range(3):
        save(folder / f"{i:04d}.bmp", movies.numbered(100 + i))
    assert numbers(open_images(folder, suffixes=[".bmp"])) == [100, 101, 102]
    assert numbers(open_images(folder, files=["5.png", "3.png"])) == [4, 2]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "TIFF"])
def test_colour_is_rgb(tmp_path, suffix):
    image = np.zeros((32, 48, 3), np.uint8)
    image[:] = (200, 60, 30)
    save(tmp_path / f"1.{suffix}", image)
    found = next(open_images(tmp_path).frames()).image.reshape(-1, 3).mean(0)
    assert np.abs(found - (200, 60, 30)).max() < 4


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_and_sixteen_bits(tmp_path, suffix):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save(tmp_path / "8" / f"1.{suffix}", grey)
    save(tmp_path / "16" / f"1.{suffix}", grey.astype(np.uint16) * 257)
    for depth in ("8", "16"):
        image = next(open_images(tmp_path / depth).frames()).image
        assert image.shape == (16, 16, 3) and image.dtype == np.uint8
        assert (image == grey[..., None]).all()


def test_a_broken_image_is_named(folder):
    (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:40])
    frames = open_video(folder).frames()
    assert [movies.number(next(frames).image) for _ in range(6)] == list(range(6))
    with pytest.raises(InputError, match=r"7\.png"):
        next(frames)
    (folder / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1\.png"):
        open_video(folder)


def test_a_change_of_size_names_both(folder):
    save(folder / "5.png", movies.numbered(4, 32, 48))
    with pytest.raises(InputError, match=r"5\.png: 48x32 .* 96x64"):
        list(open_video(folder).frames())


def test_folders_that_are_no_video(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").touch()
    with pytest.raises(InputError, match="empty: a folder without images"):
        open_video(tmp_path / "empty")
    with pytest.raises(InputError, match="nowhere"):
        open_images(tmp_path / "nowhere")


UNREADABLE = """
import os, sys
from vigil.errors import InputError
from vigil.video.read import find_videos, open_video
if os.geteuid() == 0:
    import cv2
    os.seteuid(65534)  # for root every folder is readable
for verb in (open_video, find_videos):
    try:
        verb(sys.argv[1])
    except InputError as error:
        assert "closed" in str(error) and "ermission" in str(error), error
        print("refused")
"""


def test_an_unreadable_folder_is_named(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    save(closed / "1.png", movies.numbered(0))
    closed.chmod(0)
    command = [sys.executable, "-c", UNREADABLE, str(closed)]
    done = subprocess.run(command, capture_output=True, text=True)
    closed.chmod(0o700)
    assert done.stdout.split() == ["refused", "refused"], done.stderr


def test_part(folder):
    middle = part(open_images(folder, fps=10), 0.3, 0.6)
    assert numbers(middle) == [3, 4, 5] and count_frames(middle) == 3
    assert [f.time for f in middle.frames()] == pytest.approx([0, 0.1, 0.2])


WITHOUT_AV = """
import sys
sys.modules["av"] = None  # as if it were not installed
from vigil.video.read import count_frames, open_video, part
video = open_video(sys.argv[1])
print(count_frames(part(video, 0, 9)), sum(1 for _ in video.frames(32)))
"""


def test_image_folders_need_no_av(folder):
    command = [sys.executable, "-c", WITHOUT_AV, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["12", "12"]


def test_ped2():
    folder = DATA / "ped2" / "testing" / "frames" / "01"
    if not folder.is_dir():
        pytest.skip(f"no UCSD Ped2 in {folder} (set VIGIL_DATA)")
    video = open_images(folder, fps=10)
    assert (video.name, video.size, count_frames(video)) == ("01", (240, 360), 180)
    image = next(video.frames()).image
    assert np.ptp(image, axis=2).max() <= 2  # grey stored as colour
