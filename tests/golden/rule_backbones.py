"""The stated rule that fills classifiers' weights and inputs alike for videre and for the peers. Needs only numpy."""

from __future__ import annotations

import zlib

import numpy as np

CLASSES = 50
SIZE = 171
"""Side of the pictures: odd on the way down, so that a padding on the wrong side shows; small, so that it is quick."""
BN_SIZE = 192
"""For the Caffe net, whose branches only meet again where sides are multiples of 32."""
GAIN = {"classifier.weight": 4.0}
"""Of MobileNet's last layer: what it reads differs less from picture to picture than it does in the others."""


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a tensor by its name: second moments are kept from layer to layer (He's rule)."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return rng.uniform(0.9, 1.1, shape).astype(np.float32)
    if len(shape) == 1:  # biases, running means
        return (rng.standard_normal(shape) * 0.05).astype(np.float32)
    return (rng.standard_normal(shape) * GAIN.get(name, 1.0) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)


def pictures(side: int) -> np.ndarray:
    """Two pictures [2, 3, side, side]: coarse noise, and slanting waves, a colour each."""
    rng = np.random.default_rng(0)
    noise = np.repeat(np.repeat(rng.standard_normal((3, side // 9 + 1, side // 9 + 1)), 9, 1), 9, 2)[:, :side, :side]
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([1.5 * np.sin(40 * x + 13 * y), np.cos(9 * x - 70 * y), x - 2 * y])
    return np.stack([noise, waves]).astype(np.float32)
