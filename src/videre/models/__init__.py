"""Systems by name. The table maps public names to classes, loaded when asked for; users add their own with `register`."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import Any

from videre.errors import ConfigError
from videre.models.base import Model
from videre.models.stages import Descent, Fit, Stage

MODELS: dict[str, str | type[Model]] = {
    "classifier": "videre.models.classify.classifier:Classifier",
    "sliding-window": "videre.models.segment.sliding_window:SlidingWindow",
    "multiscale": "videre.models.segment.multiscale:Multiscale",
    "recurrent": "videre.models.segment.recurrent:RecurrentCNN",
    "flat-fcn": "videre.models.segment.flat:FlatFCN",
    "fcn": "videre.models.segment.fcn:FCN",
    "deconvnet": "videre.models.segment.deconvnet:DeconvNet",
    "segnet": "videre.models.segment.segnet:SegNet",
    "dilated-fcn": "videre.models.segment.dilated:DilatedFCN",
    "deeplabv3": "videre.models.segment.dilated:DeepLabV3",
    "unet": "videre.models.segment.unet:UNet",
    "residual-unet": "videre.models.segment.residual_unet:ResidualUNet",
    "hourglass": "videre.models.segment.hourglass:HourglassSegmenter",
    "hourglass-pose": "videre.models.pose.hourglass:HourglassPose",
    "movenet": "videre.models.pose.movenet:MoveNet",
    "selective-search": "videre.models.propose.selective_search:SelectiveSearch",
    "objectness": "videre.models.propose.objectness:Objectness",
    "edge-boxes": "videre.models.propose.edge_boxes:EdgeBoxes",
    "edge-hed": "videre.models.propose.edge_hed:EdgeHED",
    "bing": "videre.models.propose.bing:Bing",
    "single-object": "videre.models.detect.single_object:SingleObject",
    "window-detector": "videre.models.detect.window_detector:WindowDetector",
    "rcnn": "videre.models.detect.rcnn:RCNN",
    "sppnet": "videre.models.detect.sppnet:SPPNet",
    "fast-rcnn": "videre.models.detect.fast_rcnn:FastRCNN",
    "faster-rcnn": "videre.models.detect.faster_rcnn:FasterRCNN",
    "faster-rcnn-c4": "videre.models.detect.faster_rcnn_c4:FasterRCNNC4",
    "yolo": "videre.models.detect.yolo:YOLO",
    "r-fcn": "videre.models.detect.r_fcn:RFCN",
    "ssd": "videre.models.detect.ssd:SSD",
    "yolox": "videre.models.detect.yolox:YOLOX",
    "retinanet": "videre.models.detect.retinanet:RetinaNet",
    "mask-rcnn": "videre.models.detect.mask_rcnn:MaskRCNN",
    "keypoint-rcnn": "videre.models.detect.keypoint_rcnn:KeypointRCNN",
}


IMPORTED: set[str] = set()
"""Modules of the user's own."""


def register(name: str, kind: type[Model]) -> None:
    """Put a system of one's own on the table, so that the command line and checkpoints know it by a name.

    Without it, it is called "module:Class". ConfigError where the name is another system's.
    """
    if MODELS.get(name, kind) is not kind:
        raise ConfigError(f"there is a system {name!r} already; register {kind.__name__} under another name")
    MODELS[name] = kind


def find_model(name: str) -> type[Model]:
    """The class of a system by its public name, or "module:Class" where that module has been imported.

    A name may come out of a file, and importing a module runs it: so that is left to the user (`import_system`).

    Raises ConfigError, with the nearest names, when there is none.
    """
    place = MODELS.get(name, name if ":" in name else None)
    if place is None:
        near = difflib.get_close_matches(name, MODELS, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(
            f"no model named {name!r}{hint} There are: {', '.join(MODELS)}, and those of your "
            "own modules (--import MODULE)"
        )
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    if name not in MODELS and module not in sys.modules:
        raise ConfigError(
            f"{name} is not one of videre's systems; import {module} first (on the command line: --import {module})"
        )
    kind: Any = getattr(importlib.import_module(module), attribute, None)
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        raise ConfigError(f"{name}: there is no Model of that name in {module}")
    return kind


def import_system(module: str) -> None:
    """Import a user's module, which may `register` systems; from the working folder too. ConfigError where it fails."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        importlib.import_module(module)
        IMPORTED.add(module)
    except ImportError as error:
        raise ConfigError(f"{module}: cannot be imported ({error})") from error


def name_of(kind: type[Model]) -> str:
    """The public name of a system; "module:Class" for one that is not on the table."""
    path = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name, place in MODELS.items() if place is kind or place == path), path)


def model_name(model: Model) -> str:
    """The public name of a model's class."""
    return name_of(type(model))


__all__ = [
    "MODELS",
    "Descent",
    "Fit",
    "Model",
    "Stage",
    "find_model",
    "import_system",
    "model_name",
    "name_of",
    "register",
]
