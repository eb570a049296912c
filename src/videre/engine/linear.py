"""A fully connected layer with its activation, by the algorithm that the plan names."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.engine.plan import PLAIN, Plan


class Dense(nn.Module):
    """activation(x @ weight.T + bias), in the format of its weights.

    Args:
        layer: the linear layer. activation: "none" or "relu". plan, dtype: as `Convolution`.
    """

    def __init__(self, layer: nn.Linear, activation: str, plan: Plan, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.own, self.dtype = layer.weight.detach(), dtype
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().to(dtype), False)
        self.activation, self.plan = activation, plan
        self._cast: Tensor | None = None
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., K]."""
        x = x.to(self.dtype)
        candidates: dict[str, Callable[[], Tensor]] = {PLAIN: functools.partial(self._direct, x)}
        if x.device.type == "cpu" and x.numel() and has_onednn():
            candidates["onednn"] = functools.partial(self._onednn, x)
        if len(candidates) == 1:
            return candidates[PLAIN]()
        outputs, inputs = self.own.shape
        number = "bf16" if x.dtype == torch.bfloat16 else "fp32"
        rows = (x.numel() // inputs).bit_length()
        chosen = self.plan.choose(f"linear {inputs}-{outputs} 2^{rows} {number}", candidates)
        if chosen != PLAIN:
            self._cast = None
        return candidates[chosen]()

    @property
    def weight(self) -> Tensor:
        """[K, C]: the layer's own memory where it has the right format."""
        if self._cast is None:
            self._cast = self.own.to(self.dtype)
        return self._cast

    def _direct(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        return y.relu_() if self.activation == "relu" else y

    def _onednn(self, x: Tensor) -> Tensor:
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, x.shape[0])
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, self.activation, [], "")


@functools.cache
def has_onednn() -> bool:
    """Whether torch's fused oneDNN product, which is no public operator, is there and gives what `linear` gives."""
    x, weight, bias = torch.randn(3, 8), torch.randn(5, 8), torch.randn(5)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 3)
        found = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "relu", [], "")
    except (RuntimeError, AttributeError):
        return False
    return bool(torch.allclose(found, F.linear(x, weight, bias).relu(), atol=1e-5))
