"""Training targets made visible: what Mask R-CNN's mask head is asked to say about each sample."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from videre.draw.canvas import Canvas
from videre.draw.colors import GROUND, instance_colors
from videre.draw.scene import FONT, with_strip
from videre.draw.sheet import contact_sheet
from videre.draw.text import Label, place_labels
from videre.errors import ShapeError

SIDE = 168
"""Pixels of a target's cell."""


def draw_mask_targets(picture: Any, boxes: Any, targets: Any, most: int = 24) -> np.ndarray:
    """Draw the samples' boxes on the picture and, below, what lies in each box with its target over it.

    Cells of the target are shown as they are, at their own resolution: how coarse they are is part of the truth.

    Args:
        boxes: float [P, 4] xyxy in pixels of the picture. targets: float [P, S, S] in [0, 1], see
            `MaskRCNN.mask_targets`. most: samples shown, the first ones.

    Returns:
        uint8 [H', W', 3].

    Raises:
        ShapeError: boxes and targets of different number or shape.
    """
    boxes, targets = np.asarray(boxes, np.float64), np.asarray(targets, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or targets.ndim != 3 or len(boxes) != len(targets):
        raise ShapeError(f"boxes [P, 4] and targets [P, S, S] are needed, found {boxes.shape} and {targets.shape}")
    canvas = Canvas(picture)
    plain = canvas.pixels.copy()
    shown = min(most, len(boxes))
    colors = instance_colors(None, [0] * shown, apart=True)
    for n in range(shown):
        canvas.box(boxes[n], colors[n], 2)
    wishes = [Label(tuple(boxes[n] * canvas.scale), (str(n + 1),), n) for n in range(shown)]
    for label in place_labels(wishes, canvas.size, canvas.width(FONT - 2), canvas.width(8)):
        canvas.tag(label, colors[label.owner])
    whole = with_strip(
        canvas, [(f"{shown} of {len(boxes)} samples, targets {targets.shape[1]}x{targets.shape[2]}", None)]
    )
    if not shown:
        return whole
    cells = [_cell(plain, boxes[n] * canvas.scale, targets[n], colors[n]) for n in range(shown)]
    columns = max(1, whole.shape[1] // (SIDE + 8))
    cells += [np.full((SIDE, SIDE, 3), GROUND, np.uint8)] * max(0, columns - shown)  # a short row keeps its cells small
    labels = [str(n + 1) if n < shown else "" for n in range(len(cells))]
    sheet = contact_sheet(cells, columns, labels)
    width = max(sheet.shape[1], whole.shape[1])
    pad = lambda a: np.concatenate([a, np.full((len(a), width - a.shape[1], 3), GROUND, np.uint8)], axis=1)
    return np.concatenate([pad(whole), pad(sheet)])


def _cell(plain: np.ndarray, box: np.ndarray, target: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """The part of the picture in a box with the target's cells over it, as strong as their values."""
    x1, y1, x2, y2 = box
    step = np.array([[(x2 - x1) / SIDE, 0, x1], [0, (y2 - y1) / SIDE, y1]])
    step[:, 2] += step[:, :2] @ (0.5, 0.5) - 0.5  # cell pixels to canvas pixels, both counted from their middles
    part = cv2.warpAffine(plain, step, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    cover = cv2.resize(target, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)[..., None] * np.float32(0.6)
    return (part * (1 - cover) + np.array(color, np.float32) * cover + np.float32(0.5)).astype(np.uint8)
