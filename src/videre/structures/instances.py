"""Instances: the N things of a picture, as a struct of arrays. Absent is absent, never an empty stand-in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from videre.errors import DataError, ShapeError
from videre.structures.box3d import Box3D
from videre.structures.masks import Masks, positions
from videre.structures.mesh import Mesh


@dataclasses.dataclass(frozen=True)
class Instances:
    """N things, truth or prediction.

    Args:
        boxes: float32 [N, 4], xyxy continuous pixels; x1 <= x2 and y1 <= y2.
        labels: int64 [N], 0..K-1 of `Schema.things`; background is never a label.
        scores: float32 [N] in [0, 1], the probability that box and label are right.
        class_scores: float32 [N, K].
        masks: `Masks` of N.
        keypoints: float32 [N, J, 2] x, y. visibility: uint8 [N, J] (truth): 0 not labelled, 1 hidden, 2 visible.
        keypoint_scores: float32 [N, J] in [0, 1] (prediction).
        attributes: bool [N, A], columns of `Schema.attributes`.
        captions: N sentences, one a region.
        boxes3d: `Box3D` of N. meshes: N meshes.
        ignore: bool [N]: neither right nor wrong to find (COCO crowd, VOC difficult, KITTI DontCare).
        ids: int64 [N], annotation ids of the file.
        areas: float64 [N], square pixels, where the file says them (COCO's size bins and keypoint similarity use them).

    Raises:
        ShapeError: a field of another length or shape. DataError: not finite, boxes turned over, scores outside [0, 1].
    """

    boxes: Tensor | None = None
    labels: Tensor | None = None
    scores: Tensor | None = None
    class_scores: Tensor | None = None
    masks: Masks | None = None
    keypoints: Tensor | None = None
    visibility: Tensor | None = None
    keypoint_scores: Tensor | None = None
    attributes: Tensor | None = None
    captions: tuple[str, ...] | None = None
    boxes3d: Box3D | None = None
    meshes: tuple[Mesh, ...] | None = None
    ignore: Tensor | None = None
    ids: Tensor | None = None
    areas: Tensor | None = None

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, as_rows(f"instances: {name}", value, dtype))
        for name in ("captions", "meshes"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        lengths = {name: len(getattr(self, name)) for name in self.fields()}
        if len(set(lengths.values())) > 1:
            raise ShapeError(f"instances: fields of different lengths: {lengths}")
        self._check_shapes()
        self._check_values()

    def __len__(self) -> int:
        return next((len(getattr(self, name)) for name in self.fields()), 0)

    def fields(self) -> list[str]:
        """Names of the fields that are there."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None]

    def replace(self, **changes: Any) -> Instances:
        return dataclasses.replace(self, **changes)

    def to(self, device: torch.device | str) -> Instances:
        """Tensor fields on another device; masks, 3D boxes and meshes stay where they are."""
        return self._map(lambda value: value.to(device) if isinstance(value, Tensor) else value)

    def select(self, index: Tensor) -> Instances:
        """The instances at `index` (int64, or bool [N]), in that order. `Scene.select` also keeps relations right."""
        index = positions(index, len(self))
        order = index.tolist()

        def take(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value[index.to(value.device)]
            return tuple(value[i] for i in order) if isinstance(value, tuple) else value.select(index)

        return self._map(take)

    @staticmethod
    def cat(items: Sequence[Instances]) -> Instances:
        """All instances in order. DataError when some have a field that others lack."""
        present = {name for item in items for name in item.fields()}
        for name in present:
            if any(getattr(item, name) is None for item in items):
                raise DataError(f"instances cannot be joined: {name} is there in some and absent in others")

        def join(values: list[Any]) -> Any:
            if isinstance(values[0], Tensor):
                return torch.cat(values)
            return (
                tuple(v for value in values for v in value) if isinstance(values[0], tuple) else values[0].cat(values)
            )

        return Instances(**{name: join([getattr(item, name) for item in items]) for name in present})

    def _map(self, function: Callable[[Any], Any]) -> Instances:
        return dataclasses.replace(self, **{name: function(getattr(self, name)) for name in self.fields()})

    def _check_shapes(self) -> None:
        for name, tail in (("boxes", (4,)), ("labels", ()), ("scores", ()), ("ignore", ()), ("ids", ()), ("areas", ())):
            value = getattr(self, name)
            if value is not None and tuple(value.shape[1:]) != tail:
                raise ShapeError(
                    f"instances: {name} must be [{', '.join(['N', *map(str, tail)])}], found shape {tuple(value.shape)}"
                )
        for name, dims in (
            ("class_scores", 2),
            ("attributes", 2),
            ("visibility", 2),
            ("keypoint_scores", 2),
            ("keypoints", 3),
        ):
            value = getattr(self, name)
            if value is not None and (value.ndim != dims or (name == "keypoints" and value.shape[2] != 2)):
                raise ShapeError(f"instances: {name} has shape {tuple(value.shape)}")
        for name in ("visibility", "keypoint_scores"):
            value = getattr(self, name)
            if value is not None and self.keypoints is not None and value.shape != self.keypoints.shape[:2]:
                raise ShapeError(f"instances: {name} {tuple(value.shape)} for keypoints {tuple(self.keypoints.shape)}")

    def _check_values(self) -> None:
        for name in ("boxes", "scores", "class_scores", "keypoints", "keypoint_scores", "areas"):
            value = getattr(self, name)
            if value is not None and not bool(value.isfinite().all()):
                raise DataError(
                    f"instances: {name} has values that are not finite, first at {_first(~value.isfinite())}"
                )
        if self.boxes is not None:
            turned = (self.boxes[:, 2:] < self.boxes[:, :2]).any(1)
            if bool(turned.any()):
                i = _first(turned)[0]
                raise DataError(
                    f"instances: box {i} {self.boxes[i].tolist()} is turned over; boxes need x1 <= x2, y1 <= y2"
                )
        for name in ("scores", "class_scores", "keypoint_scores"):
            value = getattr(self, name)
            if value is not None and bool(((value < 0) | (value > 1)).any()):
                raise DataError(f"instances: {name} must lie in [0, 1], found {value.min():.4g}..{value.max():.4g}")
        if self.labels is not None and bool((self.labels < 0).any()):
            raise DataError(
                f"instances: labels start at 0 (background is never a label), found {int(self.labels.min())}"
            )
        if self.visibility is not None and bool((self.visibility > 2).any()):
            raise DataError(f"instances: visibility must be 0, 1 or 2, found {int(self.visibility.max())}")


_DTYPES = {
    "boxes": torch.float32,
    "labels": torch.int64,
    "scores": torch.float32,
    "class_scores": torch.float32,
    "keypoints": torch.float32,
    "visibility": torch.uint8,
    "keypoint_scores": torch.float32,
    "attributes": torch.bool,
    "ignore": torch.bool,
    "ids": torch.int64,
    "areas": torch.float64,
}


def as_rows(name: str, values: Any, dtype: torch.dtype) -> Tensor:
    """A field as a tensor [N, …] of its dtype; whole numbers and flags must not change by that.

    Args:
        name: of the field, and of what it belongs to, for messages.
    """
    value = as_tensor(name, values)
    if value.ndim == 0:
        raise ShapeError(f"{name} must be a list, found the single number {value.item()}")
    result = value.to(dtype)
    if not dtype.is_floating_point and value.dtype != dtype:
        changed = result.to(value.dtype) != value
        if bool(changed.any()):
            at = _first(changed)
            raise DataError(f"{name} must be {str(dtype)[6:]}, found {value[tuple(at)].item()} at {at}")
    return result


def as_tensor(name: str, values: Any) -> Tensor:
    """Any array as a tensor; ShapeError naming the field where it is none."""
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{name} must be an array of numbers, found {type(values).__name__} ({error})") from None


def _first(bad: Tensor) -> list[int]:
    return bad.nonzero()[0].tolist()
