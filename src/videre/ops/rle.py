"""Run-length encoded masks, as COCO writes them.

A mask of H x W pixels is read column by column, top to bottom; its counts are the lengths of the runs, of zeros and of
ones in turn, beginning with zeros (which may be none). The counts of N masks lie one after the other in one tensor:
mask i is `counts[offsets[i] : offsets[i + 1]]`, both int64. Cropped bitmaps lie likewise in one uint8 tensor `pixels`,
row by row, with `windows` (N, 4) that say which x1, y1, x2, y2 (integers, right and bottom excluded) they cover.

Everything here lives on the CPU, in one thread without the interpreter lock, so that data loaders may call it from
threads and processes. The compressed text, areas, boxes, overlaps and unions equal those of pycocotools.

    counts, offsets = rle_encode(bitmaps)
    text = rle_to_string(counts[offsets[0] : offsets[1]])
"""

import numpy as np
import torch
from torch import Tensor

from ._numba import serial

Runs = tuple[Tensor, Tensor]  # counts, offsets
Size = tuple[int, int]  # height, width

MOST_PIXELS = 2**53
"""Of a mask whose picture is not known; kernels count in 64 bits."""


def rle_encode(bitmaps: Tensor) -> Runs:
    """Encode whole bitmaps.

    Args:
        bitmaps: (N, H, W) uint8 or bool; anything but 0 is inside.
    Returns:
        counts (S) and offsets (N + 1), int64.
    Raises:
        ValueError: not three axes, or another dtype.
    """
    if bitmaps.ndim != 3 or bitmaps.dtype not in (torch.uint8, torch.bool):
        raise ValueError(f"rle_encode: bitmaps are {tuple(bitmaps.shape)} {bitmaps.dtype}, expected (N, H, W) uint8")
    n, height, width = bitmaps.shape
    offsets = torch.arange(n + 1) * (height * width)
    windows = torch.tensor([0, 0, width, height]).repeat(n, 1)
    return rle_from_crops(bitmaps.view(torch.uint8).reshape(-1), offsets, windows, (height, width))


def rle_from_crops(pixels: Tensor, offsets: Tensor, windows: Tensor, size: Size) -> Runs:
    """Encode cropped bitmaps, without making whole ones.

    Args:
        pixels: (S) uint8. offsets: (N + 1) int64. windows: (N, 4) int64 inside the picture.
        size: (H, W) of the picture.
    Returns:
        counts and offsets (N + 1), int64.
    Raises:
        ValueError: windows that do not fit the pixels or the picture.
    """
    check_crops("rle_from_crops", pixels, offsets, windows)
    if len(windows) and ((windows < 0).any() or (windows[:, 2] > size[1]).any() or (windows[:, 3] > size[0]).any()):
        raise ValueError(f"rle_from_crops: a window reaches outside the picture of {size[0]} x {size[1]} pixels")
    kernel_args = _array(pixels, torch.uint8), _array(offsets), _array(windows), size[0], size[1]
    counts, starts = _encode_kernel(*kernel_args)
    return torch.from_numpy(counts), torch.from_numpy(starts)


def rle_decode(counts: Tensor, offsets: Tensor, size: Size) -> Tensor:
    """Whole bitmaps (N, H, W), uint8 of 0 and 1. Raises ValueError if the runs do not fill the picture."""
    runs = _checked("rle_decode", counts, offsets, size)
    bitmaps = torch.zeros((runs[1].shape[0] - 1, *size), dtype=torch.uint8)
    _decode_kernel(*runs, bitmaps.numpy())
    return bitmaps


def rle_area(counts: Tensor, offsets: Tensor) -> Tensor:
    """Pixels inside each mask, (N) int64."""
    return torch.from_numpy(_area_kernel(*_checked("rle_area", counts, offsets)))


def rle_boxes(counts: Tensor, offsets: Tensor, size: Size) -> Tensor:
    """Tight boxes (N, 4), float32, xyxy with right and bottom edges excluded; an empty mask gives 0, 0, 0, 0."""
    return torch.from_numpy(_boxes_kernel(*_checked("rle_boxes", counts, offsets, size), size[0]))


def rle_crop(counts: Tensor, offsets: Tensor, size: Size, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Cut a window out of each mask, without making whole bitmaps.

    Args:
        counts, offsets: N masks. size: (H, W) of the picture.
        windows: (N, 4) integers x1, y1, x2, y2; what lies outside the picture is 0; a window may be empty.
    Returns:
        pixels (S) uint8 and offsets (N + 1) int64.
    Raises:
        ValueError: windows that are not (N, 4) integers, or runs that do not fill the picture.
    """
    runs = _checked("rle_crop", counts, offsets, size)
    if windows.shape != (runs[1].shape[0] - 1, 4) or windows.is_floating_point():
        raise ValueError(f"rle_crop: windows are {tuple(windows.shape)} {windows.dtype}, expected (N, 4) integers")
    sides = (windows[:, 2:] - windows[:, :2]).long().cpu().clamp(min=0)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), sides.prod(1).cumsum(0)])
    pixels = torch.zeros(int(starts[-1]), dtype=torch.uint8)
    _crop_kernel(*runs, size[0], _array(windows), starts.numpy(), pixels.numpy())
    return pixels, starts


def rle_merge(counts: Tensor, offsets: Tensor, intersect: bool = False) -> Tensor:
    """Union, or intersection, of all the masks: the counts (K) of one mask. Raises ValueError if there is none."""
    runs = _checked("rle_merge", counts, offsets)
    if runs[1].shape[0] < 2:
        raise ValueError("rle_merge: there is no mask to merge")
    return torch.from_numpy(_merge_kernel(*runs, INTERSECTION if intersect else UNION))


def rle_iou(a: Runs, b: Runs, crowd: Tensor | None = None) -> Tensor:
    """Overlap of every pair of masks of one picture.

    Args:
        a: counts and offsets of N masks, the predictions.
        b: counts and offsets of M masks, the truth.
        crowd: (M) bool; for a crowd the overlap is intersection / area of `a`, as COCO rules.
    Returns:
        (N, M) float64, intersection over union; 0 where both are empty.
    Raises:
        ValueError: masks of different sizes, or crowd that is not (M).
    """
    first, second = _checked("rle_iou", *a), _checked("rle_iou", *b)
    n, m = first[1].shape[0] - 1, second[1].shape[0] - 1
    crowd = torch.zeros(m, dtype=torch.bool) if crowd is None else crowd.cpu().bool()
    if crowd.shape != (m,):
        raise ValueError(f"rle_iou: crowd has shape {tuple(crowd.shape)}, expected ({m},)")
    out = torch.zeros((n, m), dtype=torch.float64)
    if not _iou_kernel(*first, *second, crowd.numpy(), out.numpy()):
        raise ValueError("rle_iou: the masks do not all have the same number of pixels")
    return out


def rle_to_string(counts: Tensor) -> bytes:
    """Compress the counts (K) of one mask as COCO does: 5 bits a character, differences to the count before last."""
    return _to_string_kernel(_array(counts)).tobytes()


def rle_from_string(text: bytes) -> Tensor:
    """Counts (K) int64 of COCO's compressed text. Raises ValueError if the text is cut off or not of this kind."""
    counts, good = _from_string_kernel(np.frombuffer(text, np.uint8).astype(np.int64))
    if not good:
        raise ValueError(f"rle_from_string: {text[:40]!r} is not compressed run lengths")
    return torch.from_numpy(counts)


# -------------------------------------------------------------------------------------------------- checks


def _array(x: Tensor, dtype: torch.dtype = torch.int64) -> np.ndarray:
    return x.detach().to("cpu", dtype).contiguous().numpy()


def _checked(name: str, counts: Tensor, offsets: Tensor, size: Size | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Arrays of counts and offsets; a kernel must not write outside the picture."""
    c, o = _array(counts), _array(offsets)
    if c.ndim != 1 or o.ndim != 1 or len(o) < 1 or o[0] != 0 or o[-1] != len(c):
        raise ValueError(f"{name}: offsets {o.shape} do not divide counts {c.shape}")
    bad = _first_bad(c, o, -1 if size is None else size[0] * size[1])
    if bad >= 0:
        total = sum(c[o[bad] : o[bad + 1]].tolist())
        raise ValueError(
            f"{name}: mask {bad} has negative runs, or runs of {total} pixels in all; the picture is {size}"
        )
    return c, o


def check_crops(name: str, pixels: Tensor, offsets: Tensor, windows: Tensor) -> None:
    """Raise ValueError unless each window has as many pixels as its offsets say."""
    if windows.ndim != 2 or windows.shape[1] != 4 or offsets.shape != (windows.shape[0] + 1,):
        raise ValueError(
            f"{name}: windows {tuple(windows.shape)} and offsets {tuple(offsets.shape)}, expected (N, 4) and (N + 1)"
        )
    sides = (windows[:, 2:] - windows[:, :2]).long()
    if (
        (sides < 0).any()
        or int(offsets[0])
        or (sides.prod(1) != offsets.diff()).any()
        or int(offsets[-1]) != len(pixels)
    ):
        raise ValueError(f"{name}: offsets and pixels ({len(pixels)}) do not fit the windows")


@serial
def _first_bad(counts, offsets, total):
    for n in range(offsets.shape[0] - 1):
        if offsets[n + 1] < offsets[n]:
            return n
        filled = 0
        for i in range(offsets[n], offsets[n + 1]):
            # one by one, for a sum of numbers near 2^63 wraps around to anything
            if counts[i] < 0 or counts[i] > (total if total >= 0 else MOST_PIXELS) - filled:
                return n
            filled += counts[i]
        if total >= 0 and filled != total:
            return n
    return -1


# -------------------------------------------------------------------------------------------------- kernels

UNION, INTERSECTION, DIFFERENCE = 0, 1, 2


@serial
def _grown(buffer, used, more):
    """The buffer, or a copy at least twice as long, with room for `more` entries."""
    if used + more <= buffer.shape[0]:
        return buffer
    larger = np.empty(max(2 * buffer.shape[0], used + more), buffer.dtype)
    larger[:used] = buffer[:used]
    return larger


@serial
def _encode_kernel(pixels, starts, windows, height, width):
    n = windows.shape[0]
    offsets = np.zeros(n + 1, np.int64)
    counts = np.empty(64 * n + 64, np.int64)
    used = 0
    for i in range(n):
        x1, y1, x2, y2 = windows[i]
        crop = pixels[starts[i] : starts[i + 1]].reshape((y2 - y1, x2 - x1))
        # Most masks are small: rows are scanned fast, columns are not, so first find what must be scanned.
        columns = np.zeros(x2 - x1, np.uint8)
        top, bottom = y2 - y1, 0
        for y in range(y2 - y1):
            seen = np.uint8(0)
            for x in range(x2 - x1):
                columns[x] |= crop[y, x]
                seen |= crop[y, x]
            if seen:
                top, bottom = min(top, y), y + 1
        begin, end, value = 0, 0, False
        for x in range(x2 - x1):
            if columns[x] == 0:
                continue
            counts = _grown(counts, used, height + 3)
            base = (x1 + x) * height + y1
            if value and base + top > end:  # the run ended with the column before
                counts[used] = end - begin
                used += 1
                begin, value = end, False
            for y in range(top, bottom):
                if (crop[y, x] != 0) != value:
                    counts[used] = base + y - begin
                    used += 1
                    begin, value = base + y, not value
            end = base + bottom
        counts = _grown(counts, used, 2)
        if value:
            counts[used] = end - begin
            used += 1
            begin = end
        if not value or begin < height * width:
            counts[used] = height * width - begin
            used += 1
        offsets[i + 1] = used
    return counts[:used].copy(), offsets


@serial
def _decode_kernel(counts, offsets, bitmaps):
    height = bitmaps.shape[1]
    for n in range(bitmaps.shape[0]):
        at = 0
        for i in range(offsets[n], offsets[n + 1]):
            if (i - offsets[n]) % 2 and counts[i] > 0:
                x, y = at // height, at % height
                for _ in range(counts[i]):
                    bitmaps[n, y, x] = 1
                    y += 1
                    if y == height:
                        x, y = x + 1, 0
            at += counts[i]


@serial
def _area_kernel(counts, offsets):
    area = np.zeros(offsets.shape[0] - 1, np.int64)
    for n in range(area.shape[0]):
        for i in range(offsets[n] + 1, offsets[n + 1], 2):
            area[n] += counts[i]
    return area


@serial
def _boxes_kernel(counts, offsets, height):
    boxes = np.zeros((offsets.shape[0] - 1, 4), np.float32)
    for n in range(boxes.shape[0]):
        x1, y1, x2, y2 = -1, height, 0, 0
        at = 0
        for i in range(offsets[n], offsets[n + 1]):
            if (i - offsets[n]) % 2 and counts[i] > 0:
                last = at + counts[i] - 1
                x, y, last_x, last_y = at // height, at % height, last // height, last % height
                if x < last_x:  # the run goes over the bottom, on at the top of the next column
                    y, last_y = 0, height - 1
                x1 = x if x1 < 0 else x1
                x2 = last_x + 1
                y1, y2 = min(y1, y), max(y2, last_y + 1)
            at += counts[i]
        if x1 >= 0:
            boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3] = x1, y1, x2, y2
    return boxes


@serial
def _crop_kernel(counts, offsets, height, windows, starts, pixels):
    for n in range(windows.shape[0]):
        x1, y1, x2, y2 = windows[n]
        if x2 <= x1 or y2 <= y1:
            continue
        crop = pixels[starts[n] : starts[n + 1]].reshape((y2 - y1, x2 - x1))
        at = 0
        for i in range(offsets[n], offsets[n + 1]):
            end = at + counts[i]
            if at >= x2 * height:
                break
            if (i - offsets[n]) % 2 and end > at and end > x1 * height:
                for x in range(max(at // height, x1), min((end - 1) // height + 1, x2)):
                    for y in range(max(at - x * height, 0, y1), min(end - x * height, height, y2)):
                        crop[y - y1, x - x1] = 1
            at = end


@serial
def combine(a, b, rule):
    """Counts of the union, intersection or difference of two masks."""
    out = np.empty(a.shape[0] + b.shape[0] + 2, np.int64)
    used = 0
    i, j = -1, -1
    left_a, left_b = 0, 0
    run, value = 0, False
    while True:
        while left_a == 0 and i + 1 < a.shape[0]:
            i += 1
            left_a = a[i]
        while left_b == 0 and j + 1 < b.shape[0]:
            j += 1
            left_b = b[j]
        step = min(left_a, left_b)
        if step == 0:
            break
        in_a, in_b = i % 2 == 1, j % 2 == 1
        if rule == UNION:
            new = in_a or in_b
        elif rule == INTERSECTION:
            new = in_a and in_b
        else:
            new = in_a and not in_b
        if new != value:
            out[used] = run
            used += 1
            run, value = 0, new
        run += step
        left_a -= step
        left_b -= step
    out[used] = run
    return out[: used + 1].copy()


@serial
def _merge_kernel(counts, offsets, rule):
    merged = counts[offsets[0] : offsets[1]].copy()
    for n in range(1, offsets.shape[0] - 1):
        merged = combine(merged, counts[offsets[n] : offsets[n + 1]], rule)
    return merged


@serial
def _extent(counts):
    """First pixel inside, one past the last, pixels inside, pixels in all."""
    first, last, area, at = -1, 0, 0, 0
    for i in range(counts.shape[0]):
        if i % 2 and counts[i] > 0:
            if first < 0:
                first = at
            last = at + counts[i]
            area += counts[i]
        at += counts[i]
    return first, last, area, at


@serial
def _iou_kernel(a, a_offsets, b, b_offsets, crowd, out):
    n, m = out.shape
    extents = np.empty((n + m, 4), np.int64)
    for i in range(n + m):
        runs = a[a_offsets[i] : a_offsets[i + 1]] if i < n else b[b_offsets[i - n] : b_offsets[i - n + 1]]
        extents[i, 0], extents[i, 1], extents[i, 2], extents[i, 3] = _extent(runs)
        if extents[i, 3] != extents[0, 3]:
            return False
    for i in range(n):
        for j in range(m):
            e, f = extents[i], extents[n + j]
            if e[2] == 0 or f[2] == 0 or e[1] <= f[0] or f[1] <= e[0]:
                continue  # an empty mask, or other columns: most pairs of a picture
            shared = _intersection(a[a_offsets[i] : a_offsets[i + 1]], b[b_offsets[j] : b_offsets[j + 1]])
            out[i, j] = shared / (e[2] if crowd[j] else e[2] + f[2] - shared)
    return True


@serial
def _intersection(a, b):
    shared, i, j, a_begin, b_begin = 0, 1, 1, 0, 0
    if a.shape[0] < 2 or b.shape[0] < 2:
        return 0
    a_begin, b_begin = a[0], b[0]
    while True:
        a_end, b_end = a_begin + a[i], b_begin + b[j]
        shared += max(min(a_end, b_end) - max(a_begin, b_begin), 0)
        if a_end <= b_end:
            if i + 2 >= a.shape[0]:
                return shared
            a_begin = a_end + a[i + 1]
            i += 2
        else:
            if j + 2 >= b.shape[0]:
                return shared
            b_begin = b_end + b[j + 1]
            j += 2


@serial
def _to_string_kernel(counts):
    text = np.empty(13 * counts.shape[0], np.uint8)
    used = 0
    for i in range(counts.shape[0]):
        x = counts[i] - counts[i - 2] if i > 2 else counts[i]
        more = True
        while more:
            group = x & 31
            x >>= 5
            more = x != -1 if group & 16 else x != 0
            text[used] = (group | 32 if more else group) + 48
            used += 1
    return text[:used].copy()


@serial
def _from_string_kernel(text):
    counts = np.empty(text.shape[0], np.int64)
    used, at = 0, 0
    while at < text.shape[0]:
        x, shift, more = 0, 0, True
        while more:
            if at == text.shape[0] or text[at] < 48 or text[at] > 111 or shift > 60:
                return counts[:0], False
            group = text[at] - 48
            at += 1
            x |= (group & 31) << shift
            shift += 5
            more = group & 32 != 0
            if not more and group & 16:
                x |= -1 << shift
        counts[used] = x + counts[used - 2] if used > 2 else x
        used += 1
    return counts[:used].copy(), True
