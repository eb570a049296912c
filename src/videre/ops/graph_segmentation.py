"""Graph-based segmentation: a picture falls into regions whose edges are stronger than what lies inside.

Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004, sections 3 and 5. Pixels are the
nodes, neighbours are joined by an edge whose weight is their distance in colour, and Kruskal's algorithm runs over the
edges from the weakest: it joins two components if the edge is no stronger than Int(C) + scale / |C| of both, where
Int(C) is the strongest edge inside. Then components of fewer than `min_size` pixels join a neighbour, over the weakest
edge first.

The order is that of a stable sort: of equal weights the edge of the first pixel in row order, and of one pixel's edges
right, lower left, below, lower right. The weights are not negative, so their bits sort as whole numbers do: by digits,
in three passes.

    ids = graph_segmentation(picture, scale=100, sigma=0.8, min_size=100)
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from ._numba import serial


@dataclasses.dataclass(frozen=True)
class Edges:
    """What lies between neighbouring pixels; segmentations of several scales may share it.

    Args:
        size: height and width of the picture.
        places: (E) int32, 4 · pixel + direction (0 right, 1 lower left, 2 below, 3 lower right), by rising weight.
        weights: (E) float32, distance in colour.
    """

    size: tuple[int, int]
    places: np.ndarray
    weights: np.ndarray


def graph_segmentation(
    picture: np.ndarray, scale: float, sigma: float = 0.8, min_size: int = 100, neighbours: int = 8
) -> np.ndarray:
    """Connected regions of similar colour: `join_pixels(sort_edges(picture, sigma, neighbours), scale, min_size)`."""
    return join_pixels(sort_edges(picture, sigma, neighbours), scale, min_size)


def sort_edges(picture: np.ndarray, sigma: float = 0.8, neighbours: int = 8) -> Edges:
    """Smooth a picture and sort the edges between its pixels.

    Args:
        picture: (H, W, C) uint8 or floating point, in any colour space; the weights are in its units.
        sigma: of the Gaussian that smooths it first, pixels; 0 for none.
        neighbours: 8, as in the paper, or 4, as in OpenCV's `GraphSegmentation`, whose regions are then found.
    Raises:
        ValueError: another shape or dtype, no pixel, a colour that is no finite number, or a setting out of range.
    """
    if picture.ndim != 3 or picture.size == 0 or not (picture.dtype == np.uint8 or picture.dtype.kind == "f"):
        raise ValueError(
            f"graph_segmentation: picture {picture.shape} of {picture.dtype}, "
            "expected (H, W, C) of uint8 or floating point, at least one pixel"
        )
    if not 0 <= sigma < math.inf:
        raise ValueError(f"graph_segmentation: sigma is {sigma}, expected a number from 0")
    if neighbours not in (4, 8):
        raise ValueError(f"graph_segmentation: neighbours is {neighbours}, expected 4 or 8")
    smooth: np.ndarray = np.ascontiguousarray(picture, np.float32)
    if not np.isfinite(smooth).all():
        raise ValueError("graph_segmentation: the picture has values that are not finite")
    if sigma > 0:
        smooth = cv2.GaussianBlur(smooth, (0, 0), sigma).reshape(picture.shape)
    return Edges(picture.shape[:2], *_sorted_edges(smooth, neighbours))


def join_pixels(edges: Edges, scale: float, min_size: int = 100) -> np.ndarray:
    """Regions that no edge inside tells apart.

    Args:
        edges: of a picture, from `sort_edges`.
        scale: k of the paper, at least 0, in units of the picture times pixels: the larger, the larger the regions.
        min_size: regions of fewer pixels are joined to a neighbour.
    Returns:
        (H, W) int32 ids from 0, in row order of each region's first pixel.
    Raises:
        ValueError: a scale below 0 or not finite.
    """
    if not 0 <= scale < math.inf:
        raise ValueError(f"graph_segmentation: scale is {scale}, expected a number from 0")
    return _join_kernel(*edges.size, edges.places, edges.weights, np.float32(scale), min_size)


@serial
def _join_kernel(height, width, places, weights, scale, min_size):
    steps = np.array([1, width - 1, width, width + 1])
    parent = np.arange(height * width, dtype=np.int32)
    size = np.ones(height * width, np.int32)
    limit = np.full(height * width, scale)  # Int(C) + scale / |C|, kept at the root of C
    refused = np.empty(len(places), np.int32)  # edges between components, in their order
    count = 0
    for e in range(len(places)):
        pixel = places[e] >> 2
        a, b = _root(parent, pixel), _root(parent, pixel + steps[places[e] & 3])
        if a == b:
            continue
        if weights[e] <= limit[a] and weights[e] <= limit[b]:
            root = _join(parent, size, a, b)
            limit[root] = weights[e] + scale / np.float32(size[root])
        else:
            refused[count] = places[e]
            count += 1
    for place in refused[:count]:
        pixel = place >> 2
        a, b = _root(parent, pixel), _root(parent, pixel + steps[place & 3])
        if a != b and min(size[a], size[b]) < min_size:
            _join(parent, size, a, b)

    ids = np.full(height * width, -1, np.int32)  # of roots
    out = np.empty((height, width), np.int32)
    regions = 0
    for y in range(height):
        for x in range(width):
            root = _root(parent, y * width + x)
            if ids[root] < 0:
                ids[root] = regions
                regions += 1
            out[y, x] = ids[root]
    return out


@serial
def _sorted_edges(picture, neighbours):
    """`places` and `weights` of Edges."""
    height, width, _ = picture.shape
    places = np.empty(height * width * neighbours // 2, np.int32)
    weights = np.empty(len(places), np.float32)
    count = 0
    for y in range(height):
        for x in range(width):
            for direction, (across, down) in enumerate(((1, 0), (-1, 1), (0, 1), (1, 1))):
                straight = across == 0 or down == 0
                if (straight or neighbours == 8) and 0 <= x + across < width and y + down < height:
                    places[count] = 4 * (y * width + x) + direction
                    weights[count] = _distance(picture[y, x], picture[y + down, x + across])
                    count += 1
    return _sort_by_digits(places[:count], weights[:count])


@serial
def _sort_by_digits(places, weights):
    bits = weights.view(np.uint32)
    next_of = np.zeros((3, 1 << 11), np.int64)  # position of the next edge with this value of a digit
    for e in range(len(bits)):
        for digit in range(3):
            next_of[digit, _digit(bits[e], digit)] += 1
    for digit in range(3):
        before = 0
        for value in range(1 << 11):
            before, next_of[digit, value] = before + next_of[digit, value], before
    other_places, other_bits = np.empty_like(places), np.empty_like(bits)
    for digit in range(3):
        for e in range(len(bits)):
            value = _digit(bits[e], digit)
            to = next_of[digit, value]
            next_of[digit, value] += 1
            other_places[to], other_bits[to] = places[e], bits[e]
        places, other_places, bits, other_bits = other_places, places, other_bits, bits
    return places, bits.view(np.float32)


@serial
def _digit(bits, digit):
    return (bits >> np.uint32(11 * digit)) & np.uint32(2047)


@serial
def _distance(a, b):
    square = np.float32(0)
    for c in range(len(a)):
        difference = a[c] - b[c]
        square += difference * difference
    return np.sqrt(square)


@serial
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@serial
def _join(parent, size, a, b):
    """The larger one's root stays."""
    if size[a] < size[b]:
        a, b = b, a
    parent[b] = a
    size[a] += size[b]
    return a
