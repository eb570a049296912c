"""CSPDarknet, the backbone of YOLOX.

Ge et al., YOLOX: Exceeding YOLO Series in 2021; variants nano to x. Modules have its names; of a block of convolution and norm `conv` and
`bn` are 0 and 1 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool
from videre.layers.csp import CSPLayer, SPPBottleneck, silu_block, wide_block

VARIANTS = {
    "nano": (1 / 3, 0.25, True),
    "tiny": (1 / 3, 0.375, False),
    "s": (1 / 3, 0.5, False),
    "m": (2 / 3, 0.75, False),
    "l": (1.0, 1.0, False),
    "x": (4 / 3, 1.25, False),
}
"""Name: factor of the depth, factor of the widths, whether convolutions are depthwise."""


class CSPDarknet(Backbone):
    """Feature maps at strides 4, 8, 16, 32 (128, 256, 512, 1024 channels, times the factor of the variant).

    Args:
        variant: nano, tiny, s, m, l or x.
        norm: see `layers.norm`; "none" where the weights have batch norm folded in.
        channels: of the input. eps: of the norm.
        last: the last stride built. vector: build `top`, the mean over the last map.
        multiplier: of every width.
    """

    EPS = 1e-3

    def __init__(
        self,
        variant: str = "s",
        norm: str = "batch",
        channels: int = 3,
        eps: float = 1e-3,
        last: int = 32,
        vector: bool = False,
        multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        depth, width, depthwise = VARIANTS[variant]
        base, count = max(8, round(64 * width * multiplier / 8) * 8), max(1, round(3 * depth))
        layer = partial(CSPLayer, depthwise=depthwise, norm=norm, eps=eps)
        down = partial(wide_block, kernel=3, stride=2, depthwise=depthwise, norm=norm, eps=eps)
        self.stem = Focus(channels, base, norm, eps)
        self.dark2 = nn.Sequential(down(base, 2 * base), layer(2 * base, 2 * base, count, True))
        self.channels = {4: 2 * base}
        if last >= 8:
            self.dark3 = nn.Sequential(down(2 * base, 4 * base), layer(4 * base, 4 * base, 3 * count, True))
            self.channels[8] = 4 * base
        if last >= 16:
            self.dark4 = nn.Sequential(down(4 * base, 8 * base), layer(8 * base, 8 * base, 3 * count, True))
            self.channels[16] = 8 * base
        if last >= 32:
            pool = SPPBottleneck(16 * base, 16 * base, norm, eps)
            self.dark5 = nn.Sequential(down(8 * base, 16 * base), pool, layer(16 * base, 16 * base, count, False))
            self.channels[32] = 16 * base
        self.top, self.width = MeanPool() if vector else None, self.channels[last]

    @property
    def stages(self) -> Sequence[nn.Module]:
        return [self.stem, *(getattr(self, f"dark{i + 2}") for i in range(len(self.channels)))]

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        x = self.stem(x)
        maps = {}
        for i, stride in enumerate(self.channels):
            x = maps[stride] = getattr(self, f"dark{i + 2}")(x)
        return maps


class Focus(nn.Module):
    """Each square of 2x2 pixels becomes one with four times the channels, then a 3x3 convolution."""

    def __init__(self, channels: int, out: int, norm: str, eps: float) -> None:
        super().__init__()
        self.conv = silu_block(4 * channels, out, 3, norm=norm, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        even, odd = x[:, :, ::2], x[:, :, 1::2]
        return self.conv(torch.cat([even[..., ::2], odd[..., ::2], even[..., 1::2], odd[..., 1::2]], 1))
