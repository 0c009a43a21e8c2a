"""Scores and peaks to what a person looks at: the report, painted frames, clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from vigil import run
from vigil.bundle import Model
from vigil.data.base import TestSplit
from vigil.ensembles import Ensemble
from vigil.errors import VigilError
from vigil.metrics.report import roc_of, truths
from vigil.pipeline import fps_of, gathered, remarks
from vigil.records import Event, Reason, Report, Scores, Truth, Video
from vigil.run import Peak
from vigil.scores.events import Threshold, find_events
from vigil.scores.fuse import shares
from vigil.show.curve import curve_png, roc_png
from vigil.show.overlay import Mark, draw
from vigil.show.page import KeyFrame, Page, VideoSection, write_page
from vigil.video.write import write_clip

KEYS = 3  # key frames of a video in a report
LIKE_SIDE = 240  # pixels of the shorter side of a normal frame shown beside one


def evaluation_page(
    model: Model | Ensemble | None,
    scores: Mapping[str, Scores],
    test: TestSplit,
    limit: Threshold,
    peaks: Mapping[str, list[Peak]],
    found: Report,
    normal: Iterable[Video] = (),
) -> Page:
    """The report of an evaluation; `normal` are videos that most similar frames are shown from."""
    known, _ = truths(test)
    title = f"{found.made.get('method', 'scores')} on {found.made.get('data', 'test')}"
    page = make_page(model, scores, list(test), limit, peaks, known, found, title, normal)
    curve = roc_of(scores, test)
    return page if curve is None else replace(page, roc=curve[0], eer=curve[1])


def make_page(
    model: Model | Ensemble | None,
    scores: Mapping[str, Scores],
    videos: list[Video],
    limit: Threshold,
    peaks: Mapping[str, list[Peak]],
    known: Mapping[str, Truth],
    found: Report,
    title: str,
    normal: Iterable[Video] = (),
) -> Page:
    """All a report shows; without a model the key frames are left out."""
    sections, by_name = [], {video.name: video for video in normal}
    for video in videos:
        own = scores[video.name]
        events = find_events(own, limit.value, fps_of(own))
        keys = tuple(
            key_frame(model.at(video), peak, video, own, limit.value, by_name)
            for peak in choose(peaks.get(video.name, []), events)
            if model is not None
        )
        truth = known.get(video.name)
        sections.append(
            VideoSection(video.name, own, video.scene, truth, events, limit.value, keys)
        )
    card = dict(model.card) if model else {}
    subtitle = f"{len(videos)} videos, {sum(len(s) for s in scores.values())} frames"
    said = gathered(note for video in videos if model for note in remarks(model, video))
    notes = found.notes + tuple(said)
    return Page(
        title=title, subtitle=subtitle, report=found, videos=tuple(sections),
        made={**card, **dict(found.made)}, notes=notes, threshold=limit.words(),
    )  # fmt: skip


def choose(peaks: list[Peak], events: list[Event]) -> list[Peak]:
    """The most telling moments: the highest of each event, then the highest of all."""
    best = []
    for event in sorted(events, key=lambda event: -event.peak):
        inside = [peak for peak in peaks if event.start <= peak.frame < event.stop]
        best += [max(inside, key=lambda peak: peak.score)] if inside else []
    if not best and peaks:
        best = [max(peaks, key=lambda peak: peak.score)]
    return sorted(best[:KEYS], key=lambda peak: peak.frame)


def key_frame(
    model: Model, peak: Peak, video: Video, scores: Scores, limit: float,
    normal: Mapping[str, Video],
) -> KeyFrame:  # fmt: skip
    """A moment painted and explained."""
    reason = model.method.explain(peak.units)[0]
    x1, y1, x2, y2 = (float(v) for v in peak.units.box[0])
    frame = min(peak.frame, len(scores) - 1)
    picture = draw(
        peak.image, [Mark((x1, y1, x2, y2), peak.score, reason.heat)],
        score=float(scores.smoothed[frame]), threshold=limit, size=video.size,
    )  # fmt: skip
    like = f"most like normal: {reason.like[0]}, frame {reason.like[1]}" if reason.like else ""
    return KeyFrame(
        frame=frame,
        time_s=float(scores.time[frame]),
        picture=picture,
        text=like,
        parts=told_parts(reason, peak) or unit_parts(model, peak),
        like_picture=reason.pictures.get("nearest normal", like_frame(normal, reason.like)),
    )


def like_frame(normal: Mapping[str, Video], like: tuple[str, int] | None) -> np.ndarray | None:
    """The picture of a normal frame, small; None where its video is not at hand."""
    if like is None or like[0] not in normal:
        return None
    try:
        frames = normal[like[0]].frames(LIKE_SIDE)
        return next((frame.image for frame in islice(frames, like[1], None)), None)
    except VigilError:  # work with features alone
        return None


def told_parts(reason: Reason, peak: Peak) -> dict[str, float]:
    """What the method itself blames, brought to the scale of the unit's score."""
    total = sum(reason.parts.values())
    return {name: value / total * peak.score for name, value in reason.parts.items() if total}


def unit_parts(model: Model, peak: Peak) -> dict[str, float]:
    """What each channel adds to the score of one unit; a bag's rows cannot be scored alone."""
    if model.method.lookahead is None or model.calibration is None:
        return {}
    raw = run.UnitScorer(model, 1, as_live=False).score(peak.units)
    surprise = {k: float(model.calibration.units[k](v).max()) for k, v in raw.items()}
    return shares(surprise, model.method.fuse_units)


def write_report(folder: Path, page: Page) -> Path:
    """`report.html`, self-contained, and the same pictures as PNG files beside it."""
    folder = Path(folder)
    write_page(folder / "report.html", page)
    for section in page.videos:
        curve_png(
            folder / "png" / f"{safe(section.name)}.png", section.scores, section.truth,
            section.events, section.threshold,
        )  # fmt: skip
    if page.roc is not None and page.eer is not None:
        roc_png(folder / "png" / "roc.png", {page.title: page.roc}, {page.title: page.eer})
    return folder / "report.html"


def write_clips(folder: Path, video: Video, events: list[Event]) -> list[str]:
    """Each event as a short mp4, two seconds of what came before and after with it."""
    margin = round(2 * video.fps)
    names = []
    for n, event in enumerate(events):
        path = folder / f"{safe(video.name)}-{n + 1:02d}.mp4"
        write_clip(path, video, max(event.start - margin, 0), event.stop + margin)
        names.append(f"clips/{path.name}")
    return names


def write_annotated(folder: Path, video: Video, scores: Scores, limit: float) -> str:
    """The whole video with its score bar and the boxes that fired."""
    path = folder / f"{safe(video.name)}-annotated.mp4"

    def paint(image: np.ndarray, frame: int) -> np.ndarray:
        at = min(frame, len(scores) - 1)
        return draw(
            image, marks_at(scores, at, limit), score=float(scores.smoothed[at]), threshold=limit,
            size=video.size,
        )  # fmt: skip

    write_clip(path, video, 0, len(scores), draw=paint)
    return path.name


def marks_at(scores: Scores, frame: int, limit: float) -> list[Mark]:
    """The units of a frame that are at least half as surprising as an alarm."""
    table = scores.units
    if table is None:
        return []
    rows = np.flatnonzero((table.first <= frame) & (frame < table.stop))
    rows = rows[table.score[rows] >= limit / 2]
    rows = rows[np.argsort(table.score[rows])[-5:]]
    boxes = [tuple(float(v) for v in table.box[row]) for row in rows]
    return [
        Mark((x1, y1, x2, y2), float(table.score[row]))
        for row, (x1, y1, x2, y2) in zip(rows, boxes, strict=True)
    ]


def safe(name: str) -> str:
    """A video's name as a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "video"
