"""`nearest`: planted oddities score above all normals; the memory is exact and orderless."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from vigil.errors import ConfigError, InputError
from vigil.methods.nearest import Nearest, nearest, velocity
from vigil.records import Units

SIZE = (240, 360)
SIDE = 16


def street(
    video: str = "a", scene: str = "s", n: int = 120, seed: int = 0, *, lane: float = 200.0,
    speed: float = 2.0, high: float = 40.0, x: tuple[float, float] = (20, 340),
) -> Units:  # fmt: skip
    """Boxes of walkers along one lane, all to the right at about `speed` pixels a frame."""
    random = np.random.default_rng([seed, *video.encode()])
    left = random.uniform(*x, n)
    tall = high * random.normal(1, 0.05, n)
    foot = lane + random.normal(0, 3, n)
    box = np.stack([left, foot - tall, left + 0.4 * tall, foot], 1).astype(np.float32)
    flow = np.zeros((n, 1, 2, SIDE, SIDE), np.float32)
    flow[:, :, 0, :, 4:12] = (speed * random.normal(1, 0.1, n))[:, None, None, None]
    flow += random.normal(0, 0.05, flow.shape).astype(np.float32)
    image = np.full((n, 1, 3, SIDE, SIDE), 150.0)
    image[..., :, 5:11] = random.uniform(30, 80, (n, 1, 1, 1, 1))
    image += random.normal(0, 2, image.shape)
    x_ = {"box": image.clip(0, 255).astype(np.uint8), "box.flow": flow}
    frames = np.arange(n)
    return Units(
        "box", video, {key: torch.from_numpy(value) for key, value in x_.items()},
        frames, frames + 1, frames + 1, box, scene, SIZE,
    )  # fmt: skip


def fitted(bags: Iterable[Units] | None = None, **keys) -> Nearest:
    method = Nearest(crop=SIDE, **keys).eval()
    method.prepare([street("a"), street("b"), street("c")] if bags is None else bags)
    return method


def total(method: Nearest, units: Units) -> torch.Tensor:
    return torch.stack(list(method.score(units).values())).mean(0)


PLANTED = {
    "faster": ("motion", {"speed": 5.0}),
    "wrong way": ("motion", {"speed": -2.0}),
    "standing": ("motion", {"speed": 0.0}),
    "bigger": ("size", {"high": 70.0}),
    "smaller": ("size", {"high": 22.0}),
    "new place": ("motion", {"lane": 90.0}),
}


@pytest.mark.parametrize("what", PLANTED)
def test_planted_oddities_score_above_all_normals(what: str) -> None:
    channel, keys = PLANTED[what]
    method = fitted()
    normal, odd = street("val", seed=5), street("odd", seed=6, n=20, **keys)
    assert method.score(odd)[channel].min() > method.score(normal)[channel].max()
    assert total(method, odd).min() > total(method, normal).max()


def test_new_look_scores_above_all_normals() -> None:
    method, normal, odd = fitted(), street("val", seed=5), street("odd", seed=6, n=20)
    odd.x["box"][:] = odd.x["box"].transpose(-1, -2).clone()  # lies where others stand
    assert method.score(odd)["look"].min() > method.score(normal)["look"].max()


def test_brightness_and_contrast_hardly_change_the_look() -> None:
    method, one = fitted(), street("val", n=20)
    two = one[slice(None)]
    two.x["box"][:] = (one.x["box"].float() * 0.7 + 20).to(torch.uint8)
    gap = (method.score(one)["look"] - method.score(two)["look"]).abs()
    assert gap.max() < 0.5


@pytest.mark.parametrize("k", [1, 4])
def test_distances_equal_scikit_learn(k: int) -> None:
    random = np.random.default_rng(0)
    memory = random.normal(3, 1, (700, 9)).astype(np.float32)
    query = random.normal(3, 1, (1500, 9)).astype(np.float32)
    query[:5] = memory[:5]  # distance zero
    near, row = nearest(torch.from_numpy(query), torch.from_numpy(memory), k)
    truth, at = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(memory).kneighbors(query)
    np.testing.assert_allclose(near.numpy(), truth, atol=2e-5)
    assert (row.numpy() == at).mean() > 0.999 and (near[:5, 0] == 0).all()


def test_fewer_rows_than_neighbours() -> None:
    near, row = nearest(torch.zeros(2, 3), torch.tensor([[3.0, 4, 0]]), k=3)
    assert near.tolist() == [[5, 5, 5]] * 2 and row.tolist() == [[0, 0, 0]] * 2


def test_velocity_of_the_fastest_half() -> None:
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    flow[0, :, 1, 1] = torch.tensor([0.0, -1.0])
    torch.testing.assert_close(velocity(flow, 0.5), torch.tensor([[1.5, 1.5, 3.0]]))


def same(one: Nearest, two: Nearest) -> None:
    for key, value in one.tensors().items():
        if key != "video" and key != "scene":  # numbered in order of coming
            torch.testing.assert_close(value, two.tensors()[key], rtol=0, atol=0)
    names = [[m.names[int(i)] for i in m.video] for m in (one, two)]
    assert names[0] == names[1]
    probe = street("val", seed=9)
    for channel, value in one.score(probe).items():
        torch.testing.assert_close(value, two.score(probe)[channel], rtol=0, atol=0)


def pieces() -> list[Units]:
    return [street("a"), street("b"), street("c", lane=150), street("d", "t", lane=120)]


def test_order_of_videos_and_pieces_does_not_matter() -> None:
    bags = pieces()
    cut = [part[slice(i, i + 50)] for part in bags for i in (0, 50, 100)]
    same(fitted(bags, rows=64), fitted(cut[::-1], rows=64))


def test_extend_equals_fit_on_all() -> None:
    bags, method = pieces(), fitted(pieces()[:2], rows=64)
    method.extend(iter(bags[2:]))
    same(fitted(bags, rows=64), method)


def test_prepare_starts_over() -> None:
    method = fitted(pieces())
    method.prepare(pieces()[:1])
    same(fitted(pieces()[:1]), method)


def test_memory_is_capped_with_equal_shares_for_scenes() -> None:
    method = fitted(pieces(), rows=64)
    assert len(method.key) == 64
    assert torch.bincount(method.scene).tolist() == [32, 32]


def test_seed_chooses_the_rows() -> None:
    same(fitted(rows=32, seed=1), fitted(rows=32, seed=1))
    assert not torch.equal(fitted(rows=32, seed=1).key, fitted(rows=32, seed=2).key)


def test_what_is_normal_depends_on_the_scene() -> None:
    """The same fast vehicle is normal on the road and not on the walkway."""
    method = fitted([
        street("r1", "road", speed=8), street("r2", "road", speed=8),
        street("w1", "walkway"), street("w2", "walkway"),
    ])  # fmt: skip
    score = {
        scene: method.score(street("x", scene, speed=8, seed=3))["motion"]
        for scene in ("road", "walkway", "elsewhere")
    }
    assert score["walkway"].min() > score["road"].max()
    assert score["elsewhere"].median() < score["walkway"].min()  # unknown: compared with all


def test_same_speed_in_frame_heights_whatever_size_is_read() -> None:
    """A video of twice the size is read at the same short side: boxes double, flow does not."""
    method, one = fitted(), street("val", n=20)
    two = Units(
        "box", "val", one.x, one.first, one.stop, one.seen_stop, one.box * 2, "s", (480, 720)
    )
    for channel, value in method.score(one).items():
        torch.testing.assert_close(value, method.score(two)[channel], rtol=1e-4, atol=1e-4)


def test_rows_do_not_depend_on_their_batch() -> None:
    method, units = fitted(), street("val", seed=5)
    whole = method.score(units)
    for channel, value in method.score(units[slice(7, 9)]).items():
        torch.testing.assert_close(value, whole[channel][7:9], rtol=1e-5, atol=1e-6)
    assert all(len(value) == 0 for value in method.score(units[slice(0, 0)]).values())


def test_like_is_truly_the_nearest_example() -> None:
    method = fitted()
    known = street("b")  # exactly what was learned
    for i, reason in enumerate(method.explain(known[slice(0, 30)])):
        assert reason.like == ("b", i)
        np.testing.assert_array_equal(reason.pictures["seen"], reason.pictures["nearest normal"])
        assert reason.heat.shape == (SIDE, SIDE) and np.isfinite(reason.heat).all()


def test_parts_sum_to_the_score_and_heat_is_where_it_moves() -> None:
    method, odd = fitted(), street("odd", seed=6, n=5, speed=9.0)
    raw = total(method, odd)
    for i, reason in enumerate(method.explain(odd)):
        assert sum(reason.parts.values()) == pytest.approx(float(raw[i]), rel=1e-5)
        assert max(reason.parts, key=reason.parts.__getitem__) == "motion"
        assert reason.parts["speed"] > max(reason.parts["size"], reason.parts["look"])
        assert reason.heat[:, 4:12].mean() > 3 * reason.heat[:, [0, 1, 14, 15]].mean()


def test_saved_and_loaded_it_is_the_same() -> None:
    one, two = fitted(pieces()), Nearest(crop=SIDE).eval()
    two.set_tensors(one.tensors())
    two.set_facts(one.facts())
    same(one, two)


def test_no_objects_or_no_memory_is_said() -> None:
    with pytest.raises(InputError, match="no object"):
        fitted([street(n=0)])
    with pytest.raises(InputError, match="no memory"):
        Nearest(crop=SIDE).score(street())


def test_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'rows'"):
        Nearest(row=3)
