"""A fully convolutional net that never makes the picture smaller: every layer works at the picture's own resolution.

The first idea one has, and why nobody stays with it: all maps are as large as the picture (docs/segmentation.md has the
memory), and a stack of n 3x3 convolutions sees 2 n + 1 pixels.

    model = FlatFCN(Schema(pixels=Categories.of(["road", "car"])), width=32, depth=8)
"""

from __future__ import annotations

from torch import Tensor, nn

from videre.layers.conv import conv_block, initialise
from videre.models.segment.segmenter import LOGITS, Segmenter
from videre.structures import Preprocess, Schema


class FlatFCN(Segmenter):
    """A stack of 3x3 convolutions at stride 1.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        width: channels of every layer. depth: layers before the logits. norm: after each layer.
        dilations: of the layers in turn, from the first again where they end; (1,) for none.
    """

    usual = Preprocess(short_side=None, long_side=None, divisor=1)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        width: int = 64,
        depth: int = 8,
        norm: str = "batch",
        dilations: tuple[int, ...] = (1,),
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        ins = [len(self.preprocess.mean), *[width] * (depth - 1)]
        self.layers = nn.Sequential(
            *(
                conv_block(before, width, 3, norm=norm, dilation=dilations[place % len(dilations)])
                for place, before in enumerate(ins)
            )
        )
        self.logits = nn.Conv2d(width, self.classes, 1)
        initialise(self.layers, "fan_in")

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        return {LOGITS: self.logits(self.layers(image))}
