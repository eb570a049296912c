"""The chart of a comparison: AP over time, the front, and the intervals."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from videre.draw.curves import FAINT, INK, SERIES, to_png
from videre.studies.compare.row import Row
from videre.studies.compare.study import Comparison

MARKERS = "osD^vP*X"


def chart(study: Comparison) -> bytes:
    """A PNG: a point a row, its colour the system and its form the size of the pictures; whiskers are 95 % intervals over pictures."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    axes = figure.subplots()
    systems = list(dict.fromkeys(sorted(row.system for row in study.rows)))
    sides = sorted({row.side for row in study.rows})
    best = study.front
    ms = lambda row: 1e3 * row.seconds
    steps = [point for row in best for point in ((ms(row), row.ap),)]
    last = max(map(ms, study.rows)) * 1.15
    axes.step([*(x for x, _ in steps), last], [*(y for _, y in steps), steps[-1][1]], where="post", color=FAINT, lw=6)
    for row in study.rows:
        low, high = row.interval
        axes.errorbar(
            ms(row),
            row.ap,
            [[max(0, row.ap - low)], [max(0, high - row.ap)]],
            color=SERIES[systems.index(row.system) % len(SERIES)],
            marker=MARKERS[sides.index(row.side) % len(MARKERS)],
            markersize=5 if _varied(row) else 8,
            markerfacecolor="none" if row.rung == 0 else None,
            capsize=2,
            linewidth=1.2,
        )
    for row in best:
        axes.annotate(
            row.name, (ms(row), row.ap), (6, -12), textcoords="offset points", fontsize=8, color=INK, rotation=0
        )
    for n, system in enumerate(systems):
        axes.plot([], [], color=SERIES[n % len(SERIES)], marker="o", linestyle="none", label=system)
    for n, side in enumerate(sides):
        axes.plot([], [], color=INK, marker=MARKERS[n % len(MARKERS)], linestyle="none", label=f"{side} pixels")
    axes.plot([], [], color=INK, marker="o", markerfacecolor="none", linestyle="none", label="short training alone")
    axes.set_xscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("milliseconds a picture", color=INK)
    axes.set_ylabel(f"box AP on {study.held_out}", color=INK)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), labelcolor=INK)
    return to_png(figure)


def _varied(row: Row) -> bool:
    return ", " in row.name
