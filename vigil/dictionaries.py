"""`dictionary`: S3R's dictionaries as files, in the tree that the original project keeps.

    dictionary/NAME/NAME_regular_features-2048dim.training.pickle       segments of normal videos
    dictionary/NAME/NAME_dictionaries.taskaware.omp.100iters.90pct.npy  what is learned from them
    dictionary/NAME/NAME_states.universal.npy                           what is chosen from ...
    dictionary/kinetics400/kinetics400_dictionaries.universal.omp.100iters.npy

"100iters" is part of the name that the original's settings ask for, not how ours is learned.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vigil import plugins
from vigil.errors import ConfigError, InputError, unknown
from vigil.files import load_pickle, writing
from vigil.methods import _dictionary
from vigil.methods._temporal import q_lin
from vigil.records import Video
from vigil.sources import Progress, quiet

SEGMENTS = 32
PERCENT = {"shanghaitech": 90.0, "ucf-crime": 50.0}  # atoms for a hundred videos, as published
UNIVERSAL = Path("kinetics400") / "kinetics400_dictionaries.universal.omp.100iters.npy"
FILES = {
    "taskaware": "{name}_dictionaries.taskaware.omp.100iters.{percent:g}pct.npy",
    "universal": "{name}_states.universal.npy",
    "both": "{name}_states.both.{percent:g}pct.npy",
    "textbook": "{name}_dictionaries.textbook.omp.{percent:g}pct.npy",
}


class Made(NamedTuple):
    """A dictionary that was written."""

    path: Path
    shape: tuple[int, int]  # (atoms, channels)
    videos: int  # normal ones it was made from
    regular: Path | None  # the file of their segments


def make(
    videos: Iterable[Video],
    root: Path | str,
    name: str,
    kind: str = "taskaware",
    *,
    percent: float | None = None,
    universal: Path | str | None = None,
    regular: bool = True,
    seed: int = 42,
    progress: Progress = quiet,
) -> Made:
    """Make a dictionary of the normal training videos and write it under `root`.

    videos     with features given (`extraction.with_features`); anomalous ones are left out
    name       of the data set, or an alias of it;  kind  taskaware, universal, both or textbook
    percent    atoms for a hundred videos; None = 90, and 50 for ucf-crime
    universal  file to choose atoms from; None = the one in the tree
    regular    also write the segments of the normal videos (UCF-Crime: 2.1 GB, held in memory)

    Raises ConfigError for an unknown kind or a missing universal dictionary, InputError for
    features that are missing, damaged or of different widths.
    """
    root, name = Path(root), plugins.ALIASES.get(name, name)
    share = PERCENT.get(name, 90.0) if percent is None else percent
    path = file_of(root, name, kind, share)
    memory = find_universal(root, universal) if kind in ("universal", "both") else None
    kept: dict[str, np.ndarray] = {}

    def each() -> Iterator[torch.Tensor]:
        for n, (video, rows) in enumerate(regular_features(videos)):
            progress("dictionary: videos", n + 1, 0)
            if regular:
                kept[video] = rows
            yield torch.from_numpy(rows).transpose(0, 1)  # (segments, crops, D)

    normal = _dictionary.gather(each())
    atoms = _dictionary.build(kind, normal, share, memory, seed)
    write_dictionary(path, atoms.numpy())
    file = regular_file(root, name, atoms.shape[1]) if regular else None
    if file:
        write_regular(file, kept)
    return Made(path, (len(atoms), atoms.shape[1]), len(normal.means), file)


def file_of(root: Path, name: str, kind: str, percent: float) -> Path:
    """Where a dictionary lies in the tree."""
    if kind not in FILES:
        raise unknown("kind of dictionary", kind, FILES)
    if not 0 < percent <= 100:
        raise ConfigError(f"percent {percent:g}: expected more than 0 and at most 100")
    return root / name / FILES[kind].format(name=name, percent=percent)


def regular_file(root: Path, name: str, dim: int) -> Path:
    """Where the segments of a data set's normal training videos lie in the tree."""
    return root / name / f"{name}_regular_features-{dim}dim.training.pickle"


def find_universal(root: Path, universal: Path | str | None) -> torch.Tensor:
    """The universal dictionary (S, C): the given file, or the tree's own."""
    path = Path(universal) if universal else root / UNIVERSAL
    if not path.is_file():
        raise ConfigError(
            f"no universal dictionary at {path}; lay the published one there, or give one of other "
            "footage with --universal FILE.npy (`vigil dictionary` on that footage writes it)"
        )
    return _dictionary.read(path)


def write_dictionary(path: Path, atoms: np.ndarray) -> None:
    """A dictionary (S, C) as .npy float32, whole or not at all."""
    with writing(path) as new:
        np.save(new, np.asarray(atoms, np.float32), allow_pickle=False)


def read_dictionary(path: Path | str, dim: int | None = None) -> np.ndarray:
    """A dictionary (S, C) float32; InputError where the file is anything else."""
    return _dictionary.read(path, dim).numpy()


# -- segments of the normal videos ---------------------------------------------------------------
def regular_features(videos: Iterable[Video]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and segments (crops, 32, D) float32 of each video that is not anomalous."""
    dim = 0
    for video in videos:
        if video.label == "anomalous":
            continue
        if "features" not in video.given:
            raise InputError(f"{video.source}: no features came with it; extract them first")
        rows = video.given["features"]()
        if not rows:
            raise InputError(f"{video.source}: its features have no row")
        value = np.stack([row.value for row in rows])  # (T, crops, D)
        dim = dim or value.shape[-1]
        check(video.name, value, dim)
        yield video.name, q_lin(torch.from_numpy(value), SEGMENTS).transpose(0, 1).numpy().copy()


def check(name: str, value: np.ndarray, dim: int) -> None:
    """InputError, with the video's name, for rows that are not as wide as others or not finite."""
    if value.shape[-1] != dim:
        raise InputError(f"{name}: features of {value.shape[-1]} channels; the others have {dim}")
    if not np.isfinite(value).all():
        raise InputError(f"{name}: features hold NaN or infinite values")


class PlainPickler(pickle.Pickler):
    """Writes arrays so that numpy of any age reads them: as a call of `numpy.ndarray` itself."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, np.ndarray):
            return np.ndarray, (thing.shape, thing.dtype.str, thing.tobytes())
        return NotImplemented


def write_regular(path: Path, features: Mapping[str, np.ndarray]) -> None:
    """{video: (crops, 32, D)} as the pickle of the original: {"feature": {...}}."""
    with writing(path) as new, new.open("wb") as file:
        plain = {name: np.ascontiguousarray(rows, np.float32) for name, rows in features.items()}
        PlainPickler(file, protocol=4).dump({"feature": plain})


def read_regular(path: Path | str) -> dict[str, np.ndarray]:
    """{video: (crops, segments, D) float32} of such a pickle, opened without running anything."""
    found = load_pickle(path)
    features = found.get("feature") if isinstance(found, dict) else None
    if not isinstance(features, dict) or not features:
        raise InputError(f"{path}: expected a pickle of {{'feature': {{video: array}}}}")
    made: dict[str, np.ndarray] = {}
    for name, rows in features.items():
        if not isinstance(rows, np.ndarray) or rows.ndim != 3 or rows.dtype.kind != "f":
            what = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows)
            raise InputError(f"{path}: {name}: {what}; expected floats (crops, segments, channels)")
        dim = next(iter(made.values())).shape[-1] if made else rows.shape[-1]
        check(f"{path}: {name}", rows, dim)
        made[str(name)] = np.array(rows, np.float32)
    return made


def from_regular(
    features: Mapping[str, np.ndarray],
    kind: str = "taskaware",
    percent: float = 90,
    memory: np.ndarray | None = None,
    seed: int = 42,
) -> np.ndarray:
    """The dictionary (S, C) of segments at hand, {video: (crops, segments, C)}; see `make`."""
    if kind not in FILES:
        raise unknown("kind of dictionary", kind, FILES)
    normal = _dictionary.gather(torch.from_numpy(r).transpose(0, 1) for r in features.values())
    known = None if memory is None else torch.from_numpy(np.asarray(memory, np.float32))
    return _dictionary.build(kind, normal, percent, known, seed).numpy()
