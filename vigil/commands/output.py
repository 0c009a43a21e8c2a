"""What commands print: progress on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from vigil.sources import Progress

Set = typer.Option(None, "--set", metavar="KEY=VALUE", help="A key of the method or of the fit.")
Root = typer.Option(None, "--root", help="Folder of the data set (else VIGIL_DATA, user file).")
View = typer.Option(None, "--view", help="One view of the data set, e.g. top_depth (else all).")
Features = typer.Option(None, help="Folder of features, as `vigil extract` leaves it.")
Weights = typer.Option(None, help="The published weights of the backbone, for videos without.")
Cache = typer.Option(None, help="Keep boxes, flow and segmentation there for the next run.")
Ray = typer.Option(None, help="Address of a Ray cluster, HOST:6379.")
Json = typer.Option(False, "--json", help="Print JSON instead of a table.")


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar for each thing that is told, on stderr; none before the first is told."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from vigil.config import first_process

    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True),
    )  # fmt: skip
    tasks: dict[str, Any] = {}

    def quiet(what: str, done: int, of: int) -> None:
        """Of several processes one tells."""

    def tell(what: str, done: int, of: int) -> None:
        kind = what.partition(":")[0]  # "score: video7" shares its bar with "score: video6"
        if kind not in tasks:
            bar.start()
            tasks[kind] = bar.add_task(what, total=of or None)
        bar.update(tasks[kind], description=what, completed=done, total=of or None)

    try:
        yield tell if first_process() else quiet
        for task in bar.tasks:  # everything told of has ended, whatever its last word was
            end = task.total or max(task.completed, 1)
            bar.update(task.id, completed=end, total=end)
    finally:
        if tasks:
            bar.stop()


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Print rows as a table, a column for each key of any row; numbers with four digits."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    shown = Table(title=Text(title) if title else None, title_justify="left")
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        number = all(isinstance(row.get(name, 0), (int, float)) for row in rows)
        shown.add_column(str(name), justify="right" if number else "left", overflow="fold")
    for row in rows:  # Text: a name or a path in brackets is no mark-up
        shown.add_row(*(Text(cell(row.get(name))) for name in names))
    Console(width=None if Console().is_terminal else 160).print(shown)


def readable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a report without their long words, which `--json` and the page have."""
    return [{key: value for key, value in row.items() if key != "how"} for row in rows]


def cell(value: Any) -> str:
    """One value as a person reads it."""
    if value is None or value == {} or value == []:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {cell(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(part) for part in value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def as_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2, default=str))


def say(text: str) -> None:
    """A line for a person, on stderr, so that stdout stays data."""
    typer.echo(text, err=True)
