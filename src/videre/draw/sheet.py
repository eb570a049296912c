"""Contact sheet: many pictures on one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from videre.draw.canvas import to_rgb
from videre.draw.colors import GROUND, INK
from videre.draw.strip import write
from videre.draw.text import wrap
from videre.errors import ShapeError

WIDEST = 4800
"""Pixels; columns get narrower where many would make a sheet that no viewer opens."""


def contact_sheet(
    pictures: Sequence[Any], columns: int | None = None, labels: Sequence[str] | None = None
) -> np.ndarray:
    """Lay pictures out in columns of one width.

    Args:
        pictures: any kinds and sizes, at least one. columns: None: as many as make the sheet about as wide as high.
        labels: a line under each.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ShapeError: no picture, or another number of labels.
    """
    if not pictures or (labels is not None and len(labels) != len(pictures)):
        raise ShapeError(f"a sheet needs pictures and as many labels, found {len(pictures)} and {len(labels or [])}")
    cells = [to_rgb(picture) for picture in pictures]
    tall = float(np.mean([c.shape[0] / c.shape[1] for c in cells]))
    columns = columns or max(1, min(len(cells), round(math.sqrt(len(cells) * 1.25 * tall))))
    width = min(max(c.shape[1] for c in cells), WIDEST // columns)
    gap, size = max(4, width // 40), max(11, width // 32)
    cells = [_to_width(cell, width) for cell in cells]
    if labels is not None:
        cells = [_captioned(cell, label, size) for cell, label in zip(cells, labels)]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    heights = [max(len(cell) for cell in row) for row in rows]
    sheet = np.empty((sum(heights) + gap * (len(rows) + 1), width * columns + gap * (columns + 1), 3), np.uint8)
    sheet[:] = GROUND
    y = gap
    for row, height in zip(rows, heights):
        for column, cell in enumerate(row):
            x = gap + column * (width + gap)
            sheet[y : y + len(cell), x : x + width] = cell
        y += height + gap
    return sheet


def _to_width(picture: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    if picture.shape[1] == width:
        return picture
    smaller = picture.shape[1] > width
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _captioned(picture: np.ndarray, label: str, size: int) -> np.ndarray:
    lines, row = wrap(label, size, picture.shape[1]), round(size * 1.5)
    below = np.empty((row * len(lines), picture.shape[1], 3), np.uint8)
    below[:] = GROUND
    for i, line in enumerate(lines):
        write(below, line, 0, i * row, size, INK)
    return np.concatenate([picture, below])
