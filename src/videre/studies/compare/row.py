"""A row of the comparison: one training, what it cost and how good it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NUMBERS = {"ap": "box AP", "ap50": "box AP50", "small": "box APs", "medium": "box APm", "large": "box APl"}
"""What a row calls the metrics of a report."""
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to detect, measured.

    Args:
        name: of the candidate, and with how many proposals where that was turned down. system, backbone: names. side: longest, pixels.
        rung: of the halving, 0 the first; -1: a run that was there before. two_stage: it looks at proposals of its own.
        proposals: that it looks at; 0: it has none.
        pictures, minutes: of its training. parameters: count. seconds: a picture. memory: peak of predicting, bytes; 0: unknown.
        draws: [samples] AP on resampled pictures, the same ones for every row.
        weights: its checkpoint.
    """

    name: str
    system: str
    backbone: str
    side: int
    rung: int
    two_stage: bool
    proposals: int
    pictures: int
    minutes: float
    parameters: int
    ap: float
    ap50: float
    small: float
    medium: float
    large: float
    draws: np.ndarray
    seconds: float
    memory: int
    weights: str

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high end of the AP, by bootstrap over pictures."""
        return quantiles(self.draws)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        clean = lambda v: None if isinstance(v, float) and math.isnan(v) else v
        found = {field.name: clean(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return found | {"draws": self.draws.tolist()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Row:
        """Of what `to_json` gave."""
        whole: dict[str, Any] = {name: math.nan if value is None else value for name, value in record.items()}
        whole["draws"] = np.array(record["draws"])
        return cls(**whole)


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much better one row is than another, or some than others, on the same pictures."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def difference(pairs: Sequence[tuple[Row, Row]]) -> Difference:
    """Mean of (first - second) in AP, with its interval over pictures."""
    draws = np.mean([a.draws - b.draws for a, b in pairs], axis=0)
    return Difference(float(np.mean([a.ap - b.ap for a, b in pairs])), *quantiles(draws))


def quantiles(draws: np.ndarray) -> tuple[float, float]:
    """Ends of the middle 95 %; NaN where there is no value."""
    if not np.isfinite(draws).any():
        return math.nan, math.nan
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows that no faster one reaches in AP, fastest first."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.seconds, -row.ap)):
        if not best or row.ap > best[-1].ap:
            best.append(row)
    return best
