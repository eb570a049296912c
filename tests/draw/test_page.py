"""Charts and pages."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from videre.draw import curves
from videre.draw.page import Chart, Gallery, Page, Section, Table, embed


def texts(figure) -> list[str]:
    return [
        t.get_text() for axes in figure.axes for t in [*axes.texts, *axes.get_yticklabels(), *axes.get_xticklabels()]
    ]


FIGURES = {
    "loss": lambda: curves.loss_curves(
        range(3000), {"loss": np.linspace(2, 0.01, 3000), "box": np.linspace(1, 0.1, 3000)}
    ),
    "no loss": lambda: curves.loss_curves([], {"loss": []}),
    "one step": lambda: curves.loss_curves([1], {"loss": [0.0]}),
    "not finite": lambda: curves.loss_curves([1, 2], {"loss": [1.0, float("nan")]}),
    "rate": lambda: curves.rate_curve([1, 2, 3], [0.1, 0.2, 0.1]),
    "metric": lambda: curves.metric_curves([10, 20], {"AP": [0.1, 0.4], "AP50": [0.2, float("nan")]}),
    "curve": lambda: curves.precision_recall(
        np.tile(np.linspace(1, 0, 101)[None, :, None], (10, 1, 3)), ["a", "b", "c"]
    ),
    "no class": lambda: curves.precision_recall(-np.ones((10, 101, 1)), ["a"], 0.75),
    "crowd": lambda: curves.precision_recall(np.ones((10, 101, 80)), [str(k) for k in range(80)]),
    "confusion": lambda: curves.confusion(np.diag([3, 4, 0]), ["a", "b"]),
    "large": lambda: curves.confusion(np.ones((81, 81)), [str(k) for k in range(80)]),
    "errors": lambda: curves.error_types({"delta_ap": {"Cls": 0.1, "Miss": 0.2}, "counts": {"Cls": 3}}),
    "calibration": lambda: curves.reliability(
        {
            "bins": [{"bin_lower": 0.5, "bin_upper": 0.6, "avg_confidence": 0.55, "avg_accuracy": 0.4, "count": 9}],
            "ece": 0.15,
        }
    ),
    "no detections": lambda: curves.reliability({"bins": [], "ece": 0.0}),
    "bars": lambda: curves.interval_bars(["a", "b"], [0.5, float("nan")], [0.4, float("nan")], [0.6, float("nan")]),
    "stacked": lambda: curves.stacked_bars(["a", "b"], {"one": [0.5, 0.0], "two": [1.5, 2.0]}, "seconds"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_chart_is_svg_and_png(name):
    figure = FIGURES[name]()
    assert ET.fromstring(curves.to_svg(figure)).tag.endswith("svg")
    assert curves.to_png(figure, 60).startswith(b"\x89PNG")


def test_charts_leave_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    for make in FIGURES.values():
        curves.to_svg(make())
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_long_curves_are_thinned_without_moving():
    x, y = curves._thin(list(range(10_000)), list(range(10_000)))
    assert len(x) <= curves.POINTS
    assert (x == y).all()
    assert y.mean() == pytest.approx(4999.5, rel=0.01)


def test_charts_say_their_numbers():
    assert "0.500" in texts(FIGURES["bars"]())
    assert "—" in texts(FIGURES["bars"]())
    assert texts(FIGURES["stacked"]()).count("2") == 2  # both sums
    assert {"a", "b", "background", "4"} <= set(texts(FIGURES["confusion"]()))
    assert "wrong class" in texts(FIGURES["errors"]())


def test_large_confusions_keep_the_confused():
    matrix = np.diag(np.full(81, 100))
    matrix[60, 7] = 50
    assert {"60", "7"} <= set(texts(curves.confusion(matrix, [str(k) for k in range(80)])))


def test_a_page_holds_everything_and_needs_nothing():
    picture = embed(np.zeros((40, 50, 3), np.uint8))
    page = Page(
        "Cells <b>",
        [
            Section(
                "Numbers",
                [
                    Table(["class", "AP"], [["a&b", "0.123"]], "a note"),
                    Chart(FIGURES["bars"](), "Bars"),
                    Gallery([(picture, "cells.png")], "Worst"),
                    Table([], [["lr", "0.1"]], folded="recipe"),
                ],
            )
        ],
        [("model", "faster-rcnn")],
        [("box AP", "0.590", "0.57 to 0.61")],
    ).html()
    for text in ("Cells &lt;b&gt;", "a&amp;b", "0.123", "a note", "cells.png", "faster-rcnn", "0.590", "recipe"):
        assert text in page
    for target in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert target.startswith("data:")
    assert not re.search(r"<script|@import|url\(|<link", page)


def test_embedded_pictures_keep_to_their_limit():
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3), dtype=np.uint8)
    assert len(embed(noise, 100_000)) < 110_000
    assert len(embed(np.zeros((4, 4, 1), np.uint16), 1)) > 0


def test_drawing_needs_no_matplotlib_until_a_chart():
    code = "import sys, videre.draw; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
