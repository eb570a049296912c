"""A trained model from the bytes of one picture to results in its pixels: the module that is written to a file.

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
from videre.models.classify.classifier import Classifier
from videre.ops.paste_masks import paste_masks
from videre.structures import ImageBatch

EXAMPLE = (96, 128)
"""Size of the picture that is traced; any other will do."""
SLIVER = 1000
"""OpenCV's average leaves out what covers no more than a thousandth of a source pixel."""


class Deployed(nn.Module):
    """One picture, uint8 [H, W, C] (RGB where C is 3), to what a model says of it; see its two kinds."""

    outputs: list[str]
    """Names of what is returned, in order."""
    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model.eval()
        std, mean = (torch.tensor(numbers) for numbers in (model.preprocess.std, model.preprocess.mean))
        self.register_buffer("scale", (1 / (255 * std))[:, None, None], persistent=False)
        self.register_buffer("shift", (mean / std)[:, None, None], persistent=False)

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
        # `matrices` lead back to the original in postprocess, which is not called; the kinds do that
        return ImageBatch(image, ((rows, columns),), ((height, width),), np.empty((0, 2, 3)))


class DeployedDetector(Deployed):
    """What is found, best first.

    Returns:
        boxes [D, 4] xyxy and scores [D] float32, labels [D] int64; masks [D, H, W] uint8 of 0 and 1, or keypoints
        [D, J, 3] (x, y, score), where the model gives them. In pixels of the picture, boxes clipped to it; everything
        above the model's own least score.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.outputs = ["boxes", "scores", "labels", *(name for name in ("masks", "keypoints") if name in model.gives)]

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


class DeployedClassifier(Deployed):
    """Classes of the picture, the likeliest first.

    Returns:
        scores [K] float32, probabilities at the model's temperature; labels [K] int64.
    """

    model: Classifier

    def __init__(self, model: Classifier) -> None:
        super().__init__(model)
        self.outputs = ["scores", "labels"]

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        logits = self.model(self.prepare(picture))["logits"][0] / self.model.temperature
        probabilities = logits.sigmoid() if self.model.multilabel else logits.softmax(0)
        scores, labels = probabilities.sort(descending=True)
        return {"scores": scores, "labels": labels}


def deploy(model: Model) -> Deployed:
    """The module for a model's kind; ConfigError for a kind that has none."""
    if isinstance(model, Classifier):
        return DeployedClassifier(model)
    if "boxes" in model.gives and model.preprocess.centre_crop is None:
        return DeployedDetector(model)
    raise ConfigError(f"{type(model).__name__} is not exported: only detectors and classifiers are")


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
