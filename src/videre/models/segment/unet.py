"""U-Net: a contracting path, an expanding one, and the maps of the first handed over to the second.

Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015.

    model = UNet(Schema(pixels=Categories.of(["background", "cell"])), width=32, norm="batch")
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.conv import conv_block, initialise
from videre.layers.upsample import crop_like
from videre.models.segment.segmenter import LOGITS, Segmenter
from videre.structures import Preprocess, Schema

LEVELS = 5


class UNet(Segmenter):
    """Four times down, four times up.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        width: channels of the first level, doubled at each; 64 as published. norm: "none" as published.
        padding: "half" keeps the size; "valid" is the paper's: nothing is padded inside the net, so the picture's border is
            mirrored before it (the overlap-tile strategy), 92 pixels on each side.
        skips: hand the maps over; without, the expanding path has the coarse map alone.
        dropout: at the end of the contracting path.
    """

    usual = Preprocess(short_side=None, long_side=None, divisor=16)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        width: int = 64,
        norm: str = "batch",
        padding: str = "half",
        skips: bool = True,
        dropout: float = 0.0,
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        if padding not in ("half", "valid"):
            raise ConfigError(f"padding must be half or valid, found {padding!r}")
        widths = [width * 2**level for level in range(LEVELS)]
        double = lambda before, out: nn.Sequential(
            conv_block(before, out, 3, norm=norm, padding=padding), conv_block(out, out, 3, norm=norm, padding=padding)
        )
        ins = [len(self.preprocess.mean), *widths]
        self.down = nn.ModuleList(double(before, out) for before, out in zip(ins, widths))
        self.dropout = nn.Dropout2d(dropout)
        pairs = list(zip(widths[:0:-1], widths[-2::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(before, out, 2, 2) for before, out in pairs)
        self.merge = nn.ModuleList(double(2 * out if skips else out, out) for _, out in pairs)
        self.logits = nn.Conv2d(width, self.classes, 1)
        self.skips, self.padding = skips, padding
        initialise(self, "fan_in")

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        x, handed = self._framed(image), []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2, ceil_mode=True))
            handed.append(x)
        x = self.dropout(handed.pop())
        for up, merge in zip(self.up, self.merge):
            x, skip = up(x), handed.pop()
            x = crop_like(x, skip)
            x = merge(torch.cat([centre(skip, x.shape[2:]), x], 1) if self.skips else x)
        return {LOGITS: crop_like(self.logits(x), image)}

    def _framed(self, image: Tensor) -> Tensor:
        """With "valid", the picture mirrored at its border, so that what comes out covers it."""
        if self.padding == "half":
            return image
        rows, columns = (mirrored(side, *frame(side)) for side in image.shape[2:])
        return image[:, :, rows.to(image.device)][:, :, :, columns.to(image.device)]


def frame(side: int) -> tuple[int, int]:
    """Pixels before and after a side, such that the valid net takes it and gives at least that side.

    It takes 16 a + 60 with a of 8 or more and gives 184 less; 92 before each side are lost.
    """
    steps = max(8, -(-(side + 124) // 16))
    return 92, 16 * steps + 60 - side - 92


def mirrored(side: int, before: int, after: int) -> Tensor:
    """Indices of a side continued by its mirror image, as often as need be; a side of one pixel repeats it."""
    places = torch.arange(-before, side + after)
    if side == 1:
        return torch.zeros_like(places)
    around = places.abs() % (2 * (side - 1))
    return torch.minimum(around, 2 * (side - 1) - around)


def centre(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of a map, of this height and width."""
    top, left = (x.shape[2] - size[0]) // 2, (x.shape[3] - size[1]) // 2
    return x[:, :, top : top + size[0], left : left + size[1]]
