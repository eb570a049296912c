"""Position-sensitive RoIAlign: each bin of a box reads a group of channels of its own.

Dai et al., R-FCN, NeurIPS 2016, section 2: the maps hold, for every class, one score map for each place of a k x k grid;
bin (i, j) looks at the maps of place (i, j) only. Bilinear samples as in RoIAlign (Mask R-CNN, 2017); the rule is that
of torchvision, `aligned` and without a least size.

    scores = ps_roi_align(maps, torch.cat([picture_index, boxes], 1), 7, spatial_scale=1 / 16)   # (R, C, 7, 7)
"""

import torch
from torch import Tensor

from ._numba import HAS_NUMBA, Kernel, parallel, prange, use_torch_threads
from .roi_align import _roi_align, _roi_align_backward, axis_table, check_rois, checked_regions, working_type


def ps_roi_align(features: Tensor, rois: Tensor, size: int, spatial_scale: float, sampling_ratio: int = 0) -> Tensor:
    """Resample for each bin of each region the channels that belong to the bin.

    Differentiable in the features; not in the rois.

    Args:
        features: (B, C * size * size, H, W) floating point; channel (c * size + i) * size + j belongs to output c and
            bin (i, j). rois: (R, 5) rows of picture index, x1, y1, x2, y2; pixels of the picture.
        size: bins along each axis. spatial_scale: pixels of the feature map per pixel of the picture.
        sampling_ratio: samples per bin along each axis; 0 adapts to the region, ceil(side / bins).
    Returns:
        (R, C, size, size), dtype of `features`.
    Raises:
        ValueError: shapes or dtypes that do not fit, or channels that the bins do not divide.
    Convention: as `roi_align` with `aligned=True`.
    """
    check_grouped("ps_roi_align", features, rois, size)
    return _ps_roi_align(features, rois, size, float(spatial_scale), sampling_ratio)


def check_grouped(name: str, features: Tensor, rois: Tensor, size: int) -> None:
    check_rois(name, features, rois, size, size)
    if features.shape[1] % size**2:
        raise ValueError(f"{name}: {features.shape[1]} channels are not a multiple of {size} x {size} bins")


# ---------------------------------------------------------------------------------------------- definition


@torch.library.custom_op("videre::ps_roi_align", mutates_args=())
def _ps_roi_align(features: Tensor, rois: Tensor, size: int, scale: float, samples: int) -> Tensor:
    return take_places(_roi_align._init_fn(features, rois, size, size, scale, samples, True), size)


@torch.library.custom_op("videre::ps_roi_align_backward", mutates_args=())
def _ps_roi_align_backward(
    gradient: Tensor, rois: Tensor, batch: int, height: int, width: int, scale: float, samples: int
) -> Tensor:
    whole = put_places(gradient)
    return _roi_align_backward._init_fn(whole, rois, batch, height, width, scale, samples, True)


def take_places(pooled: Tensor, size: int) -> Tensor:
    """(R, C * size^2, size, size) -> (R, C, size, size): of bin (i, j) the channels of place (i, j)."""
    grouped = pooled.unflatten(1, (-1, size, size))  # (R, C, place i, place j, bin i, bin j)
    return torch.einsum("rcijij->rcij", grouped).contiguous()


def put_places(gradient: Tensor) -> Tensor:
    """The reverse of `take_places`, zeros elsewhere."""
    regions, channels, size, _ = gradient.shape
    whole = gradient.new_zeros((regions, channels, size, size, size, size))
    torch.einsum("rcijij->rcij", whole).copy_(gradient)
    return whole.flatten(1, 3)


@_ps_roi_align.register_fake
def _(features: Tensor, rois: Tensor, size: int, scale: float, samples: int) -> Tensor:
    return features.new_empty((rois.shape[0], features.shape[1] // size**2, size, size))


@_ps_roi_align_backward.register_fake
def _(gradient: Tensor, rois: Tensor, batch: int, height: int, width: int, scale: float, samples: int) -> Tensor:
    channels = gradient.shape[1] * gradient.shape[2] ** 2
    return gradient.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2)


def _save(ctx, inputs, output):
    features, rois, _, *ctx.how = inputs
    ctx.save_for_backward(rois)
    ctx.shape = features.shape


def _differentiate(ctx, gradient):
    (rois,) = ctx.saved_tensors
    batch, _, height, width = ctx.shape
    return _ps_roi_align_backward(gradient, rois, batch, height, width, *ctx.how), *[None] * 4


_ps_roi_align.register_autograd(_differentiate, setup_context=_save)


# ---------------------------------------------------------------------------------------------- CPU kernels


def gather(kernel: Kernel, features: Tensor, rois: Tensor, size: int, *how: float) -> Tensor:
    """Run a forward kernel(maps, rois, *how, out) on (B, H, W, C * size^2) into (R, C, size, size)."""
    kind = working_type(features)
    maps = features.detach().to(kind).permute(0, 2, 3, 1).contiguous()
    regions = checked_regions(rois, kind, maps.shape[0])
    out = maps.new_empty((rois.shape[0], maps.shape[3] // size**2, size, size))
    if out.numel():
        use_torch_threads()
        kernel(maps.numpy(), regions.numpy(), *how, out.numpy())
    return out.to(features.dtype)


def scatter(kernel: Kernel, gradient: Tensor, rois: Tensor, shape: tuple[int, int, int], *how: float) -> Tensor:
    """Run a backward kernel(gradient, rois, *how, out) into zeros of shape (B, H, W)."""
    kind = working_type(gradient)
    regions = checked_regions(rois, kind, shape[0])
    out = gradient.new_zeros((*shape, gradient.shape[1] * gradient.shape[2] ** 2), dtype=kind)
    if out.numel() and gradient.numel():
        use_torch_threads()
        kernel(gradient.detach().to(kind).contiguous().numpy(), regions.numpy(), *how, out.numpy())
    return out.to(gradient.dtype).permute(0, 3, 1, 2)


def _ps_roi_align_cpu(features: Tensor, rois: Tensor, size: int, scale: float, samples: int) -> Tensor:
    return gather(_forward_kernel, features, rois, size, scale, samples)


def _ps_roi_align_backward_cpu(
    gradient: Tensor, rois: Tensor, batch: int, height: int, width: int, scale: float, samples: int
) -> Tensor:
    return scatter(_backward_kernel, gradient, rois, (batch, height, width), scale, samples)


if HAS_NUMBA:
    _ps_roi_align.register_kernel("cpu")(_ps_roi_align_cpu)
    _ps_roi_align_backward.register_kernel("cpu")(_ps_roi_align_backward_cpu)


@parallel
def _forward_kernel(maps, rois, scale, samples, out):
    """maps (B, H, W, C * size^2), rois (R, 5), out (R, C, size, size)."""
    _, height, width, _ = maps.shape
    regions, channels, size, _ = out.shape
    for r in prange(regions):
        y, ny, wy = axis_table(rois[r, 1:], 1, scale, size, samples, True, height)
        x, nx, wx = axis_table(rois[r, 1:], 0, scale, size, samples, True, width)
        picture = maps[int(rois[r, 0])]
        for i in range(size):
            for j in range(size):
                for c in range(channels):
                    out[r, c, i, j] = 0
                for p in range(ny[i]):
                    for q in range(nx[j]):
                        pixel, weight = picture[y[i] + p, x[j] + q], wy[i, p] * wx[j, q]
                        for c in range(channels):
                            out[r, c, i, j] += weight * pixel[(c * size + i) * size + j]


@parallel
def _backward_kernel(gradient, rois, scale, samples, out):
    """gradient (R, C, size, size), rois (R, 5), out (B, H, W, C * size^2) of zeros.

    Each task owns the channels of one bin: no two write the same place, and every place sums its regions in order.
    """
    _, height, width, _ = out.shape
    regions, channels, size, _ = gradient.shape
    for place in prange(size * size):
        i, j = place // size, place % size
        for r in range(regions):
            y, ny, wy = axis_table(rois[r, 1:], 1, scale, size, samples, True, height)
            x, nx, wx = axis_table(rois[r, 1:], 0, scale, size, samples, True, width)
            for p in range(ny[i]):
                for q in range(nx[j]):
                    pixel = out[int(rois[r, 0]), y[i] + p, x[j] + q]
                    weight = wy[i, p] * wx[j, q]
                    for c in range(channels):
                        pixel[(c * size + i) * size + j] += weight * gradient[r, c, i, j]
