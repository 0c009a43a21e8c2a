"""`vigil fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vigil.commands.output import Root, Set, progress, say

if TYPE_CHECKING:
    from vigil.bundle import Model


def fit(
    method: str = typer.Argument(help="A method: see `vigil methods`."),
    source: list[str] = typer.Argument(help="A data set, or videos and folders that are normal."),
    out: Path | None = typer.Option(None, "--out", help="The run's folder [runs/METHOD-TIME]."),
    root: Path | None = Root,
    preset: str | None = typer.Option(None, help="A named set of keys, or a .toml file of keys."),
    set_: list[str] = Set,
    val: list[str] = typer.Option(None, help="Normal footage to hold out [a share of SOURCE]."),
    ignore: Path | None = typer.Option(
        None, help="Regions never to look at: a mask picture (white) or a .json of polygons."
    ),
    extend: Path | None = typer.Option(None, help="Add SOURCE to this model, not starting over."),
    base: Path | None = typer.Option(None, help="The model that the method stands on."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the run in --out."),
    track: str = typer.Option("none", help="tensorboard, wandb, mlflow; comma-separated."),
    data_split: str | None = typer.Option(None, "--split", help="A variant of the data set."),
) -> None:
    """Learn what is normal (or what weak labels say) and calibrate on held-out normal footage."""
    from vigil import bundle, fitting, plugins, sources
    from vigil.config import parse_set, split_keys
    from vigil.config import preset as read_preset

    keys: dict[str, Any] = {**(read_preset(preset) if preset else {}), **parse_set(set_ or [])}
    if track != "none":
        keys["track"] = track
    own, common = split_keys(keys, plugins.find("methods", method).Config)
    train, held = sources.find_training(source, root, split=data_split)
    held = sources.find_training(val, root)[0] if val else held
    with progress() as tell:
        if extend:
            model = bundle.load(extend)
            model = fitting.extend(model, train, out or extend, tell)
            say_done(model, out or extend)
            return
        made = fitting.method(
            method,
            seed=int(common.get("seed", 0)),
            base=bundle.load(base) if base else None,
            **own,
        )
        mask = sources.read_mask(ignore, train) if ignore else None
        out = out or fitting.new_run(method)
        model = fitting.fit(
            made, train, held, out, ignore=mask, resume=resume, progress=tell, **common
        )
    say_done(model, out)


def say_done(model: Model, out: Path) -> None:
    """What was made and what to type next."""
    say(f"model: {out}/model, fitted on {len(model.card['train'])} videos")
    if model.calibration:
        say(f"alarm threshold: {model.calibration.threshold().words()}")
    say(f"next: vigil score {out} VIDEO")
