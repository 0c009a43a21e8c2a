"""Scores of `cabin`'s test part to the figures of `jigsaw_cabin`: views, levels, seeds, ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from jigsaw_answers import Kept, Way, papers, scores

from vigil.data.base import TestSplit
from vigil.data.recordings import recordings
from vigil.metrics.frames import micro_auc, pooled
from vigil.metrics.protocols import FINAL, Clip, protocol, unit_range
from vigil.metrics.views import join
from vigil.records import Scores
from vigil.scores.jigsaw_protocols import gaussian, moving_mean
from vigil.scores.smooth import smooth
from vigil.scores.views import fusions

VIEWS = ("front_depth", "front_IR", "top_depth", "top_IR")
ALONE = "top_depth"  # the view of the ablations that train, as in the project's own command
ALL = "Fusion(DIR)"
SINGLE = ("Top(D)", "Top(IR)", "Front(D)", "Front(IR)")
COLUMNS = ("smoothed", "raw", "centred", "per-video")
LEVELS = {"frame": "frame", "clip": "clip", "both": "frame,clip"}
Found = dict[str, Scores]  # {video: scores}, of all views
Make = Callable[[Kept], Found]
Seeds = Mapping[int, Mapping[str, Kept]]  # {seed: {view: answers}}

SMOOTHINGS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "none": lambda curve, fps: curve,
    "causal:0.2s": lambda curve, fps: smooth(curve, "causal:0.2s", fps),
    "causal:1s": lambda curve, fps: smooth(curve, "causal:1s", fps),
    "mean of 43 frames": lambda curve, fps: moving_mean(curve),
    "centred:0.5s": lambda curve, fps: smooth(curve, "centred:0.5s", fps),
    "centred:1s": lambda curve, fps: smooth(curve, "centred:1s", fps),
    "mean of 43, Gaussian of 49 frames": lambda curve, fps: gaussian(moving_mean(curve)),
}


class Bench:
    """Scores of `cabin`'s test part to figures."""

    def __init__(self, test: TestSplit) -> None:
        self.videos = {video.name: video for video in test}
        self.truths = {name: test.truth(name) for name in self.videos}
        self.recordings = recordings(test)
        self.rows = fusions(VIEWS)

    def clips(self, found: Found) -> dict[str, Clip]:
        return {
            name: Clip(own, self.truths[name], "", self.videos[name].fps)
            for name, own in found.items()
        }

    def joined(self, found: Found, row: str) -> dict[str, Clip]:
        """{recording: its views of a row of the table, as one}."""
        return join(self.recordings, self.clips(found), self.rows[row])

    def column(self, clips: Mapping[str, Clip], name: str) -> float:
        """Micro AUC under one protocol."""
        how = str(next(iter(clips.values())).scores.made["smoothing"])
        way = protocol(name, how, clips, FINAL)
        return area(pooled(way.pairs(clips, FINAL)))

    def table(self, found: Found) -> dict[str, dict[str, float]]:
        """The nine rows, each under every protocol."""
        joined = {row: self.joined(found, row) for row in self.rows}
        return {
            row: {name: self.column(clips, name) for name in COLUMNS}
            for row, clips in joined.items()
        }

    def by_class(self, clips: Mapping[str, Clip]) -> dict[str, float]:
        """Micro AUC of each class's frames against all normal frames, and of all."""
        curve = np.concatenate([clip.scores.smoothed for clip in clips.values()])
        kinds = np.concatenate([clip.truth.classes for clip in clips.values()])
        found = {"all": area((curve, kinds != ""))}
        for kind in sorted(set(kinds) - {""}):
            rows = (kinds == kind) | (kinds == "")
            found[kind] = area((curve[rows], kinds[rows] == kind))
        return found

    def by_video(self, clips: Mapping[str, Clip]) -> dict[str, float]:
        """The AUC of each recording that holds both classes."""
        return {
            name: area((clip.scores.smoothed, clip.truth.frames))
            for name, clip in clips.items()
            if 0 < clip.truth.frames.mean() < 1
        }

    # -- the models of four heads ------------------------------------------------------------------
    def of_four(self, four: Seeds) -> dict[str, Any]:
        """Views, levels, stability, and the ablations that train nothing."""
        found = {name: self.by_seed(four, Way(levels=key)) for name, key in LEVELS.items()}
        result: dict[str, Any] = {"views": {}, "classes": {}, "per view": {}}
        for name, seeds in found.items():
            result["views"][name] = nested([self.table(own) for own in seeds])
            kinds = [self.by_class(self.joined(own, ALL)) for own in seeds]
            result["classes"][name] = nested(kinds)
            result["per view"][name] = {
                row: nested([self.by_class(self.joined(own, row)) for own in seeds])
                for row in SINGLE
            }
        result["stability"] = {name: self.stability(seeds) for name, seeds in found.items()}
        result["without training"] = {
            title: self.summary([everything(own, make) for own in four.values()])
            for title, make in ways().items()
        }
        result["smoothings"] = self.smoothings(self.by_seed(four, Way(persist=0)))
        one = next(iter(next(iter(four.values())).values()))
        late = one.frames * one.clips - 1 - one.frames // 2
        result["1 but in the last frames"] = {"frames": late, "auc": short(self.ends(late))}
        return result

    def by_seed(self, four: Seeds, way: Way) -> list[Found]:
        return [everything(views, by(way)) for views in four.values()]

    def summary(self, seeds: list[Found]) -> dict[str, Any]:
        """All views joined, drowsiness, and the mean of the single views."""
        every = [self.joined(own, ALL) for own in seeds]
        return {
            "fused": listed([self.column(clips, "smoothed") for clips in every]),
            "drowsy": listed([self.by_class(clips)["drowsy"] for clips in every]),
            "single": listed([
                float(np.mean([self.column(self.joined(own, row), "smoothed") for row in SINGLE]))
                for own in seeds
            ]),
        }  # fmt: skip

    def stability(self, seeds: list[Found]) -> dict[str, Any]:
        """How far figures lie apart, over seeds and over recordings."""
        every = [self.joined(own, ALL) for own in seeds]
        micro = np.array([self.by_class(clips)["all"] for clips in every])
        videos = np.array([list(self.by_video(clips).values()) for clips in every])  # (seeds, V)
        single = np.array([
            [self.by_class(self.joined(own, row))["all"] for own in seeds]
            for row in SINGLE
        ])  # (views, seeds)  # fmt: skip
        spread = 1 if len(seeds) > 1 else 0
        return {
            "micro, mean": short(micro.mean()),
            "micro, sd over seeds": short(micro.std(ddof=spread)),
            "single views, sd over seeds (mean)": short(single.std(1, ddof=spread).mean()),
            "recordings": videos.shape[1], "recordings, mean": short(videos.mean()),
            "recordings, sd over recordings": short(videos.mean(0).std(ddof=1)),
            "recordings, sd over seeds (mean)": short(videos.std(0, ddof=spread).mean()),
            "recordings, worst": short(videos.mean(0).min()),
        }  # fmt: skip

    def ends(self, last: int) -> float:
        """Micro AUC of a score that is 1 everywhere but in the last frames of each recording,
        which is what frames without a clip that count as normal look like."""
        labels = [self.truths[own.views[ALONE].name].frames for own in self.recordings]
        return whole([((np.arange(len(y)) < len(y) - last).astype(float), y) for y in labels])

    def smoothings(self, seeds: list[Found]) -> dict[str, Any]:
        """Each smoothing of the joined score, and the same with every recording scaled by its own
        extremes."""
        result = {}
        for title, change in SMOOTHINGS.items():
            plain, scaled = [], []
            for own in seeds:
                clips = self.joined(own, ALL).values()
                pairs = [(change(clip.scores.score, clip.fps), clip.truth.frames) for clip in clips]
                plain.append(whole(pairs))
                scaled.append(whole([(unit_range(curve), labels) for curve, labels in pairs]))
            result[title] = {"as it is": listed(plain), "per video": listed(scaled)}
        return result

    # -- ablations that train ----------------------------------------------------------------------
    def apart(self, kind: str, seeds: Seeds) -> dict[str, Any]:
        """One kind of training by its own levels: the one view, and all where they are there."""
        result = {}
        for title, way in apart_ways(kind).items():
            own = [everything(views, by(way)) for views in seeds.values()]
            pairs = list(zip(own, seeds.values(), strict=True))
            one = [self.column(self.of_view(o, ALONE), "smoothed") for o, v in pairs if ALONE in v]
            full = [o for o, v in pairs if len(v) == len(VIEWS)]
            if one:
                result[title] = {ALONE: listed(one), **(self.summary(full) if full else {})}
        return result

    def of_view(self, found: Found, view: str) -> dict[str, Clip]:
        """The videos of one view."""
        return self.clips({n: own for n, own in found.items() if self.videos[n].view == view})


def apart_ways(kind: str) -> dict[str, Way]:
    """What is read off a kind of training."""
    if kind in ("frame", "pairs"):
        return {f"{kind}, truth": Way(levels="frame"),
                f"{kind}, normal answers": Way(levels="frame", against="normal"),
                f"{kind}, time alone, normal answers":
                    Way(levels="frame", against="normal", puzzles=("time",))}  # fmt: skip
    if kind == "clip":
        return {kind: Way(levels="clip")}
    if kind == "four":
        return {f"four, {name}": Way(levels=key) for name, key in LEVELS.items()}
    return {kind: Way()}


def ways() -> dict[str, Make]:
    """The ablations that need no training, by name; the first is the default."""

    changed: dict[str, dict[str, Any]] = {
        "default": {}, "place alone": {"puzzles": ("place",)}, "time alone": {"puzzles": ("time",)},
        "mean of the rows": {"rows": "mean"}, "probability": {"scale": "probability"},
        "mean, probability": {"rows": "mean", "scale": "probability"},
        "no common scale": {"common": False},
        "no common scale, probability": {"common": False, "scale": "probability"},
        "persist 0": {"persist": 0.0}, "against normal answers": {"against": "normal"},
    }  # fmt: skip
    for levels in ("clip", "frame,clip"):
        for answer in ("last", "centre", "first", "all"):
            changed[f"{levels}: clip answers {answer}"] = {"levels": levels, "answer": answer}
    for levels in ("frame", "clip"):
        changed[f"{levels} alone, normal answers"] = {"levels": levels, "against": "normal"}
        for puzzle in ("place", "time"):
            changed[f"{levels} alone, {puzzle} alone"] = {"levels": levels, "puzzles": (puzzle,)}
    made = {title: by(Way(**keys)) for title, keys in changed.items()}
    rules = {f"the papers' rule, {name}": key for name, key in LEVELS.items()}
    return made | {title: partial(papers, levels=key) for title, key in rules.items()}


def by(way: Way) -> Make:
    return partial(scores, way=way)


def everything(views: Mapping[str, Kept], make: Make) -> Found:
    """Scores of all videos of all views."""
    return {name: own for kept in views.values() for name, own in make(kept).items()}


def whole(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Micro AUC of several curves with their labels."""
    curves, labels = (np.concatenate(each) for each in zip(*pairs, strict=True))
    return area((curves, labels))


def area(pair: tuple[np.ndarray, np.ndarray]) -> float:
    return float(micro_auc(*pair).value or 0.0)


def short(value: float) -> float:
    return round(float(value), 4)


def listed(values: list[float]) -> dict[str, Any]:
    """The mean, and every seed's value."""
    return {"mean": short(float(np.mean(values))), "seeds": [short(value) for value in values]}


def nested(each: list[Any]) -> Any:
    """One nested dict of numbers a seed to one of `listed`."""
    if isinstance(each[0], dict):
        return {key: nested([one[key] for one in each]) for key in each[0]}
    return listed(each)
