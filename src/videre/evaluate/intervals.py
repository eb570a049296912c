"""How sure a number is: bootstrap over pictures.

Efron, Bootstrap Methods, 1979. Pictures are drawn with replacement and the metric is taken again; the interval holds
the middle of what comes out. It speaks of the pictures of the test set, not of the luck of a training (seeds do).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and the range that holds `level` of the resampled ones."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_ap(evaluator: Any, samples: int = 500, seed: int = 0, level: float = 0.95) -> dict[str, Interval]:
    """Intervals of AP and AP50 of a COCO evaluation, over its pictures.

    Args:
        evaluator: hotcoco's COCOeval after evaluate(). samples: resampled sets. level: share inside the interval.
    """
    tables, pictures = _tables(evaluator)
    rng = np.random.default_rng(seed)
    whole = _average(tables, np.ones(pictures))
    drawn = np.array(
        [_average(tables, np.bincount(rng.integers(0, pictures, pictures), minlength=pictures)) for _ in range(samples)]
    )
    edges = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: Interval(whole[i], edges[0, i], edges[1, i], level) for i, name in enumerate(("AP", "AP50"))}


def _tables(evaluator: Any) -> tuple[list[dict[str, np.ndarray]], int]:
    """Per class, of the range of all sizes: detections by falling score, with picture, match and ignore flags."""
    everything = list(evaluator.params.area_rng[0])
    place = {image: i for i, image in enumerate(sorted(evaluator.params.img_ids))}
    classes: dict[int, list[dict[str, Any]]] = {}
    for entry in evaluator.eval_imgs:
        if entry is not None and list(entry["aRng"]) == everything:
            classes.setdefault(entry["category_id"], []).append(entry)
    tables = []
    for entries in classes.values():
        entries.sort(key=lambda e: place[e["image_id"]])
        owner = np.repeat([place[e["image_id"]] for e in entries], [len(e["dtScores"]) for e in entries])
        scores = np.concatenate([np.asarray(e["dtScores"], float) for e in entries])
        order = np.argsort(-scores, kind="mergesort")
        stack = lambda key, entries=entries: np.concatenate(
            [np.asarray(e[key], bool).reshape(10, -1) for e in entries], 1
        )
        truths = np.bincount(
            [place[e["image_id"]] for e in entries],
            weights=[len(e["gtIgnore"]) - sum(e["gtIgnore"]) for e in entries],
            minlength=len(place),
        )
        tables.append(
            {
                "owner": owner[order],
                "hit": stack("dtMatched")[:, order],
                "skip": stack("dtIgnore")[:, order],
                "truths": truths,
            }
        )
    return tables, len(place)


def _average(tables: list[dict[str, np.ndarray]], weights: np.ndarray) -> np.ndarray:
    """(AP, AP50) when picture i counts weights[i] times."""
    grid = np.linspace(0, 1, 101)
    values = []
    for table in tables:
        truths = float(table["truths"] @ weights)
        if truths == 0:
            continue
        weight = weights[table["owner"]] * ~table["skip"]  # (10, D)
        right, wrong = np.cumsum(weight * table["hit"], axis=1), np.cumsum(weight * ~table["hit"], axis=1)
        recall, precision = right / truths, right / np.maximum(right + wrong, 1e-300)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        curves = np.zeros((10, 101))
        for t in range(10):
            at = np.searchsorted(recall[t], grid, side="left")
            inside = at < recall.shape[1]
            curves[t, inside] = precision[t, at[inside]]
        values.append((curves.mean(), curves[0].mean()))
    return np.array(values).mean(axis=0) if values else np.full(2, np.nan)
