"""Layouts of driver monitoring: DAD as it is published, and as Jigsaw-VAD's extension cuts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from vigil.data._layouts_files import Writing, camel, checked, images, runs
from vigil.data.recordings import without_view
from vigil.errors import InputError
from vigil.records import Video

RECORDINGS = 6  # a subject, in DAD
Moments = dict[str, dict[str, Video]]


def dad(work: Writing) -> None:
    """Tester1/normal_driving_1/front_IR/img_0.png, val01/rec1/top_depth/, LABEL.csv."""
    seen: Counter[tuple[int, str]] = Counter()
    for number, (_, views) in enumerate(moments(work.dataset.train).items()):
        tester = number // RECORDINGS + 1
        action = _action(work, views)
        seen[tester, action] += 1
        folder = f"Tester{tester}/{action}_{seen[tester, action]}"
        _write(work, "train", folder, views)
    rows = []
    for number, (_, views) in enumerate(moments(work.dataset.test).items()):
        subject, recording = number // RECORDINGS + 1, number % RECORDINGS + 1
        folder = f"val{subject:02}/rec{recording}"
        abnormal = _write(work, "test", folder, views)
        if recording == 1:
            rows += ["", ""] if subject > 1 else []  # the published file has blank rows, too
        first = [f"val{subject:02}  " if recording == 1 else "", f"rec{recording}"]
        for start, stop, letter in _tiles(abnormal):
            rows.append(",".join([*first, str(start), str(stop - 1), letter]))
            first = ["", ""]
    (work.out / "LABEL.csv").write_text("".join(row + "\n" for row in rows))


def dad_jigsaw(work: Writing) -> None:
    """DAD_Jigsaw/training/front_IR/frames/01_0001/img_0.png, testing/frame_masks/01_0001.npy."""
    base = "DAD_Jigsaw"
    normal = moments(v for v in work.dataset.train if v.label != "anomalous")
    for number, views in enumerate(normal.values()):
        name = f"{number // RECORDINGS + 1:02}_{number % RECORDINGS + 1:04}"
        _write(work, "train", f"{base}/training/{{}}/frames/{name}", views)
    masks = work.out / base / "testing" / "frame_masks"
    masks.mkdir(parents=True)
    for number, views in enumerate(moments(work.dataset.test).values()):
        name = f"{number // RECORDINGS + 1:02}_{number % RECORDINGS + 1:04}"
        abnormal = _write(work, "test", f"{base}/testing/{{}}/frames/{name}", views)
        np.save(masks / f"{name}.npy", abnormal.astype(np.int8))


def moments(videos: Iterable[Video]) -> Moments:
    """{recording: {view: video}}: videos whose names differ by their view only belong together."""
    found: Moments = {}
    for video in videos:
        name = without_view(video.name, video.view)
        found.setdefault(name, {})[video.view or "front_depth"] = video
    return found


def _action(work: Writing, views: dict[str, Video]) -> str:
    if all(video.label != "anomalous" for video in views.values()):
        return "normal_driving"
    names = (str(work.dataset.info.get("classes", {}).get(v.name, "")) for v in views.values())
    return camel(next((name for name in names if name), "distraction")).lower()


def _write(work: Writing, part: str, folder: str, views: dict[str, Video]) -> np.ndarray:
    """All views of one recording; (T,) bool, abnormal where any view's labels say so."""
    labels = []
    for view, video in views.items():
        place = folder.format(view) if "{}" in folder else f"{folder}/{view}"
        work.call(part, place, video)
        count = images(video, work.out / place, "img_{}.png", grey=True)
        if part == "test":
            truth = work.truth(video)
            checked(count, truth, video)
            labels.append(truth.frames)
    if len({len(frames) for frames in labels}) > 1:
        raise InputError(f"{folder}: its views have {[len(f) for f in labels]} frames; one length")
    return np.logical_or.reduce(labels) if labels else np.zeros(0, bool)


def _tiles(abnormal: np.ndarray) -> Iterator[tuple[int, int, str]]:
    """[start, stop) stretches that tile the recording, each "A" or "N"."""
    stretches = [(a, b, "A") for a, b in runs(abnormal)] + [(a, b, "N") for a, b in runs(~abnormal)]
    yield from sorted(stretches)
