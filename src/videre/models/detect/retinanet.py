"""RetinaNet: one net says at every place of a pyramid, for nine anchors, which class is there and where exactly.

Lin et al., Focal Loss for Dense Object Detection, 2017. Of a hundred thousand anchors nearly all are background and easy; the focal loss
keeps them from drowning the others, so that nothing is sampled. Sizes, thresholds and losses are torchvision's
`retinanet_resnet50_fpn_v2` and, with `head_norm="none"`, `last_levels="p5"` and `box_loss="l1"`, its first version, the paper's but
for the last levels; the weights of both load by name. There is no background class: each class is a yes or no of its own.

    model = RetinaNet(Schema(things=Categories.of(["cell"])), backbone="mobilenet_v2")
    losses = model.losses(batch, truths)          # "class", "box"
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import LIGHT, backbone_of
from videre.errors import ConfigError
from videre.layers.anchors import Anchors
from videre.layers.assignments import Assignment
from videre.layers.box_head import as_scenes, deployed_boxes
from videre.layers.conv import conv_block
from videre.layers.detections import as_outputs, best_pairs, detections_of
from videre.layers.fpn import FeaturePyramid
from videre.layers.losses import focal_loss
from videre.layers.matcher import IGNORED, assign, ignore_covered
from videre.layers.roi_targets import BoxTarget
from videre.models.base import Model, Outputs, Rows
from videre.models.detect.ranges import check_ranges
from videre.ops.boxes import box_iou, decode_boxes, encode_boxes, paired_giou
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits

BEST_OF_LEVEL = 1000
"""Candidates of each level that are decoded (torchvision, detectron2)."""
PRIOR = 0.01
"""What every class says of every anchor at first: without it the many anchors that hold nothing diverge (section 4.1)."""
LAST_LEVELS = ("p5", "c5")
BOX_LOSSES = ("l1", "giou")


class RetinaNet(Model):
    """Boxes and classes of things, in one stage, from anchors.

    Args:
        schema: needs `things`. preprocess: None: short side 800, long side at most 1333, ImageNet normalisation.
        backbone: a name of `videre.backbones`. norm, padding, norm_eps (None: as published), multiplier (of its widths): of it.
        strides: backbone maps used, finest first; two more levels follow, of twice and four times the last stride.
        last_levels: what these are made of: the pyramid's last map, "p5" (torchvision's first version), or the backbone's, "c5" (the
            paper, detectron2).
        width: channels of pyramid and head; None: 256, or 128 for a light backbone. layers: convolutions of each of the two towers.
        fpn_norm, head_norm: norms of the pyramid's and the towers' convolutions. Without one in the towers, whose weights begin small, a
            short training leaves the classes behind (docs/compare.md).
        anchor_sizes: one a level. octaves: sizes a level, 2 ** (i / octaves) times that. anchor_ratios: height / width.
        low, high: an anchor is background below the first IoU, a thing from the second; between, it does not count.
        alpha, gamma: of the focal loss. box_loss: "l1" of the deltas, or "giou" of the boxes.
        score_threshold: least score of the predictions kept. nms: IoU from which the weaker of two detections of a class goes.
        max_detections: most predictions kept a picture.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    mixes_formats = True
    recipe_from_weights: ClassVar[Mapping[str, Any]] = {"backbone_lr": 0.2}

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
        strides: Sequence[int] = (8, 16, 32),
        last_levels: str = "c5",
        width: int | None = None,
        layers: int = 4,
        fpn_norm: str = "none",
        head_norm: str = "group",
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        octaves: int = 3,
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        low: float = 0.4,
        high: float = 0.5,
        alpha: float = 0.25,
        gamma: float = 2.0,
        box_loss: str = "giou",
        score_threshold: float = 0.05,
        nms: float = 0.5,
        max_detections: int = 300,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        self.limits = Limits(score_threshold, max_detections)
        if schema.things is None:
            raise ConfigError("RetinaNet finds things: the schema must name their categories (schema.things)")
        for name, value, known in (("last_levels", last_levels, LAST_LEVELS), ("box_loss", box_loss, BOX_LOSSES)):
            if value not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, found {value!r}")
        if any(b != 2 * a for a, b in itertools.pairwise(strides)):
            raise ConfigError(f"strides must each be twice the one before, found {list(strides)}")
        if len(anchor_sizes) != len(strides) + 2:
            raise ConfigError(
                f"{len(strides)} strides and the two levels after them need {len(strides) + 2} anchor sizes, "
                f"found {list(anchor_sizes)}"
            )
        if low > high:
            raise ConfigError(f"low must be at most high, found {low} and {high}")
        self.low, self.high, self.alpha, self.gamma = low, high, alpha, gamma
        self.box_loss, self.nms, self.last_levels, self.strides = box_loss, nms, last_levels, tuple(strides)
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
        width = width or (128 if backbone in LIGHT else 256)
        self.neck = FeaturePyramid(channels, width, fpn_norm, extra=False)
        self.p6 = nn.Conv2d(width if last_levels == "p5" else channels[max(strides)], width, 3, 2, 1)
        self.p7 = nn.Conv2d(width, width, 3, 2, 1)
        for level in (self.p6, self.p7):
            nn.init.kaiming_uniform_(level.weight, a=1)
            nn.init.zeros_(level.bias)  # type: ignore[arg-type]
        # whole pixels, as torchvision's
        sizes = [[float(int(size * 2 ** (i / octaves))) for i in range(octaves)] for size in anchor_sizes]
        self.anchors = Anchors(sizes, anchor_ratios)
        self.head = RetinaHead(width, layers, head_norm, self.anchors.per_cell[0], len(schema.things))

    def features(self, image: Tensor) -> list[Tensor]:
        """Pictures [B, C, H, W] to pyramid maps, finest first."""
        maps = self.backbone(image)
        levels = self.neck([maps[stride] for stride in self.strides])
        six = self.p6(levels[-1] if self.last_levels == "p5" else maps[self.strides[-1]])
        return [*levels, six, self.p7(F.relu(six))]

    def anchors_of(self, features: Sequence[Tensor], batch: ImageBatch) -> list[Tensor]:
        """Anchors [A, 4] of each level."""
        grids = [(x.shape[2], x.shape[3]) for x in features]
        return self.anchors(tuple(batch.image.shape[2:]), grids, features[0].device)

    def forward(self, batch: ImageBatch) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        features = self.features(batch.image)
        logits, deltas = self.head(features)
        anchors = self.anchors_of(features, batch)
        found = []
        for i, size in enumerate(batch.sizes):
            candidates = []
            for level, anchor in enumerate(anchors):
                scores = logits[level][i].float().sigmoid()
                index, label, score = best_pairs(scores, self.limits.score_threshold, BEST_OF_LEVEL)
                candidates.append((decode_boxes(deltas[level][i, index].float(), anchor[index]), score, label))
            boxes, scores, labels = (torch.cat(parts) for parts in zip(*candidates, strict=True))
            found.append(detections_of(boxes, scores, labels, size, self.nms, self.limits))
        return as_outputs(found)

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def match(self, anchors: Tensor, target: BoxTarget) -> Tensor:
        """The true box [A] of each anchor, `NEGATIVE` or `IGNORED`; the anchors that fit a thing best are its in any case."""
        matched = assign(box_iou(target.boxes, anchors), self.low, self.high, keep_best=True)
        return ignore_covered(matched, anchors, target.ignored)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """Focal loss of all anchors, and of those that have a thing the loss of the box; each a sum over a picture, divided by its
        anchors that have one; the mean over pictures (torchvision's; the paper divides by the positives of the batch)."""
        features = self.features(batch.image)
        levels, moves = self.head(features)
        anchors = torch.cat(self.anchors_of(features, batch))
        logits, deltas = torch.cat(levels, 1), torch.cat(moves, 1)
        classes, boxes = logits.sum() * 0, deltas.sum() * 0
        for i, target in enumerate(targets):
            target = target.to(anchors.device)
            matched = self.match(anchors, target)
            positive = (matched >= 0).nonzero().flatten()
            truth = torch.zeros_like(logits[i])
            truth[positive, target.labels[matched[positive]]] = 1
            counts = matched != IGNORED
            total = max(1, len(positive))
            classes = classes + focal_loss(logits[i][counts], truth[counts], self.alpha, self.gamma) / total
            boxes = (
                boxes + self._box_loss(deltas[i, positive], anchors[positive], target.boxes[matched[positive]]) / total
            )
        return {"class": classes / len(targets), "box": boxes / len(targets)}

    def _box_loss(self, deltas: Tensor, anchors: Tensor, truth: Tensor) -> Tensor:
        if self.box_loss == "l1":
            return F.l1_loss(deltas, encode_boxes(truth, anchors), reduction="sum")
        return (1 - paired_giou(decode_boxes(deltas, anchors), truth)).sum()

    @torch.no_grad()
    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: what the anchors are trained on."""
        anchors = torch.cat(self.anchors_of(self.features(batch.image), batch))
        rule = f"positive from IoU {self.high:g}, and the best of each thing, negative below {self.low:g}"
        return [Assignment.whole("anchors", anchors, self.match(anchors, targets[0]), targets[0], rule)]

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """boxes [D, 4], scores [D], labels [D]."""
        return deployed_boxes(outputs, batch)[0]

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the head, for each anchor of a cell."""
        return {f"head.logits.{t}": Rows("things", groups=self.anchors.per_cell[0]) for t in ("weight", "bias")}


class RetinaHead(nn.Module):
    """Two towers of convolutions, which all levels share: one says the classes of each anchor, one moves its box.

    Args:
        width: channels of the maps. layers: of a tower. norm: of its convolutions. per_cell: anchors, A. classes: K.
    """

    def __init__(self, width: int, layers: int, norm: str, per_cell: int, classes: int) -> None:
        super().__init__()
        tower = lambda: nn.Sequential(*(conv_block(width, width, 3, norm=norm) for _ in range(layers)))
        self.class_tower, self.box_tower = tower(), tower()
        self.logits = nn.Conv2d(width, per_cell * classes, 3, padding=1)
        self.deltas = nn.Conv2d(width, per_cell * 4, 3, padding=1)
        self.classes = classes
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(m.weight, std=0.01)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        nn.init.constant_(self.logits.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level the logits [B, H * W * A, K] and the deltas [B, H * W * A, 4]."""
        cells = lambda x, each: x.permute(0, 2, 3, 1).reshape(
            x.shape[0], -1, each
        )  # (B, A * each, H, W) -> (B, anchors, each)
        logits = [cells(self.logits(self.class_tower(x)), self.classes) for x in features]
        deltas = [cells(self.deltas(self.box_tower(x)), 4) for x in features]
        return logits, deltas
