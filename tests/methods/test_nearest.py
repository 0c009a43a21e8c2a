"""`nearest`: planted oddities score above all normals; the memory is exact and orderless."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from vigil import bundle
from vigil.bundle import Model, make_providers
from vigil.errors import ConfigError, InputError
from vigil.methods._layers import nearest, velocity
from vigil.methods.nearest import MAP, Nearest
from vigil.records import Units

SIZE, SIDE, FPS = (240, 360), 16, 10.0


def walkers(
    video: str = "a", scene: str = "s", n: int = 120, seed: int = 0, *, lane: float = 200.0,
    speed: float = 2.0, high: float = 40.0, stayed: float = 0.0, lying: bool = False,
) -> Units:  # fmt: skip
    """Boxes of walkers along one lane, to the right at about `speed` pixels a frame."""
    random = np.random.default_rng([seed, *video.encode()])
    left, tall = random.uniform(20, 340, n), high * random.normal(1, 0.05, n)
    foot, pace = lane + random.normal(0, 3, n), speed * random.normal(1, 0.1, n)
    flow = np.zeros((n, 1, 2, SIDE, SIDE), np.float32)
    flow[:, :, 0, :, 4:12] = pace[:, None, None, None]
    flow += random.normal(0, 0.05, flow.shape).astype(np.float32)
    image = np.full((n, 1, 3, SIDE, SIDE), 150.0)
    image[..., :, 5:11] = random.uniform(30, 80, (n, 1, 1, 1, 1))
    image += random.normal(0, 2, image.shape)
    image = image.swapaxes(-1, -2) if lying else image
    seconds = stayed + random.uniform(0.1, 0.8, n)
    track = np.stack([pace * FPS / tall, random.normal(0, 0.1, n), seconds], 1)  # (n, 3)
    x = {"box": np.ascontiguousarray(image.clip(0, 255).astype(np.uint8)), "box.flow": flow}
    x["box.track"] = track.astype(np.float32)
    box = np.stack([left, foot - tall, left + 0.4 * tall, foot], 1).astype(np.float32)
    return units("box", video, scene, x, box)


def motion(
    video: str = "a", scene: str = "s", n: int = 60, seed: int = 0, *, row: int = 20,
    speed: float = 2.0, column: int | None = None,
) -> Units:  # fmt: skip
    """Frames in which one walker of 5x5 cells is at `row`, anywhere or at `column`."""
    random = np.random.default_rng([seed, *video.encode()])
    flow = random.normal(0, 0.02, (n, 1, 2, *MAP)).astype(np.float32)
    for one in flow:
        at = int(random.integers(0, 43)) if column is None else column
        one[0, 0, row : row + 5, at : at + 5] = speed * random.normal(1, 0.05)
    image = random.integers(0, 255, (n, 1, 3, *MAP), dtype=np.uint8)
    whole = np.tile(np.array([0, 0, SIZE[1], SIZE[0]], np.float32), (n, 1))
    return units("whole", video, scene, {"whole": image, "whole.flow": flow}, whole)


def units(window: str, video: str, scene: str, x: dict[str, np.ndarray], box: np.ndarray) -> Units:
    frames, tensors = np.arange(len(box)), {k: torch.from_numpy(v) for k, v in x.items()}
    return Units(window, video, tensors, frames, frames + 1, frames + 1, box, scene, SIZE)


def video(name: str, scene: str = "s", **keys) -> list[Units]:
    """What `prepare` gets of one video."""
    return [walkers(name, scene, **keys), motion(name, scene)]


def four() -> list[Units]:
    return [*video("a"), *video("b"), *video("c", lane=150), *video("d", "t", lane=120)]


def fitted(bags: Iterable[Units] | None = None, **keys) -> Nearest:
    method = Nearest(crop=SIDE, **keys).eval()
    method.prepare([*video("a"), *video("b"), *video("c")] if bags is None else bags)
    return method


def manner(method: Nearest, boxes: Units) -> torch.Tensor:
    return method.score(boxes)["manner"]


def rush(method: Nearest, frames: Units) -> torch.Tensor:
    return method.score(frames)["rush"]


# -- what is odd -----------------------------------------------------------------------------------
PLANTED = {
    "faster": {"speed": 5.0},
    "wrong way": {"speed": -2.0},
    "standing": {"speed": 0.0},
    "bigger": {"high": 80.0},
    "smaller": {"high": 18.0},
    "other look": {"lying": True},
    "new place": {"lane": 100.0},
    "staying long": {"stayed": 6.0},
}


@pytest.mark.parametrize("what", PLANTED)
def test_planted_oddities_score_above_all_normals(what: str) -> None:
    method, normal = fitted(), walkers("val", seed=5)
    odd = walkers("odd", seed=6, n=20, **PLANTED[what])
    assert manner(method, odd).min() > manner(method, normal).max()


def test_brightness_and_contrast_hardly_change_the_score() -> None:
    method, one = fitted(), walkers("val", n=20)
    image = (one.x["box"].float() * 0.7 + 20).to(torch.uint8)
    two = Units(
        "box", "val", {**one.x, "box": image}, one.first, one.stop, one.seen_stop, one.box, "s",
        SIZE,
    )  # fmt: skip
    torch.testing.assert_close(manner(method, one), manner(method, two), atol=0.1, rtol=0)


def test_a_fast_patch_is_a_rush_and_the_heat_is_there() -> None:
    method, fast = fitted(), motion("odd", n=5, speed=6.0, column=30)
    assert rush(method, fast).min() > 2 * rush(method, motion("val", seed=3)).max()
    for reason in method.explain(fast):
        row, column = np.unravel_index(reason.heat.argmax(), reason.heat.shape)
        assert reason.heat.shape == MAP and 20 <= row < 25 and 30 <= column < 35
        assert reason.heat[:15].max() == 0


def test_walking_where_nobody_walked_is_no_rush() -> None:
    method = fitted()
    new, known = motion("new", row=4), motion("val", seed=3)
    usual = float(method.at("s").usual[4:9].mean()) * SIZE[0]  # pixels a frame
    assert usual == pytest.approx(2.0, rel=0.1)  # the usual peak of a frame, everywhere
    assert rush(method, new).median() < 1.05 and rush(method, new).max() < 1.25
    assert rush(method, known).median() < 1.05


def test_what_is_usual_is_learned_place_by_place() -> None:
    """Fast traffic on one row of the picture does not make fast motion usual on another."""
    road = motion("road", n=200, speed=8.0, row=25, column=20)
    slow = [motion(name, n=300) for name in "abc"]
    method = fitted([road, *slow])
    assert rush(method, motion("x", n=9, speed=8.0, row=25, column=20)).max() < 1.3
    assert rush(method, motion("x", n=9, speed=8.0, row=4, column=20)).min() > 2


# -- the search ------------------------------------------------------------------------------------
@pytest.mark.parametrize("k", [1, 3])
def test_scores_equal_scikit_learn(k: int) -> None:
    method, probe = fitted(k=k), walkers("val", seed=5)
    index = method.at("s")
    points = index.points(method.describe(probe)).numpy()
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(index.memory.numpy())
    truth, at = search.kneighbors(points)
    near, row = method.search(probe)
    np.testing.assert_allclose(near.numpy(), truth, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(row.numpy(), at)
    np.testing.assert_allclose(manner(method, probe).numpy(), truth.mean(1), rtol=1e-4)


@pytest.mark.parametrize("k", [1, 4])
def test_distances_equal_scikit_learn_far_from_zero(k: int) -> None:
    random = np.random.default_rng(0)
    memory = random.normal(30, 1, (700, 9)).astype(np.float32)
    query = random.normal(30, 1, (1500, 9)).astype(np.float32)
    query[:5] = memory[:5]  # distance zero
    near, row = nearest(torch.from_numpy(query), torch.from_numpy(memory), k)
    truth, at = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(memory).kneighbors(query)
    np.testing.assert_allclose(near.numpy(), truth, atol=2e-4)
    assert (row.numpy() == at).mean() > 0.999 and (near[:5, 0] == 0).all()


def test_fewer_rows_than_neighbours() -> None:
    near, row = nearest(torch.zeros(2, 3), torch.tensor([[3.0, 4, 0]]), k=3)
    assert near.tolist() == [[5, 5, 5]] * 2 and row.tolist() == [[0, 0, 0]] * 2


def test_velocity_of_the_fastest_half() -> None:
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    flow[0, :, 1, 1] = torch.tensor([0.0, -1.0])
    torch.testing.assert_close(velocity(flow, 0.5), torch.tensor([[1.5, 1.5, 3.0]]))


# -- the memory ------------------------------------------------------------------------------------
def content(method: Nearest) -> dict[str, torch.Tensor | list[str]]:
    """The memory with names in place of numbers, in the order of keys."""
    boxes, maps = method.boxes(), method.maps()
    by, order = boxes.key.argsort(), maps.key.argsort()
    found: dict[str, torch.Tensor | list[str]] = {
        "videos": [method.names[int(i)] for i in boxes.video[by]],
        "scenes": [method.places[int(i)] for i in boxes.scene[by]],
        "map scenes": [method.places[int(i)] for i in maps.scene[order]],
    }
    numbered = ("video", "scene")
    found |= {k: v[by] for k, v in boxes._asdict().items() if k not in numbered}
    return found | {f"map {k}": v[order] for k, v in maps._asdict().items() if k not in numbered}


def same_content(one: Nearest, two: Nearest) -> None:
    for (name, first), second in zip(content(one).items(), content(two).values(), strict=True):
        same = first == second if isinstance(first, list) else torch.equal(first, second)
        assert same, name


def same(one: Nearest, two: Nearest) -> None:
    """Bit for bit: every tensor, every fact, every score."""
    assert one.facts() == two.facts() and one.tensors().keys() == two.tensors().keys()
    for name, value in one.tensors().items():
        assert torch.equal(value, two.tensors()[name]), name
    for scene in ("s", "t", "elsewhere"):
        assert torch.equal(*(manner(m, walkers("val", scene, seed=9)) for m in (one, two)))
        assert torch.equal(*(rush(m, motion("val", scene, seed=9)) for m in (one, two)))


def test_order_of_videos_and_pieces_does_not_matter() -> None:
    pieces = [bag[i : i + 50] for bag in four() for i in (0, 50, 100)]
    small = {"rows": 64, "maps": 16}
    same_content(fitted(four(), **small), fitted(pieces[::-1], **small))
    same_content(fitted(four()), fitted(pieces[::-1]))


@pytest.mark.parametrize("cap", [{"rows": 64, "maps": 16}, {}])
def test_extend_equals_fit_on_all(cap: dict[str, int]) -> None:
    method = fitted(four()[:4], **cap)
    method.score(walkers("val"))  # what is known of a scene is made anew after an extension
    method.extend(iter(four()[4:]))
    same(fitted(four(), **cap), method)


def test_the_same_footage_again_changes_nothing() -> None:
    method = fitted(four())
    method.extend(iter(four()[:2]))
    same_content(fitted(four()), method)


def test_prepare_starts_over() -> None:
    method = fitted(four())
    method.prepare(video("d", "t"))
    same(fitted(video("d", "t")), method)


def test_memory_is_capped_for_each_scene_by_the_lowest_keys() -> None:
    method, whole = fitted(four(), rows=50, maps=9), fitted(four())
    boxes, maps = method.boxes(), method.maps()
    assert torch.bincount(boxes.scene).tolist() == [50, 50]
    assert torch.bincount(maps.scene).tolist() == [9, 9]
    for scene in (0, 1):
        for own, all_ in ((boxes, whole.boxes()), (maps, whole.maps())):
            lowest = all_.key[all_.scene == scene].sort().values
            kept = own.key[own.scene == scene]
            assert torch.equal(kept, lowest[: len(kept)])


def test_seed_chooses_the_rows() -> None:
    one, two = fitted(rows=32, seed=1), fitted(rows=32, seed=2)
    same(one, fitted(rows=32, seed=1))
    assert not set(one.boxes().key.tolist()) & set(two.boxes().key.tolist())


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    one = fitted(four(), rows=64, seed=3)
    model = Model("nearest", one, make_providers(one), {"fps": FPS})
    two = bundle.load(bundle.save(model, tmp_path / "model")).method
    assert isinstance(two, Nearest) and two.config == one.config
    same(one, two)
    two.extend(video("e"))  # and goes on from there
    one.extend(video("e"))
    same(one, two)


def test_a_loaded_memory_replaces_the_one_in_use() -> None:
    one, two = fitted(four()), fitted(video("x", lane=80))
    manner(two, walkers("val"))
    two.set_tensors(one.tensors())
    two.set_facts(one.facts())
    same(one, two)


# -- scenes, sizes, batches ------------------------------------------------------------------------
def test_what_is_normal_depends_on_the_scene() -> None:
    """The same fast vehicle is normal on the road and not on the walkway."""
    bags = [*video("r1", "road", speed=8), *video("r2", "road", speed=8)]
    method = fitted([*bags, *video("w1", "walkway"), *video("w2", "walkway")])
    scores = {
        scene: manner(method, walkers("x", scene, speed=8, seed=3))
        for scene in ("road", "walkway", "elsewhere")
    }
    assert scores["walkway"].min() > scores["road"].max()
    assert scores["elsewhere"].max() < scores["walkway"].min()
    index = method.at("elsewhere")  # never seen: compared with everything
    assert torch.equal(index.rows, torch.arange(4 * 120)) and len(index.memory) == 480


@pytest.mark.parametrize(("scale", "pixels"), [(2.0, 1.0), (0.5, 0.5)])
def test_same_speed_in_frame_heights_whatever_size_is_read(scale: float, pixels: float) -> None:
    """A video of twice the size is read at the same short side: boxes double, flow does not. One
    of half the size is read as it is: both halve."""
    method = fitted()
    for one in (walkers("val", n=20), motion("val", n=20)):
        key = f"{one.window}.flow"
        size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
        two = Units(
            one.window, "val", {**one.x, key: one.x[key] * pixels}, one.first, one.stop,
            one.seen_stop, one.box * np.float32(scale), "s", size,
        )  # fmt: skip
        for channel, value in method.score(one).items():
            torch.testing.assert_close(value, method.score(two)[channel], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [walkers, motion])
def test_rows_do_not_depend_on_their_batch(make) -> None:
    method, probe = fitted(), make("val", seed=5)
    whole = method.score(probe)
    for channel, value in method.score(probe[7:9]).items():
        torch.testing.assert_close(value, whole[channel][7:9], rtol=1e-5, atol=1e-6)
    assert all(len(value) == 0 for value in method.score(probe[0:0]).values())


# -- explaining ------------------------------------------------------------------------------------
def test_like_is_truly_the_nearest_example() -> None:
    method = fitted()
    for i, reason in enumerate(method.explain(walkers("b")[0:30])):  # exactly what was learned
        assert reason.like == ("b", i)
        np.testing.assert_array_equal(reason.pictures["seen"], reason.pictures["nearest normal"])
    probe, index, boxes = walkers("val", seed=5), method.at("s"), method.boxes()
    points = index.points(method.describe(probe)).double()
    best = torch.cdist(points, index.memory.double()).argmin(1)
    for reason, row in zip(method.explain(probe), best, strict=True):
        assert reason.like == (method.names[int(boxes.video[row])], int(boxes.frame[row]))


def test_like_comes_from_the_same_scene() -> None:
    method = fitted([*video("a", "s"), *video("b", "t")])
    for scene, name in (("s", "a"), ("t", "b")):
        known = walkers(name, scene)[0:9]
        assert [reason.like for reason in method.explain(known)] == [(name, i) for i in range(9)]


def test_parts_sum_to_the_distance() -> None:
    method, probe = fitted(), walkers("odd", seed=6, n=9, speed=9.0)
    for reason, score in zip(method.explain(probe), manner(method, probe), strict=True):
        assert set(reason.parts) == {"place", "size", "motion", "stay", "look"}
        assert sum(reason.parts.values()) == pytest.approx(float(score), rel=1e-5)
        assert max(reason.parts, key=reason.parts.__getitem__) == "motion"


def test_heat_of_a_box_is_where_it_moves_or_looks_odd() -> None:
    method = fitted()
    for reason in method.explain(walkers("odd", seed=6, n=5, speed=9.0)):
        assert reason.heat.shape == (SIDE, SIDE) and np.isfinite(reason.heat).all()
        assert reason.heat[:, 4:12].mean() > 3 * reason.heat[:, [0, 1, 14, 15]].mean()
    odd = walkers("odd", seed=6, n=5)
    odd.x["box"][..., 8:, :] = odd.x["box"][..., 8:, :].flip(-2).roll(5, -1)  # the lower half
    for reason in method.explain(odd):
        assert reason.parts["look"] == max(reason.parts.values())
        assert reason.heat[10:].mean() > reason.heat[:6].mean()


# -- nothing to go by ------------------------------------------------------------------------------
@pytest.mark.parametrize("scene", ["s", "elsewhere"])
def test_any_object_is_odd_where_none_ever_was(scene: str) -> None:
    method, probe = fitted([walkers(n=0), motion()]), walkers("val", scene, n=3)
    assert manner(method, probe).tolist() == [1, 1, 1]
    assert len(method.explain(probe)) == 3


def test_any_object_is_odd_in_a_scene_without_objects() -> None:
    """Other scenes of the same memory may well have had some."""
    method = fitted([*video("a"), walkers("e", "empty", n=0), motion("e", "empty")])
    probe = walkers("val", "empty", n=3)
    assert manner(method, probe).tolist() == [1, 1, 1]
    assert len(method.explain(probe)) == 3
    assert manner(method, walkers("val", "elsewhere", n=3)).max() < 3


@pytest.mark.parametrize("make", [walkers, motion])
def test_no_memory_is_said(make) -> None:
    for ask in (Nearest(crop=SIDE).score, Nearest(crop=SIDE).explain):
        with pytest.raises(InputError, match="no memory"):
            ask(make())
    with pytest.raises(InputError, match="no frame"):
        fitted([])


def test_the_page_tells_every_default() -> None:
    page = (Path(__file__).parents[2] / "docs/methods/nearest.md").read_text(encoding="utf-8")
    for key, value in dataclasses.asdict(Nearest().config).items():
        assert f"| `{key}` | `{value}` |" in page, key


def test_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'rows'"):
        Nearest(row=3)
