"""Report: the numbers of one evaluation, with their protocol and how sure they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videre.errors import DataError
from videre.evaluate.coco import USUAL, CocoResult, Kind, coco_evaluate
from videre.evaluate.intervals import Interval, bootstrap_ap, number
from videre.evaluate.labels import LabelReport, evaluate_labels
from videre.evaluate.pck import PCK, PCKH, PoseResult, evaluate_pose
from videre.evaluate.pixels import PixelReport, evaluate_pixels
from videre.evaluate.thresholds import Decision, best_thresholds, decide
from videre.evaluate.voc import voc_evaluate, voc_mean
from videre.structures import Scene, Schema

WORDS = {"boxes": "box", "masks": "mask", "keypoints": "keypoint"}
CHOSEN_HERE = "chosen on these very pictures (0.50 where none could be), which flatters precision, recall and F1"


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Args:
        results: one COCO result a kind ("boxes", "masks", "keypoints"). intervals: of AP and AP50, by kind.
        voc: AP by class in the two ways of Pascal VOC, of boxes. pictures: how many. schema: of the truths.
        decisions: by class what is right, wrong and missed when everything from its threshold on is shown.
        limits: what the model itself leaves out, in words. unread: why a picture, by its number, is not among these.
        chosen_here: the thresholds of the decisions were chosen on these very pictures, and not brought along.
        poses: share of joints found, by PCK and PCKh, where persons have the joints to measure by.
    """

    results: dict[Kind, CocoResult]
    intervals: dict[Kind, dict[str, Interval]]
    voc: dict[str, dict[str, float]]
    pictures: int
    schema: Schema
    decisions: dict[str, Decision] = dataclasses.field(default_factory=dict)
    chosen_here: bool = False
    limits: str = ""
    unread: Mapping[int, str] = dataclasses.field(default_factory=dict)
    poses: Sequence[PoseResult] = ()

    @property
    def protocols(self) -> dict[Kind, str]:
        """How each kind was measured."""
        return {kind: "; ".join(filter(None, (r.protocol, self.limits))) for kind, r in self.results.items()}

    @property
    def thresholds_in_words(self) -> str:
        """Where the thresholds of the decisions come from; to be said wherever precision and recall are shown."""
        return CHOSEN_HERE if self.chosen_here else "the model's own"

    @property
    def metrics(self) -> dict[str, float]:
        """Every number by name ("mask AP50"); the finest kind first, so that the first is the one to follow."""
        order: list[Kind] = [kind for kind in ("keypoints", "masks", "boxes") if kind in self.results]  # type: ignore[misc]
        return {f"{WORDS[kind]} {name}": value for kind in order for name, value in self.results[kind].metrics.items()}

    @property
    def headline(self) -> dict[str, float]:
        """What is told while training."""
        found = {name: value for name, value in self.metrics.items() if name.split()[1] in ("AP", "AP50", "AP75")}
        return {pose.measure.name.split("@")[0]: pose.metrics["mean"] for pose in self.poses} | found

    @property
    def main(self) -> CocoResult:
        """The result that errors and decisions are told of: boxes where there are some."""
        return main_result(self.results)

    def confusion(self, least: float = 0.5) -> np.ndarray:
        """Counts [K + 1, K + 1]: true class by row, class of predictions scored `least` or more by column; last: none."""
        return self.main.evaluator.confusion_matrix(iou_thr=0.5, min_score=least)["matrix"].astype(np.int64)

    def error_types(self) -> dict[str, float]:
        """What AP50 would gain if all errors of a kind were mended (Bolya et al., TIDE, 2020)."""
        return {name: float(gain) for name, gain in self.main.evaluator.tide_errors()["delta_ap"].items()}

    def calibration(self) -> dict[str, Any]:
        """How far scores are from the share that is right: "ece", "mce", and the "bins" they come from (IoU .5)."""
        return self.main.evaluator.calibration()

    def rows(self) -> list[list[str]]:
        """A table: kind, then each metric; AP and AP50 with their interval."""
        rows = []
        for kind, result in self.results.items():
            shown = {name: number(value) for name, value in result.metrics.items()}
            shown |= {name: str(interval) for name, interval in self.intervals.get(kind, {}).items()}
            rows.append([WORDS[kind], *(f"{name} {text}" for name, text in shown.items())])
        return rows

    def class_rows(self) -> list[list[str]]:
        """A row per class: AP of each kind, AP50 of boxes by VOC's two ways."""
        names = list(self.schema.things or [])
        rows = []
        for name in names:
            row = [name, *(number(result.per_class[name]) for result in self.results.values())]
            rows.append(row + ([number(self.voc[name][way]) for way in ("11 points", "area")] if self.voc else []))
        return rows

    def lines(self) -> list[str]:
        """The report as plain text."""
        lines = [f"{self.pictures} pictures; 95% intervals by bootstrap over them"]
        if self.unread:
            lines[0] += f"; {len(self.unread)} could not be read and are left out"
        for kind, result in self.results.items():
            lines.append(f"{WORDS[kind]}: {self.protocols[kind]}")
            sure = self.intervals.get(kind, {})
            lines.append("  " + "  ".join(f"{n} {sure.get(n) or number(v)}" for n, v in result.metrics.items()))
        header = [
            "class",
            *(f"{WORDS[k]} AP" for k in self.results),
            *(["VOC 11 points", "VOC area"] if self.voc else []),
        ]
        widths = [max(len(header[0]), *(len(r[0]) for r in self.class_rows() or [[""]]))]
        for row in [header, *self.class_rows()]:
            lines.append("  " + row[0].ljust(widths[0]) + "".join(cell.rjust(15) for cell in row[1:]))
        for pose in self.poses:
            lines += pose.lines()
        if self.decisions:
            lines.append(f"thresholds: {self.thresholds_in_words}")
        for name, d in self.decisions.items():
            lines.append(f"  {name.ljust(widths[0])}  from score {d.threshold:.2f} on: precision {number(d.precision)}, "
                         f"recall {number(d.recall)}, F1 {number(d.f1)}")  # fmt: skip
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        clean = lambda v: None if math.isnan(v) else v
        return {
            "pictures": self.pictures,
            "unread": list(self.unread.values()),
            "protocol": self.protocols,
            "metrics": {name: clean(value) for name, value in self.metrics.items()},
            "intervals": {
                f"{WORDS[kind]} {name}": [clean(i.low), clean(i.high)]
                for kind, two in self.intervals.items()
                for name, i in two.items()
            },
            "per_class": {kind: {n: clean(v) for n, v in r.per_class.items()} for kind, r in self.results.items()},
            "voc": {name: {way: clean(v) for way, v in row.items()} for name, row in self.voc.items()},
            "voc_mean": {way: clean(v) for way, v in voc_mean(self.voc).items()},
            "thresholds": self.thresholds_in_words,
            "decisions": {
                name: {
                    **dataclasses.asdict(d),
                    "precision": clean(d.precision),
                    "recall": clean(d.recall),
                    "f1": clean(d.f1),
                }
                for name, d in self.decisions.items()
            },
            "error_types": self.error_types(),
            "calibration_error": self.calibration()["ece"],
            "poses": [pose.to_json() for pose in self.poses],
        }


def evaluate(
    predictions: Sequence[Scene],
    truths: Sequence[Scene],
    schema: Schema,
    *,
    max_detections: int = USUAL,
    bootstrap: int = 500,
    thresholds: Mapping[str, float] | None = None,
    limits: str = "",
    unread: Mapping[int, str] | None = None,
) -> Report | LabelReport | PixelReport:
    """Compare predictions with truths by every metric whose fields both sides have.

    Things come first; where none can be compared, the classes of pixels (`evaluate_pixels`), then those of whole pictures
    (`evaluate_labels`).

    Args:
        predictions: unthresholded, in the pixels of the pictures, in the order of `truths`.
        schema: names the labels of both. max_detections: of the COCO protocol. bootstrap: resamplings; 0: no intervals.
        thresholds: by class, the model's own, for the report's decisions; None: those of the largest F1 on these
            pictures, and the report says so.
        limits, unread: what the report says of the predictions, as in `Report`.

    Raises:
        DataError: there is nothing that both sides have.
    """
    both: list[Kind] = [k for k in ("boxes", "masks", "keypoints") if _any(predictions, k) and _any(truths, k)]  # type: ignore[misc]
    if not both and _any(predictions, "segmentation") and _any(truths, "segmentation"):
        return evaluate_pixels(predictions, truths, schema, bootstrap=bootstrap, unread=unread)
    if not both and _any(predictions, "labels") and _any(truths, "labels"):
        return evaluate_labels(predictions, truths, schema, bootstrap=bootstrap, unread=unread)
    if not both:
        raise DataError(
            "predictions and truths have no field in common that can be compared (boxes, masks, keypoints, segmentation, labels)"
        )
    results = {kind: coco_evaluate(predictions, truths, schema, kind, max_detections) for kind in both}
    intervals = {kind: bootstrap_ap(r.rankings, bootstrap) for kind, r in results.items()} if bootstrap else {}
    voc = voc_evaluate(predictions, truths, schema) if "boxes" in both else {}
    main = main_result(results)
    decisions = decide(main, best_thresholds(main) if thresholds is None else thresholds)
    poses: list[PoseResult] = []
    for measure in (PCK, PCKH) if "keypoints" in both and schema.skeleton is not None else ():
        assert schema.skeleton is not None
        pose = evaluate_pose(predictions, truths, schema.skeleton, measure, bootstrap=bootstrap)
        poses += [] if pose is None else [pose]
    return Report(
        results, intervals, voc, len(truths), schema, decisions, chosen_here=thresholds is None, limits=limits,
        unread=unread or {}, poses=poses,
    )  # fmt: skip


def main_result(results: Mapping[Kind, CocoResult]) -> CocoResult:
    """Boxes where there are some, else what there is."""
    return results.get("boxes") or next(iter(results.values()))


def _any(scenes: Sequence[Scene], field: str) -> bool:
    return any(scene.has(field) for scene in scenes)
