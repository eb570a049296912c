"""A method that finds boxes in the pixels of a picture, without a net and without training: what all of them share.

class Mine(ProposalMethod):
    def find(self, picture):             # uint8 [H, W, 3]
        return boxes, scores             # float32 [P, 4] and [P], the best first
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from videre.errors import ConfigError
from videre.models.base import Model, Outputs
from videre.models.stages import Stage
from videre.ops.boxes import clip_boxes
from videre.structures import ImageBatch, Preprocess, Scene


class ProposalMethod(Model):
    """Proposals of things, whatever they are, the best first, in the picture's own size."""

    gives = frozenset({"proposals", "proposal_scores"})
    usual = Preprocess(short_side=None, long_side=None, divisor=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    def find(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a picture uint8 [H, W, 3] RGB the boxes float32 [P, 4] and their scores float32 [P], the best first."""
        raise NotImplementedError

    @torch.compiler.disable
    def forward(self, batch: ImageBatch) -> Outputs:
        """ "proposals" [P, 4], "proposal_scores" [P] and the "picture" [P] of each."""
        parts = []
        for i in range(len(batch)):
            found = self.find(pixels_of(batch, i))
            boxes, scores = (torch.from_numpy(np.ascontiguousarray(part, np.float32)) for part in found)
            parts.append((boxes, scores, torch.full((len(boxes),), i)))
        boxes, scores, picture = (torch.cat(part) for part in zip(*parts))
        return {"proposals": boxes, "proposal_scores": scores, "picture": picture}

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """The proposals in the pixels of the original pictures."""
        scenes = []
        for i, size in enumerate(batch.originals):
            of = outputs["picture"] == i
            boxes = clip_boxes(batch.motion(i).inverse().boxes(outputs["proposals"][of]), size)
            scenes.append(Scene.unchecked(size=size, proposals=boxes, proposal_scores=outputs["proposal_scores"][of]))
        return scenes

    def stages(self) -> Sequence[Stage]:
        """None: there is nothing to train."""
        return ()

    def losses(self, batch: ImageBatch, targets: Sequence[object]) -> dict[str, Tensor]:
        """Raises ConfigError: nothing is trained by descent."""
        raise ConfigError(f"a {type(self).__name__} has nothing to train by descent")


def pixels_of(batch: ImageBatch, i: int) -> np.ndarray:
    """Picture i of a batch as it was read, uint8 [H, W, 3]."""
    height, width = batch.sizes[i]
    pixels = (batch.image[i, :, :height, :width].float() * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(1, 2, 0).cpu().contiguous().numpy()


def true_boxes(scene: Scene) -> Tensor:
    """Boxes [T, 4] of the things of a scene that count."""
    things = scene.instances
    if things is None or things.boxes is None:
        return torch.zeros(0, 4)
    return (things.boxes if things.ignore is None else things.boxes[~things.ignore]).float().cpu()
