"""Parquet files as Hugging Face's `datasets` writes them: the pictures are in the tables, a row each.

Convention: a column `image` holds {"bytes", "path"}. `label` is the class of the picture, a number whose names the file's
metadata has, or words; a list where there may be several. `objects` are things: {"bbox", "category", and perhaps "id", "area",
"iscrowd"}, each a list. Boxes are COCO's [x, y, width, height] in pixels; `read(..., boxes="xyxy")` takes corners. The split is
the file's name (train-00000-of-00002.parquet), or else its folder's.

Labels are read at once; pictures when they are asked for, a group of rows at a time. Read at random, a file with large groups is
slow: convert it first.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videre.data.dataset import Dataset, Repair
from videre.data.faults import Faults
from videre.data.flat import FlatSource, Ragged
from videre.data.formats.folders import SPLIT_NAME
from videre.data.rules import LARGEST
from videre.errors import ConfigError, DataError
from videre.files import read_bytes
from videre.images.listing import is_hidden
from videre.images.reading import decode_picture, decoded_size
from videre.structures import Categories, Schema

LOOKS_FOR = "parquet: *.parquet or data/*.parquet with columns image and label, or image and objects"
OWN = frozenset({".parquet"})
IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label", "class")
OBJECTS = "objects"
BOXES = ("xywh", "xyxy")
GROUPS = 4
"""Groups of rows kept in memory."""
_STEM = re.compile(r"(.+?)(?:-\d+-of-\d+.*)?")
_PLACES = ("*.parquet", "*/*.parquet", "*/*/*.parquet")


def recognise(path: Path) -> str:
    """What was found, or "" where no table has pictures; told by the names of the columns, without pyarrow."""
    files = [file for file in _tables(path) if _has_pictures(file)]
    return f"{', '.join(file.name for file in files[:3])}{', …' if len(files) > 3 else ''}" if files else ""


def splits(path: Path) -> list[str]:
    """The splits that files or their folders are named after."""
    return sorted({name for file in _tables(path) if _has_pictures(file) and (name := _split_of(file, path))})


def read(path: Path, split: str | None = None, skip_broken: bool = False, boxes: str = "xywh") -> Dataset:
    """Read a file, or those of a folder.

    Args:
        boxes: "xywh" as COCO, or "xyxy": what four numbers mean.

    Raises:
        ConfigError: pyarrow is not installed. DataError: a damaged file, a row that cannot be meant; with `skip_broken`
        what is broken is left out.
    """
    pq = _pyarrow()
    if boxes not in BOXES:
        raise ConfigError(f"boxes must be one of {', '.join(BOXES)}; found {boxes!r}")
    files = [f for f in _tables(path) if _has_pictures(f) and split in (None, _split_of(f, path))]
    faults, tables = Faults(skip_broken), [_Table.read(pq, file, path) for file in files]
    kinds = {(table.label, table.objects) for table in tables}
    if len(kinds) > 1:
        raise DataError(
            f"{path}: its files have different columns ({', '.join(f.name for f in files)}); name one of them"
        )
    label, has_objects = next(iter(kinds))
    pictures = _classes([t.label_names for t in tables], [v for t in tables for v in t.label_values()], path, label)
    things = _classes([t.thing_names for t in tables], [v for t in tables for v in t.thing_values()], path, "category")
    rows, repairs = _Rows(), list[Repair]()
    for table in tables:
        for n in range(table.rows):
            where, name = f"{table.file}: row {n}", table.name(n)
            labels = _labels(table.labels[n], pictures, where, faults, name) if label else []
            found = _things(table.things[n], things, boxes, where, faults, name, repairs) if has_objects else []
            if labels is None or found is None:
                continue
            if label and not labels:
                repairs.append(Repair("picture without label", name, n, str(table.labels[n]), "kept without one"))
            rows.add(table, n, name, labels, found)
    repairs = [*faults.settle(), *repairs]
    if not rows.names:
        raise DataError(f"{path}: its tables have no row that can be read")
    schema = Schema(
        pictures=Categories(tuple(pictures)) if label else None,
        things=Categories(tuple(things)) if has_objects else None,
    )
    return Dataset(rows.source(bool(label), has_objects), schema, repairs, path.name + (f" {split}" if split else ""))


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Raises DataError: `datasets` writes these tables better, from folders or COCO."""
    raise DataError(
        f"{dataset.title}: parquet is read, not written; write folders (classes of pictures) or coco (things), which "
        "Hugging Face's datasets loads"
    )


# tables -----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Table:
    """One file: its labels, and where its pictures are."""

    file: Path
    root: Path
    image: str
    label: str
    objects: bool
    rows: int
    groups: np.ndarray
    """The first row of each group."""
    labels: list[Any]
    things: list[Any]
    sizes: np.ndarray
    label_names: list[str]
    thing_names: list[str]

    @classmethod
    def read(cls, pq: Any, file: Path, root: Path) -> _Table:
        try:
            with pq.ParquetFile(file) as table:
                schema = table.schema_arrow
                features = _features(schema.metadata)
                image = next(name for name in IMAGES if name in schema.names)
                label = next((name for name in LABELS if name in schema.names), "")
                objects = OBJECTS in schema.names
                counts = [table.metadata.row_group(g).num_rows for g in range(table.num_row_groups)]
                wanted = [name for name in (label, OBJECTS, "height", "width") if name in schema.names]
                content = table.read(columns=wanted).to_pydict()
        except (OSError, ValueError, StopIteration) as error:  # pyarrow's errors are of these kinds
            raise DataError(f"{file}: cannot be read as parquet ({str(error).partition(chr(10))[0]})") from error
        rows = sum(counts)
        sides = [content.get(side, [0] * rows) for side in ("height", "width")]
        sizes = [[v if isinstance(v, int) and v > 0 else 0 for v in side] for side in sides]
        return cls(
            file,
            root if root.is_dir() else root.parent,
            image,
            label,
            objects,
            rows,
            np.cumsum([0, *counts]),
            content.get(label, []),
            content.get(OBJECTS, []),
            np.array(sizes, np.int64).T.reshape(-1, 2),
            _names(features.get(label)),
            _names(_inner(features.get(OBJECTS), "category")),
        )

    def name(self, n: int) -> str:
        """The table's path and the row's number: the paths inside are not always there, nor unique."""
        return f"{self.file.relative_to(self.root).with_suffix('').as_posix()}/{n:06d}"

    def label_values(self) -> list[Any]:
        return [v for cell in self.labels for v in (cell if isinstance(cell, list) else [cell])]

    def thing_values(self) -> list[Any]:
        return [row["category"] for cell in self.things for row in _as_rows(cell) if "category" in row]


class _Rows:
    """The rows that are kept."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.places: list[tuple[str, str, int, int]] = []
        self.sizes: list[np.ndarray] = []
        self.labels: list[list[int]] = []
        self.things: list[list[_Thing]] = []

    def add(self, table: _Table, n: int, name: str, labels: list[int], things: list[_Thing]) -> None:
        group = int(np.searchsorted(table.groups, n, side="right")) - 1
        self.names.append(name)
        self.places.append((str(table.file), table.image, group, n - int(table.groups[group])))
        self.sizes.append(table.sizes[n])
        self.labels.append(labels)
        self.things.append(things)

    def source(self, with_labels: bool, with_things: bool) -> ParquetSource:
        things = [thing for row in self.things for thing in row]
        columns: dict[str, np.ndarray] = {}
        if with_things:
            columns = {
                "boxes": np.array([t.box for t in things], np.float32).reshape(-1, 4),
                "labels": np.array([t.label for t in things], np.int64),
            }
            if any(t.crowd for t in things):
                columns["ignore"] = np.array([t.crowd for t in things], bool)
            if things and all(isinstance(t.identity, int) for t in things):
                columns["ids"] = np.array([t.identity for t in things], np.int64)
            if things and all(t.area is not None for t in things):
                columns["areas"] = np.array([t.area for t in things], np.float64)
        return ParquetSource(
            self.names,
            self.names,
            np.stack(self.sizes),
            starts=np.cumsum([0, *map(len, self.things)]) if with_things else None,
            columns=columns,
            labels=Ragged.of(self.labels, np.int64) if with_labels else None,
            places=self.places,
        )


@dataclasses.dataclass
class _Thing:
    box: list[float]
    label: int
    identity: Any
    area: float | None
    crowd: bool


@dataclasses.dataclass
class ParquetSource(FlatSource):
    """Pictures in tables.

    Args:
        places: of each picture: the file, the column, the group of rows, the row in it.
    """

    places: Sequence[tuple[str, str, int, int]] = ()

    def path(self, i: int) -> Path | None:
        return None

    def size(self, i: int) -> tuple[int, int]:
        if self.sizes is None or not self.sizes[i].all():
            assert self.sizes is not None
            self.sizes[i] = decoded_size(self._bytes(i), self._where(i))
        return int(self.sizes[i][0]), int(self.sizes[i][1])

    def picture(self, i: int) -> np.ndarray:
        return decode_picture(self._bytes(i), self._where(i))

    def _where(self, i: int) -> str:
        return f"{self.places[i][0]}: {self.names[i]}"

    def _bytes(self, i: int) -> bytes:
        file, column, group, row = self.places[i]
        try:
            cell = _group(file, column, group, Path(file).stat().st_mtime_ns)[row].as_py()
        except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
            raise DataError(f"{self._where(i)}: cannot be read ({str(error).partition(chr(10))[0]})") from error
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if isinstance(content, bytes):
            return content
        beside = Path(file).parent / str(cell.get("path")) if isinstance(cell, dict) and cell.get("path") else None
        if beside is not None and beside.is_file():
            return read_bytes(beside)
        raise DataError(f"{self._where(i)}: has no picture, neither bytes nor a path that leads to one")


@functools.lru_cache(maxsize=GROUPS)
def _group(file: str, column: str, group: int, changed: int) -> Any:
    """The pictures of a group of rows, still encoded."""
    with _pyarrow().ParquetFile(file) as table:
        return table.read_row_group(group, columns=[column]).column(column)


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("parquet needs pyarrow, not installed here: pip install 'videre[parquet]'") from None
    return pyarrow.parquet


def _tables(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return sorted(f for place in _PLACES for f in path.glob(place) if not is_hidden(f, path) and f.is_file())


def _has_pictures(file: Path) -> bool:
    """Whether the end of the file, where its columns are named, names pictures with a struct or bytes for each."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 8))
        length = int.from_bytes(stream.read(4), "little")
        if stream.read(4) != b"PAR1" or not 0 < length < size:
            return False
        stream.seek(size - 8 - length)
        footer = stream.read(length)
    word = lambda name: bytes([len(name)]) + name.encode()  # as Thrift writes text: its length, then itself
    known = (*LABELS, OBJECTS, "bytes")
    return any(word(name) in footer for name in IMAGES) and any(word(name) in footer for name in known)


def _split_of(file: Path, root: Path) -> str:
    stem = _STEM.fullmatch(file.stem)
    for name in (stem[1] if stem else "", *([file.parent.name] if file.parent != root else [])):
        if SPLIT_NAME.fullmatch(name):
            return name
    return ""


# what the columns mean --------------------------------------------------------------------------------------------------


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What `datasets` says of the columns."""
    try:
        said = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = said.get("info", {}).get("features", {})
        return features if isinstance(features, dict) else {}
    except (ValueError, AttributeError):
        return {}


def _names(feature: Any) -> list[str]:
    """The class names inside a feature, however deep in lists."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    if not isinstance(feature, dict):
        return []
    names = feature.get("names")
    return [str(name) for name in names] if isinstance(names, list) else _names(feature.get("feature"))


def _inner(feature: Any, name: str) -> Any:
    """A field of a struct inside lists, as older and newer versions of `datasets` write it."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    if not isinstance(feature, dict):
        return None
    return feature[name] if name in feature else _inner(feature.get("feature"), name)


def _classes(named: list[list[str]], values: list[Any], path: Path, column: str) -> list[str]:
    """The classes of a column: those that the metadata names, or the words in it, or its numbers."""
    if len({tuple(names) for names in named}) > 1:
        raise DataError(f"{path}: its files name different classes for {column}; name one of them")
    if named and named[0]:
        return named[0]
    words = sorted({v for v in values if isinstance(v, str) and v})
    most = max((v for v in values if isinstance(v, int)), default=-1)
    return words or [str(k) for k in range(most + 1)]


def _as_rows(cell: Any) -> list[dict[str, Any]]:
    """The things of a picture as one dict each: they are written as lists by field, or so already."""
    if isinstance(cell, list):
        return [row for row in cell if isinstance(row, dict)]
    columns = {k: v for k, v in (cell or {}).items() if isinstance(v, list)}
    count = len(columns.get("bbox", []))
    return [{k: v[n] for k, v in columns.items() if n < len(v)} for n in range(count)]


def _label(value: Any, classes: list[str]) -> int | None:
    if isinstance(value, str):
        return classes.index(value) if value in classes else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes) else None


def _labels(cell: Any, classes: list[str], where: str, faults: Faults, name: str) -> list[int] | None:
    """The classes of a picture; none for -1 and null, which is how tests are published. None where it is broken."""
    values = [v for v in (cell if isinstance(cell, list) else [cell]) if v is not None and v != -1 and v != ""]
    found = [_label(value, classes) for value in values]
    if None in found:
        faults.add(where, f"label should be one of {len(classes)} classes, found {cell!r:.60}; correct it", name)
        return None
    return sorted({label for label in found if label is not None})


def _things(
    cell: Any, classes: list[str], boxes: str, where: str, faults: Faults, name: str, repairs: list[Repair]
) -> list[_Thing] | None:
    """The things of a picture; None where one is broken."""
    found, before = list[_Thing](), len(faults.found)
    for n, row in enumerate(_as_rows(cell)):
        box, label = row.get("bbox"), _label(row.get("category"), classes)
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(isinstance(v, int | float) and abs(v) < LARGEST for v in box)
        ):
            faults.add(where, f"object {n}: bbox should be four numbers, found {box!r:.60}; correct it", name)
            continue
        if label is None:
            said = row.get("category")
            faults.add(
                where, f"object {n}: category should be one of {len(classes)}, found {said!r:.60}; correct it", name
            )
            continue
        x, y, a, b = map(float, box)
        corners = [x, y, x + a, y + b] if boxes == "xywh" else [x, y, a, b]
        if corners[2] <= x or corners[3] <= y:
            repairs.append(Repair("degenerate box", name, n, f"{box}", "dropped"))
            continue
        area = row.get("area")
        crowd = bool(row.get("iscrowd") or row.get("is_crowd"))
        area = float(area) if isinstance(area, int | float) and 0 < area < 2**62 else None
        found.append(_Thing(corners, label, row.get("id"), area, crowd))
    return found if len(faults.found) == before else None
