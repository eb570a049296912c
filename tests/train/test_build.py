"""A training starts from whatever weights are given, and says what it took."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videre.data.blocks import blocks_dataset
from videre.errors import ConfigError, WeightsError
from videre.models.checkpoint import save_checkpoint
from videre.train.build import prepare_training

SMALL = {
    "strides": [8, 16], "anchor_sizes": [16, 32, 64], "width": 16, "hidden": 16, "multiplier": 0.25, "short_side": 64,
    "long_side": 64,
}  # fmt: skip


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
        start("mask-rcnn", source=str(tmp_path / "old.safetensors"), backbone="mobilenet_v2",
              settings={"width": 8, "hidden": 8, "multiplier": 1.0})  # fmt: skip


@pytest.mark.parametrize("tune", ["top", "few", "many"])
def test_random_layers_are_never_frozen(tune: str) -> None:
    with pytest.raises(ConfigError, match=f"tune={tune} keeps layers of the backbone as they are, and they are random"):
        start("faster-rcnn", backbone="resnet18", tune=tune, settings=SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nms": 2}, "nms must be within 0 and 1, found 2"),
        ({"rpn_pre_nms": [500]}, r"rpn_pre_nms takes two numbers, for training and for prediction, found \[500\]"),
        ({"roi_batch": 0}, "roi_batch must be at least 1"), ({"max_detections": 0}, "max_detections must be at least 1"),
        ({"anchor_sizes": [0, 1, 2]}, "anchor_sizes must be at least 0.001, found 0"),
        ({"class_weights": {"cube": -1}}, "class_weights must be at least 0, found -1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["faster-rcnn", "mask-rcnn"])
def test_settings_are_checked_before_anything_is_trained(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        start(name, backbone="resnet18", settings={**SMALL, **settings})
