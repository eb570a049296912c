"""Sliding window: the class of a pixel from the patch around it; and the same net computed once for all patches.

Neighbouring patches share nearly all of their pixels. A net without padding inside can run on the whole picture: each
convolution stays, each stride becomes a dilation of what follows, the fully connected layer becomes a convolution. The
answers are the patches' own, to rounding (`tests/models/test_segment_nets.py`); Sermanet et al., OverFeat, 2014, have it for
strided outputs, Giusti et al., Fast Image Scanning with Deep Max-Pooling Convolutional Neural Networks, 2013, for all.

    model = SlidingWindow(Schema(pixels=Categories.of(["road", "car"])))
    model.by_patches(image)                       # the slow way: the same numbers as model.dense(image)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.layers.conv import initialise
from videre.layers.losses import mean_count
from videre.models.base import picture_generators
from videre.models.segment.segmenter import LOGITS, Segmenter
from videre.structures import ImageBatch, Preprocess, Schema
from videre.structures.scene import VOID

WINDOW = 44
"""Side of a patch: with it both pools come out even."""
PATCHES = 1024
"""Patches that run at once, the slow way."""


class SlidingWindow(Segmenter):
    """A patch net of three convolutions, two pools and two fully connected layers.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`.
        width: channels of the first convolution; the next have two and four times as many. hidden: of the layer after.
        samples: pixels of each picture that a training step takes, as many of each class that is there; 0: all of
            them, in the dense form. dropout: before the last layer.
    """

    usual = Preprocess(short_side=None, long_side=None, divisor=1)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        width: int = 32,
        hidden: int = 256,
        samples: int = 256,
        dropout: float = 0.5,
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        if samples and loss != "cross_entropy":
            raise ConfigError(f"loss={loss} looks at whole pictures: set samples=0, which trains the dense form")
        if samples and schema.overlap:
            raise ConfigError(
                "classes that overlap are trained at every pixel: set samples=0, which trains the dense form"
            )
        self.net = patch_net(len(self.preprocess.mean), width, hidden, self.classes, dropout)
        self.samples = samples
        initialise(self.net, "fan_in")

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        return {LOGITS: self.dense(image)}

    def dense(self, image: Tensor) -> Tensor:
        """Logits [B, K, H, W] of all pixels, each layer computed once."""
        return self.net(framed(image, WINDOW))

    def by_patches(self, image: Tensor) -> Tensor:
        """The same, patch by patch."""
        patches = F.unfold(framed(image, WINDOW), WINDOW)  # (B, C * side * side, H * W)
        rows = patches.transpose(1, 2).reshape(-1, image.shape[1], WINDOW, WINDOW)
        logits = torch.cat([run_strided(self.net, part).flatten(1) for part in rows.split(PATCHES)])
        return (
            logits.view(len(image), -1, self.classes).transpose(1, 2).view(len(image), self.classes, *image.shape[2:])
        )

    def losses(self, batch: ImageBatch, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """ "cross_entropy" of the chosen pixels' patches; without `samples` as every segmenter's."""
        if not self.samples:
            return super().losses(batch, targets)
        target = self.stack(targets, batch)
        image = framed(batch.image, WINDOW)
        patches, labels = [], []
        for row, generator in enumerate(picture_generators(batch)):
            for y, x in balanced_pixels(target[row].cpu(), self.samples, generator).tolist():
                patches.append(image[row, :, y : y + WINDOW, x : x + WINDOW])
                labels.append(int(target[row, y, x]))
        if not patches:
            return {"cross_entropy": sum(p.sum() for p in self.parameters()) * 0.0}  # type: ignore[dict-item]
        logits, label = (
            run_strided(self.net, torch.stack(patches)).flatten(1).float(),
            torch.tensor(labels, device=image.device),
        )
        weight = self.loss.weights[label]
        each = F.cross_entropy(logits, label, reduction="none") * weight
        return {"cross_entropy": each.sum() / mean_count(float(weight.sum()), logits)}


def patch_net(channels: int, width: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    """44 pixels to 1: 5x5, pool, 5x5, pool, 3x3, and two layers that see all 6x6 that are left; in the dense form."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 5),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(width, 2 * width, 5, dilation=2),
        nn.ReLU(),
        nn.MaxPool2d(2, 1, dilation=2),
        nn.Conv2d(2 * width, 4 * width, 3, dilation=4),
        nn.ReLU(),
        nn.Conv2d(4 * width, hidden, 6, dilation=4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(hidden, classes, 1),
    )


def run_strided(net: nn.Sequential, x: Tensor) -> Tensor:
    """A dense net on patches, as it is without the dilations: a pool moves by its own side, and what follows is not dilated."""
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            x = F.conv2d(x, layer.weight, layer.bias)
        elif isinstance(layer, nn.MaxPool2d):
            x = F.max_pool2d(x, layer.kernel_size)
        else:
            x = layer(x)
    return x


def framed(image: Tensor, window: int) -> Tensor:
    """Zeros around pictures [B, C, H, W], so that every pixel is the centre of a patch."""
    before, after = window // 2, window - 1 - window // 2
    return F.pad(image, (before, after, before, after))


def balanced_pixels(target: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Places [N, 2] (row, column) of at most `count` pixels, as many of each class that is there (Farabet et al., 2013)."""
    classes = [int(k) for k in target.unique() if k != VOID]
    chosen = []
    for k in classes:
        places = (target == k).nonzero()
        chosen.append(places[torch.randint(len(places), (max(1, count // len(classes)),), generator=generator)])
    return torch.cat(chosen) if chosen else torch.empty(0, 2, dtype=torch.int64)
