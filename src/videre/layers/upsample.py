"""Ways to make maps larger, as layers: nearest, bilinear, bed of nails, transposed convolution, max-unpooling.

docs/upsampling.md shows what each does to one map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bilinear_kernel(size: int) -> Tensor:
    """Weights [size, size] with which a transposed convolution interpolates bilinearly by (size + 1) // 2.

    As FCN's release makes them (shelhamer/fcn.berkeleyvision.org, surgery.py).
    """
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = 1 - (torch.arange(size) - centre).abs() / factor
    return line[:, None] * line[None, :]


def bilinear_deconv(channels: int, factor: int, padding: int = 0, learned: bool = True) -> nn.ConvTranspose2d:
    """A transposed convolution that begins as bilinear interpolation by `factor`, each channel for itself.

    Kernel 2 * factor. Without padding n cells become (n + 1) * factor pixels; with `factor // 2` they become n * factor.
    learned: False keeps it as it is.
    """
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, padding, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(channels), range(channels)] = bilinear_kernel(2 * factor)
    layer.weight.requires_grad_(learned)
    return layer


def max_pool_with_places(x: Tensor) -> tuple[Tensor, Tensor]:
    """A 2x2 max pool that keeps the rest of an odd side, and tells where each maximum was; of equal ones the first.

    Equal are values that agree in the eight bits of bfloat16: where a picture is flat all are, and float32's last bits,
    which change with the batch, would choose.

    Returns:
        the pooled map [B, C, ceil(H / 2), ceil(W / 2)], and int64 places in the plane of H * W.
    """
    rounded = x.detach().bfloat16().float()
    places = F.max_pool2d(rounded, 2, 2, ceil_mode=True, return_indices=True)[1]
    return F.max_pool2d(x, 2, 2, ceil_mode=True), places


def max_unpool(x: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value at the place where its maximum was, zeros elsewhere.

    Args:
        x: [B, C, h, w]. places: int64, as `max_pool_with_places` gives them. size: (H, W) of the result; it must be given,
            since maps of two sizes pool to the same one.

    Two windows that share a maximum write it once; 2x2 windows at stride 2 share none.
    """
    batch, channels = x.shape[:2]
    flat = x.new_zeros(batch, channels, size[0] * size[1])
    return flat.scatter(2, places.flatten(2), x.flatten(2)).view(batch, channels, *size)


def bed_of_nails(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value at the top left of its 2x2 cell, zeros elsewhere; the result [B, C, *size] is cut where a side is odd."""
    y = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    y[:, :, ::2, ::2] = x
    return y[:, :, : size[0], : size[1]]


def nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value in all of its 2x2 cell, cut where a side is odd."""
    y = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return y[:, :, : size[0], : size[1]]


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolated between cell centres (half-pixel centres, edges repeated)."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def crop_like(x: Tensor, other: Tensor) -> Tensor:
    """The top left of `x`, as large as `other`."""
    return x[:, :, : other.shape[2], : other.shape[3]]
