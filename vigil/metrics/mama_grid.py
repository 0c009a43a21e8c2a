"""How Making Anomalies More Anomalous is measured, for comparison: its terms weighed by hand.

Each term of a video becomes a z-score, their weighted sum is scaled by the video's own extremes
and, if asked, smoothed by a Gaussian over 10 frames, which looks ahead. So the WHOLE video is
needed. `oracle` takes the weights that suit the test labels best, as the paper does: a ceiling,
never a result. A video whose sum is constant gets 0 throughout, as a constant term adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from vigil.errors import InputError
from vigil.metrics.frames import sweep

TERMS = ("motion", "label", "error", "damage")
SIGMA = 10.0  # frames
EPS = 1e-8  # added to each divisor, as the authors do
TENTHS = 50  # that the first three weights sum to
DAMAGE = (0.25, 0.5, 0.75, 1.0)  # weights of "damage"
BLOCK = 64  # weightings of all videos in memory at once
BINS = 2**14

Video = Mapping[str, np.ndarray]  # {term: (T,)}


class Oracle(NamedTuple):
    """The best of a grid ON THE TEST LABELS."""

    weights: dict[str, float]
    micro_auc: float
    eer: float


def mixed(video: Video, weights: Mapping[str, float], gaussian: bool = False) -> np.ndarray:
    """(T,) in 0..1 of one video under fixed weights; no label is needed."""
    names = [name for name in TERMS if name in weights]
    table = np.array([[weights[name] for name in names]])  # (1, terms)
    return mixes(video, names, table, gaussian)[0]


def mixes(video: Video, names: Sequence[str], table: np.ndarray, gaussian: bool) -> np.ndarray:
    """Many weightings (W, terms) of one video at once, (W, T)."""
    return scaled(table, *z_scores(video, names, gaussian))


def z_scores(video: Video, names: Sequence[str], gaussian: bool) -> tuple[np.ndarray, np.ndarray]:
    """Terms of a video that a weighting's extremes come from, and those that it is made of, (terms,
    T) each. The Gaussian is linear and leaves constants as they are, so it is applied here, once.
    """
    missing = [name for name in names if name not in video]
    if missing:
        raise InputError(f"weights for {missing}, but the scores have {sorted(video)}")
    terms = np.stack([z_score(np.asarray(video[name], np.float64)) for name in names])
    if not np.isfinite(terms).all():
        wrong = [name for name, row in zip(names, terms, strict=True) if np.isnan(row).any()]
        raise InputError(f"scores {wrong} are not all finite numbers")
    if not gaussian:
        return terms, terms
    from scipy.ndimage import gaussian_filter1d

    return terms, gaussian_filter1d(terms, SIGMA, axis=1)


def scaled(table: np.ndarray, plain: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """(W, T): weighted sums of `smooth`, 0 and 1 where those of `plain` have their extremes."""
    sums = weighed(table, plain)  # (W, T)
    low = sums.min(1, keepdims=True)
    span = sums.max(1, keepdims=True) - low + EPS
    found: np.ndarray = sums if smooth is plain else weighed(table, smooth)
    found -= low
    found /= span
    return found


def weighed(table: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """`table` @ `terms`, each sum rounded alike whatever stands beside it: ties stay ties."""
    found: np.ndarray = np.multiply.outer(table[:, 0], terms[0])
    for weights, term in zip(table.T[1:], terms[1:], strict=True):
        found += np.multiply.outer(weights, term)
    return found


def z_score(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + EPS)


def grid(damage: bool) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and weights (W, terms): every three tenths above 0 that sum to 5, and with `damage`
    each of its weights."""
    triples = [
        (a / 10, b / 10, (TENTHS - a - b) / 10)
        for a in range(1, TENTHS)
        for b in range(1, TENTHS - a)
    ]  # 1176
    if not damage:
        return TERMS[:3], np.array(triples)
    return TERMS, np.array([(*triple, d) for triple, d in product(triples, DAMAGE)])


def oracle(videos: Sequence[Video], labels: Sequence[np.ndarray], gaussian: bool = False) -> Oracle:
    """The best weighting of the grid by micro AUC on `labels`, (T,) bool each.

    `bounds` are found for all of them, without a sort; only those that may still be the best are
    measured exactly.
    """
    names, table = grid(damage=all("damage" in video for video in videos))
    truth = np.concatenate(labels).astype(bool)
    terms = [z_scores(video, names, gaussian) for video in videos]
    frames = sum(plain.shape[1] for plain, _ in terms)
    if frames != len(truth):
        raise InputError(f"scores of {frames} frames, labels of {len(truth)}; expected as many")

    def pooled(rows: np.ndarray) -> np.ndarray:  # (W, frames)
        return np.concatenate([scaled(table[rows], *video) for video in terms], 1)

    places = np.arange(len(table) if truth.any() and not truth.all() else 1)
    blocks = np.array_split(places, -(-len(places) // BLOCK))
    low, high = np.array([bounds(row, truth) for block in blocks for row in pooled(block)]).T
    areas = {n: area(pooled(places[[n]])[0], truth) for n in np.flatnonzero(high >= low.max())}
    best = max(areas, key=areas.__getitem__)
    weights = dict(zip(names, table[best].tolist(), strict=True))
    return Oracle(weights, areas[best], nearest_error(pooled(places[[best]])[0], truth))


def bounds(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """What the ROC area of scores in 0..1 is between: pairs of frames in the same of `BINS` bins
    are all in wrong order, or all in right order."""
    bins = (scores * (BINS - 1)).astype(np.int64).clip(0, BINS - 1)  # rounding leaves 0..1
    counted = np.bincount(2 * bins + labels, minlength=2 * BINS).reshape(BINS, 2)
    normal, anomalous = counted.T
    right = anomalous @ (normal.cumsum() - normal)
    pairs = max(normal.sum() * anomalous.sum(), 1)
    return right / pairs, (right + anomalous @ normal) / pairs


def counts(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """False and true alarms at each distinct score, from none to all; None for one class."""
    s = sweep(scores, labels)
    if not len(s.tp) or not s.tp[-1] or not s.fp[-1]:
        return None
    return np.r_[0, s.fp].astype(np.float64), np.r_[0, s.tp].astype(np.float64)


def area(scores: np.ndarray, labels: np.ndarray) -> float:
    """ROC area; 0.5 where all labels are equal, which no weighting can change."""
    found = counts(scores, labels)
    if found is None:
        return 0.5
    fp, tp = found
    return float((np.diff(fp) * (tp[1:] + tp[:-1])).sum() / (2 * tp[-1] * fp[-1]))


def nearest_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """The false alarm rate at the corner of the ROC where it is nearest to the miss rate (`eer` of
    vigil.metrics.frames lies between thresholds); nan where all labels are equal."""
    found = counts(scores, labels)
    if found is None:
        return float("nan")
    fp, tp = found
    corner = np.ones(len(fp), bool)  # the first point, the last, and those that are on no line
    corner[2:-1] = (np.diff(fp[1:], 2) != 0) | (np.diff(tp[1:], 2) != 0)
    fpr, tpr = fp[corner] / fp[-1], tp[corner] / tp[-1]
    return float(fpr[np.argmin(np.abs(fpr - (1 - tpr)))])
