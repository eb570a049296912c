"""The stated rule that fills classifiers' weights and pictures alike for videre and for the peers, and the cases that
are compared. Needs only numpy.

A case more: a line here, and the peer's net in `make_classifiers.py`.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

CLASSES = 100
EVEN, ODD = (224, 224), (161, 203)
DRAWN = 1000003
"""So many numbers of a tensor are drawn, then they come again: hundreds of millions would take longer than the test. It
is a prime, so that no two rows are equal."""

CASES: dict[str, tuple[str, dict[str, Any], tuple[tuple[int, int], ...]]] = {
    "alexnet": ("alexnet", {}, (EVEN, ODD)),
    # torchvision's pools drop the rest of an odd side, ours keep it: no odd size
    "vgg16": ("vgg16", {}, (EVEN,)),
    "vgg11_bn": ("vgg11_bn", {}, ((96, 160),)),
    "resnet50": ("resnet50", {}, (EVEN, ODD)),
    "resnet50 at stride 8": ("resnet50", {"output_stride": 8}, (ODD,)),
    "resnet101": ("resnet101", {}, (EVEN,)),
    "mobilenet_v2": ("mobilenet_v2", {}, (EVEN, ODD)),
    "mobilenet_v3_large": ("mobilenet_v3_large", {}, (EVEN, ODD)),
}
"""Case: the backbone's name, its options, the heights and widths of pictures."""


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a tensor by its published name: second moments are kept from layer to layer (He's rule), residual
    branches of three convolutions add a tenth of what they are added to, and logits are kept small."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return (rng.uniform(0.9, 1.1, shape) * (0.3 if ".bn3.weight" in name else 1)).astype(np.float32)
    if len(shape) == 1:  # biases, running means
        return (rng.standard_normal(shape) * 0.05).astype(np.float32)
    gain = 0.4 if shape[0] == CLASSES else 1.0
    if name == "classifier.3.weight" and shape[0] == CLASSES:  # MobileNetV3's: its hard swish and excitations grow
        gain = 0.02
    drawn = rng.standard_normal(min(int(np.prod(shape)), DRAWN), np.float32)
    return np.resize(drawn * np.float32(gain * (2 / np.prod(shape[1:])) ** 0.5), shape)


def pictures(size: tuple[int, int]) -> np.ndarray:
    """Two pictures [2, 3, H, W], normalised: coarse noise, and slanting waves, a colour each."""
    rng = np.random.default_rng(0)
    height, width = size
    coarse = rng.standard_normal((3, height // 9 + 1, width // 9 + 1))
    noise = coarse.repeat(9, 1).repeat(9, 2)[:, :height, :width]
    y, x = np.mgrid[:height, :width] / 100
    waves = np.stack([1.5 * np.sin(40 * x + 13 * y), np.cos(9 * x - 70 * y), x - 2 * y])
    return np.stack([noise, waves]).astype(np.float32)


def key(case: str, size: tuple[int, int]) -> str:
    """The name of a case's logits in classifiers.npz."""
    return f"{case}, {size[0]}x{size[1]}"
