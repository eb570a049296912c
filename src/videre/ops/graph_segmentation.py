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

import math

import cv2
import numpy as np

from ._numba import serial


def graph_segmentation(
    picture: np.ndarray, scale: float, sigma: float = 0.8, min_size: int = 100, neighbours: int = 8
) -> np.ndarray:
    """Connected regions of similar colour.

    Args:
        picture: (H, W, C) uint8 or floating point, in any colour space; the weights are in its units.
        scale: k of the paper, at least 0, in units of the picture times pixels: the larger, the larger the regions.
        sigma: of the Gaussian that smooths the picture first, pixels; 0 for none.
        min_size: regions of fewer pixels are joined to a neighbour.
        neighbours: 8, as in the paper, or 4, as in OpenCV's `GraphSegmentation`.
    Returns:
        (H, W) int32 ids from 0, in row order of each region's first pixel.
    Raises:
        ValueError: another shape or dtype, no pixel, a colour that is no finite number, or a setting out of range.
    """
    if picture.ndim != 3 or picture.size == 0 or not (picture.dtype == np.uint8 or picture.dtype.kind == "f"):
        raise ValueError(
            f"graph_segmentation: picture {picture.shape} of {picture.dtype}, "
            "expected (H, W, C) of uint8 or floating point, at least one pixel"
        )
    if not (0 <= scale < math.inf and 0 <= sigma < math.inf):
        raise ValueError(f"graph_segmentation: scale is {scale} and sigma {sigma}, expected numbers from 0")
    if neighbours not in (4, 8):
        raise ValueError(f"graph_segmentation: neighbours is {neighbours}, expected 4 or 8")
    smooth = np.ascontiguousarray(picture, np.float32)
    if not np.isfinite(smooth).all():
        raise ValueError("graph_segmentation: the picture has values that are not finite")
    if sigma > 0:
        smooth = cv2.GaussianBlur(smooth, (0, 0), sigma).reshape(picture.shape)
    return _segment_kernel(smooth, np.float32(scale), min_size, neighbours)


@serial
def _segment_kernel(picture, scale, min_size, neighbours):
    height, width, _ = picture.shape
    steps = np.array([1, width - 1, width, width + 1])
    edges, weights = _sorted_edges(picture, neighbours)

    parent = np.arange(height * width, dtype=np.int32)
    size = np.ones(height * width, np.int32)
    limit = np.full(height * width, scale)  # Int(C) + scale / |C|, kept at the root of C
    refused = 0  # edges between components, moved to the front in their order
    for e in range(len(edges)):
        first = edges[e] >> 2
        a, b = _root(parent, first), _root(parent, first + steps[edges[e] & 3])
        if a == b:
            continue
        if weights[e] <= limit[a] and weights[e] <= limit[b]:
            root = _join(parent, size, a, b)
            limit[root] = weights[e] + scale / np.float32(size[root])
        else:
            edges[refused] = edges[e]
            refused += 1
    for e in range(refused):
        first = edges[e] >> 2
        a, b = _root(parent, first), _root(parent, first + steps[edges[e] & 3])
        if a != b and min(size[a], size[b]) < min_size:
            _join(parent, size, a, b)

    ids = np.full(height * width, -1, np.int32)  # of roots at first, and of a pixel once it is passed
    out = np.empty(height * width, np.int32)
    regions = 0
    for p in range(height * width):
        root = _root(parent, p)
        if ids[root] < 0:
            ids[root] = regions
            regions += 1
        out[p] = ids[root]
    return out.reshape(height, width)


@serial
def _sorted_edges(picture, neighbours):
    """Edges as 4 · pixel + direction, by rising weight, and the float32 weights."""
    height, width, _ = picture.shape
    edges = np.empty(height * width * neighbours // 2, np.int32)
    weights = np.empty(len(edges), np.float32)
    count = 0
    for y in range(height):
        for x in range(width):
            for direction, (across, down) in enumerate(((1, 0), (-1, 1), (0, 1), (1, 1))):
                straight = across == 0 or down == 0
                if (straight or neighbours == 8) and 0 <= x + across < width and y + down < height:
                    edges[count] = 4 * (y * width + x) + direction
                    weights[count] = _distance(picture[y, x], picture[y + down, x + across])
                    count += 1
    edges, weights = edges[:count], weights[:count]

    places = np.zeros((3, 1 << 11), np.int64)  # where the next edge of a digit goes
    bits = weights.view(np.uint32)
    for e in range(count):
        for digit in range(3):
            places[digit, (bits[e] >> np.uint32(11 * digit)) & np.uint32(2047)] += 1
    for digit in range(3):
        before = 0
        for value in range(1 << 11):
            before, places[digit, value] = before + places[digit, value], before
    sorted_edges, sorted_bits = np.empty_like(edges), np.empty_like(bits)
    for digit in range(3):
        for e in range(count):
            value = (bits[e] >> np.uint32(11 * digit)) & np.uint32(2047)
            place = places[digit, value]
            places[digit, value] += 1
            sorted_edges[place], sorted_bits[place] = edges[e], bits[e]
        edges, sorted_edges, bits, sorted_bits = sorted_edges, edges, sorted_bits, bits
    return edges, bits.view(np.float32)


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
