"""Extraction by several processes of this machine, each with its share of videos and of cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vigil.features.extract import Extraction, Tell, check_names, extract
from vigil.features.extracted import Extracted
from vigil.records import Video

_maker: Extracted | None = None  # of this worker process


def extract_with(
    workers: int, videos: list[Video], folder: Path, maker: Extracted, tell: Tell
) -> Extraction:
    """As `extract`, by `workers` processes, all under the engine that is chosen here once. One
    that is killed costs only its current videos, which are noted as failed; a second call makes
    them."""
    check_names(videos)
    options = maker.shared(max((os.cpu_count() or 1) // workers, 1))
    total, waiting = Extraction(), {}
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), begin, (options,)
    ) as pool:
        for video in videos:
            waiting[pool.submit(one, replace(video, given={}), folder)] = video
        for n, done in enumerate(as_completed(waiting)):
            try:
                total.add(done.result())
            except BrokenProcessPool:
                total.failed[waiting[done].name] = "its worker process was killed; run it again"
            tell(f"{total.rate() * workers:.0f} frames/s", n + 1, len(videos))
    return total


def begin(options: Mapping[str, Any]) -> None:
    """In a new process: one network, on its share of cores."""
    global _maker
    torch.set_num_threads(options["threads"])
    _maker = Extracted(**options)


def one(video: Video, folder: Path) -> Extraction:
    """One video, in a worker."""
    assert _maker is not None
    return extract([video], folder, _maker)
