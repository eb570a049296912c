"""Faster R-CNN with a feature pyramid.

Ren et al., Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks, 2015; Lin et al., Feature
Pyramid Networks, 2017. Sizes, thresholds and losses are torchvision's `fasterrcnn_resnet50_fpn`, whose weights load
by name; background is the last class column here and never a label. An anchor that no true box touches is never
made positive by the best-match rule (torchvision lets a true box with overlap 0 everywhere claim all such anchors).

    model = FasterRCNN(Schema(things=Categories.of(["cell"])), backbone="mobilenet_v2")
    losses = model.losses(batch, truths)          # four, named as below
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from videre.backbones import LIGHT, backbone_of
from videre.errors import ConfigError
from videre.layers.anchors import Anchors
from videre.layers.assignments import Assignment
from videre.layers.box_head import (
    BoxHead,
    TwoLayers,
    as_proposals,
    as_scenes,
    deployed_boxes,
    two_stage_losses,
    weigh_classes,
)
from videre.layers.fpn import FeaturePyramid
from videre.layers.roi_pooler import RoIPooler
from videre.layers.roi_targets import BoxTarget, Samples, best_proposals
from videre.layers.rpn import RPN
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.models.detect.ranges import check_ranges
from videre.models.stages import Descent, Stage
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits


class FasterRCNN(Model):
    """Boxes and classes of things, in two stages.

    Args:
        schema: needs `things`.
        preprocess: None: short side 800, long side at most 1333, ImageNet normalisation.
        backbone: a name of `videre.backbones`. norm, padding, norm_eps (None: as published),
            multiplier (of its widths): of the backbone.
        strides: backbone maps used, finest first.
        width: channels of pyramid and RPN; None: 256, or 128 for a light backbone.
        hidden: width of the two fully connected layers; None: 1024, or 512 for a light backbone.
        fpn_norm: norm of the pyramid's convolutions ("none" as published, "group" from scratch).
        anchor_sizes: one per level, the last one for the pyramid's extra level. anchor_ratios: height / width.
        rpn_pre_nms, rpn_post_nms: proposals kept before (per level) and after NMS: (training, prediction).
        rpn_nms: IoU from which the weaker of two proposals goes. nms: IoU from which the weaker of two
            detections of a class goes.
        rpn_batch: anchors sampled a picture. rpn_positive: largest share of positives among these anchors.
        roi_batch: proposals sampled a picture. roi_positive: largest share of positives among these proposals.
        resolution: cells a side of what RoI align gives. sampling_ratio: samples a side of each cell; 0: as many as it has
            pixels. aligned: with the half pixel that the first RoI align left out.
        class_boxes: boxes are moved one way for each class, else one way for all.
        score_threshold: least score of the predictions kept for evaluation.
        max_detections: most predictions kept a picture.
        class_weights: weight of a class in the classification loss, by name ("background" too); 1 where absent.
        steps: 1: all four losses at once (approximate joint training); 4: the paper's alternation. The RPN, with the
            backbone and the pyramid; the detector on its proposals, with both, which begin anew; the RPN alone, over what stays;
            the detector alone, on the proposals of that.
    """

    accepts = frozenset({"proposals", "proposal_scores"})
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
        strides: Sequence[int] = (4, 8, 16, 32),
        width: int | None = None,
        hidden: int | None = None,
        fpn_norm: str = "none",
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn_pre_nms: Sequence[int] = (2000, 1000),
        rpn_post_nms: Sequence[int] = (2000, 1000),
        rpn_nms: float = 0.7,
        rpn_batch: int = 256,
        rpn_positive: float = 0.5,
        roi_batch: int = 512,
        roi_positive: float = 0.25,
        resolution: int = 7,
        sampling_ratio: int = 2,
        aligned: bool = False,
        score_threshold: float = 0.05,
        class_boxes: bool = True,
        nms: float = 0.5,
        max_detections: int = 100,
        class_weights: dict[str, float] | None = None,
        steps: int = 1,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        if steps not in (1, 4):
            raise ConfigError(f"Faster R-CNN is trained in 1 step or in 4, found steps={steps}")
        self.steps = steps
        self.limits = Limits(score_threshold, max_detections)
        if schema.things is None:
            raise ConfigError("Faster R-CNN finds things: the schema must name their categories (schema.things)")
        if any(b != 2 * a for a, b in itertools.pairwise(strides)):
            raise ConfigError(f"strides must each be twice the one before, found {list(strides)}")
        if len(anchor_sizes) != len(strides) + 1:
            raise ConfigError(
                f"{len(strides)} strides and the extra level need {len(strides) + 1} anchor sizes, "
                f"found {list(anchor_sizes)}"
            )
        light = backbone in LIGHT
        self.backbone = backbone_of(
            backbone,
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
            last=max(strides),
        )
        channels = {s: self.backbone.channels[s] for s in strides}
        self.strides = tuple(strides)
        self.neck = FeaturePyramid(channels, width or (128 if light else 256), fpn_norm)
        self.rpn = RPN(
            self.neck.width,
            Anchors([[s] for s in anchor_sizes], anchor_ratios),
            pre_nms=rpn_pre_nms,
            post_nms=rpn_post_nms,
            nms_threshold=rpn_nms,
            batch=rpn_batch,
            positive=rpn_positive,
        )
        pooler = RoIPooler(strides, resolution, sampling_ratio, aligned)
        mlp = TwoLayers(self.neck.width * resolution**2, hidden or (512 if light else 1024))
        weights = weigh_classes(class_weights or {}, schema.things)
        self.box_head = BoxHead(
            pooler,
            mlp,
            mlp.width,
            len(schema.things),
            class_boxes,
            batch=roi_batch,
            positive=roi_positive,
            nms_threshold=nms,
            class_weights=weights,
        )

    def features(self, image: Tensor) -> list[Tensor]:
        """Pictures [B, C, H, W] to pyramid maps, finest first."""
        maps = self.backbone(image)
        return self.neck([maps[stride] for stride in self.strides])

    def forward(self, batch: ImageBatch) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        return self.detect(self.features(batch.image), batch, self.limits)

    def detect(self, features: Sequence[Tensor], batch: ImageBatch, limits: Limits) -> Outputs:
        """From features to detections in the batch's frame."""
        return self.box_head.detect(features, self.rpn.propose(features, batch), batch, limits)

    @torch.no_grad()
    def propose(self, batch: ImageBatch) -> list[Scene]:
        """The proposals of the RPN alone, in the pixels of the original pictures."""
        return as_proposals(self.rpn.scored(self.features(batch.image), batch), batch)

    def stages(self) -> Sequence[Stage]:
        """One, or the four of the alternation."""
        if self.steps == 1:
            return super().stages()
        trunk = ("backbone.", "neck.")
        return (
            Descent("1-rpn", (*trunk, "rpn."), losses=self._rpn_losses, evaluates=False),
            Descent(
                "2-detector",
                (*trunk, "box_head."),
                losses=self._head_losses,
                given=self.propose,
                anew=trunk,
                evaluates=False,
            ),
            Descent("3-rpn", ("rpn.",), losses=self._rpn_losses, evaluates=False),
            Descent("4-detector", ("box_head.",), losses=self._head_losses, given=self.propose),
        )

    def _rpn_losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """rpn_objectness and rpn_box."""
        targets = [target.to(batch.image.device) for target in targets]
        return self.rpn.losses(self.features(batch.image), batch, targets, picture_generators(batch))[0]

    def _head_losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """class and box, on given proposals."""
        targets = [target.to(batch.image.device) for target in targets]
        samples = self.box_head.sample(best_proposals(batch, self.rpn.post_nms[0]), targets, picture_generators(batch))
        return self.box_head.losses(self.features(batch.image), samples, targets)

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """The four losses: rpn_objectness, rpn_box, class, box."""
        return self.train_parts(batch, targets)[0]

    def train_parts(
        self, batch: ImageBatch, targets: Sequence[BoxTarget]
    ) -> tuple[dict[str, Tensor], list[Tensor], Samples]:
        """The four losses, and for the heads that build on this system the features and the sampled proposals."""
        targets = [target.to(batch.image.device) for target in targets]
        features, generators = self.features(batch.image), picture_generators(batch)
        losses, samples = two_stage_losses(self.rpn, self.box_head, features, batch, targets, generators)
        return losses, features, samples

    @torch.no_grad()
    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: what the anchors, and what the proposals of now are trained on."""
        features, (generator, *_) = self.features(batch.image), picture_generators(batch)
        anchors = torch.cat(self.rpn.anchors_of(features, batch))
        matches = self.rpn.match(anchors, targets[0])
        rule = "positive from IoU .7, and the best of each thing, negative below .3"
        one = Assignment.of("anchors", anchors, matches, targets[0], generator, self.rpn.batch, self.rpn.positive, rule)
        return [one, self.box_head.assignment(self.rpn.propose(features, batch)[0], targets[0], generator)]

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """boxes [D, 4], scores [D], labels [D]."""
        return deployed_boxes(outputs, batch)[0]

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the box head; background is the row after them."""
        return {name: Rows("things", each) for name, each in self.box_head.named_rows("box_head").items()}
