"""Soft-NMS: boxes that overlap a better one lose score instead of being dropped.

Bodla et al., Soft-NMS: improving object detection with one line of code, ICCV 2017, equations 2 and 3. Differs from the
authors' code in that areas are continuous (no + 1), and that equal scores are taken in the order of their indices.

    keep, scores = soft_nms(boxes, scores, "gaussian", classes=labels)
"""

import math

import numpy as np
import torch
from torch import Tensor

from ._numba import HAS_NUMBA, serial

METHODS = ("linear", "gaussian")


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    method: str = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    classes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Take the best box, lower the scores of those that overlap it, and repeat with what remains.

    Args:
        boxes: (N, 4) xyxy, pixels.
        scores: (N) probabilities.
        method: "linear" multiplies by 1 - IoU where IoU > `iou_threshold`; "gaussian" by exp(-IoU² / sigma) always.
        iou_threshold: of the linear method, in [0, 1].
        sigma: of the gaussian method, > 0.
        min_score: boxes are dropped once their score is below.
        classes: (N) integers; boxes of different classes leave each other alone. None: one class.
    Returns:
        keep: (M) int64 indices in the order they were taken, so by falling new score.
        new_scores: (M) lowered scores of the kept boxes, dtype of `scores`.
    Raises:
        ValueError: shapes that do not fit, an unknown method, or sigma <= 0.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim != 1 or scores.shape[0] != boxes.shape[0]:
        raise ValueError(
            f"soft_nms: boxes {tuple(boxes.shape)} and scores {tuple(scores.shape)} must be (N, 4) and (N)"
        )
    if classes is not None and classes.shape != scores.shape:
        raise ValueError(f"soft_nms: classes have shape {tuple(classes.shape)}, expected {tuple(scores.shape)}")
    if method not in METHODS:
        raise ValueError(f"soft_nms: method is {method!r}, expected one of {METHODS}")
    if sigma <= 0:
        raise ValueError(f"soft_nms: sigma is {sigma}, expected a number > 0")
    return _soft_nms(boxes, scores, method == "gaussian", float(iou_threshold), float(sigma), float(min_score), classes)


@torch.library.custom_op("videre::soft_nms", mutates_args=())
def _soft_nms(
    boxes: Tensor,
    scores: Tensor,
    gaussian: bool,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    classes: Tensor | None,
) -> tuple[Tensor, Tensor]:
    boxes = boxes if boxes.dtype == torch.float64 else boxes.float()
    left = scores.to(boxes.dtype, copy=True)
    left[left < min_score] = -math.inf
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    taken, values = [], []
    while left.numel() and float(left.max()) > -math.inf:
        i = left.argmax()
        corner, opposite = (
            torch.maximum(boxes[i, :2], boxes[:, :2]),
            torch.minimum(boxes[i, 2:], boxes[:, 2:]),
        )  # (N, 2)
        intersection = (opposite - corner).clamp(min=0).prod(1)
        iou = (intersection / (area[i] + area - intersection)).nan_to_num(0)
        factor = torch.exp(-(iou * iou) / sigma) if gaussian else torch.where(iou > iou_threshold, 1 - iou, 1)
        if classes is not None:
            factor = torch.where(classes == classes[i], factor, 1)
        taken.append(i)
        values.append(left[i].clone())
        left[i] = -math.inf
        left *= factor.clamp(min=torch.finfo(factor.dtype).tiny)  # never -inf · 0
        left[left < min_score] = -math.inf
    if not taken:
        return boxes.new_empty(0, dtype=torch.int64), scores.new_empty(0)
    return torch.stack(taken), torch.stack(values).to(scores.dtype)


@_soft_nms.register_fake
def _(
    boxes: Tensor,
    scores: Tensor,
    gaussian: bool,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    classes: Tensor | None,
) -> tuple[Tensor, Tensor]:
    kept = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(kept, dtype=torch.int64), scores.new_empty(kept)


def _soft_nms_cpu(
    boxes: Tensor,
    scores: Tensor,
    gaussian: bool,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    classes: Tensor | None,
) -> tuple[Tensor, Tensor]:
    b = (boxes if boxes.dtype == torch.float64 else boxes.float()).detach().contiguous()
    s = scores.detach().to(b.dtype).contiguous()
    labels = np.empty(0, np.int64) if classes is None else classes.to(torch.int64).contiguous().numpy()
    keep, values = _soft_nms_kernel(b.numpy(), s.numpy(), labels, gaussian, iou_threshold, sigma, min_score)
    return torch.from_numpy(keep), torch.from_numpy(values).to(scores.dtype)


if HAS_NUMBA:
    _soft_nms.register_kernel("cpu")(_soft_nms_cpu)


@serial
def _soft_nms_kernel(boxes, scores, classes, gaussian, iou_threshold, sigma, min_score):
    n = scores.shape[0]
    zero, one = boxes.dtype.type(0), boxes.dtype.type(1)
    threshold, spread, floor = boxes.dtype.type(iou_threshold), boxes.dtype.type(sigma), boxes.dtype.type(min_score)
    x1, y1, x2, y2 = boxes[:, 0].copy(), boxes[:, 1].copy(), boxes[:, 2].copy(), boxes[:, 3].copy()
    area = (x2 - x1) * (y2 - y1)
    left = scores.copy()
    index = np.arange(n)
    label = classes.copy() if classes.shape[0] > 0 else np.zeros(n, np.int64)
    keep = np.empty(n, np.int64)
    values = np.empty(n, scores.dtype)
    kept = 0
    while True:
        # Close ranks, in order, so that ties still go to the lower index; and find the best on the way.
        m, best = 0, -1
        for j in range(n):
            if left[j] >= floor:
                x1[m], y1[m], x2[m], y2[m], area[m] = x1[j], y1[j], x2[j], y2[j], area[j]
                left[m], index[m], label[m] = left[j], index[j], label[j]
                if best < 0 or left[m] > left[best]:
                    best = m
                m += 1
        n = m
        if best < 0:
            return keep[:kept], values[:kept]
        keep[kept], values[kept] = index[best], left[best]
        kept += 1
        bx1, by1, bx2, by2, barea, own = x1[best], y1[best], x2[best], y2[best], area[best], label[best]
        left[best] = -np.inf
        for j in range(n):
            width, height = min(bx2, x2[j]) - max(bx1, x1[j]), min(by2, y2[j]) - max(by1, y1[j])
            intersection = max(width, zero) * max(height, zero)
            if intersection > 0 and label[j] == own and j != best:
                iou = intersection / (barea + area[j] - intersection)
                if gaussian:
                    left[j] *= math.exp(-(iou * iou) / spread)
                elif iou > threshold:
                    left[j] *= one - iou
