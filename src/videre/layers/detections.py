"""From scores and boxes to detections: what every detector ends with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videre.ops.boxes import clip_boxes
from videre.ops.nms import nms
from videre.structures import Instances
from videre.structures.limits import Limits

SMALLEST = 1e-2
"""Pixels: what is narrower or lower is no detection."""
SHOWN_OVERLAP = 0.8
"""IoU above which two boxes are shown as one thing: chosen on validation data (docs/compare.md, benchmarks/shown_twice.py)."""


def best_pairs(
    scores: Tensor, threshold: float, most: int | None = None, each: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of a box and a class whose score is above the threshold; at most so many, the best ones.

    Args:
        scores: float [N, K]. most: pairs in all. each: of a class.

    Returns:
        indices [P] of the boxes, classes [P], scores [P]; best first where `most` says how many, by class and best first where `each` does.
    """
    index, label = (scores > threshold).nonzero().unbind(1)
    score = scores[index, label]
    if each is not None:  # the few above the threshold are sorted, not all boxes of every class
        order = score.argsort(descending=True, stable=True)
        order = order[label[order].argsort(stable=True)]
        counts = torch.zeros(scores.shape[1], dtype=label.dtype, device=label.device)
        counts = counts.scatter_add(0, label, torch.ones_like(label))
        first = (counts.cumsum(0) - counts)[label[order]]
        chosen = order[torch.arange(order.shape[0], device=order.device) - first < each]
        return index[chosen], label[chosen], score[chosen]
    if most is not None:
        score, order = score.topk(torch.sym_min(most, score.shape[0]))
        index, label = index[order], label[order]
    return index, label, score


def detections_of(
    boxes: Tensor, scores: Tensor, labels: Tensor, size: tuple[int, int], overlap: float, limits: Limits
) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates of one picture to its detections, best first: clipped to the picture, without the weaker of two of a class.

    Args:
        boxes: [P, 4], scores [P], labels [P]. size: (height, width) of the picture.
        overlap: IoU from which the weaker one goes.
    """
    boxes = clip_boxes(boxes, size)
    large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(dim=1)
    boxes, scores, labels = boxes[large], scores[large], labels[large]
    keep = nms(boxes, scores, overlap, labels)[: limits.max_detections]
    return boxes[keep], scores[keep], labels[keep]


def as_outputs(pictures: Sequence[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
    """Boxes, scores and labels of each picture, joined: boxes [D, 4], scores [D], labels [D], and the picture [D] of each."""
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*pictures, strict=True))
    picture = torch.cat([torch.full_like(found[2], i) for i, found in enumerate(pictures)])
    return {"boxes": boxes, "scores": scores, "labels": labels, "picture": picture}


def shown(things: Instances, least: Tensor, overlap: float = SHOWN_OVERLAP) -> Tensor:
    """Which of the predicted things [N] are shown: those that reach their score, and of two that are one thing under two names the
    better.

    NMS within a class leaves these: a box that is "cube" with .60 and "cylinder" with .54.

    Args:
        things: with scores. least: score, of all or of each [N]. overlap: IoU of boxes above which the weaker goes, whatever its class;
            1: none goes.
    """
    chosen = things.scores >= least  # type: ignore[operator]
    if overlap >= 1 or things.boxes is None or things.labels is None:
        return chosen
    rows = chosen.nonzero().flatten()
    kept = nms(things.boxes[rows], things.scores[rows], overlap)  # type: ignore[index]
    return torch.zeros_like(chosen).index_fill(0, rows[kept], True)
