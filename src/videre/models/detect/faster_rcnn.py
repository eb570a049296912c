"""Faster R-CNN with a feature pyramid.

Ren et al., Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks, 2015; Lin et al., Feature
Pyramid Networks, 2017. Sizes, thresholds and losses are torchvision's `fasterrcnn_resnet50_fpn`, whose weights load
by name; background is the last class column here and never a label. An anchor that no true box touches is never
made positive by the best-match rule (torchvision lets a true box with overlap 0 everywhere claim all such anchors).

    model = FasterRCNN(Schema(things=Categories.of(["cell"])), backbone="mobilenet_v2")
    losses = model.losses(batch, truths)          # four, named as below
    scenes = model.postprocess(model(batch), batch)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import LIGHT, make_backbone, takes
from videre.errors import ConfigError
from videre.layers.anchors import Anchors
from videre.layers.conv import ConvReLU
from videre.layers.fpn import FeaturePyramid
from videre.layers.losses import mean_count, smooth_l1
from videre.layers.matcher import NEGATIVE, ignore_covered, match, sample
from videre.layers.roi_pooler import RoIPooler, fill_up
from videre.models.base import Model, Outputs, Rows, picture_generators
from videre.ops.boxes import box_iou, clip_boxes, decode_boxes, encode_boxes
from videre.ops.nms import nms
from videre.structures import Categories, ImageBatch, Instances, Preprocess, Scene, Schema

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Scales of the box head's regression targets (1 / their typical spread); the RPN's are 1."""

RANGES = {
    "anchor_sizes": (1e-3, math.inf), "anchor_ratios": (1e-3, 1e3), "rpn_pre_nms": (1, math.inf),
    "rpn_post_nms": (1, math.inf), "rpn_nms": (0, 1), "rpn_batch": (1, math.inf), "rpn_positive": (0, 1),
    "roi_batch": (1, math.inf), "roi_positive": (0, 1), "resolution": (1, math.inf), "sampling_ratio": (0, math.inf),
    "score_threshold": (0, 1), "nms": (0, 1), "max_detections": (1, math.inf), "width": (1, math.inf),
    "hidden": (1, math.inf), "class_weights": (0, math.inf), "multiplier": (0.01, 100), "norm_eps": (0, 1),
}  # fmt: skip
"""Least and most of each number of a detector's settings, both allowed."""

FEW_SIZES = 40
"""Proposals are filled up to a multiple of this, of which the usual thousand is one; see `fill_up`."""


class FasterRCNN(Model):
    """Boxes and classes of things, in two stages.

    Args:
        schema: needs `things`.
        preprocess: None: short side 800, long side at most 1333, ImageNet normalisation.
        backbone: a name of `videre.backbones`. norm, padding, norm_eps (None: as published),
            multiplier (of its widths): of the backbone.
        strides: backbone maps used, finest first.
        width: channels of pyramid and RPN; None: 256, or 128 for a light backbone.
        hidden: width of the two fully connected layers; None: 1024, or 512 for a light backbone.
        fpn_norm: norm of the pyramid's convolutions ("none" as published, "group" from scratch).
        anchor_sizes: one per level, the last one for the pyramid's extra level. anchor_ratios: height / width.
        rpn_pre_nms, rpn_post_nms: proposals kept before (per level) and after NMS: (training, prediction).
        rpn_nms, nms: IoU thresholds. rpn_batch, rpn_positive: anchors sampled a picture, share of positives.
        roi_batch, roi_positive: proposals sampled a picture, share of positives.
        resolution, sampling_ratio, aligned: of RoI align.
        score_threshold, max_detections: of the predictions kept for evaluation.
        class_weights: weight of a class in the classification loss, by name ("background" too); 1 where absent.
    """

    needs = frozenset({"boxes"})
    gives = frozenset({"boxes", "scores"})

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
        strides: Sequence[int] = (4, 8, 16, 32),
        width: int | None = None,
        hidden: int | None = None,
        fpn_norm: str = "none",
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn_pre_nms: Sequence[int] = (2000, 1000),
        rpn_post_nms: Sequence[int] = (2000, 1000),
        rpn_nms: float = 0.7,
        rpn_batch: int = 256,
        rpn_positive: float = 0.5,
        roi_batch: int = 512,
        roi_positive: float = 0.25,
        resolution: int = 7,
        sampling_ratio: int = 2,
        aligned: bool = False,
        score_threshold: float = 0.05,
        nms: float = 0.5,
        max_detections: int = 100,
        class_weights: dict[str, float] | None = None,
    ) -> None:
        config = {k: v for k, v in locals().items() if k not in ("self", "schema", "preprocess", "__class__")}
        super().__init__(schema, preprocess or Preprocess(), config)
        check_ranges(config)
        if schema.things is None:
            raise ConfigError("Faster R-CNN finds things: the schema must name their categories (schema.things)")
        if any(b != 2 * a for a, b in itertools.pairwise(strides)):
            raise ConfigError(f"strides must each be twice the one before, found {list(strides)}")
        if len(anchor_sizes) != len(strides) + 1:
            raise ConfigError(f"{len(strides)} strides and the extra level need {len(strides) + 1} anchor sizes, "
                              f"found {list(anchor_sizes)}")  # fmt: skip
        light = backbone in LIGHT
        options: dict[str, Any] = {"norm": norm, "channels": len(self.preprocess.mean)}
        # arguments that not every family of backbones takes are handed on only where they say something
        special = {"multiplier": (multiplier, 1.0), "last": (max(strides), 32), "eps": (norm_eps, None)}
        options |= {name: value for name, (value, plain) in special.items() if value != plain}
        if padding != "half" or takes(backbone, "padding"):
            options["padding"] = padding
        self.backbone = make_backbone(backbone, **options)
        channels = {s: self.backbone.channels[s] for s in strides}
        self.neck = FeaturePyramid(channels, width or (128 if light else 256), fpn_norm)
        self.rpn = RPN(
            self.neck.width, Anchors([[s] for s in anchor_sizes], anchor_ratios),
            pre_nms=rpn_pre_nms, post_nms=rpn_post_nms, nms_threshold=rpn_nms, batch=rpn_batch, positive=rpn_positive,
        )  # fmt: skip
        pooler = RoIPooler(strides, resolution, sampling_ratio, aligned)
        mlp = TwoLayers(self.neck.width * resolution**2, hidden or (512 if light else 1024))
        weights = weigh_classes(class_weights or {}, schema.things)
        self.box_head = BoxHead(
            pooler, mlp, mlp.width, len(schema.things), batch=roi_batch, positive=roi_positive,
            score_threshold=score_threshold, nms_threshold=nms, max_detections=max_detections, class_weights=weights,
        )  # fmt: skip

    def features(self, image: Tensor) -> list[Tensor]:
        """Pictures [B, C, H, W] to pyramid maps, finest first."""
        maps = self.backbone(image)
        return self.neck([maps[stride] for stride in self.config["strides"]])

    def forward(self, batch: ImageBatch, given: Sequence[Scene] | None = None) -> Outputs:
        """Detections of all pictures, best first a picture: boxes [D, 4], scores, labels, and the picture [D] of each."""
        return self.detect(self.features(batch.image), batch)

    def detect(self, features: list[Tensor], batch: ImageBatch) -> Outputs:
        """From features to detections in the batch's frame."""
        return self.box_head.detect(features, self.rpn.propose(features, batch), batch)

    def losses(self, batch: ImageBatch, truths: Sequence[Scene]) -> dict[str, Tensor]:
        """The four losses: rpn_objectness, rpn_box, class, box."""
        return self.train_parts(batch, truths)[0]

    def train_parts(
        self, batch: ImageBatch, truths: Sequence[Scene]
    ) -> tuple[dict[str, Tensor], list[Tensor], Samples]:
        """The four losses, and for the heads that build on this system the features and the sampled proposals."""
        targets = [Target.of(scene, batch.image.device) for scene in truths]
        generators = picture_generators(batch)
        features = self.features(batch.image)
        losses, proposals = self.rpn.losses(features, batch, targets, generators)
        samples = self.box_head.sample(proposals, targets, generators)
        losses |= self.box_head.losses(features, samples, targets)
        return losses, features, samples

    def named_rows(self) -> dict[str, Rows]:
        """Class rows of the box head; background is the row after them."""
        scores, deltas = Rows("things"), Rows("things", each=4)
        return {f"box_head.{n}.{t}": r for n, r in (("scores", scores), ("deltas", deltas)) for t in ("weight", "bias")}

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """Detections in the pixels of the original pictures, clipped to them."""
        scenes = []
        for i, size in enumerate(batch.originals):
            mine = outputs["picture"] == i
            boxes = to_original(outputs["boxes"][mine].float().cpu(), batch, i)
            found = Instances(
                boxes=boxes, labels=outputs["labels"][mine].cpu(), scores=outputs["scores"][mine].float().cpu()
            )
            scenes.append(Scene(size, found))
        return scenes


# the first stage ------------------------------------------------------------------------------------------------------


class RPN(nn.Module):
    """Region proposal network: at every cell of every level, for each anchor, is there a thing, and where exactly.

    Args:
        width: channels of the maps. anchors: laid over the levels.
        pre_nms, post_nms: (training, prediction) counts kept, before NMS a level, after it a picture.
    """

    def __init__(
        self, width: int, anchors: Anchors, *, pre_nms: Sequence[int], post_nms: Sequence[int], nms_threshold: float,
        batch: int, positive: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.anchors = anchors
        self.pre_nms, self.post_nms, self.nms_threshold = pre_nms, post_nms, nms_threshold
        self.batch, self.positive = batch, positive
        per_cell = anchors.per_cell[0]
        self.conv = ConvReLU(width, width, 3, padding=1)
        self.objectness = nn.Conv2d(width, per_cell, 1)
        self.deltas = nn.Conv2d(width, per_cell * 4, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level the objectness logits [B, H * W * A] and box deltas [B, H * W * A, 4]."""
        logits, deltas = [], []
        for x in features:
            hidden = self.conv(x)
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.deltas(hidden).permute(0, 2, 3, 1).reshape(len(x), -1, 4))  # (B, H, W, A * 4) -> boxes
        return logits, deltas

    def propose(self, features: Sequence[Tensor], batch: ImageBatch) -> list[Tensor]:
        """Proposals [P, 4] of each picture, best first."""
        logits, deltas = self(features)
        return self.select(logits, deltas, self.lay(features, batch), batch)

    def lay(self, features: Sequence[Tensor], batch: ImageBatch) -> list[Tensor]:
        """Anchors of each level for this batch."""
        grids = [(x.shape[2], x.shape[3]) for x in features]
        return self.anchors(tuple(batch.image.shape[2:]), grids, features[0].device)

    @torch.no_grad()
    def select(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], batch: ImageBatch
    ) -> list[Tensor]:
        """The best anchors of each level, moved by their deltas, clipped to the picture, thinned by NMS per level."""
        before, after = (n[0 if self.training else 1] for n in (self.pre_nms, self.post_nms))
        proposals = []
        for i, size in enumerate(batch.sizes):
            scores, boxes, levels = [], [], []
            for level, anchor in enumerate(anchors):
                score, index = logits[level][i].topk(torch.sym_min(before, anchor.shape[0]))
                scores.append(score.float())
                boxes.append(decode_boxes(deltas[level][i, index].float(), anchor[index]))
                levels.append(torch.full_like(index, level))
            score, box, level_of = torch.cat(scores), clip_boxes(torch.cat(boxes), size), torch.cat(levels)
            large = ((box[:, 2:] - box[:, :2]) >= 1e-3).all(dim=1)
            score, box, level_of = score[large], box[large], level_of[large]
            proposals.append(box[nms(box, score, self.nms_threshold, level_of)[:after]])
        return proposals

    def losses(
        self,
        features: Sequence[Tensor],
        batch: ImageBatch,
        targets: Sequence[Target],
        generators: list[torch.Generator],
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Objectness and box losses on sampled anchors; and the proposals, through which no gradient flows."""
        logits, deltas = self(features)
        anchors = self.lay(features, batch)
        proposals = self.select(logits, deltas, anchors, batch)
        all_logits, all_deltas, all_anchors = torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(anchors)
        objectness, box = all_logits.sum() * 0, all_deltas.sum() * 0
        count = 0
        for i, target in enumerate(targets):
            matched = match(box_iou(target.boxes, all_anchors), low=0.3, high=0.7, keep_best=True)
            matched = ignore_covered(matched, all_anchors, target.ignored)
            positive, negative = sample(matched, self.batch, self.positive, generators[i])
            chosen = torch.cat([positive, negative])
            is_thing = (matched[chosen] >= 0).to(all_logits.dtype)
            objectness = objectness + F.binary_cross_entropy_with_logits(
                all_logits[i, chosen], is_thing, reduction="sum"
            )
            goal = encode_boxes(target.boxes[matched[positive]], all_anchors[positive])
            box = box + smooth_l1(all_deltas[i, positive], goal)
            count += len(chosen)
        total = mean_count(count, all_logits)
        return {"rpn_objectness": objectness / total, "rpn_box": box / total}, proposals


# the second stage -----------------------------------------------------------------------------------------------------


class TwoLayers(nn.Module):
    """Flatten, then two fully connected layers with ReLU."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.fc1 = nn.Linear(inputs, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))


class BoxHead(nn.Module):
    """Reads each proposal's features, says which class it is, and moves its box, one way for each class.

    Args:
        pooler: from maps and RoIs to [R, C, S, S]. body: from that to [R, width].
        classes: K; the logits have K + 1 columns, background last.
        batch, positive: proposals sampled a picture in training, share of positives.
        class_weights: K + 1 numbers.
    """

    class_weights: Tensor

    def __init__(
        self, pooler: RoIPooler, body: nn.Module, width: int, classes: int, *, batch: int, positive: float,
        score_threshold: float, nms_threshold: float, max_detections: int, class_weights: Sequence[float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.pooler, self.body, self.classes = pooler, body, classes
        self.batch, self.positive = batch, positive
        self.score_threshold, self.nms_threshold, self.max_detections = score_threshold, nms_threshold, max_detections
        self.scores = nn.Linear(width, classes + 1)
        self.deltas = nn.Linear(width, classes * 4)
        self.register_buffer("class_weights", torch.tensor(class_weights), persistent=False)

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """RoIs [R, 5] to class logits [R, K + 1] and deltas [R, K, 4]."""
        hidden = self.body(self.pooler(features, rois))
        return self.scores(hidden), self.deltas(hidden).view(-1, self.classes, 4)

    @torch.no_grad()
    def sample(self, proposals: list[Tensor], targets: Sequence[Target], generators: list[torch.Generator]) -> Samples:
        """Proposals and true boxes to train on: at least half overlap is positive, less is background."""
        rois, labels, matches, sizes = [], [], [], []
        for i, (boxes, target) in enumerate(zip(proposals, targets)):
            boxes = torch.cat([boxes, target.boxes])
            matched = match(box_iou(target.boxes, boxes), low=0.5, high=0.5)
            matched = ignore_covered(matched, boxes, target.ignored)
            chosen = torch.cat(sample(matched, self.batch, self.positive, generators[i]))
            matched = matched[chosen]
            background = torch.full_like(matched, self.classes)
            with_target = target.labels[matched.clamp(min=0)] if len(target.labels) else background
            labels.append(torch.where(matched >= 0, with_target, background))
            rois.append(to_rois(boxes[chosen], i))
            matches.append(torch.where(matched >= 0, matched, NEGATIVE))
            sizes.append(len(chosen))
        return Samples(torch.cat(rois), torch.cat(labels), torch.cat(matches), sizes)

    def losses(self, features: Sequence[Tensor], samples: Samples, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Cross-entropy over the classes, and smooth L1 of the true class's deltas for the positives."""
        logits, deltas = self(features, samples.rois)
        total = mean_count(self.class_weights[samples.labels].sum().item(), logits)
        classification = F.cross_entropy(logits, samples.labels, self.class_weights, reduction="sum") / total
        positive = samples.positive
        truth = samples.gather([t.boxes for t in targets])
        goal = encode_boxes(truth, samples.rois[positive, 1:], BOX_WEIGHTS)
        box = smooth_l1(deltas[positive, samples.labels[positive]], goal) + deltas.sum() * 0
        return {"class": classification, "box": box / mean_count(len(samples.rois), logits)}

    def detect(self, features: Sequence[Tensor], proposals: list[Tensor], batch: ImageBatch) -> Outputs:
        """Detections of all pictures: those above the score threshold, after NMS within each class, the best ones."""
        rois = torch.cat([to_rois(boxes, i) for i, boxes in enumerate(proposals)])
        sizes = [boxes.shape[0] for boxes in proposals]
        logits, deltas = (rows[: rois.shape[0]] for rows in self(features, fill_up(rois, FEW_SIZES)))
        scores = logits.float().softmax(dim=1)[:, :-1].split(sizes)
        moves = deltas.float().split(sizes)
        parts = []
        for i, size in enumerate(batch.sizes):
            proposal, label = (scores[i] > self.score_threshold).nonzero().unbind(1)
            score = scores[i][proposal, label]
            box = clip_boxes(decode_boxes(moves[i][proposal, label], proposals[i][proposal], BOX_WEIGHTS), size)
            large = ((box[:, 2:] - box[:, :2]) >= 1e-2).all(dim=1)
            box, score, label = box[large], score[large], label[large]
            keep = nms(box, score, self.nms_threshold, label)[: self.max_detections]
            parts.append((box[keep], score[keep], label[keep], torch.full_like(keep, i)))
        boxes, kept, labels, picture = (torch.cat(p) for p in zip(*parts))
        return {"boxes": boxes, "scores": kept, "labels": labels, "picture": picture}


def check_ranges(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting out of its range, before anything is built or trained."""
    for name, (least, most) in RANGES.items():
        value = config.get(name)
        several = value.values() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else [value]
        for number in several:
            if number is not None and not least <= number <= most:
                limit = f"at least {least:g}" if most == math.inf else f"within {least:g} and {most:g}"
                raise ConfigError(f"{name} must be {limit}, found {number}")
    for name in ("rpn_pre_nms", "rpn_post_nms"):
        if len(config[name]) != 2:
            raise ConfigError(f"{name} takes two numbers, for training and for prediction, found {list(config[name])}")


def weigh_classes(weights: Mapping[str, float], things: Categories) -> list[float]:
    """A weight per class and one for background, 1 where none is given; ConfigError for a class that does not exist."""
    unknown = sorted(set(weights) - {*things, "background"})
    if unknown:
        raise ConfigError(f"class_weights names {', '.join(unknown)}; there are: {', '.join(things)}, background")
    return [weights.get(name, 1.0) for name in (*things, "background")]


# what the stages hand on ----------------------------------------------------------------------------------------------


class Target:
    """The true boxes and labels of one picture that are trained on, where they stand in the scene, and what to ignore."""

    def __init__(self, boxes: Tensor, labels: Tensor, index: Tensor, ignored: Tensor) -> None:
        self.boxes, self.labels, self.index, self.ignored = boxes, labels, index, ignored

    @classmethod
    def of(cls, scene: Scene, device: torch.device) -> Target:
        """From a true scene in the batch's frame; boxes without area cannot be learned and are left out."""
        things = scene.instances
        if things is None or things.boxes is None or things.labels is None:
            empty = torch.zeros((0, 4), device=device)
            return cls(
                empty, torch.zeros(0, dtype=torch.int64, device=device), torch.zeros(0, dtype=torch.int64), empty
            )
        ignore = things.ignore if things.ignore is not None else torch.zeros(len(things), dtype=torch.bool)
        index = (~ignore & ((things.boxes[:, 2:] - things.boxes[:, :2]) > 0).all(dim=1)).nonzero().flatten()
        boxes = things.boxes.to(device)
        return cls(boxes[index.to(device)], things.labels[index].to(device), index, boxes[ignore.to(device)])


class Samples:
    """Proposals sampled for the second stage: RoIs [R, 5], labels [R] (K is background), matches [R], count a picture."""

    def __init__(self, rois: Tensor, labels: Tensor, matches: Tensor, sizes: list[int]) -> None:
        self.rois, self.labels, self.matches, self.sizes = rois, labels, matches, sizes

    @property
    def positive(self) -> Tensor:
        """Indices of the samples that have a true box."""
        return (self.matches >= 0).nonzero().flatten()

    def gather(self, values: Sequence[Tensor]) -> Tensor:
        """For each positive sample the row of its true box, from one tensor [N_i, ...] a picture."""
        parts = [value[m[m >= 0]] for value, m in zip(values, self.matches.split(self.sizes))]
        return torch.cat(parts)


def to_rois(boxes: Tensor, picture: int) -> Tensor:
    """Boxes [P, 4] to RoIs [P, 5] with the index of the picture first."""
    return F.pad(boxes, (1, 0), value=picture)


def to_original(boxes: Tensor, batch: ImageBatch, picture: int) -> Tensor:
    """Boxes of the batch's frame in the picture's own pixels, clipped to it."""
    matrix = torch.as_tensor(batch.inverse(picture), dtype=boxes.dtype)
    corners = boxes.view(-1, 2, 2) * matrix.diagonal() + matrix[:, 2]
    return clip_boxes(corners.reshape(-1, 4), batch.originals[picture])
