"""Inception V3, and the parts that the three Inception families share.

Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2015, table 1 and figures 5 to 7, 10; widths
as in tf_slim/nets/inception_v3.py and torchvision/models/inception.py, which agree. Tensor names are torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool
from videre.errors import ConfigError
from videre.layers.conv import initialise, make_conv
from videre.layers.norm import make_norm

Step = str | tuple[str, int, int | tuple[int, int]]
"""A 3x3 pool, "mean" or "max", or a convolution: its name, its channels, its kernel."""
Branch = Sequence[Step | list[Step]]
"""Steps one after another; the last may be a list: all of them read what the steps before gave."""


def unit_5(pooled: int) -> list[Branch]:
    """Figure 5: two 3x3 for the look of a 5x5."""
    return [
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ["mean", ("branch_pool", pooled, 1)],
    ]


def unit_6(width: int) -> list[Branch]:
    """Figure 6: a 7x7 as a row and a column."""
    row, column = (1, 7), (7, 1)
    return [
        [("branch1x1", 192, 1)],
        [("branch7x7_1", width, 1), ("branch7x7_2", width, row), ("branch7x7_3", 192, column)],
        [
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, column),
            ("branch7x7dbl_3", width, row),
            ("branch7x7dbl_4", width, column),
            ("branch7x7dbl_5", 192, row),
        ],
        ["mean", ("branch_pool", 192, 1)],
    ]


def unit_7() -> list[Branch]:
    """Figure 7: row and column side by side, where the map is coarsest and may be widest."""
    row, column = (1, 3), (3, 1)
    return [
        [("branch1x1", 320, 1)],
        [("branch3x3_1", 384, 1), [("branch3x3_2a", 384, row), ("branch3x3_2b", 384, column)]],
        [
            ("branch3x3dbl_1", 448, 1),
            ("branch3x3dbl_2", 384, 3),
            [("branch3x3dbl_3a", 384, row), ("branch3x3dbl_3b", 384, column)],
        ],
        ["mean", ("branch_pool", 192, 1)],
    ]


REDUCTION_6: list[Branch] = [
    [("branch3x3", 384, 3)],
    [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
    ["max"],
]
REDUCTION_7: list[Branch] = [
    [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)],
    [
        ("branch7x7x3_1", 192, 1),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, 3),
    ],
    ["max"],
]
"""Figure 10: convolutions of stride 2 beside a pool, so that no map is a bottleneck."""

UNITS = {
    8: {"Mixed_5b": unit_5(32), "Mixed_5c": unit_5(64), "Mixed_5d": unit_5(64)},
    16: {
        "Mixed_6a": REDUCTION_6,
        "Mixed_6b": unit_6(128),
        "Mixed_6c": unit_6(160),
        "Mixed_6d": unit_6(160),
        "Mixed_6e": unit_6(192),
    },
    32: {"Mixed_7a": REDUCTION_7, "Mixed_7b": unit_7(), "Mixed_7c": unit_7()},
}
"""By stride."""


class Chain(Backbone):
    """A backbone of named layers, each reading what the one before gave.

    Args:
        layers: stride -> the layers by name that work there; the first brings the stride about.
        channels: stride -> channels of the map there. last: the last stride kept. vector: build `top`.
    """

    def __init__(
        self,
        layers: dict[int, dict[str, nn.Module]],
        channels: dict[int, int],
        last: int,
        vector: bool,
        output_stride: int,
    ) -> None:
        super().__init__()
        self.order = {stride: list(named) for stride, named in layers.items() if stride <= last}
        for stride in self.order:
            for name, layer in layers[stride].items():
                self.add_module(name, layer)
        self.channels = {stride: width for stride, width in channels.items() if stride <= last}
        self.output_stride = output_stride
        self.top, self.width = MeanPool() if vector else None, self.channels[last]
        initialise(self)

    @property
    def stages(self) -> Sequence[nn.Module]:
        return [nn.ModuleList([getattr(self, name) for name in names]) for names in self.order.values()]

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        maps = {}
        for stride, names in self.order.items():
            for name in names:
                x = getattr(self, name)(x)
            if stride in self.channels:
                maps[stride] = x
        return maps


class InceptionV3(Chain):
    """Feature maps at strides 4, 8, 16, 32 (192, 288, 768, 2048 channels).

    The auxiliary head takes part in no prediction: it is not built, and its tensors in a file (AuxLogits.*) are left over.

    Args:
        norm: see `layers.norm`. eps: of the norm. channels: of the input.
        padding: "valid" as published, for published weights to classify with: most strided layers pad nothing, maps
            are smaller than ceil(n / stride) and lie off their pixels. "half": those pad as all others do, which lays
            features under their pixels. "same": TensorFlow's SAME everywhere; means then leave the padding out.
        last: the last stride built. vector: build `top`, the mean over the last map.
        output_stride: 32, or 16 or 8 by dilation.
    """

    dropout = 0.5
    EPS = 1e-3

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
        conv = partial(ConvNorm, norm=norm, eps=eps)
        inner = inside(padding)
        layers: dict[int, dict[str, nn.Module]] = {
            2: {
                "Conv2d_1a_3x3": conv(channels, 32, 3, 2, padding=padding),
                "Conv2d_2a_3x3": conv(32, 32, 3, padding=padding),
                "Conv2d_2b_3x3": conv(32, 64, 3, padding=inner),
            },
            4: {
                "maxpool1": Pool("max", 2, padding),
                "Conv2d_3b_1x1": conv(64, 80, 1, padding=inner),
                "Conv2d_4a_3x3": conv(80, 192, 3, padding=padding),
            },
            8: {"maxpool2": Pool("max", 2, padding)},
            16: {},
            32: {},
        }
        widths = {4: 192, **add_units(layers, UNITS, 192, conv, padding, output_stride)}
        super().__init__(layers, widths, last, vector, output_stride)


class ConvNorm(nn.Module):
    """Convolution (with a bias where no norm follows, or asked for), norm, ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        dilation: int = 1,
        *,
        norm: str,
        eps: float,
        padding: str = "half",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = make_conv(
            channels_in, channels_out, kernel, stride, dilation, bias=bias or norm == "none", padding=padding
        )
        self.bn = make_norm(norm, channels_out, eps)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches that read one map [B, C, H, W], their results concatenated [B, channels, H / stride, W / stride].

    Args:
        channels: C. branches: see `Branch`; the last step of each has the stride.
        conv: makes a `ConvNorm`. padding: see `Pool`.
    """

    def __init__(
        self,
        channels: int,
        branches: Sequence[Branch],
        conv: Callable[..., nn.Module],
        padding: str,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.branches: list[tuple[list[str], list[str]]] = []
        self.channels = 0

        def add(step: Step, width: int, stride: int) -> tuple[str, int]:
            if isinstance(step, str):
                self.add_module(step, Pool(step, stride, padding, dilation))
                return step, width
            name, out, kernel = step
            edge = padding if stride > 1 and padding == "valid" else inside(padding)
            self.add_module(name, conv(width, out, kernel, stride, dilation, padding=edge))
            return name, out

        for *steps, last in branches:
            width, chain, ends = channels, [], []
            for step in steps:
                name, width = add(step, width, 1)  # type: ignore[arg-type]
                chain.append(name)
            for step in last if isinstance(last, list) else [last]:
                name, out = add(step, width, stride)
                ends.append(name)
                self.channels += out
            self.branches.append((chain, ends))

    def forward(self, x: Tensor) -> Tensor:
        results = []
        for chain, ends in self.branches:
            y = x
            for name in chain:
                y = getattr(self, name)(y)
            results += [getattr(self, name)(y) for name in ends]
        return torch.cat(results, 1)


class Pool(nn.Module):
    """The mean or maximum over 3x3.

    padding, of stride 2: "half" (one on both sides), "same" (TensorFlow's), "valid" (none), "ceil" (Caffe's: the first
    window begins with the map, the last may reach over its end). Of stride 1 all pad alike. A mean takes the padding in
    as zeros, as torch and Caffe do; with "same" it leaves it out.
    """

    def __init__(self, kind: str, stride: int, padding: str, dilation: int = 1) -> None:
        super().__init__()
        self.kind, self.stride, self.padding, self.dilation = kind, stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "mean":
            return mean3x3(x, self.dilation, zeros=self.padding != "same")
        if self.padding == "valid" and self.stride == 2:
            return F.max_pool2d(x, 3, 2)
        if self.stride == 1 or self.padding == "half":
            if self.dilation == 1:
                return F.max_pool2d(x, 3, self.stride, 1)
            sides = (self.dilation,) * 4  # more than max_pool2d itself would pad
        elif self.padding == "same":
            sides = (x.shape[3] % 2, 1, x.shape[2] % 2, 1)
        else:
            sides = (0, 2, 0, 2)
        return F.max_pool2d(F.pad(x, sides, value=-torch.inf), 3, self.stride, 0, self.dilation)


def mean3x3(x: Tensor, dilation: int, zeros: bool) -> Tensor:
    """The mean over 3x3 places `dilation` apart; those outside count as zeros, or not at all."""
    if dilation == 1:
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=zeros)
    over = lambda x: F.conv2d(x, x.new_ones(x.shape[1], 1, 3, 3), None, 1, dilation, dilation, x.shape[1])
    return over(x) / (9 if zeros else over(torch.ones_like(x[:1, :1])))


def add_units(
    layers: dict[int, dict[str, nn.Module]],
    plan: dict[int, dict[str, list[Branch]]],
    width: int,
    conv: Callable[..., nn.Module],
    padding: str,
    output_stride: int,
) -> dict[int, int]:
    """Append the units of a plan, by stride, to the layers there; `width` channels come in. Returns those that come out.

    From stride 16 on the first unit of a stride brings it about.
    """
    widths = {}
    for stride, named in plan.items():
        for i, (name, branches) in enumerate(named.items()):
            step, first, later = spread(stride, output_stride)
            reduces = i == 0 and stride > 8
            unit = Mixed(width, branches, conv, padding, *((step, first) if reduces else (1, later)))
            layers[stride][name], width = unit, unit.channels
        widths[stride] = width
    return widths


def spread(stride: int, output_stride: int) -> tuple[int, int, int]:
    """Of the unit that brings `stride` about: its stride and dilation; and the dilation of the units after it.

    The unit whose stride goes keeps the dilation that was there, later ones double it, as in torchvision's ResNets.
    """
    return 2 if stride <= output_stride else 1, max(1, stride // 2 // output_stride), max(1, stride // output_stride)


def inside(padding: str) -> str:
    """The padding of the convolutions that are padded as published: half or same."""
    return "same" if padding == "same" else "half"


def check(padding: str, known: tuple[str, ...], output_stride: int) -> None:
    """Raises ConfigError for a padding that the family does not know, or an output stride that it cannot have."""
    if padding not in known:
        raise ConfigError(f"padding must be one of {', '.join(known)}; found {padding!r}")
    if output_stride not in (8, 16, 32):
        raise ConfigError(f"output_stride must be 8, 16 or 32, found {output_stride}")
    if padding not in ("half", "same") and output_stride < 32:
        raise ConfigError(f"output_stride {output_stride} needs padding half or same, found {padding}")
