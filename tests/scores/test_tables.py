"""Scores on disk: the same after reading, whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vigil.errors import InputError
from vigil.records import Scores, UnitTable
from vigil.scores import tables


def example(name: str, frames: int, units: int = 3) -> Scores:
    rng = np.random.default_rng(frames)
    first = rng.integers(0, frames, units)
    table = UnitTable(
        np.array(["box"] * units, dtype=object), first, first + 1, first + 1,
        rng.random((units, 4)), rng.random(units), {"motion": rng.random(units)},
    )  # fmt: skip
    return Scores(
        name, rng.random(frames), rng.random(frames), {"motion": rng.random(frames)},
        np.arange(frames) / 10, np.arange(frames), np.zeros(frames, bool), table,
        {"smoothing": "causal:1s", "fps": np.float64(10)},
    )  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    written = [example("b", 7), example("a", 5, units=0), example("ü/<x>", 1)]
    tables.write(tmp_path, written)
    found = tables.read(tmp_path)
    assert list(found) == ["b", "a", "ü/<x>"]
    for scores in written:
        again = found[scores.video]
        np.testing.assert_array_equal(again.score, scores.score)
        np.testing.assert_array_equal(again.smoothed, scores.smoothed)
        np.testing.assert_array_equal(again.channels["motion"], scores.channels["motion"])
        assert again.made["smoothing"] == "causal:1s"
        assert again.units is not None and scores.units is not None
        np.testing.assert_array_equal(again.units.first, scores.units.first)
        np.testing.assert_allclose(again.units.box, scores.units.box, rtol=1e-6)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scores.parquet is missing"):
        tables.read(tmp_path)
    (tmp_path / "scores.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a readable Parquet"):
        tables.read(tmp_path)


def test_nan_in_scores_is_refused_with_its_frame() -> None:
    scores = example("v", 5)
    bad = scores.score.copy()
    bad[3] = np.nan
    with pytest.raises(InputError, match="score is nan at frame 3"):
        Scores("v", bad, scores.smoothed, {}, scores.time, scores.known_at, scores.warm_up)


def test_missing_or_double_frames_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables.write(tmp_path, [example("v", 5)])
    whole = pq.read_table(tmp_path / "scores.parquet")
    pq.write_table(
        pa.concat_tables([whole.slice(0, 2), whole.slice(3)]), tmp_path / "scores.parquet"
    )
    with pytest.raises(InputError, match="v: frames are missing or come twice"):
        tables.read(tmp_path)
