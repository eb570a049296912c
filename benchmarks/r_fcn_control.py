"""A control of R-FCN: the same net, but its proposals are read by RoIAlign and two fully connected layers, as Fast R-CNN's.

    PYTHONPATH=benchmarks videre train r_fcn_control:Connected DATA --from mobilenet_v2.safetensors --tune all -o hard=0

What both learn slowly is not due to score maps and votes.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from videre.layers.box_head import TwoLayers
from videre.models.base import Rows
from videre.models.detect.r_fcn import RFCN, STRIDE, PositionSensitiveHead
from videre.ops.roi_align import roi_align
from videre.structures import Preprocess, Schema

WIDTH, HIDDEN, CELLS = 256, 512, 7
"""Channels of the map, width of the layers, cells a side of what RoIAlign gives."""


class Connected(RFCN):
    """R-FCN whose second stage has layers of its own."""

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "resnet50",
        norm: str = "frozen",
        padding: str = "half",
        norm_eps: float | None = None,
        multiplier: float = 1.0,
        hard: int = 0,
    ) -> None:
        of_backbone: dict[str, Any] = {"norm": norm, "padding": padding, "norm_eps": norm_eps, "multiplier": multiplier}
        super().__init__(schema, preprocess, backbone=backbone, hard=hard, **of_backbone)
        head = self.box_head
        self.box_head = ConnectedHead(
            self.backbone.channels[32],
            WIDTH,
            CELLS,
            head.classes,
            roi="align",
            sampling_ratio=2,
            batch=head.batch,
            positive=head.positive,
            nms_threshold=head.nms_threshold,
            class_weights=head.class_weights.tolist(),
            hard=hard,
        )

    def named_rows(self) -> dict[str, Rows]:
        """Score rows by class."""
        return {f"box_head.scores.{t}": Rows("things") for t in ("weight", "bias")}


class ConnectedHead(PositionSensitiveHead):
    """One map for all parts, and layers behind it."""

    def __init__(self, channels: int, width: int, bins: int, classes: int, **settings: Any) -> None:
        super().__init__(channels, width, bins, classes, **settings)
        self.body = TwoLayers(width * CELLS**2, HIDDEN)
        self.scores = nn.Linear(HIDDEN, classes + 1)  # type: ignore[assignment]
        self.deltas = nn.Linear(HIDDEN, 4)  # type: ignore[assignment]

    def score_maps(self, x: Tensor) -> list[Tensor]:
        """The map."""
        return [self.reduce(x)]

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """As `RegionHead`."""
        hidden = self.body(roi_align(features[0], rois, CELLS, 1 / STRIDE, 2, True))
        return self.scores(hidden), self.deltas(hidden)[:, None].expand(-1, self.classes, 4)


if __name__ == "__main__":
    print(__doc__)
