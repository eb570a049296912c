"""From words to a model ready to train: its name, a backbone, weights to start from, settings."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from pathlib import Path
from typing import Any

import torch

from videre.backbones import Backbone
from videre.backbones.weights import recognise_weights
from videre.errors import ConfigError, WeightsError
from videre.models import Model, find_model
from videre.models.checkpoint import KEY, read_checkpoint, read_tensors, transfer
from videre.structures import Preprocess, Schema
from videre.train.recipe import Recipe

SCRATCH = {"norm": "group", "fpn_norm": "group"}
"""Settings of a detector whose weights start at random: batch statistics of a few pictures are no good
(He et al., Rethinking ImageNet Pre-training, 2019)."""


@dataclasses.dataclass(frozen=True)
class Start:
    """A model to train: the recipe, lines that tell the user what was loaded and reset, and where weights came from."""

    model: Model
    recipe: Recipe
    lines: list[str]
    provenance: dict[str, Any]


def prepare_training(
    name: str, schema: Schema, backbone: str | None = None, source: str | None = None, tune: str | None = None,
    settings: dict[str, Any] | None = None,
) -> Start:  # fmt: skip
    """Build a model and its recipe.

    Args:
        name: of the system. schema: of the data. backbone: its name; None: the file's, or the system's own default.
        source: a checkpoint of ours (heads are carried over by class name) or backbone weights; None: random weights.
        tune: see `Recipe`; None: "scratch" without weights, else the recipe's default.
        settings: fields of `Recipe`, of `Preprocess`, and arguments of the model, all by name.

    Raises:
        ConfigError: an unknown name, with the nearest one. WeightsError: the file does not fit.
    """
    kind = find_model(name)
    recipe_settings, preprocess_settings, model_settings = sort_settings(kind, settings or {})
    if source is None:
        recipe = Recipe().replace(**{"tune": tune or "scratch", **recipe_settings})
        return _from_scratch(kind, schema, backbone, recipe, preprocess_settings, model_settings)
    recipe = Recipe().replace(**({"tune": tune} if tune else {}) | recipe_settings)
    torch.manual_seed(recipe.seed)
    tensors, header = read_tensors(source)
    if KEY in header:
        old = read_checkpoint(source)
        config = (
            {**old.config, **({"backbone": backbone} if backbone else {}), **model_settings}
            if old.model == name
            else model_settings
        )
        model = kind(schema, old.preprocess.replace(**preprocess_settings), **config)  # type: ignore[call-arg, arg-type]
        report = transfer(model, old)
        lines = [f"from {source} ({old.model}):", *str(report).splitlines()]
        return Start(model, recipe, lines, {"from": {"file": Path(source).name, "provenance": old.provenance}})
    card = recognise_weights(source, tensors)
    if backbone is not None and backbone != card.backbone:
        raise WeightsError(f"{source}: these are weights of {card.backbone}, not of {backbone}")
    preprocess = Preprocess(mean=card.mean, std=card.std).replace(**preprocess_settings)
    model = kind(schema, preprocess, **{"backbone": card.backbone, **dict(card.options), **model_settings})  # type: ignore[call-arg, arg-type]
    unused = next(m for m in model.modules() if isinstance(m, Backbone)).load_weights(tensors)
    lines = [
        f"backbone {card.backbone} from {source} ({card.name}; {card.licence}; trained on {card.data})",
        f"in the file but not used: {', '.join(unused) or 'nothing'}; the heads start at random",
    ]
    return Start(model, recipe, lines, {"from": {"weights": card.name, "sha256": card.sha256, "licence": card.licence}})


def sort_settings(kind: type[Model], settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings by what they belong to: recipe, preprocessing, model. ConfigError for one that nobody knows."""
    recipe_fields = {f.name for f in dataclasses.fields(Recipe)}
    preprocess_fields = {f.name for f in dataclasses.fields(Preprocess)}
    arguments = model_arguments(kind)
    sorted_: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
    for name, value in settings.items():
        places = [name in recipe_fields, name in preprocess_fields, name in arguments]
        if not any(places):
            near = difflib.get_close_matches(name, [*recipe_fields, *preprocess_fields, *arguments], 1)
            raise ConfigError(f"there is no setting {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        sorted_[places.index(True)][name] = tuple(value) if isinstance(value, list) else value
    return sorted_


def model_arguments(kind: type[Model]) -> set[str]:
    """Keyword arguments of a model's constructor, those that it hands to the detector inside included."""
    from videre.models.detect.faster_rcnn import FasterRCNN

    parameters = inspect.signature(kind.__init__).parameters
    names = {n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return names | model_arguments(FasterRCNN) if "detector" in parameters else names


def _from_scratch(
    kind: type[Model],
    schema: Schema,
    backbone: str | None,
    recipe: Recipe,
    preprocess: dict[str, Any],
    settings: dict[str, Any],
) -> Start:
    torch.manual_seed(recipe.seed)
    known = model_arguments(kind)
    defaults = {k: v for k, v in SCRATCH.items() if k in known}
    chosen = {**defaults, **({"backbone": backbone} if backbone else {}), **settings}
    model = kind(schema, Preprocess().replace(**preprocess), **chosen)  # type: ignore[call-arg]
    return Start(model, recipe, ["all weights start at random"], {"from": None})
