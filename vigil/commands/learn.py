"""`vigil fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vigil.commands.output import Cache, Features, Root, Set, progress, say

if TYPE_CHECKING:
    from vigil.bundle import Model


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
) -> None:
    """Learn what is normal (or what weak labels say) and calibrate on held-out normal footage."""
    from vigil import bundle, extraction, fitting, sources
    from vigil.errors import ConfigError

    own, common = read_keys(method, preset, set_ or [], track)
    if extend and (own or common or val or ignore or base or resume):
        raise ConfigError("--extend keeps the model's own keys; give SOURCE, --root and --out only")
    with progress() as tell:
        train, held = extraction.training(
            source, val, root, split=data_split, features=features, progress=tell
        )
        if extend:
            out = out or extend
            model = fitting.extend(
                of_method(bundle.load(extend, cache), method, extend), train, out, tell
            )
        else:
            stands_on = bundle.load(base) if base else None
            made = fitting.method(method, seed=int(common.get("seed", 0)), base=stands_on, **own)
            out = out or fitting.new_run(method)
            model = fitting.fit(
                made, train, held, out,
                ignore=sources.read_mask(ignore, train) if ignore else None,
                cache=cache, resume=resume, progress=tell, **common,
            )  # fmt: skip
    say_done(model, out)


def of_method(model: Model, method: str, place: Path) -> Model:
    """The model, if it is one of that method."""
    from vigil.errors import ConfigError

    if model.name != method:
        raise ConfigError(f"{place} is a model of {model.name}, not of {method}")
    return model


def read_keys(
    method: str, preset: str | None, pairs: list[str], track: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The method's keys and the fit's, from a preset and from --set, which has the last word."""
    from vigil import plugins
    from vigil.config import parse_set, split_keys
    from vigil.config import preset as read_preset

    keys: dict[str, Any] = {**(read_preset(preset) if preset else {}), **parse_set(pairs)}
    if track != "none":
        keys["track"] = track
    return split_keys(keys, plugins.find("methods", method).Config)


def say_done(model: Model, out: Path) -> None:
    """What was made and what to type next."""
    videos = [*model.card["train"], *model.card.get("extended", [])]
    say(f"model: {out}, fitted on {len(videos)} video{'s' * (len(videos) > 1)}")
    if model.calibration:
        say(f"alarm threshold: {model.calibration.threshold().words()}")
    say(f"next: vigil score {out} VIDEO")
