"""Faster R-CNN without a pyramid: one map of stride 16, and the backbone's last stage as the head.

The "C4" form of Ren et al. 2015 and He et al. 2015, section on detection; sizes are detectron2's (facts in its
configs/Base-RCNN-C4.yaml): 15 anchors a cell, RoI align 14x14, then the fourth stage, then the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from videre.backbones.resnet import DEPTHS, ResNet, make_stage
from videre.errors import ConfigError
from videre.layers.anchors import Anchors
from videre.layers.box_head import BoxHead, as_scenes, deployed_boxes, two_stage_losses, weigh_classes
from videre.layers.conv import initialise
from videre.layers.roi_pooler import RoIPooler
from videre.layers.roi_targets import BoxTarget
from videre.layers.rpn import RPN
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.models.detect.ranges import check_ranges
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits


class FasterRCNNC4(Model):
    """Boxes and classes from the stride-16 map of a ResNet.

    Args:
        schema: needs `things`. preprocess: as Faster R-CNN.
        backbone: resnet18 to resnet152. norm, norm_eps: of the backbone and the head.
        anchor_sizes, anchor_ratios: all on the one level.
        The others as `FasterRCNN`.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    mixes_formats = True

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "resnet50",
        norm: str = "frozen",
        norm_eps: float = 1e-5,
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn_pre_nms: Sequence[int] = (12000, 6000),
        rpn_post_nms: Sequence[int] = (2000, 1000),
        rpn_nms: float = 0.7,
        rpn_batch: int = 256,
        rpn_positive: float = 0.5,
        roi_batch: int = 512,
        roi_positive: float = 0.25,
        resolution: int = 14,
        sampling_ratio: int = 0,
        aligned: bool = True,
        score_threshold: float = 0.05,
        nms: float = 0.5,
        max_detections: int = 100,
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        self.limits = Limits(score_threshold, max_detections)
        if schema.things is None:
            raise ConfigError("Faster R-CNN finds things: the schema must name their categories (schema.things)")
        depths = {f"resnet{d}": d for d in DEPTHS}
        if backbone not in depths:
            raise ConfigError(f"the C4 form needs a ResNet ({', '.join(depths)}), found {backbone!r}")
        self.backbone = ResNet(depths[backbone], norm, len(self.preprocess.mean), norm_eps, last=16)
        width = self.backbone.channels[16]
        self.rpn = RPN(
            width,
            Anchors([anchor_sizes], anchor_ratios),
            pre_nms=rpn_pre_nms,
            post_nms=rpn_post_nms,
            nms_threshold=rpn_nms,
            batch=rpn_batch,
            positive=rpn_positive,
        )
        bottleneck, counts = DEPTHS[depths[backbone]]
        stage, out = make_stage(bottleneck, width, 512, counts[3], 2, norm, norm_eps)
        initialise(stage)
        weights = weigh_classes(class_weights or {}, schema.things)
        self.box_head = BoxHead(
            RoIPooler([16], resolution, sampling_ratio, aligned),
            nn.Sequential(stage, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            out,
            len(schema.things),
            batch=roi_batch,
            positive=roi_positive,
            nms_threshold=nms,
            class_weights=weights,
        )

    def features(self, image: Tensor) -> list[Tensor]:
        """Pictures [B, C, H, W] to the one map of stride 16."""
        return [self.backbone(image)[16]]

    def forward(self, batch: ImageBatch) -> Outputs:
        """As Faster R-CNN."""
        features = self.features(batch.image)
        return self.box_head.detect(features, self.rpn.propose(features, batch), batch, self.limits)

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """The four losses: rpn_objectness, rpn_box, class, box."""
        targets = [target.to(batch.image.device) for target in targets]
        features, generators = self.features(batch.image), picture_generators(batch)
        return two_stage_losses(self.rpn, self.box_head, features, batch, targets, generators)[0]

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """boxes [D, 4], scores [D], labels [D]."""
        return deployed_boxes(outputs, batch)[0]

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the box head; background is the row after them."""
        return {name: Rows("things", each) for name, each in self.box_head.named_rows("box_head").items()}
