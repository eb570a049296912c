"""Convolutions of a training step by the algorithm that the plan names.

A model in training stays as it is: inside `planned(plan)` each call of `conv2d` that Winograd could do with fewer
products, forward and for the gradient of its input, goes the way that was faster in a trial of both directions.

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
from torch.overrides import TorchFunctionMode

from videre.engine.plan import PLAIN, Plan
from videre.ops.winograd import winograd_conv2d_train

BLOCK = 16
"""Channels that oneDNN's kernels take at once."""
LEAST_CHANNELS = 64
"""Below that the direct way was faster on every machine seen; it need not be tried."""
Convolve = Callable[..., Tensor]


@contextlib.contextmanager
def planned(plan: Plan | None) -> Iterator[None]:
    """Inside, the convolutions of float32 tensors on a CPU follow the plan, which learns what it does not know yet.

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
        return func(*args, **(kwargs or {}))

    def _convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        if torch.is_autocast_enabled("cpu") and is_unsound(x, weight, groups, dilation):
            with torch.autocast("cpu", enabled=False):
                return F.conv2d(x.float(), weight, bias, stride, padding, dilation, groups)
        direct = partial(F.conv2d, padding=padding, dilation=dilation)
        rows, columns = _pair(padding), _pair(dilation)
        if (
            self.plan is None or x.ndim != 4 or weight.shape[1:] != (x.shape[1], 3, 3) or _pair(stride) != (1, 1) or groups != 1 or isinstance(padding, str)
            or rows[0] != rows[1] or columns[0] != columns[1] or rows[0] > 2 * columns[0]
            or min(weight.shape[:2]) < LEAST_CHANNELS or x.dtype != torch.float32 or x.device.type != "cpu"
            or not x.numel() or torch.is_autocast_enabled("cpu")
        ):  # fmt: skip
            return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        ways = {PLAIN: direct, "winograd4": partial(winograd_conv2d_train, padding=rows[0], dilation=columns[0])}
        trials = {name: partial(_both_ways, way, x, weight, bias) for name, way in ways.items()}
        return ways[self.plan.choose(_key(x, weight, columns[0]), trials)](x, weight, bias)


def is_unsound(x: Tensor, weight: Tensor, groups: int, dilation: Any) -> bool:
    """Whether the gradient of the weights would be wrong in bfloat16.

    torch 2.13's oneDNN reads memory that nobody wrote for dilated convolutions in channels-last order that are depthwise,
    or whose channels do not fill its blocks: the gradient is NaN, or any number. `benchmarks/dilated_bf16.py` shows it.
    """
    is_odd = groups > 1 or any(channels % BLOCK for channels in weight.shape[:2])
    return x.device.type == "cpu" and weight.requires_grad and _pair(dilation) != (1, 1) and is_odd


def _both_ways(way: Convolve, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution as a step has it, with the gradients that the step wants; it returns what depends on both."""
    leaves = [t.detach().requires_grad_(t.requires_grad) for t in (x, weight)]
    with torch.enable_grad():
        y = way(*leaves, None if bias is None else bias.detach())
    wanted = [t for t in leaves if t.requires_grad]
    if not wanted:
        return y
    return torch.autograd.grad(y, wanted, y.detach())[0]


def _key(x: Tensor, weight: Tensor, dilation: int) -> str:
    """Layer, shape and gradients in words; the number of pixels counts by powers of two."""
    size = (x.shape[0] * x.shape[2] * x.shape[3]).bit_length()
    special = f" dilation{dilation}" if dilation != 1 else ""
    wanted = "".join(name for name, t in (("x", x), ("w", weight)) if t.requires_grad) or "nothing"
    return f"training conv {weight.shape[1]}-{weight.shape[0]} 3x3{special} 2^{size} for {wanted}"


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[return-value]
