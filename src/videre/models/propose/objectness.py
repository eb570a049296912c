"""Objectness: windows that look like they hold a thing, by four cues whose worth is learned from the boxes of your data.

Alexe, Deselaers & Ferrari, Measuring the Objectness of Image Windows, 2012; the cues are `ops.objectness_cues`. A training is one pass:
how often each value of a cue occurs in windows that hold a thing and in others; windows are then scored by naive Bayes. The paper draws
its windows by their saliency; here all of a grid of sizes, shapes and places are looked at.

    model = Objectness(Schema())
    videre train objectness DATA; videre proposals runs/objectness-DATA/last.safetensors DATA
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from videre.errors import ConfigError
from videre.models.propose.method import ProposalMethod, pixels_of, true_boxes
from videre.models.stages import Fit, Stage
from videre.ops.boxes import box_iou
from videre.ops.nms import nms
from videre.ops.objectness_cues import CUES, objectness_cues
from videre.structures import ImageBatch, Preprocess, Scene, Schema

BINS = 20
"""Values of a cue that are told apart, equally frequent ones."""
HIT = 0.5
"""Overlap with a true box from which a window holds it."""
SHAPES = (0.5, 0.75, 1.0, 1.33, 2.0)
"""Height / width of windows."""
SHARE = 0.25
"""Of a window's side: the step to the next."""


class Objectness(ProposalMethod):
    """Proposals by saliency, colour contrast, edge density and superpixels straddling.

    Args:
        schema: of no consequence. preprocess: of no consequence; the picture is seen in its own size.
        smallest: side of the smallest window, pixels. ratio: of each size to the one before.
        nms: IoU from which the weaker of two windows goes. most: windows that are kept.

    Attributes:
        edges: [4, 21], ends of the bins of each cue. ratios: [4, 20], log likelihood ratio of each.
    """

    needs = frozenset({"boxes"})
    edges: Tensor
    ratios: Tensor

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        smallest: float = 24.0,
        ratio: float = 1.3,
        nms: float = 0.7,
        most: int = 2000,
    ) -> None:
        super().__init__(schema, preprocess)
        for name, value, least in (("smallest", smallest, 4), ("ratio", ratio, 1.05), ("most", most, 1)):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, found {value}")
        if not 0 <= nms <= 1:
            raise ConfigError(f"nms must lie within 0 and 1, found {nms}")
        self.smallest, self.ratio, self.nms, self.most = smallest, ratio, nms, most
        self.register_buffer("edges", torch.zeros(len(CUES), BINS + 1))
        self.register_buffer("ratios", torch.zeros(len(CUES), BINS))

    def windows(self, size: tuple[int, int]) -> np.ndarray:
        """All windows of a picture of (height, width), float64 [N, 4]."""
        height, width = size
        found, side = [np.array([[0.0, 0, width, height]])], self.smallest
        while side < max(size):
            for shape in SHAPES:
                tall, wide = side * math.sqrt(shape), side / math.sqrt(shape)
                if tall > height or wide > width:
                    continue
                y = np.linspace(0, height - tall, 1 + round((height - tall) / (SHARE * tall)))
                x = np.linspace(0, width - wide, 1 + round((width - wide) / (SHARE * wide)))
                corners = np.stack(np.meshgrid(x, y), 2).reshape(-1, 2)
                found.append(np.concatenate([corners, corners + np.array([wide, tall])], 1))
            side *= self.ratio
        return np.concatenate(found)

    def find(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The windows that most look like things. None before a training."""
        if not self.ratios.any():
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        boxes = self.windows((picture.shape[0], picture.shape[1]))
        scores = self.score(torch.from_numpy(objectness_cues(picture, boxes)))
        of = torch.from_numpy(boxes).float()
        keep = nms(of, scores, self.nms)[: self.most]
        return of[keep].numpy(), scores[keep].sigmoid().numpy()

    def score(self, cues: Tensor) -> Tensor:
        """Log odds [N] of windows by their cues [N, 4], but for a constant."""
        total = torch.zeros(len(cues))
        for k in range(len(CUES)):
            total += self.ratios[k].cpu()[self._bins(cues[:, k], k)]
        return total

    def _bins(self, values: Tensor, cue: int) -> Tensor:
        inner = self.edges[cue, 1:-1].cpu().contiguous()
        return torch.bucketize(values.contiguous(), inner)

    def stages(self) -> Sequence[Stage]:
        return (Fit("cues", self._add_cues, self._solve),)

    def _add_cues(self, state: dict[str, Tensor], batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        """Cues of windows that hold a thing, and of as many others."""
        for i, scene in enumerate(targets):
            picture, truth = pixels_of(batch, i), true_boxes(scene)
            boxes = self.windows(batch.sizes[i])
            if not len(truth):
                continue
            overlap = box_iou(torch.from_numpy(boxes).float(), truth).amax(1)
            rng = np.random.default_rng(int(picture[::7, ::7].sum()))  # the same windows whoever gathers them
            hits, rest = (np.flatnonzero((overlap >= HIT).numpy() == value) for value in (True, False))
            chosen = np.concatenate([rng.permutation(hits)[:200], rng.permutation(rest)[:200]])
            cues = torch.from_numpy(objectness_cues(picture, boxes[chosen]))
            new = {"cues": cues, "hit": overlap[torch.from_numpy(chosen)] >= HIT}
            state = {name: torch.cat([state[name], value]) if name in state else value for name, value in new.items()}
        return state

    def _solve(self, state: dict[str, Tensor]) -> None:
        """Bins of equal frequency, and what each says."""
        hit = state.get("hit", torch.zeros(0, dtype=torch.bool))
        if not 0 < int(hit.sum()) < len(hit):
            raise ConfigError(
                "objectness is learned from windows that hold a thing and others; there are none of one kind"
            )
        for k in range(len(CUES)):
            values = state["cues"][:, k]
            self.edges[k] = torch.quantile(values, torch.linspace(0, 1, BINS + 1))
            bins = self._bins(values, k)
            counts = [torch.bincount(bins[hit == truth], minlength=BINS) + 1.0 for truth in (True, False)]
            likely, unlikely = (count / count.sum() for count in counts)
            self.ratios[k] = (likely / unlikely).log()
