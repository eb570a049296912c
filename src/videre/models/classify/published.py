"""Published backbone weights as the classifiers of ImageNet's 1,000 classes that they were trained as."""

from __future__ import annotations

import importlib.resources

import torch
from torch import Tensor

from videre.backbones.weights import BackboneWeights
from videre.errors import WeightsError
from videre.models.classify.classifier import Classifier
from videre.structures import Categories, Schema


def published_classifier(card: BackboneWeights, tensors: dict[str, Tensor]) -> Classifier:
    """The classifier of a weight file, in eval mode: prepares pictures as its card says, names ImageNet's classes.

    Raises WeightsError where the file holds no last layer for them.
    """
    preprocess = Classifier.usual.replace(channels=card.channels, mean=card.mean, std=card.std)
    if card.side != 224:  # as published: the side is 7/8 of the picture's short side
        preprocess = preprocess.replace(short_side=round(card.side * 8 / 7), centre_crop=(card.side, card.side))
    schema = Schema(pictures=Categories(imagenet_names()))
    model = Classifier(schema, preprocess, backbone=card.backbone, **dict(card.options))
    model.backbone.load_weights(tensors)
    layer = {name: tensors.get(f"{model.backbone.LOGITS}.{name}") for name in ("weight", "bias")}
    for name, value in layer.items():
        own = getattr(model.logits, name)
        if value is None or len(value) - card.background != len(own):
            found = "none" if value is None else f"one of {len(value)} rows"
            raise WeightsError(
                f"{card.name}: there is no last layer for ImageNet's {len(own)} classes ({found}); train a "
                "system from these weights"
            )
        with torch.no_grad():
            own.copy_(value[card.background :])
    return model.eval()


def imagenet_names() -> tuple[str, ...]:
    """ImageNet's 1,000 classes in their usual order, each by the first word of its WordNet synset."""
    text = (importlib.resources.files("videre.models.classify") / "imagenet.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
