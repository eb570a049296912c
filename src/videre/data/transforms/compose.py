"""Transforms one after the other, sometimes, or one of several; and how they go to JSON and back."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np

from videre.errors import ConfigError
from videre.structures import Scene, Schema

Pair = tuple[np.ndarray, Scene]
Draw = Callable[[np.random.Generator], Pair]
"""Another picture of the data, with its truth."""


class Transform(Protocol):
    """Anything that changes a picture and its truth together.

    One that joins several pictures has `others`, how many more it wants, and `mix(pairs, rng, schema)` in place of a call; it
    works where there are other pictures to draw, as in a training.
    """

    def __call__(self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema) -> Pair: ...


def apply(
    transform: Any, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema, draw: Draw | None
) -> Pair:
    """A transform of any kind; `draw` gives the other pictures. ConfigError where they are wanted and there are none."""
    if hasattr(transform, "apply"):
        return transform.apply(picture, scene, rng, schema, draw)
    if not hasattr(transform, "mix"):
        return transform(picture, scene, rng, schema)
    if draw is None:
        raise ConfigError(
            f"{type(transform).__name__} joins several pictures; it works in a training, which has more of them"
        )
    return transform.mix([(picture, scene), *(draw(rng) for _ in range(transform.others))], rng, schema)


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers for picture `index` in `epoch`: the same whoever prepares it, and when."""
    return np.random.default_rng([seed, epoch, index])


class _Composite:
    """A transform made of others."""

    def __call__(self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema) -> Pair:
        return self.apply(picture, scene, rng, schema, None)

    def apply(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema, draw: Draw | None
    ) -> Pair:
        """As a call, with other pictures to draw."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Compose(_Composite):
    """One transform after the other. Other pictures that one of them draws have gone through those before it."""

    transforms: tuple[Transform, ...] = ()

    def apply(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema, draw: Draw | None
    ) -> Pair:
        for n, transform in enumerate(self.transforms):
            before = Compose(self.transforms[:n])
            again = None if draw is None else partial(_drawn, before, draw, schema)
            picture, scene = apply(transform, picture, scene, rng, schema, again)
        return picture, scene


def _drawn(before: Compose, draw: Draw, schema: Schema, rng: np.random.Generator) -> Pair:
    return before.apply(*draw(rng), rng, schema, draw)


@dataclasses.dataclass(frozen=True)
class Sometimes(_Composite):
    """The transform with this probability, otherwise nothing."""

    transform: Transform
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"a probability lies in [0, 1], found {self.probability}")

    def apply(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema, draw: Draw | None
    ) -> Pair:
        if rng.random() >= self.probability:
            return picture, scene
        return apply(self.transform, picture, scene, rng, schema, draw)


@dataclasses.dataclass(frozen=True)
class OneOf(_Composite):
    """One of the transforms, all equally likely."""

    transforms: tuple[Transform, ...]

    def apply(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema, draw: Draw | None
    ) -> Pair:
        chosen = self.transforms[int(rng.integers(len(self.transforms)))]
        return apply(chosen, picture, scene, rng, schema, draw)


_HOMES = {
    "Compose": "compose",
    "Sometimes": "compose",
    "OneOf": "compose",
    "HorizontalFlip": "mirror",
    "QuarterTurns": "turn",
    "Rotate": "rotate",
    "Resize": "geometry",
    "ScaleJitter": "geometry",
    "RandomCrop": "geometry",
    "CropTo": "geometry",
    "IoUCrop": "geometry",
    "MixUp": "mixup",
    "ColorJitter": "photometric",
    "Noise": "photometric",
    "Blur": "photometric",
    "Grey": "photometric",
    "Invert": "photometric",
    "StainJitter": "stain",
    "Mosaic": "mosaic",
}


def to_json(transform: Any) -> dict[str, Any]:
    """{"name": class, **fields}; transforms inside transforms likewise."""

    def put(v: Any) -> Any:
        return to_json(v) if dataclasses.is_dataclass(v) else [put(x) for x in v] if isinstance(v, tuple) else v

    return {"name": type(transform).__name__} | {
        f.name: put(getattr(transform, f.name)) for f in dataclasses.fields(transform)
    }


def from_json(data: Mapping[str, Any] | str) -> Any:
    """The transform that `to_json` described; a name alone is that transform as it is by default.

    Raises ConfigError, with the nearest name, for a name or setting that does not exist.
    """
    data = {"name": data} if isinstance(data, str) else data
    name = data.get("name", "")
    if name not in _HOMES:
        near = difflib.get_close_matches(str(name), _HOMES, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(f"no transform {name!r}{hint} There are: {', '.join(sorted(_HOMES))}")
    make = getattr(importlib.import_module(f"videre.data.transforms.{_HOMES[name]}"), name)

    def take(v: Any) -> Any:
        return from_json(v) if isinstance(v, Mapping) else tuple(take(x) for x in v) if isinstance(v, list) else v

    try:
        return make(**{key: take(value) for key, value in data.items() if key != "name"})
    except TypeError as error:
        raise ConfigError(f"transform {name}: {error}") from None
