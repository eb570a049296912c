"""ImageBatch: pictures or clips as the net sees them, and the way back to their own pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from videre.structures.affine import Affine, invert
from videre.structures.scene import Scene


@dataclasses.dataclass(frozen=True)
class ImageBatch:
    """B pictures in one tensor.

    Args:
        image: float [B, C, H, W], channels-last in memory, normalised, zero where padded; of clips [B, T, C, H, W].
        sizes: the valid (height, width) of each picture inside the tensor.
        originals: the (height, width) of each picture as read.
        matrices: float64 [B, 2, 3], original pixels to batch pixels: a positive scale per axis, and the shift of
            `Preprocess.centre_crop`.
        seeds: one integer per picture; all random choices of training about that picture follow from it.
        given: of each picture the fields that the model takes, and no others, in the batch's frame; () where it takes none.
        times: of each clip the seconds of its frames, float64 [T]; the image is then [B, T, C, H, W].
    """

    image: Tensor
    sizes: tuple[tuple[int, int], ...]
    originals: tuple[tuple[int, int], ...]
    matrices: np.ndarray
    seeds: tuple[int, ...] = ()
    given: tuple[Scene, ...] = ()
    times: tuple[np.ndarray, ...] = ()

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: torch.device | str) -> ImageBatch:
        given = tuple(scene.to(device) for scene in self.given)
        return dataclasses.replace(self, image=self.image.to(device, non_blocking=True), given=given)

    def inverse(self, index: int) -> np.ndarray:
        """Batch pixels to original pixels, [2, 3]."""
        return invert(self.matrices[index])

    def motion(self, index: int) -> Affine:
        """How a picture was moved on its way into the batch."""
        return Affine(self.matrices[index], self.originals[index], self.sizes[index])

    @staticmethod
    def cat(batches: Sequence[ImageBatch], size: tuple[int, int] | None = None) -> ImageBatch:
        """One batch of all pictures, padded with zeros to `size` or to the largest."""
        height = max(size[0] if size else 0, *(b.image.shape[-2] for b in batches))
        width = max(size[1] if size else 0, *(b.image.shape[-1] for b in batches))
        first = batches[0].image
        image = first.new_zeros((sum(len(b) for b in batches), *first.shape[1:-2], height, width))
        if image.ndim == 4:
            image = image.contiguous(memory_format=torch.channels_last)
        row = 0
        for b in batches:
            image[row : row + len(b), ..., : b.image.shape[-2], : b.image.shape[-1]] = b.image
            row += len(b)
        join = lambda name: tuple(x for b in batches for x in getattr(b, name))
        return ImageBatch(
            image,
            join("sizes"),
            join("originals"),
            np.concatenate([b.matrices for b in batches]),
            join("seeds"),
            join("given"),
            join("times"),
        )
