"""jigsaw: the authors' networks and losses, windows that answer for the right frame, reasons."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_square
from torch import Tensor
from vectors import GOLDEN, fill, golden

from vigil import authors, bundle, run
from vigil.authors import import_checkpoint
from vigil.bundle import Model
from vigil.config import preset, split_keys
from vigil.errors import ConfigError, InputError, ModelError
from vigil.methods import _jigsaw_memory
from vigil.methods import _jigsaw_puzzle as puzzle
from vigil.methods._jigsaw_boxes import cut_sides
from vigil.methods._jigsaw_net import FourHead, Lean, Level, WideBranch, pairs_of
from vigil.methods._jigsaw_puzzle import as_input, framed
from vigil.methods._layers import nearest
from vigil.methods.base import make_config
from vigil.methods.jigsaw import Jigsaw, JigsawConfig, from_published, rows_loss
from vigil.records import Batch, Units

BARE = {"objects": "given", "frames": 3, "clips": 3, "width": 16, "short_side": 64,
        "pieces": "all", "shape": 0, "apart": False}  # fmt: skip
SMALL = {**BARE, "against": "truth"}


def published(name: str, part: str | None = None) -> dict[str, Tensor]:
    """An authors' state dict, filled by formula."""
    layout = json.loads((GOLDEN / "checkpoints" / f"jigsaw_{name}.json").read_text())
    spec = layout["tensors"][part] if part else layout["tensors"]
    made = fill.state(spec, 1, layout["gain"])
    return {key: torch.from_numpy(value) for key, value in made.items()}


def filled(state: dict[str, Tensor], **keys: object) -> Jigsaw:
    config, own = from_published(state, keys)
    method = Jigsaw(**config)
    method.set_tensors(own)
    return method.eval()


def black_border(x: np.ndarray, crc: int) -> Tensor:
    x = x.copy()
    x[..., :2, :] = x[..., -2:, :] = 0
    x[..., :2] = x[..., -2:] = 0
    assert fill.check(x) == crc
    return torch.from_numpy(x)


def right_odds(logits: Tensor) -> Tensor:
    """(n, M, M) to (n, M): -log of the probability that row m gives to m."""
    return -logits.log_softmax(2).diagonal(dim1=1, dim2=2)


def params(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def cubes(n: int, frames: int = 3, seed: int = 0) -> Tensor:
    shape = (n, frames, 3, 64, 64)
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=random).to(torch.uint8)


def units(x: Tensor, window: str = "cube") -> Units:
    n = np.arange(len(x))
    return Units(window, "v", {window: x}, n, n + 1, n + 4, np.zeros((len(x), 4), np.float32))


# -- the authors' numbers ------------------------------------------------------------------------
@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_papers_network(case: int) -> None:
    arrays, facts = golden("jigsaw_widebranch")
    f = facts["cases"][case]
    name, t = f"C{f['C']}T{f['T']}", f["T"]
    method = filled(published("widebranch", f"C{f['C']}_T{t}"))
    assert isinstance(method.net, WideBranch) and params(method.net) == f["params"]
    assert (method.config.frames, method.config.colour) == (t, f["C"] == 3)
    x = fill.uniform(f"jigsaw.cube.{name}", 1, (2, f["C"], t, 64, 64))
    x = black_border(x, f["crc"])
    with torch.no_grad():
        time, place = method.net.cube(x)
        trunk = method.net.trunk(x)
    np.testing.assert_allclose(time, arrays[f"{name}_temporal"], atol=5e-5)
    np.testing.assert_allclose(place, arrays[f"{name}_spatial"], atol=5e-5)
    np.testing.assert_allclose(trunk[:, ::4], arrays[f"{name}_trunk_sub"], atol=5e-5)
    for logits, key in ((place, "s"), (time, "t")):
        score = (-method.told(right_odds(logits))).exp()
        np.testing.assert_allclose(score, arrays[f"{name}_score_{key}"], rtol=1e-5)
    check_losses(time, place, f, arrays[f"{name}_loss_temporal"], arrays[f"{name}_loss_spatial"])


def check_losses(
    time: Tensor, place: Tensor, facts: dict, wanted_t: float, wanted_s: float
) -> None:  # type: ignore[type-arg]
    flag = torch.tensor(facts["temporal_flag"])
    times, places = (torch.tensor(facts[f"{k}_labels"]) for k in ("temporal", "spatial"))
    assert float(rows_loss(time[flag], times[flag])) == pytest.approx(float(wanted_t), abs=2e-5)
    assert float(rows_loss(place[~flag], places[~flag])) == pytest.approx(float(wanted_s), abs=2e-5)


def test_the_four_head_network() -> None:
    arrays, facts = golden("jigsaw_fourhead")
    method = filled(published("fourhead"))
    assert isinstance(method.net, FourHead) and params(method.net) == facts["params"]
    total = 0.0
    for level, start in (("cube", "frame"), ("clip", "clip")):
        f = facts["cases"][start]
        x = fill.uniform(f"fourhead.{start}", 1, (2, 1, method.net.length(level), 64, 64))
        with torch.no_grad():
            time, place = Level(method.net, level)(black_border(x, f["crc"]))
        np.testing.assert_allclose(time, arrays[f"{start}_temporal"], atol=5e-5)
        np.testing.assert_allclose(place, arrays[f"{start}_spatial"], atol=5e-5)
        wanted = [arrays[f"loss_{start}_{kind}"] for kind in ("temporal", "spatial")]
        check_losses(time, place, f, *wanted)
        total += float(sum(wanted))
    assert total == pytest.approx(float(arrays["loss_total"]), abs=2e-5)


# -- networks ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "colours", "frames", "clips"),
    [(Lean, 3, 3, 2), (Lean, 1, 5, 4), (Lean, 3, 9, 3), (FourHead, 1, 3, 2), (FourHead, 3, 5, 2)],
)
def test_any_odd_length_and_number_of_cubes(kind, colours, frames, clips) -> None:  # type: ignore[no-untyped-def]
    net = kind(colours, frames, clips).eval()
    with torch.no_grad():
        for level, side in (("cube", frames), ("clip", clips)):
            x = torch.rand(1, colours, net.length(level), 64, 64)
            time, place = Level(net, level)(x)
            assert time.shape == (1, side, side) and place.shape == (1, 9, 9)
            with pytest.raises(InputError, match=f"{level}: found shape .* expected"):
                Level(net, level)(x[:, :, :-1])
            with pytest.raises(InputError, match="found shape"):
                Level(net, level)(x[..., :60])


def test_ours_is_lean() -> None:
    assert params(Lean(3, 7, 5)) < 3_000_000
    assert "clip_time" not in dict(Lean(3, 7, 1).named_children())


@pytest.mark.parametrize("net", ["lean", "wide"])
def test_contrast_does_not_count_and_brightness_does(net: str) -> None:
    method = Jigsaw(objects="given", net=net).eval()
    x = framed(torch.rand(2, 7, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.8)
    x = x.transpose(1, 2)
    inside = (x > 0).float()
    with torch.no_grad():
        found = [torch.cat([p.flatten() for p in method.net.cube(v)])
                 for v in (x, x / 2, x + 0.2 * inside)]  # fmt: skip
    assert float((found[1] - found[0]).abs().max()) < 1e-3
    assert float((found[2] - found[0]).abs().max()) > 1e-3


# -- loss and score ------------------------------------------------------------------------------
def without_opinion(**keys: object) -> Jigsaw:
    """A method whose last layers are zero: every answer is equally likely."""
    method = Jigsaw(**{**SMALL, "levels": "frame,clip", "clips": 4, **keys})
    for module in method.net.modules():
        if isinstance(module, torch.nn.Linear) and module.out_features in (9, 4, 3):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return method


def test_without_opinion_losses_and_scores_are_those_of_chance() -> None:
    chance = {"spatial": 9, "temporal": 3, "clip_spatial": 9, "clip_temporal": 4}
    method = without_opinion()
    x = {"cube": cubes(4), "clip": cubes(4, 12)}
    with torch.no_grad():
        terms = method.loss(Batch(x=x))
    for name, n in chance.items():
        assert float(terms[name]) == pytest.approx(math.log(n), abs=1e-6)
        window = "clip" if name.startswith("clip") else "cube"
        for scale, value in (("log", math.log(n)), ("probability", 1 - 1 / n)):
            for rows in ("worst", "mean"):
                other = without_opinion(scale=scale, rows=rows)
                np.testing.assert_allclose(
                    other.score(units(x[window], window))[name].detach(), value, atol=1e-6
                )


def test_the_worst_row_decides() -> None:
    method = Jigsaw(**SMALL)
    sure = torch.eye(9)[None] * 50
    assert float(method.told(right_odds(sure))) == pytest.approx(0, abs=1e-6)
    wrong = sure.clone()
    wrong[0, 4] = wrong[0, 4].roll(1)
    assert float(method.told(right_odds(wrong))) > 40
    rows = torch.randn(20, 9, 9).softmax(2)
    odds = right_odds(rows.log())
    np.testing.assert_allclose((-method.told(odds)).exp(), np.diagonal(rows, 0, 1, 2).min(1), 1e-4)


def test_one_cube_is_one_puzzle_and_the_loss_is_finite() -> None:
    method = Jigsaw(**SMALL)
    found = set()
    for seed in range(12):
        torch.manual_seed(seed)
        terms = method.loss(Batch(x={"cube": cubes(1)}))
        assert len(terms) == 1 and all(v.isfinite() for v in terms.values())
        found |= set(terms)
    assert found == {"spatial", "temporal"}
    both = Jigsaw(**SMALL, shuffle="both").loss(Batch(x={"cube": cubes(1)}))
    assert set(both) == {"spatial", "temporal"}


def test_all_static_footage_is_learned_too() -> None:
    method = Jigsaw(**SMALL)
    still = cubes(6)[:, :1].expand(-1, 3, -1, -1, -1)
    assert all(v.isfinite() for v in method.loss(Batch(x={"cube": still})).values())


def test_the_order_of_units_does_not_matter() -> None:
    method = Jigsaw(**SMALL).eval()
    x, order = cubes(40), torch.randperm(40)
    with torch.no_grad():
        one, two = method.score(units(x)), method.score(units(x[order]))
    for name in one:
        torch.testing.assert_close(one[name][order], two[name])


# -- windows -------------------------------------------------------------------------------------
class Brightness(Jigsaw):
    """As odd as the frame that its windows say they answer for is bright."""

    def odds(self, units: Units) -> dict[str, Tensor]:
        anchor = self.windows[units.window].middle
        bright = units.x[units.window][:, anchor].float().mean((1, 2, 3))[:, None]
        return dict.fromkeys(self.channels[units.window], bright)


@pytest.mark.parametrize("objects", ["given", "frame"])
@pytest.mark.parametrize("answer", ["last", "centre"])
@pytest.mark.parametrize(("frames", "clips"), [(7, 5), (5, 4)])
def test_scores_lie_on_the_frame_they_answer_for(objects, answer, frames, clips) -> None:  # type: ignore[no-untyped-def]
    keys = {**SMALL, "frames": frames, "clips": clips, "persist": 0}
    method = Brightness(**{**keys, "objects": objects}, levels="frame,clip", answer=answer)
    half, length = frames // 2, frames * clips
    late = half if answer == "last" else length - 1 - length // 2
    assert method.lookahead == late
    model = Model("jigsaw", method, bundle.make_providers(method), {"fps": 10.0})
    scores = run.score_video(model, flashing(90, 60))
    for channel in ("spatial", "clip_temporal"):
        assert scores.channels[channel].argmax() == 60
    assert scores.score.argmax() == 60


def flashing(frames: int, at: int):  # type: ignore[no-untyped-def]
    """A video with one white frame."""
    from dataclasses import replace

    video = moving_square("flash", frames)

    def opened(short_side: int | None):  # type: ignore[no-untyped-def]
        for n, frame in enumerate(video.frames()):
            yield frame._replace(image=np.full_like(frame.image, 255)) if n == at else frame

    return replace(video, open=opened)


def test_frames_of_a_constant_video_are_alike() -> None:
    from dataclasses import replace

    video = moving_square("still", 40)
    first = next(iter(video.frames()))
    boxes = [video.given["objects"]()[0]] * 40
    still = replace(
        video,
        open=lambda side: (first._replace(time=n / 10) for n in range(40)),
        given={"objects": lambda: boxes},
    )
    method = Jigsaw(**{**SMALL, "persist": 0}, levels="frame,clip").eval()
    model = Model("jigsaw", method, bundle.make_providers(method), {"fps": 10.0})
    scores = run.score_video(model, still)
    for values in scores.channels.values():
        known = values[9:38]
        assert np.ptp(known) < 1e-5 and known[0] > 0


def test_every_other_frame_halves_the_cubes_and_answers_all() -> None:
    video = moving_square("every", 50)
    counts = []
    for every in (1, 2):
        method = Jigsaw(**{**SMALL, "persist": 0}, every=every)
        model = Model("jigsaw", method, bundle.make_providers(method), {"fps": 10.0})
        scores = run.score_video(model, video)
        assert len(scores) == 50 and scores.units is not None
        counts.append(len(scores.units))
    assert counts == [48, 25]  # the last one answers for a frame that no regular one does


@pytest.mark.parametrize(("shuffle", "idle"), [("time", "place"), ("place", "time")])
@pytest.mark.parametrize("pieces", ["all", "pairs"])
def test_a_puzzle_that_is_not_played_is_not_asked(shuffle: str, idle: str, pieces: str) -> None:
    keys = {**SMALL, "levels": "frame,clip", "pieces": pieces, "frames": 5, "clips": 3}
    both, alone = Jigsaw(**keys).eval(), Jigsaw(**keys, shuffle=shuffle).eval()
    alone.net.load_state_dict(both.net.state_dict())
    for head in (getattr(alone.net, idle), getattr(alone.net, f"clip_{idle}")):
        for weight in head.parameters():
            weight.data.fill_(torch.nan)
    for level, frames in (("cube", 5), ("clip", 15)):
        seen = units(cubes(2, frames), level)
        with torch.no_grad():
            wanted, found = both.score(seen), alone.score(seen)
        assert list(found) == list(alone.channels[level]) and len(found) == 1
        for name, score in found.items():
            torch.testing.assert_close(score, wanted[name])
        assert all(np.isfinite(reason.heat).all() for reason in alone.explain(seen))


# -- pairs, and answers held against normal ones ----------------------------------------------
PAIRS = {**BARE, "frames": 5, "levels": "frame,clip", "pieces": "pairs"}


def test_pairs_are_asked_for_one_by_one() -> None:
    net = Lean(1, 5, 3, 16, pairs=True).eval()
    assert pairs_of(5) == [(0, 2), (1, 3), (2, 4)] and pairs_of(2) == [(0, 1)]
    with torch.no_grad():
        x = torch.rand(2, 1, 5, 64, 64)
        time, _ = net.cube(x)
        for p, pair in enumerate(pairs_of(5)):
            alone = net.times(x[:, :, list(pair)], "cube")
            torch.testing.assert_close(time[:, 2 * p : 2 * p + 2], alone)
        x = torch.rand(2, 1, 15, 64, 64)
        time, _ = net.clip(x)
        for p, (one, two) in enumerate(pairs_of(3)):
            both = torch.cat([x[:, :, 5 * one : 5 * one + 5], x[:, :, 5 * two : 5 * two + 5]], 2)
            torch.testing.assert_close(time[:, 2 * p : 2 * p + 2], net.times(both, "clip"))


@pytest.mark.parametrize("level", ["cube", "clip"])
def test_heads_whose_units_all_fall_below_zero_still_learn(level: str) -> None:
    net = Lean(1, 5, 3, 16)
    for name, part in net.named_parameters():
        if name in (
            "time.0.bias",
            "clip_time.0.bias",
            "place.name.0.bias",
            "clip_place.name.0.bias",
        ):
            torch.nn.init.constant_(part, -1e3)
    x = torch.rand(2, 1, net.length(level), 64, 64)
    time, place = getattr(net, level)(x)
    (time.square().sum() + place.square().sum()).backward()
    head = {"cube": (net.time, net.place.name), "clip": (net.clip_time, net.clip_place.name)}[level]
    assert all(float(one[0].weight.grad.abs().sum()) > 0 for one in head)


def test_what_is_not_said_suits_what_is_seen() -> None:
    def told(**keys: object) -> tuple[object, ...]:
        c = JigsawConfig(**keys)  # type: ignore[arg-type]
        return c.pieces, c.against, c.shape, c.apart

    papers = ("all", "truth", 0, False)
    assert told() == told(objects="given") == ("pairs", "normal", 80, True)
    assert told(objects="frame") == told(net="wide") == told(levels="frame,clip") == papers
    assert told(against="truth", pieces="all") == papers
    assert told(shape=3, apart=False) == ("pairs", "normal", 3, False)


def test_of_a_pair_the_loss_asks_where_both_moments_were() -> None:
    class Spy(Jigsaw):
        def build(self, c: JigsawConfig) -> None:
            super().build(c)
            self.net.times = self.look  # type: ignore[method-assign]

        def look(self, x: Tensor, level: str) -> Tensor:
            """Knows the answer: frame t is of brightness 10 t."""
            assert x.shape[2] == 2
            at = (x[:, 0, :, 30, 30] * 255 / 10).round().long()  # (n, 2)
            return torch.nn.functional.one_hot(at, 5).float() * 50

    levels = torch.arange(5).mul(10).to(torch.uint8)
    x = levels.view(1, 5, 1, 1, 1).expand(8, 5, 3, 64, 64).contiguous()
    method = Spy(**{**PAIRS, "levels": "frame"}, shuffle="time")
    terms = method.loss(Batch(x={"cube": x}))
    assert set(terms) == {"temporal"} and float(terms["temporal"]) < 1e-6


@pytest.mark.parametrize("shuffle", ["one", "time", "place"])
def test_cubes_in_memory_are_no_distance_away_and_others_are(shuffle: str) -> None:
    method = Jigsaw(**PAIRS, against="normal", memory=30, shuffle=shuffle, colour=False)
    known = {"cube": cubes(20, 5), "clip": cubes(12, 15)}
    method.prepare(units(x, level) for level, x in known.items())
    method.train().fit_step(Batch(x=known), method.optimizers(), Tensor.backward)
    method.eval()
    with torch.no_grad():
        for level, x in known.items():
            for name, values in method.score(units(x, level)).items():
                assert name in method.channels[level] and float(values.min()) >= 0
                one = nearest(*2 * (method.sheets(method.coloured(x), level)[name],), 3)[0]
                torch.testing.assert_close(values, one.mean(1))
            other = method.score(units(cubes(6, x.shape[1], seed=9), level))
            assert all(float(v.min()) > 0 for v in other.values())
    reason = method.explain(units(known["cube"][:1]))[0]
    assert len(reason.parts) == len(method.channels["cube"]) and np.isfinite(reason.heat).all()


def test_normal_cubes_asked_in_parts_answer_as_all_at_once(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    keys = {**PAIRS, "levels": "frame", "against": "normal", "memory": 20, "apart": True}
    method, x = Jigsaw(**keys).eval(), cubes(30, 5)
    method.prepare([units(x[:9]), units(x[9:])])
    wanted = {name: tensor.clone() for name, tensor in method.tensors().items() if "known" in name}
    monkeypatch.setattr(_jigsaw_memory, "AT_ONCE", 7)  # 20 cubes: 7, 7, 6
    method.outdate()
    found = method.tensors()
    assert len(found["known.cube.temporal"]) == 20
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor)


def test_answers_in_memory_follow_the_weights_and_travel_with_them() -> None:
    keys = {**PAIRS, "levels": "frame", "against": "normal", "memory": 10}
    method, x = Jigsaw(**keys), cubes(16, 5)
    method.prepare([units(x[:9]), units(x[9:])])
    assert len(method.eval().tensors()["known.cube.temporal"]) == 10  # the lowest keys of 16
    before = method.tensors()["known.cube.temporal"]
    method.train().fit_step(Batch(x={"cube": x}), method.optimizers(), Tensor.backward)
    after = method.eval().tensors()["known.cube.temporal"]
    assert not torch.equal(before, after)
    other = Jigsaw(**keys)
    other.set_tensors(method.tensors())
    with torch.no_grad():
        for name, values in method.score(units(x)).items():
            assert torch.equal(values, other.eval().score(units(x))[name])
    with pytest.raises(ModelError, match="no answers to normal cubes"):
        Jigsaw(**keys).eval().score(units(x))


def test_answers_are_held_against_those_of_boxes_of_the_same_shape() -> None:
    keys = {**PAIRS, "levels": "frame", "against": "normal", "memory": 40, "shuffle": "time"}
    plain, method = Jigsaw(**keys).eval(), Jigsaw(**{**keys, "shape": 5}).eval()
    method.net.load_state_dict(plain.net.state_dict())
    x, size = cubes(30, 5), (100, 200)
    box = np.tile(np.array([[10, 10, 20, 30]], np.float32), (30, 1))
    normal = replace(units(x), box=box, size=size)
    for one in (plain, method):
        one.prepare([replace(normal, box=normal.box)])
    odd = box[:3] + np.array([[0, 0, 0, 0], [0, 0, 10, 20], [0, 0, 10, 0]], np.float32)
    asked = replace(units(cubes(3, 5, seed=7)), box=odd, size=size)
    with torch.no_grad():
        by_answer = plain.score(asked)["temporal"].double().square()
        told = method.score(asked)["temporal"].double().square()
    log2 = np.log(2) ** 2  # twice as high and wide; twice as wide and no higher
    apart = 25 * torch.tensor([0.0, log2, log2], dtype=torch.float64)
    rows = torch.cdist(method.sheets(method.coloured(asked.x["cube"]), "cube")["temporal"],
                       plain.known["cube"].temporal).double()  # fmt: skip
    wanted = (rows.square() + apart[:, None]).sqrt().sort(1).values[:, :3].mean(1).square()
    torch.testing.assert_close(told, wanted, rtol=1e-4, atol=1e-4)
    assert (told[1:] > by_answer[1:]).all()
    other = Jigsaw(**{**keys, "shape": 5})
    other.set_tensors(method.tensors())
    with torch.no_grad():
        assert torch.equal(other.eval().score(asked)["temporal"], method.score(asked)["temporal"])


def apart(one: Tensor, other: Tensor) -> Tensor:
    return (one.double()[:, None] - other.double()).square().sum(2).sqrt()


def test_things_that_the_edge_cuts_are_held_against_such() -> None:
    keys = {**PAIRS, "levels": "frame", "against": "normal", "memory": 90, "shuffle": "time"}
    method, x = Jigsaw(**{**keys, "apart": True}).eval(), cubes(60, 5)
    inside = np.array([30, 30, 50, 60], np.float32)
    sides = np.array([[0, 30, 20, 60], [30, 0, 50, 30], [180, 30, 199, 60], [30, 70, 50, 99]])
    box = np.tile(inside, (60, 1))
    box[:16] = np.tile(sides, (4, 1))
    films = [replace(units(x[n::2]), box=box[n::2], size=(100, 200), video=f"v{n}") for n in (0, 1)]
    assert cut_sides(films[0]).sum(0).tolist() == [4, 0, 4, 0]
    method.prepare(films)
    with torch.no_grad():
        scores = [method.score(film)["temporal"] for film in films]
        answers = [method.sheets(method.coloured(f.x["cube"]), "cube")["temporal"] for f in films]
    rows = [torch.cat([a, 20 * cut_sides(f)], 1) for a, f in zip(answers, films, strict=True)]
    across = apart(rows[0], rows[1])
    far = torch.cat([m.sort(1).values[:, :3].mean(1) for m in (across, across.T)])
    cut = torch.cat([cut_sides(film).any(1) for film in films])
    usual = torch.stack([far[~cut].median(), far[cut].median()])
    torch.testing.assert_close(
        method.known["cube"].temporal_usual.double(), usual, rtol=1e-4, atol=1e-4
    )
    own = apart(torch.cat(rows), torch.cat(rows)).sort(1).values[:, :3].mean(1)
    torch.testing.assert_close(
        torch.cat(scores).double(), own / usual[cut.long()], rtol=1e-4, atol=1e-4
    )
    few = Jigsaw(**{**keys, "apart": True}).eval()
    few.prepare([replace(films[0], video="v", box=np.tile(inside, (30, 1)))])
    with torch.no_grad():  # nothing cut was seen: told as if whole
        few.renew()
    usual = few.known["cube"].temporal_usual
    assert usual[0] == usual[1] > 0


# -- configuration -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"frames": 6}, "'frames': .*odd"),
        ({"net": "wide", "levels": "frame,clip"}, "'levels': .*cubes alone"),
        ({"net": "wide", "pieces": "pairs"}, "'pieces': .*only the network 'lean'"),
        ({"objects": "detector"}, "'objects': .*say which"),
        ({"objects": "frame", "against": "normal", "apart": True}, "'apart': .*is the picture"),
        ({"objects": "frame", "against": "normal", "shape": 1}, "'shape': .*is the picture"),
        ({"shape": 1, "against": "truth"}, "'shape': .*set against=normal"),
        ({"every": 5}, "'every': .*no score"),
        ({"levels": "views"}, "'levels'"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_config(JigsawConfig, keys)


@pytest.mark.parametrize("name", ["jigsaw-dad", "jigsaw-ped2", "jigsaw-paper"])
def test_presets(name: str) -> None:
    own, fit = split_keys(preset(name), JigsawConfig)
    method = Jigsaw(**own)
    assert set(fit) <= {"steps", "epochs", "batch", "lr", "precision", "val_every", "save_every"}
    if name == "jigsaw-dad":
        assert (fit["epochs"], fit["batch"], fit["lr"]) == (100, 64, 1e-4)
        assert method.windows["clip"].length == 35 and not method.config.colour


# -- published checkpoints -----------------------------------------------------------------------
def test_import_of_both_networks(tmp_path: Path) -> None:
    for name, part in (("widebranch", "C3_T9"), ("fourhead", None)):
        file, out = tmp_path / f"{name}.pth", tmp_path / name
        torch.save({f"module.{k}": v for k, v in published(name, part).items()}, file)
        import_checkpoint(file, "jigsaw", out, fps=10, objects="given")
        found = bundle.load(out).method
        wanted = filled(published(name, part))
        for key, value in wanted.state_dict().items():
            assert torch.equal(value, found.state_dict()[key]), key
    assert "jigsaw" in authors.LAYOUTS


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ModelError, match="no network of jigsaw"):
        from_published({"fc1.weight": torch.zeros(1)}, {})
    with pytest.raises(ModelError, match="these weights are of .*'frames': 9"):
        from_published(published("widebranch", "C3_T9"), {"frames": 7})


# -- explaining ----------------------------------------------------------------------------------
def test_reasons_name_the_tile_and_the_moment() -> None:
    class Told(Jigsaw):
        def odds(self, units: Units) -> dict[str, Tensor]:
            time, place = torch.zeros(len(units), 3), torch.zeros(len(units), 9)
            time[:, 1], place[:, 5] = 2.0, 6.0
            return {"spatial": place, "temporal": time}

    x = cubes(2)
    reasons = Told(**SMALL).explain(units(x))
    assert [list(r.parts) for r in reasons] == [
        ["spatial: tile middle right", "temporal: moment 2 of 3"]
    ] * 2
    assert list(reasons[0].parts.values()) == [6.0, 2.0]
    heat = reasons[0].heat
    assert heat.shape == (64, 64) and heat[22:42, 42:62].mean() > 2 * heat[22:42, 2:22].mean()
    seen = reasons[1].pictures["out of place"]
    np.testing.assert_array_equal(seen, x[1, 1].permute(1, 2, 0))


# -- learning ------------------------------------------------------------------------------------
def sprites(n: int, frames: int, seed: int) -> Tensor:
    """(n, frames, 3, 64, 64): a body with a head, a belt and shoes walks to the right."""
    random = np.random.default_rng(seed)
    x = random.integers(90, 110, (n, frames, 3, 64, 64)).astype(np.uint8)
    for k in range(n):
        start, speed = random.integers(4, 16), random.uniform(2.0, 3.0)
        for t in range(frames):
            at = int(start + speed * t)
            x[k, t, 0, 4:20, at + 8 : at + 20] = 230
            x[k, t, 1, 20:44, at : at + 24] = 200
            x[k, t, 2, 30:34, at : at + 24] = 20
            x[k, t, :, 44:60, at + 4 : at + 22] = 30
    return torch.from_numpy(x)


def test_what_it_learned_to_put_together_it_misses_when_it_is_wrong(tmp_path: Path) -> None:
    torch.manual_seed(0)
    keys = {**SMALL, "frames": 5, "width": 32, "flip": False, "levels": "frame"}
    method = Jigsaw(**keys).train()
    x = sprites(256, 5, 0)
    optimizers = method.optimizers()
    for step in range(200):
        rows = torch.arange(step * 16, step * 16 + 16) % 256
        terms = method.fit_step(Batch(x={"cube": x[rows]}), optimizers, Tensor.backward)
    assert float(terms["temporal"].detach()) < 0.25 * math.log(5)
    assert float(terms["spatial"].detach()) < 0.25 * math.log(9)
    method.eval()
    normal = sprites(100, 5, 1)
    swapped = puzzle.move_tiles(normal, torch.tensor([[6, 7, 8, 3, 4, 5, 0, 1, 2]]).repeat(100, 1))
    with torch.no_grad():
        usual, back, parts = (
            method.score(units(part)) for part in (normal, normal.flip(1), swapped)
        )
    assert float(back["temporal"].quantile(0.05)) > float(usual["temporal"].quantile(0.95))
    assert float(parts["spatial"].quantile(0.05)) > float(usual["spatial"].quantile(0.95))
    network, example = method.networks()["cube"]
    exported = torch.export.export(network, (example[0].repeat(2, 1, 1, 1, 1),))
    cube = as_input(framed(normal[:2]))
    with torch.no_grad():
        for one, two in zip(network(cube), exported.module()(cube), strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_steps_between_cubes_switch_off_the_mean_along_things() -> None:
    assert Jigsaw(every=2).persist == 0.0
    assert Jigsaw().persist == 0.25
