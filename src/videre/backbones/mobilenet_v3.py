"""MobileNetV3, large and small.

Howard et al., Searching for MobileNetV3, 2019, tables 1 and 2. Tensor names are torchvision's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool
from videre.backbones.mobilenet_v2 import round_width
from videre.errors import ConfigError
from videre.layers.conv import conv_block, initialise

LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2),
    (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1),
)
SMALL = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hardswish", 2),
    (5, 240, 40, True, "hardswish", 1),
    (5, 240, 40, True, "hardswish", 1),
    (5, 120, 48, True, "hardswish", 1),
    (5, 144, 48, True, "hardswish", 1),
    (5, 288, 96, True, "hardswish", 2),
    (5, 576, 96, True, "hardswish", 1),
    (5, 576, 96, True, "hardswish", 1),
)
"""Of each block: kernel, width inside, channels, whether it weighs its channels, activation, stride."""
VARIANTS = {"large": (LARGE, 1280), "small": (SMALL, 1024)}
"""The blocks, and the width of the vector."""
ACTIVATIONS = {"relu": nn.ReLU, "hardswish": nn.Hardswish}


class MobileNetV3(Backbone):
    """Feature maps at strides 4, 8, 16, 32 (large: 24, 40, 112, 960 channels; small: 16, 24, 48, 576).

    Args:
        variant: "large" or "small".
        norm: see `layers.norm`. padding: "half" (torchvision's weights) or "same" (TensorFlow's).
        channels: of the input. eps: of the norm.
        last: the last stride built. vector: build `top`, the mean over the last map and a layer of 1280 (small: 1024).
        output_stride: 32, or 16 or 8 by dilation of the depthwise convolutions.
        multiplier: of every width.
        tail: of the widths from the last stride on; .5 in torchvision's detectors.
        expanded: the map at stride 16 is what the first block of stride 32 widens it to, as SSDLite reads it.
    """

    LOGITS = "classifier.3"
    TOP: ClassVar[dict[str, str]] = {"classifier.0": "1"}
    EPS = 1e-3
    dropout = 0.2

    def __init__(
        self,
        variant: str = "large",
        norm: str = "frozen",
        padding: str = "half",
        channels: int = 3,
        eps: float = 1e-3,
        last: int = 32,
        vector: bool = False,
        output_stride: int = 32,
        multiplier: float = 1.0,
        tail: float = 1.0,
        expanded: bool = False,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError(f"MobileNetV3 is {' or '.join(VARIANTS)}, found {variant!r}")
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"output_stride must be 8, 16 or 32, found {output_stride}")
        plan, wide = VARIANTS[variant]
        scaled = lambda width: round_width(width * multiplier, 8)
        width, reached, dilation = scaled(16), 2, 1
        features: list[nn.Module] = [
            conv_block(channels, width, 3, 2, norm=norm, activation=nn.Hardswish, padding=padding, eps=eps)
        ]
        self.starts, widths = [0], {}
        for kernel, inside, out, squeezes, activation, stride in plan:
            rate = dilation
            if stride == 2:
                if reached > 2:
                    self.starts.append(len(features))
                widths[reached] = width
                published = 2 * reached
                if published > output_stride:  # the block whose stride goes keeps the rate, later ones double it
                    stride, dilation = 1, 2 * dilation
                if expanded and published == 32:
                    widths[reached] = scaled(inside)
                reached = published
            if reached == 32 and tail != 1:  # the first block of the stride reads what is before it at its own width
                inside = inside if stride == 2 else round(inside * tail)
                out = round(out * tail)
            features.append(
                InvertedResidual(
                    width, scaled(inside), scaled(out), kernel, stride, squeezes, activation, norm, padding, eps, rate
                )
            )
            width = scaled(out)
        features.append(conv_block(width, 6 * width, 1, norm=norm, activation=nn.Hardswish, padding=padding, eps=eps))
        widths[32] = 6 * width
        self.starts.append(len(features))
        self.taps = {start - 1: 2 * 2**i for i, start in enumerate(self.starts) if i}
        if last < 32:
            end = next(index for index, stride in self.taps.items() if stride == last)
            features = features[: end + 1]
        self.features = nn.Sequential(*features)
        self.channels = {stride: width for stride, width in widths.items() if 4 <= stride <= last}
        self.output_stride, self.expanded = output_stride, expanded
        self.width = self.channels[last]
        if vector and last == 32:
            vector_width = scaled(round(wide * tail))
            self.top = nn.Sequential(MeanPool(), nn.Linear(self.width, vector_width), nn.Hardswish())
            self.width = vector_width
        elif vector:
            self.top = MeanPool()
        initialise(self)

    @property
    def stages(self) -> Sequence[nn.Module]:
        return [self.features[a:b] for a, b in itertools.pairwise(self.starts) if a < len(self.features)]

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        maps = {}
        for i, layer in enumerate(self.features):
            if self.expanded and self.taps.get(i - 1) == 16 and isinstance(layer, InvertedResidual):
                wide = layer.block[0](x)
                maps[16], x = wide, layer.block[1:](wide)
            else:
                x = layer(x)
            if i in self.taps:
                maps[self.taps[i]] = x
        return maps


class SqueezeExcite(nn.Module):
    """Each channel times a weight between 0 and 1, which two small layers read off the means of all (Hu et al., 2017)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = round_width(channels // 4, 8)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.relu, self.gate = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, weights of the channels, 1x1 linear projection; the input is added where the shapes agree."""

    def __init__(
        self,
        channels: int,
        inside: int,
        out: int,
        kernel: int,
        stride: int,
        squeezes: bool,
        activation: str,
        norm: str,
        padding: str,
        eps: float,
        dilation: int,
    ) -> None:
        super().__init__()
        block = partial(conv_block, norm=norm, padding=padding, eps=eps)
        layers: list[nn.Module] = []
        if inside != channels:
            layers.append(block(channels, inside, 1, activation=ACTIVATIONS[activation]))
        layers.append(
            block(inside, inside, kernel, stride, groups=inside, activation=ACTIVATIONS[activation], dilation=dilation)
        )
        if squeezes:
            layers.append(SqueezeExcite(inside))
        layers.append(block(inside, out, 1, activation=None))
        self.block = nn.Sequential(*layers)
        self.adds = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.adds else self.block(x)
