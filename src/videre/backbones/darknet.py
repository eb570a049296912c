"""The nets of YOLO (2016): the twenty convolutions that were trained on ImageNet first, and Fast YOLO's.

Redmon et al., You Only Look Once, 2016, figure 3; widths of the small one are those of darknet's yolov1-tiny.cfg. With a norm in every
block, as darknet's files have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool
from videre.layers.conv import conv_block, initialise

SLOPE = 0.1
"""Of what is below zero, in every block."""
VARIANTS: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {
    "yolo": (
        ((7, 64),),
        ((3, 192),),
        ((1, 128), (3, 256), (1, 256), (3, 512)),
        (*((1, 256), (3, 512)) * 4, (1, 512), (3, 1024)),
        ((1, 512), (3, 1024)) * 2,
    ),
    "tiny": (((3, 16),), ((3, 32),), ((3, 64),), ((3, 128),), ((3, 256),), ((3, 512),)),
}
"""(kernel, channels) of the convolutions of each block; a pooling follows each but the last. The first of "yolo" has stride 2."""


class Darknet(Backbone):
    """Feature maps at strides 4, 8, 16, 32 ("yolo": 192, 512, 1024, 1024 channels; "tiny": 64, 128, 256, 512).

    Args:
        variant: "yolo" or "tiny". norm: see `layers.norm`. channels: of the input. eps: of the norm.
        last: the last stride built. vector: build `top`, the mean over the last map. multiplier: of every width.
    """

    def __init__(
        self,
        variant: str = "yolo",
        norm: str = "batch",
        channels: int = 3,
        eps: float = 1e-5,
        last: int = 32,
        vector: bool = False,
        multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        leaky = partial(nn.LeakyReLU, SLOPE)
        stride, width = (2 if variant == "yolo" else 1), channels
        self.blocks, self.channels = nn.ModuleList(), {}
        self.strides = list[int]()
        for number, plan in enumerate(VARIANTS[variant]):
            layers: list[nn.Module] = [nn.MaxPool2d(2, 2, ceil_mode=True)] if number else []
            stride *= 2 if number else 1
            if stride > last:
                break
            for kernel, published in plan:
                out = max(8, round(published * multiplier / 8) * 8)
                first = 2 if variant == "yolo" and not self.blocks else 1
                layers.append(conv_block(width, out, kernel, first, norm=norm, activation=leaky, eps=eps))
                width = out
            self.blocks.append(nn.Sequential(*layers))
            self.strides.append(stride)
            if stride >= 4:
                self.channels[stride] = width
        self.top, self.width = MeanPool() if vector else None, width
        initialise(self)

    @property
    def stages(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        maps = {}
        for block, stride in zip(self.blocks, self.strides, strict=True):
            x = block(x)
            if stride >= 4:
                maps[stride] = x
        return maps
