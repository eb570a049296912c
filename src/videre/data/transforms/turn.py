"""Quarter turns, for pictures that have no up: microscopy, aerial views."""

from __future__ import annotations

import dataclasses

import numpy as np

from videre.structures import Affine, Scene, Schema


@dataclasses.dataclass(frozen=True)
class QuarterTurns:
    """Turn by 0, 90, 180 or 270 degrees, all equally likely.

    Raises DataError for truths that know up from down: captions, relations, cameras, 3D boxes, meshes.
    """

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        turns = int(rng.integers(4))
        return (np.ascontiguousarray(np.rot90(picture, turns)), turn_scene(scene, turns)) if turns else (picture, scene)


def turn_scene(scene: Scene, turns: int) -> Scene:
    """What is true of the picture turned counter-clockwise by `turns` quarters (as `np.rot90`)."""
    for _ in range(turns % 4):
        scene = scene.moved(Affine.quarter(scene.size))
    return scene
