"""Labels of whole pictures in a table: one row a picture, or one row for each label of a picture.

Convention: the first line names the columns. One is the picture's path, relative to the table's folder; a bare name,
with or without suffix, is also looked up below it. The labels are either words in one column, several separated by ";"
or "|", or a column of 0 and 1 for each class, as Kaggle has it. A column `split` is optional. Rows of the same picture
add up. A column of row numbers, without a name, is passed over; where only one column is left beside the picture's, it
is the label. Classes are in alphabetical order over all rows; a class that no row of words names is unknown to the table.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from videre.data.cleaning import UNREADABLE
from videre.data.dataset import Dataset, Repair
from videre.data.faults import Faults
from videre.data.flat import FlatSource, Ragged
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

LOOKS_FOR = "csv: *.csv whose first line has path (or file, filename, image, name) and label, or path and a column of 0 and 1 for each class"
HOLDS = {"labels"}

OWN = frozenset(TABLES)
INDEX = ("", "unnamed: 0", "index")
"""Columns of row numbers, as programs write them beside the pictures' names."""
BOXES = ("xmin", "x_min", "x1", "bbox")
"""Columns of tables with a row for each box: their labels are not the picture's."""

WRITTEN = ("path", "labels", SPLIT)
"""Columns of the tables written here."""

MANY = 0.5
"""Share of pictures with several rows, from which on that is no oversight."""
_SEPARATOR = re.compile(r"[;|]")
_FIRST_ROWS = 20
"""Rows looked at to tell whether a table is about the pictures beside it."""


def recognise(path: Path) -> str:
    """What was found, or "" when this is neither a table nor a folder with a table of its pictures' labels."""
    return names_of(path, _tables(path))


def splits(path: Path) -> list[str]:
    """Values of the column `split`; without it the tables' own names, where they are called train, val, test."""
    return sorted({row.split for file in _tables(path) for row in _rows(file, Faults()) if row.split})


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read a table, or the tables of a folder; the class names are those of all rows, whatever the split.

    A picture that is not where its path says is left out, with a repair.

    Raises:
        DataError: columns, names or cells that are missing or cannot be meant, with their lines; no picture at all is
            there.
    """
    tables, faults = _tables(path), Faults(skip_broken)
    check_splits(path, tables)
    rows = [row for file in tables for row in _rows(file, faults)]
    classes = sorted({name for row in rows for name in row.classes})
    chosen = [row for row in rows if split in (None, row.split)]
    if not chosen:
        faults.refuse(f"{', '.join(map(str, tables))}: names no picture; a row has a picture's path and its labels")
    root = path if path.is_dir() else path.parent
    finders, first = {file: PictureFinder([file.parent, root]) for file in tables}, dict[str, _Row]()
    labels: dict[str, set[str]] = {}
    repairs: list[Repair] = []
    missing: dict[str, Repair] = {}
    for row in chosen:
        finder = finders[row.file]
        try:
            picture = finder.find(row.picture)
        except DataError as error:
            faults.add(row.where, str(error), row.picture)
            continue
        if picture is None:
            place = f"{row.file.name}:{row.line}"
            missing[row.picture] = Repair(UNREADABLE, row.picture, place, finder.looked(row.picture), "dropped")
            continue
        name = picture.relative_to(root).as_posix()
        before = first.setdefault(name, row)
        if before.split != row.split and before.file == row.file:
            found = f"{row.picture} is in split {row.split!r}, and on line {before.line} in {before.split!r}"
            faults.add(row.where, f"{found}; leave one", name)
            continue
        if before is not row and set(row.labels) - labels[name]:
            both = ", ".join(sorted(labels[name] | set(row.labels)))
            repairs.append(
                Repair("picture in several rows", name, f"{row.file.name}:{row.line}", both, "has all labels")
            )
        labels.setdefault(name, set()).update(row.labels)
    if not labels:
        missed = f"{root / chosen[0].picture}: there is no such picture, nor is any other that the table names"
        faults.refuse(f"{chosen[0].where}: {missed}; paths are relative to its folder")
    if len(repairs) > MANY * len(labels):  # a row for each label is how the table is made
        repairs = []
    bare = [name for name, of in labels.items() if not of]
    if len(bare) < len(labels) and chosen[0].in_words:
        repairs += [
            Repair("picture without label", name, "-", "the cell is empty", "kept without one") for name in bare
        ]
    label_of = {name: label for label, name in enumerate(classes)}
    source = FlatSource(
        [str(root / name) for name in labels],
        list(labels),
        labels=Ragged.of([sorted(label_of[name] for name in names) for names in labels.values()], np.int64),
    )
    title = path.name + (f" {split}" if split else "")
    repairs = [*missing.values(), *repairs, *faults.settle()]
    return Dataset(source, Schema(pictures=Categories(tuple(classes))), repairs, title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Copy pictures to <split>/ and write their rows of labels.csv, whose rows of other splits stay; returns the fields
    that were lost."""
    lost = losses(dataset, HOLDS, "a table of labels", lossy)
    names = dataset.schema.pictures
    if names is None or "labels" not in dataset.fields:
        raise DataError(f"a table of labels holds classes of pictures; {dataset.title} has {sorted(dataset.fields)}")
    unfit = [name for name in names if _SEPARATOR.search(name) or name != name.strip()]
    if unfit:
        raise DataError(
            f"{dataset.title}: class {unfit[0]!r} cannot be written into a table, where ; and | separate "
            "labels and spaces around them mean nothing; rename it"
        )
    table = path / "labels.csv"
    lines: list[Sequence[str]] = [WRITTEN]
    if table.exists():
        if not table.read_bytes().startswith(_line(WRITTEN)):
            raise DataError(
                f"{table}: is there already, with other columns than {','.join(WRITTEN)}; name a new folder"
            )
        lines += [(r.picture, ";".join(r.labels), r.split) for r in _rows(table, Faults()) if r.split != split]
    for filename, scene in placed(dataset, path / split):
        of = [] if scene.labels is None else scene.labels.tolist()
        lines.append((f"{split}/{filename}", ";".join(names[label] for label in of), split))
    write_atomic(table, b"".join(map(_line, lines)))
    return lost


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


# Tables ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Row:
    """What one line says: of a picture as it is named there, which labels it has, out of which classes."""

    file: Path
    line: int
    picture: str
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    split: str
    in_words: bool

    @property
    def where(self) -> str:
        return f"{self.file}, line {self.line}"


@dataclasses.dataclass(frozen=True)
class _Header:
    """Which column is what, by its place; `label` is None where each class has a column."""

    names: list[str]
    picture: int
    label: int | None
    split: int | None
    passed: frozenset[int] = frozenset()

    @classmethod
    def of(cls, names: list[str], file: Path) -> _Header:
        """Raises DataError when a column is missing, or one of several cannot be chosen."""
        found = f"found columns {', '.join(names) or 'without a name'}"
        lower = [name.lower() for name in names]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"{file}: the first line names column {repeated[0]!r} twice; rename one")
        pictures = [lower.index(word) for word in PICTURE if word in lower]
        if not pictures:
            raise DataError(
                f"{file}: no column holds the picture's path; the first line should name one of "
                f"{', '.join(PICTURE)}; {found}"
            )
        boxes = [name for name in names if name.lower() in BOXES]
        if boxes:
            raise DataError(
                f"{file}: column {boxes[0]} says that its labels are of boxes; a table of labels is of whole "
                "pictures; remove the column, or convert the boxes to another format"
            )
        labels = [i for i, name in enumerate(lower) if name in LABEL and i != pictures[0]]
        if len(labels) > 1:
            raise DataError(
                f"{file}: columns {' and '.join(names[i] for i in labels)} could both be the label; leave one"
            )
        split = lower.index(SPLIT) if SPLIT in lower else None
        unnamed = {i for i, name in enumerate(lower) if name in INDEX or (name == "id" and i != pictures[0])}
        rest = [i for i in range(len(names)) if i not in {pictures[0], split} | unnamed]
        if not labels and len(rest) == 1:  # as in id,breed
            labels = rest
        header = cls(names, pictures[0], next(iter(labels), None), split, frozenset(unnamed))
        if not labels and not header.classes():
            raise DataError(
                f"{file}: no column holds labels; the first line should name one of {', '.join(LABEL)}, or a "
                f"column of 0 and 1 for each class; {found}"
            )
        return header

    def fitted(self, rows: list[list[str]], file: Path) -> _Header:
        """The same as the cells mean it: an only column of 0 and 1 is a class. DataError for a column without a name that
        does not number the rows."""
        for i in self.passed:
            numbers = [cells[i] for cells in rows]
            if not self.names[i] and not (all(map(str.isdecimal, numbers)) and len(set(numbers)) == len(numbers)):
                raise DataError(f"{file}: column {i + 1} has no name; name its class, or remove it")
        guessed = self.label is not None and self.names[self.label].lower() not in LABEL
        if guessed and rows and all(cells[self.label] in ("0", "1", "0.0", "1.0") for cells in rows):  # type: ignore[index]
            return dataclasses.replace(self, label=None)
        return self

    def classes(self) -> list[int]:
        """Places of the columns of 0 and 1."""
        if self.label is not None:
            return []
        return [i for i in range(len(self.names)) if i not in {self.picture, self.split} | self.passed]


def _tables(path: Path) -> list[Path]:
    """The file itself, or those of a folder that hold labels of the pictures there."""
    return tables_of(path, _is_of_pictures)


def _is_of_pictures(file: Path) -> bool:
    """Whether a table beside pictures is of their labels: other programs leave tables of many kinds."""
    finder = PictureFinder([file.parent])
    try:
        return any(is_there(finder, row.picture) for _, row in zip(range(_FIRST_ROWS), _rows(file, Faults())))
    except DataError:
        return False


def _rows(file: Path, faults: Faults) -> Iterator[_Row]:
    """The rows of a table one by one, but for those with a fault. Raises DataError where the table as a whole has one."""
    (_, names), *table = read_lines_of(file)
    header = _Header.of(names, file).fitted([cells for _, cells in table if len(cells) == len(names)], file)
    classes = {i: header.names[i] for i in header.classes()}
    default = split_of(file)
    for line, cells in table:
        where = f"{file}, line {line}"
        if len(cells) != len(names):
            cure = 'correct it, or write cells that hold the separator in "quotes"'
            faults.add(where, f"has {len(cells)} cells where the first line names {len(names)} columns; {cure}")
            continue
        picture = cells[header.picture]
        if not picture:
            faults.add(where, f"{names[header.picture]} is empty; name the picture, or remove the line")
            continue
        if header.label is not None:
            words = [_word(word.strip()) for word in _SEPARATOR.split(cells[header.label])]
            labels = known = tuple(word for word in words if word)
        else:
            known = tuple(classes.values())
            ones = {i: as_number(cells[i]) for i in classes}
            for i in [i for i, value in ones.items() if value not in (0, 1)]:
                cure = "correct it, or call the column of labels label"
                faults.add(where, f"{classes[i]} should be 0 or 1, found {cells[i]!r}; {cure}", picture)
            if not set(ones.values()) <= {0, 1}:
                continue
            labels = tuple(name for i, name in classes.items() if ones[i] == 1)
        split = default if header.split is None else cells[header.split]
        yield _Row(file, line, picture, labels, known, split, header.label is not None)


def _word(text: str) -> str:
    """A label; a whole number that a program has written as 1.0 is 1."""
    return text.removesuffix(".0") if re.fullmatch(r"\d+\.0", text) else text
