"""Faster R-CNN without a pyramid: one map of stride 16, and what the backbone has after it as the head.

Ren et al., Faster R-CNN, 2015, over VGG16: the last convolutions' map, RoI pool 7x7, the two fully connected layers. He et al., Deep
Residual Learning, 2015, over a ResNet, the "C4" form: the third stage's map, RoI 14x14, the fourth stage, the mean; sizes are
detectron2's (facts in its configs/Base-RCNN-C4.yaml): 15 anchors a cell, RoI align. Over a MobileNetV2 the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from videre.backbones import backbone_of, find_backbone
from videre.backbones.base import load_layers
from videre.backbones.mobilenet_v2 import MobileNetV2
from videre.backbones.resnet import ResNet
from videre.backbones.vgg import HIDDEN, VGG
from videre.errors import ConfigError
from videre.layers.anchors import Anchors
from videre.layers.box_head import BoxHead, TwoLayers, as_scenes, deployed_boxes, two_stage_losses, weigh_classes
from videre.layers.roi_pooler import POOLS, RoIPooler
from videre.layers.roi_targets import BoxTarget
from videre.layers.rpn import RPN
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.models.detect.ranges import check_ranges
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits


class FasterRCNNC4(Model):
    """Boxes and classes from the stride-16 map of a ResNet, a MobileNetV2 or a VGG.

    Args:
        schema: needs `things`. preprocess: as Faster R-CNN.
        backbone: resnet18 to resnet152, mobilenet_v2, vgg11 to vgg19. norm, padding, norm_eps, multiplier (of its widths): of the
            backbone, and of the stage after it.
        hidden: width of a VGG's two fully connected layers.
        anchor_sizes, anchor_ratios: all on the one level.
        roi: "pool" or "align"; None: pool over a VGG, else align. resolution: cells a side of what it gives; None: 7 over a
            VGG, else 14.
        The others as `FasterRCNN`.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    mixes_formats = True
    recipe_from_weights: ClassVar[Mapping[str, Any]] = {"backbone_lr": 0.2}  # docs/history.md

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
        hidden: int = HIDDEN,
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn_pre_nms: Sequence[int] = (12000, 6000),
        rpn_post_nms: Sequence[int] = (2000, 1000),
        rpn_nms: float = 0.7,
        rpn_batch: int = 256,
        rpn_positive: float = 0.5,
        roi_batch: int = 512,
        roi_positive: float = 0.25,
        roi: str | None = None,
        resolution: int | None = None,
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
        if roi not in (None, *POOLS):
            raise ConfigError(f"roi must be one of {', '.join(POOLS)}, or null, found {roi!r}")
        if not issubclass(find_backbone(backbone), (ResNet, MobileNetV2, VGG)):
            raise ConfigError(
                f"one map, and the layers after it as the head: of a ResNet, mobilenet_v2 or a VGG, found {backbone!r}"
            )
        self.backbone = backbone_of(
            backbone,
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
            last=16,
        )
        width = self.backbone.channels[16]
        if isinstance(self.backbone, ResNet | MobileNetV2):
            resolution, roi = resolution or 14, roi or "align"
            stages, out = self.backbone.next_stage()
            body: nn.Module = nn.Sequential(*stages.values(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.following = tuple(stages)
        else:
            resolution, roi = resolution or 7, roi or "pool"
            body, out = TwoLayers(width * resolution**2, hidden), hidden
            self.following = tuple(VGG.TOP)
        self.rpn = RPN(
            width,
            Anchors([anchor_sizes], anchor_ratios),
            pre_nms=rpn_pre_nms,
            post_nms=rpn_post_nms,
            nms_threshold=rpn_nms,
            batch=rpn_batch,
            positive=rpn_positive,
        )
        weights = weigh_classes(class_weights or {}, schema.things)
        self.box_head = BoxHead(
            RoIPooler([16], resolution, sampling_ratio, aligned, maximum=roi == "pool"),
            body,
            out,
            len(schema.things),
            batch=roi_batch,
            positive=roi_positive,
            nms_threshold=nms,
            class_weights=weights,
        )

    def start_from(self, tensors: dict[str, Tensor]) -> list[str]:
        """The backbone's tensors, and in the head those of the layers that follow it in a classifier."""
        layers = dict(zip(self.following, self.box_head.body.children(), strict=False))  # after them the mean
        return load_layers(layers, tensors, super().start_from(tensors))

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
