"""Instances: the N things of a picture, as a struct of arrays. Absent is absent, never an empty stand-in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from videre.errors import DataError, ShapeError
from videre.structures.affine import Affine
from videre.structures.box3d import Box3D
from videre.structures.fields import Fielded, entries, entry, values_of
from videre.structures.kinds import Areas, Boxes, Labels, Names, Points, Renaming, Rows, Scores, Sentences, Value
from videre.structures.masks import Masks, positions
from videre.structures.mesh import Mesh

N = "instances"


@dataclasses.dataclass(frozen=True)
class Instances(Fielded):
    """N things, truth or prediction. `things[2]`, `things[0:3]` and `things[flags]` are fewer things; iterating gives one
    after the other.

    Args:
        boxes: float32 [N, 4], xyxy continuous pixels; x1 <= x2 and y1 <= y2.
        labels: int64 [N], 0..K-1 of `Schema.things`; background is never a label.
        scores: float32 [N] in [0, 1], the probability that box and label are right.
        class_scores: float32 [N, K].
        masks: `Masks` of N.
        keypoints: float32 [N, J, 2] x, y. visibility: uint8 [N, J] (truth): 0 not labelled, 1 hidden, 2 visible.
        keypoint_scores: float32 [N, J] in [0, 1] (prediction).
        attributes: bool [N, A], columns of `Schema.attributes`. attribute_scores: float32 [N, A] (prediction).
        captions: N sentences, one a region. caption_scores: float32 [N] in [0, 1].
        boxes3d: `Box3D` of N. meshes: N meshes.
        ignore: bool [N]: neither right nor wrong to find (COCO crowd, VOC difficult, KITTI DontCare).
        ids: int64 [N], annotation ids of the file.
        areas: float64 [N], square pixels, where the file says them (COCO's size bins and keypoint similarity use them).

    Raises:
        ShapeError: a field of another length or shape. DataError: not finite, boxes turned over, scores outside [0, 1].
    """

    boxes: Tensor | None = entry(Boxes(), N)
    labels: Tensor | None = entry(Labels("things"), N)
    scores: Tensor | None = entry(Scores(), N)
    class_scores: Tensor | None = entry(Scores("K", names="things"), N)
    masks: Masks | None = entry(Value(Masks), N)
    keypoints: Tensor | None = entry(Points(), N)
    visibility: Tensor | None = entry(Rows(torch.uint8, "J", low=0, high=2, names="skeleton"), N)
    keypoint_scores: Tensor | None = entry(Scores("J", names="skeleton"), N)
    attributes: Tensor | None = entry(Rows(torch.bool, "A", names="attributes"), N)
    attribute_scores: Tensor | None = entry(Scores("A", names="attributes"), N)
    captions: tuple[str, ...] | None = entry(Sentences(), N)
    caption_scores: Tensor | None = entry(Scores(), N)
    boxes3d: Box3D | None = entry(Value(Box3D), N)
    meshes: tuple[Mesh, ...] | None = entry(Value(Mesh, several=True), N)
    ignore: Tensor | None = entry(Rows(torch.bool), N)
    ids: Tensor | None = entry(Rows(torch.int64), N)
    areas: Tensor | None = entry(Areas(), N)

    def __post_init__(self) -> None:
        self._check("instances", None)
        for name in ("visibility", "keypoint_scores"):
            value = getattr(self, name)
            if value is not None and self.keypoints is not None and value.shape != self.keypoints.shape[:2]:
                raise ShapeError(f"instances: {name} {tuple(value.shape)} for keypoints {tuple(self.keypoints.shape)}")

    def __len__(self) -> int:
        known = entries(type(self))
        return next((len(getattr(self, name)) for name in self.fields() if known[name].rows), 0)

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> Self:
        return self.select(as_index(index, len(self)))

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def select(self, index: Tensor) -> Self:
        """The instances at `index` (int64, or bool [N]), in that order. `Scene.select` also keeps relations right."""
        index = positions(index, len(self))
        return self.map(lambda kind, value: kind.take(value, index))

    @staticmethod
    def cat(items: Sequence[Instances]) -> Instances:
        """All instances in order. DataError when some have a field that others lack."""
        present = {name for item in items for name in item.fields()}
        for name in present:
            if any(getattr(item, name) is None for item in items):
                raise DataError(f"instances cannot be joined: {name} is there in some and absent in others")
        known = entries(type(items[0]))
        joined = {name: known[name].kind.join([getattr(item, name) for item in items]) for name in present}
        return items[0].replace_unchecked(**joined)

    def moved(self, motion: Affine) -> Self:
        """The things of the moved picture; nothing is cut or dropped. See `Scene.moved`."""
        return self.map(lambda kind, value: kind.move(value, motion))

    def renamed(self, renaming: Renaming) -> Self:
        """The things under other labels. See `Scene.renamed`."""
        return self.map(lambda kind, value: kind.rename(value, renaming))

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: Names | None = None) -> Instances:
        """What `to_json` wrote, checked; of the subclass that knows all of its fields.

        Raises DataError naming a field that nobody knows, or a value that does not fit.
        """
        kinds: list[type[Instances]] = [cls, *cls.__subclasses__()]
        kind = next((kind for kind in kinds if set(data) <= set(entries(kind))), cls)
        return kind(**values_of(kind, data, names or {}))


def as_index(index: int | slice | Tensor | Sequence[int], count: int) -> Tensor:
    """Any index of a sequence of `count` things as a tensor that `positions` takes."""
    if isinstance(index, slice):
        return torch.arange(count)[index]
    if isinstance(index, int):
        if not -count <= index < count:
            raise IndexError(f"asked for thing {index} of {count}")
        return torch.tensor([index])
    return torch.as_tensor(index)
