"""Backbone: a net that gives feature maps at named strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from videre.errors import ConfigError, WeightsError


class Backbone(nn.Module):
    """What every backbone family provides.

    Attributes:
        channels: stride -> channels of the map at that stride, finest first.
        stages: the modules in the order of the picture's way, from the stem on; `freeze` counts them.
        frozen: how many of them take no part in training.
    """

    channels: dict[int, int]
    frozen: int = 0

    @property
    def stages(self) -> Sequence[nn.Module]:
        raise NotImplementedError

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Pictures [B, C, H, W] to maps [B, channels[stride], ceil(H / stride), ceil(W / stride)] by stride."""
        raise NotImplementedError

    def freeze(self, count: int) -> None:
        """The first `count` stages take no part in training: no gradients, and batch norms keep their statistics."""
        if not 0 <= count <= len(self.stages):
            raise ConfigError(f"freeze must lie in 0..{len(self.stages)} stages, found {count}")
        for stage in self.stages[:count]:
            stage.requires_grad_(False)
        self.frozen = count
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; frozen stages stay in eval mode."""
        super().train(mode)
        for stage in self.stages[: self.frozen]:
            stage.eval()
        return self

    def load_weights(self, tensors: dict[str, Tensor]) -> list[str]:
        """Fill every tensor of the backbone from a file's tensors; returns the names left over (a classifier's).

        Raises WeightsError when one is missing or of another shape.
        """
        own = self.state_dict()
        stem = next(name for name, value in own.items() if value.ndim == 4)
        if stem in tensors and tensors[stem].ndim == 4 and tensors[stem].shape[1] == 3 != own[stem].shape[1]:
            tensors = {**tensors, stem: adapt_channels(tensors[stem].float(), own[stem].shape[1])}
        counters = {name for name in own if name.endswith("num_batches_tracked")}
        missing = sorted(set(own) - set(tensors) - counters)
        wrong = [n for n in own if n in tensors and tensors[n].shape != own[n].shape]
        if missing or wrong:
            faults = [f"{len(missing)} tensors are missing, first {', '.join(missing[:3])}"] if missing else []
            faults += [f"{n} is {tuple(tensors[n].shape)}, not {tuple(own[n].shape)}" for n in wrong[:3]]
            raise WeightsError(f"the weights do not fit {type(self).__name__}: {'; '.join(faults)}")
        self.load_state_dict({name: tensors[name].to(own[name].dtype) for name in own if name in tensors}, strict=False)
        return sorted(set(tensors) - set(own))


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution [O, 3, k, k] for pictures of another number of channels.

    The response to a picture equal in all channels stays what it was. One or two channels: the sum over the three in
    equal parts. More: red, green, blue in turn, each shared equally among the channels that have its turn.
    """
    if channels < 3:
        return weight.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels
    order = torch.arange(channels) % 3
    return weight[:, order] / order.bincount()[order][:, None, None]
