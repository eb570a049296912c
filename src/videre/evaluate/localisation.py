"""Whether one of a few guesses has a picture's class and lies where it should: ILSVRC's localisation.

Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015: of at most five guesses (class, box) a picture is right
if one has a class that is there, and overlaps by at least half with a thing of that class; the error is the share of pictures
that are not. It is measured where no picture has more guesses than five.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from videre.evaluate.intervals import Interval, number
from videre.evaluate.intervals import bootstrap as intervals_of
from videre.evaluate.section import Options, Undecided, flat
from videre.ops.boxes import box_iou
from videre.structures import Scene, Schema

if TYPE_CHECKING:
    from videre.data.dataset import Dataset
    from videre.draw.page import Section as PageSection
    from videre.evaluate.report import Report

GUESSES = 5
OVERLAP = 0.5
NAMES = ("localisation top-1", "localisation top-5", "class top-1", "class top-5")
PROTOCOL = (
    "share of pictures of which the best guess, or one of five, has a class that is there and overlaps by half or more with a thing "
    "of that class (ILSVRC); beside it the share whose class alone is right"
)


@dataclasses.dataclass(frozen=True)
class LocalisationSection(Undecided):
    """Shares of pictures that are right.

    Args:
        right: bool [N, 4], of each picture what `NAMES` lists. bootstrap, seed: of the intervals.
    """

    right: np.ndarray
    bootstrap: int
    seed: int

    @functools.cached_property
    def metrics(self) -> dict[str, float]:
        """Shares that are right; the error is what is missing to 1."""
        return dict(zip(NAMES, self.right.mean(0).tolist(), strict=True))

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """Of all of them."""
        of = lambda drawn: dict(zip(NAMES, self.right[drawn].mean(0).tolist(), strict=True))
        return intervals_of(of, len(self.right), self.bootstrap, self.seed)

    @property
    def headline(self) -> list[str]:
        """All."""
        return list(NAMES)

    def lines(self) -> list[str]:
        """As plain text, with the error."""
        told = "  ".join(f"{name} {self.intervals.get(name) or number(value)}" for name, value in self.metrics.items())
        errors = ", ".join(f"{1 - self.metrics[name]:.3f} ({name.split()[1]})" for name in NAMES[:2])
        return [f"localisation: {PROTOCOL}", f"  {told}", f"  localisation error {errors}"]

    def to_json(self) -> dict[str, Any]:
        """How it is measured, and the errors."""
        return {"protocol": PROTOCOL, "error": flat({name: 1 - self.metrics[name] for name in NAMES[:2]})}

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """A table."""
        from videre.draw.page import Section, Table

        rows = [[name, str(self.intervals.get(name) or number(value))] for name, value in self.metrics.items()]
        return [Section("Localisation", [Table(["", "share of pictures"], rows)], PROTOCOL)]


class Localisation:
    """The tally."""

    predicted = frozenset({"boxes", "instances.labels", "scores"})
    true = frozenset({"boxes", "instances.labels"})

    def __init__(self, schema: Schema, options: Options) -> None:
        self.options = options
        self.rows: dict[int, tuple[bool, ...]] = {}
        self.guesses = 0

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Compare the guesses of a picture, the best first, with its things; a picture without things counts for nothing."""
        guesses, things = prediction.instances, truth.instances
        self.guesses = max(self.guesses, len(prediction))
        if things is None or things.boxes is None or things.labels is None:
            return
        kept = things if things.ignore is None else things.select(~things.ignore)
        if len(kept) == 0 or self.guesses > GUESSES:
            return
        if guesses is None or len(guesses) == 0:
            self.rows[picture] = (False,) * 4
            return
        assert guesses.scores is not None and guesses.boxes is not None and guesses.labels is not None
        assert kept.boxes is not None and kept.labels is not None
        guesses = guesses.select(guesses.scores.argsort(descending=True, stable=True))
        same = guesses.labels[:, None] == kept.labels  # type: ignore[index]
        near = box_iou(guesses.boxes.double(), kept.boxes.double()) >= OVERLAP  # type: ignore[union-attr]
        located, named = (same & near).any(1), same.any(1)
        self.rows[picture] = tuple(bool(v) for v in (located[0], located.any(), named[0], named.any()))

    def merge(self, other: Localisation) -> None:
        """Take over another process's pictures."""
        self.rows |= other.rows
        self.guesses = max(self.guesses, other.guesses)

    def section(self, bootstrap: int) -> LocalisationSection | None:
        """None where a picture has more guesses, as a detector makes them."""
        if not self.rows or self.guesses > GUESSES:
            return None
        right: Sequence[tuple[bool, ...]] = [self.rows[i] for i in sorted(self.rows)]
        return LocalisationSection(np.array(right, bool), bootstrap, self.options.seed)
