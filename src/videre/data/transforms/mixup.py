"""Mix-up: two pictures laid over each other, and the things of both.

Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018; for detection without weights of the losses, as in YOLOX (Ge et al., 2021).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from videre.data.transforms.geometry import resize
from videre.data.transforms.joining import check_joined
from videre.errors import ConfigError
from videre.structures import Scene, Schema

JOINED = frozenset({"labels", "proposals", "proposal_scores"})
"""What of the two pictures is joined beside their things."""


@dataclasses.dataclass(frozen=True)
class MixUp:
    """The mean of the picture and another one, which is brought to its size. Raises DataError for what cannot be joined: classes of
    pixels, sentences, relations, cameras.

    Args:
        weight: of the picture itself; the other has the rest.
    """

    weight: float = 0.5
    others = 1

    def __post_init__(self) -> None:
        if not 0 < self.weight < 1:
            raise ConfigError(f"mix-up: weight lies between 0 and 1, found {self.weight}")

    def mix(
        self, pairs: Sequence[tuple[np.ndarray, Scene]], rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        """Two pictures with their scenes in one."""
        (picture, scene), (other, behind) = pairs
        for image, part in pairs:
            check_joined("mix-up", JOINED, picture, image, part)
        other, behind = resize(other, behind, scene.size)
        mixed = self.weight * picture.astype(np.float32) + (1 - self.weight) * other.astype(np.float32)
        if picture.dtype.kind != "f":
            mixed = np.rint(mixed)
        whole = Scene.cat([scene.without(JOINED), behind.without(JOINED)])
        both = lambda a, b: None if a is None or b is None else torch.cat([a, b])
        labels = both(scene.labels, behind.labels)
        return mixed.astype(picture.dtype), whole.replace_unchecked(
            labels=None if labels is None else labels.unique(),
            meta=scene.meta,
            proposals=both(scene.proposals, behind.proposals),
            proposal_scores=both(scene.proposal_scores, behind.proposal_scores),
        )
