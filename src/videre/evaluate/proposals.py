"""How many true boxes are among the proposals: recall by how many are looked at, and by how well they must lie.

Hosang et al., What makes for effective detection proposals?, 2016: average recall (AR) is the mean of recall over IoU from .5
to 1, in steps of .05 up to .95 here as COCO measures it; labels play no part, ignored truths neither.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from videre.evaluate.intervals import Interval, number
from videre.evaluate.intervals import bootstrap as intervals_of
from videre.evaluate.section import Options, Undecided, flat
from videre.ops.boxes import box_iou
from videre.structures import Scene, Schema

if TYPE_CHECKING:
    from videre.data.dataset import Dataset
    from videre.draw.page import Section as PageSection
    from videre.evaluate.report import Report

COUNTS = (10, 100, 1000)
"""Of the best proposals that are looked at."""
OVERLAPS = np.arange(0.5, 0.96, 0.05)


@dataclasses.dataclass(frozen=True)
class ProposalSection(Undecided):
    """Recall of proposals.

    Args:
        best: of each picture float64 [T, len(COUNTS)], the largest IoU of each true box among so many proposals.
        proposals: mean number a picture. bootstrap: resamplings for the intervals; 0: none. seed: of them.
    """

    best: Sequence[np.ndarray]
    proposals: float
    bootstrap: int
    seed: int

    @functools.cached_property
    def metrics(self) -> dict[str, float]:
        """AR and recall at IoU .5 by the number of proposals."""
        return _recall(self.best, np.arange(len(self.best)))

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """Of all of them."""
        of = functools.partial(_recall, self.best)
        return intervals_of(of, len(self.best), self.bootstrap, self.seed)

    @property
    def headline(self) -> list[str]:
        """AR of the most."""
        return [f"proposals AR@{COUNTS[-1]}", f"proposals recall@{COUNTS[-1]}"]

    def lines(self) -> list[str]:
        """As plain text."""
        numbers = "  ".join(
            f"{n.removeprefix('proposals ')} {self.intervals.get(n) or number(v)}" for n, v in self.metrics.items()
        )
        return [f"proposals: {self.proposals:.0f} a picture; recall at IoU .50, AR over IoU .50:.95", f"  {numbers}"]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"protocol": "recall of true boxes among the best proposals", **flat({"a_picture": self.proposals})}

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """A table."""
        from videre.draw.page import Section, Table

        rows = [[name, str(self.intervals.get(name) or number(value))] for name, value in self.metrics.items()]
        return [Section("Proposals", [Table(["", "value"], rows)], f"{self.proposals:.0f} a picture.")]


class ProposalRecall:
    """The tally: the best overlap of each true box."""

    predicted = frozenset({"proposals"})
    true = frozenset({"boxes"})

    def __init__(self, schema: Schema, options: Options) -> None:
        self.options = options
        self.rows: dict[int, tuple[np.ndarray, int]] = {}

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Compare the proposals of a picture, the best first, with its true boxes."""
        proposals = prediction.proposals if prediction.proposals is not None else torch.zeros(0, 4)
        if prediction.proposal_scores is not None:
            proposals = proposals[prediction.proposal_scores.argsort(descending=True, stable=True)]
        things = truth.instances
        boxes = torch.zeros(0, 4) if things is None or things.boxes is None else things.boxes
        if things is not None and things.boxes is not None and things.ignore is not None:
            boxes = boxes[~things.ignore]
        overlap = box_iou(boxes.double(), proposals.double()).numpy()
        best = np.stack([overlap[:, :count].max(1, initial=0.0) for count in COUNTS], 1)
        self.rows[picture] = best, len(proposals)

    def merge(self, other: ProposalRecall) -> None:
        """Take over another process's pictures."""
        self.rows |= other.rows

    def section(self, bootstrap: int) -> ProposalSection | None:
        """Recall over all true boxes."""
        if not self.rows:
            return None
        best = [self.rows[i][0] for i in sorted(self.rows)]
        mean = float(np.mean([count for _, count in self.rows.values()]))
        return ProposalSection(best, mean, bootstrap, self.options.seed)


def _recall(best: Sequence[np.ndarray], pictures: np.ndarray) -> dict[str, float]:
    found = np.concatenate([best[i] for i in pictures.tolist()]) if len(pictures) else np.zeros((0, len(COUNTS)))
    metrics: dict[str, float] = {}
    for k, count in enumerate(COUNTS):
        shares = [float((found[:, k] >= overlap - 1e-9).mean()) if len(found) else float("nan") for overlap in OVERLAPS]
        metrics |= {f"proposals AR@{count}": float(np.mean(shares)), f"proposals recall@{count}": shares[0]}
    return metrics
