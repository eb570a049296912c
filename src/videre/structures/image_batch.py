"""ImageBatch: pictures as the net sees them, and the way back to their own pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videre.errors import ConfigError
from videre.structures.instances import Instances
from videre.structures.scene import VOID, Scene


@dataclasses.dataclass(frozen=True)
class ImageBatch:
    """B pictures in one tensor.

    Args:
        image: float [B, C, H, W], channels-last in memory, normalised, zero where padded.
        sizes: the valid (height, width) of each picture inside the tensor.
        originals: the (height, width) of each picture as read.
        matrices: float64 [B, 2, 3], original pixels to batch pixels: a positive scale per axis, and the shift of
            `Preprocess.centre_crop`.
        seeds: one integer per picture; all random choices of training about that picture follow from it.
    """

    image: Tensor
    sizes: tuple[tuple[int, int], ...]
    originals: tuple[tuple[int, int], ...]
    matrices: np.ndarray
    seeds: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: torch.device | str) -> ImageBatch:
        return dataclasses.replace(self, image=self.image.to(device, non_blocking=True))

    def inverse(self, index: int) -> np.ndarray:
        """Batch pixels to original pixels, [2, 3]."""
        return invert(self.matrices[index])

    @staticmethod
    def cat(batches: Sequence[ImageBatch], size: tuple[int, int] | None = None) -> ImageBatch:
        """One batch of all pictures, padded with zeros to `size` or to the largest."""
        height = max(size[0] if size else 0, *(b.image.shape[2] for b in batches))
        width = max(size[1] if size else 0, *(b.image.shape[3] for b in batches))
        first = batches[0].image
        image = first.new_zeros((sum(len(b) for b in batches), first.shape[1], height, width))
        image = image.contiguous(memory_format=torch.channels_last)
        row = 0
        for b in batches:
            image[row : row + len(b), :, : b.image.shape[2], : b.image.shape[3]] = b.image
            row += len(b)
        join = lambda name: tuple(x for b in batches for x in getattr(b, name))
        return ImageBatch(
            image, join("sizes"), join("originals"), np.concatenate([b.matrices for b in batches]), join("seeds")
        )


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a 2x3 affine matrix."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.concatenate([inverse, -inverse @ matrix[:, 2:]], axis=1)


def warp_scene(scene: Scene, matrix: np.ndarray, size: tuple[int, int]) -> Scene:
    """A scene in the frame of the picture warped by a 2x3 matrix of scales and shifts (no mirror, no turn).

    Boxes, masks, keypoints, maps, proposals and the camera follow; nothing is clipped or dropped. Segment and depth
    maps are resampled nearest pixel.

    Raises ConfigError for a mirror, a turn or a shear.
    """
    if matrix[0, 1] or matrix[1, 0] or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise ConfigError(
            f"{scene.name}: only scales and shifts keep boxes and cameras as they are, found the matrix "
            f"{np.asarray(matrix).tolist()}; mirrors and turns are transforms of their own"
        )
    scale, shift = np.diag(matrix[:, :2]), matrix[:, 2]
    flat = lambda points: points * torch.tensor(scale).to(points) + torch.tensor(shift).to(points)
    corners = lambda boxes: flat(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    changes: dict[str, Any] = {"size": size}
    if scene.instances is not None:
        changes["instances"] = _warp_instances(scene.instances, matrix, size, flat, corners)
    if scene.proposals is not None:
        changes["proposals"] = corners(scene.proposals)
    if scene.camera is not None:
        changes["camera"] = scene.camera.affine(torch.as_tensor(matrix))
    return scene.replace(**changes, **warp_maps(scene, matrix, size))


def warp_maps(scene: Scene, matrix: np.ndarray, size: tuple[int, int]) -> dict[str, Tensor]:
    """Segmentation, panoptic ids and depth of a picture warped by any 2x3 matrix, nearest pixel; outside void or 0."""
    import cv2

    changes = {}
    for name, outside in (("segmentation", VOID), ("panoptic", 0), ("depth", 0)):
        value: Tensor | None = getattr(scene, name)
        if value is not None:
            source = value.numpy() if value.dtype in (torch.uint8, torch.float32) else value.numpy().astype(np.float64)
            planes = source.reshape(-1, *scene.size)  # several where classes overlap
            index = of_indices(matrix)
            warped = [
                cv2.warpAffine(plane, index, size[::-1], flags=cv2.INTER_NEAREST, borderValue=outside)
                for plane in planes
            ]
            changes[name] = torch.from_numpy(np.stack(warped)).to(value.dtype).view(*value.shape[:-2], *size)
    return changes


def of_indices(matrix: np.ndarray) -> np.ndarray:
    """A 2x3 matrix of continuous pixels as one of pixel indices, whose centres lie at +0.5."""
    index = np.asarray(matrix, float).copy()
    index[:, 2] += index[:, :2] @ [0.5, 0.5] - 0.5
    return index


def _warp_instances(
    instances: Instances, matrix: np.ndarray, size: tuple[int, int], flat: Any, corners: Any
) -> Instances:
    changes: dict[str, Any] = {}
    if instances.boxes is not None:
        changes["boxes"] = corners(instances.boxes)
    if instances.keypoints is not None:
        changes["keypoints"] = flat(instances.keypoints)
    if instances.masks is not None:
        changes["masks"] = instances.masks.affine(matrix, size)
    if instances.areas is not None:
        changes["areas"] = instances.areas * abs(float(np.linalg.det(matrix[:, :2])))
    return instances.replace(**changes)
