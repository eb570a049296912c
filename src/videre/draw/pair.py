"""Truth beside prediction: what was found, what was missed, what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from videre.draw.canvas import Canvas
from videre.draw.colors import FALSE, GROUND, MISSED, instance_colors
from videre.draw.scene import FONT, above, check_size, draw_all, fields_drawn
from videre.draw.strip import Entry, strip
from videre.images.reading import as_picture
from videre.structures import Scene, Schema
from videre.structures.matches import match

DASHED, DOTTED = 7.0, 1.0
"""Lengths of the strokes round what was missed and round what is not there."""


def draw_pair(
    picture: Any,
    truth: Scene,
    prediction: Scene,
    schema: Schema,
    *,
    threshold: float | Mapping[str, float] | None = None,
    scale: float | None = None,
    iou: float = 0.5,
) -> np.ndarray:
    """Draw a truth, and beside it a prediction of the same picture.

    What was found has one colour on both sides. Truths that no prediction of their class overlaps by `iou` are dashed,
    predictions that find no truth are dotted.

    Args:
        as `draw_scene`. threshold: of the prediction.

    Returns:
        uint8 [H', W', 3]: two pictures side by side with a heading over each and words below.

    Raises:
        ShapeError: the picture has another size than one of the scenes.
    """
    picture = as_picture(picture)
    check_size(picture, truth)
    check_size(picture, prediction)
    prediction, _ = above(prediction, schema, threshold)
    matches = match(prediction, truth, iou)
    # both sides show the same kinds of things, so that the eye compares like with like
    wanted = fields_drawn(truth, None) & fields_drawn(prediction, None) or fields_drawn(truth, None) | fields_drawn(
        prediction, None
    )
    apart = "masks" in wanted
    labels = [
        s.instances.labels.tolist() if s.instances is not None and s.instances.labels is not None else [0] * len(s)
        for s in (truth, prediction)
    ]
    true_colors = instance_colors(schema.things, labels[0], apart, cool=True)
    found_colors = [
        true_colors[t] if t >= 0 else FALSE if bad else own
        for t, bad, own in zip(
            matches.truth_of, matches.false, instance_colors(schema.things, labels[1], apart, cool=True)
        )
    ]
    true_colors = [MISSED if bad else own for bad, own in zip(matches.missed, true_colors)]
    sides = []
    for name, scene, colors, bad, stroke, mark in (
        ("truth", truth, true_colors, matches.missed, DASHED, ("missed", MISSED)),
        ("prediction", prediction, found_colors, matches.false, DOTTED, ("false", FALSE)),
    ):
        canvas = Canvas(picture, scale)
        legend, lines = draw_all(canvas, scene, schema, wanted, colors, [stroke if b else 0.0 for b in bad])
        title: list[Entry] = [(f"{name}  {len(scene)}" if scene.instances is not None else name, None)]
        title += [(f"{int(bad.sum())} {mark[0]}", mark[1])] if bad.any() else []
        size = canvas.width(FONT)
        heading, words = strip(canvas.size[1], size, title), strip(canvas.size[1], size, legend, lines)
        sides.append(np.concatenate([heading, canvas.pixels, words]))
    height = max(side.shape[0] for side in sides)
    gap = np.full((height, max(4, sides[0].shape[1] // 100), 3), GROUND, np.uint8)
    left, right = (np.concatenate([s, np.full((height - len(s), s.shape[1], 3), GROUND, np.uint8)]) for s in sides)
    return np.concatenate([left, gap, right], axis=1)
