"""What annotation tools draw: shapes of several kinds, gathered picture by picture, as one data set.

A reader makes a `Drawing` for every picture that a file names, lets `locate` find the pictures and their sizes, adds the
`Shape`s, and has `gather` make the data set. Corners are continuous pixels from 0.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from videre.data.cleaning import UNREADABLE, are_drawn, clean_boxes, complete_masks, fill_sizes
from videre.data.dataset import Dataset, Repair
from videre.data.faults import Faults
from videre.data.flat import FlatMasks, FlatSource, Ragged, Texts
from videre.data.pictures import PictureFinder
from videre.data.rules import LARGEST
from videre.errors import DataError
from videre.files import read_text
from videre.structures import COCO_PERSON, Instances, Masks, Polygons, Scene, Schema, Skeleton
from videre.structures.sides import mirror_pairs

CORNERS = 64
"""Of the polygon that stands for an ellipse."""
SLACK = 1.0
"""Pixels by which a box may differ from what its outline extends to and still be said by it."""

Loaded = TypeVar("Loaded")
Box = tuple[float, float, float, float]
Mark = tuple[float, float, int]
"""x, y, and visibility 0, 1 or 2 of a keypoint."""


@dataclasses.dataclass
class Shape:
    """One instance.

    Args:
        label: its class. place: its id or place in the file, for messages.
        outline: polygons, or run lengths in COCO's order. box: x1, y1, x2, y2. marks: keypoints by name. Where there is no
            box it is the extent of the outline, or of the keypoints that are labelled.
        ignore: neither right nor wrong to find.
    """

    label: str
    place: int | str
    outline: Polygons | np.ndarray | None = None
    box: Box | None = None
    marks: dict[str, Mark] = dataclasses.field(default_factory=dict)
    ignore: bool = False

    def extent(self, size: tuple[int, int]) -> Box:
        """The box; of no area where there is nothing that has one."""
        if self.box is not None:
            return self.box
        if isinstance(self.outline, Polygons):
            points = np.concatenate(self.outline.parts)
        elif self.outline is not None:
            x1, y1, x2, y2 = _masks([self.outline], size).boxes()[0].tolist()
            return x1, y1, x2, y2
        else:
            points = np.array([(x, y) for x, y, seen in self.marks.values() if seen] or [(0, 0)], np.float64)
        (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
        return x1, y1, x2, y2


@dataclasses.dataclass
class Drawing:
    """One picture of a file, and what is drawn on it.

    Args:
        name: in the data set. stated: how the file calls it. where: "a.xml: image 3", for messages. place: its id.
        content: what the file says of it, for its reader. size: height and width; zeros where the file does not say.
    """

    name: str
    stated: str
    where: str
    place: int | str
    content: Any = None
    split: str = ""
    size: tuple[int, int] = (0, 0)
    path: Path | None = None
    shapes: list[Shape] = dataclasses.field(default_factory=list)
    tags: list[str] = dataclasses.field(default_factory=list)
    captions: list[str] = dataclasses.field(default_factory=list)


def locate(
    drawings: Sequence[Drawing], finder: PictureFinder, faults: Faults, file: Path
) -> tuple[list[Drawing], list[Repair]]:
    """The drawings whose picture is there, with path and size filled in; a repair for each of the others.

    Raises DataError where no picture at all is there.
    """
    found: dict[Path, Drawing] = {}
    repairs: list[Repair] = []
    ambiguous = 0
    for drawing in drawings:
        try:
            path = finder.find(drawing.stated)
        except DataError as error:
            faults.add(drawing.where, str(error), drawing.name)
            ambiguous += 1
            continue
        if path is None:
            looked = finder.looked(drawing.stated)
            repairs.append(Repair(UNREADABLE, drawing.name, drawing.place, looked, "dropped"))
            continue
        first = found.setdefault(path, drawing)
        if first is not drawing:
            faults.add(drawing.where, f"{path} is the picture of {first.where}, too; leave one", drawing.name)
            continue
        drawing.path = path
    if repairs and not found and not ambiguous:
        others = f", nor any other of the {len(drawings)} that it names" if len(drawings) > 1 else ""
        raise DataError(f"{file}: {repairs[0].found}{others}; put the pictures there")
    there = list(found.values())
    sizes, known, unreadable = fill_sizes(
        np.array([d.size for d in there], np.int64).reshape(-1, 2),
        [str(d.path) for d in there],
        [d.name for d in there],
    )
    for drawing, size in zip(there, sizes.tolist()):
        drawing.size = (size[0], size[1])
    return list(itertools.compress(there, known)), repairs + unreadable


def gather(
    drawings: Sequence[Drawing],
    schema: Schema,
    file: Path,
    title: str,
    split: str | None = None,
    repairs: Sequence[Repair] = (),
    always: Sequence[str] = (),
) -> Dataset:
    """The data set of the drawings of a split; which fields it has is decided by those of all splits.

    Args:
        schema: what is known by its names; what has none is left out. always: fields ("ignore", "captions") that are
            there even where nothing has them.
    """
    shapes = [shape for d in drawings for shape in d.shapes]
    outlined = sum(shape.outline is not None for shape in shapes)
    has_masks = are_drawn(outlined, len(shapes))
    has_ignore = "ignore" in always or any(shape.ignore for shape in shapes) or (has_masks and outlined < len(shapes))
    has_captions = "captions" in always or any(d.captions for d in drawings)
    chosen = [d for d in drawings if split in (None, d.split)]
    names, repairs = [d.name for d in chosen], list(repairs)
    sizes = np.array([d.size for d in chosen], np.int64).reshape(-1, 2)
    source = FlatSource([str(d.path) for d in chosen], names, sizes, ids=[d.place for d in chosen])
    if schema.things is not None:
        rows = [(i, shape) for i, d in enumerate(chosen) for shape in d.shapes]
        owners = np.array([i for i, _ in rows], np.int64)
        extents = np.array([shape.extent(chosen[i].size) for i, shape in rows], np.float64).reshape(-1, 4)
        boxes, keep, cleaned = clean_boxes(
            extents, sizes[owners], [names[i] for i in owners], [shape.place for _, shape in rows], "drop", file
        )
        repairs += cleaned
        kept = list(itertools.compress(rows, keep))
        label_of = {name: label for label, name in enumerate(schema.things)}
        source.columns = {
            "boxes": boxes[keep],
            "labels": np.array([label_of[shape.label] for _, shape in kept], np.int64),
        }
        masks, bare, told = complete_masks(
            [shape.outline for _, shape in kept],
            sizes[owners[keep]],
            [names[i] for i, _ in kept],
            [shape.place for _, shape in kept],
            "is a box only",
            has_masks,
        )
        repairs += told
        source.masks = None if masks is None else FlatMasks(masks)
        if has_ignore:
            source.columns["ignore"] = np.array([shape.ignore for _, shape in kept], bool) | bare
        if schema.skeleton is not None:
            source.columns |= _keypoints([shape.marks for _, shape in kept], schema.skeleton)
        source.starts = np.cumsum([0, *np.bincount(owners[keep], minlength=len(chosen))])
    if schema.pictures is not None:
        tag_of = {name: label for label, name in enumerate(schema.pictures)}
        source.labels = Ragged.of([sorted({tag_of[tag] for tag in d.tags}) for d in chosen], np.int64)
    if has_captions:
        source.captions = Texts([d.captions for d in chosen])
    source.__post_init__()  # the fields follow what was filled in
    return Dataset(source, schema, repairs, title)


def _keypoints(rows: Sequence[dict[str, Mark]], skeleton: Skeleton) -> dict[str, np.ndarray]:
    """Columns of the keypoints; zeros where nothing is labelled."""
    nothing: Mark = (0, 0, 0)
    values = np.array([[marks.get(name, nothing) for name in skeleton.names] for marks in rows], np.float64)
    values = values.reshape(-1, len(skeleton), 3)
    points = np.where(values[:, :, 2:] > 0, values[:, :, :2], 0)
    return {"keypoints": points.astype(np.float32), "visibility": values[:, :, 2].astype(np.uint8)}


# Geometry -------------------------------------------------------------------------------------------------------------


def rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    """Its four corners."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float64)


def ellipse(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """A polygon that stands for it."""
    angles = np.arange(CORNERS) * (2 * math.pi / CORNERS)
    return np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], 1)


def rotated(points: np.ndarray, centre: tuple[float, float], degrees: float) -> np.ndarray:
    """Points turned clockwise, as a picture is seen, about a centre."""
    if degrees % 360 == 0:
        return points
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - centre) @ np.array([[c, s], [-s, c]]) + centre


def runs_of(crop: np.ndarray, left: int, top: int, size: tuple[int, int]) -> np.ndarray:
    """Run lengths in COCO's order of a bitmap whose first pixel is (left, top) of a picture of `size`."""
    height, width = crop.shape
    return Masks.from_windows([crop], [(left, top, left + width, top + height)], size).runs()[0].numpy()


def skeleton_of(names: Sequence[str], edges: Sequence[tuple[int, int]]) -> Skeleton:
    """The skeleton of these keypoints; what a mirror swaps is told by their names."""
    if tuple(names) == COCO_PERSON.names:
        return dataclasses.replace(COCO_PERSON, edges=tuple(edges))
    return Skeleton(tuple(names), tuple(edges), mirror_pairs(names))


def _masks(outlines: Sequence[np.ndarray], size: tuple[int, int]) -> Masks:
    return FlatMasks(outlines).rows(0, len(outlines), size)


# Files ----------------------------------------------------------------------------------------------------------------


def is_coordinate(value: Any) -> bool:
    """Whether it is a finite number, and no absurd one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def read_json(file: Path) -> Any:
    """What a JSON file holds; DataError where it is none."""
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not a JSON file ({error})") from None


def load_each(files: Sequence[Path], load: Callable[[Path], Loaded], faults: Faults) -> dict[Path, Loaded]:
    """What `load` gives of each file; where there are several, one that cannot be loaded is a fault.

    Raises DataError where none can.
    """
    if len(files) == 1:
        return {files[0]: load(files[0])}
    loaded: dict[Path, Loaded] = {}
    errors: list[DataError] = []
    for file in files:
        try:
            loaded[file] = load(file)
        except DataError as error:
            faults.add(file, str(error).removeprefix(f"{file}: "))
            errors.append(error)
    if errors and not loaded:
        faults.settle()
        raise errors[0]
    return loaded


def ends(file: Path, count: int = 4096) -> bytes:
    """The first and last bytes of a file: annotations may be large. Those of a text in UTF-16 as in UTF-8."""
    try:
        with file.open("rb") as stream:
            head = stream.read(count)
            stream.seek(max(len(head), file.stat().st_size - count))
            return (head + stream.read()).replace(b"\0", b"").removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return b""


# Writing --------------------------------------------------------------------------------------------------------------


def unsaid_boxes(scene: Scene, instances: Instances) -> list[int]:
    """Instances whose box is not the extent of what is drawn of them, their mask or else their keypoints."""
    if instances.boxes is None:
        return []
    shapes: list[Shape] = [Shape("", n) for n in range(len(instances))]
    if instances.masks is not None:
        drawn = instances.masks.polygons() if instances.masks.form == "polygons" else None
        tight = instances.masks.boxes().tolist() if drawn is None else None
        for n, shape in enumerate(shapes):
            shape.outline = drawn[n] if drawn is not None and drawn[n].parts else None
            shape.box = tuple(tight[n]) if tight is not None else (0, 0, 0, 0) if shape.outline is None else None
    elif instances.keypoints is not None:
        for n, shape in enumerate(shapes):
            shape.marks = marks_of(instances, n)
            shape.box = None if any(seen for _, _, seen in shape.marks.values()) else tuple(instances.boxes[n].tolist())
    else:
        return []
    said = np.array([shape.extent(scene.size) for shape in shapes], np.float64).reshape(-1, 4)
    said = np.clip(said, 0, np.array(scene.size)[[1, 0, 1, 0]])
    return np.flatnonzero((np.abs(said - instances.boxes.numpy()) > SLACK).any(1)).tolist()


def marks_of(instances: Instances, n: int) -> dict[str, Mark]:
    """The keypoints of an instance, by their numbers as text."""
    if instances.keypoints is None:
        return {}
    points = instances.keypoints[n].tolist()
    seen = instances.visibility[n].tolist() if instances.visibility is not None else [2] * len(points)
    return {str(j): (x, y, v) for j, ((x, y), v) in enumerate(zip(points, seen))}
