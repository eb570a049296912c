"""RoIAlign: the features under a box, resampled to a fixed grid without rounding the box.

He et al., Mask R-CNN, ICCV 2017, section 3. Each bin is the mean of bilinear samples; the rule, including the edge of
the map and the two conventions of `aligned`, is that of torchvision and Detectron2.

A bilinear sample is a weight on two rows times a weight on two columns, so a bin is a small matrix product: row weights
(bin, y) times features times column weights (bin, x). The reference multiplies these matrices out. The CPU kernel
keeps their few entries that are not zero: samples that share pixels are merged before any feature is read. The kernels
for a GPU are in roi_align_triton.py.

    crops = roi_align(features, torch.cat([picture_index, boxes], 1), 7, spatial_scale=1 / 16, sampling_ratio=2)
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._numba import HAS_NUMBA, parallel, prange, serial, serial_fused, use_torch_threads

CHUNK = 16  # RoIs that the reference takes at once: bounds its memory


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int = 0,
    aligned: bool = False,
) -> Tensor:
    """Resample the features under each region to a grid of `output_size` bins.

    Differentiable (also twice) in the features; not in the rois.

    Args:
        features: (B, C, H, W) floating point; channels-last memory is read as it is, other layouts are copied once.
        rois: (R, 5) rows of picture index (0 .. B-1), x1, y1, x2, y2; pixels of the picture. Another index is an error
            on the CPU, and gives NaN on a GPU, which is not waited for to tell.
        output_size: bins (height, width), or one number for both.
        spatial_scale: pixels of the feature map per pixel of the picture (1 / stride).
        sampling_ratio: samples per bin along each axis; 0 adapts to the region, ceil(side / bins).
        aligned: shift by half a pixel, so that the value of a feature sits at its pixel's centre. False is the
            original rule, which also widens regions to at least one feature pixel.
    Returns:
        (R, C, height, width) in channels-last memory, dtype of `features`.
    Raises:
        ValueError: shapes or dtypes that do not fit, or output_size < 1.
    Convention: sample (y, x) reads features y and x as the *corners* of a unit grid; outside [-1, H] x [-1, W] it is
        0, between the map's edge and there it repeats the edge.
    """
    height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
    check_rois("roi_align", features, rois, height, width)
    return _roi_align(features, rois, height, width, float(spatial_scale), sampling_ratio, aligned)


def check_rois(name: str, features: Tensor, rois: Tensor, height: int, width: int) -> None:
    if features.ndim != 4 or rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(
            f"{name}: features have shape {tuple(features.shape)}, expected (B, C, H, W); "
            f"rois {tuple(rois.shape)}, expected (R, 5)"
        )
    if not features.is_floating_point() or not rois.is_floating_point():
        raise ValueError(f"{name}: features are {features.dtype} and rois {rois.dtype}, expected floating point")
    if height < 1 or width < 1:
        raise ValueError(f"{name}: output_size is {(height, width)}, expected at least one bin along each axis")


# ---------------------------------------------------------------------------------------------- definition


def working_type(features: Tensor) -> torch.dtype:
    """Coordinates and sums are float64 for float64 features, else float32."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def axis_weights(start: Tensor, extent: Tensor, bins: int, samples: int, length: int) -> Tensor:
    """Weights of the pixels of one axis in each bin, the mean over the bin's samples.

    Args:
        start, extent: (R) where the regions start and how long they are, feature pixels.
        bins: bins per region. samples: per bin; 0 = ceil(extent / bins). length: pixels of the axis.
    Returns:
        (R, bins, length)
    """
    step = extent / bins  # (R)
    count = torch.full_like(start, samples) if samples > 0 else step.ceil()
    most = max(int(count.max()), 1) if count.numel() else 1
    i = torch.arange(most, device=start.device, dtype=start.dtype)  # (S)
    offset = (i + 0.5) * step[:, None] / count[:, None]  # (R, S)
    p = torch.arange(bins, device=start.device, dtype=start.dtype)
    position = (start[:, None] + p * step[:, None])[:, :, None] + offset[:, None]  # (R, bins, S)
    counted = (i < count[:, None])[:, None] & (position >= -1) & (position <= length)
    pixel = torch.arange(length, device=start.device, dtype=start.dtype)
    position = position.nan_to_num(0).clamp(0, length - 1)
    hat = (1 - (position[..., None] - pixel).abs()).clamp(min=0)  # (R, bins, S, length)
    return (hat * counted[..., None]).sum(2) / count.clamp(min=1)[:, None, None]


def _weights(
    rois: Tensor, size: torch.Size | tuple[int, int], bins: tuple[int, int], scale: float, samples: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Row weights (R, bins, H) and column weights (R, bins, W)."""
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (rois[:, 1:] * scale - shift).unbind(1)
    extent_x, extent_y = x2 - x1, y2 - y1
    if not aligned:
        extent_x, extent_y = extent_x.clamp(min=1), extent_y.clamp(min=1)
    return (
        axis_weights(y1, extent_y, bins[0], samples, size[0]),
        axis_weights(x1, extent_x, bins[1], samples, size[1]),
    )


@torch.library.custom_op("videre::roi_align", mutates_args=())
def _roi_align(
    features: Tensor, rois: Tensor, height: int, width: int, scale: float, samples: int, aligned: bool
) -> Tensor:
    kind = working_type(features)
    maps = features.to(kind)
    out = features.new_empty((rois.shape[0], height, width, features.shape[1]))  # (R, h, w, C)
    for begin in range(0, rois.shape[0], CHUNK):
        some = rois[begin : begin + CHUNK].to(kind)
        rows, columns = _weights(some, maps.shape[2:], (height, width), scale, samples, aligned)
        index = some[:, 0].long()
        out[begin : begin + CHUNK] = torch.einsum("rpy,rcyx,rqx->rpqc", rows, maps[index], columns).to(features.dtype)
    return out.permute(0, 3, 1, 2)


@_roi_align.register_fake
def _(features: Tensor, rois: Tensor, height: int, width: int, scale: float, samples: int, aligned: bool) -> Tensor:
    return features.new_empty((rois.shape[0], height, width, features.shape[1])).permute(0, 3, 1, 2)


@torch.library.custom_op("videre::roi_align_backward", mutates_args=())
def _roi_align_backward(
    gradient: Tensor,
    rois: Tensor,
    batch: int,
    map_height: int,
    map_width: int,
    scale: float,
    samples: int,
    aligned: bool,
) -> Tensor:
    kind = working_type(gradient)
    _, channels, height, width = gradient.shape
    out = gradient.new_zeros((batch, map_height, map_width, channels), dtype=kind)  # (B, H, W, C)
    for begin in range(0, rois.shape[0], CHUNK):
        some = rois[begin : begin + CHUNK].to(kind)
        rows, columns = _weights(some, (map_height, map_width), (height, width), scale, samples, aligned)
        part = torch.einsum("rpy,rcpq,rqx->ryxc", rows, gradient[begin : begin + CHUNK].to(kind), columns)
        for r, index in enumerate(some[:, 0].long().tolist()):  # one after the other: the same sum every time
            out[index] += part[r]
    return out.to(gradient.dtype).permute(0, 3, 1, 2)


@_roi_align_backward.register_fake
def _(
    gradient: Tensor,
    rois: Tensor,
    batch: int,
    map_height: int,
    map_width: int,
    scale: float,
    samples: int,
    aligned: bool,
) -> Tensor:
    return gradient.new_empty((batch, map_height, map_width, gradient.shape[1])).permute(0, 3, 1, 2)


def _save(ctx, inputs, output):
    features, rois, height, width, *how = inputs
    ctx.save_for_backward(rois)
    ctx.shape, ctx.bins, ctx.how = features.shape, (height, width), how


def _differentiate(ctx, gradient):
    (rois,) = ctx.saved_tensors
    batch, _, map_height, map_width = ctx.shape
    return _roi_align_backward(gradient, rois, batch, map_height, map_width, *ctx.how), *[None] * 6


def _save_backward(ctx, inputs, output):
    gradient, rois, _, _, _, *how = inputs
    ctx.save_for_backward(rois)
    ctx.bins, ctx.how = gradient.shape[2:], how


def _differentiate_backward(ctx, gradient):  # the operator is linear, so its derivative's derivative is itself
    (rois,) = ctx.saved_tensors
    return _roi_align(gradient, rois, *ctx.bins, *ctx.how), *[None] * 7


_roi_align.register_autograd(_differentiate, setup_context=_save)
_roi_align_backward.register_autograd(_differentiate_backward, setup_context=_save_backward)


# ---------------------------------------------------------------------------------------------- CPU kernels


def _roi_align_cpu(
    features: Tensor, rois: Tensor, height: int, width: int, scale: float, samples: int, aligned: bool
) -> Tensor:
    kind = working_type(features)
    maps = features.detach().to(kind).permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    regions = checked_regions(rois, kind, maps.shape[0])
    out = maps.new_empty((rois.shape[0], height, width, maps.shape[3]))
    if out.numel():
        threads = use_torch_threads()
        _forward_kernel(maps.numpy(), regions.numpy(), scale, samples, aligned, threads, out.numpy())
    return out.to(features.dtype).permute(0, 3, 1, 2)


def _roi_align_backward_cpu(
    gradient: Tensor,
    rois: Tensor,
    batch: int,
    map_height: int,
    map_width: int,
    scale: float,
    samples: int,
    aligned: bool,
) -> Tensor:
    kind = working_type(gradient)
    grads = gradient.detach().to(kind).permute(0, 2, 3, 1).contiguous()  # (R, h, w, C)
    regions = checked_regions(rois, kind, batch)
    out = grads.new_zeros((batch, map_height, map_width, grads.shape[3]))
    if out.numel() and grads.numel():
        threads = use_torch_threads()
        _backward_kernel(grads.numpy(), regions.numpy(), scale, samples, aligned, threads, out.numpy())
    return out.to(gradient.dtype).permute(0, 3, 1, 2)


def checked_regions(rois: Tensor, kind: torch.dtype, batch: int) -> Tensor:
    """A kernel must not read outside the batch."""
    rois = rois.detach().to(kind).contiguous()
    if rois.shape[0]:
        low, high = rois[:, 0].min().item(), rois[:, 0].max().item()
        if not (low >= 0 and high < batch):
            raise ValueError(f"rois name pictures {low:g} to {high:g} of a batch of {batch}")
    return rois


if HAS_NUMBA:
    _roi_align.register_kernel("cpu")(_roi_align_cpu)
    _roi_align_backward.register_kernel("cpu")(_roi_align_backward_cpu)


@_roi_align.register_kernel("cuda")
def _roi_align_cuda(features: Tensor, rois: Tensor, *how: Any) -> Tensor:
    from ._triton import usable  # here, so that only programs that use a GPU load Triton

    if working_type(features) != torch.float32 or not usable(features.device):
        return _roi_align._init_fn(features, rois, *how)
    from .roi_align_triton import roi_align_triton

    return roi_align_triton(features, rois, *how)


@_roi_align_backward.register_kernel("cuda")
def _roi_align_backward_cuda(gradient: Tensor, rois: Tensor, *shape_and_how: Any) -> Tensor:
    from ._triton import usable

    if working_type(gradient) != torch.float32 or not usable(gradient.device):
        return _roi_align_backward._init_fn(gradient, rois, *shape_and_how)
    from .roi_align_triton import roi_align_backward_triton

    return roi_align_backward_triton(gradient, rois, *shape_and_how)


@serial
def axis_table(box, axis, scale, bins, samples, aligned, length):
    """The entries of `axis_weights` that are not zero, for one box: in each bin a run of neighbouring pixels.

    Coordinates are in the precision of `box`, in torchvision's order of operations, unfused: a sample that falls on
    the other side of an edge would be another result.

    Args: box (4) xyxy; axis 0 = x, 1 = y; length: pixels of that axis.
    Returns: first pixel of each bin (bins), number of pixels (bins), weights (bins, widest run).
    """
    T = box.dtype.type
    shift = T(0.5) if aligned else T(0)
    start = box[axis] * T(scale) - shift
    extent = box[2 + axis] * T(scale) - shift - start
    if not aligned:
        extent = max(extent, T(1))
    step = extent / T(bins)
    finite = math.isfinite(start) and math.isfinite(extent)
    n = samples if samples > 0 else math.ceil(step) if finite else 0
    first = np.zeros(bins, np.int64)
    count = np.zeros(bins, np.int64)
    weights = np.zeros((bins, int(min(abs(step), T(length))) + 3 if finite else 1), box.dtype)
    if n <= 0 or not finite:
        return first, count, weights
    share = T(1) / T(n)
    for p in range(bins):
        begin = start + T(p) * step
        # Positions rise (or, in an inverted region, fall) through the bin, so its two ends bound its pixels.
        one_end = begin + T(0.5) * step / T(n)
        other_end = begin + (T(n) - T(0.5)) * step / T(n)
        lowest = min(one_end, other_end)
        if max(one_end, other_end) < T(-1) or lowest > T(length):
            continue
        first[p] = min(int(max(lowest, T(0))), length - 1)
        for i in range(n):
            v = begin + (T(i) + T(0.5)) * step / T(n)
            if v < T(-1) or v > T(length):
                continue
            v = min(max(v, T(0)), T(length - 1))
            far = v - T(int(v))
            k = int(v) - first[p]
            weights[p, k] += (T(1) - far) * share
            if far > 0:
                k += 1
                weights[p, k] += far * share
            count[p] = max(count[p], k + 1)
    return first, count, weights


@parallel
def _forward_kernel(maps, rois, scale, samples, aligned, threads, out):
    """maps (B, H, W, C), rois (R, 5), out (R, h, w, C)."""
    _, map_height, map_width, _ = maps.shape
    regions, height, width, _ = out.shape
    for t in prange(threads):
        for r in range(t, regions, threads):  # interleaved: neighbours in the list are often of one size
            y, ny, wy = axis_table(rois[r, 1:], 1, scale, height, samples, aligned, map_height)
            x, nx, wx = axis_table(rois[r, 1:], 0, scale, width, samples, aligned, map_width)
            picture = maps[int(rois[r, 0])]
            for p in range(height):
                for q in range(width):
                    _gather(picture, y[p], ny[p], wy[p], x[q], nx[q], wx[q], out[r, p, q])


@serial_fused
def _gather(picture, y, ny, wy, x, nx, wx, out):
    """out (C) = sum of wy wx picture over a bin's rows and columns, four pixels at a time to spare loads of `out`."""
    channels = out.shape[0]
    out[:] = 0
    for i in range(ny):
        row = picture[y + i]
        for j in range(0, nx - 3, 4):
            a, b, c, d = row[x + j], row[x + j + 1], row[x + j + 2], row[x + j + 3]
            wa, wb, wc, wd = wy[i] * wx[j], wy[i] * wx[j + 1], wy[i] * wx[j + 2], wy[i] * wx[j + 3]
            for k in range(channels):
                out[k] += wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k]
        j = nx // 4 * 4
        if nx - j >= 2:
            a, b = row[x + j], row[x + j + 1]
            wa, wb = wy[i] * wx[j], wy[i] * wx[j + 1]
            for k in range(channels):
                out[k] += wa * a[k] + wb * b[k]
            j += 2
        if j < nx:
            a, wa = row[x + j], wy[i] * wx[j]
            for k in range(channels):
                out[k] += wa * a[k]


@parallel
def _backward_kernel(grads, rois, scale, samples, aligned, threads, out):
    """grads (R, h, w, C), rois (R, 5), out (B, H, W, C) of zeros.

    Each task owns a band of channels (of at least a cache line) of some of the pictures: no two write the same place,
    and every place sums its regions in their order, whatever the number of threads.
    """
    batch, map_height, map_width, channels = out.shape
    regions, height, width, _ = grads.shape
    bands = max(min(threads, channels // 16), 1)
    groups = max(min(threads // bands, batch), 1)
    for task in prange(bands * groups):
        band, group = task % bands, task // bands
        begin, end = channels * band // bands, channels * (band + 1) // bands
        for r in range(regions):
            b = int(rois[r, 0])
            if b % groups != group:
                continue
            y, ny, wy = axis_table(rois[r, 1:], 1, scale, height, samples, aligned, map_height)
            x, nx, wx = axis_table(rois[r, 1:], 0, scale, width, samples, aligned, map_width)
            for p in range(height):
                for q in range(width):
                    _scatter(grads[r, p, q, begin:end], y[p], ny[p], wy[p], x[q], nx[q], wx[q], out[b, :, :, begin:end])


@serial_fused
def _scatter(gradient, y, ny, wy, x, nx, wx, picture):
    for i in range(ny):
        for j in range(nx):
            pixel, w = picture[y + i, x + j], wy[i] * wx[j]
            for k in range(gradient.shape[0]):
                pixel[k] += w * gradient[k]
