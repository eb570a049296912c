"""Label Studio: a JSON list of tasks, each with a picture and what was annotated on it; exported as JSON or as JSON-MIN.

*.json in the folder, or named itself; a file that is called like a split is one. The pictures are in `images/` or `images/<split>/`,
or anywhere below: a task names its own by an address or a place on a server (`/data/upload/1/0a1b2c3d-name.jpg`,
`/data/local-files/?d=…`), of which the last folders and the name count, without the digits in front of an upload. Rectangles,
polygons and ellipses are instances; a keypoint with `parentID` belongs to that instance; choices are labels of the picture.
Keypoints of nothing and other results are left out and counted; strokes of a brush are refused. Of several annotations of a task
the first that was not cancelled counts, a task without one is left out. Classes are in the order of the labelling interface, where
`config.xml` has it, else sorted by name.

Convention: coordinates are percents of width and height, continuous from 0. Rectangles are turned clockwise about their first
corner, ellipses about their centres, by `rotation` degrees, and are then outlines.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from videre.data.dataset import Dataset, Repair
from videre.data.drawn import (
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
    rectangle,
    rotated,
    skeleton_of,
    unsaid_boxes,
)
from videre.data.faults import Faults
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pictures import PictureFinder, plain_name
from videre.data.rules import LARGEST
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import read_bytes, write_atomic
from videre.images.listing import SUFFIXES, list_files
from videre.structures import Categories, Instances, Polygons, Scene, Schema

LOOKS_FOR = (
    "Label Studio: *.json, a list of tasks as exported (JSON or JSON-MIN), with the pictures in images/ or below"
)
OWN = frozenset({".json", ".xml"})
HOLDS = {"boxes", "instances.labels", "masks", "keypoints", "visibility", "labels"}
CONFIG = "config.xml"
"""The labelling interface, as Label Studio shows it under "Code"."""
SHAPES = ("rectangle", "polygon", "ellipse")
REGIONS = (*SHAPES, "keypoint", "brush", "bitmask")
"""What a type of result begins with; "labels" follows, or it stands alone and shares its id with a result of labels."""
CHOICE = ("choice", "choices", "class")
"""Keys under which JSON-MIN has a single choice."""
LOCAL = "/data/local-files/?d="
_KEYS = re.compile(
    rb'"(result|completed_by|was_cancelled|lead_time|original_width|from_name|annotation_id|annotator|file_upload|\w+labels)"\s*:'
)
_UPLOAD = re.compile(r"^(?:.*/)?[0-9a-f]{8}-(.+)$")


def recognise(path: Path) -> str:
    """What was found, or "" when there is no list of tasks."""
    return ", ".join(file.name for file in _files(path)[:4])


def splits(path: Path) -> list[str]:
    """Names of the files that are called like splits."""
    return sorted({_split_of(file) for file in _files(path)} - {""})


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read all exports of a folder, or one.

    Args:
        skip_broken: leave out and count the results that cannot be used, instead of refusing.

    Raises:
        DataError: all faults at once; no picture is there.
    """
    files, faults, repairs = _files(path), Faults(skip_broken), list[Repair]()
    root = path if path.is_dir() else path.parent
    things, names, pictures = _config(root / CONFIG)
    there: list[Drawing] = []
    for file, content in load_each(files, read_json, faults).items():
        roots = [root / "images" / file.stem, root / file.stem, root / "images", root]
        finder = PictureFinder(roots if _split_of(file) else roots[2:])
        drawings = _tasks(file, content, finder, faults, repairs)
        found, missing = locate(drawings, finder, faults, file) if drawings else ([], [])
        there, repairs = there + found, repairs + missing
    for drawing in there:
        repairs += _draw(drawing, things, names, pictures, faults)
    repairs += faults.settle()
    things = things or sorted({shape.label for d in there for shape in d.shapes})
    pictures = pictures or sorted({tag for d in there for tag in d.tags})
    names = names or sorted({name for d in there for shape in d.shapes for name in shape.marks})
    if not things and not pictures:
        raise DataError(f"{files[0]}: has no annotation with a label that encloses anything, and no choice")
    schema = Schema(
        things=Categories(tuple(things)) if things else None,
        pictures=Categories(tuple(pictures)) if pictures else None,
        skeleton=skeleton_of(names, ()) if names and things else None,
    )
    of = {d.name: d.split for d in there}
    repairs = [r for r in repairs if split is None or of.get(r.picture, split) == split]
    return gather(there, schema, files[0], path.name + (f" {split}" if split else ""), split, repairs)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write images/<split>/, <split>.json and config.xml. Returns the losses.

    Masks that are no polygons are outlined along their pixels; of a mask of several parts the largest is kept, without holes.

    Raises DataError where an instance cannot be held whole and `lossy` is not set; where config.xml is there already with
    other labels.
    """
    lost = losses(dataset, HOLDS, "Label Studio", lossy)
    schema = dataset.schema
    if not dataset.fields & {"boxes", "masks", "labels"}:
        raise DataError(f"Label Studio holds shapes and choices; {dataset.title} has {sorted(dataset.fields)}")
    config = _interface(schema, "masks" in dataset.fields)
    if (path / CONFIG).exists() and _config(path / CONFIG) != _config_of(config):
        raise DataError(f"{path / CONFIG}: is there already, with other labels; name a new folder")
    tasks, dropped = [], 0
    for n, (filename, scene) in enumerate(placed(dataset, path / "images" / split), start=1):
        results: list[dict[str, Any]] = []
        if scene.labels is not None and schema.pictures is not None and len(scene.labels):
            chosen = [schema.pictures[k] for k in scene.labels.tolist()]
            results.append({"id": "choice", "type": "choices", "from_name": "choice", "value": {"choices": chosen}})
        if scene.instances is not None and schema.things is not None:
            more, unheld = _results(scene, scene.instances, schema)
            if unheld and not lossy:
                raise DataError(
                    f"{scene.name}: Label Studio holds a box or one outline without holes of an instance, and keypoints that "
                    f"are seen; of number {unheld[0]} there is more; write another format, or allow the loss (lossy)"
                )
            results, dropped = results + more, dropped + len(unheld)
        for result in results:
            result |= {"to_name": "image", "original_width": scene.size[1], "original_height": scene.size[0]}
            result["image_rotation"] = 0
        image = LOCAL + quote(f"images/{split}/{filename}")
        annotation = {"id": n, "was_cancelled": False, "ground_truth": False, "result": results}
        tasks.append({"id": n, "data": {"image": image}, "annotations": [annotation], "predictions": []})
    write_atomic(path / f"{split}.json", json.dumps(tasks).encode())
    write_atomic(path / CONFIG, config)
    return lost + ([f"boxes, outlines or keypoints of {dropped} instances"] if dropped else [])


# The labelling interface ----------------------------------------------------------------------------------------------

Config = tuple[list[str], list[str], list[str]]
"""Names of things, keypoints and classes of pictures."""


def _config(file: Path) -> Config:
    return _config_of(read_bytes(file), file) if file.is_file() else ([], [], [])


def _config_of(data: bytes, file: Path = Path(CONFIG)) -> Config:
    if any(mark in data.replace(b"\0", b"") for mark in (b"<!DOCTYPE", b"<!ENTITY")):
        raise DataError(f"{file}: has a document type or entities, which Label Studio does not write; copy it again")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{file}: not an XML file ({error}); copy the labelling interface again") from None
    found: Config = ([], [], [])
    for element in root.iter():
        tag = element.tag.lower()
        place = 2 if tag == "choices" else 1 if tag == "keypointlabels" else 0 if tag.endswith("labels") else None
        values = [child.get("value", "").strip() for child in element.iter() if child.tag in ("Label", "Choice")]
        if place is not None:
            found[place].extend(value for value in dict.fromkeys(values) if value and value not in found[place])
    return found


def _interface(schema: Schema, outlines: bool) -> bytes:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image"})
    kind = "PolygonLabels" if outlines else "RectangleLabels"
    skeleton = schema.skeleton.names if schema.skeleton is not None and schema.things is not None else ()
    rows = ((kind, "label", "Label", schema.things), ("KeyPointLabels", "keypoint", "Label", skeleton))
    for tag, name, child, values in (*rows, ("Choices", "choice", "Choice", schema.pictures)):
        if values:
            control = ElementTree.SubElement(view, tag, {"name": name, "toName": "image"})
            control.attrib |= {"choice": "multiple"} if tag == "Choices" else {}
            for value in values:
                ElementTree.SubElement(control, child, {"value": value})
    ElementTree.indent(view)
    return ElementTree.tostring(view, "utf-8")


# Reading files --------------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    files = [path] if path.suffix.lower() == ".json" and path.is_file() else list_files(path, ".json")
    return [file for file in files if _is_tasks(file)]


def _is_tasks(file: Path) -> bool:
    head = ends(file)
    return re.match(rb"\s*\[\s*\{", head) is not None and len(set(_KEYS.findall(head))) >= 2


def _split_of(file: Path) -> str:
    return file.stem if SPLIT_NAME.fullmatch(file.stem) else ""


def _tasks(file: Path, content: Any, finder: PictureFinder, faults: Faults, repairs: list[Repair]) -> list[Drawing]:
    """The tasks of a file that have an annotation; the results of that are what the drawing is of."""
    drawings: list[Drawing] = []
    seen: set[str | int] = set()
    anything = ("text or a number, or absent", lambda v: v is None or isinstance(v, str | int))
    for place, task in enumerate(faults.demand(file, "task", content, id=anything)):
        identity = place if task.get("id") is None else task["id"]
        where = f"{file}: task {identity}"
        is_min = not isinstance(task.get("annotations"), list)
        url = _url(task if is_min else task.get("data"))
        if url is None:
            faults.add(where, "data.image should name a picture, but nothing there does; correct the file")
            continue
        stated, split = _stated(url, finder), _split_of(file)
        name = f"{split}/{stated}" if split and not stated.startswith((f"{split}/", f"images/{split}/")) else stated
        name = name.removeprefix("images/")
        if is_min and identity in seen:
            repairs.append(Repair("another annotation", name, identity, "the first of the task counts", "dropped"))
            continue
        seen.add(identity)
        valid = (
            [task] if is_min else [a for a in task["annotations"] if isinstance(a, dict) and not a.get("was_cancelled")]
        )
        if not valid:
            repairs.append(Repair("task without annotation", name, identity, "nothing, or all cancelled", "dropped"))
            continue
        for other in valid[1:]:
            found = f"{other.get('id', '?')}: the first of the task counts"
            repairs.append(Repair("another annotation", name, identity, found, "dropped"))
        results = _of_min(task) if is_min else valid[0].get("result")
        kept = faults.demand(where, "result", results if isinstance(results, list) else [results])
        size = _size(kept, where, name, faults)
        if size is not None:
            drawings.append(Drawing(name, stated, where, identity, kept, split, size))
    return drawings


def _url(values: Any) -> str | None:
    """What of the data names the picture: `image`, else what looks like it."""
    texts = {k: v for k, v in values.items() if isinstance(v, str)} if isinstance(values, dict) else {}
    if texts.get("image"):
        return texts["image"]
    return next((text for text in texts.values() if plain_name(text).lower().endswith(SUFFIXES)), None)


def _stated(url: str, finder: PictureFinder) -> str:
    """The name of the picture in an address, without what uploading put in front unless it is so on disk."""
    local = url.partition("?d=")[2]
    name = unquote(local) if local else plain_name(url)
    name = name.removeprefix("data/upload/")
    upload = _UPLOAD.match(name)
    try:
        return upload[1] if upload and finder.find(name) is None else name
    except DataError:  # several may be meant: told where it is looked for
        return name


def _of_min(task: dict[str, Any]) -> list[Any]:
    """The results of a row of JSON-MIN, as JSON has them."""
    results: list[Any] = []
    for key, value in task.items():
        for n, row in enumerate(value if isinstance(value, list) else [value] if isinstance(value, dict) else []):
            kind = (
                next((k for k in row if k.endswith("labels") or k == "choices"), None)
                if isinstance(row, dict)
                else None
            )
            if kind is not None:
                size = {side: row[side] for side in ("original_width", "original_height") if side in row}
                results.append({"id": f"{key} {n}", "type": kind, "value": row, **size})
        if key in CHOICE and isinstance(value, str):
            results.append({"id": key, "type": "choices", "value": {"choices": [value]}})
    return results


def _size(results: list[dict[str, Any]], where: str, name: str, faults: Faults) -> tuple[int, int] | None:
    """Height and width of the picture, zeros where nothing says them; None, and a fault, where they are impossible."""
    for n, result in enumerate(results):
        sides = [result.get(f"original_{side}") for side in ("height", "width")]
        if sides == [None, None]:
            continue
        if not all(isinstance(v, int | float) and 0 < v < LARGEST and v % 1 == 0 for v in sides):
            what = (
                f"original_height and original_width should be numbers of pixels, found {sides!r:.60}; correct the file"
            )
            faults.add(f"{where}: result {result.get('id', n)}", what, name)
            return None
        return int(sides[0]), int(sides[1])  # type: ignore[arg-type]
    return 0, 0


class _Broken(ValueError):
    """What is wrong with a result."""


def _draw(drawing: Drawing, things: list[str], names: list[str], pictures: list[str], faults: Faults) -> list[Repair]:
    """Add the shapes and tags of a task; what encloses nothing is a repair."""
    repairs: list[Repair] = []
    shapes: dict[Any, Shape] = {}
    points: list[tuple[Any, Any, dict[str, Any], str]] = []
    labels_of = {
        r.get("id"): r for r in drawing.content if r.get("type") == "labels" and isinstance(r.get("id"), str | int)
    }
    drawn = {r.get("id") for r in drawing.content if r.get("type") in REGIONS}
    for n, result in enumerate(drawing.content):
        identity = result["id"] if isinstance(result.get("id"), str | int) else n
        try:
            kind, value = result.get("type"), result.get("value", {})
            if not isinstance(kind, str) or not isinstance(value, dict):
                raise _Broken(f"type should be text and value an object, found {kind!r:.60} and {value!r:.60}")
            base = kind.removesuffix("labels")
            if kind == "labels":
                if identity in drawn:
                    continue
                base = "polygon" if "points" in value else "ellipse" if "radiusX" in value else "rectangle"
            if kind == "choices" and "x" not in value and "points" not in value and result.get("parentID") is None:
                drawing.tags += _chosen(value, pictures)
            elif base in ("brush", "bitmask"):
                raise _Broken("strokes of a brush are run lengths of Label Studio's own; export the project as COCO")
            elif base not in (*SHAPES, "keypoint"):
                repairs.append(Repair(f"{kind} of Label Studio", drawing.name, identity, "encloses nothing", "dropped"))
            else:
                label = _label(value, kind, labels_of.get(identity), names if base == "keypoint" else things)
                if result.get("image_rotation"):
                    turn = result["image_rotation"]
                    raise _Broken(
                        f"image_rotation should be 0, found {turn!r:.60}; turn the picture itself, annotate it so"
                    )
                if base == "keypoint":
                    points.append((identity, result.get("parentID"), value, label))
                elif identity in shapes:
                    raise _Broken("id should be that of one result, found another")
                else:
                    shapes[identity] = _shape(base, value, label, identity, drawing.size)
        except _Broken as fault:
            faults.add(f"{drawing.where}: result {identity}", _cured(str(fault)), drawing.name)
    for identity, parent, value, label in points:
        try:
            owner = shapes.get(parent) if isinstance(parent, str | int) else None
            if owner is None:
                repairs.append(Repair("keypoint of Label Studio", drawing.name, identity, label, "dropped"))
                continue
            if label in owner.marks:
                raise _Broken(f"keypointlabels should differ in one instance, found {label!r} again")
            x, y = _pixels(value, ("x", "y"), drawing.size)
            mark: Mark = (x, y, 2)
            owner.marks[label] = mark
        except _Broken as fault:
            faults.add(f"{drawing.where}: result {identity}", _cured(str(fault)), drawing.name)
    drawing.shapes += shapes.values()
    return repairs


def _cured(fault: str) -> str:
    return fault if ";" in fault else f"{fault}; correct the file"


def _chosen(value: dict[str, Any], known: list[str]) -> list[str]:
    names = value.get("choices")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _Broken(f"choices should be a list of names, found {names!r:.60}")
    strange = next((name for name in names if known and name not in known), None)
    if strange is not None:
        raise _Broken(f"choices should be of {CONFIG}, {', '.join(known):.200}, found {strange!r}")
    return names


def _label(value: dict[str, Any], kind: str, labels: dict[str, Any] | None, known: list[str]) -> str:
    """The one label of a region, its own or that of the labels with its id."""
    field = kind if kind.endswith("labels") else "labels"
    values = value if kind.endswith("labels") else (labels or {}).get("value")
    names = values.get(field) if isinstance(values, dict) else None
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str) or not names[0].strip():
        raise _Broken(f"{field} should be a list of one name, found {names!r:.60}")
    if known and names[0].strip() not in known:
        raise _Broken(f"{field} should be of {CONFIG}, {', '.join(known):.200}, found {names[0]!r}")
    return names[0].strip()


def _pixels(value: dict[str, Any], fields: Sequence[str], size: tuple[int, int]) -> list[float]:
    """Percents of width and height, in turn, as pixels."""
    for field in fields:
        if not is_coordinate(value.get(field)):
            found = f"found {value[field]!r:.60}" if field in value else "but it is missing"
            raise _Broken(f"{field} should be a finite number, percent, {found}")
    return [value[field] / 100 * size[1 - n % 2] for n, field in enumerate(fields)]


def _shape(kind: str, value: dict[str, Any], label: str, identity: str | int, size: tuple[int, int]) -> Shape:
    degrees = value.get("rotation") or 0
    if not is_coordinate(degrees):
        raise _Broken(f"rotation should be a finite number of degrees, found {degrees!r:.60}")
    if kind == "polygon":
        points = value.get("points")
        pairs = isinstance(points, list) and all(isinstance(p, list) and len(p) == 2 for p in points)
        if (
            not isinstance(points, list)
            or not pairs
            or len(points) < 3
            or not all(is_coordinate(v) for p in points for v in p)
        ):
            raise _Broken(f"points should be at least 3 pairs [x, y] of finite numbers, percent, found {points!r:.60}")
        # percents are not exact: what was meant to be a whole pixel is one again
        ring = (np.array(points, np.float64) / 100 * (size[1], size[0])).round(10)
        return Shape(label, identity, Polygons((ring,)))
    if kind == "ellipse":
        x, y, rx, ry = _pixels(value, ("x", "y", "radiusX", "radiusY"), size)
        return Shape(label, identity, Polygons((rotated(ellipse(x, y, rx, ry), (x, y), degrees),)))
    x, y, width, height = _pixels(value, ("x", "y", "width", "height"), size)
    if degrees % 360 == 0:
        return Shape(label, identity, box=(x, y, x + width, y + height))
    return Shape(label, identity, Polygons((rotated(rectangle(x, y, x + width, y + height), (x, y), degrees),)))


# Writing --------------------------------------------------------------------------------------------------------------


def _results(scene: Scene, instances: Instances, schema: Schema) -> tuple[list[dict[str, Any]], list[int]]:
    """The results of the instances, and the numbers of those that they do not hold whole."""
    things, masks, (height, width) = schema.things, instances.masks, scene.size
    if instances.labels is None or things is None or (instances.boxes is None and masks is None):
        raise DataError(f"{scene.name}: Label Studio needs labels and boxes or masks, found {instances.fields()}")
    outlines = masks.polygons() if masks is not None else None
    dropped = set(unsaid_boxes(scene, instances)) if masks is not None else set()
    rows: list[dict[str, Any]] = []
    for n in range(len(instances)):
        name = things[int(instances.labels[n])]
        value: dict[str, Any]
        if outlines is not None and outlines[n].parts:
            ring = max(outlines[n].parts, key=lambda ring: float(np.ptp(ring, 0).prod()))
            dropped |= {n} if len(outlines[n].parts) > 1 or outlines[n].holes else set()
            value = {"points": (ring / (width, height) * 100).tolist(), "closed": True}
            kind = "polygonlabels"
        else:
            dropped |= {n} if outlines is not None else set()
            x1, y1, x2, y2 = instances.boxes[n].tolist() if instances.boxes is not None else [0.0] * 4
            value = {"x": x1 / width * 100, "y": y1 / height * 100, "rotation": 0}
            value |= {"width": (x2 - x1) / width * 100, "height": (y2 - y1) / height * 100}
            kind = "rectanglelabels"
        rows.append({"id": f"r{n}", "type": kind, "from_name": "label", "value": {**value, kind: [name]}})
        marks = marks_of(instances, n) if schema.skeleton is not None else {}
        dropped |= {n} if any(seen == 1 for _, _, seen in marks.values()) else set()
        for j, (label, (x, y, seen)) in enumerate(
            zip(schema.skeleton.names if schema.skeleton else (), marks.values())
        ):
            if seen:
                at = {"x": x / width * 100, "y": y / height * 100, "width": 0.5, "keypointlabels": [label]}
                named = {"id": f"r{n}k{j}", "parentID": f"r{n}", "type": "keypointlabels", "from_name": "keypoint"}
                rows.append({**named, "value": at})
    return rows, sorted(dropped)
