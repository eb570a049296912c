"""Backbones by name. One family a file; all give features at named strides."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from videre.backbones.base import Backbone
from videre.backbones.mobilenet_v2 import MobileNetV2
from videre.backbones.resnet import ResNet
from videre.errors import ConfigError

LIGHT = ("mobilenet_v2", "resnet18")
"""Backbones that detectors join to a narrower pyramid and head by default."""


def make_backbone(name: str, **options: Any) -> Backbone:
    """The backbone called `name`, with random weights.

    Args:
        name: resnet18, resnet34, resnet50, resnet101, resnet152, mobilenet_v2.
        options: norm, channels, eps, and what the family takes beside (`padding`, `last`).

    Raises ConfigError with the nearest name when there is none.
    """
    families: dict[str, Any] = {f"resnet{d}": (ResNet, {"depth": d}) for d in (18, 34, 50, 101, 152)}
    families["mobilenet_v2"] = (MobileNetV2, {})
    if name not in families:
        near = difflib.get_close_matches(name, families, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(f"no backbone named {name!r}{hint} There are: {', '.join(families)}")
    family, fixed = families[name]
    unknown = sorted(set(options) - set(inspect.signature(family).parameters))
    if unknown:
        raise ConfigError(f"backbone {name} has no setting {unknown[0]!r}")
    return family(**fixed, **options)


__all__ = ["LIGHT", "Backbone", "MobileNetV2", "ResNet", "make_backbone"]
