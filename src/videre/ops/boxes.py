"""Box algebra: areas, overlaps, the R-CNN coder, clipping. Plain torch, so that a compiler fuses it.

Convention: boxes are xyxy in continuous pixels; the origin is the top-left corner of the top-left pixel, a box is
x2 - x1 wide, and its right and bottom edges are exclusive.

    iou = box_iou(proposals, truth.boxes)                 # (N, M)
    deltas = encode_boxes(truth.boxes[match], anchors)    # (N, 4)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LOG_MAX_GROWTH = math.log(1000 / 16)  # no decoded side is more than 62.5 times its anchor's (as in R-CNN's code)


def box_area(boxes: Tensor) -> Tensor:
    """Area of each box.

    Args:
        boxes: (..., 4) xyxy, pixels. Half precision is widened to float32: a 256-pixel square overflows float16.
    Returns:
        (...) square pixels; negative where exactly one side is inverted.
    Raises:
        ValueError: the last axis is not 4.
    """
    x1, y1, x2, y2 = _corners(boxes, "boxes")
    return (x2 - x1) * (y2 - y1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair of boxes.

    Args:
        a: (N, 4) xyxy, pixels.
        b: (M, 4) xyxy, pixels.
    Returns:
        (N, M) in [0, 1]; a pair of zero-area boxes gives 0, and gradients stay finite there.
    Raises:
        ValueError: an argument is not (·, 4).
    """
    intersection, union, _ = _overlap(*_pairs(a, b))
    return _ratio(intersection, union)


def box_giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union of every pair of boxes.

    IoU minus the part of the smallest enclosing box that neither covers, so that distant boxes still have a gradient.

    Args:
        a: (N, 4) xyxy, pixels.
        b: (M, 4) xyxy, pixels.
    Returns:
        (N, M) in [-1, 1].
    Raises:
        ValueError: an argument is not (·, 4).
    Reference: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, algorithm 1.
    """
    return _giou(*_pairs(a, b))


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each box with its partner.

    Args:
        a, b: (..., 4) xyxy, pixels, of one shape.
    Returns:
        (...) in [0, 1], as `box_iou`.
    Raises:
        ValueError: the shapes differ, or the last axis is not 4.
    """
    _check_partners(a, b)
    intersection, union, _ = _overlap(a, b)
    return _ratio(intersection, union)


def paired_giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union of each box with its partner; shapes as `paired_iou`, values as `box_giou`."""
    _check_partners(a, b)
    return _giou(a, b)


def encode_boxes(truth: Tensor, anchors: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Describe boxes relative to anchors: shift of the centre in anchor sides, logarithm of the growth of the sides.

    Args:
        truth: (..., 4) xyxy, pixels, sides > 0.
        anchors: (..., 4) xyxy, pixels, sides > 0, broadcast against `truth`.
        weights: multipliers of (dx, dy, dw, dh); R-CNN's box head uses (10, 10, 5, 5).
    Returns:
        (..., 4) deltas dx, dy, dw, dh; not finite where a side is not positive.
    Raises:
        ValueError: a last axis is not 4.
    Reference: Girshick et al., Rich feature hierarchies, CVPR 2014, appendix C, equations 6 to 9.
    """
    x, y, w, h = _centre_and_size(truth, "truth")
    ax, ay, aw, ah = _centre_and_size(anchors, "anchors")
    wx, wy, ww, wh = weights
    return torch.stack([wx * (x - ax) / aw, wy * (y - ay) / ah, ww * torch.log(w / aw), wh * torch.log(h / ah)], -1)


def decode_boxes(
    deltas: Tensor, anchors: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), clamp: float = LOG_MAX_GROWTH
) -> Tensor:
    """Turn deltas back into boxes: the inverse of `encode_boxes`.

    Args:
        deltas: (N, 4), or (N, K, 4) for K classes that share an anchor.
        anchors: (N, 4) xyxy, pixels.
        weights: the ones that encoded.
        clamp: upper limit of dw and dh after division by the weights; a net cannot ask for infinite boxes.
    Returns:
        boxes of the shape of `deltas`, xyxy, pixels, not clipped to the picture.
    Raises:
        ValueError: shapes that do not fit.
    """
    if deltas.ndim not in (2, 3) or anchors.ndim != 2 or deltas.shape[0] != anchors.shape[0]:
        raise ValueError(
            f"decode_boxes: deltas have shape {tuple(deltas.shape)}, expected (N, 4) or (N, K, 4); "
            f"anchors {tuple(anchors.shape)}, expected (N, 4)"
        )
    if deltas.ndim == 3:
        anchors = anchors.unsqueeze(1)  # (N, 1, 4)
    ax, ay, aw, ah = _centre_and_size(anchors, "anchors")
    wx, wy, ww, wh = weights
    dx, dy, dw, dh = _corners(deltas, "deltas")
    x, y = dx / wx * aw + ax, dy / wy * ah + ay
    half_w = 0.5 * aw * torch.exp((dw / ww).clamp(max=clamp))
    half_h = 0.5 * ah * torch.exp((dh / wh).clamp(max=clamp))
    return torch.stack([x - half_w, y - half_h, x + half_w, y + half_h], -1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip boxes to the picture: x to [0, W], y to [0, H].

    Args:
        boxes: (..., 4) xyxy, pixels.
        size: (H, W) of the picture.
    Returns:
        boxes of the same shape and dtype; a box wholly outside has zero area.
    Raises:
        ValueError: the last axis is not 4.
    """
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes have shape {tuple(boxes.shape)}, expected (..., 4)")
    x1, y1, x2, y2 = boxes.unbind(-1)
    height, width = size
    return torch.stack([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1)


def _corners(boxes: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"{name} have shape {tuple(boxes.shape)}, expected (..., 4)")
    if boxes.dtype not in (torch.float32, torch.float64):
        boxes = boxes.float()
    x1, y1, x2, y2 = boxes.unbind(-1)
    return x1, y1, x2, y2


def _centre_and_size(boxes: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = _corners(boxes, name)
    w, h = x2 - x1, y2 - y1
    return x1 + 0.5 * w, y1 + 0.5 * h, w, h


def _pairs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and (M, 4) so that every pair meets by broadcasting."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(f"boxes have shapes {tuple(a.shape)} and {tuple(b.shape)}, expected (N, 4) and (M, 4)")
    return a.unsqueeze(1), b


def _check_partners(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"boxes have shapes {tuple(a.shape)} and {tuple(b.shape)}, expected the same")


def _giou(a: Tensor, b: Tensor) -> Tensor:
    intersection, union, hull = _overlap(a, b)
    return _ratio(intersection, union) - _ratio(hull - union, hull)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas of intersection, union and enclosing box of boxes that broadcast against each other."""
    ax1, ay1, ax2, ay2 = _corners(a, "boxes")
    bx1, by1, bx2, by2 = _corners(b, "boxes")
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    intersection = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection
    hull = (torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)) * (torch.maximum(ay2, by2) - torch.minimum(ay1, by1))
    return intersection, union, hull


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 where both are 0."""
    return part / torch.where(whole > 0, whole, 1)
