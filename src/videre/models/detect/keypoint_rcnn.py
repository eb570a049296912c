"""Keypoint R-CNN: Faster R-CNN and, for each thing it finds, where its keypoints are.

He et al., Mask R-CNN, 2017, section 5: each keypoint is a one-hot map, trained by a softmax over the map's cells.
Sizes, targets and decoding are torchvision's `keypointrcnn_resnet50_fpn`, whose weights load by name; any `Skeleton`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.box_head import deployed_boxes
from videre.layers.conv import ConvReLU
from videre.layers.losses import mean_count
from videre.layers.roi_pooler import RoIPooler, fill_up
from videre.layers.roi_targets import BoxTarget, Samples
from videre.models.base import Model, Outputs, Rows
from videre.models.detect.faster_rcnn import FasterRCNN
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

    accepts = frozenset[str]()
    needs = frozenset({"boxes", "instances.labels", "keypoints", "visibility"})
    gives = frozenset({"boxes", "instances.labels", "scores", "keypoints", "keypoint_scores"})
    mixes_formats = True
    inner_systems = {"detector": "faster-rcnn"}  # noqa: RUF012 - never changed

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
        super().__init__(schema, preprocess)
        if schema.skeleton is None:
            raise ConfigError("Keypoint R-CNN finds keypoints: the schema must name them (schema.skeleton)")
        self.detector = FasterRCNN(schema, self.preprocess, **detector)
        self.limits = self.detector.limits
        pooler, neck = self.detector.box_head.pooler.at(keypoint_resolution), self.detector.neck
        width = keypoint_width or neck.width * (2 if neck.width >= 256 else 1)
        self.keypoint_head = KeypointHead(pooler, neck.width, width, keypoint_layers, len(schema.skeleton))

    def forward(self, batch: ImageBatch) -> Outputs:
        """As Faster R-CNN, and keypoints [D, J, 2] in the batch's frame with keypoint_scores [D, J]."""
        features = self.detector.features(batch.image)
        found = self.detector.detect(features, batch, self.limits)
        rois = torch.cat([found["picture"].to(found["boxes"].dtype)[:, None], found["boxes"]], dim=1)
        maps = self.keypoint_head(features, rois)
        found["keypoints"], found["keypoint_scores"] = decode_keypoints(maps.float(), found["boxes"])
        return found

    def target(self, truth: Scene) -> KeypointTarget:
        """The true boxes that are trained on, with their points."""
        boxes, things = BoxTarget.of(truth), truth.instances
        if things is None or things.keypoints is None or things.visibility is None:
            joints = self.keypoint_head.joints
            return KeypointTarget(boxes, torch.zeros(0, joints, 2), torch.zeros(0, joints, dtype=torch.uint8))
        return KeypointTarget(boxes, things.keypoints[boxes.index], things.visibility[boxes.index])

    def losses(self, batch: ImageBatch, targets: Sequence[KeypointTarget]) -> dict[str, Tensor]:
        """The four of Faster R-CNN, and keypoint: cross-entropy over the cells, mean over labelled keypoints inside."""
        losses, features, samples = self.detector.train_parts(batch, [target.boxes for target in targets])
        maps = self.keypoint_head(features, samples.rois[samples.positive])  # (P, J, S, S)
        cells, valid = self.keypoint_targets(samples, targets)
        total = F.cross_entropy(maps.flatten(2)[valid], cells[valid], reduction="sum") + maps.sum() * 0
        return losses | {"keypoint": total / mean_count(int(valid.sum()), maps)}

    @torch.no_grad()
    def keypoint_targets(self, samples: Samples, targets: Sequence[KeypointTarget]) -> tuple[Tensor, Tensor]:
        """For each positive sample and keypoint the cell y * S + x it lies in, and whether it is labelled and inside."""
        device = samples.rois.device
        point = samples.gather([target.points.to(device) for target in targets])  # (P, J, 2)
        seen = samples.gather([target.visibility.to(device) for target in targets])  # (P, J)
        boxes, side = samples.rois[samples.positive, 1:], self.keypoint_head.resolution
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        cell = torch.floor((point - low) * side / (high - low))
        cell = torch.where(point == high, side - 1, cell).to(torch.int64)  # a point on the far edge is in the last cell
        inside = ((cell >= 0) & (cell < side)).all(dim=2)
        return (cell[..., 1] * side + cell[..., 0]).clamp(min=0, max=side * side - 1), inside & (seen > 0)

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections with keypoints in the pixels of the original pictures."""
        scenes = []
        for i, scene in enumerate(self.detector.postprocess(outputs, batch)):
            of_picture = outputs["picture"] == i
            points = batch.motion(i).inverse().points(outputs["keypoints"][of_picture].float().cpu())
            scores = outputs["keypoint_scores"][of_picture].float().cpu()
            assert isinstance(scene.instances, Instances)
            things = scene.instances.replace_unchecked(keypoints=points, keypoint_scores=scores)
            scenes.append(scene.replace_unchecked(instances=things))
        return scenes

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """As Faster R-CNN, and keypoints [D, J, 3]: x, y and score."""
        results, back = deployed_boxes(outputs, batch)
        points = torch.cat([outputs["keypoints"] * back, outputs["keypoint_scores"][:, :, None]], dim=2)
        return {**results, "keypoints": points}

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the box head, keypoint rows of the keypoint head."""
        boxes = {f"detector.{name}": rows for name, rows in self.detector.named_rows().items()}
        joints = {"weight": Rows("skeleton", axis=1), "bias": Rows("skeleton")}
        return boxes | {f"keypoint_head.upsample.{t}": rows for t, rows in joints.items()}


@dataclasses.dataclass(frozen=True)
class KeypointTarget:
    """The true boxes of one picture that are trained on, T of them, with points [T, J, 2] and visibility [T, J]."""

    boxes: BoxTarget
    points: Tensor
    visibility: Tensor


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
