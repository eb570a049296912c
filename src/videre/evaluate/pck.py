"""Share of joints found near enough (PCK), of pictures of one person or of persons matched by their joints.

PCK (Yang & Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, 2013), with the torso as the measure, as on
the Leeds Sports Poses: a joint is found within .2 times the distance from the left shoulder to the right hip. PCKh (Andriluka
et al., 2D Human Pose Estimation, 2014): within .5 times the length of the head, here from neck to crown, where MPII has .6 of
the diagonal of a box around the head that other sets do not annotate; pelvis and thorax are not in its mean. Bodies without
shoulders and hips, as of animals, are measured by the long side of their box, as Yang & Ramanan's first form has it: within .1
times that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from videre.evaluate.intervals import Interval, number
from videre.evaluate.intervals import bootstrap as intervals_of
from videre.evaluate.section import Options, Undecided, flat
from videre.structures import Instances, Scene, Schema, Skeleton

if TYPE_CHECKING:
    from videre.data.dataset import Dataset
    from videre.draw.page import Section as PageSection
    from videre.evaluate.report import Report


@dataclasses.dataclass(frozen=True)
class Measure:
    """What near enough means.

    Args:
        name: "PCK@0.2 of the torso". at: share of the length. ends: of the length, any of the names each; (): the long side of the
            box.
        apart: joints that are listed, but are not in the mean.
    """

    name: str
    at: float
    ends: tuple[tuple[str, ...], ...] = ()
    apart: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """PCK or PCKh."""
        return self.name.partition("@")[0]

    def places(self, skeleton: Skeleton) -> list[int] | None:
        """Which joints the length runs between; None where the skeleton has them not."""
        found = [next((name for name in names if name in skeleton.names), None) for names in self.ends]
        return None if None in found else [skeleton.names.index(str(name)) for name in found]


PCK = Measure("PCK@0.2 of the torso", 0.2, (("left_shoulder",), ("right_hip",)))
PCK_BOX = Measure("PCK@0.1 of the box", 0.1)
PCKH = Measure("PCKh@0.5 of the head", 0.5, (("upper_neck", "neck"), ("head_top",)), ("pelvis", "thorax"))


@dataclasses.dataclass(frozen=True)
class PoseResult:
    """How many joints were found.

    Args:
        measure: what near enough is. skeleton: names the joints. found, labelled: bool [N, J], over true persons.
        baseline: PCK of the mean pose of these very persons, laid into each one's box: what is known without looking.
        intervals: by joint, and "mean".
    """

    measure: Measure
    skeleton: Skeleton
    found: np.ndarray
    labelled: np.ndarray
    baseline: float
    intervals: dict[str, Interval]

    @property
    def metrics(self) -> dict[str, float]:
        """PCK by joint, and their mean."""
        return summarise(self.measure, self.skeleton, self.found, self.labelled, np.ones(len(self.found)))

    def lines(self) -> list[str]:
        """The result as plain text."""
        numbers = [f"{name} {self.intervals.get(name) or number(value)}" for name, value in self.metrics.items()]
        first = (
            f"joints: {self.measure.name}, {len(self.found)} persons, {int(self.labelled.sum())} joints; the mean pose in each "
            f"box would have {number(self.baseline)}"
        )
        return [first, *(f"  {line}" for line in numbers)]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; what has no value is null."""
        return {
            "measure": self.measure.name,
            "persons": len(self.found),
            **flat({"baseline": self.baseline}),
            "pck": flat(self.metrics),
            "intervals": {
                name: list(flat({"low": i.low, "high": i.high}).values()) for name, i in self.intervals.items()
            },
        }


@dataclasses.dataclass(frozen=True)
class JointSection(Undecided):
    """Share of joints found, by PCK and PCKh, where persons have the joints to measure by."""

    poses: Sequence[PoseResult]

    @property
    def metrics(self) -> dict[str, float]:
        """The means; joints stand in the lines and the table."""
        return {pose.measure.short: pose.metrics["mean"] for pose in self.poses}

    @property
    def intervals(self) -> dict[str, Interval]:
        """Of the means."""
        return {pose.measure.short: pose.intervals["mean"] for pose in self.poses if "mean" in pose.intervals}

    @property
    def headline(self) -> list[str]:
        """All of them."""
        return list(self.metrics)

    def lines(self) -> list[str]:
        """As plain text."""
        return [line for pose in self.poses for line in pose.lines()]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers by measure."""
        return {pose.measure.short: pose.to_json() for pose in self.poses}

    def page(self, report: Report, data: Dataset) -> list[PageSection]:
        """A table and bars."""
        from videre.evaluate.joint_page import joint_sections

        return joint_sections(self)


class Joints:
    """The tally of joints, kept until all persons are there."""

    predicted = frozenset({"keypoints"})
    true = frozenset({"keypoints"})

    def __init__(self, schema: Schema, options: Options) -> None:
        self.schema, self.options = schema, options
        self.scenes: dict[int, tuple[Scene, Scene]] = {}

    def add(self, picture: int, prediction: Scene, truth: Scene) -> None:
        """Keep the joints of a picture."""
        self.scenes[picture] = (
            prediction.only({"keypoints"}),
            truth.only({"boxes", "keypoints", "visibility", "ignore"}),
        )

    def merge(self, other: Joints) -> None:
        """Take over another process's pictures."""
        self.scenes |= other.scenes

    def section(self, bootstrap: int) -> JointSection | None:
        """By every measure that the skeleton has the joints for; by the box where nobody has a torso."""
        if self.schema.skeleton is None or not self.scenes:
            return None
        predictions, truths = (list(side) for side in zip(*(self.scenes[i] for i in sorted(self.scenes)), strict=True))
        of = lambda measure: evaluate_pose(
            predictions,
            truths,
            self.schema.skeleton,
            measure,
            bootstrap=bootstrap,
            seed=self.options.seed,  # type: ignore[arg-type]
        )
        poses = [pose for pose in (of(PCK) or of(PCK_BOX), of(PCKH)) if pose is not None]
        return JointSection(poses) if poses else None


def evaluate_pose(
    predictions: Sequence[Scene],
    truths: Sequence[Scene],
    skeleton: Skeleton,
    measure: Measure = PCK,
    *,
    bootstrap: int = 500,
    seed: int = 0,
) -> PoseResult | None:
    """The joints found; None where the skeleton does not have what is measured by, or it is labelled of nobody.

    Each true person is compared with the prediction whose joints are nearest on average; one prediction may serve several
    persons, so that this measures joints, not detection.

    Args:
        predictions, truths: pixels of the pictures, in the same order.
    """
    ends = measure.places(skeleton)
    if ends is None:
        return None
    found, labelled, said, true, boxes = [], [], [], [], []
    for prediction, truth in zip(predictions, truths, strict=True):
        people = truth.instances
        if people is None or people.keypoints is None:
            continue
        for n in range(len(people)):
            points = people.keypoints[n].numpy().astype(float)
            seen = np.ones(len(points), bool) if people.visibility is None else people.visibility[n].numpy() > 0
            if (people.ignore is not None and bool(people.ignore[n])) or not seen[ends].all():
                continue
            if not seen.any():
                continue
            box = _box(points[seen])
            if ends:
                length = float(np.linalg.norm(points[ends[0]] - points[ends[1]]))
            else:
                length = float(
                    box[2:].max() if people.boxes is None else (people.boxes[n, 2:] - people.boxes[n, :2]).max()
                )
            nearest = _nearest(prediction.instances, points, seen)
            apart = np.full(len(points), np.inf) if nearest is None else np.linalg.norm(nearest - points, axis=1)
            found.append(seen & (apart <= measure.at * length))
            labelled.append(seen)
            said.append(measure.at * length)
            true.append(points)
            boxes.append(box)
    if not found:
        return None
    hits, known = np.array(found), np.array(labelled)
    baseline = _of_mean_pose(np.array(true), known, np.array(boxes), np.array(said))
    of = lambda drawn: summarise(measure, skeleton, hits, known, np.bincount(drawn, minlength=len(hits)))
    intervals = intervals_of(of, len(hits), bootstrap, seed)
    return PoseResult(measure, skeleton, hits, known, baseline, intervals)


def summarise(
    measure: Measure, skeleton: Skeleton, found: np.ndarray, labelled: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
    """The mean over joints, then each joint, person i counted weights[i] times; NaN for a joint that is never labelled."""
    count = weights @ labelled
    share = np.divide(weights @ found, count, out=np.full(len(count), math.nan), where=count > 0)
    counted = share[[name not in measure.apart for name in skeleton.names]]
    mean = math.nan if np.isnan(counted).all() else float(np.nanmean(counted))
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
    known = seen.sum(0)[:, None]
    mean = np.where(known > 0, (inside * seen[:, :, None]).sum(0) / np.maximum(known, 1), 0.5)
    laid = boxes[:, None, :2] + mean[None] * boxes[:, None, 2:]
    hit = (np.linalg.norm(laid - points, axis=2) <= limits[:, None]) & seen
    count = seen.sum(0)
    return float(np.mean(hit.sum(0)[count > 0] / count[count > 0]))
