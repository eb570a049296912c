"""Transforms one after the other, sometimes, or one of several; and how they go to JSON and back."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, Protocol

import numpy as np

from videre.errors import ConfigError
from videre.structures import Scene, Schema


class Transform(Protocol):
    """Anything that changes a picture and its truth together."""

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]: ...


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers for picture `index` in `epoch`: the same whoever prepares it, and when."""
    return np.random.default_rng([seed, epoch, index])


@dataclasses.dataclass(frozen=True)
class Compose:
    """One transform after the other."""

    transforms: tuple[Transform, ...] = ()

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        for transform in self.transforms:
            picture, scene = transform(picture, scene, rng, schema)
        return picture, scene


@dataclasses.dataclass(frozen=True)
class Sometimes:
    """The transform with this probability, otherwise nothing."""

    transform: Transform
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"a probability lies in [0, 1], found {self.probability}")

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        return self.transform(picture, scene, rng, schema) if rng.random() < self.probability else (picture, scene)


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of the transforms, all equally likely."""

    transforms: tuple[Transform, ...]

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        return self.transforms[int(rng.integers(len(self.transforms)))](picture, scene, rng, schema)


_HOMES = {
    "Compose": "compose", "Sometimes": "compose", "OneOf": "compose",
    "HorizontalFlip": "mirror", "QuarterTurns": "turn", "Rotate": "rotate",
    "Resize": "geometry", "ScaleJitter": "geometry", "RandomCrop": "geometry", "CropTo": "geometry",
    "ColorJitter": "photometric", "Noise": "photometric", "Blur": "photometric", "Grey": "photometric",
    "Invert": "photometric", "StainJitter": "stain",
}  # fmt: skip


def to_json(transform: Any) -> dict[str, Any]:
    """{"name": class, **fields}; transforms inside transforms likewise."""

    def put(v: Any) -> Any:
        return to_json(v) if dataclasses.is_dataclass(v) else [put(x) for x in v] if isinstance(v, tuple) else v

    return {"name": type(transform).__name__} | {
        f.name: put(getattr(transform, f.name)) for f in dataclasses.fields(transform)
    }


def from_json(data: dict[str, Any]) -> Any:
    """The transform that `to_json` described. Raises ConfigError for a name or setting that does not exist."""
    name = data.get("name", "")
    if name not in _HOMES:
        raise ConfigError(f"no transform {name!r}; there are: {', '.join(sorted(_HOMES))}")
    make = getattr(importlib.import_module(f"videre.data.transforms.{_HOMES[name]}"), name)

    def take(v: Any) -> Any:
        return from_json(v) if isinstance(v, dict) else tuple(take(x) for x in v) if isinstance(v, list) else v

    try:
        return make(**{key: take(value) for key, value in data.items() if key != "name"})
    except TypeError as error:
        raise ConfigError(f"transform {name}: {error}") from None
