"""What a detector's two stages are trained on: the true boxes of a picture, and the proposals sampled to find them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videre.layers.matcher import IGNORED, NEGATIVE, assign, ignore_covered, sample
from videre.ops.boxes import box_iou
from videre.structures import ImageBatch, Scene


@dataclasses.dataclass(frozen=True)
class BoxTarget:
    """The true boxes of one picture, in the batch's frame.

    Args:
        boxes: [T, 4], and labels [T], of the things that are trained on. index: [T], where they stand in the scene.
        ignored: [I, 4], boxes of what is neither right nor wrong to find.
    """

    boxes: Tensor
    labels: Tensor
    index: Tensor
    ignored: Tensor

    @classmethod
    def of(cls, scene: Scene) -> BoxTarget:
        """From a true scene; boxes without area cannot be learned and are left out."""
        things = scene.instances
        if things is None or things.boxes is None or things.labels is None:
            none = torch.zeros(0, dtype=torch.int64)
            return cls(torch.zeros(0, 4), none, none, torch.zeros(0, 4))
        ignore = things.ignore if things.ignore is not None else torch.zeros(len(things), dtype=torch.bool)
        index = (~ignore & ((things.boxes[:, 2:] - things.boxes[:, :2]) > 0).all(dim=1)).nonzero().flatten()
        return cls(things.boxes[index], things.labels[index], index, things.boxes[ignore])

    def to(self, device: torch.device) -> BoxTarget:
        """All but the index on a device."""
        return BoxTarget(self.boxes.to(device), self.labels.to(device), self.index, self.ignored.to(device))


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


def match_proposals(boxes: Tensor, target: BoxTarget, background_low: float = 0.0) -> Tensor:
    """The true box [P] of each proposal: at least half overlap is positive, less is background; see `sample_proposals`."""
    iou = box_iou(target.boxes, boxes)
    matched = assign(iou, low=0.5, high=0.5)
    if background_low > 0 and len(target.boxes):
        hard = (matched == NEGATIVE) & (iou.amax(0) >= background_low)
        easy = (matched == NEGATIVE) & ~hard
        matched = torch.where(easy & hard.any(), IGNORED, matched)
    return ignore_covered(matched, boxes, target.ignored)


@torch.no_grad()
def sample_proposals(
    proposals: list[Tensor],
    targets: Sequence[BoxTarget],
    generators: list[torch.Generator],
    classes: int,
    batch: int,
    positive: float,
    background_low: float = 0.0,
) -> Samples:
    """Proposals and true boxes to train on, `batch` a picture: at least half overlap is positive, less is background.

    Args:
        classes: K, the label of background. positive: largest share of positives. background_low: least overlap of a negative
            with a true box; where a picture has none of these, easier ones serve.
    """
    rois, labels, matches, sizes = [], [], [], []
    for i, (boxes, target) in enumerate(zip(proposals, targets)):
        boxes = torch.cat([boxes, target.boxes])
        matched = match_proposals(boxes, target, background_low)
        chosen = torch.cat(sample(matched, batch, positive, generators[i]))
        matched = matched[chosen]
        background = torch.full_like(matched, classes)
        with_target = target.labels[matched.clamp(min=0)] if len(target.labels) else background
        labels.append(torch.where(matched >= 0, with_target, background))
        rois.append(to_rois(boxes[chosen], i))
        matches.append(torch.where(matched >= 0, matched, NEGATIVE))
        sizes.append(len(chosen))
    return Samples(torch.cat(rois), torch.cat(labels), torch.cat(matches), sizes)


def to_rois(boxes: Tensor, picture: int) -> Tensor:
    """Boxes [P, 4] to RoIs [P, 5] with the index of the picture first."""
    return F.pad(boxes, (1, 0), value=picture)


def best_proposals(batch: ImageBatch, most: int) -> list[Tensor]:
    """The `most` best proposals [P, 4] that each picture of a batch is given, in the batch's frame, clipped to the picture.

    Those that have no scores are taken in their order; those without area are left out.
    """
    found = []
    for scene, (height, width) in zip(batch.given, batch.sizes, strict=True):
        boxes = scene.proposals
        assert boxes is not None  # the contract gives what is taken
        if scene.proposal_scores is not None:
            boxes = boxes[scene.proposal_scores.argsort(descending=True, stable=True)]
        limits = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
        boxes = torch.minimum(boxes[:most].clamp(min=0), limits)
        found.append(boxes[((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)].to(batch.image.device))
    return found
