"""A training starts from whatever weights are given, and says what it took."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scenes import CONFIGS, PREPROCESS, small

from videre.backbones import make_backbone
from videre.backbones.weights import BackboneWeights
from videre.data.blocks import blocks_dataset
from videre.errors import ConfigError, WeightsError
from videre.models import MODELS, find_model
from videre.models.checkpoint import save_checkpoint
from videre.train.build import prepare_training

from .tiny import SCHEMA, tiny_data

SMALL = {
    "strides": [8, 16],
    "anchor_sizes": [16, 32, 64],
    "width": 16,
    "hidden": 16,
    "multiplier": 0.25,
    "short_side": 64,
    "long_side": 64,
}


def start(name: str, **named: object):
    settings = named.pop("settings", {})
    return prepare_training(name, blocks_dataset(2, size=(64, 64)), settings=settings, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "second"), [("faster-rcnn", "mask-rcnn"), ("mask-rcnn", "faster-rcnn")])
def test_a_detector_passes_on_all_that_both_have(tmp_path: Path, first: str, second: str) -> None:
    """Settings too: a file of another backbone, width and strides builds the same ones."""
    old = start(first, backbone="resnet18", settings=SMALL).model
    save_checkpoint(old, tmp_path / "old.safetensors")
    new = start(second, source=str(tmp_path / "old.safetensors"))
    bare = lambda model: {n.removeprefix("detector."): v for n, v in model.state_dict().items() if "mask_head" not in n}
    before, after = bare(old), bare(new.model)
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    assert new.model.config["multiplier"] == 0.25 and new.model.config["norm"] == "group"
    assert any(line == f"loaded {len(before)} tensors" for line in new.lines)


def test_a_file_whose_backbone_does_not_fit_is_refused(tmp_path: Path) -> None:
    save_checkpoint(start("faster-rcnn", backbone="resnet18", settings=SMALL).model, tmp_path / "old.safetensors")
    with pytest.raises(WeightsError, match="the backbone of this faster-rcnn does not fit a mask-rcnn"):
        start(
            "mask-rcnn",
            source=str(tmp_path / "old.safetensors"),
            backbone="mobilenet_v2",
            settings={"width": 8, "hidden": 8, "multiplier": 1.0},
        )


@pytest.mark.parametrize("tune", ["top", "few", "many"])
def test_random_layers_are_never_frozen(tune: str) -> None:
    with pytest.raises(ConfigError, match=f"tune={tune} keeps layers of the backbone as they are, and they are random"):
        start("faster-rcnn", backbone="resnet18", tune=tune, settings=SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nms": 2}, "nms must be within 0 and 1, found 2"),
        ({"rpn_pre_nms": [500]}, r"rpn_pre_nms takes two numbers, for training and for prediction, found \[500\]"),
        ({"roi_batch": 0}, "roi_batch must be at least 1"),
        ({"max_detections": 0}, "max_detections must be at least 1"),
        ({"anchor_sizes": [0, 1, 2]}, "anchor_sizes must be at least 0.001, found 0"),
        ({"class_weights": {"cube": -1}}, "class_weights must be at least 0, found -1"),
    ],
)
@pytest.mark.parametrize("name", ["faster-rcnn", "mask-rcnn"])
def test_settings_are_checked_before_anything_is_trained(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        start(name, backbone="resnet18", settings={**SMALL, **settings})


# --from its own checkpoint ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_system_starts_from_its_own_checkpoint(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    old = find_model(name)(SCHEMA, small(find_model(name)), **CONFIGS[name])
    save_checkpoint(old, tmp_path / "old.safetensors")
    new = prepare_training(name, tiny_data(), source=str(tmp_path / "old.safetensors"))
    before, after = old.state_dict(), new.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    assert new.model.config == old.config


def test_a_net_that_does_not_fit_is_refused_without_a_backbone_too(tmp_path: Path) -> None:
    old = find_model("unet")(SCHEMA, PREPROCESS, width=8)
    save_checkpoint(old, tmp_path / "old.safetensors")
    with pytest.raises(WeightsError, match="the net of this unet does not fit a flat-fcn"):
        prepare_training("flat-fcn", tiny_data(), source=str(tmp_path / "old.safetensors"), settings={"width": 8})


# full names of settings -------------------------------------------------------------------------------------------------


def test_full_names_reach_settings_that_hide_each_other() -> None:
    """`flip` is one of the recipe and one of the pose net."""
    for settings, recipe, model in (
        ({"recipe.flip": 0.0}, 0.0, True),
        ({"model.flip": False}, 0.5, False),
        ({"recipe.flip": 0.25, "model.flip": False}, 0.25, False),
    ):
        made = prepare_training("hourglass-pose", tiny_data(), settings={"width": 32, **settings})
        assert (made.recipe.flip, made.model.config["flip"]) == (recipe, model)
    made = prepare_training("unet", tiny_data(), settings={"flip": 0.0, "preprocess.short_side": 32, "model.width": 8})
    assert made.recipe.flip == 0 and made.model.preprocess.short_side == 32 and made.model.config["width"] == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flip", "flip is a setting of recipe and of model; say recipe.flip or model.flip"),
        ("model.lr", "there is no setting 'model.lr'; there is recipe.lr"),
        ("recipe.lrr", "there is no setting 'recipe.lrr'; did you mean lr?"),
        ("wdith", "there is no setting 'wdith'; did you mean width?"),
    ],
)
def test_names_that_are_not_one_setting_say_what_to_write(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare_training("hourglass-pose", tiny_data(), settings={name: 1})
    assert str(caught.value).startswith(message)


def test_a_system_has_defaults_of_its_own_for_what_is_pretrained(tmp_path: Path) -> None:
    tiny = {"backbone": "resnet18", "multiplier": 0.25}
    fresh = start("single-object", settings=tiny)
    save_checkpoint(fresh.model, tmp_path / "old.safetensors")
    rate = lambda **named: start("single-object", source=str(tmp_path / "old.safetensors"), **named).recipe.lr
    assert (fresh.recipe.lr, rate(), rate(settings={"lr": 3e-4})) == (0.002, 1e-4, 3e-4)


@pytest.mark.parametrize("name", ["rcnn", "fast-rcnn", "faster-rcnn", "faster-rcnn-c4"])
def test_a_detector_keeps_what_its_trunk_has_learned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    card = BackboneWeights("mine", "resnet18", "0" * 8, "", "MIT", "ImageNet-1k", None)
    classifier = make_backbone("resnet18", vector=True).state_dict()
    monkeypatch.setattr("videre.train.build.find_weights", lambda source: (card, classifier))
    data = blocks_dataset(2, size=(64, 64))
    rate = lambda **named: prepare_training(name, data, **named).recipe.backbone_lr
    chosen = rate(source="w", settings={"backbone_lr": 0.5})
    assert (rate(source="w"), rate(backbone="resnet18"), chosen) == (0.2, 1.0, 0.5)
