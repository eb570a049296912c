"""3x3 convolution with fewer products: Winograd's minimal filtering.

Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016. A tile of m x m outputs needs the
(m + 2) x (m + 2) inputs around it. Both the tile and the kernel are brought to a basis in which the convolution is a
product of numbers, one for each place of the tile; over all channels and tiles that is one matrix product a place:

    Y = A' [ (G w G') . (B' x B) ] A        36 products for 16 outputs (m = 4) where the direct sum needs 144,
                                            16 products for  4 outputs (m = 2) where it needs 36

The transforms cost additions only, so the gain grows with the channels. Sums of large and small numbers cancel in the
larger basis: single precision keeps about five digits for m = 4, six for m = 2. A dilated convolution is one on each of
the dilation^2 interleaved sub-grids, which the kernels read and write in place.

    basis = winograd_weight(conv.weight)      # once
    y = winograd_conv2d(x, basis, conv.bias, padding=1)

In training the weight changes with every step: `winograd_conv2d_train` transforms it each time, and its input gradient
is a convolution of the same kind (with the kernel turned round), so that two of the three large products gain.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ._bf16 import as_array, narrow, widen
from ._numba import HAS_NUMBA, parallel_fused, prange, serial, use_torch_threads

CHUNK_BYTES = 4 * 2**20
"""Transformed inputs and outputs that are in flight at once: they should stay in the cache between the three steps."""
LEAST_TILES = 128
"""Tiles in flight at least: a product of fewer rows is slow, and reads all weights again for little."""

# the interpolation points are 0, 1, -1 (2, -2) and infinity
_KERNEL = {
    2: [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
    4: [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
}
_INPUT = {
    2: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]],
    4: [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
}
_OUTPUT = {
    2: [[1, 1, 1, 0], [0, 1, -1, 1]],
    4: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
}
"""G, B' and A' of the formula above, by the side of the output tile."""


def winograd_weight(weight: Tensor, tile: int = 4) -> Tensor:
    """A 3x3 kernel in the basis of the tile.

    Args:
        weight: (K, C, 3, 3). tile: 4 or 2 outputs a side.
    Returns:
        ((tile + 2)^2, C, K), contiguous, dtype of `weight`; computed in float64.
    Raises:
        ValueError: another kernel size or tile.
    """
    if weight.ndim != 4 or weight.shape[2:] != (3, 3) or tile not in _KERNEL:
        raise ValueError(
            f"winograd_weight: needs (K, C, 3, 3) and a tile of 2 or 4, found {tuple(weight.shape)}, {tile}"
        )
    g = torch.tensor(_KERNEL[tile], dtype=torch.float64, device=weight.device)
    taps = weight.double().permute(2, 3, 1, 0)  # (3, 3, C, K)
    basis = torch.kron(g, g) @ taps.reshape(9, -1)  # one product, since trainings do it in every step
    return basis.view(-1, *taps.shape[2:]).to(weight.dtype)


def winograd_conv2d(
    x: Tensor,
    basis: Tensor,
    bias: Tensor | None = None,
    padding: int = 0,
    dilation: int = 1,
    relu: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """Convolve with a 3x3 kernel of stride 1, add, and cut off below zero.

    Args:
        x: (B, C, H, W); channels-last memory is read as it is, other layouts are copied once.
        basis: of `winograd_weight`, (36 or 16, C, K). bias: (K). padding: zeros on each side. dilation: of the kernel.
        relu: max(0, .) at the end. residual: (B, K, H', W'), added before that.
    Returns:
        (B, K, H', W') in channels-last memory, H' = H + 2 padding - 2 dilation; as `F.conv2d` up to rounding.
    Raises:
        ValueError: shapes that do not fit.
    """
    places, channels, outputs = basis.shape
    size = tuple(side + 2 * padding - 2 * dilation for side in x.shape[2:])
    if x.ndim != 4 or x.shape[1] != channels or places not in (16, 36) or min(size, default=0) < 1:
        raise ValueError(
            f"winograd_conv2d: {tuple(x.shape)} with padding {padding} and dilation {dilation} does not fit "
            f"{tuple(basis.shape)}"
        )
    if residual is not None and residual.shape != (len(x), outputs, *size):
        raise ValueError(f"winograd_conv2d: residual is {tuple(residual.shape)}, not {(len(x), outputs, *size)}")
    return _winograd(x, basis, bias, residual, padding, dilation, relu)


def winograd_conv2d_train(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0, dilation: int = 1, tile: int = 4
) -> Tensor:
    """Convolve with a 3x3 kernel of stride 1; differentiable once in x, weight and bias.

    The gradient of the weight is torch's own.

    Args:
        x: (B, C, H, W). weight: (K, C, 3, 3). bias: (K). padding, dilation: as `F.conv2d`. tile: 4 or 2 outputs a side.
    Returns:
        (B, K, H', W') in channels-last memory.
    Raises:
        ValueError: shapes that do not fit, or a padding of more than twice the dilation.
    """
    if padding > 2 * dilation:
        raise ValueError(f"winograd_conv2d_train: padding {padding} is more than twice the dilation {dilation}")
    return _winograd_train(x, weight, bias, padding, dilation, tile)


# ---------------------------------------------------------------------------------------------- definition


@torch.library.custom_op("videre::winograd", mutates_args=())
def _winograd(
    x: Tensor, basis: Tensor, bias: Tensor | None, residual: Tensor | None, padding: int, dilation: int, relu: bool
) -> Tensor:
    m = math.isqrt(basis.shape[0]) - 2
    out = _empty(x, basis, padding, dilation)
    before, after = (torch.tensor(t[m], dtype=x.dtype, device=x.device) for t in (_INPUT, _OUTPUT))
    for top in range(dilation):
        for left in range(dilation):
            part = out[:, :, top::dilation, left::dilation]
            if not part.numel():
                continue
            grid = torch.nn.functional.pad(x, [padding] * 4)[:, :, top::dilation, left::dilation]
            rows, columns = (-(-side // m) for side in part.shape[2:])
            lack = [count * m + 2 - side for count, side in zip((rows, columns), grid.shape[2:])]
            grid = torch.nn.functional.pad(grid, [0, lack[1], 0, lack[0]])
            tiles = grid.unfold(2, m + 2, m).unfold(3, m + 2, m)  # (B, C, rows, columns, m + 2, m + 2)
            seen = torch.einsum("ia,bcyxad,jd->ijbyxc", before, tiles, before).flatten(0, 1).flatten(1, 3)
            product = (seen @ basis).unflatten(0, (m + 2, m + 2)).unflatten(2, (len(x), rows, columns))
            made = torch.einsum("ia,adbyxk,jd->bkyixj", after, product, after).flatten(4, 5).flatten(2, 3)
            part.copy_(made[:, :, : part.shape[2], : part.shape[3]])
    out = out if bias is None else out + bias[:, None, None]
    out = out if residual is None else out + residual
    return (out.relu() if relu else out).contiguous(memory_format=torch.channels_last)


@_winograd.register_fake
def _(
    x: Tensor, basis: Tensor, bias: Tensor | None, residual: Tensor | None, padding: int, dilation: int, relu: bool
) -> Tensor:
    return _empty(x, basis, padding, dilation)


def _empty(x: Tensor, basis: Tensor, padding: int, dilation: int) -> Tensor:
    height, width = (side + 2 * padding - 2 * dilation for side in x.shape[2:])
    return x.new_empty((x.shape[0], height, width, basis.shape[2])).permute(0, 3, 1, 2)


@torch.library.custom_op("videre::winograd_train", mutates_args=())
def _winograd_train(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int, tile: int) -> Tensor:
    return winograd_conv2d(x, winograd_weight(weight, tile), bias, padding, dilation)


@_winograd_train.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int, tile: int) -> Tensor:
    return _empty(x, weight.new_empty((0, weight.shape[1], weight.shape[0])), padding, dilation)


def _save(ctx, inputs, output):
    x, weight, _, ctx.padding, ctx.dilation, ctx.tile = inputs
    ctx.save_for_backward(x, weight)


def _differentiate(ctx, gradient):
    def convolve(y, kernel, padding):
        return _winograd(y, winograd_weight(kernel, ctx.tile), None, None, padding, ctx.dilation, False)

    x, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:3]
    return *winograd_gradients(convolve, gradient, x, weight, ctx.padding, ctx.dilation, wanted), None, None, None


def winograd_gradients(
    convolve: Callable[[Tensor, Tensor, int], Tensor],
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    padding: int,
    dilation: int,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of x, weight and bias, those that are wanted; that of x by `convolve(gradient, kernel, padding)`."""
    for_x, for_weight, for_bias = wanted
    down = up = shift = None
    if for_x:
        down = convolve(gradient, weight.flip(2, 3).transpose(0, 1), 2 * dilation - padding)
    if for_weight or for_bias:
        _, up, shift = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            [len(weight)],
            [1, 1],
            [padding] * 2,
            [dilation] * 2,
            False,
            [0, 0],
            1,
            [False, for_weight, for_bias],
        )
    return down, up, shift


_winograd_train.register_autograd(_differentiate, setup_context=_save)


# ---------------------------------------------------------------------------------------------- CPU kernels


def winograd_tiles(
    x: Tensor,
    multiply: Callable[[Tensor], Tensor],
    outputs: int,
    tile: int,
    together: bool,
    bias: Tensor | None,
    residual: Tensor | None,
    padding: int,
    dilation: int,
    relu: bool,
) -> Tensor:
    """`winograd_conv2d` with another product in its middle: for engines that know a faster one. Needs Numba, on a CPU.

    Args:
        multiply: from inputs in the basis of the tile, (places, T, C), to (places, T, K), with the kernel of each place.
        outputs: K. tile: 4 or 2 outputs a side, of 36 or 16 places. together: all places of a tile lie together, and
            `multiply` goes from (T, places, C) to (T, places, K). bias to relu: see `winograd_conv2d`.
    """
    maps = x.detach().permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    channels, places = maps.shape[3], (tile + 2) ** 2
    height, width = (side + 2 * padding - 2 * dilation for side in maps.shape[1:3])
    images = maps.new_empty((len(maps), height, width, outputs))
    out = images.permute(0, 3, 1, 2)
    if not out.numel():
        return out
    shift = maps.new_zeros(outputs) if bias is None else bias.detach()
    shift = shift.float() if maps.dtype == torch.bfloat16 else shift
    added = images[:0] if residual is None else residual.detach().permute(0, 2, 3, 1).contiguous()
    rows, columns = (-(-side // (tile * dilation)) for side in images.shape[1:3])
    tiles = len(x) * dilation**2 * rows * columns
    chunk = min(tiles, max(LEAST_TILES, CHUNK_BYTES // (places * (channels + outputs) * maps.element_size())))
    chunk = -(-tiles // -(-tiles // chunk))  # as many times, evenly
    seen = maps.new_empty((chunk, places, channels) if together else (places, chunk, channels))
    before, after = (_input4, _output4) if tile == 4 else (_input2, _output2)
    threads = use_torch_threads()
    for first in range(0, tiles, chunk):
        first = min(first, tiles - chunk)  # the last ones: some are done twice, for the product wants whole matrices
        where = (first, chunk, dilation, rows, columns, threads)
        before(as_array(maps), padding, *where, *_strides(seen, together), as_array(seen.view(-1)))
        product = multiply(seen)
        strides = _strides(product, together)
        found = as_array(product.view(-1)), shift.numpy(), as_array(added)
        after(*found, relu, *where, *strides, as_array(images))
    return out


def _strides(found: Tensor, together: bool) -> tuple[int, int]:
    """From one place to the next, and from one tile to the next."""
    first, second, _ = found.stride()
    return (second, first) if together else (first, second)


def _winograd_cpu(
    x: Tensor, basis: Tensor, bias: Tensor | None, residual: Tensor | None, padding: int, dilation: int, relu: bool
) -> Tensor:
    places, _, outputs = basis.shape
    tile, weights = math.isqrt(places) - 2, basis.detach()
    multiply = functools.partial(torch.bmm, mat2=weights)
    return winograd_tiles(x, multiply, outputs, tile, False, bias, residual, padding, dilation, relu)


if HAS_NUMBA:
    _winograd.register_kernel("cpu")(_winograd_cpu)


BAND = 256
"""Channels that a kernel takes at once, so that a tile of them stays in the first cache."""


@serial
def _place(n, dilation, rows, columns, m):
    """Picture, row and column of the first output of the n-th tile."""
    n, column = divmod(n, columns)
    n, row = divmod(n, rows)
    n, left = divmod(n, dilation)
    b, top = divmod(n, dilation)
    return b, top + dilation * m * row, left + dilation * m * column


@serial
def _read(maps, b, top, left, dilation, begin, end, t):
    """The inputs of a tile, t (m + 2, m + 2, band); zeros outside of the map."""
    _, height, width, _ = maps.shape
    for i in range(t.shape[0]):
        y = top + dilation * i
        for j in range(t.shape[1]):
            x, row = left + dilation * j, t[i, j]
            if 0 <= y < height and 0 <= x < width:
                pixel = maps[b, y, x, begin:end]
                for c in range(len(pixel)):
                    row[c] = widen(pixel[c])
            else:
                row[: end - begin] = 0


@serial
def _gather(product, here, by_place, band, t):
    """t (m + 2, m + 2, band): a tile's products."""
    for i in range(t.shape[0]):
        for j in range(t.shape[1]):
            first, row = here + (i * t.shape[1] + j) * by_place, t[i, j]
            found = product[first : first + band]
            for c in range(len(found)):
                row[c] = widen(found[c])


@serial
def _scatter(t, here, by_place, band, out):
    """The reverse of `_gather`."""
    like = out.dtype.type(0)
    for i in range(t.shape[0]):
        for j in range(t.shape[1]):
            first, row = here + (i * t.shape[1] + j) * by_place, t[i, j]
            place = out[first : first + band]
            for c in range(len(place)):
                place[c] = narrow(row[c], like)


@parallel_fused
def _input4(maps, padding, first, tiles, dilation, rows, columns, threads, by_place, by_tile, out):
    """maps (B, H, W, C); out, flat: `tiles` tiles from `first` on, in the basis.

    A number of out is found at place * by_place + tile * by_tile + channel.
    """
    channels = maps.shape[3]
    zero = widen(maps.dtype.type(0))
    for thread in prange(threads):
        t = np.full((6, 6, BAND), zero)
        T = t.dtype.type
        two, four, five = T(2), T(4), T(5)
        for n in range(tiles * thread // threads, tiles * (thread + 1) // threads):
            b, top, left = _place(first + n, dilation, rows, columns, 4)
            for begin in range(0, channels, BAND):
                band = min(BAND, channels - begin)
                _read(maps, b, top - padding, left - padding, dilation, begin, begin + band, t)
                for i in range(6):
                    for c in range(band):
                        p, q, r, s = t[i, 1, c], t[i, 2, c], t[i, 3, c], t[i, 4, c]
                        t[i, 0, c] = four * t[i, 0, c] - five * q + s
                        t[i, 5, c] = four * p - five * r + t[i, 5, c]
                        t[i, 1, c] = r + s - four * (p + q)
                        t[i, 2, c] = s - r + four * (p - q)
                        t[i, 3, c] = s - q + two * (r - p)
                        t[i, 4, c] = s - q - two * (r - p)
                for j in range(6):
                    for c in range(band):
                        p, q, r, s = t[1, j, c], t[2, j, c], t[3, j, c], t[4, j, c]
                        t[0, j, c] = four * t[0, j, c] - five * q + s
                        t[5, j, c] = four * p - five * r + t[5, j, c]
                        t[1, j, c] = r + s - four * (p + q)
                        t[2, j, c] = s - r + four * (p - q)
                        t[3, j, c] = s - q + two * (r - p)
                        t[4, j, c] = s - q - two * (r - p)
                _scatter(t, n * by_tile + begin, by_place, band, out)


@parallel_fused
def _input2(maps, padding, first, tiles, dilation, rows, columns, threads, by_place, by_tile, out):
    """As `_input4`, of 16 places."""
    channels = maps.shape[3]
    zero = widen(maps.dtype.type(0))
    for thread in prange(threads):
        t = np.full((4, 4, BAND), zero)
        for n in range(tiles * thread // threads, tiles * (thread + 1) // threads):
            b, top, left = _place(first + n, dilation, rows, columns, 2)
            for begin in range(0, channels, BAND):
                band = min(BAND, channels - begin)
                _read(maps, b, top - padding, left - padding, dilation, begin, begin + band, t)
                for i in range(4):
                    for c in range(band):
                        p, q = t[i, 1, c], t[i, 2, c]
                        t[i, 0, c] -= q
                        t[i, 3, c] -= p
                        t[i, 1, c] = p + q
                        t[i, 2, c] = q - p
                for j in range(4):
                    for c in range(band):
                        p, q = t[1, j, c], t[2, j, c]
                        t[0, j, c] -= q
                        t[3, j, c] -= p
                        t[1, j, c] = p + q
                        t[2, j, c] = q - p
                _scatter(t, n * by_tile + begin, by_place, band, out)


@parallel_fused
def _output4(product, bias, added, relu, first, tiles, dilation, rows, columns, threads, by_place, by_tile, out):
    """product, flat as in `_input4`; out (B, H', W', K): the tiles from `first` on, finished. added: as out, or empty."""
    outputs = len(bias)
    T = bias.dtype.type
    two, four, eight = T(2), T(4), T(8)
    for thread in prange(threads):
        t = np.empty((6, 6, BAND), bias.dtype)
        for n in range(tiles * thread // threads, tiles * (thread + 1) // threads):
            b, top, left = _place(first + n, dilation, rows, columns, 4)
            for begin in range(0, outputs, BAND):
                band = min(BAND, outputs - begin)
                _gather(product, n * by_tile + begin, by_place, band, t)
                for j in range(6):
                    for c in range(band):
                        p, q, r, s = t[1, j, c], t[2, j, c], t[3, j, c], t[4, j, c]
                        t[0, j, c] = t[0, j, c] + (p + q) + (r + s)
                        t[1, j, c] = (p - q) + two * (r - s)
                        t[2, j, c] = (p + q) + four * (r + s)
                        t[3, j, c] = (p - q) + eight * (r - s) + t[5, j, c]
                for i in range(4):
                    for c in range(band):
                        p, q, r, s = t[i, 1, c], t[i, 2, c], t[i, 3, c], t[i, 4, c]
                        t[i, 0, c] = t[i, 0, c] + (p + q) + (r + s)
                        t[i, 1, c] = (p - q) + two * (r - s)
                        t[i, 2, c] = (p + q) + four * (r + s)
                        t[i, 3, c] = (p - q) + eight * (r - s) + t[i, 5, c]
                    where = b, top + dilation * i, left, dilation, begin, begin + band
                    _write(t[i, :4], bias, added, relu, *where, out)


@parallel_fused
def _output2(product, bias, added, relu, first, tiles, dilation, rows, columns, threads, by_place, by_tile, out):
    """As `_output4`, of 16 places."""
    outputs = len(bias)
    for thread in prange(threads):
        t = np.empty((4, 4, BAND), bias.dtype)
        for n in range(tiles * thread // threads, tiles * (thread + 1) // threads):
            b, top, left = _place(first + n, dilation, rows, columns, 2)
            for begin in range(0, outputs, BAND):
                band = min(BAND, outputs - begin)
                _gather(product, n * by_tile + begin, by_place, band, t)
                for j in range(4):
                    for c in range(band):
                        p, q = t[1, j, c], t[2, j, c]
                        t[0, j, c] += p + q
                        t[1, j, c] = p - q + t[3, j, c]
                for i in range(2):
                    for c in range(band):
                        p, q = t[i, 1, c], t[i, 2, c]
                        t[i, 0, c] += p + q
                        t[i, 1, c] = p - q + t[i, 3, c]
                    where = b, top + dilation * i, left, dilation, begin, begin + band
                    _write(t[i, :2], bias, added, relu, *where, out)


@serial
def _write(done, bias, added, relu, b, y, left, dilation, begin, end, out):
    """One row of a tile, done (m, band), to its pixels; what lies outside is left out."""
    _, height, width, _ = out.shape
    zero, like, shift = done.dtype.type(0), out.dtype.type(0), bias[begin:end]
    for j in range(done.shape[0]):
        x = left + dilation * j
        if y >= height or x >= width:
            return
        row, pixel = done[j], out[b, y, x, begin:end]
        for c in range(len(shift)):
            row[c] += shift[c]
        if added.shape[0]:
            more = added[b, y, x, begin:end]
            for c in range(len(more)):
                row[c] += widen(more[c])
        if relu:
            for c in range(len(pixel)):
                row[c] = max(row[c], zero)
        for c in range(len(pixel)):
            pixel[c] = narrow(row[c], like)
