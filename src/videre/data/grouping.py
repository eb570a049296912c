"""Which pictures belong together, as those of one patient, place or video: by their names, their folder, or a table.

keys = group_keys(dataset, r"(patient\\d+)_", folder)      # "patient007" for patient007_slice_3.png
together = joined(len(dataset), keys, [])                   # what `splits.by_ratio` keeps in one part
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from videre.data.dataset import Dataset
from videre.data.formats.tables import TABLES
from videre.data.pictures import PictureFinder
from videre.errors import ConfigError, DataError
from videre.files import read_text

FOLDER = "folder"
_SERIES = re.compile(r"([\w. -]*\d[\w. -]*?)([-_. ])(?:[A-Za-z]+[-_. ]?)?\d+")
"""A stem that names a series with a number, and then a frame: video_001_frame_0004."""
ANY_SERIES = r"(.*\d.*?)[-_. ]([A-Za-z]+[-_. ]?)?\d+(\.\w+)?$"
"""The same as a pattern for names, where one series is not called like the other."""
_YEAR = re.compile(r"(19|20)\d\d")
"""What Pascal VOC's names begin with, which is no series."""
MOST = 0.8
"""Share of the names that look like series, and fewest pictures of each on average, from which on they are taken for some."""
FEWEST = 3


def group_keys(dataset: Dataset, by: str, data: Path) -> list[str]:
    """The key of each picture's group.

    Args:
        by: "folder"; TABLE.csv:COLUMN, beside the data or where it says; or a regular expression that is searched in the
            pictures' names, whose first group, or else the whole match, is the key.
        data: the folder of the data, below which a table's pictures are.

    Raises:
        ConfigError: no such expression, table or column. DataError: pictures that have no key, five of them named.
    """
    names = [dataset.name(i) for i in range(len(dataset))]
    table, colon, column = by.rpartition(":")
    if by == FOLDER:
        return [str((dataset.path(i) or PurePosixPath(name)).parent) for i, name in enumerate(names)]
    keys = _of_table(dataset, table, column, data) if colon and table.endswith(TABLES) else _of_names(names, by)
    without = [name for name, key in zip(names, keys, strict=True) if not key]
    if without:
        listed = ", ".join(without[:5]) + (", …" if len(without) > 5 else "")
        raise DataError(
            f"{dataset.title}: --group-by {by} says nothing of {len(without)} of {len(names)} pictures ({listed}); "
            "make it fit all of them"
        )
    return [key or "" for key in keys]


def _of_names(names: Sequence[str], pattern: str) -> list[str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            rf"--group-by {pattern}: no regular expression ({error}); as in '(patient\d+)_', or folder, or TABLE.csv:COLUMN"
        ) from None
    found = map(compiled.search, names)
    return [match and match.group(min(1, compiled.groups)) for match in found]


def _of_table(dataset: Dataset, table: str, column: str, data: Path) -> list[str | None]:
    root = data if data.is_dir() else data.parent
    file = next((p for p in (Path(table), root / table) if p.is_file()), None)
    if file is None:
        raise ConfigError(f"--group-by {table}:{column}: there is no such table, here or in {root}")
    text = read_text(file)
    separator = max("\t;,", key=text.split("\n", 1)[0].count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if any(row)]
    header = [name.strip() for name in rows[0]] if rows else []
    if column not in header:
        near = difflib.get_close_matches(column, header, 1)
        raise ConfigError(
            f"{file}: has no column {column!r}" + (f"; did you mean {near[0]!r}?" if near else f"; {', '.join(header)}")
        )
    own, finder = header.index(column), PictureFinder([root, file.parent])
    rows = [row for row in rows[1:] if len(row) == len(header)]
    # the column of pictures is the first that names most of them: numbers of patients may be names of some, too
    paths = max(
        ([_found(finder, row[k]) for row in rows] for k in range(len(header)) if k != own), key=_count, default=[]
    )
    if not any(paths):
        raise DataError(f"{file}: none of its columns {', '.join(header)} leads to pictures in {root}")
    known: dict[str, str] = {}
    for path, row in zip(paths, rows, strict=True):
        if path and known.setdefault(path, row[own].strip()) != row[own].strip():
            raise DataError(f"{file}: {path} has {known[path]!r} and {row[own].strip()!r} as {column}; leave one")
    return [known.get(str(where.absolute())) if (where := dataset.path(i)) else None for i in range(len(dataset))]


def _found(finder: PictureFinder, stated: str) -> str | None:
    try:
        path = finder.find(stated)
    except DataError:  # several may be meant
        return None
    return str(path.absolute()) if path is not None else None


def _count(paths: Sequence[str | None]) -> int:
    return len(set(paths) - {None})


def joined(count: int, keys: Sequence[str] | None, groups: Iterable[Sequence[int]]) -> np.ndarray:
    """A number for each of `count` pictures, int64: the same for those with the same key, or in the same group."""
    if not count:
        return np.zeros(0, np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, i), i) for i, key in enumerate(keys or ())]
    pairs += [(group[0], i) for group in groups for i in group]
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(a)), (a, b)), (count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def series_hint(names: Sequence[str]) -> str:
    """A line that says so when the names look like those of several series of pictures; else ""."""
    stems = [re.sub(r"\.[A-Za-z]+\d?$", "", PurePosixPath(name).name) for name in names]
    found = [match.groups() for stem in stems if (match := _SERIES.fullmatch(stem)) and not _YEAR.fullmatch(match[1])]
    series = Counter(found)
    if len(series) < 2 or len(found) < max(MOST * len(names), FEWEST * len(series)):
        return ""
    (name, sign), count = series.most_common(1)[0]
    forms = {re.sub(r"\d+", r"\\d+", known.replace(".", r"\.")) + f"){sign}" for known, sign in series}
    form = f"({forms.pop()}" if len(forms) == 1 else ANY_SERIES
    return f"names look like series ({name}{sign}…: {count} pictures): --group-by '{form}' keeps them together"
