"""RTFM: the authors' numbers, their odd terms and ours, any length, any number of crops."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from weak_bags import found, train, units

from vigil.config import preset, split_keys
from vigil.errors import ModelError
from vigil.methods import _temporal as temporal
from vigil.methods.base import make_config
from vigil.methods.rtfm import RTFM, RTFMConfig, from_published
from vigil.records import Batch

GOLDEN = Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
fill = importlib.import_module("fill")
ARRAYS = dict(np.load(GOLDEN / "rtfm_batch.npz"))
FACTS = json.loads((GOLDEN / "rtfm_batch.json").read_text())
LAYOUT = json.loads((GOLDEN / "checkpoints" / "rtfm.json").read_text())


def published() -> dict[str, Tensor]:
    state = fill.state(LAYOUT["tensors"], 1, LAYOUT["gain"])
    return {key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}


@pytest.fixture(scope="module")
def method() -> RTFM:
    """The published size with formula-made weights."""
    keys, own = from_published(published(), {"compat": True})
    made = RTFM(**keys)
    made.set_tensors(own)
    return made.eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    video = fill.positive("rtfm.video", 1, (4, 10, 32, 2048), 0.5)
    assert fill.check(video) == FACTS["crc"]
    rows = torch.from_numpy(video).transpose(1, 2)  # (4, 32, 10, 2048)
    return Batch(normal={"rows": rows[:2]}, anomalous={"rows": rows[2:]})


def small(**keys: object) -> RTFM:
    torch.manual_seed(0)
    return RTFM(dim=64, **keys)


def random_batch(size: int = 3, crops: int = 2, segments: int = 32) -> Batch:
    rng = torch.Generator().manual_seed(0)
    one, two = (torch.rand(size, segments, crops, 64, generator=rng) for _ in range(2))
    return Batch(normal={"rows": one}, anomalous={"rows": two})


# -- parity --------------------------------------------------------------------------------------
@torch.no_grad()
def test_a_batch_equals_the_authors(method: RTFM, batch: Batch) -> None:
    rows = torch.cat([batch.normal["rows"], batch.anomalous["rows"]])
    features = method.features(rows.transpose(1, 2))  # (4, 10, 32, 2048)
    close(features[:, :2, ::4, ::32], ARRAYS["features_sub"], rtol=2e-5, atol=2e-5)
    scores = method.probability(features)
    close(scores, ARRAYS["scores"][..., 0], atol=2e-6)
    length = temporal.magnitudes(features)
    close(length, ARRAYS["feature_magnitudes"], rtol=2e-5)
    index = temporal.top_segments(length, 3)
    np.testing.assert_array_equal(index[:2], ARRAYS["index_normal"])
    np.testing.assert_array_equal(index[2:], ARRAYS["index_abnormal"])
    video = temporal.at_segments(scores, index).mean(1)
    close(video[:2], ARRAYS["score_normal"][:, 0], atol=2e-6)
    close(video[2:], ARRAYS["score_abnormal"][:, 0], atol=2e-6)
    chosen = (
        temporal.at_segments(features, index).mean(2).norm(dim=-1)
    )  # (4, 10), theirs crop-major
    close(chosen[:2].T.flatten(), ARRAYS["select_normal_norm"], rtol=2e-5)
    close(chosen[2:].T.flatten(), ARRAYS["select_abnormal_norm"], rtol=2e-5)


@torch.no_grad()
def test_every_term_equals_the_authors(method: RTFM, batch: Batch) -> None:
    terms = method.loss(batch)
    theirs = {"cls": "cls", "magnitude": "mag_weighted", "smooth": "smooth", "sparse": "sparse"}
    assert set(terms) == set(theirs)
    for ours, name in theirs.items():
        close(terms[ours], ARRAYS[f"loss_{name}"], rtol=1e-6)
    close(torch.stack(tuple(terms.values())).sum(), ARRAYS["loss_total"], rtol=1e-6)


@torch.no_grad()
def test_non_local_block_equals_the_authors(method: RTFM) -> None:
    """Both orders of the product; the file holds every 8th channel, so the input is made anew."""
    video = torch.from_numpy(fill.positive("rtfm.video", 1, (4, 10, 32, 2048), 0.5)[0, :2])
    inner = method.embed.conv_4(video.transpose(1, 2))  # (2, 512, 32)
    close(inner[:, ::8], ARRAYS["non_local_in_sub"], atol=2e-5, rtol=2e-5)
    close(method.embed.non_local(inner)[:, ::8], ARRAYS["non_local_out_sub"], atol=2e-5, rtol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", [0, 1])
def test_other_lengths_equal_the_authors(method: RTFM, case: int) -> None:
    arrays = np.load(GOLDEN / "rtfm_inference.npz")
    facts = json.loads((GOLDEN / "rtfm_inference.json").read_text())["cases"][case]
    video = fill.positive(f"rtfm.infer{case}", 1, (1, 10, facts["T"], 2048), 0.5)
    assert fill.check(video) == facts["crc"]
    rows = torch.from_numpy(video)[0].transpose(0, 1)  # (T, 10, 2048)
    close(method.score(units(rows))["anomaly"], arrays[f"case{case}_scores"][0, :, 0], atol=2e-6)
    lengths = method.answers(rows)[1].mean(1)
    close(lengths, arrays[f"case{case}_magnitudes"][0], rtol=2e-5)


def close(found: Tensor, wanted: np.ndarray, atol: float = 0.0, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(found.numpy(), wanted, atol=atol, rtol=rtol)


def test_size_and_keys(method: RTFM) -> None:
    assert sum(p.numel() for p in method.parameters()) == FACTS["params"] == 24_718_849
    assert len(method.state_dict()) == FACTS["keys"] == 47
    with pytest.raises(ModelError, match="no network of rtfm"):
        from_published({"fc1.weight": torch.zeros(512, 4096)}, {})


# -- terms ---------------------------------------------------------------------------------------
def test_terms_within_videos_are_the_default() -> None:
    scores = torch.tensor([[0.1, 0.4, 0.2], [0.9, 0.8, 0.3]])
    rest = (torch.full((4,), 0.5), scores, torch.ones(2, 1, 3, 64), torch.ones(2, 1, 3, 64))
    ours, theirs = small().terms(*rest), small(compat=True).terms(*rest)
    assert float(ours["smooth"]) == pytest.approx(3.12e-4, rel=1e-5)
    assert float(theirs["smooth"]) == pytest.approx(7.04e-4, rel=1e-5)
    assert float(ours["sparse"]) == pytest.approx(8e-3 * (0.7 + 2.0) / 2, rel=1e-5)
    assert float(theirs["sparse"]) == pytest.approx(1.0583e-2, rel=1e-4)
    # normal videos come first: a sure and right answer costs nothing
    sure = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert float(small().terms(sure, *rest[1:])["cls"]) == 0


def test_segments_are_hidden_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    real = temporal.top_segments

    def watched(magnitude: Tensor, k: int, mask: float = 0.0) -> Tensor:
        seen.append(mask)
        return real(magnitude, k, mask)

    monkeypatch.setattr(temporal, "top_segments", watched)
    one = small()
    one.train().loss(random_batch())
    one.eval().loss(random_batch())
    assert seen == [0.7, 0.0]


@pytest.mark.parametrize("crops", [1, 10])
@pytest.mark.parametrize("segments", [2, 32])
def test_one_pair_of_videos_trains(crops: int, segments: int) -> None:
    one = small(segments=segments).train()
    terms = one.fit_step(
        random_batch(1, crops, segments), one.optimizers(), lambda total: total.backward()
    )
    assert all(term.isfinite() for term in terms.values())
    used = [n for n, p in one.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not used


def test_terms_are_float32_under_autocast() -> None:
    one, batch = small().eval(), random_batch()
    exact = one.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = one.loss(batch)
    for name, term in half.items():
        assert term.dtype == torch.float32
        assert float(term.detach()) == pytest.approx(float(exact[name].detach()), rel=0.05)


# -- scoring -------------------------------------------------------------------------------------
@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2, 7000])
def test_any_number_of_rows(rows: int) -> None:
    seen = units(torch.rand(rows, 1, 64, generator=torch.Generator().manual_seed(0)))
    scores = small().eval().score(seen)["anomaly"]
    assert scores.shape == (rows,) and scores.isfinite().all()
    assert torch.equal(scores, small().eval().score(seen)["anomaly"])


@torch.no_grad()
def test_crops_are_streamed_and_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    from vigil.methods import rtfm

    one, rows = small().eval(), torch.rand(50, 10, 64)
    each = torch.stack([one.score(units(rows[:, n : n + 1]))["anomaly"] for n in range(10)])
    torch.testing.assert_close(one.score(units(rows))["anomaly"], each.mean(0))
    monkeypatch.setattr(rtfm, "TOKENS", 150)  # three crops at a time
    torch.testing.assert_close(one.score(units(rows))["anomaly"], each.mean(0))


@torch.no_grad()
def test_bags_follow_the_named_rule() -> None:
    rows = torch.rand(100, 2, 64)
    for rule, quantise in temporal.QUANTISERS.items():
        assert torch.equal(small(quantise=rule).bag(units(rows))["rows"], quantise(rows, 32))
    assert RTFMConfig().quantise == "avg"


def test_reasons_show_what_fired() -> None:
    one, seen = small(k=2).eval(), units(torch.rand(9, 3, 64))
    reasons = one.explain(seen)
    with torch.no_grad():
        scores, lengths = one.score(seen)["anomaly"], one.answers(seen.x["rows"])[1].mean(1)
    fired = {n for n, reason in enumerate(reasons) if reason.heat.max() > 0}
    assert fired == set(lengths.topk(2).indices.tolist())
    for score, reason in zip(scores, reasons, strict=True):
        assert sum(reason.parts.values()) == pytest.approx(float(score), rel=1e-5)


@pytest.mark.parametrize("name", ["rtfm-ucf-crime", "rtfm-shanghaitech", "rtfm-xd-violence"])
def test_presets(name: str) -> None:
    own, fit = split_keys(preset(name), RTFMConfig)
    config = make_config(RTFMConfig, own)
    assert fit["batch"] == 32 and fit["steps"] == 15_000
    assert config.dim == (1024 if "xd" in name else 2048)


# -- learning ------------------------------------------------------------------------------------
@pytest.mark.parametrize("compat", [False, True])
def test_planted_anomalies_are_found(compat: bool) -> None:
    one = small(compat=compat, dropout=0.3)  # 0.7 starves a head of 16 and 4 neurons
    trace = train(one, 80, size=8)
    assert np.mean(trace[-10:]) < 0.8 * np.mean(trace[:10])
    videos, frames = found(one)
    assert videos > 0.9 and frames > 0.9


def test_same_seed_same_trace() -> None:
    assert train(small(), 4, size=4) == train(small(), 4, size=4)
