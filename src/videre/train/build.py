"""From words to a model ready to train: its name, a backbone, weights to start from, settings."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videre.backbones import Backbone
from videre.data.dataset import Dataset
from videre.errors import ConfigError, VidereError, WeightsError
from videre.models import Model, find_model, name_of
from videre.models.base import arguments
from videre.models.checkpoint import Checkpoint, Transfer, transfer
from videre.models.settings import typed
from videre.structures import Preprocess, Scene, Schema
from videre.train.recipe import Recipe
from videre.zoo.weights import find_weights

SCRATCH = {"norm": "group", "fpn_norm": "group"}
"""Settings of a detector whose weights start at random: batch statistics of a few pictures are no good
(He et al., Rethinking ImageNet Pre-training, 2019)."""

FRESH = {"optimizer": "muon", "lr": 0.002}
"""Recipe of a model whose weights start at random, unless another optimizer is asked for; docs/results.md has what it
gains over AdamW."""

BACKBONE = ("backbone", "norm", "norm_eps", "padding", "multiplier")
"""Arguments that say which backbone a detector stands on."""

MOST = 10.0
"""Class weights chosen here lie between 1 / MOST and MOST: a class seen twice must not shake all others."""


@dataclasses.dataclass(frozen=True)
class Start:
    """A model to train: the recipe, lines that tell the user what was loaded and reset, and where weights came from."""

    model: Model
    recipe: Recipe
    lines: list[str]
    provenance: dict[str, Any]


def prepare_training(
    name: str,
    data: Dataset,
    backbone: str | None = None,
    source: str | None = None,
    tune: str | None = None,
    settings: dict[str, Any] | None = None,
) -> Start:
    """Build a model and its recipe.

    Args:
        name: of the system. data: to train on. backbone: its name; None: the file's, or the system's own default.
        source: see `find_weights`: a checkpoint (its settings and the heads of classes of the same name are carried over,
            also from one detector to another), or backbone weights; None: random weights.
        tune: see `Recipe`; None: "scratch" without weights (with Muon), else the recipe's default.
        settings: fields of `Recipe`, of `Preprocess`, and arguments of the model, all by name. class_weights="auto"
            weighs the classes by their inverse frequency in the data.

    Raises:
        ConfigError: an unknown name, with the nearest one, or a value that does not fit. DataError: the data lacks what
        the system needs. WeightsError: the file does not fit.
    """
    kind = find_model(name)
    kind.require(data.fields | kind.findable(), data.title)
    for_recipe, for_pictures, for_model = _asked_for(kind, data, backbone, tune, settings or {})
    found = None if source is None else find_weights(source)
    if found is None:
        begun: Mapping[str, Any] = {"tune": "scratch", **({} if "optimizer" in for_recipe else FRESH)}
    else:
        begun = {} if isinstance(found, Checkpoint) else kind.recipe_from_weights
    recipe = Recipe().replace(**{**kind.recipe, **begun, **for_recipe})
    torch.manual_seed(recipe.seed)
    if source is None or found is None:
        if recipe.tune not in ("all", "scratch"):
            raise ConfigError(
                f"tune={recipe.tune} keeps layers of the backbone as they are, and they are random: give weights to start "
                "from, or leave tune out"
            )
        known = arguments(kind)
        model = _make(
            kind, data, kind.usual.replace(**for_pictures), {k: v for k, v in SCRATCH.items() if k in known} | for_model
        )
        return Start(model, recipe, ["all weights start at random", *_weights_in(for_model)], {"from": None})
    if isinstance(found, Checkpoint):
        config = {**carried_over(found, kind), **for_model}
        model = _make(kind, data, _preprocess(found, kind).replace(**for_pictures), config)
        taken = transfer(model, found)
        if what := _unfilled(model, taken):
            raise WeightsError(f"{source}: the {what} of this {found.model} does not fit a {name} with these settings")
        lines = [f"from {source} ({found.model}):", *str(taken).splitlines(), *_weights_in(for_model)]
        return Start(model, recipe, lines, {"from": {"file": Path(source).name, "provenance": found.provenance}})
    card, tensors = found
    if backbone is not None and backbone != card.backbone:
        raise WeightsError(f"{source}: these are weights of {card.backbone}, not of {backbone}")
    preprocess = kind.usual.replace(channels=card.channels, mean=card.mean, std=card.std).replace(**for_pictures)
    options = dict(card.options)
    if "labels" not in kind.gives and options.get("padding") == "valid":
        options["padding"] = "half"  # maps of which nothing is cut off: features lie under their pixels
    model = _make(kind, data, preprocess, {"backbone": card.backbone, **options, **for_model})
    unused = model.start_from(tensors)
    lines = [
        f"backbone {card.backbone} from {source} ({card.name}; {card.licence}; trained on {card.data})",
        f"in the file but not used: {', '.join(unused) or 'nothing'}; the heads start at random",
        *_weights_in(for_model),
    ]
    return Start(model, recipe, lines, {"from": {"weights": card.name, "sha256": card.sha256, "licence": card.licence}})


def resume_training(
    name: str, data: Dataset, backbone: str | None, tune: str | None, settings: dict[str, Any], record: dict[str, Any]
) -> Start:
    """The model and recipe of a run's record (run.json), to be filled with its saved state.

    Settings that are given again must be those of the record, which the run's folder checks.

    Raises ConfigError when the record is of another system, or a setting that nobody knows.
    """
    if record["model"] != name and find_model(record["model"]) is not find_model(name):
        raise ConfigError(f"the run there trains {record['model']}, not {name}; resume that, or name another --out")
    kind = find_model(name)
    kind.require(data.fields | kind.findable(), data.title)
    for_recipe, for_pictures, for_model = _asked_for(kind, data, backbone, tune, settings)
    recipe = Recipe.from_json({**record["recipe"], **for_recipe})
    torch.manual_seed(recipe.seed)
    preprocess = Preprocess.from_json(record["preprocess"]).replace(**for_pictures)
    model = _make(kind, data, preprocess, {**record["config"], **for_model})
    return Start(model, recipe, [], {"from": record.get("from")})


def _asked_for(
    kind: type[Model], data: Dataset, backbone: str | None, tune: str | None, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Everything a user asked for, by what it belongs to: recipe, preprocessing, model. See `sort_settings`."""
    for_recipe, for_pictures, for_model = sort_settings(kind, settings)
    if "multilabel" in arguments(kind) and "multilabel" not in for_model and not has_single_labels(data):
        for_model["multilabel"] = True
    if for_model.get("class_weights") == "auto":
        for_model["class_weights"] = inverse_frequencies(data)
    return (
        ({"tune": tune} if tune else {}) | for_recipe,
        for_pictures,
        for_model | ({"backbone": backbone} if backbone else {}),
    )


def _weights_in(settings: dict[str, Any]) -> list[str]:
    weights = settings.get("class_weights") or {}
    return ["class weights " + ", ".join(f"{name} {w:g}" for name, w in weights.items())] if weights else []


def carried_over(old: Checkpoint, kind: type[Model]) -> dict[str, Any]:
    """The settings of a checkpoint's model that a model of `kind` shares: all, where one is inside the other or both have
    the same ones; else those of the backbone.

    Class weights belong to the data and stay behind.
    """
    before = find_model(old.model)
    lines = [{old.model, *before.inner_systems.values()}, {name_of(kind), *kind.inner_systems.values()}]
    known = set(arguments(kind))
    alike = set(arguments(before)) == known or lines[0] & lines[1]
    names = (known if alike else set(BACKBONE) & known) - {"class_weights"}
    return {k: v for k, v in old.config.items() if k in names}


def _unfilled(model: Model, taken: Transfer) -> str:
    """The part of a model that a transfer should have filled and has not: its backbone, or where it has none most of it."""
    backbones = tuple(f"{n}." for n, module in model.named_modules() if isinstance(module, Backbone))
    if backbones:
        return "" if any(tensor.startswith(backbones) for tensor in taken.loaded) else "backbone"
    sizes = {name: value.numel() for name, value in model.state_dict().items()}
    filled = sum(sizes[name] for name in [*taken.loaded, *taken.by_name])
    return "" if not sizes or filled * 2 > sum(sizes.values()) else "net"


def _counted(scene: Scene, schema: Schema) -> Tensor | None:
    """The labels of a picture that count: of its things, or of the picture where no things are named."""
    found = scene.instances
    if schema.things is None:
        return scene.labels
    if found is None or found.labels is None:
        return None
    return found.labels if found.ignore is None else found.labels[~found.ignore]


def _preprocess(old: Checkpoint, kind: type[Model]) -> Preprocess:
    """The checkpoint's; of a system that prepares pictures in another way only what belongs to the weights."""
    if find_model(old.model).usual == kind.usual:
        return old.preprocess
    return kind.usual.replace(channels=old.preprocess.channels, mean=old.preprocess.mean, std=old.preprocess.std)


def sort_settings(kind: type[Model], settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings by what they belong to: recipe, preprocessing, model; each of the type declared there.

    A full name says whose it is ("recipe.flip", "preprocess.size", "model.flip"); a short one works where one has it.

    Raises ConfigError for one that nobody knows, that several have, or of another type.
    """
    owners = {
        "recipe": typing.get_type_hints(Recipe),
        "preprocess": typing.get_type_hints(Preprocess),
        "model": {name: p.annotation for name, p in arguments(kind).items()},
    }
    sorted_: dict[str, dict[str, Any]] = {owner: {} for owner in owners}
    for name, value in settings.items():
        said, _, short = name.rpartition(".")
        having = [owner for owner, hints in owners.items() if short in hints and said in ("", owner)]
        if len(having) != 1:
            raise ConfigError(_no_one_setting(name, short, having, owners))
        (owner,) = having
        is_word = name == "class_weights" and value == "auto"
        sorted_[owner][short] = value if is_word else typed(name, value, owners[owner][short])
    return sorted_["recipe"], sorted_["preprocess"], sorted_["model"]


def _no_one_setting(name: str, short: str, having: list[str], owners: dict[str, dict[str, Any]]) -> str:
    """Why a name is not the name of one setting."""
    if having:
        return f"{name} is a setting of {' and of '.join(having)}; say {' or '.join(f'{owner}.{short}' for owner in having)}"
    full = {f"{owner}.{known}": known for owner, hints in owners.items() for known in hints}
    near = difflib.get_close_matches(short, full.values(), 1)
    there = [place for place, known in full.items() if known == short]
    hint = f"; there is {', '.join(there)}" if there else f"; did you mean {near[0]}?" if near else ""
    return f"there is no setting {name!r}{hint} (videre train SYSTEM --settings lists them)"


def has_single_labels(data: Dataset) -> bool:
    """Whether every picture has exactly one class."""
    truths = (truth for i in range(len(data)) if (truth := data.usable_scene(i)) is not None)
    return all(truth.labels is not None and len(truth.labels) == 1 for truth in truths)


def inverse_frequencies(data: Dataset) -> dict[str, float]:
    """Weight of each class: how much rarer it is than the average one, so that the mean over all instances is 1.

    Of things, or of pictures where no things are named. Within 1 / MOST and MOST; classes that never occur, and the
    background, weigh 1.
    """
    classes = data.schema.things or data.schema.pictures
    counts = torch.zeros(len(classes or []), dtype=torch.int64)
    for i in range(len(data)):
        truth = data.usable_scene(i)
        labels = None if truth is None else _counted(truth, data.schema)
        if labels is not None:
            counts += torch.bincount(labels, minlength=len(counts))
    there = int((counts > 0).sum())
    weights = {
        name: min(MOST, max(1 / MOST, int(counts.sum()) / (there * int(count)))) if count else 1.0
        for name, count in zip(classes or [], counts)
    }
    return {name: round(weight, 4) for name, weight in weights.items()}


def _make(kind: type[Model], data: Dataset, preprocess: Preprocess, settings: dict[str, Any]) -> Model:
    try:
        return kind(data.schema, preprocess, **settings)  # type: ignore[call-arg, arg-type]
    except VidereError:
        raise
    except (ValueError, TypeError, RuntimeError, KeyError, IndexError) as error:  # a setting that no layer can have
        listed = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        raise ConfigError(f"{kind.__name__} cannot be built with {listed}: {error!r}") from error
