"""What a detector trains on, drawn: true boxes, and the boxes that are to find them, to find nothing, or to be passed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from videre.draw.canvas import Canvas
from videre.draw.colors import Color
from videre.draw.scene import FONT, with_strip
from videre.draw.text import Label, place_labels

TRUE: Color = (255, 255, 255)
POSITIVE: Color = (40, 190, 90)
NEGATIVE: Color = (225, 70, 60)
IGNORED: Color = (240, 190, 40)


def draw_assignment(
    picture: Any,
    truths: Any,
    boxes: Any,
    matches: Any,
    overlaps: Any,
    chosen: Any,
    lines: Sequence[str] = (),
    most: int = 12,
) -> np.ndarray:
    """True boxes in white and, of the boxes that are trained on, the positives in green with their overlap, and some of the
    negatives in red and of those that take no part in yellow.

    Args:
        truths: float [T, 4] xyxy in pixels of the picture. boxes: [N, 4]. matches: int [N], the true box of each, -1 negative, -2
            ignored. overlaps: [N], IoU with the nearest true box. chosen: bool [N], which are sampled.
        lines: written below. most: boxes of each kind that are drawn, spread over all; the counts below are of all.

    Returns:
        uint8 [H', W', 3].
    """
    canvas = Canvas(picture)
    truths, boxes = np.asarray(truths, np.float64).reshape(-1, 4), np.asarray(boxes, np.float64).reshape(-1, 4)
    matches, overlaps, chosen = np.asarray(matches), np.asarray(overlaps, np.float64), np.asarray(chosen, bool)
    kinds = {"positive": matches >= 0, "negative": matches == -1, "ignored": matches == -2}
    of = {name: np.flatnonzero(mask & (chosen | (name == "ignored"))) for name, mask in kinds.items()}
    spread = lambda index: (
        index[np.linspace(0, len(index) - 1, min(most, len(index))).astype(int)] if len(index) else index
    )
    near = of["ignored"][np.argsort(-overlaps[of["ignored"]])]  # the most doubtful
    for n in near[:most]:
        canvas.box(boxes[n], IGNORED, 1, dash=6)
    for n in spread(of["negative"][np.argsort(-overlaps[of["negative"]])]):
        canvas.box(boxes[n], NEGATIVE, 1)
    positive = spread(of["positive"])
    for n in positive:
        canvas.box(boxes[n], POSITIVE, 2)
    for box in truths:
        canvas.box(box, TRUE, 2)
    wishes = [
        Label(tuple(boxes[n] * canvas.scale), (f"{overlaps[n]:.2f}".lstrip("0"),), i) for i, n in enumerate(positive)
    ]
    for label in place_labels(wishes, canvas.size, canvas.width(FONT - 2), canvas.width(8)):
        canvas.tag(label, POSITIVE)
    colors = {"positive": POSITIVE, "negative": NEGATIVE, "ignored": IGNORED}
    legend = [(f"{len(truths)} true", TRUE)] + [
        (f"{int(mask.sum()):,} {name}" + (f", {len(of[name]):,} sampled" if name != "ignored" else ""), colors[name])
        for name, mask in kinds.items()
    ]
    return with_strip(canvas, legend, lines)
