"""Colours: of classes, of instances that must be told apart, and of text that must be read on them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

from videre.structures import Categories

Color = tuple[int, int, int]

INK: Color = (236, 240, 246)
SOFT: Color = (160, 170, 184)
GROUND: Color = (22, 26, 33)
"""Text, quieter text and the ground of strips and sheets: dark, so that pictures stand out on any page."""

MISSED: Color = (255, 45, 130)
FALSE: Color = (255, 176, 0)
"""Errors. Their line styles differ too, for those who do not see the colours apart."""

LEFT: Color = (58, 190, 255)
RIGHT: Color = (255, 150, 40)
MIDDLE: Color = (120, 230, 140)
"""Limbs of a body's left, right and middle."""

_UNKNOWN: Color = (90, 170, 255)


def class_color(categories: Categories | None, label: int) -> Color:
    """The colour of a class: always the one of its `Categories`."""
    return categories.colors[label] if categories is not None and label < len(categories) else _UNKNOWN


def instance_colors(
    categories: Categories | None, labels: Sequence[int], apart: bool, cool: bool = False
) -> list[Color]:
    """A colour per instance.

    Args:
        apart: neighbours of one class must differ (masks): shades of the class colour where there are several classes,
            hues all round where there is one, as for nuclei. cool: green to violet only; warm hues mark errors.
    """
    if not apart:
        return [class_color(categories, label) for label in labels]
    single = categories is None or len(categories) == 1
    seen: dict[int, int] = {}
    colors = []
    for label in labels:
        n = seen[label] = seen.get(label, -1) + 1
        base = class_color(categories, label)
        colors.append(_hue(n, cool) if single and len(labels) > 1 else _shade(base, n))
    return colors


def text_on(ground: Color) -> Color:
    """Black or white, whichever reads better on a ground."""
    r, g, b = ground
    return (12, 14, 18) if 0.299 * r + 0.587 * g + 0.114 * b > 140 else (255, 255, 255)


def _hue(n: int, cool: bool) -> Color:
    turn = (0.08 + n * 0.61803398875) % 1.0
    r, g, b = colorsys.hls_to_rgb(0.24 + 0.5 * turn if cool else turn, (0.58, 0.68, 0.5)[n % 3], 0.92)
    return round(r * 255), round(g * 255), round(b * 255)


def _shade(color: Color, n: int) -> Color:
    """The n-th neighbour of a class colour: the same family, another hue and lightness."""
    if n == 0:
        return color
    hue, lightness, saturation = colorsys.rgb_to_hls(*(c / 255 for c in color))
    turn, lift = ((0.08, 0.16), (-0.08, -0.06), (0.03, 0.28), (-0.05, 0.12), (0.12, -0.04))[(n - 1) % 5]
    r, g, b = colorsys.hls_to_rgb((hue + turn) % 1, min(0.82, max(0.34, lightness + lift)), saturation)
    return round(r * 255), round(g * 255), round(b * 255)
