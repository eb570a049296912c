"""The report of a run or an evaluation as one HTML file: numbers with intervals, curves, errors, and pictures."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videre.data.dataset import Dataset
from videre.draw import curves, draw_pair
from videre.draw.page import Chart, Gallery, Page, Section, Table, embed
from videre.evaluate.coco import Kind
from videre.evaluate.errors import IN_WORDS, Outcome, picture_errors
from videre.evaluate.intervals import number
from videre.evaluate.label_page import label_headline, label_sections
from videre.evaluate.labels import LabelReport
from videre.evaluate.pixel_page import pixel_headline, pixel_sections
from videre.evaluate.pixels import PixelReport
from videre.evaluate.report import WORDS, Report
from videre.files import write_atomic
from videre.structures import Scene, Schema

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
JOINTS = (
    "Share of the labelled joints that were found near enough, with 95% intervals over persons, of the prediction nearest to "
    "each person. The mean pose, laid into everyone's own box, shows what could be known without looking."
)

Log = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""The lines of log.jsonl that tell of steps, and those that tell of evaluations."""


def write_run_page(
    folder: str | Path,
    report: Report | LabelReport | PixelReport | None = None,
    data: Dataset | None = None,
    predictions: Sequence[Scene] | None = None,
    truths: Sequence[Scene] | None = None,
) -> Path:
    """Write report.html of a training run from its run.json and log.jsonl, and of its evaluation where there is one.

    Args:
        folder: the run's. report, data, predictions, truths: of `evaluate_model` on the validation data, or None.
            Predictions count as shown from the thresholds of the report's decisions on.
    """
    folder = Path(folder)
    record = json.loads((folder / "run.json").read_text())
    steps, evaluations = _read_log(folder / "log.jsonl")
    training = record.get("data", {})
    facts = [
        ("command", record.get("command", "")),
        ("model", " · ".join(str(v) for v in (record.get("model"), record.get("config", {}).get("backbone")) if v)),
        ("trained on", f"{training.get('title', '')}, {training.get('pictures', 0):,} pictures, content {str(training.get('hash', ''))[:12]}"),
        ("evaluated on", f"{data.title}, {len(data):,} pictures" if data is not None else ""),
        ("time", _time(steps, record)),
        ("processor", record.get("processor", "")),
        ("versions", f"videre {record.get('videre')}, torch {record.get('torch')}"),
    ]  # fmt: skip
    sections = [Section("Training", _training_charts(steps, evaluations))] if steps else []
    if report is not None and predictions is not None and truths is not None and data is not None:
        sections += _evaluation(report, data, predictions, truths)
    settings = [("recipe", record.get("recipe", {})), ("model", record.get("config", {})), ("preprocessing", record.get("preprocess", {}))]  # fmt: skip
    tables = [Table([], [[k, _plain(v)] for k, v in values.items()], folded=name, numbers=False) for name, values in settings if values]  # fmt: skip
    sections += [Section("Everything to repeat it", tables)] if tables else []
    title = f"{record.get('model', 'Training')} on {training.get('title', 'data')}"
    page = Page(title, sections, [f for f in facts if f[1]], _headline(report), "A training run")
    return _write(folder, page)


def write_evaluation_page(
    folder: str | Path,
    report: Report | LabelReport | PixelReport,
    dataset: Dataset,
    predictions: Sequence[Scene],
    truths: Sequence[Scene],
    run: Path | None = None,
) -> Path:
    """Write report.html of an evaluation. Arguments as in `write_run_page`; `run` is the folder the weights lie in.

    Where that is a training's, how it went is told too.
    """
    facts = [("data", f"{dataset.title}, {len(dataset):,} pictures"),
             ("classes", ", ".join(list(report.schema.things or report.schema.pixels or report.schema.pictures or [])[:30]))]  # fmt: skip
    sections = _evaluation(report, dataset, predictions, truths)
    steps, evaluations = _read_log(run / "log.jsonl") if run is not None else ([], [])
    if run is not None and steps:
        record = json.loads((run / "run.json").read_text())
        facts += [("trained with", record.get("command", "")), ("training time", _time(steps, record))]
        sections.append(Section("How it was trained", _training_charts(steps, evaluations)))
    return _write(Path(folder), Page(f"Evaluation on {dataset.title}", sections, facts, _headline(report)))


def _write(folder: Path, page: Page) -> Path:
    path = folder / "report.html"
    write_atomic(path, page.html().encode())
    return path


# training ---------------------------------------------------------------------------------------------------------------


def _read_log(path: Path) -> Log:
    """A line cut off by a kill is left out."""
    steps: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        (evaluations if "metrics" in entry else steps).append(entry)
    return steps, evaluations


def _training_charts(steps: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> list[Chart]:
    at = [e["step"] for e in steps]
    parts = [name for name in steps[0] if name not in ("step", "lr", "norm", "seconds")]
    series = lambda name: [float(e.get(name, math.nan)) for e in steps]
    charts = [
        Chart(
            curves.loss_curves(at, {name: series(name) for name in parts}), "Loss", "Strong lines are moving averages."
        )
    ]
    if len(evaluations) > 1:
        # the per-class numbers stand in the table
        names = [name for name in evaluations[-1]["metrics"] if "/" not in name][:6]
        values = {n: [_value(e["metrics"].get(n)) for e in evaluations] for n in names}
        charts.append(Chart(curves.metric_curves([e["step"] for e in evaluations], values), "Validation"))
    if "lr" in steps[0]:
        charts.append(Chart(curves.rate_curve(at, series("lr")), "Learning rate"))
    return charts


def _value(metric: float | None) -> float:
    """A metric of the log, where null and absent are no value; 0 is one."""
    return math.nan if metric is None else float(metric)


def _time(steps: list[dict[str, Any]], record: dict[str, Any]) -> str:
    if not steps:
        return ""
    last = steps[-1]
    seconds = float(last.get("seconds", 0))
    pictures = last["step"] * record.get("recipe", {}).get("batch", 1)
    took = f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.1f} minutes"
    rate = f", {pictures / seconds:.2g} pictures a second" if seconds else ""
    return f"{last['step']:,} of {record.get('steps', last['step']):,} steps, {pictures:,} pictures, in {took}{rate}"


# evaluation -------------------------------------------------------------------------------------------------------------


def _evaluation(
    report: Report | LabelReport | PixelReport, data: Dataset, predictions: Sequence[Scene], truths: Sequence[Scene]
) -> list[Section]:
    if report.unread:
        data = data.subset([i for i in range(len(data)) if i not in report.unread])
    if isinstance(report, LabelReport):
        return label_sections(report, data)
    if isinstance(report, PixelReport):
        return pixel_sections(report, data, predictions, truths)
    level = dict.fromkeys(report.schema.things or (), SURE)
    level |= {name: decision.threshold for name, decision in report.decisions.items()}
    outcomes = picture_errors(predictions, truths, report.schema, level)
    left_out = f" ({len(report.unread):,} could not be read and are left out)" if report.unread else ""
    protocols = ". ".join(report.protocols.values())
    measured = f"{report.pictures:,} pictures{left_out}; 95% intervals by bootstrap over them. {protocols}."
    galleries = _galleries(data, predictions, truths, report.schema, level, outcomes)
    return [
        Section("Metrics", [_metrics_table(report), *_class_bars(report)], measured),
        *([Section("Joints", [_joint_table(report), *_joint_bars(report)], JOINTS)] if report.poses else []),
        Section("Classes", [_class_table(report, truths, level), *_curves(report)]),
        Section("Errors", _error_blocks(report, level, outcomes)),
        Section("Pictures", galleries, HOW_TO_READ),
    ]


def _headline(report: Report | LabelReport | PixelReport | None) -> list[tuple[str, str, str]]:
    """AP and AP50 of each kind, the finest first."""
    if report is None:
        return []
    if isinstance(report, LabelReport):
        return label_headline(report)
    if isinstance(report, PixelReport):
        return pixel_headline(report)
    cards = []
    for pose in report.poses:
        sure = pose.intervals.get("mean")
        span = f"{sure.low:.3f} to {sure.high:.3f}" if sure is not None else ""
        cards.append((pose.measure.name.split("@")[0], number(pose.metrics["mean"]), span))
    kinds: list[Kind] = [k for k in ("keypoints", "masks", "boxes") if k in report.results]  # type: ignore[misc]
    for kind in kinds:
        for name in ("AP", "AP50"):
            sure = report.intervals.get(kind, {}).get(name)
            span = f"{sure.low:.3f} to {sure.high:.3f}" if sure is not None else ""
            cards.append((f"{WORDS[kind]} {name}", number(report.results[kind].metrics[name]), span))
    return cards


def _metrics_table(report: Report) -> Table:
    names = list(dict.fromkeys(name for result in report.results.values() for name in result.metrics))
    rows = []
    for name in names:
        kind: Kind = next(kind for kind, result in report.results.items() if name in result.metrics)
        row = [_in_words(kind, name)]
        for kind, result in report.results.items():
            sure = report.intervals.get(kind, {}).get(name)
            row.append(
                str(sure) if sure is not None else number(result.metrics[name]) if name in result.metrics else ""
            )
        rows.append(row)
    return Table(["", *(WORDS[kind] for kind in report.results)], rows)


def _joint_bars(report: Report) -> list[Chart]:
    charts = []
    for pose in report.poses:
        names = [name for name, value in pose.metrics.items() if not math.isnan(value)]
        sure = [pose.intervals.get(name) for name in names]
        lows, highs = ([getattr(i, end) for i in sure if i is not None] for end in ("low", "high"))
        bars = curves.interval_bars(names, [pose.metrics[name] for name in names], lows, highs, pose.measure.name)
        charts.append(Chart(bars, pose.measure.name))
    return charts


def _joint_table(report: Report) -> Table:
    rows = [
        [name, *(str(pose.intervals.get(name) or number(pose.metrics[name])) for pose in report.poses)]
        for name in report.poses[0].metrics
    ]
    rows.append(["the mean pose in each box", *(number(pose.baseline) for pose in report.poses)])
    return Table(
        ["joint", *(f"{pose.measure.name.split()[0]}, {len(pose.found):,} persons" for pose in report.poses)], rows
    )


def _in_words(kind: Kind, metric: str) -> str:
    known = {"AP": "mean over IoU .50:.95", "AP50": "at IoU .50", "AP75": "at IoU .75"}
    if "@" in metric:
        return f"{metric}, {known['AP']}, with at most {metric.partition('@')[2]} a picture"
    size = {"s": "small things", "m": "medium things", "l": "large things"}.get(metric[2:])
    if metric.startswith("AR"):
        of = known.get(f"AP{metric[2:]}") if kind == "keypoints" else f"with at most {metric[2:]} a picture"
        return f"{metric}, recall of {size}" if size else f"{metric}, recall, {of}"
    return f"{metric}, {known.get(metric) or size}"


def _class_table(report: Report, truths: Sequence[Scene], level: Mapping[str, float]) -> Table:
    there: Counter[int] = Counter()
    for truth in truths:
        if truth.instances is not None and truth.instances.labels is not None:
            there.update(truth.instances.labels.tolist())
    header = ["class", "in the truth", *(f"{WORDS[k]} AP" for k in report.results)]
    header += ["VOC 11 points", "VOC area"] if report.voc else []
    rows = [[row[0], f"{there[k]:,}", *row[1:], f"{level[row[0]]:.2f}"] for k, row in enumerate(report.class_rows())]
    note = "VOC: average precision of boxes at IoU .50 in Pascal's two ways. " if report.voc else ""
    note += f"Threshold: the score from which a prediction is shown; {report.thresholds_in_words}."
    return Table([*header, "threshold"], rows, note)


def _class_bars(report: Report, most: int = 40) -> list[Chart]:
    measured = {n: v for n, v in report.main.per_class.items() if not math.isnan(v)}
    order = sorted(measured, key=lambda name: -measured[name])
    if len(order) > most:
        order = order[: most // 2] + order[-most // 2 :]
    title = "AP by class" + (f", the best and the worst {most // 2}" if len(measured) > most else "")
    return (
        [Chart(curves.interval_bars(order, [measured[n] for n in order], label="AP"), title)] if len(order) > 1 else []
    )


def _curves(report: Report) -> list[Chart]:
    names = list(report.schema.things or [])
    return [
        Chart(curves.precision_recall(result.precision, names, iou), f"Precision and recall of {kind}, IoU {iou:.2f}")
        for kind, result in report.results.items()
        for iou in (0.5, 0.75)
    ]


def _error_blocks(report: Report, level: Mapping[str, float], outcomes: Sequence[Outcome]) -> list[Table | Chart]:
    evaluator, names = report.main.evaluator, list(report.schema.things or [])
    least = min(level.values(), default=SURE)
    counts = Counter(kind for outcome in outcomes for kind in outcome.kinds)
    rows = [[words, f"{counts[kind]:,}"] for kind, words in IN_WORDS.items() if counts[kind]]
    rows.append(["missed", f"{sum(len(o.missed) for o in outcomes):,}"])
    cost = curves.error_types(evaluator.tide_errors())
    sure = curves.reliability(evaluator.calibration())
    blocks: list[Table | Chart] = [
        Chart(cost, "What the errors cost", "TIDE: AP50 that mending all errors of a kind would gain, over all detections."),
        Chart(sure, "Can the scores be believed?", "How often detections of a score are right (IoU .50). Below the dashes: surer than right."),
    ]  # fmt: skip
    if len(names) > 1:
        matrix = evaluator.confusion_matrix(iou_thr=0.5, min_score=least)["matrix"]
        note = f"Truths by row, detections with a score of {least:.2f} or more by column, IoU .50; shade: share of the row."
        blocks.append(Chart(curves.confusion(matrix, names), "Taken for what?", note))
    note = f"Above the thresholds ({report.thresholds_in_words}), matched by boxes at IoU .50."
    return [*blocks, Table(["what is shown", "number"], rows, note)]


# pictures ---------------------------------------------------------------------------------------------------------------


def _galleries(
    data: Dataset,
    predictions: Sequence[Scene],
    truths: Sequence[Scene],
    schema: Schema,
    level: Mapping[str, float],
    outcomes: Sequence[Outcome],
) -> list[Gallery]:
    chosen = choose_pictures(outcomes)
    each = GALLERY_BYTES // max(1, sum(len(group) for group in chosen.values()))
    galleries = []
    for title, group in chosen.items():
        pictures = []
        for outcome in group:
            i = outcome.picture
            scale = SIDE / max(truths[i].size) if max(truths[i].size) > SIDE else None
            drawn = draw_pair(data.picture(i), truths[i], predictions[i], schema, threshold=level, scale=scale)
            pictures.append((embed(drawn, each), f"{data.name(i)}: F1 {outcome.f1:.2f}; {outcome}"))
        galleries.append(Gallery(pictures, title))
    return galleries


def choose_pictures(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The worst pictures by F1, those around the median, and the best; of equal ones those with more in them.

    Pictures with nothing in them and nothing predicted teach nothing and are left out.
    """
    told = [o for o in outcomes if o.kinds or o.missed]
    size = lambda o: o.right + o.false + len(o.missed)
    order = sorted(told, key=lambda o: (o.f1, -size(o) if o.f1 < 0.5 else size(o), o.picture))
    if len(order) <= WORST:
        return {"All": order} if order else {}
    worst, rest = order[:WORST], order[WORST:]
    best = rest[-BEST:][::-1]
    rest = rest[: -len(best)]
    middle = max(0, len(order) // 2 - WORST - TYPICAL // 2)
    typical = rest[min(middle, max(0, len(rest) - TYPICAL)) :][:TYPICAL]
    return {name: group for name, group in (("Worst", worst), ("Typical", typical), ("Best", best)) if group}


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
