"""Contact sheet: many pictures on one, and many scenes, each drawn in the size in which it will be seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from videre.draw.canvas import to_rgb
from videre.draw.colors import GROUND, INK
from videre.draw.scene import draw_scene
from videre.draw.strip import write
from videre.draw.text import wrap
from videre.errors import ShapeError
from videre.structures import Scene, Schema

SEEN = 2000
"""Pixels of a sheet of scenes: as wide as a screen, so that words and lines in it need not be made smaller."""
OBLONG = (0.4, 3.0)
"""Least and most of a cell's width over its height; what is longer stands in the middle of such a cell."""
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
    shapes = np.clip([c.shape[1] / c.shape[0] for c in cells], *OBLONG)
    columns = columns or _columns(shapes)
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


def draw_sheet(
    pictures: Iterable[Any],
    scenes: Sequence[Scene],
    schema: Schema,
    *,
    threshold: float | Mapping[str, float] | None = None,
    columns: int | None = None,
    labels: Sequence[str] | None = None,
) -> np.ndarray:
    """Draw many scenes on one sheet, see `draw_scene` and `contact_sheet`.

    Each is drawn in about the size in which it stands on the sheet, so that its words can be read and its lines seen
    whatever size its picture has.

    Args:
        pictures: one for each scene, taken one after another: they need not be in memory together.

    Returns:
        uint8 [H, W, 3], about `SEEN` pixels wide.

    Raises:
        ShapeError: no scene, another number of labels, or a picture of another size than its scene.
    """
    sizes = np.array([scene.size for scene in scenes], np.float64).reshape(-1, 2)
    shapes = np.clip(sizes[:, 1] / sizes[:, 0], *OBLONG)
    columns = columns or (_columns(shapes) if len(shapes) else 1)
    high = SEEN / columns / float(np.median(shapes)) if len(shapes) else 0.0
    scales = np.minimum(high / sizes[:, 0], high * shapes / sizes[:, 1])
    drawn = [
        draw_scene(picture, scene, schema, threshold=threshold, scale=float(scale))
        for picture, scene, scale in zip(pictures, scenes, scales)
    ]
    return contact_sheet(drawn, columns, labels)


def _columns(shapes: np.ndarray) -> int:
    """Pictures a row, so that the sheet is about as wide as high."""
    return max(1, min(len(shapes), round(math.sqrt(len(shapes) * 1.25 / shapes.mean()))))


def _resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture in a cell of this size: filling it, or in its middle where one of them is oblong."""
    cell = (max(1, width), max(1, height))
    shape = picture.shape[1] / picture.shape[0]
    if OBLONG[0] <= shape <= OBLONG[1]:
        size = cell
    else:
        scale = min(cell[0] / picture.shape[1], cell[1] / picture.shape[0])
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    if picture.shape[1::-1] != size:
        smaller = picture.shape[1] > size[0]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    if size == cell:
        return picture
    left, top = (cell[0] - size[0]) // 2, (cell[1] - size[1]) // 2
    whole = np.empty((cell[1], cell[0], 3), np.uint8)
    whole[:] = GROUND
    whole[top : top + size[1], left : left + size[0]] = picture
    return whole


def _captioned(picture: np.ndarray, label: str, size: int) -> np.ndarray:
    lines, row = wrap(label, size, picture.shape[1]), round(size * 1.5)
    below = np.empty((row * len(lines), picture.shape[1], 3), np.uint8)
    below[:] = GROUND
    for i, line in enumerate(lines):
        write(below, line, 0, i * row, size, INK)
    return np.concatenate([picture, below])
