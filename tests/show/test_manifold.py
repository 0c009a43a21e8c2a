"""t-SNE, silhouettes and the picture of normal manifolds: any number of scenes, few points."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score

from vigil.errors import InputError
from vigil.show.manifold import Panel, affinities, look_of, manifold_png, plane, silhouette


def clusters(scenes: int, each: int, apart: float = 8.0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, apart, (scenes, 12))
    x = np.concatenate([centre + rng.normal(0, 1, (each, 12)) for centre in centres])
    return x, [f"s{n:02}" for n in range(scenes) for _ in range(each)]


def test_clusters_stay_apart_and_neighbours_near() -> None:
    x, scenes = clusters(4, 30)
    y = plane(x)
    assert y.shape == (120, 2) and np.array_equal(y, plane(x))
    assert silhouette_score(y, scenes) > 0.6
    assert trustworthiness(x, y, n_neighbors=8) > 0.9


def test_affinities_have_the_perplexity_asked_for() -> None:
    x, _ = clusters(3, 15)
    p = affinities(x, 10)
    assert p.sum() == pytest.approx(1, abs=1e-6) and np.allclose(p, p.T)
    # of the rows before they are made symmetric, by the literal search of one row
    apart = np.square(x[0] - x[1:]).sum(1)
    betas = np.geomspace(1e-4, 1e2, 20001)
    rows = np.exp(-np.outer(betas, apart - apart.min()))
    rows /= rows.sum(1, keepdims=True)
    entropy = -(rows * np.log(np.maximum(rows, 1e-300))).sum(1)
    best = rows[np.abs(entropy - np.log(10)).argmin()]
    assert (2 * len(x) * p[0, 1:] - best >= -1e-3).all()  # p = (own + others') / 2N


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_fewer_points_than_the_perplexity(count: int) -> None:
    y = plane(np.random.default_rng(1).normal(size=(count, 5)))
    assert y.shape == (count, 2) and np.isfinite(y).all()
    assert np.isfinite(plane(np.zeros((count, 5)))).all()  # all the same


def test_silhouette_is_scikit_learns() -> None:
    x, scenes = clusters(3, 10, apart=1.0)
    assert silhouette(x, scenes) == pytest.approx(silhouette_score(x, scenes), abs=1e-9)
    scenes[0] = "alone"
    assert silhouette(x, scenes) == pytest.approx(silhouette_score(x, scenes), abs=1e-9)
    assert silhouette(x, ["one"] * len(x)) is None


@pytest.mark.parametrize("scenes", [1, 4, 13])
def test_pictures_of_any_number_of_scenes(scenes: int, tmp_path: Path) -> None:
    x, names = clusters(scenes, 3)
    panels = [Panel(f"$a_{n}$", x[:, n : n + 2], names, silhouette(x, names)) for n in range(2)]
    manifold_png(tmp_path / "m.png", panels)
    assert cv2.imread(str(tmp_path / "m.png")).shape[1] > 1200
    looks = look_of(sorted(set(names)))
    assert len(set(looks.values())) == scenes


def test_damaged_points_are_refused() -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        plane(np.array([[0.0, np.nan], [1, 2]]))
