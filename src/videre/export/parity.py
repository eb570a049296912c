"""Does the file say what the model says? Both on the same pictures, detection by detection, or class by class."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from videre.engine.device import describe_processor
from videre.models.base import Model
from videre.predict.predictor import Predictor
from videre.structures import Instances, Scene

SCORES = 1e-4
"""Largest difference of a score."""
BOXES = 0.01
"""Largest difference of a box's edge, pixels; of the net's input, where the picture is larger."""
MASKS = 0.999
"""Least share of equal pixels among those that one of the two masks covers, over all masks of a picture."""
KEYPOINTS = 0.99
"""Least share of keypoints within `BOXES` pixels, or with a score that differs by less than `SCORES` of itself: of two
peaks as high as each other either may be taken."""
SAME = 1.0
"""Boxes of one class that differ by less, pixels, are one detection."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One picture: what both found, and how far that differs; None where there is nothing to compare."""

    name: str
    size: tuple[int, int]
    ours: int
    theirs: int
    matched: int
    scores: float | None
    boxes: float | None
    masks: float | None
    keypoints: float | None
    seconds_ours: float
    seconds_theirs: float
    problems: list[str]


@dataclasses.dataclass(frozen=True)
class Report:
    """All pictures, and the verdict."""

    file: str
    format: str
    pictures: list[Comparison]

    @property
    def problems(self) -> list[str]:
        """What is wrong, a line each, beginning with the picture."""
        return [f"{picture.name}: {problem}" for picture in self.pictures for problem in picture.problems]

    @property
    def passed(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        tolerance = {"scores": SCORES, "boxes": BOXES, "masks": MASKS, "keypoints": KEYPOINTS}
        rows = [dataclasses.asdict(picture) for picture in self.pictures]
        return {
            "file": self.file,
            "format": self.format,
            "processor": describe_processor(),
            "tolerance": tolerance,
            "passed": self.passed,
            "pictures": rows,
        }

    def to_markdown(self) -> str:
        lines = [
            f"# {self.file}: {'the same results' if self.passed else 'NOT the same results'}",
            "",
            f"The file, and the model as it was trained, on {describe_processor()}. Allowed: scores {SCORES:g}, boxes "
            f"{BOXES:g} px, {MASKS:.1%} of the masks' pixels equal, {KEYPOINTS:.0%} of the keypoints within {BOXES:g} px.",
            "",
            "| picture | size | model | file | matched | scores | boxes, px | masks | keypoints | s model | s file |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        show = lambda value, form: "" if value is None else format(value, form)
        for p in self.pictures:
            lines.append(
                f"| {p.name} | {p.size[0]} x {p.size[1]} | {p.ours} | {p.theirs} | {p.matched} | {show(p.scores, '.1e')} "
                f"| {show(p.boxes, '.1e')} | {show(p.masks, '.3%')} | {show(p.keypoints, '.2%')} | {p.seconds_ours:.3f} "
                f"| {p.seconds_theirs:.3f} |"
            )
        return "\n".join([*lines, *(["", *(f"- {problem}" for problem in self.problems)] if self.problems else []), ""])


def compare(
    model: Model,
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    pictures: Iterable[tuple[str, np.ndarray]],
    file: str,
    format: str,
) -> Report:
    """Run both on every picture, twice each; the faster time counts."""
    predictor = Predictor(model, "cpu", engine="plain")
    rows = []
    for name, picture in pictures:
        scene, seconds = _timed(functools.partial(predictor.predict, picture, threshold=0))
        found, seconds_theirs = _timed(functools.partial(run, picture))
        assert isinstance(scene, Scene)
        if scene.instances is None:
            row = compare_labels(scene, found)
        else:
            grown = max(scene.size) / max(model.preprocess.resized(scene.size))
            floor, most = model.limits.score_threshold, model.limits.max_detections or len(scene) + 1
            row = compare_picture(scene.instances, found, floor, most, BOXES * max(1.0, grown))
        rows.append(Comparison(name, scene.size, **row, seconds_ours=seconds, seconds_theirs=seconds_theirs))
    return Report(file, format, rows)


def compare_picture(
    ours: Instances, theirs: dict[str, np.ndarray], floor: float, most: int, near: float = BOXES
) -> dict[str, Any]:
    """The fields of a `Comparison` about what was found.

    A detection that only one side has is no problem where its score is within the tolerance of what decides that it is
    kept: the model's least score, or the last of the most detections that a picture may have.

    Args:
        ours, theirs: of the model and of the file. floor, most: least score and most detections. near: largest difference
            of edges and of keypoints, pixels.
    """
    assert ours.boxes is not None and ours.labels is not None and ours.scores is not None
    boxes, labels, scores = ours.boxes.numpy(), ours.labels.numpy(), ours.scores.numpy()
    pairs = pair_boxes(boxes, labels, theirs["boxes"], theirs["labels"])
    i, j = pairs[:, 0], pairs[:, 1]
    row: dict[str, Any] = {"ours": len(boxes), "theirs": len(theirs["boxes"]), "matched": len(pairs)}
    row |= {"scores": None, "boxes": None, "masks": None, "keypoints": None}
    problems = []
    for side, values, taken in (("model", scores, i), ("file", theirs["scores"], j)):
        last = max(floor, float(values.min())) if len(values) == most else floor
        alone = np.delete(values, taken)
        lost = alone[alone > last + SCORES]
        if len(lost):
            problems.append(f"{len(lost)} detections of the {side} alone, with scores up to {lost.max():.4f}")
    if len(pairs):
        row["scores"] = float(np.abs(scores[i] - theirs["scores"][j]).max())
        row["boxes"] = float(np.abs(boxes[i] - theirs["boxes"][j]).max())
        if row["scores"] > SCORES:
            problems.append(f"scores differ by {row['scores']:.1e}, allowed are {SCORES:g}")
        if row["boxes"] > near:
            problems.append(f"boxes differ by {row['boxes']:.3f} px, allowed are {near:.3g}")
        if ours.masks is not None:
            row["masks"] = _equal_pixels(ours.masks.bitmaps().numpy()[i], theirs["masks"][j])
            if row["masks"] < MASKS:
                problems.append(f"{row['masks']:.3%} of the masks' pixels are equal, {MASKS:.1%} must be")
        if ours.keypoints is not None:
            row["keypoints"] = _equal_keypoints(ours.select(torch.from_numpy(i)), theirs["keypoints"][j], near)
            if row["keypoints"] < KEYPOINTS:
                problems.append(
                    f"{row['keypoints']:.2%} of the keypoints are within {near:.3g} px, {KEYPOINTS:.0%} must be"
                )
    return row | {"problems": problems}


def compare_labels(ours: Scene, theirs: dict[str, np.ndarray]) -> dict[str, Any]:
    """The fields of a `Comparison` about the classes of a picture: each class has the same probability."""
    assert ours.labels is not None and ours.label_scores is not None
    by_label = dict(zip(theirs["labels"].tolist(), theirs["scores"].tolist()))
    known = [
        (score, by_label[k]) for k, score in zip(ours.labels.tolist(), ours.label_scores.tolist()) if k in by_label
    ]
    row: dict[str, Any] = {"ours": len(ours.labels), "theirs": len(theirs["labels"]), "matched": len(known)}
    row |= {
        "scores": max((abs(a - b) for a, b in known), default=None),
        "boxes": None,
        "masks": None,
        "keypoints": None,
    }
    problems = []
    if not row["ours"] == row["theirs"] == row["matched"]:
        problems.append(f"classes of one side alone: {row['ours']} and {row['theirs']}, {row['matched']} of both")
    if row["scores"] is not None and row["scores"] > SCORES:
        problems.append(f"probabilities differ by {row['scores']:.1e}, allowed are {SCORES:g}")
    return row | {"problems": problems}


def pair_boxes(boxes: np.ndarray, labels: np.ndarray, others: np.ndarray, other_labels: np.ndarray) -> np.ndarray:
    """Pairs [P, 2] of the same detection on both sides, nearest first: equal scores may come in any order."""
    apart = np.abs(boxes[:, None] - others[None]).max(axis=2)  # (N, M)
    apart[labels[:, None] != other_labels[None]] = np.inf
    pairs = []
    while apart.size and apart.min() < SAME:
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        pairs.append((i, j))
        apart[i], apart[:, j] = np.inf, np.inf
    return np.array(pairs, np.int64).reshape(-1, 2)


def _equal_pixels(ours: np.ndarray, theirs: np.ndarray) -> float:
    either = int(((ours > 0) | (theirs > 0)).sum())
    return 1 - int((ours != theirs).sum()) / max(either, 1)


def _equal_keypoints(ours: Instances, theirs: np.ndarray, near: float) -> float:
    """Share of those at the same place, or at another peak as high."""
    assert ours.keypoints is not None and ours.keypoint_scores is not None
    same = np.abs(ours.keypoints.numpy() - theirs[:, :, :2]).max(axis=2) <= near
    scores = ours.keypoint_scores.numpy()
    return float((same | (np.abs(scores - theirs[:, :, 2]) <= SCORES * scores)).mean())


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    times = []
    for _ in range(2):
        began = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - began)
    return found, min(times)
