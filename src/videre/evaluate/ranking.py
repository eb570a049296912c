"""Detections of each class by falling score, with what COCO's matching says of them: what curves are made from."""

from __future__ import annotations

import contextlib
import dataclasses
import io
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


def rankings(evaluator: Any) -> list[Ranking]:
    """The rankings of the classes that have truths or detections.

    Args:
        evaluator: hotcoco's COCOeval after evaluate(). It is asked again for things of all sizes alone: what it says of
            each picture comes as Python objects, four times as many with the bins of sizes.
    """
    import hotcoco

    again = hotcoco.COCOeval(evaluator.coco_gt, evaluator.coco_dt, evaluator.params.iou_type)
    for name in ("iou_thrs", "max_dets", "kpt_oks_sigmas"):
        setattr(again.params, name, getattr(evaluator.params, name))
    again.params.area_rng, again.params.area_rng_lbl = evaluator.params.area_rng[:1], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):
        again.evaluate()
    place = {image: i for i, image in enumerate(sorted(again.params.img_ids))}
    label = {category: k for k, category in enumerate(sorted(again.params.cat_ids))}
    classes: dict[int, list[dict[str, Any]]] = {}
    for entry in again.eval_imgs:
        if entry is not None:
            classes.setdefault(entry["category_id"], []).append(entry)
    return [_rank(label[c], entries, place, len(again.params.iou_thrs)) for c, entries in sorted(classes.items())]


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
