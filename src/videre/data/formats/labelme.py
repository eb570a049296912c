"""labelme: a JSON beside every picture with the shapes drawn in it.

`<name>.json` lies beside `<name>.jpg`, in the folder itself or in one folder a split (`train/`, `val/`); or in `annotations/` or
`labels/` with the pictures in `images/`, both with or without such folders. Polygons, rectangles, circles and bitmaps ("mask")
are instances with boxes and masks; shapes of one label and one group_id are parts of one instance. Lines and points enclose
nothing: they are left out and counted, and so is what is called `_background_`; `__ignore__` is ignored. `labels.txt`, as
labelme takes it, gives the order of the classes; else they are those that occur in any split, sorted by name. Corners are
continuous pixels.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from videre.data.cleaning import clean_boxes, fill_sizes
from videre.data.dataset import Dataset, Repair
from videre.data.flat import FlatMasks, FlatSource
from videre.data.formats.folders import SPLIT_NAME
from videre.data.rules import SIDE, TEXT, Rule, demand, is_number, load_json
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import read_lines, write_atomic
from videre.images.listing import SUFFIXES
from videre.ops.rasterise import trace_polygons
from videre.structures import Categories, Polygons, Schema

LOOKS_FOR = (
    "labelme: <name>.json with shapes beside <name>.jpg, or in annotations/ or labels/ with the pictures in images/"
)
HOLDS = {"boxes", "instances.labels", "masks", "ignore"}
LABELS = "labels.txt"
IGNORED, BACKGROUND = "__ignore__", "_background_"
ENCLOSING = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}
"""Shapes that enclose something, and how many points they have at least."""
FOLDERS = ("annotations", "labels")
"""Of JSONs whose pictures are in images/."""
CORNERS = 64
"""Of the polygon that stands for a circle."""
VERSION = "5.0.0"
"""Of the files that are written: shapes have had the same fields since."""


def recognise(path: Path) -> str:
    """What was found, or "" when no JSON with shapes lies beside a picture."""
    if not path.is_dir():
        return ""
    for _, folder, _ in _parts(path):
        first = next((file for file in sorted(folder.glob("*.json")) if _has_shapes(file)), None)
        if first is not None:
            return f"shapes in {first.relative_to(path).as_posix()}, …"
    return ""


def splits(path: Path) -> list[str]:
    """Folders called like splits that have JSONs."""
    return [name for name, _, _ in _parts(path) if name]


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read pictures and shapes; pictures without a JSON, and JSONs without a picture, are left out and counted.

    Raises DataError for a file that is not of this form, a shape with too few points, a size that is not the picture's, or a
    label that labels.txt does not name.
    """
    parts = [part for part in _parts(path) if split in (None, part[0])]
    files = [(file, pictures) for _, folder, pictures in parts for file in _shape_files(folder)]
    name = lambda file: file.relative_to(path).as_posix()
    repairs: list[Repair] = []
    pictures: dict[Path, Path] = {}
    for file, beside in files:
        picture = _picture(file, beside)
        if picture is None:
            repairs.append(Repair("shapes without picture", name(file), "-", "no picture of its name", "dropped"))
        else:
            pictures[file] = picture
    shapes = {file: _read(file, name(picture), repairs) for file, picture in pictures.items()}
    for _, _, folder in parts:
        known = set(pictures.values())
        bare = (p for p in sorted(folder.glob("*")) if p.suffix.lower() in SUFFIXES and p not in known)
        repairs += [Repair("picture without shapes", name(p), "-", "no JSON of its name", "dropped") for p in bare]
    if not pictures:
        raise DataError(f"{path}: no picture{f' of {split}' if split else ''} has a JSON with shapes beside it")
    names, paths = [name(p) for p in pictures.values()], [str(p) for p in pictures.values()]
    sizes, readable, unreadable = fill_sizes(np.zeros((len(paths), 2), np.int64), paths, names)
    for (file, (told, _)), size, known in zip(shapes.items(), sizes.tolist(), readable):
        if known and any(side not in (0, true) for side, true in zip(told, size)):
            raise DataError(
                f"{file}: the shapes are of a picture of {told[1]}x{told[0]} (width x height), "
                f"{pictures[file]} is {size[1]}x{size[0]}"
            )
    rows = list(itertools.compress(shapes.items(), readable))
    names, paths = (list(itertools.compress(column, readable)) for column in (names, paths))
    counts = Counter(label for _, (_, found) in rows for label, _ in found)
    things = _classes(path, counts)
    owners = np.repeat(np.arange(len(rows)), [len(found) for _, (_, found) in rows])
    labels = [label for _, (_, found) in rows for label, _ in found]
    outlines = [outline for _, (_, found) in rows for _, outline in found]
    corners = [np.concatenate(outline.parts) for outline in outlines]
    boxes = np.array([[*points.min(0), *points.max(0)] for points in corners]).reshape(-1, 4)
    places = [place for _, (_, found) in rows for place in range(len(found))]
    boxes, keep, cleaned = clean_boxes(boxes, sizes[readable][owners], [names[o] for o in owners], places, "drop", path)
    label_of = {label: k for k, label in enumerate(things.names)} | {IGNORED: 0}
    columns = {
        "boxes": boxes[keep],
        "labels": np.array([label_of[label] for label in labels], np.int64)[keep],
        "ignore": np.array([label == IGNORED for label in labels], bool)[keep],
    }
    starts = np.cumsum([0, *np.bincount(owners[keep], minlength=len(rows))])
    masks = FlatMasks(list(itertools.compress(outlines, keep)))
    source = FlatSource(paths, names, sizes[readable], starts=starts, columns=columns, masks=masks)
    title = path.name + (f" {split}" if split else "")
    return Dataset(source, Schema(things=things), unreadable + repairs + cleaned, title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write <split>/ with pictures and JSONs of polygons, and labels.txt. Returns the losses.

    Masks that are no polygons are outlined along their pixels; the holes of a mask, which shapes cannot have, are lost.

    Raises DataError where the set has no masks, or a mask has a hole and `lossy` is not set.
    """
    lost = losses(dataset, HOLDS, "labelme", lossy)
    things = dataset.schema.things
    if things is None or "masks" not in dataset.fields:
        raise DataError(f"labelme holds outlines of things; {dataset.title} has {sorted(dataset.fields)}")
    holes = 0
    for filename, scene in placed(dataset, path / split):
        shapes = []
        instances = scene.instances
        outlines = instances.masks.polygons() if instances is not None and instances.masks is not None else []
        for n, outline in enumerate(outlines):
            assert instances is not None and instances.labels is not None
            holes += len(outline.holes)
            if holes and not lossy:
                raise DataError(
                    f"{scene.name}: the mask of instance {n} has a hole, which a shape of labelme cannot have; "
                    "write another format, or allow the loss (lossy)"
                )
            ignored = instances.ignore is not None and bool(instances.ignore[n])
            label = IGNORED if ignored else things[int(instances.labels[n])]
            group = n if len(outline.parts) > 1 else None
            shapes += [
                {"label": label, "points": part.tolist(), "group_id": group, "shape_type": "polygon", "flags": {}}
                for part in outline.parts
            ]
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": filename,
            "imageData": None,
            "imageHeight": scene.size[0],
            "imageWidth": scene.size[1],
        }
        write_atomic((path / split / filename).with_suffix(".json"), json.dumps(content, indent=1).encode())
    listed = "".join(f"{label}\n" for label in (IGNORED, BACKGROUND, *things))
    write_atomic(path / LABELS, listed.encode())
    return lost + ([f"{holes} holes in masks"] if holes else [])


# reading one file -------------------------------------------------------------------------------------------------------

_TEXT_OR_NONE: Rule = ("text", lambda v: v is None or isinstance(v, str))
_GROUP: Rule = ("a number, or null", lambda v: v is None or isinstance(v, int | float | str))
LIMIT = 2**31
"""Pixels; larger numbers are mistakes."""
Shape = tuple[str, Polygons]
"""Label and outline."""


def _load(file: Path) -> dict[str, Any]:
    """What a file holds, as far as all of its shapes have a label and a kind."""
    content = load_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DataError(
            f"{file}: an object with a list of shapes is expected; save it again with labelme, or take it out"
        )
    demand(file, "shape", content["shapes"], label=TEXT, shape_type=_TEXT_OR_NONE, group_id=_GROUP)
    return content


def _kind(shape: dict[str, Any]) -> str:
    return shape.get("shape_type") or "polygon"


def _is_instance(shape: dict[str, Any]) -> bool:
    return _kind(shape) in ENCLOSING and shape["label"] != BACKGROUND


def _read(file: Path, picture: str, repairs: list[Repair]) -> tuple[tuple[int, int], list[Shape]]:
    """Size (height, width; zeros where it is not said) and instances of a file, those that enclose nothing told."""
    content = _load(file)
    demand(file, "file", [content], imageHeight=SIDE, imageWidth=SIDE)
    outlines: dict[tuple[str, Any], Polygons] = {}
    for place, shape in enumerate(content["shapes"]):
        label, group = shape["label"], shape.get("group_id")
        if not _is_instance(shape):
            repairs.append(Repair(f"{_kind(shape)} of labelme", picture, place, label, "dropped"))
            continue
        key = (label, ("alone", place) if group is None else group)
        before, new = outlines.get(key, Polygons(())), _outline(shape, f"{file}: shape {place} ({label})")
        outlines[key] = Polygons(before.parts + new.parts, before.holes + new.holes)
    height, width = content.get("imageHeight") or 0, content.get("imageWidth") or 0
    return (int(height), int(width)), [(label, found) for (label, _), found in outlines.items()]


def _points(shape: dict[str, Any], where: str) -> np.ndarray:
    """The points float64 [P, 2] of a shape."""
    points, least = shape.get("points"), ENCLOSING[_kind(shape)]
    if not isinstance(points, list):
        raise DataError(f"{where}: points should be a list of [x, y], found {points!r:.60}; correct the file")
    for n, point in enumerate(points):
        pair = isinstance(point, list) and len(point) == 2
        if not pair or not all(is_number(v) and abs(v) < LIMIT for v in point):
            raise DataError(
                f"{where}: point {n} should be [x, y], finite numbers, found {point!r:.60}; correct the file"
            )
    if len(points) < least:
        raise DataError(f"{where}: a {_kind(shape)} has at least {least} points, found {len(points)}; correct the file")
    return np.array(points, np.float64)


def _outline(shape: dict[str, Any], where: str) -> Polygons:
    """The outline of a shape; a circle is its centre and a point of its rim, a bitmap has its first and last pixel."""
    points, kind = _points(shape, where), _kind(shape)
    (x1, y1), (x2, y2) = points.min(0), points.max(0)
    if kind == "mask":
        bitmap, wanted = _bitmap(shape, where), (round(y2 - y1) + 1, round(x2 - x1) + 1)
        if bitmap.shape != wanted or not bitmap.any():
            raise DataError(
                f"{where}: the mask is {bitmap.shape[1]}x{bitmap.shape[0]} (width x height) with {int(bitmap.sum())} "
                f"pixels inside, its points say {wanted[1]}x{wanted[0]}; correct the file"
            )
        parts, holes = ([np.add(ring, (x1, y1)) for ring in rings] for rings in trace_polygons(bitmap))
        return Polygons(tuple(parts), tuple(holes))
    if kind == "rectangle":
        return Polygons((np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]),))
    if kind == "circle":
        angles = np.arange(CORNERS) * (2 * math.pi / CORNERS)
        return Polygons((points[0] + math.dist(*points[:2]) * np.stack([np.cos(angles), np.sin(angles)], 1),))
    return Polygons((points,))


def _bitmap(shape: dict[str, Any], where: str) -> np.ndarray:
    """The bitmap bool [h, w] of a shape: a PNG as base64."""
    try:
        data = base64.b64decode(shape.get("mask") or "", validate=True)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except (binascii.Error, TypeError, ValueError):
        pixels = None
    if pixels is None or pixels.ndim != 2:
        raise DataError(f"{where}: mask should be a grey PNG as base64; correct the file")
    return pixels != 0


def _classes(path: Path, counts: Counter[str]) -> Categories:
    """Those of labels.txt, else what occurs in any split; DataError for a label that the list does not name."""
    listed = path / LABELS
    if listed.is_file():
        names = [line for line in read_lines(listed) if line not in (IGNORED, BACKGROUND)]
        unknown = sorted(set(counts) - {IGNORED, *names})
        if unknown:
            told = ", ".join(f"{label} ({counts[label]} times)" for label in unknown[:5])
            raise DataError(
                f"{listed}: shapes are labelled {told}, which it does not name; it has {', '.join(names)}; add "
                "what is missing, or correct the labels"
            )
        if len(set(names)) < len(names):
            raise DataError(f"{listed}: {sorted({n for n in names if names.count(n) > 1})} stand there more than once")
    else:
        shapes = (shape for _, folder, _ in _parts(path) for f in _shape_files(folder) for shape in _load(f)["shapes"])
        names = sorted({shape["label"] for shape in shapes if _is_instance(shape)} - {IGNORED})
    if not names:
        raise DataError(f"{path}: no shape encloses anything that has a class")
    return Categories(tuple(names))


def _has_shapes(file: Path) -> bool:
    """By a look at the first and last bytes: imageData may be the whole picture, and shapes may be many."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        head = stream.read(4096)
        stream.seek(max(0, file.stat().st_size - 4096))
        ends = head + stream.read()
    keys = (b'"shapes"', b'"shape_type"', b'"points"', b'"imagePath"', b'"imageData"', b'"imageHeight"')
    return sum(key in ends for key in keys) >= 2


def _shape_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.json")) if _has_shapes(file)]


def _picture(file: Path, folder: Path) -> Path | None:
    """The picture of a JSON: of its own name in `folder`, else the one that it names."""
    of_name = (folder / f"{file.stem}{suffix}" for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES)))
    found = next((picture for picture in of_name if picture.is_file()), None)
    if found is not None:
        return found
    content = load_json(file)
    named = str(content.get("imagePath") or "").replace("\\", "/") if isinstance(content, dict) else ""
    places = (file.parent / named, folder / Path(named).name)
    return next((p for p in places if p.suffix.lower() in SUFFIXES and p.is_file()), None)


def _parts(path: Path) -> list[tuple[str, Path, Path]]:
    """Split ("" without), folder of the JSONs and folder of the pictures."""
    layouts = [(path, path), *((path / name, path / "images") for name in FOLDERS if (path / "images").is_dir())]
    for jsons, pictures in layouts:
        parts = (
            [p.name for p in jsons.iterdir() if p.is_dir() and SPLIT_NAME.fullmatch(p.name)] if jsons.is_dir() else []
        )
        found = [(name, jsons / name, pictures / name) for name in sorted(parts) if any((jsons / name).glob("*.json"))]
        if found or any(map(_has_shapes, jsons.glob("*.json"))):
            return found or [("", jsons, pictures)]
    return []
