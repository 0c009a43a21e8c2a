"""One model a view: a folder of runs, and how their scores become one.

ensemble.json            {"format": 1, "fuse": "mean", "views": {"front_IR": "front_IR", ...}}
front_IR/model/ ...      the run of each view, as `vigil fit` leaves it
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vigil import bundle
from vigil.bundle import Model
from vigil.data.recordings import form
from vigil.errors import InputError, ModelError
from vigil.files import writing
from vigil.records import Video
from vigil.scores.events import Threshold, threshold
from vigil.scores.fuse import How
from vigil.scores.smooth import smooth

FILE, FORMAT = "ensemble.json", 1
FUSE: How = "mean"  # of the views' calibrated scores; the one way so far


@dataclass(frozen=True)
class Ensemble:
    """A model for each view; whatever scores a video takes the one of its view."""

    models: Mapping[str, Model]

    def at(self, video: Video) -> Model:
        """The model of a video's view, at the rate it sees the video."""
        return self.models[self.view_of(video)].at(video)

    def view_of(self, video: Video) -> str:
        """The view of a video: as its data set says, else as its path names it."""
        if video.view in self.models:
            return video.view
        named = [view for view in self.models if re.search(form(view), video.source, re.IGNORECASE)]
        if video.view or len(named) != 1:
            found = f"view {video.view!r}" if video.view else "no view in its path"
            raise InputError(
                f"{video.source}: {found}; there are models of {', '.join(self.models)}: name the "
                "file or its folder after one of them"
            )
        return named[0]

    @property
    def card(self) -> dict[str, Any]:
        """Where the models come from: the first one's card, with the views."""
        first = next(iter(self.models.values())).card
        videos = [name for model in self.models.values() for name in model.card.get("train", [])]
        return {**first, "train": videos, "views": list(self.models)}


def save(folder: Path, views: Sequence[str]) -> None:
    """Say that the runs in a folder, one a view, belong together; written when all are there."""
    data = {"format": FORMAT, "fuse": FUSE, "views": {view: place(view) for view in views}}
    with writing(folder / FILE) as new:
        new.write_text(json.dumps(data, indent=1), encoding="utf-8")


def place(view: str) -> str:
    """The name of a view's folder."""
    return re.sub(r"[^\w.-]", "_", view)


def load(folder: Path | str, cache: Path | None = None) -> Model | Ensemble:
    """A model, or an ensemble of one model a view, from its folder; `ModelError` for neither."""
    folder = Path(folder)
    if not (folder / FILE).is_file():
        if not (folder / "card.json").is_file() and not (folder / "model").is_dir():
            started = sorted(p.parent.parent.name for p in folder.glob("*/model/card.json"))
            if started:
                raise ModelError(
                    f"{folder}: no {FILE}, only the runs {', '.join(started)}; go on with `vigil "
                    "fit ... --each-view --resume`, or name one of them"
                )
        return bundle.load(folder, cache)
    data = bundle.read_json(folder / FILE)
    views = data.get("views")
    if data.get("format") != FORMAT or not isinstance(views, dict) or not views:
        raise ModelError(f"{folder / FILE}: not an ensemble of format {FORMAT}; fit it again")
    if data.get("fuse") != FUSE:
        raise ModelError(f"{folder / FILE}: fuse {data.get('fuse')!r}; expected {FUSE!r}")
    models = {str(view): bundle.load(folder / str(name), cache) for view, name in views.items()}
    return Ensemble(models)


def models_of(model: Model | Ensemble) -> list[Model]:
    """The models: one, or one a view."""
    return list(model.models.values()) if isinstance(model, Ensemble) else [model]


def threshold_of(model: Model | Ensemble, alarms_per_hour: float | None = None) -> Threshold:
    """Where an alarm starts for single videos, for so many false alarms an hour of each view."""
    curves = []
    for each in models_of(model):
        if each.calibration is None:
            raise InputError(
                "this model was never calibrated on normal footage, so it has no threshold; fit it "
                "again, or import it again with --val"
            )
        curves.append(each.calibration)
    first = curves[0]
    smoothed = [smooth(x, c.smoothing, c.fps) for c in curves for x in c.normal.values()]
    return threshold(smoothed, first.fps, alarms_per_hour or first.alarms_per_hour)
