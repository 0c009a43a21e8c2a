"""The command line: `vigil --help`.

Exit codes: 0 done · 1 a fault in Vigil · 2 wrong use · 3 bad input, or a part of a batch failed ·
4 the model does not fit · 5 cannot write · 6 a package is missing · 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
import traceback

import typer

from vigil.commands import data, features, learn, look, other
from vigil.errors import StorageError, VigilError
from vigil.files import FULL

HELP = """Video anomaly detection: learn what is normal, score every frame, show why, measure.

Start with [bold]vigil demo[/bold], or with your own camera:
[bold]vigil fit nearest normal.mp4 --out runs/mine[/bold], then [bold]vigil score runs/mine
new.mp4[/bold].

Exit codes: 0 done, 1 a fault in Vigil, 2 wrong use, 3 bad input, 4 the model does not fit,
5 cannot write, 6 a package is missing, 130 Ctrl-C.
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
for command in (
    learn.fit, features.extract, look.score, look.evaluate, look.show, look.manifold, other.demo,
    other.methods, other.doctor, features.backbones, features.dictionary,
):  # fmt: skip
    app.command()(command)
app.command("import")(features.import_)
app.add_typer(features.features, name="features")


@app.callback(invoke_without_command=True)
def start(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from vigil import __version__

        typer.echo(f"vigil {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's mistake is one clear line, never a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and the like keep their way
            signal.signal(number, stop)
    try:
        app(prog_name="vigil")
    except VigilError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            typer.secho(f"error: disk full ({error}); free some space", fg="red", err=True)
            sys.exit(StorageError.exit_code)
        traceback.print_exc()
        typer.secho("this is a fault in Vigil; please report it with the lines above", err=True)
        sys.exit(1)


def stop(number: int, frame: object) -> None:
    """Ctrl-C is an exit like any other: what was being written is removed on the way out."""
    signal.signal(number, signal.SIG_IGN)  # a second one would cut the tidying short
    typer.secho("stopped; nothing is half-written", fg="yellow", err=True)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
