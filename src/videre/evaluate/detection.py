"""Things found: COCO's average precision of boxes, masks and keypoints, VOC's of boxes, and what the thresholds decide.

Of each picture boxes, labels, scores, run lengths and keypoints are kept, until all of them are there to be ranked.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from videre.evaluate.coco import CocoResult, Kind, coco_evaluate
from videre.evaluate.intervals import Interval, bootstrap_ap, number
from videre.evaluate.section import USUAL, Options, flat, unseen
from videre.evaluate.thresholds import Decision, best_thresholds, decide
from videre.evaluate.voc import voc_evaluate, voc_mean
from videre.layers.detections import shown
from videre.structures import Scene, Schema

if TYPE_CHECKING:
    from videre.data.dataset import Dataset
    from videre.draw.page import Section as PageSection
    from videre.evaluate.report import Report

WORDS = {"boxes": "box", "masks": "mask", "keypoints": "keypoint"}
KEPT = ("boxes", "instances.labels", "scores", "masks", "keypoints", "visibility", "ignore", "areas")
"""What is kept of each scene, in run lengths where it has masks."""
CHOSEN_HERE = "chosen on these very pictures (0.50 where none could be), which flatters precision, recall and F1"


class Detection:
    """The tally of things found."""

    predicted = frozenset({"boxes", "scores"})
    true = frozenset({"boxes"})

    def __init__(self, schema: Schema, options: Options) -> None:
        self.schema, self.options = schema, options
        self.scenes: dict[int, tuple[Scene, Scene]] = {}

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Keep what is ranked in the end."""
        self.scenes[picture] = _slim(prediction), _slim(truth)

    def merge(self, other: Detection) -> None:
        """Take over another process's pictures."""
        self.scenes |= other.scenes

    def section(self, bootstrap: int) -> DetectionSection | None:
        """Average precision of every kind that both sides have."""
        if not self.scenes:
            return None
        predictions, truths = (list(side) for side in zip(*(self.scenes[i] for i in sorted(self.scenes)), strict=True))
        both: list[Kind] = [kind for kind in ("boxes", "masks", "keypoints") if kind in self.options.fields]  # type: ignore[misc]
        most = self.options.max_detections
        results = {kind: coco_evaluate(predictions, truths, self.schema, kind, most) for kind in both}
        intervals = {kind: bootstrap_ap(r.rankings, bootstrap) for kind, r in results.items()} if bootstrap else {}
        voc = voc_evaluate(predictions, truths, self.schema)
        section = DetectionSection(
            predictions, truths, self.schema, results, intervals, voc, {}, False, str(self.options.limits)
        )
        given = self.options.thresholds
        return section.decided(section.best_thresholds() if given is None else given, chosen_here=given is None)


def _slim(scene: Scene) -> Scene:
    """What is compared of a scene; of a picture without things an empty one."""
    things = scene.only(KEPT).instances
    if things is not None and things.masks is not None:
        things = things.replace_unchecked(masks=things.masks.as_rle())
    return Scene.unchecked(size=scene.size, instances=things, meta=scene.meta)


def _shown(scene: Scene, least: torch.Tensor) -> Scene:
    """What is shown of a prediction from these scores on, by class."""
    things = scene.instances
    return scene if things is None or things.labels is None else scene.select(shown(things, least[things.labels]))


@dataclasses.dataclass(frozen=True)
class DetectionSection:
    """How well things are found.

    Args:
        predictions, truths: what was compared, of every picture. schema: of their labels.
        results: one COCO result a kind ("boxes", "masks", "keypoints"). by_kind: intervals of AP and AP50, by kind.
        voc: AP by class in the two ways of Pascal VOC, of boxes.
        decisions: by class what is right, wrong and missed when everything from its threshold on is shown.
        chosen_here: the thresholds of the decisions were chosen on these very pictures, and not brought along.
        limits: what the model itself leaves out, in words.
    """

    predictions: Sequence[Scene]
    truths: Sequence[Scene]
    schema: Schema
    results: dict[Kind, CocoResult]
    by_kind: dict[Kind, dict[str, Interval]]
    voc: dict[str, dict[str, float]]
    decisions: dict[str, Decision]
    chosen_here: bool
    limits: str

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
    def intervals(self) -> dict[str, Interval]:
        """Of AP and AP50 of each kind."""
        return {f"{WORDS[kind]} {name}": i for kind, two in self.by_kind.items() for name, i in two.items()}

    @property
    def headline(self) -> list[str]:
        """AP, AP50 and AP75 of each kind, the finest first."""
        return [name for name in self.metrics if name.split()[1] in ("AP", "AP50", "AP75")]

    @property
    def cards(self) -> list[str]:
        """AP and AP50 of each kind."""
        return [name for name in self.metrics if name.split()[1] in ("AP", "AP50")]

    @functools.cached_property
    def _best(self) -> dict[str, float]:
        return best_thresholds(self.main)

    def best_thresholds(self) -> dict[str, float]:
        """By class the score at which F1 is largest."""
        return self._best

    def decided(self, thresholds: Mapping[str, float], chosen_here: bool) -> Self:
        """With what is right and wrong of what is shown from these thresholds on, each thing once as `Model.decide` has it."""
        least = torch.tensor([thresholds.get(name, math.inf) for name in self.schema.things or ()])
        seen = [_shown(scene, least) for scene in self.predictions]
        most = max(map(len, seen), default=0)
        kind = next(kind for kind, result in self.results.items() if result is self.main)
        result = coco_evaluate(seen, self.truths, self.schema, kind, max(USUAL, most))
        return dataclasses.replace(self, decisions=decide(result, thresholds), chosen_here=chosen_here)

    @property
    def main(self) -> CocoResult:
        """The result that errors and decisions are reported for: boxes where there are some."""
        return self.results.get("boxes") or next(iter(self.results.values()))

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
            shown |= {name: str(interval) for name, interval in self.by_kind.get(kind, {}).items()}
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

    @functools.cached_property
    def truth_counts(self) -> np.ndarray:
        """Things of each class in the truth [K]."""
        counts = np.zeros(len(self.schema.things or ()), np.int64)
        for truth in self.truths:
            if truth.instances is not None and truth.instances.labels is not None:
                np.add.at(counts, truth.instances.labels.numpy(), 1)
        return counts

    def lines(self) -> list[str]:
        """The report as plain text."""
        lines = []
        for kind, result in self.results.items():
            lines.append(f"{WORDS[kind]}: {self.protocols[kind]}")
            sure = self.by_kind.get(kind, {})
            lines.append("  " + "  ".join(f"{n} {sure.get(n) or number(v)}" for n, v in result.metrics.items()))
        header = [
            "class",
            *(f"{WORDS[k]} AP" for k in self.results),
            *(["VOC 11 points", "VOC area"] if self.voc else []),
        ]
        widths = [max(len(header[0]), *(len(r[0]) for r in self.class_rows() or [[""]]))]
        for row in [header, *self.class_rows()]:
            lines.append("  " + row[0].ljust(widths[0]) + "".join(cell.rjust(15) for cell in row[1:]))
        lines += unseen(dict(zip(self.schema.things or [], self.truth_counts.tolist())))
        if self.decisions:
            lines.append(f"thresholds: {self.thresholds_in_words}")
        for name, d in self.decisions.items():
            lines.append(
                f"  {name.ljust(widths[0])}  from score {d.threshold:.2f} on: precision {number(d.precision)}, "
                f"recall {number(d.recall)}, F1 {number(d.f1)}"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        rates = lambda d: flat({"precision": d.precision, "recall": d.recall, "f1": d.f1})
        return {
            "protocol": self.protocols,
            "per_class": {kind: flat(result.per_class) for kind, result in self.results.items()},
            "voc": {name: flat(row) for name, row in self.voc.items()},
            "voc_mean": flat(voc_mean(self.voc)),
            "thresholds": self.thresholds_in_words,
            "decisions": {name: {**dataclasses.asdict(d), **rates(d)} for name, d in self.decisions.items()},
            "error_types": self.error_types(),
            "calibration_error": self.calibration()["ece"],
        }

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """Metrics, classes, errors and pictures."""
        from videre.evaluate.detection_page import detection_sections

        return detection_sections(self, report, data)
