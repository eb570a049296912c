"""The stacked hourglass: what pose and segmentation share.

Newell, Yang and Deng, Stacked Hourglass Networks for Human Pose Estimation, 2016; constants and order of layers of the
authors' PyTorch port (princeton-vl/pytorch_stacked_hourglass).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from videre.layers.norm import make_norm
from videre.layers.upsample import crop_like, nearest

LEVELS = 4
"""Times that an hourglass halves."""


class StackedHourglass(nn.Module):
    """Pictures [B, C, H, W] to maps [B, outputs, H / 4, W / 4], one from each stack.

    Sides that are multiples of 64 are halved evenly; others are cut where they come together again.

    Args:
        outputs: channels of the maps. stacks: how many. width: channels inside. norm: see `layers.norm`.
    """

    def __init__(self, outputs: int, stacks: int = 2, width: int = 256, norm: str = "batch", channels: int = 3) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.pre = nn.Sequential(
            nn.Conv2d(channels, quarter, 7, 2, 3),
            make_norm(norm, quarter),
            nn.ReLU(),
            Residual(quarter, half, norm),
            nn.MaxPool2d(2, ceil_mode=True),
            Residual(half, half, norm),
            Residual(half, width, norm),
        )
        self.hourglasses = nn.ModuleList(Hourglass(LEVELS, width, norm) for _ in range(stacks))
        self.features = nn.ModuleList(
            nn.Sequential(Residual(width, width, norm), nn.Conv2d(width, width, 1), make_norm(norm, width), nn.ReLU())
            for _ in range(stacks)
        )
        self.outs = nn.ModuleList(nn.Conv2d(width, outputs, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))
        self.merge_maps = nn.ModuleList(nn.Conv2d(outputs, width, 1) for _ in range(stacks - 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        x, found = self.pre(image), []
        for n, hourglass in enumerate(self.hourglasses):
            features = self.features[n](hourglass(x))
            found.append(self.outs[n](features))
            if n < len(self.merge_maps):
                x = x + self.merge_features[n](features) + self.merge_maps[n](found[-1])
        return found


class Hourglass(nn.Module):
    """Half the size and back, with a smaller hourglass inside, beside a block at full size."""

    def __init__(self, levels: int, width: int, norm: str) -> None:
        super().__init__()
        self.up = Residual(width, width, norm)
        self.before = Residual(width, width, norm)
        self.inside = Hourglass(levels - 1, width, norm) if levels > 1 else Residual(width, width, norm)
        self.after = Residual(width, width, norm)

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inside(self.before(F.max_pool2d(x, 2, ceil_mode=True))))
        beside = self.up(x)
        return beside + crop_like(nearest(low, (2 * low.shape[2], 2 * low.shape[3])), beside)


class Residual(nn.Module):
    """Norm and ReLU before each of 1x1, 3x3, 1x1, through half the channels; nothing after the sum."""

    def __init__(self, channels: int, out: int, norm: str) -> None:
        super().__init__()
        half = out // 2
        self.bn1, self.conv1 = make_norm(norm, channels), nn.Conv2d(channels, half, 1)
        self.bn2, self.conv2 = make_norm(norm, half), nn.Conv2d(half, half, 3, padding=1)
        self.bn3, self.conv3 = make_norm(norm, half), nn.Conv2d(half, out, 1)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + (x if self.skip is None else self.skip(x))
