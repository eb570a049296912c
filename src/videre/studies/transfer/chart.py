"""The chart of a transfer study: accuracy by stage, and by the number of pictures."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from videre.draw.curves import INK, SERIES, to_png
from videre.studies.transfer.study import Study, linear_on


def chart(study: Study) -> bytes:
    """A PNG: linear classifiers from the finest stage to the top beside the neighbours; every way over the pictures.

    Bars and whiskers are 95% intervals over held-out pictures and seeds.
    """
    figure = Figure(figsize=(12.5, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    shares = sorted({row.share for row in study.rows})
    names = [linear_on(stage) for stage in study.stages]
    for n, (color, share) in enumerate(zip(SERIES[::-1][-len(shares) :], shares)):
        rows = study.at(share)
        there = [(i, rows[name]) for i, name in enumerate(names) if name in rows]
        if there:
            stages, found = zip(*there)
            places = [stage + 0.07 * (n - (len(shares) - 1) / 2) for stage in stages]  # whiskers side by side
            count = found[0].pictures
            left.errorbar(
                places,
                [r.accuracy for r in found],
                [1.96 * r.error for r in found],
                color=color,
                marker="o",
                capsize=3,
                linewidth=1.8,
                label=f"{count} pictures",
            )
    left.set_xticks(range(len(names)), [*study.stages[:-1], "top layer"], rotation=20, ha="right")
    left.set_title("A linear classifier on each stage", loc="left", fontsize=11, color=INK)
    methods = [m for m in dict.fromkeys(row.method for row in study.rows) if m not in names[:-1]]
    for n, (color, method) in enumerate(zip(SERIES, methods)):
        rows_of = [study.at(share)[method] for share in shares if method in study.at(share)]
        # a little apart, so that whiskers do not cover each other
        x = [row.pictures * 1.04 ** (n - len(methods) / 2) for row in rows_of]
        right.errorbar(
            x,
            [r.accuracy for r in rows_of],
            [1.96 * r.error for r in rows_of],
            color=color,
            marker="o",
            capsize=3,
            linewidth=1.8,
            label=method,
        )
    counts = sorted({row.pictures for row in study.rows})
    right.set_xscale("log")
    right.set_xticks(counts, [f"{c:,}" for c in counts])
    right.minorticks_off()
    right.set_xlim(counts[0] / 1.5, counts[-1] * 1.5)
    right.set_xlabel("training pictures")
    right.set_title("Every way", loc="left", fontsize=11, color=INK)
    low = min(row.accuracy - 1.96 * row.error for row in study.rows)
    for axes in (left, right):
        axes.set_ylim(max(0, np.floor(low * 10) / 10), 1.005)
        axes.set_ylabel("accuracy")
        axes.grid(axis="y", color="#e4e8ee", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=9, loc="lower right")
    right.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))  # the lines may be anywhere
    return to_png(figure)
