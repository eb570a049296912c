"""FCN-32s, 16s, 8s: a classifier made convolutional, its coarse scores made fine again and joined with finer ones.

Long, Shelhamer and Darrell, Fully Convolutional Networks for Semantic Segmentation, 2015; with the constants of the
release (shelhamer/fcn.berkeleyvision.org).

    model = FCN(Schema(pixels=Categories.of(["road", "car"])), backbone="resnet18", finest=8)
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import make_backbone
from videre.backbones.base import load_layers
from videre.backbones.vgg import VGG
from videre.errors import ConfigError
from videre.layers.upsample import BilinearDeconv, crop_like
from videre.models.segment.segmenter import LOGITS, Segmenter
from videre.structures import Preprocess, Schema

BORDER = 100
"""Zeros around the picture in the release: its 7x7 layer has no padding, and a picture must not come out smaller than
it went in."""
OFFSETS = {32: 19, 16: 27, 8: 31}
"""Where the picture lies in the scores of the release, by the finest stride."""
SKIP_OFFSETS = {16: 5, 8: 9}
"""Where the scores from below lie in those of pool 4 and pool 3."""
AT_ONCE = {16: 0.01, 8: 0.0001}
"""Factors of the pools in the release's 8s "at once", which does not begin from a 16s."""


class FCN(Segmenter):
    """Scores at stride 32, and at 16 and 8 from the maps there; summed from coarse to fine.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        backbone: any with maps at strides 8, 16, 32. A VGG gets its fully connected layers as convolutions.
        norm, padding, multiplier: of the backbone.
        finest: 32, 16 or 8: the stride of the last sum.
        hidden: channels of the convolutions that were fully connected (VGG alone). dropout: after each of these.
        learned: whether the upsampling, bilinear at the start, is trained. at_once: scale the finer maps as the release
            does where 8s is trained without 16s before it.
        border: "half" pads every layer by half its kernel; "caffe" is the release's geometry (VGG alone).
    """

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "vgg16",
        norm: str = "none",
        padding: str | None = None,
        multiplier: float = 1.0,
        finest: int = 8,
        hidden: int = 4096,
        dropout: float = 0.5,
        learned: bool = True,
        at_once: bool = False,
        border: str = "half",
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        if finest not in OFFSETS:
            raise ConfigError(f"finest must be 32, 16 or 8, found {finest}")
        if border not in ("half", "caffe"):
            raise ConfigError(f"border must be half or caffe, found {border!r}")
        options: dict[str, Any] = {"norm": norm, "channels": len(self.preprocess.mean)}
        options |= {"multiplier": multiplier} if multiplier != 1 else {}
        options |= {"padding": padding} if padding is not None else {}
        self.backbone = make_backbone(backbone, **options)
        self.is_vgg = isinstance(self.backbone, VGG)
        if border == "caffe" and not self.is_vgg:
            raise ConfigError(f"border=caffe is the geometry of VGG's release; leave it out with {backbone}")
        widths = self.backbone.channels
        if self.is_vgg:  # the pool before a stride ends the block that gives the map
            widths = {8: widths[4], 16: widths[8], 32: widths[32]}
            self.hidden = nn.Sequential(
                nn.Conv2d(widths[32], hidden, 7, padding=0 if border == "caffe" else 3),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(hidden, hidden, 1),
                nn.ReLU(),
                nn.Dropout(dropout),
            )
            widths[32] = hidden
        else:
            self.hidden = nn.Sequential(nn.Dropout(dropout))
        self.finest, self.border = finest, border
        self.scale = AT_ONCE if at_once else {16: 1.0, 8: 1.0}
        finer = [stride for stride in (16, 8) if stride >= finest]
        self.scores = nn.ModuleDict(
            {str(stride): nn.Conv2d(widths[stride], self.classes, 1) for stride in (32, *finer)}
        )
        padded = border == "half"
        self.doubled = nn.ModuleDict(
            {str(stride): BilinearDeconv(self.classes, 2, 1 if padded else 0, learned) for stride in finer}
        )
        self.upscore = BilinearDeconv(self.classes, finest, finest // 2 if padded else 0, learned)
        for layer in self.scores.values():
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        maps = self._maps(image)
        scores = self.scores["32"](self.hidden(maps[32]))
        for stride in (16, 8):
            if stride >= self.finest:
                here = self.scores[str(stride)](maps[stride] * self.scale[stride])
                scores = self.doubled[str(stride)](scores)
                if self.border == "caffe":
                    offset = SKIP_OFFSETS[stride]
                    here = here[:, :, offset : offset + scores.shape[2], offset : offset + scores.shape[3]]
                scores = crop_like(scores, here) + here
        logits = self.upscore(scores)
        if self.border == "caffe":
            offset = OFFSETS[self.finest]
            logits = logits[:, :, offset:, offset:]
        return {LOGITS: crop_like(logits, image)}

    def _maps(self, image: Tensor) -> dict[int, Tensor]:
        """The maps that are scored: after pools 3, 4 and 5 of a VGG."""
        if self.border == "caffe":
            image = F.pad(image, [BORDER - 1] * 4)  # the first convolution adds the last row of zeros
        maps = self.backbone(image)
        if not self.is_vgg:
            return maps
        pool = lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True)
        return {8: pool(maps[4]), 16: pool(maps[8]), 32: maps[32]}

    def start_from(self, tensors: dict[str, Tensor]) -> list[str]:
        """The backbone's tensors, and a VGG's fully connected layers as the convolutions that they are."""
        layers = dict(zip(VGG.TOP, (self.hidden[0], self.hidden[3]), strict=True)) if self.is_vgg else {}
        return load_layers(layers, tensors, super().start_from(tensors))
