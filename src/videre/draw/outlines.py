"""Outlines of masks as smooth closed curves, so that they stay crisp at any size."""

from __future__ import annotations

import cv2
import numpy as np

from videre.structures import Masks

Rings = list[np.ndarray]
"""Closed curves, each float [P, 2] of x, y; a point is inside when it is inside an odd number of them."""


def outlines(masks: Masks) -> list[Rings]:
    """The curves of each mask in continuous pixels.

    Polygons are taken as they are. Pixels are traced between their centres; how far between is decided by the
    neighbourhood, which turns stairs into slopes while every pixel stays on its side of the curve.
    """
    if masks.form == "polygons":
        return [[np.asarray(ring, np.float64) for ring in (*p.parts, *p.holes)] for p in masks.polygons()]
    return [_trace(pixels, x1, y1) for pixels, (x1, y1, _, _) in masks.crops()]


def _trace(crop: np.ndarray, x: int, y: int) -> Rings:
    from contourpy import LineType, contour_generator

    if crop.size == 0:
        return []
    framed = np.pad(crop, 2).astype(np.float32)  # a ground all round closes the curves
    height = (framed + cv2.GaussianBlur(framed, (5, 5), 1.0)) / 2  # above .5 exactly where the mask is
    curves = contour_generator(z=height, line_type=LineType.Separate).lines(0.5)
    return [np.asarray(curve[:-1], np.float64) + np.array([x - 1.5, y - 1.5]) for curve in curves if len(curve) > 3]
