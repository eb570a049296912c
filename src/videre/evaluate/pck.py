"""Share of joints found near enough (PCK), of pictures of one person or of persons matched by their joints.

Yang & Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, 2013, with the torso as the measure, as on the
Leeds Sports Poses: a joint is found within `at` times the distance from the left shoulder to the right hip.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from videre.evaluate.intervals import Interval, number
from videre.structures import Instances, Scene, Skeleton

AT = 0.2
TORSO = ("left_shoulder", "right_hip")


@dataclasses.dataclass(frozen=True)
class PoseResult:
    """How many joints were found.

    Args:
        skeleton: names the joints. found, labelled: bool [N, J], over true persons. at: of the length. length: in words.
        baseline: PCK of the mean pose of these very persons, laid into each one's box: what is known without looking.
        intervals: by joint, and "mean".
    """

    skeleton: Skeleton
    found: np.ndarray
    labelled: np.ndarray
    at: float
    length: str
    baseline: float
    intervals: dict[str, Interval]

    @property
    def metrics(self) -> dict[str, float]:
        """PCK by joint, and their mean."""
        return summarise(self.skeleton, self.found, self.labelled, np.ones(len(self.found)))

    def lines(self) -> list[str]:
        """The result as plain text."""
        told = [f"{name} {self.intervals.get(name) or number(value)}" for name, value in self.metrics.items()]
        first = (
            f"joints: PCK@{self.at:g} of the {self.length}, {len(self.found)} persons, {int(self.labelled.sum())} joints; the mean "
            f"pose in each box would have {number(self.baseline)}"
        )
        return [first, *(f"  {line}" for line in told)]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        clean = lambda v: None if math.isnan(v) else v
        return {
            "at": self.at, "length": self.length, "persons": len(self.found), "baseline": clean(self.baseline),
            "pck": {name: clean(value) for name, value in self.metrics.items()},
            "intervals": {name: [clean(i.low), clean(i.high)] for name, i in self.intervals.items()},
        }  # fmt: skip


def evaluate_pose(
    predictions: Sequence[Scene], truths: Sequence[Scene], skeleton: Skeleton, *, at: float = AT, bootstrap: int = 500,
    seed: int = 0,
) -> PoseResult | None:  # fmt: skip
    """PCK of predicted joints; None where the skeleton has no torso to measure by, or nobody's is labelled.

    Each true person is compared with the prediction whose joints are nearest on average; one prediction may serve several
    persons, so that this measures joints, not detection.

    Args:
        predictions, truths: pixels of the pictures, in the same order. at: of the torso.
    """
    if not set(TORSO) <= set(skeleton.names):
        return None
    ends = [skeleton.names.index(name) for name in TORSO]
    found, labelled, said, true, boxes = [], [], [], [], []
    for prediction, truth in zip(predictions, truths):
        people = truth.instances
        if people is None or people.keypoints is None:
            continue
        for n in range(len(people)):
            points = people.keypoints[n].numpy().astype(float)
            seen = np.ones(len(points), bool) if people.visibility is None else people.visibility[n].numpy() > 0
            if (people.ignore is not None and bool(people.ignore[n])) or not seen[ends].all():
                continue
            torso = float(np.linalg.norm(points[ends[0]] - points[ends[1]]))
            nearest = _nearest(prediction.instances, points, seen)
            apart = np.full(len(points), np.inf) if nearest is None else np.linalg.norm(nearest - points, axis=1)
            found.append(seen & (apart <= at * torso))
            labelled.append(seen)
            said.append(torso)
            true.append(points)
            boxes.append(_box(points[seen]))
    if not found:
        return None
    hits, known = np.array(found), np.array(labelled)
    baseline = _of_mean_pose(np.array(true), known, np.array(boxes), np.array(said) * at)
    rng, count = np.random.default_rng(seed), len(hits)
    of = lambda weights: summarise(skeleton, hits, known, weights)
    drawn = [list(of(np.bincount(rng.integers(0, count, count), minlength=count)).values()) for _ in range(bootstrap)]
    edges = np.nanquantile(np.array(drawn), [0.025, 0.975], axis=0) if drawn else np.empty((2, 0))
    whole = of(np.ones(count))
    intervals = {n: Interval(v, *map(float, edges[:, i])) for i, (n, v) in enumerate(whole.items())} if drawn else {}
    return PoseResult(skeleton, hits, known, at, "torso", baseline, intervals)


def summarise(skeleton: Skeleton, found: np.ndarray, labelled: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """The mean over joints, then each joint, person i counted weights[i] times; NaN for a joint that is never labelled."""
    count = weights @ labelled
    share = np.divide(weights @ found, count, out=np.full(len(count), math.nan), where=count > 0)
    mean = math.nan if np.isnan(share).all() else float(np.nanmean(share))
    return {"mean": mean, **{name: float(value) for name, value in zip(skeleton.names, share)}}


def _nearest(things: Instances | None, points: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """The joints [J, 2] of the predicted person that lies nearest; None where there is none."""
    if things is None or things.keypoints is None or not len(things):
        return None
    said = things.keypoints.numpy().astype(float)
    return said[np.linalg.norm(said[:, seen] - points[seen], axis=2).mean(1).argmin()]


def _box(points: np.ndarray) -> np.ndarray:
    """x1, y1, width, height of some joints, at least a pixel."""
    low = points.min(0)
    return np.concatenate([low, np.maximum(points.max(0) - low, 1)])


def _of_mean_pose(points: np.ndarray, seen: np.ndarray, boxes: np.ndarray, limits: np.ndarray) -> float:
    inside = (points - boxes[:, None, :2]) / boxes[:, None, 2:]
    inside[~seen] = np.nan
    with np.errstate(invalid="ignore"):
        mean = np.nanmean(inside, axis=0) if seen.any(0).all() else np.nan_to_num(np.nanmean(inside, axis=0), nan=0.5)
    laid = boxes[:, None, :2] + mean[None] * boxes[:, None, 2:]
    hit = (np.linalg.norm(laid - points, axis=2) <= limits[:, None]) & seen
    count = seen.sum(0)
    return float(np.mean(hit.sum(0)[count > 0] / count[count > 0]))
