"""Files appear whole or not at all; pickles of strangers run nothing."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from footage import scratch_left

from vigil.errors import InputError, StorageError
from vigil.files import SETTLED, load_pickle, natural, writing


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    for text in ("one", "two"):
        with writing(path) as new:
            new.write_text(text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), writing(path) as new:
        new.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for name in ("first", "second"):
        with writing(path) as new:
            new.mkdir()
            (new / name).write_text(name)
    assert os.listdir(path) == ["second"] and os.listdir(tmp_path) == ["model"]


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write .*file/a"), writing(tmp_path / "file/a"):
        pass
    with pytest.raises(StorageError, match="disk full"), writing(tmp_path / "b"):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == ["file"]


KILLED = """
import sys, time
from vigil.files import writing
with writing(sys.argv[1]) as new:
    new.write_text("half")
    print("now", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_swept_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def writer() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "now\n"
        return child

    with writer() as dead:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        (left,) = scratch_left(tmp_path)
        with writer() as living:
            (busy,) = set(scratch_left(tmp_path)) - {left}
            for folder in (left, busy):
                os.utime(folder, (time.time() - 2 * SETTLED,) * 2)
            with writing(path) as new:
                new.write_text("mine")
            assert scratch_left(tmp_path) == [busy] and path.read_text() == "mine"
            living.send_signal(signal.SIGKILL)


def test_natural_order() -> None:
    names = ["10.jpg", "9.jpg", "b2", "b10", "a", "009.jpg"]
    assert sorted(names, key=natural) == ["9.jpg", "009.jpg", "10.jpg", "a", "b2", "b10"]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def test_pickles_of_arrays_are_read_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": np.arange(3), "b": [1.5, "x"]}))
    found = load_pickle(path)
    assert found["a"].tolist() == [0, 1, 2] and found["b"] == [1.5, "x"]
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match=r"a\.pkl: it asks for .*system"):
        load_pickle(path)
    path.write_bytes(b"no pickle")
    with pytest.raises(InputError, match="not a readable pickle"):
        load_pickle(path)
    with pytest.raises(InputError, match="at most 3 expected"):
        load_pickle(path, limit=3)
