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
import dataclasses
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from videre.data.cleaning import clean_boxes, fill_sizes
from videre.data.dataset import Dataset, Repair
from videre.data.faults import Faults
from videre.data.flat import FlatMasks, FlatSource, Ragged
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pairs import PICTURE_FOLDERS, find_folder
from videre.data.pictures import PictureFinder, plain_name
from videre.data.rules import LARGEST, SIDE, TEXT, Rule, as_number, is_number, load_json
from videre.data.sizes import picture_fault
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import read_lines, write_atomic
from videre.images.listing import is_picture, list_files, list_folders, list_pictures
from videre.images.reading import decode_picture
from videre.ops.rasterise import trace_polygons
from videre.structures import Categories, Polygons, Schema

LOOKS_FOR = (
    "labelme: <name>.json with shapes beside <name>.jpg, or in annotations/ or labels/ with the pictures in images/"
)
OWN = frozenset({".json", ".txt"})
HOLDS = {"boxes", "instances.labels", "masks", "ignore", "labels"}
LABELS = "labels.txt"
IGNORED, BACKGROUND = "__ignore__", "_background_"
ENCLOSING = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2, "rotation": 3, "oriented_rectangle": 3}
"""Shapes that enclose something, and how many points they have at least."""
CORNERS = 64
"""Of the polygon that stands for a circle."""
VERSION = "5.0.0"
"""Of the files that are written: shapes have had the same fields since."""


def recognise(path: Path) -> str:
    """What was found, or "" when there is no JSON with shapes."""
    parts = _parts(path) if path.is_dir() else []
    return f"shapes in {parts[0].files[0].relative_to(path).as_posix()}, …" if parts else ""


def splits(path: Path) -> list[str]:
    """Folders called like splits that have JSONs."""
    return list(dict.fromkeys(part.split for part in _parts(path) if part.split))


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read pictures and shapes; pictures without a JSON, and JSONs without a picture, are left out and counted.

    Raises DataError for files that are not of this form, shapes with too few points, a size that is not the picture's, or a
    label that labels.txt does not name; all of them at once.
    """
    faults, repairs = Faults(skip_broken), list[Repair]()
    name = lambda file: file.relative_to(path).as_posix()
    contents: dict[Path, _Content] = {}
    for part in _parts(path):
        if split not in (None, part.split):
            continue
        finder = PictureFinder([*part.pictures, path])
        by_stem = {p.stem: p for folder in reversed(part.pictures) for p in list_pictures(folder)}
        for file in part.files:
            found = _Content.of(file, finder, by_stem, path, faults, repairs)
            if found is not None:
                contents[file] = found
        known = {content.picture for content in contents.values()}
        bare = (p for p in list_pictures(part.pictures[0]) if p not in known)
        repairs += [Repair("picture without shapes", name(p), "-", "no JSON of its name", "dropped") for p in bare]
    if not contents:
        faults.refuse(f"{path}: no picture{f' of {split}' if split else ''} has a JSON with shapes beside it")
    names = [content.name for content in contents.values()]
    paths = [str(content.picture or file) for file, content in contents.items()]
    inside = {i: content.data for i, content in enumerate(contents.values()) if content.picture is None}
    stated = np.array([decode_picture(inside[i], p).shape[:2] if i in inside else (0, 0) for i, p in enumerate(paths)])
    sizes, readable, unreadable = fill_sizes(stated.reshape(-1, 2), paths, names)
    for (file, content), size, known in zip(contents.items(), sizes.tolist(), readable):
        if known and content.picture and any(side not in (0, true) for side, true in zip(content.size, size)):
            ends = [np.concatenate(outline.parts) for _, outline in content.shapes]
            extents = torch.tensor(np.array([[*c.min(0), *c.max(0)] for c in ends]).reshape(-1, 4))
            fault = picture_fault(str(content.picture), (size[0], size[1]), content.size, extents)
            faults.add(file, fault, content.name)
            content.shapes = []
    rows = list(itertools.compress(contents.values(), readable))
    names, paths = (list(itertools.compress(column, readable)) for column in (names, paths))
    data = [content.data if content.picture is None else None for content in rows]
    counts = Counter(label for content in rows for label, _ in content.shapes)
    if not counts:
        faults.settle()
    flags = sorted({flag for part in _parts(path) for file in part.files for flag in _flags(file)})
    of_pictures = (
        Ragged.of([[k for k, f in enumerate(flags) if f in c.flags] for c in rows], np.int64) if flags else None
    )
    title = path.name + (f" {split}" if split else "")
    if flags and not counts and not any(_labels(file) for part in _parts(path) for file in part.files):  # flags alone
        flat = _Shapes(paths, names, sizes[readable], labels=of_pictures, data=data)
        schema = Schema(pictures=Categories(tuple(flags)))
        return Dataset(flat, schema, unreadable + repairs + faults.settle(), title)
    things = _classes(path, counts)
    owners = np.repeat(np.arange(len(rows)), [len(content.shapes) for content in rows])
    labels = [label for content in rows for label, _ in content.shapes]
    outlines = [outline for content in rows for _, outline in content.shapes]
    corners = [np.concatenate(outline.parts) for outline in outlines]
    boxes = np.array([[*points.min(0), *points.max(0)] for points in corners]).reshape(-1, 4)
    places = [place for content in rows for place in range(len(content.shapes))]
    boxes, keep, cleaned = clean_boxes(boxes, sizes[readable][owners], [names[o] for o in owners], places, "drop", path)
    label_of = {label: k for k, label in enumerate(things.names)} | {IGNORED: 0}
    columns = {
        "boxes": boxes[keep],
        "labels": np.array([label_of[label] for label in labels], np.int64)[keep],
        "ignore": np.array([label == IGNORED for label in labels], bool)[keep],
    }
    starts = np.cumsum([0, *np.bincount(owners[keep], minlength=len(rows))])
    masks = FlatMasks(list(itertools.compress(outlines, keep)))
    schema = Schema(things=things, pictures=Categories(tuple(flags)) if flags else None)
    source = _Shapes(
        paths, names, sizes[readable], starts=starts, columns=columns, masks=masks, labels=of_pictures, data=data
    )
    return Dataset(source, schema, unreadable + repairs + cleaned + faults.settle(), title)


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
        shown = set() if scene.labels is None else set(scene.labels.tolist())
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {flag: k in shown for k, flag in enumerate(dataset.schema.pictures or ())},
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

_LABEL: Rule = ("text", lambda v: (TEXT[1](v) and bool(v.strip())) or is_number(v))
_TEXT_OR_NONE: Rule = ("text", lambda v: v is None or isinstance(v, str))
_GROUP: Rule = ("a number, or null", lambda v: v is None or isinstance(v, int | float | str))
Shape = tuple[str, Polygons]
"""Label and outline."""


@dataclasses.dataclass
class _Content:
    """What one JSON says of its picture, which is a file, or stands in the JSON itself as `data`."""

    name: str
    picture: Path | None
    data: bytes
    size: tuple[int, int]  # height, width; zeros where it is not said
    shapes: list[Shape]
    flags: set[str]

    @classmethod
    def of(
        cls,
        file: Path,
        finder: PictureFinder,
        by_stem: dict[str, Path],
        root: Path,
        faults: Faults,
        repairs: list[Repair],
    ) -> _Content | None:
        """None where the file is broken, or has no picture."""
        name = file.relative_to(root).as_posix()
        try:
            content = load_json(file)
        except DataError as error:
            faults.add(file, str(error).removeprefix(f"{file}: "), name)
            return None
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            faults.add(
                file, "an object with a list of shapes is expected; save it again with labelme, or take it out", name
            )
            return None
        picture = _picture(file, by_stem, str(content.get("imagePath") or ""), finder)
        data = b""
        if picture is None:
            try:
                data = base64.b64decode(content.get("imageData") or "", validate=True)
            except (binascii.Error, TypeError, ValueError):
                faults.add(file, "imageData should be a picture as base64; save it again with labelme", name)
                return None
            if not data:
                repairs.append(Repair("shapes without picture", name, "-", "no picture of its name", "dropped"))
                return None
        name = picture.relative_to(root).as_posix() if picture and picture.is_relative_to(root) else name
        rows = faults.demand(file, "shape", content["shapes"], label=_LABEL, shape_type=_TEXT_OR_NONE, group_id=_GROUP)
        faults.demand(file, "file", [content], imageHeight=SIDE, imageWidth=SIDE)
        sides = [as_number(content.get(side)) for side in ("imageHeight", "imageWidth")]
        height, width = (int(side) if side is not None and 0 <= side < LARGEST else 0 for side in sides)
        flags = content.get("flags")
        shown = {flag for flag, value in flags.items() if value} if isinstance(flags, dict) else set()
        return cls(name, picture, data, (height, width), _outlines(file, name, rows, faults, repairs), shown)


def _outlines(file: Path, name: str, rows: list[Any], faults: Faults, repairs: list[Repair]) -> list[Shape]:
    """The instances of a file; those shapes that enclose nothing are counted."""
    outlines: dict[tuple[str, Any], Polygons] = {}
    for place, shape in enumerate(rows):
        label, group = _label(shape), shape.get("group_id")
        if not _is_instance(shape):
            repairs.append(Repair(f"{_kind(shape)} of labelme", name, place, label, "dropped"))
            continue
        where = f"shape {place} ({label})"
        try:
            new = _outline(shape, f"{file}: {where}")
        except DataError as error:
            faults.add(f"{file}: {where}", str(error).removeprefix(f"{file}: {where}: "), name)
            continue
        key = (label, ("alone", place) if group is None else group)
        before = outlines.get(key, Polygons(()))
        outlines[key] = Polygons(before.parts + new.parts, before.holes + new.holes)
    return [(label, found) for (label, _), found in outlines.items()]


def _label(shape: dict[str, Any]) -> str:
    return str(shape["label"]).strip()


def _kind(shape: dict[str, Any]) -> str:
    return shape.get("shape_type") or "polygon"


def _is_instance(shape: dict[str, Any]) -> bool:
    return _kind(shape) in ENCLOSING and _label(shape) != BACKGROUND


def _points(shape: dict[str, Any], where: str) -> np.ndarray:
    """The points float64 [P, 2] of a shape."""
    points, least = shape.get("points"), ENCLOSING[_kind(shape)]
    if not isinstance(points, list):
        raise DataError(f"{where}: points should be a list of [x, y], found {points!r:.60}; correct the file")
    for n, point in enumerate(points):
        pair = isinstance(point, list) and len(point) == 2
        if not pair or not all(is_number(v) and abs(v) < LARGEST for v in point):
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
        names = sorted({label for part in _parts(path) for file in part.files for label in _labels(file)})
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


def _peek(file: Path) -> dict[str, Any]:
    """What a file holds, as far as it can be read; its faults are told where it is read itself."""
    try:
        content = load_json(file)
    except DataError:
        return {}
    return content if isinstance(content, dict) else {}


def _labels(file: Path) -> set[str]:
    shapes = _peek(file).get("shapes")
    rows = [row for row in shapes if isinstance(row, dict)] if isinstance(shapes, list) else []
    good = [row for row in rows if _LABEL[1](row.get("label")) and _TEXT_OR_NONE[1](row.get("shape_type"))]
    return {_label(row) for row in good if _is_instance(row)} - {IGNORED}


def _flags(file: Path) -> list[str]:
    """The flags of a file that are set; labelme writes those that are not, too."""
    flags = _peek(file).get("flags")
    return [flag for flag, value in flags.items() if value and flag != IGNORED] if isinstance(flags, dict) else []


def _picture(file: Path, by_stem: dict[str, Path], named: str, finder: PictureFinder) -> Path | None:
    """The picture of a JSON: of its own name, else the one that it names."""
    if file.stem in by_stem:
        return by_stem[file.stem]
    beside = file.parent / plain_name(named)
    if named and is_picture(beside) and beside.is_file():
        return beside.resolve() if ".." in beside.parts else beside
    return finder.find(named) if named else None


@dataclasses.dataclass(frozen=True)
class _Part:
    """JSONs of one folder, their split ("" where there is none), and where their pictures may be, the likely place first."""

    split: str
    files: list[Path]
    pictures: list[Path]


def _parts(path: Path) -> list[_Part]:
    images = find_folder(path, PICTURE_FOLDERS)
    first = list_folders(path)
    parts = []
    for folder in [path, *first, *(p for f in first for p in list_folders(f))]:
        files = [p for p in list_files(folder, ".json") if _has_shapes(p)]
        if files:
            names = folder.relative_to(path).parts
            split = next((name for name in names if SPLIT_NAME.fullmatch(name)), "")
            homes = [images / split, images] if images is not None and split else [images] if images is not None else []
            beside = [folder] if list_pictures(folder) or not homes else []
            parts.append(_Part(split, files, [*beside, *(p for p in homes if p.is_dir()), folder]))
    return parts


@dataclasses.dataclass
class _Shapes(FlatSource):
    """Pictures, some of which stand in their JSONs."""

    data: list[bytes | None] = dataclasses.field(default_factory=list)

    def path(self, i: int) -> Path | None:
        return super().path(i) if self.data[i] is None else None

    def picture(self, i: int) -> np.ndarray:
        data = self.data[i]
        return super().picture(i) if data is None else decode_picture(data, self.paths[i])
