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

from videre.layers.conv import ConvReLU
from videre.layers.losses import mean_count
from videre.layers.roi_pooler import RoIPooler, fill_up
from videre.models.base import Model, Outputs, Rows
from videre.models.detect.faster_rcnn import FasterRCNN, Samples, Target
from videre.ops.crop_masks import crop_masks
from videre.ops.paste_masks import paste_masks_rle
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

    needs = frozenset({"boxes", "masks"})
    gives = frozenset({"boxes", "scores", "masks"})

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
        boxes = FasterRCNN(schema, preprocess, **detector)
        mask = {"mask_width": mask_width, "mask_layers": mask_layers, "mask_resolution": mask_resolution}
        super().__init__(schema, boxes.preprocess, {**boxes.config, **mask})
        self.detector = boxes
        pooler = RoIPooler(
            boxes.config["strides"], mask_resolution, boxes.config["sampling_ratio"], boxes.config["aligned"]
        )
        self.mask_head = MaskHead(
            pooler, boxes.neck.width, mask_width or boxes.neck.width, mask_layers, boxes.box_head.classes
        )

    def forward(self, batch: ImageBatch, given: Sequence[Scene] | None = None) -> Outputs:
        """As Faster R-CNN, and masks [D, S, S], the probability of each cell of the box."""
        features = self.detector.features(batch.image)
        found = self.detector.detect(features, batch)
        rois = torch.cat([found["picture"].to(found["boxes"].dtype)[:, None], found["boxes"]], dim=1)
        logits = self.mask_head(features, rois)
        found["masks"] = logits[torch.arange(rois.shape[0], device=rois.device), found["labels"]].sigmoid()
        return found

    def losses(self, batch: ImageBatch, truths: Sequence[Scene]) -> dict[str, Tensor]:
        """The four of Faster R-CNN, and mask."""
        losses, features, samples = self.detector.train_parts(batch, truths)
        positive = samples.positive
        goals = self.mask_targets(samples, truths)
        logits = self.mask_head(features, samples.rois[positive])
        mine = logits[torch.arange(len(positive), device=logits.device), samples.labels[positive]]
        total = F.binary_cross_entropy_with_logits(mine, goals.to(mine), reduction="sum") + logits.sum() * 0
        return losses | {"mask": total / mean_count(mine.numel(), logits)}

    @torch.no_grad()
    def mask_targets(self, samples: Samples, truths: Sequence[Scene]) -> Tensor:
        """What the mask of each positive sample should be: [P, S, S] in [0, 1].

        The true bitmap read through the proposal by RoI align (adaptive, not aligned), so border cells hold the share
        of the cell that is covered, as torchvision trains.
        """
        side = self.mask_head.resolution
        goals = []
        starts = torch.tensor([0, *samples.sizes]).cumsum(0).tolist()
        for i, scene in enumerate(truths):
            rows = slice(starts[i], starts[i + 1])
            matches, rois = samples.matches[rows], samples.rois[rows, 1:]
            positive = matches >= 0
            if scene.instances is None or scene.instances.masks is None or not bool(positive.any()):
                goals.append(torch.zeros((0, side, side)))
                continue
            kept = Target.of(scene, matches.device).index
            which = kept[matches[positive].cpu()]
            masks = scene.instances.masks
            goals.append(crop_masks(*masks.packed(), masks.size, rois[positive].cpu(), which, side))
        return torch.cat(goals)

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the box and mask heads."""
        boxes = {f"detector.{name}": rows for name, rows in self.detector.named_rows().items()}
        return boxes | {f"mask_head.logits.{t}": Rows("things") for t in ("weight", "bias")}

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections with masks at the resolution of the original pictures, as run lengths."""
        scenes = []
        for scene, i in zip(self.detector.postprocess(outputs, batch), range(len(batch))):
            probabilities = outputs["masks"][outputs["picture"] == i].float().cpu()
            assert isinstance(scene.instances, Instances) and scene.instances.boxes is not None
            runs = paste_masks_rle(probabilities, scene.instances.boxes, scene.size)
            scenes.append(scene.replace(instances=scene.instances.replace(masks=Masks.from_runs(*runs, scene.size))))
        return scenes


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
