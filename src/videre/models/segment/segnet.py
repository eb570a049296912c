"""SegNet: an encoder that remembers where its maxima were, and a decoder that puts them back.

Badrinarayanan, Kendall and Cipolla, SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation, 2017.

    model = SegNet(Schema(pixels=Categories.of(["road", "car"])), backbone="vgg16_bn")
"""

from __future__ import annotations

from torch import Tensor, nn

from videre.backbones import find_backbone, make_backbone
from videre.backbones.vgg import VGG
from videre.errors import ConfigError
from videre.layers.conv import initialise
from videre.layers.norm import make_norm
from videre.layers.upsample import bed_of_nails, bilinear, max_pool_with_places, max_unpool, nearest
from videre.models.segment.segmenter import LOGITS, Segmenter
from videre.structures import Preprocess, Schema

UNPOOLS = ("places", "nails", "nearest", "bilinear")


class SegNet(Segmenter):
    """A VGG and its mirror image.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        backbone: a VGG. norm, multiplier: of the backbone and of the decoder.
        unpool: "places" puts each value where its maximum was; "nails" at the top left of its cell, "nearest" into all of
            it, "bilinear" between.
    """

    # padded places are equal all over, so that rounding alone would decide where their maxima are
    usual = Preprocess(short_side=None, long_side=None, divisor=1)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        backbone: str = "vgg16_bn",
        norm: str = "batch",
        multiplier: float = 1.0,
        unpool: str = "places",
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        if unpool not in UNPOOLS:
            raise ConfigError(f"unpool must be one of {', '.join(UNPOOLS)}; found {unpool!r}")
        self.unpool = unpool
        self.backbone = make_vgg(backbone, norm, multiplier, len(self.preprocess.mean), type(self).__name__)
        blocks = convolutions(self.backbone)
        self.decoder = nn.ModuleList()
        for place in reversed(range(len(blocks))):
            width = blocks[place][-1]
            outs = [width] * (len(blocks[place]) - 1) + ([blocks[place - 1][-1]] if place else [])
            layers: list[nn.Module] = []
            for out in outs:
                layers += [nn.Conv2d(width, out, 3, padding=1), make_norm(norm, out), nn.ReLU()]
                width = out
            self.decoder.append(nn.Sequential(*layers))
        self.logits = nn.Conv2d(width, self.classes, 3, padding=1)
        initialise(self.decoder, "fan_in")

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        *before, x = self.backbone(image).values()
        for block, pooled in zip(self.decoder, reversed(before)):
            x = block(unpool_by(self.unpool, x, pooled))
        return {LOGITS: self.logits(x)}


def unpool_by(way: str, x: Tensor, pooled: Tensor) -> Tensor:
    """A map [B, C, h, w] as large as the one that was pooled to its size, one of `UNPOOLS`."""
    size = pooled.shape[2], pooled.shape[3]
    if way == "places":
        return max_unpool(x, max_pool_with_places(pooled)[1], size)
    return {"nails": bed_of_nails, "nearest": nearest, "bilinear": bilinear}[way](x, size)


def make_vgg(name: str, norm: str, multiplier: float, channels: int, system: str) -> VGG:
    """The encoder, which gives the map before each pool, and the last one after it.

    Raises ConfigError where `name` is no VGG, whose pools are what the decoder mirrors.
    """
    if not issubclass(find_backbone(name), VGG):
        raise ConfigError(
            f"a {system} mirrors a VGG, found backbone={name}; take vgg16_bn, or residual-unet with this backbone"
        )
    backbone = make_backbone(name, norm=norm, channels=channels, multiplier=multiplier, first=1)
    assert isinstance(backbone, VGG)
    return backbone


def convolutions(backbone: VGG) -> list[list[int]]:
    """Output channels of the convolutions, block by block."""
    blocks: list[list[int]] = [[]]
    for layer in backbone.features:
        if isinstance(layer, nn.Conv2d):
            blocks[-1].append(layer.out_channels)
        elif isinstance(layer, nn.MaxPool2d):
            blocks.append([])
    return [block for block in blocks if block]
