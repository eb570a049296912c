"""Backbone: a net that gives feature maps at named strides."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from videre.errors import ConfigError, WeightsError

VECTOR = 0
"""Key of the vector that a classifier reads, beside the maps' strides."""


class Backbone(nn.Module):
    """What every backbone family provides: `maps`, and the constructor arguments norm, channels, eps, vector.

    Attributes:
        channels: stride -> channels of the map at that stride, finest first. The strides are those of the net as
            published; with a smaller `output_stride` the later maps are as fine as that, by dilation.
        output_stride: of the coarsest map.
        top: from the coarsest map to the vector that the published classifier's last layer reads; None: not built.
        width: length of that vector. dropout: of it, as published.
        stages: the modules in the order of the picture's way, from the stem on; `freeze` counts them.
        frozen: how many of them take no part in training.
        LOGITS: the last layer's name in published files. TOP: names in published files -> names under `top`.
        EPS: of the norms, as published.
        made: the name and the options that `make_backbone` was given.
        foreign: whether another library's code runs inside, which may use its layers otherwise than by calling them.
    """

    LOGITS: ClassVar[str] = "fc"
    TOP: ClassVar[dict[str, str]] = {}
    EPS: ClassVar[float] = 1e-5
    foreign: ClassVar[bool] = False

    made: tuple[str, dict[str, Any]]
    channels: dict[int, int]
    output_stride: int = 32
    top: nn.Module | None
    width: int = 0
    dropout: float = 0.0
    frozen: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.top = None

    @property
    def stages(self) -> Sequence[nn.Module]:
        raise NotImplementedError

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        """Pictures [B, C, H, W] to maps [B, channels[stride], ceil(H / stride), ceil(W / stride)] by stride."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """The maps by stride, and at `VECTOR` what a classifier reads [B, width] where `top` is built."""
        maps = self.maps(x)
        if self.top is not None:
            maps[VECTOR] = self.top(maps[max(self.channels)])
        return maps

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

    @classmethod
    def published(cls, name: str) -> tuple[Any, dict[str, Tensor]]:
        """The published weights of a net of another library, and their card; see `weights.PublishedWeights`."""
        raise ConfigError(f"{name}: the weights of this backbone are asked for by the names that `videre models` lists")

    def load_weights(self, tensors: dict[str, Tensor]) -> list[str]:
        """Fill every tensor of the backbone from a file's tensors; returns the names left over (a classifier's).

        Raises WeightsError when one is missing or of another shape.
        """
        own = self.state_dict()
        tensors = {self._own_name(name): value for name, value in tensors.items()}
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

    def _own_name(self, name: str) -> str:
        layer, _, tensor = name.rpartition(".")
        return f"top.{self.TOP[layer]}.{tensor}" if self.top is not None and layer in self.TOP else name


@torch.no_grad()
def load_layers(layers: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], unused: Sequence[str]) -> list[str]:
    """Fill what a model has made of a classifier's last layers from a file's tensors.

    A fully connected layer may be a convolution of the same numbers. What the file lacks or has in another size stays as it is.

    Args:
        layers: by the names that they have in the file.
        unused: names that the backbone has left over.

    Returns: those of them that are still not used.
    """
    taken: set[str] = set()
    for prefix, layer in layers.items():
        own = {name: value for name, value in layer.state_dict().items() if not name.endswith("num_batches_tracked")}
        found = {name: tensors.get(f"{prefix}.{name}") for name in own}
        if all(value is not None and value.numel() == own[name].numel() for name, value in found.items()):
            fitting = {name: value.reshape(own[name].shape) for name, value in found.items() if value is not None}
            layer.load_state_dict(fitting, strict=False)
            taken |= {f"{prefix}.{name}" for name in layer.state_dict()}
    return [name for name in unused if name not in taken]


def import_library(name: str) -> Any:
    """The library of backbones that the extra `name` installs; ConfigError where it is absent or cannot be imported."""
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"backbones of {name} need {name}, not installed here: pip install 'videre[{name}]'")
    try:
        return importlib.import_module(name)
    except Exception as error:  # a torchvision made for another torch raises what it likes
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{name} is installed, but cannot be imported: {type(error).__name__}: {reason}") from error


def cut_into_stages(net: nn.Module, ends: Sequence[str]) -> list[nn.Module]:
    """The layers of a net that others built, in their order, cut after each module that `ends` names.

    What follows the last joins it; parameters beside the layers (position embeddings) join the first. One stage holding
    all where none of the ends is there.
    """
    ends = [end for end in ends if end in dict(net.named_modules())]
    if not ends:
        return [net]
    loose, stages = list[nn.Parameter](), [list[nn.Module]()]

    def walk(module: nn.Module, name: str) -> None:
        if any(end.startswith(name) for end in ends):
            loose.extend(module.parameters(recurse=False))
            for child_name, child in module.named_children():
                walk(child, f"{name}{child_name}.")
        else:
            stages[-1].append(module)
        if name[:-1] in ends:
            stages.append([])

    walk(net, "")
    *whole, rest = stages
    whole[0].append(nn.ParameterList(loose))
    whole[-1] += rest
    return [stage for stage in map(nn.ModuleList, whole) if any(True for _ in stage.parameters())]


class MeanPool(nn.Module):
    """Maps [B, C, H, W] to their mean over all places [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution [O, 3, k, k] for pictures of another number of channels.

    The response to a picture equal in all channels stays what it was. One or two channels: the sum over the three in
    equal parts. More: red, green, blue in turn, each shared equally among the channels that have its turn.
    """
    if channels < 3:
        return weight.sum(dim=1, keepdim=True).expand(-1, channels, -1, -1) / channels
    order = torch.arange(channels) % 3
    return weight[:, order] / order.bincount()[order][:, None, None]
