"""The report of a run or an evaluation as one HTML file: numbers with intervals, curves, errors, and pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from videre.data.dataset import Dataset, unread_in_words
from videre.draw import curves
from videre.draw.page import Chart, Page, Section, Table
from videre.evaluate.intervals import number
from videre.evaluate.report import Report
from videre.files import write_atomic

Log = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""The lines of log.jsonl that tell of steps, and those that tell of evaluations."""


def write_run_page(
    folder: str | Path,
    report: Report | None = None,
    data: Dataset | None = None,
) -> Path:
    """Write report.html of a training run from its run.json and log.jsonl, and of its evaluation where there is one.

    Args:
        folder: the run's. report, data: of `evaluate_model` on the validation data, or None.
    """
    folder = Path(folder)
    record = json.loads((folder / "run.json").read_text())
    steps, evaluations = _read_log(folder / "log.jsonl")
    training, unread = record.get("data", {}), record.get("left_out", {}).get("pictures", {})
    facts = [
        ("command", record.get("command", "")),
        ("model", " · ".join(str(v) for v in (record.get("model"), record.get("config", {}).get("backbone")) if v)),
        (
            "trained on",
            f"{training.get('title', '')}, {training.get('pictures', 0):,} pictures, content {str(training.get('hash', ''))[:12]}",
        ),
        ("evaluated on", f"{data.title}, {len(data):,} pictures" if data is not None else ""),
        ("left out", unread_in_words(unread) if unread else ""),
        ("time", _time(steps, record)),
        ("processor", record.get("processor", "")),
        ("versions", f"videre {record.get('videre')}, torch {record.get('torch')}"),
    ]
    sections = [Section("Training", _training_charts(steps, evaluations))] if steps else []
    if report is not None and data is not None:
        sections += _evaluation(report, data)
    settings = [
        ("recipe", record.get("recipe", {})),
        ("model", record.get("config", {})),
        ("preprocessing", record.get("preprocess", {})),
    ]
    tables = [
        Table([], [[k, _plain(v)] for k, v in values.items()], folded=name, numbers=False)
        for name, values in settings
        if values
    ]
    sections += [Section("Everything to repeat it", tables)] if tables else []
    title = f"{record.get('model', 'Training')} on {training.get('title', 'data')}"
    page = Page(title, sections, [f for f in facts if f[1]], _headline(report), "A training run")
    return _write(folder, page)


def write_evaluation_page(
    folder: str | Path,
    report: Report,
    dataset: Dataset,
    run: Path | None = None,
) -> Path:
    """Write report.html of an evaluation. Arguments as in `write_run_page`; `run` is the folder the weights lie in.

    Where that is a training's, its curves are shown too.
    """
    facts = [
        ("data", f"{dataset.title}, {len(dataset):,} pictures"),
        ("classes", ", ".join(list(report.schema.things or report.schema.pixels or report.schema.pictures or [])[:30])),
    ]
    sections = _evaluation(report, dataset)
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
        if "metrics" in entry:
            evaluations.append(entry)
        elif "loss" in entry:
            steps.append(entry)
    return steps, evaluations


def _training_charts(steps: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> list[Chart]:
    at = [e["step"] for e in steps]
    recorded = dict.fromkeys(name for entry in steps for name in entry)  # stages have losses of their own
    parts = [name for name in recorded if name not in ("step", "stage", "lr", "norm", "seconds")]
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


def _evaluation(report: Report, data: Dataset) -> list[Section]:
    """Every section's own, of the pictures that were compared."""
    if report.unread:
        data = data.subset([i for i in range(len(data)) if i not in report.unread])
    return [part for section in report.sections.values() for part in section.page(report, data)]


def _headline(report: Report | None) -> list[tuple[str, str, str]]:
    """Name, value and interval of each section's cards."""
    if report is None:
        return []
    metrics, intervals = report.metrics, report.intervals
    span = lambda name: f"{i.low:.3f} to {i.high:.3f}" if (i := intervals.get(name)) is not None else ""
    names = [name for section in report.sections.values() for name in section.cards]
    return [(name, number(metrics[name]), span(name)) for name in names]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
