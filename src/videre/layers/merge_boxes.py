"""Boxes that mean the same thing made one, by averaging instead of suppression: OverFeat's merging.

Sermanet et al., OverFeat: Integrated Recognition, Localization and Detection using Convolutional Networks, 2014, section 4.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 300
"""Boxes that are merged, the best: each round looks at all pairs."""


def merge_boxes(boxes: Tensor, scores: Tensor, threshold: float = 0.6) -> tuple[Tensor, Tensor]:
    """Join the two boxes that match best, again and again, until none match better than a threshold.

    How badly two match is the distance of their middles, as a share of their mean side, plus the share of the smaller one that
    lies outside the other. The box that they become is their mean, weighted by scores; its score is the sum, so that what many
    windows agree on counts more than one window's certainty.

    Args:
        boxes: [N, 4]. scores: [N], positive.

    Returns:
        Boxes [M, 4] and scores [M], the best first.
    """
    order = scores.argsort(descending=True, stable=True)[:MOST]
    boxes, scores = boxes[order].double(), scores[order].double()
    badness = _badness(boxes, boxes).fill_diagonal_(torch.inf)
    alive = torch.ones(len(boxes), dtype=torch.bool)
    while alive.sum() > 1:
        at = int(badness.argmin())
        i, j = divmod(at, len(boxes))
        if badness[i, j] > threshold:
            break
        total = scores[i] + scores[j]
        boxes[i] = (boxes[i] * scores[i] + boxes[j] * scores[j]) / total
        scores[i] = total
        alive[j] = False
        badness[j], badness[:, j] = torch.inf, torch.inf
        row = _badness(boxes[i : i + 1], boxes)[0]
        row[~alive] = torch.inf
        row[i] = torch.inf
        badness[i], badness[:, i] = row, row
    boxes, scores = boxes[alive].float(), scores[alive].float()
    order = scores.argsort(descending=True, stable=True)
    return boxes[order], scores[order]


def _badness(a: Tensor, b: Tensor) -> Tensor:
    """How badly each of a [N, 4] matches each of b [M, 4]."""
    sides = lambda x: (x[:, 2:] - x[:, :2]).clamp(min=1e-6)
    middles = lambda x: (x[:, 2:] + x[:, :2]) / 2
    apart = (middles(a)[:, None] - middles(b)).norm(dim=2)
    mean = (sides(a).mean(1)[:, None] + sides(b).mean(1)) / 2
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    smaller = torch.minimum(sides(a).prod(1)[:, None], sides(b).prod(1))
    return apart / mean + 1 - shared / smaller
