"""Every command as a user types it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from footage import Done, a_run, film, scratch_left, shelf, vigil

from vigil.data.layouts import LAYOUTS

COMMANDS = ("fit", "score", "evaluate", "show", "demo", "methods", "doctor", "data")


def child(*words: object) -> list[str]:
    return [sys.executable, "-m", "vigil", *map(str, words)]


def test_help_of_every_command() -> None:
    top = vigil("--help")
    assert top.code == 0 and all(name in top.out for name in COMMANDS)
    assert "130 Ctrl-C" in top.out.replace("\n", " ")
    for name in COMMANDS[:-1]:
        done = vigil(name, "-h")
        assert done.code == 0 and "Usage: vigil" in done.out
    for name in ("list", "info", "verify", "init", "make"):
        assert vigil("data", name, "--help").code == 0


def test_help_loads_nothing_heavy() -> None:
    """What takes long is imported when it is used: this, and no clock, keeps the help quick."""
    code = (
        "import sys; sys.argv = ['vigil', '--help']\n"
        "from vigil.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    heavy = {"torch", "numpy", "cv2", "av", "scipy", "matplotlib", "plotly", "pyarrow", "pydantic"}
    assert "typer" in loaded and not heavy & loaded, done.stderr


def test_console_script_and_module_end_alike() -> None:
    script = Path(sys.executable).parent / "vigil"
    for command in ([str(script)] if script.exists() else None, child()):
        if command is None:
            continue
        done = subprocess.run([*command, "--version"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("vigil 0.")
        done = subprocess.run([*command, "methods", "nope"], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith("error: unknown method 'nope'")


@pytest.mark.parametrize("words", [("fit",), ("bla",), ("score", "--no-such"), ("score", "one")])
def test_wrong_use_is_code_2(words: tuple[str, ...]) -> None:
    done = vigil(*words)
    assert done.code == 2 and "Usage: vigil" in done.err and "Traceback" not in done.err


def test_a_fault_of_ours_is_code_1_with_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vigil.plugins.names", lambda group: 1 / 0)
    done = vigil("methods")
    assert done.code == 1 and "ZeroDivisionError" in done.err
    assert "this is a fault in Vigil" in done.err


def test_methods_and_the_card_of_one() -> None:
    assert "nearest" in vigil("methods").out
    done = vigil("methods", "nearest")
    assert "learns from" in done.out and "FieldInfo" not in done.out
    assert "alarms_per_hour" in done.out and ">= 32" in done.out
    card = json.loads(vigil("methods", "nearest", "--json").out)
    assert card["keys"]["objects"] == "'foreground'"
    cite = vigil("methods", "nearest", "--cite").out
    assert cite.startswith("@article{") and cite.count("{") == cite.count("}")


def test_score_writes_all_that_was_asked_for(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    report = tmp_path / "report"
    done = vigil(
        "score", run, shelf() / "new.mp4", "--clips", "--annotated", "--report", report,
        "--alarms-per-hour", 3600, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    folder = run / "scores" / "new"
    assert found["folder"] == str(folder) and found["events"] and not found["failures"]
    for name in found["files"]:
        assert (folder / name).is_file() or Path(name).is_file(), name
    assert len(list((folder / "clips").glob("new-*.mp4"))) == len(found["events"])
    assert (folder / "new-annotated.mp4").is_file() and (report / "png" / "new.png").is_file()
    text = (report / "report.html").read_text()
    assert "http://" not in text.split("<body", 1)[0] and "new" in text
    table = vigil("score", run, shelf() / "new.mp4", "--alarms-per-hour", 3600)
    assert "events above" in table.out and "error" not in table.err


def test_a_folder_of_pictures_is_one_video(tmp_path: Path) -> None:
    import cv2

    from vigil.video.read import open_video

    folder = tmp_path / "cam"
    folder.mkdir()
    for n, frame in enumerate(open_video(shelf() / "new.mp4").frames()):
        cv2.imwrite(str(folder / f"{n}.png"), np.ascontiguousarray(frame.image[..., ::-1]))
    done = vigil("score", shelf() / "run", folder, "--out", tmp_path / "s", "--json")
    assert done.code == 0, done.err
    assert any("25 frames a second" in note for note in json.loads(done.out)["notes"])


def test_day_one_with_regions_to_ignore_and_more_footage_later(tmp_path: Path) -> None:
    polygons = tmp_path / "clock.json"
    polygons.write_text('{"polygons": [[[0, 0], [0.5, 0], [0.5, 0.1], [0, 0.1]]]}')
    run = tmp_path / "run"
    done = vigil(
        "fit", "nearest", shelf() / "normal.mp4", "--ignore", polygons, "--out", run,
        "--set", "k=2", "--set", "smoothing=causal:0.5s",
    )  # fmt: skip
    assert done.code == 0 and "alarm threshold" in done.err, done.err
    assert (run / "model" / "ignore.png").is_file()
    assert "k = 2" in (run / "model" / "config.toml").read_text()
    again = vigil("fit", "nearest", shelf() / "normal.mp4", "--out", run)
    assert again.code == 2 and "already holds a model" in again.err
    more = film(tmp_path / "more.mp4", 60, seed=7)
    done = vigil("fit", "nearest", more, "--extend", run)
    assert done.code == 0 and "fitted on 2 videos" in done.err, done.err
    held = film(tmp_path / "held.mp4", 40, seed=8)
    preset = tmp_path / "p.toml"
    preset.write_text("k = 1\n")
    done = vigil(
        "fit", "nearest", shelf() / "normal.mp4", "--val", held, "--preset", preset,
        "--out", run, "--resume",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads((run / "model" / "card.json").read_text())["val"] == ["held"]


def test_own_folder_from_init_to_report(tmp_path: Path) -> None:
    own = tmp_path / "own"
    film(own / "train" / "a.mp4", 80)
    film(own / "test" / "b.mp4", 40, seed=1, fast=(15, 30))
    assert vigil("data", "init", own).code == 0
    assert vigil("data", "init", own).code == 2
    done = vigil("data", "verify", own)
    assert done.code == 3 and "nothing says when" in done.out.replace("\n", " ")
    manifest = own / "vigil.toml"
    text = manifest.read_text().replace("# seconds = [[0.0, 0.0]]", "seconds = [[1.5, 3.0]]")
    manifest.write_text(text)
    assert vigil("data", "verify", own).code == 0
    info = json.loads(vigil("data", "info", own, "--json").out)
    assert info["parts"]["test"]["videos"] == 1
    assert vigil("fit", "nearest", own, "--out", tmp_path / "run").code == 0
    done = vigil("evaluate", tmp_path / "run", own, "--json", "--report", tmp_path / "report")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    first = rows[0]
    assert first["channel"] == "score" and 0 <= first["micro_auc"] <= 1 and first["how"]
    assert (tmp_path / "report" / "png" / "roc.png").is_file()
    assert vigil("score", tmp_path / "run", own / "test", "--out", tmp_path / "s").code == 0
    saved = json.loads(vigil("evaluate", tmp_path / "s", own, "--json").out)["rows"][0]
    assert saved["micro_auc"] == pytest.approx(first["micro_auc"], abs=0.02)
    live = vigil("evaluate", tmp_path / "run", own, "--as-live")
    assert live.code == 0 and "as-live" in live.out and "micro_auc: " in live.err
    picture = tmp_path / "b.png"
    words = ("show", tmp_path / "s", own / "test" / "b.mp4", "--against", tmp_path / "s")
    done = vigil(*words, "--frame", 20, "--data", own, "--out", picture)
    assert done.code == 0 and picture.is_file() and (tmp_path / "b-frame20.png").is_file()
    assert vigil(*words, "--frame", 99).code == 3


# -- generated data ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small `street`, made by the command."""
    root = tmp_path_factory.mktemp("made")
    done = vigil("data", "make", "street", "--scale", 0.02, "--out", root)
    assert done.code == 0, done.err
    return root


def hinted(done: Done) -> list[str]:
    """The command that the last line says to type next."""
    line = next(line for line in done.err.splitlines() if line.startswith("next: vigil "))
    return line.removeprefix("next: vigil ").split()


def test_the_hint_after_making_works_and_makes_nothing_new(made: Path) -> None:
    before = sorted(made.rglob("*"))
    again = vigil("data", "make", "street", "--scale", 0.02, "--out", made)
    words = hinted(again)
    done = vigil(*words)
    assert done.code == 0 and "320x240: 3" in done.out
    assert vigil("data", "verify", *words[2:]).code == 0
    assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if not name.startswith("dad")])
def test_street_in_every_layout_is_read_back_where_there_is_a_reader(
    made: Path, layout: str
) -> None:
    done = vigil("data", "make", "street", "--scale", 0.02, "--out", made, "--as", layout)
    assert done.code == 0 and any((made / layout).iterdir()), done.err
    if "next: vigil" in done.err:
        info = json.loads(vigil(*hinted(done), "--json").out)
        weak = 6 if layout == "ucf-crime" else 0  # videos labelled as a whole, to train on
        assert info["parts"]["train"]["videos"] == 3 + weak
        assert info["parts"]["test"]["videos"] == 6
    twice = vigil("data", "make", "street", "--scale", 0.02, "--out", made, "--as", layout)
    assert twice.code == 3 and "exists" in twice.err
    shutil.rmtree(made / layout)


@pytest.mark.parametrize("layout", ["dad", "dad-jigsaw"])
def test_cabin_in_the_layouts_of_driver_monitoring(made: Path, layout: str) -> None:
    done = vigil("data", "make", "cabin", "--scale", 0.02, "--out", made, "--as", layout)
    assert done.code == 0 and any((made / layout).iterdir()), done.err


def test_demo_says_what_was_made_and_what_to_type_next(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    shutil.copytree(made / "street", out / "data" / "street")
    done = vigil("demo", "--scale", 0.02, "--out", out)
    assert done.code == 0, done.err
    assert (out / "report.html").is_file() and len(list((out / "png").glob("*_0*.png"))) == 6
    assert "micro_auc" in done.out
    last = done.err.strip().splitlines()[-2:]
    assert "vigil fit nearest" in last[0] and "vigil score" in last[1]


def test_list_names_every_set_and_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ped2").mkdir()
    monkeypatch.setenv("VIGIL_DATA", str(tmp_path))
    rows = {row["name"]: row for row in json.loads(vigil("data", "list", "--json").out)}
    assert {"street", "cabin", "ucsd-ped2", "avenue", "shanghaitech", "folder"} <= set(rows)
    assert rows["ucsd-ped2"]["root"] == str(tmp_path / "ped2")
    assert "shanghaitech" in vigil("data", "list").out
    assert vigil("data", "verify", "avenue", "--root", tmp_path / "nowhere").code == 3


def test_brackets_in_names_are_printed_as_they_are(tmp_path: Path) -> None:
    path = film(tmp_path / "cam[red].mp4", 30, seed=1, fast=(10, 20))
    words = ("score", shelf() / "run", path, "--out", tmp_path / "s", "--alarms-per-hour", 3600)
    done = vigil(*words)
    assert done.code == 0 and "cam[red]" in done.out, done.err


# -- stopped on the way ------------------------------------------------------------------------
def stopped(how: signal.Signals, *words: object, sign: str) -> tuple[int, str]:
    """A child that is sent a signal once `sign` shows in what it says."""
    environment = {**os.environ, "TERM": "xterm", "FORCE_COLOR": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        child(*words),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment,
        cwd=ROOT,
        # a shell starts its background jobs with SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        said, until = b"", time.monotonic() + 30
        while sign.encode() not in said and time.monotonic() < until:
            said += os.read(process.stderr.fileno(), 4096) or b"ended early " + sign.encode()
        process.send_signal(how)
        said += process.stderr.read()
        return process.wait(), said.decode(errors="replace")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_fit_leaves_no_model_and_can_be_typed_again(
    tmp_path: Path, how: signal.Signals
) -> None:
    long, out = film(tmp_path / "long.mp4", 1200), tmp_path / "run"
    words = ("fit", "nearest", long, "--out", out)
    code, said = stopped(how, *words, sign="prepare")
    assert code == (-9 if how == signal.SIGKILL else 128 + how), said
    assert not (out / "model").exists()
    if how != signal.SIGKILL:
        assert "nothing is half-written" in said and "Traceback" not in said
        assert not scratch_left(out)
    done = vigil("fit", "nearest", shelf() / "normal.mp4", "--out", out)  # no --resume needed
    assert done.code == 0 and (out / "model" / "card.json").is_file(), done.err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_score_leaves_the_old_scores(tmp_path: Path, how: signal.Signals) -> None:
    folder, scores = tmp_path / "in", tmp_path / "s"
    film(folder / "a.mp4", 20)
    assert vigil("score", shelf() / "run", folder, "--out", scores).code == 0
    before = {path.name: path.read_bytes() for path in scores.iterdir()}
    film(folder / "b.mp4", 1200)
    words = ("score", shelf() / "run", folder, "--out", scores)
    code, said = stopped(how, *words, sign="score: b")
    assert code == (130 if how == signal.SIGINT else -9), said
    assert {path.name: path.read_bytes() for path in scores.iterdir()} == before
