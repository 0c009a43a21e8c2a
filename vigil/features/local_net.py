"""What providers with a network share: a local weights file, read when first needed, kept whole.

Such a provider is made from one file, either its weights or a TOML file of its settings with the
key `weights` (a path relative to that file). Nothing is read before it is needed, and `tensors`
holds the weights and the settings, so that a saved model never asks for the file again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vigil.config import read_toml
from vigil.errors import ConfigError, ModelError, VigilError, unknown
from vigil.features.backbone import load_strictly
from vigil.features.base import Provider
from vigil.features.weights import read_weights
from vigil.records import Frame, Video

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Settings:
    """Of a provider that has none of its own but the place where its network runs."""

    device: str = "cpu"


def checked(kind: type, keys: Mapping[str, Any], where: Path | str) -> Any:
    """A pydantic dataclass from keys; `ConfigError` names `where` and the key that is wrong."""
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    for key in keys:
        if key not in known:
            raise ConfigError(f"{where}: {unknown('key', key, known)}")
    try:
        return kind(**keys)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "missing" else f"; found {first['input']!r}"
        place = f"key {key!r}: " if key else ""
        raise ConfigError(f"{where}: {place}{first['msg']}{found if key else ''}") from None


class LocalNet(Provider):
    """A provider around one torch network. A subclass sets `name`, `reads` and gives `build`."""

    name: ClassVar[str]
    reads: ClassVar[str]  # the published file, in words
    Settings: ClassVar[type] = Settings

    def __init__(self, file: Path | str | None = None, **settings: Any) -> None:
        self.file = Path(file) if file else None
        self.given = settings
        self.settings: Any = checked(self.Settings, settings, self.name)
        self.net: nn.Module | None = None
        self.digest = ""

    def build(self) -> nn.Module:
        """The network without weights; it must never download."""
        raise NotImplementedError

    def own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published state dict in the network's own keys."""
        return dict(state)

    def ready(self) -> nn.Module:
        """The network in eval mode, read from the file at the first call."""
        if self.net is None:
            if self.file is None:
                raise ConfigError(
                    f"{self.name}: no weights given; it reads {self.reads} ({self.name}:FILE)"
                )
            file = self.file
            if file.suffix == ".toml":
                file = self.take_settings(file)
            self.adopt(self.own_keys(read_weights(file)), str(file))
        assert self.net is not None
        return self.net

    def take_settings(self, file: Path) -> Path:
        """Settings from a TOML file; those given to the constructor win. Gives the weights file."""
        keys = read_toml(file)
        weights = keys.pop("weights", None)
        if not isinstance(weights, str):
            raise ConfigError(f"{file}: key 'weights': found {weights!r}; expected a path")
        self.settings = checked(self.Settings, {**keys, **self.given}, file)
        return file.parent / weights

    def adopt(self, state: Mapping[str, Tensor], where: str) -> None:
        """Build the network and give it `state`; ModelError says what does not fit."""
        net = self.build()
        try:
            load_strictly(net, state, self.name, self.reads)
        except ModelError as error:
            raise ModelError(f"{where}: {error}") from None
        self.net = net.eval().requires_grad_(False).to(device_of(self.settings.device))
        self.digest = content_hash(net.state_dict())

    def fit(self, videos: Iterable[Video]) -> None:
        self.ready()  # a wrong file is told before any work begins

    def tensors(self) -> dict[str, Tensor]:
        state = self.ready().state_dict()
        text = as_tensor(json.dumps(asdict(self.settings)))
        return {"settings": text, **{f"net.{key}": value for key, value in state.items()}}

    def set_tensors(self, state: Mapping[str, Tensor]) -> None:
        if "settings" not in state:
            raise ModelError(f"{self.name}: the saved model holds no weights of it; fit it again")
        self.settings = checked(self.Settings, saved_json(state["settings"], self.name), self.name)
        own = {key[4:]: value for key, value in state.items() if key.startswith("net.")}
        self.adopt(own, "saved model")

    def describe(self) -> dict[str, Any]:
        self.ready()
        return {"name": self.name, **asdict(self.settings), "weights": self.digest}


class EachFrame:
    """A tracker that looks at each frame alone; one that stands for several ticks, once."""

    def __init__(self, look: Callable[[np.ndarray], np.ndarray]) -> None:
        self.look = look
        self.frame: Frame | None = None
        self.value: np.ndarray | None = None

    def see(self, frame: Frame, index: int) -> Any:
        if frame is not self.frame:
            self.value, self.frame = self.look(frame.image), frame
        return self.value

    def finish(self) -> list[Any]:
        return []


def device_of(name: str) -> torch.device:
    """A torch device that is there; `ConfigError` if not."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"key 'device': {name!r} cannot be used ({reason})") from None
    return device


def pixels(image: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 RGB to (3, H, W) float32 in 0..1."""
    return torch.tensor(image).to(device).permute(2, 0, 1).float().div(255)


def content_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names and values of a state dict: the same from whatever file it came."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def as_tensor(text: str | bytes) -> Tensor:
    """Text or bytes as (n,) uint8, the form in which a model's file can hold it."""
    data = text.encode() if isinstance(text, str) else text
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def saved_json(tensor: Tensor, name: str) -> dict[str, Any]:
    """The object that `as_tensor(json.dumps(...))` holds; ModelError where it is none."""
    try:
        found = json.loads(tensor.numpy(force=True).tobytes())
    except (ValueError, TypeError) as error:
        raise ModelError(f"{name}: its saved settings cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise ModelError(f"{name}: saved settings are a {type(found).__name__}; expected an object")
    return found


def told(where: str, error: Exception, kind: type[VigilError] = ModelError) -> VigilError:
    """A library's error in one line that names the file."""
    return kind(f"{where}: {' '.join(str(error).split())[:300]}")
