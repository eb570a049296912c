"""R-FCN: Faster R-CNN whose second stage only reads: each part of a proposal looks at score maps of its own, and the parts vote.

Dai et al., R-FCN: Object Detection via Region-based Fully Convolutional Networks, 2016. A ResNet whose last stage is dilated (stride
16); k x k score maps for every class, of which bin (i, j) of a proposal averages the (i, j)-th; boxes the same way, one for all classes.
The proposals that train are those of the largest loss (OHEM). Constants are those of the released code (facts: daijifeng001/R-FCN).

    model = RFCN(Schema(things=Categories.of(["cell"])), backbone="resnet18")
    losses = model.losses(batch, truths)          # four, as Faster R-CNN's
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from videre.backbones import LIGHT, backbone_of
from videre.errors import ConfigError
from videre.layers.anchors import Anchors
from videre.layers.assignments import Assignment
from videre.layers.box_head import RegionHead, as_proposals, as_scenes, deployed_boxes, weigh_classes
from videre.layers.roi_pooler import POOLS
from videre.layers.roi_targets import BoxTarget
from videre.layers.rpn import RPN
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.models.detect.ranges import check_ranges
from videre.ops.ps_roi_align import ps_roi_align
from videre.ops.ps_roi_pool import ps_roi_pool
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits

STRIDE = 16
EVERYTHING = 10**6
"""Proposals sampled before the hardest are taken: all."""


class RFCN(Model):
    """Boxes and classes of things, in two stages, the second without layers of its own.

    Args:
        schema: needs `things`. preprocess: None: short side 800, long side at most 1333, ImageNet normalisation.
        backbone: any whose last stage can be dilated (`output_stride`). norm, padding, norm_eps (None: as published), multiplier (of
            its widths): of it.
        width: channels between the backbone and the score maps; None: 1024, or 256 for a light backbone.
        bins: k, parts a side of a proposal. roi: "align" or "pool". sampling_ratio: of RoI align; 0: as many as the part has pixels.
        hard: proposals a picture that train, those of the largest loss; 0: a sample of `roi_batch`, `roi_positive` of them positive.
        The others as `FasterRCNN`, anchors all on the one level.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    mixes_formats = True
    recipe: ClassVar[Mapping[str, Any]] = {"lr": 2e-3}
    recipe_from_weights: ClassVar[Mapping[str, Any]] = {"backbone_lr": 0.05}

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
        width: int | None = None,
        bins: int = 7,
        roi: str = "align",
        sampling_ratio: int = 2,
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn_pre_nms: Sequence[int] = (6000, 6000),
        rpn_post_nms: Sequence[int] = (300, 300),
        rpn_nms: float = 0.7,
        rpn_batch: int = 256,
        rpn_positive: float = 0.5,
        hard: int = 128,
        roi_batch: int = 128,
        roi_positive: float = 0.25,
        score_threshold: float = 0.05,
        nms: float = 0.3,
        max_detections: int = 100,
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        self.limits = Limits(score_threshold, max_detections)
        if schema.things is None:
            raise ConfigError("R-FCN finds things: the schema must name their categories (schema.things)")
        if roi not in POOLS:
            raise ConfigError(f"roi must be one of {', '.join(POOLS)}, found {roi!r}")
        self.backbone = backbone_of(
            backbone,
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
            output_stride=STRIDE,
        )
        self.rpn = RPN(
            self.backbone.channels[16],
            Anchors([anchor_sizes], anchor_ratios),
            pre_nms=rpn_pre_nms,
            post_nms=rpn_post_nms,
            nms_threshold=rpn_nms,
            batch=rpn_batch,
            positive=rpn_positive,
        )
        self.box_head = PositionSensitiveHead(
            self.backbone.channels[32],
            width or (256 if backbone in LIGHT else 1024),
            bins,
            len(schema.things),
            roi=roi,
            sampling_ratio=sampling_ratio,
            batch=EVERYTHING if hard else roi_batch,
            positive=1.0 if hard else roi_positive,
            nms_threshold=nms,
            class_weights=weigh_classes(class_weights or {}, schema.things),
            hard=hard,
        )

    def features(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Pictures [B, C, H, W] to the map that proposals are made from, and the score maps of classes and boxes, of stride 16 all."""
        maps = self.backbone(image)
        return [maps[16]], self.box_head.score_maps(maps[32])

    def forward(self, batch: ImageBatch) -> Outputs:
        """As Faster R-CNN."""
        features, scores = self.features(batch.image)
        return self.box_head.detect(scores, self.rpn.propose(features, batch), batch, self.limits)

    @torch.no_grad()
    def propose(self, batch: ImageBatch) -> list[Scene]:
        """The proposals of the RPN alone, in the pixels of the original pictures."""
        return as_proposals(self.rpn.scored(self.features(batch.image)[0], batch), batch)

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """The four losses: rpn_objectness, rpn_box, class, box."""
        targets = [target.to(batch.image.device) for target in targets]
        features, scores = self.features(batch.image)
        generators = picture_generators(batch)
        losses, proposals = self.rpn.losses(features, batch, targets, generators)
        samples = self.box_head.sample(proposals, targets, generators)
        return losses | self.box_head.losses(scores, samples, targets)

    @torch.no_grad()
    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: what the anchors, and what the proposals of now are trained on."""
        (features, _), (generator, *_) = self.features(batch.image), picture_generators(batch)
        rpn, target = self.rpn, targets[0]
        anchors = torch.cat(rpn.anchors_of(features, batch))
        rule = "positive from IoU .7, and the best of each thing, negative below .3"
        matches = rpn.match(anchors, target)
        one = Assignment.of("anchors", anchors, matches, target, generator, rpn.batch, rpn.positive, rule)
        return [one, self.box_head.assignment(rpn.propose(features, batch)[0], target, generator)]

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """boxes [D, 4], scores [D], labels [D]."""
        return deployed_boxes(outputs, batch)[0]

    def named_rows(self) -> dict[str, Rows]:
        """Score maps of a class; background's come after them."""
        return {f"box_head.scores.{t}": Rows("things", self.box_head.bins**2) for t in ("weight", "bias")}


class PositionSensitiveHead(RegionHead):
    """Score maps for every class and every part of a proposal, and how they are read.

    Args:
        channels: of the backbone's last map. width: of the 1x1 convolution after it. bins: k. settings: of `RegionHead`.
    """

    def __init__(
        self, channels: int, width: int, bins: int, classes: int, *, roi: str, sampling_ratio: int, **settings: Any
    ) -> None:
        super().__init__(classes, **settings)
        self.bins, self.roi, self.sampling_ratio = bins, roi, sampling_ratio
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU())
        self.scores = nn.Conv2d(width, (classes + 1) * bins**2, 1)
        self.deltas = nn.Conv2d(width, 4 * bins**2, 1)
        nn.init.kaiming_normal_(self.reduce[0].weight, mode="fan_out")  # type: ignore[arg-type]
        for layer in (self.scores, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def score_maps(self, x: Tensor) -> list[Tensor]:
        """The backbone's last map to score maps of classes [B, (K + 1) k k, H, W] and of boxes [B, 4 k k, H, W]."""
        x = self.reduce(x)
        return [self.scores(x), self.deltas(x)]

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """RoIs [R, 5] to class logits [R, K + 1] and deltas [R, K, 4], the same for all classes: the means over the parts."""
        logits, deltas = (self._read(maps, rois).mean((2, 3)) for maps in features)
        return logits, deltas[:, None].expand(-1, self.classes, 4)

    def _read(self, maps: Tensor, rois: Tensor) -> Tensor:
        if self.roi == "pool":
            return ps_roi_pool(maps, rois, self.bins, 1 / STRIDE)
        return ps_roi_align(maps, rois, self.bins, 1 / STRIDE, self.sampling_ratio)
