"""Scores on disk: Parquet, one row a frame, one table of units beside; how they were made in the
metadata of the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vigil.errors import InputError
from vigil.files import writing
from vigil.records import Scores, UnitTable

FRAMES, UNITS = "scores.parquet", "units.parquet"
CHANNEL = "channel."
BOX = ("x1", "y1", "x2", "y2")


def write(folder: Path | str, scores: Iterable[Scores]) -> Path:
    """Write `scores.parquet` and `units.parquet` of a run; each is whole or not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    scores = list(scores)
    if not scores:
        raise InputError("no scores to write")
    folder = Path(folder)
    made = {row.video: dict(row.made) for row in scores}
    # str keys; numpy scalars in `made` would not be JSON
    meta = {b"vigil": json.dumps({"format": 1, "made": made}, default=str).encode()}
    for name, tables in (
        (UNITS, [unit_columns(s) for s in scores]),
        (FRAMES, map(columns, scores)),
    ):
        whole = pa.concat_tables([pa.table(c) for c in tables], promote_options="default")
        with writing(folder / name) as path:
            pq.write_table(whole.replace_schema_metadata(meta), path, compression="zstd")
    return folder


def columns(scores: Scores) -> dict[str, Any]:
    """The columns of one video's frames."""
    n = len(scores)
    return {
        "video": [scores.video] * n,
        "frame": np.arange(n, dtype=np.int64),
        "time_s": scores.time.astype(np.float64),
        "score": scores.score.astype(np.float64),
        "smoothed": scores.smoothed.astype(np.float64),
        "known_at": scores.known_at.astype(np.int64),
        "warm_up": scores.warm_up.astype(bool),
        **{CHANNEL + name: v.astype(np.float64) for name, v in scores.channels.items()},
    }


def unit_columns(scores: Scores) -> dict[str, Any]:
    """The columns of one video's units."""
    table = scores.units or empty_units()
    n = len(table)
    return {
        "video": np.array([scores.video] * n, dtype=str).tolist() or np.array([], dtype=str),
        "window": table.window.astype(str),
        "first": table.first.astype(np.int64),
        "stop": table.stop.astype(np.int64),
        "seen_stop": table.seen_stop.astype(np.int64),
        **{name: table.box[:, i].astype(np.float32) for i, name in enumerate(BOX)},
        "score": table.score.astype(np.float64),
        **{CHANNEL + name: v.astype(np.float64) for name, v in table.channels.items()},
    }


def empty_units() -> UnitTable:
    """A table of no units."""
    none = np.zeros(0, dtype=np.int64)
    return UnitTable(none.astype(str), none, none, none, np.zeros((0, 4)), np.zeros(0), {})


def read(folder: Path | str) -> dict[str, Scores]:
    """The scores of a run's folder, by video; `InputError` says what is wrong with a file."""
    folder = Path(folder)
    frames, made = read_table(folder / FRAMES)
    units = read_table(folder / UNITS)[0] if (folder / UNITS).is_file() else None
    needed = {"video", "frame", "time_s", "score", "smoothed", "known_at", "warm_up"}
    if missing := needed - set(frames):
        raise InputError(f"{folder / FRAMES}: columns {sorted(missing)} are missing")
    result = {}
    for video, rows in rows_by_video(frames["video"]).items():
        order = rows[np.argsort(frames["frame"][rows], kind="stable")]
        expected = np.arange(len(order))
        if not np.array_equal(frames["frame"][order], expected):
            raise InputError(f"{folder / FRAMES}: {video}: frames are missing or come twice")
        result[video] = Scores(
            video=video,
            score=frames["score"][order],
            smoothed=frames["smoothed"][order],
            channels=channels(frames, order),
            time=frames["time_s"][order],
            known_at=frames["known_at"][order],
            warm_up=frames["warm_up"][order],
            units=unit_table(units, video) if units else None,
            made=made.get(video, {}),
        )
    return result


def read_table(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A Parquet file as arrays by column, and the `made` of its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        meta = json.loads((table.schema.metadata or {}).get(b"vigil", b"{}"))
    except FileNotFoundError:
        raise InputError(f"{path.parent}: no scores here ({path.name} is missing)") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})") from error
    arrays = {n: table.column(n).to_numpy(zero_copy_only=False) for n in table.column_names}
    return arrays, dict(meta.get("made", {}))


def rows_by_video(names: np.ndarray) -> dict[str, np.ndarray]:
    """Row numbers of each video, videos in order of appearance."""
    found, first, inverse = np.unique(names.astype(str), return_index=True, return_inverse=True)
    order = np.argsort(first)
    return {str(found[i]): np.flatnonzero(inverse == i) for i in order}


def channels(table: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {
        name[len(CHANNEL) :]: values[rows]
        for name, values in table.items()
        if name.startswith(CHANNEL)
    }


def unit_table(table: Mapping[str, np.ndarray], video: str) -> UnitTable:
    """The units of one video."""
    rows = np.flatnonzero(table["video"].astype(str) == video)
    return UnitTable(
        window=table["window"][rows],
        first=table["first"][rows],
        stop=table["stop"][rows],
        seen_stop=table["seen_stop"][rows],
        box=np.stack([table[name][rows] for name in BOX], 1),
        score=table["score"][rows],
        channels=channels(table, rows),
    )
