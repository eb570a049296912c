"""Ranges of a detector's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from videre.errors import ConfigError

RANGES = {
    "anchor_sizes": (1e-3, math.inf),
    "anchor_ratios": (1e-3, 1e3),
    "rpn_pre_nms": (1, math.inf),
    "rpn_post_nms": (1, math.inf),
    "rpn_nms": (0, 1),
    "rpn_batch": (1, math.inf),
    "rpn_positive": (0, 1),
    "roi_batch": (1, math.inf),
    "roi_positive": (0, 1),
    "resolution": (1, math.inf),
    "sampling_ratio": (0, math.inf),
    "score_threshold": (0, 1),
    "nms": (0, 1),
    "max_detections": (1, math.inf),
    "width": (1, math.inf),
    "hidden": (1, math.inf),
    "class_weights": (0, math.inf),
    "multiplier": (0.01, 100),
    "norm_eps": (0, 1),
    "background_low": (0, 0.5),
    "scales": (0.01, 100),
    "ranks": (0, math.inf),
    "layers": (0, math.inf),
    "match": (0, 1),
    "bins": (1, math.inf),
    "hard": (0, math.inf),
    "candidates": (1, math.inf),
    "negatives": (0, math.inf),
    "octaves": (1, math.inf),
    "low": (0, 1),
    "high": (0, 1),
    "alpha": (-1, 1),
    "gamma": (0, math.inf),
}
"""Least and most of each number of a detector's settings, both allowed."""


def check_ranges(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting out of its range, before anything is built or trained."""
    for name, (least, most) in RANGES.items():
        value = config.get(name)
        several = value.values() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else [value]
        for number in several:
            if number is not None and not least <= number <= most:
                limit = f"at least {least:g}" if most == math.inf else f"within {least:g} and {most:g}"
                raise ConfigError(f"{name} must be {limit}, found {number}")
    for name in ("rpn_pre_nms", "rpn_post_nms"):
        if len(config.get(name, (0, 0))) != 2:
            raise ConfigError(f"{name} takes two numbers, for training and for prediction, found {list(config[name])}")
