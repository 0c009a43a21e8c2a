"""Features of the scene-aware project, one dataset a frame: read as a file of ours is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vigil.errors import InputError
from vigil.features.base import FeatureRow
from vigil.features.layouts import convert, find_items, find_layout, read_features, write_features
from vigil.features.store import Header

h5py = pytest.importorskip("h5py")


def put(path: Path, rows: np.ndarray) -> Path:
    """As the authors write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number, row in enumerate(rows):
            file.create_dataset(str(number).zfill(4), data=row[None])
    return path


def test_both_layouts_give_the_same_rows(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(25, 6)).astype(np.float32)
    put(tmp_path / "old" / "training" / "01_001.h5", rows)
    assert find_layout(tmp_path / "old") == "frame-hdf5"
    assert convert(tmp_path / "old", "store", tmp_path / "new") == ["01_001"]
    for folder in ("old", "new"):
        found, header = read_features(tmp_path / folder, video="01_001", count=25)
        assert [(row.first, row.stop) for row in found] == [(n, n + 1) for n in range(25)]
        np.testing.assert_array_equal(np.stack([row.value[0] for row in found]), rows)
        assert (header.dim, header.crops, header.stride, header.frames) == (6, 1, 1, 1)
    assert header.backbone == "unknown: frame-hdf5"


def test_more_than_9999_frames_stay_in_order(tmp_path: Path) -> None:
    rows = np.arange(10_003, dtype=np.float32)[:, None]
    path = put(tmp_path / "long.h5", rows)
    with h5py.File(path) as file:
        assert sorted(file)[1] != "0001" or sorted(file)[1001] == "10000"  # text order is another
    found, _ = read_features(path)
    assert [row.value.item() for row in found] == list(range(10_003))


def test_writing_gives_what_the_authors_read(tmp_path: Path) -> None:
    rows = [FeatureRow(np.full((2, 3), n, np.float32), 4 * n, 4 * n + 4) for n in range(3)]
    header = Header("pixels", "", "", 1, 4, 2, 3, video="v", count=12)
    write_features("frame-hdf5", tmp_path, rows, header, "train")
    with h5py.File(tmp_path / "train" / "v.h5") as file:
        assert sorted(file) == [f"{n:04}" for n in range(12)]
        assert file["0005"].shape == (1, 3) and file["0005"][0].tolist() == [1, 1, 1]


def test_damage_is_named(tmp_path: Path) -> None:
    rows = np.zeros((4, 5), np.float32)
    with h5py.File(put(tmp_path / "gap.h5", rows), "a") as file:
        del file["0002"]
    with pytest.raises(InputError, match=r"gap\.h5: no features of frame 2"):
        read_features(tmp_path / "gap.h5")
    with h5py.File(put(tmp_path / "wide.h5", rows), "a") as file:
        del file["0003"]
        file.create_dataset("0003", data=np.zeros((1, 6), np.float32))
    with pytest.raises(InputError, match=r"wide\.h5: frame 3: .*\(1, 6\), the first has \(1, 5\)"):
        read_features(tmp_path / "wide.h5")
    rows[1, 2] = np.nan
    with pytest.raises(InputError, match=r"nan\.h5: row 1 holds NaN"):
        read_features(put(tmp_path / "nan.h5", rows))
    (tmp_path / "bad.h5").write_bytes(b"no such thing")
    with pytest.raises(InputError, match=r"bad\.h5: not a readable HDF5 file"):
        find_items(tmp_path / "bad.h5")
    with pytest.raises(InputError, match="4 rows of 1 frames for a video of 9"):
        read_features(put(tmp_path / "few.h5", np.zeros((4, 5), np.float32)), count=9)
