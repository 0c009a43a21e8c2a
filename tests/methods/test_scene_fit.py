"""`scene` and `scene-memory` fitted: batches by scene, scenes kept, bad input, what people see."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import moving_square
from footage import vigil
from scene_tree import scene_tree
from torch import Tensor

from vigil import bundle, fitting, pipeline, run
from vigil.data.base import Split
from vigil.errors import ConfigError, InputError
from vigil.features.base import FeatureRow
from vigil.features.rows import GivenRows
from vigil.features.store import Header, StoredRows, file_of, write_rows
from vigil.methods.scene import Scene
from vigil.records import Batch, Units, Video
from vigil.train.batches import Samples
from vigil.video.read import count_frames

SMALL = {"dim": 8, "segment": 4, "hop": 2, "latent": 4, "hidden": 8, "heads": 2, "like": 30}
FIT = {"steps": 6, "batch": 8, "val_every": 3, "device": "cpu", "engine": "torch",
       "dtype": "float32"}  # fmt: skip


def stored(video: Video, folder: Path, shift: float = 0.0, kind: str = "pixels") -> Video:
    """The video with rows (frame number, noise...) of a frame each in a file of ours."""
    count = count_frames(video)
    rng = np.random.default_rng(zlib.crc32(video.name.encode()))
    rows = rng.normal(shift, 1, (count, 1, 8)).astype(np.float32)
    rows[:, 0, 0] = np.arange(count)
    path = file_of(folder, video.name)
    header = Header(kind, "", "", 1, 1, 1, 8, video=video.name, count=count)
    write_rows(path, [FeatureRow(row, n, n + 1) for n, row in enumerate(rows)], header)
    return replace(video, given={"features": StoredRows(path, header)})


def videos(folder: Path, scenes: str, frames: int = 20, start: int = 0) -> list[Video]:
    """One video for each letter, which names its scene."""
    return [
        stored(moving_square(f"{scene}{start + n}", frames + n, scene=scene, label="normal"),
               folder, shift=ord(scene) - 97)
        for n, scene in enumerate(scenes)
    ]  # fmt: skip


def made(name: str = "scene", **keys: object):  # type: ignore[no-untyped-def]
    own = SMALL if name == "scene" else {"dim": 8, "k": 1}
    return pipeline.method(name, **{**own, **keys})


# -- batches -------------------------------------------------------------------------------------
def test_a_batch_holds_whole_segments_of_every_scene(tmp_path: Path) -> None:
    method = made()
    method.scenes = ("a", "b", "c")
    shown = videos(tmp_path, "cabac", frames=9)
    source = {"features": GivenRows()}
    samples = [Samples(method, source, shown, 10, tmp_path, seed, 12) for seed in (1, 1, 2)]
    batch = samples[0].batch(3)
    x = batch.x["rows"]
    assert x.shape == (12, 4, 1, 8) and batch.scene is not None
    assert batch.scene.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert (x[:, :, 0, 0].diff(dim=1) == 1).all()  # rows in a row, so of one video
    means = x[..., 1:].mean((1, 2, 3))
    assert [round(float(means[batch.scene == s].mean())) for s in (0, 1, 2)] == [0, 1, 2]
    assert torch.equal(x, samples[1].batch(3).x["rows"])
    assert not torch.equal(x, samples[2].batch(3).x["rows"])
    counts = {group: len(found["items"]) for group, found in samples[0].groups.items()}
    assert counts == {"rows@a": 7 + 9, "rows@b": 8, "rows@c": 6 + 10}  # starts 0..T-4


def test_short_videos_neither_shift_scenes_nor_fall_out(tmp_path: Path) -> None:
    method = made()
    method.scenes = ("a", "b")
    shown = [*videos(tmp_path, "a", 2), *videos(tmp_path, "b", 9, start=1)]
    samples = Samples(method, {"features": GivenRows()}, shown, 10, tmp_path, 0, 4)
    batch = samples.batch(0)
    assert batch.x["rows"][0, :, 0, 0].tolist() == [0, 1, 1, 1]  # the last row repeated
    assert batch.x["rows"].shape == (4, 4, 1, 8)  # more segments asked for than there are


# -- fitting -------------------------------------------------------------------------------------
def test_scenes_are_found_kept_and_unseen_ones_told(tmp_path: Path) -> None:
    learn, held = videos(tmp_path, "abab", 24), videos(tmp_path, "ab", 24, start=7)
    model = pipeline.fit(made(mode=2), Split(tuple(learn)), held, tmp_path / "run", **FIT)
    model = bundle.load(tmp_path / "run")
    assert model.method.scenes == ("a", "b")
    assert model.method.classifier[3].out_features == 2
    new = videos(tmp_path, "z", 19, start=9)[0]
    scores = run.score_video(model, new)
    assert len(scores) == 19 and not scores.warm_up.any()
    assert pipeline.remarks(model, new) == [
        "z9: scene 'z' was never seen in training; the model knows a, b"
    ]
    live = run.score_video(model, new, as_live=True)  # the causal form: the newest row alone
    assert live.known_at.tolist() == list(range(19))
    assert not np.allclose(live.score, scores.score)


@pytest.mark.parametrize("name", ["scene", "scene-memory"])
def test_one_video_in_a_scene_is_never_held_out(name: str, tmp_path: Path) -> None:
    shown = videos(tmp_path, "aab")
    learn, held = fitting.split(shown, 0.25, keep_scenes=True)
    assert [v.name for v in learn] == ["a0", "b2"] and [v.name for v in held] == ["a1"]
    model = pipeline.fit(made(name), shown, None, tmp_path / "run", **FIT)
    assert model.method.scenes == (("a", "b") if name == "scene" else model.method.scenes)
    if name == "scene":
        with pytest.raises(InputError, match="2 videos of 2 scenes, none of which can be held out"):
            pipeline.fit(made(), videos(tmp_path, "ab"), None, tmp_path / "none", **FIT)


def test_bad_input_is_named(tmp_path: Path) -> None:
    one = videos(tmp_path, "aaa")
    with pytest.raises(ConfigError, match="training videos show one .'a'.*mode=0"):
        pipeline.fit(made(), one, None, tmp_path / "one", **FIT)
    pipeline.fit(made(mode=0), one, None, tmp_path / "plain", **FIT)
    other = stored(moving_square("o", 20, scene="b"), tmp_path, kind="motion")
    with pytest.raises(InputError, match="made with backbone 'motion', but 'pixels' is needed"):
        pipeline.fit(made(), [*one, other], None, tmp_path / "mixed", **FIT)
    bad = videos(tmp_path, "b", start=5)[0]
    rows = bad.given["features"]()
    rows[3].value[0, 2] = np.nan
    write_rows(file_of(tmp_path, bad.name), rows, bad.given["features"].header)
    with pytest.raises(InputError, match="features of frames 3..4 are NaN"):
        pipeline.fit(made(), [*one, bad], videos(tmp_path, "ab", start=7), tmp_path / "n", **FIT)


def test_anomalous_videos_are_not_learned_from(tmp_path: Path) -> None:
    odd = replace(videos(tmp_path, "c", start=9)[0], label="anomalous")
    shown = [*videos(tmp_path, "abab"), odd]
    model = pipeline.fit(made(), shown, videos(tmp_path, "ab", start=7), tmp_path / "run", **FIT)
    assert model.method.scenes == ("a", "b")
    assert set(model.method.memory.videos) == {"a0", "b1", "a2", "b3"}


# -- the memory ----------------------------------------------------------------------------------
def test_memory_measures_within_the_scene(tmp_path: Path) -> None:
    learn = videos(tmp_path, "abab", 24)
    held = videos(tmp_path, "ab", 24, start=7)
    model = pipeline.fit(made("scene-memory", scale="none"), learn, held, tmp_path / "run", **FIT)
    method = bundle.load(tmp_path / "run").method
    row = learn[0].given["features"]()[5].value[None]  # of scene a

    def distance(scene: str) -> float:
        units = next(iter(fitting.bags(method, model.providers, [learn[0]], 10)))
        units = replace(units[5:6], x={"rows": torch.from_numpy(row)}, scene=scene)
        return float(method.score(units)["distance"])

    rows = {s: torch.cat([torch.from_numpy(np.stack([r.value[0] for r in v.given["features"]()]))
                          for v in learn if v.scene == s]) for s in "ab"}  # fmt: skip
    wanted = {s: float((rows[s] - torch.from_numpy(row[0])).norm(dim=1).min()) for s in "ab"}
    assert distance("a") == pytest.approx(0, abs=1e-4) and wanted["b"] > 0.5
    assert distance("b") == pytest.approx(wanted["b"], rel=1e-4)
    assert distance("never seen") == pytest.approx(0, abs=1e-4)  # all scenes
    units = next(iter(fitting.bags(method, model.providers, [learn[0]], 10)))[5:6]
    assert method.explain(units)[0].like == ("a0", 5)
    assert method.explain(replace(units, scene="b"))[0].like[0] in ("b1", "b3")


def test_memory_extended_equals_memory_fitted_at_once(tmp_path: Path) -> None:
    shown = videos(tmp_path, "abab", 30)
    source = {"features": GivenRows()}
    one, two = (made("scene-memory", rows=25) for _ in range(2))
    one.prepare(fitting.bags(one, source, shown, 10))
    two.prepare(fitting.bags(two, source, shown[:2], 10))
    two.extend(fitting.bags(two, source, shown[2:], 10))
    assert len(one.memory) == 50 and one.memory.videos == two.memory.videos
    for key, value in one.tensors().items():
        assert torch.equal(value, two.tensors()[key]), key


def test_by_scene_measures_codes_within_the_scene(tmp_path: Path) -> None:
    learn, held = videos(tmp_path, "abab", 24), videos(tmp_path, "ab", 24, start=7)
    pipeline.fit(made(by_scene=True), learn, held, tmp_path / "run", **FIT)
    model = bundle.load(tmp_path / "run")
    method = model.method
    units = next(iter(fitting.bags(method, model.providers, [learn[0]], 10)))
    with torch.no_grad():
        found = {s: method.score(replace(units, scene=s))["distance"] for s in ("a", "b", "new")}
        rows = {s: method.memory.row[method.memory.of(s)] for s in "ab"}
        one = method.codes(units.x["rows"][4:5, 0])
        wanted = {s: (method.codes(r) - one).norm(dim=1).sort().values[:3].mean()
                  for s, r in rows.items()}  # fmt: skip
    for scene in "ab":
        assert float(found[scene][4]) == pytest.approx(float(wanted[scene]), rel=1e-3), scene
    assert found["b"].mean() > found["a"].mean()
    assert (found["new"] <= torch.minimum(found["a"], found["b"]) + 1e-4).all()
    assert method.channels == {"rows": ("error", "distance")}
    reason = method.explain(units)[4]
    assert reason.parts["distance"] == pytest.approx(float(found["a"][4]), rel=1e-4)
    with torch.no_grad():  # what was kept follows the weights
        method.net.proj_to_latent.weight.mul_(-3)
        method.eval()
        moved = method.score(units)["distance"]
    assert not torch.allclose(moved, found["a"], rtol=1e-2)


def test_by_scene_needs_rows_to_compare_with() -> None:
    with pytest.raises(ConfigError, match="by_scene=true.*like above 0"):
        made(by_scene=True, like=0)
    one, box = np.zeros(1, int), np.zeros((1, 4))
    units = Units("rows", "v", {"rows": torch.zeros(1, 1, 8)}, one, one + 1, one + 1, box)
    with pytest.raises(InputError, match="keeps no normal rows"):
        made(by_scene=True).distances(units)


# -- a class allowed in one scene, not in the other ----------------------------------------------
def segments(seed: int, count: int, scene: int, thing: float, wide: int = 32) -> Tensor:
    """(count, 8, wide) rows of a place, things that come and go anywhere, and maybe one more."""
    base = torch.Generator().manual_seed(0)
    place, more = torch.randn(2, wide, generator=base), torch.randn(wide, generator=base)
    usual = torch.randn(6, wide, generator=base)
    rng = torch.Generator().manual_seed(seed)
    common = torch.randn(count, 1, 6, generator=rng) @ usual * 0.5
    noise = 0.1 * torch.randn(count, 8, wide, generator=rng)
    return 0.15 * place[scene] + common + noise + thing * 0.5 * more


def area_of(mode: int, seed: int) -> float:
    """AUC of the thing where it is not allowed, against everything that is."""
    torch.manual_seed(seed)
    keys = {"dim": 32, "segment": 8, "latent": 8, "hidden": 32, "position": 0.02, "dropout": 0.0}
    method = Scene(**keys, hop=8, like=0, lr=2e-3, mode=mode)
    method.scenes = ("allowed", "not")
    method.prepare([])
    optimizers, scene = method.train().optimizers(), torch.arange(2).repeat_interleave(16)
    for step in range(250):
        at = 7 * step + seed
        rows = [segments(at, 8, 0, 0), segments(at + 1, 8, 0, 1), segments(at + 2, 16, 1, 0)]
        batch = Batch(x={"rows": torch.cat(rows)[:, :, None]}, scene=scene)
        method.fit_step(batch, optimizers, Tensor.backward)
    kinds = [segments(9991, 60, 0, 1), segments(9992, 60, 0, 0), segments(9993, 60, 1, 0)]
    with torch.no_grad():
        method.eval()
        errors = [(method.net(x) - x).square().mean((1, 2)) for x in kinds]
        odd = segments(9994, 60, 1, 1)
        odd = (method.net(odd) - odd).square().mean((1, 2))
    return float((odd[:, None] > torch.cat(errors)).float().mean())


def test_knowing_scenes_helps_where_the_scene_decides() -> None:
    plain, aware = area_of(mode=0, seed=0), area_of(mode=1, seed=0)
    assert aware > plain + 0.05, (plain, aware)


# -- what people see -----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in the scene-aware project's layout, its features, and two models of them."""
    folder = tmp_path_factory.mktemp("street")
    scene_tree(folder / "shanghaitech-sd")
    data = ("shanghaitech", "--split", "sd", "--root", folder / "shanghaitech-sd")
    assert vigil("extract", *data, "--backbone", "pixels", "--out", folder / "f").code == 0
    keys = [f"--set={key}" for key in ("steps=4", "batch=6", "latent=8", "hidden=16")]
    for name, mode in (("plain", 0), ("aware", 1)):
        done = vigil("fit", "scene", *data, "--features", folder / "f", *keys, f"--set=mode={mode}",
                     "--out", folder / name)  # fmt: skip
        assert done.code == 0, done.err
    return folder


def data_of(street: Path) -> tuple[object, ...]:
    where = ("--split", "sd", "--root", street / "shanghaitech-sd", "--features", street / "f")
    return ("shanghaitech", *where)


def test_width_is_read_and_segments_are_measured(street: Path) -> None:
    config = bundle.load(street / "aware").method.config
    assert (config.dim, config.frames) == (192, 1)
    done = vigil("evaluate", street / "aware", *data_of(street), "--json")
    assert done.code == 0, done.err
    rows = {(r["channel"], r["protocol"]): r for r in json.loads(done.out)["rows"]}
    plain = rows["error", "segment-max"]["micro_auc"]
    best = rows["error", "segment-max-oracle"]["micro_auc"]
    assert 0 <= plain <= 1 and best >= plain - 1e-9
    live = vigil("evaluate", street / "aware", *data_of(street), "--as-live", "--json")
    assert live.code == 0, live.err
    assert all("live" in row["protocol"] for row in json.loads(live.out)["rows"])


def test_pictures_of_two_models(street: Path) -> None:
    found = vigil("manifold", street / "plain", *data_of(street), "--against", street / "aware",
                  "--most", 40, "--out", street / "m.png")  # fmt: skip
    assert found.code == 0, found.err
    assert "plain: scene, mode 0" in found.err and "aware: scene, mode 1" in found.err
    picture = cv2.imread(str(street / "m.png"))
    assert picture.shape[1] > 1.5 * picture.shape[0] and picture.std() > 10
    words = data_of(street)
    for name in ("plain", "aware"):
        where = ("--out", street / name / "scores" / "sd")
        assert vigil("score", street / name, *words, *where).code == 0
    shown = vigil("show", street / "plain", "01_0001", "--against", street / "aware", "--frame", 20,
                  "--out", street / "v.png", *data_of_show(street))  # fmt: skip
    assert shown.code == 0, shown.err
    assert cv2.imread(str(street / "v.png")) is not None
    assert cv2.imread(str(street / "v-frame20.png")) is not None


def data_of_show(street: Path) -> tuple[object, ...]:
    return ("--data", "shanghaitech", "--root", street / "shanghaitech-sd")


def test_a_report_shows_the_normal_frame_of_the_same_scene(street: Path) -> None:
    done = vigil("evaluate", street / "aware", *data_of(street), "--report", street / "r")
    assert done.code == 0, done.err
    page = (street / "r" / "report.html").read_text()
    assert "most like normal: 01_0" in page and "nearest normal example" in page


def test_methods_without_a_space_say_so(street: Path, tmp_path: Path) -> None:
    done = vigil("manifold", street / "none", *data_of(street))
    assert done.code == 4 and "none" in done.err
