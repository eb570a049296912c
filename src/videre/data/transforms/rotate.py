"""Small rotations about the middle of the picture: a tilted camera, a leaning person."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import torch

from videre.data.transforms.geometry import FILL, MIN_VISIBLE, crop_scene
from videre.errors import ConfigError
from videre.structures import Affine, Scene, Schema
from videre.structures.affine import of_indices


@dataclasses.dataclass(frozen=True)
class Rotate:
    """Turn the picture about its middle by up to `degrees` either way; it keeps its size, the corners become grey.

    What leaves the picture is dropped as in `crop`. Raises DataError for cameras, 3D boxes and meshes.

    Args:
        degrees: of the largest turn. min_visible: see `crop`.
    """

    degrees: float = 30.0
    min_visible: float = MIN_VISIBLE

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ConfigError(f"rotate: degrees lie within 0 and 180, found {self.degrees}")

    def __call__(
        self, picture: np.ndarray, scene: Scene, rng: np.random.Generator, schema: Schema
    ) -> tuple[np.ndarray, Scene]:
        return rotate(picture, scene, float(rng.uniform(-self.degrees, self.degrees)), self.min_visible)


def rotate(
    picture: np.ndarray, scene: Scene, degrees: float, min_visible: float = MIN_VISIBLE
) -> tuple[np.ndarray, Scene]:
    """The picture turned counter-clockwise, and what is true of it."""
    height, width = scene.size
    matrix = _matrix(scene.size, degrees)
    top = 1.0 if picture.dtype.kind == "f" else float(np.iinfo(picture.dtype).max)
    ground = (FILL * top,) * 4  # OpenCV's limit
    planes = [picture[:, :, k : k + 4] for k in range(0, picture.shape[2], 4)]
    turned = [
        cv2.warpAffine(plane, of_indices(matrix), (width, height), flags=cv2.INTER_LINEAR, borderValue=ground).reshape(
            plane.shape
        )
        for plane in planes
    ]
    return np.concatenate(turned, 2), rotate_scene(scene, degrees, min_visible)


def rotate_scene(scene: Scene, degrees: float, min_visible: float = MIN_VISIBLE) -> Scene:
    """What is true of the picture turned counter-clockwise about its middle.

    A box becomes the extent of its mask where there is one, else that of the ellipse inside it: the extent of the turned
    box itself would be far larger than what it holds.
    """
    height, width = scene.size
    pad = int(np.ceil((np.hypot(height, width) - min(height, width)) / 2))  # first nothing is cut, then as in `crop`
    matrix = _matrix(scene.size, degrees)
    matrix[:, 2] += pad
    turned = scene.moved(Affine(matrix, scene.size, (height + 2 * pad, width + 2 * pad)))
    things = turned.instances
    if things is not None and things.boxes is not None and things.masks is not None:
        there = things.masks.area() > 0
        boxes = torch.where(there[:, None], things.masks.boxes(), things.boxes)
        turned = turned.replace_unchecked(instances=things.replace_unchecked(boxes=boxes))
    return crop_scene(turned, (pad, pad, pad + width, pad + height), min_visible)


def _matrix(size: tuple[int, int], degrees: float) -> np.ndarray:
    """2x3, continuous pixels: turns about the middle, y pointing down."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, sine], [-sine, cosine]])
    middle = np.array([size[1] / 2, size[0] / 2])
    return np.concatenate([turn, (middle - turn @ middle)[:, None]], 1)
