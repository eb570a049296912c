"""Open Images: tables of boxes and of labels, one for each split, that name pictures and classes by ids.

`<split>-annotations-bbox.csv` (with oidv6- or the like in front) has a row for each box, `<split>-annotations-…imagelabels….csv`
one for each label of a picture; they lie in the folder, or in `annotations/`, `metadata/`, `labels/` or `csv_folder/`. Pictures
are `<split>/<ImageID>.jpg`, in `images/` or beside. `class-descriptions-boxable.csv` has the names and the order of the classes
of boxes, `class-descriptions.csv` those of labels; without the one the other, without both the ids are the names, sorted.

Convention: coordinates are fractions of the picture's width and height, continuous from 0. A box with IsGroupOf = 1 is
`ignore`. A label of a picture is a row with Confidence 1; one with less was not found there, or only by a machine. Pictures
without a row are left out, unless `<split>-images-boxable….csv` lists them: nobody says that there is nothing on them.
"""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from videre.data.cleaning import clean_boxes
from videre.data.dataset import Dataset, Repair
from videre.data.drawn import Drawing, ends, is_coordinate, locate
from videre.data.faults import Faults
from videre.data.flat import FlatSource, Ragged
from videre.data.pictures import PictureFinder
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import ENCODINGS, check_regular, read_text, write_atomic
from videre.images.listing import list_files
from videre.structures import Categories, Schema

LOOKS_FOR = (
    "Open Images: <split>-annotations-bbox.csv (or -imagelabels.csv) with ImageID and LabelName, pictures in <split>/"
)
OWN = frozenset({".csv"})
HOLDS = {"boxes", "instances.labels", "ignore", "labels"}
FOLDERS = ("", "annotations", "metadata", "labels", "csv_folder")
CORNERS = ("XMin", "XMax", "YMin", "YMax")
WRITTEN = ("ImageID", "Source", "LabelName", "Confidence", *CORNERS)
FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
BOXABLE, ALL = "class-descriptions-boxable.csv", "class-descriptions.csv"
_KINDS = {
    "boxes": re.compile(r"^(?:oidv\d+-)?(.*?)-?annotations-bbox.*\.csv$"),
    "labels": re.compile(r"^(?:oidv\d+-)?(.*?)-?annotations-.*imagelabels.*\.csv$"),
    "list": re.compile(r"^(?:oidv\d+-)?(.*?)-?images-boxable.*\.csv$"),
}


def recognise(path: Path) -> str:
    """What was found, or "" when there is no table of boxes or labels by ImageID."""
    return ", ".join(file.name for files in _tables(path).values() for kind, file in files if kind != "list")


def splits(path: Path) -> list[str]:
    """What the names of the tables begin with."""
    return [name for name in _tables(path) if name]


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read the tables of a split, or of all, or one table.

    Args:
        skip_broken: leave out and count the rows that cannot be used, instead of refusing.

    Raises:
        DataError: all faults at once; a table without its columns; no picture is there.
    """
    tables, faults = _tables(path), Faults(skip_broken)
    everything = [(kind, file) for files in tables.values() for kind, file in files]
    kinds = {kind for kind, _ in everything}
    folder = path if path.is_dir() else path.parent
    root = folder.parent if path.is_file() and folder.name in FOLDERS[1:] else folder
    things = _classes(root, (BOXABLE, ALL), [f for k, f in everything if k == "boxes"]) if "boxes" in kinds else None
    tags = _classes(root, (ALL, BOXABLE), [f for k, f in everything if k == "labels"]) if "labels" in kinds else None
    rows = _Rows()
    drawings: list[Drawing] = []
    there: list[Drawing] = []
    repairs: list[Repair] = []
    chosen = {name: files for name, files in tables.items() if split in (None, name)}
    for name, files in chosen.items():
        pictures: dict[str, Drawing] = {}
        for kind, file in files:
            try:
                rows.read(kind, file, name, pictures, (things if kind == "boxes" else tags) or ({}, ()), faults)
            except DataError as error:
                if len(everything) == 1:
                    raise
                faults.add(file, str(error).removeprefix(f"{file}: "))
        places = [root / name, root / "images" / name, root / "images", root] if name else [root / "images", root]
        drawings += pictures.values()
        if pictures:
            found, missing = locate(list(pictures.values()), PictureFinder(places), faults, files[0][1])
            there, repairs = there + found, repairs + missing
    repairs += faults.settle()
    if not drawings:
        listed = ", ".join(str(file) for files in chosen.values() for _, file in files)
        raise DataError(f"{listed}: names no picture; a row has an ImageID and a LabelName")
    title = path.name + (f" {split}" if split else "")
    return rows.dataset(there, things, tags, repairs, title, everything[0][1])


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write <split>/ with the pictures, the tables of the split, and the lists of classes. Returns the losses.

    Raises DataError where the lists are there already with other classes.
    """
    lost = losses(dataset, HOLDS, "Open Images", lossy)
    schema = dataset.schema
    if not dataset.fields & {"boxes", "labels"}:
        raise DataError(f"Open Images holds boxes and labels; {dataset.title} has {sorted(dataset.fields)}")
    for name, categories in ((BOXABLE, schema.things), (ALL, schema.pictures)):
        if categories is not None:
            listed = _text((_id(k), label) for k, label in enumerate(categories))
            if (path / name).exists() and (path / name).read_bytes() != listed:
                raise DataError(f"{path / name}: is there already, with other classes; name a new folder")
            write_atomic(path / name, listed)
    boxes: list[Sequence[object]] = [(*WRITTEN, *FLAGS)]
    labels: list[Sequence[object]] = [WRITTEN[:4]]
    images: list[Sequence[object]] = [("ImageID", "Subset")]
    for filename, scene in placed(dataset, path / split):
        identity, (height, width) = filename.rpartition(".")[0], scene.size
        images.append((identity, split))
        if scene.labels is not None and schema.pictures is not None:
            labels += [(identity, "videre", _id(k), 1) for k in scene.labels.tolist()]
        things = scene.instances
        for n in range(len(things) if things is not None and schema.things is not None else 0):
            assert things is not None and things.boxes is not None and things.labels is not None
            x1, y1, x2, y2 = things.boxes[n].tolist()
            label = int(things.labels[n])
            group = int(things.ignore[n]) if things.ignore is not None else 0
            corners = (x1 / width, x2 / width, y1 / height, y2 / height)
            boxes.append((identity, "videre", _id(label), 1, *corners, -1, -1, group, -1, -1))
    if schema.things is not None:
        write_atomic(path / f"{split}-annotations-bbox.csv", _text(boxes))
    if schema.pictures is not None:
        write_atomic(path / f"{split}-annotations-human-imagelabels.csv", _text(labels))
    write_atomic(path / f"{split}-images-boxable.csv", _text(images))
    return lost


def _id(label: int) -> str:
    """Of a class that is written: the published ones have ids like it."""
    return f"/x/{label}"


def _text(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


# Tables ---------------------------------------------------------------------------------------------------------------

Classes = tuple[dict[str, int], tuple[str, ...]]
"""Place by id, and names."""


def _tables(path: Path) -> dict[str, list[tuple[str, Path]]]:
    """Kind and file of the tables of each split that has boxes or labels."""
    files = [path] if path.is_file() else [f for name in FOLDERS for f in list_files(path / name, ".csv")]
    found: dict[str, list[tuple[str, Path]]] = {}
    for file in files:
        for kind, pattern in _KINDS.items():
            match = pattern.match(file.name)
            if match and _names(file)[:1] == ["ImageID"]:
                found.setdefault(match[1], []).append((kind, file))
    return {name: files for name, files in found.items() if any(kind != "list" for kind, _ in files)}


def _names(file: Path) -> list[str]:
    """The columns that the first line names."""
    line = re.split(r"[\r\n]", ends(file).decode("utf-8", "replace").lstrip("\ufeff\ufffd"), maxsplit=1)[0]
    return [name.strip().strip('"') for name in line.split(",")]


def _lines(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Number, and the cells of `columns`, of each line but the first; a column that is absent is empty.

    A line with too few cells has none. Raises DataError where a column that is no flag is absent.
    """
    check_regular(file)
    encoding = next((name for mark, name in ENCODINGS.items() if _begins(file, mark)), "utf-8")
    try:
        with file.open(encoding=encoding, newline="") as stream:
            reader = csv.reader(stream)
            names = [name.strip() for name in next(reader, [])]
            missing = [name for name in columns if name not in names and name not in FLAGS]
            if missing:
                raise DataError(
                    f"{file}: the first line should name {', '.join(columns)}; {', '.join(missing)} is missing, found "
                    f"{', '.join(names):.200}"
                )
            places = [names.index(name) if name in names else -1 for name in columns]
            needed = max(places)
            for cells in reader:
                if len(cells) > needed:
                    yield reader.line_num, [cells[place].strip() if place >= 0 else "" for place in places]
                elif any(map(str.strip, cells)):
                    yield reader.line_num, []
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"{file}: not a table in {encoding} ({error}); save it as UTF-8") from None


def _begins(file: Path, mark: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(mark)) == mark


def _classes(root: Path, lists: Sequence[str], tables: Sequence[Path]) -> Classes:
    """The classes of the first list that is there, else the ids of the tables, sorted."""
    files = [f for name in FOLDERS for f in list_files(root / name, ".csv")]
    for listed in lists:
        for file in files:
            if file.name == listed or re.fullmatch(rf"oidv\d+-{re.escape(listed)}", file.name):
                try:
                    rows = [row for row in csv.reader(io.StringIO(read_text(file))) if any(map(str.strip, row))]
                except csv.Error as error:
                    raise DataError(f"{file}: not a table ({error}); correct it") from None
                rows = rows[1:] if rows and rows[0][0].strip() == "LabelName" else rows
                wrong = next((row for row in rows if len(row) < 2 or not row[0].strip() or not row[1].strip()), None)
                if wrong is not None:
                    raise DataError(
                        f"{file}: a line should be the id and the name of a class, found {','.join(wrong)!r}"
                    )
                pairs = dict((row[0].strip(), row[1].strip()) for row in rows)
                repeated = Counter(pairs.values())
                names = tuple(name if repeated[name] == 1 else f"{name} ({key})" for key, name in pairs.items())
                return {key: k for k, key in enumerate(pairs)}, names
    ids = sorted({cells[1] for file in tables for _, cells in _lines(file, ("ImageID", "LabelName")) if cells} - {""})
    return {key: k for k, key in enumerate(ids)}, tuple(ids)


class _Rows:
    """Boxes and labels of pictures, in flat arrays: the whole set has fifteen millions."""

    def __init__(self) -> None:
        self.pictures: dict[tuple[str, str], int] = {}
        self.owners, self.labels, self.lines = array("q"), array("q"), array("q")
        self.groups, self.corners = array("b"), array("d")
        self.tags: list[tuple[int, int]] = []

    def read(
        self, kind: str, file: Path, split: str, pictures: dict[str, Drawing], classes: Classes, faults: Faults
    ) -> None:
        """Add what a table says, and the pictures that it names."""
        if kind == "list":
            for _, cells in _lines(file, ("ImageID",)):
                if cells and cells[0]:
                    self._owner(cells[0], file, split, pictures)
            return
        columns = (*("ImageID", "LabelName"), *((*CORNERS, "IsGroupOf") if kind == "boxes" else ("Confidence",)))
        for line, cells in _lines(file, columns):
            where = f"{file}: line {line}"
            if not cells:
                faults.add(where, "has fewer cells than the first line has names; correct the file")
                continue
            identity, label = cells[:2]
            values = [_value(cell) for cell in cells[2:6]]
            if not identity or label not in classes[0] or None in values:
                picture = identity or "-"
                if not identity:
                    faults.add(where, "ImageID should be the name of a picture, but it is missing; correct the file")
                if label not in classes[0]:
                    listed = "LabelName should be the id of a class in the class descriptions"
                    faults.add(where, f"{listed}, found {label!r:.60}; add it, or take the row out", picture)
                for name, cell, value in zip(columns[2:], cells[2:], values):
                    if value is None:
                        faults.add(
                            where, f"{name} should be a finite number, found {cell!r:.60}; correct the file", picture
                        )
                continue
            owner = self._owner(identity, file, split, pictures)
            if kind == "labels":
                self.tags += [(owner, classes[0][label])] if values[0] == 1 else []
                continue
            x1, x2, y1, y2 = values
            self.corners.extend((x1, y1, x2, y2))  # type: ignore[arg-type]
            self.owners.append(owner)
            self.labels.append(classes[0][label])
            self.lines.append(line)
            self.groups.append(cells[6] == "1")

    def _owner(self, identity: str, file: Path, split: str, pictures: dict[str, Drawing]) -> int:
        owner = self.pictures.setdefault((split, identity), len(self.pictures))
        if identity not in pictures:
            name = f"{split}/{identity}" if split else identity
            pictures[identity] = Drawing(name, f"{identity}.jpg", f"{file}: {identity}", identity, owner, split)
        return owner

    def dataset(
        self,
        there: list[Drawing],
        things: Classes | None,
        tags: Classes | None,
        repairs: list[Repair],
        title: str,
        file: Path,
    ) -> Dataset:
        """Of the pictures that are there."""
        names = [d.name for d in there]
        sizes = np.array([d.size for d in there], np.int64).reshape(-1, 2)
        place = np.full(len(self.pictures), -1, np.int64)
        place[[d.content for d in there]] = np.arange(len(there))
        source = FlatSource([str(d.path) for d in there], names, sizes, ids=[d.place for d in there])
        if things is not None:
            owners = place[np.array(self.owners, np.int64)]
            order = np.argsort(owners, kind="stable")
            order = order[owners[order] >= 0]
            owners = owners[order]
            boxes = np.array(self.corners, np.float64).reshape(-1, 4)[order] * sizes[owners][:, [1, 0, 1, 0]]
            lines = np.array(self.lines, np.int64)[order].tolist()
            boxes, keep, cleaned = clean_boxes(
                boxes, sizes[owners], [names[o] for o in owners.tolist()], [f"line {n}" for n in lines], "drop", file
            )
            repairs = repairs + cleaned
            source.columns = {
                "boxes": boxes[keep],
                "labels": np.array(self.labels, np.int64)[order][keep],
                "ignore": np.array(self.groups, bool)[order][keep],
            }
            source.starts = np.cumsum([0, *np.bincount(owners[keep], minlength=len(there))])
        if tags is not None:
            of: list[set[int]] = [set() for _ in there]
            for owner, tag in self.tags:
                if place[owner] >= 0:
                    of[place[owner]].add(tag)
            source.labels = Ragged.of([sorted(labels) for labels in of], np.int64)
        source.__post_init__()  # the fields follow what was filled in
        schema = Schema(
            things=Categories(things[1]) if things is not None else None,
            pictures=Categories(tags[1]) if tags is not None else None,
        )
        return Dataset(source, schema, repairs, title)


def _value(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if is_coordinate(value) else None
