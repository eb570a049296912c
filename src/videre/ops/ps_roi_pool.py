"""Position-sensitive RoIPool: each bin of a box, its edges rounded, averages a group of channels of its own.

Dai et al., R-FCN, NeurIPS 2016, section 2, equation 1. Rounding as in torchvision; but there the forward pass never
reads the last row and column of the map, which the backward pass does: here both do.

    scores = ps_roi_pool(maps, torch.cat([picture_index, boxes], 1), 7, spatial_scale=1 / 16)   # (R, C, 7, 7)
"""

import math

import torch
from torch import Tensor

from ._numba import HAS_NUMBA, parallel, prange, serial
from .ps_roi_align import check_grouped, gather, put_places, scatter, take_places
from .roi_align import working_type


def ps_roi_pool(features: Tensor, rois: Tensor, size: int, spatial_scale: float) -> Tensor:
    """Mean, in each bin of each region, of the channels that belong to the bin.

    Differentiable in the features; not in the rois.

    Args:
        features: (B, C * size * size, H, W) floating point; channel (c * size + i) * size + j belongs to output c and
            bin (i, j). rois: (R, 5) rows of picture index, x1, y1, x2, y2; pixels of the picture.
        size: bins along each axis. spatial_scale: pixels of the feature map per pixel of the picture.
    Returns:
        (R, C, size, size), dtype of `features`; a bin outside the map gives 0.
    Raises:
        ValueError: shapes or dtypes that do not fit, or channels that the bins do not divide.
    Convention: a region covers the features round(x1) to round(x2), the latter not included (halves round away from
        zero), at least one; bin p of n covers floor(p · side / n) to ceil((p + 1) · side / n), so bins overlap.
    """
    check_grouped("ps_roi_pool", features, rois, size)
    return _ps_roi_pool(features, rois, size, float(spatial_scale))


# ---------------------------------------------------------------------------------------------- definition


def _shares(low: Tensor, high: Tensor, bins: int, length: int) -> Tensor:
    """What each pixel of an axis counts in each bin (R, bins, length): one over the pixels of the bin, or 0."""
    rounded = lambda x: x.sign() * (x.abs() + 0.5).floor()
    start = rounded(low)
    step = (rounded(high) - start).clamp(min=1) / bins  # (R)
    p = torch.arange(bins, device=low.device, dtype=low.dtype)
    first = ((p * step[:, None]).floor() + start[:, None]).clamp(0, length)
    last = (((p + 1) * step[:, None]).ceil() + start[:, None]).clamp(0, length)
    pixel = torch.arange(length, device=low.device, dtype=low.dtype)
    inside = (pixel >= first[..., None]) & (pixel < last[..., None])
    return inside / (last - first).clamp(min=1)[..., None]


@torch.library.custom_op("videre::ps_roi_pool", mutates_args=())
def _ps_roi_pool(features: Tensor, rois: Tensor, size: int, scale: float) -> Tensor:
    kind = working_type(features)
    x1, y1, x2, y2 = (rois[:, 1:].to(kind) * scale).unbind(1)
    rows, columns = _shares(y1, y2, size, features.shape[2]), _shares(x1, x2, size, features.shape[3])
    whole = torch.einsum("rpy,rcyx,rqx->rcpq", rows, features.to(kind)[rois[:, 0].long()], columns)
    return take_places(whole, size).to(features.dtype)


@torch.library.custom_op("videre::ps_roi_pool_backward", mutates_args=())
def _ps_roi_pool_backward(gradient: Tensor, rois: Tensor, batch: int, height: int, width: int, scale: float) -> Tensor:
    kind, size = working_type(gradient), gradient.shape[2]
    x1, y1, x2, y2 = (rois[:, 1:].to(kind) * scale).unbind(1)
    rows, columns = _shares(y1, y2, size, height), _shares(x1, x2, size, width)
    parts = torch.einsum("rpy,rcpq,rqx->ryxc", rows, put_places(gradient.to(kind)), columns)
    out = gradient.new_zeros((batch, height, width, parts.shape[3]), dtype=kind)
    for part, index in zip(parts, rois[:, 0].long().tolist()):
        out[index] += part
    return out.to(gradient.dtype).permute(0, 3, 1, 2)


@_ps_roi_pool.register_fake
def _(features: Tensor, rois: Tensor, size: int, scale: float) -> Tensor:
    return features.new_empty((rois.shape[0], features.shape[1] // size**2, size, size))


@_ps_roi_pool_backward.register_fake
def _(gradient: Tensor, rois: Tensor, batch: int, height: int, width: int, scale: float) -> Tensor:
    channels = gradient.shape[1] * gradient.shape[2] ** 2
    return gradient.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)


def _save(ctx, inputs, output):
    features, rois, _, ctx.scale = inputs
    ctx.save_for_backward(rois)
    ctx.shape = features.shape


def _differentiate(ctx, gradient):
    (rois,) = ctx.saved_tensors
    batch, _, height, width = ctx.shape
    return _ps_roi_pool_backward(gradient, rois, batch, height, width, ctx.scale), None, None, None


_ps_roi_pool.register_autograd(_differentiate, setup_context=_save)


# ---------------------------------------------------------------------------------------------- CPU kernels


def _ps_roi_pool_cpu(features: Tensor, rois: Tensor, size: int, scale: float) -> Tensor:
    return gather(_forward_kernel, features, rois, size, scale)


def _ps_roi_pool_backward_cpu(
    gradient: Tensor, rois: Tensor, batch: int, height: int, width: int, scale: float
) -> Tensor:
    return scatter(_backward_kernel, gradient, rois, (batch, height, width), scale)


if HAS_NUMBA:
    _ps_roi_pool.register_kernel("cpu")(_ps_roi_pool_cpu)
    _ps_roi_pool_backward.register_kernel("cpu")(_ps_roi_pool_backward_cpu)


@serial
def _bin(box, axis, scale, p, bins, length):
    """First pixel and end of bin p of an axis (0 = x, 1 = y), in the precision of `box`."""
    T = box.dtype.type
    low, high = box[axis] * T(scale), box[2 + axis] * T(scale)
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0, 0
    start = math.floor(abs(low) + T(0.5)) * (-1 if low < 0 else 1)
    end = math.floor(abs(high) + T(0.5)) * (-1 if high < 0 else 1)
    step = T(max(end - start, 1)) / T(bins)
    first, last = math.floor(T(p) * step) + start, math.ceil(T(p + 1) * step) + start
    return min(max(int(first), 0), length), min(max(int(last), 0), length)


@parallel
def _forward_kernel(maps, rois, scale, out):
    """maps (B, H, W, C * size^2), rois (R, 5), out (R, C, size, size)."""
    _, height, width, _ = maps.shape
    regions, channels, size, _ = out.shape
    T = maps.dtype.type
    for r in prange(regions):
        picture = maps[int(rois[r, 0])]
        for i in range(size):
            top, bottom = _bin(rois[r, 1:], 1, scale, i, size, height)
            for j in range(size):
                left, right = _bin(rois[r, 1:], 0, scale, j, size, width)
                for c in range(channels):
                    out[r, c, i, j] = 0
                if bottom <= top or right <= left:
                    continue
                share = T(1) / T((bottom - top) * (right - left))
                for y in range(top, bottom):
                    for x in range(left, right):
                        for c in range(channels):
                            out[r, c, i, j] += share * picture[y, x, (c * size + i) * size + j]


@parallel
def _backward_kernel(gradient, rois, scale, out):
    """gradient (R, C, size, size), rois (R, 5), out (B, H, W, C * size^2) of zeros; each task owns one bin's channels."""
    _, height, width, _ = out.shape
    regions, channels, size, _ = gradient.shape
    T = gradient.dtype.type
    for place in prange(size * size):
        i, j = place // size, place % size
        for r in range(regions):
            top, bottom = _bin(rois[r, 1:], 1, scale, i, size, height)
            left, right = _bin(rois[r, 1:], 0, scale, j, size, width)
            if bottom <= top or right <= left:
                continue
            share = T(1) / T((bottom - top) * (right - left))
            for y in range(top, bottom):
                for x in range(left, right):
                    pixel = out[int(rois[r, 0]), y, x]
                    for c in range(channels):
                        pixel[(c * size + i) * size + j] += share * gradient[r, c, i, j]
