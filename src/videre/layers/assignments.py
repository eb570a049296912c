"""What a detector's training makes of a picture: which boxes are to find a thing, which nothing, which take no part."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from videre.layers.matcher import assign, ignore_covered, sample
from videre.layers.roi_targets import BoxTarget
from videre.ops.boxes import box_iou


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Boxes of one kind, in the batch's frame, and what each is trained to say.

    Args:
        name: "anchors", "proposals", "windows". boxes: [N, 4].
        matches: int64 [N], the true box of each, `matcher.NEGATIVE` or `matcher.IGNORED`. overlaps: [N], the largest IoU with a
            true box. chosen: bool [N], what one step trains on.
        rule: in words.
    """

    name: str
    boxes: Tensor
    matches: Tensor
    overlaps: Tensor
    chosen: Tensor
    rule: str


def make_assignment(
    name: str,
    boxes: Tensor,
    target: BoxTarget,
    generator: torch.Generator,
    *,
    low: float,
    high: float,
    keep_best: bool = False,
    batch: int,
    positive: float,
) -> Assignment:
    """As `matcher.assign`, `ignore_covered` and `sample` do it in a training."""
    iou = box_iou(target.boxes, boxes)
    matched = ignore_covered(assign(iou, low, high, keep_best), boxes, target.ignored)
    chosen = torch.zeros(len(boxes), dtype=torch.bool)
    chosen[torch.cat(sample(matched, batch, positive, generator)).cpu()] = True
    overlaps = iou.amax(0) if len(iou) else torch.zeros(len(boxes))
    best = ", and the best of each thing" if keep_best else ""
    rule = f"positive from IoU {high:g}{best}, negative below {low:g}; {batch} are sampled, {positive:.0%} of them positive at most"
    return Assignment(name, boxes, matched, overlaps, chosen, rule)
