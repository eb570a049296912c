"""Weights, pictures and truths drawn by a rule, so that an untrained detector works as hard as a trained one.

Activations stay of order one through the net, logits spread over some units, and tens of detections remain.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from videre.models.base import Model
from videre.structures import Instances, Scene

GAIN = {"rpn.deltas": 0.25, "box_head.scores": 0.8, "mask_head.logits": 2.0, "head.logits": 0.5, "head.deltas": 0.2}
"""Factors on the spread of a layer's weights: small moves, and scores that differ."""
LINEAR = ("neck.", "rpn.objectness", "rpn.deltas", "box_head.scores", "box_head.deltas", "logits", "head.deltas")
"""Layers that no ReLU follows."""
BACKGROUND = {"faster-rcnn": 11.0, "mask-rcnn": 11.0, "keypoint-rcnn": 7.5, "retinanet": 11.2}
"""Bias of the background's logit, or how far down all others are where there is none, chosen so that 40 to 90 detections remain on `picture((480, 640))`."""


def draw_weights(model: Model, background: float) -> None:
    """Fill a detector: each tensor by a generator seeded with its name."""
    for name, value in model.state_dict().items():
        name = name.removeprefix("detector.")
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        value.copy_(torch.from_numpy(np.asarray(_draw(name, tuple(value.shape), rng))))
        if name == "box_head.scores.bias":
            value[-1] = background
        elif name == "head.logits.bias":
            value -= background


def _draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    normal = lambda scale: (rng.standard_normal(shape) * scale).astype(np.float32)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        # the last norm of a block is small: the sums of a deep net would grow otherwise
        return rng.uniform(0.9, 1.1, shape).astype(np.float32) * (0.3 if name.endswith("bn3.weight") else 1)
    if len(shape) == 1:
        return normal(0.3 if name == "box_head.scores.bias" else 0.05)
    inputs = shape[0] * 4 if "upsample" in name else int(np.prod(shape[1:]))
    gain = next((gain for part, gain in GAIN.items() if part in name), 1.0)
    return normal(gain * ((1 if any(part in name for part in LINEAR) else 2) / inputs) ** 0.5)


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A float32 picture [H, W, 3] in [0, 1]: soft blobs of colour and some sharp boxes."""
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.full((height, width, 3), 0.45, np.float32)
    for _ in range(40):
        cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(8, 60)
        blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * radius**2)).astype(np.float32)
        image += blob[:, :, None] * rng.uniform(-0.35, 0.35, 3).astype(np.float32)
    for _ in range(12):
        top, left = rng.integers(0, max(height - 30, 1)), rng.integers(0, max(width - 30, 1))
        image[top : top + rng.integers(10, 90), left : left + rng.integers(10, 90)] = rng.uniform(0, 1, 3)
    return np.clip(image, 0, 1)


def truth(size: tuple[int, int], classes: int, seed: int = 0) -> Scene:
    """Six boxes with labels, of a fifth to a half of the picture's sides."""
    rng = np.random.default_rng(seed)
    sides = np.array([size[1], size[0]])
    low = rng.uniform(0, 0.5, (6, 2)) * sides
    boxes = np.concatenate([low, low + rng.uniform(0.2, 0.5, (6, 2)) * sides], 1)
    labels = torch.from_numpy(rng.integers(0, classes, 6))
    return Scene(size, Instances(boxes=Tensor(boxes), labels=labels))
