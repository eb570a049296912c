"""MobileNetV2.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, table 2. Tensor names are torchvision's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool
from videre.errors import ConfigError
from videre.layers.conv import conv_block, initialise, make_conv
from videre.layers.norm import make_norm

PLAN = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride of the first block."""
TAPS = {4: 3, 8: 6, 16: 13, 32: 18}
"""Stride: the index in `features` of the last layer at that stride."""
WIDTHS = {4: 24, 8: 32, 16: 96, 32: 1280}
"""Stride: the channels there."""


class MobileNetV2(Backbone):
    """Feature maps at strides 4, 8, 16, 32 (24, 32, 96, 1280 channels).

    Args:
        norm: see `layers.norm`; "none" where the weights have batch norm folded in.
        padding: "half" (torchvision's weights) or "same" (TensorFlow's).
        channels: of the input. eps: of the norm.
        last: the last stride built. vector: build `top`, the mean over the last map.
        output_stride: 32, or 16 or 8 by dilation of the depthwise convolutions.
        multiplier: of every width but the last one, which is never less than 1280. divisor: what widths are rounded to
            multiples of (torchvision and Keras: 8). wide: end in the 1x1 convolution to 1280; DeepLab leaves it out.
    """

    LOGITS = "classifier.1"
    dropout = 0.2

    def __init__(
        self,
        norm: str = "frozen",
        padding: str = "half",
        channels: int = 3,
        eps: float = 1e-5,
        last: int = 32,
        vector: bool = False,
        output_stride: int = 32,
        multiplier: float = 1.0,
        divisor: int = 8,
        wide: bool = True,
    ) -> None:
        super().__init__()
        scaled = lambda width: round_width(width * multiplier, divisor)
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"output_stride must be 8, 16 or 32, found {output_stride}")
        block = partial(conv_block, norm=norm, activation=nn.ReLU6, padding=padding, eps=eps)
        features: list[nn.Module] = [block(channels, scaled(32), 3, 2)]
        width, reached, dilation = scaled(32), 2, 1
        for expansion, out, count, first in PLAN:
            for i in range(count):
                stride, rate = first if i == 0 else 1, dilation
                if reached * stride > output_stride:  # the block whose stride goes keeps the rate, later ones double it
                    stride, dilation = 1, 2 * dilation
                reached *= stride
                features.append(InvertedResidual(width, scaled(out), stride, expansion, norm, padding, eps, rate))
                width = scaled(out)
        widths = {stride: scaled(out) for stride, out in WIDTHS.items()} | {32: width}
        if wide:
            widths[32] = max(1280, scaled(1280))
            features.append(block(width, widths[32], 1))
        self.features = nn.Sequential(*features[: TAPS[last] + 1])
        self.channels = {stride: width for stride, width in widths.items() if stride <= last}
        self.output_stride = output_stride
        self.top, self.width = MeanPool() if vector else None, self.channels[last]
        self.made_of = partial(
            type(self), norm, padding, channels, eps, multiplier=multiplier, divisor=divisor, wide=wide
        )
        initialise(self)

    @property
    def stages(self) -> Sequence[nn.Module]:
        starts = [0, 2, 4, 7, 14, 19]  # the stem with the first block, then where the stride grows
        return [self.features[a:b] for a, b in itertools.pairwise(starts) if a < len(self.features)]

    def next_stage(self) -> tuple[dict[str, nn.Module], int]:
        """The layers that would follow the last one built, as `ResNet.next_stage` gives them."""
        begin = len(self.features)
        stride = min(stride for stride, tap in TAPS.items() if tap >= begin)
        whole = self.made_of(last=stride)
        return {f"features.{i}": whole.features[i] for i in range(begin, len(whole.features))}, whole.width

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        maps = {}
        taps = {index: stride for stride, index in TAPS.items()}
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in taps:
                maps[taps[i]] = x
        if 32 in self.channels:
            maps[32] = x  # also where it is not widened
        return maps


def round_width(width: float, divisor: int) -> int:
    """The nearest multiple of `divisor`, at least one, and not more than a tenth below (torchvision's `_make_divisible`)."""
    near = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return near if near >= 0.9 * width else near + divisor


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 linear projection; the input is added where the shapes agree."""

    def __init__(
        self,
        channels: int,
        out: int,
        stride: int,
        expansion: int,
        norm: str,
        padding: str,
        eps: float,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        width = channels * expansion
        block = partial(conv_block, norm=norm, activation=nn.ReLU6, padding=padding, eps=eps)
        layers: list[nn.Module] = [] if expansion == 1 else [block(channels, width, 1)]
        layers.append(block(width, width, 3, stride, groups=width, dilation=dilation))
        layers += [make_conv(width, out, 1, bias=norm == "none", padding=padding), make_norm(norm, out, eps)]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)
