"""Segmenter: what all systems that give every pixel a class share; a system adds the net alone.

Logits may come at any resolution: they are brought to the picture's by bilinear interpolation (half-pixel centres),
and only then is decided.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from videre.errors import ConfigError, DataError
from videre.layers.maps import stack_padded
from videre.layers.pixel_losses import PixelLoss
from videre.models.base import Model, Outputs, Rows
from videre.structures import ImageBatch, Preprocess, Scene, Schema
from videre.structures.scene import VOID

LOGITS = "logits"
"""The head that predicts; others (deep supervision, an auxiliary head) are trained only."""


LEAST = 1e-12
"""Probabilities below it count as it: their logarithm must be finite."""


class Segmenter(Model):
    """A class for every pixel; any number of them where `schema.overlap`.

    Args:
        schema: needs `pixels`, at most 255 classes. preprocess: None: the system's usual one.
        loss: names of `layers.pixel_losses` joined by "+", each with a factor where it is not 1: "cross_entropy + 0.5 dice".
        class_weights: weight of a class in the loss, by name; 1 where absent.

    A system defines `heads`, and `head_weights` where it has more than one.
    """

    needs = frozenset({"segmentation"})
    gives = frozenset({"segmentation"})
    mixes_formats = True
    usual = Preprocess(short_side=None, long_side=None)
    head_weights: dict[str, float] = {LOGITS: 1.0}  # noqa: RUF012 - replaced, never changed

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None,
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess)
        if schema.pixels is None:
            raise ConfigError(
                f"a {type(self).__name__} gives pixels a class: the schema must name them (schema.pixels)"
            )
        if len(schema.pixels) < 2 and not schema.overlap:
            raise ConfigError(f"the pixels have one class ({', '.join(schema.pixels)}): there is nothing to tell apart")
        self.classes = len(schema.pixels)
        self.loss = PixelLoss(loss, schema.pixels, class_weights or {}, schema.overlap)

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        """Pictures [B, C, H, W] to logits [B, K, h, w] by head; while predicting `LOGITS` is enough."""
        raise NotImplementedError

    def forward(self, batch: ImageBatch) -> Outputs:
        """ "logits" [B, K, H, W], at the batch's resolution."""
        return {LOGITS: resize_logits(self.heads(batch.image)[LOGITS], batch.image.shape[2:])}

    def target(self, truth: Scene) -> Tensor:
        """The true classes [H, W], void where nothing is said; [K, H, W] of 0, 1 and void where they overlap.

        Raises DataError for a picture without a segmentation.
        """
        if truth.segmentation is None:
            raise DataError(f"{truth.name}: nothing says what classes its pixels have")
        return truth.segmentation

    def stack(self, targets: Sequence[Tensor], batch: ImageBatch) -> Tensor:
        """The targets of a batch as one tensor int64 [B, H, W] (or [B, K, H, W]), void where pictures are padded."""
        return stack_padded(targets, batch.image.shape[2:], VOID).to(batch.image.device).long()

    def losses(self, batch: ImageBatch, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """Each loss of each head, over the pixels of which something is true."""
        target = self.stack(targets, batch)
        found: dict[str, Tensor] = {}
        for head, logits in self.heads(batch.image).items():
            logits = logits.float().contiguous()  # class by class, as the losses read it: a third of the time
            parts = self.loss(resize_logits(logits, target.shape[-2:]), target)
            prefix = "" if head == LOGITS else f"{head} "
            found |= {prefix + name: value * self.head_weights[head] for name, value in parts.items()}
        return found

    def postprocess(self, outputs: Outputs, batch: ImageBatch) -> list[Scene]:
        """The likeliest class of each pixel of the original picture; each class that is likely where they overlap."""
        scenes = []
        for row, (size, original) in enumerate(zip(batch.sizes, batch.originals, strict=True)):
            logits = outputs[LOGITS][row : row + 1, :, : size[0], : size[1]].float()
            logits = resize_logits(logits, original)[0]
            classes = logits > 0 if self.schema.overlap else logits.argmax(0)
            scenes.append(Scene(original, segmentation=classes.to(torch.uint8).cpu()))
        return scenes

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each class at each place, [B, K, H, W]."""
        return logits.sigmoid() if self.schema.overlap else logits.softmax(1)

    def as_logits(self, probabilities: Tensor) -> Tensor:
        """The other way: logits whose probabilities these are."""
        if self.schema.overlap:
            return probabilities.logit(LEAST)
        return probabilities.clamp(min=LEAST).log()

    def named_rows(self) -> dict[str, Rows]:
        """By default every tensor of a layer called "logits" or ending so."""
        names = [name for name in self.state_dict() if ".".join(name.split(".")[:-1]).endswith(LOGITS)]
        return {name: Rows("pixels") for name in names}


def resize_logits(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits [B, K, h, w] at another resolution, bilinear."""
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)
