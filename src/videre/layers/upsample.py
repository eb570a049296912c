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


class BilinearDeconv(nn.ConvTranspose2d):
    """A transposed convolution that begins as bilinear interpolation by `factor`, each channel for itself.

    Kernel 2 * factor. Without padding n cells become (n + 1) * factor pixels; with `factor // 2` they become n * factor.

    Args:
        learned: False keeps it as it is.
    """

    def __init__(self, channels: int, factor: int, padding: int = 0, learned: bool = True) -> None:
        super().__init__(channels, channels, 2 * factor, factor, padding, bias=False)
        self.factor, self.border = factor, padding
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(channels), range(channels)] = bilinear_kernel(2 * factor)
        self.weight.requires_grad_(learned)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Each pixel reads 2x2 cells, so that all pixels of a cell are channels of one small convolution.

        oneDNN's own way takes forty times as long with AMX for a kernel of 64 in bfloat16.
        """
        ins, outs, s = self.in_channels, self.out_channels, self.factor
        kernel = self.weight.view(ins, outs, 2, s, 2, s).permute(1, 3, 5, 0, 2, 4).flip(4, 5)
        y = F.pixel_shuffle(F.conv2d(x, kernel.reshape(outs * s * s, ins, 2, 2), padding=1), s)
        height, width = ((n + 1) * s - 2 * self.border for n in x.shape[2:])
        return y[:, :, self.border : self.border + height, self.border : self.border + width]


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
