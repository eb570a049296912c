"""Normalisation by name: what follows a convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from videre.errors import ConfigError

NORMS = ("frozen", "batch", "sync", "group", "none")


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine numbers are constants, for fine-tuning with small batches.

    Holds the same four tensors as `nn.BatchNorm2d`, as buffers. `eps` is 1e-5 as in the published ResNets;
    torchvision's COCO_V1 detectors were exported with 0.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def make_norm(norm: str, channels: int, eps: float = 1e-5) -> nn.Module:
    """The layer called `norm`: frozen, batch, sync (over processes), group, none.

    "group" has at most 32 groups (Wu & He, Group Normalization, 2018) of at least 8 channels: with one channel each it
    would be instance norm, which wipes out how strong a channel answers.

    Raises ConfigError for another name. "none" is for weights with batch norm folded in: the convolution has a bias.
    """
    if norm == "frozen":
        return FrozenBatchNorm2d(channels, eps)
    if norm == "batch":
        return nn.BatchNorm2d(channels, eps)
    if norm == "sync":
        return nn.SyncBatchNorm(channels, eps)
    if norm == "group":
        groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0 and (channels >= 8 * g or g == 1))
        return nn.GroupNorm(groups, channels, eps)
    if norm == "none":
        return nn.Identity()
    raise ConfigError(f"norm must be one of {', '.join(NORMS)}; found {norm!r}")


def exchange_norms(net: nn.Module, norm: str, eps: float | None = None) -> None:
    """Put the layer called `norm` in the place of every batch norm inside a net that others built, with its tensors.

    A batch norm that also drops and activates (timm's) becomes a sequence, so that each layer is what its type says.
    eps: None keeps each norm's own. Raises ConfigError for "none": the convolutions have no bias.
    """
    if norm == "none" or norm not in NORMS:
        raise ConfigError(f"norm must be one of {', '.join(NORMS[:-1])} for a net of another library; found {norm!r}")
    for parent in list(net.modules()):
        for name, old in list(parent.named_children()):
            if not isinstance(old, nn.BatchNorm2d):
                continue
            new: Any = make_norm(norm, old.num_features, old.eps if eps is None else eps)
            if norm != "group":  # tensors of the same names
                new.load_state_dict(old.state_dict(), strict=False)
            if norm in ("batch", "sync"):
                new.momentum = old.momentum
            after = [getattr(old, layer) for layer in ("drop", "act") if hasattr(old, layer)]
            setattr(parent, name, nn.Sequential(new, *after) if after else new)
