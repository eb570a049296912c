"""Our operators in ONNX's standard ones: one translation each, for `torch.onnx.export`.

The loops are Scans, over the detections and one empty one: some runtimes cannot scan nothing.
"""

# mypy: ignore-errors
# onnxscript reads this code, and from its annotations what is a tensor and what an attribute.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import FLOAT, INT64, UINT8, graph, script
from onnxscript import opset18 as op

from videre.export import operators  # noqa: F401 - that they are there to be named

OPSET = 18
LOWEST = -3e38
"""Scores of boxes in another class are below this, all others above."""


def nms(boxes: FLOAT[...], scores: FLOAT[...], iou_threshold: float, classes: INT64[...]) -> INT64[...]:
    """A row of scores for each class, in which the boxes of all others do not count."""
    zero, one = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    last = op.ReduceMax(op.Concat(classes, zero, axis=0), keepdims=0)
    rows = op.Range(op.Constant(value_int=0), op.Add(last, op.Constant(value_int=1)), op.Constant(value_int=1))
    own = op.Equal(op.Unsqueeze(classes, zero), op.Unsqueeze(rows, one))  # (K, N)
    by_class = op.Where(own, op.Unsqueeze(scores, zero), op.Constant(value_float=float("-inf")))
    found = op.NonMaxSuppression(
        op.Unsqueeze(boxes, zero),
        op.Unsqueeze(by_class, zero),
        op.Shape(scores),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[LOWEST]),
    )
    index = op.Squeeze(op.Slice(found, op.Constant(value_ints=[2]), op.Constant(value_ints=[3]), one), one)
    index, _ = op.TopK(index, op.Shape(index), largest=0)  # of equal scores the lower index first
    _, order = op.TopK(op.Gather(scores, index), op.Shape(index))
    return op.Gather(index, order)


def roi_align(
    features: FLOAT[...], rois: FLOAT[...], height: int, width: int, scale: float, samples: int, aligned: bool
) -> FLOAT[...]:
    """As torchvision's, which ONNX took over with both conventions."""
    one = op.Constant(value_ints=[1])
    picture = op.Slice(rois, op.Constant(value_ints=[0]), one, one)
    boxes = op.Slice(rois, one, op.Constant(value_ints=[5]), one)
    return op.RoiAlign(
        features,
        boxes,
        op.Cast(op.Squeeze(picture, one), to=INT64.dtype),
        output_height=height,
        output_width=width,
        spatial_scale=scale,
        sampling_ratio=samples,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )


@script(default_opset=op)
def paste_masks(masks: FLOAT[...], boxes: FLOAT[...], height: INT64, width: INT64, threshold: float) -> UINT8[...]:
    """A mask is stretched by two products, with the weights of its rows and of its columns, a detection at a time."""
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    nought, unit = op.Constant(value_float=0.0), op.Constant(value_float=1.0)
    last_axis = op.Constant(value_ints=[2])
    side = op.Cast(op.Shape(masks, start=1, end=2), to=1)  # M, as a number of type 1: float32; 7 is int64, 2 uint8
    low, high = op.Split(boxes, num_outputs=2, axis=1)  # (D, 2)
    half = (high - low) * 0.5 * ((side + 2.0) / side)
    centre = (high + low) * 0.5
    first = op.Cast(op.Cast(centre - half, to=7), to=1)  # whole pixels, toward zero
    last = op.Cast(op.Cast(centre + half, to=7), to=1)
    scale = (side + 2.0) / op.Max(last - first + 1.0, unit)  # mask pixels a picture pixel; a border of one zero counts
    sample = op.Range(unit, op.Squeeze(side) + 1.0, unit)  # where the mask's own pixels lie behind that border
    x1, y1 = op.Split(first, num_outputs=2, axis=1)  # (D, 1)
    x2, y2 = op.Split(last, num_outputs=2, axis=1)
    scale_x, scale_y = op.Split(scale, num_outputs=2, axis=1)
    y = op.Cast(op.Range(zero, op.Squeeze(height), one), to=1)
    x = op.Cast(op.Range(zero, op.Squeeze(width), one), to=1)
    at_y = op.Unsqueeze(op.Max(scale_y * (y - y1 + 0.5) - 0.5, nought), last_axis)  # (D, H, 1)
    at_x = op.Unsqueeze(op.Max(scale_x * (x - x1 + 0.5) - 0.5, nought), last_axis)  # (D, W, 1)
    covered_y = op.Unsqueeze(op.Cast(op.And(y >= y1, y <= y2), to=1), last_axis)
    covered_x = op.Unsqueeze(op.Cast(op.And(x >= x1, x <= x2), to=1), last_axis)
    rows = op.Relu(1.0 - op.Abs(at_y - sample)) * covered_y  # (D, H, M)
    columns = op.Relu(1.0 - op.Abs(at_x - sample)) * covered_x  # (D, W, M)
    one_more = op.Constant(value_ints=[0, 0, 0, 1, 0, 0])
    least = op.Constant(value_float=threshold)

    @graph()
    def paste(row: FLOAT[None, None], mask: FLOAT[None, None], column: FLOAT[None, None]):
        stretched = op.MatMul(op.MatMul(row, mask), op.Transpose(column, perm=[1, 0]))
        inside = op.Cast(stretched >= least, to=2)
        return inside

    pasted = op.Scan(
        op.Pad(rows, one_more), op.Pad(masks, one_more), op.Pad(columns, one_more), body=paste, num_scan_inputs=3
    )
    return op.Slice(pasted, op.Constant(value_ints=[0]), op.Constant(value_ints=[-1]), op.Constant(value_ints=[0]))


@script(default_opset=op)
def decode_keypoints(maps: FLOAT[...], boxes: FLOAT[...]) -> tuple[FLOAT[...], FLOAT[...]]:
    """The peak of the resized map, a detection at a time, since each has its own size."""
    low, high = op.Split(boxes, num_outputs=2, axis=1)  # (D, 2)
    side = op.Max(high - low, op.Constant(value_float=1.0))
    whole = op.Ceil(side)
    begin, end, axis = op.Constant(value_ints=[0]), op.Constant(value_ints=[-1]), op.Constant(value_ints=[1])

    @graph()
    def find(map: FLOAT[None, None, None], size: INT64[2]):  # OpenVINO must know the ranks
        width, height = op.Split(size, num_outputs=2, axis=0)
        joints = op.Shape(map, start=0, end=1)
        fine = op.Resize(
            op.Unsqueeze(map, begin),
            None,
            None,
            op.Concat(axis, joints, height, width, axis=0),
            mode="cubic",
            cubic_coeff_a=-0.75,
            coordinate_transformation_mode="half_pixel",
        )
        flat = op.Reshape(fine, op.Concat(joints, end, axis=0))  # (J, h * w)
        peak = op.ReduceMax(flat, axis, keepdims=0)
        index = op.ArgMax(flat, axis=1, keepdims=0)
        row = index / width
        cell = op.Cast(op.Concat(op.Unsqueeze(index - row * width, axis), op.Unsqueeze(row, axis), axis=1), to=1)
        return peak, cell

    peaks, cells = op.Scan(
        op.Pad(maps, op.Constant(value_ints=[0, 0, 0, 0, 1, 0, 0, 0])),
        op.Pad(op.Cast(whole, to=7), op.Constant(value_ints=[0, 0, 1, 0]), op.Constant(value_int=1)),
        body=find,
        num_scan_inputs=2,
    )
    norm = op.ReduceLogSumExp(maps, op.Constant(value_ints=[2, 3]), keepdims=0)
    score = op.Min(op.Exp(op.Slice(peaks, begin, end, begin) - norm), op.Constant(value_float=1.0))  # (D, J)
    offset = (op.Slice(cells, begin, end, begin) + 0.5) * op.Unsqueeze(side / whole, axis)
    point = op.Unsqueeze(low, axis) + offset  # (D, J, 2)
    return point, score


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.videre.nms.default: nms,
    torch.ops.videre.roi_align.default: roi_align,
    torch.ops.videre.paste_masks.default: paste_masks,
    torch.ops.videre.decode_keypoints.default: decode_keypoints,
}
