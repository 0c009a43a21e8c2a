"""What the doctor looks at, and that what is missing is said."""

from __future__ import annotations

import importlib.metadata as metadata
import json
import tomllib

from conftest import ROOT
from footage import vigil

from vigil import doctor


def test_all_is_well_here() -> None:
    rows = {row["what"]: row for row in doctor.examine()}
    assert {"python", "torch", "av", "processor", "device", "H.264", "free disk here"} <= set(rows)
    assert rows["H.264"]["found"] == "writes and reads"
    assert rows["numpy"]["found"] == metadata.version("numpy")
    assert all(row["state"] in ("ok", "optional") for row in rows.values())


def test_it_looks_at_every_dependency_and_names_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {each.partition(">")[0] for each in project["dependencies"]} == set(doctor.CORE)
    assert set(doctor.EXTRAS.values()) <= set(project["optional-dependencies"])


def test_a_missing_package_is_named_with_what_to_do() -> None:
    found = doctor.package("no-such-package-anywhere")
    assert found["state"] == "missing" and found["do"] == "pip install no-such-package-anywhere"


def test_command_prints_a_table_or_json() -> None:
    done = vigil("doctor")
    assert done.code == 0 and "H.264" in done.out
    rows = json.loads(vigil("doctor", "--json").out)
    assert {"what", "found", "state", "do"} == set(rows[0])
