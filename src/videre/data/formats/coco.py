"""COCO JSON: boxes, polygons and run lengths, crowds, keypoints, captions; and result files.

A folder may hold several kinds of file for one split (instances, person_keypoints, captions): they are read as one,
joined by picture and annotation id. To have one kind alone, name its file.

Convention: boxes are [x, y, width, height], continuous from 0; keypoints [x, y, v] count pixel middles from 0, so that
half a pixel is added here and taken off on writing. `iscrowd` is `ignore`. Category ids stay in `source_ids`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.data.cleaning import OnInvalid, clean_boxes, fill_sizes
from videre.data.dataset import Dataset, Repair
from videre.data.flat import FlatMasks, FlatSource, Texts
from videre.data.formats.coco_rules import (
    AREA,
    BOX,
    ID,
    NAMES,
    NUMBER,
    PAIRS,
    SIDE,
    TEXT,
    WHOLE,
    are_numbers,
    demand,
    integer,
    load_json,
    looks_like_coco,
)
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import write_atomic
from videre.structures import COCO_PERSON, Categories, Instances, Masks, Polygons, Scene, Schema, Skeleton

LOOKS_FOR = "COCO: *.json with images and annotations, in the folder, in annotations/, or one folder per split"
HOLDS = {"boxes", "instances.labels", "masks", "ignore", "areas", "keypoints", "visibility", "captions"}
_KINDS = re.compile(r"^(instances|person_keypoints|keypoints|captions|_?annotations(\.coco)?)[_-]?")


def recognise(path: Path) -> str:
    """What was found, or "" when this is no COCO file or folder."""
    files = [f for f in _files(path) if looks_like_coco(f)]
    return f"{', '.join(f.name for f in files[:4])}" if files else ""


def splits(path: Path) -> list[str]:
    """Names of the splits: "train2017" of instances_train2017.json, or the folder of train/_annotations.coco.json."""
    return [name for name in _by_split(path) if name] if path.is_dir() else []


def read(path: Path, split: str | None = None, on_invalid: OnInvalid = "drop") -> Dataset:
    """Read a COCO folder or one file.

    Args:
        path: the folder, or one annotation file, which is then read alone.
        split: one of `splits(path)`; all of them, one after the other, when absent.
        on_invalid: "drop" leaves boxes without area out and counts them, "error" refuses.

    Raises:
        DataError: what is missing or contradictory, with file, image and annotation id.
    """
    if path.is_file():
        return _read_files([path], path.stem, on_invalid)
    groups = _by_split(path)
    chosen = groups if split is None else {split: groups[split]}
    return Dataset.cat(
        [_read_files(files, f"{path.name} {name}".strip(), on_invalid) for name, files in chosen.items()]
    )


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write <split>/ with the pictures and annotations/instances_<split>.json (captions_<split>.json).

    Masks kept as polygons without holes stay polygons, the others become run lengths. Image ids are kept where they are
    different whole numbers, and numbered anew otherwise. Returns the fields lost.
    """
    lost = losses(dataset, HOLDS, "COCO", lossy)
    schema, things = dataset.schema, dataset.schema.things
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    identities: list[int | None] = []  # of the pictures, as far as COCO can hold them
    next_id = 1
    for image_id, (filename, scene) in enumerate(placed(dataset, path / split), start=1):
        identities.append(integer(scene.meta.get("id")))
        images.append({"id": image_id, "width": scene.size[1], "height": scene.size[0], "file_name": filename})
        for text in scene.captions or ():
            captions.append({"id": len(captions) + 1, "image_id": image_id, "caption": text})
        if scene.instances is not None and things is not None:
            annotations += _annotations(scene, scene.instances, things, image_id, next_id)
            next_id += len(scene)
    if None not in identities and len(set(identities)) == len(identities):
        for image in images:
            image["id"] = identities[image["id"] - 1]
        for row in (*annotations, *captions):
            row["image_id"] = identities[row["image_id"] - 1]
    if things is not None:
        if len({a["id"] for a in annotations}) < len(annotations):  # of several files joined
            for n, annotation in enumerate(annotations):
                annotation["id"] = n + 1
        content = {"images": images, "annotations": annotations, "categories": _categories(schema)}
        write_atomic(path / "annotations" / f"instances_{split}.json", json.dumps(content).encode())
    if "captions" in dataset.fields:
        content = {"images": images, "annotations": captions}
        write_atomic(path / "annotations" / f"captions_{split}.json", json.dumps(content).encode())
    return lost


# Results ----------------------------------------------------------------------------------------------------------------


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


# Reading files ----------------------------------------------------------------------------------------------------------


def _read_files(files: list[Path], title: str, on_invalid: OnInvalid) -> Dataset:
    """The files of one split as one data set."""
    contents = {file: load_json(file) for file in files}
    images: dict[int, dict[str, Any]] = {}
    for file, content in contents.items():
        if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
            raise DataError(f"{file}: COCO files are an object with images and annotations")
        demand(file, "image", content["images"], id=ID, file_name=TEXT, height=SIDE, width=SIDE)
        demand(file, "annotation", content["annotations"], image_id=ID)
        if _kind(content) == "captions":
            demand(file, "annotation", content["annotations"], caption=TEXT)
        elif content.get("categories"):
            demand(file, "category", content["categories"], id=WHOLE, name=TEXT)
        demand(file, "annotation", [a for a in content["annotations"] if "id" in a], id=ID)
        for image in content["images"]:
            first = images.setdefault(image["id"], image)
            if first["file_name"] != image["file_name"]:
                raise DataError(
                    f"{file}: image {image['id']}: file_name should be {first['file_name']!r}, which has this "
                    f"id already, found {image['file_name']!r}; give each image an id of its own"
                )
    for file, content in contents.items():
        stray = sorted({a["image_id"] for a in content["annotations"]} - set(images), key=str)
        if stray:
            raise DataError(f"{file}: annotations of {len(stray)} images that are not listed under images: {stray[:5]}")
    names = [m["file_name"] for m in images.values()]
    paths = _find_pictures(files[0], names)
    sizes = np.array([(m.get("height") or 0, m.get("width") or 0) for m in images.values()], np.int64).reshape(-1, 2)
    sizes, known, unreadable = fill_sizes(sizes, paths, names)
    rows = list(itertools.compress(images.values(), known))
    place = {image["id"]: i for i, image in enumerate(rows)}
    source = FlatSource(
        list(itertools.compress(paths, known)), [m["file_name"] for m in rows], sizes[known], ids=list(place)
    )
    schema, repairs = Schema(), list[Repair]()
    with_boxes = {f: c for f, c in contents.items() if c.get("categories") and _kind(c) != "captions"}
    base = next((f for f, c in with_boxes.items() if not _has_keypoints(c)), next(iter(with_boxes), None))
    if base is not None:
        schema, repairs = _read_instances(source, base, with_boxes, place, on_invalid)
    texts: list[list[str]] = [[] for _ in rows]
    for content in contents.values():
        for a in content["annotations"] if _kind(content) == "captions" else ():
            if a["image_id"] in place:
                texts[place[a["image_id"]]].append(a["caption"].strip())
    if any(texts):
        source.captions = Texts(texts)
    source.__post_init__()  # the fields follow what was filled in
    return Dataset(source, schema, unreadable + repairs, title)


def _read_instances(
    source: FlatSource, base: Path, files: dict[Path, Any], place: dict[int, int], on_invalid: OnInvalid
) -> tuple[Schema, list[Repair]]:
    """Fill in the instances of `base`, with keypoints from the file that has them."""
    categories = files[base]["categories"]
    demand(base, "annotation", files[base]["annotations"], category_id=ID, bbox=BOX, area=AREA)
    try:
        things = Categories(
            tuple(c["name"] for c in categories),
            source_ids=tuple(c["id"] for c in categories),
            supercategories=tuple(c.get("supercategory") or "" for c in categories),
        )
    except DataError as error:
        raise DataError(f"{base}: {error}") from None
    label_of = {category: label for label, category in enumerate(things.source_ids)}
    unknown = sorted({a["category_id"] for a in files[base]["annotations"]} - set(label_of), key=str)
    if unknown:
        raise DataError(f"{base}: annotations of categories {unknown[:10]} that are not listed under categories")
    there = [a for a in files[base]["annotations"] if a["image_id"] in place]
    rows = sorted(there, key=lambda a: place[a["image_id"]])  # stable: the file's order otherwise
    owners = np.array([place[a["image_id"]] for a in rows], np.int64)
    ids = [a.get("id", n) for n, a in enumerate(rows)]
    assert source.sizes is not None
    boxes = np.array([a["bbox"] for a in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    pictures = [source.names[o] for o in owners]
    boxes, keep, repairs = clean_boxes(boxes, source.sizes[owners], pictures, ids, on_invalid, base)
    ignore = np.array([bool(a.get("iscrowd", 0)) for a in rows], bool)
    columns: dict[str, np.ndarray] = {
        "boxes": boxes,
        "labels": np.array([label_of[a["category_id"]] for a in rows], np.int64),
        "ignore": ignore,
        "ids": np.array([n if (number := integer(i)) is None else number for n, i in enumerate(ids)], np.int64),
    }
    if rows and all(a.get("area") is not None for a in rows):
        columns["areas"] = np.array([a["area"] for a in rows], np.float64)
    schema = Schema(things=things)
    skeletons = {f: s for f, c in files.items() if (s := _skeleton(c["categories"], f)) is not None}
    if skeletons:
        file, skeleton = next(iter(skeletons.items()))
        schema = schema.replace(skeleton=skeleton)
        points = _keypoints(files[file]["annotations"], ids, len(skeleton), file)
        columns |= {"keypoints": points[:, :, :2].astype(np.float32), "visibility": points[:, :, 2].astype(np.uint8)}
    if any(a.get("segmentation") for a in rows):
        masks: list[Polygons | np.ndarray] = []
        for n, a in enumerate(rows):
            size = (int(source.sizes[owners[n]][0]), int(source.sizes[owners[n]][1]))
            mask = _mask(
                a.get("segmentation"), size, f"{base}: image {a['image_id']} ({pictures[n]}), annotation {ids[n]}"
            )
            if mask is None and keep[n]:
                repairs.append(Repair("instance without mask", pictures[n], ids[n], "segmentation is empty", "ignored"))
                ignore[n] = True  # neither right nor wrong to find: nobody drew it
            masks.append(np.array([size[0] * size[1]]) if mask is None else mask)
        source.masks = FlatMasks([masks[n] for n in np.flatnonzero(keep)])
    source.columns = {name: value[keep] for name, value in columns.items()}
    source.starts = np.cumsum([0, *np.bincount(owners[keep], minlength=len(source))])
    return schema, repairs


def _mask(segmentation: Any, size: tuple[int, int], where: str) -> Polygons | np.ndarray | None:
    if not segmentation:
        return None
    try:
        if isinstance(segmentation, dict):
            return Masks.from_rle([segmentation], size).runs()[0].numpy()
        rings = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in segmentation]
    except (ValueError, TypeError, KeyError, RuntimeError) as error:  # torch says RuntimeError of a word among numbers
        raise DataError(f"{where}: segmentation: {error}") from None
    for ring in rings:
        if not np.isfinite(ring).all():
            point = ring[~np.isfinite(ring).all(1)][0].tolist()
            raise DataError(f"{where}: segmentation: points should be finite, found {point}; correct the file")
    rings = [r for r in rings if len(r) >= 3]  # two points enclose nothing
    return Polygons(tuple(rings)) if rings else None


def _keypoints(annotations: list[dict[str, Any]], ids: list[Any], count: int, file: Path) -> np.ndarray:
    """[N, J, 3] for the annotations `ids`; nothing labelled where the file has none."""
    points = np.zeros((len(ids), count, 3))
    place = {identity: n for n, identity in enumerate(ids)}
    expected = f"{count * 3} finite numbers (x, y and visibility 0, 1 or 2 of {count} keypoints)"
    demand(file, "annotation", annotations, keypoints=(expected, lambda v: v is None or _are_keypoints(v, count)))
    for n, a in enumerate(annotations):
        values, row = a.get("keypoints"), place.get(a.get("id", n))
        if values is not None and row is not None:
            points[row] = np.asarray(values, np.float64).reshape(-1, 3)
    points[:, :, :2] = np.where(points[:, :, 2:] > 0, points[:, :, :2] + 0.5, 0)
    return points


def _skeleton(categories: list[dict[str, Any]], file: Path) -> Skeleton | None:
    named = [c for c in categories if c.get("keypoints")]
    if not named:
        return None
    demand(file, "category", named, keypoints=NAMES, skeleton=PAIRS)
    if len({tuple(c["keypoints"]) for c in named}) > 1:
        raise DataError(f"{file}: categories {[c['name'] for c in named]} have different keypoints; read one at a time")
    names = tuple(named[0]["keypoints"])
    edges = tuple((a - 1, b - 1) for a, b in named[0].get("skeleton") or ())  # the file counts from 1
    if names == COCO_PERSON.names:
        return Skeleton(names, edges, COCO_PERSON.flip_pairs, COCO_PERSON.sigmas)
    return Skeleton(names, edges, mirror_pairs(names))


def mirror_pairs(names: Sequence[str]) -> tuple[tuple[int, int], ...] | None:
    """Pairs of keypoints whose names differ in left and right; None, unknown, when no name says so."""
    swap = {"left": "right", "right": "left", "l": "r", "r": "l", "Left": "Right", "Right": "Left", "L": "R", "R": "L"}
    place = {name: i for i, name in enumerate(names)}
    pairs = set()
    for i, name in enumerate(names):
        words = re.split(r"([ _-]|(?<=[a-z])(?=[A-Z]))", name)
        other = place.get("".join(swap.get(w or "", w or "") for w in words), i)
        if other != i:
            pairs.add((min(i, other), max(i, other)))
    return tuple(sorted(pairs)) or None


def _kind(content: dict[str, Any]) -> str:
    return "captions" if any("caption" in a for a in content["annotations"][:1]) else "instances"


def _are_keypoints(value: Any, count: int) -> bool:
    return are_numbers(value, count * 3) and all(
        v == 0 or (v in (1, 2) and math.isfinite(x) and math.isfinite(y))
        for x, y, v in zip(value[::3], value[1::3], value[2::3])
    )


def _has_keypoints(content: dict[str, Any]) -> bool:
    return any(c.get("keypoints") for c in content["categories"])


def _files(path: Path) -> list[Path]:
    patterns = ("*.json", "annotations/*.json", "*/*.coco.json")
    found = {path} if path.is_file() else {f for pattern in patterns for f in path.glob(pattern)}
    return sorted(f for f in found if f.suffix == ".json" and not f.name.startswith("stuff_"))  # see `coco_stuff`


def _by_split(path: Path) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for file in filter(looks_like_coco, _files(path)):
        name = _KINDS.sub("", file.stem) or (
            file.parent.name if file.parent not in (path, path / "annotations") else ""
        )
        groups.setdefault(name, []).append(file)
    return groups


def _find_pictures(file: Path, names: list[str]) -> list[str]:
    """Where the pictures of an annotation file lie: the first usual folder that holds one of the first few."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    split = _KINDS.sub("", file.stem)
    usual = [
        root,
        root / split,
        root / "images",
        root / "images" / split,
        root / split / "images",
        root / "JPEGImages",
        root / "data",
        file.parent,
    ]
    folder = next((f for f in usual if any(os.path.isfile(f / name) for name in names[:20])), root / split)
    return [str(folder / name) for name in names]


# Writing ----------------------------------------------------------------------------------------------------------------


def _annotations(
    scene: Scene, instances: Instances, things: Categories, image_id: int, first: int
) -> list[dict[str, Any]]:
    masks = instances.masks
    if instances.labels is None or (instances.boxes is None and masks is None):
        raise DataError(f"{scene.name}: COCO needs labels and boxes or masks, found {instances.fields()}")
    boxes = instances.boxes if instances.boxes is not None else masks.boxes()  # type: ignore[union-attr]
    areas = instances.areas
    if areas is None:
        areas = masks.area() if masks is not None else (boxes[:, 2:] - boxes[:, :2]).prod(1)
    drawn = masks.polygons() if masks is not None and masks.form == "polygons" else None
    rles = masks.rle() if masks is not None else None
    rows = []
    for n in range(len(instances)):
        x1, y1, x2, y2 = boxes[n].tolist()
        crowd = int(instances.ignore[n]) if instances.ignore is not None else 0
        row: dict[str, Any] = {
            "id": int(instances.ids[n]) if instances.ids is not None else first + n,
            "image_id": image_id,
            "category_id": things.source_ids[int(instances.labels[n])],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": float(areas[n]),
            "iscrowd": crowd,
            "segmentation": [],
        }
        if rles is not None:
            as_drawn = drawn is not None and not drawn[n].holes and not crowd  # COCO's polygons know no holes
            row["segmentation"] = [p.ravel().tolist() for p in drawn[n].parts] if drawn and as_drawn else rles[n]
        if instances.keypoints is not None:
            seen = instances.visibility
            v = seen[n] if seen is not None else torch.full((instances.keypoints.shape[1],), 2)
            points = (instances.keypoints[n] - 0.5) * (v > 0)[:, None]
            row["keypoints"] = torch.cat([points, v[:, None].to(points)], 1).flatten().tolist()
            row["num_keypoints"] = int((v > 0).sum())
        rows.append(row)
    return rows


def _categories(schema: Schema) -> list[dict[str, Any]]:
    things, skeleton = schema.things, schema.skeleton
    assert things is not None
    rows: list[dict[str, Any]] = []
    for name, identity, parent in zip(things.names, things.source_ids, things.supercategories):
        row: dict[str, Any] = {"id": identity, "name": name, "supercategory": parent}
        if skeleton is not None:
            row |= {"keypoints": list(skeleton.names), "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges]}
        rows.append(row)
    return rows
