"""Bad input: one clear line that names the file, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from footage import a_run, film, scratch_left, shelf, vigil

from vigil import bundle, pipeline, run
from vigil.errors import InputError
from vigil.video.read import open_video


def sound_only(path: Path) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)


def truncated(path: Path) -> None:
    path.write_bytes((shelf() / "new.mp4").read_bytes()[:900])


BAD = {
    "empty.mp4": (lambda path: path.write_bytes(b""), "an empty file (0 bytes)"),
    "cut.mp4": (truncated, "cut.mp4"),
    "sound.mp4": (sound_only, "holds no video that can be decoded, only audio"),
    "letter.mp4": (lambda path: path.write_text("Dear reader\n" * 50), "letter.mp4"),
    "noise.avi": (lambda path: path.write_bytes(bytes(range(256)) * 40), "noise.avi"),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all the bad files."""
    folder = tmp_path_factory.mktemp("bad")
    for name, (make, _) in BAD.items():
        make(folder / name)
    return folder


def only_line(err: str) -> str:
    """The one line of an error; a bar of progress may stand before it."""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


@pytest.mark.parametrize("name", BAD)
def test_one_bad_file_is_named_with_code_3(bad: Path, tmp_path: Path, name: str) -> None:
    done = vigil("score", shelf() / "run", bad / name, "--out", tmp_path / "scores")
    assert done.code == 3 and not (tmp_path / "scores").exists()
    assert BAD[name][1] in only_line(done.err) and str(bad / name) in done.err
    done = vigil("fit", "nearest", bad / name, "--out", tmp_path / "run")
    assert done.code == 3 and str(bad / name) in only_line(done.err)
    assert not (tmp_path / "run").exists()


def test_the_rest_of_a_folder_goes_on(bad: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(bad, folder)
    shutil.copy(shelf() / "new.mp4", folder / "good.mp4")
    done = vigil("score", shelf() / "run", folder, "--out", tmp_path / "scores")
    assert done.code == 3
    for name in BAD:
        assert done.err.count(f"error: {folder / name}: ") == 1
    assert set(pipeline.tables.read(tmp_path / "scores")) == {"good"}


def test_a_folder_of_bad_files_alone_says_how_many(bad: Path, tmp_path: Path) -> None:
    done = vigil("score", shelf() / "run", bad, "--out", tmp_path / "scores")
    assert done.code == 3 and not (tmp_path / "scores").exists()
    assert "nothing could be scored" in only_line(done.err) and "(and 4 more)" in done.err


def test_one_frame_and_fewer_than_a_window_are_scored(tmp_path: Path) -> None:
    for frames in (1, 2):
        path = film(tmp_path / f"short{frames}.mp4", frames)
        done = vigil("score", shelf() / "run", path, "--out", tmp_path / f"s{frames}")
        assert done.code == 0, done.err
        assert len(pipeline.tables.read(tmp_path / f"s{frames}")[path.stem]) == frames


def test_fitting_on_too_little_is_one_clear_line(tmp_path: Path) -> None:
    path = film(tmp_path / "one.mp4", 1)
    done = vigil("fit", "nearest", path, "--out", tmp_path / "run")
    assert done.code == 3 and only_line(done.err)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read every folder"
)
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        done = vigil("score", shelf() / "run", closed)
    finally:
        closed.chmod(0o700)
    assert done.code == 3 and str(closed) in only_line(done.err)


def test_an_empty_folder_and_no_such_place(tmp_path: Path) -> None:
    assert vigil("score", shelf() / "run", tmp_path).code == 3
    assert vigil("score", shelf() / "run", tmp_path / "none.mp4").code == 3
    done = vigil("score", shelf() / "run", tmp_path / "none")
    assert done.code == 2 and "unknown video, folder or data set" in only_line(done.err)


def measured(folder: Path, labels: str) -> Path:
    """A folder of one's own with a test video of 40 frames and these labels."""
    folder.mkdir()
    shutil.copy(shelf() / "new.mp4", folder / "new.mp4")
    text = f'name = "own"\n[[video]]\npath = "new.mp4"\nname = "new"\nsplit = "test"\n{labels}\n'
    (folder / "vigil.toml").write_text(text)
    return folder


def test_labels_longer_than_the_video(tmp_path: Path) -> None:
    own = measured(tmp_path / "own", "frames = [[10, 50]]")
    done = vigil("evaluate", shelf() / "run", own)
    assert done.code == 3 and "40 frames long" in only_line(done.err)


def test_scores_of_another_length_than_the_labels(tmp_path: Path) -> None:
    own = measured(tmp_path / "own", "frames = [[15, 30]]")
    film(tmp_path / "longer" / "new.mp4", 44)
    assert vigil("score", shelf() / "run", tmp_path / "longer", "--out", tmp_path / "s").code == 0
    done = vigil("evaluate", tmp_path / "s", own)
    assert done.code == 3 and "44 scores but labels for 40 frames" in only_line(done.err)


def test_nothing_to_measure_is_no_success(tmp_path: Path) -> None:
    own = measured(tmp_path / "own", "")
    done = vigil("evaluate", shelf() / "run", own)
    assert done.code == 3 and "nothing says when" in only_line(done.err)


def test_two_videos_of_one_name(tmp_path: Path) -> None:
    for place in ("a", "b"):
        film(tmp_path / "in" / place / "same.mp4", 12)
    done = vigil("score", shelf() / "run", tmp_path / "in", "--out", tmp_path / "s")
    assert done.code == 3 and "another video is called 'same'" in only_line(done.err)
    assert len(pipeline.tables.read(tmp_path / "s")) == 1
    pair = sorted((tmp_path / "in").glob("*/same.mp4"))
    done = vigil("fit", "nearest", *pair, "--out", tmp_path / "run")
    assert done.code == 3 and "two videos are called 'same'" in only_line(done.err)


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = measured(tmp_path / "own", "frames = [[15, 30]]")
    assert vigil("score", shelf() / "run", own / "new.mp4", "--out", tmp_path / "s").code == 0
    path = tmp_path / "s" / "scores.parquet"
    found = pq.read_table(path)
    values = found.column("smoothed").to_numpy().copy()
    values[7] = np.nan
    at = found.column_names.index("smoothed")
    pq.write_table(found.set_column(at, "smoothed", pa.array(values)), path)
    done = vigil("evaluate", tmp_path / "s", own)
    assert done.code == 3 and "smoothed is nan at frame 7" in only_line(done.err)
    path.write_bytes(path.read_bytes()[:200])
    done = vigil("show", tmp_path / "s", "new")
    assert done.code == 3 and "not a readable Parquet file" in only_line(done.err)


def test_a_method_that_answers_with_no_number_is_stopped() -> None:
    model = bundle.load(shelf() / "run")
    score = model.method.score
    model.method.score = lambda units: {k: v * np.nan for k, v in score(units).items()}  # type: ignore[method-assign]
    failures: dict[str, str] = {}
    video = open_video(shelf() / "new.mp4")
    with pytest.raises(InputError, match="new: channel .* is not finite near frame"):
        run.score_video(model, video)
    assert pipeline.score_all(model, [video], failures=failures) == {} and set(failures) == {"new"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("fit", "neerest", "x.mp4"), "did you mean 'nearest'"),
        (("methods", "neerest"), "did you mean 'nearest'"),
        (("data", "info", "avenu"), "did you mean 'avenue'"),
        (("data", "verify", "avenu"), "did you mean 'avenue'"),
        (("data", "make", "streat"), "did you mean 'street'"),
        (("data", "make", "street", "--as", "avenu"), "did you mean 'avenue'"),
        (("data", "make", "street", "--scale", "2"), "expected 0 < scale <= 1"),
        (("fit", "nearest", "x.mp4", "--set", "stepz=3"), "did you mean 'steps'"),
        (("fit", "nearest", "x.mp4", "--set", "k"), "expected key=value"),
        (("fit", "nearest", "x.mp4", "--preset", "best"), "unknown preset 'best'"),
        (("fit", "nearest", "x.mp4", "--extend", "r", "--resume"), "--extend keeps"),
    ],
)
def test_an_unknown_name_or_key_is_wrong_use(words: tuple[str, ...], found: str) -> None:
    done = vigil(*words)
    assert done.code == 2 and found in only_line(done.err)


SMALL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full disk answers with an error, not a signal
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from vigil.cli import main
sys.argv[0] = "vigil"
main()
"""


def on_a_full_disk(limit: int, *words: object) -> subprocess.CompletedProcess[str]:
    """The command where no file may grow beyond `limit` bytes."""
    command = [sys.executable, "-c", SMALL, str(limit), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes to be set")
@pytest.mark.parametrize("what", ["scores", "model", "report"])
def test_a_full_disk_leaves_the_old_files(tmp_path: Path, what: str) -> None:
    own = measured(tmp_path / "own", "frames = [[15, 30]]")
    folder = a_run(tmp_path / "run")
    words = {
        "scores": ("score", folder, own / "new.mp4"),
        "model": ("fit", "nearest", own / "new.mp4", "--extend", folder),
        "report": ("evaluate", folder, own, "--report", folder / "report"),
    }[what]
    if what != "model":
        assert vigil(*words).code == 0
    before = contents(folder)
    done = on_a_full_disk(2000, *words)
    assert done.returncode == 5, done.stderr
    assert "disk full while writing" in only_line(done.stderr)
    assert contents(folder) == before and not scratch_left(tmp_path)


TRAINING = """
import resource, signal, sys
from dataclasses import replace
sys.path.insert(0, "tests")
import toys
from vigil import pipeline
from vigil.errors import StorageError
from vigil.video.read import open_video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limits = {"cache": ("objects", 100_000), "state": ("train", 5_000)}
when, limit = limits[sys.argv[3]]
def tell(what, done, of):
    if what.startswith(when):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if when == "objects":
    tell("objects", 0, 0)
video = replace(open_video(sys.argv[1]), label="normal")
keys = {"steps": 2, "batch": 2, "device": "cpu"}
try:
    pipeline.fit(pipeline.method("toy-two-optimizers"), [video], out=sys.argv[2],
                 progress=tell, **keys)
except StorageError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes to be set")
@pytest.mark.parametrize("what", ["cache", "state"])
def test_a_full_disk_while_training_is_said_to_be_one(tmp_path: Path, what: str) -> None:
    path, run = film(tmp_path / "normal.mp4", 60), tmp_path / "run"
    command = [sys.executable, "-c", TRAINING, str(path), str(run), what]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "disk full while writing" in only_line(done.stderr)
    assert not (run / "last").exists() and not (run / "model").exists()
    assert not scratch_left(tmp_path)
