"""Mask R-CNN: Faster R-CNN and, for each thing it finds, the thing's mask.

He et al., Mask R-CNN, 2017. Sizes, targets and loss are torchvision's `maskrcnn_resnet50_fpn`, whose weights load by
name. The mask head runs on sampled positives in training and on final detections in prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.layers.box_head import deployed_boxes
from videre.layers.conv import ConvReLU
from videre.layers.losses import mean_count
from videre.layers.roi_pooler import RoIPooler, fill_up
from videre.layers.roi_targets import BoxTarget, Samples
from videre.models.base import Model, Outputs, Rows
from videre.models.detect.faster_rcnn import FasterRCNN
from videre.ops.crop_masks import crop_masks
from videre.ops.paste_masks import paste_masks, paste_masks_rle
from videre.structures import ImageBatch, Instances, Masks, Preprocess, Scene, Schema


class MaskRCNN(Model):
    """Boxes, classes and masks.

    Args:
        schema: needs `things`. preprocess: as Faster R-CNN.
        mask_width: channels of the mask head; None: the pyramid's.
        mask_layers: 3x3 convolutions before the upsampling.
        mask_resolution: side of the pooled features; the mask logits have twice this side.
        detector: keyword arguments of `FasterRCNN`.
    """

    accepts = frozenset[str]()
    needs = frozenset({"boxes", "instances.labels", "masks"})
    gives = frozenset({"boxes", "instances.labels", "scores", "masks"})
    mixes_formats = True
    inner_systems = {"detector": "faster-rcnn"}  # noqa: RUF012 - never changed

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        mask_width: int | None = None,
        mask_layers: int = 4,
        mask_resolution: int = 14,
        **detector: Any,
    ) -> None:
        super().__init__(schema, preprocess)
        self.detector = FasterRCNN(schema, self.preprocess, **detector)
        self.limits = self.detector.limits
        pooler, neck = self.detector.box_head.pooler.at(mask_resolution), self.detector.neck
        self.mask_head = MaskHead(
            pooler, neck.width, mask_width or neck.width, mask_layers, self.detector.box_head.classes
        )

    def forward(self, batch: ImageBatch) -> Outputs:
        """As Faster R-CNN, and masks [D, S, S], the probability of each cell of the box."""
        features = self.detector.features(batch.image)
        found = self.detector.detect(features, batch, self.limits)
        rois = torch.cat([found["picture"].to(found["boxes"].dtype)[:, None], found["boxes"]], dim=1)
        logits = self.mask_head(features, rois)
        found["masks"] = logits[torch.arange(rois.shape[0], device=rois.device), found["labels"]].sigmoid()
        return found

    def target(self, truth: Scene) -> tuple[BoxTarget, Masks | None]:
        """The true boxes that are trained on, and their masks as bitmaps; None where there are none."""
        boxes = BoxTarget.of(truth)
        masks = None if truth.instances is None else truth.instances.masks
        return boxes, None if masks is None else masks.select(boxes.index).as_bitmaps()

    def losses(self, batch: ImageBatch, targets: Sequence[tuple[BoxTarget, Masks | None]]) -> dict[str, Tensor]:
        """The four of Faster R-CNN, and mask."""
        losses, features, samples = self.detector.train_parts(batch, [boxes for boxes, _ in targets])
        positive = samples.positive
        goals = self.mask_targets(samples, [masks for _, masks in targets])
        logits = self.mask_head(features, samples.rois[positive])
        of_class = logits[torch.arange(len(positive), device=logits.device), samples.labels[positive]]
        total = F.binary_cross_entropy_with_logits(of_class, goals.to(of_class), reduction="sum") + logits.sum() * 0
        return losses | {"mask": total / mean_count(of_class.numel(), logits)}

    @torch.no_grad()
    def mask_targets(self, samples: Samples, masks: Sequence[Masks | None]) -> Tensor:
        """What the mask of each positive sample should be: [P, S, S] in [0, 1].

        The true bitmap read through the proposal by RoI align (adaptive, not aligned), so border cells hold the share
        of the cell that is covered, as torchvision trains.
        """
        side = self.mask_head.resolution
        goals = []
        for true, matches, rois in zip(
            masks, samples.matches.split(samples.sizes), samples.rois.split(samples.sizes), strict=True
        ):
            positive = matches >= 0
            if true is None or not bool(positive.any()):
                goals.append(torch.zeros((0, side, side)))
                continue
            which, boxes = matches[positive].cpu(), rois[positive, 1:].cpu()
            goals.append(crop_masks(*true.packed(), true.size, boxes, which, side))
        return torch.cat(goals)

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections with masks at the resolution of the original pictures, as run lengths."""
        scenes = []
        for i, scene in enumerate(self.detector.postprocess(outputs, batch)):
            probabilities = outputs["masks"][outputs["picture"] == i].float().cpu()
            assert isinstance(scene.instances, Instances) and scene.instances.boxes is not None
            runs = Masks.from_runs(*paste_masks_rle(probabilities, scene.instances.boxes, scene.size), scene.size)
            scenes.append(scene.replace_unchecked(instances=scene.instances.replace_unchecked(masks=runs)))
        return scenes

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """As Faster R-CNN, and masks [D, H, W] of 0 and 1."""
        results, _ = deployed_boxes(outputs, batch)
        return {**results, "masks": paste_masks(outputs["masks"], results["boxes"], batch.originals[0])}

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the box and mask heads."""
        boxes = {f"detector.{name}": rows for name, rows in self.detector.named_rows().items()}
        return boxes | {f"mask_head.logits.{t}": Rows("things") for t in ("weight", "bias")}


class MaskHead(nn.Module):
    """3x3 convolutions, a 2x2 upsampling, and one map of logits per class.

    Args:
        pooler: from maps and RoIs to [R, C, S, S]. channels: C. width: of the convolutions. classes: K.
    """

    def __init__(self, pooler: RoIPooler, channels: int, width: int, layers: int, classes: int) -> None:
        super().__init__()
        self.pooler = pooler
        self.resolution = pooler.resolution * 2
        self.convs = nn.ModuleList(ConvReLU(channels if i == 0 else width, width, 3, padding=1) for i in range(layers))
        self.upsample = nn.ConvTranspose2d(width if layers else channels, width, 2, 2)
        self.logits = nn.Conv2d(width, classes, 1)
        for layer in (*self.convs, self.upsample, self.logits):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """RoIs [R, 5] to logits [R, K, 2 S, 2 S]."""
        x = self.pooler(features, fill_up(rois))
        for conv in self.convs:
            x = conv(x)
        return self.logits(F.relu(self.upsample(x)))[: rois.shape[0]]
