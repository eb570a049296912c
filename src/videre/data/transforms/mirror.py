"""The horizontal mirror: boxes, masks, points, words, relations, camera and solids, all on the other side."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from videre.errors import DataError
from videre.structures import Affine, Categories, Renaming, Scene, Schema
from videre.structures.sides import mirror_name, mirror_order, mirror_words


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
    """Mirror with this probability.

    Raises DataError for keypoints whose left and right are not known, and for directed predicates without counterpart.
    """

    probability: float = 0.5

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        if rng.random() >= self.probability:
            return picture, scene
        return np.ascontiguousarray(picture[:, ::-1]), mirror_scene(scene, schema)


def mirror_scene(scene: Scene, schema: Schema) -> Scene:
    """What is true of the mirrored picture.

    In sentences, the whole words left and right change places (also leftmost, rightward, …): every one of them, since
    nothing tells "he left" from "the left". Classes whose names differ in these words alone change places as well.
    """
    return scene.moved(Affine.mirror(scene.size)).renamed(
        Renaming(lambda part: _table(schema, part), words=mirror_words)
    )


def _table(schema: Schema, part: str) -> Tensor | None:
    """What each label of a part of the schema becomes in the mirror: the one whose name is its mirror ("left hand" for
    "right hand"), or itself. DataError where that cannot be known."""
    if part == "skeleton":
        if schema.skeleton is None:
            raise DataError("keypoints cannot be mirrored without a skeleton that says which are left and right")
        return torch.tensor(schema.skeleton.flip_order)
    categories: Categories | None = getattr(schema, part)
    if categories is None:
        if part == "predicates":
            raise DataError("relations cannot be mirrored without the names of the predicates (left of, right of)")
        return None
    order = mirror_order(categories.names)
    lost = [name for i, name in enumerate(categories.names) if order[i] == i and mirror_name(name) != name]
    if lost and part == "predicates":
        raise DataError(
            f"predicates {lost} have no mirrored counterpart among {list(categories.names)}; "
            "train without horizontal flips"
        )
    return torch.tensor(order)
