"""Keys of a fit: read, checked by name and range, told apart from a method's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from vigil import plugins
from vigil.config import FitConfig, fit_config, parse_set, preset, read_toml, split_keys
from vigil.errors import ConfigError


def test_defaults_are_what_is_documented() -> None:
    config = fit_config({})
    assert (config.steps, config.batch, config.seed) == (2000, 64, 0)
    assert config.smoothing.startswith("causal:") and config.alarms_per_hour == 1.0


def test_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown key 'step'; did you mean 'steps'"):
        fit_config({"step": 3})


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps", -1), ("lr", 0), ("val_share", 1), ("precision", "fp8"), ("epochs", 0),
     ("steps", "many"), ("alarms_per_hour", 0), ("fps", -25)],
)  # fmt: skip
def test_value_out_of_range_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"key '{key}'.*found"):
        fit_config({key: value})


def test_set_reads_toml_values_and_plain_words() -> None:
    found = parse_set(["a=1", "b=0.5", "c=true", "d=word", 'e="two words"', "f=[1, 2]", "g=x=y"])
    assert found == {
        "a": 1, "b": 0.5, "c": True, "d": "word", "e": "two words", "f": [1, 2], "g": "x=y",
    }  # fmt: skip


@pytest.mark.parametrize("pair", ["steps", "=3", ""])
def test_set_without_key_or_value_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="expected key=value"):
        parse_set([pair])


def test_a_key_of_both_goes_to_both_and_of_neither_is_refused() -> None:
    config = plugins.find("methods", "nearest").Config
    own, common = split_keys({"seed": 4, "k": 2, "steps": 5}, config)
    assert own == {"seed": 4, "k": 2} and common == {"seed": 4, "steps": 5}
    with pytest.raises(ConfigError, match="unknown key 'kk'"):
        split_keys({"kk": 1}, config)


def test_preset_from_a_file_and_an_unknown_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("steps = 7\nsmoothing = 'none'\n")
    assert fit_config(preset(str(file))) == FitConfig(steps=7, smoothing="none")
    with pytest.raises(ConfigError, match="unknown preset 'mine'"):
        preset("mine")


def test_toml_that_is_none_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("steps = 3\nlr = = 4\n")
    with pytest.raises(ConfigError, match=r"bad\.toml: not valid TOML.*line 2"):
        read_toml(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(file)
    with pytest.raises(ConfigError, match="No such file"):
        read_toml(tmp_path / "none.toml")
