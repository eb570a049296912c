"""Any net of timm as a backbone: `--backbone timm:NAME`, or with its published weights `--from timm:NAME`.

Wightman, PyTorch Image Models (github.com/huggingface/pytorch-image-models). The net is timm's own, built with
`features_only`; here its maps get their strides, its norms are exchanged, its parameters put into stages.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from videre.backbones.base import Backbone, MeanPool, cut_into_stages, import_library
from videre.backbones.weights import PublishedWeights, describe_weights
from videre.errors import ConfigError
from videre.layers.norm import exchange_norms

ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)
"""Arguments with which nets take pictures of other sizes than they were trained with; the first that a net knows."""


class TimmBackbone(Backbone):
    """The maps of a net of timm, one a stride: of several with the same stride the last.

    Sides that are multiples of the coarsest stride, as `Preprocess` pads them, suit all but a few nets with windows.

    Args:
        name: in timm; with a tag ("resnet50.a1_in1k") it says which weights too.
        norm: what its batch norms become, see `layers.norm`; other norms stay. "batch" leaves them, "none" does not
            exist. eps: of them; None: as published.
        channels: of the input. last: the last stride built.
        vector: build `top`, the mean over the last map; what the published classifier has before its last layer beyond
            that (a norm, a convolution) is not there.
        output_stride: of the coarsest map, where the net takes it.
        pretrained: fetch the published weights through timm, which keeps them; otherwise they are random.
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
        output_stride: int = 32,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        timm = import_library("timm")
        if ":" not in name and not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), 1)
            raise ConfigError(f"timm has no net named {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        published = _create(name).feature_info
        places = {s: p for s, p in zip(published.reduction(), published.out_indices) if s <= last}
        if not places:
            raise ConfigError(f"timm:{name} has maps at strides {published.reduction()}, none up to last={last}")
        options: dict[str, Any] = {"output_stride": output_stride} if output_stride < min(32, max(places)) else {}
        indices = tuple(places.values())
        self.net = _create(name, **options, in_chans=channels, out_indices=indices, pretrained=pretrained)
        exchange_norms(self.net, norm, eps)
        info = self.net.feature_info
        self.channels = dict(zip(places, info.channels()))
        self.output_stride, self.width = info.reduction()[-1], info.channels()[-1]
        self.top = MeanPool() if vector else None
        layout = str(getattr(self.net, "output_fmt", "NCHW")).rpartition(".")[2]
        if layout not in ("NCHW", "NHWC"):
            raise ConfigError(f"timm:{name} gives {layout}, which is no map; choose a net that gives maps")
        self._channels_last = layout == "NHWC"

    @classmethod
    def published(cls, name: str) -> PublishedWeights:
        """The weights that timm fetches for a net, and how they want pictures; ConfigError where they cannot be had."""
        found = cls(name, norm="batch", pretrained=True)
        said = found.net.pretrained_cfg
        return describe_weights(
            f"timm:{name}",
            found,
            said.get("mean"),
            said.get("std"),
            side=said.get("input_size", (3, 224, 224))[-1],
            licence=said.get("license") or "unknown",
            data=str(said.get("tag") or "unknown"),
        )

    @property
    def stages(self) -> Sequence[nn.Module]:
        """Up to each module that timm lists as one with a feature, used here or not."""
        listed = [info["module"] for info in self.net.feature_info.info]
        # its wrappers write stages.0 as stages_0, or put the net into a module of their own
        return cut_into_stages(self.net, [form for m in listed for form in (m, m.replace(".", "_"), f"model.{m}")])

    def maps(self, x: Tensor) -> dict[int, Tensor]:
        maps = dict(zip(self.channels, self.net(x)))
        return {stride: m.permute(0, 3, 1, 2) for stride, m in maps.items()} if self._channels_last else maps


def _create(name: str, **options: Any) -> Any:
    """A net of timm that gives maps; ConfigError where it gives none, or does not take an option."""
    timm = import_library("timm")
    for size in ANY_SIZE:
        try:
            return timm.create_model(name, features_only=True, **size, **options)
        except TypeError as error:  # an argument that its constructor does not know
            if not any(word in str(error) for word in size):
                raise _refused(name, options, error) from error
        except (AssertionError, AttributeError, NotImplementedError, OSError, RuntimeError, ValueError) as error:
            raise _refused(name, options, error) from error
    raise AssertionError("the last of ANY_SIZE has no argument that a net could refuse")


def _refused(name: str, options: dict[str, Any], error: Exception) -> ConfigError:
    given = f" with output_stride={options['output_stride']}" if "output_stride" in options else ""
    reason = str(error).partition("\n")[0] or type(error).__name__
    return ConfigError(f"timm:{name} cannot be built for its maps{given}: {reason}")
