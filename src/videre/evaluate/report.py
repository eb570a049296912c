"""Report: the numbers of one evaluation, with their protocol and how sure they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from videre.errors import DataError
from videre.evaluate.coco import CocoResult, Kind, coco_evaluate
from videre.evaluate.intervals import Interval, bootstrap_ap
from videre.evaluate.voc import voc_evaluate
from videre.structures import Scene, Schema

WORDS = {"boxes": "box", "masks": "mask", "keypoints": "keypoint"}


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Args:
        results: one COCO result a kind ("boxes", "masks", "keypoints"). intervals: of AP and AP50, by kind.
        voc: AP by class in the two ways of Pascal VOC, of boxes. pictures: how many. schema: of the truths.
    """

    results: dict[Kind, CocoResult]
    intervals: dict[Kind, dict[str, Interval]]
    voc: dict[str, dict[str, float]]
    pictures: int
    schema: Schema

    @property
    def metrics(self) -> dict[str, float]:
        """Every number by name ("mask AP50"); the finest kind first, so that the first is the one to follow."""
        order: list[Kind] = [kind for kind in ("keypoints", "masks", "boxes") if kind in self.results]  # type: ignore[misc]
        return {f"{WORDS[kind]} {name}": value for kind in order for name, value in self.results[kind].metrics.items()}

    def rows(self) -> list[list[str]]:
        """A table: kind, then each metric; AP and AP50 with their interval."""
        rows = []
        for kind, result in self.results.items():
            shown = {name: _number(value) for name, value in result.metrics.items()}
            shown |= {name: str(interval) for name, interval in self.intervals.get(kind, {}).items()}
            rows.append([WORDS[kind], *(f"{name} {text}" for name, text in shown.items())])
        return rows

    def class_rows(self) -> list[list[str]]:
        """A row per class: AP of each kind, AP50 of boxes by VOC's two ways, number of true instances."""
        names = list(self.schema.things or [])
        rows = []
        for name in names:
            row = [name, *(_number(result.per_class[name]) for result in self.results.values())]
            rows.append(row + ([_number(self.voc[name][way]) for way in ("11 points", "area")] if self.voc else []))
        return rows

    def lines(self) -> list[str]:
        """The report as plain text."""
        lines = [f"{self.pictures} pictures; 95% intervals by bootstrap over them"]
        for kind, result in self.results.items():
            lines.append(f"{WORDS[kind]}: {result.protocol}")
            sure = self.intervals.get(kind, {})
            lines.append("  " + "  ".join(f"{n} {sure.get(n) or _number(v)}" for n, v in result.metrics.items()))
        header = [
            "class",
            *(f"{WORDS[k]} AP" for k in self.results),
            *(["VOC 11 points", "VOC area"] if self.voc else []),
        ]
        widths = [max(len(header[0]), *(len(r[0]) for r in self.class_rows() or [[""]]))]
        for row in [header, *self.class_rows()]:
            lines.append("  " + row[0].ljust(widths[0]) + "".join(cell.rjust(15) for cell in row[1:]))
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        clean = lambda v: None if math.isnan(v) else v
        return {
            "pictures": self.pictures,
            "protocol": {kind: result.protocol for kind, result in self.results.items()},
            "metrics": {name: clean(value) for name, value in self.metrics.items()},
            "intervals": {
                f"{WORDS[kind]} {name}": [clean(i.low), clean(i.high)]
                for kind, two in self.intervals.items()
                for name, i in two.items()
            },
            "per_class": {kind: {n: clean(v) for n, v in r.per_class.items()} for kind, r in self.results.items()},
            "voc": {name: {way: clean(v) for way, v in row.items()} for name, row in self.voc.items()},
        }


def evaluate(
    predictions: Sequence[Scene],
    truths: Sequence[Scene],
    schema: Schema,
    *,
    max_detections: int = 100,
    bootstrap: int = 500,
) -> Report:
    """Compare predictions with truths by every metric whose fields both sides have.

    Args:
        predictions: unthresholded, in the pixels of the pictures, in the order of `truths`.
        schema: names the labels of both. max_detections: of the COCO protocol. bootstrap: resamplings; 0: no intervals.

    Raises:
        DataError: there is nothing that both sides have.
    """
    both: list[Kind] = [k for k in ("boxes", "masks", "keypoints") if _any(predictions, k) and _any(truths, k)]  # type: ignore[misc]
    if not both:
        raise DataError("predictions and truths have no field in common that can be compared (boxes, masks, keypoints)")
    results = {kind: coco_evaluate(predictions, truths, schema, kind, max_detections) for kind in both}
    intervals = {kind: bootstrap_ap(r.evaluator, bootstrap) for kind, r in results.items()} if bootstrap else {}
    voc = voc_evaluate(predictions, truths, schema) if "boxes" in both else {}
    return Report(results, intervals, voc, len(truths), schema)


def choose_thresholds(predictions: Sequence[Scene], truths: Sequence[Scene], schema: Schema) -> dict[str, float]:
    """Per class the score at which F1 is largest (boxes, IoU .5): what `predict` shows. Choose on validation data."""
    result = coco_evaluate(predictions, truths, schema, "boxes")
    precision = result.precision[0]  # (101, K) at IoU .5
    scores = np.asarray(result.evaluator.eval["scores"])[0, :, :, 0, -1]
    recall = np.linspace(0, 1, 101)[:, None]
    f1 = np.where(precision > 0, 2 * precision * recall / np.maximum(precision + recall, 1e-9), 0)
    best = f1.argmax(axis=0)
    return {
        name: round(float(np.clip(scores[best[k], k], 0.05, 0.95)), 3)
        for k, name in enumerate(schema.things or [])
        if f1[best[k], k] > 0
    }


def _any(scenes: Sequence[Scene], field: str) -> bool:
    return any(scene.has(field) for scene in scenes)


def _number(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.3f}"
