"""Charts: training curves, precision and recall, confusion, errors, calibration, numbers with their intervals.

Each function gives a matplotlib `Figure` that belongs to nobody: no window, no pyplot, no global settings. `to_svg` and
`to_png` turn it into text or bytes. The ground is clear and the ink a middle grey, so a chart reads on light and dark
pages; the colours can be told apart by the colour-blind, and line styles differ where that matters.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

INK = "#808a99"
FAINT = "#808a9938"
SERIES = ("#3b8bd6", "#e08a00", "#1fa37a", "#c967a3", "#d6562b", "#8c7ae6", "#5aa9c9", "#9a8b2f")
"""After Okabe and Ito, each dark enough for white paper and light enough for a black page."""
POINTS = 600
"""Most points of a curve; more are averaged in groups, as no screen shows them."""


def to_svg(figure: Figure) -> str:
    """A figure as SVG text; equal figures give equal drawings but for the names of their clips.

    Letters are drawn as outlines; where the font lacks some (class names in Chinese), as text, in the fonts of whoever looks
    at it.
    """
    missing = "Glyph .* missing"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", missing)
        try:
            return _svg(figure)
        except UserWarning:
            warnings.filterwarnings("ignore", missing)
            with rc_context({"svg.fonttype": "none"}):
                return _svg(figure)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return text.getvalue()


def to_png(figure: Figure, dpi: int = 144) -> bytes:
    """A figure as PNG with a clear ground."""
    data = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(data, format="png", dpi=dpi, transparent=True)
    return data.getvalue()


# training ---------------------------------------------------------------------------------------------------------------


def loss_curves(steps: Sequence[float], losses: Mapping[str, Sequence[float]]) -> Figure:
    """Each part of the loss over the steps: faint as it was, strong as its moving average.

    Args:
        losses: by name, one value a step; the first is drawn thickest (the sum).
    """
    figure, axes = _figure()
    values = [v for series in losses.values() for v in series if v > 0 and math.isfinite(v)]
    for n, (name, series) in enumerate(losses.items()):
        x, y = _thin(steps, series)
        color = SERIES[n % len(SERIES)]
        if len(x) > 20:
            axes.plot(x, y, color=color, linewidth=0.8, alpha=0.22)
        axes.plot(x, smooth(y), color=color, linewidth=2.2 if n == 0 else 1.4, label=name.replace("_", " "))
    if values and max(values) > 30 * max(min(np.percentile(values, 5), max(values)), 1e-12):
        axes.set_yscale("log")
        axes.set_ylim(float(max(min(values), np.percentile(values, 2) / 2)))
    else:
        axes.set_ylim(0, float(np.percentile(values, 99.5)) * 1.05 if values else 1)
    _finish(axes, "step", "loss")
    return figure


def rate_curve(steps: Sequence[float], rates: Sequence[float]) -> Figure:
    """The learning rate over the steps."""
    figure, axes = _figure()
    x, y = _thin(steps, rates)
    axes.plot(x, y, color=SERIES[0], linewidth=1.8)
    axes.set_ylim(0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _finish(axes, "step", "learning rate")
    return figure


def metric_curves(steps: Sequence[float], metrics: Mapping[str, Sequence[float]]) -> Figure:
    """Validation metrics, a point an evaluation."""
    figure, axes = _figure()
    for n, (name, series) in enumerate(metrics.items()):
        axes.plot(steps, series, color=SERIES[n % len(SERIES)], marker="o", markersize=4, linewidth=1.8, label=name)
    axes.set_ylim(0, 1)
    axes.set_xlim(0, max(steps, default=1) * 1.03)
    _finish(axes, "step", "on the validation data")
    return figure


# evaluation -------------------------------------------------------------------------------------------------------------


def precision_recall(precision: np.ndarray, names: Sequence[str], iou: float = 0.5) -> Figure:
    """Precision over recall of each class, and of their mean.

    Args:
        precision: [T, 101, K] of `CocoResult`, T from IoU .50 by .05; -1 where a class has no truth. iou: which of them.
    """
    curves = precision[round((iou - 0.5) / 0.05)]  # (101, K)
    recall = np.linspace(0, 1, 101)
    there = [k for k in range(len(names)) if (curves[:, k] > -1).any()]
    crowd = len(there) > len(SERIES)
    figure, axes = _figure()
    for n, k in enumerate(there):
        ink: dict[str, Any] = (
            {"color": INK, "linewidth": 0.7, "alpha": 0.35}
            if crowd
            else {"color": SERIES[n], "linewidth": 1.8, "label": names[k]}
        )
        axes.plot(recall, curves[:, k], **ink)
    if len(there) > 1:
        mean = curves[:, there].mean(axis=1)
        axes.plot(
            recall, mean, color=SERIES[0] if crowd else INK, linewidth=2.4, linestyle="--", label="mean of classes"
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _finish(axes, "recall", "precision")
    return figure


def recall_curves(overlaps: Sequence[float], recalls: Mapping[str, Sequence[float]]) -> Figure:
    """Recall of true boxes over the overlap that is asked for.

    Args:
        recalls: by name, one value an overlap.
    """
    figure, axes = _figure()
    for n, (name, series) in enumerate(recalls.items()):
        axes.plot(overlaps, series, color=SERIES[n % len(SERIES)], linewidth=1.8, label=name)
    axes.set_ylim(0, 1)
    axes.set_xlim(min(overlaps, default=0), max(overlaps, default=1))
    _finish(axes, "IoU with the best proposal", "recall")
    return figure


def confusion(matrix: np.ndarray, names: Sequence[str], most: int = 20, background: bool = True) -> Figure:
    """What each true class was taken for.

    Args:
        matrix: counts [K + 1, K + 1], rows are truths, the last row and column are the background; [K, K] without.
        most: classes shown; of more, those most often confused.
    """
    counts, shown = np.asarray(matrix, np.float64), list(names)
    rest = [-1] if background else []
    if len(shown) > most:
        wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
        kept = np.sort(np.argsort(-wrong[: len(shown)], kind="stable")[:most])
        counts = counts[np.ix_([*kept, *rest], [*kept, *rest])]
        shown = [shown[k] for k in kept]
    shown += ["background"] if background else []
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _figure(height=max(3.4, 1.5 + 0.4 * len(shown)))
    shades = LinearSegmentedColormap.from_list("clear", [(0.23, 0.545, 0.84, 0.0), (0.23, 0.545, 0.84, 1.0)])
    axes.imshow(share, cmap=shades, vmin=0, vmax=1, aspect="auto")
    for i, j in np.argwhere(counts > 0) if len(shown) <= 14 else ():
        axes.text(
            j,
            i,
            f"{counts[i, j]:,.0f}",
            ha="center",
            va="center",
            fontsize=8.5,
            color="white" if share[i, j] > 0.55 else INK,
        )
    axes.set_xticks(range(len(shown)), shown, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), shown)
    axes.set_xticks(np.arange(len(shown) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(shown) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=FAINT, linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    _finish(axes, "predicted", "true", grid=False)
    return figure


TIDE = {
    "Cls": "wrong class",
    "Loc": "badly placed",
    "Both": "both",
    "Dupe": "found twice",
    "Bkg": "nothing there",
    "Miss": "missed",
}
"""The error types of TIDE (Bolya et al., 2020), in words."""


def error_types(errors: Mapping[str, Any]) -> Figure:
    """How much AP50 each kind of error costs, with how often it happens.

    Args:
        errors: of hotcoco's `tide_errors()`: "delta_ap" and "counts" by kind.
    """
    figure, axes = _figure()
    kinds = [kind for kind in TIDE if kind in errors["delta_ap"]]
    cost = [errors["delta_ap"][kind] for kind in kinds]
    axes.barh(range(len(kinds)), cost, height=0.62, color=[SERIES[n] for n in range(len(kinds))])
    room = max([*cost, 0.01])
    for n, kind in enumerate(kinds):
        text = f"{cost[n]:.3f}  ({errors['counts'].get(kind, 0):,} times)"
        axes.text(cost[n] + room * 0.015, n, text, va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(kinds)), [TIDE[kind] for kind in kinds])
    axes.invert_yaxis()
    axes.set_xlim(0, room * 1.35)
    _finish(axes, "AP50 that would be gained without it", "")
    return figure


def reliability(calibration: Mapping[str, Any]) -> Figure:
    """How often detections of a score are right, beside that score; bars say how many there are.

    Args:
        calibration: of hotcoco's `calibration()`: "bins" and "ece".
    """
    figure, axes = _figure()
    bins = [b for b in calibration["bins"] if b["count"]]
    most = max([b["count"] for b in bins], default=1)
    for b in bins:
        wide = b["bin_upper"] - b["bin_lower"]
        axes.bar(b["bin_lower"], b["count"] / most * 0.25, wide * 0.94, align="edge", color=INK, alpha=0.22)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="as sure as right")
    points = [(b["avg_confidence"], b["avg_accuracy"]) for b in bins]
    if points:
        axes.plot(
            *zip(*points),
            color=SERIES[0],
            marker="o",
            markersize=5,
            linewidth=1.8,
            label=f"error {calibration['ece']:.3f}",
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _finish(axes, "score", "share that is right")
    return figure


def interval_bars(
    names: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float] = (),
    highs: Sequence[float] = (),
    label: str = "",
) -> Figure:
    """Bars with the intervals of their values; NaN gives no bar.

    Args:
        lows, highs: ends of the intervals, or empty.
    """
    figure, axes = _figure(height=max(1.6, 0.55 + 0.34 * len(names)))
    filled = np.nan_to_num(np.asarray(values, float))
    axes.barh(range(len(names)), filled, height=0.62, color=SERIES[0], alpha=0.85)
    if len(lows):
        ends = np.array([filled - np.asarray(lows, float), np.asarray(highs, float) - filled])
        axes.errorbar(
            filled,
            range(len(names)),
            xerr=np.nan_to_num(np.clip(ends, 0, None)),
            fmt="none",
            ecolor=INK,
            capsize=3,
            linewidth=1.4,
        )
    room = max([*filled, *np.nan_to_num(np.asarray(highs, float)), 1e-9])
    for n, value in enumerate(values):
        right = max(filled[n], np.nan_to_num(highs[n]) if len(highs) else 0)
        axes.text(
            right + room * 0.015, n, "—" if math.isnan(value) else f"{value:.3f}", va="center", fontsize=9, color=INK
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, room * 1.15)
    _finish(axes, label, "")
    return figure


def stacked_bars(names: Sequence[str], parts: Mapping[str, Sequence[float]], label: str = "") -> Figure:
    """Bars that are made of parts, with their sum at the end.

    Args:
        parts: by the name of the part its share of each bar.
    """
    figure, axes = _figure(height=max(1.6, 0.8 + 0.34 * len(names)))
    ends = np.zeros(len(names))
    for color, (name, values) in zip(SERIES, parts.items()):
        axes.barh(range(len(names)), values, left=ends, height=0.62, color=color, alpha=0.85, label=name)
        ends = ends + np.asarray(values, float)
    room = max([*ends, 1e-9])
    for n, end in enumerate(ends):
        axes.text(end + room * 0.015, n, f"{end:.3g}", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, room * 1.15)
    _finish(axes, label, "")
    return figure


# style ------------------------------------------------------------------------------------------------------------------


def _figure(height: float = 3.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, height), layout="constrained")
    figure.patch.set_alpha(0)
    return figure, figure.subplots()


def _finish(axes: Axes, x: str, y: str, grid: bool = True) -> None:
    axes.patch.set_alpha(0)
    axes.set_xlabel(x, color=INK, fontsize=9.5)
    axes.set_ylabel(y, color=INK, fontsize=9.5)
    axes.tick_params(colors=INK, labelsize=9, length=0 if not grid else 3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    if grid:
        axes.grid(color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": min(4, len(labels))}
        for text in axes.legend(frameon=False, fontsize=9, borderpad=0.2, **above).get_texts():
            text.set_color(INK)


def _thin(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """At most POINTS points: means of equal groups."""
    group = max(1, -(-len(x) // POINTS))
    starts = np.arange(0, len(x), group)
    if not len(starts):
        return np.zeros(0), np.zeros(0)
    sizes = np.diff(np.append(starts, len(x)))
    mean = lambda v: np.add.reduceat(np.asarray(v, float), starts) / sizes
    return mean(x), mean(y)


def smooth(values: np.ndarray) -> np.ndarray:
    """A moving average over a twentieth of the curve, shorter at its ends."""
    reach = len(values) // 40
    if reach < 1:
        return values
    total = np.concatenate([[0.0], np.nancumsum(values)])
    first, last = np.arange(len(values)) - reach, np.arange(len(values)) + reach + 1
    first, last = first.clip(0), last.clip(max=len(values))
    return (total[last] - total[first]) / (last - first)
