"""`vigil data ...`."""

from __future__ import annotations

from pathlib import Path

import typer

from vigil.commands.output import Json, Root, View, as_json, progress, say, table

app = typer.Typer(no_args_is_help=True, help="Look at, check, describe and make data sets.")


@app.command("list")
def list_(json: bool = Json) -> None:
    """The data sets Vigil knows, and which are at hand."""
    from vigil.data.catalog import list_datasets

    rows = list_datasets()
    as_json(rows) if json else table(rows, "data sets")


@app.command()
def info(
    name: str = typer.Argument(help="A data set, or a folder of your own."),
    root: Path | None = Root,
    split: str | None = typer.Option(None, help="A variant of the data set, e.g. weak."),
    view: str | None = View,
    json: bool = Json,
) -> None:
    """Parts, counts, scenes and known facts of a data set, the facts checked."""
    from vigil.data.catalog import describe
    from vigil.sources import open_data

    with progress() as tell:
        facts = describe(open_data(name, root, split=split, view=view, progress=tell))
    if json:
        as_json(facts)
        return
    parts, known = facts.pop("parts"), facts.pop("facts")
    table([{"part": part, **row} for part, row in parts.items()], name)
    table(known, "known of the complete set")
    facts = {key: value for key, value in facts.items() if value not in (None, "")}
    table([{"what": key, "found": value} for key, value in facts.items()])


@app.command()
def verify(
    name: str = typer.Argument(help="A data set, or a folder of your own."),
    root: Path | None = Root,
    split: str | None = typer.Option(None, help="A variant of the data set, e.g. weak."),
    view: str | None = View,
    json: bool = Json,
) -> None:
    """Name every bad file, missing label and length that does not match; exit code 3 if any."""
    from dataclasses import asdict

    from vigil.sources import find_problems

    with progress() as tell:
        found = find_problems(name, root, progress=tell, split=split, view=view)
    problems = [asdict(problem) for problem in found]
    if json:
        as_json(problems)
    elif problems:
        table(problems, f"{len(problems)} problems")
    else:
        say("no problem found")
    if problems:
        raise typer.Exit(3)


@app.command()
def init(
    folder: Path = typer.Argument(help="A folder of your own videos or image folders."),
    force: bool = typer.Option(False, "--force", help="Replace an existing manifest."),
) -> None:
    """Guess the layout of a folder and write a manifest (vigil.toml) for you to read and edit."""
    from vigil.data.folder import init_folder

    path = init_folder(folder, force=force)
    say(f"wrote {path}; read it, edit it, then: vigil data verify {folder}")


@app.command()
def make(
    name: str = typer.Argument(help="street or cabin"),
    out: Path = typer.Option(Path("data"), "--out", help="Where to write it."),
    layout: str | None = typer.Option(
        None,
        "--as",
        help="Another project's layout: ucsd-ped2, ucsd-ped2-frames, avenue, shanghaitech, "
        "shanghaitech-sd, ucf-crime, s3r, dad, dad-jigsaw.",
    ),
    seed: int = typer.Option(0, help="Another seed gives other people and other moments."),
    scale: float = typer.Option(1.0, help="Share of the data to make, e.g. 0.1 for a quick try."),
) -> None:
    """Generate a labelled data set, ours (version 1 frozen), resumable at any kill."""
    from vigil.sources import loader_of, make_data

    with progress() as tell:
        path = make_data(name, out, layout=layout, seed=seed, scale=scale, progress=tell)
    say(f"made {path}")
    loader = loader_of(layout) if layout else name
    say(f"next: vigil data info {loader} --root {path}" if loader else f"layout: {layout}")


@app.command()
def prepare(
    name: str = typer.Argument(help="dad"),
    out: Path = typer.Option(Path("data"), "--out", help="Where the prepared folder goes."),
    root: Path | None = Root,
    view: str | None = View,
    link: bool = typer.Option(False, "--link", help="Hard links in place of copies."),
) -> None:
    """From a data set as published, the layout that a project learns from; goes on where it was."""
    from vigil.sources import prepare_data

    with progress() as tell:
        path = prepare_data(name, out, root, view=view, link=link, progress=tell)
    say(f"prepared {path}")
    say(f"next: vigil data info {name} --root {path}")
