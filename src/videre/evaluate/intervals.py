"""How sure a number is: bootstrap over pictures.

Efron, Bootstrap Methods, 1979. Pictures are drawn with replacement and the metric is taken again; the interval holds
the middle of what comes out. It speaks of the pictures of the test set, not of the luck of a training (seeds do).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

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


def bootstrap(
    measure: Callable[[np.ndarray], Mapping[str, float]],
    count: int,
    samples: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Intervals of metrics over `count` pictures (or persons); NaN for a metric that has no value in any sample.

    Args:
        measure: the metrics, always the same ones, of the pictures that count, int [M]; one may be there several times.
        samples: resampled sets; 0: no intervals. level: share inside the interval.
    """
    if not samples:
        return {}
    whole, drawn = measure(np.arange(count)), resampled(measure, count, samples, seed)
    edges, there = np.full((2, len(whole)), math.nan), np.isfinite(drawn).any(0)
    edges[:, there] = np.nanquantile(drawn[:, there], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {
        name: Interval(float(value), float(low), float(high), level)
        for (name, value), (low, high) in zip(whole.items(), edges.T)
    }


def resampled(
    measure: Callable[[np.ndarray], Mapping[str, float]], count: int, samples: int = 500, seed: int = 0
) -> np.ndarray:
    """The metrics of resampled sets, [samples, metrics]: of the same count and seed always the same pictures, so that two models'
    rows may be compared one by one."""
    rng = np.random.default_rng(seed)
    return np.array([list(measure(rng.integers(0, count, count)).values()) for _ in range(samples)])


def resampled_ap(ranked: Sequence[Ranking], pictures: int, samples: int = 500, seed: int = 0) -> np.ndarray:
    """AP [samples] of a COCO evaluation of so many pictures, see `resampled`; NaN where no truth is drawn.

    Args:
        ranked: of a `CocoResult`.
    """
    ranked = [r for r in ranked if r.truths.any()]
    measure = lambda rows: {"AP": average_precision(ranked, np.bincount(rows, minlength=pictures))[0]}
    return resampled(measure, pictures, samples, seed)[:, 0]


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
    pictures = len(ranked[0].truths)

    def measure(rows: np.ndarray) -> dict[str, float]:
        return dict(zip(("AP", "AP50"), average_precision(ranked, np.bincount(rows, minlength=pictures))))

    return bootstrap(measure, pictures, samples, seed, level)


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
