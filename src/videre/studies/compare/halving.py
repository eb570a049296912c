"""Successive halving: many short trainings, then fewer and longer ones of those that promise most.

Jamieson & Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016. Every rung has the same share of the
budget. What promises most is not what is most accurate but what nothing else beats in both accuracy and speed.
"""

from __future__ import annotations

from collections.abc import Sequence

from videre.errors import ConfigError
from videre.studies.compare.row import Row

FACTOR = 3
"""One in so many goes on."""
LEAST_MINUTES = 0.5
"""Shorter trainings say nothing."""


def rungs(count: int) -> list[int]:
    """How many candidates are trained on each rung: all, a third, a ninth, until two or fewer are left."""
    sizes = [count]
    while sizes[-1] > 2:
        sizes.append(-(-sizes[-1] // FACTOR))
    return sizes


def minutes_each(count: int, minutes: float) -> list[float]:
    """Minutes of a training on each rung. ConfigError where they are too few."""
    sizes = rungs(count)
    each = [minutes / len(sizes) / size for size in sizes]
    if each[0] < LEAST_MINUTES:
        needed = LEAST_MINUTES * len(sizes) * count
        raise ConfigError(
            f"{count} candidates get {each[0]:.2f} minutes each in the first round, too few to tell them apart: "
            f"--minutes {needed:.0f} at least, or fewer systems, weights or sizes"
        )
    return each


def promising(rows: Sequence[Row], count: int) -> list[Row]:
    """The rows that go on: those that the fewest others beat, being as fast and more accurate; of equal ones the more accurate."""
    beaten = lambda row: sum(other.seconds <= row.seconds and other.ap > row.ap for other in rows)
    return sorted(rows, key=lambda row: (beaten(row), -row.ap))[:count]
