"""`extract`, and what fit, score and evaluate do with features that were extracted before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vigil.bundle import Model
from vigil.cluster import extract_far, extract_on_ray
from vigil.data._weak_videos import Absent
from vigil.errors import ConfigError, ExtraError, InputError, ModelError
from vigil.features.extract import Extraction, extract
from vigil.features.extracted import Extracted
from vigil.features.layouts import Item, find_items, given_item, missing
from vigil.features.store import SUFFIX, Rows, StoredRows, compare
from vigil.features.workers import extract_with
from vigil.records import Video
from vigil.remote import find, is_remote
from vigil.sources import Progress, find_source, find_training, known, open_data, quiet
from vigil.video.read import count_frames


def extract_source(
    source: str,
    out: Path | str | None,
    options: Mapping[str, Any],
    *,
    root: Path | None = None,
    split: str | None = None,
    workers: int = 1,
    ray: str | None = None,
    progress: Progress = quiet,
) -> tuple[Path | str, Extraction]:
    """Features of a data set (each part), a folder, a video or a URL of any of them into `out`, a
    folder or a URL; see `vigil extract`.

    options  of `Extracted`: backbone, weights, crops, stride, engine, dtype, threads
    """
    name = str(options["backbone"]).replace(":", "-").replace("/", "-")
    folder = out or Path("features") / f"{Path(source).name}-{name}"
    far = is_remote(source) or is_remote(folder)
    if far and workers > 1 and not ray:
        raise ConfigError("--workers reads files of this machine; for a URL use --ray, or neither")
    options, total = as_before(folder, options), Extraction()
    maker = Extracted(**options)
    for part, videos in parts_of(source, root, split, progress).items():
        into = f"{folder}/{part}".rstrip("/")

        def tell(words: str, done: int, of: int, part: str = part) -> None:
            progress(f"extract{' ' * bool(part)}{part}: {words}", done, of)

        if ray:
            total.add(extract_on_ray(ray, videos, into, options, tell))
        elif far:
            total.add(extract_far(videos, into, maker, tell))
        elif workers > 1:
            total.add(extract_with(workers, videos, Path(into), maker, tell))
        else:
            total.add(extract(videos, Path(into), maker, tell))
    return folder, total


def as_before(folder: Path | str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The engine of the files that are there already, unless one is asked for: one folder holds
    features of one engine, and a second call need not measure again."""
    here = Path(folder)
    there = next(iter(sorted(here.rglob(f"*{SUFFIX}"))), None) if here.is_dir() else None
    if there is None or options.get("engine", "auto") != "auto":
        return dict(options)
    header = Rows(there).header
    return {**options, "engine": header.engine, "dtype": header.dtype}


def parts_of(
    source: str, root: Path | None, split: str | None, progress: Progress
) -> dict[str, list[Any]]:
    """{"train": ..., "val": ..., "test": ...} of a data set, as far as it has them; else {"": ...}.
    A name may stand for one video in each part. What is behind a URL is not fetched yet."""
    if is_remote(source):
        return {"": find(source)}
    if known(source) or (Path(source).expanduser() / "vigil.toml").is_file():
        data = open_data(source, root, split=split, progress=progress)
        parts = {"train": data.train, "val": data.val or (), "test": data.test}
        return {part: list(videos) for part, videos in parts.items() if len(videos)}
    return {"": find_source(source, root, split, progress)}


def with_features(videos: Iterable[Video], folder: Path | None, part: str) -> list[Video]:
    """The videos with their rows given, from `folder` or its part, in whatever layout they are
    there (see `vigil.features.layouts`). None: as is."""
    videos = list(videos)
    if folder is None:
        return videos
    place = folder / part if (folder / part).is_dir() else folder
    items = find_items(place)
    missing(items, [video.name for video in videos], place)
    videos = [as_long(items[video.name], video) for video in videos]
    given = [replace(video, given={**video.given, "features": rows_of(items[video.name], video)})
             for video in videos]  # fmt: skip
    return given


def as_long(item: Item, video: Video) -> Video:
    """A video that is not here and whose length no list tells is as long as its rows."""
    if not isinstance(video.open, Absent) or video.open.count is not None:
        return video
    return replace(video, open=replace(video.open, count=item.read()[0][-1].stop))


def rows_of(item: Item, video: Video) -> StoredRows:
    """A reader of one video's rows; those of other projects do not say how long the video is."""
    if item.layout == "store":
        return StoredRows(item.files[0], Rows(item.files[0]).header)
    return given_item(item, count_frames(video))


def training(
    source: list[str],
    val: list[str] | None,
    root: Path | None,
    *,
    split: str | None,
    view: str | None = None,
    features: Path | None,
    progress: Progress,
) -> tuple[list[Video], list[Video] | None]:
    """Videos to learn from and to hold out, as `vigil fit` names them, with their features."""
    train, held = find_training(source, root, split, progress, view)
    held = find_training(val, root, progress=progress)[0] if val else held
    train = with_features(train, features, "train")
    return train, held and with_features(held, features, "val")


def kind_of(videos: Iterable[Video]) -> dict[str, Any]:
    """What made the given features, for a model's card; {} where no file says."""
    for video in videos:
        rows = video.given.get("features")
        if isinstance(rows, StoredRows):
            header = rows.header
            run = {"crops": header.crops, "engine": header.engine, "dtype": header.dtype}
            return {**header.identity(), **run}
    return {}


def told_by(videos: Iterable[Video], config: type) -> dict[str, Any]:
    """What the given features say of a method's keys: the width of a row, and how many frames it
    is made of. {} where none are given, or the method does not ask."""
    header = next(
        (rows.header for video in videos
         if isinstance(rows := video.given.get("features"), StoredRows)), None,
    )  # fmt: skip
    if header is None:
        return {}
    told = {"dim": header.dim, "frames": max(header.frames, header.stride)}
    return {k: v for k, v in told.items() if k in config.__dataclass_fields__}  # type: ignore[attr-defined]


def check_features(model: Model, videos: Iterable[Video]) -> list[str]:
    """Notes on features unlike those of training; `InputError` where they are of another kind."""
    wanted, notes = model.card.get("features"), []
    for video in videos:
        rows = video.given.get("features")
        if wanted and isinstance(rows, StoredRows):
            # rows of another project say nothing of their making but their layout and length
            compare(rows.header.identity(), wanted, rows.path)
            if rows.header.crops != wanted["crops"]:
                notes.append(
                    f"{video.name}: features of {rows.header.crops} crops, the model was fitted "
                    f"on {wanted['crops']}"
                )
    return notes


def ready(model: Model, videos: Iterable[Video], weights: Path | None = None) -> None:
    """Let a model that stands on features make them itself, for videos that bring none.

    Raises ModelError where the weights are not those that the model's features were made with.
    """
    if model.method.providers.get("features") != "given-rows":
        return
    bare = [video for video in videos if "features" not in video.given]
    if not bare:
        return
    wanted = model.card.get("features")
    if not wanted:
        raise InputError(
            f"{bare[0].source}: no features came with it, and the model's card does not say how "
            "its own were made; give --features DIR"
        )
    model.providers["features"] = Either(maker_of(wanted, weights), model.providers["features"])


def maker_of(wanted: Mapping[str, Any], weights: Path | None) -> Extracted:
    """The backbone that makes such features, under the engine they were made with."""
    options = {"weights": weights, "crops": wanted["crops"], "stride": wanted["stride"]}
    maker = Extracted(wanted["backbone"], **options, engine=wanted["engine"], dtype=wanted["dtype"])
    if maker.hash != wanted["weights"]:
        found = f"{weights} (SHA-256 {maker.hash[:16]}...)" if weights else "none"
        raise ModelError(
            f"weights of {wanted['backbone']}: found {found}; the model's features were made with "
            f"SHA-256 {wanted['weights'][:16]}...: give that file with --weights"
        )
    if maker.backbone.preprocessing != wanted["preprocessing"]:
        raise ModelError(
            f"{wanted['backbone']} of this version prepares frames in another way than the "
            "model's features were made with; extract and fit again"
        )
    try:
        maker.runner()
    except ExtraError:  # made elsewhere, with a package that is not here: the gate guards parity
        maker = Extracted(wanted["backbone"], **options)
    return maker


class Either(Extracted):
    """Given rows where a video brings them, a backbone's where it brings none."""

    def __init__(self, maker: Extracted, given: Any) -> None:
        self.maker, self.from_file = maker, given

    def start(self, video: Video, fps: float) -> Any:
        source = self.from_file if "features" in video.given else self.maker
        return source.start(video, fps)

    def describe(self) -> dict[str, Any]:
        return self.maker.describe()
