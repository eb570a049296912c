"""Which prediction is which truth, in one picture."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from videre.ops.boxes import box_iou
from videre.structures import Instances, Scene


@dataclasses.dataclass(frozen=True)
class Matches:
    """The outcome of matching P predictions with T truths.

    Args:
        truth_of: int64 [P], the truth that each prediction found, or -1. prediction_of: int64 [T], the reverse.
        excused: bool [P], predictions on ignored truths: neither right nor wrong. ignored: bool [T].
        iou: float64 [P, T].
    """

    truth_of: np.ndarray
    prediction_of: np.ndarray
    excused: np.ndarray
    ignored: np.ndarray
    iou: np.ndarray

    @property
    def false(self) -> np.ndarray:
        """bool [P]: predictions where there is nothing to find."""
        return (self.truth_of < 0) & ~self.excused

    @property
    def missed(self) -> np.ndarray:
        """bool [T]: truths that nothing found."""
        return (self.prediction_of < 0) & ~self.ignored

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there is nothing and nothing was predicted."""
        right, wrong = int((self.truth_of >= 0).sum()), int(self.false.sum() + self.missed.sum())
        return 2 * right / (2 * right + wrong) if right + wrong else 1.0


def match(prediction: Scene, truth: Scene, iou: float = 0.5) -> Matches:
    """Match by boxes: the surest prediction first takes the free truth of its class that it overlaps most.

    Args:
        iou: least overlap. An ignored truth excuses predictions of which it covers as large a share.
    """
    found, true = _boxes(prediction), _boxes(truth)
    overlap = box_iou(found, true).numpy()
    here, there = _labels(prediction, len(found)), _labels(truth, len(true))
    ignored = np.zeros(len(true), bool)
    if truth.instances is not None and truth.instances.ignore is not None:
        ignored = truth.instances.ignore.numpy()
    truth_of, prediction_of = np.full(len(found), -1), np.full(len(true), -1)
    things = prediction.instances
    scores = things.scores.numpy() if things is not None and things.scores is not None else np.ones(len(found))
    allowed = (here[:, None] == there[None]) & (overlap >= iou) & ~ignored[None]
    for p in np.argsort(-scores, kind="stable"):
        free = allowed[p] & (prediction_of < 0)
        if free.any():
            best = int(np.where(free, overlap[p], -1).argmax())
            truth_of[p], prediction_of[best] = best, p
    inside = _covered(found, true) >= iou
    excused = (truth_of < 0) & (inside & (here[:, None] == there[None]) & ignored[None]).any(1)
    return Matches(truth_of, prediction_of, excused, ignored, overlap)


def _boxes(scene: Scene) -> torch.Tensor:
    things = scene.instances
    if things is None:
        return torch.zeros((0, 4), dtype=torch.float64)
    boxes = things.boxes if things.boxes is not None else things.masks.boxes() if things.masks is not None else None
    return torch.zeros((0, 4), dtype=torch.float64) if boxes is None else boxes.double()


def _labels(scene: Scene, count: int) -> np.ndarray:
    things: Instances | None = scene.instances
    return things.labels.numpy() if things is not None and things.labels is not None else np.zeros(count, np.int64)


def _covered(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """The share of each box of a [P, 4] that each of b [T, 4] covers."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    return ((high - low).clamp(min=0).prod(2) / (a[:, 2:] - a[:, :2]).prod(1).clamp(min=1e-9)[:, None]).numpy()
