"""Hierarchical grouping: the two most similar neighbours become one region, again and again, until one is left.

Uijlings et al., Selective Search for Object Recognition, IJCV 2013, sections 3.1 and 3.2. What two regions have in
common is the sum of chosen similarities, each in [0, 1]:

    colour   intersection of their histograms, 25 bins a channel, that sum to 1 over all channels
    texture  the same of Gaussian derivatives (sigma 1) in 8 directions, 10 bins a direction and channel
    size     1 - (size of both) / (size of the picture): small ones join early
    fill     1 - (what both leave of the box around them) / (size of the picture): a region fills a hole in another

A derivative counts where it is positive, so that the eight directions are four and their opposites; its bins are 3.2
wide for a picture that spans 256, and the last has all above.

Histograms are kept as counts of pixels, which add up exactly, and compared as whole multiples of 2^-29: sums of those
are the same in any order, so vector instructions may take them. Of equally similar pairs that of the region formed
first goes first. The pairs wait in a heap, from which those of regions that are gone are not removed but passed over.

    regions = describe_regions(picture, graph_segmentation(picture, 100))
    boxes, levels = group_regions(regions, ("colour", "texture", "size", "fill"))
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Collection

import cv2
import numpy as np

from ._numba import serial

SIMILARITIES = ("colour", "texture", "size", "fill")
COLOUR_BINS = 25
TEXTURE_BINS = 10
STRONGEST = 32.0  # derivative, of a picture that spans 256: a step of 80 at a pixel's edge
DIRECTIONS = 8
ONE = 1 << 29  # a histogram of colour and one of texture: their sum fits into 32 bits


@dataclasses.dataclass(frozen=True)
class Regions:
    """What grouping needs to know of N regions; several groupings may share it.

    Args:
        sizes: (N) int64 pixels.
        boxes: (N, 4) int32 xyxy, pixels, right and bottom edges excluded.
        counts: (N, C · (25 + 80)) int32, pixels by bin: of colour, channel by channel, then of texture.
        channels: C.
        pairs: (E, 2) int32 neighbours, the lower id first, each pair once.
    """

    sizes: np.ndarray
    boxes: np.ndarray
    counts: np.ndarray
    channels: int
    pairs: np.ndarray


def pixel_bins(picture: np.ndarray) -> np.ndarray:
    """The bins of every pixel in the histograms of colour and texture.

    Args:
        picture: (H, W, C) uint8, or floating point in [0, 256), in any colour space.
    Returns:
        (H, W, 9 · C) uint8: of each channel the bin of its colour, then of each channel those of the eight directions.
    Raises:
        ValueError: another shape or dtype, no pixel, or values out of range.
    """
    if picture.ndim != 3 or picture.size == 0 or not (picture.dtype == np.uint8 or picture.dtype.kind == "f"):
        raise ValueError(
            f"pixel_bins: picture {picture.shape} of {picture.dtype}, "
            "expected (H, W, C) of uint8 or floating point, at least one pixel"
        )
    values = np.ascontiguousarray(picture, np.float32)
    if picture.dtype != np.uint8 and not (values.min() >= 0 and values.max() < 256):
        raise ValueError(f"pixel_bins: values from {values.min()} to {values.max()}, expected them in [0, 256)")
    across = cv2.sepFilter2D(values, -1, *_derivative()).reshape(values.shape)
    down = cv2.sepFilter2D(values, -1, *_derivative()[::-1]).reshape(values.shape)
    return _bins_kernel(values, across, down)


def describe_regions(picture: np.ndarray, ids: np.ndarray, bins: np.ndarray | None = None) -> Regions:
    """Sizes, boxes, histograms and neighbours of regions.

    Args:
        picture: (H, W, C) as `pixel_bins` takes it.
        ids: (H, W) integers, every one of 0 .. N-1 at some pixel; a region need not be connected.
        bins: `pixel_bins(picture)`, where it is known already.
    Returns:
        the regions; neighbours touch along an edge or at a corner.
    Raises:
        ValueError: as `pixel_bins`, and ids of another shape, or that leave one out.
    """
    if ids.shape != picture.shape[:2] or ids.dtype.kind not in "iu":
        raise ValueError(f"describe_regions: ids {ids.shape} of {ids.dtype}, expected integers {picture.shape[:2]}")
    bins = pixel_bins(picture) if bins is None else bins
    regions = int(ids.max()) + 1
    if ids.min() < 0 or regions > ids.size or not np.bincount(ids.ravel(), minlength=regions).all():
        raise ValueError(f"describe_regions: ids from {ids.min()} to {ids.max()}, expected every one of 0 .. N-1")
    channels = bins.shape[2] // (1 + DIRECTIONS)
    return Regions(*_describe_kernel(np.ascontiguousarray(ids, np.int32), bins, channels, regions))


def group_regions(regions: Regions, similarities: Collection[str] = SIMILARITIES) -> tuple[np.ndarray, np.ndarray]:
    """Merge the most similar neighbours until one region is left.

    Args:
        regions: N of them, from `describe_regions`.
        similarities: some of "colour", "texture", "size", "fill"; they count alike.
    Returns:
        boxes (2N-1, 4) float32 xyxy, pixels, right and bottom edges excluded: of the N regions, then of those formed,
        in that order, the last of the whole picture; and levels (2N-1) int32: 0 of the N regions, and of a region
        formed one more than the higher of its parts.
    Raises:
        ValueError: no similarity, or one that does not exist.
    """
    if not similarities or not set(similarities) <= set(SIMILARITIES):
        raise ValueError(f"group_regions: similarities are {list(similarities)}, expected some of {SIMILARITIES}")
    chosen = tuple(name in similarities for name in SIMILARITIES)
    colours = regions.channels * COLOUR_BINS
    columns = slice(0 if chosen[0] else colours, None if chosen[1] else colours)
    counts = regions.counts[:, columns].copy()  # those of merged regions replace them
    measures = np.full(counts.shape[1], 1 / (regions.channels * DIRECTIONS))
    if chosen[0]:
        measures[:colours] = 1 / regions.channels
    return _group_kernel(regions.sizes, regions.boxes, counts, measures, regions.pairs, chosen[2], chosen[3])


def _derivative(sigma: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of a Gaussian's derivative along an axis, and of the Gaussian across it."""
    x = np.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
    gaussian = np.exp(-(x**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    return (x / sigma**2 * gaussian).astype(np.float32), gaussian.astype(np.float32)


@serial
def _bins_kernel(values, across, down):
    height, width, channels = values.shape
    bins = np.empty((height, width, channels * (1 + DIRECTIONS)), np.uint8)
    for y in range(height):
        for x in range(width):
            pixel = bins[y, x]
            for c in range(channels):
                pixel[c] = int(values[y, x, c] * np.float32(COLOUR_BINS / 256))
                first = channels + DIRECTIONS * c
                for d, value in enumerate(_directions(across[y, x, c], down[y, x, c])):
                    strength = np.uint8(
                        min(abs(value) * np.float32(TEXTURE_BINS / STRONGEST), np.float32(TEXTURE_BINS - 1))
                    )
                    pixel[first + d] = strength if value > 0 else 0
                    pixel[first + DIRECTIONS // 2 + d] = strength if value < 0 else 0
    return bins


@serial
def _directions(across, down):
    """Derivatives at 0, 45, 90 and 135 degrees."""
    root = np.float32(math.sqrt(0.5))
    return across, (across + down) * root, down, (down - across) * root


@serial
def _describe_kernel(ids, bins, channels, regions):
    height, width = ids.shape
    features = bins.shape[2]
    offsets = np.empty(features, np.int64)  # of a feature's bins among the columns
    for f in range(features):
        offsets[f] = f * COLOUR_BINS if f < channels else channels * COLOUR_BINS + (f - channels) * TEXTURE_BINS
    counts = np.zeros((regions, channels * (COLOUR_BINS + DIRECTIONS * TEXTURE_BINS)), np.int32)
    sizes = np.zeros(regions, np.int64)
    boxes = np.empty((regions, 4), np.int32)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = width, height, 0, 0
    low, high = np.empty((2, 4 * height * width), np.int32)  # pairs that touch, each many times
    touching = 0
    for y in range(height):
        for x in range(width):
            region = ids[y, x]
            sizes[region] += 1
            box, histogram, pixel = boxes[region], counts[region], bins[y, x]
            box[0], box[1], box[2], box[3] = min(box[0], x), min(box[1], y), max(box[2], x + 1), max(box[3], y + 1)
            for f in range(features):
                histogram[offsets[f] + pixel[f]] += 1
            for across, down in ((1, 0), (-1, 1), (0, 1), (1, 1)):
                if 0 <= x + across < width and y + down < height:
                    other = ids[y + down, x + across]
                    if other != region:
                        low[touching], high[touching] = min(region, other), max(region, other)
                        touching += 1
    return sizes, boxes, counts, channels, _each_once(low[:touching], high[:touching], regions)


@serial
def _each_once(low, high, regions):
    """(E, 2) pairs, by rising `low` and of one `low` in the order in which they were met."""
    starts = np.zeros(regions + 1, np.int64)
    for e in range(len(low)):
        starts[low[e] + 1] += 1
    starts = np.cumsum(starts)
    fill = starts.copy()
    sorted_high = np.empty_like(high)
    for e in range(len(low)):
        sorted_high[fill[low[e]]] = high[e]
        fill[low[e]] += 1
    pairs = np.empty((len(low), 2), np.int32)
    count = 0
    seen = np.full(regions, -1, np.int32)  # the last region that this one was seen beside
    for region in range(regions):
        for other in sorted_high[starts[region] : starts[region + 1]]:
            if seen[other] != region:
                seen[other] = region
                pairs[count, 0], pairs[count, 1] = region, other
                count += 1
    return pairs[:count].copy()


@serial
def _group_kernel(first_sizes, first_boxes, counts, measures, pairs, by_size, by_fill):
    """Regions are numbered in the order in which they are formed; each stands in a row of the histograms that was its
    part's, and its neighbours in a chain that joins its parts'."""
    n = len(first_sizes)
    total = 2 * n - 1
    whole = first_sizes.sum()
    sizes, boxes, levels = np.empty(total, np.int64), np.empty((total, 4), np.int32), np.zeros(total, np.int32)
    sizes[:n], boxes[:n] = first_sizes, first_boxes
    parent, row = np.arange(total), np.arange(total)
    histograms = np.empty(counts.shape, np.int32)
    for r in range(n):
        _normalise(counts[r], measures, sizes[r], histograms[r])

    neighbour, after = np.empty(2 * len(pairs), np.int64), np.full(2 * len(pairs), -1)  # links
    head, tail = np.full(total, -1), np.full(total, -1)
    for e in range(len(pairs)):
        for side in range(2):
            r, link = pairs[e, side], 2 * e + side
            neighbour[link] = pairs[e, 1 - side]
            if head[r] < 0:
                head[r] = link
            else:
                after[tail[r]] = link
            tail[r] = link

    heap: list[tuple[float, int, int]] = [
        (-_similarity(a, b, histograms, row, sizes, boxes, whole, by_size, by_fill), a, b)
        for a, b in pairs.astype(np.int64)
    ]
    heapq.heapify(heap)
    met = np.full(total, -1)  # the last region formed that this one was found beside
    for new in range(n, total):
        _, a, b = heapq.heappop(heap)
        while parent[a] != a or parent[b] != b:
            _, a, b = heapq.heappop(heap)
        parent[a], parent[b] = new, new
        sizes[new] = sizes[a] + sizes[b]
        levels[new] = max(levels[a], levels[b]) + 1
        for k in range(2):
            boxes[new, k] = min(boxes[a, k], boxes[b, k])
            boxes[new, 2 + k] = max(boxes[a, 2 + k], boxes[b, 2 + k])
        row[new] = row[a]
        counts[row[a]] += counts[row[b]]
        _normalise(counts[row[new]], measures, sizes[new], histograms[row[new]])

        after[tail[a]] = head[b]
        link, last = head[a], -1
        while link >= 0:
            other = _root(parent, neighbour[link])
            if other != new and met[other] != new:
                met[other] = new
                neighbour[link] = other
                if last < 0:
                    head[new] = link
                else:
                    after[last] = link
                last = link
                similarity = _similarity(other, new, histograms, row, sizes, boxes, whole, by_size, by_fill)
                heapq.heappush(heap, (-similarity, other, new))
            link = after[link]
        if last >= 0:
            after[last] = -1
        tail[new] = last
    return boxes.astype(np.float32), levels


@serial
def _normalise(counts, measures, size, histogram):
    scale = ONE / size
    for k in range(len(counts)):
        histogram[k] = int(counts[k] * measures[k] * scale + 0.5)


@serial
def _similarity(a, b, histograms, row, sizes, boxes, whole, by_size, by_fill):
    """Less the constants of size and fill: what remains of those is a whole number of pixels, and equal ones tie."""
    first, second = histograms[row[a]], histograms[row[b]]
    common = np.int32(0)
    for k in range(len(first)):
        common = np.int32(common + min(first[k], second[k]))
    both = sizes[a] + sizes[b]
    pixels = both if by_size else np.int64(0)
    if by_fill:
        width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
        height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
        pixels += np.int64(width) * height - both
    return common / ONE - pixels / whole


@serial
def _root(parent, region):
    while parent[region] != region:
        parent[region] = parent[parent[region]]
        region = parent[region]
    return region
