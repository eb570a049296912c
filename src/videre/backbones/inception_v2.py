"""Inception V2, also called BN-Inception.

Ioffe & Szegedy, Batch Normalization, 2015, figure 5; the widths of the other variants are those of
tf_slim/nets/inception_v2.py. Units are called as in the paper, 3a to 5b (slim: Mixed_3b to Mixed_5c), and their
convolutions as in the Caffe net, whose published weights load without more ado.
"""

from __future__ import annotations

import re
from functools import partial

from torch import nn

from videre.backbones.inception_v3 import Branch, Chain, ConvNorm, Pool, add_units, check, inside
from videre.errors import ConfigError
from videre.layers.conv import make_conv

VARIANTS = ("separable", "dense", "caffe")


def unit(one: int, three: tuple[int, int], double: tuple[int, int], pool: str, pooled: int) -> list[Branch]:
    """1x1; the two of `convolutions`; pool - 1x1."""
    return [[("1x1", one, 1)], *convolutions(three, double), [pool, ("pool_proj", pooled, 1)]]


def reduction(three: tuple[int, int], double: tuple[int, int]) -> list[Branch]:
    """The two of `convolutions`, with a stride, beside a pool that passes all channels on."""
    return [*convolutions(three, double), ["max"]]


def convolutions(three: tuple[int, int], double: tuple[int, int]) -> list[Branch]:
    """1x1 - 3x3, with a width for each; 1x1 - 3x3 - 3x3, the last two equally wide."""
    return [
        [("3x3_reduce", three[0], 1), ("3x3", three[1], 3)],
        [("double_3x3_reduce", double[0], 1), ("double_3x3_1", double[1], 3), ("double_3x3_2", double[1], 3)],
    ]


def plan(pooled: int) -> dict[int, dict[str, list[Branch]]]:
    """The units by stride. pooled: channels of the pool's projection in 4c and 4d, where paper and slim differ."""
    return {
        8: {
            "inception_3a": unit(64, (64, 64), (64, 96), "mean", 32),
            "inception_3b": unit(64, (64, 96), (64, 96), "mean", 64),
        },
        16: {
            "inception_3c": reduction((128, 160), (64, 96)),
            "inception_4a": unit(224, (64, 96), (96, 128), "mean", 128),
            "inception_4b": unit(192, (96, 128), (96, 128), "mean", 128),
            "inception_4c": unit(160, (128, 160), (128, 160), "mean", pooled),
            "inception_4d": unit(96, (128, 192), (160, 192), "mean", pooled),
        },
        32: {
            "inception_4e": reduction((128, 192), (192, 256)),
            "inception_5a": unit(352, (192, 320), (160, 224), "mean", 128),
            "inception_5b": unit(352, (192, 320), (192, 224), "max", 128),
        },
    }


class InceptionV2(Chain):
    """Feature maps at strides 4, 8, 16, 32 (192, 320, 576, 1024 channels; the third of "caffe" has 608).

    Args:
        variant: "separable": slim's, whose first layer is a 7x7 on each channel and a 1x1 over them; its ImageNet
            weights have norms without a factor: a file of them must hold ones there. "dense": slim's with a plain 7x7.
            "caffe": the paper's widths, and biases before the norms (eps 1e-5).
        norm: see `layers.norm`. eps: of the norm. channels: of the input.
        padding: "half", "same" (slim's weights) or "ceil" (the Caffe weights; see `Pool`).
        last: the last stride built. vector: build `top`, the mean over the last map.
        output_stride: 32, or 16 or 8 by dilation.
    """

    LOGITS = "last_linear"
    EPS = 1e-3
    dropout = 0.2

    def __init__(
        self,
        variant: str = "separable",
        norm: str = "frozen",
        padding: str = "half",
        channels: int = 3,
        eps: float = 1e-3,
        last: int = 32,
        vector: bool = False,
        output_stride: int = 32,
    ) -> None:
        if variant not in VARIANTS:
            raise ConfigError(f"variant must be one of {', '.join(VARIANTS)}; found {variant!r}")
        check(padding, ("half", "same", "ceil"), output_stride)
        conv = partial(ConvNorm, norm=norm, eps=eps, bias=variant == "caffe")
        edge = inside(padding)
        stem: dict[str, nn.Module] = {"conv1_7x7_s2": conv(channels, 64, 7, 2, padding=edge)}
        if variant == "separable":
            stem = {
                "conv1_depthwise": make_conv(channels, 8 * channels, 7, 2, groups=channels, padding=edge),
                "conv1_7x7_s2": conv(8 * channels, 64, 1, padding=edge),
            }
        layers: dict[int, dict[str, nn.Module]] = {
            2: stem,
            4: {
                "pool1_3x3_s2": Pool("max", 2, padding),
                "conv2_3x3_reduce": conv(64, 64, 1, padding=edge),
                "conv2_3x3": conv(64, 192, 3, padding=edge),
            },
            8: {"pool2_3x3_s2": Pool("max", 2, padding)},
            16: {},
            32: {},
        }
        units = plan(pooled=128 if variant == "caffe" else 96)
        widths = {4: 192, **add_units(layers, units, 192, conv, padding, output_stride)}
        super().__init__(layers, widths, last, vector, output_stride)

    def _own_name(self, name: str) -> str:
        """The Caffe net has no units: inception_3a_3x3_bn.weight is inception_3a.3x3.bn.weight here."""
        found = re.fullmatch(r"(conv\d|inception_\d[a-e])_(\w+?)(_bn)?\.(\w+)", name)
        if found is None:
            return super()._own_name(name)
        unit, layer, norm, tensor = found.groups()
        return f"{unit}{'_' if unit.startswith('conv') else '.'}{layer}.{'bn' if norm else 'conv'}.{tensor}"
