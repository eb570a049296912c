"""Boxes of things in a table: a row a box, as TensorFlow's and RetinaNet's tools, Roboflow and Kaggle have it.

Columns, in any order: the picture's path or name; the corners xmin, ymin, xmax, ymax (x_min, x1, left, …), or x, y, w, h, or
bbox with "[x, y, width, height]"; the class (without it all things are one class, "object"); optionally split, and width and
height of the picture. A table without a first line of names has path, x1, y1, x2, y2, class. Numbers are continuous pixels
from 0. A row without numbers says that its picture has nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videre.data.dataset import Dataset, Repair
from videre.data.drawn import Box, Drawing, Shape, gather, locate
from videre.data.faults import Faults
from videre.data.formats.tables import (
    LABEL,
    PICTURE,
    SPLIT,
    TABLES,
    check_splits,
    is_there,
    names_of,
    read_lines_of,
    split_of,
    tables_of,
)
from videre.data.pictures import PictureFinder
from videre.data.rules import as_number
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import write_atomic
from videre.structures import Categories, Schema

LOOKS_FOR = "boxes-csv: *.csv whose first line has filename, class, xmin, ymin, xmax, ymax (or bbox, or x, y, w, h)"
OWN = frozenset(TABLES)
HOLDS = {"boxes", "instances.labels"}
CORNERS = (
    ("xmin", "x_min", "x1", "left"),
    ("ymin", "y_min", "y1", "top"),
    ("xmax", "x_max", "x2", "right"),
    ("ymax", "y_max", "y2", "bottom"),
)
SIDES = (("x",), ("y",), ("w", "width"), ("h", "height"))
"""Of x, y, w, h: corner and sides."""
TOGETHER = ("bbox", "box")
OBJECT = "object"
"""The class of things where no column has one."""
WRITTEN = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", SPLIT)
TABLE = "boxes.csv"
"""Columns and name of what is written here."""
_FIRST_ROWS = 20
"""Rows looked at to tell whether a table is about the pictures beside it."""


def recognise(path: Path) -> str:
    """What was found, or "" when there is no table of boxes of the pictures that are there."""
    return names_of(path, _tables(path))


def splits(path: Path) -> list[str]:
    """Values of the column `split`; without it what the tables, or their folders, are called."""
    return sorted({row.split for file in _tables(path) for row in _rows(file, Faults(skip=True)) if row.split})


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read a table, or those of a folder; the classes, sorted, are those of all rows, whatever the split.

    A picture that is not where its path says is left out, with a repair.

    Raises DataError with all cells that are missing or cannot be meant; no picture at all is there.
    """
    tables, faults, repairs = _tables(path), Faults(skip_broken), list[Repair]()
    check_splits(path, tables)
    root = path if path.is_dir() else path.parent
    found: list[Drawing] = []
    labels: set[str] = set()
    for file in tables:
        drawings: dict[tuple[str, str], Drawing] = {}
        for row in _rows(file, faults):
            where = f"{file}, line {row.line}"
            new = Drawing(row.picture, row.picture, where, row.line, split=row.split)
            drawing = drawings.setdefault((row.split, row.picture), new)
            if row.box is not None:
                drawing.shapes.append(Shape(row.label, f"line {row.line}", box=row.box))
                labels.add(row.label)
        there, missing = locate(list(drawings.values()), PictureFinder([file.parent, root]), faults, file)
        found, repairs = found + there, repairs + missing
    if not labels:
        faults.refuse(f"{', '.join(map(str, tables))}: no row has a box")
    for drawing in found:
        assert drawing.path is not None
        drawing.name = drawing.path.relative_to(root).as_posix()
    _check_pixels(tables[0], found)
    repairs += faults.settle()
    schema = Schema(things=Categories(tuple(sorted(labels))))
    title = path.name + (f" {split}" if split else "")
    return gather(found, schema, tables[0], title, split, repairs)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Copy pictures to <split>/ and write their rows of boxes.csv, whose rows of other splits stay; returns the fields
    that were lost."""
    lost = losses(dataset, HOLDS, "a table of boxes", lossy)
    things = dataset.schema.things
    if things is None or "boxes" not in dataset.fields:
        raise DataError(f"a table of boxes holds boxes of things; {dataset.title} has {sorted(dataset.fields)}")
    table, lines = path / TABLE, [list[object](WRITTEN)]
    if table.exists():
        (_, names), *rows = read_lines_of(table)
        if tuple(names) != WRITTEN:
            raise DataError(
                f"{table}: is there already, with other columns than {','.join(WRITTEN)}; name a new folder"
            )
        lines += [list[object](cells) for _, cells in rows if cells[-1] != split]
    for filename, scene in placed(dataset, path / split):
        instances, (height, width) = scene.instances, scene.size
        before = [f"{split}/{filename}", width, height]
        if instances is None or len(instances) == 0:
            lines.append([*before, "", "", "", "", "", split])
            continue
        assert instances.boxes is not None and instances.labels is not None
        for box, label in zip(instances.boxes.tolist(), instances.labels.tolist()):
            lines.append([*before, things[label], *(f"{v:.6g}" for v in box), split])
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    write_atomic(table, text.getvalue().encode())
    return lost


# Rows -----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Row:
    """What one line says; box: None where its picture has nothing."""

    line: int
    picture: str
    label: str
    box: Box | None
    split: str


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Which column is what, by its place. box: one for all four numbers, or one for each; sides: its last two are width
    and height, not a corner."""

    picture: int
    box: tuple[int, ...]
    sides: bool
    label: int | None = None
    split: int | None = None

    @classmethod
    def of(cls, names: list[str]) -> _Columns | None:
        """None where no columns hold boxes."""
        lower = [name.lower() for name in names]
        first = lambda words: next((lower.index(word) for word in words if word in lower), None)
        corners, sides, together = [first(w) for w in CORNERS], [first(w) for w in SIDES], first(TOGETHER)
        picture = first(PICTURE)
        if picture is None:
            return None
        label = next((n for n, name in enumerate(lower) if name in LABEL and n != picture), None)
        split = lower.index(SPLIT) if SPLIT in lower else None
        for places, are_sides in ((corners, False), ([together], True), (sides, True)):
            if None not in places:
                return cls(picture, tuple(p for p in places if p is not None), are_sides, label, split)
        return None


_UNNAMED = _Columns(0, (1, 2, 3, 4), sides=False, label=5)
"""Of a table without a first line of names."""


def _tables(path: Path) -> list[Path]:
    return [file for file in tables_of(path, _is_of_pictures) if _has_boxes(file)]


def _has_boxes(file: Path) -> bool:
    try:
        return _columns(read_lines_of(file))[0] is not None
    except DataError:
        return False


def _is_of_pictures(file: Path) -> bool:
    """Whether a table is one of boxes of the pictures beside it."""
    finder = PictureFinder([file.parent])
    if not _has_boxes(file):
        return False
    return any(is_there(finder, row.picture) for row in _rows(file, Faults(skip=True))[:_FIRST_ROWS])


def _columns(lines: Sequence[tuple[int, list[str]]]) -> tuple[_Columns | None, int]:
    """What the columns are, None where there are no boxes, and how many lines name them."""
    cells = lines[0][1]
    numbers = [as_number(cell) is not None or not cell for cell in cells]
    if len(cells) == 6 and all(numbers[1:5]) and not numbers[0] and any(map(str.strip, cells[1:5])):
        return _UNNAMED, 0
    return _Columns.of(cells), 1


def _rows(file: Path, faults: Faults) -> list[_Row]:
    """The rows of a table, but for those with a fault."""
    lines, rows = read_lines_of(file), list[_Row]()
    columns, named = _columns(lines)
    if columns is None:
        raise DataError(f"{file}: no columns hold boxes; found {', '.join(lines[0][1])}; wanted are {LOOKS_FOR}")
    width, default = len(lines[0][1]), split_of(file)
    names = lines[0][1] if named else ["path", "x1", "y1", "x2", "y2", "class"]
    for line, cells in lines[named:]:
        where = f"{file}, line {line}"
        if len(cells) != width:
            cure = 'correct it, or write cells that hold the separator in "quotes"'
            faults.add(where, f"has {len(cells)} cells where the first line has {width}; {cure}")
            continue
        picture = cells[columns.picture]
        label = OBJECT if columns.label is None else cells[columns.label]
        split = default if columns.split is None else cells[columns.split]
        stated = [cells[place] for place in columns.box]
        nothing = not any(stated)
        values = stated if len(stated) == 4 else re.split(r"[,;\s]+", stated[0].strip("[]() "))
        box = [number if (number := as_number(value)) is not None else math.nan for value in values]
        problems = [] if picture else [f"{names[columns.picture]} should name a picture, but it is empty; name it"]
        if not nothing and (len(box) != 4 or not all(map(math.isfinite, box))):
            what = ", ".join(names[place] for place in columns.box)
            problems.append(f"{what} should be four finite numbers, found {', '.join(stated)!r:.60}; correct it")
        if not nothing and not label:
            problems.append("has a box and no class; name it")
        for problem in problems:
            faults.add(where, problem, picture or "-")
        if problems:
            continue
        if nothing:
            rows.append(_Row(line, picture, "", None, split))
            continue
        x, y, x2, y2 = box
        rows.append(_Row(line, picture, label, (x, y, x + x2, y + y2) if columns.sides else (x, y, x2, y2), split))
    return rows


def _check_pixels(file: Path, drawings: Sequence[Drawing]) -> None:
    """DataError where the numbers of all boxes are shares of their pictures."""
    boxes = [shape.box for d in drawings for shape in d.shapes]
    if len(boxes) > 1 and np.abs(np.array(boxes)).max() <= 1 and all(min(d.size) > 8 for d in drawings):
        raise DataError(
            f"{file}: the {len(boxes)} boxes have numbers between 0 and 1, and a table of boxes counts pixels: multiply by "
            "width and height"
        )
