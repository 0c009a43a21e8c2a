"""Every method, Vigil's own and the toys, keeps the contract of `vigil/methods/base.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, moving_square
from toys import TOYS

from vigil import bundle, pipeline, plugins, run
from vigil.bundle import Model
from vigil.data.base import Split
from vigil.errors import ConfigError, InputError
from vigil.methods.base import Method
from vigil.records import Batch, Video
from vigil.train.batches import bags

METHODS = sorted({*TOYS, *plugins.names("methods")})
FIT = {"steps": 6, "batch": 4, "save_every": 2, "val_every": 3, "seed": 3, "device": "cpu",
       "engine": "torch", "dtype": "float32"}  # fmt: skip


def videos(start: int = 0, count: int = 8) -> list[Video]:
    """Short normal and anomalous videos of two scenes."""
    return [
        moving_square(
            f"video{n}",
            41 + n,
            seed=n,
            fast=(20, 30) if n % 4 == 3 else (0, 0),
            scene=("left", "right")[n % 2],
            label="anomalous" if n % 4 == 3 else "normal",
        )
        for n in range(start, start + count)
    ]


def make(name: str, tmp: Path) -> Method:
    kind: type[Method] = plugins.find("methods", name)
    base = fitted(kind.stands_on, tmp / "base") if kind.stands_on else None
    return pipeline.method(name, seed=1, base=base, **kind.TINY)


def fitted(name: str, out: Path, **keys: object) -> Model:
    return pipeline.fit(
        make(name, out), Split(tuple(videos())), videos(20, 4), out, **{**FIT, **keys}
    )


class Fitted(dict[str, Model]):
    """Each method fitted once, when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, name: str) -> Model:
        self[name] = fitted(name, self.folder / name)
        return self[name]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    return Fitted(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", METHODS)
def test_card_is_complete(name: str) -> None:
    card = plugins.find("methods", name).__doc__ or ""
    for part in ("sees", "learns from", "score", "live", "differs from", "cite"):
        assert part in card, f"{name}: the card lacks {part!r}"


@pytest.mark.parametrize("name", METHODS)
def test_unknown_keys_are_refused_with_a_hint(name: str, tmp_path: Path) -> None:
    config = plugins.find("methods", name).Config
    key = next(iter(config.__dataclass_fields__))
    with pytest.raises(ConfigError, match=f"did you mean '{key}'"):
        pipeline.method(name, **{key + "x": 1})


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("frames", [1, 2, 6, 17, 35, 38, 50])
def test_every_frame_is_answered_for(name: str, frames: int, models: dict[str, Model]) -> None:
    scores = run.score_video(models[name], moving_square("odd", frames, scene="left"))
    assert len(scores) == frames  # and finite: the record checks that
    assert (scores.known_at >= np.arange(frames)).all()
    assert (scores.known_at < frames).all()


@pytest.mark.parametrize("name", METHODS)
def test_saved_and_loaded_scores_the_same(
    name: str, models: dict[str, Model], tmp_path: Path
) -> None:
    bundle.save(models[name], tmp_path / "model")
    loaded = bundle.load(tmp_path / "model")
    video = moving_square("again", 45, scene="right")
    before, after = (run.score_video(model, video) for model in (models[name], loaded))
    np.testing.assert_array_equal(before.smoothed, after.smoothed)
    assert loaded.calibration and models[name].calibration
    assert loaded.calibration.threshold().value == pytest.approx(
        models[name].calibration.threshold().value, abs=1e-3
    )


@pytest.mark.parametrize("name", METHODS)
def test_file_equals_live(name: str, models: dict[str, Model]) -> None:
    model, video = models[name], moving_square("live", 53, scene="left", fast=(30, 40))
    whole = model.method.lookahead is None
    file = run.score_video(model, video, as_live=whole)
    live = list(run.stream(model, video))
    assert [row.frame for row in live] == list(range(53))
    np.testing.assert_allclose([row.score for row in live], file.score, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose([row.smoothed for row in live], file.smoothed, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_live_never_waits_longer_than_its_look_ahead(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    pulled = [0]

    def pull() -> None:
        pulled[0] += 1

    video = counting(moving_square("delay", 60, scene="left"), pull)
    late = model.method.lookahead
    if late is None:
        late = max(window.lookahead for window in model.method.windows.values())
    for row in run.stream(model, video):
        if pulled[0] < 60:  # before the end
            assert pulled[0] - 1 <= row.frame + late
            assert row.known_at == row.frame + late


def counting(video: Video, pull) -> Video:  # type: ignore[no-untyped-def]
    def frames(short_side: int | None):  # type: ignore[no-untyped-def]
        for frame in video.frames(short_side):
            pull()
            yield frame

    return replace(video, open=frames)


@pytest.mark.parametrize("name", METHODS)
def test_the_future_never_changes_a_score(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    if model.method.lookahead is None:
        pytest.skip("needs the whole video, and says so")
    long = run.score_video(model, moving_square("same", 110, scene="left"))
    video = moving_square("same", 110, scene="left")
    rows = [row for row in video.given["features"]() if row.first < 80]
    given = {**video.given, "features": lambda: rows}
    short = replace(video, open=lambda side: cut_short(video, 80), given=given)
    found = run.score_video(model, short)
    certain = 80 - model.method.lookahead - max(w.length for w in model.method.windows.values())
    np.testing.assert_allclose(found.score[:certain], long.score[:certain], atol=1e-6)


def cut_short(video: Video, count: int):  # type: ignore[no-untyped-def]
    for n, frame in enumerate(video.frames()):
        if n < count:
            yield frame


@pytest.mark.parametrize("name", METHODS)
def test_rows_do_not_depend_on_their_companions(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    if model.method.lookahead is None:
        pytest.skip("scores a whole bag at once, and says so")
    for units in bags(model.method, model.providers, [videos(9, 1)[0]], model.fps):
        with torch.no_grad():
            whole = model.method.eval().score(units)
            order = np.random.default_rng(0).permutation(len(units))
            for channel, values in model.method.score(units[order]).items():
                torch.testing.assert_close(values, whole[channel][order], atol=1e-5, rtol=1e-4)
            for channel, values in model.method.score(units[:1]).items():
                torch.testing.assert_close(values, whole[channel][:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_fit_is_deterministic(name: str, models: dict[str, Model], tmp_path: Path) -> None:
    again = fitted(name, tmp_path / "again")
    for key, value in models[name].method.tensors().items():
        assert torch.equal(value, again.method.tensors()[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_reasons_are_in_unit_coordinates(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    units = next(iter(bags(model.method, model.providers, [videos(8, 1)[0]], model.fps)))
    reasons = model.method.explain(units[:3])
    assert len(reasons) == min(3, len(units))
    for reason in reasons:
        assert reason.heat.ndim == 2 and np.isfinite(reason.heat).all()
        if name == "toy-two-optimizers":
            assert reason.heat.max() > 0


@pytest.mark.parametrize("name", METHODS)
def test_features_of_any_number_of_crops(name: str, models: dict[str, Model]) -> None:
    model = models[name]
    if "features" not in model.method.providers:
        pytest.skip("looks at pixels")
    video = moving_square("crops", 32, scene="left")

    def one_crop():  # type: ignore[no-untyped-def]
        return [row._replace(value=row.value[:1]) for row in video.given["features"]()]

    assert len(run.score_video(model, replace(video, given={"features": one_crop}))) == 32
    assert len(run.score_video(model, video)) == 32


@pytest.mark.parametrize("name", [n for n in METHODS if n.startswith("toy-")])
def test_killed_and_resumed_gives_the_same_weights(
    name: str, models: dict[str, Model], tmp_path: Path
) -> None:
    if not models[name].method.optimizers():
        pytest.skip("nothing is trained")
    out = tmp_path / "killed"
    code = (
        "import sys; sys.path[:0] = ['tests']; import test_contract as t, pathlib, time\n"
        "from vigil import fitting\n"
        "real = fitting.train_loop\n"
        "def slow(*a, **k):\n"
        "    a = list(a); tell = a[5]\n"
        "    a[5] = lambda *b: (tell(*b), time.sleep(0.3))\n"
        "    return real(*a, **k)\n"
        "fitting.train_loop = slow\n"
        f"t.fitted({name!r}, pathlib.Path({str(out)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (out / "last" / "state.json").is_file():
        assert child.poll() is None and time.monotonic() < deadline, "ended before it was killed"
        time.sleep(0.02)
    time.sleep(np.random.default_rng().uniform(0, 0.5))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (out / "model").exists()
    resumed = pipeline.fit(
        make(name, out / "again"), Split(tuple(videos())), videos(20, 4), out, resume=True, **FIT
    )
    for key, value in models[name].method.tensors().items():
        assert torch.equal(value, resumed.method.tensors()[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_the_contract_names_what_it_promises(name: str, models: dict[str, Model]) -> None:
    method = models[name].method
    assert set(method.channels) == set(method.windows)
    flat = [channel for names in method.channels.values() for channel in names]
    assert len(flat) == len(set(flat)), "channel names must differ between windows"
    for network, example in method.networks().values():
        with torch.no_grad():
            network.eval()(*example)


def test_a_base_is_needed_where_one_is_stood_on() -> None:
    with pytest.raises(ConfigError, match="needs a base model of method 'toy-two-optimizers'"):
        pipeline.method("toy-on-another")


def test_a_base_travels_inside_the_model(models: dict[str, Model], tmp_path: Path) -> None:
    bundle.save(models["toy-on-another"], tmp_path / "m")
    assert (tmp_path / "m" / "base" / "config.toml").is_file()
    loaded = bundle.load(tmp_path / "m").method.base
    original = models["toy-on-another"].method.base
    assert loaded is not None and original is not None
    for key, value in original.tensors().items():
        assert torch.equal(value, loaded.tensors()[key])


def test_training_never_changes_the_base(models: dict[str, Model], tmp_path: Path) -> None:
    method = make("toy-on-another", tmp_path)
    assert method.base is not None
    before = {k: v.clone() for k, v in method.base.state_dict().items()}
    pipeline.fit(method, videos(), videos(20, 4), tmp_path / "out", **FIT)
    for key, value in method.base.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_loss_that_is_not_finite_stops_the_fit(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    nan = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(TOYS["toy-crops"], "loss", lambda self, batch: {"error": nan * 1})
    with pytest.raises(InputError, match="loss 'error' is nan at step 0"):
        fitted("toy-crops", tmp_path / "nan")


def test_batches_visit_every_sample_once_a_pass(tmp_path: Path) -> None:
    from vigil.train.batches import Order

    order = Order(10, seed=1, name="x")
    first = order.take(0, 10)
    assert sorted(first) == list(range(10)) and first != sorted(first)
    assert sorted(order.take(10, 10)) == list(range(10))
    assert Order(10, seed=1, name="x").take(7, 6) == first[7:] + order.take(10, 3)
    assert Order(3, seed=1, name="x").take(0, 64)  # fewer samples than the batch


def test_a_strangers_package_adds_a_method(tmp_path: Path) -> None:
    """Through an entry point, in a process of its own."""
    package = tmp_path / "stranger-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[vigil.methods]\nstrange = toys:GradientFree\n")
    code = "from vigil import pipeline; print(type(pipeline.method('strange')).__name__)"
    path = os.pathsep.join([str(tmp_path), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "GradientFree"


def test_prepare_gets_batches_of_bounded_size(models: dict[str, Model]) -> None:
    assert isinstance(Batch(), Batch)
    model = models["toy-gradient-free"]
    pieces = list(bags(model.method, model.providers, videos(0, 2), model.fps))
    assert [piece.video for piece in pieces] == ["video0", "video1"]
