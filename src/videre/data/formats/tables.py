"""Tables about pictures (CSV): what the formats `csv` and `boxes-csv` share.

A table's first line names its columns; commas, semicolons or tabs separate them. Tables lie beside their pictures, or above
them, or one in each folder of a split, as Roboflow exports them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from videre.data.formats.folders import SPLIT_NAME
from videre.data.pictures import PictureFinder
from videre.errors import DataError
from videre.files import read_text
from videre.images.listing import list_files, list_folders

TABLES = (".csv", ".tsv")
PICTURE = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "filepaths",
    "image",
    "image_path",
    "image_name",
    "image_id",
    "imageid",
    "img",
    "picture",
    "photo",
    "name",
    "id",
)
LABEL = ("label", "labels", "class", "classes", "category", "class_name", "label_name", "tags", "target")
SPLIT = "split"


def tables_of(path: Path, fit: Callable[[Path], bool]) -> list[Path]:
    """The file itself, or the tables of a folder that fit, or of its splits' folders where it has none itself."""
    if path.is_file():
        return [path] if path.suffix.lower() in TABLES and not _is_open_images(path) else []
    for folders in ([path], [p for p in list_folders(path) if SPLIT_NAME.fullmatch(p.name)]):
        tables = [file for folder in folders for file in list_files(folder, *TABLES)]
        if any(map(_is_open_images, tables)):
            return []
        if fitting := [file for file in tables if fit(file)]:
            return fitting
    return []


def names_of(path: Path, tables: list[Path]) -> str:
    """The tables of a set in words."""
    return ", ".join(file.name if path.is_file() else file.relative_to(path).as_posix() for file in tables)


def split_of(file: Path) -> str:
    """The split that a table is of, by its name or its folder's; "" where they say none."""
    return next((name for name in (file.stem, file.parent.name) if SPLIT_NAME.fullmatch(name)), "")


def check_splits(path: Path, tables: list[Path]) -> None:
    """DataError where there are several tables, and not one of each split."""
    if len(tables) > 1 and (not all(map(split_of, tables)) or len(set(map(split_of, tables))) < len(tables)):
        raise DataError(
            f"{path}: has several tables, {names_of(path, tables)}, not all of them "
            "called train, val or test; name the one to read"
        )


def read_lines_of(file: Path) -> list[tuple[int, list[str]]]:
    """Number and cells, without the spaces around them, of every line that is not blank. Raises DataError with the line of
    what cannot be read, and where there is none."""
    text = read_text(file, keep_ends=True)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    lines = list(_lines(file, reader))
    if not lines:
        raise DataError(f"{file}: the file is empty; its first line should name the columns, as in path,label")
    return lines


def is_there(finder: PictureFinder, name: str) -> bool:
    """Whether a name leads to a picture, or to several."""
    try:
        return finder.find(name) is not None
    except DataError:  # several may be meant
        return True


def _lines(file: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    last = 0
    while True:
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{file}, line {last + 1}: {error}; correct it") from None
        if any(cells):
            yield last + 1, cells  # a quoted cell may go on over several lines: the first of them
        last = reader.line_num  # type: ignore[attr-defined]


def _delimiter(text: str) -> str:
    """What separates the columns: that which the first line names a picture with, and among such the most columns."""

    def fit(delimiter: str) -> tuple[bool, int]:
        try:
            names = next(csv.reader(text.lstrip("\r\n ").splitlines()[:1], delimiter=delimiter), [])
        except csv.Error:  # a cell is too long: what follows says where
            return False, 0
        return any(name.strip().lower() in PICTURE for name in names), len(names)

    return max((",", ";", "\t"), key=fit)


def _is_open_images(file: Path) -> bool:
    """By its first line; its labels have confidences, and are of boxes for the most part."""
    with file.open("rb") as stream:
        line = stream.read(1000).replace(b"\0", b"").partition(b"\n")[0]
    return {b"ImageID", b"LabelName"} <= {name.strip() for name in line.lstrip(b"\xef\xbb\xbf\xff\xfe").split(b",")}
