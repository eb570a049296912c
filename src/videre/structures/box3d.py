"""Box3D: N oriented boxes in the camera frame."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from videre.errors import ShapeError
from videre.structures.affine import Affine
from videre.structures.kinds import numbers


@dataclasses.dataclass(frozen=True)
class Box3D:
    """N boxes, each 7 numbers (or 9 with pitch and roll).

    Convention: camera frame (x right, y down, z forward), metres, radians. `centers` are the boxes' middles,
    `sizes` the extents along the box's own x, y, z. The box is turned by roll about z, then pitch about x, then yaw
    about y (KITTI's rotation_y when pitch and roll are zero; KITTI's centre is the middle of the bottom instead).

    Args:
        centers: float [N, 3]. sizes: float [N, 3], not negative. yaw: float [N]. pitch, roll: float [N], zero if absent.
    """

    centers: Tensor
    sizes: Tensor
    yaw: Tensor
    pitch: Tensor | None = None
    roll: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.centers)
        shapes = {"centers": (count, 3), "sizes": (count, 3), "yaw": (count,), "pitch": (count,), "roll": (count,)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            value = torch.zeros(count) if value is None else torch.as_tensor(value, dtype=torch.float32)
            if tuple(value.shape) != shape or not bool(value.isfinite().all()):
                raise ShapeError(f"3D boxes: {name} must be finite with shape {shape}, found {tuple(value.shape)}")
            object.__setattr__(self, name, value)
        if bool((self.sizes < 0).any()):
            raise ShapeError("3D boxes: sizes must not be negative")

    def __len__(self) -> int:
        return len(self.centers)

    def rotations(self) -> Tensor:
        """Box frame to camera frame, [N, 3, 3]."""
        assert self.pitch is not None and self.roll is not None  # filled on making
        return _turn(self.yaw, 1) @ _turn(self.pitch, 0) @ _turn(self.roll, 2)

    def corners(self) -> Tensor:
        """The 8 corners [N, 8, 3]; corner i has the sign of x, y, z by the bits 1, 2, 4 of i."""
        signs = torch.tensor([[(i >> axis & 1) * 2 - 1 for axis in range(3)] for i in range(8)], dtype=torch.float32)
        local = signs * self.sizes[:, None] / 2  # (N, 8, 3)
        return local @ self.rotations().transpose(1, 2) + self.centers[:, None]

    def select(self, index: Tensor) -> Box3D:
        return Box3D(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))

    @staticmethod
    def cat(items: Sequence[Box3D]) -> Box3D:
        return Box3D(*(torch.cat([getattr(b, f.name) for b in items]) for f in dataclasses.fields(Box3D)))

    def moved(self, motion: Affine) -> Box3D:
        """The boxes of the moved picture, which only a mirror changes. DataError for a turn."""
        motion.refuse_turn("3D boxes")
        return self.mirror() if motion.determinant < 0 else self

    def mirror(self) -> Box3D:
        """Camera x negated: yaw becomes pi - yaw, pitch its negative (a box equals itself after half a turn)."""
        assert self.pitch is not None and self.roll is not None
        centers = self.centers * torch.tensor([-1.0, 1.0, 1.0])
        return Box3D(centers, self.sizes, math.pi - self.yaw, -self.pitch, self.roll)

    def to_json(self, names: object = None) -> dict[str, Any]:
        """Plain JSON."""
        return {f.name: numbers(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: object = None) -> Box3D:
        """What `to_json` wrote, checked."""
        rows = lambda value: torch.zeros(*value["shape"]) if isinstance(value, dict) else torch.as_tensor(value)
        return cls(**{name: rows(value) for name, value in data.items()})


def _turn(angle: Tensor, axis: int) -> Tensor:
    """Right-handed rotations about a coordinate axis, [N, 3, 3]."""
    c, s = angle.cos(), angle.sin()
    rotation = torch.eye(3).repeat(len(angle), 1, 1)
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    rotation[:, a, a], rotation[:, a, b], rotation[:, b, a], rotation[:, b, b] = c, -s, s, c
    return rotation
