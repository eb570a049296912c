"""Which true box, if any, each anchor or proposal is trained to find; and which of them a step trains on."""

from __future__ import annotations

import torch
from torch import Tensor

NEGATIVE = -1
"""The value of `assign` for a box that should say background."""
IGNORED = -2
"""The value of `assign` for a box that takes no part."""


def assign(iou: Tensor, low: float, high: float, keep_best: bool = False) -> Tensor:
    """For each of M boxes the index of its true box, NEGATIVE below `low`, IGNORED between `low` and `high`.

    Args:
        iou: float [N, M], N true boxes by M anchors or proposals.
        keep_best: the anchors with the largest overlap of each true box (ties included) keep their own best true box
            even below `high` (Faster R-CNN section 3.1.2); a true box that nothing touches brings none.

    Returns:
        int64 [M].
    """
    if iou.numel() == 0:
        return torch.full((iou.shape[1],), NEGATIVE, dtype=torch.int64, device=iou.device)
    best, index = iou.max(dim=0)
    matched = torch.where(best >= high, index, torch.where(best < low, NEGATIVE, IGNORED))
    if keep_best:
        top = iou.max(dim=1).values
        is_top = ((iou == top[:, None]) & (top[:, None] > 0)).any(dim=0)
        matched = torch.where(is_top, index, matched)
    return matched


def claim_best(matched: Tensor, iou: Tensor) -> Tensor:
    """Each true box takes the one box that overlaps it most, whatever that was matched to (SSD section 2.2).

    Where two want the same, it goes to the later one, as in torchvision's and most ports; a true box that nothing touches takes none.

    Args:
        matched: int64 [M], of `assign`. iou: float [N, M].
    """
    if iou.numel() == 0:
        return matched
    top, best = iou.max(dim=1)
    matched = matched.clone()
    for truth in (top > 0).nonzero().flatten().tolist():
        matched[best[truth]] = truth
    return matched


def ignore_covered(matched: Tensor, boxes: Tensor, regions: Tensor, cover: float = 0.5) -> Tensor:
    """Negatives that lie by more than `cover` of their area inside a region marked `ignore` become IGNORED."""
    if len(regions) == 0:
        return matched
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    inside = (high - low).clamp(min=0).prod(dim=2)  # (M, R)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    covered = (inside.max(dim=1).values > cover * area) & (matched == NEGATIVE)
    return torch.where(covered, IGNORED, matched)


def sample(matched: Tensor, count: int, positive_fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices (ascending) of at most `count` boxes to train on: positives up to the fraction, the rest negatives.

    The random order comes from `generator` (on the CPU), so a picture's sample does not depend on its batch.
    """
    positive = (matched >= 0).nonzero().flatten()
    negative = (matched == NEGATIVE).nonzero().flatten()
    wanted = min(len(positive), int(count * positive_fraction))
    positive = _choose(positive, wanted, generator)
    negative = _choose(negative, min(len(negative), count - wanted), generator)
    return positive, negative


def _choose(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(index) == count:
        return index
    order = torch.randperm(len(index), generator=generator)[:count].sort().values
    return index[order.to(index.device)]
