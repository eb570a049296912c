"""Report: the numbers of one evaluation, with their protocol and how sure they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from videre.errors import DataError
from videre.evaluate.intervals import Interval
from videre.evaluate.metrics import METRICS, metrics_for
from videre.evaluate.section import Metric, Options, Section, flat
from videre.structures import Scene, Schema
from videre.structures.limits import Limits


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Args:
        sections: by the name of the metric. pictures: how many were compared. schema: of the labels.
        first: metrics that are listed first, as the model has them. unread: why a picture, by its number, is not among these.
    """

    sections: Mapping[str, Section]
    pictures: int
    schema: Schema
    first: tuple[str, ...] = ()
    unread: Mapping[int, str] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """Every number by name, those of the headline first."""
        every = {name: value for section in self.sections.values() for name, value in section.metrics.items()}
        return {name: every[name] for name in self._order() if name in every} | every

    @property
    def intervals(self) -> dict[str, Interval]:
        """How sure some of the numbers are, by name."""
        return {name: interval for section in self.sections.values() for name, interval in section.intervals.items()}

    @property
    def headline(self) -> dict[str, float]:
        """What is printed while training; the first is the one that `best` follows."""
        every = {name: value for section in self.sections.values() for name, value in section.metrics.items()}
        return {name: every[name] for name in self._order() if name in every}

    def _order(self) -> list[str]:
        named = [name for section in self.sections.values() for name in section.headline]
        return list(dict.fromkeys([*self.first, *named]))

    def best_thresholds(self) -> dict[str, float]:
        """By class the least score at which F1 is largest on these pictures."""
        return {name: value for section in self.sections.values() for name, value in section.best_thresholds().items()}

    def decided(self, thresholds: Mapping[str, float], chosen_here: bool) -> Report:
        """The report with what is right and wrong from these thresholds on."""
        sections = {name: section.decided(thresholds, chosen_here) for name, section in self.sections.items()}
        return dataclasses.replace(self, sections=sections)

    def with_section(self, name: str, section: Section) -> Report:
        """The report with another section of this name."""
        return dataclasses.replace(self, sections={**self.sections, name: section})

    @property
    def pictures_in_words(self) -> str:
        """How many pictures, and how many are left out."""
        left_out = f"; {len(self.unread):,} could not be read and are left out" if self.unread else ""
        return f"{self.pictures:,} pictures; 95% intervals by bootstrap over them{left_out}"

    def lines(self) -> list[str]:
        """The report as plain text."""
        return [self.pictures_in_words, *(line for section in self.sections.values() for line in section.lines())]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        ranges = {name: list(flat({"low": i.low, "high": i.high}).values()) for name, i in self.intervals.items()}
        return {
            "pictures": self.pictures,
            "unread": list(self.unread.values()),
            "metrics": flat(self.metrics),
            "intervals": ranges,
            **{name: section.to_json() for name, section in self.sections.items()},
        }


class Evaluation:
    """The tallies of one evaluation, filled picture by picture.

    Args:
        schema: names the labels of both sides. predicted, true: the fields that each side has (qualified names).
        options: without `fields`, which follow from the two.

    Raises:
        DataError: there is no metric for what both sides have.
    """

    def __init__(
        self, schema: Schema, predicted: Iterable[str], true: Iterable[str], options: Options | None = None
    ) -> None:
        predicted, true = frozenset(predicted), frozenset(true)
        self.schema = schema
        self.options = dataclasses.replace(options or Options(), fields=predicted & true)
        self.tallies: dict[str, Metric] = {
            name: kind(schema, self.options) for name, kind in metrics_for(predicted, true).items()
        }
        if not self.tallies:
            raise DataError(
                f"predictions and truths have no field in common that can be compared: predictions have "
                f"{', '.join(sorted(predicted)) or 'nothing'}, truths {', '.join(sorted(true)) or 'nothing'}; there are the "
                f"metrics {', '.join(METRICS)}"
            )
        self.pictures: set[int] = set()

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Count one picture by every metric."""
        self.pictures.add(picture)
        for tally in self.tallies.values():
            tally.add(picture, prediction, truth)

    def merge(self, other: Evaluation) -> None:
        """Count what another process has counted."""
        self.pictures |= other.pictures
        for name, tally in self.tallies.items():
            tally.merge(other.tallies[name])

    def report(
        self, first: Sequence[str] = (), unread: Mapping[int, str] | None = None, bootstrap: int = 500
    ) -> Report:
        """All that was counted. bootstrap: resamplings for the intervals; 0: none."""
        found = {name: tally.section(bootstrap) for name, tally in self.tallies.items()}
        sections = {name: section for name, section in found.items() if section is not None}
        return Report(sections, len(self.pictures), self.schema, tuple(first), unread or {})


def evaluate(
    predictions: Sequence[Scene],
    truths: Sequence[Scene],
    schema: Schema,
    *,
    max_detections: int | None = None,
    bootstrap: int = 500,
    thresholds: Mapping[str, float] | None = None,
    limits: Limits | None = None,
) -> Report:
    """Compare predictions with truths by every metric whose fields both sides have.

    Args:
        predictions: unthresholded, in the pixels of the pictures, in the order of `truths`.
        schema: names the labels of both. The others as `Options` has them.

    Raises:
        DataError: different numbers of scenes, or nothing that both sides have.
    """
    if len(predictions) != len(truths):
        raise DataError(f"{len(predictions)} predictions for {len(truths)} truths")
    there = lambda scenes: frozenset().union(*(scene.present() for scene in scenes))
    options = Options(thresholds=thresholds, limits=limits or Limits())
    if max_detections is not None:
        options = dataclasses.replace(options, max_detections=max_detections)
    evaluation = Evaluation(schema, there(predictions), there(truths), options)
    for i, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        evaluation.add(i, prediction, truth)
    return evaluation.report(bootstrap=bootstrap)
