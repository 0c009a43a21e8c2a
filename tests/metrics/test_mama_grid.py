"""The published weighing of MAMA's terms, against the authors' numbers."""

from __future__ import annotations

import numpy as np
import pytest
from vectors import golden

from vigil.errors import InputError
from vigil.metrics import mama_grid
from vigil.metrics.frames import eer, micro_auc
from vigil.metrics.mama_grid import bounds, grid, mixed, mixes, nearest_error, oracle

FIXED = {
    "w113_0": {"motion": 1, "label": 1, "error": 3},
    "w212_05": {"motion": 2, "label": 1, "error": 2, "damage": 0.5},
    "w05_05_4_1": {"motion": 0.5, "label": 0.5, "error": 4, "damage": 1},
}


def stored() -> tuple[dict, dict, list[dict], list[np.ndarray]]:  # type: ignore[type-arg]
    arrays, facts = golden("mama_score_mix")
    theirs = {"motion": "motion", "label": "label", "error": "error", "damage": "destroyer"}
    videos = [{ours: arrays[f"{name}_{n}"] for ours, name in theirs.items()} for n in range(3)]
    return arrays, facts, videos, [arrays[f"gt_{n}"][4:].astype(bool) for n in range(3)]


@pytest.mark.parametrize("kind", ["plain", "gaussian"])
@pytest.mark.parametrize("name", FIXED)
def test_fixed_weights(kind: str, name: str) -> None:
    arrays, _, videos, labels = stored()
    found = np.concatenate([mixed(v, FIXED[name], kind == "gaussian") for v in videos])
    np.testing.assert_allclose(found, arrays[f"{kind}_{name}_scores"], atol=1e-6, rtol=0)
    truth = np.concatenate(labels)
    assert micro_auc(found, truth).value == pytest.approx(
        float(arrays[f"{kind}_{name}_auc"]), abs=1e-9
    )
    assert nearest_error(found, truth) == pytest.approx(
        float(arrays[f"{kind}_{name}_eer"]), abs=1e-9
    )


@pytest.mark.parametrize("kind", ["plain", "gaussian"])
@pytest.mark.parametrize("stage", ["generator", "destroyer"])
def test_the_oracle(kind: str, stage: str) -> None:
    arrays, facts, videos, labels = stored()
    if stage == "generator":
        videos = [{k: x for k, x in v.items() if k != "damage"} for v in videos]
    best = oracle(videos, labels, kind == "gaussian")
    assert best.micro_auc == pytest.approx(float(arrays[f"{kind}_{stage}_oracle_auc"]), abs=1e-9)
    assert best.eer == pytest.approx(float(arrays[f"{kind}_{stage}_oracle_eer"]), abs=1e-9)
    assert list(best.weights.values()) == pytest.approx(facts["oracle"][f"{kind}_{stage}"])
    equal = dict.fromkeys(videos[0], 5 / 3)
    fixed = np.concatenate([mixed(v, equal, kind == "gaussian") for v in videos])
    assert best.micro_auc >= micro_auc(fixed, np.concatenate(labels)).value  # type: ignore[operator]


def test_the_grid_at_once_is_the_grid_one_by_one() -> None:
    _, _, videos, _ = stored()
    names, table = grid(damage=True)
    assert table.shape == (1176 * 4, 4) and np.allclose(table[:, :3].sum(1), 5)
    some = table[::613]
    for gaussian in (False, True):
        one_by_one = [
            mixed(videos[0], dict(zip(names, row, strict=True)), gaussian) for row in some
        ]
        np.testing.assert_allclose(mixes(videos[0], names, some, gaussian), one_by_one, atol=1e-12)


def shuffled(seed: int, digits: int = 15) -> tuple[list[dict[str, np.ndarray]], list[np.ndarray]]:
    """Five videos of terms that say a little, rounded so that frames tie."""
    rng = np.random.default_rng(seed)
    labels = [rng.random(90) < 0.3 for _ in range(5)]
    terms = [
        {n: (rng.normal(size=90) + k * truth).round(digits) for k, n in enumerate(mama_grid.TERMS)}
        for truth in labels
    ]
    return terms, labels


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("digits", [0, 15])
def test_what_is_not_measured_could_not_be_the_best(gaussian: bool, digits: int) -> None:
    terms, labels = shuffled(3, digits)
    names, table = grid(damage=True)
    pooled = np.concatenate([mixes(video, names, table[::7], gaussian) for video in terms], 1)
    truth = np.concatenate(labels)
    areas = np.array([micro_auc(row, truth).value for row in pooled])
    low, high = np.array([bounds(row, truth) for row in pooled]).T
    assert (low <= areas).all() and (areas <= high).all()
    assert (high - low).max() < 1e-2 * max(10 * (not digits), 1)  # ties are all that is open
    best = oracle(terms, labels, gaussian)
    every = np.concatenate([mixes(video, names, table, gaussian) for video in terms], 1)
    measured = [micro_auc(row, truth).value for row in every]
    assert best.micro_auc == pytest.approx(max(measured), abs=1e-12)  # type: ignore[type-var]
    assert list(best.weights.values()) == table[int(np.argmax(measured))].tolist()


def test_what_cannot_be_measured_is_refused() -> None:
    terms, labels = shuffled(0)
    with pytest.raises(InputError, match="scores of 450 frames, labels of 360"):
        oracle(terms, labels[1:])
    terms[2]["label"][7] = np.nan
    with pytest.raises(InputError, match=r"scores \['label'\] are not all finite"):
        oracle(terms, labels)


def test_a_constant_term_adds_nothing() -> None:
    rng = np.random.default_rng(0)
    video = {"error": rng.normal(size=30), "motion": np.full(30, 7.0)}
    np.testing.assert_allclose(
        mixed(video, {"error": 1, "motion": 3}), mixed(video, {"error": 1}), atol=1e-6
    )
    assert (mixed({"motion": np.ones(9)}, {"motion": 2}) == 0).all()


def test_one_class_and_perfect_ranking() -> None:
    labels = np.array([False, False, True, True])
    assert nearest_error(np.arange(4.0), labels) == 0 == eer(np.arange(4.0), labels).value
    terms = {name: np.arange(4.0) for name in mama_grid.TERMS[:3]}
    best = oracle([terms], [labels])
    assert (best.micro_auc, best.eer) == (1, 0)
    one = oracle([terms], [np.zeros(4, bool)])
    assert one.micro_auc == 0.5 and np.isnan(one.eer)


def test_weights_without_a_term_are_refused() -> None:
    with pytest.raises(InputError, match="weights for \\['label'\\]"):
        mixed({"error": np.ones(3)}, {"label": 1, "error": 1})
