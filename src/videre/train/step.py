"""One step of a training: the same for the loop, for the estimate of what it costs, and for the benchmarks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from videre.engine.plan import Plan
from videre.engine.training import planned
from videre.models.base import Model
from videre.models.stages import Losses
from videre.structures import ImageBatch
from videre.train.optimizer import gradient_norm


class LossModule(nn.Module):
    """A model whose forward is its losses: distributed training (DDP) synchronises only what goes through `forward`."""

    def __init__(self, model: Model, losses: Losses | None = None) -> None:
        super().__init__()
        self.model = model
        self._losses = losses

    def forward(self, batch: ImageBatch, targets: Sequence[Any]) -> dict[str, Tensor]:
        return (self._losses or self.model.losses)(batch, targets)


def mixed(device: torch.device, precision: str) -> torch.autocast:
    """Automatic mixed precision (AMP) where `precision` is "bf16", nothing where it is "fp32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@dataclasses.dataclass
class Step:
    """Losses, gradients, and when it is due an update.

    Args:
        losses: a `LossModule`, or that inside DDP. optimizer: of the parameters `trained`.
        precision: "fp32", or "bf16": automatic mixed precision (AMP). plan: of the convolutions; None: torch's own.
        accumulate: steps whose gradients are summed before an update. clip: largest norm of the gradients; 0: none.
    """

    losses: nn.Module
    optimizer: torch.optim.Optimizer
    trained: list[nn.Parameter]
    precision: str = "fp32"
    plan: Plan | None = None
    accumulate: int = 1
    clip: float = 0.0

    def forward(self, batch: ImageBatch, targets: Sequence[Any]) -> dict[str, Tensor]:
        """The named losses."""
        with mixed(batch.image.device, self.precision), planned(self.plan):
            return self.losses(batch, targets)

    def backward(self, parts: dict[str, Tensor], update: bool) -> Tensor | None:
        """Add the gradients of the losses; the norm of all of them where an update is due. Between updates no gradients are
        exchanged with other processes."""
        loss = torch.stack(list(parts.values())).sum() / self.accumulate
        alone = not update and isinstance(self.losses, DistributedDataParallel)
        with self.losses.no_sync() if alone else contextlib.nullcontext():  # type: ignore[operator]
            loss.backward()
        return gradient_norm(self.trained, self.clip) if update else None

    def update(self) -> None:
        """Take the step that the gradients say."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def __call__(self, batch: ImageBatch, targets: Sequence[Any]) -> dict[str, Tensor]:
        """All three, with an update; the losses."""
        parts = self.forward(batch, targets)
        self.backward(parts, update=True)
        self.update()
        return parts
