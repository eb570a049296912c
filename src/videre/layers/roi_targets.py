"""What a detector's two stages are trained on: the true boxes of a picture, and the proposals sampled to find them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videre.structures import Scene


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


def to_rois(boxes: Tensor, picture: int) -> Tensor:
    """Boxes [P, 4] to RoIs [P, 5] with the index of the picture first."""
    return F.pad(boxes, (1, 0), value=picture)
