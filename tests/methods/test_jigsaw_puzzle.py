"""Puzzles: the authors' samples, round trips, even draws, the rule for what does not move."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from vectors import fill, golden

from vigil.errors import InputError
from vigil.methods import _jigsaw_puzzle as puzzle


def cubes(n: int = 4, frames: int = 7, colours: int = 1, seed: int = 0) -> Tensor:
    """(n, frames, colours, 64, 64) uint8, every value different from its neighbours'."""
    shape = (n, frames, colours, 64, 64)
    return torch.randint(1, 256, shape, generator=seeded(seed)).to(torch.uint8)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def house(x: np.ndarray) -> Tensor:
    """The authors' (C, T, 64, 64) as one cube (1, T, C, 64, 64)."""
    return torch.from_numpy(x).transpose(0, 1)[None]


def theirs(x: Tensor) -> np.ndarray:
    return x[0].transpose(0, 1).numpy()


# -- the authors' numbers ------------------------------------------------------------------------
def test_cubes_equal_the_authors() -> None:
    arrays, facts = golden("jigsaw_puzzle")
    t = facts["T"]
    x = house(fill.uniform("jigsaw.puzzle", 1, (3, t, 64, 64)))
    tiles, times = (torch.tensor(facts[key])[None] for key in ("tile_perm", "time_perm"))
    same9, same = torch.arange(9)[None], torch.arange(t)[None]
    moved = puzzle.move_tiles(x, tiles)
    np.testing.assert_array_equal(theirs(moved)[:, ::3], arrays["tiles"])
    still = np.repeat(theirs(x)[:, :1], t, 1) + fill.uniform(
        "jigsaw.jitter", 1, (3, t, 64, 64), 0, 0.05
    )
    still = house(still.astype(np.float32).clip(0, 1))
    assert puzzle.is_static(puzzle.framed(still), facts["threshold"]).all()
    assert not puzzle.is_static(x, facts["threshold"]).any()
    made = {
        "temporal": (puzzle.reorder(puzzle.framed(x), times), times, same9),
        "spatial": (moved, same, tiles),
        "static_temporal": (puzzle.framed(still), same, same9),
        "test": (puzzle.framed(x), same, same9),
    }
    for name, (cube, time, place) in made.items():
        np.testing.assert_array_equal(theirs(cube)[..., ::2, ::2], arrays[f"{name}_cube"])
        np.testing.assert_array_equal(place[0], arrays[f"{name}_label_s"])
        if arrays[f"{name}_flag"]:  # else theirs holds a draw that was not used
            np.testing.assert_array_equal(time[0], arrays[f"{name}_label_t"])


def test_clips_equal_the_authors() -> None:
    arrays, facts = golden("jigsaw_longclip_puzzle")
    parts = [fill.uniform(f"dad.cube{i}", 1, (1, 7, 64, 64)) for i in range(5)]
    x = house(np.concatenate(parts, 1))
    blocks, tiles = (torch.tensor(facts[key])[None] for key in ("block_perm", "tile_perm"))
    moved = theirs(puzzle.move_tiles(x, tiles))[:, ::6, ::2, ::2]
    np.testing.assert_array_equal(moved, arrays["spatial_clip_sub"])
    np.testing.assert_array_equal(tiles[0], arrays["spatial_label_s"])
    shuffled = puzzle.reorder(puzzle.framed(x), blocks)
    sub = theirs(shuffled)[:, ::6, ::2, ::2]
    inner = np.s_[..., 1:31, 1:31]  # their border stays here; ours is black always
    np.testing.assert_array_equal(sub[inner], arrays["temporal_clip_sub"][inner])
    np.testing.assert_array_equal(blocks[0], arrays["temporal_label_t"])
    assert not sub[..., 0, :].any() and arrays["temporal_clip_sub"][..., 0, :].any()


# -- place ---------------------------------------------------------------------------------------
def test_tiles_go_there_and_back() -> None:
    x = cubes(5)
    same = torch.arange(9).expand(5, 9)
    untouched = puzzle.move_tiles(x, same)
    assert torch.equal(untouched, puzzle.framed(x))
    assert torch.equal(untouched[..., 2:62, 2:62], x[..., 2:62, 2:62])
    border = untouched.clone()
    border[..., 2:62, 2:62] = 0
    assert not border.any()
    place = puzzle.permutations(5, 9, seeded(1))
    moved = puzzle.move_tiles(x, place)
    assert torch.equal(puzzle.move_tiles(moved, place.argsort(1)), untouched)
    assert torch.equal(moved.flatten(1).sort(1).values, untouched.flatten(1).sort(1).values)
    for n in range(5):
        for j in range(9):
            at = int(place[n, j])
            was = x[n, ..., 2 + 20 * (j // 3) :, 2 + 20 * (j % 3) :][..., :20, :20]
            now = moved[n, ..., 2 + 20 * (at // 3) :, 2 + 20 * (at % 3) :][..., :20, :20]
            assert torch.equal(was, now)


# -- time ----------------------------------------------------------------------------------------
def test_moments_and_blocks_of_moments() -> None:
    x = cubes(3)
    q = puzzle.permutations(3, 7, seeded(2))
    out = puzzle.reorder(x, q)
    for n in range(3):
        for t in range(7):
            assert torch.equal(out[n, t], x[n, q[n, t]])
    clip = cubes(2, frames=15)
    q = puzzle.permutations(2, 5, seeded(3))
    out = puzzle.reorder(clip, q)
    for n in range(2):
        for k in range(5):
            was = int(q[n, k]) * 3
            assert torch.equal(out[n, 3 * k : 3 * k + 3], clip[n, was : was + 3])


def test_a_drawn_puzzle_is_what_its_labels_say() -> None:
    for moments, x in ((7, cubes(9, 7)), (5, cubes(9, 15))):
        for task in ("one", "both", "time", "place"):
            made = puzzle.draw(x, moments, task=task, generator=seeded(4))
            moved = puzzle.move_tiles(x, made.place)
            assert torch.equal(puzzle.reorder(moved, made.time), made.x)
            if task != "one":
                assert made.timed.all() == (task != "place") == made.timed.any()
                assert made.placed.all() == (task != "time") == made.placed.any()
                continue
            assert (made.timed ^ made.placed).all()
            assert int(made.timed.sum()) in (4, 5)  # of nine, whichever way the coin fell
            assert (made.place[made.timed] == torch.arange(9)).all()
            assert (made.time[made.placed] == torch.arange(moments)).all()


def test_every_batch_has_both_puzzles_and_one_alone_either() -> None:
    random = seeded(5)
    for n in (2, 3, 64):
        assert 0 < int(puzzle.half(n, random).sum()) < n
    assert {bool(puzzle.half(1, random)) for _ in range(50)} == {True, False}


# -- draws ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [9, 7, 5])
def test_draws_are_even(n: int) -> None:
    count = 20_000
    drawn = puzzle.permutations(count, n, seeded(6))
    assert (drawn.sort(1).values == torch.arange(n)).all()
    share = torch.nn.functional.one_hot(drawn, n).double().mean(0)  # (row, value)
    sigma = math.sqrt(1 / n * (1 - 1 / n) / count)
    assert float((share - 1 / n).abs().max()) < 4.3 * sigma  # 81 cells: 4 would fail 1 in 200


def test_a_seed_draws_again_what_it_drew_and_others_do_not() -> None:
    one, two, three = (puzzle.permutations(50, 9, seeded(s)) for s in (7, 7, 8))
    assert torch.equal(one, two) and not torch.equal(one, three)
    torch.manual_seed(3)
    first, later = puzzle.draw(cubes(), 7), puzzle.draw(cubes(), 7)
    torch.manual_seed(3)
    assert torch.equal(puzzle.draw(cubes(), 7).x, first.x)
    assert not torch.equal(later.x, first.x)


# -- what does not move --------------------------------------------------------------------------
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_static_rule(sign: int, kind: str) -> None:
    """A darkening cube is as static, or not, as one that brightens by as much."""
    frames = torch.full((8, 7, 1, 64, 64), 100, dtype=torch.uint8)
    frames[:, -1, :, 30, 30] = 100 + 51 * sign  # a fifth of the range
    x = frames if kind == "uint8" else frames.float() / 255
    assert puzzle.is_static(x, 0.201).all() and not puzzle.is_static(x, 0.199).any()
    kept = puzzle.draw(x, 7, static=0.201, generator=seeded(1))
    assert (kept.time == torch.arange(7)).all()
    assert kept.timed.any()  # they stay in the loss
    assert torch.equal(kept.x[kept.timed], puzzle.framed(x)[kept.timed])
    loose = puzzle.draw(x, 7, static=0.199, generator=seeded(1))
    assert (loose.time[loose.timed] != torch.arange(7)).any(1).all()


def test_the_border_does_not_count_as_motion() -> None:
    x = torch.full((2, 7, 1, 64, 64), 100, dtype=torch.uint8)
    x[:, -1, :, 0] = 255
    assert (puzzle.draw(x, 7, static=0.1).time == torch.arange(7)).all()


def test_floats_beyond_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"floats in 0\.\.255; expected 0\.\.1, or uint8"):
        puzzle.draw(cubes().float(), 7, static=0.2)


def test_grey_of_grey_is_the_same() -> None:
    x = cubes()
    assert torch.equal(puzzle.grey(x.expand(-1, -1, 3, -1, -1)), x)
    made = puzzle.as_input(x)
    assert made.shape == (4, 1, 7, 64, 64) and float(made.max()) <= 1
    np.testing.assert_allclose(made[:, :, 2] * 255, x[:, 2], atol=1e-4)
