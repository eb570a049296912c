"""What a metric is, and what it gives: a section of a report.

A metric gathers numbers picture by picture, so that memory does not grow with their size, and tallies of several processes
become one. `METRICS` lists them; an evaluation runs all those whose fields both sides have, in one pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from videre.evaluate.intervals import Interval
from videre.structures import Scene, Schema
from videre.structures.limits import Limits

if TYPE_CHECKING:
    from videre.data.dataset import Dataset
    from videre.draw.page import Section as PageSection
    from videre.evaluate.report import Report

USUAL = 100
"""Detections that COCO's own numbers count, a picture and class; 20 where keypoints are compared."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How an evaluation is made.

    Args:
        fields: qualified names of the fields that both predictions and truths have.
        max_detections: counted a picture and class. seed: of the resamplings for intervals.
        thresholds: by class, the model's own; None: those of the largest F1 on these pictures, and the report says so.
        limits: of the model, to be shown.
    """

    fields: frozenset[str] = frozenset()
    max_detections: int = USUAL
    seed: int = 0
    thresholds: Mapping[str, float] | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)


class Section(Protocol):
    """The numbers of one metric over all pictures.

    Attributes:
        metrics: every number by name, NaN where it has no value. intervals: of some of them, by the same name.
        headline: the names that are printed while training, the first first. cards: those at the head of a page.
    """

    @property
    def metrics(self) -> dict[str, float]: ...

    @property
    def intervals(self) -> dict[str, Interval]: ...

    @property
    def headline(self) -> list[str]: ...

    @property
    def cards(self) -> list[str]: ...

    def best_thresholds(self) -> dict[str, float]:
        """By class the least score at which F1 is largest on these pictures; {} where nothing is decided by a score."""

    def decided(self, thresholds: Mapping[str, float], chosen_here: bool) -> Self:
        """The section with what is right and wrong from these thresholds on."""

    def lines(self) -> list[str]:
        """As plain text."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers beside the metrics; what has no value is null."""

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """The parts of an HTML page; `data` are the pictures that were compared, in order."""


def unseen(counts: Mapping[str, float]) -> list[str]:
    """A line on the classes of which the truth has nothing, so that they are in no mean; none where all occur."""
    names = [name for name, count in counts.items() if not count > 0]
    if not names or len(names) == len(counts):
        return []
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return [f"  means are over {len(counts) - len(names)} of {len(counts)} classes; the truth has nothing of {listed}"]


NAMED = 12
"""Classes that such a line names."""


class Undecided:
    """What a section has in common with others in which no score decides."""

    if TYPE_CHECKING:

        @property
        def headline(self) -> list[str]: ...

    @property
    def cards(self) -> list[str]:
        """The headline."""
        return self.headline

    def best_thresholds(self) -> dict[str, float]:
        """None."""
        return {}

    def decided(self, thresholds: Mapping[str, float], chosen_here: bool) -> Self:
        """The same."""
        return self


class Metric(Protocol):
    """A tally of one metric.

    Attributes:
        predicted, true: the fields that predictions and truths must have, qualified names.
    """

    predicted: ClassVar[frozenset[str]]
    true: ClassVar[frozenset[str]]

    def __init__(self, schema: Schema, options: Options) -> None: ...

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Count a picture: its number in the data, what was predicted (unthresholded) and what is true of it, in its own
        pixels and with the labels of the schema."""

    def merge(self, other: Self) -> None:
        """Count what another process has counted, of other pictures."""

    def section(self, bootstrap: int) -> Section | None:
        """The numbers, with intervals by so many resamplings (0: none); None where there was nothing to count."""


def flat(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers for JSON, which has no NaN."""
    return {name: None if value != value else value for name, value in values.items()}
