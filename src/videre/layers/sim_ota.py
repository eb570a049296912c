"""SimOTA: which places of a detector without anchors are trained to find which thing, by what they say of it now.

Ge et al., YOLOX: Exceeding YOLO Series in 2021, section 2.2; Ge et al., OTA: Optimal Transport Assignment, 2021. Constants are those of
the released code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from videre.layers.matcher import NEGATIVE
from videre.ops.boxes import box_iou

RADIUS = 2.5
"""Cells: how far from the middle of a thing a place may lie and still be one for it."""
CANDIDATES = 10
"""Places whose overlaps, summed, are the number of places that a thing gets."""
IOU_COST = 3.0
OUTSIDE_COST = 1e5


@torch.no_grad()
def sim_ota(
    scores: Tensor, boxes: Tensor, places: Tensor, strides: Tensor, truth: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The true box of each place, and the overlap of what it says with that.

    A place is a candidate for a thing when it lies in its box or near its middle; those in both come first. The cost is the
    cross-entropy of its classes and minus three times the logarithm of the overlap. A thing takes the places of least cost, as
    many as its ten best overlaps add up to, one at least; a place that several want goes to the one it costs least.

    Args:
        scores: float [M, K] in [0, 1], class times objectness. boxes: [M, 4], what is said. places: [M, 2] (x, y), the middles of the
            cells; strides [M].
        truth: [T, 4], labels [T].

    Returns:
        int64 [M], `NEGATIVE` for those that have none; float [M], 0 there.
    """
    matched = torch.full((len(places),), NEGATIVE, dtype=torch.int64, device=places.device)
    overlap = torch.zeros(len(places), device=places.device)
    if len(truth) == 0:
        return matched, overlap
    inside = ((places > truth[:, None, :2]) & (places < truth[:, None, 2:])).all(2)  # (T, M)
    middles = (truth[:, :2] + truth[:, 2:]) / 2
    near = ((places - middles[:, None]).abs() < RADIUS * strides[:, None]).all(2)
    candidates = (inside | near).any(0).nonzero().flatten()
    if len(candidates) == 0:
        return matched, overlap
    both = (inside & near)[:, candidates]
    iou = box_iou(truth, boxes[candidates])
    # BCE(sqrt(score), one-hot), summed over the classes: that of all being absent, and what the true class adds
    root = scores[candidates].float().sqrt().clamp(1e-6, 1 - 1e-6)
    absent = -torch.log1p(-root)
    of_class = absent.sum(1) - absent[:, labels].T - root[:, labels].T.log()
    cost = of_class - IOU_COST * (iou + 1e-8).log() + OUTSIDE_COST * ~both
    best = iou.topk(min(CANDIDATES, len(candidates)), dim=1).values.sum(1).int().clamp(min=1)
    taken = torch.zeros_like(both)
    for row, count in enumerate(best.tolist()):
        taken[row, cost[row].topk(min(count, len(candidates)), largest=False).indices] = True
    wanted = taken.sum(0)
    several = (wanted > 1).nonzero().flatten()
    taken[:, several] = F.one_hot(cost[:, several].argmin(0), len(truth)).T.bool()
    found = taken.any(0).nonzero().flatten()
    thing = taken[:, found].int().argmax(0)
    matched[candidates[found]] = thing
    overlap[candidates[found]] = iou[thing, found]
    return matched, overlap
