"""ResNet-18, 34, 50, 101, 152.

He et al., Deep Residual Learning for Image Recognition, 2015, table 1. With the stride on the 3x3 convolution
("v1.5"), as torchvision's published weights have it; tensor names are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool
from videre.errors import ConfigError
from videre.layers.conv import initialise, make_conv
from videre.layers.norm import make_norm

DEPTHS: dict[int, tuple[bool, tuple[int, int, int, int]]] = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}
"""Depth: whether bottleneck, and the number of blocks of each stage."""


class ResNet(Backbone):
    """Feature maps at strides 4, 8, 16, 32.

    Args:
        depth: 18, 34, 50, 101 or 152.
        norm: see `layers.norm`. eps: of the norm.
        channels: of the input.
        last: the last stride built; 16 leaves the fourth stage out (it is the head of the C4 detectors).
        multiplier: of every width; 1 as published, less for a net that must train in minutes.
        vector: build `top`, the mean over the last map. output_stride: 32, or 16 or 8 by dilation as torchvision does it.
    """

    def __init__(
        self,
        depth: int = 50,
        norm: str = "frozen",
        channels: int = 3,
        eps: float = 1e-5,
        last: int = 32,
        multiplier: float = 1.0,
        vector: bool = False,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"output_stride must be 8, 16 or 32, found {output_stride}")
        if depth not in DEPTHS:
            raise ConfigError(f"ResNet depth must be one of {list(DEPTHS)}, found {depth}")
        bottleneck, counts = DEPTHS[depth]
        base = max(8, round(64 * multiplier / 8) * 8)
        self.conv1 = make_conv(channels, base, 7, 2, bias=norm == "none")
        self.bn1 = make_norm(norm, base, eps)
        self.channels, self.output_stride, self.made_of = {}, output_stride, (bottleneck, counts, base, norm, eps)
        width, dilation = base, 1
        for i, count in enumerate(counts):
            if 4 * 2**i > last:
                break
            stride, before = 1 if i == 0 else 2, dilation
            if 4 * 2**i > output_stride:
                stride, dilation = 1, 2 * dilation
            stage, width = make_stage(bottleneck, width, base * 2**i, count, stride, norm, eps, (before, dilation))
            setattr(self, f"layer{i + 1}", stage)
            self.channels[4 * 2**i] = width
        self.top, self.width = MeanPool() if vector else None, width
        initialise(self)

    @property
    def stages(self) -> Sequence[nn.Module]:
        return [
            nn.ModuleList([self.conv1, self.bn1]),
            *(getattr(self, f"layer{i + 1}") for i in range(len(self.channels))),
        ]

    def next_stage(self) -> tuple[dict[str, nn.Module], int]:
        """The stage that would follow the last one built, with weights of its own: its layers by their names in published files; and
        the number of channels that it gives."""
        bottleneck, counts, base, norm, eps = self.made_of
        i = len(self.channels)
        stage, width = make_stage(bottleneck, self.width, base * 2**i, counts[i], 2, norm, eps)
        initialise(stage)
        return {f"layer{i + 1}": stage}, width

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        maps = {}
        for i, stride in enumerate(self.channels):
            x = getattr(self, f"layer{i + 1}")(x)
            maps[stride] = x
        return maps


class Residual(nn.Module):
    """One residual block: two 3x3 convolutions, or 1x1 - 3x3 - 1x1 with four times the width at the end."""

    def __init__(
        self, bottleneck: bool, channels: int, width: int, stride: int, norm: str, eps: float, dilation: int = 1
    ) -> None:
        super().__init__()
        plan = (
            [(channels, width, 1, 1), (width, width, 3, stride), (width, width * 4, 1, 1)]
            if bottleneck
            else [(channels, width, 3, stride), (width, width, 3, 1)]
        )
        self.count = len(plan)
        for i, (c_in, c_out, kernel, s) in enumerate(plan, start=1):
            setattr(self, f"conv{i}", make_conv(c_in, c_out, kernel, s, dilation, bias=norm == "none"))
            setattr(self, f"bn{i}", make_norm(norm, c_out, eps))
        self.downsample: nn.Module | None = None
        out = plan[-1][1]
        if stride != 1 or channels != out:
            shortcut = make_conv(channels, out, 1, stride, bias=norm == "none")
            self.downsample = nn.Sequential(shortcut, make_norm(norm, out, eps))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.count):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        x = getattr(self, f"bn{self.count}")(getattr(self, f"conv{self.count}")(x))
        return F.relu(x + shortcut)


def make_stage(
    bottleneck: bool,
    channels: int,
    width: int,
    count: int,
    stride: int,
    norm: str,
    eps: float = 1e-5,
    dilations: tuple[int, int] = (1, 1),
) -> tuple[nn.Sequential, int]:
    """`count` blocks, the first with the stride; and the number of channels that come out.

    `dilations`: of the first block and of the others.
    """
    out = width * (4 if bottleneck else 1)
    blocks = [
        Residual(bottleneck, channels if i == 0 else out, width, stride if i == 0 else 1, norm, eps, dilations[i > 0])
        for i in range(count)
    ]
    return nn.Sequential(*blocks), out
