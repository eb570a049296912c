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
    """Lay pictures out in rows that all end at the same edge; those of one row are equally high.

    Args:
        pictures: any kinds and sizes, at least one. columns: pictures a row; None: as many as make the sheet about as
            wide as high. labels: a line under each.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ShapeError: no picture, or another number of labels.
    """
    if not pictures or (labels is not None and len(labels) != len(pictures)):
        raise ShapeError(f"a sheet needs pictures and as many labels, found {len(pictures)} and {len(labels or [])}")
    cells = [to_rgb(picture) for picture in pictures]
    shapes = np.array([c.shape[1] / c.shape[0] for c in cells])
    columns = columns or max(1, min(len(cells), round(math.sqrt(len(cells) * 1.25 / shapes.mean()))))
    width = min(int(np.median([c.shape[1] for c in cells])), WIDEST // columns)
    gap, size = max(4, width // 40), max(11, width // 32)
    inner = width * columns + gap * (columns - 1)
    rows, height = [], 0.0
    for i in range(0, len(cells), columns):
        here = shapes[i : i + columns]
        fitting = (inner - gap * (len(here) - 1)) / here.sum()
        height = fitting if len(here) == columns or not height else min(fitting, height)  # a short last row stays small
        edges = np.round((here * height + gap).cumsum()).astype(int)
        starts = np.concatenate([[0], edges[:-1]])
        row = [_resized(c, int(e - s) - gap, round(height)) for c, s, e in zip(cells[i : i + columns], starts, edges)]
        if labels is not None:
            row = [_captioned(cell, label, size) for cell, label in zip(row, labels[i : i + columns])]
        rows.append((row, starts))
    heights = [max(len(cell) for cell in row) for row, _ in rows]
    sheet = np.empty((sum(heights) + gap * (len(rows) + 1), inner + 2 * gap, 3), np.uint8)
    sheet[:] = GROUND
    y = gap
    for (row, starts), tall in zip(rows, heights):
        for cell, start in zip(row, starts):
            x = gap + int(start)
            part = sheet[y : y + len(cell), x : x + cell.shape[1]]
            part[:] = cell[:, : part.shape[1]]  # a rounded pixel may stand over
        y += tall + gap
    return sheet


def _resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    size = (max(1, width), max(1, height))
    if picture.shape[1::-1] == size:
        return picture
    smaller = picture.shape[1] > width
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _captioned(picture: np.ndarray, label: str, size: int) -> np.ndarray:
    lines, row = wrap(label, size, picture.shape[1]), round(size * 1.5)
    below = np.empty((row * len(lines), picture.shape[1], 3), np.uint8)
    below[:] = GROUND
    for i, line in enumerate(lines):
        write(below, line, 0, i * row, size, INK)
    return np.concatenate([picture, below])
