"""Several views as a user types it: --view, --each-view, what is joined; dad to its numbers."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
from footage import Done, film, vigil

from vigil import bundle, ensembles
from vigil.data.layouts import write_as
from vigil.data.recordings import recordings, without_view
from vigil.ensembles import Ensemble
from vigil.errors import ConfigError, InputError, ModelError
from vigil.scores import tables
from vigil.sources import dataset, loader_of, open_data
from vigil.video.read import open_video

NINE = [
    "Top(D)", "Top(IR)", "Top(DIR)", "Front(D)", "Front(IR)", "Front(DIR)", "Fusion(D)",
    "Fusion(IR)", "Fusion(DIR)",
]  # fmt: skip
FAST = ("--set", "short_side=48")


def good(*words: object) -> Done:
    done = vigil(*words)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def cabin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small cabin: one recording to learn from, three to test, four views each."""
    root = tmp_path_factory.mktemp("cabin")
    data = dataset("cabin", root, scale=0.02)
    write_as(data, "dad", root / "dad")
    return next((root / "cabin").iterdir())


@pytest.fixture(scope="module")
def run(cabin: Path) -> Path:
    """One model a view."""
    out = cabin.parents[1] / "each"
    done = good("fit", "nearest", "cabin", "--root", cabin, "--each-view", "--out", out, *FAST)
    assert "one for each view: front_depth, front_IR, top_depth, top_IR" in done.err
    return out


@pytest.fixture(scope="module")
def one_view(cabin: Path) -> Path:
    """A model of one view of the driver data."""
    out, root = cabin.parents[1] / "one", cabin.parents[1] / "dad"
    good("fit", "nearest", "dad", "--root", root, "--set", "view=top_ir", "--out", out,
         "--set", "val_share=0.5", *FAST)  # fmt: skip
    return out


def groups(done: Done, protocol: str) -> list[str]:
    rows = [r for r in json.loads(done.out)["rows"] if r["protocol"] == protocol]
    return [r["group"] for r in rows if r["group"].startswith("view")]


def test_each_view_is_fitted_on_itself_and_measured_in_nine_rows(cabin: Path, run: Path) -> None:
    model = ensembles.load(run)
    assert isinstance(model, Ensemble)
    for view, own in model.models.items():
        assert own.card["train"] == [f"rec00/{view}"]
        assert bundle.load(run / view).card["data_hash"] == own.card["data_hash"]
    done = good("evaluate", run, "cabin", "--root", cabin, "--json")
    assert groups(done, "causal:0.2s") == [f"view: {row}" for row in NINE]
    assert groups(done, "raw") == groups(done, "per-video") == groups(done, "causal:0.2s")
    row = next(r for r in json.loads(done.out)["rows"] if r["group"] == "view: Fusion(DIR)")
    assert "front_depth + front_IR + top_depth + top_IR, 3 of 3 recordings" in row["how"]["ap"]
    assert "plain mean" in row["how"]["ap"]


def test_scored_by_view_and_joined_and_measured_again(
    cabin: Path, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    done = good("score", run, "cabin", "--root", cabin, "--out", out, "--alarms-per-hour", 3600)
    assert "joined: the views of each recording" in done.err
    each, joined = tables.read(out), tables.read(out / "joined")
    assert sorted(joined) == ["rec00", "rec01", "rec02"] and len(each) == 12
    for name, scores in joined.items():
        views = [s for n, s in each.items() if n.startswith(f"{name}/")]
        assert scores.score.tolist() == pytest.approx(sum(s.score for s in views) / 4)
    events = json.loads((out / "joined" / "events.json").read_text())["events"]
    assert events and {event["video"] for event in events} <= set(joined)
    assert all(event["video"] in done.out for event in events)
    good("show", out, "rec01")
    assert (out / "joined" / "rec01.png").is_file()
    again = good("evaluate", out, "cabin", "--root", cabin, "--json")
    model = good("evaluate", run, "cabin", "--root", cabin, "--json")
    assert json.loads(again.out)["rows"] == json.loads(model.out)["rows"]


def test_one_model_for_all_views_is_joined_too(cabin: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    good("fit", "nearest", "cabin", "--root", cabin, "--out", out, *FAST)
    done = good("evaluate", out, "cabin", "--root", cabin, "--json", "--report", tmp_path / "r")
    assert groups(done, "causal:0.2s") == [f"view: {row}" for row in NINE]
    assert "Fusion(DIR)" in (tmp_path / "r" / "report.html").read_text()


def test_a_report_of_an_ensemble_shows_each_view(cabin: Path, run: Path, tmp_path: Path) -> None:
    good("evaluate", run, "cabin", "--root", cabin, "--report", tmp_path)
    assert len(list((tmp_path / "png").glob("*.png"))) >= 12


def test_a_file_is_scored_by_the_model_of_the_view_its_path_names(
    run: Path, tmp_path: Path
) -> None:
    name = film(tmp_path / "kitchen-top_IR.mp4", 40, size=(60, 80))
    good("score", run, name, "--out", tmp_path / "s")
    model = ensembles.load(run)
    assert isinstance(model, Ensemble)
    assert model.view_of(open_video(name)) == "top_IR"
    other = film(tmp_path / "kitchen.mp4", 40, size=(60, 80))
    done = vigil("score", run, other, "--out", tmp_path / "t")
    assert done.code == 3 and "no view in its path" in done.err and "top_depth" in done.err


def test_a_view_missing_for_one_recording(cabin: Path, run: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(cabin.parents[1] / "dad", tmp_path / "dad"))
    shutil.rmtree(root / "val01" / "rec2" / "top_IR")
    for number in range(55, 60):
        (root / "val01" / "rec1" / "front_IR" / f"img_{number}.png").unlink()
    done = good("evaluate", run, "dad", "--root", root)
    assert "note: val01/rec2: no top_IR; the other views are fused" in done.err
    assert "val01/rec1: front_IR ends at" in done.err and "view: Fusion(DIR)" in done.out
    done = good("score", run, "dad", "--root", root, "--out", tmp_path / "s")
    assert "val01/rec2: no top_IR" in done.err
    joined = tables.read(tmp_path / "s" / "joined")
    assert sorted(joined) == ["val01/rec1", "val01/rec2", "val01/rec3"]
    assert [len(scores) for scores in joined.values()] == [60, 60, 60]


def test_each_view_goes_on_where_it_stopped(cabin: Path, run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "each"))
    (out / "ensemble.json").unlink()
    shutil.rmtree(out / "top_IR")
    with pytest.raises(ModelError, match="only the runs front_IR, front_depth, top_depth"):
        ensembles.load(out)
    kept = (out / "front_IR" / "model" / "card.json").stat().st_mtime_ns
    words = ("fit", "nearest", "cabin", "--root", cabin, "--each-view", "--out", out, *FAST)
    assert vigil(*words).code == 2  # there is a model already
    good(*words, "--resume")
    assert (out / "front_IR" / "model" / "card.json").stat().st_mtime_ns == kept
    assert isinstance(ensembles.load(out), Ensemble)


def test_wrong_use(cabin: Path, run: Path, tmp_path: Path) -> None:
    rest = ("--root", cabin, "--out", tmp_path / "x", *FAST)
    done = vigil("fit", "nearest", "cabin", "--view", "top_IRR", *rest)
    assert done.code == 2 and "did you mean 'top_IR'" in done.err
    done = vigil("fit", "nearest", "cabin", "--view", "top_IR", "--each-view", *rest)
    assert done.code == 2 and "views of the training videos: top_IR; expected two" in done.err
    done = vigil("score", run, "nowhere.mp4", "--view", "top_IR")
    assert done.code == 2 and "no data set" in done.err
    done = vigil("fit", "nearest", "cabin", "--each-view", "--ignore", "m.png", *rest)
    assert done.code == 2 and "--ignore is of one view" in done.err
    done = vigil("data", "prepare", "ped2", "--out", tmp_path)
    assert done.code == 2 and "dad" in done.err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "ensemble.json").write_text('{"format": 7}')
    with pytest.raises(ModelError, match="not an ensemble of format 1"):
        ensembles.load(tmp_path / "bad")
    assert without_view("a/b", "") == "a/b"
    with pytest.raises(InputError, match="view 'back_IR'; there are models of"):
        found = ensembles.load(run)
        video = next(iter(dataset("cabin", cabin).test))
        found.at(type(video)(**{**video.__dict__, "view": "back_IR"}))


def test_driver_data_from_raw_to_numbers(cabin: Path, one_view: Path, tmp_path: Path) -> None:
    """prepare, info, fit on one view, evaluate, and the seed's saved scores again."""
    raw = cabin.parents[1] / "dad"
    done = good("data", "prepare", "dad", "--root", raw, "--out", tmp_path, "--link")
    tree = tmp_path / "DAD_Jigsaw"
    assert f"next: vigil data info dad --root {tree}" in done.err
    info = json.loads(good("data", "info", "dad", "--root", tree, "--view", "top_IR", "--json").out)
    assert info["parts"]["test"]["videos"] == 3 and info["complete"] is False
    words = ("dad", "--view", "top_ir", "--json", "--root")
    one, two = (json.loads(good("evaluate", one_view, *words, r).out) for r in (raw, tree))
    assert one["rows"] == two["rows"] and one["rows"][0]["data"] == "dad top_IR"
    saved = {f"01_{n:04}": {f: [[0.5, 0.1 * n]] for f in range(3, 57)} for n in (1, 2, 3)}
    path = tmp_path / "top_ir.pkl"
    path.write_bytes(pickle.dumps(saved))
    found = json.loads(good("evaluate", path, *words, tree).out)
    assert {"raw", "jigsaw-frames"} <= {row["protocol"] for row in found["rows"]}
    assert vigil("evaluate", path, "dad", "--root", tree).code == 3  # four views, one file
    assert vigil("evaluate", path, *words, tree, "--report", tmp_path / "r").code == 3


def test_a_folder_of_your_own_with_views(tmp_path: Path) -> None:
    text = 'name = "shop"\n'
    for n, (day, view) in enumerate([("mon", "door"), ("mon", "till"), ("tue", "door")]):
        film(tmp_path / f"{day}-{view}.mp4", 12, seed=n)
        split = "test" if day == "tue" else "train"
        text += f'[[video]]\npath = "{day}-{view}.mp4"\nview = "{view}"\nsplit = "{split}"\n'
    (tmp_path / "vigil.toml").write_text(text)
    assert [v.name for v in open_data(str(tmp_path)).train] == ["mon-door", "mon-till"]
    data = open_data(str(tmp_path), view="till")
    assert [v.name for v in data.train] == ["mon-till"] and not len(data.test)
    with pytest.raises(ConfigError, match="unknown view of shop 'tills'; did you mean 'till'"):
        open_data(str(tmp_path), view="tills")
    joined = recordings(open_data(str(tmp_path)).train)
    assert [(r.name, list(r.views)) for r in joined] == [("mon", ["door", "till"])]


def test_the_layouts_have_a_reader() -> None:
    assert loader_of("dad") == loader_of("dad-jigsaw") == "dad"
