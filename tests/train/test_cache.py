"""Bags made once: the same batches as bags made for each step, in memory and in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import Pair

from vigil import fitting
from vigil.errors import InputError
from vigil.features.base import FeatureRow
from vigil.features.rows import GivenRows
from vigil.features.store import Header, StoredRows, write_rows
from vigil.fitting import fit
from vigil.methods.mil import MIL
from vigil.methods.rtfm import RTFM
from vigil.records import Frame, Units, Video
from vigil.train import cache
from vigil.train.batches import Samples, bags

FIT = {"steps": 6, "batch": 3, "val_every": 2, "device": "cpu"}
KEYS = {"dim": 64, "frames": 4, "segments": 6}


def frames(short_side: int | None = None) -> Iterator[Frame]:
    picture = np.zeros((8, 8, 3), np.uint8)
    return (Frame(picture, n / 25) for n in range(70))


def no_frames(short_side: int | None = None) -> Iterator[Frame]:
    raise AssertionError("the file says how long the video is")


def stored(folder: Path, count: int = 8, crops: int = 2, dim: int = 64) -> list[Video]:
    """Videos of 70 frames, 18 rows of 4; every other one is anomalous."""
    videos = []
    for n in range(count):
        values = np.random.default_rng(n).normal(size=(18, crops, dim)).astype(np.float32)
        rows = [FeatureRow(value, 4 * i, 4 * i + 4) for i, value in enumerate(values)]
        header = Header("c3d", "", "", 4, 4, crops, dim, video=f"v{n}", count=70)
        path = folder / f"v{n}.safetensors"
        write_rows(path, rows, header)
        given = {"features": StoredRows(path, header)}
        label = "anomalous" if n % 2 else "normal"
        videos.append(Video(f"v{n}", str(path), 25.0, (8, 8), no_frames, label=label, given=given))  # type: ignore[arg-type]
    return videos


def samples(method: MIL | RTFM | Pair, videos: list[Video], folder: Path) -> Samples:
    return Samples(method, {"features": GivenRows()}, videos, 25.0, folder, 0, 3)


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_rows_of_a_file_are_those_that_frames_give(tmp_path: Path) -> None:
    video = stored(tmp_path, 1)[0]
    slow = replace(video, open=frames, given={"features": lambda: video.given["features"]()})
    providers, method = {"features": GivenRows()}, RTFM(**KEYS)
    (one,) = bags(method, providers, [video], 25.0)
    (two,) = bags(method, providers, [slow], 25.0)
    assert same(dict(one.x), dict(two.x))
    for name in ("first", "stop", "seen_stop", "box"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.stop[-1] == 70 and (one.video, one.size) == (two.video, two.size)


@pytest.mark.parametrize("limit", [0, 2**31])
def test_a_batch_is_the_bags_of_its_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(cache, "IN_MEMORY", limit)
    method, videos = RTFM(**KEYS), stored(tmp_path)
    made, old = samples(method, videos, tmp_path / "cache"), None
    providers = {"features": GivenRows()}
    for step in range(4):
        old = made.batch(step, old)
        for label, found in (("normal", old.normal), ("anomalous", old.anomalous)):
            drawn = [videos[n] for n in made.draw(label, step, 3)]
            whole = [method.bag(units)["rows"] for units in bags(method, providers, drawn, 25.0)]
            assert torch.equal(found["rows"], torch.stack(whole))
    again = samples(method, videos, tmp_path / "cache").batch(3)  # memory of its own
    assert old is not None and same(dict(again.normal), dict(old.normal))
    assert not [path for path in tmp_path.rglob("cache/*")]  # a file without a name


class Drawing(Pair):
    """Six rows at random; of short videos the first six.

    sees: toy · learns from: toy · score: toy · live: yes · differs from the paper: - · cite: -
    """

    def bag(self, units: Units) -> dict[str, Tensor]:
        random = units.video != "v0"
        rows = torch.randint(len(units), (6,)) if random else torch.arange(6)
        return {"rows": units.x["rows"][rows]}


def test_random_bags_are_drawn_for_every_batch(tmp_path: Path) -> None:
    method = Drawing()
    before = torch.get_rng_state()
    made = samples(method, stored(tmp_path), tmp_path / "cache")
    assert torch.equal(torch.get_rng_state(), before)
    assert sorted(made.source.drawn) == [1, 2, 3, 4, 5, 6, 7]  # type: ignore[union-attr]
    found = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        found.append(made.batch(0).normal["rows"])
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


def test_features_of_another_number_of_crops_are_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    videos = [*stored(tmp_path), *stored(tmp_path / "other", 1, crops=3)]
    with pytest.raises(InputError, match=r"other.*\(6, 3, 64\).*\(6, 2, 64\)"):
        samples(RTFM(**KEYS), videos, tmp_path / "cache")


def test_features_that_are_not_finite_are_named(tmp_path: Path) -> None:
    video = stored(tmp_path, 1)[0]
    rows = video.given["features"]()
    rows[3].value[:] = np.nan
    write_rows(Path(video.source), rows, video.given["features"].header)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"v0.*12\.\.16 are NaN"):
        list(bags(RTFM(**KEYS), {"features": GivenRows()}, [video], 25.0))


def trace(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("name", ["mil", "rtfm"])
def test_same_trace_and_exact_resume(tmp_path: Path, name: str) -> None:
    made = stored(tmp_path, 16)
    videos = [replace(video, open=frames) for video in made]

    def run(folder: str, steps: int, resume: bool = False) -> dict[str, Tensor]:
        torch.manual_seed(ord(folder))  # which must not matter
        model = fit(
            fitting.method(name, **KEYS), videos[:10], videos[10:], tmp_path / folder,
            resume=resume, **{**FIT, "steps": steps, "save_every": 2},
        )  # fmt: skip
        return model.method.tensors()

    whole = run("a", 6)
    assert same(whole, run("b", 6)) and trace(tmp_path / "a") == trace(tmp_path / "b")
    run("c", 4)
    assert same(whole, run("c", 6, resume=True)) and trace(tmp_path / "c") == trace(tmp_path / "a")


def test_two_precisions_in_one_process(tmp_path: Path) -> None:
    videos = [replace(video, open=frames) for video in stored(tmp_path, 16)]
    losses = []
    for precision in ("bf16", "no"):
        fit(
            fitting.method("rtfm", **KEYS), videos[:10], videos[10:], tmp_path / precision,
            **{**FIT, "precision": precision},
        )  # fmt: skip
        losses.append([sum(v for k, v in row.items() if k in ("cls", "magnitude", "smooth",
                       "sparse")) for row in trace(tmp_path / precision)])  # fmt: skip
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
