"""Systems by name. The table maps public names to classes, loaded when asked for."""

from __future__ import annotations

import difflib
import importlib

from videre.errors import ConfigError
from videre.models.base import Model, Stage

MODELS = {
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
    "hourglass-pose": "videre.models.segment.hourglass_pose:HourglassPose",
    "movenet": "videre.models.segment.movenet:MoveNet",
    "faster-rcnn": "videre.models.detect.faster_rcnn:FasterRCNN",
    "faster-rcnn-c4": "videre.models.detect.faster_rcnn_c4:FasterRCNNC4",
    "mask-rcnn": "videre.models.detect.mask_rcnn:MaskRCNN",
    "keypoint-rcnn": "videre.models.detect.keypoint_rcnn:KeypointRCNN",
}


def find_model(name: str) -> type[Model]:
    """The class of a system by its public name; ConfigError with the nearest names when there is none."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(f"no model named {name!r}{hint} There are: {', '.join(MODELS)}")
    module, _, attribute = MODELS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def model_name(model: Model) -> str:
    """The public name of a model's class."""
    path = f"{type(model).__module__}:{type(model).__name__}"
    return next(name for name, place in MODELS.items() if place == path)


__all__ = ["MODELS", "Model", "Stage", "find_model", "model_name"]
