"""`s3r`: the authors' numbers with formula-made weights; its terms, settings, what it learns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from vectors import GOLDEN, fill, golden

from vigil import bundle, plugins
from vigil.authors import import_checkpoint
from vigil.bundle import Model
from vigil.config import preset, split_keys
from vigil.errors import ConfigError, InputError, ModelError
from vigil.features.base import FeatureRow
from vigil.fitting import fit, method
from vigil.methods._s3r import DeNormal, EnNormal, splice
from vigil.methods._temporal import (
    at_segments,
    magnitudes,
    smoothness,
    sparsity,
    top_segments,
)
from vigil.methods.s3r import PUBLISHED, S3R, UNUSED, S3RConfig, from_published
from vigil.records import Batch, Frame, Units, Video
from vigil.run import score_video, stream

torch.set_num_threads(1)


def published(name: str) -> dict[str, Tensor]:
    """A published file's tensors, made by the formula."""
    told = json.loads((GOLDEN / "checkpoints" / f"{name}.json").read_text())
    made = fill.state(told["tensors"], 1, told["gain"])
    return {key: torch.from_numpy(np.asarray(value)) for key, value in made.items()}


def imported(name: str, dictionary: np.ndarray, folder: Path, **keys: Any) -> S3R:
    """The model of a published file and its dictionary's."""
    np.save(folder / "dictionary.npy", dictionary)
    keys, own = from_published(
        published(name), {**keys, "dictionary": str(folder / "dictionary.npy")}
    )
    model = S3R(**keys)
    model.set_tensors(own)
    return model.eval()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> S3R:
    """Width 128, with the authors' smoothness and sparsity."""
    atoms = fill.normal("s3r.dictionary", 1, (24, 128), 0.5)
    return imported("s3r_dim128", atoms, tmp_path_factory.mktemp("d"), compat=True)


def units(rows: np.ndarray | Tensor) -> Units:
    """One video's rows (N, crops, D)."""
    first = 16 * np.arange(len(rows))
    stop = first + 16
    box = np.zeros((len(rows), 4), np.float32)
    return Units("rows", "v", {"rows": torch.as_tensor(rows)}, first, stop, stop, box)


def near(found: Tensor, wanted: np.ndarray, atol: float = 0.0, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=atol, rtol=rtol)


# -- the authors' numbers ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def batch() -> Tensor:
    """Four videos (4, crops, 32, 128), two normal and two anomalous."""
    _, told = golden("s3r_dim128_batch")
    _, shape, check = told["inputs"]["video"]
    made = fill.positive("s3r.video", 1, tuple(shape), 0.5)
    assert fill.check(made) == check
    return torch.from_numpy(made)


def test_network_equals_the_authors(small: S3R, batch: Tensor) -> None:
    arrays, _ = golden("s3r_dim128_batch")
    with torch.no_grad():
        seen = small.net(batch, small.dictionary)
    near(seen.scores[..., None], arrays["video_scores"], 2e-6)
    near(seen.macro[:, None], arrays["macro_scores"], 2e-6)
    near(seen.gate.flatten(0, 1)[..., None], arrays["gate"], 5e-6)
    near(seen.rebuilt[:, :1], arrays["en_normal_first"], 2e-5, 2e-5)
    near(seen.features[:, :1], arrays["gated_video_first"], 2e-5, 2e-5)
    near(seen.usual[:, :1], arrays["gated_macro_first"], 2e-5, 2e-5)
    near(seen.attention[0].flatten(0, 1).T[None], arrays["attention_first"], 2e-6)


def test_losses_and_gradients_equal_the_authors(small: S3R, batch: Tensor) -> None:
    arrays, told = golden("s3r_dim128_batch")
    small.zero_grad()
    rows = batch.transpose(1, 2)
    terms = small.loss(Batch(normal={"rows": rows[:2]}, anomalous={"rows": rows[2:]}))
    names = {"cls": "cls", "magnitude": "mag_weighted", "sparse": "sparse", "macro": "macro"}
    for ours, theirs in names.items():
        near(terms[ours], arrays[f"loss_{theirs}"], rtol=1e-6)
    # squares of differences of nearly equal scores: a run in float64 gives 4.2766935e-6, from which
    # the authors' float32 is further than this apart
    near(terms["smooth"], np.array(4.2766935e-6), rtol=5e-7)
    near(terms["smooth"], arrays["loss_smooth"], rtol=2e-6)
    strange = torch.from_numpy(arrays["video_scores"][2:, :, 0])
    near(8e-4 * smoothness(strange, compat=True), arrays["loss_smooth"], rtol=1e-6)
    total = torch.stack(tuple(terms.values())).sum()
    near(total, arrays["loss_total"], rtol=1e-6)
    total.backward()
    kept = [key for key in told["grad_keys"] if not key.startswith(UNUSED)]
    assert len(kept) == 74
    for key, norm in zip(told["grad_keys"], arrays["grad_norm_eval"], strict=True):
        if key in kept:
            grad = small.get_parameter(own_name(key)).grad
            assert grad is not None
            near(grad.norm(), norm, atol=1e-8, rtol=1e-4)  # of the keys' bias it is truly 0
    small.zero_grad()


def own_name(key: str) -> str:
    """Our name of a published tensor."""
    start = next(start for start in PUBLISHED if key.startswith(start))
    return PUBLISHED[start] + key.removeprefix(start)


def test_segments_chosen_equal_the_authors(small: S3R, batch: Tensor) -> None:
    arrays, _ = golden("s3r_dim128_batch")
    with torch.no_grad():
        features = small.net(batch, small.dictionary).features
    length = magnitudes(features)
    near(length, arrays["feature_magnitudes"], rtol=2e-5)
    index = top_segments(length, 3)
    np.testing.assert_array_equal(index[:2], arrays["index_normal"])
    np.testing.assert_array_equal(index[2:], arrays["index_abnormal"])
    chosen = at_segments(features, index)  # (4, crops, 3, 128)
    for part, name in ((chosen[:2], "normal"), (chosen[2:], "abnormal")):
        crop_major = part.transpose(0, 1).flatten(0, 1)  # (crops * 2, 3, 128)
        near(crop_major[:8], arrays[f"select_{name}"], 2e-5, 2e-5)


@pytest.mark.parametrize("case", [0, 1])
def test_videos_of_other_lengths_equal_the_authors(small: S3R, case: int) -> None:
    arrays, told = golden("s3r_dim128_inference")
    length = told["cases"][case]["T"]
    made = fill.positive(f"s3r.infer{case}", 1, (1, 10, length, 128), 0.5)
    assert fill.check(made) == told["cases"][case]["crc"]
    rows = torch.from_numpy(made)
    with torch.no_grad():
        found = small.score(units(rows[0].transpose(0, 1)))["anomaly"]
        seen = small.net(rows, small.dictionary)
    near(found, arrays[f"case{case}_video_scores"][0, :, 0], 2e-6)
    near(seen.macro[:, None], arrays[f"case{case}_macro_scores"], 2e-6)
    near(seen.gate[0][..., None], arrays[f"case{case}_gate"], 5e-6)
    near(seen.rebuilt[0], arrays[f"case{case}_en_normal"], 2e-5)
    near(seen.features[0], arrays[f"case{case}_gated_video"], 2e-5)


def test_published_width_equals_the_authors(tmp_path: Path) -> None:
    arrays, told = golden("s3r_dim2048")
    atoms = fill.normal("s3r.wide_dictionary", 1, (20, 2048), 0.1)
    assert fill.check(atoms) == told["inputs"]["dictionary"][2]
    state = published("s3r_dim2048")
    assert len(state) == 88
    weights = {k: v for k, v in state.items() if v.is_floating_point() and "running" not in k}
    assert sum(v.numel() for v in weights.values()) == 81_436_802
    model = imported("s3r_dim2048", atoms, tmp_path)
    assert sum(p.numel() for p in model.parameters()) == 56_258_690
    rows = torch.from_numpy(fill.positive("s3r.wide", 1, (1, 10, 5, 2048), 0.5))
    with torch.no_grad():
        seen = model.net(rows, model.dictionary)
    near(seen.scores[..., None], arrays["video_scores"], 2e-6)
    near(seen.macro[:, None], arrays["macro_scores"], 2e-6)
    near(seen.attention[0].flatten(0, 1).T[None], arrays["attention"], 5e-5)
    near(seen.gate[0][..., None], arrays["gate"], 5e-5)
    near(seen.rebuilt[0, ..., ::16], arrays["en_normal_sub"], 5e-5)
    near(seen.features[0, ..., ::16], arrays["gated_video_sub"], 5e-5)


def test_evaluation_equals_the_authors(small: S3R) -> None:
    """Row scores, each repeated for its 16 frames, over all frames of three videos."""
    arrays, told = golden("s3r_universal_and_eval")
    scores, labels = [], []
    for n, video in enumerate(told["evaluation"]["videos"]):
        length = (5, 9, 14)[n]
        assert f"(1,{length},10,128)" in video["input"]
        rows = fill.positive(f"s3r.eval{n}", 1, (1, length, 10, 128), 0.5)[0]
        with torch.no_grad():
            found = small.score(units(rows))["anomaly"]
        near(found[:, None], arrays[f"eval_scores_v{n}"], 1e-5)
        scores.append(np.repeat(found.numpy(), 16))
        labels.append(fill.uniform(f"s3r.gt{n}", 1, (16 * length,)) > 0.6)
    auc = roc_auc_score(np.concatenate(labels), np.concatenate(scores))
    assert auc == pytest.approx(float(arrays["eval_auc"]), abs=1e-5)


def test_a_published_file_becomes_a_model(tmp_path: Path, batch: Tensor) -> None:
    """Through the door of `vigil import`, on a container as the authors write it."""
    torch.save(published("s3r_dim128"), tmp_path / "toy_s3r_i3d_best.pth")
    atoms = fill.normal("s3r.dictionary", 1, (24, 128), 0.5)
    np.save(tmp_path / "d.npy", atoms.astype(np.float64))
    file, keys = tmp_path / "toy_s3r_i3d_best.pth", {"dictionary": str(tmp_path / "d.npy")}
    import_checkpoint(file, "s3r", tmp_path / "model", **keys)
    (tmp_path / "d.npy").unlink()  # the model holds it
    loaded = bundle.load(tmp_path / "model").method
    arrays, _ = golden("s3r_dim128_batch")
    with torch.no_grad():
        found = loaded.score(units(batch[1].transpose(0, 1)))["anomaly"]
    near(found, arrays["video_scores"][1, :, 0], 2e-6)
    with pytest.raises(ModelError, match="--dictionary FILE.npy"):
        import_checkpoint(file, "s3r", tmp_path / "bare")
    with pytest.raises(ModelError, match="it looks like one of s3r"):
        import_checkpoint(file, "rtfm", tmp_path / "wrong")
    np.save(tmp_path / "d.npy", atoms[:, :64])
    with pytest.raises(InputError, match=r"shape \(24, 64\); expected \(atoms, 128\)"):
        import_checkpoint(file, "s3r", tmp_path / "narrow", **keys)


def test_a_published_file_without_its_dictionary_is_refused() -> None:
    keys, own = from_published(published("s3r_dim128"), {})
    with pytest.raises(ModelError, match="--dictionary FILE.npy"):
        S3R(**keys).set_tensors(own)
    with pytest.raises(ModelError, match="no network of s3r: found 'fc1.weight'"):
        from_published({"fc1.weight": torch.ones(2)}, {})
    with pytest.raises(ModelError, match="none of its layers|expected video_embedding"):
        from_published({}, {})


# -- parts ---------------------------------------------------------------------------------------
def test_rebuilding_is_a_softmax_over_atoms() -> None:
    torch.manual_seed(0)
    net, rows, atoms = EnNormal(32), torch.randn(2, 5, 32), torch.randn(7, 32)
    atoms[3] = 0  # an atom that nothing uses
    rebuilt, attention = net(rows, atoms)
    near(attention.sum(-1), np.ones((2, 5)), 1e-6)
    for n in range(2):
        for t in range(5):
            product = torch.stack([net.query(rows[n, t]) @ net.key(atom) for atom in atoms])
            weight = product.exp() / product.exp().sum()
            wanted = sum(w * net.value(atom) for w, atom in zip(weight, atoms, strict=True))
            near(rebuilt[n, t], wanted.detach().numpy(), 1e-5)  # type: ignore[union-attr]


def test_the_dictionary_is_embedded_once_until_something_changes() -> None:
    net, atoms = EnNormal(32).eval(), torch.randn(7, 32)
    with torch.no_grad():
        once = net.embed(atoms)
        assert net.embed(atoms)[0] is once[0]
        assert net.embed(atoms.clone())[0] is not once[0]
        net.key.weight.mul_(2)
        twice = net.embed(atoms)
        near(twice[0], net.key(atoms).numpy(), 1e-6)
        state = {k: v + 1 for k, v in net.state_dict().items()}
        net.load_state_dict(state)
        near(net.embed(atoms)[0], net.key(atoms).numpy(), 1e-6)
    assert net.embed(atoms)[0].requires_grad  # never from memory where a gradient is wanted
    with torch.inference_mode():
        near(net.embed(torch.ones(3, 32))[1], net.value(torch.ones(3, 32)).numpy(), 1e-6)


def test_the_gate_looks_at_what_is_apart() -> None:
    net, rows = DeNormal(32), torch.randn(3, 5, 32)
    alike = net(rows, rows)
    near(alike, net.excite(net.squeeze.bias.relu()).sigmoid().expand(3, -1).detach().numpy(), 1e-6)
    one = net(torch.ones(1, 1, 32), torch.zeros(1, 1, 32)).expand(3, -1)
    near(net(rows + 2, rows + 1), one.detach().numpy(), 1e-5)


def test_one_video_is_enough_for_a_batch_and_masking_is_for_training_alone() -> None:
    torch.manual_seed(0)
    model = tiny(torch.randn(6, 64))
    rows = torch.rand(1, 8, 3, 64)
    one = Batch(normal={"rows": rows}, anomalous={"rows": rows + 1})
    for train in (True, False):
        model.train(train)
        terms = model(one)
        assert set(terms) == {"cls", "magnitude", "smooth", "sparse", "macro"}
        assert all(
            v.ndim == 0 and v.dtype == torch.float32 and v.isfinite() for v in terms.values()
        )
    assert {k: v.item() for k, v in model(one).items()} == {k: v.item() for k, v in terms.items()}


def tiny(dictionary: Tensor, **keys: Any) -> S3R:
    model = S3R(**{**S3R.TINY, **keys})
    model.dictionary = dictionary
    return model


@pytest.mark.parametrize("rows", [1, 2, 7000])
@pytest.mark.parametrize("crops", [1, 3])
def test_any_length_and_any_crops(rows: int, crops: int) -> None:
    torch.manual_seed(0)
    model = tiny(torch.randn(6, 64)).eval()
    x = torch.rand(rows, crops, 64)
    with torch.no_grad():
        found = model.score(units(x))["anomaly"]
        each = [model.score(units(x[:, c : c + 1]))["anomaly"] for c in range(crops)]
    assert found.shape == (rows,) and bool(((found > 0) & (found < 1)).all())
    near(found, torch.stack(each).mean(0).numpy(), 1e-6)


def test_corrected_terms_stay_within_a_video() -> None:
    """The worked example of two videos of three segments."""
    scores = torch.tensor([[0.1, 0.4, 0.2], [0.9, 0.8, 0.3]])
    assert 8e-4 * smoothness(scores).item() == pytest.approx(3.12e-4)
    assert 8e-4 * smoothness(scores, True).item() == pytest.approx(7.04e-4)
    assert 8e-3 * sparsity(scores, True).item() == pytest.approx(1.0583e-2, rel=1e-4)
    assert 8e-3 * sparsity(scores).item() == pytest.approx(8e-3 * 2.7 / 2)


def test_no_score_without_a_dictionary() -> None:
    with pytest.raises(ModelError, match="s3r has no dictionary"):
        S3R(**S3R.TINY).eval().score(units(torch.rand(4, 1, 64)))


def test_atoms_are_named_and_their_parts_are_the_score() -> None:
    torch.manual_seed(0)
    model = tiny(torch.randn(9, 64)).eval()
    bag = units(torch.rand(5, 3, 64))
    reasons, scores = model.explain(bag), model.score(bag)["anomaly"]
    for reason, score in zip(reasons, scores.tolist(), strict=True):
        assert sum(reason.parts.values()) == pytest.approx(score, abs=1e-6)
        assert len(reason.parts) == 6 and reason.heat.shape == (3, 64)


# -- dictionaries in prepare ---------------------------------------------------------------------
def bags(count: int = 10, seed: int = 0) -> list[Units]:
    random = np.random.default_rng(seed)
    return [units(random.random((5 + n, 3, 64), np.float32)) for n in range(count)]


def test_dictionary_kinds_and_files(tmp_path: Path) -> None:
    np.save(tmp_path / "u.npy", np.random.default_rng(1).random((8, 64)))
    memory = {"universal": str(tmp_path / "u.npy")}
    for kind, atoms in {"taskaware": 9, "textbook": 9, "universal": 5, "both": 14}.items():
        model = S3R(**{**S3R.TINY, **memory, "dictionary": kind})
        model.prepare(bags())
        assert model.dictionary.shape == (atoms, 64) and model.crops == 3
    model = S3R(**{**S3R.TINY, "dictionary": str(tmp_path / "u.npy")})
    model.prepare(bags())
    assert model.dictionary.shape == (8, 64) and model.facts() == {"crops": 3, "atoms": 8}
    again = S3R(**{**S3R.TINY, "dictionary": str(tmp_path / "gone.npy")})
    again.set_tensors(model.tensors())  # a model needs the file no more
    assert torch.equal(again.dictionary, model.dictionary)


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        ({"dictionary": "universal"}, ConfigError, "universal=FILE.npy"),
        ({"dictionary": "taskawar"}, ConfigError, "expected taskaware, universal"),
        ({"dictionary": "/nowhere/d.npy"}, InputError, "/nowhere/d.npy"),
        ({"setting": "one-class"}, ConfigError, "donor=FILE.npy"),
    ],
)
def test_what_cannot_be_prepared(keys: Mapping[str, Any], error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        S3R(**{**S3R.TINY, **keys}).prepare(bags())


@pytest.mark.parametrize(("name", "percent"), [("s3r-shanghaitech", 90), ("s3r-ucf-crime", 50)])
def test_presets(name: str, percent: float) -> None:
    own, run = split_keys(preset(name), S3RConfig)
    assert S3RConfig(**own).percent == percent and run["steps"] == 15000 and run["batch"] == 32
    assert S3RConfig(**own).compat is False


# -- learning ------------------------------------------------------------------------------------
DIM, CROPS = 64, 2


def footage(
    name: str, rows: int, event: tuple[int, int], seed: int, label: str = "normal"
) -> Video:
    """Rows of 4 frames: mixtures of a few normal things; in the event of one more."""
    random = np.random.default_rng((seed, len(name)))
    things = np.abs(np.random.default_rng(5).normal(size=(7, DIM)))
    share = random.dirichlet(np.ones(6), rows)
    value = share @ things[:6]
    value[slice(*event)] = 0.5 * value[slice(*event)] + 0.5 * things[6]
    value = value[:, None] + random.normal(0, 0.05, (rows, CROPS, DIM))
    found = [FeatureRow(v, 4 * n, 4 * n + 4) for n, v in enumerate(value.astype(np.float32))]

    def frames(short_side: int | None) -> Any:
        for t in range(4 * rows):
            yield Frame(np.zeros((8, 8, 3), np.uint8), t / 10)

    given = {"features": lambda: found}
    return Video(name, f"memory:{name}", 10.0, (8, 8), frames, label=label, given=given)  # type: ignore[arg-type]


def training(weak: bool) -> tuple[list[Video], list[Video]]:
    """Training and validation videos; every other one has an event if `weak`."""
    videos = []
    for n in range(24):
        strange = weak and n % 2 == 1
        start = 5 + n % 17
        event = (start, start + 8) if strange else (0, 0)
        label = "anomalous" if strange else "normal"
        videos.append(footage(f"train{n}", 40 + n, event, n, label))
    return videos[:20], videos[20:]


def frame_auc(model: Model) -> float:
    """Micro AUC over the frames of test videos with and without an event."""
    scores, labels = [], []
    for n in range(8):
        event = (12 + n, 22 + n) if n % 2 else (0, 0)
        found = score_video(model, footage(f"test{n}", 45, event, 100 + n), smoothing="none")
        truth = np.zeros(180, bool)
        truth[4 * event[0] : 4 * event[1]] = True
        scores.append(found.score)
        labels.append(truth)
    return float(roc_auc_score(np.concatenate(labels), np.concatenate(scores)))


SMALL = {"dim": DIM, "frames": 4, "margin": 20.0, "magnitude": 0.01}  # features are short
RUN = {"batch": 8, "seed": 1, "device": "cpu", "val_every": 30, "smoothing": "none"}


def test_learns_from_video_labels(tmp_path: Path) -> None:
    learn, held = training(weak=True)
    model = fit(method("s3r", seed=1, **SMALL), learn, held, tmp_path / "run", steps=100, **RUN)
    assert frame_auc(model) > 0.9
    loaded = bundle.load(tmp_path / "run")
    assert torch.equal(
        loaded.method.get_buffer("dictionary"), model.method.get_buffer("dictionary")
    )
    assert loaded.method.facts() == {"crops": CROPS, "atoms": 9}  # 90 % of 10 normal videos
    assert plugins.find("methods", "s3r") is S3R


def test_learns_from_normal_videos_and_a_donor(tmp_path: Path) -> None:
    """One-class: the donor's things are not those of the test's events."""
    random = np.random.default_rng(9)
    np.save(tmp_path / "donor.npy", np.abs(random.normal(size=(300, DIM))).astype(np.float32))
    learn, held = training(weak=False)
    donor = str(tmp_path / "donor.npy")
    keys = {**SMALL, "setting": "one-class", "donor": donor, "dropout": 0.3}
    model = fit(method("s3r", seed=1, **keys), learn, held, tmp_path / "run", steps=80, **RUN)
    assert model.method.lookahead == 127
    assert frame_auc(model) > 0.9
    for rows in (1, 20, 45):  # shorter and longer than a window, and no multiple of one
        video = footage("live", rows, (5, 15), 3)
        file, live = score_video(model, video), list(stream(model, video))
        assert len(file) == len(live) == 4 * rows
        np.testing.assert_allclose(file.score, [frame.score for frame in live], atol=1e-5)


def test_pseudo_anomalies_are_spans_of_the_donor() -> None:
    torch.manual_seed(0)
    normal, donor = torch.rand(200, 2, 32, 4), -torch.arange(1.0, 41)[:, None].expand(-1, 4)
    rows, mask = splice(normal, donor)
    share = mask.sum(1)
    assert share.min() == 3 and share.max() == 16
    assert bool((mask.int().diff(dim=1).abs().sum(1) <= 2).all())  # one span each
    assert torch.equal(
        rows[~mask[:, None].expand(-1, 2, -1)], normal[~mask[:, None].expand(-1, 2, -1)]
    )
    for video, hidden in zip(rows, mask, strict=True):
        taken = -video[0, hidden, 0]
        assert bool((taken > 0).all()) and bool((taken.diff() % 40 == 1).all())
    short, where = splice(torch.rand(5, 1, 1, 4), donor)
    assert bool(where.all()) and bool((short < 0).all())
