"""Normalisation by name: what follows a convolution."""

from __future__ import annotations

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
