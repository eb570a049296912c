"""Predicted masks back into the picture: each M x M map of probabilities stretched over its box, and thresholded.

The rule is torchvision's (Mask R-CNN, ICCV 2017, section 3.1, says only "resized to the RoI size"): the map gets a
border of one zero; the box grows about its centre by (M + 2) / M and is cut to integers toward zero; it covers the
pixels from x1 to x2, both included; the map is stretched over them bilinearly, pixel centres on pixel centres.

`paste_masks_rle` gives the same masks run-length encoded and never makes the bitmaps: it reads one column of a mask at
a time, and looks at single pixels only between two samples of which one is above the threshold and one below.

    counts, offsets = paste_masks_rle(probabilities, boxes, (480, 640))
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ._numba import HAS_NUMBA, parallel, prange, serial, use_torch_threads


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """Bitmaps of the predicted masks.

    Args:
        masks: (N, M, M) probabilities.
        boxes: (N, 4) xyxy, pixels of the picture; may reach outside it.
        size: (H, W) of the picture.
        threshold: a pixel is inside if its probability is at least this; > 0, since outside the box it is 0.
    Returns:
        (N, H, W) uint8 of 0 and 1.
    Raises:
        ValueError: shapes that do not fit, or a threshold that is not > 0.
    """
    _check(masks, boxes, threshold)
    return _paste_masks(masks, boxes, size[0], size[1], float(threshold))


def paste_masks_rle(
    masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5
) -> tuple[Tensor, Tensor]:
    """As `paste_masks`, run-length encoded (see `rle`): counts and offsets (N + 1), int64, on the CPU."""
    _check(masks, boxes, threshold)
    maps, places = _prepared(masks.cpu(), boxes.cpu())
    use_torch_threads()
    threshold = maps.dtype.type(threshold)
    offsets = np.zeros(len(maps) + 1, np.int64)
    # Once to count the runs, once to write them: cheaper than to gather pieces of unknown length from the threads.
    _runs_kernel(maps, places, size[0], size[1], threshold, offsets, np.empty(0, np.int64), offsets[1:])
    offsets = np.cumsum(offsets)
    counts = np.empty(offsets[-1], np.int64)
    _runs_kernel(maps, places, size[0], size[1], threshold, offsets, counts, np.empty(len(maps), np.int64))
    return torch.from_numpy(counts), torch.from_numpy(offsets)


def _check(masks: Tensor, boxes: Tensor, threshold: float) -> None:
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2] or masks.shape[1] < 1 or boxes.shape != (masks.shape[0], 4):
        raise ValueError(
            f"paste_masks: masks have shape {tuple(masks.shape)}, expected (N, M, M); boxes {tuple(boxes.shape)}, "
            f"expected ({masks.shape[0]}, 4)"
        )
    if not threshold > 0:
        raise ValueError(f"paste_masks: threshold is {threshold}, expected a number > 0")


def _places(boxes: Tensor, side: int) -> Tensor:
    """Grown boxes in whole pixels, (N, 4) int64."""
    scale = (side + 2) / side
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * scale
    centre = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    # A box that is not finite must not become an undefined integer.
    return torch.cat([centre - half, centre + half], 1).nan_to_num(0).clamp(-(2.0**30), 2.0**30).to(torch.int64)


@torch.library.custom_op("videre::paste_masks", mutates_args=())
def _paste_masks(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float) -> Tensor:
    out = masks.new_zeros((masks.shape[0], height, width), dtype=torch.uint8)
    padded = functional.pad(masks if masks.dtype == torch.float64 else masks.float(), (1, 1, 1, 1))
    for n, (x1, y1, x2, y2) in enumerate(_places(boxes, masks.shape[1]).tolist()):
        shape = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        stretched = functional.interpolate(padded[n, None, None], shape, mode="bilinear")[0, 0]
        top, bottom, left, right = max(y1, 0), min(y2 + 1, height), max(x1, 0), min(x2 + 1, width)
        if top < bottom and left < right:
            inside = stretched[top - y1 : bottom - y1, left - x1 : right - x1]
            out[n, top:bottom, left:right] = inside >= threshold
    return out


@_paste_masks.register_fake
def _(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float) -> Tensor:
    return masks.new_empty((masks.shape[0], height, width), dtype=torch.uint8)


def _prepared(masks: Tensor, boxes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Padded maps (N, M + 2, M + 2) and grown boxes (N, 4) for the kernels."""
    masks = masks.detach() if masks.dtype == torch.float64 else masks.detach().float()
    padded = functional.pad(masks, (1, 1, 1, 1)).contiguous()
    boxes = boxes.detach() if boxes.is_floating_point() else boxes.float()
    return padded.numpy(), _places(boxes, masks.shape[1]).numpy()


def _paste_masks_cpu(masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float) -> Tensor:
    out = torch.zeros((masks.shape[0], height, width), dtype=torch.uint8)
    if out.numel():
        use_torch_threads()
        maps, places = _prepared(masks, boxes)
        _paste_kernel(maps, places, maps.dtype.type(threshold), out.numpy())
    return out


if HAS_NUMBA:
    _paste_masks.register_kernel("cpu")(_paste_masks_cpu)


@serial
def _axis(first, last, length, samples, dtype):
    """The pixels of one axis that a stretched map covers, and what each reads, as torch's interpolate computes it.

    Returns begin and end of the covered pixels inside the picture; for each of them the lower sample and the weight
    of the upper one (0 at the border, where there is none).
    """
    T = dtype.type
    count = max(last - first + 1, 1)
    begin, end = min(max(first, 0), length), min(last + 1, length)
    end = max(end, begin)  # nothing of an inverted box
    scale = T(samples) / T(count)
    lower = np.empty(end - begin, np.int64)
    weight = np.empty(end - begin, dtype)
    for i in range(end - begin):
        at = max(scale * (T(begin + i - first) + T(0.5)) - T(0.5), T(0))
        k = min(int(at), samples - 1)
        lower[i] = k
        weight[i] = at - T(k) if k < samples - 1 else T(0)
    return begin, end, lower, weight


@parallel
def _paste_kernel(maps, places, threshold, out):
    side = maps.shape[1]
    one = threshold / threshold
    for n in prange(maps.shape[0]):
        x1, y1, x2, y2 = places[n]
        left, right, column, far_x = _axis(x1, x2, out.shape[2], side, maps.dtype)
        top, bottom, row, far_y = _axis(y1, y2, out.shape[1], side, maps.dtype)
        wide = np.empty((side, right - left), maps.dtype)  # stretched along x only
        for k in range(side):
            for i in range(right - left):
                a, b = maps[n, k, column[i]], maps[n, k, min(column[i] + 1, side - 1)]
                wide[k, i] = (one - far_x[i]) * a + far_x[i] * b
        for y in range(top, bottom):
            k, f = row[y - top], far_y[y - top]
            upper, lower, line = wide[k], wide[min(k + 1, side - 1)], out[n, y, left:right]
            for i in range(right - left):
                line[i] = (one - f) * upper[i] + f * lower[i] >= threshold


@parallel
def _runs_kernel(maps, places, height, width, threshold, offsets, counts, totals):
    """Runs of each mask into counts, from its offset on; if counts is empty, only how many they are, into totals."""
    for n in prange(maps.shape[0]):
        out = counts[offsets[n] : offsets[n + 1]] if counts.shape[0] > 0 else counts
        totals[n] = _runs(maps[n], places[n], height, width, threshold, out)


@serial
def _runs(samples, place, height, width, threshold, counts):
    side = samples.shape[0]
    one = threshold / threshold
    left, right, column, far_x = _axis(place[0], place[2], width, side, samples.dtype)
    top, bottom, row, far_y = _axis(place[1], place[3], height, side, samples.dtype)
    # first[k]: the first pixel row whose lower sample is k or later
    first = np.full(side + 1, bottom, np.int64)
    for y in range(bottom - 1, top - 1, -1):
        first[row[y - top]] = y
    for k in range(side - 1, -1, -1):
        first[k] = min(first[k], first[k + 1])
    values = np.empty(side + 1, samples.dtype)
    write = counts.shape[0] > 0
    used, begin, end, inside = 0, 0, 0, False
    for x in range(left, right):
        c, f = column[x - left], far_x[x - left]
        d = min(c + 1, side - 1)
        for k in range(side):
            values[k] = (one - f) * samples[k, c] + f * samples[k, d]
        values[side] = values[side - 1]
        for k in range(side):
            if first[k] == first[k + 1]:
                continue
            a, b = values[k], values[k + 1]
            slack = (abs(a) + abs(b)) * 4e-7  # more than the blend can round
            if a + slack < threshold and b + slack < threshold:
                continue  # all outside
            all_inside = a - slack > threshold and b - slack > threshold
            for y in range(first[k], first[k + 1]):
                if all_inside or (one - far_y[y - top]) * a + far_y[y - top] * b >= threshold:
                    stop = first[k + 1] if all_inside else y + 1
                    if not (inside and end == x * height + y):  # a new run; the one before ends where it ended
                        if inside:
                            if write:
                                counts[used] = end - begin
                            used += 1
                        if write:
                            counts[used] = x * height + y - end
                        used += 1
                        begin, inside = x * height + y, True
                    end = x * height + stop
                    if all_inside:
                        break
    if inside:
        if write:
            counts[used] = end - begin
        used += 1
    if end < height * width or not inside:
        if write:
            counts[used] = height * width - end
        used += 1
    return used
