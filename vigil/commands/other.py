"""`vigil demo`, `methods` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from vigil.commands.output import Json, as_json, progress, readable, say, table


def demo(
    out: Path = typer.Option(Path("runs/demo"), "--out", help="Where to put everything."),
    scale: float = typer.Option(1.0, help="Share of the data to make, e.g. 0.1 for a quick try."),
    seed: int = typer.Option(0, help="Of the generated data."),
) -> None:
    """Generate the street data, fit `nearest`, score, evaluate, and write a report to open."""
    from vigil import reporting
    from vigil.metrics.report import table as rows_of

    with progress() as tell:
        found = reporting.demo(out, scale=scale, seed=seed, progress=tell)
    rows = [row for row in rows_of(found) if (row["group"], row["channel"]) == ("all", "score")]
    table(readable(rows), "street, test part")
    say(f"made: {out}/data/street (videos and labels), {out}/model, {out}/scores")
    say(f"report: {out}/report.html  <- open it in a browser")
    say("next: vigil fit nearest YOUR_NORMAL_VIDEO.mp4 --out runs/mine")
    say("then: vigil score runs/mine ANOTHER.mp4 --report runs/mine/report")


def methods(
    name: str | None = typer.Argument(None, help="Show this one's card and keys."),
    cite: bool = typer.Option(False, "--cite", help="Print its BibTeX only."),
    json: bool = Json,
) -> None:
    """The methods, or the card of one."""
    from vigil import plugins
    from vigil.config import FitConfig

    if name is None:
        rows = [method_row(each) for each in plugins.names("methods")]
        as_json(rows) if json else table(rows, "methods")
        return
    kind = plugins.find("methods", name)
    card = (kind.__doc__ or "").strip()
    keys = keys_of(kind.Config)
    if cite:
        typer.echo(citation(card))
    elif json:
        as_json({"name": name, "card": card, "keys": {k["key"]: k["default"] for k in keys}})
    else:
        typer.echo(card + "\n")
        table(keys, f"keys of {name}, for --set")
        table(keys_of(FitConfig), "keys of every fit, for --set")


def citation(card: str) -> str:
    """The BibTeX at the end of a card, its lines joined again."""
    return " ".join(card[card.find("@") :].split()) if "@" in card else "no citation in the card"


def keys_of(config: type) -> list[dict[str, Any]]:
    """Name, default and allowed values of each key of a configuration."""
    rows = []
    for key, info in config.__pydantic_fields__.items():  # type: ignore[attr-defined]
        kind = str(getattr(info.annotation, "__name__", info.annotation))
        limits = [limit_in_words(limit) for limit in info.metadata]
        default = info.description or repr(info.default)
        rows.append({"key": key, "default": default, "kind": kind, "limits": limits})
    return rows


def limit_in_words(limit: object) -> str:
    """A bound of a key, e.g. ">= 32"."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
    found = [(sign, getattr(limit, key, None)) for key, sign in signs.items()]
    words = [f"{sign} {value}" for sign, value in found if value is not None]
    return words[0] if words else str(getattr(limit, "pattern", limit)).strip("^$()")


def method_row(name: str) -> dict[str, Any]:
    """A method in one line."""
    from vigil import plugins

    kind = plugins.find("methods", name)
    first = (kind.__doc__ or "").strip().splitlines()[0]
    return {"method": name, "what": first}


def doctor(json: bool = Json) -> None:
    """What this machine has for Vigil: versions, codecs, devices, disk; what to mend."""
    from vigil.doctor import examine

    rows = examine()
    as_json(rows) if json else table(rows, "doctor")
    if any(row["state"] == "missing" for row in rows):
        raise typer.Exit(6)
