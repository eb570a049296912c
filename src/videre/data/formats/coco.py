"""COCO JSON: boxes, polygons and run lengths, crowds, keypoints, captions. Result lists are in `coco_results`.

A folder may hold several kinds of file for one split (instances, person_keypoints, captions): they are read as one,
joined by picture and annotation id. To have one kind alone, name its file.

Convention: boxes are [x, y, width, height], continuous from 0; keypoints [x, y, v] count pixel middles from 0, so that
half a pixel is added here and taken off on writing. `iscrowd` is `ignore`. Category ids stay in `source_ids`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.data.cleaning import UNREADABLE, OnInvalid, fill_sizes
from videre.data.dataset import Dataset, Repair
from videre.data.faults import Faults
from videre.data.flat import FlatSource, Texts
from videre.data.formats.coco_instances import Content, InstanceReader
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pictures import PictureFinder, plain_name, usual_folders
from videre.data.rules import (
    as_key,
    as_number,
    integer,
    looks_like_coco,
)
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import write_atomic
from videre.images.listing import list_files, list_folders
from videre.images.reading import exif_orientation, picture_size
from videre.structures import Categories, Instances, Scene, Schema

LOOKS_FOR = "COCO: *.json with images and annotations, in the folder, in annotations/, or one folder per split"
OWN = frozenset({".json"})
HOLDS = {"boxes", "instances.labels", "masks", "ignore", "areas", "keypoints", "visibility", "captions"}
_KINDS = re.compile(r"^(instances|person_keypoints|keypoints|captions|lvis_v[\d.]+|_?annotations(\.coco)?)[_-]?")


def recognise(path: Path) -> str:
    """What was found, or "" when this is no COCO file or folder."""
    files = [f for f in _files(path) if looks_like_coco(f)]
    return f"{', '.join(f.name for f in files[:4])}" if files else ""


def splits(path: Path) -> list[str]:
    """Names of the splits: "train2017" of instances_train2017.json, or the folder of train/_annotations.coco.json."""
    return [name for name in _by_split(path) if name] if path.is_dir() else []


def read(path: Path, split: str | None = None, skip_broken: bool = False, on_invalid: OnInvalid = "drop") -> Dataset:
    """Read a COCO folder or one file.

    Args:
        path: the folder, or one annotation file, which is then read alone.
        split: one of `splits(path)`; all of them, one after the other, when absent.
        skip_broken: leave out what is broken, and count it.
        on_invalid: "drop" leaves boxes without area out and counts them, "error" refuses.

    Raises:
        DataError: what is missing or contradictory, with file, image and annotation id, all of it at once.
    """
    groups = {path.stem: [path]} if path.is_file() else _by_split(path)
    chosen = groups if split is None else {split: groups[split]}
    siblings = [file for files in groups.values() for file in files]
    sets = []
    for name, files in chosen.items():
        title = name if path.is_file() else f"{path.name} {name}".strip()
        sets.append(_read_files(files, title, on_invalid, skip_broken, siblings))
    return Dataset.cat(sets)


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


# Reading files ----------------------------------------------------------------------------------------------------------


def _read_files(
    files: list[Path], title: str, on_invalid: OnInvalid, skip_broken: bool, siblings: list[Path]
) -> Dataset:
    """The files of one split as one data set. siblings: those of all splits, whose categories must be the same."""
    faults = Faults(skip_broken)
    contents = [Content.of(file, faults) for file in files]
    broken = bool(faults.found)
    images: dict[int | str | None, dict[str, Any]] = {}
    for content in contents:
        for image in content.images:
            first = images.setdefault(as_key(image["id"]), image)
            if first["file_name"] != image["file_name"]:
                faults.add(
                    f"{content.file}: image {image['id']}",
                    f"file_name should be {first['file_name']!r}, which has this id already, found "
                    f"{image['file_name']!r}; give each image an id of its own",
                )
    for content in contents:
        strays = sorted({a["image_id"] for a in content.rows if as_key(a["image_id"]) not in images}, key=str)
        if strays and not broken:  # else they may be of images with a fault of their own
            faults.add(
                content.file, f"annotations of {len(strays)} images that are not listed under images: {strays[:5]}"
            )
        if content.annotations is not None:
            content.annotations = [a for a in content.annotations if as_key(a["image_id"]) in images]
    paths, repairs = _find_pictures(files[0], list(images.values()), faults)
    images = dict(itertools.compress(images.items(), [path is not None for path in paths]))
    found = [path for path in paths if path is not None]
    names = [m["file_name"] for m in images.values()]
    stated = [(as_number(m.get("height")) or 0, as_number(m.get("width")) or 0) for m in images.values()]
    sizes, known, unreadable = fill_sizes(np.array(stated, np.int64).reshape(-1, 2), found, names)
    _look_at_sizes(files[0], list(images.values()), sizes, found)
    place = {key: i for i, key in enumerate(itertools.compress(images, known))}
    kept = [images[key] for key in place]
    source = FlatSource(
        list(itertools.compress(found, known)),
        [m["file_name"] for m in kept],
        sizes[known],
        ids=[m["id"] if isinstance(m["id"], str) else int(m["id"]) for m in kept],
    )
    schema = Schema()
    with_things = [c for c in contents if c.of_things and (c.categories or c.used)]
    base = next((c for c in with_things if not c.has_keypoints), next(iter(with_things), None))
    if base is not None:
        reader = InstanceReader(source, base, with_things, place, faults, siblings)
        schema = reader.read(on_invalid)
        repairs += reader.repairs
    elif listed := next((c for c in contents if c.categories and c.annotations is None), None):
        repairs.append(Repair("file without annotations", "-", "-", listed.file.name, "read as pictures alone"))
    texts: list[list[str]] = [[] for _ in kept]
    for content in contents:
        for a in () if content.of_things else content.rows:
            if (key := as_key(a["image_id"])) in place:
                texts[place[key]].append(a["caption"].strip())
    if any(texts):
        source.captions = Texts(texts)
    source.__post_init__()  # the fields follow what was filled in
    return Dataset(source, schema, unreadable + repairs + faults.settle(), title)


def _find_pictures(file: Path, images: list[dict[str, Any]], faults: Faults) -> tuple[list[str | None], list[Repair]]:
    """Where the pictures are; None for those that are missing, if others are there.

    Where none is there, truths can still be compared with results: the paths are those that are most likely.
    """
    usual = usual_folders(file, _KINDS.sub("", file.stem))
    finder = PictureFinder(usual)
    paths: list[Path | None] = []
    for image in images:
        try:
            paths.append(finder.find(image["file_name"]))
        except DataError as error:
            faults.add(f"{file}: image {image['id']}", f"file_name {error}")
            paths.append(None)
    if images and not any(paths):
        return [str(usual[0] / plain_name(m["file_name"])) for m in images], [
            Repair(UNREADABLE, m["file_name"], m["id"], finder.looked(m["file_name"]), "kept without it")
            for m in images
        ]
    missing = [
        Repair(UNREADABLE, m["file_name"], m["id"], finder.looked(m["file_name"]), "dropped")
        for m, path in zip(images, paths)
        if path is None
    ]
    return [None if path is None else str(path) for path in paths], missing


LOOKS = 8
"""Pictures whose sizes are compared with the stated ones before anything is done with them."""


def _look_at_sizes(file: Path, images: list[dict[str, Any]], sizes: np.ndarray, paths: Sequence[str]) -> None:
    """DataError where height and width have changed places, as the first pictures show."""
    oblong = [i for i in range(len(images)) if sizes[i][0] != sizes[i][1] and Path(paths[i]).is_file()][:LOOKS]
    swapped = []
    for i in oblong:
        try:
            height, width = picture_size(paths[i])
        except DataError:
            continue
        if (width, height) == tuple(sizes[i]) and exif_orientation(paths[i]) < 5:
            swapped.append(i)
    if swapped and len(swapped) == len(oblong):
        height, width = sizes[swapped[0]].tolist()
        raise DataError(
            f"{file}: image {images[swapped[0]]['id']}: height and width should be {width} and {height}, as in the file, "
            f"found {height} and {width}; swap them in all images"
        )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and not path.name.startswith("stuff_") else []
    folders = [path, *list_folders(path)]
    found = {
        file
        for folder in folders
        for file in list_files(folder, ".json")
        if _is_listed(file, path) and not file.name.startswith("stuff_")  # see `coco_stuff`
    }
    return sorted(found)


def _is_listed(file: Path, path: Path) -> bool:
    """Whether a JSON lies where COCO's do: in the folder, in annotations/, or named for it in the folder of a split."""
    inside = file.parent.name.lower() in ("annotations", "labels")
    return file.parent == path or inside or ".coco." in file.name or bool(SPLIT_NAME.fullmatch(file.parent.name))


def _by_split(path: Path) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for file in filter(looks_like_coco, _files(path)):
        named = file.parent != path and file.parent.name.lower() not in ("annotations", "labels")
        name = _KINDS.sub("", file.stem)
        if named and not SPLIT_NAME.fullmatch(name):
            name = file.parent.name
        groups.setdefault(name, []).append(file)
    return groups


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
