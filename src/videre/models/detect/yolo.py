"""YOLO: the picture is a grid of 7x7 cells; each says two boxes, how sure it is of them, and which class lies there.

Redmon et al., You Only Look Once: Unified, Real-Time Object Detection, 2016. The convolutions end in two fully connected layers, so that
each cell sees the whole picture. Of the boxes of a cell the one that overlaps the thing most is responsible for it; five parts of a
squared error, the sides under square roots. Constants and order are darknet's (facts: pjreddie/darknet, src/detection_layer.c).

    model = YOLO(Schema(things=Categories.of(["cell"])), backbone="darknet_tiny")
    losses = model.losses(batch, truths)          # the five parts
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from videre.backbones import backbone_of
from videre.backbones.darknet import SLOPE
from videre.errors import ConfigError
from videre.layers.assignments import Assignment
from videre.layers.box_head import as_scenes, deployed_boxes
from videre.layers.conv import conv_block
from videre.layers.detections import as_outputs, best_pairs, detections_of
from videre.layers.matcher import NEGATIVE
from videre.layers.roi_targets import BoxTarget
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.models.detect.ranges import check_ranges
from videre.ops.boxes import paired_iou
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits

STRIDE = 64
"""Pixels of a cell."""
COORDINATES, NOTHING = 5.0, 0.5
"""Weights of the errors of boxes, and of confidence where there is nothing (section 2.2); the others have 1."""


class YOLO(Model):
    """Boxes and classes of things from one look at the whole picture.

    Args:
        schema: needs `things`. preprocess: None: stretched to 448x448; both sides are multiples of 64, and give the grid.
        backbone: "darknet_yolo" (the paper's), "darknet_tiny" (Fast YOLO's), or any that has a map of stride 32. norm, padding, norm_eps
            (None: as published), multiplier (of its widths): of it.
        width: channels of the four convolutions after it (Fast YOLO: two, the second a quarter as wide). hidden: of the fully
            connected layer between (None: 4096, Fast YOLO: none). dropout: after it. head_norm: of these convolutions.
        boxes: that each cell says.
        score_threshold: least score of the predictions kept. nms: IoU from which the weaker of two detections of a class goes.
        max_detections: most predictions kept a picture.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    usual = Preprocess(short_side=None, long_side=None, size=(448, 448), divisor=64)
    recipe: ClassVar[Mapping[str, Any]] = {
        "scale_min": 0.8,
        "scale_max": 1.2,
        "brightness": 0.3,
        "saturation": 0.3,
        "hue": 0.05,
        "lr": 1e-4,
    }
    """A connected layer that reads thousands of numbers moves far at the detectors' usual rate."""
    recipe_from_weights: ClassVar[Mapping[str, Any]] = {"backbone_lr": 0.2}

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "darknet_yolo",
        norm: str = "batch",
        padding: str = "half",
        norm_eps: float | None = None,
        multiplier: float = 1.0,
        width: int = 1024,
        hidden: int | None = None,
        dropout: float = 0.5,
        head_norm: str = "batch",
        boxes: int = 2,
        score_threshold: float = 0.005,
        nms: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(schema, preprocess)
        check_ranges(self.config)
        self.limits, self.nms, self.boxes = Limits(score_threshold, max_detections), nms, boxes
        if schema.things is None:
            raise ConfigError("YOLO finds things: the schema must name their categories (schema.things)")
        size = self.preprocess.size
        if size is None or size[0] % STRIDE or size[1] % STRIDE:
            raise ConfigError(
                f"YOLO's fully connected layers want one size, multiples of {STRIDE} (-o size=[448,448]); found {size}"
            )
        self.grid = (size[0] // STRIDE, size[1] // STRIDE)
        self.classes = len(schema.things)
        self.backbone = backbone_of(
            backbone,
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
        )
        block = partial(conv_block, norm=head_norm, activation=partial(nn.LeakyReLU, SLOPE))
        channels, tiny = self.backbone.channels[32], backbone == "darknet_tiny"
        if tiny:
            last = max(1, width // 4)
            convs = [nn.MaxPool2d(2, 2), block(channels, width, 3), block(width, last, 3)]
        else:
            last = width
            convs = [
                block(channels, width, 3),
                block(width, width, 3, 2),
                block(width, width, 3),
                block(width, width, 3),
            ]
        self.convs = nn.Sequential(*convs)
        inputs = last * self.grid[0] * self.grid[1]
        hidden = (0 if tiny else 4096) if hidden is None else hidden
        self.hidden: nn.Module | None = None
        if hidden:
            self.hidden = nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(SLOPE), nn.Dropout(dropout))
        cells = self.grid[0] * self.grid[1]
        # as darknet lays it out: classes of all cells, confidences of all, boxes of all
        self.classifier = nn.Linear(hidden or inputs, cells * self.classes)
        self.locator = nn.Linear(hidden or inputs, cells * boxes * 5)
        for layer in (self.classifier, self.locator):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():  # boxes of half the picture's side in the middle of their cells, of which nobody is sure
            self.locator.bias.view(cells, boxes, 5)[..., :2] = 0.5
            self.locator.bias.view(cells, boxes, 5)[..., 2:4] = 0.5**0.5

    def look(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each cell the classes [B, S, K], and of each of its boxes confidence [B, S, b] and place [B, S, b, 4]: the middle in the
        cell (x, y), and square roots of width and height as shares of the picture."""
        x = self.convs(self.backbone(image)[32]).flatten(1)
        x = x if self.hidden is None else self.hidden(x)
        cells = self.grid[0] * self.grid[1]
        said = self.locator(x).float().view(-1, cells, self.boxes, 5)
        return self.classifier(x).float().view(-1, cells, self.classes), said[..., 4], said[..., :4]

    def corners(self, places: Tensor) -> Tensor:
        """Places [..., S, b, 4] to boxes (xyxy) as shares of the picture."""
        rows, columns = self.grid
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cell = torch.stack([x, y], -1).view(-1, 1, 2).to(places)
        middle = (places[..., :2] + cell) / torch.tensor([columns, rows]).to(places)
        half = places[..., 2:] ** 2 / 2
        return torch.cat([middle - half, middle + half], -1)

    def forward(self, batch: ImageBatch) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        classes, confidence, places = self.look(batch.image)
        height, width = batch.image.shape[2:]
        boxes = self.corners(places) * torch.tensor([width, height] * 2).to(places)
        scores = (confidence[..., None] * classes[:, :, None]).clamp(0, 1).flatten(1, 2)  # (B, S * b, K)
        found = []
        for i, size in enumerate(batch.sizes):
            index, label, score = best_pairs(scores[i], self.limits.score_threshold)
            found.append(detections_of(boxes[i].flatten(0, 1)[index], score, label, size, self.nms, self.limits))
        return as_outputs(found)

    def target(self, truth: Scene) -> BoxTarget:
        """The true boxes that are trained on."""
        return BoxTarget.of(truth)

    def cells_of(self, target: BoxTarget, size: Sequence[int], generator: torch.Generator) -> Tensor:
        """The true box of each cell [S], or `NEGATIVE`: the one whose middle lies in it, of several the first in a random order."""
        rows, columns = self.grid
        height, width = size
        middle = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
        row = (middle[:, 1] / height * rows).long().clamp(0, rows - 1)
        column = (middle[:, 0] / width * columns).long().clamp(0, columns - 1)
        found = torch.full((rows * columns,), NEGATIVE, dtype=torch.int64)
        for i in torch.randperm(len(middle), generator=generator).flip(0).tolist():
            found[row[i] * columns + column[i]] = i
        return found.to(target.boxes.device)

    def losses(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """The five parts: middles, sides, confidence where there is a thing and where there is none, classes; sums over a picture,
        their mean over pictures."""
        classes, confidence, places = self.look(batch.image)
        whole = tuple(batch.image.shape[2:])
        share = torch.tensor([whole[1], whole[0]] * 2).to(places)
        parts = {name: places.sum() * 0 for name in ("middle", "sides", "confidence", "nothing", "class")}
        for i, (target, generator) in enumerate(zip(targets, picture_generators(batch), strict=True)):
            matched = self.cells_of(target, whole, generator).to(places.device)
            cells = (matched >= 0).nonzero().flatten()
            truth = (target.boxes.to(places.device)[matched[cells]] / share)[:, None].expand(-1, self.boxes, -1)
            boxes = self.corners(places[i])[cells]
            iou = paired_iou(boxes.detach(), truth)
            apart = as_centre(boxes.detach()).sub(as_centre(truth)).square().sum(2)
            # the best overlap, or where nothing overlaps the nearest
            best = torch.where(iou.amax(1) > 0, iou.argmax(1), apart.argmin(1))
            place, want = places[i, cells, best], self.as_places(truth[:, 0], cells)
            sure = confidence[i]
            overlap = iou.gather(1, best[:, None])[:, 0]
            parts["middle"] = parts["middle"] + COORDINATES * (place[:, :2] - want[:, :2]).square().sum()
            parts["sides"] = parts["sides"] + COORDINATES * (place[:, 2:] - want[:, 2:]).square().sum()
            parts["confidence"] = parts["confidence"] + (sure[cells, best] - overlap).square().sum()
            others = torch.ones_like(sure).index_put((cells, best), torch.zeros_like(overlap))
            parts["nothing"] = parts["nothing"] + NOTHING * (others * sure.square()).sum()
            labels = target.labels.to(places.device)[matched[cells]]
            goal = nn.functional.one_hot(labels, self.classes).to(classes)
            parts["class"] = parts["class"] + (classes[i, cells] - goal).square().sum()
        return {name: value / len(targets) for name, value in parts.items()}

    def as_places(self, boxes: Tensor, cells: Tensor) -> Tensor:
        """Boxes [P, 4] (shares of the picture) as cells [P] say them."""
        rows, columns = self.grid
        centre = as_centre(boxes)
        corner = torch.stack([cells % columns, cells // columns], 1)
        middle = centre[:, :2] * torch.tensor([columns, rows]).to(boxes) - corner
        return torch.cat([middle, centre[:, 2:].clamp(min=0).sqrt()], 1)

    def notes(self, truths: Iterable[Scene]) -> list[str]:
        """How many things share their cell with another, which alone is trained on."""
        lost = things = 0
        for truth in truths:
            target = BoxTarget.of(truth)
            things += len(target.boxes)
            lost += len(target.boxes) - int((self.cells_of(target, truth.size, torch.Generator()) >= 0).sum())
        if not lost:
            return []
        return [
            f"{lost} of {things} things share a cell of the {self.grid[0]}x{self.grid[1]} grid with another, which is trained on"
        ]

    @torch.no_grad()
    def assignments(self, batch: ImageBatch, targets: Sequence[BoxTarget]) -> list[Assignment]:
        """Of the first picture: the cells, each with the thing whose middle lies in it."""
        rows, columns = self.grid
        height, width = batch.image.shape[2:]
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        low = torch.stack([x * width / columns, y * height / rows], -1).view(-1, 2)
        cells = torch.cat([low, low + torch.tensor([width / columns, height / rows])], 1).to(batch.image.device)
        matched = self.cells_of(targets[0], (height, width), picture_generators(batch)[0])
        rule = "positive where the middle of a thing lies, of several things one at random; else negative"
        return [Assignment.whole("cells", cells, matched, targets[0], rule)]

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        return as_scenes(outputs, batch)

    def deployed(self, outputs: Outputs, batch: ImageBatch) -> dict[str, Tensor]:
        """boxes [D, 4], scores [D], labels [D]."""
        return deployed_boxes(outputs, batch)[0]

    def named_rows(self) -> dict[str, Rows]:
        """Class rows, for each cell."""
        cells = self.grid[0] * self.grid[1]
        return {f"classifier.{t}": Rows("things", groups=cells) for t in ("weight", "bias")}


def as_centre(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] (xyxy) as middle, width and height."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)
