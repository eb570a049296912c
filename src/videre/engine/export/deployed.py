"""A trained detector from the bytes of one picture to results in its pixels: the module that is written to a file.

What `images.prepare` and `Model.postprocess` do in Python around the net is done here in tensors, for sizes that are
symbols while the module is traced.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn, sym_max, sym_min
from torch.export import Dim, ExportedProgram

from videre.errors import ConfigError
from videre.models.base import Model
from videre.ops.paste_masks import paste_masks
from videre.structures import ImageBatch

EXAMPLE = (96, 128)
"""Size of the picture that is traced; any other will do."""
SLIVER = 1000
"""OpenCV's average leaves out what covers no more than a thousandth of a source pixel."""


class Deployed(nn.Module):
    """One picture, uint8 [H, W, C] (RGB where C is 3), to what the model finds in it, best first.

    Returns:
        boxes [D, 4] xyxy and scores [D] float32, labels [D] int64; masks [D, H, W] uint8 of 0 and 1, or keypoints
        [D, J, 3] (x, y, score), where the model gives them. In pixels of the picture, boxes clipped to it; everything
        above the model's own least score.

    Raises ConfigError for a model that does not find things.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        if "boxes" not in model.gives:
            raise ConfigError(f"{type(model).__name__} finds no boxes: only detectors are exported")
        self.model = model.eval()
        std, mean = (torch.tensor(numbers) for numbers in (model.preprocess.std, model.preprocess.mean))
        self.register_buffer("scale", (1 / (255 * std))[:, None, None], persistent=False)
        self.register_buffer("shift", (mean / std)[:, None, None], persistent=False)

    @property
    def outputs(self) -> list[str]:
        """Names of what is returned, in order."""
        return ["boxes", "scores", "labels", *(name for name in ("masks", "keypoints") if name in self.model.gives)]

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        height, width = picture.shape[:2]
        batch = self.prepare(picture)
        ((rows, columns),) = batch.sizes
        found = self.model(batch)
        size = torch.stack([torch.scalar_tensor(width), torch.scalar_tensor(height)])
        back = size / torch.stack([torch.scalar_tensor(columns), torch.scalar_tensor(rows)])
        corners = found["boxes"].view(-1, 2, 2) * back
        boxes = torch.minimum(corners.clamp(min=0), size).view(-1, 4)
        results = {"boxes": boxes, "scores": found["scores"], "labels": found["labels"]}
        if "masks" in self.model.gives:
            results["masks"] = paste_masks(found["masks"], boxes, (height, width))
        if "keypoints" in self.model.gives:
            results["keypoints"] = torch.cat([found["keypoints"] * back, found["keypoint_scores"][:, :, None]], dim=2)
        return results

    def prepare(self, picture: Tensor) -> ImageBatch:
        """Resized, normalised and padded: `images.prepare.prepare`."""
        preprocess = self.model.preprocess
        height, width = picture.shape[:2]
        rows, columns = preprocess.resized((height, width))
        padded = [
            _fresh(side // preprocess.divisor) * preprocess.divisor for side in preprocess.padded((height, width))
        ]
        pixels = picture.permute(2, 0, 1).float()
        if preprocess.channels == "bgr":
            pixels = pixels.flip(0)
        down = resize_weights(height, rows, padded[0], preprocess.antialias)
        across = resize_weights(width, columns, padded[1], preprocess.antialias)
        normalised = down @ pixels @ across.T * self.scale - self.shift
        inside = (torch.arange(padded[0]) < rows)[:, None] & (torch.arange(padded[1]) < columns)
        image = torch.where(inside, normalised, 0)[None]
        # `matrices` lead back to the original in postprocess, which is not called; that is done in forward
        return ImageBatch(image, ((rows, columns),), ((height, width),), np.empty((0, 2, 3)))


def resize_weights(source: int, target: int, padded: int, antialias: bool) -> Tensor:
    """How much each source pixel counts in each target pixel, along one axis: `images.prepare.resample`.

    A side that shrinks is averaged over the pixels that fall into one, by the share of them that does; a side that
    grows is interpolated linearly. Both are a trapezoid about the target pixel's centre, cut off at the picture's edge.
    In whole numbers, so that no weight depends on how a runtime rounds: the unit is 1 / (2 * target) of a source pixel.

    Args:
        source, target: pixels. padded: rows of the result; those beyond `target` repeat the last.
        antialias: False interpolates a side that shrinks, too.

    Returns:
        float32 [padded, source]; each row sums to 1, or to a little less where a sliver is left out.
    """
    span = sym_max(source, target) if antialias else target  # of a target pixel's trapezoid, in source pixels * target
    centre = (torch.arange(padded)[:, None] * 2 + 1) * source
    centre = centre.clamp(min=target, max=(2 * source - 1) * target)  # (padded, 1)
    distance = (centre - (torch.arange(source) * 2 + 1) * target).abs()  # (padded, source)
    shared = (span + target - distance).clamp(min=0, max=2 * target)
    is_smaller = sym_min(span - target, 1)
    return torch.where(shared > is_smaller * 2 * target // SLIVER, shared, 0) / (2 * span)


def trace(model: Deployed) -> ExportedProgram:
    """The module as one graph, for pictures of any height and width."""
    channels = len(model.model.preprocess.mean)
    picture = torch.zeros((*EXAMPLE, channels), dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(
            model, (picture,), dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},), strict=False
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # which holds the paths of this machine
    return program


def _fresh(number: int) -> int:
    """A number that stands for itself: without it, the shapes of all layers are formulas of the picture's sides."""
    fresh = torch.scalar_tensor(number, dtype=torch.int64).item()
    torch._check(fresh >= 1)
    return fresh  # type: ignore[return-value]
