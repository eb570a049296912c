"""Detections of each class by falling score, with what COCO's matching says of them: what curves are made from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ranking:
    """One class, things of all sizes.

    Args:
        label: of the class. scores: float [D], falling. pictures: int [D], which picture, by falling id.
        hit: bool [T, D], matched to a truth at each IoU threshold. skip: bool [T, D], neither right nor wrong.
        truths: int [P], true things of each picture that count.
    """

    label: int
    scores: np.ndarray
    pictures: np.ndarray
    hit: np.ndarray
    skip: np.ndarray
    truths: np.ndarray


def rankings(evaluator: Any) -> tuple[list[Ranking], int]:
    """The rankings of the classes that have truths or detections, and the number of pictures.

    Args:
        evaluator: hotcoco's COCOeval after evaluate().
    """
    everything = list(evaluator.params.area_rng[0])
    place = {image: i for i, image in enumerate(sorted(evaluator.params.img_ids))}
    label = {category: k for k, category in enumerate(sorted(evaluator.params.cat_ids))}
    classes: dict[int, list[dict[str, Any]]] = {}
    for entry in evaluator.eval_imgs:
        if entry is not None and list(entry["aRng"]) == everything:
            classes.setdefault(entry["category_id"], []).append(entry)
    return [_rank(label[c], entries, place, len(evaluator.params.iou_thrs)) for c, entries in classes.items()], len(
        place
    )


def _rank(label: int, entries: list[dict[str, Any]], place: dict[int, int], thresholds: int) -> Ranking:
    entries = sorted(entries, key=lambda e: place[e["image_id"]])
    where = [place[e["image_id"]] for e in entries]
    scores = np.concatenate([np.asarray(e["dtScores"], float) for e in entries])
    order = np.argsort(-scores, kind="mergesort")
    flags = lambda key: np.concatenate([np.asarray(e[key], bool).reshape(thresholds, -1) for e in entries], 1)[:, order]
    counted = [len(e["gtIgnore"]) - sum(e["gtIgnore"]) for e in entries]
    return Ranking(
        label,
        scores[order],
        np.repeat(where, [len(e["dtScores"]) for e in entries])[order],
        flags("dtMatched"),
        flags("dtIgnore"),
        np.bincount(where, weights=counted, minlength=len(place)).astype(np.int64),
    )
