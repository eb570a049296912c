"""The report of a classifier: what was taken for what, how far its probabilities can be believed, and its mistakes."""

from __future__ import annotations

import numpy as np

from videre.data.dataset import Dataset
from videre.draw import curves
from videre.draw.page import Chart, Gallery, Section, Table, embed
from videre.evaluate.intervals import number
from videre.evaluate.labels import LabelReport
from videre.images.prepare import resample

GALLERY_BYTES = 4_000_000
"""What all pictures may weigh."""
SIDE, MOST = 320, 16
"""Longest side of a picture, and how many there are of each kind."""


def label_headline(report: LabelReport) -> list[tuple[str, str, str]]:
    """The first metrics, with their intervals."""
    spans = {name: f"{i.low:.3f} to {i.high:.3f}" for name, i in report.intervals.items()}
    return [(name, number(value), spans.get(name, "")) for name, value in report.headline.items()]


def label_sections(report: LabelReport, data: Dataset) -> list[Section]:
    """Everything of an evaluation that a page shows; `data` are the pictures that were compared, in order."""
    rows = [[name, str(report.intervals.get(name) or number(value))] for name, value in report.metrics.items()]
    columns = [c for c in next(iter(report.per_class.values()), {}) if c != "pictures"]
    classes = [
        [name, f"{row['pictures']:,.0f}", *(number(row[c]) for c in columns)] for name, row in report.per_class.items()
    ]
    sure = curves.reliability(report.calibration())
    note = "How often claims of a probability are right. Below the dashes: surer than right."
    if report.temperature is not None:
        note += f" Logits divided by {report.temperature:.2f}, which was chosen on these pictures."
    charts = [Chart(sure, "Can the probabilities be believed?", note)]
    if report.single and len(report.names) > 1:
        figure = curves.confusion(report.confusion(), report.names, background=False)
        charts.append(
            Chart(figure, "Taken for what?", "Truths by row, likeliest class by column; shade: share of the row.")
        )
    left_out = f" ({len(report.unread):,} could not be read and are left out)" if report.unread else ""
    measured = (
        f"{report.pictures:,} pictures{left_out}; 95% intervals by bootstrap over them. Labels: {report.protocol}."
    )
    return [
        Section("Metrics", [Table(["", "value"], rows)], measured),
        Section("Classes", [Table(["class", "pictures", *columns], classes), *charts]),
        Section("Pictures", _galleries(report, data)),
    ]


def _galleries(report: LabelReport, data: Dataset) -> list[Gallery]:
    """The surest mistakes, and what is told apart least surely."""
    right, own = _judge(report)
    wrong = np.flatnonzero(~right)
    groups = {
        "Surest mistakes": wrong[np.argsort(own[wrong], kind="stable")][:MOST],
        "Right, but hardly": np.flatnonzero(right)[np.argsort(own[right], kind="stable")][:MOST],
    }
    return [
        Gallery([(_small(data, int(i)), _caption(report, data, int(i))) for i in chosen], title)
        for title, chosen in groups.items() if len(chosen)
    ]  # fmt: skip


def _judge(report: LabelReport) -> tuple[np.ndarray, np.ndarray]:
    """Whether each picture is right, and the least probability that it gave to something true (or denied to the rest)."""
    p, truths = report.probabilities, report.truths
    if report.single:
        return truths[np.arange(len(p)), p.argmax(1)], p[truths]
    given = np.where(truths, p, 1 - p)
    return ((p >= 0.5) == truths).all(1), given.min(1)


def _caption(report: LabelReport, data: Dataset, i: int) -> str:
    p = report.probabilities[i]
    shown = [int(p.argmax())] if report.single else [int(k) for k in np.flatnonzero(p >= 0.5)]
    true = [report.names[k] for k in np.flatnonzero(report.truths[i])]
    found = ", ".join(f"{report.names[k]} {p[k]:.2f}" for k in shown) or "nothing"
    return f"{data.name(i)}: {', '.join(true) or 'nothing'}; taken for {found}"


def _small(data: Dataset, i: int) -> str:
    picture = data.picture(i)
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    return embed(resample(picture, size), GALLERY_BYTES // (2 * MOST))
