"""Convolution, normalisation, activation: the block that most nets repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from videre.layers.norm import make_norm


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: ceil(n / stride) outputs, the odd zero goes after.

    A 3x3 kernel of stride 2 on an even side pads 0 before and 1 after, where torch's `padding=1` pads 1 before:
    weights trained with one read a picture shifted by a pixel with the other.
    """

    def forward(self, x: Tensor) -> Tensor:
        x, padding = self.pad(x)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def pad(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The picture and the padding that the convolution adds itself: all of it, or none where the sides differ."""
        before_after = []
        for side, kernel, stride, dilation in zip(x.shape[2:], self.kernel_size, self.stride, self.dilation):
            total = max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
            before_after.append((total // 2, total - total // 2))
        (top, bottom), (left, right) = before_after
        if top == bottom and left == right:
            return x, (top, left)
        return F.pad(x, (left, right, top, bottom)), (0, 0)


class ConvReLU(nn.Conv2d):
    """A convolution with a bias and max(0, .), as one layer with the convolution's names."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


def make_conv(
    channels_in: int,
    channels_out: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    padding: str = "half",
) -> nn.Conv2d:
    """A convolution whose padding is "half" (kernel // 2 on both sides, torch's habit), "same" (TensorFlow's) or "valid"
    (none). kernel: (rows, columns), or both as one number."""
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    if padding == "same":
        return SameConv2d(channels_in, channels_out, (rows, columns), stride, 0, dilation, groups, bias)
    zeros = (0, 0) if padding == "valid" else (rows // 2 * dilation, columns // 2 * dilation)
    return nn.Conv2d(channels_in, channels_out, (rows, columns), stride, zeros, dilation, groups, bias)


def conv_block(
    channels_in: int,
    channels_out: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    groups: int = 1,
    norm: str = "batch",
    activation: Callable[[], nn.Module] | None = nn.ReLU,
    padding: str = "half",
    eps: float = 1e-5,
    dilation: int = 1,
) -> nn.Sequential:
    """Convolution (with a bias only where no norm follows), norm, activation, as positions 0, 1, 2."""
    layers: list[nn.Module] = [
        make_conv(channels_in, channels_out, kernel, stride, dilation, groups, norm == "none", padding),
        make_norm(norm, channels_out, eps),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def initialise(module: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """He's rule for what a ReLU follows, biases 0; by fan-out as ResNet was published, or by "fan_in"."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(m.weight, mode=mode, nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
