"""What a detector's training makes of a picture: which boxes are to find a thing, which nothing, which take no part."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from videre.layers.matcher import IGNORED, sample
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

    @classmethod
    def of(
        cls,
        name: str,
        boxes: Tensor,
        matches: Tensor,
        target: BoxTarget,
        generator: torch.Generator,
        batch: int,
        positive: float,
        rule: str,
    ) -> Assignment:
        """Of boxes as a training has matched them, with a sample as `matcher.sample` draws it. rule: of the matching."""
        chosen = torch.zeros(len(boxes), dtype=torch.bool)
        chosen[torch.cat(sample(matches, batch, positive, generator)).cpu()] = True
        sampling = f"{batch} are sampled, {positive:.0%} of them positive at most"
        return cls(name, boxes, matches, _largest(boxes, target), chosen, f"{rule}; {sampling}")

    @classmethod
    def whole(cls, name: str, boxes: Tensor, matches: Tensor, target: BoxTarget, rule: str) -> Assignment:
        """Of boxes that are all trained on but those that are ignored."""
        return cls(name, boxes, matches, _largest(boxes, target), (matches != IGNORED).cpu(), rule)


def _largest(boxes: Tensor, target: BoxTarget) -> Tensor:
    return box_iou(target.boxes, boxes).amax(0) if len(target.boxes) else torch.zeros(len(boxes))
