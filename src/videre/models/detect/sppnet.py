"""SPPnet: the net looks at the picture once, and pools the map under each proposal into a pyramid of fixed length.

He et al., Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, 2014. As R-CNN, but that the convolutions
run over the whole picture, at one scale or several; the map under a proposal is pooled into 6x6, 3x3, 2x2 and 1x1 cells, and two
fully connected layers follow. Only these are fine-tuned: the pooled maps stay what they are. Each proposal is read at the scale at
which its area is nearest 224 x 224.

    model = SPPNet(Schema(things=Categories.of(["cell"])), backbone="mobilenet_v2")
    scenes = model.postprocess(model(batch), batch)       # batch.given has the proposals
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videre.backbones import LIGHT, backbone_of
from videre.layers.box_head import TwoLayers
from videre.layers.spatial_pyramid import BINS, nearest_scale, spatial_pyramid
from videre.models.detect.region_classifier import RegionClassifier
from videre.structures import Preprocess, Schema


class SPPNet(RegionClassifier):
    """Boxes and classes of things among given proposals, read off one map of the picture.

    Args:
        schema: needs `things`. preprocess: None: short side 688, the middle one of the paper's scales, ImageNet normalisation.
        proposals: the method that finds proposals where none are given: a system (see `videre models`), or "" for none.
        most: proposals that are looked at, the best of those given: (training, prediction).
        backbone: a name of `videre.backbones`. norm, padding, norm_eps (None: as published), multiplier: of the backbone.
        stride: of the map that is pooled.
        scales: factors of the prepared picture's size; the paper's short sides 480 to 1200 are .7, .84, 1, 1.26, 1.74 of 688.
        hidden: width of the two fully connected layers; None: 1024, or 512 for a light backbone (4096 in the paper).
        roi_batch: proposals sampled a picture when fine-tuning. roi_positive: share of positives among them.
        c, ridge: strengths of the SVMs and of the box regression. negatives, cache_gb, score_threshold, nms, max_detections: as
            of `rcnn`.
    """

    usual = Preprocess(short_side=688, long_side=1200)
    tuned = ("body.", "softmax.")

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        proposals: str = "selective-search",
        most: Sequence[int] = (2000, 2000),
        backbone: str = "resnet50",
        norm: str = "frozen",
        padding: str = "half",
        norm_eps: float | None = None,
        multiplier: float = 1.0,
        stride: int = 16,
        scales: Sequence[float] = (1.0,),
        hidden: int | None = None,
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
        self.stride, self.scales = stride, tuple(scales)
        self.backbone = backbone_of(
            backbone,
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
            last=stride,
        )
        pooled = self.backbone.channels[stride] * sum(side**2 for side in BINS)
        self.body = TwoLayers(pooled, hidden or (512 if backbone in LIGHT else 1024))
        self.build(
            self.body.width,
            pooled,
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
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> SPPNet:
        """As `nn.Module.train`; the convolutions, which are not trained, stay in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def look(self, image: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """The second fully connected layer, and the pooled pyramid itself."""
        pooled, order = [], []
        scale_of = nearest_scale(rois, self.scales)
        for n, scale in enumerate(self.scales):
            of = (scale_of == n).nonzero().flatten()
            if len(of) == 0:
                continue
            picture = (
                image if scale == 1 else F.interpolate(image, scale_factor=scale, mode="bilinear", antialias=scale < 1)
            )
            with torch.no_grad():
                features = self.backbone(picture)[self.stride]
            moved = torch.cat([rois[of, :1], rois[of, 1:] * scale], 1)
            pooled.append(spatial_pyramid(features, moved, self.stride))
            order.append(of)
        if not pooled:
            return image.new_zeros(0, self.width), image.new_zeros(0, self.box_width)
        rows = torch.cat(pooled)[torch.cat(order).argsort()]
        return self.body(rows), rows
