"""Non-maximum suppression: of boxes that overlap too much, the best scored one stays.

The result is that of torchvision's `nms`, box for box: stable order (of equal scores the lower index first), a box is
dropped if its IoU with a kept one is strictly greater than the threshold, and a 0/0 IoU drops nothing. Classes are
kept apart by comparing them, not by shifting coordinates, which loses precision.

The CPU kernel looks only at boxes that can matter. Two boxes with IoU > t intersect over more than t times the wider
one's width, so their left edges differ by less than (1 - t) of that width, and neither is wider than the other / t;
the same holds for heights. Boxes lie in a grid by their top-left corner, in row order, so the candidates of one grid
row are one contiguous stretch of memory that vector instructions scan. The kernels for a GPU, which compare all pairs,
are in nms_triton.py.

    keep = nms(boxes, scores, 0.5, classes=labels)
"""

import math

import numpy as np
import torch
from torch import Tensor

from ._numba import HAS_NUMBA, serial


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, classes: Tensor | None = None) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) xyxy, pixels.
        scores: (N) any real numbers, probabilities or logits.
        iou_threshold: in [0, 1]; pairs at exactly the threshold both stay.
        classes: (N) integers; boxes of different classes never suppress each other. None: one class.
    Returns:
        (M) int64 indices of the kept boxes, by falling score.
    Raises:
        ValueError: shapes that do not fit, or a threshold outside [0, 1].
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim != 1 or scores.shape[0] != boxes.shape[0]:
        raise ValueError(f"nms: boxes {tuple(boxes.shape)} and scores {tuple(scores.shape)} must be (N, 4) and (N)")
    if classes is not None and classes.shape != scores.shape:
        raise ValueError(f"nms: classes have shape {tuple(classes.shape)}, expected {tuple(scores.shape)}")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"nms: iou_threshold is {iou_threshold}, expected a number in [0, 1]")
    return _nms(boxes, scores, float(iou_threshold), classes)


@torch.library.custom_op("videre::nms", mutates_args=())
def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, classes: Tensor | None) -> Tensor:
    """The definition, without a loop over boxes.

    A box stays if no better box that stays overlaps it. Starting from "all stay" and applying this rule until nothing
    changes settles the boxes from best to worst: after k rounds at least the best k are right.
    """
    order = scores.argsort(descending=True, stable=True)
    b = (boxes if boxes.dtype == torch.float64 else boxes.float())[order]
    x1, y1, x2, y2 = b.unbind(1)
    area = (x2 - x1) * (y2 - y1)
    width = (torch.minimum(x2[:, None], x2) - torch.maximum(x1[:, None], x1)).clamp(min=0)  # (N, N)
    height = (torch.minimum(y2[:, None], y2) - torch.maximum(y1[:, None], y1)).clamp(min=0)
    intersection = width * height
    iou = intersection / (area[:, None] + area - intersection)
    beats = (iou.double() > iou_threshold).triu(1)  # (N, N): the row is the better box
    if classes is not None:
        c = classes[order]
        beats &= c[:, None] == c
    keep = torch.ones_like(order, dtype=torch.bool)
    while True:
        settled = ~(beats & keep[:, None]).any(0)
        if torch.equal(settled, keep):
            return order[keep]
        keep = settled


@_nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, classes: Tensor | None) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


def _nms_cpu(boxes: Tensor, scores: Tensor, iou_threshold: float, classes: Tensor | None) -> Tensor:
    if boxes.shape[0] == 0:
        return boxes.new_empty(0, dtype=torch.int64)
    b = (boxes if boxes.dtype == torch.float64 else boxes.float()).detach().contiguous().numpy()
    order = scores.detach().argsort(descending=True, stable=True).numpy()
    labels = np.empty(0, np.int64) if classes is None else classes.to(torch.int64).contiguous().numpy()
    # The largest number of the boxes' precision that is not above the threshold: same comparison, narrower registers.
    threshold = b.dtype.type(iou_threshold)
    if float(threshold) > iou_threshold:
        threshold = np.nextafter(threshold, b.dtype.type(-1))
    return torch.from_numpy(_nms_kernel(b, order, labels, threshold))


if HAS_NUMBA:
    _nms.register_kernel("cpu")(_nms_cpu)


@_nms.register_kernel("cuda")
def _nms_cuda(boxes: Tensor, scores: Tensor, iou_threshold: float, classes: Tensor | None) -> Tensor:
    from ._triton import usable  # here, so that only programs that use a GPU load Triton

    if not usable(boxes.device):
        return _nms._init_fn(boxes, scores, iou_threshold, classes)
    from .nms_triton import nms_triton

    return nms_triton(boxes, scores, iou_threshold, classes)


@serial
def _nms_kernel(boxes, order, classes, threshold):
    n = boxes.shape[0]
    by_class = classes.shape[0] > 0
    zero = boxes.dtype.type(0)  # a plain 0 would widen float32 to float64

    # Extent of the finite top-left corners, and the largest sides.
    left, top, right, bottom = math.inf, math.inf, -math.inf, -math.inf
    widest, highest = 0.0, 0.0
    for i in range(n):
        x, y = float(boxes[i, 0]), float(boxes[i, 1])
        w, h = float(boxes[i, 2]) - x, float(boxes[i, 3]) - y
        if math.isfinite(w) and math.isfinite(h):
            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
            widest, highest = max(widest, w), max(highest, h)
    extent_x, extent_y = max(right - left, 1e-6), max(bottom - top, 1e-6)

    # About eight boxes a cell: fewer, and stretches get too short for vector instructions.
    side = math.sqrt(max(extent_x * extent_y * 8 / n, 1e-12))
    columns = min(max(int(extent_x / side), 1), n)
    rows = min(max(int(extent_y / side), 1), n)
    scale_x, scale_y = columns / extent_x, rows / extent_y

    # Counting sort by cell, each coordinate in an array of its own.
    cell = np.empty(n, np.int64)
    start = np.zeros(rows * columns + 1, np.int64)
    for i in range(n):
        c = _cell(float(boxes[i, 1]), top, scale_y, rows) * columns + _cell(float(boxes[i, 0]), left, scale_x, columns)
        cell[i] = c
        start[c + 1] += 1
    for c in range(rows * columns):
        start[c + 1] += start[c]
    place = np.empty(n, np.int64)
    fill = start.copy()
    x1, y1, x2, y2, area = np.empty((5, n), boxes.dtype)
    label = np.zeros(n, np.int64)
    for i in range(n):
        p = fill[cell[i]]
        fill[cell[i]] += 1
        place[i] = p
        x1[p], y1[p], x2[p], y2[p] = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        area[p] = (x2[p] - x1[p]) * (y2[p] - y1[p])
        if by_class:
            label[p] = classes[i]

    t = max(float(threshold) * (1 - 1e-4), 1e-9)  # a little below: rounding must not hide a candidate
    dropped = np.zeros(n, np.uint8)
    keep = np.empty(n, np.int64)
    kept = 0
    for i in order:
        p = place[i]
        if dropped[p]:
            continue
        keep[kept] = i
        kept += 1
        a, ax1, ay1, ax2, ay2, own = area[p], x1[p], y1[p], x2[p], y2[p], label[p]
        w, h = float(ax2) - float(ax1), float(ay2) - float(ay1)
        if not (w > 0 and h > 0 and math.isfinite(a)):
            continue  # its intersection, or its IoU, with anything is 0 or not a number
        column = _cell(ax1 - (1 - t) * min(w / t, widest), left, scale_x, columns)
        column_end = _cell(ax1 + (1 - t) * w, left, scale_x, columns) + 1
        row = _cell(ay1 - (1 - t) * min(h / t, highest), top, scale_y, rows)
        row_end = _cell(ay1 + (1 - t) * h, top, scale_y, rows) + 1
        # Boxes that are already kept or dropped are in the way of nothing: two kept ones never overlap too much
        # (the arithmetic is symmetric), and dropping twice is dropping once. So no test of rank is needed.
        for r in range(row, row_end):
            for q in range(start[r * columns + column], start[r * columns + column_end]):
                iw = max(min(ax2, x2[q]) - max(ax1, x1[q]), zero)
                ih = max(min(ay2, y2[q]) - max(ay1, y1[q]), zero)
                intersection = iw * ih
                over = intersection / (a + area[q] - intersection) > threshold
                dropped[q] |= over & (label[q] == own)
    return keep[:kept]


@serial
def _cell(position, origin, scale, cells):
    """Index of a grid column or row; monotone in the position, and 0 for what is not a number."""
    c = (position - origin) * scale
    return int(min(c, cells - 1.0)) if c > 0 else 0
