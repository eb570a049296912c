"""Spatial pyramid pooling: the map under a region, pooled into cells of several sizes, is as long for every region.

He et al., Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, 2014.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videre.ops.roi_pool import roi_pool

BINS = (6, 3, 2, 1)
"""Cells a side of each level: 50 in all."""
AREA = 224.0**2
"""Of a region at the scale that it is read at."""


def spatial_pyramid(features: Tensor, rois: Tensor, stride: int, bins: Sequence[int] = BINS) -> Tensor:
    """The largest features of each cell of each level.

    A region covers the features from floor(x1 / stride) + 1 to ceil(x2 / stride) - 1, both included (the paper's appendix A), and
    at least one.

    Args:
        features: [B, C, H, W]. rois: [R, 5], the number of the picture, x1, y1, x2, y2 in its pixels.

    Returns:
        [R, C * 50].
    """
    first = (rois[:, 1:3] / stride).floor() + 1
    last = (rois[:, 3:5] / stride).ceil() - 1
    last = torch.maximum(first, last)
    limit = torch.tensor([features.shape[3] - 1, features.shape[2] - 1], dtype=rois.dtype, device=rois.device)
    first, last = torch.minimum(first, limit), torch.minimum(last, limit)
    cells = torch.cat([rois[:, :1], first, last], 1)
    return torch.cat([roi_pool(features, cells, side, 1.0).flatten(1) for side in bins], 1)


def nearest_scale(rois: Tensor, scales: Sequence[float]) -> Tensor:
    """The number of the scale [R] at which the area of each region [R, 5] is nearest `AREA`."""
    area = (rois[:, 3:5] - rois[:, 1:3]).prod(1)
    factors = torch.tensor(scales, dtype=rois.dtype, device=rois.device) ** 2
    return (area[:, None] * factors - AREA).abs().argmin(1)
