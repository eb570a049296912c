"""Folders of pictures: `root/<class>/…` (with splits: `root/<split>/<class>/…`), or pictures without truth."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from videre.data.dataset import Dataset
from videre.data.flat import FlatSource, Ragged
from videre.data.pairs import PICTURE_FOLDERS
from videre.data.writing import file_names, losses, place_picture
from videre.errors import DataError
from videre.images.listing import SUFFIXES, is_hidden, is_picture, list_folders, list_pictures
from videre.structures import Categories, Schema

LOOKS_FOR = (
    "folders: root/<class>/*.jpg, root/<split>/<class>/*.jpg with splits named train, val, test, or plain pictures"
)
OWN = frozenset[str]()
HOLDS = {"labels"}
NO_TRUTH = "pictures, no truth"
SPLIT_NAME = re.compile(r"(fold\d+-)?(train|trainval|val|valid|validation|dev|test)[-_]?\d*", re.IGNORECASE)


NO_CLASSES = frozenset(
    {name.lower() for name in PICTURE_FOLDERS}
    | {
        "annotations",
        "annotation",
        "labels",
        "label",
        "masks",
        "mask",
        "instances",
        "segmentation",
        "gt",
        "groundtruth",
    }
)
"""Folders that are kinds of files, not classes of pictures."""


def recognise(path: Path) -> str:
    """What was found, or "" when there are no pictures."""
    if not path.is_dir() or not _has_pictures(path):
        return ""
    classes = _classes(path)
    return f"classes {', '.join(classes[:5])}{', …' if len(classes) > 5 else ''}" if classes else NO_TRUTH


def splits(path: Path) -> list[str]:
    """Names of the split folders; none when the classes are at the top."""
    return [p.name for p in list_folders(path) if SPLIT_NAME.fullmatch(p.name)]


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read folders; the class names are the folder names, sorted, over all splits.

    Raises DataError when some folders are splits and others are neither splits nor empty.
    """
    named = splits(path)
    strange = [p.name for p in list_folders(path) if p.name not in named and _has_pictures(p)]
    if named and strange:
        raise DataError(
            f"{path}: {', '.join(named)} look like splits, but there are pictures in {', '.join(strange)} "
            "too; this is not a set of class folders: name the format, or point at one folder"
        )
    roots = [path / split] if split is not None else [path / name for name in named] or [path]
    classes = _classes(path)
    title = path.name + (f" {split}" if split else "")
    files = [p for root in roots for p in list_pictures(root, recursive=True)]
    if not files:
        raise DataError(f"{', '.join(map(str, roots))}: no pictures ({', '.join(SUFFIXES)})")
    names = [p.relative_to(path).as_posix() for p in files]
    if not classes:
        return Dataset(FlatSource([str(p) for p in files], names), Schema(), title=title)
    depth = 1 if named else 0
    of = [p.relative_to(path).parts[depth] if len(p.relative_to(path).parts) > depth + 1 else "" for p in files]
    loose = [name for name, c in zip(names, of) if not c]
    if loose:
        raise DataError(f"{path}: {len(loose)} pictures lie outside the class folders: {loose[:5]}")
    place = {name: label for label, name in enumerate(classes)}
    labels = Ragged(np.array([place[c] for c in of], np.int64), np.arange(len(files) + 1))
    source = FlatSource([str(p) for p in files], names, labels=labels)
    return Dataset(source, Schema(pictures=Categories(tuple(classes))), title=title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Copy pictures to <split>/<class>/; returns the fields that were lost."""
    lost = losses(dataset, HOLDS, "a tree of class folders", lossy)
    names = dataset.schema.pictures
    if names is None or "labels" not in dataset.fields:
        raise DataError(f"class folders hold one class per picture; {dataset.title} has {sorted(dataset.fields)}")
    for i, filename in enumerate(file_names(dataset)):
        labels = dataset.scene(i).labels
        if labels is None or len(labels) != 1:
            raise DataError(
                f"{dataset.name(i)}: class folders hold one class per picture, this one has "
                f"{0 if labels is None else len(labels)}"
            )
        place_picture(dataset, i, path / split / names[int(labels[0])] / filename)
    return lost


def _classes(path: Path) -> list[str]:
    """Sorted names of the class folders; none when there is nothing to tell apart."""
    named = splits(path)
    roots = [path / name for name in named] or [path]
    found = sorted({p.name for root in roots for p in list_folders(root) if _has_pictures(p)})
    kinds = [name for name in found if name.lower() in NO_CLASSES or name.startswith("Segmentation")]  # VOC's
    return found if len(found) > 1 and kinds != found else []


def _has_pictures(path: Path) -> bool:
    return any(is_picture(p) and not is_hidden(p, path) and p.is_file() for p in path.rglob("*"))
