"""What systems that give one person's joints share: the way back to the picture's own pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from videre.structures import ImageBatch, Instances, Scene


def as_scene(points: Tensor, scores: Tensor, batch: ImageBatch, row: int) -> Scene:
    """The one person of a picture, in its original pixels.

    Args:
        points: float [J, 2], x and y in the batch's frame. scores: [J] in [0, 1]; their mean is the person's.
    """
    original, matrix = batch.originals[row], torch.as_tensor(batch.inverse(row), dtype=torch.float32)
    points = points * matrix.diagonal() + matrix[:, 2]
    points = torch.minimum(points.clamp(min=0), torch.tensor(original[::-1], dtype=torch.float32))
    people = Instances(
        keypoints=points[None],
        keypoint_scores=scores[None],
        scores=scores.mean()[None],
        labels=torch.zeros(1, dtype=torch.int64),
        boxes=torch.cat([points.amin(0), points.amax(0)])[None],
    )
    return Scene(original, people)
