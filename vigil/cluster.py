"""Extraction and scoring on the machines of a Ray cluster, through Ray Data.

Each actor holds one network on its share of cores and takes one video at a time. When a machine is
lost, its current videos go to another. Engine and number format are decided once, for all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from vigil import bundle, run
from vigil.actors import Lost, Shipment, answers, joined, remotely
from vigil.bundle import Model
from vigil.errors import InputError, VigilError
from vigil.features.extract import Extraction, Tell, extract
from vigil.features.extracted import Extracted
from vigil.features.store import file_of
from vigil.features.weights import check_file
from vigil.records import Scores, Video
from vigil.remote import fetch, fetched, is_remote, local_path, put
from vigil.run import Peak
from vigil.video.read import open_video

Prepare = Callable[[Model, list[Video], Path | None], None]


# -- the verbs -----------------------------------------------------------------------------------
def extract_on_ray(
    address: str,
    videos: Iterable[Video | str],
    folder: Path | str,
    options: Mapping[str, Any],
    tell: Tell | None = None,
) -> Extraction:
    """As `extract`, on the Ray cluster at `address` ("HOST:6379"), with the same bits.

    videos   a `Video` whose source every machine can read at the same place, or a URL that fsspec
             knows, fetched by the worker that takes it
    folder   shared by all machines, or a URL
    options  of `Extracted`; `threads` (default 1) are the cores of one worker; the weights are
             sent where they are missing

    A video that three workers were lost with is noted as failed. Raises ExtraError without Ray,
    ConfigError where no cluster answers or none of its machines has that many cores.
    """
    videos, began = list(videos), time.perf_counter()
    check_names(videos)
    check_options(options)
    cores = int(options.get("threads") or 1)
    with joined(address):
        weights = Shipment.of(options.get("weights"))
        bare = {**options, "weights": None, "threads": cores}
        if "auto" in (options.get("engine", "auto"), options.get("dtype", "auto")):
            if tell:
                tell("choosing an engine", 0, len(videos))
            bare |= remotely(decide, cores, bare, weights)
        given = [v if isinstance(v, str) else replace(v, given={}) for v in videos]
        total = Extraction()
        job = Extract(given, str(folder), bare, weights)
        for n, (number, done) in enumerate(answers(job, len(videos), cores)):
            if isinstance(done, Lost):
                total.failed[name_of(videos[number])] = str(done)
            elif isinstance(done, VigilError):
                raise done
            else:
                total.add(done)
            total.seconds = time.perf_counter() - began
            if tell:
                tell(f"{total.rate():.0f} frames/s", n + 1, len(videos))
    in_order(total, [name_of(video) for video in videos])
    check_there(total, folder)
    return total


def extract_far(
    videos: Iterable[Video | str], folder: Path | str, maker: Extracted, tell: Tell | None = None
) -> Extraction:
    """As `extract`, for videos behind URLs, or into a folder behind one: one after the other is
    fetched, and its rows are brought to their place."""
    videos, total = list(videos), Extraction()
    check_names(videos)
    for n, video in enumerate(videos):
        if tell:
            tell(f"{name_of(video)}  {total.rate():.0f} frames/s", n, len(videos))
        total.add(extract_one_far(video, str(folder), maker))
    return total


def score_on_ray(
    address: str,
    model: Path | str,
    videos: Iterable[Video | str],
    *,
    as_live: bool = False,
    smoothing: str = "",
    cores: int = 1,
    weights: Path | str | None = None,
    prepare: Prepare | None = None,
    peaks: dict[str, list[Peak]] | None = None,
    failures: dict[str, str] | None = None,
    tell: Tell | None = None,
) -> dict[str, Scores]:
    """{video: scores} of the model in a folder, as `run.score_video` gives them, by a cluster.

    The model's folder is sent to the workers; `prepare(model, videos, weights)`, a function that
    can be imported, is called there once. Other arguments as of `run.score_video`
    and `extract_on_ray`; `peaks` and `failures` are filled, and without `failures` the first
    video that cannot be scored raises its error.
    """
    videos, folder, found = list(videos), model_folder(model), dict[str, Any]()
    check_names(videos)
    with joined(address):
        ships = Shipment.of(folder), Shipment.of(weights)
        job = Score(videos, *ships, cores, as_live, smoothing, peaks is not None, prepare)
        for n, (number, done) in enumerate(answers(job, len(videos), cores)):
            name = name_of(videos[number])
            if not isinstance(done, VigilError):
                found[name] = done
            elif failures is None:
                raise done
            else:
                failures[name] = str(done)
            if tell:
                tell(f"score: {name}", n + 1, len(videos))
    names = [name for name in map(name_of, videos) if name in found]
    if peaks is not None:
        peaks.update({name: found[name][1] for name in names})
    return {name: found[name][0] for name in names}


# -- what is checked before and after ------------------------------------------------------------
def name_of(video: Video | str) -> str:
    return Path(video).stem if isinstance(video, str) else video.name


def check_names(videos: Sequence[Video | str]) -> None:
    """Two videos of one name would take turns in one file."""
    twice = [name for name, count in Counter(map(name_of, videos)).items() if count > 1]
    if twice:
        places = [v if isinstance(v, str) else v.source for v in videos if name_of(v) == twice[0]]
        raise InputError(f"{len(places)} videos are called {twice[0]!r}: {', '.join(places[:3])}")


def check_options(options: Mapping[str, Any]) -> None:
    """What can be found wrong without a network is found here, before anything is sent."""
    Extracted(**options)
    if options.get("weights"):
        check_file(Path(options["weights"]))


def model_folder(model: Path | str) -> Path:
    """The folder of a model, or the one in a run's folder."""
    folder = Path(model)
    inner = folder / "model"
    folder = inner if (inner / "card.json").is_file() else folder
    bundle.load(folder)  # what is wrong with it is said here
    return folder


def in_order(total: Extraction, names: Sequence[str]) -> None:
    """Names in the order of the videos, however the workers came by them."""
    place = {name: n for n, name in enumerate(names)}
    for found in (total.made, total.skipped):
        found.sort(key=lambda name: place.get(name, len(place)))


def check_there(total: Extraction, folder: Path | str) -> None:
    """A worker on a machine that does not share the folder wrote to its own disk: say so."""
    if is_remote(folder):
        return
    lost = [name for name in total.made if not file_of(local_path(folder), name).is_file()]
    for name in lost:
        total.failed[name] = (
            f"made, but not in {folder} as this machine sees it: the worker's machine does not "
            "share that folder; share it, or give a URL"
        )
    total.made = [name for name in total.made if name not in lost]


# -- in the workers ------------------------------------------------------------------------------
@dataclass
class Extract:
    """Rows of features of one video, into its file."""

    videos: Sequence[Video | str]
    folder: str
    options: Mapping[str, Any]
    weights: Shipment

    def begin(self) -> None:
        torch.set_num_threads(self.options["threads"])
        with self.weights.at_hand() as path:  # read when the runner is made, not needed later
            self.maker = Extracted(**{**self.options, "weights": path})
            self.maker.runner()

    def do(self, n: int, again: bool) -> Extraction:
        done = extract_one_far(self.videos[n], self.folder, self.maker)
        if again and done.skipped:  # the lost worker had just finished it
            done.made, done.skipped = done.skipped, []
        return done


@dataclass
class Score:
    """Scores of one video, and its peaks."""

    videos: Sequence[Video | str]
    model: Shipment
    weights: Shipment
    cores: int
    as_live: bool
    smoothing: str
    with_peaks: bool
    prepare: Prepare | None

    def begin(self) -> None:
        torch.set_num_threads(self.cores)
        with self.model.at_hand() as folder, self.weights.at_hand() as weights:
            assert folder is not None
            self.loaded = bundle.load(folder)
            if self.prepare:
                self.prepare(self.loaded, [stand_in(video) for video in self.videos], weights)

    def do(self, n: int, again: bool) -> tuple[Scores, list[Peak]]:
        peaks: list[Peak] | None = [] if self.with_peaks else None
        with readable(self.videos[n]) as video:
            scores = run.score_video(
                self.loaded, video, as_live=self.as_live, smoothing=self.smoothing, peaks=peaks
            )
        return scores, peaks or []


def extract_one_far(video: Video | str, folder: str, maker: Extracted) -> Extraction:
    """Rows of one video, wherever it is, into their place, wherever that is."""
    with ExitStack() as stack:
        try:
            here = stack.enter_context(readable(video))
        except InputError as error:
            return Extraction(failed={name_of(video): str(error)})
        place = stack.enter_context(landing(folder, here.name))
        return extract([here], place, maker)


def stand_in(video: Video | str) -> Video:
    """A video behind a URL before it is fetched: its name, and that nothing came with it."""
    if isinstance(video, str):
        return Video(name_of(video), video, 25.0, (1, 1), lambda short_side: iter(()))
    return video


def decide(options: Mapping[str, Any], weights: Shipment) -> dict[str, str]:
    """Engine and number format, as measured by one worker for all."""
    job = Extract([], "", options, weights)
    job.begin()
    made = job.maker.runner()
    return {"engine": made.engine, "dtype": made.dtype}


@contextmanager
def readable(video: Video | str) -> Iterator[Video]:
    """A video as it is; one behind a URL is fetched for as long as the block lasts."""
    source = video if isinstance(video, str) else video.source
    if not is_remote(source):
        yield open_video(source) if isinstance(video, str) else video
        return
    with fetched(source) as path:
        yield replace(open_video(path), source=source)


@contextmanager
def landing(folder: str, name: str) -> Iterator[Path]:
    """A folder of this machine that stands for `folder` while the rows of one video are made."""
    if not is_remote(folder):
        yield local_path(folder)
        return
    with TemporaryDirectory(prefix="vigil-") as place:
        file = file_of(place, name)
        url = f"{folder.rstrip('/')}/{file.name}"
        there = fetch(url, file)
        yield Path(place)
        if file.is_file() and not there:
            put(file, url)
