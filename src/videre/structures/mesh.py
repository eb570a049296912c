"""Mesh: a triangle mesh in the camera frame, read and written through trimesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videre.errors import DataError, ShapeError
from videre.structures.affine import Affine
from videre.structures.kinds import numbers


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Triangles.

    Args:
        vertices: float [V, 3], metres, camera frame (x right, y down, z forward).
        faces: int64 [F, 3], indices of vertices, counter-clockwise seen from outside.
    """

    vertices: Tensor
    faces: Tensor

    def __post_init__(self) -> None:
        vertices = torch.as_tensor(self.vertices, dtype=torch.float32)
        faces = torch.as_tensor(self.faces, dtype=torch.int64)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
            raise ShapeError(
                f"mesh: vertices [V, 3], faces [F, 3]; found {tuple(vertices.shape)}, {tuple(faces.shape)}"
            )
        if not bool(vertices.isfinite().all()):
            raise ShapeError("mesh: vertices must be finite")
        if len(faces) and not (int(faces.min()) >= 0 and int(faces.max()) < len(vertices)):
            raise ShapeError(f"mesh: faces name vertices {int(faces.min())}..{int(faces.max())} of {len(vertices)}")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", faces)

    def moved(self, motion: Affine) -> Mesh:
        """The mesh of the moved picture, which only a mirror changes. DataError for a turn."""
        motion.refuse_turn("meshes")
        return self.mirror() if motion.determinant < 0 else self

    def mirror(self) -> Mesh:
        """Camera x negated; faces turned round so that they still look outwards."""
        return Mesh(self.vertices * torch.tensor([-1.0, 1.0, 1.0]), self.faces.flip(1))

    @classmethod
    def load(cls, path: str | Path) -> Mesh:
        """From an OBJ, PLY or other file that trimesh reads; DataError when it cannot be read."""
        import trimesh

        try:
            mesh: Any = trimesh.load(str(path), force="mesh", process=False)
            return cls(torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces))
        except Exception as error:
            raise DataError(f"{path}: no mesh could be read ({error})") from error

    def save(self, path: str | Path) -> None:
        """To a file; the suffix (.obj, .ply, .stl, …) decides the format."""
        import trimesh

        trimesh.Trimesh(self.vertices.numpy(), self.faces.numpy(), process=False).export(str(path))

    def to_json(self, names: object = None) -> dict[str, Any]:
        """Plain JSON."""
        return {"vertices": numbers(self.vertices), "faces": numbers(self.faces)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], names: object = None) -> Mesh:
        """What `to_json` wrote, or {"file": PATH} of a mesh file; checked."""
        if "file" in data:
            return cls.load(data["file"])
        rows = lambda value: torch.zeros(*value["shape"]) if isinstance(value, dict) else torch.as_tensor(value)
        return cls(rows(data["vertices"]), rows(data["faces"]))
