"""RoIAlign on a GPU: the Triton kernels of roi_align.py, for float32, float16 and bfloat16; sums are float32.

Forward, a program is one bin of one region and a block of channels: in channels-last memory each sample reads four
contiguous runs. Backward, a program is a tile of pixels of one picture and a block of channels, and *gathers*: it
finds the regions that reach the tile, and sums what each of their bins there gives it, in the order of the regions.
So no two programs write the same place: no atomic additions, and the same sum to the bit every time. Both take the
memory of their result, and of a channels-last copy of an argument that is not so already.
"""

import triton
import triton.language as tl
from torch import Tensor

from ._triton import STRICT, on_device

TILE = 8  # side of a tile of the backward kernel, feature pixels
TOGETHER = 4  # samples that the forward kernel reads at a time
REGIONS = 128  # looked at together, whether they reach a tile


def roi_align_triton(
    features: Tensor, rois: Tensor, height: int, width: int, scale: float, samples: int, aligned: bool
) -> Tensor:
    """`videre::roi_align` for tensors on a GPU. Regions whose picture is not in the batch give NaN, not an error: to
    look at the indices here would be to wait for the GPU."""
    maps = features.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    regions = rois.float().contiguous()
    batch, map_height, map_width, channels = maps.shape
    out = maps.new_empty((rois.shape[0], height, width, channels))
    if not maps.numel():
        out.zero_()
    elif out.numel():
        block = min(triton.next_power_of_2(channels), 256)
        grid = (rois.shape[0] * height * width, triton.cdiv(channels, block))
        how = {"HEIGHT": height, "WIDTH": width, "SAMPLES": max(samples, 0), "ALIGNED": aligned, "BLOCK": block}
        with on_device(maps):
            _forward_kernel[grid](
                maps,
                regions,
                out,
                batch,
                map_height,
                map_width,
                channels,
                scale,
                **how,
                TOGETHER=TOGETHER,
                num_warps=max(block * maps.element_size() // 512, 1),  # 16 bytes a thread
                **STRICT,
            )
    return out.permute(0, 3, 1, 2)


def roi_align_backward_triton(
    gradient: Tensor,
    rois: Tensor,
    batch: int,
    map_height: int,
    map_width: int,
    scale: float,
    samples: int,
    aligned: bool,
) -> Tensor:
    """`videre::roi_align_backward` for tensors on a GPU; deterministic."""
    gradients = gradient.permute(0, 2, 3, 1).contiguous()  # (R, h, w, C)
    regions = rois.float().contiguous()
    count, height, width, channels = gradients.shape
    out = gradients.new_empty((batch, map_height, map_width, channels))
    if out.numel():
        block = min(triton.next_power_of_2(channels), 64)
        tiles = triton.cdiv(map_height, TILE) * triton.cdiv(map_width, TILE)
        grid = (batch * tiles, triton.cdiv(channels, block))
        how = {"HEIGHT": height, "WIDTH": width, "SAMPLES": max(samples, 0), "ALIGNED": aligned, "BLOCK": block}
        with on_device(gradients):
            _backward_kernel[grid](
                gradients,
                regions,
                out,
                count,
                map_height,
                map_width,
                channels,
                scale,
                **how,
                TILE=TILE,
                REGIONS=REGIONS,
                num_warps=4,
                **STRICT,
            )
    return out.permute(0, 3, 1, 2)


@triton.jit(do_not_specialize=["batch", "map_height", "map_width"])
def _forward_kernel(
    maps,
    rois,
    out,
    batch,
    map_height,
    map_width,
    channels,
    scale,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    SAMPLES: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
    TOGETHER: tl.constexpr,
):
    """maps (B, H, W, C), rois (R, 5) -> out (R, HEIGHT, WIDTH, C)."""
    place = tl.program_id(0)
    roi = rois + place // (HEIGHT * WIDTH) * 5
    picture = tl.load(roi)
    known = (picture >= 0) & (picture < batch)
    start_y, step_y, many_y = _axis(roi, 2, True, scale, HEIGHT, ALIGNED)
    start_x, step_x, many_x = _axis(roi, 1, True, scale, WIDTH, ALIGNED)
    if SAMPLES > 0:
        many_y = SAMPLES
        many_x = SAMPLES
    begin_y = start_y + (place // WIDTH % HEIGHT).to(tl.float32) * step_y
    begin_x = start_x + (place % WIDTH).to(tl.float32) * step_x

    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first_row = tl.where(known, picture, 0).to(tl.int32) * map_height
    total = tl.zeros((TOGETHER, BLOCK), tl.float32)
    for first in range(0, many_y * many_x, TOGETHER):
        sample = first + tl.arange(0, TOGETHER)
        y, counted_y = _sample(begin_y, step_y, sample // many_x, many_y, map_height)
        x, counted_x = _sample(begin_x, step_x, sample % many_x, many_x, map_width)
        y0, x0 = y.to(tl.int32), x.to(tl.int32)
        y1, x1 = tl.minimum(y0 + 1, map_height - 1), tl.minimum(x0 + 1, map_width - 1)
        far_y, far_x = y - y0, x - x0
        above, below = (first_row + y0) * map_width, (first_row + y1) * map_width
        read = (channel < channels)[None, :] & ((sample < many_y * many_x) & counted_y & counted_x)[:, None]
        total += _weighted((1 - far_y) * (1 - far_x), maps, above + x0, channels, channel, read)
        total += _weighted((1 - far_y) * far_x, maps, above + x1, channels, channel, read)
        total += _weighted(far_y * (1 - far_x), maps, below + x0, channels, channel, read)
        total += _weighted(far_y * far_x, maps, below + x1, channels, channel, read)
    samples = tl.where(known, tl.maximum(many_y, 1) * 1.0 * tl.maximum(many_x, 1), float("nan"))
    tl.store(out + place.to(tl.int64) * channels + channel, tl.div_rn(tl.sum(total, 0), samples), channel < channels)


@triton.jit
def _weighted(weight, maps, pixel, channels, channel, read):
    """Pixels (S) times their weights (S), in float32: (S, BLOCK); 0 where not to be read (S, BLOCK)."""
    at = maps + pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    return weight[:, None] * tl.load(at, read, 0).to(tl.float32)


@triton.jit(do_not_specialize=["regions", "map_height", "map_width"])
def _backward_kernel(
    gradients,
    rois,
    out,
    regions,
    map_height,
    map_width,
    channels,
    scale,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    SAMPLES: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE: tl.constexpr,
    REGIONS: tl.constexpr,
):
    """gradients (R, HEIGHT, WIDTH, C), rois (R, 5) -> out (B, H, W, C)."""
    tiles_x = tl.cdiv(map_width, TILE)
    tile = tl.program_id(0) // tiles_x  # rows of tiles, picture after picture
    left = tl.program_id(0) % tiles_x * TILE
    tiles_y = tl.cdiv(map_height, TILE)
    picture = tile // tiles_y
    top = tile % tiles_y * TILE
    pixel = tl.arange(0, TILE * TILE)
    row, column = top + pixel // TILE, left + pixel % TILE
    pixel_y, pixel_x = row.to(tl.float32), column.to(tl.float32)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)

    total = tl.zeros((TILE * TILE, BLOCK), tl.float32)
    for first in range(0, regions, REGIONS):
        some = first + tl.arange(0, REGIONS)
        listed = some < regions
        index = tl.load(rois + some * 5, listed, -1)
        starts_y, steps_y, _ = _axis(rois + some * 5, 2, listed, scale, HEIGHT, ALIGNED)
        starts_x, steps_x, _ = _axis(rois + some * 5, 1, listed, scale, WIDTH, ALIGNED)
        near = _near(starts_y, steps_y * HEIGHT, top, TILE) & _near(starts_x, steps_x * WIDTH, left, TILE)
        near &= (index >= picture) & (index < picture + 1)
        waiting = tl.where(near, some, regions)
        r = tl.min(waiting, 0)  # one region after the other, in their order
        while r < regions:
            start_y, step_y, many_y = _axis(rois + r * 5, 2, True, scale, HEIGHT, ALIGNED)
            start_x, step_x, many_x = _axis(rois + r * 5, 1, True, scale, WIDTH, ALIGNED)
            if SAMPLES > 0:
                many_y = SAMPLES
                many_x = SAMPLES
            for p in range(HEIGHT):
                begin_y = start_y + p * 1.0 * step_y
                if _near(begin_y, step_y, top, TILE):
                    weight_y = _weights(pixel_y, begin_y, step_y, many_y, map_height)
                    for q in range(WIDTH):
                        begin_x = start_x + q * 1.0 * step_x
                        if _near(begin_x, step_x, left, TILE):
                            weight = weight_y * _weights(pixel_x, begin_x, step_x, many_x, map_width)
                            at = gradients + ((r * HEIGHT + p) * WIDTH + q).to(tl.int64) * channels + channel
                            gradient = tl.load(at, channel < channels, 0).to(tl.float32)
                            total += weight[:, None] * gradient[None, :]
            waiting = tl.where(waiting == r, regions, waiting)
            r = tl.min(waiting, 0)

    place = ((picture * map_height + row) * map_width + column).to(tl.int64) * channels
    inside = ((row < map_height) & (column < map_width))[:, None] & (channel < channels)[None, :]
    tl.store(out + place[:, None] + channel[None, :], total, inside)


@triton.jit
def _near(start, extent, tile, TILE: tl.constexpr):
    """Whether samples between start and start + extent may reach the pixels tile .. tile + TILE - 1 of an axis.

    A sample reaches pixels less than 1 away; one more, so that rounding does not matter.
    """
    end = start + extent
    return (tl.minimum(start, end) <= tile + TILE + 1.0) & (tl.maximum(start, end) >= tile - 2.0)


@triton.jit
def _weights(pixel, begin, step, many, length):
    """Weight of each pixel of an axis in the mean over a bin's samples."""
    total = pixel * 0
    for i in range(many):
        v, counted = _sample(begin, step, i, many, length)
        total += tl.where(counted, tl.maximum(1 - tl.abs(v - pixel), 0.0), 0.0)
    return tl.div_rn(total, tl.maximum(many, 1) * 1.0)


@triton.jit
def _axis(roi, axis, read, scale, BINS: tl.constexpr, ALIGNED: tl.constexpr):
    """Start of regions along an axis (1 = x, 2 = y), length of their bins (feature pixels), adaptive samples in each.

    In the definition's order of operations. What is not finite starts at no number, so that no sample counts.
    """
    start = tl.load(roi + axis, read, 0) * scale
    end = tl.load(roi + axis + 2, read, 0) * scale
    if ALIGNED:
        start -= 0.5
        end -= 0.5
    extent = end - start
    finite = (tl.abs(start) < float("inf")) & (tl.abs(extent) < float("inf"))
    if not ALIGNED:
        extent = tl.maximum(extent, 1.0)
    step = tl.div_rn(extent, BINS * 1.0)
    many = tl.where(finite, tl.maximum(tl.ceil(step), 0.0), 0.0).to(tl.int32)
    return tl.where(finite, start, float("nan")), step, many


@triton.jit
def _sample(begin, step, i, many, length):
    """Where sample i of a bin reads, within the map, and whether it counts."""
    v = begin + tl.div_rn((i + 0.5) * step, many * 1.0)
    counted = (v >= -1.0) & (v <= length)
    v = tl.where(counted, v, 0.0)  # also where it is no number
    return tl.minimum(tl.maximum(v, 0.0), length - 1.0), counted
