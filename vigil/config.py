"""Settings that are not a method's own: how to fit, presets, `--set key=value`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from vigil.errors import ConfigError, unknown

PRESETS = Path(__file__).parent / "methods"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FitConfig:
    """How a method is fitted; the same keys for every method."""

    steps: int = Field(default=2000, ge=0)  # training steps; 0 for a method that only prepares
    epochs: int | None = Field(default=None, ge=1)  # passes over the data; replaces steps
    batch: int = Field(default=64, ge=1)  # units, or bags of each kind, a step
    lr: float | None = Field(default=None, gt=0)  # learning rate; None = the method's own
    seed: int = Field(default=0, ge=0)  # of sampling, initial weights and dropout
    val_every: int = Field(default=200, ge=1)  # steps between two validations
    val_from: int = Field(default=0, ge=0)  # first step at which validation counts
    val_share: float = Field(default=0.25, gt=0, lt=1)  # of the training videos, if no val part
    save_every: int = Field(default=200, ge=1)  # steps between two saved states
    device: str = "auto"  # cpu, cuda, cuda:1, mps; auto = what Accelerate finds
    engine: str = "auto"  # torch, openvino or onnx that scores; auto = measured, the fastest
    dtype: str = "auto"  # float32, bf16 or int8 of it
    precision: str = Field(default="no", pattern="^(no|bf16|fp16)$")  # mixed precision in training
    smoothing: str = "causal:0.2s"  # of the frame score, declared before any test
    alarms_per_hour: float = Field(default=1.0, gt=0)  # false alarms that a person will bear
    fps: float | None = Field(default=None, gt=0)  # rate to work at; None = the training videos'
    track: str = "none"  # tensorboard, wandb, mlflow or none, comma-separated


def first_process() -> bool:
    """Whether this is the process that writes and speaks, where torchrun started several."""
    return os.environ.get("RANK", "0") == "0"


def fit_config(keys: Mapping[str, Any]) -> FitConfig:
    """A `FitConfig`; unknown keys and values out of range are refused by name."""
    for key in keys:
        if key not in FitConfig.__dataclass_fields__:
            raise unknown("key", key, FitConfig.__dataclass_fields__)
    try:
        return FitConfig(**keys)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"key {first['loc'][0]!r}: {first['msg']}; found {first['input']!r}"
        ) from None


def parse_set(pairs: Iterable[str]) -> dict[str, Any]:
    """`--set key=value` arguments, values read as TOML, or as plain text where they are none.

    >>> parse_set(["steps=2000", "objects=given", "weights=[0.5, 0.5]", "smoothing=causal:2s"])
    {'steps': 2000, 'objects': 'given', 'weights': [0.5, 0.5], 'smoothing': 'causal:2s'}
    """
    keys: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {pair!r}: expected key=value, e.g. --set steps=2000")
        try:
            keys[key.strip()] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            keys[key.strip()] = value.strip()
    return keys


def split_keys(keys: Mapping[str, Any], config: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keys of the method's `Config` and keys of the fit, apart; any other is refused."""
    own = config.__dataclass_fields__  # type: ignore[attr-defined]
    method = {key: value for key, value in keys.items() if key in own}
    fit = {key: value for key, value in keys.items() if key in FitConfig.__dataclass_fields__}
    for key in keys:
        if key not in method and key not in fit:
            raise unknown("key", key, {*own, *FitConfig.__dataclass_fields__})
    return method, fit


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dict; `ConfigError` with file and line where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from error


def preset(name: str) -> dict[str, Any]:
    """The keys of a preset: a name shipped with Vigil, or the path of a TOML file."""
    shipped = {path.stem: path for path in PRESETS.glob("*.toml")}
    if name in shipped:
        return read_toml(shipped[name])
    if name.endswith(".toml"):
        return read_toml(Path(name))
    raise unknown("preset", name, shipped)
