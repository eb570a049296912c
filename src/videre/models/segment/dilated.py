"""DeepLabv3 and the dilated FCN: a backbone that stays at stride 8, and a head that looks around.

Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017. Tensor names and constants of the heads are
torchvision's, whose published checkpoints load by name (`models.official`).

    model = DeepLabV3(Schema(pixels=VOC21), backbone="resnet50")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones import make_backbone, takes
from videre.errors import ConfigError
from videre.layers.conv import conv_block
from videre.layers.upsample import crop_like
from videre.models.base import Rows
from videre.models.segment.segmenter import LOGITS, Segmenter, resize_logits
from videre.structures import Preprocess, Schema

AUXILIARY = "auxiliary"
AUXILIARY_WEIGHT = 0.5
"""Of the second head's loss, as torchvision trains."""
RATES = (12, 24, 36)
"""Dilations of the head at stride 8; half of them at 16 (Chen et al., 2017, section 4.1)."""


class Dilated(Segmenter):
    """What both have in common: the dilated backbone, and a second head on its last map but one while training.

    Args:
        corners: the logits of a cell are put where the middle of what it saw lies, as TensorFlow does; without, as in
            torchvision, they lie half a stride to the bottom right of it.
    """

    usual = Preprocess(short_side=None, long_side=None, divisor=8)
    head_weights = {LOGITS: 1.0, AUXILIARY: AUXILIARY_WEIGHT}  # noqa: RUF012 - never changed

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None,
        backbone: str,
        norm: str,
        padding: str | None,
        multiplier: float,
        output_stride: int,
        auxiliary: bool,
        head_norm: str,
        corners: bool,
        loss: str,
        class_weights: dict[str, float] | None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        if not takes(backbone, "output_stride"):
            raise ConfigError(
                f"backbone {backbone} has no output_stride; take a ResNet, a VGG, MobileNetV2 or timm:NAME"
            )
        options: dict[str, Any] = {"norm": norm, "channels": len(self.preprocess.mean), "output_stride": output_stride}
        options |= {"multiplier": multiplier} if multiplier != 1 else {}
        options |= {"padding": padding} if padding is not None else {}
        if takes(backbone, "wide"):  # a MobileNetV2 as TensorFlow's DeepLab has it (feature_extractor.py)
            options |= {"wide": False, "divisor": 1}
        self.backbone = make_backbone(backbone, **options)
        self.corners, self.output_stride = corners, output_stride
        *_, before, last = self.backbone.channels
        self.taps = (before, last)
        self.classifier: nn.Module = nn.Identity()
        self.aux_classifier = fcn_head(self.backbone.channels[before], self.classes, head_norm) if auxiliary else None

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(self._padded(image))
        before, last = (maps[stride] for stride in self.taps)
        found = {LOGITS: self.classifier(last)}
        if self.training and self.aux_classifier is not None:
            found[AUXILIARY] = self.aux_classifier(before)
        return {head: self._resized(logits, image) for head, logits in found.items()}

    def _padded(self, image: Tensor) -> Tensor:
        """With sides of n strides and a pixel, the cells' middles are pixels 0, stride, 2 strides, to the last."""
        if not self.corners:
            return image
        height, width = image.shape[2:]
        return F.pad(image, (0, (1 - width) % self.output_stride, 0, (1 - height) % self.output_stride))

    def _resized(self, logits: Tensor, image: Tensor) -> Tensor:
        """Each cell's logits at its middle; else it is left to `resize_logits`."""
        if not self.corners:
            return logits
        size = [(n - 1) * self.output_stride + 1 for n in logits.shape[2:]]
        return crop_like(F.interpolate(logits, size, mode="bilinear", align_corners=True), image)

    def named_rows(self) -> dict[str, Rows]:
        last = len(self.classifier) - 1 if isinstance(self.classifier, nn.Sequential) else 0
        layers = [n for n in (f"classifier.{last}", "aux_classifier.4") if f"{n}.weight" in self.state_dict()]
        return {f"{layer}.{tensor}": Rows("pixels") for layer in layers for tensor in ("weight", "bias")}


class DilatedFCN(Dilated):
    """torchvision's `fcn_resnet50`: one 3x3 convolution on the last map, then the classes.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        backbone: one that takes an output stride. norm, padding, multiplier: of the backbone.
        output_stride: 8 or 16. auxiliary: a second head on the last map but one, in training. head_norm: of the heads.
        corners: see `Dilated`.
    """

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "resnet50",
        norm: str = "frozen",
        padding: str | None = None,
        multiplier: float = 1.0,
        output_stride: int = 8,
        auxiliary: bool = True,
        head_norm: str = "batch",
        corners: bool = True,
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(
            schema,
            preprocess,
            backbone,
            norm,
            padding,
            multiplier,
            output_stride,
            auxiliary,
            head_norm,
            corners,
            loss,
            class_weights,
        )
        self.classifier = fcn_head(self.backbone.channels[self.taps[1]], self.classes, head_norm)


class DeepLabV3(Dilated):
    """Parallel dilated convolutions and the mean over the picture, joined.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        backbone: one that takes an output stride. norm, padding, multiplier: of the backbone.
        output_stride: 8, or 16, which halves the dilations. auxiliary: a second head on the last map but one, in training.
        width, head_norm: of the head. rates: dilations of its 3x3 convolutions; None: those of the paper; none at all, as
            in TensorFlow's mobile form. refine: a 3x3 convolution before the classes, as torchvision has it.
        corners: see `Dilated`.
    """

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "resnet50",
        norm: str = "frozen",
        padding: str | None = None,
        multiplier: float = 1.0,
        output_stride: int = 8,
        auxiliary: bool = True,
        head_norm: str = "batch",
        width: int = 256,
        rates: Sequence[int] | None = None,
        refine: bool = True,
        corners: bool = True,
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(
            schema,
            preprocess,
            backbone,
            norm,
            padding,
            multiplier,
            output_stride,
            auxiliary,
            head_norm,
            corners,
            loss,
            class_weights,
        )
        if rates is None:
            rates = [rate * 8 // output_stride for rate in RATES]
        self.classifier = nn.Sequential(
            ASPP(self.backbone.channels[self.taps[1]], width, rates, head_norm),
            *(conv_block(width, width, 3, norm=head_norm) if refine else ()),
            nn.Conv2d(width, self.classes, 1),
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 convolution, 3x3 ones of several dilations, the mean over the picture."""

    def __init__(self, channels: int, width: int, rates: Sequence[int], norm: str = "batch") -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                conv_block(channels, width, 1, norm=norm),
                *(conv_block(channels, width, 3, norm=norm, dilation=rate) for rate in rates),
                ImagePool(channels, width, norm),
            ]
        )
        self.project = nn.Sequential(*conv_block((len(rates) + 2) * width, width, 1, norm=norm), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.convs], 1))


class ImagePool(nn.Sequential):
    """The mean over the whole map through a 1x1 convolution, at every place."""

    def __init__(self, channels: int, width: int, norm: str) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_block(channels, width, 1, norm=norm))

    def forward(self, x: Tensor) -> Tensor:
        pooled = x
        for layer in self:
            if not (isinstance(layer, nn.BatchNorm2d) and self.training and len(x) == 1):  # one number has no spread
                pooled = layer(pooled)
        return resize_logits(pooled, x.shape[2:])


def fcn_head(channels: int, classes: int, norm: str) -> nn.Sequential:
    """3x3 to a quarter of the channels, norm, ReLU, dropout, classes; torchvision's positions 0 to 4."""
    width = channels // 4
    return nn.Sequential(*conv_block(channels, width, 3, norm=norm), nn.Dropout(0.1), nn.Conv2d(width, classes, 1))
