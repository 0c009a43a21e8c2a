"""Frame-level metrics, exact: how well one score a frame tells anomalous frames from normal ones.

Everything is read off one sweep of a threshold from high to low. Ties count half in the ROC area,
as the trapezoid rule has it. Counts are integers, so nothing is lost by the number of frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from vigil.errors import InputError
from vigil.records import Metric

Pair = tuple[np.ndarray, np.ndarray]  # scores (T,), labels (T,) bool, True = anomalous


class Sweep(NamedTuple):
    """Frames at or above each distinct score, from the highest score down, K of them."""

    keys: np.ndarray  # (K,) order-preserving bits of the scores
    tp: np.ndarray  # (K,) int64 anomalous frames
    fp: np.ndarray  # (K,) int64 normal frames
    dtype: np.dtype

    @property
    def thresholds(self) -> np.ndarray:
        """(K,) float64, descending."""
        return _values(self.keys, self.dtype).astype(np.float64)


class Roc(NamedTuple):
    """One point a distinct score, after (0, 0) at threshold inf; "alarm" is score >= threshold."""

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


class EqualError(NamedTuple):
    """Where the ROC meets fpr = 1 - tpr. At `threshold` the alarm rate of normal frames is `fpr`,
    the first at or past that point; `rate` lies on the line between it and the point before."""

    rate: float
    threshold: float
    fpr: float
    tpr: float


def sweep(scores: np.ndarray, labels: np.ndarray) -> Sweep:
    """All that the metrics need, in one sort. `InputError` names the first frame that is no number.

    Scores are turned into integers of the same order; those of equal neighbours (snippets, held
    values) are joined before the sort. Where a bit is to spare, the label travels in it and the
    sort needs no index.
    """
    scores, labels = _checked(scores, labels)
    if not len(scores):
        none = np.zeros(0, np.int64)
        return Sweep(np.zeros(0, np.uint64), none, none, scores.dtype)
    keys = _keys(scores)
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    if 2 * len(starts) < len(keys):
        positives = np.add.reduceat(labels, starts, dtype=np.int64)
        totals = np.diff(starts, append=len(keys))
        order = np.argsort(keys[starts])
        keys, positives, totals = keys[starts][order], positives[order], totals[order]
    else:
        keys, positives = _sorted(keys, labels)
        totals = None
    return _distinct(keys, positives, totals, scores.dtype)


def micro_auc(scores: np.ndarray, labels: np.ndarray) -> Metric:
    """Area under the ROC of all frames (N,) taken together."""
    return _micro(sweep(scores, labels))


def ap(scores: np.ndarray, labels: np.ndarray) -> Metric:
    """Average precision: sum of precision times gained recall over the distinct scores."""
    return _ap(sweep(scores, labels))


def eer(scores: np.ndarray, labels: np.ndarray) -> Metric:
    """Equal error rate: where false alarms a normal frame equal misses an anomalous frame."""
    return _eer(sweep(scores, labels))


def roc(scores: np.ndarray, labels: np.ndarray) -> Roc | None:
    """The ROC, K + 1 points; None where the frames are all of one class."""
    s = sweep(scores, labels)
    if _one_class(s):
        return None
    fp, tp = np.r_[0, s.fp], np.r_[0, s.tp]
    return Roc(fp / fp[-1], tp / tp[-1], np.r_[np.inf, s.thresholds])


def eer_point(scores: np.ndarray, labels: np.ndarray) -> EqualError | None:
    """The equal error rate and its threshold; None where the frames are all of one class."""
    s = sweep(scores, labels)
    return None if _one_class(s) else _equal_error(s)


def macro_auc_padded(videos: Mapping[str, Pair]) -> Metric:
    """Mean over videos of the ROC area after one normal frame of score -inf and one anomalous
    frame of score +inf are added to each, so that every video has both classes.

    The published rule adds (label 0, score 0) and (label 1, score 1) to scores in [0, 1]; scores
    here have no bounds, so the added frames lie outside all of them, with which they tie nowhere.
    Each area is (U + P + N + 1) / ((P + 1)(N + 1)) for P anomalous and N normal frames of which U
    pairs are in order. A video of one class counts as 1.
    """
    areas = [_padded(s) for s in _sweeps(videos)]
    if not areas:
        return Metric("macro_auc_padded", None, "no video has labels")
    how = f"mean of {len(areas)} videos, each with one normal frame below all and one anomalous"
    return Metric("macro_auc_padded", float(np.mean(areas)), f"{how} frame above all added")


def macro_auc_defined(videos: Mapping[str, Pair]) -> Metric:
    """Mean of the ROC area over the videos that hold both classes; how many, in `how`."""
    areas = [_area(s) for s in _sweeps(videos) if not _one_class(s)]
    if not areas:
        return Metric("macro_auc_defined", None, "no video holds both classes")
    how = f"mean of the {len(areas)} of {len(videos)} videos that hold both classes"
    return Metric("macro_auc_defined", float(np.mean(areas)), how)


def frame_metrics(videos: Mapping[str, Pair], macro: bool = True) -> dict[str, Metric]:
    """micro_auc, ap and eer of all frames from one sort, and both macro rules."""
    if macro:  # first, because its checks can name the video
        means = (macro_auc_padded(videos), macro_auc_defined(videos))
    s = sweep(*pooled(videos))
    found = (_micro(s), *(means if macro else ()), _ap(s), _eer(s))
    return {metric.name: metric for metric in found}


def pooled(videos: Mapping[str, Pair]) -> Pair:
    """All videos end to end: scores (N,), labels (N,)."""
    pairs = list(videos.values())
    if not pairs:
        return np.zeros(0), np.zeros(0, bool)
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


# -- from counts to numbers --------------------------------------------------------------------
def _one_class(s: Sweep) -> str:
    """Why nothing can be measured; empty where both classes are there."""
    if not len(s.tp):
        return "no frames"
    if not s.tp[-1]:
        return f"all {s.fp[-1]} frames are normal"
    return "" if s.fp[-1] else f"all {s.tp[-1]} frames are anomalous"


def _frames(s: Sweep) -> str:
    return f"{s.tp[-1] + s.fp[-1]} frames, {s.tp[-1]} anomalous"


def _twice_in_order(s: Sweep) -> int:
    """Twice the (anomalous, normal) pairs in right order, a tie counting half."""
    above = np.r_[0, s.tp[:-1]]
    return int(np.dot(np.diff(s.fp, prepend=0), above + s.tp))


def _area(s: Sweep) -> float:
    return _twice_in_order(s) / (2 * int(s.tp[-1]) * int(s.fp[-1]))


def _padded(s: Sweep) -> float:
    p, n = (int(s.tp[-1]), int(s.fp[-1])) if len(s.tp) else (0, 0)
    return (_twice_in_order(s) + 2 * (p + n + 1)) / (2 * (p + 1) * (n + 1))


def _micro(s: Sweep) -> Metric:
    if why := _one_class(s):
        return Metric("micro_auc", None, why)
    return Metric("micro_auc", _area(s), f"area under the ROC of all frames together: {_frames(s)}")


def _ap(s: Sweep) -> Metric:
    if why := _one_class(s):
        return Metric("ap", None, why)
    precision = s.tp / (s.tp + s.fp)
    value = float(np.dot(precision, np.diff(s.tp, prepend=0)) / s.tp[-1])
    share = s.tp[-1] / (s.tp[-1] + s.fp[-1])
    return Metric("ap", value, f"average precision, chance {share:.4f}: {_frames(s)}")


def _eer(s: Sweep) -> Metric:
    if why := _one_class(s):
        return Metric("eer", None, why)
    e = _equal_error(s)
    how = f"at threshold {e.threshold:.4g}, which by definition comes from these labels"
    return Metric("eer", e.rate, f"{how}: {_frames(s)}")


def _equal_error(s: Sweep) -> EqualError:
    tp, fp = np.r_[0, s.tp], np.r_[0, s.fp]
    p, n = int(tp[-1]), int(fp[-1])
    excess = fp * p + tp * n - p * n  # (fpr + tpr - 1) p n, rising from -pn to pn
    k = int(np.searchsorted(excess, 0))
    step = -excess[k - 1] / (excess[k] - excess[k - 1])
    rate = (fp[k - 1] + step * (fp[k] - fp[k - 1])) / n
    return EqualError(float(rate), float(s.thresholds[k - 1]), float(fp[k] / n), float(tp[k] / p))


# -- the sort ----------------------------------------------------------------------------------
def _sweeps(videos: Mapping[str, Pair]) -> Iterable[Sweep]:
    for name, (scores, labels) in videos.items():
        try:
            yield sweep(scores, labels)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None


def _checked(scores: np.ndarray, labels: np.ndarray) -> Pair:
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.dtype != np.float32:
        scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise InputError(
            f"scores {scores.shape} and labels {labels.shape}; expected one of each a frame"
        )
    if not np.isfinite(scores).all():
        bad = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InputError(f"the score of frame {bad} is {scores[bad]}; expected a finite number")
    if labels.dtype != bool:
        if not ((labels == 0) | (labels == 1)).all():
            raise InputError("labels other than 0 (normal) and 1 (anomalous)")
        labels = labels.astype(bool)
    return scores, labels


def _keys(scores: np.ndarray) -> np.ndarray:
    """Integers (N,) uint64 in the order of the floats; -0.0 and 0.0 are one."""
    kind, size = (np.uint32, 32) if scores.dtype == np.float32 else (np.uint64, 64)
    bits = (scores + scores.dtype.type(0)).view(kind)  # + 0 turns -0.0 into 0.0
    flip = -(bits >> kind(size - 1)) | kind(1 << (size - 1))  # all ones below zero, else the top
    return (bits ^ flip).astype(np.uint64)


def _values(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The floats that `_keys` took."""
    kind, size = (np.uint32, 32) if dtype == np.float32 else (np.uint64, 64)
    keys = keys.astype(kind)
    flip = ((keys >> kind(size - 1)) - kind(1)) | kind(1 << (size - 1))
    return (keys ^ flip).view(dtype)


def _sorted(keys: np.ndarray, labels: np.ndarray) -> Pair:
    """Keys in ascending order with their labels."""
    low = keys.min()
    if keys.max() - low >> np.uint64(63):  # float64 of both signs and great range: no bit to spare
        order = np.argsort(keys)
        return keys[order], labels[order]
    packed = (keys - low) << np.uint64(1) | labels
    packed.sort()
    return (packed >> np.uint64(1)) + low, (packed & np.uint64(1)).astype(bool)


def _distinct(
    keys: np.ndarray, positives: np.ndarray, totals: np.ndarray | None, dtype: np.dtype
) -> Sweep:
    """Counts at or above each distinct key, from ascending keys with how many stand behind each."""
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])  # of each distinct key
    below_p = np.r_[0, np.cumsum(positives, dtype=np.int64)]
    below = np.arange(len(keys) + 1) if totals is None else np.r_[0, np.cumsum(totals)]
    tp = below_p[-1] - below_p[first]
    at_or_above = below[-1] - below[first]
    return Sweep(keys[first][::-1], tp[::-1], (at_or_above - tp)[::-1], dtype)
