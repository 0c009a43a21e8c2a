"""Dictionaries of S3R: sparse coding, the authors' construction, and their files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import orthogonal_mp
from vectors import fill, golden

from vigil import dictionaries
from vigil.errors import ConfigError, InputError
from vigil.features.base import FeatureRow
from vigil.methods import _dictionary as d
from vigil.records import Frame, Video

torch.set_num_threads(1)


# -- sparse coding -------------------------------------------------------------------------------
@pytest.mark.parametrize("nonzeros", [1, 2, 3, 8])
@pytest.mark.parametrize(("atoms", "width"), [(30, 20), (12, 40)])
def test_pursuit_equals_scikit_learn(nonzeros: int, atoms: int, width: int) -> None:
    random = np.random.default_rng((nonzeros, atoms))
    basis = random.normal(size=(atoms, width))
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    samples = random.normal(size=(60, width))
    wanted = orthogonal_mp(basis.T, samples.T, n_nonzero_coefs=nonzeros).T  # (60, atoms)
    found = d.omp(torch.from_numpy(samples), torch.from_numpy(basis), nonzeros).dense(atoms).numpy()
    np.testing.assert_array_equal(found != 0, wanted != 0)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_pursuit_by_hand() -> None:
    """Axes as atoms: the largest entries. With a slanted one, the first is fitted anew."""
    axes, sample = torch.eye(4), torch.tensor([[3.0, -5.0, 0.0, 1.0]])
    assert d.omp(sample, axes, 2).dense(4).tolist() == [[3.0, -5.0, 0.0, 0.0]]
    slanted = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    codes = d.omp(torch.tensor([[2.2, 1.0]]), slanted, 2)  # products 2.2 and 2.12
    assert codes.taken.tolist() == [[0, 1]]
    # 2.2 e1 + e2 = a e1 + b (0.6 e1 + 0.8 e2): b = 1 / 0.8 = 1.25, a = 2.2 - 0.75
    torch.testing.assert_close(codes.value, torch.tensor([[1.45, 1.25]]))


def test_pursuit_stops_where_nothing_is_left() -> None:
    atoms = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # twice, and nothing
    found = d.omp(torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), atoms, 3)
    assert found.value.isfinite().all()
    assert found.dense(3).tolist() == [[4.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3]


def test_samples_are_coded_the_same_in_any_company() -> None:
    random = torch.Generator().manual_seed(0)
    samples = torch.randn(d.CHUNK + 3, 6, generator=random)
    atoms = torch.nn.functional.normalize(torch.randn(9, 6, generator=random), dim=1)
    whole, last = d.omp(samples, atoms, 2), d.omp(samples[-2:], atoms, 2)
    assert torch.equal(whole.taken[-2:], last.taken)
    torch.testing.assert_close(whole.value[-2:], last.value)


def test_learning_finds_planted_atoms() -> None:
    random = np.random.default_rng(0)
    planted = random.normal(size=(8, 20))
    planted /= np.linalg.norm(planted, axis=1, keepdims=True)
    code = np.zeros((400, 8))
    for row in code:
        row[random.choice(8, 2, replace=False)] = random.choice([-1, 1], 2) * random.uniform(
            1, 2, 2
        )
    samples = torch.from_numpy(code @ planted)
    atoms, codes = d.learn(samples, 10, passes=30)
    assert d.error(samples, atoms, codes) < 0.02
    likeness = np.abs(planted @ atoms.numpy().T).max(1)
    assert likeness.min() > 0.99


# -- the authors' construction -------------------------------------------------------------------
def toy_means() -> torch.Tensor:
    """The golden file's video means (40, 256)."""

    def normal(name: str, shape: tuple[int, int]) -> np.ndarray:
        return fill.source(name, 1).standard_normal(shape)

    known = np.abs(normal("dl.factors", (40, 6))) @ np.abs(normal("dl.loads", (6, 256)))
    return torch.from_numpy(
        (known + 0.2 * np.abs(normal("dl.noise", (40, 256)))).astype(np.float32)
    )


def test_structure_equals_the_authors() -> None:
    arrays, told = golden("s3r_dictionary_learning")
    means = toy_means()
    atoms = d.atom_count(len(means), told["ratio"])
    made = d.task_aware(means, atoms)
    assert atoms == told["S"] and list(made.shape) == told["shape"]
    assert made.shape == arrays["dictionary"].shape
    count = (made != 0).sum(0)
    assert count.max() == told["nnz_per_column_max"] and count.min() == told["nnz_per_column_min"]
    assert int((made != 0).sum()) == told["nnz_total"]
    assert int((made != 0).any(1).logical_not().sum()) == told["zero_atoms"]
    basis, codes = d.learn(means.T.contiguous(), atoms, seed=0)
    assert torch.equal(codes.dense(atoms).T, made)  # the codes are the dictionary, not the basis
    assert basis.norm(dim=1).max() <= told["components_norm_max"] + 1e-6
    assert 0.7 * told["relative_residual"] < d.error(means.T, basis, codes)
    assert d.error(means.T, basis, codes) <= told["relative_residual"]
    assert torch.equal(made, d.task_aware(means, atoms))  # same seed, same file
    assert not torch.equal(made, d.task_aware(means, atoms, seed=1))


@pytest.mark.parametrize(
    ("videos", "percent", "atoms"), [(175, 90, 158), (800, 50, 400), (1, 1, 1)]
)
def test_number_of_atoms(videos: int, percent: float, atoms: int) -> None:
    assert d.atom_count(videos, percent) == atoms


def test_more_atoms_than_channels() -> None:
    made = d.task_aware(torch.rand(60, 16), 54)
    assert made.shape == (54, 16) and bool(made.isfinite().all())
    assert bool(((made != 0).sum(0) <= 2).all())


def test_textbook_rebuilds_videos() -> None:
    random = np.random.default_rng(0)
    things = np.abs(random.normal(size=(5, 32)))
    means = torch.from_numpy(np.eye(5)[random.integers(0, 5, 60)] @ things * 3).float()
    made = d.textbook(means, 5)
    assert made.shape == (5, 32)
    np.testing.assert_allclose(made.norm(dim=1), means.norm(dim=1).mean(), rtol=1e-4)
    likeness = torch.nn.functional.normalize(means, dim=1) @ torch.nn.functional.normalize(made).T
    assert likeness.abs().amax(1).min() > 0.99


# -- choosing from a universal one ---------------------------------------------------------------
def test_universal_choice_equals_the_authors() -> None:
    arrays, told = golden("s3r_universal_and_eval")
    videos = torch.from_numpy(fill.positive("s3r.regular", 1, (6, 3, 8, 16), 1.0))
    memory = torch.from_numpy(fill.normal("s3r.universal", 1, (21, 16), 1.0))
    normal = d.gather(v.transpose(0, 1) for v in videos)  # (8, 3, 16) each
    found = d.universal(normal, memory, compat=True)
    assert len(found) == told["universal"]["rows"] == 21 // 2 + 1
    np.testing.assert_allclose(found, arrays["universal_dictionary"], atol=1e-5)
    ours = d.universal(normal, memory)
    assert torch.equal(ours[:-1], found[:-1])
    torch.testing.assert_close(ours[-1], videos.mean((0, 1, 2)))  # as long as the features are
    with pytest.raises(InputError, match="16 channels; the features have 8"):
        d.universal(d.Normal(torch.rand(2, 8), torch.rand(8)), memory)


def test_both_is_one_after_the_other() -> None:
    normal, memory = d.Normal(torch.rand(10, 16), torch.rand(16)), torch.rand(6, 16)
    made = d.build("both", normal, 90, memory, seed=3)
    assert torch.equal(made[:9], d.build("taskaware", normal, 90, seed=3))
    assert torch.equal(made[9:], d.build("universal", normal, 90, memory))
    with pytest.raises(ConfigError, match="universal=FILE.npy"):
        d.build("both", normal, 90)
    with pytest.raises(InputError, match="no normal video"):
        d.gather([])


# -- files ---------------------------------------------------------------------------------------
def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.trace.touch, ())


def test_a_dictionary_file_is_not_trusted(tmp_path: Path) -> None:
    nan = np.ones((3, 4))
    nan[1, 2] = np.nan
    bad = {
        r"\(3, 5\); expected \(atoms, 4\)": np.ones((3, 5)),
        r"shape \(4,\)": np.ones(4),
        r"shape \(0, 4\)": np.ones((0, 4)),
        "int64; expected floating": np.ones((3, 4), np.int64),
        "complex128": np.ones((3, 4), np.complex128),
        "1 values are NaN": nan,
    }
    for match, array in bad.items():
        with pytest.raises(InputError, match=match):
            d.read(saved(tmp_path / "bad.npy", array), 4)
    np.save(
        tmp_path / "objects.npy", np.array([[Evil(tmp_path / "trace")]], object), allow_pickle=True
    )
    np.savez(tmp_path / "many.npz", a=np.ones((3, 4)))
    (tmp_path / "text.npy").write_text("no numbers")
    (tmp_path / "empty.npy").touch()
    whole = saved(tmp_path / "whole.npy", np.ones((3, 4))).read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    (tmp_path / "huge.npy").write_bytes(whole.replace(b"(3, 4)", b"(3000000000, 4)"))
    names = ["objects.npy", "many.npz", "text.npy", "empty.npy", "cut.npy", "huge.npy", "gone.npy"]
    for name in names:
        with pytest.raises(InputError, match=name):
            d.read(tmp_path / name, 4)
    assert not (tmp_path / "trace").exists()
    for kind in (np.float16, np.float32, np.float64):
        found = d.read(saved(tmp_path / "good.npy", np.ones((3, 4), kind)), 4)
        assert found.dtype == torch.float32 and found.tolist() == [[1.0] * 4] * 3


def footage(name: str, rows: int, seed: int, label: str = "normal", dim: int = 16) -> Video:
    random = np.random.default_rng(seed)
    found = [
        FeatureRow(random.random((3, dim), np.float32), 16 * n, 16 * n + 16) for n in range(rows)
    ]

    def frames(short_side: int | None) -> Any:
        yield Frame(np.zeros((8, 8, 3), np.uint8), 0.0)

    given = {"features": lambda: found}
    return Video(name, f"memory:{name}", 25.0, (8, 8), frames, label=label, given=given)  # type: ignore[arg-type]


def test_the_tree_of_the_original(tmp_path: Path) -> None:
    videos = [footage(f"v{n}", 5 + n, n) for n in range(10)] + [footage("x", 9, 99, "anomalous")]
    made = dictionaries.make(videos, tmp_path, "shanghaitech")
    folder = tmp_path / "shanghaitech"
    assert made.path == folder / "shanghaitech_dictionaries.taskaware.omp.100iters.90pct.npy"
    assert made.regular == folder / "shanghaitech_regular_features-16dim.training.pickle"
    assert made.shape == (9, 16) and made.videos == 10
    features = dictionaries.read_regular(made.regular)
    assert list(features) == [f"v{n}" for n in range(10)]
    assert all(rows.shape == (3, 32, 16) for rows in features.values())
    again = dictionaries.from_regular(features, "taskaware", 90)
    np.testing.assert_array_equal(dictionaries.read_dictionary(made.path, 16), again)
    ucf = dictionaries.make(videos, tmp_path, "ucf-crime", regular=False)
    assert ucf.path.name == "ucf-crime_dictionaries.taskaware.omp.100iters.50pct.npy"
    assert ucf.shape == (5, 16) and ucf.regular is None
    assert [path.name for path in (tmp_path / "ucf-crime").iterdir()] == [ucf.path.name]


def test_a_universal_one_comes_from_the_tree_or_a_file(tmp_path: Path) -> None:
    videos = [footage(f"v{n}", 5, n) for n in range(4)]
    with pytest.raises(ConfigError, match="kinetics400_dictionaries.universal.omp.100iters.npy"):
        dictionaries.make(videos, tmp_path, "toy", "universal")
    other = dictionaries.make([footage(f"o{n}", 5, 50 + n) for n in range(8)], tmp_path, "other")
    made = dictionaries.make(videos, tmp_path, "toy", "universal", universal=other.path)
    assert made.path.name == "toy_states.universal.npy" and made.shape == (7 // 2 + 1, 16)
    lain = tmp_path / dictionaries.UNIVERSAL
    lain.parent.mkdir()
    other.path.rename(lain)
    assert dictionaries.make(videos, tmp_path, "toy", "both").shape == (4 + 4, 16)
    assert dictionaries.make(videos, tmp_path, "toy", "textbook", percent=50).shape == (2, 16)


def test_bad_features_are_named(tmp_path: Path) -> None:
    good = footage("good", 5, 0)
    damaged = footage("damaged", 5, 1)
    damaged.given["features"]()[2].value[0, 3] = np.nan
    bare = Video("bare", "bare.mp4", 25.0, (8, 8), good.open)
    cases = {
        "damaged: features hold NaN": damaged,
        "wide: features of 8 channels; the others have 16": footage("wide", 5, 2, dim=8),
        "bare.mp4: no features": bare,
        "memory:none: its features have no row": footage("none", 0, 3),
    }
    for match, video in cases.items():
        with pytest.raises(InputError, match=match):
            dictionaries.make([good, video], tmp_path, "toy")
    with pytest.raises(InputError, match="no normal video"):
        dictionaries.make([footage("x", 4, 0, "anomalous")], tmp_path, "toy")
    with pytest.raises(ConfigError, match="did you mean 'taskaware'"):
        dictionaries.make([good], tmp_path, "toy", "taskawar")
    assert not (tmp_path / "toy").exists()


def test_the_pickle_of_regular_features(tmp_path: Path) -> None:
    path = tmp_path / "features.pickle"
    features = {"a": np.random.default_rng(0).random((2, 32, 4), np.float32)}
    dictionaries.write_regular(path, features)
    with path.open("rb") as file:
        plain = pickle.load(file)  # as the original's loader does
    np.testing.assert_array_equal(plain["feature"]["a"], features["a"])
    assert b"_core" not in path.read_bytes()  # numpy 1 has no such module
    for protocol in (2, 4, 5):  # as others write it
        path.write_bytes(pickle.dumps({"feature": features}, protocol=protocol))
        np.testing.assert_array_equal(dictionaries.read_regular(path)["a"], features["a"])
    bad: dict[str, Any] = {
        "not opened": {"feature": {"a": Evil(tmp_path / "trace")}},
        r"expected a pickle of \{'feature'": {"features": features},
        "float64 \\(32, 4\\); expected floats": {"feature": {"a": np.ones((32, 4))}},
        "a: <class 'list'>": {"feature": {"a": [1.0]}},
        "b: features of 5 channels": {"feature": {**features, "b": np.ones((2, 32, 5))}},
        "a: features hold NaN": {"feature": {"a": np.full((2, 32, 4), np.nan)}},
    }
    for match, thing in bad.items():
        path.write_bytes(pickle.dumps(thing))
        with pytest.raises(InputError, match=match):
            dictionaries.read_regular(path)
    assert not (tmp_path / "trace").exists()
