"""Every setting that `-o` takes is listed with what it means, and the list is that of the signatures."""

from __future__ import annotations

import dataclasses

import pytest

from videre.models import MODELS, find_model
from videre.models.base import arguments
from videre.structures import Preprocess
from videre.train.build import sort_settings
from videre.train.meanings import from_scratch, meanings, settings_of
from videre.train.recipe import Recipe


@pytest.mark.parametrize("system", MODELS)
def test_no_setting_of_any_system_is_without_a_meaning(system: str) -> None:
    kind = find_model(system)
    settings = settings_of(kind)
    mute = [f"{s.owner}.{s.name}" for s in settings if not s.meaning or s.meaning.startswith("see `")]
    assert not mute, f"their docstrings say nothing of {', '.join(mute)}"
    assert all(s.allowed for s in settings)
    known = {s.name for s in settings}
    assert known == {
        *(f.name for f in dataclasses.fields(Recipe)),
        *(f.name for f in dataclasses.fields(Preprocess)),
        *arguments(kind),
    }


@pytest.mark.parametrize("system", MODELS)
def test_the_defaults_that_are_listed_are_taken(system: str) -> None:
    kind = find_model(system)
    owners = {"backbone": "model"}
    given = {f"{owners.get(s.owner, s.owner)}.{s.name}": s.default for s in settings_of(kind)}
    recipe, pictures, model = sort_settings(kind, given)
    assert kind.usual.replace(**pictures) == kind.usual
    assert Recipe(**recipe) == Recipe().replace(**kind.recipe)
    assert model.keys() == arguments(kind).keys()


def test_a_docstring_is_read_entry_by_entry() -> None:
    class Net:
        """A net.

        Args:
            width: channels; None: 64. norm, padding, eps (None: as published), multiplier (of
                widths): of the backbone.
            mode: "a": one. At e.g. 0.5: no entry.

        More: not an argument.
        """

    said = meanings(Net)
    assert said["width"] == "channels; None: 64"
    assert said["norm"] == said["padding"] == said["multiplier"] == "of the backbone"
    assert said["eps"] == "of the backbone (None: as published)"
    assert said["mode"].startswith('"a": one') and "More" not in said


def test_what_another_class_says_is_found_there() -> None:
    said = {s.name: s for s in settings_of(find_model("mask-rcnn"))}
    assert said["anchor_ratios"].meaning == "height / width"
    assert said["mask_layers"].meaning == "3x3 convolutions before the upsampling"
    assert {s.name: s for s in settings_of(find_model("faster-rcnn-c4"))}[
        "anchor_sizes"
    ].meaning == "all on the one level"
    assert {s.name: s for s in settings_of(find_model("deconvnet"))}["unpool"].meaning.startswith('"places" puts')
    assert said["norm"].owner == "backbone" and said["norm"].allowed == "one of frozen, batch, sync, group, none"
    assert said["batch"].allowed == "a whole number, 1 or more"
    assert said["pictures"].allowed == "a whole number, 1 or more, or null"
    assert from_scratch(find_model("faster-rcnn"))["fpn_norm"] == "group"
    assert "norm" not in from_scratch(find_model("multiscale"))
