"""U-Net with residual connections, on any backbone: what it sees at each stride is handed to residual blocks that go up.

The idea of Ronneberger et al. (2015) with the blocks of He et al. (Identity Mappings in Deep Residual Networks, 2016), as
Drozdzal et al. (The Importance of Skip Connections in Biomedical Image Segmentation, 2016) and Zhang et al. (Road
Extraction by Deep Residual U-Net, 2018) joined them.

    model = ResidualUNet(Schema(pixels=Categories.of(["road", "car"])), backbone="mobilenet_v2", norm="none")
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import make_backbone
from videre.layers.conv import initialise
from videre.layers.norm import make_norm
from videre.layers.upsample import bilinear
from videre.models.base import Rows
from videre.models.segment.segmenter import LOGITS, Segmenter
from videre.structures import Preprocess, Schema

WIDTHS = {16: 256, 8: 128, 4: 64, 2: 32, 1: 16}
"""Channels going up, by stride; the common choice of practice."""
STEM = 16
"""Channels of what is seen at strides 1 and 2, finer than backbones give."""


class ResidualUNet(Segmenter):
    """A backbone down, residual blocks up.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        backbone: any with maps at strides 4 to 32. norm, padding, multiplier: of the backbone. head_norm: of the blocks going up.
        width: factor on the channels going up.
        finest: the stride at which it ends: 1, 2 or 4; logits are then interpolated.
        skips: hand the maps over. residual: add each block's input to its output.
        deep_supervision: a head at every stride going up, its loss weighed .5 a step.
    """

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "resnet18",
        norm: str = "frozen",
        padding: str | None = None,
        multiplier: float = 1.0,
        head_norm: str = "group",
        width: float = 1.0,
        finest: int = 1,
        skips: bool = True,
        residual: bool = True,
        deep_supervision: bool = False,
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        channels = len(self.preprocess.mean)
        options: dict[str, Any] = {"norm": norm, "channels": channels}
        options |= {"multiplier": multiplier} if multiplier != 1 else {}
        options |= {"padding": padding} if padding is not None else {}
        self.backbone = make_backbone(backbone, **options)
        seen = dict(self.backbone.channels)
        self.stem = nn.ModuleDict()
        for stride in (s for s in (1, 2) if s >= finest and s not in seen):
            self.stem[str(stride)] = nn.Sequential(
                nn.Conv2d(channels, STEM, 3, stride, 1, bias=False), make_norm(head_norm, STEM), nn.ReLU()
            )
            seen[stride] = STEM
        self.strides = sorted((s for s in seen if s >= finest), reverse=True)
        before = seen[self.strides[0]]
        self.up, outs = nn.ModuleDict(), dict[int, int]()
        for stride in self.strides[1:]:
            out = max(8, round(WIDTHS[stride] * width / 8) * 8)
            outs[stride] = out
            self.up[str(stride)] = ResidualBlock(before + (seen[stride] if skips else 0), out, head_norm, residual)
            before = out
        self.logits = nn.Conv2d(before, self.classes, 1)
        self.side = nn.ModuleDict()
        if deep_supervision:
            self.side.update({f"stride_{s}": nn.Conv2d(out, self.classes, 1) for s, out in list(outs.items())[:-1]})
        weights = {name: 0.5 ** (place + 1) for place, name in enumerate(reversed(list(self.side)))}
        self.head_weights = {LOGITS: 1.0, **weights}
        self.skips = skips
        for part in (self.stem, self.up):
            initialise(part, "fan_in")

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(image)
        maps |= {int(stride): layer(image) for stride, layer in self.stem.items()}
        x, found = maps[self.strides[0]], {}
        for stride in self.strides[1:]:
            skip = maps[stride]
            x = bilinear(x, (skip.shape[2], skip.shape[3]))
            x = self.up[str(stride)](torch.cat([x, skip], 1) if self.skips else x)
            name = f"stride_{stride}"
            if self.training and name in self.side:
                found[name] = self.side[name](x)
        return {LOGITS: self.logits(x), **found}

    def named_rows(self) -> dict[str, Rows]:
        rows = super().named_rows()
        return rows | {name: Rows("pixels") for name in self.state_dict() if name.startswith("side.")}


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3x3 twice, and the input (through a 1x1 where channels differ) added; `residual`: whether it is."""

    def __init__(self, channels: int, out: int, norm: str, residual: bool) -> None:
        super().__init__()
        self.norm1, self.conv1 = make_norm(norm, channels), nn.Conv2d(channels, out, 3, padding=1, bias=norm == "none")
        self.norm2, self.conv2 = make_norm(norm, out), nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out, 1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return y if self.shortcut is None else y + self.shortcut(x)
