"""What trains, how fast, and the average of the weights that is kept."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from videre.backbones import Backbone
from videre.layers.norm import FrozenBatchNorm2d
from videre.models.base import Model
from videre.models.stages import Descent
from videre.train.muon import Muon
from videre.train.recipe import Recipe

NARROW = 16
"""Fewest rows and columns of a matrix that Muon turns; a depthwise 3x3 convolution has nine columns."""


def choose_trained(model: Model, recipe: Recipe, stage: Descent | None = None) -> list[str]:
    """Set which parameters train, by `Recipe.tune` and the stage; returns a line a part for the user, with its learning rate.

    top: all but the backbone. few: and its last stage. many: all but its stem and first stage. all, scratch: all.
    """
    if stage is not None and stage.parameters is not None:
        model.requires_grad_(True)  # whatever the stage before has left out
    backbones = [m for m in model.modules() if isinstance(m, Backbone)]
    for backbone in backbones:
        count = len(backbone.stages)
        frozen = {"top": count, "few": count - 1, "many": min(2, count), "all": 0, "scratch": 0}[recipe.tune]
        backbone.requires_grad_(True)
        backbone.freeze(frozen)
    if stage is not None:
        for name, p in model.named_parameters():
            p.requires_grad_(p.requires_grad and stage.trains(name))
    return [describe(model), *_parts(model, recipe)]


def describe(model: nn.Module) -> str:
    """How many parameters train, of how many."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return f"{trained:,} of {total:,} parameters train"


def _parts(model: Model, recipe: Recipe) -> list[str]:
    """How many parameters train at which rate, from the picture on; parts of the same rate are one line."""
    factors = _factors(model, recipe)
    if len({factors.get(id(p), 1.0) for p in model.parameters() if p.requires_grad}) < 2:
        return []
    counts: dict[float, int] = {}
    names: dict[float, list[str]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            factor = factors.get(id(p), 1.0)
            counts[factor] = counts.get(factor, 0) + p.numel()
            names.setdefault(factor, []).append(name)
    return [
        f"  {counts[factor]:,} at {recipe.lr * factor:.1e}: {of[0]}" + (f" … {of[-1]}" if len(of) > 1 else "")
        for factor, of in names.items()
    ]


def _factors(model: Model, recipe: Recipe) -> dict[int, float]:
    """Factor on the learning rate by the id of a backbone's parameter; everything else has 1.

    `backbone_lr` for all of it, times `layer_decay` for each stage between it and the heads, its own included
    (Howard & Ruder, Universal Language Model Fine-tuning, 2018, with a rate a stage).
    """
    factors = {}
    for backbone in (m for m in model.modules() if isinstance(m, Backbone)):
        for distance, stage in enumerate(reversed(backbone.stages), start=1):
            for p in stage.parameters():
                factors[id(p)] = recipe.backbone_lr * recipe.layer_decay**distance
    return factors


def make_optimizer(model: Model, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, SGD or Muon; no weight decay on norms and biases, the backbone at its own rate."""
    factors = _factors(model, recipe)
    norms = (nn.BatchNorm2d, nn.GroupNorm, nn.SyncBatchNorm, FrozenBatchNorm2d)
    no_decay = {
        id(p)
        for m in model.modules()
        for n, p in m.named_parameters(recurse=False)
        if isinstance(m, norms) or n == "bias"
    }
    matrices = hidden_weights(model) if recipe.optimizer == "muon" else set()
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for p in model.parameters():
        if p.requires_grad:
            groups.setdefault((factors.get(id(p), 1.0), id(p) in no_decay, id(p) in matrices), []).append(p)
    settings = [
        {
            "params": parameters,
            "peak": recipe.lr * factor,
            "weight_decay": 0.0 if plain else recipe.weight_decay,
            "matrix": matrix,
        }
        for (factor, plain, matrix), parameters in groups.items()
    ]
    if recipe.optimizer == "muon":
        return Muon(settings, lr=recipe.lr)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=recipe.lr, momentum=0.9)
    return torch.optim.AdamW(settings, lr=recipe.lr)


def hidden_weights(model: Model) -> set[int]:
    """Ids of the weights of layers that lead from features to features: what Muon turns.

    Not those that read pixels (the backbone's first), not depthwise ones, not what classes are read from, and none
    narrower than `NARROW` (they give logits and box deltas).
    """
    firsts = {
        id(next(m for m in backbone.modules() if isinstance(m, nn.Conv2d)))
        for backbone in model.modules()
        if isinstance(backbone, Backbone)
    }
    read = set(model.named_rows())
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    return {
        id(m.weight)
        for name, m in model.named_modules()
        if isinstance(m, kinds)
        and id(m) not in firsts
        and f"{name}.weight" not in read
        and min(m.weight.flatten(1).shape) >= NARROW
    }


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group at `factor` of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


class Average:
    """Exponential moving average of everything a model's state dict holds; short memory at the start.

    The decay grows as (1 + t) / (10 + t) up to `decay`, so that the random start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        state = model.state_dict()
        ours = [v for v in self.values.values() if v.is_floating_point()]
        theirs = [state[name] for name, v in self.values.items() if v.is_floating_point()]
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for name, value in self.values.items():
            if not value.is_floating_point():
                value.copy_(state[name])


def gradient_norm(parameters: Iterable[nn.Parameter], clip: float) -> Tensor:
    """Clip the gradients to a norm (0: leave them) and return the norm before."""
    return torch.nn.utils.clip_grad_norm_(list(parameters), clip or float("inf"))
