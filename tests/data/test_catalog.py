from __future__ import annotations

import json

import pytest
from tiny_data import real, tiny

from vigil import plugins
from vigil.data.catalog import describe, list_datasets, open_dataset, user_file
from vigil.data.layouts import write_as
from vigil.errors import ConfigError, InputError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """Neither variable nor user file, unless a test makes one."""
    monkeypatch.delenv("VIGIL_DATA", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def ped2(tmp_path):
    return write_as(tiny(), "ucsd-ped2-frames", tmp_path / "data" / "UCSDped2")


def test_three_ways_to_say_where(ped2, monkeypatch, tmp_path):
    with pytest.raises(InputError) as caught:
        open_dataset("ped2")
    for way in ("--root", "VIGIL_DATA", str(user_file())):
        assert way in str(caught.value)
    assert open_dataset("ped2", ped2).name == "ucsd-ped2"
    user_file().parent.mkdir(parents=True)
    user_file().write_text(f'ped2 = "{ped2}"\n')
    assert len(open_dataset("ucsd-ped2").test) == 3
    user_file().unlink()
    monkeypatch.setenv("VIGIL_DATA", str(tmp_path / "data"))
    assert len(open_dataset("ped2").test) == 3
    with pytest.raises(InputError, match=r"VIGIL_DATA.*now .*data, which has none of avenue"):
        open_dataset("avenue")


@pytest.mark.parametrize("folder", ["ped2", "ucsd-ped2", "UCSD_Ped2", "UCSDped2"])
def test_folders_below_vigil_data_by_any_name(ped2, monkeypatch, folder):
    ped2.rename(ped2.with_name(folder))
    monkeypatch.setenv("VIGIL_DATA", str(ped2.parent))
    assert open_dataset("ped2").info["root"] == str(ped2.with_name(folder))


def test_real_folders_are_found(monkeypatch):
    monkeypatch.setenv("VIGIL_DATA", str(real("avenue_sample").parent))
    assert open_dataset("cuhk-avenue").info["part"].endswith("6 of 21 test videos")
    assert len(open_dataset("ped2").test) == 12


def test_wrong_names_options_and_roots(ped2, tmp_path):
    with pytest.raises(ConfigError, match="unknown data set 'ped3'"):
        open_dataset("ped3", ped2)
    with pytest.raises(ConfigError, match="unknown option of ped2 'fsp'; did you mean 'fps'"):
        open_dataset("ped2", ped2, fsp=3)
    assert open_dataset("ped2", ped2, fps=3).test.videos[0].fps == 3
    with pytest.raises(InputError, match="gone: no such folder"):
        open_dataset("ped2", tmp_path / "gone")


@pytest.mark.parametrize(
    ("text", "message"), [("ped2 = 3", "expected ped2"), ("ped2 =", "roots.toml")]
)
def test_faults_of_the_user_file_name_it(text, message):
    user_file().parent.mkdir(parents=True)
    user_file().write_text(text)
    with pytest.raises(InputError, match=message):
        open_dataset("ped2")


def test_description_compares_what_is_here_with_what_is_known(ped2):
    found = describe(open_dataset("ped2", ped2))
    json.dumps(found)
    assert found["parts"]["test"] | {"given": {}} == {
        "videos": 3, "frames": 55, "sizes": {"48x32": 3}, "fps": {"10": 3}, "scenes": {},
        "views": {}, "labels": {"unknown": 3}, "given": {}, "unreadable": [],
    }  # fmt: skip
    facts = {row["what"]: (row["expected"], row["found"]) for row in found["facts"]}
    assert facts["train videos"] == (16, 3) and facts["test frames"] == (2010, 55)
    assert facts["abnormal test frames"] == (1648, None)  # labels are not for describing
    assert found["complete"] is False
    assert found["part"] == "3 of 16 train videos, 3 of 12 test videos"
    assert "mahadevan" in found["cite"]


def test_frames_of_video_files_are_counted_when_asked(tmp_path):
    data = open_dataset("avenue", write_as(tiny(), "avenue", tmp_path / "a"))
    assert describe(data)["parts"]["test"]["frames"] is None
    assert describe(data, count=True)["parts"]["test"]["frames"] == 55


def test_unreadable_videos_are_named_not_measured(tmp_path):
    root = write_as(tiny(), "avenue", tmp_path / "a")
    (root / "testing_videos" / "02.avi").write_bytes(b"")
    part = describe(open_dataset("avenue", root), count=True)["parts"]["test"]
    assert part["unreadable"] == ["02"] and part["frames"] == 38
    assert part["sizes"] == {"48x32": 2}


def test_rows_for_all_known_data_sets(ped2, monkeypatch):
    monkeypatch.setenv("VIGIL_DATA", str(ped2.parent))
    rows = {row["name"]: row for row in list_datasets()}
    assert set(rows) >= {"street", "cabin", "ucsd-ped1", "ucsd-ped2", "avenue", "folder"}
    assert rows["ucsd-ped2"]["root"] == str(ped2) and rows["avenue"]["root"] == ""
    assert rows["ucsd-ped2"]["aliases"] == "ped2"
    assert rows["avenue"]["about"].startswith("CUHK Avenue")


def test_a_package_adds_a_data_set(monkeypatch, tmp_path):
    monkeypatch.setitem(plugins.added["data"], "mine", lambda root, **options: (root, options))
    assert open_dataset("mine", tmp_path, anything=1) == (tmp_path, {"anything": 1})


def test_a_generated_data_set_finds_its_own_place(monkeypatch, tmp_path):
    monkeypatch.setenv("VIGIL_DATA", str(tmp_path))
    (tmp_path / "made").mkdir()
    monkeypatch.setitem(plugins.added["data"], "made", lambda root=None, *, seed=0: (root, seed))
    assert open_dataset("made") == (None, 0)
    assert open_dataset("made", tmp_path, seed=3) == (tmp_path, 3)
