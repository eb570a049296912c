"""YOLOX: every cell of three maps says whether a thing is there, which, and its box, without anchors.

Ge et al., YOLOX: Exceeding YOLO Series in 2021: CSPDarknet, path aggregation, a head of two branches, truths given to places by SimOTA.
Trained on mosaics and mixed pictures, the last tenth on plain ones with an L1 loss more. There is no background class. The released
code's weights load by name (`read_released`).

    model = YOLOX(Schema(things=Categories.of(["cell"])), variant="nano")
    losses = model.losses(batch, truths)          # "box", "objectness", "class"
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import backbone_of
from videre.backbones.cspdarknet import VARIANTS
from videre.errors import ConfigError, WeightsError
from videre.layers.assignments import Assignment
from videre.layers.box_head import as_scenes, deployed_boxes
from videre.layers.csp import silu_block, wide_block
from videre.layers.detections import as_outputs, best_pairs, detections_of
from videre.layers.losses import mean_count
from videre.layers.matcher import IGNORED, ignore_covered
from videre.layers.path_aggregation import PathAggregation
from videre.layers.roi_targets import BoxTarget
from videre.layers.sim_ota import sim_ota
from videre.models.base import Model, Outputs, Rows
from videre.models.detect.ranges import check_ranges
from videre.models.stages import Descent, Stage
from videre.ops.boxes import paired_iou
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits

STRIDES = (8, 16, 32)
PRIOR = 0.01
"""What objectness and every class say at first."""
BOX_WEIGHT = 5.0
"""Of the loss of boxes (the released code)."""
HEAD_WIDTH = 256
WIDTHS = (256, 512, 1024)
"""Channels of the three maps, times the factor of the variant."""
PLAIN = 0.1
"""Share of the training that sees plain pictures, in the end (15 of 300 epochs in the release; of a short training a tenth)."""
PLAIN_RATE = 5e-5
"""Learning rate then: a tenth of the usual one (the release ends at a twentieth)."""
MIXED = ("Mosaic", {"name": "Sometimes", "transform": {"name": "MixUp"}, "probability": 0.5})
LOG_MAX_GROWTH = math.log(1000 / 8)
"""No box is more than so many strides wide."""


class YOLOX(Model):
    """Boxes and classes of things, in one stage, without anchors.

    Args:
        schema: needs `things`. preprocess: None: the long side 640 (nano, tiny: 416 as released), ImageNet normalisation.
        variant: nano, tiny, s, m, l or x: depth and widths of backbone, pyramid and head.
        backbone: None: CSPDarknet of that variant; or any that has maps of strides 8, 16 and 32, which get its widths. norm, padding, norm_eps (None: as
            published), multiplier (of its widths): of it; the norm is the pyramid's and the head's, too ("batch" where the backbone's is
            frozen).
        mosaic: train on mosaics and mixed pictures first.
        score_threshold: least score of the predictions kept. nms: IoU from which the weaker of two detections of a class goes.
        max_detections: most predictions kept a picture.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    mixes_formats = True
    usual = Preprocess(short_side=None, long_side=640, divisor=32)
    recipe: ClassVar[Mapping[str, Any]] = {"brightness": 0.2, "saturation": 0.3, "hue": 0.02}
    recipe_from_weights: ClassVar[Mapping[str, Any]] = {"backbone_lr": 0.2}

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        variant: str = "s",
        backbone: str | None = None,
        norm: str = "batch",
        padding: str = "half",
        norm_eps: float | None = None,
        multiplier: float = 1.0,
        mosaic: bool = True,
        score_threshold: float = 0.01,
        nms: float = 0.65,
        max_detections: int = 100,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        self.limits = Limits(score_threshold, max_detections)
        if schema.things is None:
            raise ConfigError("YOLOX finds things: the schema must name their categories (schema.things)")
        if variant not in VARIANTS:
            raise ConfigError(f"variant must be one of {', '.join(VARIANTS)}, found {variant!r}")
        self.nms, self.mosaic = nms, mosaic
        depth, width, depthwise = VARIANTS[variant]
        self.backbone = backbone_of(
            backbone or f"cspdarknet_{variant}",
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
        )
        if missing := set(STRIDES) - set(self.backbone.channels):
            raise ConfigError(f"backbone {backbone} has no map at stride {', '.join(map(str, sorted(missing)))}")
        # new layers cannot begin with a norm whose statistics stay; nor without one
        own = norm if norm in ("group", "sync") or (norm == "none" and backbone is None) else "batch"
        channels = [self.backbone.channels[stride] for stride in STRIDES]
        self.lateral = nn.ModuleList()
        if backbone is not None and not backbone.startswith("cspdarknet"):  # a classifier's last map may be very wide
            widths = [max(8, round(wide * width * multiplier / 8) * 8) for wide in WIDTHS]
            self.lateral = nn.ModuleList(silu_block(a, b, 1, norm=own) for a, b in zip(channels, widths, strict=True))
            channels = widths
        self.neck = PathAggregation(channels, max(1, round(3 * depth)), depthwise, own)
        head = max(8, round(HEAD_WIDTH * width * multiplier / 8) * 8)
        self.head = YOLOXHead(channels, head, len(schema.things), depthwise, own)

    def look(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Of all places of a batch: class logits [B, M, K], objectness logits [B, M], boxes [B, M, 4] in the batch's frame; the middles
        [M, 2] (x, y) of their cells, and strides [M]."""
        found = self.backbone(image)
        maps = [found[stride] for stride in STRIDES]
        if self.lateral:
            maps = [layer(x) for layer, x in zip(self.lateral, maps, strict=True)]
        classes, objectness, moves, grids = self.head(self.neck(maps))
        corners, strides = [], []
        for (rows, columns), stride in zip(grids, STRIDES, strict=True):
            y, x = torch.arange(rows, device=image.device), torch.arange(columns, device=image.device)
            grid = torch.stack([x.repeat(rows), y.repeat_interleave(columns)], 1)
            corners.append(grid.float() * stride)
            strides.append(torch.full((rows * columns,), float(stride), device=image.device))
        corner, each = torch.cat(corners), torch.cat(strides)
        moves = moves.float()
        middle = moves[..., :2] * each[:, None] + corner
        half = 0.5 * moves[..., 2:].clamp(max=LOG_MAX_GROWTH).exp() * each[:, None]
        boxes = torch.cat([middle - half, middle + half], -1)
        return classes.float(), objectness.float(), boxes, corner + 0.5 * each[:, None], each

    def forward(self, batch: ImageBatch) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        classes, objectness, boxes, _, _ = self.look(batch.image)
        scores = classes.sigmoid() * objectness.sigmoid()[..., None]
        found = []
        for i, size in enumerate(batch.sizes):
            index, label, score = best_pairs(scores[i], self.limits.score_threshold)
            found.append(detections_of(boxes[i, index], score, label, size, self.nms, self.limits))
        return as_outputs(found)

    def stages(self) -> Sequence[Stage]:
        """Mosaics and mixed pictures, then plain ones with the L1 loss of boxes, at a low rate; or ones as they are, alone."""
        if not self.mosaic:
            return super().stages()
        return (
            Descent("mosaic", recipe={"scale_min": 0.5, "scale_max": 1.5, "augment": MIXED}, share=1 - PLAIN),
            Descent("plain", recipe={"lr": PLAIN_RATE}, losses=self._plain_losses, share=PLAIN),
        )

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """Of the places that SimOTA gives a thing: 1 - IoU squared, and cross-entropy of the classes with the overlap as truth; of all
        places cross-entropy of the objectness. Sums, divided by the number of the former in the batch."""
        return self._losses(batch, targets, plain=False)

    def _plain_losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        return self._losses(batch, targets, plain=True)

    def _losses(self, batch: ImageBatch, targets: Sequence[BoxTarget], plain: bool) -> dict[str, Tensor]:
        classes, objectness, boxes, places, strides = self.look(batch.image)
        box, one, of_class, l1 = boxes.sum() * 0, objectness.sum() * 0, classes.sum() * 0, boxes.sum() * 0
        count = 0
        for i, target in enumerate(targets):
            target = target.to(boxes.device)
            scores = classes[i].sigmoid() * objectness[i].sigmoid()[:, None]
            matched, overlap = sim_ota(scores, boxes[i], places, strides, target.boxes, target.labels)
            matched = ignore_covered(matched, cells(places, strides), target.ignored)
            positive = (matched >= 0).nonzero().flatten()
            counts = (matched != IGNORED).to(objectness.dtype)
            one = one + F.binary_cross_entropy_with_logits(
                objectness[i], (matched >= 0).to(objectness.dtype), counts, reduction="sum"
            )
            truth = target.boxes[matched[positive]]
            box = box + (1 - paired_iou(boxes[i, positive], truth) ** 2).sum()
            goal = F.one_hot(target.labels[matched[positive]], classes.shape[2]) * overlap[positive, None]
            of_class = of_class + F.binary_cross_entropy_with_logits(classes[i, positive], goal, reduction="sum")
            if plain:
                l1 = (
                    l1
                    + (
                        as_moves(boxes[i, positive], places, strides, positive)
                        - as_moves(truth, places, strides, positive)
                    )
                    .abs()
                    .sum()
                )
            count += len(positive)
        total = mean_count(count, boxes).clamp(min=1)
        losses = {"box": BOX_WEIGHT * box / total, "objectness": one / total, "class": of_class / total}
        return losses | ({"l1": l1 / total} if plain else {})

    @torch.no_grad()
    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: the cells that SimOTA gives a thing by what the net says of them now."""
        classes, objectness, boxes, places, strides = self.look(batch.image)
        scores = classes[0].sigmoid() * objectness[0].sigmoid()[:, None]
        matched, _ = sim_ota(scores, boxes[0], places, strides, targets[0].boxes, targets[0].labels)
        squares = cells(places, strides)
        rule = "positive where SimOTA's cost is least, as many as the ten best overlaps add up to, else negative"
        return [
            Assignment.whole("cells", squares, ignore_covered(matched, squares, targets[0].ignored), targets[0], rule)
        ]

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """boxes [D, 4], scores [D], labels [D]."""
        return deployed_boxes(outputs, batch)[0]

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the head, on each map."""
        return {f"head.cls_preds.{k}.{t}": Rows("things") for k in range(len(STRIDES)) for t in ("weight", "bias")}


class YOLOXHead(nn.Module):
    """Two branches on each map, one for the classes, one for the box and whether anything is there; the released code's names."""

    def __init__(self, channels: Sequence[int], width: int, classes: int, depthwise: bool, norm: str) -> None:
        super().__init__()
        branch = lambda: nn.Sequential(*(wide_block(width, width, 3, depthwise=depthwise, norm=norm) for _ in range(2)))
        each = lambda make: nn.ModuleList(make() for _ in channels)
        self.stems = nn.ModuleList(silu_block(c, width, 1, norm=norm) for c in channels)
        self.cls_convs, self.reg_convs = each(branch), each(branch)
        self.cls_preds = each(lambda: nn.Conv2d(width, classes, 1))
        self.reg_preds = each(lambda: nn.Conv2d(width, 4, 1))
        self.obj_preds = each(lambda: nn.Conv2d(width, 1, 1))
        for layer in (*self.cls_preds, *self.obj_preds):
            nn.init.constant_(layer.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]:
        """Class logits [B, M, K], objectness logits [B, M], moves [B, M, 4], and the sizes of the maps."""
        classes, objectness, moves, grids = [], [], [], []
        for k, x in enumerate(features):
            x = self.stems[k](x)
            boxes = self.reg_convs[k](x)
            classes.append(self.cls_preds[k](self.cls_convs[k](x)).flatten(2).transpose(1, 2))
            moves.append(self.reg_preds[k](boxes).flatten(2).transpose(1, 2))
            objectness.append(self.obj_preds[k](boxes).flatten(1))
            grids.append((x.shape[2], x.shape[3]))
        return torch.cat(classes, 1), torch.cat(objectness, 1), torch.cat(moves, 1), grids


def cells(places: Tensor, strides: Tensor) -> Tensor:
    """The squares [M, 4] of which the places are the middles."""
    half = strides[:, None] / 2
    return torch.cat([places - half, places + half], 1)


def as_moves(boxes: Tensor, places: Tensor, strides: Tensor, index: Tensor) -> Tensor:
    """Boxes [P, 4] as their places say them: the middle from the cell's corner and the logarithms of the sides, in strides."""
    stride = strides[index, None]
    corner = places[index] - stride / 2
    sides = ((boxes[:, 2:] - boxes[:, :2]) / stride).clamp(min=1e-8)
    return torch.cat([((boxes[:, :2] + boxes[:, 2:]) / 2 - corner) / stride, sides.log()], 1)


def read_released(tensors: Mapping[str, Tensor], model: YOLOX) -> dict[str, Tensor]:
    """The tensors of the released code's weights under our names.

    Raises WeightsError: a tensor without a place, missing, or of another shape.
    """
    own, found = model.state_dict(), {}
    for name, value in tensors.items():
        ours = re.sub(r"^backbone\.(?!backbone\.)", "neck.", name).replace("backbone.backbone.", "backbone.", 1)
        ours = re.sub(r"\.bn\.", ".1.", ours)
        ours = re.sub(r"(\w)\.conv\.(weight|bias)$", r"\1.0.\2", ours)
        if ours not in own or own[ours].shape != value.shape:
            raise WeightsError(f"the file's tensor {name} {tuple(value.shape)} has no place in this YOLOX")
        found[ours] = value
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(f"the file does not fill this YOLOX: {len(missing)} tensors are missing, first {missing[0]}")
    return found
