"""The filters of a first convolution as a picture."""

from __future__ import annotations

import math

import cv2
import numpy as np

from videre.errors import ShapeError

SIDE = 56
"""Pixels of the drawn side of a filter, about."""
GAP = 4


def draw_filters(weight: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Draw each filter as what it answers to most: grey is 0, and the largest weight of each filter is black or white.

    Args:
        weight: float [O, C, h, w]; with three channels in colour (RGB), else the sum over them in grey.
        columns: filters a row; None: about a square.

    Returns:
        uint8 [H, W, 3], the filters in reading order on white.

    Raises ShapeError for another number of axes.
    """
    if weight.ndim != 4:
        raise ShapeError(f"filters are [out, in, height, width], found shape {weight.shape}")
    rgb = weight if weight.shape[1] == 3 else weight.sum(1, keepdims=True).repeat(3, axis=1)
    strongest = np.abs(rgb).max((1, 2, 3), keepdims=True)
    tiles = (127.5 + 127.5 * rgb / np.maximum(strongest, 1e-12)).transpose(0, 2, 3, 1).round().astype(np.uint8)
    scale = max(1, round(SIDE / max(weight.shape[2:])))
    height, width = (n * scale for n in weight.shape[2:])
    columns = columns or max(1, math.ceil(math.sqrt(len(tiles))))
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for n, tile in enumerate(tiles):
        y, x = (GAP + k * (side + GAP) for k, side in zip(divmod(n, columns), (height, width)))
        sheet[y : y + height, x : x + width] = cv2.resize(tile, (width, height), interpolation=cv2.INTER_NEAREST)
    return sheet
