"""Features on disk: the same rows as made live, whole files or none, provenance that is checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import movies
import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from vigil import plugins
from vigil.errors import ConfigError, InputError, ModelError, StorageError
from vigil.features.backbone import Backbone, cut_crops
from vigil.features.base import FeatureRow
from vigil.features.extract import extract
from vigil.features.extracted import Clips, Extracted
from vigil.features.store import Header, Rows, Writer, file_of, write_rows
from vigil.features.workers import extract_with
from vigil.records import Frame
from vigil.video.read import open_video


def film(path: Path, frames: int = 40, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 255, (60, 200, 3)).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    images = [texture[:96, 3 * n : 3 * n + 128] for n in range(frames)]
    return movies.make(path, images)


@pytest.fixture(scope="module")
def motion() -> Extracted:
    return Extracted("motion")


# -- which frames a row stands for ---------------------------------------------------------------
@pytest.mark.parametrize(
    ("length", "stride", "frames", "expected"),
    [
        (16, 16, 40, [(0, 16), (16, 32), (32, 40)]),
        (16, 16, 32, [(0, 16), (16, 32)]),
        (16, 16, 5, [(0, 5)]),  # shorter than one clip: filled with its last frame
        (16, 8, 32, [(0, 8), (8, 16), (16, 24)]),
        (16, 8, 33, [(0, 8), (8, 16), (16, 24), (24, 33)]),
        (1, 1, 3, [(0, 1), (1, 2), (2, 3)]),
        (1, 16, 40, [(0, 16), (16, 32), (32, 40)]),
        (16, 24, 60, [(0, 24), (24, 48), (48, 60)]),
    ],
)
def test_rows_stand_for_these_frames(
    length: int, stride: int, frames: int, expected: list[tuple[int, int]]
) -> None:
    seen: list[list[int]] = []

    def rows_of(clip: np.ndarray) -> np.ndarray:
        seen.append(clip[0, 0, :, 0, 0].astype(int).tolist())
        return clip.reshape(len(clip), -1)[:, :1]

    def prepare(image: np.ndarray) -> np.ndarray:
        return np.full((1, 3, 1, 1), image[0, 0, 0], np.float32)

    one = Clips(length, stride, prepare, rows_of)
    rows = []
    for n in range(frames):
        row = one.see(Frame(np.full((1, 1, 3), n, np.uint8), n / 25), n)
        rows += [row] if row else []
    rows += one.finish()
    assert [(row.first, min(row.stop, frames)) for row in rows] == expected
    starts = [row.first for row in rows]
    want = [[min(s + t, frames - 1) for t in range(length)] for s in starts]
    assert seen == want


# -- files ---------------------------------------------------------------------------------------
def test_rows_in_files_are_those_made_live(tmp_path: Path, motion: Extracted) -> None:
    video = open_video(film(tmp_path / "a.mp4"))
    done = extract([video], tmp_path / "rows", motion)
    assert (done.made, done.frames, done.failed) == (["a"], 40, {})
    stored = Rows(file_of(tmp_path / "rows", "a"))
    tracker = motion.start(video, video.fps)
    live = [r for n, f in enumerate(video.frames()) if (r := tracker.see(f, n)) is not None]
    live += tracker.finish()
    assert [(r.first, r.stop) for r in stored.rows()] == [(r.first, r.stop) for r in live]
    for one, two in zip(stored.rows(), live, strict=True):
        np.testing.assert_array_equal(one.value, two.value)
    header = stored.header
    assert (header.backbone, header.dim, header.crops, header.count) == ("motion", 240, 1, 40)
    assert (header.size, header.fps, header.engine) == ((96, 128), 25.0, "torch")
    with safe_open(tmp_path / "rows" / "a.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["vigil"])["preprocessing"] == header.preprocessing


def test_done_is_skipped_and_another_kind_is_refused(tmp_path: Path, motion: Extracted) -> None:
    video, folder = open_video(film(tmp_path / "a.mp4")), tmp_path / "rows"
    extract([video], folder, motion)
    before = (folder / "a.safetensors").stat().st_mtime_ns
    assert extract([video], folder, motion).skipped == ["a"]
    assert (folder / "a.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"stride 16, but 8 is needed"):
        extract([video], folder, Extracted("motion", stride=8))
    with pytest.raises(InputError, match=r"backbone 'motion', but 'pixels' is needed"):
        extract([video], folder, Extracted("pixels"))


def test_a_video_that_fails_is_named_and_the_rest_is_made(
    tmp_path: Path, motion: Extracted
) -> None:
    good, bad = film(tmp_path / "good.mp4"), film(tmp_path / "bad.mp4")
    videos = [open_video(bad), open_video(good)]
    bad.write_bytes(b"no video any more")
    done = extract(videos, tmp_path / "rows", motion)
    assert done.made == ["good"] and list(done.failed) == ["bad"]
    assert "bad.mp4" in done.failed["bad"]
    assert sorted(p.name for p in (tmp_path / "rows").iterdir()) == ["good.safetensors"]


def test_two_videos_of_one_name_are_refused(tmp_path: Path, motion: Extracted) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    videos = [open_video(film(tmp_path / folder / "x.mp4", 4)) for folder in ("a", "b")]
    with pytest.raises(InputError, match="two videos are called 'x'"):
        extract(videos, tmp_path / "rows", motion)
    with pytest.raises(InputError, match="two videos are called 'x'"):
        extract_with(2, videos, tmp_path / "rows", motion, lambda *_: None)


def test_damage_costs_its_own_clip_only(tmp_path: Path) -> None:
    images = [np.full((64, 96, 3), 4 * n, np.uint8) for n in range(48)]
    whole = movies.make(tmp_path / "whole.avi", images, codec="ffv1", pix_fmt="yuv444p",
                       options={"g": "1", "slicecrc": "1"})  # fmt: skip
    data = bytearray(whole.read_bytes())
    chunks = [i for i in range(data.index(b"movi"), len(data)) if data[i : i + 4] == b"00dc"]
    for n in (18, 19, 20):
        data[chunks[n] + 8 : chunks[n] + 40] = bytes([255] * 32)
    (tmp_path / "hurt.avi").write_bytes(data)
    maker = Extracted("pixels")
    videos = [open_video(tmp_path / f"{n}.avi") for n in ("whole", "hurt")]
    done = extract(videos, tmp_path / "rows", maker)
    assert done.damaged == {"hurt": [(18, 21)]} and not done.failed
    one, two = (Rows(file_of(tmp_path / "rows", n)) for n in ("whole", "hurt"))
    assert tuple(map(tuple, two.header.damaged)) == ((18, 21),) and two.header.count == 48
    same = (one.read() == two.read()).all((1, 2))
    assert (~same).nonzero()[0].tolist() == [18, 19, 20]


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(InputError, match=r"a\.safetensors: not a readable file of features"):
        Rows(file_of(tmp_path, "a"))
    header = Header("motion", "", "words", 16, 16, 2, 3, video="b")
    rows = [FeatureRow(np.zeros((1, 3), np.float32), 0, 16)]
    write_rows(tmp_path / "b.safetensors", rows, header)
    with pytest.raises(InputError, match=r"features \(1, 1, 3\), expected \(1, 2, 3\)"):
        Rows(file_of(tmp_path, "b"))
    with pytest.raises(InputError, match=r"c\.safetensors: not a readable file of features"):
        Rows(file_of(tmp_path, "c"))


def test_nothing_is_left_when_writing_fails(tmp_path: Path, motion: Extracted) -> None:
    video = open_video(film(tmp_path / "a.mp4"))
    (tmp_path / "rows").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="rows"):
        extract([video], tmp_path / "rows", motion)
    with pytest.raises(RuntimeError), Writer(tmp_path / "out" / "a.safetensors") as writer:
        writer.add(FeatureRow(np.zeros((1, 3), np.float32), 0, 16))
        raise RuntimeError
    assert not list((tmp_path / "out").iterdir())


def test_unknown_names_and_wrong_numbers() -> None:
    with pytest.raises(ConfigError, match="did you mean 'motion'"):
        Extracted("moton")
    with pytest.raises(ConfigError, match="3 crops"):
        Extracted("motion", crops=3)
    with pytest.raises(ConfigError, match="stride 0"):
        Extracted("motion", stride=0)
    with pytest.raises(ModelError, match=r"r3d-50: no weights given; it reads"):
        Extracted("r3d-50").runner()


# -- a network with weights and crops ------------------------------------------------------------
class Tiny(Backbone):
    """A small convolution over 4 frames; 32x32 crops of frames as they are."""

    name, frames, size, dim, crop_counts = "tiny", 4, (32, 32), 8, (1, 5, 10)
    weights, preprocessing, checked = "tiny.pth", "cut from the frame, over 255", "formula"

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Conv3d(3, 8, (4, 9, 9), 8), nn.ReLU(), nn.AdaptiveMaxPool3d(1),
                             nn.Flatten())  # fmt: skip

    def frame(self, image: np.ndarray) -> np.ndarray:
        crops = cut_crops(image, self.size, self.crops)
        return crops.transpose(0, 3, 1, 2).astype(np.float32) / 255


def test_ten_crops_are_ten_single_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.added["backbones"], "tiny", Tiny)
    torch.manual_seed(0)
    torch.save({"state_dict": Tiny().build().state_dict()}, tmp_path / "tiny.pth")
    video = open_video(film(tmp_path / "a.mp4", 8))
    for crops in (10, 1):
        maker = Extracted("tiny", tmp_path / "tiny.pth", crops, engine="torch", dtype="float32")
        assert extract([video], tmp_path / str(crops), maker).made == ["a"]
    many, single = (Rows(file_of(tmp_path / crops, "a")) for crops in ("10", "1"))
    assert many.shape == (2, 10, 8) and len(many.header.weights) == 64
    np.testing.assert_allclose(many.read()[:, 4], single.read()[:, 0], atol=1e-6)
    assert np.abs(np.diff(many.read()[0], axis=0)).max(1).min() > 1e-3  # every crop is another
    with pytest.raises(InputError, match="features of 10 crops, 1 asked for"):
        extract([video], tmp_path / "10", maker)


def test_two_workers_make_the_same_files(tmp_path: Path) -> None:
    videos = [open_video(film(tmp_path / f"{n}.mp4", 20, n)) for n in range(3)]
    extract(videos, tmp_path / "one", Extracted("motion"))
    done = extract_with(2, videos, tmp_path / "two", Extracted("motion"), lambda *_: None)
    assert sorted(done.made) == ["0", "1", "2"] and done.frames == 60
    for n in range(3):
        a, b = (Rows(tmp_path / w / f"{n}.safetensors").read() for w in ("one", "two"))
        np.testing.assert_array_equal(a, b)


def test_sigkill_and_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    videos = [film(tmp_path / "in" / f"{n}.mp4", 60, n) for n in range(6)]
    out = tmp_path / "rows"
    command = [sys.executable, "-m", "vigil", "extract", str(tmp_path / "in"),
               "--backbone", "motion", "--out", str(out)]  # fmt: skip
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not list(out.glob("*.safetensors")) and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert child.stderr is not None
    child.stderr.close()
    for path in out.glob("*.safetensors"):
        assert len(Rows(path).first) == 4  # whole, or not there
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert len(list(out.glob("*.safetensors"))) == len(videos)


def test_two_at_once_leave_whole_files(tmp_path: Path) -> None:
    videos = [open_video(film(tmp_path / f"{n}.mp4", 40, n)) for n in range(4)]
    makers = [Extracted("motion"), Extracted("motion")]
    results: list[int] = []

    def work(maker: Extracted) -> None:
        done = extract(videos, tmp_path / "rows", maker)
        results.append(len(done.made) + len(done.skipped))

    threads = [threading.Thread(target=work, args=(maker,)) for maker in makers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [4, 4]
    assert len(os.listdir(tmp_path / "rows")) == 4
    for n in range(4):
        assert len(Rows(tmp_path / "rows" / f"{n}.safetensors").rows()) == 3
