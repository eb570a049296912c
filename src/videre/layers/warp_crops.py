"""Regions cut out of a picture and warped to one size, whatever their shape, with context around them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp_crops(image: Tensor, rois: Tensor, size: int, context: int) -> Tensor:
    """Each region of a batch of pictures as a picture of its own (Girshick et al., R-CNN, 2014, appendix A).

    The region grows about its middle so that, warped to `size` pixels a side, `context` of them lie around it on every
    side; what lies outside the picture is 0, the mean colour of a normalised picture. Bilinear, without averaging when it
    shrinks, as in the paper's code.

    Args:
        image: [B, C, H, W]. rois: [R, 5], the number of the picture, x1, y1, x2, y2 in its pixels.
        size: side of the result. context: pixels of the result; the paper has 16 of 227.

    Returns:
        [R, C, size, size].
    """
    height, width = image.shape[-2:]
    grown = size / (size - 2 * context)
    middle = (rois[:, 1:3] + rois[:, 3:5]) / 2
    half = (rois[:, 3:5] - rois[:, 1:3]).clamp(min=1e-3) / 2 * grown
    steps = (torch.arange(size, device=image.device, dtype=torch.float32) + 0.5) / size * 2 - 1
    x = (middle[:, :1] + half[:, :1] * steps) / width * 2 - 1  # in grid_sample's units, of all pixels from -1 to 1
    y = (middle[:, 1:] + half[:, 1:] * steps) / height * 2 - 1
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], 3)
    crops = image.new_empty((rois.shape[0], image.shape[1], size, size)).to(memory_format=torch.channels_last)
    for i in range(image.shape[0]):  # a picture is not copied for each of its regions
        of = (rois[:, 0] == i).nonzero().flatten()
        if len(of):
            rows = grid[of].reshape(1, -1, size, 2).to(image.dtype)
            found = F.grid_sample(image[i : i + 1], rows, padding_mode="zeros", align_corners=False)
            crops[of] = found[0].view(image.shape[1], -1, size, size).transpose(0, 1)
    return crops
