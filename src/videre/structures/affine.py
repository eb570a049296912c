"""Affine: how a picture was moved, and what that does to points, boxes and pixels."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import torch
from torch import Tensor

from videre.errors import DataError

STEEPEST = 45.0
"""Degrees up to which "left of" and "above" stay true."""


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """Points (x, y) of a picture of size `source` go to matrix @ (x, y, 1) in a picture of size `target`.

    Args:
        matrix: float64 [2, 3], continuous pixels. source, target: (height, width).
    """

    matrix: np.ndarray
    source: tuple[int, int]
    target: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", np.asarray(self.matrix, np.float64))

    @classmethod
    def mirror(cls, size: tuple[int, int]) -> Affine:
        """Left for right."""
        return cls(np.array([[-1.0, 0, size[1]], [0, 1, 0]]), size, size)

    @classmethod
    def quarter(cls, size: tuple[int, int]) -> Affine:
        """A quarter turn counter-clockwise, as `np.rot90`: (x, y) goes to (y, width - x)."""
        return cls(np.array([[0.0, 1, 0], [-1, 0, size[1]]]), size, (size[1], size[0]))

    def inverse(self) -> Affine:
        """The way back."""
        return Affine(invert(self.matrix), self.target, self.source)

    @property
    def linear(self) -> np.ndarray:
        """float64 [2, 2], without the shift."""
        return self.matrix[:, :2]

    @property
    def square(self) -> np.ndarray:
        """float64 [3, 3], of homogeneous points."""
        return np.concatenate([self.matrix, [[0.0, 0, 1]]])

    @functools.cached_property
    def determinant(self) -> float:
        """By how much areas grow; negative where left and right have changed places."""
        return float(np.linalg.det(self.linear))

    @functools.cached_property
    def tilt(self) -> float:
        """Degrees by which upright things lean afterwards, 0 to 180."""
        up = self.linear[:, 1]
        return abs(math.degrees(math.atan2(up[0], up[1])))

    @functools.cached_property
    def is_level(self) -> bool:
        """Scales, shifts and a mirror alone: what is horizontal stays so."""
        return self.matrix[0, 1] == self.matrix[1, 0] == 0 and self.matrix[1, 1] > 0

    @functools.cached_property
    def is_grid(self) -> bool:
        """Pixels become pixels: shifts by whole pixels, mirrors and quarter turns alone."""
        swaps = {tuple(row) for row in np.abs(self.linear).tolist()} == {(0.0, 1.0), (1.0, 0.0)}
        return swaps and bool((self.matrix[:, 2] == np.round(self.matrix[:, 2])).all())

    def refuse_turn(self, what: str, most: float = 0.0) -> None:
        """DataError where `what` is true only in pictures that lean by at most `most` degrees."""
        if self.tilt > most + 1e-6 or (most == 0 and not self.is_level):
            raise DataError(
                f"{what} cannot be turned by {self.tilt:.0f} degrees; train without turns (turn=false, rotate=0)"
            )

    # what it does -----------------------------------------------------------------------------------------------------

    def points(self, points: Tensor) -> Tensor:
        """Points [..., 2], x and y."""
        linear, shift = (torch.tensor(part).to(points) for part in (self.linear, self.matrix[:, 2]))
        if linear[0, 1] == linear[1, 0] == 0:  # so that whole numbers stay exact
            return points * linear.diagonal() + shift
        if linear[0, 0] == linear[1, 1] == 0:
            return points.flip(-1) * linear.flip(1).diagonal() + shift
        return points @ linear.T + shift

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes [..., 4] xyxy; where they are turned, the extent of the ellipse inside: that of the turned box itself would
        be far larger than what it holds."""
        corners = self.points(boxes.unflatten(-1, (2, 2)))
        if not self.linear.all():
            return torch.cat([corners.amin(-2), corners.amax(-2)], -1)
        middle, half = corners.mean(-2), (boxes[..., 2:] - boxes[..., :2]) / 2
        reach = (half.square() @ torch.tensor(self.linear).to(boxes).square().T).sqrt()
        return torch.cat([middle - reach, middle + reach], -1)

    def pixels(self, value: Tensor, outside: int) -> Tensor:
        """Maps [..., H, W], nearest pixel; `outside` where nothing was."""
        planes = value.numpy().reshape(-1, *value.shape[-2:])
        if self.is_grid:
            moved = np.full((len(planes), *self.target), outside, planes.dtype)
            window = self.window((0, 0, value.shape[-1], value.shape[-2]))
            self._warp_into(self.turned(planes), window, moved)
        else:
            moved = np.stack([self._resampled(plane, outside) for plane in planes])
        return torch.from_numpy(moved).view(*value.shape[:-2], *self.target)

    def window(self, window: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Where a window (x1, y1, x2, y2) of whole pixels comes to lie, if `is_grid`."""
        x1, y1, x2, y2 = self.boxes(torch.tensor(window, dtype=torch.float64)).round().long().tolist()
        return x1, y1, x2, y2

    def turned(self, pixels: np.ndarray) -> np.ndarray:
        """A view of pixels [..., h, w] mirrored and turned as `is_grid` allows, not shifted."""
        (a, b), (c, d) = self.linear
        pixels = pixels.swapaxes(-1, -2) if b else pixels
        pixels = pixels[..., ::-1] if a + b < 0 else pixels
        return pixels[..., ::-1, :] if c + d < 0 else pixels

    def _warp_into(self, pixels: np.ndarray, window: tuple[int, int, int, int], ground: np.ndarray) -> None:
        """Write pixels [..., h, w] into `ground` at a window, as far as it is inside."""
        (height, width), (x1, y1, x2, y2) = self.target, window
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if left < right and top < bottom:
            ground[..., top:bottom, left:right] = pixels[..., top - y1 : bottom - y1, left - x1 : right - x1]

    def _resampled(self, plane: np.ndarray, outside: int) -> np.ndarray:
        import cv2

        source = plane if plane.dtype in (np.uint8, np.float32) else plane.astype(np.float64)
        size = self.target[::-1]
        flags = cv2.INTER_NEAREST
        return cv2.warpAffine(source, of_indices(self.matrix), size, flags=flags, borderValue=outside).astype(
            plane.dtype
        )


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a 2x3 affine matrix."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.concatenate([inverse, -inverse @ matrix[:, 2:]], axis=1)


def of_indices(matrix: np.ndarray) -> np.ndarray:
    """A 2x3 matrix of continuous pixels as one of pixel indices, whose centres lie at +0.5."""
    index = np.asarray(matrix, float).copy()
    index[:, 2] += index[:, :2] @ [0.5, 0.5] - 0.5
    return index
