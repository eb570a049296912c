"""Mask training targets: RoIAlign of ground-truth masks, without whole bitmaps.

Mask R-CNN trains on the picture's binary mask resampled under each proposal (torchvision: RoIAlign of the bitmap at
scale 1, adaptive sampling, not aligned; soft values between 0 and 1). The masks come as cropped bitmaps (see `rle`),
and only the pixels that are both in the crop and under the region are read.

    targets = crop_masks(pixels, offsets, windows, (480, 640), proposals, matched, 28)
"""

import numpy as np
import torch
from torch import Tensor

from ._numba import HAS_NUMBA, parallel, prange, serial, use_torch_threads
from .rle import check_crops
from .roi_align import _roi_align, axis_table


def crop_masks(
    pixels: Tensor,
    offsets: Tensor,
    windows: Tensor,
    size: tuple[int, int],
    rois: Tensor,
    index: Tensor,
    resolution: int,
    sampling_ratio: int = 0,
    aligned: bool = False,
) -> Tensor:
    """Resample one mask under each region.

    Args:
        pixels: (S) uint8 of 0 and 1, the crops of N masks row by row. offsets: (N + 1) int64.
        windows: (N, 4) int64 x1, y1, x2, y2 that the crops cover, inside the picture; outside them the mask is 0.
        size: (H, W) of the picture.
        rois: (R, 4) xyxy, pixels of the picture.
        index: (R) int64, which mask each region looks at.
        resolution: M, side of the result.
        sampling_ratio, aligned: as in `roi_align`.
    Returns:
        (R, M, M) float32: `roi_align(bitmaps, rois, M, 1.0, sampling_ratio, aligned)` of each region's own bitmap.
    Raises:
        ValueError: shapes that do not fit, a window outside the picture, or an index outside 0 .. N-1.
    """
    check_crops("crop_masks", pixels, offsets, windows)
    if rois.ndim != 2 or rois.shape[1] != 4 or index.shape != rois.shape[:1]:
        raise ValueError(f"crop_masks: rois {tuple(rois.shape)} and index {tuple(index.shape)} must be (R, 4) and (R)")
    height, width = size
    if len(windows) and ((windows < 0).any() or (windows[:, 2] > width).any() or (windows[:, 3] > height).any()):
        raise ValueError(f"crop_masks: a window reaches outside the picture of {height} x {width} pixels")
    if len(index) and not (int(index.min()) >= 0 and int(index.max()) < len(windows)):
        raise ValueError(f"crop_masks: index names masks {int(index.min())} to {int(index.max())} of {len(windows)}")
    return _crop_masks(pixels, offsets, windows, height, width, rois, index, resolution, sampling_ratio, aligned)


@torch.library.custom_op("videre::crop_masks", mutates_args=())
def _crop_masks(
    pixels: Tensor,
    offsets: Tensor,
    windows: Tensor,
    height: int,
    width: int,
    rois: Tensor,
    index: Tensor,
    resolution: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    bitmaps = torch.zeros((len(windows), 1, height, width), device=rois.device)
    for n, (x1, y1, x2, y2) in enumerate(windows.tolist()):
        bitmaps[n, 0, y1:y2, x1:x2] = pixels[offsets[n] : offsets[n + 1]].reshape(y2 - y1, x2 - x1)
    regions = torch.cat([index[:, None].to(rois.device, torch.float32), rois.float()], 1)
    return _roi_align(bitmaps, regions, resolution, resolution, 1.0, samples, aligned)[:, 0].contiguous()


@_crop_masks.register_fake
def _(
    pixels: Tensor,
    offsets: Tensor,
    windows: Tensor,
    height: int,
    width: int,
    rois: Tensor,
    index: Tensor,
    resolution: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    return rois.new_empty((rois.shape[0], resolution, resolution), dtype=torch.float32)


def _crop_masks_cpu(
    pixels: Tensor,
    offsets: Tensor,
    windows: Tensor,
    height: int,
    width: int,
    rois: Tensor,
    index: Tensor,
    resolution: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    out = torch.zeros((rois.shape[0], resolution, resolution))
    whole = (x.to("cpu", torch.int64).contiguous().numpy() for x in (offsets, windows, index))
    boxes = rois.detach().float().contiguous().numpy()
    flat = pixels.cpu().contiguous().numpy()
    if out.numel():
        _crop_kernel(flat, *whole, height, width, boxes, samples, aligned, use_torch_threads(), out.numpy())
    return out


if HAS_NUMBA:
    _crop_masks.register_kernel("cpu")(_crop_masks_cpu)


@parallel
def _crop_kernel(pixels, offsets, windows, index, height, width, rois, samples, aligned, threads, out):
    regions, side, _ = out.shape
    for t in prange(threads):
        for r in range(t, regions, threads):
            n = index[r]
            x1, y1, x2, y2 = windows[n]
            if x2 > x1 and y2 > y1:
                crop = pixels[offsets[n] : offsets[n + 1]].reshape((y2 - y1, x2 - x1))
                y, ny, wy = axis_table(rois[r], 1, 1.0, side, samples, aligned, height)
                x, nx, wx = axis_table(rois[r], 0, 1.0, side, samples, aligned, width)
                _resample(crop, x1, y1, y, ny, wy, x, nx, wx, out[r])


@serial
def _resample(crop, left, top, y, ny, wy, x, nx, wx, out):
    """out (M, M) of zeros; first the rows of a bin become one row, then its columns one number."""
    height, width = crop.shape
    first, last = width, 0  # the columns of the crop that any bin reads
    for q in range(out.shape[1]):
        if nx[q] > 0:
            first, last = min(first, max(x[q] - left, 0)), max(last, min(x[q] + nx[q] - left, width))
    row = np.empty(width, out.dtype)
    for p in range(out.shape[0]):
        begin, end = max(y[p], top), min(y[p] + ny[p], top + height)
        if begin >= end or first >= last:
            continue
        row[first:last] = 0
        for i in range(begin, end):
            w, line = wy[p, i - y[p]], crop[i - top]
            for j in range(first, last):
                row[j] += w * out.dtype.type(line[j])
        for q in range(out.shape[1]):
            total = out.dtype.type(0)
            for j in range(max(x[q], left), min(x[q] + nx[q], left + width)):
                total += wx[q, j - x[q]] * row[j - left]
            out[p, q] = total
