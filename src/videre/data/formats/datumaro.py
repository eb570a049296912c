"""Datumaro: a JSON for each subset, with boxes, outlines, keypoints, labels and captions.

`annotations/<subset>.json` with the pictures in `images/<subset>/` or `images/`; a file may be named itself. Annotations of one
item, one label and one `group` other than 0 are one instance: its box, its outlines (united) and its points; a group that has
several boxes of a label holds several instances, and joins nothing. Points are keypoints where the categories name those of
their label; other points, polylines and the like enclose nothing: they are left out and counted. `is_crowd` is `ignore`.
Labels are classes of things; those of annotations of type "label" are classes of pictures.

Convention: coordinates are continuous pixels from 0, boxes [x, y, width, height], run lengths COCO's. Joints of a skeleton
count from 1, as in COCO, or from 0 where one is 0. Visibility is 0 absent, 1 hidden, 2 visible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videre.data.dataset import Dataset, Repair
from videre.data.drawn import (
    Box,
    Drawing,
    Mark,
    Shape,
    ellipse,
    ends,
    gather,
    is_coordinate,
    load_each,
    locate,
    marks_of,
    read_json,
    skeleton_of,
)
from videre.data.faults import Faults, Rule
from videre.data.pictures import PictureFinder
from videre.data.rules import LARGEST
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import write_atomic
from videre.images.listing import list_files
from videre.ops.rle import UNION, combine
from videre.structures import Categories, Instances, Masks, Polygons, Scene, Schema, Skeleton

LOOKS_FOR = "Datumaro: annotations/<subset>.json with categories and items, pictures in images/<subset>/"
OWN = frozenset({".json"})
HOLDS = {"boxes", "instances.labels", "masks", "ignore", "keypoints", "visibility", "labels", "captions"}
DRAWN = ("bbox", "polygon", "mask", "ellipse", "points")
"""Types of annotations that are instances, or parts of them."""
CROWD = "is_crowd"
_CATEGORIES = re.compile(rb'"categories"\s*:\s*\{')

_ID: Rule = ("text or a number", lambda v: isinstance(v, str | int))
_LIST: Rule = ("a list", lambda v: isinstance(v, list))
_GROUP: Rule = ("a whole number", lambda v: v is None or isinstance(v, int))
_TYPE: Rule = ("text", lambda v: isinstance(v, str))


def recognise(path: Path) -> str:
    """What was found, or "" when there is no JSON with categories and items."""
    return ", ".join(file.name for file in _files(path)[:4])


def splits(path: Path) -> list[str]:
    """Names of the files."""
    return [file.stem for file in _files(path)] if path.is_dir() else []


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read all subsets of a folder, or one of them, or one file.

    Args:
        skip_broken: leave out and count the annotations that cannot be used, instead of refusing.

    Raises:
        DataError: all faults at once; no picture is there.
    """
    files, faults = _files(path), Faults(skip_broken)
    root = path if path.is_dir() else path.parent.parent if path.parent.name == "annotations" else path.parent
    contents = load_each(files, _load, faults)
    names, groups = _labels(contents, faults)
    skeletons = _skeletons(contents, faults)
    there: list[Drawing] = []
    repairs: list[Repair] = []
    for file, content in contents.items():
        items = faults.demand(file, "item", content["items"], id=_ID, annotations=_LIST)
        drawings = [drawing for item in items if (drawing := _item(item, file, faults))]
        roots = [root / "images" / file.stem, root / "images", root]
        if drawings and (split in (None, file.stem) or path.is_file()):
            found, missing = locate(drawings, PictureFinder(roots), faults, file)
            repairs += missing
        else:
            found = drawings  # of them, what is drawn decides the classes and the fields
        for drawing in found:
            left_out = _draw(drawing, _names_of(content), skeletons, faults)
            repairs += left_out if drawing.path is not None else []
        there += found
    repairs += faults.settle()
    drawn = {shape.label for d in there for shape in d.shapes}
    tags = {tag for d in there for tag in d.tags}
    if groups:
        is_thing, is_tag = (groups.get("things", set()) | drawn), (groups.get("pictures", set()) | tags)
    else:  # a set of labels of pictures alone has no things
        is_thing, is_tag = ((set(names) - tags) | drawn, tags) if drawn or not tags else (set(), set(names))
    things, pictures = (tuple(n for n in names if n in kind) for kind in (is_thing, is_tag))
    if not there and not repairs:
        raise DataError(f"{files[0]}: has no items; export the set again")
    skeleton = next(iter(skeletons.values()), None)
    schema = Schema(
        things=Categories(things) if things else None,
        pictures=Categories(pictures) if pictures else None,
        skeleton=skeleton[1] if skeleton is not None and things else None,
    )
    said = any(_crowd(row) is not None for d in there for row in d.content)
    title = path.name + (f" {split}" if split else "")
    return gather(there, schema, files[0], title, split, repairs, ("ignore",) if said else ())


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write images/<split>/ and annotations/<split>.json. Returns the fields lost.

    Outlines without holes stay polygons, other masks become run lengths.
    """
    lost = losses(dataset, HOLDS, "Datumaro", lossy)
    schema = dataset.schema
    if not dataset.fields & HOLDS:
        raise DataError(f"Datumaro holds shapes, labels and captions; {dataset.title} has {sorted(dataset.fields)}")
    names = list(dict.fromkeys([*(schema.things or ()), *(schema.pictures or ())]))
    items = []
    for filename, scene in placed(dataset, path / "images" / split):
        rows: list[dict[str, Any]] = []
        if scene.labels is not None and schema.pictures is not None:
            rows += [{"type": "label", "label_id": names.index(schema.pictures[k])} for k in scene.labels.tolist()]
        rows += [{"type": "caption", "caption": text} for text in scene.captions or ()]
        if scene.instances is not None and schema.things is not None:
            rows += _annotations(scene, scene.instances)
        for n, row in enumerate(rows):
            row |= {"id": n, "attributes": row.get("attributes", {}), "group": row.get("group", 0)}
        image = {"path": filename, "size": list(scene.size)}
        items.append({"id": filename.rpartition(".")[0], "annotations": rows, "attr": {}, "image": image})
    labels: dict[str, Any] = {
        "labels": [{"name": name, "parent": "", "attributes": []} for name in names],
        "label_groups": [
            {"name": name, "group_type": "exclusive", "labels": list(categories)}
            for name, categories in (("things", schema.things), ("pictures", schema.pictures))
            if categories is not None
        ],
        "attributes": [],
    }
    categories: dict[str, Any] = {"label": labels, "mask": {"colormap": []}}
    if schema.skeleton is not None:
        joints = [[a + 1, b + 1] for a, b in schema.skeleton.edges]
        points = {"labels": list(schema.skeleton.names), "joints": joints}
        categories["points"] = {"items": [{"label_id": k, **points} for k in range(len(schema.things or ()))]}
    content = {"dm_format_version": "1.0", "infos": {}, "categories": categories, "items": items}
    write_atomic(path / "annotations" / f"{split}.json", json.dumps(content).encode())
    return lost


# Reading files --------------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    """The file itself, or those of annotations/; COCO's categories are a list."""
    files = [path] if path.suffix.lower() == ".json" and path.is_file() else list_files(path / "annotations", ".json")
    return [file for file in files if _is_datumaro(file)]


def _is_datumaro(file: Path) -> bool:
    head = ends(file)
    return (
        head.lstrip().startswith(b"{") and bool(_CATEGORIES.search(head)) and (b'"items"' in head or b'"label"' in head)
    )


def _load(file: Path) -> dict[str, Any]:
    """What a file holds, as far as it is of the right form at its outside."""
    content = read_json(file)
    labels = _at(content, "categories", "label", "labels")
    if not isinstance(labels, list) or not isinstance(content.get("items"), list):
        raise DataError(
            f"{file}: should be an object with items and categories.label.labels, both lists; export the set again"
        )
    return content


def _at(value: Any, *keys: str) -> Any:
    """What lies below these keys; None where there is nothing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _names_of(content: dict[str, Any]) -> list[Any]:
    """The names of labels by their ids; what has none is None."""
    return [_at(label, "name") for label in content["categories"]["label"]["labels"]]


def _labels(contents: dict[Path, dict[str, Any]], faults: Faults) -> tuple[list[str], dict[str, set[str]]]:
    """All labels, in the order of the files; and the groups "things" and "pictures" of them, where a file has such."""
    names: dict[str, None] = {}
    groups: dict[str, set[str]] = {}
    for file, content in contents.items():
        rows = content["categories"]["label"]["labels"]
        faults.demand(file, "label", rows, name=("text", lambda v: isinstance(v, str) and bool(v)))
        own = [name for name in _names_of(content) if isinstance(name, str) and name]
        for name in sorted({name for name in own if own.count(name) > 1}):
            faults.add(f"{file}: label {name}", "is there more than once; rename one")
        names |= dict.fromkeys(own)
        for group in _at(content, "categories", "label", "label_groups") or ():
            labels = _at(group, "labels")
            if _at(group, "name") in ("things", "pictures") and isinstance(labels, list):
                groups.setdefault(group["name"], set()).update(name for name in labels if isinstance(name, str))
    return list(names), groups


def _skeletons(contents: dict[Path, dict[str, Any]], faults: Faults) -> dict[str, tuple[list[str], Skeleton]]:
    """Names and skeleton of each label that has keypoints; a fault where they differ."""
    found: dict[str, tuple[list[str], Skeleton]] = {}
    for file, content in contents.items():
        rows = _at(content, "categories", "points", "items") or []
        names = _names_of(content)
        for row in faults.demand(file, "skeleton", rows, **_point_rules(names)):
            if not row["labels"]:
                continue
            joints = row.get("joints") or []
            base = 0 if any(0 in joint for joint in joints) else 1
            edges = [(a - base, b - base) for a, b in joints]
            if any(not 0 <= v < len(row["labels"]) for edge in edges for v in edge):
                what = (
                    f"joints should be pairs of its {len(row['labels'])} points, found {joints!r:.60}; correct the file"
                )
                faults.add(f"{file}: skeleton of label {names[row['label_id']]}", what)
                continue
            new = (row["labels"], skeleton_of(row["labels"], edges))
            first = next(iter(found.values()), new)
            if first[0] != new[0]:
                what = f"should have the points {', '.join(first[0])}, as other labels have, found {', '.join(new[0])}"
                faults.add(f"{file}: label {names[row['label_id']]}", f"{what}; export their labels one by one")
                continue
            found.setdefault(names[row["label_id"]], new)
    return found


def _point_rules(names: Sequence[Any]) -> dict[str, Rule]:
    is_place = lambda v: type(v) is int and 0 <= v < len(names) and isinstance(names[v], str) and bool(names[v])
    pairs = lambda v: v is None or (isinstance(v, list) and all(map(_are_pair, v)))
    return {
        "label_id": ("the place of a label", is_place),
        "labels": ("a list of different names", _are_names),
        "joints": ("a list of pairs of whole numbers", pairs),
    }


def _are_names(value: Any) -> bool:
    is_list = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    return is_list and len(set(value)) == len(value)


def _are_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(v) is int and abs(v) < LARGEST for v in value)


def _item(item: dict[str, Any], file: Path, faults: Faults) -> Drawing | None:
    """What an item says of itself; None, and a fault, where that is nothing to go on with."""
    image = item.get("image") or item.get("media") or {}
    where, stated = f"{file}: item {item['id']}", _at(image, "path") or f"{item['id']}.jpg"
    if not isinstance(stated, str):
        faults.add(where, f"image.path should be text, found {stated!r:.60}; correct the file")
        return None
    name, size = f"{file.stem}/{stated}", _at(image, "size")
    if size is not None and not (_are_pair(size) and min(size) >= 0):
        faults.add(where, f"image.size should be [height, width], found {size!r:.60}; correct the file", name)
        return None
    sides = (size[0], size[1]) if size and all(size) else (0, 0)
    annotations = faults.demand(where, "annotation", item["annotations"], type=_TYPE, group=_GROUP)
    for n, row in enumerate(annotations):
        row["place"] = row["id"] if isinstance(row.get("id"), int | str) else n
    return Drawing(name, stated, where, item["id"], annotations, file.stem, sides)


class _Broken(ValueError):
    """What is wrong with an annotation."""


def _draw(
    drawing: Drawing, names: Sequence[Any], skeletons: dict[str, tuple[list[str], Skeleton]], faults: Faults
) -> list[Repair]:
    """Add the shapes, tags and captions of an item; what encloses nothing is a repair."""
    repairs = []
    parts: dict[tuple[int, str], list[tuple[str, Shape]]] = {}
    for row in drawing.content:
        kind, place = row["type"], row["place"]
        try:
            if kind == "caption":
                if not isinstance(row.get("caption"), str):
                    raise _Broken(f"caption should be text, found {row.get('caption')!r:.60}")
                drawing.captions.append(row["caption"])
                continue
            if kind not in (*DRAWN, "label"):
                repairs.append(Repair(f"{kind} of Datumaro", drawing.name, place, "encloses nothing", "dropped"))
                continue
            k = row.get("label_id")
            if type(k) is not int or not 0 <= k < len(names) or not isinstance(names[k], str) or not names[k]:
                raise _Broken(f"label_id should be the place of a label, 0 to {len(names) - 1}, found {k!r:.60}")
            if kind == "label":
                drawing.tags.append(names[k])
                continue
            if kind == "points" and names[k] not in skeletons:
                repairs.append(Repair("points of Datumaro", drawing.name, place, names[k], "dropped"))
                continue
            shape = Shape(names[k], place, ignore=str(_crowd(row)).lower() in ("true", "1", "1.0"))
            if kind == "bbox":
                shape.box = _box(row)
            elif kind == "points":
                shape.marks = _marks(row, skeletons[names[k]][0])
            else:
                shape.outline = _outline(row, drawing.size)
            parts.setdefault((row.get("group") or 0, names[k]), []).append((kind, shape))
        except _Broken as fault:
            faults.add(f"{drawing.where}: annotation {place}", f"{fault}; correct the file", drawing.name)
    for (group, _), shapes in parts.items():
        is_one = group != 0 and all([kind for kind, _ in shapes].count(kind) < 2 for kind in ("bbox", "points"))
        for instance in [[shape for _, shape in shapes]] if is_one else [[shape] for _, shape in shapes]:
            drawing.shapes.append(_joined(instance, drawing.size))
    order = {row["place"]: n for n, row in enumerate(drawing.content)}
    drawing.shapes.sort(key=lambda shape: order[shape.place])
    return repairs


def _joined(parts: list[Shape], size: tuple[int, int]) -> Shape:
    """The parts of one instance as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    outlines = [part.outline for part in parts if part.outline is not None]
    polygons = [outline for outline in outlines if isinstance(outline, Polygons)]
    rings = Polygons(tuple(ring for p in polygons for ring in p.parts))
    runs = [outline for outline in outlines if not isinstance(outline, Polygons)]
    outline: Polygons | np.ndarray | None = rings if polygons else None
    if runs:
        whole = runs[0]
        drawn = [Masks.from_polygons([rings], size).runs()[0].numpy()] if polygons and all(size) else []
        for more in (*runs[1:], *drawn):
            whole = combine(whole, more, UNION)
        outline = whole
    box = next((part.box for part in parts if part.box is not None), None)
    marks = next((part.marks for part in parts if part.marks), {})
    return Shape(first.label, first.place, outline, box, marks, any(part.ignore for part in parts))


def _crowd(row: dict[str, Any]) -> Any:
    """What an annotation says of being a crowd; None where it does not."""
    value = _at(row, "attributes", CROWD)
    return row.get(CROWD) if value is None else value


def _numbers(row: dict[str, Any], field: str, expected: str, least: int, step: int) -> list[float]:
    """The list of finite numbers of a field: at least so many, in steps."""
    values = row.get(field)
    if not isinstance(values, list) or not all(map(is_coordinate, values)) or len(values) < least or len(values) % step:
        found = f"found {values!r:.60}" if field in row else "but it is missing"
        raise _Broken(f"{field} should be {expected}, finite numbers, {found}")
    return values


def _box(row: dict[str, Any]) -> Box:
    x, y, width, height = _numbers(row, "bbox", "[x, y, width, height]", 4, 4)[:4]
    return x, y, x + width, y + height


def _outline(row: dict[str, Any], size: tuple[int, int]) -> Polygons | np.ndarray:
    if row["type"] == "polygon":
        points = _numbers(row, "points", "[x, y, x, y, …] of at least 3 points", 6, 2)
        return Polygons((np.array(points, np.float64).reshape(-1, 2),))
    if row["type"] == "ellipse":
        x1, y1, x2, y2 = _numbers(row, "points", "[x1, y1, x2, y2]", 4, 4)[:4]
        return Polygons((ellipse((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2),))
    rle = row.get("rle")
    if not isinstance(rle, dict):
        raise _Broken(f"rle should be an object with counts and size, found {rle!r:.60}")
    try:
        return Masks.from_rle([rle], size if all(size) else rle.get("size", ())).runs()[0].numpy()
    except (ValueError, TypeError, RuntimeError, IndexError, OverflowError) as error:
        raise _Broken(f"rle: {str(error).removeprefix('mask 0: ')}") from None


def _marks(row: dict[str, Any], names: list[str]) -> dict[str, Mark]:
    count = len(names)
    points = _numbers(row, "points", f"[x, y, x, y, …] of {count} points", 2 * count, 2 * count)
    seen = row.get("visibility")
    seen = [2] * count if seen is None else seen
    if (
        len(points) != 2 * count
        or not isinstance(seen, list)
        or len(seen) != count
        or any(v not in (0, 1, 2) for v in seen)
    ):
        raise _Broken(
            f"points and visibility should be of {count} points, 0, 1 or 2 each, found {row.get('visibility')!r:.60}"
        )
    return {name: (x, y, int(v)) for name, x, y, v in zip(names, points[::2], points[1::2], seen)}


# Writing --------------------------------------------------------------------------------------------------------------


def _annotations(scene: Scene, instances: Instances) -> list[dict[str, Any]]:
    """Of each instance what there is, in a group of its own; its label's id is its class."""
    masks = instances.masks
    if instances.labels is None or (instances.boxes is None and masks is None):
        raise DataError(f"{scene.name}: Datumaro needs labels and boxes or masks, found {instances.fields()}")
    drawn = masks.polygons() if masks is not None and masks.form == "polygons" else None
    rles = masks.rle() if masks is not None else None
    rows: list[dict[str, Any]] = []
    for n in range(len(instances)):
        parts: list[dict[str, Any]] = []
        if instances.boxes is not None:
            x1, y1, x2, y2 = instances.boxes[n].tolist()
            parts.append({"type": "bbox", "bbox": [x1, y1, x2 - x1, y2 - y1]})
        if drawn is not None and drawn[n].parts and not drawn[n].holes:
            parts += [{"type": "polygon", "points": ring.ravel().tolist()} for ring in drawn[n].parts]
        elif rles is not None:
            parts.append({"type": "mask", "rle": rles[n]})
        if instances.keypoints is not None:
            marks = list(marks_of(instances, n).values())
            points = [v for x, y, _ in marks for v in (x, y)]
            parts.append({"type": "points", "points": points, "visibility": [seen for _, _, seen in marks]})
        attributes = {} if instances.ignore is None else {CROWD: bool(instances.ignore[n])}
        common = {"label_id": int(instances.labels[n]), "group": n + 1, "z_order": 0}
        rows += [{**part, **common, "attributes": attributes} for part in parts]
    return rows
