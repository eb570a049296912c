"""Blocks of CSPDarknet and of the pyramid of YOLOX: convolution, norm, SiLU; cross stage partial; spatial pyramid pooling.

Wang et al., CSPNet, 2019; Ge et al., YOLOX: Exceeding YOLO Series in 2021, whose widths and orders these are.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.layers.conv import conv_block

EPS = 1e-3
"""Of the norms, as YOLOX has it."""


def silu_block(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, norm: str = "batch", eps: float = EPS
) -> nn.Sequential:
    """Convolution, norm, SiLU."""
    return conv_block(channels, out, kernel, stride, groups, norm, nn.SiLU, eps=eps)


def wide_block(
    channels: int,
    out: int,
    kernel: int,
    stride: int = 1,
    depthwise: bool = False,
    norm: str = "batch",
    eps: float = EPS,
) -> nn.Sequential:
    """The same with a kernel wider than 1; depthwise: as a depthwise and a 1x1 convolution, `dconv` and `pconv`."""
    if not depthwise:
        return silu_block(channels, out, kernel, stride, norm=norm, eps=eps)
    first = silu_block(channels, channels, kernel, stride, channels, norm, eps)
    return nn.Sequential(OrderedDict(dconv=first, pconv=silu_block(channels, out, 1, norm=norm, eps=eps)))


class Bottleneck(nn.Module):
    """1x1, then 3x3; the input is added where that is wanted."""

    def __init__(self, width: int, adds: bool, depthwise: bool, norm: str, eps: float) -> None:
        super().__init__()
        self.conv1 = silu_block(width, width, 1, norm=norm, eps=eps)
        self.conv2 = wide_block(width, width, 3, depthwise=depthwise, norm=norm, eps=eps)
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return x + y if self.adds else y


class CSPLayer(nn.Module):
    """Half of the channels go through bottlenecks, half past them; joined by a 1x1 convolution.

    Args:
        count: bottlenecks. adds: whether these add their input.
    """

    def __init__(
        self, channels: int, out: int, count: int, adds: bool, depthwise: bool, norm: str = "batch", eps: float = EPS
    ) -> None:
        super().__init__()
        half = out // 2
        self.conv1 = silu_block(channels, half, 1, norm=norm, eps=eps)
        self.conv2 = silu_block(channels, half, 1, norm=norm, eps=eps)
        self.conv3 = silu_block(2 * half, out, 1, norm=norm, eps=eps)
        self.m = nn.Sequential(*(Bottleneck(half, adds, depthwise, norm, eps) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], 1))


class SPPBottleneck(nn.Module):
    """The largest of 5x5, 9x9 and 13x13 places beside each place itself."""

    def __init__(self, channels: int, out: int, norm: str = "batch", eps: float = EPS) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = silu_block(channels, half, 1, norm=norm, eps=eps)
        self.conv2 = silu_block(4 * half, out, 1, norm=norm, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        five = F.max_pool2d(x, 5, 1, 2)  # of a window of five the largest of five are the largest of nine
        nine = F.max_pool2d(five, 5, 1, 2)
        return self.conv2(torch.cat([x, five, nine, F.max_pool2d(nine, 5, 1, 2)], 1))
