"""A convolution with what surrounds it (norm, sum, activation) as one step, by the algorithm that the plan names."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.engine.plan import PLAIN, Plan
from videre.layers.conv import SameConv2d
from videre.ops._numba import HAS_NUMBA
from videre.ops.winograd import LEAST_TILES, winograd_conv2d, winograd_tiles, winograd_weight

Residual = Tensor | None
ACTIVATIONS: dict[str, tuple[str, list[float], Callable[[Tensor], Tensor]]] = {
    "none": ("none", [], lambda y: y),
    "relu": ("relu", [], torch.relu_),
    "relu6": ("hardtanh", [0.0, 6.0], lambda y: y.clamp_(0, 6)),
    "silu": ("swish", [], functools.partial(F.silu, inplace=True)),
    "hardswish": ("hardswish", [], functools.partial(F.hardswish, inplace=True)),
}
"""By our name: oneDNN's name and its numbers, and the same in place."""
SUMMED = ("none", "relu")
"""Activations that oneDNN knows after a sum."""
SMALL = 32 * 32
"""Pixels of a map up to which the smaller Winograd tile, which wastes less at the borders, is tried too."""
TILES = {torch.float32: (4, 2), **({torch.bfloat16: (2,)} if HAS_NUMBA else {})}
"""Winograd's tiles that are tried; in bfloat16 results of the larger one are off by up to a twelfth of the largest."""
LEAST_CHANNELS = 32
"""Below that Winograd's transforms cost more than its products save, on every machine seen."""


class Convolution(nn.Module):
    """activation(conv(x) * scale + shift + residual), in the format of its weights.

    Of the weights it keeps the forms that its algorithms read, and makes another one from the layer's own when a size
    comes that wants it.

    Args:
        conv: the layer. scale, shift: [K] of a folded norm, or None. activation: a key of ACTIVATIONS.
        plan: says and learns which algorithm is fast. dtype: float32 or bfloat16, of weights and results.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        scale: Tensor | None,
        shift: Tensor | None,
        activation: str,
        plan: Plan,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        if scale is not None and shift is not None:
            bias = bias * scale + shift
        self.own, self.scale, self.dtype = conv.weight.detach(), scale, dtype
        self.bias = nn.Parameter(bias.to(dtype), False)
        self._pad = conv.pad if isinstance(conv, SameConv2d) else None
        self.padding = _pair(conv.padding)
        self.stride, self.dilation, self.groups = _pair(conv.stride), _pair(conv.dilation), conv.groups
        self.activation, self.plan = activation, plan
        self._folded: Tensor | None = None
        self._packed: Tensor | None = None
        self._bases: dict[str, Tensor] = {}
        self._used: set[str] = set()
        self._chosen: dict[tuple[int, bool, bool], str] = {}

    def forward(self, x: Tensor, residual: Residual = None, replace: bool = False) -> Tensor:
        """[B, C, H, W] to [B, K, H', W']. `replace`: the residual's memory may be written over."""
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        x, padding = self._pad(x) if self._pad is not None else (x, self.padding)
        residual = None if residual is None else residual.to(self.dtype)
        if x.device.type != "cpu" or not x.numel():
            return self._direct(x, residual, padding)
        pixels = x.shape[2] * x.shape[3]
        size = ((len(x) * pixels).bit_length(), pixels <= SMALL, residual is None)
        if size not in self._chosen:  # words and trials cost more than a small layer
            self._chosen[size] = self._choose(x, residual, padding)
        return self._by(self._chosen[size], x, residual, padding, replace)

    def _choose(self, x: Tensor, residual: Residual, padding: tuple[int, int]) -> str:
        names = self._candidates(x, residual, padding)
        if len(names) == 1:
            return PLAIN
        chosen = self.plan.choose(
            self._key(x, residual), {name: functools.partial(self._by, name, x, residual, padding) for name in names}
        )
        self._keep(chosen)
        return chosen

    def _by(self, name: str, x: Tensor, residual: Residual, padding: tuple[int, int], replace: bool = False) -> Tensor:
        """By the algorithm of that name."""
        if name == PLAIN:
            return self._direct(x, residual, padding)
        if name == "onednn":
            return self._onednn(x, residual, padding, replace)
        tile = next(tile for tile in (4, 2) if name.startswith(f"winograd{tile}"))
        return (self._winograd_onednn if name == _by_onednn(tile) else self._winograd)(x, residual, padding, tile)

    def _candidates(self, x: Tensor, residual: Residual, padding: tuple[int, int]) -> list[str]:
        """Names of the algorithms that can do it, the plain one first."""
        found = [PLAIN]
        if has_onednn() and (residual is None or self.activation in SUMMED):
            found.append("onednn")
        plain = self.own.shape[2:] == (3, 3) and self.stride == (1, 1) and self.groups == 1
        even = padding[0] == padding[1] and self.dilation[0] == self.dilation[1]
        if plain and even and min(self.own.shape[:2]) >= LEAST_CHANNELS and x.dtype in TILES:
            tiles = TILES[x.dtype]
            for tile in tiles if x.shape[2] * x.shape[3] <= SMALL else tiles[:1]:
                found.append(f"winograd{tile}")
                if HAS_NUMBA and has_onednn() and x.dtype == torch.float32:
                    found.append(_by_onednn(tile))
        return found

    def _keep(self, chosen: str) -> None:
        """Forget the weights of algorithms that were tried only."""
        if chosen not in self._used:
            self._used.add(chosen)
            self._folded = self._folded if PLAIN in self._used else None
            self._packed = self._packed if "onednn" in self._used else None
            self._bases = {name: basis for name, basis in self._bases.items() if name in self._used}

    def _key(self, x: Tensor, residual: Residual) -> str:
        """Layer, what is fused to it, and shape in words; the number of pixels counts by powers of two, so that every
        picture has not its own."""
        outputs, inputs, kernel, _ = self.own.shape
        inputs *= self.groups
        size = (x.shape[0] * x.shape[2] * x.shape[3]).bit_length()
        number = "bf16" if x.dtype == torch.bfloat16 else "fp32"
        special = "".join(
            f" {word}{value}" for word, value in (("groups", self.groups), ("dilation", self.dilation[0])) if value != 1
        )
        special += " sum" if residual is not None else ""
        special += f" {self.activation}" if self.activation != "none" else ""
        return f"conv {inputs}-{outputs} {kernel}x{kernel}/{self.stride[0]}{special} 2^{size} {number}"

    @property
    def weight(self) -> Tensor:
        """[K, C, h, w], the norm folded in: the layer's own memory where nothing is to be changed."""
        if self._folded is None:
            self._folded = self._scaled().to(self.dtype).contiguous(memory_format=torch.channels_last)
        return self._folded

    def _scaled(self) -> Tensor:
        """The same before it is rounded to the layer's format."""
        return self.own if self.scale is None else self.own.float() * self.scale[:, None, None, None]

    # the algorithms ---------------------------------------------------------------------------------------------------

    def _direct(self, x: Tensor, residual: Residual, padding: tuple[int, int]) -> Tensor:
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        if residual is not None:
            y += residual
        return ACTIVATIONS[self.activation][2](y)

    def _onednn(self, x: Tensor, residual: Residual, padding: tuple[int, int], replace: bool = False) -> Tensor:
        """Weights laid out once as the processor likes them; sum and activation while the result is in its registers."""
        how = [list(padding), list(self.stride), list(self.dilation), self.groups]
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *how, list(x.shape))
        name, numbers, _ = ACTIVATIONS[self.activation]
        if residual is None:
            return torch.ops.mkldnn._convolution_pointwise(x, self._packed, self.bias, *how, name, numbers, "")
        over = residual if replace else residual.clone(memory_format=torch.channels_last)
        unary = None if name == "none" else "relu"
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            over, x, self._packed, self.bias, *how, "add", 1.0, unary, [], ""
        )

    def _winograd(self, x: Tensor, residual: Residual, padding: tuple[int, int], tile: int) -> Tensor:
        name, relu = f"winograd{tile}", self.activation == "relu"
        if name not in self._bases:
            self._bases[name] = winograd_weight(self._scaled(), tile).to(self.dtype)
        y = winograd_conv2d(x, self._bases[name], self.bias, padding[0], self.dilation[0], relu, residual)
        return y if relu else ACTIVATIONS[self.activation][2](y)

    def _winograd_onednn(self, x: Tensor, residual: Residual, padding: tuple[int, int], tile: int) -> Tensor:
        name, relu = _by_onednn(tile), self.activation == "relu"
        if name not in self._bases:
            self._bases[name] = winograd_onednn_weight(self.weight, tile)
        how = self.bias, padding[0], self.dilation[0], relu, residual, tile
        y = winograd_onednn(x, self._bases[name], len(self.own), *how)
        return y if relu else ACTIVATIONS[self.activation][2](y)


def _by_onednn(tile: int) -> str:
    return f"winograd{tile} onednn"


def winograd_onednn_weight(weight: Tensor, tile: int = 4) -> Tensor:
    """`winograd_weight` as a 1x1 convolution in as many groups as a tile has places, laid out as the processor likes it."""
    kernels = winograd_weight(weight.transpose(0, 1), tile).flatten(0, 1)[:, :, None, None]  # (places K, C, 1, 1)
    groups = (tile + 2) ** 2
    size = [1, groups * weight.shape[1], LEAST_TILES, 1]
    return torch.ops.mkldnn._reorder_convolution_weight(kernels, [0, 0], [1, 1], [1, 1], groups, size)


def winograd_onednn(
    x: Tensor,
    packed: Tensor,
    outputs: int,
    bias: Tensor | None = None,
    padding: int = 0,
    dilation: int = 1,
    relu: bool = False,
    residual: Residual = None,
    tile: int = 4,
) -> Tensor:
    """`winograd_conv2d` with the products of all places as one convolution of oneDNN.

    Args:
        packed: of `winograd_onednn_weight`, for the same tile. outputs: K. bias to residual: see `winograd_conv2d`.
    """
    places = (tile + 2) ** 2

    def multiply(seen: Tensor) -> Tensor:
        maps = seen.view(1, len(seen), 1, -1).permute(0, 3, 1, 2)
        how = [[0, 0], [1, 1], [1, 1], places]
        found = torch.ops.mkldnn._convolution_pointwise(maps, packed, None, *how, "none", [], "")
        return found.permute(0, 2, 3, 1).view(len(seen), places, outputs)

    return winograd_tiles(x, multiply, outputs, tile, True, bias, residual, padding, dilation, relu)


class Cast(nn.Module):
    """A layer that nothing is fused to, in another number format."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = copy.deepcopy(layer).to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(self.dtype))


@functools.cache
def has_onednn() -> bool:
    """Whether torch's fused oneDNN convolution, which is no public operator, is there and gives what `conv2d` gives."""
    x, weight, bias = torch.randn(1, 8, 6, 6), torch.randn(8, 8, 3, 3), torch.randn(8)
    how = [[1, 1], [1, 1], [1, 1], 1]
    try:
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *how, [1, 8, 6, 6])
        found = torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *how, "relu", [], "")
    except (RuntimeError, AttributeError):
        return False
    return bool(torch.allclose(found, F.conv2d(x, weight, bias, padding=1).relu(), atol=1e-4))


def _pair(value: object) -> tuple[int, int]:
    assert isinstance(value, tuple), f"convolutions with {value!r} are not fused"
    return value
