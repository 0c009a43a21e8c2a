"""`vigil score`, `evaluate` and `show`."""

from __future__ import annotations

from pathlib import Path

import typer

from vigil.commands.output import (
    Cache,
    Features,
    Json,
    Ray,
    Root,
    View,
    Weights,
    as_json,
    progress,
    readable,
    say,
    table,
)


def score(
    model: Path = typer.Argument(help="A run's folder, or a model's."),
    source: str = typer.Argument(help="A video, a folder of videos or pictures, or a data set."),
    out: Path | None = typer.Option(
        None, "--out", help="Where to write (else MODEL/scores/SOURCE)."
    ),
    root: Path | None = Root,
    alarms_per_hour: float | None = typer.Option(
        None, help="False alarms an hour that you will bear (else as fitted: 1)."
    ),
    smoothing: str = typer.Option("", help="causal:1s, centred:0.5s, none (else as fitted)."),
    as_live: bool = typer.Option(False, "--as-live", help="As a camera would have scored it."),
    clips: bool = typer.Option(False, "--clips", help="Write each event as a short .mp4."),
    annotated: bool = typer.Option(False, "--annotated", help="Write the whole video, painted."),
    report: Path | None = typer.Option(None, help="Write an HTML report and PNGs there."),
    features: Path | None = Features,
    weights: Path | None = Weights,
    cache: Path | None = Cache,
    ray: str | None = Ray,
    split: str | None = typer.Option(None, help="A variant of the data set, e.g. weak."),
    view: str | None = View,
    json: bool = Json,
) -> None:
    """Score every frame; write scores.parquet, units.parquet, events.json and events.csv."""
    from vigil import reporting
    from vigil.errors import ConfigError

    if cache and ray:
        raise ConfigError("--cache keeps values on this machine; it does not go with --ray")
    with progress() as tell:
        result = reporting.score_source(
            model, source, out, root=root, split=split, view=view,
            alarms_per_hour=alarms_per_hour, smoothing=smoothing, as_live=as_live,
            clips=clips, annotated=annotated, report=report,
            features=features, weights=weights, cache=cache, ray=ray, progress=tell,
        )  # fmt: skip
    if json:
        as_json(result.as_dict())
    else:
        table(result.event_rows(), f"events above {result.threshold.words()}")
        if not result.events:
            say(f"no event above {result.threshold.words()}")
        say(f"written to {result.folder}: {', '.join(result.files)}")
    for note in result.notes:
        say(f"note: {note}")
    for name, problem in result.failures.items():
        typer.secho(f"error: {name}: {problem}", fg="red", err=True)
    if result.failures:
        raise typer.Exit(3)


def evaluate(
    what: Path = typer.Argument(help="A run's folder, a model's, or a folder of saved scores."),
    data: str = typer.Argument(help="A data set, or a folder with a manifest."),
    root: Path | None = Root,
    split: str | None = typer.Option(None, help="A variant of the data set, e.g. weak."),
    view: str | None = View,
    as_live: bool = typer.Option(False, "--as-live", help="Score as a camera would have."),
    report: Path | None = typer.Option(None, help="Write an HTML report and PNGs there."),
    features: Path | None = Features,
    weights: Path | None = Weights,
    cache: Path | None = Cache,
    json: bool = Json,
) -> None:
    """Measure against the truth of a test part; every number says how it was obtained."""
    from vigil import reporting
    from vigil.metrics.report import counted
    from vigil.metrics.report import table as rows_of

    with progress() as tell:
        found = reporting.evaluate_source(
            what, data, root=root, split=split, view=view, as_live=as_live, report=report,
            features=features, weights=weights, cache=cache, progress=tell,
        )  # fmt: skip
    rows = rows_of(found)
    if json:
        as_json({"rows": rows, "notes": found.notes, "made": found.made})
        return
    table(readable(rows), f"{what} on {data}")
    main = counted(found)
    for metric in main.metrics.values() if main else ():
        say(f"{metric.name}: {metric.how}")
    for note in found.notes:
        say(f"note: {note}")
    if report:
        say(f"report: {report}/report.html")


def show(
    run: Path = typer.Argument(help="A folder of scores, or a run's folder that holds some."),
    video: str = typer.Argument(help="The name of a video in it, or the path of the file."),
    against: Path | None = typer.Option(None, help="Another run, its curve drawn below."),
    frame: int | None = typer.Option(None, help="Also the picture of this frame."),
    data: str | None = typer.Option(None, help="The data set, for the truth and the frames."),
    root: Path | None = Root,
    out: Path | None = typer.Option(
        None, "--out", help="The picture to write (else beside the scores)."
    ),
) -> None:
    """A picture of a video's score curve, its events and its threshold."""
    from vigil import reporting

    path = reporting.show_video(
        run, video, against=against, frame=frame, data=data, root=root, out=out
    )
    say(f"wrote {path}")


def manifold(
    model: Path = typer.Argument(help="A run's folder, or a model's: scene or scene-memory."),
    data: str = typer.Argument(help="The data set whose normal training videos are shown."),
    against: Path | None = typer.Option(None, help="Another model, its picture beside."),
    features: Path | None = Features,
    weights: Path | None = Weights,
    root: Path | None = Root,
    split: str | None = typer.Option(None, help="A variant of the data set, e.g. sd."),
    most: int = typer.Option(1000, min=4, help="Points of a picture."),
    out: Path | None = typer.Option(
        None, "--out", help="The picture to write (else MODEL/manifold.png)."
    ),
) -> None:
    """A picture (t-SNE) of what is normal in each scene, as one model sees it or two."""
    from vigil.manifolds import draw_manifolds

    models = [model, *([against] if against else [])]
    path = out or model / "manifold.png"
    with progress() as tell:
        panels = draw_manifolds(
            models, data, path, root=root, split=split, features=features, weights=weights,
            most=most, progress=tell,
        )  # fmt: skip
    for panel in panels:
        told = "one scene" if panel.silhouette is None else f"silhouette {panel.silhouette:.3f}"
        say(f"{panel.title}: {len(panel.points)} points, {told}")
    say(f"wrote {path}")
