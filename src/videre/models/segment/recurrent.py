"""A recurrent convolutional net: the same small net again and again, each time seeing its own probabilities.

Pinheiro and Collobert, Recurrent Convolutional Neural Networks for Scene Labeling, 2014. Each further instance sees farther at
no further weight. Here every instance works at the picture's resolution by dilation (as in `sliding_window`), where the
paper rescales the picture between instances; the context so grows by 24 pixels an instance.

    model = RecurrentCNN(Schema(pixels=Categories.of(["road", "car"])), instances=3)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.models.segment.segmenter import LOGITS, Segmenter
from videre.models.segment.sliding_window import framed
from videre.structures import Preprocess, Schema

WINDOW = 25
"""Pixels that one instance sees: 8x8, pool, 8x8 at every second, pool."""


class RecurrentCNN(Segmenter):
    """Instances of one net, in a row.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        width: channels of the first convolution; the second has twice as many. instances: how often the net runs.
    """

    usual = Preprocess(short_side=None, long_side=None, divisor=1)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        width: int = 25,
        instances: int = 2,
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        if instances < 1:
            raise ConfigError(f"instances must be at least 1, found {instances}")
        self.instances = instances
        self.head_weights = {LOGITS: 1.0, **{f"instance {n}": 1.0 for n in range(1, instances)}}
        self.net = nn.Sequential(
            nn.Conv2d(len(self.preprocess.mean) + self.classes, width, 8),
            nn.Tanh(),
            nn.MaxPool2d(2, 1),
            nn.Conv2d(width, 2 * width, 8, dilation=2),
            nn.Tanh(),
            nn.MaxPool2d(2, 1, dilation=2),
            nn.Conv2d(2 * width, self.classes, 1),
        )
        for layer in self.net:
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        """The last instance's, and in training each one's: the loss is the sum over all."""
        probabilities = image.new_zeros(len(image), self.classes, *image.shape[2:])
        found = {}
        for n in range(1, self.instances + 1):
            logits = self.net(framed(torch.cat([image, probabilities], 1), WINDOW))
            found[LOGITS if n == self.instances else f"instance {n}"] = logits
            probabilities = self.probabilities(logits)
        return found if self.training else {LOGITS: found[LOGITS]}
