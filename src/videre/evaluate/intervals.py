"""How sure a number is: bootstrap over pictures.

Efron, Bootstrap Methods, 1979. Pictures are drawn with replacement and the metric is taken again; the interval holds
the middle of what comes out. It speaks of the pictures of the test set, not of the luck of a training (seeds do).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from videre.evaluate.ranking import Ranking


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and the range that holds `level` of the resampled ones."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "—"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_ap(
    ranked: Sequence[Ranking], samples: int = 500, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Intervals of AP and AP50 of a COCO evaluation, over its pictures; NaN where there is no truth.

    Args:
        ranked: of a `CocoResult`. samples: resampled sets. level: share inside the interval.
    """
    ranked = [r for r in ranked if r.truths.any()]
    if not ranked:
        return {name: Interval(math.nan, math.nan, math.nan, level) for name in ("AP", "AP50")}
    rng = np.random.default_rng(seed)
    pictures = len(ranked[0].truths)
    whole = average_precision(ranked, np.ones(pictures))
    drawn = np.array(
        [
            average_precision(ranked, np.bincount(rng.integers(0, pictures, pictures), minlength=pictures))
            for _ in range(samples)
        ]
    )
    edges = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: Interval(whole[i], edges[0, i], edges[1, i], level) for i, name in enumerate(("AP", "AP50"))}


def average_precision(ranked: Sequence[Ranking], weights: np.ndarray) -> np.ndarray:
    """COCO's (AP, AP50) when picture i counts weights[i] times; NaN where no truth is left."""
    grid = np.linspace(0, 1, 101)
    values = []
    for ranking in ranked:
        truths = float(ranking.truths @ weights)
        if truths == 0:
            continue
        weight = weights[ranking.pictures] * ~ranking.skip  # (10, D)
        right, wrong = np.cumsum(weight * ranking.hit, axis=1), np.cumsum(weight * ~ranking.hit, axis=1)
        recall, precision = right / truths, right / np.maximum(right + wrong, 1e-300)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        curves = np.zeros((len(recall), 101))
        for t in range(len(recall)):
            at = np.searchsorted(recall[t], grid, side="left")
            inside = at < recall.shape[1]
            curves[t, inside] = precision[t, at[inside]]
        values.append((curves.mean(), curves[0].mean()))
    return np.array(values).mean(axis=0) if values else np.full(2, np.nan)


def number(value: float) -> str:
    """Three digits, or a dash where there is no value."""
    return "—" if math.isnan(value) else f"{value:.3f}"
