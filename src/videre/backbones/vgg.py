"""VGG-11, 13, 16, 19, plain and with norms.

Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014, table 1, A, B, D, E.
Tensor names are torchvision's: those of vgg16, or with a norm those of vgg16_bn.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool
from videre.errors import ConfigError
from videre.layers.conv import initialise, make_conv
from videre.layers.norm import make_norm

DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth: the number of convolutions of each block."""
BLOCKS = {1: 64, 2: 128, 4: 256, 8: 512, 16: 512}
"""The stride at which a block works: its channels."""
WIDTHS = {1: 64, 2: 128, 4: 256, 8: 512, 16: 512, 32: 512}
"""Stride: the channels there."""

HIDDEN = 4096
"""Width of the two fully connected layers."""


class VGG(Backbone):
    """Feature maps at strides 4, 8, 16, 32 (256, 512, 512, 512 channels): before pools 3, 4, 5 and after the last.

    Pools keep the rest of an odd side where the published ones drop it: sides are then ceil(n / stride) for any picture,
    one of a single pixel too, and at 224, where no side is odd before the last pool, everything is as published.

    Args:
        depth: 11, 13, 16 or 19.
        norm: see `layers.norm`; "none" as first published.
        channels: of the input. eps: of the norm.
        first: the finest stride given; 1 and 2 are the maps before the first two pools.
        last: the last stride built; 16 leaves the last pool out, as Faster R-CNN does.
        vector: build `top`, fully connected from 7x7 places of the last map (of an earlier one: its mean).
        multiplier: of every width; 1 as published, less for a net that must train in minutes.
        output_stride: 32, or 16 or 8 by dilation: pools then have stride 1 over 3x3, and convolutions after them are
            dilated (Chen et al., Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs,
            2015, "LargeFOV").
    """

    LOGITS = "classifier.6"
    TOP: ClassVar[dict[str, str]] = {"classifier.0": "2", "classifier.3": "5"}

    def __init__(
        self,
        depth: int = 16,
        norm: str = "none",
        channels: int = 3,
        eps: float = 1e-5,
        last: int = 32,
        vector: bool = False,
        output_stride: int = 32,
        multiplier: float = 1.0,
        first: int = 4,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ConfigError(f"VGG depth must be one of {list(DEPTHS)}, found {depth}")
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"output_stride must be 8, 16 or 32, found {output_stride}")
        scaled = lambda width: max(8, round(width * multiplier / 8) * 8)
        features: list[nn.Module] = []
        starts, taps, width = [], {}, channels
        for (stride, published), count in zip(BLOCKS.items(), DEPTHS[depth]):
            out = scaled(published)
            starts.append(len(features))
            for _ in range(count):
                # a bias though a norm follows: the published files have it
                features.append(make_conv(width, out, 3, dilation=max(1, stride // output_stride), bias=True))
                features += [nn.ReLU()] if norm == "none" else [make_norm(norm, out, eps), nn.ReLU()]
                width = out
            taps[stride] = len(features) - 1
            features.append(make_pool(2 * stride, output_stride))
        taps[32] = len(features) - 1
        self.features = nn.Sequential(*features[: taps[last] + 1])
        self.starts = [start for start in starts if start < len(self.features)]
        self.taps = {taps[stride]: stride for stride in WIDTHS if stride >= first}
        self.channels = {stride: scaled(width) for stride, width in WIDTHS.items() if first <= stride <= last}
        self.output_stride, self.width = output_stride, self.channels[last]
        if vector and last == 32:
            self.width = HIDDEN
            self.top = nn.Sequential(
                nn.AdaptiveAvgPool2d(7),
                nn.Flatten(),
                nn.Linear(scaled(512) * 49, HIDDEN),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(HIDDEN, HIDDEN),
                nn.ReLU(),
                nn.Dropout(),
            )
        elif vector:
            self.top = MeanPool()
        initialise(self)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, std=0.01)
                nn.init.zeros_(m.bias)

    @property
    def stages(self) -> Sequence[nn.Module]:
        """The five blocks, and the fully connected layers."""
        blocks = [self.features[a:b] for a, b in itertools.pairwise([*self.starts, len(self.features)])]
        return [*blocks, self.top] if isinstance(self.top, nn.Sequential) else blocks

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        maps = {}
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                maps[self.taps[i]] = x
        return maps


def make_pool(stride: int, output_stride: int) -> nn.MaxPool2d:
    """The pool that brings `stride` about, or keeps the size where that is coarser than the output stride."""
    return nn.MaxPool2d(2, 2, ceil_mode=True) if stride <= output_stride else nn.MaxPool2d(3, 1, 1)
