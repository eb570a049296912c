"""AlexNet, in one column.

Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012; with the widths of
Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014, and without local response norms, as
torchvision's published weights have it. Tensor names are torchvision's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, fx, nn

from videre.backbones.base import Backbone, MeanPool
from videre.errors import ConfigError, ShapeError
from videre.layers.norm import make_norm

LAYERS = ((64, 11, 4), (192, 5, 1), (384, 3, 1), (256, 3, 1), (256, 3, 1))
"""Of each convolution: channels, kernel, stride."""
POOLED = {0: 4, 1: 8, 4: 16}
"""The convolutions before a pool, which are the last of their stride: number and stride."""
WIDTHS = {4: 64, 8: 192, 16: 256, 32: 256}
"""Stride: the channels there."""
SMALLEST = 63
"""The side of a picture that leaves one pixel after the last pool, where nothing is padded."""


class AlexNet(Backbone):
    """Feature maps at strides 4, 8, 16, 32 (64, 192, 256, 256 channels): after conv1, conv2, conv5 and the last pool.

    Args:
        norm: see `layers.norm`; "none" as published, others come between a convolution and its ReLU.
        channels: of the input. eps: of the norm.
        last: the last stride built.
        vector: build `top`, fully connected from 6x6 places of the last map (of an earlier one: its mean).
        padding: "valid" as published: two zeros around the picture and none before a pool. Maps are then smaller than
            ceil(n / stride) (55, 27, 13, 6 at 224) and lie up to half a stride off their pixels, and a picture smaller
            than 63x63 is a ShapeError. "half": sides are ceil(n / stride) and features lie under their pixels, as
            detectors want it; the tensors are the same.
    """

    LOGITS = "classifier.6"
    TOP: ClassVar[dict[str, str]] = {"classifier.1": "3", "classifier.4": "6"}

    def __init__(
        self,
        norm: str = "none",
        channels: int = 3,
        eps: float = 1e-5,
        last: int = 32,
        vector: bool = False,
        padding: str = "valid",
    ) -> None:
        super().__init__()
        if padding not in ("valid", "half"):
            raise ConfigError(f"padding must be valid or half, found {padding!r}")
        features: list[nn.Module] = []
        starts, taps, width = [], {}, channels
        for number, (out, kernel, stride) in enumerate(LAYERS):
            starts.append(len(features))
            zeros = 2 if padding == "valid" and number == 0 else kernel // 2
            features.append(nn.Conv2d(width, out, kernel, stride, zeros, bias=norm == "none"))
            features += [nn.ReLU()] if norm == "none" else [make_norm(norm, out, eps), nn.ReLU()]
            width = out
            if number in POOLED:
                taps[POOLED[number]] = len(features) - 1
                features.append(nn.MaxPool2d(3, 2, 0 if padding == "valid" else 1))
        taps[32] = len(features) - 1
        self.features = nn.Sequential(*features[: taps[last] + 1])
        self.starts = [start for start in starts if start < len(self.features)]
        self.taps = {index: stride for stride, index in taps.items()}
        self.channels = {stride: width for stride, width in WIDTHS.items() if stride <= last}
        self.padding, self.width = padding, self.channels[last]
        if vector and last == 32:
            self.width = 4096
            self.top = nn.Sequential(
                nn.AdaptiveAvgPool2d(6),
                nn.Flatten(),
                nn.Dropout(),
                nn.Linear(256 * 36, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(),
            )
        elif vector:
            self.top = MeanPool()

    @property
    def stages(self) -> Sequence[nn.Module]:
        """One for each convolution, and the fully connected layers."""
        ends = [*self.starts, len(self.features)]
        convolutions = [self.features[a:b] for a, b in itertools.pairwise(ends)]
        return [*convolutions, self.top] if isinstance(self.top, nn.Sequential) else convolutions

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        x = check_size(x) if self.padding == "valid" else x
        maps = {}
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                maps[self.taps[i]] = x
        return maps


@fx.wrap  # a single step where the net is traced: there, sides are not numbers yet
def check_size(x: Tensor) -> Tensor:
    """The pictures [B, C, H, W] themselves; ShapeError where they are too small."""
    if min(x.shape[2:]) < SMALLEST:
        raise ShapeError(
            f"AlexNet as published reads pictures of at least {SMALLEST}x{SMALLEST} pixels, found "
            f"{x.shape[2]}x{x.shape[3]} (height x width); with padding=half it reads any"
        )
    return x
