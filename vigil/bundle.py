"""A fitted model and its folder: plain files, no pickle, everything needed to score again.

config.toml              the method's name and its keys
model.safetensors        what the method and the providers learned
calibration.json         surprise maps, normal frame scores, smoothing
card.json                where it comes from: seed, data, fps, size, versions, licence, citation
ignore.png               regions never looked at, if any
base/                    the model it stands on, if any
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vigil import __version__, plugins
from vigil.config import read_toml
from vigil.engaged import engage_again
from vigil.errors import ModelError, VigilError
from vigil.features.base import Provider
from vigil.features.cached import ROLES, Cached
from vigil.files import writing
from vigil.methods.base import Method, make_config
from vigil.records import Video
from vigil.scores.calibrate import Surprise, merge
from vigil.scores.events import Threshold, threshold
from vigil.scores.smooth import smooth

# what damaged files make their readers say
BROKEN = (
    SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError,
)  # fmt: skip
FORMAT = 1  # of the folder; a reader refuses a newer one


@dataclass(frozen=True)
class Calibration:
    """What held-out normal videos said about scores.

    units    {channel: surprise map of raw unit scores}
    windows  {window: map of its frame scores}: a window with many units a frame has more chances
             to be odd, which must not count when windows are compared
    frame    map of the frame scores fused from all windows
    normal  {video: (T,) calibrated frame scores, unsmoothed};  fps  of those frames
    """

    units: Mapping[str, Surprise]
    windows: Mapping[str, Surprise]
    frame: Surprise
    normal: Mapping[str, np.ndarray]
    fps: float
    smoothing: str
    alarms_per_hour: float

    def threshold(self, alarms_per_hour: float | None = None) -> Threshold:
        """Where an alarm starts, for this many false alarms an hour (default: as fitted)."""
        smoothed = [smooth(values, self.smoothing, self.fps) for values in self.normal.values()]
        return threshold(smoothed, self.fps, alarms_per_hour or self.alarms_per_hour)

    def merged(self, new: Calibration) -> Calibration:
        """This and more normal footage together: what `extend` leaves."""
        normal = dict(self.normal)
        for name, values in new.normal.items():
            while name in normal:
                name += "+"
            normal[name] = values
        units = {name: merge(curve, new.units[name]) for name, curve in self.units.items()}
        windows = {name: merge(curve, new.windows[name]) for name, curve in self.windows.items()}
        frame = merge(self.frame, new.frame)
        return replace(self, units=units, windows=windows, frame=frame, normal=normal)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "units": {name: curve.as_dict() for name, curve in self.units.items()},
            "windows": {name: curve.as_dict() for name, curve in self.windows.items()},
            "frame": self.frame.as_dict(),
            "normal": {name: np.round(values, 5).tolist() for name, values in self.normal.items()},
            "fps": self.fps,
            "smoothing": self.smoothing,
            "alarms_per_hour": self.alarms_per_hour,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """What `as_dict` gave."""
        return cls(
            units={name: Surprise.from_dict(curve) for name, curve in data["units"].items()},
            windows={k: Surprise.from_dict(curve) for k, curve in data["windows"].items()},
            frame=Surprise.from_dict(data["frame"]),
            normal={k: np.asarray(v, np.float64) for k, v in data["normal"].items()},
            fps=float(data["fps"]),
            smoothing=str(data["smoothing"]),
            alarms_per_hour=float(data["alarms_per_hour"]),
        )


@dataclass
class Model:
    """A method with all it needs to score: providers, calibration, regions to ignore, its card."""

    name: str  # the method's, as in `vigil methods`
    method: Method
    providers: dict[str, Provider]
    card: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    ignore: np.ndarray | None = None  # (H, W) bool at the fitted size; True = never looked at
    remark: str = ""  # what a person should know of how it scores on this machine

    @property
    def rows_only(self) -> bool:
        """Whether it looks at nothing but rows of features."""
        return all(window.kind == "features" for window in self.method.windows.values())

    def at(self, video: Video) -> Model:
        """The model at the rate it sees the video: rows of features count a video's own frames,
        so such a model takes every video as it comes; others keep their own rate."""
        if not self.rows_only or video.fps == self.fps:
            return self
        return replace(self, card={**self.card, "fps": video.fps})

    @property
    def fps(self) -> float:
        """Frames a second that the method works at."""
        return float(self.card["fps"])


def make_providers(method: Method, cache: Path | None = None) -> dict[str, Provider]:
    """The providers a method names, by role: "name", or "name:file" for one that reads a file
    (weights, or a .toml of settings), e.g. objects "onnx:people.toml". In `cache`, a folder, the
    values they compute are kept and found again."""
    made: dict[str, Provider] = {}
    for role, text in method.providers.items():
        name, _, file = text.partition(":")
        kind = plugins.find("providers", name)
        made[role] = kind(file) if file else kind()
        if cache and role in ROLES and not name.startswith("given"):
            made[role] = Cached(made[role], cache, stale="recompute")
    return made


def save(model: Model, folder: Path | str) -> Path:
    """Write the model's folder; an older one is replaced only when the new one is complete."""
    with writing(folder) as new:
        new.mkdir()
        write(model, new)
    return Path(folder)


def write(model: Model, folder: Path) -> None:
    """Write a model's files into an existing, empty folder."""
    tensors = {f"method.{k}": v for k, v in model.method.tensors().items()}
    for role, provider in model.providers.items():
        tensors |= {f"providers.{role}.{k}": v for k, v in provider.tensors().items()}
    # clones: a tensor may share its memory with another, which the format refuses
    save_file(
        {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
        folder / "model.safetensors",
    )
    (folder / "config.toml").write_text(config_text(model), encoding="utf-8")
    card = {
        **model.card,
        "format": FORMAT,
        "vigil": __version__,
        "method": model.name,
        "scenes": list(model.method.scenes),
        "facts": model.method.facts(),
        "providers": {role: p.describe() for role, p in model.providers.items()},
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2), encoding="utf-8")
    if model.calibration:
        text = json.dumps(model.calibration.as_dict())
        (folder / "calibration.json").write_text(text, encoding="utf-8")
    if model.ignore is not None:
        png = cv2.imencode(".png", model.ignore.astype(np.uint8) * 255)[1]
        (folder / "ignore.png").write_bytes(png.tobytes())
    if model.method.base is not None:
        (folder / "base").mkdir()
        write(base_model(model), folder / "base")


def base_model(model: Model) -> Model:
    """The model that a model stands on, as one of its own."""
    assert model.method.base is not None and model.method.stands_on is not None
    return Model(model.method.stands_on, model.method.base, {}, dict(model.card.get("base", {})))


def config_text(model: Model) -> str:
    """config.toml: the method and its keys, in a form a person can read."""
    lines = [f"method = {json.dumps(model.name)}", "", "[config]"]
    for key in fields(model.method.config):
        value = getattr(model.method.config, key.name)
        if value is not None:  # TOML has no null; a missing key is its default
            lines.append(f"{key.name} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def load(folder: Path | str, cache: Path | None = None, *, device: str = "cpu") -> Model:
    """A model from its folder; `ModelError` says which file is not what it should be. In `cache`
    boxes, flow and segmentation are kept and found again."""
    folder = Path(folder)
    if (folder / "model" / "card.json").is_file():  # a run's folder holds its model
        folder = folder / "model"
    card = read_json(folder / "card.json")
    newest = card.get("format")
    if not isinstance(newest, int):
        raise ModelError(f"{folder / 'card.json'}: format {newest!r}; expected a number")
    if newest > FORMAT:
        raise ModelError(
            f"{folder}: format {newest}, made by Vigil {card.get('vigil')}; this is {__version__}, "
            f"which reads up to format {FORMAT}; update Vigil"
        )
    try:
        model = rebuild(folder, card, cache)
    except ModelError:
        raise
    except VigilError as error:
        raise ModelError(f"{folder}: {error}") from error
    except BROKEN as error:
        what = f"{type(error).__name__}: {error}"
        raise ModelError(f"{folder}: not a usable model ({what}); fit it again") from error
    model.method.to(device).eval()
    return model


def rebuild(folder: Path, card: dict[str, Any], cache: Path | None) -> Model:
    """The parts of a model folder put together again."""
    config = read_toml(folder / "config.toml")
    kind = plugins.find("methods", config["method"])
    base = load(folder / "base").method if (folder / "base").is_dir() else None
    method: Method = kind(make_config(kind.Config, config.get("config", {})), base=base)
    tensors = load_file(folder / "model.safetensors")
    method.set_facts(card.get("facts", {}))
    method.scenes = tuple(card.get("scenes", ()))
    method.set_tensors({k[7:]: v for k, v in tensors.items() if k.startswith("method.")})
    providers = make_providers(method, cache)
    for role, provider in providers.items():
        start = f"providers.{role}."
        own = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
        provider.set_tensors(own)
    method.name = config["method"]
    model = Model(config["method"], method, providers, card)
    if (folder / "calibration.json").is_file():
        model.calibration = Calibration.from_dict(read_json(folder / "calibration.json"))
        model.remark = engage_again(method, card.get("engines", {}))
        float(card["fps"])  # without it nothing can be scored: found now, not later
    if (folder / "ignore.png").is_file():
        mask = cv2.imread(str(folder / "ignore.png"), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise ModelError(f"{folder / 'ignore.png'}: not a readable picture")
        model.ignore = np.asarray(mask) > 127
    return model


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; `ModelError` where it is missing or broken."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent}: no model here ({path.name} is missing)") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path}: found {type(data).__name__}; expected an object")
    return data
