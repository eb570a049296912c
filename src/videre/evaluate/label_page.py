"""The report of a classifier: what was taken for what, how far its probabilities can be believed, and its mistakes."""

from __future__ import annotations

import numpy as np

from videre.data.dataset import Dataset
from videre.draw import curves
from videre.draw.page import Chart, Gallery, Section, Table, embed
from videre.evaluate.intervals import number
from videre.evaluate.labels import LabelSection
from videre.evaluate.report import Report
from videre.images.prepare import resample
from videre.structures.clip import still

GALLERY_BYTES = 4_000_000
"""What all pictures may weigh."""
SIDE, MOST = 320, 16
"""Longest side of a picture, and how many there are of each kind."""


def label_sections(section: LabelSection, report: Report, data: Dataset) -> list[Section]:
    """Everything of an evaluation that a page shows; `data` are the pictures that were compared, in order."""
    rows = [[name, str(section.intervals.get(name) or number(value))] for name, value in section.metrics.items()]
    columns = [c for c in next(iter(section.per_class.values()), {}) if c != "pictures"]
    classes = [
        [name, f"{row['pictures']:,.0f}", *(number(row[c]) for c in columns)] for name, row in section.per_class.items()
    ]
    sure = curves.reliability(section.calibration())
    note = "How often claims of a probability are right. Below the dashes: surer than right."
    if section.temperature is not None:
        note += f" Logits divided by {section.temperature:.2f}, which was chosen on these pictures."
    charts = [Chart(sure, "Can the probabilities be believed?", note)]
    if section.single and len(section.names) > 1:
        figure = curves.confusion(section.confusion(), section.names, background=False)
        charts.append(
            Chart(figure, "Taken for what?", "Truths by row, likeliest class by column; shade: share of the row.")
        )
    measured = f"{report.pictures_in_words}. Labels: {section.protocol}."
    return [
        Section("Metrics", [Table(["", "value"], rows)], measured),
        Section("Classes", [Table(["class", "pictures", *columns], classes), *charts]),
        Section("Pictures", _galleries(section, data)),
    ]


def _galleries(section: LabelSection, data: Dataset) -> list[Gallery]:
    """The surest mistakes, and what is told apart least surely."""
    right, own = _judge(section)
    wrong = np.flatnonzero(~right)
    groups = {
        "Surest mistakes": wrong[np.argsort(own[wrong], kind="stable")][:MOST],
        "Right, but hardly": np.flatnonzero(right)[np.argsort(own[right], kind="stable")][:MOST],
    }
    return [
        Gallery([(_small(data, int(i)), _caption(section, data, int(i))) for i in chosen], title)
        for title, chosen in groups.items()
        if len(chosen)
    ]


def _judge(section: LabelSection) -> tuple[np.ndarray, np.ndarray]:
    """Whether each picture is right, and the least probability that it gave to something true (or denied to the rest)."""
    p, truths = section.probabilities, section.truths
    if section.single:
        return truths[np.arange(len(p)), p.argmax(1)], p[truths]
    given = np.where(truths, p, 1 - p)
    return ((p >= 0.5) == truths).all(1), given.min(1)


def _caption(section: LabelSection, data: Dataset, i: int) -> str:
    p = section.probabilities[i]
    shown = [int(p.argmax())] if section.single else [int(k) for k in np.flatnonzero(p >= 0.5)]
    true = [section.names[k] for k in np.flatnonzero(section.truths[i])]
    found = ", ".join(f"{section.names[k]} {p[k]:.2f}" for k in shown) or "nothing"
    return f"{data.name(i)}: {', '.join(true) or 'nothing'}; taken for {found}"


def _small(data: Dataset, i: int) -> str:
    picture = still(data.picture(i))
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    return embed(resample(picture, size), GALLERY_BYTES // (2 * MOST))
