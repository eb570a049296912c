"""RoIPool: the largest feature under each bin of a box whose edges are rounded to whole features.

Girshick, Fast R-CNN, ICCV 2015, section 2.1; rounding, overlap of bins and gradient as in the author's code and
torchvision.

    crops = roi_pool(features, torch.cat([picture_index, boxes], 1), 7, spatial_scale=1 / 16)
"""

import math

import numpy as np
import torch
from torch import Tensor

from ._numba import HAS_NUMBA, parallel, prange, serial, use_torch_threads
from .roi_align import check_rois, checked_regions, working_type

CHUNK = 64  # RoIs that the reference takes at once: bounds its memory


def roi_pool(features: Tensor, rois: Tensor, output_size: int | tuple[int, int], spatial_scale: float) -> Tensor:
    """Maximum of the features in each of `output_size` bins of each region.

    Differentiable in the features: the first largest feature of a bin, in row order, gets the gradient.

    Args:
        features: (B, C, H, W) floating point; channels-last memory is read as it is, other layouts are copied once.
        rois: (R, 5) rows of picture index (0 .. B-1), x1, y1, x2, y2; pixels of the picture.
        output_size: bins (height, width), or one number for both.
        spatial_scale: pixels of the feature map per pixel of the picture (1 / stride).
    Returns:
        (R, C, height, width) in channels-last memory, dtype of `features`; a bin outside the map gives 0.
    Raises:
        ValueError: shapes or dtypes that do not fit, or output_size < 1.
    Convention: a region covers the features round(x1) to round(x2), both included (halves round away from zero), and
        at least one; bin p of n covers floor(p · side / n) to ceil((p + 1) · side / n), end excluded, so bins overlap.
    """
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    check_rois("roi_pool", features, rois, height, width)
    return _roi_pool(features, rois, height, width, float(spatial_scale))[0]


def _bins(first: Tensor, last: Tensor, scale: float, bins: int, length: int) -> tuple[Tensor, Tensor]:
    """Start and end (R, bins) of each bin along one axis of `length` features."""
    first, last = _round(first * scale), _round(last * scale)  # (R)
    side = (last - first + 1).clamp(min=1)[:, None] / bins
    p = torch.arange(bins, device=first.device, dtype=first.dtype)
    start = (p * side).floor() + first[:, None]
    end = ((p + 1) * side).ceil() + first[:, None]
    return start.clamp(0, length).nan_to_num(0).long(), end.clamp(0, length).nan_to_num(0).long()


def _round(x: Tensor) -> Tensor:
    """As C rounds: halves away from zero."""
    whole = x.trunc()
    return whole + torch.where((x - whole).abs() >= 0.5, x.sign(), 0)


@torch.library.custom_op("videre::roi_pool", mutates_args=())
def _roi_pool(features: Tensor, rois: Tensor, height: int, width: int, scale: float) -> tuple[Tensor, Tensor]:
    """Returns the maxima and where they are: y · W + x, or -1 for an empty bin; both (R, C, height, width)."""
    _, channels, map_height, map_width = features.shape
    kind = working_type(features)
    shape = (rois.shape[0], height, width, channels)
    out, where = features.new_zeros(shape), features.new_full(shape, -1, dtype=torch.int32)
    for begin in range(0, rois.shape[0], CHUNK):
        some = rois[begin : begin + CHUNK].to(kind)
        y, y_end = _bins(some[:, 2], some[:, 4], scale, height, map_height)  # (r, height)
        x, x_end = _bins(some[:, 1], some[:, 3], scale, width, map_width)
        tall, wide = max(int((y_end - y).max()), 1), max(int((x_end - x).max()), 1)
        index = some[:, 0].long()[:, None, None]
        for p in range(height):
            rows = y[:, p, None] + torch.arange(tall, device=y.device)  # (r, tall)
            for q in range(width):
                columns = x[:, q, None] + torch.arange(wide, device=x.device)  # (r, wide)
                inside = (rows < y_end[:, p, None])[:, :, None] & (columns < x_end[:, q, None])[:, None]
                at_y, at_x = rows.clamp(max=map_height - 1)[:, :, None], columns.clamp(max=map_width - 1)[:, None]
                values = features[index, :, at_y, at_x].masked_fill(~inside[..., None], -math.inf)  # (r, tall, wide, C)
                best, at = values.flatten(1, 2).max(1)  # (r, C)
                place = (at_y * map_width + at_x).flatten(1).gather(1, at).int()
                some_inside = inside.any(2).any(1)[:, None]
                out[begin : begin + CHUNK, p, q] = torch.where(some_inside, best, 0)
                where[begin : begin + CHUNK, p, q] = torch.where(some_inside, place, -1)
    return out.permute(0, 3, 1, 2), where.permute(0, 3, 1, 2)


@_roi_pool.register_fake
def _(features: Tensor, rois: Tensor, height: int, width: int, scale: float) -> tuple[Tensor, Tensor]:
    shape = (rois.shape[0], height, width, features.shape[1])
    return features.new_empty(shape).permute(0, 3, 1, 2), features.new_empty(shape, dtype=torch.int32).permute(
        0, 3, 1, 2
    )


@torch.library.custom_op("videre::roi_pool_backward", mutates_args=())
def _roi_pool_backward(
    gradient: Tensor, where: Tensor, rois: Tensor, batch: int, map_height: int, map_width: int
) -> Tensor:
    channels = gradient.shape[1]
    out = gradient.new_zeros((batch * map_height * map_width, channels))
    offset = (rois[:, 0].long() * map_height * map_width)[:, None, None]
    g = gradient.permute(0, 2, 3, 1).flatten(1, 2)  # (R, bins, C)
    at = where.permute(0, 2, 3, 1).flatten(1, 2).long()
    out.scatter_add_(0, (at.clamp(min=0) + offset).flatten(0, 1), torch.where(at >= 0, g, 0).flatten(0, 1))
    return out.reshape(batch, map_height, map_width, channels).permute(0, 3, 1, 2)


@_roi_pool_backward.register_fake
def _(gradient: Tensor, where: Tensor, rois: Tensor, batch: int, map_height: int, map_width: int) -> Tensor:
    return gradient.new_empty((batch, map_height, map_width, gradient.shape[1])).permute(0, 3, 1, 2)


def _save(ctx, inputs, output):
    features, rois, *_ = inputs
    ctx.save_for_backward(rois, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.shape = features.shape


def _differentiate(ctx, gradient, _):
    rois, where = ctx.saved_tensors
    batch, _, map_height, map_width = ctx.shape
    return _roi_pool_backward(gradient, where, rois, batch, map_height, map_width), None, None, None, None


_roi_pool.register_autograd(_differentiate, setup_context=_save)


def _roi_pool_cpu(features: Tensor, rois: Tensor, height: int, width: int, scale: float) -> tuple[Tensor, Tensor]:
    kind = working_type(features)
    maps = features.detach().to(kind).permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    regions = checked_regions(rois, kind, maps.shape[0])
    out = maps.new_zeros((rois.shape[0], height, width, maps.shape[3]))
    where = out.new_full(out.shape, -1, dtype=torch.int32)
    if out.numel() and maps.numel():
        use_torch_threads()
        _forward_kernel(maps.numpy(), regions.numpy(), scale, out.numpy(), where.numpy())
    return out.to(features.dtype).permute(0, 3, 1, 2), where.permute(0, 3, 1, 2)


def _roi_pool_backward_cpu(
    gradient: Tensor, where: Tensor, rois: Tensor, batch: int, map_height: int, map_width: int
) -> Tensor:
    kind = working_type(gradient)
    grads = gradient.detach().to(kind).permute(0, 2, 3, 1).contiguous()  # (R, h, w, C)
    places = where.permute(0, 2, 3, 1).contiguous()
    pictures = rois[:, 0].long().contiguous()
    out = grads.new_zeros((batch, map_height * map_width, grads.shape[3]))
    if out.numel() and grads.numel():
        _backward_kernel(grads.numpy(), places.numpy(), pictures.numpy(), use_torch_threads(), out.numpy())
    out = out.reshape(batch, map_height, map_width, grads.shape[3])
    return out.to(gradient.dtype).permute(0, 3, 1, 2)


if HAS_NUMBA:
    _roi_pool.register_kernel("cpu")(_roi_pool_cpu)
    _roi_pool_backward.register_kernel("cpu")(_roi_pool_backward_cpu)


@serial
def _side(roi, axis, scale, bins):
    """First feature and bin size of a region along an axis (0 = x, 1 = y)."""
    T = roi.dtype.type
    first = _round_away(roi[1 + axis] * T(scale))
    last = _round_away(roi[3 + axis] * T(scale))
    return first, max(last - first + T(1), T(1)) / T(bins)


@serial
def _round_away(x):
    """Exact, unlike floor(x + 0.5), whose sum is rounded too."""
    whole = np.trunc(x)
    return whole + type(x)(x - whole >= 0.5) - type(x)(x - whole <= -0.5)


@serial
def _bin(first, side, p, length):
    T = type(side)
    start, end = np.floor(T(p) * side) + first, np.ceil(T(p + 1) * side) + first
    return int(min(max(T(0), start), T(length))), int(min(max(T(0), end), T(length)))  # not a number: 0


@parallel
def _forward_kernel(maps, rois, scale, out, where):
    """maps (B, H, W, C), rois (R, 5), out of zeros and where of -1 (R, h, w, C)."""
    _, map_height, map_width, _ = maps.shape
    regions, height, width, _ = out.shape
    for r in prange(regions):
        picture = maps[int(rois[r, 0])]
        first_y, side_y = _side(rois[r], 1, scale, height)
        first_x, side_x = _side(rois[r], 0, scale, width)
        for p in range(height):
            y, y_end = _bin(first_y, side_y, p, map_height)
            for q in range(width):
                x, x_end = _bin(first_x, side_x, q, map_width)
                if y < y_end and x < x_end:
                    _maximum(picture, y, y_end, x, x_end, out[r, p, q], where[r, p, q])


@serial
def _maximum(picture, y, y_end, x, x_end, best, at):
    place = type(at[0])
    best[:] = picture[y, x]
    at[:] = place(y * picture.shape[1] + x)
    for i in range(y, y_end):
        for j in range(x, x_end):
            here, pixel = place(i * picture.shape[1] + j), picture[i, j]
            for k in range(best.shape[0]):
                larger = pixel[k] > best[k]
                best[k] = pixel[k] if larger else best[k]
                at[k] = here if larger else at[k]


@parallel
def _backward_kernel(grads, where, pictures, threads, out):
    """grads and where (R, h, w, C), out (B, H · W, C) of zeros. Each task owns a band of channels, as in RoIAlign."""
    regions, height, width, channels = grads.shape
    bands = max(min(threads, channels // 16), 1)
    for band in prange(bands):
        for r in range(regions):
            picture = out[pictures[r]]
            for p in range(height):
                for q in range(width):
                    for k in range(channels * band // bands, channels * (band + 1) // bands):
                        at = where[r, p, q, k]
                        if at >= 0:
                            picture[at, k] += grads[r, p, q, k]
