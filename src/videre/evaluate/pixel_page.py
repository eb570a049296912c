"""The report of a segmenter: classes, what is taken for what, and pictures with their errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from videre.data.dataset import Dataset
from videre.draw import curves
from videre.draw.page import Chart, Gallery, Section, Table, embed
from videre.draw.pixel_errors import draw_pixel_errors
from videre.evaluate.intervals import number
from videre.evaluate.pixels import PixelReport
from videre.structures import Scene

GALLERY_BYTES = 6_000_000
"""What all pictures may weigh."""
WORST, TYPICAL, BEST = 6, 4, 2


def pixel_headline(report: PixelReport) -> list[tuple[str, str, str]]:
    """The first metrics, with their intervals."""
    spans = {name: f"{i.low:.3f} to {i.high:.3f}" for name, i in report.intervals.items()}
    return [(name, number(value), spans.get(name, "")) for name, value in report.headline.items()]


def pixel_sections(
    report: PixelReport, data: Dataset, predictions: Sequence[Scene], truths: Sequence[Scene]
) -> list[Section]:
    """Everything of an evaluation that a page shows; `data` are the pictures that were compared, in order."""
    rows = [[name, str(report.intervals.get(name) or number(value))] for name, value in report.metrics.items()]
    columns = list(next(iter(report.per_class.values()), {}))
    classes = [[name, *(number(row[c]) for c in columns)] for name, row in report.per_class.items()]
    charts = []
    if (confusion := report.confusion()) is not None:
        figure = curves.confusion(confusion, report.names, background=False)
        note = "Pixels; truths by row, predictions by column; shade: share of the row."
        charts.append(Chart(figure, "Taken for what?", note))
    left_out = f" ({len(report.unread):,} could not be read and are left out)" if report.unread else ""
    measured = f"{report.pictures:,} pictures{left_out}; 95% intervals by bootstrap over them. {report.protocol}."
    return [
        Section("Metrics", [Table(["", "value"], rows)], measured),
        Section("Classes", [Table(["class", *columns], classes), *charts]),
        Section("Pictures", _galleries(report, data, predictions, truths), "The mean IoU is of the one picture."),
    ]


def _galleries(
    report: PixelReport, data: Dataset, predictions: Sequence[Scene], truths: Sequence[Scene]
) -> list[Gallery]:
    """The worst pictures, those about the median, the best."""
    values = report.picture_iou()
    order = [int(i) for i in np.argsort(values, kind="stable") if not np.isnan(values[i])]
    middle = max(0, (len(order) - TYPICAL) // 2)
    groups = {
        "Worst": order[:WORST], "Typical": order[middle : middle + TYPICAL], "Best": order[::-1][:BEST],
    }  # fmt: skip
    shown: set[int] = set()
    galleries = []
    for title, chosen in groups.items():
        fresh = [i for i in chosen if i not in shown]
        shown |= set(fresh)
        if fresh:
            pictures = [draw_pixel_errors(data.picture(i), truths[i], predictions[i], report.schema) for i in fresh]
            captions = [f"{data.name(i)}: mean IoU {values[i]:.3f}" for i in fresh]
            most = GALLERY_BYTES // (WORST + TYPICAL + BEST)
            galleries.append(Gallery([(embed(p, most), caption) for p, caption in zip(pictures, captions)], title))
    return galleries
