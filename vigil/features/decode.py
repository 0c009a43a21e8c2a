"""What a detector's outputs mean: arrays to boxes, by the spec of `detector_spec.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import nms

from vigil.errors import ModelError
from vigil.features.detector_spec import Output, Spec


class Found(NamedTuple):
    """Boxes (n, 4) float32 x1, y1, x2, y2 in pixels of the network's input; scores (n,) in 0..1;
    labels (n,) int64, places in the spec's classes."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def only(self, rows: np.ndarray) -> Found:
        """Some rows, by mask or by number."""
        return Found(self.boxes[rows], self.scores[rows], self.labels[rows])


def decode(spec: Spec, outputs: Mapping[str, np.ndarray], where: str) -> Found:
    """The boxes to keep: sure enough, of a kept class, the surest of those that overlap.

    `where` names the model in the ModelError of an output that is missing, of another shape than
    the spec says, or not a number.
    """
    found = DECODERS[spec.output.kind](spec, outputs, where)
    if spec.keep:
        kept = [spec.classes.index(name) for name in spec.keep]
        found = found.only(np.isin(found.labels, kept))
    return suppress(found, spec.iou, spec.most)


def suppress(found: Found, iou: float, most: int) -> Found:
    """Of boxes of one class that overlap more than `iou`, the surest; at most `most`, by score.

    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9]], np.float32)
    >>> two = Found(boxes, np.array([0.5, 0.9, 0.8], np.float32), np.array([0, 0, 1]))
    >>> suppress(two, 0.5, 10).scores.tolist()
    [0.8999999761581421, 0.800000011920929]
    """
    kept = np.zeros(len(found.boxes), bool)
    for label in np.unique(found.labels):
        rows = np.flatnonzero(found.labels == label)
        boxes, scores = torch.tensor(found.boxes[rows]), torch.tensor(found.scores[rows])
        kept[rows[nms(boxes, scores, iou).numpy()]] = True
    rows = np.flatnonzero(kept)
    return found.only(rows[np.argsort(-found.scores[rows], kind="stable")][:most])


# -- the three kinds -------------------------------------------------------------------------
def decode_boxes(spec: Spec, outputs: Mapping[str, np.ndarray], where: str) -> Found:
    """Finished boxes with scores a class, or with one score and a label each."""
    out = spec.output
    boxes = taken(outputs, out.boxes[0], "boxes", (None, 4), where)
    if out.labels:
        scores = probability(taken(outputs, out.scores[0], "scores", (len(boxes),), where), out)
        labels = taken(outputs, out.labels, "labels", (len(boxes),), where).astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(spec.classes):
            raise ModelError(
                f"{where}: output.labels: {out.labels!r} has labels {labels.min()}.."
                f"{labels.max()}; expected 0..{len(spec.classes) - 1}, the places in `classes`"
            )
    else:
        shape = (len(boxes), len(spec.classes))
        scores, labels = surest(
            probability(taken(outputs, out.scores[0], "scores", shape, where), out)
        )
    if out.unit == "fraction":
        height, width = spec.input.size
        boxes = boxes * np.array([width, height, width, height], np.float32)
    found = Found(boxes, scores, labels).only(scores >= spec.score)
    return found._replace(boxes=as_corners(found.boxes, out.form))


def decode_yolo(spec: Spec, outputs: Mapping[str, np.ndarray], where: str) -> Found:
    """Rows of centre, size, objectness if any, and one score a class."""
    out = spec.output
    columns = 4 + out.objectness + len(spec.classes)
    rows = sum(len(middles(spec.input.size, stride)) for stride in out.strides) or None
    shape = (columns, rows) if out.transposed else (rows, columns)
    values = taken(outputs, out.boxes[0], "boxes", shape, where)
    values = values.T if out.transposed else values  # (N, 4 [+ 1] + C)
    scores, labels = surest(probability(values[:, 4 + out.objectness :], out))
    if out.objectness:
        scores = scores * probability(values[:, 4], out)
    boxes = values[:, :4]
    if out.strides:
        boxes = from_cells(boxes, spec)
    sure = (scores >= spec.score) & np.isfinite(boxes).all(1)  # a size of e^89 is no box
    found = Found(boxes, scores, labels).only(sure)
    return found._replace(boxes=as_corners(found.boxes, "cxcywh"))


def from_cells(values: np.ndarray, spec: Spec) -> np.ndarray:
    """(N, 4) of shares of a cell and logarithms of sizes to centre and size in pixels."""
    strides = spec.output.strides
    grids = [middles(spec.input.size, stride) - stride / 2 for stride in strides]
    corner = np.concatenate(grids)  # (N, 2) pixels
    stride = np.repeat(np.array(strides, np.float32), [len(grid) for grid in grids])[
        :, None
    ]  # (N, 1)
    with np.errstate(over="ignore"):
        return np.concatenate(
            [values[:, :2] * stride + corner, np.exp(values[:, 2:]) * stride], 1
        ).astype(np.float32)


def decode_gfl(spec: Spec, outputs: Mapping[str, np.ndarray], where: str) -> Found:
    """Distances to the four sides as distributions, one head a stride."""
    out, parts = spec.output, []
    for score_name, box_name, stride in zip(out.scores, out.boxes, out.strides, strict=True):
        middle = middles(spec.input.size, stride)  # (n, 2)
        shape = (len(middle), len(spec.classes))
        scores, labels = surest(
            probability(taken(outputs, score_name, "scores", shape, where), out)
        )
        values = taken(outputs, box_name, "boxes", (len(middle), None), where)
        if values.shape[1] % 4 or values.shape[1] < 8:
            raise ModelError(
                f"{where}: output.boxes: {box_name!r} has {values.shape[1]} columns; "
                "expected 4 x bins, at least 2 bins"
            )
        sure = scores >= spec.score
        bins = values.reshape(len(values), 4, values.shape[1] // 4)[sure]  # (m, 4, B)
        sides = expected(bins) * stride  # (m, 4) pixels
        corners = [middle[sure] - sides[:, :2], middle[sure] + sides[:, 2:]]
        parts.append(Found(np.concatenate(corners, 1), scores[sure], labels[sure]))
    return Found(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


DECODERS = {"boxes": decode_boxes, "yolo": decode_yolo, "gfl": decode_gfl}


# -- arithmetic ------------------------------------------------------------------------------
def taken(
    outputs: Mapping[str, np.ndarray],
    name: str,
    key: str,
    shape: tuple[int | None, ...],
    where: str,
) -> np.ndarray:
    """The output `name` as float32 of `shape` (None = any length), a batch axis of 1 dropped."""
    if name not in outputs:
        raise ModelError(
            f"{where}: output.{key}: no output {name!r}; the model has {', '.join(outputs)}"
        )
    found = value = np.asarray(outputs[name])
    if value.ndim == len(shape) + 1 and len(value) == 1:
        value = value[0]
    fits = value.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, value.shape, strict=True)
    )
    if not fits or value.dtype.kind not in "fiu":
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise ModelError(
            f"{where}: output.{key}: {name!r} is {found.dtype} {found.shape}; "
            f"expected numbers ({wanted}); does the spec belong to this model?"
        )
    if not np.isfinite(value).all():
        raise ModelError(f"{where}: output.{key}: {name!r} has values that are not finite")
    return value.astype(np.float32, copy=False)


def middles(size: tuple[int, int], stride: int) -> np.ndarray:
    """(n, 2) float32 x, y: the middles of the cells of `stride` pixels, row by row.

    >>> middles((16, 32), 16).tolist()
    [[8.0, 8.0], [24.0, 8.0]]
    """
    rows, columns = -(-size[0] // stride), -(-size[1] // stride)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    return (np.stack([x.ravel(), y.ravel()], 1) + 0.5) * np.float32(stride)


def expected(logits: np.ndarray) -> np.ndarray:
    """(..., B) logits to (...): the mean of 0..B-1 under their softmax.

    >>> expected(np.array([[0, 0, 0.0], [-99, -99, 0]])).tolist()
    [1.0, 2.0]
    """
    weight = np.exp(logits - logits.max(-1, keepdims=True))
    mean = (weight * np.arange(logits.shape[-1])).sum(-1) / weight.sum(-1)
    return mean.astype(np.float32)


def probability(values: np.ndarray, out: Output) -> np.ndarray:
    """Scores as they are, or through the sigmoid that the network left out."""
    return 1 / (1 + np.exp(-values.clip(-80, 80))) if out.sigmoid else values


def surest(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) to the largest score (N,) and its class (N,)."""
    labels = scores.argmax(1)
    return scores[np.arange(len(scores)), labels], labels


def as_corners(boxes: np.ndarray, form: str) -> np.ndarray:
    """(N, 4) in any form to x1, y1, x2, y2.

    >>> as_corners(np.array([[5, 5, 4, 2.0]]), "cxcywh").tolist()
    [[3.0, 4.0, 7.0, 6.0]]
    """
    if form == "xyxy":
        return boxes
    start, size = boxes[:, :2], boxes[:, 2:]
    start = start - size / 2 if form == "cxcywh" else start
    return np.concatenate([start, start + size], 1)
