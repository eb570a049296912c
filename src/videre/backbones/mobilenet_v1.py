"""MobileNetV1.

Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, 2017, table 1; with
ReLU6, as in the published weights (tensorflow/models, research/slim/nets/mobilenet_v1.py).

Tensor names by TensorFlow's, all under MobilenetV1/:
    Conv2d_0/weights                        features.0.0.weight
    Conv2d_N_depthwise/depthwise_weights    features.N.depthwise.0.weight
    Conv2d_N_pointwise/weights              features.N.pointwise.0.weight
    (each of them)/BatchNorm/…              the same with .1: gamma weight, beta bias, moving_mean running_mean,
                                            moving_variance running_var
    Logits/Conv2d_1c_1x1/weights, biases    classifier.weight, classifier.bias, without row 0, the background
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool
from videre.errors import ConfigError
from videre.layers.conv import conv_block, initialise

PLAN = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
"""Channels and stride of each pair of convolutions."""
TAPS = {4: 3, 8: 5, 16: 11, 32: 13}
"""Stride: the index in `features` of the last layer at that stride."""
MIN_WIDTH = 8


class MobileNetV1(Backbone):
    """Feature maps at strides 4, 8, 16, 32 (128, 256, 512, 1024 channels, times `multiplier`).

    Args:
        multiplier: of every width; published with 1, .75, .5 and .25.
        padding: "same" (TensorFlow's, as the published weights want it) or "half".
        norm: see `layers.norm`; "none" where the weights have batch norm folded in.
        channels: of the input. eps: of the norm.
        last: the last stride built. vector: build `top`, the mean over the last map.
        output_stride: 32, or 16 or 8 by dilation of the depthwise convolutions.
    """

    LOGITS = "classifier"
    EPS = 1e-3
    dropout = 0.001

    def __init__(
        self,
        multiplier: float = 1.0,
        padding: str = "same",
        norm: str = "frozen",
        channels: int = 3,
        eps: float = 1e-3,
        last: int = 32,
        vector: bool = False,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"output_stride must be 8, 16 or 32, found {output_stride}")
        scaled = lambda width: max(MIN_WIDTH, int(width * multiplier))
        block = partial(conv_block, norm=norm, activation=nn.ReLU6, padding=padding, eps=eps)
        width, reached, dilation = scaled(32), 2, 1
        features: list[nn.Module] = [block(channels, width, 3, 2)]
        for out, stride in PLAN:
            rate = dilation
            if reached * stride > output_stride:  # the layer whose stride goes keeps the rate, later ones double it
                stride, dilation = 1, 2 * dilation
            reached *= stride
            depthwise = block(width, width, 3, stride, groups=width, dilation=rate)
            pointwise = block(width, scaled(out), 1)
            features.append(nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise)))
            width = scaled(out)
        self.features = nn.Sequential(*features[: TAPS[last] + 1])
        self.channels = {stride: scaled(PLAN[index - 1][0]) for stride, index in TAPS.items() if stride <= last}
        self.output_stride = output_stride
        self.top, self.width = MeanPool() if vector else None, self.channels[last]
        initialise(self)

    @property
    def stages(self) -> Sequence[nn.Module]:
        starts = [0, 2, 4, 6, 12, 14]  # the stem with the first pair, then where the stride grows
        return [self.features[a:b] for a, b in itertools.pairwise(starts) if a < len(self.features)]

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        maps = {}
        taps = {index: stride for stride, index in TAPS.items()}
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in taps:
                maps[taps[i]] = x
        return maps
