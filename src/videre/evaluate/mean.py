"""A number a picture, and its mean with an interval: what many metrics are.

class Exact(MeanMetric):
    name, predicted, true = "exact", frozenset({"captions"}), frozenset({"captions"})

    def measure(self, prediction, truth): ...
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from videre.evaluate.intervals import Interval, number
from videre.evaluate.intervals import bootstrap as intervals_of
from videre.evaluate.section import Options, Undecided, flat
from videre.structures import Scene, Schema

if TYPE_CHECKING:
    from videre.data.dataset import Dataset
    from videre.draw.page import Section as PageSection
    from videre.evaluate.report import Report


@dataclasses.dataclass(frozen=True)
class MeanSection(Undecided):
    """The mean of a number over the pictures that have it.

    Args:
        name: of the number. values: float64 [N], NaN where a picture has none. protocol: how it is measured.
        bootstrap: resamplings for the interval; 0: none. seed: of them.
    """

    name: str
    values: np.ndarray
    protocol: str
    bootstrap: int
    seed: int

    @property
    def metrics(self) -> dict[str, float]:
        """The one mean."""
        return {self.name: _mean(self.values)}

    @property
    def intervals(self) -> dict[str, Interval]:
        """Of the mean."""
        of = lambda drawn: {self.name: _mean(self.values[drawn])}
        return intervals_of(of, len(self.values), self.bootstrap, self.seed)

    @property
    def headline(self) -> list[str]:
        """The one name."""
        return [self.name]

    def lines(self) -> list[str]:
        """As plain text."""
        return [
            f"{self.name}: {self.protocol}",
            f"  {self.intervals.get(self.name) or number(self.metrics[self.name])}",
        ]

    def to_json(self) -> dict[str, Any]:
        """How it is measured, and each picture's number."""
        each = flat({str(i): float(value) for i, value in enumerate(self.values)})
        return {"protocol": self.protocol, "pictures": list(each.values())}

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """A table."""
        from videre.draw.page import Section, Table

        value = str(self.intervals.get(self.name) or number(self.metrics[self.name]))
        return [Section(self.name, [Table(["", "mean"], [[self.name, value]])], self.protocol)]


class MeanMetric:
    """The tally; a metric defines `name`, `predicted`, `true` and `measure`, whose docstring is the protocol."""

    name: ClassVar[str]
    predicted: ClassVar[frozenset[str]]
    true: ClassVar[frozenset[str]]

    def __init__(self, schema: Schema, options: Options) -> None:
        self.schema, self.options = schema, options
        self.values: dict[int, float] = {}

    def measure(self, prediction: Scene, truth: Scene) -> float:
        """The number of one picture; NaN where it has none."""
        raise NotImplementedError

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Measure a picture."""
        self.values[picture] = self.measure(prediction, truth)

    def merge(self, other: Self) -> None:
        """Take over another process's pictures."""
        self.values |= other.values

    def section(self, bootstrap: int) -> MeanSection | None:
        """The mean."""
        if not self.values:
            return None
        values = np.array([self.values[i] for i in sorted(self.values)], float)
        protocol = " ".join((self.measure.__doc__ or "").split())
        return MeanSection(self.name, values, protocol, bootstrap, self.options.seed)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
