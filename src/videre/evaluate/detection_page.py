"""The report of things found: metrics, classes, errors, and pictures with truth and prediction."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from videre.data.dataset import Dataset
from videre.draw import curves, draw_pair
from videre.draw.page import Chart, Gallery, Section, Table, embed
from videre.evaluate.coco import Kind
from videre.evaluate.detection import WORDS, DetectionSection
from videre.evaluate.errors import IN_WORDS, Outcome, picture_errors
from videre.evaluate.intervals import number
from videre.evaluate.report import Report
from videre.structures.clip import still

GALLERY_BYTES = 6_000_000
"""What all pictures of a page may weigh; charts and tables come to less than two million more."""
SIDE = 640
"""Longest side of each picture in the gallery, before it is laid beside its twin."""
BEST, TYPICAL, WORST = 4, 4, 8
SURE = 0.5
"""Least score shown where no threshold could be chosen."""

HOW_TO_READ = (
    "Truth on the left, prediction on the right, each class from its own threshold on. What was found has the same colour "
    "on both sides; missed things are dashed in pink, false ones dotted in orange (by boxes, IoU .50). F1 is of the one "
    "picture. Click a picture to enlarge it."
)


def detection_sections(section: DetectionSection, report: Report, data: Dataset) -> list[Section]:
    """Everything that a page shows; `data` are the pictures that were compared, in order."""
    level = dict.fromkeys(section.schema.things or (), SURE)
    level |= {name: decision.threshold for name, decision in section.decisions.items()}
    outcomes = picture_errors(section.predictions, section.truths, section.schema, level)
    measured = f"{report.pictures_in_words}. {'. '.join(section.protocols.values())}."
    return [
        Section("Metrics", [_metrics_table(section), *_class_bars(section)], measured),
        Section("Classes", [_class_table(section, level), *_curves(section)]),
        Section("Errors", _error_blocks(section, level, outcomes)),
        Section("Pictures", _galleries(section, data, level, outcomes), HOW_TO_READ),
    ]


def _metrics_table(section: DetectionSection) -> Table:
    names = list(dict.fromkeys(name for result in section.results.values() for name in result.metrics))
    rows = []
    for name in names:
        kind: Kind = next(kind for kind, result in section.results.items() if name in result.metrics)
        row = [_in_words(kind, name)]
        for kind, result in section.results.items():
            sure = section.by_kind.get(kind, {}).get(name)
            row.append(
                str(sure) if sure is not None else number(result.metrics[name]) if name in result.metrics else ""
            )
        rows.append(row)
    return Table(["", *(WORDS[kind] for kind in section.results)], rows)


def _in_words(kind: Kind, metric: str) -> str:
    known = {"AP": "mean over IoU .50:.95", "AP50": "at IoU .50", "AP75": "at IoU .75"}
    if "@" in metric:
        return f"{metric}, {known['AP']}, with at most {metric.partition('@')[2]} a picture"
    size = {"s": "small things", "m": "medium things", "l": "large things"}.get(metric[2:])
    if metric.startswith("AR"):
        of = known.get(f"AP{metric[2:]}") if kind == "keypoints" else f"with at most {metric[2:]} a picture"
        return f"{metric}, recall of {size}" if size else f"{metric}, recall, {of}"
    return f"{metric}, {known.get(metric) or size}"


def _class_table(section: DetectionSection, level: Mapping[str, float]) -> Table:
    there = section.truth_counts
    header = ["class", "in the truth", *(f"{WORDS[k]} AP" for k in section.results)]
    header += ["VOC 11 points", "VOC area"] if section.voc else []
    rows = [[row[0], f"{there[k]:,}", *row[1:], f"{level[row[0]]:.2f}"] for k, row in enumerate(section.class_rows())]
    note = "VOC: average precision of boxes at IoU .50 in Pascal's two ways. " if section.voc else ""
    note += f"Threshold: the score from which a prediction is shown; {section.thresholds_in_words}."
    return Table([*header, "threshold"], rows, note)


def _class_bars(section: DetectionSection, most: int = 40) -> list[Chart]:
    measured = {n: v for n, v in section.main.per_class.items() if not math.isnan(v)}
    order = sorted(measured, key=lambda name: -measured[name])
    if len(order) > most:
        order = order[: most // 2] + order[-most // 2 :]
    title = "AP by class" + (f", the best and the worst {most // 2}" if len(measured) > most else "")
    return (
        [Chart(curves.interval_bars(order, [measured[n] for n in order], label="AP"), title)] if len(order) > 1 else []
    )


def _curves(section: DetectionSection) -> list[Chart]:
    names = list(section.schema.things or [])
    return [
        Chart(curves.precision_recall(result.precision, names, iou), f"Precision and recall of {kind}, IoU {iou:.2f}")
        for kind, result in section.results.items()
        for iou in (0.5, 0.75)
    ]


def _error_blocks(
    section: DetectionSection, level: Mapping[str, float], outcomes: Sequence[Outcome]
) -> list[Table | Chart]:
    evaluator, names = section.main.evaluator, list(section.schema.things or [])
    least = min(level.values(), default=SURE)
    counts = Counter(kind for outcome in outcomes for kind in outcome.kinds)
    rows = [[words, f"{counts[kind]:,}"] for kind, words in IN_WORDS.items() if counts[kind]]
    rows.append(["missed", f"{sum(len(o.missed) for o in outcomes):,}"])
    cost = curves.error_types(evaluator.tide_errors())
    sure = curves.reliability(evaluator.calibration())
    blocks: list[Table | Chart] = [
        Chart(
            cost,
            "What the errors cost",
            "TIDE: AP50 that mending all errors of a kind would gain, over all detections.",
        ),
        Chart(
            sure,
            "Can the scores be believed?",
            "How often detections of a score are right (IoU .50). Below the dashes: surer than right.",
        ),
    ]
    if len(names) > 1:
        matrix = evaluator.confusion_matrix(iou_thr=0.5, min_score=least)["matrix"]
        note = f"Truths by row, detections with a score of {least:.2f} or more by column, IoU .50; shade: share of the row."
        blocks.append(Chart(curves.confusion(matrix, names), "Taken for what?", note))
    note = f"Above the thresholds ({section.thresholds_in_words}), matched by boxes at IoU .50."
    return [*blocks, Table(["what is shown", "number"], rows, note)]


# pictures ---------------------------------------------------------------------------------------------------------------


def _galleries(
    section: DetectionSection, data: Dataset, level: Mapping[str, float], outcomes: Sequence[Outcome]
) -> list[Gallery]:
    chosen = choose_pictures(outcomes)
    each = GALLERY_BYTES // max(1, sum(len(group) for group in chosen.values()))
    galleries = []
    for title, group in chosen.items():
        pictures = []
        for outcome in group:
            i = outcome.picture
            truth, prediction = section.truths[i], section.predictions[i]
            scale = SIDE / max(truth.size) if max(truth.size) > SIDE else None
            drawn = draw_pair(still(data.picture(i)), truth, prediction, section.schema, threshold=level, scale=scale)
            pictures.append((embed(drawn, each), f"{data.name(i)}: F1 {outcome.f1:.2f}; {outcome}"))
        galleries.append(Gallery(pictures, title))
    return galleries


def choose_pictures(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The worst pictures by F1, those around the median, and the best; of equal ones those with more in them.

    Pictures with nothing in them and nothing predicted teach nothing and are left out.
    """
    shown = [o for o in outcomes if o.kinds or o.missed]
    size = lambda o: o.right + o.false + len(o.missed)
    order = sorted(shown, key=lambda o: (o.f1, -size(o) if o.f1 < 0.5 else size(o), o.picture))
    if len(order) <= WORST:
        return {"All": order} if order else {}
    worst, rest = order[:WORST], order[WORST:]
    best = rest[-BEST:][::-1]
    rest = rest[: -len(best)]
    middle = max(0, len(order) // 2 - WORST - TYPICAL // 2)
    typical = rest[min(middle, max(0, len(rest) - TYPICAL)) :][:TYPICAL]
    return {name: group for name, group in (("Worst", worst), ("Typical", typical), ("Best", best)) if group}
