"""Keypoint R-CNN: Faster R-CNN and, for each thing it finds, where its keypoints are.

He et al., Mask R-CNN, 2017, section 5: each keypoint is a one-hot map, trained by a softmax over the map's cells.
Sizes, targets and decoding are torchvision's `keypointrcnn_resnet50_fpn`, whose weights load by name; any `Skeleton`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.conv import ConvReLU
from videre.layers.losses import mean_count
from videre.layers.roi_pooler import RoIPooler, fill_up
from videre.models.base import Model, Outputs, Rows
from videre.models.detect.faster_rcnn import FasterRCNN, Samples, Target
from videre.ops.decode_keypoints import decode_keypoints
from videre.structures import ImageBatch, Instances, Preprocess, Scene, Schema


class KeypointRCNN(Model):
    """Boxes, classes and keypoints.

    Args:
        schema: needs `things` and `skeleton`. preprocess: as Faster R-CNN.
        keypoint_width: channels of the keypoint head; None: twice the pyramid's from 256 on, else the pyramid's.
        keypoint_layers: 3x3 convolutions before the upsampling.
        keypoint_resolution: side of the pooled features; the maps have four times this side.
        detector: keyword arguments of `FasterRCNN`.
    """

    needs = frozenset({"boxes", "keypoints", "visibility"})
    gives = frozenset({"boxes", "scores", "keypoints", "keypoint_scores"})

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        keypoint_width: int | None = None,
        keypoint_layers: int = 8,
        keypoint_resolution: int = 14,
        **detector: Any,
    ) -> None:
        if schema.skeleton is None:
            raise ConfigError("Keypoint R-CNN finds keypoints: the schema must name them (schema.skeleton)")
        boxes = FasterRCNN(schema, preprocess, **detector)
        keypoint = {
            "keypoint_width": keypoint_width,
            "keypoint_layers": keypoint_layers,
            "keypoint_resolution": keypoint_resolution,
        }
        super().__init__(schema, boxes.preprocess, {**boxes.config, **keypoint})
        self.detector = boxes
        pooler = RoIPooler(
            boxes.config["strides"], keypoint_resolution, boxes.config["sampling_ratio"], boxes.config["aligned"]
        )
        width = keypoint_width or boxes.neck.width * (2 if boxes.neck.width >= 256 else 1)
        self.keypoint_head = KeypointHead(pooler, boxes.neck.width, width, keypoint_layers, len(schema.skeleton))

    def forward(self, batch: ImageBatch, given: Sequence[Scene] | None = None) -> Outputs:
        """As Faster R-CNN, and keypoints [D, J, 2] in the batch's frame with keypoint_scores [D, J]."""
        features = self.detector.features(batch.image)
        found = self.detector.detect(features, batch)
        rois = torch.cat([found["picture"].to(found["boxes"].dtype)[:, None], found["boxes"]], dim=1)
        maps = self.keypoint_head(features, rois)
        found["keypoints"], found["keypoint_scores"] = decode_keypoints(maps.float(), found["boxes"])
        return found

    def losses(self, batch: ImageBatch, truths: Sequence[Scene]) -> dict[str, Tensor]:
        """The four of Faster R-CNN, and keypoint: cross-entropy over the cells, mean over labelled keypoints inside."""
        losses, features, samples = self.detector.train_parts(batch, truths)
        positive = samples.positive
        maps = self.keypoint_head(features, samples.rois[positive])  # (P, J, S, S)
        cells, valid = self.keypoint_targets(samples, truths)
        total = F.cross_entropy(maps.flatten(2)[valid], cells[valid], reduction="sum") + maps.sum() * 0
        return losses | {"keypoint": total / mean_count(int(valid.sum()), maps)}

    @torch.no_grad()
    def keypoint_targets(self, samples: Samples, truths: Sequence[Scene]) -> tuple[Tensor, Tensor]:
        """For each positive sample and keypoint the cell y * S + x it lies in, and whether it is labelled and inside."""
        device = samples.rois.device
        points, visible = [], []
        for scene in truths:
            target = Target.of(scene, device)
            things = scene.instances
            if things is None or things.keypoints is None or things.visibility is None:
                points.append(torch.zeros((0, self.keypoint_head.joints, 2), device=device))
                visible.append(torch.zeros((0, self.keypoint_head.joints), dtype=torch.uint8, device=device))
                continue
            points.append(things.keypoints[target.index].to(device))
            visible.append(things.visibility[target.index].to(device))
        point, seen = samples.gather(points), samples.gather(visible)  # (P, J, 2), (P, J)
        boxes, side = samples.rois[samples.positive, 1:], self.keypoint_head.resolution
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        cell = torch.floor((point - low) * side / (high - low))
        cell = torch.where(point == high, side - 1, cell).to(torch.int64)  # a point on the far edge is in the last cell
        inside = ((cell >= 0) & (cell < side)).all(dim=2)
        return (cell[..., 1] * side + cell[..., 0]).clamp(min=0, max=side * side - 1), inside & (seen > 0)

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the box head, keypoint rows of the keypoint head."""
        boxes = {f"detector.{name}": rows for name, rows in self.detector.named_rows().items()}
        joints = {"weight": Rows("skeleton", axis=1), "bias": Rows("skeleton")}
        return boxes | {f"keypoint_head.upsample.{t}": rows for t, rows in joints.items()}

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections with keypoints in the pixels of the original pictures."""
        scenes = []
        for scene, i in zip(self.detector.postprocess(outputs, batch), range(len(batch))):
            mine = outputs["picture"] == i
            matrix = torch.as_tensor(batch.inverse(i), dtype=torch.float32)
            points = outputs["keypoints"][mine].float().cpu() * matrix.diagonal() + matrix[:, 2]
            assert isinstance(scene.instances, Instances)
            scores = outputs["keypoint_scores"][mine].float().cpu()
            things = scene.instances.replace(keypoints=points, keypoint_scores=scores)
            scenes.append(scene.replace(instances=things))
        return scenes


class KeypointHead(nn.Module):
    """3x3 convolutions, a 4x4 stride-2 upsampling to one map per keypoint, doubled once more bilinearly."""

    def __init__(self, pooler: RoIPooler, channels: int, width: int, layers: int, joints: int) -> None:
        super().__init__()
        self.pooler, self.joints = pooler, joints
        self.resolution = pooler.resolution * 4
        self.convs = nn.ModuleList(ConvReLU(channels if i == 0 else width, width, 3, padding=1) for i in range(layers))
        self.upsample = nn.ConvTranspose2d(width if layers else channels, joints, 4, 2, 1)
        for layer in (*self.convs, self.upsample):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """RoIs [R, 5] to logits [R, J, 4 S, 4 S]."""
        x = self.pooler(features, fill_up(rois))
        for conv in self.convs:
            x = conv(x)
        return F.interpolate(self.upsample(x)[: rois.shape[0]], scale_factor=2, mode="bilinear", align_corners=False)
