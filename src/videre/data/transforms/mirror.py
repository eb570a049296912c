"""The horizontal mirror: boxes, masks, points, words, relations, camera and solids, all on the other side."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videre.errors import DataError
from videre.structures import Categories, Instances, Masks, Scene, Schema


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
    width = scene.size[1]
    changes: dict[str, Any] = {}
    if scene.instances is not None:
        changes["instances"] = _instances(scene.instances, width, schema, scene.name)
    for name in ("segmentation", "panoptic", "depth"):
        value = getattr(scene, name)
        if value is not None:
            changes[name] = value.flip(-1)
    if scene.segmentation is not None and schema.pixels is not None:
        order = _counterparts(schema.pixels)
        if schema.overlap:
            changes["segmentation"] = changes["segmentation"][order]
        elif order != list(range(len(order))):
            table = torch.arange(256, dtype=scene.segmentation.dtype)
            table[: len(order)] = torch.tensor(order, dtype=table.dtype)
            changes["segmentation"] = table[changes["segmentation"].long()]
    if scene.labels is not None and schema.pictures is not None:
        changes["labels"] = torch.tensor(_counterparts(schema.pictures))[scene.labels]
    for name in ("captions", "questions", "answers"):
        sentences = getattr(scene, name)
        if sentences is not None:
            changes[name] = tuple(map(mirror_words, sentences))
    if scene.events is not None:
        changes["events"] = tuple(dataclasses.replace(e, caption=mirror_words(e.caption)) for e in scene.events)
    if scene.relations is not None and len(scene.relations):
        predicates = torch.tensor(_predicates(schema, scene.name))[scene.relations.predicates]
        changes["relations"] = dataclasses.replace(scene.relations, predicates=predicates)
    if scene.proposals is not None:
        changes["proposals"] = _boxes(scene.proposals, width)
    if scene.camera is not None:
        changes["camera"] = scene.camera.mirror(width)
    return scene.replace(**changes)


def mirror_words(sentence: str) -> str:
    """Left for right and right for left, in whole words, keeping capitals."""
    return _WORDS.sub(_swap, sentence)


_WORDS = re.compile(r"\b(left|right)((?:most|ward|wards|hand|handed|side)?)\b", re.IGNORECASE)


def _swap(match: re.Match[str]) -> str:
    word, tail = match.groups()
    other = "right" if word.lower() == "left" else "left"
    cased = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
    return cased + tail


def _instances(instances: Instances, width: int, schema: Schema, name: str) -> Instances:
    changes: dict[str, Any] = {}
    if instances.boxes is not None:
        changes["boxes"] = _boxes(instances.boxes, width)
    if instances.masks is not None:
        changes["masks"] = _masks(instances.masks)
    if instances.keypoints is not None:
        if schema.skeleton is None:
            raise DataError(
                f"{name}: keypoints cannot be mirrored without a skeleton that says which are left and right"
            )
        order = schema.skeleton.flip_order
        points = instances.keypoints[:, order]
        changes["keypoints"] = torch.stack([width - points[..., 0], points[..., 1]], -1)
        for field in ("visibility", "keypoint_scores"):
            value = getattr(instances, field)
            if value is not None:
                changes[field] = value[:, order]
    if schema.things is not None:
        order = _counterparts(schema.things)
        if instances.labels is not None:
            changes["labels"] = torch.tensor(order, dtype=torch.int64)[instances.labels]
        if instances.class_scores is not None:
            changes["class_scores"] = instances.class_scores[:, order]
    if instances.attributes is not None and schema.attributes is not None:
        changes["attributes"] = instances.attributes[:, _counterparts(schema.attributes)]
    if instances.captions is not None:
        changes["captions"] = tuple(map(mirror_words, instances.captions))
    if instances.boxes3d is not None:
        changes["boxes3d"] = instances.boxes3d.mirror()
    if instances.meshes is not None:
        changes["meshes"] = tuple(m.mirror() for m in instances.meshes)
    return instances.replace(**changes)


def _boxes(boxes: Tensor, width: int) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], -1)


def _masks(masks: Masks) -> Masks:
    """Polygons point by point, the others pixel by pixel: exact both ways."""
    width = masks.size[1]
    if masks.form == "polygons":
        return masks.affine(np.array([[-1.0, 0, width], [0, 1, 0]]), masks.size)
    crops, windows = [], []
    for crop, (x1, y1, x2, y2) in masks.crops():
        crops.append(crop[:, ::-1])
        windows.append((width - x2, y1, width - x1, y2))
    return Masks.from_windows(crops, windows, masks.size)


def _counterparts(categories: Categories) -> list[int]:
    """For each class the one whose name is its mirror ("left hand" for "right hand"), or itself."""
    place = {name: i for i, name in enumerate(categories.names)}
    return [place.get(mirror_words(name), i) for i, name in enumerate(categories.names)]


def _predicates(schema: Schema, name: str) -> list[int]:
    if schema.predicates is None:
        raise DataError(f"{name}: relations cannot be mirrored without the names of the predicates (left of, right of)")
    lost = [
        p for p in schema.predicates.names if mirror_words(p) != p and mirror_words(p) not in schema.predicates.names
    ]
    if lost:
        raise DataError(f"{name}: predicates {lost} have no mirrored counterpart among {list(schema.predicates.names)}; "
                        "train without horizontal flips")  # fmt: skip
    return _counterparts(schema.predicates)
