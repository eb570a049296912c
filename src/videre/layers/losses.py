"""Loss terms that several systems share, and counts that are the same however many processes train."""

from __future__ import annotations

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor


def mean_count(count: int | float, like: Tensor) -> Tensor:
    """A count averaged over the processes that train together, at least a tiny number.

    Data parallel training averages gradients over processes. A sum divided by this becomes, after that average, the
    sum over all pictures divided by the count over all pictures: the loss of a single process.
    """
    total = torch.tensor(float(count), device=like.device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total = total / torch.distributed.get_world_size()
    return total.clamp(min=1e-6)


def smooth_l1(prediction: Tensor, target: Tensor, beta: float = 1 / 9) -> Tensor:
    """Sum of smooth L1: d^2 / (2 beta) below beta, |d| - beta / 2 above (Fast R-CNN eq. 3, sigma^2 = 1 / beta)."""
    return F.smooth_l1_loss(prediction, target, beta=beta, reduction="sum")


def focal_loss(logits: Tensor, truth: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The sum of -alpha_t (1 - p_t)^gamma log p_t: what is already told apart hardly counts (Lin et al., Focal Loss for Dense Object
    Detection, 2017, eq. 5; alpha and gamma of its table 1).

    Args:
        logits, truth: of one shape, `truth` 1 where the class is there, else 0.
        alpha: weight of what is there; the rest has 1 - alpha. Negative: no weights.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    wrong = probability + truth - 2 * probability * truth  # 1 - p_t
    loss = entropy * wrong**gamma
    if alpha >= 0:
        loss = loss * (1 - alpha + (2 * alpha - 1) * truth)
    return loss.sum()
