"""CVAT for images 1.1: one XML file with all shapes of many pictures.

`annotations.xml` (or any *.xml whose root is <annotations>) lies in the folder, or is named itself; the pictures are in
`images/`, with or without folders, or beside it. Boxes, polygons, ellipses and masks are instances; a skeleton is an instance
with keypoints, which its label's parts in <meta> name; tags are labels of the picture. Polylines, loose points and cuboids
enclose nothing: they are left out and counted. `subset` of an image is its split; so is the name of a file or of its folder,
where it is called like one. Classes are in the order of <meta>, else sorted by name. Groups join nothing: CVAT's hold several
instances.

Convention: coordinates are continuous pixels from 0. Boxes and ellipses are turned clockwise by `rotation` degrees about
their centres, and are then outlines. A mask's `rle` counts 0s and 1s in turn, zeros first, row by row in its window. A
keypoint is 2, `occluded` 1, `outside` 0.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from pathlib import Path

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
    rectangle,
    rotated,
    runs_of,
    skeleton_of,
    unsaid_boxes,
)
from videre.data.faults import Faults
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pictures import PictureFinder
from videre.data.rules import LARGEST
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import read_bytes, write_atomic
from videre.images.listing import list_files, list_folders
from videre.structures import Categories, Instances, Polygons, Scene, Schema, Skeleton

LOOKS_FOR = (
    "CVAT: annotations.xml (or another *.xml) whose root is <annotations>, with the pictures in images/ or beside it"
)
OWN = frozenset({".xml"})
HOLDS = {"boxes", "instances.labels", "masks", "keypoints", "visibility", "labels"}
FILE = "annotations.xml"
OPEN = ("polyline", "points", "cuboid")
"""Shapes that enclose nothing."""
_ROOT = re.compile(rb"<annotations[\s>]")
_CONTENT = re.compile(rb"<(version|meta|image|track)[\s>]")
_NO_THINGS = ("tag", *OPEN)
"""Types of labels that are not those of instances."""


def recognise(path: Path) -> str:
    """What was found, or "" when there is no XML file of CVAT."""
    return ", ".join(file.relative_to(path).as_posix() if file != path else file.name for file in _files(path)[:4])


def splits(path: Path) -> list[str]:
    """Subsets of images, and names of files or folders that are called like splits."""
    roots = load_each(_files(path), _root, Faults(skip=True))
    return sorted({_split_of(image, file) for file, root in roots.items() for image in root.iterfind("image")} - {""})


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read all files of a folder, or one.

    Args:
        skip_broken: leave out and count the shapes that cannot be used, instead of refusing.

    Raises:
        DataError: all faults at once; a file that is of a video; no picture is there.
    """
    files, faults, repairs = _files(path), Faults(skip_broken), list[Repair]()
    root = path if path.is_dir() else path.parent
    roots = load_each(files, _root, faults)
    labels = _Labels(roots.values())
    drawings: dict[str, Drawing] = {}
    for file, xml in roots.items():
        for place, image in enumerate(xml.iterfind("image")):
            drawing = _image(image, place, file, faults)
            if drawing is not None:
                first = drawings.setdefault(drawing.name, drawing)
                if first is not drawing:
                    faults.add(drawing.where, f"name {drawing.name!r} is that of {first.where}, too; rename one")
    if not drawings and not faults.found:
        raise DataError(f"{files[0]}: has no <image>; export the task again, with its images annotated")
    places = [file.parent for file in files] if len({file.parent for file in files}) > 1 else []
    finder = PictureFinder([root / "images", root, *places])
    there, missing = locate(list(drawings.values()), finder, faults, files[0]) if drawings else ([], [])
    for drawing in there:
        repairs += _draw(drawing, labels, faults)
    skeleton = labels.skeleton(files[0], faults)
    repairs += faults.settle()
    things, pictures = labels.classes(there)
    if things is None and pictures is None:
        raise DataError(
            f"{files[0]}: has no label, neither in <meta> nor on a shape that encloses anything, nor on a tag"
        )
    names = {d.name for d in drawings.values() if split in (None, d.split)} | {"-"}
    return gather(
        there,
        Schema(things=things, pictures=pictures, skeleton=skeleton if things is not None else None),
        files[0],
        path.name + (f" {split}" if split else ""),
        split,
        [r for r in missing + repairs if r.picture in names],
    )


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write images/<split>/ and annotations.xml, whose images of other subsets stay. Returns the losses.

    Outlines of one part are polygons, other masks are run lengths. An instance is a skeleton where its box is the extent of
    its keypoints and it has no mask; where it has more, the keypoints are lost.

    Raises DataError where an instance cannot be held whole, and `lossy` is not set.
    """
    lost = losses(dataset, HOLDS, "CVAT", lossy)
    schema = dataset.schema
    if not dataset.fields & {"boxes", "masks", "keypoints", "labels"}:
        raise DataError(f"CVAT holds shapes and tags; {dataset.title} has {sorted(dataset.fields)}")
    both = sorted({*(schema.things or ())} & {*(schema.pictures or ())})
    if both:
        raise DataError(
            f"{dataset.title}: {both[0]!r} is a class of things and of pictures, CVAT has one label of a name"
        )
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    root.append(_meta(schema, path.name))
    if (path / FILE).exists():
        before = _root(path / FILE)
        mine, theirs = ([[e.text for e in label] for label in r.iterfind("meta//label")] for r in (root, before))
        if mine != theirs:
            raise DataError(f"{path / FILE}: is there already, with other labels; name a new folder")
        root.extend(image for image in before.iterfind("image") if image.get("subset") != split)
    first = len(root.findall("image"))
    unheld = 0
    for n, (filename, scene) in enumerate(placed(dataset, path / "images" / split)):
        height, width = scene.size
        image = ElementTree.SubElement(root, "image", {"id": str(first + n), "name": filename, "subset": split})
        image.attrib |= {"width": str(width), "height": str(height)}
        if scene.labels is not None and schema.pictures is not None:
            for label in scene.labels.tolist():
                ElementTree.SubElement(image, "tag", {"label": schema.pictures[label], "source": "manual"})
        if scene.instances is not None and schema.things is not None:
            dropped = _add_instances(image, scene, scene.instances, schema)
            if dropped and not lossy:
                raise DataError(
                    f"{scene.name}: CVAT holds a box, or an outline, or keypoints of an instance, and of number "
                    f"{dropped[0]} there is more; write another format, or allow the loss (lossy)"
                )
            unheld += len(dropped)
    ElementTree.indent(root)
    write_atomic(path / FILE, ElementTree.tostring(root, "utf-8", xml_declaration=True))
    return lost + ([f"boxes, masks or keypoints of {unheld} instances"] if unheld else [])


# Labels ---------------------------------------------------------------------------------------------------------------


class _Labels:
    """What <meta> says of labels, over several files."""

    def __init__(self, roots: Iterable[ElementTree.Element]) -> None:
        self.types: dict[str, str] = {}
        self.parts: dict[str, list[str]] = {}
        self.edges: dict[str, list[tuple[str, str]]] = {}
        for root in roots:
            for label in root.iterfind("meta//labels/label"):
                name, parent = ((label.findtext(field) or "").strip() for field in ("name", "parent"))
                if name and parent:
                    parts = self.parts.setdefault(parent, [])
                    parts += [name] if name not in parts else []
                elif name:
                    self.types.setdefault(name, (label.findtext("type") or "any").strip())
                    self.edges.setdefault(name, _edges(label.findtext("svg") or ""))

    def skeleton(self, file: Path, faults: Faults) -> Skeleton | None:
        """That of the labels that have parts; a fault where they differ."""
        if not self.parts:
            return None
        first, names = next(iter(self.parts.items()))
        for label, others in self.parts.items():
            if sorted(others) != sorted(names):
                faults.add(
                    f"{file}: label {label}",
                    f"its skeleton should have the points of {first}'s, {', '.join(names)}, found {', '.join(others)}; "
                    "export their tasks one by one",
                )
        place = {name: j for j, name in enumerate(names)}
        edges = [(place[a], place[b]) for a, b in self.edges.get(first, []) if a in place and b in place]
        return skeleton_of(names, edges)

    def classes(self, drawings: list[Drawing]) -> tuple[Categories | None, Categories | None]:
        """Those of instances and of pictures: what is used so, and what <meta> has for that alone."""
        drawn = {shape.label for d in drawings for shape in d.shapes}
        tags = {tag for d in drawings for tag in d.tags}
        listed = list(self.types) or sorted(drawn | tags)
        is_thing = lambda name: name in drawn or (self.types.get(name, "tag") not in _NO_THINGS and name not in tags)
        things = tuple(name for name in listed if is_thing(name))
        pictures = tuple(name for name in listed if name in tags or self.types.get(name) == "tag")
        return (Categories(things) if things else None), (Categories(pictures) if pictures else None)


def _edges(svg: str) -> list[tuple[str, str]]:
    """Pairs of names that the drawing of a skeleton joins."""
    fields = lambda tag: [dict(re.findall(r'([\w-]+)="([^"]*)"', text)) for text in re.findall(rf"<{tag}\b[^>]*", svg)]
    names = {node.get("data-node-id", ""): node.get("data-label-name", "") for node in fields("circle")}
    pairs = [(line.get("data-node-from", ""), line.get("data-node-to", "")) for line in fields("line")]
    return [(names[a], names[b]) for a, b in pairs if a in names and b in names]


# Reading one file -----------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    """The file itself, or those of a folder and of its folders that are called like splits."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".xml" and _is_cvat(path) else []
    folders = [path, *(p for p in list_folders(path) if SPLIT_NAME.fullmatch(p.name))]
    return [file for folder in folders for file in list_files(folder, ".xml") if _is_cvat(file)]


def _is_cvat(file: Path) -> bool:
    head = ends(file)
    return bool(_ROOT.search(head) and _CONTENT.search(head))


def _root(file: Path) -> ElementTree.Element:
    """The root of a file; DataError where it is no XML, or of a video."""
    data = read_bytes(file)
    if any(mark in data.replace(b"\0", b"") for mark in (b"<!DOCTYPE", b"<!ENTITY")):
        raise DataError(f"{file}: has a document type or entities, which CVAT does not write; export it again")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the others: encodings that nobody knows
        raise DataError(f"{file}: not an XML file ({error}); export it again") from None
    if root.find("track") is not None:
        raise DataError(f'{file}: is of a video, with <track>; export the task as "CVAT for images 1.1"')
    return root


def _split_of(image: ElementTree.Element, file: Path) -> str:
    named = (name for name in (file.stem, file.parent.name) if SPLIT_NAME.fullmatch(name))
    return (image.get("subset") or "").strip() or next(named, "")


def _image(image: ElementTree.Element, place: int, file: Path, faults: Faults) -> Drawing | None:
    """What an <image> says of itself; None, and a fault, where it has no name or an impossible size."""
    identity = image.get("id") or f"at place {place}"
    where, stated = f"{file}: image {identity}", (image.get("name") or "").strip()
    if not stated:
        faults.add(where, "name should be that of its picture, but it is missing; correct the file")
        return None
    subset = (image.get("subset") or "").strip()
    name = f"{subset}/{stated}" if subset and not stated.startswith(f"{subset}/") else stated
    sides = []
    for side in ("height", "width"):
        text = image.get(side) or "0"
        if not _is_natural(text):
            faults.add(where, f"{side} should be a whole number of pixels, found {text!r:.60}; correct the file", name)
            return None
        sides.append(int(text))
    size = (sides[0], sides[1]) if all(sides) else (0, 0)
    number = int(identity) if _is_natural(identity) else identity
    return Drawing(name, name, f"{where} ({stated})", number, image, _split_of(image, file), size)


def _is_natural(text: str) -> bool:
    return text.isdecimal() and len(text) < 11 and int(text) < LARGEST


class _Broken(ValueError):
    """What is wrong with a shape."""


def _draw(drawing: Drawing, labels: _Labels, faults: Faults) -> list[Repair]:
    """Add the shapes and tags of an image; what encloses nothing is a repair."""
    repairs = []
    for place, element in enumerate(drawing.content):
        tag, label = element.tag, (element.get("label") or "").strip()
        where = f"{drawing.where}, {tag} at place {place}"
        try:
            if tag not in _READERS and tag not in (*OPEN, "tag"):
                continue
            if not label:
                raise _Broken("label should be a name, but it is missing")
            if labels.types and label not in labels.types:
                raise _Broken(f"label should be one of <meta>, {', '.join(labels.types):.200}, found {label!r}")
            if tag == "tag":
                drawing.tags.append(label)
            elif tag in OPEN:
                repairs.append(Repair(f"{tag} of CVAT", drawing.name, place, label, "dropped"))
            elif tag == "skeleton":
                drawing.shapes.append(Shape(label, place, marks=_marks(element, labels.parts.get(label, []))))
            else:
                outline, box = _READERS[tag](element, drawing.size)
                drawing.shapes.append(Shape(label, place, outline, box))
        except _Broken as fault:
            faults.add(where, f"{fault}; correct the file", drawing.name)
    return repairs


Outline = tuple[Polygons | np.ndarray | None, Box | None]


def _number(element: ElementTree.Element, field: str, default: str | None = None) -> float:
    text = element.get(field, default)
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = float("nan")
    if not is_coordinate(value):
        found = "but it is missing" if text is None else f"found {text!r:.60}"
        raise _Broken(f"{field} should be a finite number below {LARGEST}, {found}")
    return value


def _whole(element: ElementTree.Element, field: str) -> int:
    value = _number(element, field)
    if value % 1 or value < 0:
        raise _Broken(f"{field} should be a whole number of pixels, found {element.get(field)!r}")
    return int(value)


def _points(element: ElementTree.Element, least: int) -> np.ndarray:
    text = element.get("points") or ""
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    try:
        values = [[float(v) for v in pair] for pair in pairs]
    except ValueError:
        values = [[]]
    wrong = next((n for n, p in enumerate(values) if len(p) != 2 or not all(map(is_coordinate, p))), None)
    if wrong is not None or len(values) < least:
        found = f"found {text!r:.60}" if wrong is not None else f"found {len(values)}"
        raise _Broken(f"points should be x,y;x,y;… with at least {least} of them, finite numbers, {found}")
    return np.array(values, np.float64)


def _box(element: ElementTree.Element, size: tuple[int, int]) -> Outline:
    x1, y1, x2, y2 = (_number(element, field) for field in ("xtl", "ytl", "xbr", "ybr"))
    degrees = _number(element, "rotation", "0")
    if degrees % 360 == 0:
        return None, (x1, y1, x2, y2)
    return Polygons((rotated(rectangle(x1, y1, x2, y2), ((x1 + x2) / 2, (y1 + y2) / 2), degrees),)), None


def _polygon(element: ElementTree.Element, size: tuple[int, int]) -> Outline:
    return Polygons((_points(element, 3),)), None


def _ellipse(element: ElementTree.Element, size: tuple[int, int]) -> Outline:
    cx, cy, rx, ry = (_number(element, field) for field in ("cx", "cy", "rx", "ry"))
    return Polygons((rotated(ellipse(cx, cy, rx, ry), (cx, cy), _number(element, "rotation", "0")),)), None


def _mask(element: ElementTree.Element, size: tuple[int, int]) -> Outline:
    left, top, width, height = (_whole(element, field) for field in ("left", "top", "width", "height"))
    if left + width > size[1] or top + height > size[0]:
        raise _Broken(
            f"the window should lie in the picture, {size[1]}x{size[0]} (width x height), found left {left}, top {top}, "
            f"width {width}, height {height}"
        )
    text = element.get("rle") or ""
    words = [word.strip() for word in text.split(",")]
    counts = [int(word) if _is_natural(word) else -1 for word in words]
    if -1 in counts or sum(counts) != width * height:
        found = f"found {text!r:.60}" if -1 in counts else f"whose sum is {sum(counts)}"
        raise _Broken(f"rle should be counts of the {width * height} pixels of its window, {found}")
    pixels = np.repeat(np.arange(len(counts)) % 2, counts).astype(np.uint8)
    return runs_of(pixels.reshape(height, width), left, top, size), None


def _marks(skeleton: ElementTree.Element, names: list[str]) -> dict[str, Mark]:
    marks: dict[str, Mark] = {}
    for point in skeleton.iterfind("points"):
        label = (point.get("label") or "").strip()
        if label not in names:
            raise _Broken(f"its points should be of {', '.join(names) or 'labels in <meta>'}, found {label!r}")
        if label in marks:
            raise _Broken(f"it should have one point {label!r}, found another")
        (x, y), *_ = _points(point, 1).tolist()
        marks[label] = (x, y, 0 if point.get("outside") == "1" else 1 if point.get("occluded") == "1" else 2)
    return marks


_READERS: dict[str, Callable[[ElementTree.Element, tuple[int, int]], Outline]] = {
    "box": _box,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "mask": _mask,
    "skeleton": _box,  # read by `_marks`
}


# Writing --------------------------------------------------------------------------------------------------------------


def _meta(schema: Schema, title: str) -> ElementTree.Element:
    meta = ElementTree.Element("meta")
    task = ElementTree.SubElement(meta, "task")
    ElementTree.SubElement(task, "name").text = title
    ElementTree.SubElement(task, "mode").text = "annotation"
    labels = ElementTree.SubElement(task, "labels")
    skeleton = schema.skeleton

    def add(name: str, kind: str, **more: str) -> None:
        label = ElementTree.SubElement(labels, "label")
        for field, text in {"name": name, "type": kind, **more}.items():
            ElementTree.SubElement(label, field).text = text

    for name in schema.things or ():
        add(name, *(["any"] if skeleton is None else ["skeleton"]), **({"svg": _svg(skeleton)} if skeleton else {}))
        for part in skeleton.names if skeleton is not None else ():
            add(part, "points", parent=name)
    for name in schema.pictures or ():
        add(name, "tag")
    return meta


def _svg(skeleton: Skeleton) -> str:
    """The drawing by which CVAT knows a skeleton: its points in a circle."""
    places = (ellipse(50, 50, 40, 40)[np.arange(len(skeleton)) * 64 // max(len(skeleton), 1) % 64]).round(1).tolist()
    parts = []
    for a, b in skeleton.edges:
        line = ElementTree.Element(
            "line", {"data-type": "edge", "data-node-from": str(a + 1), "data-node-to": str(b + 1)}
        )
        line.attrib |= dict(zip(("x1", "y1", "x2", "y2"), map(str, places[a] + places[b])))
        parts.append(line)
    for j, name in enumerate(skeleton.names):
        node = ElementTree.Element("circle", {"r": "0.75", "data-type": "element node", "data-element-id": str(j + 1)})
        node.attrib |= {"data-node-id": str(j + 1), "data-label-name": name}
        node.attrib |= dict(zip(("cx", "cy"), map(str, places[j])))
        parts.append(node)
    return "".join(ElementTree.tostring(part, "unicode") for part in parts)


def _add_instances(image: ElementTree.Element, scene: Scene, instances: Instances, schema: Schema) -> list[int]:
    """One element for each instance; the numbers of those that it does not hold whole."""
    things, masks = schema.things, instances.masks
    if instances.labels is None or things is None or (instances.boxes is None and masks is None):
        raise DataError(f"{scene.name}: CVAT needs labels and boxes or masks, found {instances.fields()}")
    drawn = masks.polygons() if masks is not None and masks.form == "polygons" else [None] * len(instances)
    crops = list(masks.crops()) if masks is not None else None
    unsaid = set(unsaid_boxes(scene, instances))
    dropped = set(unsaid) if masks is not None else set()
    for n in range(len(instances)):
        common = {"label": things[int(instances.labels[n])], "source": "manual", "occluded": "0"}
        marks, outline = marks_of(instances, n), drawn[n]
        has_marks = schema.skeleton is not None and any(seen for _, _, seen in marks.values())
        if has_marks and schema.skeleton is not None and masks is None and n not in unsaid:
            element = ElementTree.SubElement(image, "skeleton", {**common, "z_order": "0"})
            for name, (x, y, seen) in zip(schema.skeleton.names, marks.values()):
                flags = {"occluded": str(int(seen == 1)), "outside": str(int(seen == 0))}
                point = {**common, "label": name, **flags, "points": _text(np.array([[x, y]]))}
                ElementTree.SubElement(element, "points", point)
            continue
        dropped |= {n} if has_marks else set()  # better none than a wrong box
        if outline is not None and len(outline.parts) == 1 and not outline.holes:
            ElementTree.SubElement(image, "polygon", {**common, "points": _text(outline.parts[0]), "z_order": "0"})
        elif crops is not None and crops[n][0].any():
            crop, (left, top, right, bottom) = crops[n]
            window = {"left": left, "top": top, "width": right - left, "height": bottom - top}
            said = {field: str(value) for field, value in window.items()}
            ElementTree.SubElement(image, "mask", {**common, "rle": _rle(crop), **said, "z_order": "0"})
        else:
            box = instances.boxes[n].tolist() if instances.boxes is not None else [0.0] * 4
            corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(_decimal, box)))
            ElementTree.SubElement(image, "box", {**common, **corners, "z_order": "0"})
            dropped |= {n} if masks is not None else set()
    return sorted(dropped)


def _rle(crop: np.ndarray) -> str:
    """Counts of 0s and 1s in turn, row by row; zeros come first, if only none."""
    changes = np.flatnonzero(np.diff([0, *(crop.ravel() != 0), 2]))
    return ", ".join(map(str, np.diff([0, *changes]).tolist()))


def _decimal(value: float) -> str:
    return repr(value).removesuffix(".0")


def _text(points: np.ndarray) -> str:
    return ";".join(f"{_decimal(x)},{_decimal(y)}" for x, y in points.tolist())
