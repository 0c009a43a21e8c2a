"""Small footage on disk, a model fitted on it, and the command line called in this process."""

from __future__ import annotations

import atexit
import io
import shutil
import signal
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from conftest import moving_square

from vigil.cli import main
from vigil.video.write import write_mp4

SIZE = (96, 128)


class Done(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def vigil(*words: object) -> Done:
    """`vigil WORDS` in this process, its `main` included."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with (
            patch.object(sys, "argv", ["vigil", *map(str, words)]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as done:
        code = int(done.code or 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Done(code, out.getvalue(), err.getvalue())


def film(
    path: Path,
    frames: int = 40,
    *,
    size: tuple[int, int] = SIZE,
    fps: float = 10.0,
    seed: int = 0,
    fast: tuple[int, int] = (0, 0),
) -> Path:
    """A bright square that crosses the picture, as .mp4."""
    video = moving_square(path.stem, frames, size=size, fps=fps, seed=seed, fast=fast)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, (frame.image for frame in video.frames()), fps)
    return path


@cache
def shelf() -> Path:
    """A folder that lasts as long as the tests: normal.mp4, new.mp4 and the run fitted on them."""
    folder = Path(tempfile.mkdtemp(prefix="vigil-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    film(folder / "normal.mp4", 80)
    film(folder / "new.mp4", 40, seed=1, fast=(15, 30))
    done = vigil("fit", "nearest", folder / "normal.mp4", "--out", folder / "run")
    assert done.code == 0, done.err
    return folder


def a_run(out: Path) -> Path:
    """A fresh copy of the fitted run, to be written to or broken."""
    return Path(shutil.copytree(shelf() / "run", out))


def scratch_left(folder: Path) -> list[Path]:
    """Hidden scratch folders below a folder; there should be none."""
    return [path for path in folder.rglob(".*") if ".new-" in path.name]
