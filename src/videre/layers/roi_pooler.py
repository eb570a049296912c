"""RoI align or pool over a pyramid: each box is read from the level that fits its size (FPN eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.ops.roi_align import roi_align
from videre.ops.roi_pool import roi_pool

POOLS = ("pool", "align")
"""How a RoI is read: the largest feature of each cell, or features interpolated at points of it."""


def fill_up(rois: Tensor, multiple: int = 16) -> Tensor:
    """RoIs [R, 5] with empty ones appended until their number is a multiple: convolutions that follow meet few sizes.

    oneDNN prepares a convolution anew for every batch size that it has not seen, which costs about as much as a small
    one takes; numbers of positives and of detections change with every picture.
    """
    return F.pad(rois, (0, 0, 0, -rois.shape[0] % multiple))


class RoIPooler(nn.Module):
    """Reads RoIs from pyramid levels.

    Args:
        strides: of the levels, finest first, each twice the one before.
        resolution: side of the output.
        sampling_ratio: samples per bin and axis; 0 adapts to the box.
        aligned: shift by half a pixel (detectron2); torchvision's published weights expect False.
        maximum: RoI pool (the largest feature of each bin, its edges rounded) instead of RoI align.
    """

    def __init__(
        self,
        strides: Sequence[int],
        resolution: int,
        sampling_ratio: int = 2,
        aligned: bool = False,
        maximum: bool = False,
    ) -> None:
        super().__init__()
        self.strides = list(strides)
        self.resolution, self.sampling_ratio, self.aligned, self.maximum = resolution, sampling_ratio, aligned, maximum

    def at(self, resolution: int) -> RoIPooler:
        """The same at another resolution."""
        return RoIPooler(self.strides, resolution, self.sampling_ratio, self.aligned, self.maximum)

    def levels(self, rois: Tensor) -> Tensor:
        """Index of the level of each RoI [R, 5]: a box of side 224 is read at stride 16, one of half at half."""
        side = (rois[:, 3:] - rois[:, 1:3]).prod(dim=1).clamp(min=0).sqrt()
        finest, coarsest = self.strides[0].bit_length() - 1, self.strides[-1].bit_length() - 1
        level = torch.floor(4 + torch.log2(side / 224) + 1e-6)
        return level.clamp(min=finest, max=coarsest).to(torch.int64) - finest

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Maps [B, C, H_l, W_l] and RoIs [R, 5] (picture, xyxy in batch pixels) to [R, C, resolution, resolution]."""
        if len(self.strides) == 1:
            return self._pool(features[0], rois, self.strides[0])
        level = self.levels(rois)
        pooled, order = [], []
        for i, stride in enumerate(self.strides):
            index = (level == i).nonzero().flatten()
            pooled.append(self._pool(features[i], rois[index], stride))
            order.append(index)
        # one gather back to the order of the RoIs; empty levels take part, so that every map gets a gradient
        return torch.cat(pooled)[torch.cat(order).argsort()]

    def _pool(self, features: Tensor, rois: Tensor, stride: int) -> Tensor:
        if self.maximum:
            return roi_pool(features, rois, self.resolution, 1 / stride)
        return roi_align(features, rois, self.resolution, 1 / stride, self.sampling_ratio, self.aligned)
