"""COCO's result lists: detections of many pictures as one JSON list, written and read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from videre.data.dataset import Dataset
from videre.data.faults import Faults, Rule
from videre.data.formats.coco_instances import read_mask
from videre.data.rules import ID, as_key, as_numbers, load_json
from videre.errors import DataError
from videre.files import write_atomic
from videre.structures import Categories, Instances, Masks, Polygons, Scene, Schema


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


def _finite(value: Any, count: int | None = None) -> bool:
    numbers = as_numbers(value, count)
    return numbers is not None and all(map(math.isfinite, numbers))


_SCORE: Rule = ("a finite number", lambda v: _finite([v]))
_KINDS: dict[str, Rule] = {
    "bbox": ("[x, y, width, height], finite numbers", lambda v: _finite(v, 4)),
    "segmentation": ("run lengths or polygons", lambda v: isinstance(v, dict | list) and bool(v)),
    "keypoints": ("[x, y, score] of each keypoint, one after the other", lambda v: _finite(v) and len(v) % 3 == 0),
}
"""What a result may say of a thing; all results of a file say the same."""


def read_results(path: str | Path, dataset: Dataset) -> list[Scene]:
    """Read COCO's result list as predictions, one scene for each picture of `dataset`, in its order.

    Raises DataError with all results that are not of this form, and for image or category ids that the data set does not
    have.
    """
    results, things, faults = load_json(Path(path)), dataset.schema.things, Faults(optional=False)
    if not isinstance(results, list) or things is None:
        raise DataError(f"{path}: a result file is a JSON list, and the data set needs named things")
    kinds = [name for name in _KINDS if any(isinstance(r, dict) and name in r for r in results)]
    if {"bbox", "segmentation"} <= {*kinds} and all(map(_is_box, results)):
        kinds.remove("segmentation")  # pycocotools has written the boxes as outlines, too
    if results and not kinds:
        raise DataError(f"{path}: results have {', '.join(_KINDS)}; these have none of them")
    rules = {"image_id": ID, "category_id": ID, "score": _SCORE} | {name: _KINDS[name] for name in kinds}
    rows: dict[Any, list[dict[str, Any]]] = {}
    for result in faults.demand(path, "result", results, **rules):
        rows.setdefault(as_key(result["image_id"]), []).append(result)
    label_of = {category: label for label, category in enumerate(things.source_ids)}
    used = {as_key(r["category_id"]) for of_image in rows.values() for r in of_image}
    unknown = sorted(used - set(label_of), key=str)
    if unknown:
        faults.add(path, f"categories {unknown[:10]} are not among the data set's {sorted(label_of)[:100]}")
    place = {as_key(dataset.scene(i).meta["id"]): i for i in range(len(dataset))}
    strays = [key for key in rows if key not in place]
    if strays:
        faults.add(path, f"results for {len(strays)} images that are not in {dataset.title}: {strays[:5]}")
    faults.settle()
    scenes = []
    for key, i in place.items():
        truth = dataset.scene(i)
        try:
            found = _predictions(rows.get(key, []), kinds, label_of, truth.size)
        except DataError as error:
            raise DataError(f"{path}: image {key}: {error}") from error
        scenes.append(Scene(truth.size, found, meta=truth.meta))
    return scenes


def _is_box(result: Any) -> bool:
    """Whether an outline is that of the box."""
    outline = result.get("segmentation") if isinstance(result, dict) else None
    box = as_numbers(result.get("bbox"), 4) if outline else None
    ring = as_numbers(outline[0], 8) if isinstance(outline, list) and len(outline) == 1 else None
    if box is None or ring is None:
        return False
    x, y, x2, y2 = box[0], box[1], box[0] + box[2], box[1] + box[3]
    return ring == [x, y, x, y2, x2, y2, x2, y]


def _runs(segmentation: Any, size: tuple[int, int]) -> torch.Tensor:
    """Run lengths of a mask; those of nothing where it encloses nothing."""
    mask = read_mask(segmentation, size)
    if isinstance(mask, Polygons):
        return Masks.from_polygons([mask], size).runs()[0]
    return torch.tensor([size[0] * size[1]]) if mask is None else torch.from_numpy(mask)


def _predictions(
    found: list[dict[str, Any]], kinds: list[str], label_of: dict[Any, int], size: tuple[int, int]
) -> Instances:
    fields: dict[str, Any] = {}
    numbers = lambda name: torch.tensor([as_numbers(r[name]) for r in found], dtype=torch.float32)
    if "segmentation" in kinds and found:
        runs = [_runs(r["segmentation"], size) for r in found]
        fields["masks"] = Masks.from_runs(torch.cat(runs), torch.tensor([0, *map(len, runs)]).cumsum(0), size)
    if "keypoints" in kinds and found:
        if len({len(r["keypoints"]) for r in found}) > 1:
            raise DataError("its results have different numbers of keypoints")
        points = numbers("keypoints").reshape(len(found), -1, 3)
        # results in the wild carry visibilities, logits or 1 in the third place
        fields |= {"keypoints": points[:, :, :2] + 0.5, "keypoint_scores": points[:, :, 2].clamp(0, 1)}
    if "bbox" in kinds or not found:
        boxes = numbers("bbox").reshape(-1, 4)
        fields["boxes"] = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:].clamp(min=0)], 1)
    elif "masks" in fields:
        fields["boxes"] = fields["masks"].boxes()
    labels = torch.tensor([label_of[as_key(r["category_id"])] for r in found], dtype=torch.int64)
    return Instances(labels=labels, scores=torch.tensor([float(r["score"]) for r in found]), **fields)
