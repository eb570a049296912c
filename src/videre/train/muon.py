"""Muon: gradient steps of equal size in every direction of a weight matrix.

Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024 (kellerjordan.github.io/posts/muon); the
scale by which one learning rate serves matrices and vectors alike is of Liu et al., Muon is Scalable for LLM Training,
2025. A net that starts at random learns more from each picture than with AdamW: see docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that drives singular values towards 1 (Jordan et al.)."""
MOMENTUM = 0.95
SCALE = 0.2
"""Typical size of an entry of an AdamW step, in learning rates (Liu et al.)."""


class Muon(torch.optim.AdamW):
    """AdamW, but the groups with `matrix=True` take orthogonalised momentum steps.

    Args:
        groups: as any optimizer's, each with `matrix`. A convolution [O, I, k, k] counts as the matrix [O, I * k * k].
        lr: of both kinds.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, lr=lr)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; the gradients of the matrices are used up."""
        for group in self.param_groups:
            if not group["matrix"]:
                continue
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not self.state[p]:
                    self.state[p] = {"step": torch.tensor(0.0), "momentum": torch.zeros_like(p)}  # AdamW wants a count
                self.state[p]["step"] += 1
                momentum = self.state[p]["momentum"]
                momentum.lerp_(p.grad, 1 - MOMENTUM)
                ahead = p.grad.lerp(momentum, MOMENTUM).flatten(1)
                size = SCALE * max(ahead.shape) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(orthogonalise(ahead).view(p.shape), alpha=group["lr"] * size)
                p.grad = None  # AdamW passes over it
        return super().step(closure)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix [M, N] with the same singular vectors; values above a hundredth of its norm become .6 to 1.25.

    Jordan's iteration X <- (a + b X X' + c (X X')^2) X, carried out on the small square matrix X X' alone: the
    polynomials commute, so their product is gathered there and meets the wide matrix once, at the end.
    """
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    square = x @ x.T
    product = torch.eye(len(x), dtype=x.dtype, device=x.device)
    for step in range(steps):
        factor = torch.addmm(square, square, square, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor @ product
        if step < steps - 1:
            square = factor @ (factor @ square)
    turned = product @ x
    return turned if wide else turned.T
