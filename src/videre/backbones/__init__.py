"""Backbones by name. One family a file, also for those of other libraries; all give features at named strides."""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import Any

from videre.backbones.base import VECTOR, Backbone
from videre.errors import ConfigError

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "alexnet": ("alexnet:AlexNet", {}),
    **{f"vgg{d}": ("vgg:VGG", {"depth": d}) for d in (11, 13, 16, 19)},
    **{f"vgg{d}_bn": ("vgg:VGG", {"depth": d, "norm": "frozen"}) for d in (11, 13, 16, 19)},
    **{f"resnet{d}": ("resnet:ResNet", {"depth": d}) for d in (18, 34, 50, 101, 152)},
    "inception_v2": ("inception_v2:InceptionV2", {}),
    "bn_inception": ("inception_v2:InceptionV2", {"variant": "caffe", "padding": "ceil", "eps": 1e-5}),
    "inception_v3": ("inception_v3:InceptionV3", {}),
    "inception_resnet_v2": ("inception_resnet_v2:InceptionResNetV2", {}),
    "mobilenet_v1": ("mobilenet_v1:MobileNetV1", {}),
    "mobilenet_v2": ("mobilenet_v2:MobileNetV2", {}),
    **{f"cspdarknet_{v}": ("cspdarknet:CSPDarknet", {"variant": v}) for v in ("nano", "tiny", "s", "m", "l", "x")},
    "darknet_yolo": ("darknet:Darknet", {"variant": "yolo"}),
    "darknet_tiny": ("darknet:Darknet", {"variant": "tiny"}),
    "mobilenet_v3_large": ("mobilenet_v3:MobileNetV3", {"variant": "large"}),
    "mobilenet_v3_small": ("mobilenet_v3:MobileNetV3", {"variant": "small"}),
}
"""Name: where its family is, and the arguments that the name stands for (others may be given instead)."""

LIBRARIES = {"timm": "timm:TimmBackbone", "hf": "transformers:TransformersBackbone"}
"""Prefix of the names in other libraries ("timm:resnet50"): where their backbones are made."""

LIGHT = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "cspdarknet_nano",
    "cspdarknet_tiny",
)
"""Backbones that detectors join to a narrower pyramid and head by default."""


def find_backbone(name: str) -> type[Backbone]:
    """The family of the backbone called `name`; ConfigError with the nearest name when there is none."""
    return _find(name)[0]


def _find(name: str) -> tuple[type[Backbone], dict[str, Any]]:
    """The family, and the arguments that the name stands for."""
    library, _, inside = name.partition(":")
    if inside and library in LIBRARIES:
        place, arguments = LIBRARIES[library], {"name": inside}
    elif name in FAMILIES:
        place, arguments = FAMILIES[name]
    else:
        near = difflib.get_close_matches(name, FAMILIES, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(
            f"no backbone named {name!r}{hint} There are: {', '.join(FAMILIES)}, "
            f"and {' and '.join(f'{prefix}:NAME' for prefix in LIBRARIES)} of other libraries"
        )
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(f"videre.backbones.{module}"), attribute), arguments


def takes(name: str, option: str) -> bool:
    """Whether the family of a backbone has a setting."""
    return option in inspect.signature(find_backbone(name)).parameters


def make_backbone(name: str, **options: Any) -> Backbone:
    """The backbone called `name`, with random weights.

    Args:
        name: of `FAMILIES`, or "timm:NAME" or "hf:NAME" of other libraries.
        options: norm, channels, eps, vector, and what the family takes beside (`padding`, `last`, `output_stride`, …).

    Raises ConfigError with the nearest name when there is none.
    """
    found, arguments = _find(name)
    family: Any = found
    unknown = sorted(set(options) - set(inspect.signature(family).parameters))
    if unknown:
        raise ConfigError(f"backbone {name} has no setting {unknown[0]!r}")
    backbone = family(**{**arguments, **options})
    backbone.made = name, options
    return backbone


def backbone_of(
    name: str,
    *,
    channels: int,
    norm: str,
    padding: str,
    norm_eps: float | None,
    multiplier: float,
    last: int = 32,
    **more: Any,
) -> Backbone:
    """A backbone by the settings that detectors share; those that not every family takes are handed on only where they say
    something.

    Args:
        channels: of the picture. padding: "half", or what a family that has a choice takes. norm_eps: None: as published.
        last: the last stride that is built. more: for every family.
    """
    special = {"multiplier": (multiplier, 1.0), "last": (last, 32), "eps": (norm_eps, None)}
    options: dict[str, Any] = {name: value for name, (value, plain) in special.items() if value != plain}
    if padding != "half" or takes(name, "padding"):
        options["padding"] = padding
    return make_backbone(name, norm=norm, channels=channels, **options, **more)


__all__ = [
    "FAMILIES",
    "LIBRARIES",
    "LIGHT",
    "VECTOR",
    "Backbone",
    "backbone_of",
    "find_backbone",
    "make_backbone",
    "takes",
]
