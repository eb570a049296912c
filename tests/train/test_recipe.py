"""Settings: of the right type and range or refused with one line; schedules; class weights; estimates."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from videre.cli.options import parse_settings
from videre.data.stats import stats
from videre.errors import ConfigError, DataError
from videre.models import find_model
from videre.models.checkpoint import save_checkpoint
from videre.models.settings import typed
from videre.structures import Categories, Preprocess, Schema
from videre.train import Recipe
from videre.train.build import MOST, inverse_frequencies, prepare_training, sort_settings
from videre.train.estimate import estimate
from videre.train.size import propose_size

from .tiny import FEW, SCHEMA, TINY, detector, tiny_data, tiny_recipe, toy


@pytest.mark.parametrize(
    ("hint", "value", "found"),
    [
        (float, 3, 3.0),
        (int, 3, 3),
        (bool, True, True),
        (str, "a", "a"),
        (int | None, None, None),
        (tuple[int, ...], [1, 2], (1, 2)),
        (Sequence[float], (), ()),
        (tuple[int, int] | None, [3, 4], (3, 4)),
        (dict[str, float] | None, {"a": 1}, {"a": 1.0}),
        (Any, object, object),
    ],
)
def test_values_of_the_declared_type_are_taken(hint: Any, value: Any, found: Any) -> None:
    taken = typed("x", value, hint)
    assert taken == found and type(taken) is type(found)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (float, "fast", "x must be a number, found 'fast'"),
        (float, True, "a number"),
        (float, float("inf"), "a number"),
        (int, 2.5, "a whole number"),
        (int, True, "a whole number"),
        (bool, 1, "true or false"),
        (str, 3, "a word"),
        (int | None, "a", "a whole number"),
        (tuple[int, ...], 3, r"a list, each a whole number, as in \[1, 2\]"),
        (tuple[int, int], [1], "a list of 2"),
        (tuple[int, ...], [1, "a"], "a whole number, found 'a'"),
        (dict[str, float], [1], 'a table, each a number, as in {"name": 1}'),
        (dict[str, float], {"a": "b"}, "x of a"),
    ],
)
def test_values_of_another_type_are_refused(hint: Any, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        typed("x", value, hint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": "fast"}, "recipe: lr must be a number, found 'fast'"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"flip": 2}, "flip must be within 0 and 1, found 2.0"),
        ({"lr": 0}, "lr must be positive"),
        ({"ema": 1.0}, "ema must be within"),
        ({"workers": -1}, "workers must be"),
        ({"scale_min": 2.0}, "scale_min 2.0 is larger than scale_max 1.0"),
        ({"crop": 0.0}, "crop must be positive"),
        ({"short_sides": [0]}, "short_sides must be at least 1"),
        ({"schedule": "poly"}, "one of cosine, step"),
        ({"epoch": 3}, "the recipe has no 'epoch'; did you mean epochs?"),
        ({"pictures": 0}, "pictures must be at least 1"),
        ({"seed": -1}, "seed must be within"),
        ({"evaluate_every": 0}, "evaluate_every"),
    ],
)
def test_recipes_check_themselves(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe().replace(**changes)


def test_recipes_survive_json() -> None:
    recipe = Recipe(short_sides=(320, 480), pictures=7, lr=1)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe and again.lr == 1.0 and isinstance(again.lr, float)


def test_rates_rise_then_fall() -> None:
    cosine, step = Recipe(warmup=0.1), Recipe(warmup=0.0, schedule="step")
    rates = [cosine.rate(n, 100) for n in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)]) and rates[10] == 1
    assert sorted(rates[10:], reverse=True) == rates[10:] and rates[-1] < 0.02
    # one step of warm-up at least; then a tenth at 2/3 and 8/9
    assert [round(step.rate(n, 91), 6) for n in (0, 30, 60, 61, 80, 81)] == [1, 1, 1, 0.1, 0.1, 0.01]
    assert Recipe(epochs=3, batch=4).steps(10) == 8 and Recipe(pictures=1, batch=4).steps(10) == 1


def test_words_of_the_command_line_become_values() -> None:
    words = ["lr=1e-3", "a=.5", "b=True", "c=null", "d=[16,32]", 'e={"x": 2}', "f=word", "g = 3", "h=a=b", "i=None"]
    assert parse_settings(words) == {
        "lr": 1e-3,
        "a": 0.5,
        "b": True,
        "c": None,
        "d": [16, 32],
        "e": {"x": 2},
        "f": "word",
        "g": 3,
        "h": "a=b",
        "i": None,
    }
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_settings(["lr"])


def test_settings_find_their_owner() -> None:
    kind = find_model("mask-rcnn")
    found = sort_settings(kind, {"lr": 1, "short_side": 320, "mask_layers": 2, "anchor_sizes": [16, 32]})
    assert found == ({"lr": 1.0}, {"short_side": 320}, {"mask_layers": 2, "anchor_sizes": (16.0, 32.0)})
    with pytest.raises(ConfigError, match=r"no setting 'mask_layer'; did you mean mask_layers\?"):
        sort_settings(kind, {"mask_layer": 2})


def test_class_weights_follow_the_frequencies() -> None:
    data = tiny_data(20)
    labels = torch.cat([data.scene(i).instances.labels for i in range(len(data))])
    counts = torch.bincount(labels, minlength=2).tolist()
    weights = inverse_frequencies(data)
    assert weights == pytest.approx({n: sum(counts) / (2 * c) for n, c in zip(SCHEMA.things, counts)}, abs=1e-4)
    assert sum(weights[SCHEMA.things[k]] * c for k, c in enumerate(counts)) == pytest.approx(sum(counts), rel=1e-3)
    start = prepare_training("faster-rcnn", data, settings={**TINY, **FEW, "class_weights": "auto"})
    assert start.model.config["class_weights"] == weights
    assert start.model.box_head.class_weights.tolist() == pytest.approx([*weights.values(), 1.0])
    start = prepare_training("faster-rcnn", data, settings={**TINY, **FEW, "class_weights": {"disc": 3}})
    assert start.model.box_head.class_weights.tolist() == [1, 3, 1]
    with pytest.raises(ConfigError, match="discs"):
        prepare_training("faster-rcnn", data, settings={**TINY, "class_weights": {"discs": 3}})


def test_class_weights_of_rare_and_absent_classes_stay_in_bounds() -> None:
    data = tiny_data(1)
    wide = Schema(things=Categories.of(["square", "disc", "never"]))
    data.schema = wide
    data.source.scene = lambda i, whole=data.source.scene: whole(i).select(torch.tensor([0]).repeat(1))
    weights = inverse_frequencies(data)
    assert weights["never"] == 1.0 and all(1 / MOST <= w <= MOST for w in weights.values())
    assert inverse_frequencies(tiny_data(3, empty=True)) == {"square": 1.0, "disc": 1.0}


def test_a_training_starts_from_another_checkpoint(tmp_path) -> None:
    save_checkpoint(
        detector(preprocess=Preprocess(size=(64, 96)), class_weights={"disc": 2}), tmp_path / "m.safetensors"
    )
    start = prepare_training("faster-rcnn", tiny_data(), source=str(tmp_path / "m.safetensors"), settings={"lr": 0.1})
    assert start.model.config["hidden"] == 32 and start.model.config["class_weights"] is None
    assert start.model.preprocess.size == (64, 96)
    assert (start.recipe.tune, start.recipe.lr) == ("many", 0.1) and start.lines[0].startswith("from ")
    unlabelled = tiny_data()
    unlabelled.source.fields = frozenset({"captions"})
    with pytest.raises(DataError, match="trains on boxes"):
        prepare_training("faster-rcnn", unlabelled)


def test_minutes_become_pictures_by_the_pace_here(monkeypatch) -> None:
    from videre.train import estimate as module

    cost = module.Estimate(steps=1, seconds=0.5, pictures=4.0, memory=0)
    monkeypatch.setattr(module, "estimate", lambda *_, **__: cost)
    model, data = toy(), tiny_data()
    recipe = module.within_minutes(model, data, tiny_recipe(pictures=None, minutes=2, batch=2))
    assert recipe.pictures == 2 * 60 / 0.5 * 2 and recipe.minutes == 2
    assert module.within_minutes(model, data, recipe) is recipe  # so that a resumed run has as many
    plain = tiny_recipe()
    assert module.within_minutes(model, data, plain) is plain


def test_an_estimate_tries_a_copy() -> None:
    model = toy()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost = estimate(model, tiny_data(), tiny_recipe(), "cpu")
    assert cost.steps == 6 and cost.seconds > 0 and cost.pictures == pytest.approx(2 / cost.seconds)
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("side", "short_side", "says"),
    [
        (8.0, 480, "a tenth of the things have sides under 8 pixels .* -o short_side=720 makes that 12, for 2.2 times"),
        (100.0, 480, ""),
        (100.0, 960, r"enlarged 2\.0 times .* -o short_side=480 sees them about as they are, in 0\.25 of the time"),
    ],
)
def test_a_size_is_proposed_by_what_is_on_the_pictures(side: float, short_side: int, says: str) -> None:
    sides = np.full(20, side)
    known = stats(tiny_data())
    known = dataclasses.replace(
        known, picture_sizes={(480, 640): 4}, sides=sides, resized_sides=sides * short_side / 480
    )
    line = propose_size(known, Preprocess(short_side=short_side))
    assert re.search(says, line) if says else line == ""
    assert propose_size(known, Preprocess(size=(32, 32))) == ""
