"""Multi-scale features: one net on three scales of a Laplacian pyramid, joined at every place.

Farabet, Couprie, Najman and LeCun, Learning Hierarchical Features for Scene Labeling, 2013. The weights are dense where the
paper connects each map to a random subset, and net and classifier are trained together.

    model = Multiscale(Schema(pixels=Categories.of(["road", "car"])), superpixels=True)
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.models.base import Outputs
from videre.models.segment.segmenter import LOGITS, Segmenter, resize_logits
from videre.structures import ImageBatch, Preprocess, Schema

SCALES = 3
NEIGHBOURS = 15
"""Side of the neighbourhood in which each band gets mean 0 and spread 1."""
YUV = ((0.299, 0.587, 0.114), (-0.14713, -0.28886, 0.436), (0.615, -0.51499, -0.10001))
"""Rows Y, U, V of R, G, B (ITU-R BT.601)."""


class Multiscale(Segmenter):
    """Three scales through the same three convolutions.

    Args:
        schema, preprocess, loss, class_weights: see `Segmenter`. Pictures are RGB.
        width: channels of the first convolution; the next have 4 and 16 times as many. hidden: of the classifier.
        dropout: before the last layer.
        superpixels: give all pixels of a superpixel (Felzenszwalb & Huttenlocher, 2004) the class that is likeliest on
            average in it.
    """

    yuv: Tensor
    usual = Preprocess(short_side=None, long_side=None, divisor=16, mean=(0.0,) * 3, std=(1.0,) * 3)

    def __init__(
        self,
        schema: Schema,
        preprocess: Preprocess | None = None,
        *,
        width: int = 16,
        hidden: int = 1024,
        dropout: float = 0.5,
        superpixels: bool = False,
        loss: str = "cross_entropy",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__(schema, preprocess, loss, class_weights)
        self.superpixels = superpixels
        self.register_buffer("yuv", torch.tensor(YUV)[:, :, None, None], persistent=False)
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 7, padding=3),
            nn.Tanh(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(width, 4 * width, 7, padding=3),
            nn.Tanh(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(4 * width, 16 * width, 7, padding=3),
        )
        self.hidden = nn.Sequential(nn.Conv2d(SCALES * 16 * width, hidden, 1), nn.Tanh(), nn.Dropout(dropout))
        self.logits = nn.Conv2d(hidden, self.classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def heads(self, image: Tensor) -> dict[str, Tensor]:
        bands = [normalised(band) for band in pyramid(F.conv2d(image, self.yuv))]
        maps = [self.net(band) for band in bands]
        joined = torch.cat([resize_logits(x, maps[0].shape[2:]) for x in maps], 1)
        return {LOGITS: self.logits(self.hidden(joined))}

    def decode(self, outputs: Outputs, batch: ImageBatch) -> Outputs:
        """The logits after the vote of the superpixels, where there are any."""
        if not self.superpixels:
            return outputs
        voted = self.probabilities(outputs[LOGITS].float()).cpu()
        for row, (height, width) in enumerate(batch.sizes):
            picture = batch.image[row, :, :height, :width].permute(1, 2, 0).float().cpu().numpy()
            voted[row, :, :height, :width] = vote(voted[row, :, :height, :width], picture)
        return {**outputs, LOGITS: self.as_logits(voted)}


def pyramid(image: Tensor) -> list[Tensor]:
    """The bands [B, C, H / 2^s, W / 2^s] of a Laplacian pyramid: each scale less what the next one knows of it."""
    bands = []
    for _ in range(SCALES - 1):
        smaller = F.avg_pool2d(image, 2, ceil_mode=True)
        bands.append(image - resize_logits(smaller, image.shape[2:]))
        image = smaller
    return [*bands, image]


def normalised(band: Tensor) -> Tensor:
    """Mean 0 and spread 1 in the neighbourhood of every pixel; spreads below the picture's mean spread are left small."""
    along = lambda x, kernel: F.avg_pool2d(x, kernel, 1, [k // 2 for k in kernel], count_include_pad=False)
    mean_of = lambda x: along(along(x, [NEIGHBOURS, 1]), [1, NEIGHBOURS])
    centred = band - mean_of(band)
    spread = mean_of(centred.square()).clamp(min=1e-8).sqrt()
    return centred / torch.maximum(spread, spread.mean((2, 3), keepdim=True).clamp(min=1e-4))


def vote(probabilities: Tensor, picture: np.ndarray) -> Tensor:
    """Each pixel's probabilities [K, H, W] replaced by their mean over its superpixel of a picture [H, W, 3] in [0, 1]."""
    from skimage.segmentation import felzenszwalb

    parts = torch.from_numpy(felzenszwalb(picture, scale=100, sigma=0.8, min_size=20)).flatten()
    count = int(parts.max()) + 1
    sums = torch.zeros(len(probabilities), count).index_add_(1, parts, probabilities.flatten(1))
    means = sums / parts.bincount(minlength=count)
    return means[:, parts].view_as(probabilities)
