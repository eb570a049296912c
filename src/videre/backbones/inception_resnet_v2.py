"""Inception-ResNet V2.

Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, 2016; widths and
scales are those of tf_slim/nets/inception_resnet_v2.py, from which the published weights come. Tensor names are those of
Cadene/pretrained-models.pytorch and of timm.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones.inception_v3 import Chain, ConvNorm, Pool, check, inside, spread
from videre.layers.conv import make_conv

WIDTHS = {4: 192, 8: 320, 16: 1088, 32: 1536}


class InceptionResNetV2(Chain):
    """Feature maps at strides 4, 8, 16, 32 (192, 320, 1088, 1536 channels).

    The auxiliary head of the training is not built. slim's own ImageNet weights have norms without a factor: a file of
    them must hold ones there.

    Args:
        norm: see `layers.norm`. eps: of the norm. channels: of the input.
        padding: "half", "same" or "valid"; see `InceptionV3`. Published weights classify with "valid"; slim's detectors
            use "same".
        last: the last stride built. vector: build `top`, the mean over the last map.
        output_stride: 32, or 16 or 8 by dilation.
    """

    LOGITS = "last_linear"
    EPS = 1e-3
    dropout = 0.2

    def __init__(
        self,
        norm: str = "frozen",
        padding: str = "half",
        channels: int = 3,
        eps: float = 1e-3,
        last: int = 32,
        vector: bool = False,
        output_stride: int = 32,
    ) -> None:
        check(padding, ("half", "same", "valid"), output_stride)
        inner = inside(padding)
        conv = partial(ConvNorm, norm=norm, eps=eps, padding=inner)
        edge = partial(ConvNorm, norm=norm, eps=eps, padding=padding)
        step_16, first_16, rate_16 = spread(16, output_stride)
        step_32, first_32, rate_32 = spread(32, output_stride)

        block35 = lambda: Residual(
            320,
            128,
            0.17,
            conv(320, 32, 1),
            nn.Sequential(conv(320, 32, 1), conv(32, 32, 3)),
            nn.Sequential(conv(320, 32, 1), conv(32, 48, 3), conv(48, 64, 3)),
        )
        block17 = lambda: Residual(
            1088,
            384,
            0.10,
            conv(1088, 192, 1),
            nn.Sequential(conv(1088, 128, 1), conv(128, 160, (1, 7), 1, rate_16), conv(160, 192, (7, 1), 1, rate_16)),
        )
        block8 = lambda scale=0.20, relu=True: Residual(
            2080,
            448,
            scale,
            conv(2080, 192, 1),
            nn.Sequential(conv(2080, 192, 1), conv(192, 224, (1, 3), 1, rate_32), conv(224, 256, (3, 1), 1, rate_32)),
            relu=relu,
        )
        layers: dict[int, dict[str, nn.Module]] = {
            2: {
                "conv2d_1a": edge(channels, 32, 3, 2),
                "conv2d_2a": edge(32, 32, 3),
                "conv2d_2b": conv(32, 64, 3),
            },
            4: {
                "maxpool_3a": Pool("max", 2, padding),
                "conv2d_3b": conv(64, 80, 1),
                "conv2d_4a": edge(80, 192, 3),
            },
            8: {
                "maxpool_5a": Pool("max", 2, padding),
                "mixed_5b": Branches(
                    conv(192, 96, 1),
                    nn.Sequential(conv(192, 48, 1), conv(48, 64, 5)),
                    nn.Sequential(conv(192, 64, 1), conv(64, 96, 3), conv(96, 96, 3)),
                    # the ports agree with TensorFlow here: this mean leaves the padding out whatever the others do
                    nn.Sequential(Pool("mean", 1, "same"), conv(192, 64, 1)),
                ),
                "repeat": nn.Sequential(*(block35() for _ in range(10))),
            },
            16: {
                "mixed_6a": Branches(
                    edge(320, 384, 3, step_16, first_16),
                    nn.Sequential(
                        conv(320, 256, 1), conv(256, 256, 3, 1, first_16), edge(256, 384, 3, step_16, first_16)
                    ),
                    Pool("max", step_16, padding, first_16),
                ),
                "repeat_1": nn.Sequential(*(block17() for _ in range(20))),
            },
            32: {
                "mixed_7a": Branches(
                    nn.Sequential(conv(1088, 256, 1), edge(256, 384, 3, step_32, first_32)),
                    nn.Sequential(conv(1088, 256, 1), edge(256, 288, 3, step_32, first_32)),
                    nn.Sequential(
                        conv(1088, 256, 1), conv(256, 288, 3, 1, first_32), edge(288, 320, 3, step_32, first_32)
                    ),
                    Pool("max", step_32, padding, first_32),
                ),
                "repeat_2": nn.Sequential(*(block8() for _ in range(9))),
                "block8": block8(scale=1.0, relu=False),
                "conv2d_7b": conv(2080, 1536, 1),
            },
        }
        super().__init__(layers, WIDTHS, last, vector, output_stride)


class Branches(nn.Module):
    """Branches that read one map [B, C, H, W], their results concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.names = [f"branch{i}" for i in range(len(branches))]
        for name, branch in zip(self.names, branches):
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([getattr(self, name)(x) for name in self.names], 1)


class Residual(Branches):
    """What the branches give, brought back to the map's width, scaled down and added to it.

    Args:
        channels: of the map. width: of all branches. scale: small, since nets this wide die in training without it
            (section 3.3 of the paper). relu: of the sum.
    """

    def __init__(self, channels: int, width: int, scale: float, *branches: nn.Module, relu: bool = True) -> None:
        super().__init__(*branches)
        self.conv2d = make_conv(width, channels, 1, bias=True)
        self.scale, self.relu = scale, relu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale * self.conv2d(super().forward(x))
        return F.relu(x) if self.relu else x
