"""Layouts of data sets learned from video labels: UCF-Crime's own, and the lists of S3R."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np

from vigil.data._layouts_files import Writing, camel, checked, class_name, clip, runs
from vigil.data._layouts_normal import scene_numbers
from vigil.records import Truth, Video

NOTE = """\
Ten-crop features belong here, one NAME_i3d.npy of shape (rows, 10, 2048) a video: extract them
from ../../videos/{part}. None are shipped with a generated data set.
"""


def ucf_crime(work: Writing) -> None:
    """Videos/CLASS/CLASS001_x264.mp4 and the annotation texts of Sultani et al. and ekosman."""
    seen: Counter[str] = Counter()
    lists: dict[str, list[str]] = {"Anomaly_Train": [], "Train_Annotation": []}
    for video in work.dataset.train:
        kind = _train_class(work, video)
        seen[kind] += 1
        path = _ucf_path("train", kind, seen[kind])
        work.call("train", path, video)
        count = clip(video, work.out / "Videos" / path)
        lists["Anomaly_Train"].append(path)
        lists["Train_Annotation"].append(f"{path} {count} ")
    tests: dict[str, list[str]] = {
        "Anomaly_Test": [], "Temporal_Anomaly_Annotation": [], "Test_Annotation": []
    }  # fmt: skip
    for video in work.dataset.test:
        truth = work.truth(video)
        kind = class_name(truth) if truth.frames.any() else "Normal"
        seen[kind] += 1
        path = _ucf_path("test", kind, seen[kind])
        work.call("test", path, video)
        count = clip(video, work.out / "Videos" / path)
        checked(count, truth, video)
        times = _times(truth)
        tests["Anomaly_Test"].append(path)
        name = path.rpartition("/")[2]
        tests["Temporal_Anomaly_Annotation"].append("  ".join([name, kind, *times]) + "  ")
        tests["Test_Annotation"].append(" ".join([path, str(count), kind, *times]) + " ")
    for name, lines in {**lists, **tests}.items():
        (work.out / f"{name}.txt").write_text("".join(line + "\n" for line in lines))


def _train_class(work: Writing, video: Video) -> str:
    """The class folder of a training video; only its label is sure to be known."""
    if video.label != "anomalous":
        return "Normal"
    return camel(str(work.dataset.info.get("classes", {}).get(video.name, "Anomaly")))


def _ucf_path(part: str, kind: str, number: int) -> str:
    if kind != "Normal":
        return f"{kind}/{kind}{number:03}_x264.mp4"
    if part == "train":
        return f"Training_Normal_Videos_Anomaly/Normal_Videos{number:03}_x264.mp4"
    return f"Testing_Normal_Videos_Anomaly/Normal_Videos_{number:03}_x264.mp4"


def _times(truth: Truth) -> list[str]:
    """First and last abnormal frame of each event, from 1, filled with -1 to two events.

    The published file never has more than two; a third here adds two more fields.
    """
    flat = [str(n) for first, stop in runs(truth.frames) for n in (first + 1, stop)]
    return flat + ["-1"] * (4 - len(flat))


def s3r(work: Writing) -> None:
    """data/shanghaitech/: csv lists (anomalous first), padded ground truth, room for features."""
    base = work.out / "data" / "shanghaitech"
    number = scene_numbers([*work.dataset.train, *work.dataset.test])
    kinds = {"train": {v.name: v.label == "anomalous" for v in work.dataset.train}}
    kinds["test"] = {v.name: bool(work.truth(v).frames.any()) for v in work.dataset.test}
    ground: dict[str, dict[str, object]] = {}
    seen: Counter[bool] = Counter()
    for part, split in {"train": work.dataset.train, "test": work.dataset.test}.items():
        ids = []
        for video in sorted(split, key=lambda video: not kinds[part][video.name]):
            anomalous = kinds[part][video.name]
            seen[anomalous] += 1
            width = 4 if anomalous else 3  # as in the original, where the anomalous were test ones
            name = f"{number[video.scene]}_{seen[anomalous]:0{width}}"
            ids.append(work.call(part, name, video))
            count = clip(video, base / "videos" / part / f"{name}.avi")
            if part == "test":
                truth = work.truth(video)
                checked(count, truth, video)
                labels = np.pad(truth.frames, (0, -count % 16), mode="edge").astype(float)
                ground[name] = {"num_frames": len(labels), "labels": labels.tolist()}
        (base / "i3d" / part).mkdir(parents=True)
        (base / "i3d" / part / "README.txt").write_text(NOTE.format(part=part))
        listed = "".join(f"{name}\n" for name in ["video-id", *ids])
        (base / f"shanghaitech.{part}ing.csv").write_text(listed)
    (base / "shanghaitech_ground_truth.testing.json").write_text(json.dumps(ground))
