"""COCO average precision of boxes, masks and keypoints, by hotcoco, which equals pycocotools to the last digit.

Lin et al., Microsoft COCO, 2014; protocol of cocoeval.py: ten IoU thresholds .50:.05:.95, 101 recall points, at most
`max_detections` a picture and class, crowds neither right nor wrong.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from videre.errors import DataError
from videre.evaluate.ranking import Ranking, rankings
from videre.evaluate.section import USUAL
from videre.structures import Categories, Instances, Scene, Schema, Skeleton

Kind = Literal["boxes", "masks", "keypoints"]
IOU_TYPE = {"boxes": "bbox", "masks": "segm", "keypoints": "keypoints"}
HALF = 0.5
"""COCO counts keypoints from the middle of the first pixel, videre from its corner."""


@dataclasses.dataclass(frozen=True)
class CocoResult:
    """What one COCO evaluation gives.

    Args:
        kind: what was matched. metrics: "AP", "AP50", … as COCO names them; NaN where no truth exists.
        per_class: AP by class name. precision: [T, 101, K], -1 where a class has no truth. evaluator: hotcoco's, for
        error types, confusion and calibration. protocol: in words.
    """

    kind: Kind
    metrics: dict[str, float]
    per_class: dict[str, float]
    precision: np.ndarray
    evaluator: Any
    protocol: str

    @functools.cached_property
    def rankings(self) -> list[Ranking]:
        """Detections of each class by falling score, with what is right and wrong."""
        return rankings(self.evaluator)


def coco_evaluate(
    predictions: Sequence[Scene],
    truths: Sequence[Scene],
    schema: Schema,
    kind: Kind = "boxes",
    max_detections: int = USUAL,
) -> CocoResult:
    """Average precision and recall.

    Where more than 100 detections count, "AP@100" is the AP that COCO's own limit would give.

    Args:
        predictions, truths: one scene a picture, in the same order and in the pictures' own pixels.
        kind: "boxes", "masks" or "keypoints". max_detections: best ones counted, a picture and class (keypoints: 20).

    Raises:
        DataError: different numbers of scenes, or the field is not there.
    """
    import hotcoco

    if len(predictions) != len(truths):
        raise DataError(f"{len(predictions)} predictions for {len(truths)} truths")
    things = schema.things
    if things is None:
        raise DataError("COCO evaluation needs the names of the things (schema.things)")
    truth = hotcoco.COCO(to_coco(truths, things, kind, schema.skeleton))
    results = to_results(predictions, kind)
    with contextlib.redirect_stdout(io.StringIO()):
        found = truth.load_res(results) if results else hotcoco.COCO({**_frame(truths, things), "annotations": []})
        evaluator = hotcoco.COCOeval(truth, found, IOU_TYPE[kind])
        cap = 20 if kind == "keypoints" else max_detections
        if kind == "keypoints" and schema.skeleton is not None:
            evaluator.params.kpt_oks_sigmas = list(schema.skeleton.sigmas)
        elif max_detections != USUAL:
            usual = [USUAL] if max_detections > USUAL else []
            evaluator.params.max_dets = [1, 10, *usual, max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    precision = np.asarray(_curves(evaluator)["precision"])[:, :, :, 0, -1]  # (T, 101, K) of all sizes
    metrics = _summary(evaluator, kind)
    per_class = {name: _mean(precision[:, :, k]) for k, name in enumerate(things)}
    similarity = "keypoint similarity" if kind == "keypoints" else "IoU"
    protocol = f"COCO {kind}, {similarity} .50:.95, at most {cap} detections a picture and class"
    if bound := sum(_most_of_a_class(scene) > cap for scene in predictions):
        protocol += f" ({bound} pictures have more, the rest of them is not counted)"
    return CocoResult(kind, metrics, per_class, precision, evaluator, protocol)


def _most_of_a_class(scene: Scene) -> int:
    labels = scene.instances.labels if scene.instances is not None else None
    return int(labels.bincount().max()) if labels is not None and len(labels) else 0


def to_coco(
    truths: Sequence[Scene], things: Categories, kind: Kind, skeleton: Skeleton | None = None
) -> dict[str, Any]:
    """Truths as a COCO data set, ids from 1 (cocoeval takes a match with id 0 for none)."""
    annotations: list[dict[str, Any]] = []
    for image, scene in enumerate(truths, start=1):
        found = scene.instances
        if found is None or found.boxes is None or found.labels is None:
            continue
        masks = found.masks.rle() if kind == "masks" and found.masks is not None else None
        if kind == "masks" and masks is None:
            raise DataError(f"{scene.name}: the truth has no masks")
        areas = _areas(found, kind)
        ignore = found.ignore.tolist() if found.ignore is not None else [False] * len(found)
        points = _points(scene, truth=True) if kind == "keypoints" else None
        for n, (x1, y1, x2, y2) in enumerate(found.boxes.tolist()):
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": int(found.labels[n]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": areas[n],
                "iscrowd": int(ignore[n]),
            }
            if masks is not None:
                annotation["segmentation"] = masks[n]
            if points is not None:
                annotation |= {"keypoints": points[n], "num_keypoints": sum(v > 0 for v in points[n][2::3])}
            annotations.append(annotation)
    return {**_frame(truths, things, skeleton), "annotations": annotations}


def to_results(predictions: Sequence[Scene], kind: Kind) -> list[dict[str, Any]]:
    """Predictions as COCO's list of results, image ids from 1."""
    results: list[dict[str, Any]] = []
    for image, scene in enumerate(predictions, start=1):
        found = scene.instances
        if found is None or not len(found):
            continue
        if found.boxes is None or found.labels is None or found.scores is None:
            raise DataError(f"{scene.name}: a prediction needs boxes, labels and scores")
        if kind == "masks" and found.masks is None:
            raise DataError(f"{scene.name}: masks are asked for, the prediction has none")
        shapes = found.masks.rle() if kind == "masks" and found.masks is not None else None
        points = _points(scene, truth=False) if kind == "keypoints" else None
        for n, (label, score) in enumerate(zip(found.labels.tolist(), found.scores.double().tolist())):
            result: dict[str, Any] = {"image_id": image, "category_id": label + 1, "score": score}
            if shapes is not None:
                result["segmentation"] = shapes[n]
            elif points is not None:
                result["keypoints"] = points[n]
            else:
                x1, y1, x2, y2 = found.boxes[n].tolist()
                result["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            results.append(result)
    return results


def _frame(truths: Sequence[Scene], things: Categories, skeleton: Skeleton | None = None) -> dict[str, Any]:
    images = [{"id": i, "height": s.size[0], "width": s.size[1]} for i, s in enumerate(truths, start=1)]
    named = {"keypoints": list(skeleton.names)} if skeleton is not None else {}
    return {"images": images, "categories": [{"id": k, "name": n, **named} for k, n in enumerate(things, start=1)]}


def _areas(found: Instances, kind: Kind) -> list[float]:
    """The file's areas, else the masks', else the boxes'."""
    if found.areas is not None:
        return found.areas.tolist()
    if found.masks is not None:
        return [float(a) for a in found.masks.area()]
    assert found.boxes is not None  # asked for by the callers
    return (found.boxes[:, 2:] - found.boxes[:, :2]).double().prod(1).tolist()


def _points(scene: Scene, truth: bool) -> list[list[float]]:
    found = scene.instances
    if found is None or found.keypoints is None:
        raise DataError(f"{scene.name}: keypoints are asked for, the {'truth' if truth else 'prediction'} has none")
    points = found.keypoints.double().numpy() - HALF
    third = found.visibility.numpy() if truth and found.visibility is not None else np.ones(points.shape[:2])
    points = np.where(third[..., None] > 0, points, 0)
    return np.concatenate([points, third[..., None]], axis=2).reshape(len(points), 3 * points.shape[1]).tolist()


def _summary(evaluator: Any, kind: Kind) -> dict[str, float]:
    """COCO's numbers from the accumulated curves, for any limit on detections."""
    precision, recall = (np.asarray(_curves(evaluator)[name]) for name in ("precision", "recall"))
    areas = ("", "m", "l") if kind == "keypoints" else ("", "s", "m", "l")
    metrics = {"AP": _mean(precision[:, :, :, 0, -1])}
    metrics |= {"AP50": _mean(precision[0, :, :, 0, -1]), "AP75": _mean(precision[5, :, :, 0, -1])}
    metrics |= {f"AP{a}": _mean(precision[:, :, :, i, -1]) for i, a in enumerate(areas) if a}
    limits = evaluator.params.max_dets
    if kind == "keypoints":
        metrics |= {"AR": _mean(recall[:, :, 0, -1]), "AR50": _mean(recall[0, :, 0, -1])}
        metrics |= {"AR75": _mean(recall[5, :, 0, -1])}
    else:
        metrics |= {f"AR{limit}": _mean(recall[:, :, 0, i]) for i, limit in enumerate(limits)}
    metrics |= {f"AR{a}": _mean(recall[:, :, i, -1]) for i, a in enumerate(areas) if a}
    if limits[-1] > USUAL:
        metrics[f"AP@{USUAL}"] = _mean(precision[:, :, :, 0, limits.index(USUAL)])
    return metrics


def _curves(evaluator: Any) -> dict[str, Any]:
    assert evaluator.eval is not None  # accumulated
    return evaluator.eval


def _mean(values: np.ndarray) -> float:
    """COCO's mean over what exists; NaN (COCO prints -1) where nothing does."""
    there = values[values > -1]
    return float(there.mean()) if there.size else float("nan")
