"""Backbone weights as the classifiers that they were trained as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videre.backbones.weights import BackboneWeights
from videre.errors import WeightsError
from videre.models.classify.published import imagenet_names, published_classifier
from videre.predict import load

SHARED = Path(__file__).parents[2].parent / "shared"
WEIGHTS = SHARED / "weights" / "mobilenet_v2_imagenet_fp16.safetensors"
ANTS_BEES = SHARED / "data" / "hymenoptera_data" / "val"


def tensors(rows: int) -> dict[str, torch.Tensor]:
    from videre.backbones import make_backbone

    torch.manual_seed(0)
    own = make_backbone("resnet18").state_dict()
    return {**own, "fc.weight": torch.randn(rows, 512), "fc.bias": torch.arange(rows).float()}


def card(**changes: object) -> BackboneWeights:
    return BackboneWeights("mine", "resnet18", "0" * 8, "", "MIT", "ImageNet-1k", None, **changes)  # type: ignore[arg-type]


def test_the_background_is_no_class() -> None:
    model = published_classifier(card(background=1, side=299), tensors(1001))
    assert model.logits.bias[0] == 1 and len(model.logits.bias) == 1000
    assert model.preprocess.centre_crop == (299, 299) and model.preprocess.short_side == 342
    assert published_classifier(card(), tensors(1000)).preprocess.short_side == 256


def test_weights_without_the_last_layer_are_refused() -> None:
    own = {name: value for name, value in tensors(1000).items() if not name.startswith("fc")}
    for given in (own, tensors(1001), tensors(7)):
        with pytest.raises(WeightsError, match="mine: there is no last layer for ImageNet's 1000 classes"):
            published_classifier(card(), given)


def test_classes_have_names_of_their_own() -> None:
    names = imagenet_names()
    assert len(set(names)) == 1000
    assert (names[0], names[309], names[310], names[999]) == ("tench", "bee", "ant", "toilet tissue")


@pytest.mark.skipif(not (WEIGHTS.exists() and ANTS_BEES.exists()), reason=f"weights or pictures are not in {SHARED}")
def test_ants_are_called_ants() -> None:
    predictor = load(WEIGHTS, engine="plain")
    said = []
    for kind in ("ant", "bee"):
        for path in sorted((ANTS_BEES / f"{kind}s").glob("*.jpg"))[:6]:
            scene = predictor.predict(path, threshold=0)
            said.append(kind in [predictor.model.schema.pictures[int(k)] for k in scene.labels[:5]])
    assert sum(said) >= 9  # of 12, among the five likeliest of a thousand
