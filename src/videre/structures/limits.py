"""Limits: how many things a model gives, and from which score on."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Read by the net and by postprocess alike; set once, on `Model.limits`.

    Args:
        score_threshold: least score of what is given. max_detections: most things a picture; None: no limit.
    """

    score_threshold: float = 0.0
    max_detections: int | None = None

    def lifted(self, wanted: int | None) -> Limits:
        """With room for `wanted` things at least."""
        if wanted is None or self.max_detections is None:
            return self
        return dataclasses.replace(self, max_detections=max(self.max_detections, wanted))

    def __str__(self) -> str:
        if self.max_detections is None:
            return ""
        return f"the model gives at most {self.max_detections} a picture, scores above {self.score_threshold:g}"
