"""Backbone: a net that gives feature maps at named strides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from videre.errors import ConfigError, WeightsError


class Backbone(nn.Module):
    """What every backbone family provides.

    Attributes:
        channels: stride -> channels of the map at that stride, finest first.
        stages: the modules in the order of the picture's way, from the stem on; `freeze` counts them.
    """

    channels: dict[int, int]

    @property
    def stages(self) -> Sequence[nn.Module]:
        raise NotImplementedError

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Pictures [B, C, H, W] to maps [B, channels[stride], ceil(H / stride), ceil(W / stride)] by stride."""
        raise NotImplementedError

    def freeze(self, count: int) -> None:
        """The first `count` stages take no part in training (gradients stop above them)."""
        if not 0 <= count <= len(self.stages):
            raise ConfigError(f"freeze must lie in 0..{len(self.stages)} stages, found {count}")
        for stage in self.stages[:count]:
            stage.requires_grad_(False)

    def load_weights(self, tensors: dict[str, Tensor]) -> list[str]:
        """Fill every tensor of the backbone from a file's tensors; returns the names left over (a classifier's).

        Raises WeightsError when one is missing or of another shape.
        """
        own = self.state_dict()
        stem = next(name for name, value in own.items() if value.ndim == 4)
        if stem in tensors and tensors[stem].shape[1] != own[stem].shape[1]:
            tensors = {**tensors, stem: adapt_channels(tensors[stem].float(), own[stem].shape[1])}
        counters = {name for name in own if name.endswith("num_batches_tracked")}
        missing = sorted(set(own) - set(tensors) - counters)
        wrong = [n for n in own if n in tensors and tensors[n].shape != own[n].shape]
        if missing or wrong:
            found = f"{wrong[0]} is {tuple(tensors[wrong[0]].shape)}, not {tuple(own[wrong[0]].shape)}" if wrong else ""
            raise WeightsError(f"the weights do not fit: {len(missing)} tensors missing {missing[:3]}; {found}")
        self.load_state_dict({name: tensors[name].to(own[name].dtype) for name in own if name in tensors}, strict=False)
        return sorted(set(tensors) - set(own))


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution [O, 3, k, k] for pictures of another number of channels.

    One channel: the sum over the three (a grey picture gives what its grey RGB copy gave). More: the three repeated
    in turn and scaled by 3 / channels, so that the response to a picture equal in all channels stays.
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    order = torch.arange(channels) % weight.shape[1]
    return weight[:, order] * (weight.shape[1] / channels)
