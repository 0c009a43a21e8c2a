from __future__ import annotations

import io
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from vigil.errors import ConfigError, ExtraError, InputError
from vigil.features._layout_write import class_folder, quantise, segment_bounds, segment_frames
from vigil.features.base import FeatureRow
from vigil.features.layouts import (
    convert,
    find_items,
    find_layout,
    given_features,
    missing,
    read_features,
    write_features,
)
from vigil.features.store import Header, StoredRows

GOLDEN = ROOT / "tests" / "golden"
FOREIGN = ("ten-crop-npy", "crop-npy", "xd-crop-npy")


def rows(n=7, crops=10, dim=6, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, crops, dim)).astype(np.float32)
    return [FeatureRow(value, 16 * i, 16 * i + 16) for i, value in enumerate(values)]


def header(video="Abuse028_x264", crops=10, dim=6, **more):
    return replace(Header("i3d-r50", "", "words", 16, 16, crops, dim, video=video, count=0), **more)


def stacked(found):
    return np.stack([row.value for row in found])


def unit(seed=0, dim=5):
    """(32, D) rows of unit length, as published texts hold them."""
    values = np.random.default_rng(seed).uniform(0, 1, (32, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def text(values, gap=" ", end="\n"):
    return "".join(gap.join(f"{v:.9g}" for v in row) + end for row in values)


# -- which frames -----------------------------------------------------------------------------
@pytest.mark.parametrize("n", [5, 31, 32, 33, 100, 1000])
def test_segments_are_those_of_the_original(n):
    golden = np.load(GOLDEN / "quantisation_qmil_qavg.npz")
    assert segment_bounds(n).tolist() == golden[f"qmil_bounds_n{n}"].tolist()


def test_bounds_that_the_specification_names():
    assert segment_bounds(100)[:8].tolist() == [0, 3, 6, 9, 12, 15, 19, 22]
    assert segment_bounds(100)[-3:].tolist() == [93, 96, 99]
    assert segment_bounds(5).tolist() == [0] * 5 + [1] * 7 + [2] * 9 + [3] * 7 + [4] * 5


def test_quantised_rows_are_means_of_unit_length_and_zeros_stay():
    values = np.zeros((100, 2, 3), np.float32)
    values[:, 0, 0], values[:, 1, 1] = 3, 4
    values[0:3] = 0
    found = quantise(values)
    assert found.shape == (32, 3) and not found[0].any()
    np.testing.assert_allclose(found[1], [0.6, 0.8, 0], atol=1e-7)


def test_frames_of_segments_reach_the_end_of_the_video():
    first, stop = segment_frames(1610)  # 100 clips and ten frames more
    assert (first[:3].tolist(), stop[:3].tolist()) == ([0, 48, 96], [48, 96, 144])
    assert (first[-1], stop[-1]) == (1536, 1610)
    for count in (1, 15, 16, 155, 511, 512, 107997):
        first, stop = segment_frames(count)
        seen = np.zeros(count, bool)
        for a, b in zip(first, stop, strict=True):
            assert 0 <= a < b <= count
            seen[a:b] = True
        assert seen.all() and (np.diff(first) >= 0).all()
    assert segment_frames(0)[1][-1] == 512


def test_rows_end_with_the_video(tmp_path):
    write_features("ten-crop-npy", tmp_path, rows(7), header())
    spans = [(r.first, r.stop) for r in read_features(tmp_path, count=105)[0]]
    assert spans[0] == (0, 16) and spans[-1] == (96, 105)
    dropped = read_features(tmp_path, count=117)[0]  # an extractor that drops the last clip
    assert dropped[-1].stop == 117
    assert len(read_features(tmp_path, count=96)[0]) == 6  # a row beyond the end is not given
    with pytest.raises(InputError, match="7 rows of 16 frames for a video of 300 frames"):
        read_features(tmp_path, count=300)


# -- round trips ------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", ["store", *FOREIGN])
def test_rows_of_clips_come_back(tmp_path, layout):
    write_features(layout, tmp_path, rows(), header())
    assert find_layout(tmp_path) == layout
    found, told = read_features(tmp_path, video="Abuse028_x264")
    assert np.array_equal(stacked(found), stacked(rows()))
    assert [(r.first, r.stop) for r in found] == [(r.first, r.stop) for r in rows()]
    assert (told.crops, told.dim, told.stride) == (10, 6, 16)
    assert told.backbone == ("i3d-r50" if layout == "store" else f"unknown: {layout}")


@pytest.mark.parametrize("to", ["store", "mil-txt", "mil-txt-c", "hdf5"])
def test_segments_come_back(tmp_path, to):
    values = unit()
    (tmp_path / "in" / "Abuse").mkdir(parents=True)
    (tmp_path / "in" / "Abuse" / "Abuse028_x264.txt").write_text(text(values))
    seen = []
    made = convert(
        tmp_path / "in", to, tmp_path / "out", lambda *told: seen.append(told),
        counts={"Abuse028_x264": 1412},
    )  # fmt: skip
    assert made == ["Abuse028_x264"] and seen == [(0, 1, "Abuse028_x264")]
    back, told = read_features(tmp_path / "out", count=0 if to in ("store", "hdf5") else 1412)
    assert np.array_equal(stacked(back)[:, 0], values)
    assert (back[0].first, back[-1].stop, told.stride) == (0, 1412, 0)
    convert(tmp_path / "out", "mil-txt", tmp_path / "again")
    again = (tmp_path / "again" / "Abuse" / "Abuse028_x264.txt").read_text()
    assert again == text(values)


@pytest.mark.parametrize("to", FOREIGN)
def test_every_pair_of_npy_layouts(tmp_path, to):
    for layout in FOREIGN:
        source = tmp_path / "in" / layout
        for part, seed in (("train", 1), ("test", 2)):
            head = header(f"01_00{seed}")
            write_features(layout, source, rows(seed=seed), head, part)
        assert convert(source, to, tmp_path / "out" / layout) == ["01_001", "01_002"]
        items = find_items(tmp_path / "out" / layout)
        assert {item.folder for item in items.values()} == {"train", "test"}
        assert np.array_equal(items["01_002"].values(), stacked(rows(seed=2)))


def test_clips_to_segments_are_quantised(tmp_path):
    write_features("store", tmp_path / "store", rows(50), header(count=800))
    convert(tmp_path / "store", "mil-txt", tmp_path / "txt")
    found, _ = read_features(tmp_path / "txt", count=800)
    assert np.array_equal(stacked(found)[:, 0], quantise(stacked(rows(50))))
    with pytest.raises(InputError, match="32 segments a video.*cannot say"):
        convert(tmp_path / "txt", "ten-crop-npy", tmp_path / "npy")


# -- what others wrote ------------------------------------------------------------------------
@pytest.mark.parametrize("gap, end", [(" ", " \n"), ("\t", "\r\n"), ("   ", "\n\n")])
def test_any_whitespace(tmp_path, gap, end):
    (tmp_path / "Normal_Videos_003_x264_C.txt").write_bytes(text(unit(), gap, end).encode())
    (tmp_path / "README.txt").write_text("Ten-crop features belong here")
    assert list(find_items(tmp_path)) == ["Normal_Videos_003_x264"]
    found, told = read_features(tmp_path)
    assert np.array_equal(stacked(found)[:, 0], unit())
    assert told.backbone == "unknown: mil-txt" and told.dim == 5


def test_names_that_projects_give(tmp_path):
    for name in ("01_0015_i3d", "Abuse028_x264", "v=a1__#1_label_A"):
        np.save(tmp_path / f"{name}.npy", np.zeros((4, 10, 8), np.float32))
    assert list(find_items(tmp_path)) == ["01_0015", "Abuse028_x264", "v=a1__#1_label_A"]
    assert class_folder("Normal_Videos001_x264") == "Training_Normal_Videos_Anomaly"


def test_one_crop_and_crops_first(tmp_path):
    values = np.arange(10 * 7 * 4, dtype=np.float32).reshape(10, 7, 4)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values[0])
    items = find_items(tmp_path)
    assert np.array_equal(items["a"].values(), values.transpose(1, 0, 2))
    assert items["a"].header().preprocessing == "rows of 16 frames, stored crops first"
    assert items["b"].values().shape == (7, 1, 4)


def test_object_arrays_of_numbers_are_read_restrictedly(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 10, 4)).astype(np.float32)
    loose = np.empty(5, object)
    loose[:] = list(values)
    wrapped = np.empty((), object)
    wrapped[()] = values
    np.save(tmp_path / "a_i3d.npy", loose, allow_pickle=True)
    np.save(tmp_path / "b_i3d.npy", wrapped, allow_pickle=True)
    for item in find_items(tmp_path).values():
        assert np.array_equal(item.values(), values)


def test_given_rows_say_what_made_them_and_read_when_called(tmp_path):
    write_features("ten-crop-npy", tmp_path, rows(), header())
    given = given_features(tmp_path, "Abuse028_x264", count=100)
    assert isinstance(given, StoredRows) and given.header.identity()["dim"] == 6
    found = given()
    assert np.array_equal(stacked(found), stacked(rows())) and found[-1].stop == 100


def test_real_samples():
    folder = Path(os.environ.get("VIGIL_DATA") or ROOT.parent / "shared" / "data")
    folder = folder / "ucf_crime" / "sample_c3d_32x4096"
    if not folder.is_dir():
        pytest.skip(f"real data not at hand: no {folder}")
    items = find_items(folder)
    assert len(items) == 10 and find_layout(folder) == "mil-txt"
    found, told = items["Normal_Videos_006_x264"].read(450)
    assert (len(found), told.crops, told.dim, found[-1].stop) == (32, 1, 4096, 450)
    norms = np.linalg.norm(stacked(found)[:, 0], axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-4)


# -- bad input --------------------------------------------------------------------------------
class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_malicious_array_is_refused_and_nothing_runs(tmp_path):
    evil = np.empty(1, object)
    evil[0] = Evil(tmp_path / "was_here")
    np.save(tmp_path / "a_i3d.npy", evil, allow_pickle=True)
    with pytest.raises(InputError, match=r"a_i3d\.npy: it asks for (posix|nt|os)\.mkdir.*plain"):
        read_features(tmp_path)
    assert not (tmp_path / "was_here").exists()
    (tmp_path / "a_i3d.npy").write_bytes(pickle.dumps(Evil(tmp_path / "was_here")))
    with pytest.raises(InputError, match="not a readable array"):
        read_features(tmp_path)
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_names_the_file_and_row(tmp_path, bad):
    values = np.zeros((4, 10, 3), np.float32)
    values[2, 5, 1] = bad
    np.save(tmp_path / "x_i3d.npy", values)
    with pytest.raises(InputError, match=r"x_i3d\.npy: row 2 holds NaN or infinity"):
        read_features(tmp_path)
    (tmp_path / "x_i3d.npy").unlink()
    lines = unit()
    lines[3, 1] = bad
    (tmp_path / "y.txt").write_text(text(lines))
    with pytest.raises(InputError, match=r"y\.txt: row 3 holds NaN or infinity"):
        read_features(tmp_path)


def test_bad_texts(tmp_path):
    path = tmp_path / "a.txt"
    for body, told in (
        (text(unit()[:31]), "31 lines of 5 to 5 numbers; expected 32"),
        (text(unit()) .replace("\n", " 1\n", 1), "32 lines of 5 to 6 numbers"),
        (text(unit()).replace("0", "0x", 1), "expected numbers only"),
        ("".join("[[[0.1]] [[0.2]]]\n" for _ in range(32)), "nested brackets"),
    ):  # fmt: skip
        path.write_text(body)
        with pytest.raises(InputError, match=told):
            read_features(path, layout="mil-txt")


def test_bad_arrays(tmp_path):
    path = tmp_path / "a.npy"
    for array in (
        np.zeros(3),
        np.zeros((0, 10, 4)),
        np.zeros((2, 3), complex),
        np.zeros((2, 2, 2, 2)),
    ):
        np.save(path, array)
        with pytest.raises(InputError, match=r"a\.npy: .*expected floats"):
            read_features(tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((50, 10, 4), np.float32))
    path.write_bytes(buffer.getvalue()[:900])  # cut off: its header promises more
    with pytest.raises(InputError, match=r"a\.npy: not a readable array"):
        read_features(tmp_path)


def test_crops_that_do_not_fit(tmp_path):
    for crop in (0, 1, 3):
        np.save(tmp_path / f"v__{crop}.npy", np.zeros((4, 6), np.float32))
    with pytest.raises(InputError, match="crops 2 of v are missing, up to 3"):
        read_features(tmp_path)
    np.save(tmp_path / "v__2.npy", np.zeros((5, 6), np.float32))
    with pytest.raises(InputError, match=r"v__2\.npy: \(5, 1, 6\), but v__0\.npy has \(4, 1, 6\)"):
        read_features(tmp_path)


def test_which_layout_is_told_or_asked(tmp_path):
    with pytest.raises(InputError, match="no features; expected one layout of store"):
        find_layout(tmp_path)
    np.save(tmp_path / "a_i3d.npy", np.zeros((2, 10, 4), np.float32))
    (tmp_path / "a.txt").write_text(text(unit()))
    with pytest.raises(InputError, match="1 videos as mil-txt, 1 videos as ten-crop-npy.*name one"):
        find_layout(tmp_path)
    assert read_features(tmp_path, "mil-txt")[1].dim == 5
    with pytest.raises(ConfigError, match="layout of features 'mil_txt'; did you mean 'mil-txt'"):
        read_features(tmp_path, "mil_txt")
    with pytest.raises(InputError, match="no features of video 'b'"):
        read_features(tmp_path, "mil-txt", "b")
    with pytest.raises(InputError, match="no features of 2 videos: b, c"):
        missing(find_items(tmp_path, "mil-txt"), ["a", "b", "c"], tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text(text(unit()))
    with pytest.raises(InputError, match="two features of a"):
        find_items(tmp_path, "mil-txt")


def test_names_that_lead_elsewhere_are_not_written(tmp_path):
    for name, folder in (("../evil", ""), ("a", "../.."), ("", "")):
        with pytest.raises(InputError, match="not a name of a file"):
            write_features("mil-txt", tmp_path / "out", rows(), header(name), folder)
    assert list(tmp_path.iterdir()) == []


def test_hdf5_of_the_other_project(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for name, seed in (("Abuse/Abuse028_x264.mp4", 0), ("Arson/Arson011_x264.mp4", 1)):
            group = file.create_group(name)
            group["c3d_features"], group["total_frames"] = unit(seed), 1412
            group["valid_frames"] = 1408
    found, told = read_features(tmp_path / "all.h5", video="Arson011_x264")
    assert np.array_equal(stacked(found)[:, 0], unit(1)) and found[-1].stop == 1412
    assert told.backbone == "unknown: hdf5 c3d_features" and told.count == 1412
    convert(tmp_path / "all.h5", "hdf5", tmp_path / "copy")
    assert (tmp_path / "copy" / "features.h5").is_file()
    assert list(find_items(tmp_path / "copy")) == ["Abuse028_x264", "Arson011_x264"]
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"bad\.h5: not a readable HDF5 file"):
        read_features(tmp_path / "bad.h5")


def test_hdf5_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ExtraError, match="h5py.*hdf5"):
        write_features("hdf5", tmp_path, rows(), header())
