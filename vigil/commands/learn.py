"""`vigil fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vigil.commands.output import Cache, Features, Root, Set, View, progress, say

if TYPE_CHECKING:
    from vigil.bundle import Model
    from vigil.ensembles import Ensemble
    from vigil.methods.base import Method
    from vigil.records import Video


def fit(
    method: str = typer.Argument(help="A method: see `vigil methods`."),
    source: list[str] = typer.Argument(help="A data set, or videos and folders that are normal."),
    out: Path | None = typer.Option(
        None, "--out", help="The run's folder (else runs/METHOD-TIME)."
    ),
    root: Path | None = Root,
    preset: str | None = typer.Option(None, help="A named set of keys, or a .toml file of keys."),
    set_: list[str] = Set,
    val: list[str] = typer.Option(
        None, help="Normal footage to hold out (else a share of SOURCE)."
    ),
    ignore: Path | None = typer.Option(
        None, help="Regions never to look at: a mask picture (white) or a .json of polygons."
    ),
    extend: Path | None = typer.Option(None, help="Add SOURCE to this model, not starting over."),
    base: Path | None = typer.Option(None, help="The model that the method stands on."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the run in --out."),
    track: str = typer.Option("none", help="tensorboard, wandb, mlflow; comma-separated."),
    features: Path | None = Features,
    cache: Path | None = Cache,
    data_split: str | None = typer.Option(None, "--split", help="A variant of the data set."),
    view: str | None = View,
    each_view: bool = typer.Option(False, "--each-view", help="One model for each view of SOURCE."),
) -> None:
    """Learn what is normal (or what weak labels say) and calibrate on held-out normal footage."""
    from vigil import bundle, extraction, fitting
    from vigil.config import first_process
    from vigil.errors import ConfigError

    own, common, chosen = read_keys(method, preset, set_ or [], track)
    if extend and (own or common or val or ignore or base or resume or each_view):
        raise ConfigError("--extend keeps the model's own keys; give SOURCE, --root and --out only")
    with progress() as tell:
        train, held = extraction.training(
            source, val, root, split=data_split, view=view or chosen, features=features,
            progress=tell,
        )  # fmt: skip
        model: Model | Ensemble
        if extend:
            out = out or extend
            model = fitting.extend(
                of_method(bundle.load(extend, cache), method, extend), train, out, tell
            )
        else:
            out = out or fitting.new_run(method)
            options = {**common, "cache": cache, "resume": resume, "progress": tell}
            model = fresh(method, own, base, train, held, out, ignore, each_view, options)
    if first_process():
        say_done(model, out)


def fresh(
    method: str, own: dict[str, Any], base: Path | None, train: list[Video],
    held: list[Video] | None, out: Path, ignore: Path | None, each_view: bool,
    options: dict[str, Any],
) -> Model | Ensemble:  # fmt: skip
    """A model fitted from the beginning, or one for each view."""
    from vigil import bundle, extraction, fitting, plugins, sources, views
    from vigil.errors import ConfigError

    stands_on = bundle.load(base) if base else None
    keys = {**extraction.told_by(train, plugins.find("methods", method).Config), **own}

    def make() -> Method:
        return fitting.method(method, seed=int(options.get("seed", 0)), base=stands_on, **keys)

    if each_view:
        if ignore:
            raise ConfigError("--ignore is of one view; with --each-view fit that one by itself")
        return views.fit_each(make, train, held, out, **options)
    mask = sources.read_mask(ignore, train) if ignore else None
    return fitting.fit(make(), train, held, out, ignore=mask, **options)


def of_method(model: Model, method: str, place: Path) -> Model:
    """The model, if it is one of that method."""
    from vigil.errors import ConfigError

    if model.name != method:
        raise ConfigError(f"{place} is a model of {model.name}, not of {method}")
    return model


def read_keys(
    method: str, preset: str | None, pairs: list[str], track: str
) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """The method's keys and the fit's, from a preset and from --set, which has the last word; and
    the view that --set may name, too."""
    from vigil import plugins
    from vigil.config import parse_set, split_keys
    from vigil.config import preset as read_preset

    keys: dict[str, Any] = {**(read_preset(preset) if preset else {}), **parse_set(pairs)}
    if track != "none":
        keys["track"] = track
    view = keys.pop("view", None)
    return *split_keys(keys, plugins.find("methods", method).Config), view


def say_done(model: Model | Ensemble, out: Path) -> None:
    """What was made and what to type next."""
    from vigil.ensembles import Ensemble, threshold_of

    if isinstance(model, Ensemble):
        say(f"models: {out}, one for each view: {', '.join(model.models)}")
        say(f"alarm threshold of a view: {threshold_of(model).words()}")
        say(f"next: vigil score {out} VIDEO|DATA; vigil evaluate {out} DATA")
        return
    videos = [*model.card["train"], *model.card.get("extended", [])]
    say(f"model: {out}, fitted on {len(videos)} video{'s' * (len(videos) > 1)}")
    if model.calibration:
        say(f"alarm threshold: {model.calibration.threshold().words()}")
    say(f"next: vigil score {out} VIDEO")
