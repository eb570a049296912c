"""Feature pyramid: every level gets the meaning of the deeper ones at its own resolution.

Lin et al., Feature Pyramid Networks for Object Detection, 2017. As torchvision and detectron2 build it: 1x1 lateral
convolutions, nearest upsampling and sum, 3x3 output convolutions, and one more level by subsampling the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from videre.layers.conv import conv_block


class FeaturePyramid(nn.Module):
    """From backbone maps to maps of equal width.

    Args:
        channels: stride -> channels of the backbone's maps, finest first.
        width: channels of every output.
        norm: "none" (a bias instead, as published) or another of `layers.norm`.
        extra: append a level of twice the last stride by taking every second pixel (for the RPN).
    """

    def __init__(self, channels: Mapping[int, int], width: int = 256, norm: str = "none", extra: bool = True) -> None:
        super().__init__()
        block = lambda c, kernel: conv_block(c, width, kernel, norm=norm, activation=None)
        self.lateral = nn.ModuleList(block(c, 1) for c in channels.values())
        self.output = nn.ModuleList(block(width, 3) for _ in channels)
        self.extra = extra
        self.width = width
        last = list(channels)[-1]
        self.strides = [*channels, *([last * 2] if extra else [])]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps [B, C_l, H_l, W_l], finest first, to maps [B, width, H_l, W_l] (and the extra one)."""
        laterals = [lateral(x) for lateral, x in zip(self.lateral, features)]
        for level in range(len(laterals) - 2, -1, -1):
            deeper = F.interpolate(laterals[level + 1], size=laterals[level].shape[2:], mode="nearest")
            laterals[level] = laterals[level] + deeper
        outputs = [output(x) for output, x in zip(self.output, laterals)]
        return [*outputs, outputs[-1][:, :, ::2, ::2]] if self.extra else outputs
