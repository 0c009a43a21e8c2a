"""When a weakly labelled test video is abnormal, from every form projects keep that in.

    rows of a list      first and last frame of each event     (see _weak_lists)
    S3R json            {id: {"num_frames": n, "labels": [0.0, 1.0, ...]}}, n a multiple of 16
    Sultani's .mat      one file a video, Annotation_file.Anno = rows of first, last
    VadCLIP .npy        object arrays of segments and of classes, one entry a video, no names
    RTFM gt-*.npy       labels of all test videos one after the other, no names

Forms without names are dealt out in the order of a list and then held against what the names say;
an order that does not fit is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from vigil.data._weak_lists import Events
from vigil.data.labels import load_npy, read_text
from vigil.errors import InputError, unknown
from vigil.files import ARRAYS, SafeUnpickler

Convention = Literal["one-based", "half-open", "inclusive"]
CONVENTIONS: dict[str, tuple[int, int]] = {  # added to (s, e) to give [first, stop) from 0
    "one-based": (-1, 0),  # s..e counted from 1, e included: Sultani's evaluation
    "half-open": (0, 0),  # [s, e) counted from 0: ekosman's
    "inclusive": (0, 1),  # s..e counted from 0, e included: RTFM's
}
SLACK = 30  # frames that annotations may reach beyond the video, and lengths may differ
CLIP = 16  # frames of a feature row, to whose multiples S3R and RTFM fill their labels


class Marked(NamedTuple):
    """(T,) bool, (T,) class of each frame ("a+b" where two overlap), frames cut off at the end."""

    frames: np.ndarray
    classes: np.ndarray
    beyond: int


def offsets(convention: str) -> tuple[int, int]:
    """What a convention adds to first and last; `ConfigError` for an unknown one."""
    if convention not in CONVENTIONS:
        raise unknown("convention of intervals", convention, CONVENTIONS)
    return CONVENTIONS[convention]


def marked(events: Events, length: int, convention: str, source: object, name: str) -> Marked:
    """Events on `length` frames. An end up to SLACK frames beyond the video is cut off there."""
    before, after = offsets(convention)
    frames, beyond = np.zeros(length, bool), 0
    kinds = sorted({kind for _, _, kind in events})
    each = np.zeros((len(kinds), length), bool)  # (K, T)
    for start, end, kind in events:
        first, stop = max(start + before, 0), end + after
        if stop > length + SLACK or first >= length:
            raise InputError(
                f"{source}: frames {start} to {end} of video {name}, which has {length} frames; "
                "are these the labels of another cut of it?"
            )
        beyond += max(stop - length, 0)
        frames[first:stop] = True
        each[kinds.index(kind), first:stop] = True
    return Marked(frames, _together(kinds, each), beyond)


def _together(kinds: Sequence[str], each: np.ndarray) -> np.ndarray:
    """(K, T) bool -> (T,) names: "" where none is, "a+b" where two are."""
    codes = (each * (1 << np.arange(len(kinds)))[:, None]).sum(0)  # (T,) a bit for each kind
    found, where = np.unique(codes, return_inverse=True)
    names = ["+".join(k for n, k in enumerate(kinds) if code >> n & 1) for code in found.tolist()]
    return np.array(names, str)[where] if names else np.zeros(0, str)


def padded(labels: np.ndarray) -> np.ndarray:
    """(T,) labels filled with their last value to a multiple of 16, as S3R and RTFM keep them."""
    return np.pad(labels, (0, -len(labels) % CLIP), mode="edge")


def read_s3r(path: Path) -> dict[str, np.ndarray]:
    """(16 n,) bool labels by name from S3R's json; as long as each says, or `InputError`."""
    try:
        table = json.loads(read_text(path))
        found = {str(name): _s3r_row(row) for name, row in table.items()}
    except (json.JSONDecodeError, RecursionError, AttributeError) as error:
        raise InputError(f"{path}: not a json of labels by video ({error})") from error
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f'{path}: {error}; expected {{video: {{"num_frames": n, "labels": [n of 0 or 1]}}}}'
        ) from error
    return found


def _s3r_row(row: Mapping[str, Any]) -> np.ndarray:
    labels = np.asarray(row["labels"], np.float64)
    if labels.shape != (row["num_frames"],) or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{labels.shape} labels for {row['num_frames']} frames")
    return labels.astype(bool)


def read_anno(path: Path) -> tuple[tuple[int, int], ...]:
    """(first, last) of each event from one of Sultani's MATLAB structs; none or -1 = normal."""
    from scipy.io import loadmat

    try:
        struct = loadmat(path, variable_names=["Annotation_file"])["Annotation_file"]
        rows = np.asarray(struct["Anno"].item())
        pairs = np.asarray(rows, np.int64).reshape(-1, 2)
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{path}: no MATLAB Annotation_file.Anno of pairs ({error})") from error
    return tuple((int(s), int(e)) for s, e in pairs if (s, e) != (-1, -1))


def read_objects(path: Path, limit: int = 2**28) -> np.ndarray:
    """An .npy of Python lists, through an unpickler that knows containers and arrays only."""
    try:
        if path.stat().st_size > limit:
            raise InputError(f"{path}: {path.stat().st_size} bytes; at most {limit} expected")
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            dtype = read(file)[2]
            if not dtype.hasobject:
                raise InputError(f"{path}: an array of {dtype}; expected lists, one a video")
            return np.asarray(SafeUnpickler(file, ARRAYS).load())
    except InputError as error:
        said = str(error)
        raise InputError(said if str(path) in said else f"{path}: {said}") from None
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"{path}: not a readable array of lists ({error})") from error


def read_segments(
    segments: Path, classes: Path, names: Sequence[str], kinds: Callable[[str], set[str]]
) -> dict[str, Events]:
    """Events by name from VadCLIP's two arrays, given to `names` in order.

    `kinds(name)` are the classes that a name tells, none for a normal video. Refused unless every
    entry is normal or abnormal as its name says, and 99 in 100 are of a class that it tells.
    """
    spans, labels = read_objects(segments), read_objects(classes)
    if not len(spans) == len(labels) == len(names):
        raise InputError(
            f"{segments}: {len(spans)} entries, {classes.name}: {len(labels)}, for {len(names)} "
            "test videos; such files name no video, so there must be as many of each"
        )
    found, odd = {}, 0
    for name, span, label in zip(names, spans, labels, strict=True):
        said, told = set(map(str, label)) - {"A", "Normal"}, kinds(name)
        if bool(said) != bool(told):
            raise InputError(
                f"{classes}: {sorted(said) or 'normal'} for {name}; its entries are in another "
                "order than the list of test videos"
            )
        odd += bool(said - told)
        found[name] = _segments(span, label, f"{segments}: {name}") if said else ()
    if odd > len(names) / 100:
        raise InputError(f"{classes}: {odd} classes unlike those of the videos' names; wrong order")
    return found


def _segments(span: Any, label: Any, where: str) -> Events:
    try:
        pairs = np.asarray(span, str).astype(np.int64).reshape(-1, 2).tolist()
        return tuple((s, e, str(k)) for (s, e), k in zip(pairs, label, strict=True))
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: segments {str(span)[:80]}; expected pairs ({error})") from None


def cut_labels(
    path: Path, lengths: Mapping[str, int], normal: Callable[[str], bool]
) -> dict[str, np.ndarray]:
    """Labels by name from one array of all test videos, in the order of `lengths` (frames).

    Each video fills a multiple of 16. Refused unless the lengths fit exactly and the videos that
    are abnormal are those whose names say so: nothing is ever shifted.
    """
    labels = np.squeeze(load_npy(path))
    ends = np.cumsum([-(-length // CLIP) * CLIP for length in lengths.values()])
    total = int(ends[-1]) if len(ends) else 0
    if labels.shape != (total,) or not np.isin(labels, (0, 1)).all():
        raise InputError(
            f"{path}: {labels.dtype} {labels.shape}; expected one 0 or 1 for each of {total} "
            f"frames ({len(lengths)} test videos, lengths rounded up to {CLIP})"
        )
    parts = np.split(labels.astype(bool), ends[:-1])
    for name, part in zip(lengths, parts, strict=True):
        if part.any() == normal(name):
            raise InputError(
                f"{path}: {int(part.sum())} abnormal frames for {name}; its videos are in another "
                "order than the list of test videos"
            )
    return {
        name: part[:length] for (name, length), part in zip(lengths.items(), parts, strict=True)
    }
