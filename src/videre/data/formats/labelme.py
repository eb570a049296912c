"""labelme: a JSON beside every picture with the shapes drawn in it.

`<name>.json` lies beside `<name>.jpg`, in the folder itself or in one folder a split (`train/`, `val/`). Polygons, rectangles and
circles are instances with boxes and masks; shapes of one label and one group_id are parts of one instance. Lines and points
enclose nothing: they are left out and counted, and so is what is called `_background_`; `__ignore__` is ignored. `labels.txt`,
as labelme takes it, gives the order of the classes; else they are sorted by name. Corners are continuous pixels.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from videre.data.cleaning import clean_boxes, fill_sizes
from videre.data.dataset import Dataset, Repair
from videre.data.flat import FlatMasks, FlatSource
from videre.data.formats.coco_rules import SIDE, TEXT, Rule, are_numbers, demand, load_json
from videre.data.formats.folders import SPLIT_NAME
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import write_atomic
from videre.images.reading import SUFFIXES
from videre.structures import Categories, Polygons, Schema

LOOKS_FOR = "labelme: <name>.json with shapes beside <name>.jpg"
HOLDS = {"boxes", "masks", "ignore"}
LABELS = "labels.txt"
IGNORED, BACKGROUND = "__ignore__", "_background_"
ENCLOSING = {"polygon": 3, "rectangle": 2, "circle": 2}
"""Shapes that enclose something, and how many points they have at least."""
CORNERS = 64
"""Of the polygon that stands for a circle."""
VERSION = "5.0.0"
"""Of the files that are written: shapes have had the same fields since."""


def recognise(path: Path) -> str:
    """What was found, or "" when no JSON with shapes lies beside a picture."""
    if not path.is_dir():
        return ""
    for folder in [path, *(path / name for name in _split_folders(path))]:
        first = next((file for file in sorted(folder.glob("*.json")) if _has_shapes(file)), None)
        if first is not None:
            return f"shapes in {first.name}, …"
    return ""


def splits(path: Path) -> list[str]:
    """Folders called like splits that have JSONs."""
    return [name for name in _split_folders(path) if any((path / name).glob("*.json"))]


def read(path: Path, split: str | None = None) -> Dataset:
    """Read pictures and shapes; pictures without a JSON, and JSONs without a picture, are left out and counted.

    Raises DataError for a file that is not of this form, a shape with too few points, a size that is not the picture's, or a
    label that labels.txt does not name.
    """
    folders = [path / split] if split else [path / name for name in splits(path)] or [path]
    files = [file for folder in folders for file in sorted(folder.glob("*.json")) if _has_shapes(file)]
    name = lambda file: file.relative_to(path).as_posix()
    repairs: list[Repair] = []
    pictures: dict[Path, Path] = {}
    for file in files:
        picture = _picture(file)
        if picture is None:
            repairs.append(Repair("shapes without picture", name(file), "-", "no picture of its name", "dropped"))
        else:
            pictures[file] = picture
    shapes = {file: _read(file, name(picture), repairs) for file, picture in pictures.items()}
    for folder in folders:
        known = set(pictures.values())
        bare = (p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and p not in known)
        repairs += [Repair("picture without shapes", name(p), "-", "no JSON of its name", "dropped") for p in bare]
    if not pictures:
        raise DataError(f"{path}: no picture{f' of {split}' if split else ''} has a JSON with shapes beside it")
    names, paths = [name(p) for p in pictures.values()], [str(p) for p in pictures.values()]
    sizes, readable, unreadable = fill_sizes(np.zeros((len(paths), 2), np.int64), paths, names)
    for (file, (told, _)), size, known in zip(shapes.items(), sizes.tolist(), readable):
        if known and any(side not in (0, true) for side, true in zip(told, size)):
            raise DataError(f"{file}: the shapes are of a picture of {told[1]}x{told[0]} (width x height), "
                            f"{pictures[file]} is {size[1]}x{size[0]}")  # fmt: skip
    rows = list(itertools.compress(shapes.items(), readable))
    names, paths = (list(itertools.compress(column, readable)) for column in (names, paths))
    things = _classes(path, {label for _, (_, found) in rows for label, _ in found})
    owners = np.repeat(np.arange(len(rows)), [len(found) for _, (_, found) in rows])
    labels = [label for _, (_, found) in rows for label, _ in found]
    outlines = [Polygons(tuple(parts)) for _, (_, found) in rows for _, parts in found]
    corners = [np.concatenate(outline.parts) for outline in outlines]
    boxes = np.array([[*points.min(0), *points.max(0)] for points in corners]).reshape(-1, 4)
    places = [place for _, (_, found) in rows for place in range(len(found))]
    boxes, keep, cleaned = clean_boxes(boxes, sizes[readable][owners], [names[o] for o in owners], places, "drop", path)
    label_of = {label: k for k, label in enumerate(things.names)} | {IGNORED: 0}
    columns = {
        "boxes": boxes[keep], "labels": np.array([label_of[label] for label in labels], np.int64)[keep],
        "ignore": np.array([label == IGNORED for label in labels], bool)[keep],
    }  # fmt: skip
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
                raise DataError(f"{scene.name}: the mask of instance {n} has a hole, which a shape of labelme cannot have; "
                                "write another format, or allow the loss (lossy)")  # fmt: skip
            ignored = instances.ignore is not None and bool(instances.ignore[n])
            label = IGNORED if ignored else things[int(instances.labels[n])]
            group = n if len(outline.parts) > 1 else None
            shapes += [
                {"label": label, "points": part.tolist(), "group_id": group, "shape_type": "polygon", "flags": {}}
                for part in outline.parts
            ]  # fmt: skip
        content: dict[str, Any] = {
            "version": VERSION, "flags": {}, "shapes": shapes, "imagePath": filename, "imageData": None,
            "imageHeight": scene.size[0], "imageWidth": scene.size[1],
        }  # fmt: skip
        write_atomic((path / split / filename).with_suffix(".json"), json.dumps(content, indent=1).encode())
    listed = "".join(f"{label}\n" for label in (IGNORED, BACKGROUND, *things))
    write_atomic(path / LABELS, listed.encode())
    return lost + ([f"{holes} holes in masks"] if holes else [])


# reading one file -------------------------------------------------------------------------------------------------------

_POINTS: Rule = (
    "pairs of finite numbers",
    lambda v: isinstance(v, list) and all(are_numbers(p, 2) and all(map(math.isfinite, p)) for p in v),
)
Shape = tuple[str, list[np.ndarray]]
"""Label and parts, each [P, 2]."""


def _read(file: Path, picture: str, repairs: list[Repair]) -> tuple[tuple[int, int], list[Shape]]:
    """Size (height, width; zeros where it is not said) and instances of a file, those that enclose nothing told."""
    content = load_json(file)
    demand(file, "file", [content], imageHeight=SIDE, imageWidth=SIDE)
    demand(file, "shape", content["shapes"], label=TEXT, points=_POINTS)
    parts: dict[tuple[str, Any], list[np.ndarray]] = {}
    for place, shape in enumerate(content["shapes"]):
        kind, label = shape.get("shape_type") or "polygon", shape["label"]
        if kind not in ENCLOSING or label == BACKGROUND:
            repairs.append(Repair(f"{kind} of labelme", picture, place, label, "dropped"))
            continue
        points = np.array(shape["points"], np.float64).reshape(-1, 2)
        if len(points) < ENCLOSING[kind]:
            raise DataError(f"{file}: shape {place} ({label}): a {kind} has at least {ENCLOSING[kind]} points, found "
                            f"{len(points)}; correct the file")  # fmt: skip
        group = shape.get("group_id")
        parts.setdefault((label, ("alone", place) if group is None else group), []).append(_outline(kind, points))
    height, width = content.get("imageHeight") or 0, content.get("imageWidth") or 0
    return (int(height), int(width)), [(label, found) for (label, _), found in parts.items()]


def _outline(kind: str, points: np.ndarray) -> np.ndarray:
    """The corners [P, 2] of a shape; a circle is its centre and a point of its rim."""
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if kind == "circle":
        angles = np.arange(CORNERS) * (2 * math.pi / CORNERS)
        return points[0] + math.dist(*points[:2]) * np.stack([np.cos(angles), np.sin(angles)], 1)
    return points


def _classes(path: Path, found: set[str]) -> Categories:
    """Those of labels.txt, else what occurs; DataError for a label that the list does not name."""
    names, listed = sorted(found - {IGNORED}), path / LABELS
    if listed.is_file():
        lines = [line.strip() for line in listed.read_text(encoding="utf-8-sig").splitlines()]
        named = [line for line in lines if line and line not in (IGNORED, BACKGROUND)]
        unknown = sorted(set(names) - set(named))
        if unknown:
            raise DataError(f"{listed}: shapes are labelled {', '.join(unknown)}, which it does not name; it has "
                            f"{', '.join(named)}")  # fmt: skip
        names = named
    if not names:
        raise DataError(f"{path}: no shape encloses anything that has a class")
    return Categories(tuple(names))


def _has_shapes(file: Path) -> bool:
    """By a look at the first and last bytes: imageData may be the whole picture."""
    with file.open("rb") as stream:
        head = stream.read(4096)
        stream.seek(max(0, file.stat().st_size - 4096))
        ends = head + stream.read()
    return b'"shapes"' in ends and b'"imagePath"' in ends


def _picture(file: Path) -> Path | None:
    """The picture of a JSON: of its own name, else the one that it names."""
    of_name = (file.with_suffix(suffix) for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES)))
    found = next((picture for picture in of_name if picture.is_file()), None)
    if found is not None:
        return found
    content = load_json(file)
    named = file.parent / str(content.get("imagePath") or "").replace("\\", "/") if isinstance(content, dict) else file
    return named if named.suffix.lower() in SUFFIXES and named.is_file() else None


def _split_folders(path: Path) -> list[str]:
    return (
        sorted(p.name for p in path.iterdir() if p.is_dir() and SPLIT_NAME.fullmatch(p.name)) if path.is_dir() else []
    )
