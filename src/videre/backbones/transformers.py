"""Any backbone of Hugging Face transformers: `--backbone hf:NAME`, or with its published weights `--from hf:NAME`.

NAME is a folder with config.json, or a name of their hub, of which only the configuration is read; a checkpoint that
stands on it reads that again. The net is theirs (`AutoBackbone`); here its maps get their strides and its norms are
exchanged. Code that a hub keeps beside a configuration is never run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool, cut_into_stages, import_library
from videre.backbones.weights import PublishedWeights, describe_weights
from videre.errors import ConfigError
from videre.layers.norm import exchange_norms

TRIED = 224
"""Side of the picture that tells the strides, where the configuration names none."""


class TransformersBackbone(Backbone):
    """The maps of a backbone of transformers, one a stride: of several with the same stride the last.

    Args:
        name: a folder with config.json, or a name of the hub.
        norm: what its batch norms become, see `layers.norm`; other norms stay. "batch" leaves them, "none" does not
            exist. eps: of them; None: as published.
        channels: of the input; with `pretrained` those of the weights.
        last: the last stride given; the stages after it are there, but unused.
        vector: build `top`, the mean over the last map.
        pretrained: fetch the published weights through transformers, which keeps them; otherwise they are random.
    """

    foreign = True

    def __init__(
        self,
        name: str,
        norm: str = "frozen",
        channels: int = 3,
        eps: float | None = None,
        last: int = 32,
        vector: bool = False,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        library = import_library("transformers")
        try:
            config = library.AutoConfig.from_pretrained(name, trust_remote_code=False)
            if not hasattr(config, "stage_names"):
                raise ConfigError(f"hf:{name}: a net of type {config.model_type} is no backbone in transformers")
            if pretrained and channels != config.num_channels:
                raise ConfigError(f"hf:{name}: its weights are for {config.num_channels} channels, not {channels}")
            config.num_channels = channels
            kind, strides, widths = _look(library, name, config)
            places = {s: i for i, s in enumerate(strides) if s <= last}
            if not places:
                raise ConfigError(f"hf:{name} has maps at strides {strides}, none up to last={last}")
            config.out_features = [config.stage_names[i] for i in places.values()]
            # AutoBackbone.from_pretrained would ask the hub about a folder; weights in 16 bits would stay so
            self.net = kind.from_pretrained(name, config=config).float() if pretrained else kind(config)
        except ConfigError:
            raise
        except (ValueError, OSError, AttributeError, KeyError, RuntimeError) as error:
            raise ConfigError(f"hf:{name} cannot be built: {str(error).strip().partition(chr(10))[0]}") from error
        exchange_norms(self.net, norm, eps)
        self.channels = {stride: widths[i] for stride, i in places.items()}
        self.output_stride = max(self.channels)
        self.top, self.width = MeanPool() if vector else None, self.channels[self.output_stride]

    @classmethod
    def published(cls, name: str) -> PublishedWeights:
        """The weights of a folder or of the hub, and how they want pictures; ConfigError where they cannot be had."""
        library = import_library("transformers")
        found = cls(name, norm="batch", pretrained=True)
        try:
            said, _ = library.BaseImageProcessor.get_image_processor_dict(name)
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"hf:{name}: no preprocessor_config.json says how its pictures are prepared: {reason}"
            ) from error
        side = getattr(found.net.config, "image_size", 224)
        return describe_weights(
            f"hf:{name}",
            found,
            said.get("image_mean"),
            said.get("image_std"),
            side=side if isinstance(side, int) else 224,
        )

    @property
    def stages(self) -> Sequence[nn.Module]:
        """Up to each module of the list that has as many as the configuration names stages after the stem."""
        count = len(self.net.config.stage_names) - 1
        lists = [n for n, m in self.net.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count]
        return cut_into_stages(self.net, [f"{lists[0]}.{i}" for i in range(count)] if lists else [])

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        return dict(zip(self.channels, self.net(x).feature_maps))


def _look(library: Any, name: str, config: Any) -> tuple[Any, list[int], list[int]]:
    """The class of a backbone, and stride and width of the map after each stage, which no configuration states: one small
    picture goes through.

    Raises ConfigError when a stage gives no map.
    """
    config.out_features = list(config.stage_names)
    with torch.device("cpu"):
        net = library.AutoBackbone.from_config(config, trust_remote_code=False).eval()
    side = getattr(config, "image_size", TRIED)
    side = side if isinstance(side, int) else TRIED
    with torch.no_grad():
        maps = net(torch.zeros(1, config.num_channels, side, side, device="cpu")).feature_maps
    for stage, x in zip(config.stage_names, maps):
        if x.ndim != 4 or x.shape[2] != x.shape[3]:
            raise ConfigError(
                f"hf:{name} gives {tuple(x.shape)} after {stage}, which is no map; choose a net that gives maps"
            )
    return type(net), [round(side / x.shape[2]) for x in maps], [x.shape[1] for x in maps]
