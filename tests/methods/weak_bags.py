"""Bags of synthetic features with planted anomalies, and a short training, for several tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vigil.methods.base import Method
from vigil.records import Batch, Units

DIM, ROWS, CROPS = 64, 40, 2


def units(rows: Tensor, frames: int = 16, name: str = "video") -> Units:
    """Rows (N, crops, D) as the units of one video."""
    n = len(rows)
    first = np.arange(n) * frames
    box = np.tile(np.array([[0, 0, 64, 48]], np.float32), (n, 1))
    return Units("rows", name, {"rows": rows}, first, first + frames, first + frames, box)


def planted(count: int, seed: int, anomalous: bool) -> tuple[Tensor, np.ndarray]:
    """Videos (count, ROWS, CROPS, DIM) of non-negative features and the truth (count, ROWS).

    Anomalies are 4 to 10 rows moved along one direction; length tells them as little as noise.
    """
    rng = np.random.default_rng((seed, anomalous))
    rows = np.abs(rng.normal(0, 1, (count, ROWS, CROPS, DIM))).astype(np.float32)
    rows *= rng.uniform(0.8, 1.2, (count, 1, 1, 1)).astype(np.float32)
    truth = np.zeros((count, ROWS), bool)
    if anomalous:
        for n in range(count):
            length = int(rng.integers(4, 11))
            start = int(rng.integers(0, ROWS - length))
            truth[n, start : start + length] = True
        rows[truth, :, : DIM // 4] += 1.0
    return torch.from_numpy(rows), truth


def train(method: Method, steps: int, size: int = 16, seed: int = 0) -> list[float]:
    """Loss at each step; every step draws whole bags of both kinds."""
    normal, anomalous = (planted(40, seed, kind)[0] for kind in (False, True))
    bags = [
        torch.stack([method.bag(units(rows))["rows"] for rows in videos])
        for videos in (normal, anomalous)
    ]
    optimizers, rng = method.optimizers(), np.random.default_rng(seed)
    torch.manual_seed(seed)
    method.train()
    trace = []
    for _ in range(steps):
        drawn = [{"rows": bag[torch.from_numpy(rng.permutation(40)[:size])]} for bag in bags]
        batch = Batch(normal=drawn[0], anomalous=drawn[1])
        terms = method.fit_step(batch, optimizers, lambda total: total.backward())
        trace.append(sum(float(term.detach()) for term in terms.values()))
    method.eval()
    return trace


def found(method: Method, seed: int = 99) -> tuple[float, float]:
    """AUC of videos (by their highest row) and of frames, on videos never trained on."""
    from sklearn.metrics import roc_auc_score

    channel = method.channels["rows"][0]
    scores, truths = [], []
    for kind in (False, True):
        rows, truth = planted(20, seed, kind)
        with torch.no_grad():
            scores += [method.score(units(video))[channel].numpy() for video in rows]
        truths += list(truth)
    videos = roc_auc_score([truth.any() for truth in truths], [score.max() for score in scores])
    frames = roc_auc_score(np.repeat(truths, 16), np.repeat(scores, 16))
    return float(videos), float(frames)
