"""`vigil extract` and `vigil backbones`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from vigil.commands.output import Json, Root, as_json, progress, say, table


def extract(
    source: str = typer.Argument(help="A data set, a folder of videos or pictures, or a video."),
    backbone: str = typer.Option(..., help="A name: c3d, i3d-r50, clip-vit-b-32, timm:..., ..."),
    out: Path | None = typer.Option(
        None, "--out", help="Where to write (else features/SOURCE-BACKBONE)."
    ),
    weights: Path | None = typer.Option(None, help="The published file of weights."),
    crops: int = typer.Option(1, help="Crops of each frame: 1, 5 or 10."),
    stride: int | None = typer.Option(None, help="Frames between clips (else a clip's length)."),
    engine: str = typer.Option("auto", help="auto, torch, openvino or onnx."),
    dtype: str = typer.Option("auto", help="auto, float32, bf16 or int8."),
    workers: int = typer.Option(1, help="Processes that share the cores."),
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
            source, out, options, root=root, split=data_split, workers=workers, progress=tell
        )
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
