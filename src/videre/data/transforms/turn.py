"""Quarter turns, for pictures that have no up: microscopy, aerial views."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videre.errors import DataError
from videre.structures import Masks, Scene, Schema

UPRIGHT = ("captions", "relations", "camera")
UPRIGHT_INSTANCES = ("captions", "boxes3d", "meshes")


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
    upright = [name for name in UPRIGHT if getattr(scene, name) is not None]
    if scene.instances is not None:
        upright += [name for name in UPRIGHT_INSTANCES if getattr(scene.instances, name) is not None]
    if upright:
        raise DataError(f"{scene.name}: {', '.join(upright)} cannot be turned; train without quarter turns")
    for _ in range(turns % 4):
        scene = _quarter(scene)
    return scene


def _quarter(scene: Scene) -> Scene:
    """One quarter: the point (x, y) goes to (y, width - x)."""
    height, width = scene.size
    turn = lambda points: torch.stack([points[..., 1], width - points[..., 0]], -1)
    boxes = lambda b: torch.stack([b[:, 1], width - b[:, 2], b[:, 3], width - b[:, 0]], 1)
    changes: dict[str, Any] = {"size": (width, height)}
    for name in ("segmentation", "panoptic", "depth"):
        value: Tensor | None = getattr(scene, name)
        if value is not None:
            changes[name] = torch.rot90(value, dims=(-2, -1))
    if scene.proposals is not None:
        changes["proposals"] = boxes(scene.proposals)
    if scene.instances is not None:
        things: dict[str, Any] = {}
        if scene.instances.boxes is not None:
            things["boxes"] = boxes(scene.instances.boxes)
        if scene.instances.keypoints is not None:
            things["keypoints"] = turn(scene.instances.keypoints)
        if scene.instances.masks is not None:
            things["masks"] = _turn_masks(scene.instances.masks)
        changes["instances"] = scene.instances.replace(**things)
    return scene.replace(**changes)


def _turn_masks(masks: Masks) -> Masks:
    height, width = masks.size
    if masks.form == "polygons":
        return masks.affine(np.array([[0.0, 1, 0], [-1, 0, width]]), (width, height))
    crops, windows = [], []
    for crop, (x1, y1, x2, y2) in masks.crops():
        crops.append(np.rot90(crop))
        windows.append((y1, width - x2, y2, width - x1))
    return Masks.from_windows(crops, windows, (width, height))
