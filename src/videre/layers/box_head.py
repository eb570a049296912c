"""The second stage of a detector: what each proposal is, and where exactly.

Girshick, Fast R-CNN, 2015; constants are torchvision's `fasterrcnn_resnet50_fpn`. Background is the last class column and never a
label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.assignments import Assignment
from videre.layers.detections import as_outputs, best_pairs, detections_of
from videre.layers.hard_negatives import hardest
from videre.layers.losses import mean_count, smooth_l1
from videre.layers.roi_pooler import RoIPooler, fill_up
from videre.layers.roi_targets import BoxTarget, Samples, match_proposals, sample_proposals, to_rois
from videre.layers.rpn import RPN
from videre.ops.boxes import clip_boxes, decode_boxes, encode_boxes
from videre.structures import Categories, ImageBatch, Instances, Scene
from videre.structures.limits import Limits

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Scales of the box head's regression targets (1 / their typical spread); the RPN's are 1."""
FEW_SIZES = 40
"""Proposals are filled up to a multiple of this, of which the usual thousand is one; see `fill_up`."""


def linear(inputs: int, outputs: int, rank: int = 0) -> nn.Module:
    """A fully connected layer; of a rank it is two, the first without a bias (Fast R-CNN section 3.1)."""
    if not rank:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


def truncate(layer: nn.Linear, rank: int) -> dict[str, Tensor]:
    """The weights of `linear(…, rank)` that are nearest to a layer's: its `rank` largest singular values."""
    u, s, v = torch.linalg.svd(layer.weight.detach().double(), full_matrices=False)
    first, second = s[:rank, None] * v[:rank], u[:, :rank]
    found = {"0.weight": first.to(layer.weight.dtype), "1.weight": second.to(layer.weight.dtype)}
    return found if layer.bias is None else found | {"1.bias": layer.bias.detach()}


class TwoLayers(nn.Module):
    """Flatten, then two fully connected layers with ReLU.

    Args:
        ranks: of each layer the singular values that are kept, 0: all; see `truncate`.
    """

    def __init__(self, inputs: int, width: int, ranks: Sequence[int] = (0, 0)) -> None:
        super().__init__()
        self.width = width
        self.fc1 = linear(inputs, width, ranks[0])
        self.fc2 = linear(width, width, ranks[1])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))


class RegionHead(nn.Module):
    """What is the same of every second stage: which proposals train it, its losses, its detections. `forward` says of RoIs [R, 5] on
    maps the class logits [R, K + 1], background last, and the deltas [R, K, 4].

    Args:
        classes: K.
        batch, positive: proposals sampled a picture in training, share of positives.
        class_weights: K + 1 numbers. background_low: least overlap of a negative with a true box (Fast R-CNN's hard ones: .1).
        beta: of smooth L1.
        hard: of the sampled proposals of a picture so many train, those whose loss is largest (OHEM); 0: all of them.
    """

    class_weights: Tensor

    def __init__(
        self,
        classes: int,
        *,
        batch: int,
        positive: float,
        nms_threshold: float,
        class_weights: Sequence[float],
        background_low: float = 0.0,
        beta: float = 1 / 9,
        hard: int = 0,
    ) -> None:
        super().__init__()
        self.background_low, self.beta, self.hard = background_low, beta, hard
        self.classes, self.batch, self.positive, self.nms_threshold = classes, batch, positive, nms_threshold
        self.register_buffer("class_weights", torch.tensor(class_weights), persistent=False)

    def sample(
        self, proposals: list[Tensor], targets: Sequence[BoxTarget], generators: list[torch.Generator]
    ) -> Samples:
        """Proposals and true boxes to train on: at least half overlap is positive, less is background."""
        return sample_proposals(
            proposals, targets, generators, self.classes, self.batch, self.positive, self.background_low
        )

    def assignment(self, proposals: Tensor, target: BoxTarget, generator: torch.Generator) -> Assignment:
        """What the proposals [P, 4] of a picture, and its true boxes, are trained on."""
        boxes = torch.cat([proposals, target.boxes])
        matches = match_proposals(boxes, target, self.background_low)
        low = f", ignored below {self.background_low:g}" if self.background_low else ""
        rule = f"positive from IoU .5, else negative{low}"
        if self.hard:
            return Assignment.whole(
                "proposals", boxes, matches, target, f"{rule}; the {self.hard} of the largest loss train"
            )
        return Assignment.of("proposals", boxes, matches, target, generator, self.batch, self.positive, rule)

    def losses(self, features: Sequence[Tensor], samples: Samples, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """Cross-entropy over the classes, and smooth L1 of the true class's deltas for the positives."""
        logits, deltas = self(features, samples.rois)
        if self.hard:
            return self._hard_losses(logits, deltas, samples, targets)
        total = mean_count(self.class_weights[samples.labels].sum().item(), logits)
        classification = F.cross_entropy(logits, samples.labels, self.class_weights, reduction="sum") / total
        positive = samples.positive
        truth = samples.gather([t.boxes for t in targets])
        goal = encode_boxes(truth, samples.rois[positive, 1:], BOX_WEIGHTS)
        box = smooth_l1(deltas[positive, samples.labels[positive]], goal, self.beta) + deltas.sum() * 0
        return {"class": classification, "box": box / mean_count(len(samples.rois), logits)}

    def _hard_losses(
        self, logits: Tensor, deltas: Tensor, samples: Samples, targets: Sequence[BoxTarget]
    ) -> dict[str, Tensor]:
        """The same over the proposals of each picture whose loss, class and box together, is largest."""
        entropy = F.cross_entropy(logits, samples.labels, self.class_weights, reduction="none")
        positive = samples.positive
        goal = encode_boxes(samples.gather([t.boxes for t in targets]), samples.rois[positive, 1:], BOX_WEIGHTS)
        moved = deltas[positive, samples.labels[positive]]
        each = F.smooth_l1_loss(moved, goal, beta=self.beta, reduction="none").sum(1)
        box = torch.zeros_like(entropy).index_put((positive,), each) + deltas.sum() * 0
        chosen = hardest(entropy + box, samples.sizes, self.hard)
        total = mean_count(len(chosen), logits)
        return {"class": entropy[chosen].sum() / total, "box": box[chosen].sum() / total}

    def detect(
        self, features: Sequence[Tensor], proposals: list[Tensor], batch: ImageBatch, limits: Limits
    ) -> dict[str, Any]:
        """Detections of all pictures: those above the score threshold, after NMS within each class, the best ones."""
        rois = torch.cat([to_rois(boxes, i) for i, boxes in enumerate(proposals)])
        sizes = [boxes.shape[0] for boxes in proposals]
        logits, deltas = (rows[: rois.shape[0]] for rows in self(features, fill_up(rois, FEW_SIZES)))
        scores = logits.float().softmax(dim=1)[:, :-1].split(sizes)
        moves = deltas.float().split(sizes)
        found = []
        for i, size in enumerate(batch.sizes):
            proposal, label, score = best_pairs(scores[i], limits.score_threshold)
            box = decode_boxes(moves[i][proposal, label], proposals[i][proposal], BOX_WEIGHTS)
            found.append(detections_of(box, score, label, size, self.nms_threshold, limits))
        return as_outputs(found)


class BoxHead(RegionHead):
    """Reads each proposal's features, says which class it is, and moves its box.

    Args:
        pooler: from maps and RoIs to [R, C, S, S]. body: from that to [R, width].
        classes: K; the logits have K + 1 columns, background last. class_boxes: one way of moving a box for each class, else one for
            all. settings: of `RegionHead`.
    """

    def __init__(
        self, pooler: RoIPooler, body: nn.Module, width: int, classes: int, class_boxes: bool = True, **settings: Any
    ) -> None:
        super().__init__(classes, **settings)
        self.pooler, self.body = pooler, body
        self.scores = nn.Linear(width, classes + 1)
        self.deltas = nn.Linear(width, (classes if class_boxes else 1) * 4)

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """RoIs [R, 5] to class logits [R, K + 1] and deltas [R, K, 4]."""
        hidden = self.body(self.pooler(features, rois))
        return self.scores(hidden), self.deltas(hidden).unflatten(1, (-1, 4)).expand(-1, self.classes, 4)

    def named_rows(self, prefix: str) -> dict[str, int]:
        """Rows a class takes in each tensor of the head, by its name in the state dict of what holds it as `prefix`."""
        layers = (("scores", 1), ("deltas", 4)) if self.deltas.out_features == 4 * self.classes else (("scores", 1),)
        return {f"{prefix}.{layer}.{t}": each for layer, each in layers for t in ("weight", "bias")}


def two_stage_losses(
    rpn: RPN,
    head: RegionHead,
    features: Sequence[Tensor],
    batch: ImageBatch,
    targets: Sequence[BoxTarget],
    generators: list[torch.Generator],
) -> tuple[dict[str, Tensor], Samples]:
    """rpn_objectness, rpn_box, class and box; and the sampled proposals, for heads that train on the same."""
    losses, proposals = rpn.losses(features, batch, targets, generators)
    samples = head.sample(proposals, targets, generators)
    return losses | head.losses(features, samples, targets), samples


def as_proposals(found: Sequence[tuple[Tensor, Tensor]], batch: ImageBatch) -> list[Scene]:
    """Boxes [P, 4] and scores [P] of each picture as scenes with proposals in the pixels of the original pictures."""
    scenes = []
    for i, ((boxes, scores), size) in enumerate(zip(found, batch.originals, strict=True)):
        own = clip_boxes(batch.motion(i).inverse().boxes(boxes.float().cpu()), size)
        scenes.append(Scene.unchecked(size=size, proposals=own, proposal_scores=scores.float().cpu()))
    return scenes


def as_scenes(outputs: Mapping[str, Any], batch: ImageBatch) -> list[Scene]:
    """Detections in the pixels of the original pictures, clipped to them."""
    scenes = []
    for i, size in enumerate(batch.originals):
        of_picture = outputs["picture"] == i
        boxes = clip_boxes(batch.motion(i).inverse().boxes(outputs["boxes"][of_picture].float().cpu()), size)
        labels, scores = outputs["labels"][of_picture].cpu(), outputs["scores"][of_picture].float().cpu()
        scenes.append(
            Scene.unchecked(size=size, instances=Instances.unchecked(boxes=boxes, labels=labels, scores=scores))
        )
    return scenes


def deployed_boxes(outputs: Mapping[str, Any], batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
    """What `Deployable` asks for, and the factors [2] (x, y) from the batch's frame to the picture."""
    ((height, width),), ((rows, columns),) = batch.originals, batch.sizes
    size = torch.stack([torch.scalar_tensor(width), torch.scalar_tensor(height)])
    back = size / torch.stack([torch.scalar_tensor(columns), torch.scalar_tensor(rows)])
    corners = outputs["boxes"].view(-1, 2, 2) * back
    boxes = torch.minimum(corners.clamp(min=0), size).view(-1, 4)
    return {"boxes": boxes, "scores": outputs["scores"], "labels": outputs["labels"]}, back


def weigh_classes(weights: Mapping[str, float], things: Categories) -> list[float]:
    """A weight per class and one for background, 1 where none is given; ConfigError for a class that does not exist."""
    unknown = sorted(set(weights) - {*things, "background"})
    if unknown:
        raise ConfigError(f"class_weights names {', '.join(unknown)}; there are: {', '.join(things)}, background")
    return [weights.get(name, 1.0) for name in (*things, "background")]
