"""R-CNN: every proposal is cut out, warped to one size and looked at by a net of its own accord.

Girshick et al., Rich feature hierarchies for accurate object detection and semantic segmentation, 2014; constants are those of its
released code. The four stages of a training are in `region_classifier`.

    model = RCNN(Schema(things=Categories.of(["cell"])), backbone="mobilenet_v2")
    losses = model.losses(batch, truths)          # batch.given has the proposals; the fine-tuning: class
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from videre.backbones import VECTOR, backbone_of
from videre.errors import ConfigError
from videre.layers.warp_crops import warp_crops
from videre.models.detect.region_classifier import RegionClassifier
from videre.structures import Preprocess, Schema

CHUNK = 64
"""Crops that go through the net at once."""


class RCNN(RegionClassifier):
    """Boxes and classes of things among given proposals, each looked at alone.

    Args:
        schema: needs `things`. preprocess: None: the pictures' own size, ImageNet normalisation.
        proposals: the method that finds proposals where none are given: a system (see `videre models`), or "" for none.
        most: proposals that are looked at, the best of those given: (training, prediction).
        backbone: a name of `videre.backbones`. norm, padding, norm_eps (None: as published), multiplier: of the backbone.
        crop_size: side of the warped crops; 227 in the paper. context: pixels of them around the proposal; 16 in the paper.
        box_cells: cells a side of the last map that the box regression reads.
        roi_batch: proposals sampled a picture when fine-tuning; the paper has 128 a step. roi_positive: share of positives.
        c, ridge: strengths of the SVMs and of the box regression.
        negatives: windows a picture that the SVMs see first, drawn at random; and hard ones that are added.
        cache_gb: gigabytes of the disk that features may take during the training, which stages after the first share.
        score_threshold, nms, max_detections: of detections; a score is the sigmoid of the margin.
    """

    recipe_from_weights: ClassVar[Mapping[str, Any]] = {"backbone_lr": 0.2}  # docs/history.md
    usual = Preprocess(short_side=None, long_side=None, divisor=1)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        proposals: str = "selective-search",
        most: Sequence[int] = (2000, 2000),
        backbone: str = "alexnet",
        norm: str = "frozen",
        padding: str = "half",
        norm_eps: float | None = None,
        multiplier: float = 1.0,
        crop_size: int = 224,
        context: int = 16,
        box_cells: int = 3,
        roi_batch: int = 64,
        roi_positive: float = 0.25,
        c: float = 1e-3,
        ridge: float = 1000.0,
        negatives: int = 100,
        cache_gb: float = 10.0,
        score_threshold: float = 0.05,
        nms: float = 0.3,
        max_detections: int = 100,
    ) -> None:
        super().__init__(schema, preprocess)
        if not 0 <= 2 * context < crop_size:
            raise ConfigError(f"context must leave room in crops of {crop_size} pixels, found {context} on either side")
        self.crop_size, self.context, self.box_cells = crop_size, context, box_cells
        self.backbone = backbone_of(
            backbone,
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
            vector=True,
        )
        self.last = max(self.backbone.channels)
        self.build(
            self.backbone.width,
            self.backbone.channels[self.last] * box_cells**2,
            most=most,
            roi_batch=roi_batch,
            roi_positive=roi_positive,
            c=c,
            ridge=ridge,
            negatives=negatives,
            cache_gb=cache_gb,
            score_threshold=score_threshold,
            nms=nms,
            max_detections=max_detections,
        )

    def look(self, image: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """The vector of each region's own crop, and its last map in a few cells."""
        vectors, maps = [], []
        for some in rois.split(CHUNK):
            count = len(some)
            if not self.training:  # few lengths: for each new one algorithms would be chosen, which takes seconds
                some = F.pad(some, (0, 0, 0, (1 << (count - 1).bit_length()) - count))
            found = self.backbone(warp_crops(image, some, self.crop_size, self.context))
            vectors.append(found[VECTOR].flatten(1)[:count])
            maps.append(F.adaptive_max_pool2d(found[self.last], self.box_cells).flatten(1)[:count])
        if not vectors:
            return image.new_zeros(0, self.width), image.new_zeros(0, self.box_width)
        return torch.cat(vectors), torch.cat(maps)
