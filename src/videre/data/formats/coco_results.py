"""COCO's result lists: detections of many pictures as one JSON list, written and read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from videre.data.dataset import Dataset
from videre.data.rules import (
    BOX,
    ID,
    NUMBER,
    demand,
    load_json,
)
from videre.errors import DataError
from videre.files import write_atomic
from videre.structures import Categories, Instances, Masks, Scene, Schema


def write_results(scenes: Sequence[Scene], schema: Schema, path: str | Path) -> None:
    """Write predictions as COCO's result list; every scene needs `meta["id"]`, every instance a label and a score."""
    if schema.things is None:
        raise DataError("COCO results are of instances; the schema names no things")
    results: list[dict[str, Any]] = []
    for scene in scenes:
        if "id" not in scene.meta:
            raise DataError(f"{scene.name}: COCO results need the image id (meta['id'])")
        results += result_rows(scene, schema.things, scene.meta["id"])
    write_atomic(path, json.dumps(results).encode())


def result_rows(scene: Scene, categories: Categories, image: int | str) -> list[dict[str, Any]]:
    """The things of a prediction as entries of COCO's result list; `image` is the id of the picture.

    Raises DataError for things without label or score.
    """
    things = scene.instances
    if things is None or len(things) == 0:
        return []
    if things.scores is None or things.labels is None or things.boxes is None:
        raise DataError(f"{scene.name}: COCO results need boxes, labels and scores; found {things.fields()}")
    rles = things.masks.rle() if things.masks is not None else None
    rows = []
    for n in range(len(things)):
        x1, y1, x2, y2 = things.boxes[n].tolist()
        row: dict[str, Any] = {
            "image_id": image,
            "category_id": categories.source_ids[int(things.labels[n])],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(things.scores[n]),
        }
        if rles is not None:
            row["segmentation"] = rles[n]
        if things.keypoints is not None:  # COCO counts from the middle of the first pixel
            certain = things.keypoint_scores
            last = certain[n] if certain is not None else torch.ones(things.keypoints.shape[1])
            row["keypoints"] = torch.cat([things.keypoints[n] - 0.5, last[:, None]], 1).flatten().tolist()
        rows.append(row)
    return rows


def read_results(path: str | Path, dataset: Dataset) -> list[Scene]:
    """Read COCO's result list as predictions, one scene for each picture of `dataset`, in its order.

    Raises DataError for image or category ids that the data set does not have.
    """
    results, things = load_json(Path(path)), dataset.schema.things
    if not isinstance(results, list) or things is None:
        raise DataError(f"{path}: a result file is a JSON list, and the data set needs named things")
    demand(path, "result", results, image_id=ID, category_id=ID, score=NUMBER)
    demand(path, "result", [r for r in results if "bbox" in r], bbox=BOX)
    rows: dict[Any, list[dict[str, Any]]] = {}
    for result in results:
        rows.setdefault(result["image_id"], []).append(result)
    label_of = {category: label for label, category in enumerate(things.source_ids)}
    unknown = sorted({r["category_id"] for r in results} - set(label_of), key=str)
    if unknown:
        raise DataError(f"{path}: categories {unknown[:10]} are not among the data set's {sorted(label_of)[:100]}")
    scenes = []
    for i in range(len(dataset)):
        truth = dataset.scene(i)
        found = rows.pop(truth.meta["id"], [])
        scenes.append(Scene(truth.size, _predictions(found, label_of, truth.size), meta=truth.meta))
    if rows:
        raise DataError(f"{path}: results for {len(rows)} images that are not in {dataset.title}: {list(rows)[:5]}")
    return scenes


def _predictions(found: list[dict[str, Any]], label_of: dict[int, int], size: tuple[int, int]) -> Instances:
    fields: dict[str, Any] = {}
    if all("segmentation" in r for r in found) and found:
        fields["masks"] = Masks.from_rle([r["segmentation"] for r in found], size)
    if all("keypoints" in r for r in found) and found:
        points = torch.tensor([r["keypoints"] for r in found], dtype=torch.float32).reshape(len(found), -1, 3)
        # results in the wild carry visibilities, logits or 1 in the third place
        fields |= {"keypoints": points[:, :, :2] + 0.5, "keypoint_scores": points[:, :, 2].clamp(0, 1)}
    if all("bbox" in r for r in found):
        boxes = torch.tensor([r["bbox"] for r in found], dtype=torch.float32).reshape(-1, 4)
        fields["boxes"] = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:].clamp(min=0)], 1)
    elif "masks" in fields:
        fields["boxes"] = fields["masks"].boxes()
    labels = torch.tensor([label_of[r["category_id"]] for r in found], dtype=torch.int64)
    return Instances(labels=labels, scores=torch.tensor([r["score"] for r in found]), **fields)
