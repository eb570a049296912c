"""Pascal VOC average precision: 11 points (2007) and area under the curve (2010 on).

Everingham et al., The Pascal Visual Object Classes Challenge, 2010; the rules of its development kit: boxes of
inclusive pixels, each truth found once, difficult ones neither right nor wrong, a detection competes only for the truth
that it overlaps most. An overlap of exactly the threshold is not enough: so has voc_eval.py, the Python port that papers
are measured with; the kit's own VOCevaldet.m takes it (`ovmax>=VOCopts.minoverlap`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from videre.errors import DataError
from videre.structures import Scene, Schema

WAYS = ("11 points", "area")
"""Pascal's two ways to measure the area under a curve: until 2009, and since."""


def voc_evaluate(
    predictions: Sequence[Scene], truths: Sequence[Scene], schema: Schema, iou: float = 0.5
) -> dict[str, dict[str, float]]:
    """AP by class name, {"11 points": …, "area": …}; NaN where a class has no truth."""
    if schema.things is None:
        raise DataError("VOC evaluation needs the names of the things (schema.things)")
    table = {}
    for label, name in enumerate(schema.things):
        recall, precision, count = _curve(predictions, truths, label, iou)
        nothing = dict.fromkeys(WAYS, float("nan"))
        table[name] = (
            {"11 points": _eleven_points(recall, precision), "area": _area(recall, precision)} if count else nothing
        )
    return table


def voc_mean(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean AP in the two ways over the classes that have truth; NaN where none has."""
    known = [row for row in table.values() if not np.isnan(row["area"])]
    return {way: float(np.mean([row[way] for row in known])) if known else float("nan") for way in WAYS}


def _curve(
    predictions: Sequence[Scene], truths: Sequence[Scene], label: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, int]:
    scores, owners, boxes, held, count = [], [], [], [], 0
    for i, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        p, t = prediction.instances, truth.instances
        if p is not None and p.boxes is not None and p.labels is not None and p.scores is not None:
            of_label = (p.labels == label).numpy()
            scores.append(p.scores.numpy()[of_label])
            boxes.append(p.boxes.numpy().astype(float)[of_label])
            owners.append(np.full(int(of_label.sum()), i))
        if t is not None and t.boxes is not None and t.labels is not None:
            of_label = (t.labels == label).numpy()
            difficult = t.ignore.numpy()[of_label] if t.ignore is not None else np.zeros(int(of_label.sum()), bool)
            held.append((t.boxes.numpy().astype(float)[of_label], difficult, np.zeros(int(of_label.sum()), bool)))
            count += int((~difficult).sum())
        else:
            held.append((np.zeros((0, 4)), np.zeros(0, bool), np.zeros(0, bool)))
    score = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-score, kind="stable")
    box, owner = (np.concatenate(x)[order] if x else np.zeros((0, 4)) for x in (boxes, owners))
    right, wrong = np.zeros(len(order)), np.zeros(len(order))
    for d in range(len(order)):
        true, difficult, taken = held[int(owner[d])]
        overlap = _inclusive_iou(box[d], true)
        best = int(overlap.argmax()) if len(true) else -1
        if best < 0 or overlap[best] <= threshold:
            wrong[d] = 1
        elif not difficult[best]:
            (wrong if taken[best] else right)[d] = 1
            taken[best] = True
    hits = right.cumsum()
    return hits / max(count, 1), hits / np.maximum(hits + wrong.cumsum(), np.finfo(float).eps), count


def _inclusive_iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Overlap in the kit's convention: a box [x1, x2) here covers the pixels x1..x2 - 1 there, so sides agree."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inside = np.clip(high - low, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - inside
    return inside / np.maximum(area, 1e-12)


def _eleven_points(recall: np.ndarray, precision: np.ndarray) -> float:
    # the kit's 0:.1:1 in floating point, .30000000000000004 included
    return float(np.mean([precision[recall >= t].max(initial=0.0) for t in np.arange(0.0, 1.1, 0.1)]))


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
    r = np.concatenate([[0.0], recall, [1.0]])
    p = np.maximum.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    steps = np.flatnonzero(r[1:] != r[:-1])
    return float(((r[steps + 1] - r[steps]) * p[steps + 1]).sum())
