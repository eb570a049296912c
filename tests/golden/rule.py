"""The stated rule that fills weights, pictures and truths alike for videre and for the peer. Needs only numpy.

Every tensor is drawn by a generator seeded with its name, then scaled so that activations stay of order one, logits
spread over .1 to 10, and tens of detections remain.
"""

from __future__ import annotations

import zlib

import numpy as np

CLASSES = 90
SIZE = (240, 320)
SHORT, LONG = 400, 640
"""The picture becomes 400x533, padded to 416x544, where the last level's stride is 59, not 64."""

GAIN = {
    "rpn.head.cls_logits.weight": 1.0,
    "rpn.head.bbox_pred.weight": 0.25,
    "roi_heads.box_predictor.cls_score.weight": 0.8,
    "roi_heads.box_predictor.bbox_pred.weight": 1.0,
    "roi_heads.mask_predictor.mask_fcn_logits.weight": 2.0,
    "roi_heads.keypoint_predictor.kps_score_lowres.weight": 1.0,
}
BACKGROUND = {"fasterrcnn": 7.0, "maskrcnn": 7.0, "keypointrcnn": 3.0}
"""Bias of the background's logit, found by bisection so that 40 to 90 detections remain."""


def fill(name: str, shape: tuple[int, ...], model: str) -> np.ndarray:
    """The values of a tensor of torchvision's, by its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    normal = lambda scale: (rng.standard_normal(shape) * scale).astype(np.float32)
    if name.endswith("running_var"):
        return rng.uniform(0.9, 1.1, shape).astype(np.float32)
    if ".bn" in name or "downsample.1" in name:
        if name.endswith("weight"):
            return (rng.uniform(0.9, 1.1, shape) * (0.3 if ".bn3." in name else 1)).astype(np.float32)
        return normal(0.05)
    if name == "roi_heads.box_predictor.cls_score.bias":
        bias = normal(0.3)
        bias[0] = BACKGROUND[model]
        return bias
    if name.endswith("bias"):
        return normal(0.05)
    fan_in = int(np.prod(shape[1:])) if "conv5_mask" not in name and "kps_score" not in name else shape[0] * 4
    followed_by_relu = not any(part in name for part in ("fpn", "predictor", "cls_logits", "bbox_pred"))
    return normal(GAIN.get(name, 1.0) * ((2 if followed_by_relu else 1) / fan_in) ** 0.5)


def picture(seed: int = 0) -> np.ndarray:
    """A float32 picture [H, W, 3] in [0, 1]: soft blobs of colour and some sharp boxes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    image = np.full((*SIZE, 3), 0.45, np.float32)
    for _ in range(40):
        cy, cx, radius = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1]), rng.uniform(8, 60)
        blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * radius**2)).astype(np.float32)
        image += blob[:, :, None] * rng.uniform(-0.35, 0.35, 3).astype(np.float32)
    for _ in range(12):
        top, left = rng.integers(0, SIZE[0] - 30), rng.integers(0, SIZE[1] - 30)
        image[top : top + rng.integers(10, 90), left : left + rng.integers(10, 90)] = rng.uniform(0, 1, 3)
    return np.clip(image, 0, 1)


def truth() -> dict[str, np.ndarray]:
    """Boxes [N, 4], labels [N] (0..K-1), bitmaps [N, H, W], keypoints [N, 17, 3] (x, y, visible) inside the boxes."""
    rng = np.random.default_rng(1)
    low = rng.uniform([0, 0], [SIZE[1] - 100, SIZE[0] - 100], (6, 2))
    boxes = np.concatenate([low, low + rng.uniform(25, 95, (6, 2))], 1).astype(np.float32)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    bitmaps = np.stack(
        [
            ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 <= 0.25
            for x1, y1, x2, y2 in boxes
        ]
    )
    points = boxes[:, None, :2] + rng.uniform(0.05, 0.95, (6, 17, 2)) * (boxes[:, None, 2:] - boxes[:, None, :2])
    visible = rng.integers(0, 3, (6, 17, 1))
    keypoints = np.concatenate([points, visible], 2).astype(np.float32)
    return {"boxes": boxes, "labels": rng.integers(0, CLASSES, 6), "bitmaps": bitmaps, "keypoints": keypoints}
