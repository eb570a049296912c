"""Curves of trainings: `python benchmarks/curves.py RUN [RUN...] [--out curves.png]`.

The loss of each run, smoothed, and what was measured on its validation pictures, over the pictures seen. Runs that share
an axis can be compared by eye: each is named after its folder.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from videre.draw.curves import INK, SERIES, smooth, to_png
from videre.files import write_atomic


def read_run(folder: Path, minutes: bool) -> tuple[np.ndarray, np.ndarray, dict[str, list[tuple[float, float]]]]:
    """Where each step stands and its loss, and each metric with where it was taken: pictures seen, or minutes."""
    batch = json.loads((folder / "run.json").read_text())["recipe"]["batch"]
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = {line["step"]: line for line in lines if "loss" in line}
    place = {step: line["seconds"] / 60 if minutes else step * batch for step, line in steps.items()}
    metrics: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.get("metrics", {}).items():
            metrics.setdefault(name, []).append((place[line["step"]], value))
    return np.array(list(place.values())), np.array([line["loss"] for line in steps.values()]), metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trainings")
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    parser.add_argument("--minutes", action="store_true", help="over time, not over pictures seen")
    args = parser.parse_args()

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for color, folder in zip(itertools.cycle(SERIES), args.runs):
        seen, loss, metrics = read_run(folder, args.minutes)
        left.plot(seen, smooth(loss), color=color, label=folder.name)
        headline = "mask AP" if "mask AP" in metrics else "box AP"
        if len(metrics.get(headline, [])) > 1:
            points = np.array(metrics[headline])
            right.plot(points[:, 0], points[:, 1], "o-", ms=4, color=color, label=f"{folder.name}: {headline}")
    left.set_yscale("log")
    for axes, title in ((left, "training loss"), (right, "on validation pictures")):
        axes.set_title(title, color=INK, fontsize=10)
        axes.set_xlabel("minutes" if args.minutes else "pictures seen", color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, which="both", labelsize=8)
        axes.set_xlim(0)
        if axes.get_lines():
            axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("{x:g}")
    right.set_ylim(0, 1)
    write_atomic(args.out, to_png(figure))


if __name__ == "__main__":
    main()
