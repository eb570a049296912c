"""Colours, noise and blur: the picture changes, what is true of it does not.

Works on uint8 and uint16 of any number of channels; what needs colour leaves grey pictures alone.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from videre.errors import ConfigError
from videre.structures import Scene, Schema

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as OpenCV and Pillow weigh


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast and saturation times a factor in [1 - value, 1 + value], hue turned by up to `hue` of a circle.

    Args:
        brightness, contrast, saturation: in [0, 1]. hue: in [0, 0.5].
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, top = getattr(self, field.name), 0.5 if field.name == "hue" else 1.0
            if not 0 <= value <= top:
                raise ConfigError(f"color jitter: {field.name} lies in [0, {top:g}], found {value}")

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        factors = rng.uniform(-1, 1, 4)
        image = to_float(picture)
        image *= 1 + self.brightness * factors[0]
        if self.contrast:
            image = (image - image.mean()) * np.float32(1 + self.contrast * factors[1]) + image.mean()
        if picture.shape[2] == 3:
            if self.hue:
                hsv = cv2.cvtColor(np.clip(image, 0, 1), cv2.COLOR_RGB2HSV)
                hsv[:, :, 0] = (hsv[:, :, 0] + np.float32(360 * self.hue * factors[3])) % 360
                image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
            grey = (image @ _GREY)[:, :, None]
            image = grey + (image - grey) * np.float32(1 + self.saturation * factors[2])
        return from_float(image, picture.dtype), scene


@dataclasses.dataclass(frozen=True)
class Noise:
    """Gaussian noise with a standard deviation up to `sigma` of full brightness, drawn anew for each pixel."""

    sigma: float = 0.03

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        sigma = np.float32(rng.uniform(0, self.sigma))
        noise = rng.standard_normal(picture.shape, dtype=np.float32) * sigma
        return from_float(to_float(picture) + noise, picture.dtype), scene


@dataclasses.dataclass(frozen=True)
class Blur:
    """Gaussian blur with a sigma up to `sigma` pixels."""

    sigma: float = 1.5

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        sigma = rng.uniform(0, self.sigma)
        if sigma < 0.1:  # less than a thousandth of a neighbour
            return picture, scene
        blurred = cv2.GaussianBlur(picture, (0, 0), sigma)
        return blurred.reshape(picture.shape), scene


@dataclasses.dataclass(frozen=True)
class Grey:
    """Colours taken away with this probability; the channels stay three."""

    probability: float = 0.1

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        if rng.random() >= self.probability or picture.shape[2] != 3:
            return picture, scene
        grey = (to_float(picture) @ _GREY)[:, :, None]
        return from_float(np.repeat(grey, 3, 2), picture.dtype), scene


@dataclasses.dataclass(frozen=True)
class Invert:
    """The negative, with this probability: for things that are bright on dark in one picture, dark on bright in another."""

    probability: float = 0.5

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        if rng.random() >= self.probability:
            return picture, scene
        return np.iinfo(picture.dtype).max - picture, scene


def to_float(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)


def from_float(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    top = np.float32(np.iinfo(dtype).max)
    return np.rint(np.clip(image * top, 0, top)).astype(dtype)
