"""How many true boxes are among the proposals: recall by how many are looked at, and by how well they must lie.

Hosang et al., What makes for effective detection proposals?, 2016: average recall (AR) is the mean of recall over IoU from .5
to 1, in steps of .05 up to .95 here as COCO measures it. Uijlings et al., Selective Search, 2013: ABO of a class is the mean over
its true boxes of the largest IoU with any proposal, MABO the mean over classes. Ignored truths play no part.
"""

from __future__ import annotations

import dataclasses
import functools
import math
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
        whole: of each picture float64 [T], that among all of them. labels: of each picture int64 [T], classes of the boxes.
        names: of the classes. proposals: mean number a picture. bootstrap: resamplings for the intervals; 0: none. seed: of them.
    """

    best: Sequence[np.ndarray]
    whole: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]
    names: Sequence[str]
    proposals: float
    bootstrap: int
    seed: int

    @functools.cached_property
    def metrics(self) -> dict[str, float]:
        """AR and recall at IoU .5 by the number of proposals; MABO of all of them."""
        return self._of(np.arange(len(self.best)))

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """Of all of them."""
        return intervals_of(self._of, len(self.best), self.bootstrap, self.seed)

    @property
    def headline(self) -> list[str]:
        """AR of the most."""
        return [f"proposals AR@{COUNTS[-1]}", f"proposals recall@{COUNTS[-1]}"]

    @functools.cached_property
    def abo(self) -> dict[str, float]:
        """Of each class the mean, over its true boxes, of the largest IoU with any proposal (average best overlap)."""
        return self._abo(np.arange(len(self.best)))

    def lines(self) -> list[str]:
        """As plain text."""
        numbers = "  ".join(
            f"{n.removeprefix('proposals ')} {self.intervals.get(n) or number(v)}" for n, v in self.metrics.items()
        )
        told = (
            f"proposals: {self.proposals:.0f} a picture; recall at IoU .50, AR over IoU .50:.95, MABO over all of them"
        )
        abo = "  ".join(f"{name} {number(value)}" for name, value in self.abo.items() if not math.isnan(value))
        return [told, f"  {numbers}", *([f"  ABO: {abo}"] if len(self.abo) > 1 else [])]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "protocol": "recall of true boxes among the best proposals",
            **flat({"a_picture": self.proposals}),
            "abo": flat(self.abo),
        }

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """Tables, and recall over the overlap that is asked for."""
        from videre.draw import curves
        from videre.draw.page import Chart, Section, Table

        rows = [[name, str(self.intervals.get(name) or number(value))] for name, value in self.metrics.items()]
        found = np.concatenate([*self.best, np.zeros((0, len(COUNTS)))])
        overlaps = np.linspace(0.5, 1, 51)
        recalls = {
            f"{count} proposals": [
                float((found[:, k] >= o - 1e-9).mean()) if len(found) else math.nan for o in overlaps
            ]
            for k, count in enumerate(COUNTS)
        }
        blocks: list[Table | Chart] = [
            Table(["", "value"], rows),
            Chart(curves.recall_curves(overlaps.tolist(), recalls), "Recall by the overlap that is asked for"),
        ]
        if len(self.abo) > 1:
            blocks.append(Table(["class", "ABO"], [[name, number(value)] for name, value in self.abo.items()]))
        return [Section("Proposals", blocks, f"{self.proposals:.0f} a picture.")]

    def _of(self, pictures: np.ndarray) -> dict[str, float]:
        abo = [value for value in self._abo(pictures).values() if not math.isnan(value)]
        mean = float(np.mean(abo)) if abo else math.nan
        return _recall(self.best, pictures) | {"proposals MABO": mean}

    def _abo(self, pictures: np.ndarray) -> dict[str, float]:
        whole = np.concatenate([np.zeros(0), *(self.whole[i] for i in pictures.tolist())])
        labels = np.concatenate([np.zeros(0, np.int64), *(self.labels[i] for i in pictures.tolist())])
        sums = np.bincount(labels, whole, len(self.names))
        counts = np.bincount(labels, minlength=len(self.names))
        with np.errstate(invalid="ignore"):
            return dict(zip(self.names, (sums / counts).tolist(), strict=True))


class ProposalRecall:
    """The tally: the best overlap of each true box."""

    predicted = frozenset({"proposals"})
    true = frozenset({"boxes"})

    def __init__(self, schema: Schema, options: Options) -> None:
        self.options = options
        self.names = tuple(schema.things or ("thing",))
        self.rows: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, int]] = {}

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Compare the proposals of a picture, the best first, with its true boxes."""
        proposals = prediction.proposals if prediction.proposals is not None else torch.zeros(0, 4)
        if prediction.proposal_scores is not None:
            proposals = proposals[prediction.proposal_scores.argsort(descending=True, stable=True)]
        things = truth.instances
        if things is not None and things.ignore is not None:
            things = things.select(~things.ignore)
        boxes = torch.zeros(0, 4) if things is None or things.boxes is None else things.boxes
        labels = (
            torch.zeros(len(boxes), dtype=torch.int64) if things is None or things.labels is None else things.labels
        )
        overlap = box_iou(boxes.double(), proposals.double()).numpy()
        best = np.stack([overlap[:, :count].max(1, initial=0.0) for count in COUNTS], 1)
        self.rows[picture] = best, overlap.max(1, initial=0.0), labels.numpy(), len(proposals)

    def merge(self, other: ProposalRecall) -> None:
        """Take over another process's pictures."""
        self.rows |= other.rows

    def section(self, bootstrap: int) -> ProposalSection | None:
        """Recall over all true boxes."""
        if not self.rows:
            return None
        best, whole, labels, counts = zip(*(self.rows[i] for i in sorted(self.rows)), strict=True)
        return ProposalSection(best, whole, labels, self.names, float(np.mean(counts)), bootstrap, self.options.seed)


def _recall(best: Sequence[np.ndarray], pictures: np.ndarray) -> dict[str, float]:
    found = np.concatenate([best[i] for i in pictures.tolist()]) if len(pictures) else np.zeros((0, len(COUNTS)))
    metrics: dict[str, float] = {}
    for k, count in enumerate(COUNTS):
        shares = [float((found[:, k] >= overlap - 1e-9).mean()) if len(found) else float("nan") for overlap in OVERLAPS]
        metrics |= {f"proposals AR@{count}": float(np.mean(shares)), f"proposals recall@{count}": shares[0]}
    return metrics
