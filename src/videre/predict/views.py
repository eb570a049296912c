"""Views: a picture looked at more than once while predicting, mirrored, at other scales, in tiles; the answers are blended
before anything is decided."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videre.errors import ConfigError
from videre.models.base import Blendable, Model, Outputs
from videre.structures import ImageBatch, Tiling

LOGITS = "logits"
"""What `Blendable` gives."""


@dataclasses.dataclass(frozen=True)
class Views:
    """How a picture is looked at.

    Args:
        flip: also mirrored. scales: factors on the size that the model's preprocessing gives.
        tiling: in windows instead of whole, in pixels of that size; memory then depends on the tile, not on the picture.

    Raises ConfigError for a scale that is not positive, or none at all.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    tiling: Tiling | None = None

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0 or not all(map(math.isfinite, self.scales)):
            raise ConfigError(f"views: scales are positive numbers, at least one; found {list(self.scales)}")

    @property
    def is_plain(self) -> bool:
        """Whether each picture is looked at once, as it is."""
        return self == Views()


def look(model: Model, batch: ImageBatch, views: Views) -> Outputs:
    """The outputs of a model of maps, "logits" [B, K, H, W]: of the mean probabilities of the views, each blended from the
    logits of its tiles.

    Args:
        model: whose maps can be blended. batch: prepared pictures, on the model's device.
    """
    assert isinstance(model, Blendable)  # checked
    logits = torch.stack([_one(model, batch, row, views) for row in range(len(batch))])
    return {LOGITS: logits}


def check_views(model: Model, views: Views) -> None:
    """Raises ConfigError for a model whose answers are no maps."""
    if not views.is_plain and not isinstance(model, Blendable):
        raise ConfigError(
            f"flip, scales and tiles blend maps of classes; a {type(model).__name__} gives "
            f"{', '.join(sorted(model.gives))}: leave them out"
        )


def _one(model: Blendable, batch: ImageBatch, row: int, views: Views) -> Tensor:
    height, width = batch.sizes[row]
    picture = batch.image[row : row + 1, :, :height, :width]
    shares, views_seen = torch.zeros((), device=picture.device), 0
    for scale, mirrored in itertools.product(views.scales, (False, True) if views.flip else (False,)):
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        image = picture if scale == 1 else F.interpolate(picture, size, mode="bilinear", antialias=scale < 1)
        logits = _logits(model, image.flip(3) if mirrored else image, views.tiling).float()
        logits = logits.flip(3) if mirrored else logits
        if scale != 1:
            logits = F.interpolate(logits, (height, width), mode="bilinear")
        shares, views_seen = shares + model.probabilities(logits), views_seen + 1
    mean = model.as_logits(shares / views_seen)[0]
    return F.pad(mean, (0, batch.image.shape[3] - width, 0, batch.image.shape[2] - height))


def _logits(model: Blendable, image: Tensor, tiling: Tiling | None) -> Tensor:
    """Logits [1, K, h, w] of a picture [1, C, h, w], padded as `Preprocess` pads, whole or blended from windows."""
    (height, width), divisor = image.shape[2:], model.preprocess.divisor
    image = F.pad(image, (0, -width % divisor, 0, -height % divisor))
    if tiling is None:
        return _run(model, image)[:, :, :height, :width]
    tiling, size = tiling.aligned(divisor), (image.shape[2], image.shape[3])
    total, weights = torch.zeros((), device=image.device), image.new_zeros(size, dtype=torch.float32)
    for window in tiling.windows(size):
        x1, y1, x2, y2 = window
        weight = tiling.weights(window, size).to(image.device)
        logits = _run(model, image[:, :, y1:y2, x1:x2]).float() * weight
        if not total.dim():
            total = logits.new_zeros(1, logits.shape[1], *size)
        total[:, :, y1:y2, x1:x2] += logits
        weights[y1:y2, x1:x2] += weight
    return (total / weights)[:, :, :height, :width]


def _run(model: Blendable, image: Tensor) -> Tensor:
    """Logits of a picture of an allowed size."""
    size = (image.shape[2], image.shape[3])
    same = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    batch = ImageBatch(image.contiguous(memory_format=torch.channels_last), (size,), (size,), same, (0,))
    logits: Tensor = model(batch)[LOGITS]
    return logits
