"""Heatmaps of keypoints to points: the peak of each map, at the resolution of the box that it lies over.

The rule is detectron2's (Mask R-CNN, ICCV 2017, section 5, says only that each map is a one-hot target): the map is
resized (bicubic) to the box rounded up to whole pixels and its largest value taken; the score is the softmax of the map
at that peak, capped at 1, since the bicubic peak can exceed the map.

The CPU kernel never makes the resized maps: it stretches a map along x, then makes one row of pixels after the other and
keeps the best value of each column.

    points, scores = decode_keypoints(logits, boxes)
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ._numba import HAS_NUMBA, parallel_fused, prange, serial_fused, use_torch_threads


@torch.library.custom_op("videre::decode_keypoints", mutates_args=())
def decode_keypoints(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The peak of each keypoint's map.

    Args:
        maps: float [D, J, S, S] logits. boxes: float [D, 4] xyxy.

    Returns:
        points [D, J, 2] in the boxes' frame, scores [D, J] in [0, 1].
    """
    peaks = maps.new_empty(maps.shape[:2])
    cells = torch.empty(maps.shape[:2], dtype=torch.int64, device=maps.device)
    for i, (width, height) in enumerate(_sizes(boxes).tolist()):
        fine = functional.interpolate(maps[i : i + 1], size=(height, width), mode="bicubic", align_corners=False)[0]
        peaks[i], cells[i] = fine.flatten(1).max(dim=1)
    return _located(maps, boxes, peaks, cells)


@decode_keypoints.register_fake
def _(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    return maps.new_empty((*maps.shape[:2], 2)), maps.new_empty(maps.shape[:2])


def _sides(boxes: Tensor) -> Tensor:
    """Width and height, (D, 2), at least a pixel each."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)


def _sizes(boxes: Tensor) -> Tensor:
    """Whole pixels over which the maps are stretched, (D, 2) int64: width, height."""
    sides = _sides(boxes)
    if not sides.isfinite().all():
        raise ValueError("decode_keypoints: boxes must be finite")
    return sides.ceil().to(torch.int64)


def _located(maps: Tensor, boxes: Tensor, peaks: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Points and scores from the largest values, (D, J), and the pixels y * width + x where they are."""
    sizes = _sizes(boxes)[:, None]  # (D, 1, 2)
    width = sizes[..., 0]
    offset = torch.stack([cells % width, cells // width], dim=2) + 0.5
    points = boxes[:, None, :2] + offset * _sides(boxes)[:, None] / sizes
    scores = (peaks - maps.flatten(2).logsumexp(dim=2)).exp().clamp(max=1)
    return points.to(maps.dtype), scores


def _decode_keypoints_cpu(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    values = (maps.detach() if maps.dtype == torch.float64 else maps.detach().float()).contiguous()
    peaks = values.new_empty(maps.shape[:2])
    cells = torch.empty(maps.shape[:2], dtype=torch.int64)
    if peaks.numel():
        threads = use_torch_threads()
        _peak_kernel(values.numpy(), _sizes(boxes).numpy(), threads, peaks.numpy(), cells.numpy())
    points, scores = _located(values, boxes, peaks, cells)
    return points.to(maps.dtype), scores.to(maps.dtype)


if HAS_NUMBA:
    decode_keypoints.register_kernel("cpu")(_decode_keypoints_cpu)


@parallel_fused
def _peak_kernel(maps, sizes, threads, peaks, cells):
    detections, joints = peaks.shape
    for t in prange(threads):
        for n in range(t, detections * joints, threads):
            d, j = divmod(n, joints)
            peaks[d, j], cells[d, j] = _peak(maps[d, j], sizes[d, 0], sizes[d, 1])


@serial_fused
def _peak(samples, width, height):
    """Largest value of a map (S, S) stretched over (height, width), and its pixel y * width + x: of equals the first."""
    side = samples.shape[0]
    column, across = _cubic(side, width, samples.dtype)
    wide = np.empty((side, width), samples.dtype)  # stretched along x only
    for k in range(side):
        line, out = samples[k], wide[k]
        for x in range(width):
            out[x] = (
                across[0, x] * line[column[0, x]]
                + across[1, x] * line[column[1, x]]
                + across[2, x] * line[column[2, x]]
                + across[3, x] * line[column[3, x]]
            )
    # The best of each column and its row: unlike one best of all, vector instructions can keep these.
    best = np.full(width, -np.inf, samples.dtype)
    place = np.zeros(width, np.int32)
    row, down = _cubic(side, height, samples.dtype)
    for y in range(height):
        a, b, c, d = wide[row[0, y]], wide[row[1, y]], wide[row[2, y]], wide[row[3, y]]
        p, q, r, s = down[0, y], down[1, y], down[2, y], down[3, y]
        for x in range(width):
            value = p * a[x] + q * b[x] + r * c[x] + s * d[x]
            better = value > best[x]
            best[x] = value if better else best[x]
            place[x] = y if better else place[x]
    first = 0
    for x in range(1, width):
        if best[x] > best[first] or (best[x] == best[first] and place[x] < place[first]):
            first = x
    return best[first], place[first] * width + first


@serial_fused
def _cubic(samples, count, dtype):
    """The four samples of an axis that each of `count` pixels reads, and their weights, (4, count).

    As torch's interpolate computes them: pixel centres on pixel centres, the border repeated.
    """
    T = dtype.type
    half, one = T(0.5), T(1)
    scale = T(samples) / T(count)
    index = np.empty((4, count), np.int64)
    weight = np.empty((4, count), dtype)
    for i in range(count):
        at = scale * (T(i) + half) - half
        k = int(np.floor(at))
        before = at - T(k)
        after = one - before
        for tap in range(4):
            index[tap, i] = min(max(k - 1 + tap, 0), samples - 1)
        weight[0, i], weight[1, i] = _far(before + one, T), _near(before, T)
        weight[2, i], weight[3, i] = _near(after, T), _far(after + one, T)
    return index, weight


@serial_fused
def _near(x, T):
    """Cubic convolution with a = -0.75 at a distance of 0 to 1: (a + 2) x^3 - (a + 3) x^2 + 1."""
    return (T(1.25) * x - T(2.25)) * x * x + T(1)


@serial_fused
def _far(x, T):
    """At a distance of 1 to 2: a x^3 - 5a x^2 + 8a x - 4a."""
    return ((T(-0.75) * x + T(3.75)) * x - T(6)) * x + T(3)
