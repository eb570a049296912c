"""Polygons to masks and back.

`rasterise_polygons` fills polygons exactly as COCO's tools do (`rleFrPoly` of maskApi.c: vertices rounded to a fifth of
a pixel, even-odd rule along the columns), so that masks, areas and overlaps agree with published annotations to the
pixel. `trace_polygons` walks along pixel edges, and what it returns rasterises to the very same bitmap.

    counts = rasterise_polygons([triangle], (480, 640))
    parts, holes = trace_polygons(bitmap)
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._numba import serial
from .rle import DIFFERENCE, INTERSECTION, UNION, combine

Polygon = np.ndarray | Tensor | Sequence[Sequence[float]]

LONGEST = 2.0**25
"""Pixels along an outline, counted along the longer axis of each edge: filling walks along all of them, and a picture
may be a few hundred thousand round. Corners lie within so many pixels of the picture's, too."""


def rasterise_polygons(parts: Sequence[Polygon], size: tuple[int, int], holes: Sequence[Polygon] = ()) -> Tensor:
    """Fill the polygons of one instance.

    Args:
        parts: arrays (P, 2) of x, y, pixels; their union is the instance. Fewer than three points enclose nothing.
        size: (H, W) of the picture; what lies outside is cut off.
        holes: arrays like `parts`. A hole is cut out of each part that surrounds it (is larger, and holds at least
            half of it), so an island inside a hole is one more part.
    Returns:
        (K) int64 counts of one run-length encoded mask.
    Raises:
        ValueError: a polygon that is not (P, 2), not finite, or longer around than LONGEST.
    """
    outer = [_fill_kernel(_points(p), size[0], size[1]) for p in parts]
    inner = [_fill_kernel(_points(p), size[0], size[1]) for p in holes]
    whole = np.array([size[0] * size[1]])
    for part in outer:
        area = part[1::2].sum()
        for hole in inner:
            hole_area = hole[1::2].sum()
            if hole_area < area and 2 * combine(part, hole, INTERSECTION)[1::2].sum() >= hole_area:
                part = combine(part, hole, DIFFERENCE)
        whole = combine(whole, part, UNION)
    return torch.from_numpy(whole)


def trace_polygons(bitmap: np.ndarray | Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outline a bitmap along its pixel edges.

    Exact: `rasterise_polygons(parts, size, holes)` gives the same bitmap again.

    Args:
        bitmap: (H, W); anything but 0 is inside.
    Returns:
        parts: the outer outlines of the regions, one each; pixels that meet only at a corner are two regions.
        holes: the outlines of what they enclose.
        Both are float64 arrays (P, 2) of x, y at the corners of pixels, only where the outline turns; seen with y
        downwards, parts run clockwise and holes counter-clockwise.
    Raises:
        ValueError: not two axes.
    """
    array = np.ascontiguousarray(bitmap.cpu().numpy() if isinstance(bitmap, Tensor) else bitmap)
    if array.ndim != 2:
        raise ValueError(f"trace_polygons: the bitmap has shape {array.shape}, expected (H, W)")
    points, ends = _trace_kernel(array != 0)
    parts: list[np.ndarray] = []
    holes: list[np.ndarray] = []
    for begin, end in zip(np.concatenate([[0], ends[:-1]]), ends):
        loop = points[begin:end].astype(np.float64)
        (parts if signed_area(loop) > 0 else holes).append(loop)
    return parts, holes


def outline_length(points: np.ndarray) -> float:
    """Pixels around a polygon (P, 2), along the longer axis of each edge; no less than its furthest coordinate."""
    if not len(points):
        return 0.0
    around = float(np.abs(points - np.roll(points, 1, 0)).max(1).sum())
    return max(around, float(np.abs(points).max()))


def signed_area(points: np.ndarray) -> float:
    """Pixels inside a polygon (P, 2), by the shoelace formula: below 0 where it runs counter-clockwise, y downwards."""
    x, y = points.T
    return float(x[:-1] @ y[1:] - y[:-1] @ x[1:] + x[-1] * y[0] - y[-1] * x[0]) / 2


def _points(polygon: Polygon) -> np.ndarray:
    points = np.ascontiguousarray(polygon, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"rasterise_polygons: a polygon is {points.shape}, expected finite (P, 2)")
    if outline_length(points) > LONGEST:
        raise ValueError(f"rasterise_polygons: {outline_length(points):.3g} pixels around, at most {LONGEST:.3g}")
    return points


@serial
def _fill_kernel(points, height, width):
    """Counts of one polygon."""
    if points.shape[0] < 3:
        return np.full(1, height * width, np.int64)
    # The corners on a grid of fifths of a pixel.
    corners = np.empty((points.shape[0] + 1, 2), np.int64)
    length = 0
    for j in range(points.shape[0]):
        corners[j, 0], corners[j, 1] = int(5 * points[j, 0] + 0.5), int(5 * points[j, 1] + 0.5)
    corners[-1] = corners[0]
    for j in range(points.shape[0]):
        length += max(abs(corners[j + 1, 0] - corners[j, 0]), abs(corners[j + 1, 1] - corners[j, 1])) + 1
    # Walk along the boundary, one step of the finer grid at a time. Where it passes the centre of a pixel column,
    # the column changes between inside and outside from that row on.
    changes = np.empty(min(length, (width + 1) * points.shape[0]) + 1, np.int64)
    used = 0
    last_u, last_v = corners[0, 0], corners[0, 1]
    for j in range(points.shape[0]):
        xs, ys, xe, ye = corners[j, 0], corners[j, 1], corners[j + 1, 0], corners[j + 1, 1]
        dx, dy = abs(xe - xs), abs(ye - ys)
        flip = (dx >= dy and xs > xe) or (dx < dy and ys > ye)
        if flip:
            xs, ys, xe, ye = xe, ye, xs, ys
        steps = max(dx, dy)
        slope = 0.0 if steps == 0 else (ye - ys) / dx if dx >= dy else (xe - xs) / dy
        for d in range(steps + 1):
            t = steps - d if flip else d
            if dx >= dy:
                u, v = xs + t, int(ys + slope * t + 0.5)
            else:
                u, v = int(xs + slope * t + 0.5), ys + t
            left = u if u < last_u else u - 1
            if u != last_u and left % 5 == 2 and left >= 0 and left // 5 < width:
                y = (min(v, last_v) + 0.5) / 5 - 0.5
                row = int(np.ceil(min(max(y, 0.0), float(height))))
                changes[used] = left // 5 * height + row
                used += 1
            last_u, last_v = u, v
    changes[used] = height * width
    changes = np.sort(changes[: used + 1])
    # Two changes at one place are none.
    counts = np.empty(used + 2, np.int64)
    counts[0] = changes[0]
    m, j = 1, 1
    while j <= used:
        step = changes[j] - changes[j - 1]
        if step > 0:
            counts[m] = step
            m += 1
        elif j < used:
            counts[m - 1] += changes[j + 1] - changes[j]
            j += 1
        j += 1
    return counts[:m].copy()


@serial
def _trace_kernel(inside):
    """Corners of all loops (S, 2) and where each loop ends (L)."""
    height, width = inside.shape
    seen = np.zeros((height, width), np.bool_)  # pixels whose upper edge is on a loop already traced
    points = np.empty((64, 2), np.int64)
    ends = np.empty(16, np.int64)
    used, loops = 0, 0
    for row in range(height):
        for column in range(width):
            if not inside[row, column] or seen[row, column] or (row > 0 and inside[row - 1, column]):
                continue
            # Walk with the inside on the right, from the left end of this upper edge. (dx, dy) is the direction.
            x, y, dx, dy = column, row, 1, 0
            begin = used
            while True:
                if dx == 1:
                    if seen[y, x]:
                        break
                    seen[y, x] = True
                x += dx
                y += dy
                # The pixels ahead, to the right and to the left of the direction, from the corner (x, y).
                right_x, right_y = x + (dx - dy - 1) // 2, y + (dy + dx - 1) // 2
                left_x, left_y = x + (dx + dy - 1) // 2, y + (dy - dx - 1) // 2
                right = 0 <= right_x < width and 0 <= right_y < height and inside[right_y, right_x]
                left = 0 <= left_x < width and 0 <= left_y < height and inside[left_y, left_x]
                if right and not left:
                    continue
                if used == points.shape[0]:
                    larger = np.empty((2 * used, 2), np.int64)
                    larger[:used] = points
                    points = larger
                points[used, 0], points[used, 1] = x, y
                used += 1
                if right:  # both inside: turn left
                    dx, dy = dy, -dx
                else:  # turn right; also between two pixels that meet at a corner, which keeps them apart
                    dx, dy = -dy, dx
            if used == begin:
                continue
            if loops == ends.shape[0]:
                longer = np.empty(2 * loops, np.int64)
                longer[:loops] = ends
                ends = longer
            ends[loops] = used
            loops += 1
    return points[:used].copy(), ends[:loops].copy()
