"""Convolutions and large linear layers of a training step by the algorithm that the plan names.

A model in training stays as it is: inside `planned(plan)` each call of `conv2d` or `linear` that could go another way goes
the one that was faster in a trial of both directions. In float32 that is Winograd's, with fewer products forward and for the
gradient of the input, and for linear layers oneDNN's product instead of MKL's, which is slow on processors that are not
Intel's; under bfloat16 there are layers that oneDNN does slowly, and faster in float32, with channels of zeros, or as a
product of matrices.

    with planned(plan):
        loss = sum(model.losses(batch, truths).values())
    loss.backward()

Beside that, one kind of convolution is kept out of bfloat16: `is_unsound` says which and why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from videre.engine import convolution, linear
from videre.engine.convolution import winograd_onednn, winograd_onednn_weight
from videre.engine.plan import PLAIN, Plan
from videre.ops._numba import HAS_NUMBA
from videre.ops.winograd import winograd_conv2d_train, winograd_gradients

BLOCK = 16
"""Channels that oneDNN's kernels take at once."""
WIDE = 1024
"""Channels from which a layer that gives fewer than `BLOCK` is kept out of bfloat16: half of those where the fault was seen."""
LEAST_CHANNELS = 64
"""Below that the direct way was faster on every machine seen; it need not be tried."""
FULL = 64
"""Channels of a bfloat16 product are best a multiple of it: with AMX 1,376 take longer than 1,408."""
LEAST_FILLED = 256
"""Channels from which that is tried."""
LEAST_PRODUCT = 2**26
"""Multiply-adds of a linear layer from which another way is tried: smaller ones take less than a millisecond."""
Layer = Callable[..., Tensor]
"""From x, weight and bias."""


@contextlib.contextmanager
def planned(plan: Plan | None) -> Iterator[None]:
    """Inside, the convolutions and linear layers on a CPU follow the plan, which learns what it does not know yet.

    plan: None: all go torch's way, but for those that `is_unsound`.
    """
    with _Planned(plan):
        yield


class _Planned(TorchFunctionMode):
    def __init__(self, plan: Plan | None) -> None:
        super().__init__()
        self.plan = plan

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d:
            return self._convolve(*args, **(kwargs or {}))
        if func is F.linear:
            return self._multiply(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        direct: Layer = partial(F.conv2d, **settings)
        under_bf16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if under_bf16 and is_unsound(x, weight, bias, groups, dilation):
            return _in_fp32(x, weight, bias, **settings)
        if self.plan is None or x.ndim != 4 or x.device.type != "cpu" or not x.numel() or isinstance(padding, str):
            return direct(x, weight, bias)
        if under_bf16:
            x = x.to(torch.bfloat16)
            ways: dict[str, Layer] = {PLAIN: direct, **_bf16_ways(x, weight, settings)}
        else:
            ways = {PLAIN: direct, **_fp32_ways(x, weight, settings)}
        if len(ways) == 1:
            return direct(x, weight, bias)
        return _by_plan(self.plan, _key(x, weight, settings), ways, x, weight, bias)

    def _multiply(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        is_large = input.ndim > 1 and weight.ndim == 2 and input.numel() * len(weight) >= LEAST_PRODUCT
        is_fp32 = input.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if self.plan is None or input.device.type != "cpu" or not (is_large and is_fp32 and linear.has_onednn()):
            return F.linear(input, weight, bias)
        ways: dict[str, Layer] = {PLAIN: F.linear, "onednn": _linear_onednn}
        channels = input.shape[-1]
        size = (input.numel() // channels).bit_length()
        key = f"training linear {channels}-{len(weight)} 2^{size} for {_wanted(input, weight)}"
        return _by_plan(self.plan, key, ways, input, weight, bias)


def _by_plan(plan: Plan, key: str, ways: dict[str, Layer], x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer by the way that the plan names; the first is the plain one."""
    trials = {name: partial(_both_ways, way, x, weight, bias) for name, way in ways.items()}
    return ways[plan.choose(key, trials)](x, weight, bias)


def _fp32_ways(x: Tensor, weight: Tensor, settings: dict[str, Any]) -> dict[str, Layer]:
    """Beside the direct one."""
    rows, columns = _pair(settings["padding"]), _pair(settings["dilation"])
    if (
        weight.shape[1:] != (x.shape[1], 3, 3)
        or _pair(settings["stride"]) != (1, 1)
        or settings["groups"] != 1
        or rows[0] != rows[1]
        or columns[0] != columns[1]
        or rows[0] > 2 * columns[0]
        or min(weight.shape[:2]) < LEAST_CHANNELS
        or x.dtype != torch.float32
        or torch.is_autocast_enabled("cpu")
    ):
        return {}
    ways: dict[str, Layer] = {"winograd4": partial(winograd_conv2d_train, padding=rows[0], dilation=columns[0])}
    if HAS_NUMBA and convolution.has_onednn():
        ways["winograd4 onednn"] = partial(_winograd_onednn, padding=rows[0], dilation=columns[0])
    return ways


def _bf16_ways(x: Tensor, weight: Tensor, settings: dict[str, Any]) -> dict[str, Layer]:
    """Beside the direct one."""
    if settings["groups"] == x.shape[1] > 1:  # depthwise: memory is what it waits for, not products
        return {"fp32": partial(_in_fp32, **settings)}
    ways: dict[str, Layer] = {}
    if settings["groups"] != 1:
        return ways
    if x.shape[1] >= LEAST_FILLED and x.shape[1] % FULL:
        ways["filled"] = partial(_filled, **settings)
    is_plain = _pair(settings["stride"]) == (1, 1) and _pair(settings["padding"]) == (0, 0)
    if weight.shape[2:] == (1, 1) and is_plain and min(weight.shape[:2]) >= LEAST_CHANNELS:
        ways["product"] = as_product
    return ways


def _in_fp32(x: Tensor, weight: Tensor, bias: Tensor | None, **settings: Any) -> Tensor:
    """A convolution that is kept out of bfloat16, but for what it takes and gives."""
    with torch.autocast("cpu", enabled=False):
        y = F.conv2d(x.float(), weight.float(), bias, **settings)
    return y.to(x.dtype)


def as_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution as a product of matrices, which oneDNN does faster, its gradients above all."""
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def _filled(x: Tensor, weight: Tensor, bias: Tensor | None, **settings: Any) -> Tensor:
    """The same with channels of zeros up to the next multiple of `FULL`."""
    missing = (0, 0, 0, 0, 0, -x.shape[1] % FULL)
    return F.conv2d(F.pad(x, missing), F.pad(weight, missing), bias, **settings)


def _winograd_onednn(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
    return _Winograd.apply(x, weight, bias, padding, dilation)  # type: ignore[no-untyped-call]


class _Winograd(torch.autograd.Function):
    """`winograd_conv2d_train` whose products are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.dilation = padding, dilation
        return winograd_onednn(x, winograd_onednn_weight(weight), len(weight), bias, padding=padding, dilation=dilation)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        def convolve(y: Tensor, kernel: Tensor, padding: int) -> Tensor:
            packed = winograd_onednn_weight(kernel)
            return winograd_onednn(y, packed, len(kernel), padding=padding, dilation=ctx.dilation)

        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        return *winograd_gradients(convolve, gradient, x, weight, ctx.padding, ctx.dilation, wanted), None, None


def _linear_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _Product.apply(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])  # type: ignore[no-untyped-call]


class _Product(torch.autograd.Function):
    """A linear layer, [R, C] to [R, K], whose three products are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.T) if for_x else None,
            _product(gradient.T, x.T) if for_weight else None,
            gradient.sum(0) if for_bias else None,
        )


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a @ b.T + bias."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


def is_unsound(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, dilation: Any) -> bool:
    """Whether the gradient of the weights or the bias would be wrong in bfloat16.

    torch 2.13's oneDNN reads memory that nobody wrote for dilated convolutions in channels-last order that are depthwise,
    or whose channels do not fill its blocks: the gradient is NaN, or any number; and it writes beyond the
    gradient of the bias, which ends the process, where more than 2,048 channels become fewer than a block, on two threads
    (not on one, three, four or eight). `benchmarks/unsound_bf16.py` shows both.
    """
    is_odd = groups > 1 or any(channels % BLOCK for channels in weight.shape[:2])
    is_narrowing = bias is not None and groups == 1 and weight.shape[1] >= WIDE and weight.shape[0] < BLOCK
    is_touched = (_pair(dilation) != (1, 1) and is_odd) or is_narrowing
    return x.device.type == "cpu" and weight.requires_grad and is_touched


def _both_ways(way: Layer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer as a step has it, with the gradients that the step wants; it returns what depends on both."""
    leaves = [t.detach().to(x.dtype).requires_grad_(t.requires_grad) for t in (x, weight)]
    with torch.enable_grad():
        y = way(*leaves, None if bias is None else bias.detach())
    wanted = [t for t in leaves if t.requires_grad]
    if not wanted:
        return y
    return torch.autograd.grad(y, wanted, y.detach())[0]


def _key(x: Tensor, weight: Tensor, settings: dict[str, Any]) -> str:
    """Layer, shape and gradients in words; the number of pixels counts by powers of two."""
    size = (x.shape[0] * x.shape[2] * x.shape[3]).bit_length()
    plain = {"stride": (1, 1), "dilation": (1, 1), "groups": (1, 1)}
    special = "".join(f" {n}{_pair(settings[n])[0]}" for n, value in plain.items() if _pair(settings[n]) != value)
    special += " bf16" if x.dtype == torch.bfloat16 else ""
    rows, columns = weight.shape[2:]
    return f"training conv {x.shape[1]}-{weight.shape[0]} {rows}x{columns}{special} 2^{size} for {_wanted(x, weight)}"


def _wanted(x: Tensor, weight: Tensor) -> str:
    """The gradients that a step computes."""
    return "".join(name for name, t in (("x", x), ("w", weight)) if t.requires_grad) or "nothing"


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[return-value]
