"""One object a picture, or a fixed number of them: classes as a classifier tells them, boxes as numbers that are regressed.

The form of AlexNet's, OverFeat's and VGG's localisation (Sermanet et al., 2014; Simonyan & Zisserman, 2015) and of DeepPose: a trunk,
its last map pooled to a few cells, and two heads on it. A box is (x, y, width, height), the middle and the sides as shares of the
picture; its loss is the squared distance, of the true class alone where each class has a box of its own. The two losses are summed
with a weight. Several objects need an order, so that each output knows which is its own.

    model = SingleObject(Schema(things=Categories.of(["ant", "bee"])), backbone="mobilenet_v2")
    losses = model.losses(batch, targets)         # "class", "box"
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import backbone_of
from videre.errors import ConfigError
from videre.layers.box_head import as_scenes
from videre.layers.losses import mean_count
from videre.layers.roi_targets import BoxTarget
from videre.models.base import Model, Outputs, Rows
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.limits import Limits

GUESSES = 5
"""Classes that are guessed of a single object, each with its box, as ILSVRC counts them."""
ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "largest": lambda boxes: -(boxes[:, 2:] - boxes[:, :2]).prod(1),
    "left": lambda boxes: boxes[:, 0] + boxes[:, 2],
    "top": lambda boxes: boxes[:, 1] + boxes[:, 3],
}
"""Which object comes first: the largest, the leftmost, the topmost."""


class SingleObject(Model):
    """A class and a box for each of a fixed number of objects.

    Args:
        schema: needs `things`.
        preprocess: None: stretched to 224x224, ImageNet normalisation. The heads read a map of one size: pictures are stretched.
        backbone: a name of `videre.backbones`. norm, padding, norm_eps (None: as published), multiplier: of the backbone.
        objects: how many there are a picture. A picture with more trains on the first ones by `order`, which is said before
            the training; outputs beyond those that it has say "nothing".
        order: "largest", "left" or "top" first.
        class_boxes: a box for each class (per-class regression), of which only the true class's learns; else one for all.
        box_weight: of the box's loss beside the class's. Choose it by a metric: the sum has no meaning of its own.
        cells: a side of what the last map is pooled to. hidden: width of a fully connected layer under the boxes; 0: none.
    """

    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})
    headline = ("localisation top-1", "localisation top-5")
    recipe: ClassVar[Mapping[str, Any]] = {"lr": 1e-4}  # at five times that a pretrained trunk forgets its classes
    usual = Preprocess(size=(224, 224))

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
        objects: int = 1,
        order: str = "largest",
        class_boxes: bool = False,
        box_weight: float = 10.0,
        cells: int = 4,
        hidden: int = 512,
    ) -> None:
        super().__init__(schema, preprocess)
        if schema.things is None:
            raise ConfigError("single-object finds things: the schema must name their categories (schema.things)")
        for name, value, least in (
            ("objects", objects, 1),
            ("cells", cells, 1),
            ("hidden", hidden, 0),
            ("box_weight", box_weight, 0),
        ):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, found {value}")
        if order not in ORDERS:
            raise ConfigError(f"order must be one of {', '.join(ORDERS)}, found {order!r}")
        self.objects, self.order, self.box_weight, self.cells = objects, order, box_weight, cells
        self.classes, self.boxes_each = len(schema.things), len(schema.things) if class_boxes else 1
        self.limits = Limits(0.0, GUESSES if objects == 1 else objects)
        self.backbone = backbone_of(
            backbone,
            channels=len(self.preprocess.mean),
            norm=norm,
            padding=padding,
            norm_eps=norm_eps,
            multiplier=multiplier,
        )
        self.last = max(self.backbone.channels)
        width = self.backbone.channels[self.last]
        self.scores = nn.Linear(width, objects * (self.classes + 1))
        inputs = width * cells**2
        layers: list[nn.Module] = [nn.Linear(inputs, hidden), nn.ReLU()] if hidden else []
        self.deltas = nn.Sequential(*layers, nn.Linear(hidden or inputs, objects * self.boxes_each * 4))
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.zeros_(self.scores.bias)
        final = self.deltas[-1]
        assert isinstance(final, nn.Linear)
        nn.init.normal_(final.weight, std=0.001)
        nn.init.constant_(final.bias, 0.5)  # the middle half of the picture

    def forward(self, batch: ImageBatch) -> Outputs:
        """ "logits" [B, M, K + 1] (nothing last), and "boxes" [B, M, K or 1, 4]: middle and sides as shares of the picture."""
        features = self.backbone(batch.image)[self.last]
        logits = self.scores(features.mean((2, 3))).view(-1, self.objects, self.classes + 1)
        pooled = F.adaptive_avg_pool2d(features, self.cells).flatten(1)
        return {"logits": logits, "boxes": self.deltas(pooled).view(-1, self.objects, self.boxes_each, 4)}

    def target(self, truth: Scene) -> tuple[Tensor, Tensor]:
        """Labels [M], K for nothing, and boxes [M, 4] as shares of the picture, of the objects that are trained on."""
        found, (height, width) = BoxTarget.of(truth), truth.size
        first = ORDERS[self.order](found.boxes).argsort(stable=True)[: self.objects]
        labels = torch.full((self.objects,), self.classes)
        boxes = torch.zeros(self.objects, 4)
        labels[: len(first)] = found.labels[first]
        corners = found.boxes[first] / torch.tensor([width, height, width, height])
        boxes[: len(first)] = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
        return labels, boxes

    def losses(self, batch: ImageBatch, targets: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """class: cross-entropy of every output; box: squared distance of those that have an object."""
        outputs, device = self.forward(batch), batch.image.device
        labels = torch.stack([label for label, _ in targets]).to(device)
        goals = torch.stack([box for _, box in targets]).to(device)
        logits = outputs["logits"].float()
        classification = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        there = labels < self.classes
        index = labels.clamp(max=self.classes - 1) if self.boxes_each > 1 else torch.zeros_like(labels)
        boxes = outputs["boxes"].float().gather(2, index[:, :, None, None].expand(-1, -1, 1, 4))[:, :, 0]
        distance = ((boxes - goals)[there] ** 2).sum() + outputs["boxes"].sum() * 0
        return {
            "class": classification / mean_count(labels.numel(), logits),
            "box": self.box_weight * distance / mean_count(int(there.sum()), logits),
        }

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Of a single object the five likeliest classes, each with its box; of several the likeliest of each."""
        probabilities, parts = outputs["logits"].float().softmax(2)[:, :, :-1], []
        guesses = min(GUESSES if self.objects == 1 else 1, self.classes)
        for i, (height, width) in enumerate(batch.sizes):
            scores, labels = probabilities[i].topk(guesses, 1)
            index = labels if self.boxes_each > 1 else torch.zeros_like(labels)
            shares = outputs["boxes"][i].float().gather(1, index[:, :, None].expand(-1, -1, 4)).flatten(0, 1)
            half = shares[:, 2:].clamp(min=1e-3) / 2
            corners = torch.cat([shares[:, :2] - half, shares[:, :2] + half], 1)
            boxes = corners * torch.tensor([width, height, width, height], device=corners.device)
            rows = scores.flatten().argsort(descending=True, stable=True)
            rows = rows[scores.flatten()[rows] > self.limits.score_threshold][: self.limits.max_detections]
            parts.append((boxes[rows], scores.flatten()[rows], labels.flatten()[rows], torch.full_like(rows, i)))
        boxes, kept, of, picture = (torch.cat(part) for part in zip(*parts))
        return as_scenes({"boxes": boxes, "scores": kept, "labels": of, "picture": picture}, batch)

    def decide(self, scene: Scene, threshold: float | None = None) -> Scene:
        """Of a single object the best guess; with a threshold, or of several objects, those that reach it."""
        if self.objects > 1 or threshold is not None or len(scene) == 0:
            return super().decide(scene, threshold)
        assert scene.instances is not None and scene.instances.scores is not None
        return scene.select(scene.instances.scores.argmax()[None])

    def notes(self, truths: Iterable[Scene]) -> list[str]:
        """How many pictures have more objects than are trained on."""
        counts = [len(BoxTarget.of(truth).labels) for truth in truths]
        more = sum(count > self.objects for count in counts)
        first = "the first" if self.objects == 1 else f"the first {self.objects}"
        return (
            [f"{more} of {len(counts)} pictures have more things: {first} by order={self.order} are trained on"]
            if more
            else []
        )

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the scores, where there is one object; background is the row after them."""
        names = {"scores.weight": Rows("things"), "scores.bias": Rows("things")}
        return names if self.objects == 1 else {}
