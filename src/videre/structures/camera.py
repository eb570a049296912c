"""Camera: a pinhole camera; where points of the world fall in the picture, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from videre.errors import ShapeError
from videre.structures.affine import Affine
from videre.structures.kinds import numbers


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Convention: the camera frame has x right, y down, z forward, in metres; a world point X is R X + t in it, and
    K [x, y, z] gives continuous pixels (x / z, y / z), origin at the top-left corner of the top-left pixel.

    Args:
        intrinsics: K, float [3, 3].
        rotation: R, world to camera, float [3, 3]; identity when absent.
        translation: t, metres, float [3]; zero when absent.
    """

    intrinsics: Tensor
    rotation: Tensor = dataclasses.field(default_factory=lambda: torch.eye(3))
    translation: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(3))

    def __post_init__(self) -> None:
        for name, shape in (("intrinsics", (3, 3)), ("rotation", (3, 3)), ("translation", (3,))):
            value = torch.as_tensor(getattr(self, name), dtype=torch.float32)
            if tuple(value.shape) != shape or not bool(value.isfinite().all()):
                raise ShapeError(f"camera: {name} must be finite with shape {shape}, found {tuple(value.shape)}")
            object.__setattr__(self, name, value)

    def to_camera(self, points: Tensor) -> Tensor:
        """World points [..., 3] in the camera frame."""
        return points @ self.rotation.T + self.translation

    def project(self, points: Tensor) -> Tensor:
        """Points [..., 3] of the camera frame to pixels [..., 2]; those behind the camera give NaN."""
        homogeneous = points @ self.intrinsics.T
        z = homogeneous[..., 2:]
        return torch.where(z > 0, homogeneous[..., :2] / z, torch.full_like(z, torch.nan))

    def ray(self, pixels: Tensor) -> Tensor:
        """Directions [..., 3] (z = 1) of the camera frame through pixels [..., 2]."""
        homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
        return homogeneous @ torch.linalg.inv(self.intrinsics).T

    def frustum(self, box: Tensor, near: float, far: float) -> Tensor:
        """The 8 corners [8, 3] of the part of space seen through a picture box (xyxy) between two depths."""
        x1, y1, x2, y2 = box.unbind(-1)
        corners = torch.stack([torch.stack(c) for c in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))])
        rays = self.ray(corners)
        return torch.cat([rays * near, rays * far])

    def moved(self, motion: Affine) -> Camera:
        """The camera of the moved picture. DataError for a turn, which would need another world."""
        motion.refuse_turn("cameras")
        mirrored = self.mirror(motion.source[1]) if motion.determinant < 0 else self
        matrix = motion.matrix @ Affine.mirror(motion.source).square if motion.determinant < 0 else motion.matrix
        warp = torch.cat([torch.as_tensor(matrix, dtype=torch.float32), torch.tensor([[0.0, 0.0, 1.0]])])
        return dataclasses.replace(mirrored, intrinsics=warp @ mirrored.intrinsics)

    def mirror(self, width: float) -> Camera:
        """The camera of the mirrored picture, whose world has camera x negated: cx becomes width - cx."""
        intrinsics = self.intrinsics.clone()
        intrinsics[0, 2] = width - intrinsics[0, 2]
        intrinsics[0, 1] = -intrinsics[0, 1]
        negate = torch.tensor([-1.0, 1.0, 1.0])
        return Camera(intrinsics, negate[:, None] * self.rotation * negate, negate * self.translation)

    def to_json(self, names: object = None) -> dict[str, Any]:
        """Plain JSON."""
        return {f.name: numbers(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: object = None) -> Camera:
        """What `to_json` wrote, checked."""
        return cls(**{name: torch.as_tensor(value) for name, value in data.items()})
