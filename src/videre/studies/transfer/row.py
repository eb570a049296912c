"""One number of a transfer study, and how far it is to be trusted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One way on one share of the training pictures.

    Args:
        method: in words. cost: its place among the others, the cheapest first. share: of the training pictures.
        pictures: how many these are.
        right: bool [S, N], by seed and held-out picture. seconds: of one seed, features not counted.
        how: what was chosen for it.
    """

    method: str
    cost: int
    share: float
    pictures: int
    right: np.ndarray
    seconds: float
    how: str = ""

    @property
    def accuracy(self) -> float:
        """Mean over seeds."""
        return float(self.right.mean())

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; NaN of a single one."""
        return float(self.right.mean(1).std(ddof=1)) if len(self.right) > 1 else math.nan

    @property
    def error(self) -> float:
        """Standard error of the accuracy on other held-out pictures, and with other seeds."""
        pictures = float(self.right.mean(0).var()) / self.right.shape[1]
        seeds = self.spread**2 / len(self.right) if len(self.right) > 1 else 0.0
        return math.sqrt(pictures + seeds)

    def __str__(self) -> str:
        spread = "" if math.isnan(self.spread) else f" ± {self.spread:.3f} over {len(self.right)} seeds"
        low, high = (self.accuracy + sign * 1.96 * self.error for sign in (-1, 1))
        return f"{self.accuracy:.3f} [{max(low, 0):.3f}, {min(high, 1):.3f}]{spread}"


def at(rows: Sequence[Row], share: float) -> dict[str, Row]:
    """Those of a share, by method."""
    return {row.method: row for row in rows if row.share == share}
