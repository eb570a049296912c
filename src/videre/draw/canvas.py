"""Canvas: a picture of any kind made ready to draw on, and the strokes that go on it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from videre.draw.colors import Color, text_on
from videre.draw.text import Placed, text_coverage
from videre.images.reading import as_picture

READABLE = 512
"""Pictures whose long side is well below are enlarged by a whole factor."""
UNIT = 900
"""Long side, in pixels, at which lines and text have their plain size; larger canvases get thicker ones."""
SHIFT = 4
"""OpenCV takes coordinates in sixteenths of a pixel."""
_SHADE: Color = (15, 17, 22)


def to_rgb(picture: Any) -> np.ndarray:
    """Any picture as uint8 [H, W, 3].

    16 bits are stretched between the darkest and brightest thousandth (scientific cameras use a part of the range);
    two channels become green and magenta, of more than three the first three are shown.
    """
    picture = as_picture(picture)
    if picture.dtype == np.uint16:
        low, high = np.percentile(picture, (0.1, 99.9))
        picture = (np.clip((picture - low) / max(high - low, 1.0), 0, 1) * 255 + 0.5).astype(np.uint8)
    channels = {1: [0, 0, 0], 2: [1, 0, 1]}.get(picture.shape[2], [0, 1, 2])
    return np.ascontiguousarray(picture[:, :, channels])


class Canvas:
    """A picture being drawn on. Every coordinate given is in continuous pixels of the original picture.

    Args:
        picture: any picture. scale: canvas pixels per picture pixel; None: a whole factor that makes it readable.
    """

    def __init__(self, picture: Any, scale: float | None = None) -> None:
        rgb = to_rgb(picture)
        height, width = rgb.shape[:2]
        self.scale = float(scale or max(1, round(READABLE / max(height, width))))
        size = (max(1, round(width * self.scale)), max(1, round(height * self.scale)))
        if size != (width, height):
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC)
        self.pixels = np.ascontiguousarray(rgb)
        self.unit = max(1.0, max(size) / UNIT)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def width(self, lines: float) -> int:
        """Canvas pixels of a line that is `lines` wide on a canvas of plain size."""
        return max(1, round(lines * self.unit))

    # areas ------------------------------------------------------------------------------------------------------------

    def fill(self, rings: Sequence[np.ndarray], color: Color, opacity: float) -> None:
        """Cover the inside of closed curves (odd rule) translucently."""
        if window := self._window(rings):
            self._blend(window, self._coverage(rings, window), color, opacity)

    def hatch(self, rings: Sequence[np.ndarray], color: Color, opacity: float) -> None:
        """Cover the inside of closed curves with slanting lines."""
        if window := self._window(rings):
            x1, y1, x2, y2 = window
            gap = self.width(9)
            slant = (np.arange(x1, x2)[None, :] + np.arange(y1, y2)[:, None]) % gap < self.width(1.5)
            self._blend(window, self._coverage(rings, window) * slant, color, opacity)

    def paint(self, colors: np.ndarray, opacity: np.ndarray) -> None:
        """Cover the whole canvas with colours uint8 [H', W', 3], as strongly as opacity [H', W'] says."""
        cover = opacity.astype(np.float32)[..., None]
        self.pixels[:] = self.pixels * (1 - cover) + colors * cover + np.float32(0.5)

    def fit(self, values: np.ndarray) -> np.ndarray:
        """A map of the picture [H, W], nearest pixel, in the canvas's size."""
        height, width = self.size
        return cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST)

    # lines ------------------------------------------------------------------------------------------------------------

    def line(self, points: np.ndarray, color: Color, lines: float, closed: bool = False, dash: float = 0) -> None:
        """A line through points [P, 2]; `dash` is the length of a dash, 0 for a whole line."""
        canvas = np.asarray(points, np.float64) * self.scale
        pieces = _dashes(canvas, closed, dash * self.unit, self.width(lines)) if dash else [canvas]
        cv2.polylines(
            self.pixels, [_fixed(p) for p in pieces], closed and not dash, color, self.width(lines), cv2.LINE_AA, SHIFT
        )

    def box(self, box: Sequence[float], color: Color, lines: float, opacity: float = 1.0, dash: float = 0) -> None:
        """A box on whole pixels, with a fine dark edge that keeps it visible on a ground of its own colour."""
        wide = self.width(lines)
        height, width = self.size
        x1, y1, x2, y2 = (round(v * self.scale - wide / 2) for v in box)
        x1, y1 = min(max(x1, 0), width - wide), min(max(y1, 0), height - wide)  # lines at the border stay whole
        x2, y2 = max(x1, min(x2, width - wide)), max(y1, min(y2, height - wide))
        self._frame((x1, y1, x2, y2), wide, self.width(1), (0, 0, 0), 0.3 * opacity)
        if dash:
            corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64) + wide / 2
            self.line(corners / self.scale, color, lines, closed=True, dash=dash)
        else:
            self._frame((x1, y1, x2, y2), wide, 0, color, opacity)

    def dot(self, point: Sequence[float], color: Color, radius: float, hollow: bool = False) -> None:
        """A disc with a dark edge; hollow: with a dark middle too."""
        centre = tuple(_fixed(np.asarray(point, np.float64) * self.scale).tolist())
        reach = max(1.5, radius * self.unit)
        rings = ((reach + self.width(1), _SHADE), (reach, color), *([(reach * 0.55, _SHADE)] if hollow else []))
        for r, ink in rings:
            cv2.circle(self.pixels, centre, round(r * (1 << SHIFT)), ink, -1, cv2.LINE_AA, SHIFT)

    # text -------------------------------------------------------------------------------------------------------------

    def tag(self, placed: Placed, ground: Color) -> None:
        """A label on a plate of its colour."""
        window = (placed.x, placed.y, placed.x + placed.width, placed.y + placed.height)
        self._blend(window, _plate(placed.width, placed.height, max(2, placed.size // 5)), ground, 0.92)
        letters = text_coverage(placed.text, placed.size)
        x = placed.x + (placed.width - letters.shape[1]) // 2
        y = placed.y + (placed.height - letters.shape[0]) // 2
        self._blend((x, y, x + letters.shape[1], y + letters.shape[0]), letters, text_on(ground), 1.0)

    # ------------------------------------------------------------------------------------------------------------------

    def _window(self, rings: Sequence[np.ndarray]) -> tuple[int, int, int, int] | None:
        """The part of the canvas that the curves reach."""
        if not rings:
            return None
        low = np.min([r.min(0) for r in rings], axis=0) * self.scale
        high = np.max([r.max(0) for r in rings], axis=0) * self.scale
        height, width = self.size
        x1, y1 = max(0, int(low[0]) - 1), max(0, int(low[1]) - 1)
        x2, y2 = min(width, int(high[0]) + 2), min(height, int(high[1]) + 2)
        return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None

    def _coverage(self, rings: Sequence[np.ndarray], window: tuple[int, int, int, int]) -> np.ndarray:
        x1, y1, x2, y2 = window
        coverage = np.zeros((y2 - y1, x2 - x1), np.uint8)
        cv2.fillPoly(coverage, [_fixed(r * self.scale - (x1, y1)) for r in rings], 255, cv2.LINE_AA, SHIFT)
        return coverage

    def _blend(self, window: Sequence[int], coverage: np.ndarray, color: Color, opacity: float) -> None:
        x1, y1, x2, y2 = window
        height, width = self.size
        left, top = max(0, -x1), max(0, -y1)
        part = self.pixels[max(0, y1) : min(height, y2), max(0, x1) : min(width, x2)]
        if part.size:
            cover = coverage[top : top + part.shape[0], left : left + part.shape[1], None] * np.float32(opacity / 255)
            part[:] = part + (np.array(color, np.float32) - part) * cover + np.float32(0.5)

    def _frame(self, corners: tuple[int, int, int, int], wide: int, grown: int, color: Color, opacity: float) -> None:
        """The four sides of a box; corners are those of its lines, which are `wide` and grow by `grown` both ways."""
        x1, y1, x2, y2 = (v - grown for v in corners)
        wide += 2 * grown
        for side in (
            (x1, y1, x2 + wide, y1 + wide),
            (x1, y2, x2 + wide, y2 + wide),
            (x1, y1 + wide, x1 + wide, y2),
            (x2, y1 + wide, x2 + wide, y2),
        ):
            left, top, right, bottom = (max(0, v) for v in side)
            part = self.pixels[top:bottom, left:right]
            part[:] = part + (np.array(color, np.float32) - part) * np.float32(opacity) + np.float32(0.5)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Continuous pixels to OpenCV's, which counts from the middle of the first pixel."""
    return np.round((points - 0.5) * (1 << SHIFT)).astype(np.int32)


def _dashes(points: np.ndarray, closed: bool, length: float, wide: int) -> list[np.ndarray]:
    """A line `wide` pixels wide, which has round ends, cut into dashes that come out even."""
    if closed:
        points = np.concatenate([points, points[:1]])
    steps = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], steps.cumsum()])
    count = max(1, round(along[-1] / (1.7 * length + wide)))
    pitch = along[-1] / count
    pieces = []
    for start in np.arange(count) * pitch:
        stop = start + pitch * length / (1.7 * length + wide)
        inner = along[(along > start) & (along < stop)]
        at = np.concatenate([[start], inner, [stop]])
        pieces.append(np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1))
    return pieces


@functools.lru_cache(maxsize=256)
def _plate(width: int, height: int, radius: int) -> np.ndarray:
    """A rectangle with round corners, uint8 [h, w]."""
    y, x = np.mgrid[:height, :width] + 0.5
    inner = np.stack([np.abs(x - width / 2) - (width / 2 - radius), np.abs(y - height / 2) - (height / 2 - radius)])
    distance = np.hypot(*np.maximum(inner, 0)) - radius
    return (np.clip(0.5 - distance, 0, 1) * 255).astype(np.uint8)
