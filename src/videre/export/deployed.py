"""A trained model from the bytes of one picture to results in its pixels: the module that is written to a file.

What `images.prepare` and `Model.postprocess` do in Python around the net is done here in tensors, for sizes that are
symbols while the module is traced.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn, sym_max, sym_min
from torch.export import Dim, ExportedProgram

from videre.errors import ConfigError
from videre.models.base import Deployable, Model
from videre.structures import ImageBatch

EXAMPLE = (96, 128)
"""Size of the picture that is traced; any other will do."""
SLIVER = 1000
"""OpenCV's average leaves out what covers no more than a thousandth of a source pixel."""


class Deployed(nn.Module):
    """One picture, uint8 [H, W, C] (RGB where C is 3), to what a model says of it, as its `deployed` has it: in pixels of
    the picture, everything above the model's own least score, best first.

    Args:
        model: a `Deployable`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model.eval()
        std, mean = (torch.tensor(numbers) for numbers in (model.preprocess.std, model.preprocess.mean))
        self.register_buffer("scale", (1 / (255 * std))[:, None, None], persistent=False)
        self.register_buffer("shift", (mean / std)[:, None, None], persistent=False)

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        batch = self.prepare(picture)
        assert isinstance(self.model, Deployable)  # checked
        return self.model.deployed(self.model(batch), batch)

    @functools.cached_property
    def outputs(self) -> list[str]:
        """Names of what is returned, in order."""
        with torch.no_grad():
            return list(self(torch.zeros((*EXAMPLE, len(self.model.preprocess.mean)), dtype=torch.uint8)))

    def prepare(self, picture: Tensor) -> ImageBatch:
        """Resized, cut out, normalised and padded: `images.prepare.prepare`."""
        preprocess = self.model.preprocess
        height, width = picture.shape[:2]
        resized, padded = preprocess.resized((height, width)), preprocess.padded((height, width))
        top, left, rows, columns = preprocess.window((height, width))
        if preprocess.centre_crop is None:
            padded = _fresh(padded[0], preprocess.divisor), _fresh(padded[1], preprocess.divisor)
        pixels = picture.permute(2, 0, 1).float()
        if preprocess.channels == "bgr":
            pixels = pixels.flip(0)
        down = resize_weights(height, resized[0], top, padded[0], preprocess.antialias)
        across = resize_weights(width, resized[1], left, padded[1], preprocess.antialias)
        normalised = down @ pixels @ across.T * self.scale - self.shift
        inside = (torch.arange(padded[0]) < rows)[:, None] & (torch.arange(padded[1]) < columns)
        image = torch.where(inside, normalised, 0)[None]
        # `matrices` lead back to the original in postprocess, which is not called; `deployed` does that
        return ImageBatch(image, ((rows, columns),), ((height, width),), np.empty((0, 2, 3)))


def deploy(model: Model) -> Deployed:
    """The module for a model; ConfigError for one that is not exported."""
    kind = type(model)
    if kind.takes:
        raise ConfigError(
            f"{kind.__name__} takes {', '.join(sorted(kind.takes))} beside the picture; a file takes pictures alone"
        )
    if not isinstance(model, Deployable):
        raise ConfigError(f"{kind.__name__} is not exported: only detectors and classifiers are")
    if model.preprocess.centre_crop is not None and "boxes" in kind.gives:
        raise ConfigError(f"{kind.__name__} with centre_crop is not exported: what it finds would be shifted")
    return Deployed(model)


def resize_weights(source: int, target: int, first: int, rows: int, antialias: bool) -> Tensor:
    """How much each source pixel counts in each target pixel, along one axis: `images.prepare.resample`.

    A side that shrinks is averaged over the pixels that fall into one, by the share of them that does; a side that
    grows is interpolated linearly. Both are a trapezoid about the target pixel's centre, cut off at the picture's edge.
    In whole numbers, so that no weight depends on how a runtime rounds: the unit is 1 / (2 * target) of a source pixel.

    Args:
        source, target: pixels. first, rows: which of the target's pixels are wanted; those beyond `target` repeat the
            last. antialias: False interpolates a side that shrinks, too.

    Returns:
        float32 [rows, source]; each row sums to 1, or to a little less where a sliver is left out.
    """
    span = sym_max(source, target) if antialias else target  # of a target pixel's trapezoid, in source pixels * target
    centre = ((torch.arange(rows)[:, None] + first) * 2 + 1) * source
    centre = centre.clamp(min=target, max=(2 * source - 1) * target)  # (rows, 1)
    distance = (centre - (torch.arange(source) * 2 + 1) * target).abs()  # (rows, source)
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


def _fresh(side: int, divisor: int) -> int:
    """A side that stands for itself: without it, the shapes of all layers are formulas of the picture's sides."""
    steps = torch.scalar_tensor(side // divisor, dtype=torch.int64).item()
    torch._check(steps >= 1)
    return steps * divisor  # type: ignore[return-value]
