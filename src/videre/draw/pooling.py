"""RoI pool beside RoI align on one box: where the first rounds, and where the second samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from videre.draw.canvas import Canvas
from videre.draw.colors import GROUND, Color
from videre.draw.scene import with_strip
from videre.errors import ShapeError
from videre.images.reading import as_picture

BOX: Color = (255, 255, 255)
GRID: Color = (150, 150, 150)
SNAPPED: Color = (235, 80, 60)
BINS: Color = (250, 180, 60)
SAMPLES: Color = (60, 200, 110)
SIDE = 560
"""Pixels of the longer side of each panel."""
GAP = 12


def draw_pooling(
    picture: Any, box: Sequence[float], stride: int = 16, resolution: int = 7, sampling_ratio: int = 2
) -> np.ndarray:
    """The box, the features of the map around it, and what both operators make of it.

    On the left RoI pool (Girshick, Fast R-CNN, 2015): the box goes to whole features, its bins to whole features again, and
    overlap. On the right RoI align (He et al., Mask R-CNN, 2017): nothing is rounded, and each bin is the mean of bilinear samples.

    Args:
        box: x1, y1, x2, y2 in pixels of the picture. stride: pixels a feature. resolution: bins a side. sampling_ratio: samples a
            side of each bin.

    Raises:
        ShapeError: the box has no area, or lies outside the picture.
    """
    picture = as_picture(picture)
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = map(float, box)
    if not (x1 < x2 and y1 < y2 and x2 > 0 and y2 > 0 and x1 < width and y1 < height):
        raise ShapeError(f"a box x1 < x2, y1 < y2 inside {width}x{height} is needed, found {tuple(box)}")
    left, top = max(0, math.floor(x1 / stride - 1) * stride), max(0, math.floor(y1 / stride - 1) * stride)
    right = min(width, math.ceil(x2 / stride + 1) * stride)
    bottom = min(height, math.ceil(y2 / stride + 1) * stride)
    part = picture[top:bottom, left:right]
    scale = SIDE / max(part.shape[:2])
    shift = np.array([left, top, left, top], float)
    panels = [Canvas(part, scale) for _ in range(2)]
    for canvas in panels:
        for x in range(left - left % stride, right + 1, stride):
            canvas.line(np.array([[x - left, 0], [x - left, bottom - top]], float), GRID, 1)
        for y in range(top - top % stride, bottom + 1, stride):
            canvas.line(np.array([[0, y - top], [right - left, y - top]], float), GRID, 1)
    columns, rows = (_bins(a, b, stride, resolution) for a, b in ((x1, x2), (y1, y2)))
    pooled, aligned = panels
    for up, down in rows:
        for first, last in columns:
            pooled.box((np.array([first, up, last, down]) * stride - shift).tolist(), BINS, 1)
    snapped = np.array([columns[0][0], rows[0][0], columns[-1][1], rows[-1][1]]) * stride
    pooled.box((snapped - shift).tolist(), SNAPPED, 3)
    for t in np.linspace(0, 1, resolution + 1)[1:-1]:
        x, y = x1 + t * (x2 - x1) - left, y1 + t * (y2 - y1) - top
        aligned.line(np.array([[x, y1 - top], [x, y2 - top]]), BINS, 1)
        aligned.line(np.array([[x1 - left, y], [x2 - left, y]]), BINS, 1)
    steps = (np.arange(resolution * sampling_ratio) + 0.5) / (resolution * sampling_ratio)
    for y in y1 + steps * (y2 - y1) - top:
        for x in x1 + steps * (x2 - x1) - left:
            aligned.dot((x, y), SAMPLES, 2)
    for canvas in panels:
        canvas.box((np.array([x1, y1, x2, y2]) - shift).tolist(), BOX, 2)
    moved = np.abs(snapped - np.array([x1, y1, x2, y2])).max()
    texts = [
        (
            [("RoI pool: snapped box", SNAPPED), ("bins", BINS), ("box", BOX)],
            f"its edges move by up to {moved:.0f} pixels",
        ),
        (
            [("RoI align: samples", SAMPLES), ("bins", BINS), ("box", BOX)],
            f"{(resolution * sampling_ratio) ** 2} samples, nothing is rounded",
        ),
    ]
    drawn = [with_strip(canvas, legend, [line]) for canvas, (legend, line) in zip(panels, texts, strict=True)]
    tall = max(len(one) for one in drawn)
    fill = lambda one: np.concatenate([one, np.full((tall - len(one), one.shape[1], 3), GROUND, np.uint8)])
    return np.concatenate([fill(drawn[0]), np.full((tall, GAP, 3), GROUND, np.uint8), fill(drawn[1])], 1)


def _bins(first: float, last: float, stride: int, bins: int) -> list[tuple[int, int]]:
    """The features [start, end) of each bin along an axis, as `ops.roi_pool` has them."""
    start, end = (math.floor(v / stride + 0.5) for v in (first, last))
    side = max(end - start + 1, 1) / bins
    return [(start + math.floor(p * side), start + math.ceil((p + 1) * side)) for p in range(bins)]
