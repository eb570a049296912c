"""What every writer of a format does first: refuse to lose anything unasked, and put the pictures in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Generator
from pathlib import Path

from videre.data.dataset import Dataset
from videre.engine.loading import load
from videre.errors import DataError
from videre.files import atomic
from videre.images.listing import SUFFIXES
from videre.images.reading import write_picture
from videre.structures import Scene

WORKERS = 2
"""Threads that copy, or render and encode."""

# bookkeeping, not truth: a format that renumbers loses nothing that a model could learn
_BOOKKEEPING = {"ids", "areas"}


def losses(dataset: Dataset, holds: Collection[str], name: str, lossy: bool) -> list[str]:
    """The fields of a data set that a format cannot hold. DataError naming them unless `lossy`."""
    lost = sorted(dataset.fields - set(holds) - _BOOKKEEPING)
    if lost and not lossy:
        raise DataError(
            f"{name} cannot hold {', '.join(lost)} of {dataset.title}; write another format, or allow the loss (lossy)"
        )
    return lost


def file_names(dataset: Dataset) -> list[str]:
    """A file name for every picture of a data set in one folder: its name, with folders joined by "_".

    Raises DataError when two pictures would differ in nothing but the suffix: annotations are found by the stem.
    """
    names: list[str] = []
    seen: dict[str, int] = {}
    for i in range(len(dataset)):
        path, name = dataset.path(i), Path(dataset.name(i))
        stem = "_".join((name.with_suffix("") if name.suffix.lower() in SUFFIXES else name).parts)
        if stem in seen:
            raise DataError(f"{dataset.title}: {dataset.name(seen[stem])} and {name} would both be written as {stem}")
        seen[stem] = i
        names.append(f"{stem}{path.suffix if path else '.png'}")
    return names


def place_picture(dataset: Dataset, i: int, target: Path) -> None:
    """Copy picture i, byte for byte, to `target`; made pictures are written there."""
    source = dataset.path(i)
    if source is None:
        write_picture(target, dataset.picture(i))
    elif not os.path.exists(source):
        raise DataError(f"{source}: the picture is missing, so that it cannot be copied to {target}")
    elif not (target.exists() and target.samefile(source)):
        with source.open("rb") as picture, atomic(target) as copy:
            shutil.copyfileobj(picture, copy)


def placed(dataset: Dataset, folder: Path) -> Generator[tuple[str, Scene], None, None]:
    """Place every picture in `folder`, some ahead on threads; gives the file's name and the truth of one by one."""
    names = file_names(dataset)

    def place(i: int) -> tuple[str, Scene]:
        place_picture(dataset, i, folder / names[i])
        return names[i], dataset.scene(i)

    return load(range(len(names)), place, WORKERS, dataset.where)
