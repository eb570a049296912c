"""Training on what is hardest: of many boxes those with the largest loss."""

from __future__ import annotations

import torch
from torch import Tensor


def hard_negatives(loss: Tensor, positive: Tensor, candidates: Tensor, ratio: float = 3.0) -> Tensor:
    """Of each picture's candidates the `ratio` times as many as it has positives whose loss is largest (SSD section 2.2, 3:1).

    Args:
        loss: float [B, M], of saying background. positive, candidates: bool [B, M].

    Returns:
        bool [B, M]; none of a picture without positives.
    """
    wanted = (ratio * positive.sum(1, keepdim=True)).long()
    order = loss.detach().masked_fill(~candidates, -torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return candidates & (rank < wanted)


def hardest(loss: Tensor, groups: list[int], count: int) -> Tensor:
    """The indices, ascending, of the `count` largest losses [R] of each group of so many rows (Shrivastava, Gupta and Girshick, Training
    Region-based Object Detectors with Online Hard Example Mining, 2016)."""
    chosen, start = [], 0
    for size in groups:
        chosen.append(start + loss[start : start + size].detach().topk(min(count, size)).indices.sort().values)
        start += size
    return torch.cat(chosen) if chosen else torch.zeros(0, dtype=torch.int64, device=loss.device)
