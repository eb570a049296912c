"""Recipe: every choice of a training that is not the model or the data. Plain JSON, stored with the run."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from typing import Any

from videre.data.transforms import from_json
from videre.errors import ConfigError
from videre.models.settings import typed

TUNES = ("top", "few", "many", "all", "scratch")
WORDS = {
    "optimizer": ("adamw", "sgd", "muon"),
    "schedule": ("cosine", "step"),
    "tune": TUNES,
    "precision": ("auto", "fp32", "bf16"),
}
_SHARE, _COUNT, _STRENGTH = (0.0, 1.0), (1.0, math.inf), (0.0, math.inf)
RANGES = {
    "pictures": _COUNT,
    "minutes": (0.1, math.inf),
    "batch": _COUNT,
    "accumulate": _COUNT,
    "evaluate_every": _COUNT,
    "backbone_lr": _STRENGTH,
    "weight_decay": _STRENGTH,
    "warmup": _SHARE,
    "clip": _STRENGTH,
    "ema": (0.0, 0.99999),
    "flip": _SHARE,
    "crop": _SHARE,
    "brightness": _SHARE,
    "contrast": _SHARE,
    "saturation": _SHARE,
    "hue": (0.0, 0.5),
    "stain": _SHARE,
    "rotate": (0.0, 180.0),
    "invert": _SHARE,
    "layer_decay": (0.01, 1.0),
    "seed": (0.0, 2**63 - 1),
    "patience": _STRENGTH,
    "save_minutes": _STRENGTH,
    "workers": (0.0, 64.0),
}
"""Least and most of each number, both allowed."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train.

    Args:
        epochs: passes over the data. pictures: instead, an exact number of pictures seen (over all processes). minutes:
            instead, about so long on this machine, by the pace of some steps tried before; it becomes `pictures`.
        batch: pictures a step, over all processes. accumulate: steps whose gradients are summed before an update.
        optimizer: "adamw", "sgd" (momentum 0.9) or "muon" (for nets that start at random).
        lr: peak learning rate at `batch`; stated, never rescaled.
        backbone_lr: factor on the rate of the backbone. layer_decay: factor on the rate of each of its stages, counted from
            the heads down: .5 trains the last stage at a half, the one before at a quarter. weight_decay: on weights; norms and biases have none.
        warmup: share of the updates with rising rate. schedule: "cosine" or "step" (a tenth at 2/3 and 8/9).
        clip: largest gradient norm; 0: none.
        ema: decay of the averaged weights that are evaluated and kept; 0: none.
        tune: what trains: top (heads), few (and the last stage), many (all but stem and first stage), all, scratch.
        empty: whether pictures without objects are shown too, as background.
        flip: probability of a mirror. turn: random quarter turns, for pictures without an up.
        rotate: largest turn about the middle, in degrees; 0: none.
        scale_min, scale_max: ends of the range of scale jitter. crop: smallest side of a random crop, as a share; 1: none.
        brightness, contrast, saturation, hue: strengths of colour jitter; 0: none. stain: strength of other dyes in
            pictures of stained tissue, see `StainJitter`. invert: probability of the negative.
        augment: more transforms, applied after those, as `transforms.to_json` has them or by name: ["Mosaic", {"name": "Noise",
            "sigma": 0.1}].
        short_sides: short sides drawn in training instead of the model's own; empty: the model's.
        seed: of every random choice.
        evaluate_every: epochs between evaluations on validation data. patience: evaluations without gain before an
            early stop; 0: never.
        save_minutes: longest time between two saves of the state.
        workers: loading threads.
        precision: of convolutions and products: "fp32", "bf16" (weights and losses stay fp32), or "auto", the faster of
            the two here; run.json says which it was, and a resumed run keeps it.
    """

    epochs: float = 12
    pictures: int | None = None
    minutes: float | None = None
    batch: int = 4
    accumulate: int = 1
    optimizer: str = "adamw"
    lr: float = 5e-4
    backbone_lr: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    warmup: float = 0.05
    schedule: str = "cosine"
    clip: float = 10.0
    ema: float = 0.998
    tune: str = "many"
    empty: bool = True
    flip: float = 0.5
    turn: bool = False
    rotate: float = 0.0
    scale_min: float = 1.0
    scale_max: float = 1.0
    crop: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    stain: float = 0.0
    invert: float = 0.0
    augment: tuple[Any, ...] = ()
    short_sides: tuple[int, ...] = ()
    seed: int = 0
    evaluate_every: int = 1
    patience: int = 0
    save_minutes: float = 5.0
    workers: int = 2
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(Recipe).items():
            object.__setattr__(self, name, typed(f"recipe: {name}", getattr(self, name), hint))
        for name, known in WORDS.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"recipe: {name} must be one of {', '.join(known)}; found {getattr(self, name)!r}")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                limit = f"at least {least:g}" if most == math.inf else f"within {least:g} and {most:g}"
                raise ConfigError(f"recipe: {name} must be {limit}, found {value}")
        for name in ("lr", "epochs", "scale_min", "crop"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"recipe: {name} must be positive, found {getattr(self, name)}")
        for transform in self.augment:
            from_json(transform)
        if self.scale_min > self.scale_max:
            raise ConfigError(f"recipe: scale_min {self.scale_min} is larger than scale_max {self.scale_max}")
        if min(self.short_sides, default=1) < 1:
            raise ConfigError(f"recipe: short_sides must be at least 1, found {list(self.short_sides)}")

    def steps(self, count: int) -> int:
        """Steps of the whole training on a set of `count` pictures."""
        return max(1, math.ceil((self.pictures or self.epochs * count) / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """Factor on the learning rate at a step."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return (step + 1) / rising
        done = (step - rising) / max(1, steps - rising)
        if self.schedule == "step":
            return 0.1 ** ((done >= 2 / 3) + (done >= 8 / 9))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

    def replace(self, **changes: Any) -> Recipe:
        """The recipe with other values; ConfigError with the nearest name for an unknown one."""
        known = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise ConfigError(f"the recipe has no {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recipe:
        return cls().replace(**data)
