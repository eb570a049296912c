"""Stacked hourglass for classes of pixels: down to a sixteenth and up again, several times, each time judged.

Newell, Yang and Deng, Stacked Hourglass Networks for Human Pose Estimation, 2016; the net is the one of
`layers.hourglass`, which the pose system shares, with classes where that has joints.

    model = HourglassSegmenter(Schema(pixels=Categories.of(["road", "car"])), stacks=2)
"""

from __future__ import annotations

from torch import Tensor

from videre.layers.hourglass import StackedHourglass
from videre.models.base import Rows
from videre.models.segment.segmenter import LOGITS, Segmenter
from videre.structures import Preprocess, Schema


class HourglassSegmenter(Segmenter):
    """Logits at stride 4 from every stack; the last predicts, all are trained.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        stacks: hourglasses in a row. width: channels inside; 256 as published. norm: "batch" as published.
    """

    usual = Preprocess(short_side=None, long_side=None, divisor=64)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        stacks: int = 2,
        width: int = 256,
        norm: str = "batch",
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        self.net = StackedHourglass(self.classes, stacks, width, norm, len(self.preprocess.mean))
        self.head_weights = {LOGITS: 1.0, **{f"stack {n}": 1.0 for n in range(1, stacks)}}

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        *earlier, last = self.net(image)
        return {LOGITS: last, **({f"stack {n}": x for n, x in enumerate(earlier, 1)} if self.training else {})}

    def named_rows(self) -> dict[str, Rows]:
        outs = [f"net.outs.{n}.{tensor}" for n in range(len(self.net.outs)) for tensor in ("weight", "bias")]
        merged = [f"net.merge_maps.{n}.weight" for n in range(len(self.net.outs) - 1)]
        return {**dict.fromkeys(outs, Rows("pixels")), **dict.fromkeys(merged, Rows("pixels", axis=1))}
