"""The report of a segmenter: classes, what is taken for what, and pictures with their errors."""

from __future__ import annotations

from videre.data.dataset import Dataset
from videre.draw import curves
from videre.draw.page import Chart, Gallery, Section, Table, embed
from videre.draw.pixel_errors import draw_pixel_errors
from videre.evaluate.examples import BEST, WORST
from videre.evaluate.intervals import number
from videre.evaluate.pixels import PixelSection
from videre.evaluate.report import Report
from videre.structures.clip import still

GALLERY_BYTES = 6_000_000
"""What all pictures may weigh."""


def pixel_sections(section: PixelSection, report: Report, data: Dataset) -> list[Section]:
    """Everything of an evaluation that a page shows; `data` are the pictures that were compared, in order."""
    rows = [[name, str(section.intervals.get(name) or number(value))] for name, value in section.metrics.items()]
    columns = list(next(iter(section.per_class.values()), {}))
    classes = [[name, *(number(row[c]) for c in columns)] for name, row in section.per_class.items()]
    charts = []
    if (confusion := section.confusion()) is not None:
        figure = curves.confusion(confusion, section.names, background=False)
        note = "Pixels; truths by row, predictions by column; shade: share of the row."
        charts.append(Chart(figure, "Taken for what?", note))
    measured = f"{report.pictures_in_words}. {section.protocol}."
    return [
        Section("Metrics", [Table(["", "value"], rows)], measured),
        Section("Classes", [Table(["class", *columns], classes), *charts]),
        Section("Pictures", _galleries(section, data), "The mean IoU is of the one picture."),
    ]


def _galleries(section: PixelSection, data: Dataset) -> list[Gallery]:
    """The worst pictures and the best."""
    place = {number: i for i, number in enumerate(section.numbers)}
    galleries = []
    for title, chosen in (("Worst", section.examples.worst), ("Best", section.examples.best)):
        pictures = []
        for example in chosen:
            i = place[example.picture]
            drawn = draw_pixel_errors(still(data.picture(i)), example.truth, example.prediction, section.schema)
            pictures.append(
                (embed(drawn, GALLERY_BYTES // (WORST + BEST)), f"{data.name(i)}: mean IoU {example.value:.3f}")
            )
        galleries += [Gallery(pictures, title)] if pictures else []
    return galleries
