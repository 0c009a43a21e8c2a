"""`vigil extract` and `vigil backbones`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from vigil.commands.output import Features, Json, Ray, Root, Set, as_json, progress, say, table


def extract(
    source: str = typer.Argument(help="A data set, a folder, a video, or a URL (s3://...)."),
    backbone: str = typer.Option(..., help="A name: c3d, i3d-r50, clip-vit-b-32, timm:..., ..."),
    out: str | None = typer.Option(
        None, "--out", help="Where to write, a folder or URL (else features/SOURCE-BACKBONE)."
    ),
    weights: Path | None = typer.Option(None, help="The published file of weights."),
    crops: int = typer.Option(1, help="Crops of each frame: 1, 5 or 10."),
    stride: int | None = typer.Option(None, help="Frames between clips (else a clip's length)."),
    engine: str = typer.Option("auto", help="auto, torch, openvino or onnx."),
    dtype: str = typer.Option("auto", help="auto, float32, bf16 or int8."),
    workers: int = typer.Option(1, help="Processes that share the cores."),
    ray: str | None = Ray,
    root: Path | None = Root,
    data_split: str | None = typer.Option(None, "--split", help="A variant of the data set."),
    json: bool = Json,
) -> None:
    """Rows of features of every video, one .safetensors each; what is there is not made again."""
    from vigil.extraction import extract_source

    options = {"backbone": backbone, "weights": weights, "crops": crops, "stride": stride,
               "engine": engine, "dtype": dtype}  # fmt: skip
    with progress() as tell:
        folder, done = extract_source(
            source, out, options, root=root, split=data_split, workers=workers, ray=ray,
            progress=tell,
        )  # fmt: skip
    if json:
        as_json({"folder": str(folder), **asdict(done), "frames_per_s": round(done.rate(), 1)})
    else:
        kept = f", {len(done.skipped)} were there" if done.skipped else ""
        say(f"{len(done.made)} made{kept}: {folder}, {done.rate():.0f} frames/s")
    for name, lost in done.damaged.items():
        frames = ", ".join(f"{first}..{stop - 1}" for first, stop in lost)
        say(f"note: {name}: frames {frames} were damaged; the next good one stands for them")
    for name, problem in done.failed.items():
        typer.secho(f"error: {name}: {problem}", fg="red", err=True)
    if done.failed:
        raise typer.Exit(3)


def backbones(json: bool = Json) -> None:
    """The backbones of `vigil extract`: clip, size, row, weights wanted, and what they were checked
    against."""
    from vigil import plugins

    rows = []
    for name in plugins.names("backbones"):
        kind = plugins.find("backbones", name)
        rows.append(
            {
                "backbone": name,
                "frames": kind.frames,
                "size": f"{kind.size[0]}x{kind.size[1]}",
                "row": kind.dim,
                "crops": "/".join(map(str, kind.crop_counts)),
                "checked against": kind.checked,
                "weights": kind.weights or "none needed",
            }
        )
    if json:
        as_json(rows)
    else:
        table(rows, "vigil extract SOURCE --backbone NAME; also timm:MODEL")


features = typer.Typer(help="Features in the layouts of other projects.", no_args_is_help=True)


@features.command()
def convert(
    source: Path = typer.Argument(help="A folder or file of features, in any known layout."),
    to: str = typer.Option(..., help="store, mil-txt, mil-txt-c, ten-crop-npy, crop-npy, ..."),
    out: Path = typer.Option(..., "--out", help="The folder, or .h5 file, to write."),
    layout: str = typer.Option("auto", "--from", help="The layout of SOURCE, if it is not plain."),
) -> None:
    """Write features in another layout."""
    from vigil.features.layouts import convert as convert_all

    with progress() as tell:
        names = convert_all(
            source, to, out, lambda done, of, name: tell(f"convert: {name}", done, of),
            layout=layout,
        )  # fmt: skip
    say(f"{len(names)} videos as {to}: {out}")


def dictionary(
    data: str = typer.Argument(help="A data set, or a folder with a manifest."),
    features: Path = typer.Option(..., help="Folder of features, in any known layout."),
    kind: str = typer.Option("taskaware", help="taskaware, universal, both or textbook."),
    out: Path = typer.Option(Path("dictionary"), "--out", help="The tree's folder."),
    percent: int | None = typer.Option(None, help="Atoms, as a share of the normal videos."),
    universal: Path | None = typer.Option(None, help="A universal dictionary, .npy (rows, D)."),
    root: Path | None = Root,
    data_split: str | None = typer.Option(None, "--split", help="A variant of the data set."),
) -> None:
    """Learn a dictionary of normal features, in the layout of the S3R project."""
    from vigil import dictionaries, extraction

    with progress() as tell:
        videos, _ = extraction.training(
            [data], None, root, split=data_split, features=features, progress=tell
        )
        made = dictionaries.make(
            videos, out, Path(data).name, kind, percent=percent, universal=universal, progress=tell
        )
    say(f"{made.shape[0]} atoms of {made.shape[1]}, from {made.videos} videos: {made.path}")


def import_(
    file: Path = typer.Argument(help="A checkpoint as its authors published it."),
    method: str = typer.Option(..., help="The method it is of: mil, rtfm, s3r, jigsaw, mama, ..."),
    out: Path = typer.Option(..., "--out", help="The model's folder to write."),
    dictionary: Path | None = typer.Option(None, help="The dictionary of an s3r checkpoint."),
    fps: float = typer.Option(30.0, min=0.1, help="Frames a second that it was trained at."),
    set_: list[str] = Set,
    val: list[str] = typer.Option(None, help="Normal footage, for the threshold."),
    features: Path | None = Features,
    root: Path | None = Root,
    data_split: str | None = typer.Option(None, "--split", help="A variant of the data set."),
) -> None:
    """Make a model of a published checkpoint; nothing in the file is ever run."""
    from vigil import extraction, fitting, plugins
    from vigil.authors import apart, import_checkpoint
    from vigil.config import parse_set, split_keys
    from vigil.errors import ConfigError

    keys, of_base = apart(method, parse_set(set_ or []))
    own, of_fit = split_keys(keys, plugins.find("methods", method).Config)
    if of_fit:
        raise ConfigError(f"--set {', '.join(of_fit)}: keys of a fit; nothing is fitted here")
    keys = {**own, **of_base, **({"dictionary": str(dictionary)} if dictionary else {})}
    model = import_checkpoint(file, method, out, fps=fps, **keys)
    if val:
        with progress() as tell:
            normal, _ = extraction.training(
                val, None, root, split=data_split, features=features, progress=tell
            )
            fitting.calibrate_again(model, normal, out)
    kept = "" if val else "; not calibrated: `vigil score` needs --val, `vigil evaluate` does not"
    say(f"model: {out}{kept}")
