"""From scores to decisions: the least score at which a class is shown, and what that decision gets right."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from videre.evaluate.coco import CocoResult, coco_evaluate
from videre.evaluate.ranking import Ranking
from videre.structures import Scene, Schema

LOWEST, HIGHEST = 0.05, 0.95
"""Thresholds stay between these: few pictures may choose an extreme one by luck."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """What one class gets right when everything from `threshold` on is shown (IoU .5)."""

    threshold: float
    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the shown that is right; NaN where nothing is shown."""
        return _share(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the truth that is shown; NaN where there is none."""
        return _share(self.right, self.right + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of both; NaN where there is nothing and nothing is shown."""
        return _share(2 * self.right, 2 * self.right + self.wrong + self.missed)


def choose_thresholds(predictions: Sequence[Scene], truths: Sequence[Scene], schema: Schema) -> dict[str, float]:
    """Per class the score at which F1 is largest (boxes, IoU .5): what `predict` shows. Choose on validation data.

    Classes of which nothing right was found, or only with scores below .05, are left out.
    """
    return best_thresholds(coco_evaluate(predictions, truths, schema, "boxes"))


def best_thresholds(result: CocoResult) -> dict[str, float]:
    """Per class the score at which F1 is largest, from an evaluation."""
    chosen = {}
    names = list(result.per_class)
    for ranking in result.rankings:
        counts = ~ranking.skip[0]
        scores, right = ranking.scores[counts], np.append(0, ranking.hit[0][counts].cumsum())
        # four digits, rounded down, so that what has the score is shown; the highest first
        levels = np.unique(np.clip(np.floor(scores * 1e4) / 1e4, LOWEST, HIGHEST))[::-1]
        shown = np.searchsorted(-scores, -levels, side="right")
        f1 = 2 * right[shown] / (shown + max(int(ranking.truths.sum()), 1))
        if f1.max(initial=0.0) > 0:
            chosen[names[ranking.label]] = float(levels[f1.argmax()])
    return {name: chosen[name] for name in names if name in chosen}


def decide(result: CocoResult, thresholds: Mapping[str, float]) -> dict[str, Decision]:
    """What each class of `thresholds` gets right when everything from its threshold on is shown."""
    by_label: dict[int, Ranking] = {r.label: r for r in result.rankings}
    decisions = {}
    for label, name in enumerate(result.per_class):
        if name not in thresholds:
            continue
        right = wrong = missed = 0
        if label in by_label:
            ranking = by_label[label]
            shown = (ranking.scores >= thresholds[name]) & ~ranking.skip[0]
            right, truths = int((shown & ranking.hit[0]).sum()), int(ranking.truths.sum())
            wrong, missed = int(shown.sum()) - right, truths - right
        decisions[name] = Decision(thresholds[name], right, wrong, missed)
    return decisions


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
