"""Path aggregation: a pyramid from the deepest map up, and then down again.

Liu et al., Path Aggregation Network, 2018, with the blocks of YOLOX, whose modules' names these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.layers.csp import EPS, CSPLayer, silu_block, wide_block


class PathAggregation(nn.Module):
    """From three maps, each half as fine as the one before, to three of the same sizes and channels.

    Args:
        channels: of the maps, finest first. count: bottlenecks of each layer.
    """

    def __init__(
        self, channels: Sequence[int], count: int, depthwise: bool, norm: str = "batch", eps: float = EPS
    ) -> None:
        super().__init__()
        fine, middle, deep = channels
        layer = partial(CSPLayer, count=count, adds=False, depthwise=depthwise, norm=norm, eps=eps)
        down = partial(wide_block, kernel=3, stride=2, depthwise=depthwise, norm=norm, eps=eps)
        self.lateral_conv0 = silu_block(deep, middle, 1, norm=norm, eps=eps)
        self.C3_p4 = layer(2 * middle, middle)
        self.reduce_conv1 = silu_block(middle, fine, 1, norm=norm, eps=eps)
        self.C3_p3 = layer(2 * fine, fine)
        self.bu_conv2 = down(fine, fine)
        self.C3_n3 = layer(2 * fine, middle)
        self.bu_conv1 = down(middle, middle)
        self.C3_n4 = layer(2 * middle, deep)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps [B, C_l, H_l, W_l], finest first."""
        fine, middle, deep = features
        # the sides of every map are the half of the finer one's, rounded up: what comes up is cut to the finer one
        up = lambda x, like: F.interpolate(x, size=like.shape[2:], mode="nearest")
        coarse = self.lateral_conv0(deep)
        between = self.reduce_conv1(self.C3_p4(torch.cat([up(coarse, middle), middle], 1)))
        first = self.C3_p3(torch.cat([up(between, fine), fine], 1))
        second = self.C3_n3(torch.cat([self.bu_conv2(first), between], 1))
        third = self.C3_n4(torch.cat([self.bu_conv1(second), coarse], 1))
        return [first, second, third]
