"""Stained tissue in other stains: the dyes of a bright-field picture unmixed, varied and mixed again.

A dye takes a share of the light in each colour (Beer and Lambert): minus the logarithm of a pixel is a sum of dyes, each
an amount times the dye's own absorption. Ruifrok & Johnston, Quantification of histochemical staining by color
deconvolution, 2001; amounts are varied as by Tellez et al., Whole-slide mitosis detection in H&E breast histology, 2018.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from videre.data.transforms.photometric import from_float, to_float
from videre.errors import ConfigError
from videre.structures import Scene, Schema

_MEASURED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32)
DYES = _MEASURED / np.linalg.norm(_MEASURED, axis=1, keepdims=True)
"""Absorption of red, green and blue by hematoxylin (nuclei, blue), eosin (pink) and DAB (brown), of length 1."""
MOST = 3.0
"""Largest factor on the amount of a dye, at full strength."""
TINT = 0.25
"""Largest change of a dye's absorption in a colour, at full strength."""
DARKEST = 1 / 255
COLOURED = 0.02
"""Mean difference of the strongest and the weakest colour of a pixel from which on a picture counts as stained."""


@dataclasses.dataclass(frozen=True)
class StainJitter:
    """Other amounts of each dye, other tints, and pink turned towards brown or brown towards pink.

    Grey pictures (fluorescence, phase contrast) are left as they are.

    Args:
        strength: in [0, 1]; 1: amounts from a third to three times, any mixture of pink and brown.
    """

    strength: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ConfigError(f"stain jitter: strength lies in [0, 1], found {self.strength}")

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        powers, share, tints = rng.uniform(-1, 1, 3), rng.uniform(0, 1), rng.uniform(-1, 1, (3, 3))
        if picture.shape[2] != 3 or not picture.size:
            return picture, scene
        image = to_float(picture)
        if float((image.max(2) - image.min(2)).mean()) < COLOURED:
            return picture, scene
        amounts = -np.log(np.maximum(image, DARKEST)) @ np.linalg.inv(DYES)
        amounts *= np.exp(self.strength * math.log(MOST) * powers).astype(np.float32)
        dyes = DYES + (self.strength * TINT * tints).astype(np.float32)
        share *= self.strength
        dyes[1:] = (1 - share) * dyes[1:] + share * dyes[:0:-1]  # eosin and DAB take each other's place
        dyes = np.maximum(dyes, 0)
        dyes /= np.linalg.norm(dyes, axis=1, keepdims=True)
        return from_float(np.exp(-amounts @ dyes), picture.dtype), scene
