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
Json = typer.Option(False, "--json", help="Print JSON instead of a table.")


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar for each thing that is told, on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=Console(stderr=True),
    )  # fmt: skip
    tasks: dict[str, Any] = {}

    def tell(what: str, done: int, of: int) -> None:
        kind = what.partition(":")[0]  # "score: video7" shares its bar with "score: video6"
        if kind not in tasks:
            tasks[kind] = bar.add_task(what, total=of or None)
        bar.update(tasks[kind], description=what, completed=done, total=of or None)

    with bar:
        yield tell
        for task in tasks.values():  # what has no known end is at its end now
            current = next(t for t in bar.tasks if t.id == task)
            if current.total is None:
                bar.update(task, total=max(current.completed, 1))


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Print rows as a table; numbers with four digits."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    shown = Table(title=title or None, title_justify="left")
    for name in rows[0]:
        number = all(isinstance(row[name], (int, float)) for row in rows)
        shown.add_column(str(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(cell(value) for value in row.values()))
    Console(width=None if Console().is_terminal else 160).print(shown)


def cell(value: Any) -> str:
    """One value as a person reads it."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def as_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2, default=str))


def say(text: str) -> None:
    """A line for a person, on stderr, so that stdout stays data."""
    typer.echo(text, err=True)
