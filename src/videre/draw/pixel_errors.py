"""Prediction, truth and errors of a picture whose pixels have classes, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from videre.draw.canvas import Canvas
from videre.draw.colors import GROUND, MISSED, class_color
from videre.draw.scene import FONT, check_size, draw_all
from videre.draw.strip import Entry, strip
from videre.images.reading import as_picture
from videre.structures import Scene, Schema
from videre.structures.scene import VOID

GREY = (150, 150, 150)
"""Of what the truth says nothing about."""


def draw_pixel_errors(
    picture: Any, truth: Scene, prediction: Scene, schema: Schema, *, scale: float | None = None
) -> np.ndarray:
    """Draw picture, prediction, truth, and where they differ.

    Args:
        as `draw_scene`; both scenes have a segmentation.

    Returns:
        uint8 [H', W', 3]: two rows of two, a heading over each, the classes that are there below.

    Raises:
        ShapeError: the picture has another size than one of the scenes.
    """
    picture = as_picture(picture)
    check_size(picture, truth)
    check_size(picture, prediction)
    assert truth.segmentation is not None and prediction.segmentation is not None
    true, predicted = truth.segmentation.numpy(), prediction.segmentation.numpy()
    plain = Canvas(picture, scale)
    panels: list[tuple[str, np.ndarray]] = [("picture", plain.pixels)]
    for name, scene in (("prediction", prediction), ("truth", truth)):
        canvas = Canvas(picture, scale)
        draw_all(canvas, scene, schema, frozenset({"segmentation"}), [], [])
        panels.append((name, canvas.pixels))
    valid, wrong = true != VOID, (true != predicted) & (true != VOID)
    share = wrong.sum() / max(1, valid.sum())
    if true.ndim == 3:  # classes that overlap: where any of them is wrong, none is known
        counts = ((true == 1) | (predicted == 1)).sum((1, 2))
        valid, wrong = valid.any(0), wrong.any(0)
    else:
        counts = np.bincount(np.concatenate([true[valid], predicted[predicted != VOID]]), minlength=1)
    canvas = Canvas((picture * 0.35 + 0.65 * picture.mean()).astype(picture.dtype), scale)
    colors = np.zeros((*truth.size, 3), np.uint8)
    colors[wrong], colors[~valid] = MISSED, GREY
    fit = lambda plane: canvas.fit(np.ascontiguousarray(plane))
    canvas.paint(np.stack([fit(colors[:, :, c]) for c in range(3)], 2), fit((wrong | ~valid).astype(np.float32)) * 0.85)
    panels.append((f"errors  {share:.1%} of the {'answers' if true.ndim == 3 else 'pixels'}", canvas.pixels))
    size = canvas.width(FONT)
    tiles = [np.concatenate([strip(pixels.shape[1], size, [(title, None)]), pixels]) for title, pixels in panels]
    gap = np.full((tiles[0].shape[0], max(4, tiles[0].shape[1] // 100), 3), GROUND, np.uint8)
    rows = [np.concatenate([left, gap, right], 1) for left, right in (tiles[:2], tiles[2:])]
    names = schema.pixels
    legend: list[Entry] = [
        (names[k] if names and k < len(names) else str(k), class_color(names, k))
        for k in np.argsort(-counts, kind="stable").tolist()
        if counts[k]
    ]
    legend += [("wrong", MISSED)] + ([("void", GREY)] if not valid.all() else [])
    return np.concatenate([*rows, strip(rows[0].shape[1], size, legend)])
