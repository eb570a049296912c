"""The strip below a picture: which colour is which class, what the picture is, what is said of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from videre.draw.colors import GROUND, INK, SOFT, Color
from videre.draw.text import text_coverage, text_size, wrap

Entry = tuple[str, Color | None]
"""A word or two with the swatch before it, or none."""


def strip(width: int, size: int, legend: Sequence[Entry] = (), lines: Sequence[str] = ()) -> np.ndarray:
    """Draw a strip, uint8 [h, width, 3]; h is 0 where there is nothing to say.

    Args:
        size: of the font, pixels. legend: flows from left to right. lines: sentences, wrapped, a new line each.
    """
    margin, row = round(size * 0.8), round(size * 1.7)
    spots: list[tuple[int, int, str, Color | None]] = []
    x, y = margin, round(size * 0.5)
    for text, color in legend:
        need = text_size(text, size)[0] + (round(size * 1.2) if color else 0)
        if x > margin and x + need > width - margin:
            x, y = margin, y + row
        spots.append((x, y, text, color))
        x += need + round(size * 1.3)
    y += row if legend else 0
    written = [(line, i) for i, text in enumerate(lines) for line in wrap(text, size, width - 2 * margin)]
    height = y + row * len(written) + round(size * 0.5) if legend or written else 0
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = GROUND
    for x, top, text, color in spots:
        if color:
            side = round(size * 0.8)
            pixels[top + (row - side) // 2 :, x : x + side][:side] = color
            x += round(size * 1.2)
        write(pixels, text, x, top, size, INK)
    for n, (text, i) in enumerate(written):
        write(pixels, text, margin, y + n * row, size, INK if i == 0 else SOFT)
    return pixels


def write(pixels: np.ndarray, text: str, x: int, y: int, size: int, color: Color, bold: bool = False) -> None:
    """A line of text at the top-left corner x, y; what does not fit is cut off."""
    letters = text_coverage(text, size, bold)
    part = pixels[y : y + letters.shape[0], x : x + letters.shape[1]]
    cover = letters[: part.shape[0], : part.shape[1], None] / np.float32(255)
    part[:] = part + (np.array(color, np.float32) - part) * cover + np.float32(0.5)
