"""The stated rule that fills weights of torchvision's detectors of one stage for videre and for the peer; pictures and truths are
`rule.py`'s. Needs only numpy."""

from __future__ import annotations

import zlib

import numpy as np

KINDS = ("retinanet", "retinanet_v2", "ssd300", "ssdlite320")
CLASSES = 90
PRIOR = {"retinanet": -6.0, "retinanet_v2": -7.0, "ssd300": 0.0, "ssdlite320": 0.0}
"""Bias of every class's logit (RetinaNet), or of the background's (SSD), so that tens of detections remain."""
BACKGROUND = {"ssd300": 6.0, "ssdlite320": 6.0}
GAIN = {"retinanet": 0.2, "retinanet_v2": 2.0, "ssd300": 0.06, "ssdlite320": 0.5}
"""Of the last layers, so that logits spread over one or two."""
LAST = ("cls_logits", "bbox_reg", "head.classification_head.module_list", "head.regression_head.module_list")


def fill(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """The values of a tensor of torchvision's, by its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    normal = lambda scale: (rng.standard_normal(shape) * scale).astype(np.float32)
    if name.endswith("running_var"):
        return rng.uniform(0.9, 1.1, shape).astype(np.float32)
    if name.endswith("running_mean"):
        return normal(0.05)
    if name.endswith("scale_weight"):
        return rng.uniform(18, 22, shape).astype(np.float32)
    if len(shape) == 1 and name.endswith("weight"):  # a norm's
        return (rng.uniform(0.9, 1.1, shape) * (0.3 if ".bn3." in name else 1)).astype(np.float32)
    last = any(part in name for part in LAST)
    if name.endswith("bias"):
        bias = normal(0.05)
        if "cls_logits" in name:
            bias += PRIOR[kind]
        if "classification_head.module_list" in name and shape[0] % (CLASSES + 1) == 0:
            bias.reshape(-1, CLASSES + 1)[:, 0] = BACKGROUND[kind]
        return bias
    followed_by_relu = not last and "fpn" not in name
    fan_in = int(np.prod(shape[1:]))
    return normal((GAIN[kind] if last else 1) * ((2 if followed_by_relu else 1) / fan_in) ** 0.5)
