"""Parts of a data set: by a list of names, by ratio, in folds, or by what the pictures are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from videre.data.dataset import Dataset
from videre.data.hashes import hash_file
from videre.errors import ConfigError, DataError
from videre.files import read_lines


def by_list(dataset: Dataset, file: str | Path) -> Dataset:
    """The pictures that a text file names, one a line (name, file name, or file name without suffix), in its order.

    Pictures that the reader dropped stay left out, with their repairs.

    Raises DataError when a line names no picture, or more than one.
    """
    file = Path(file)
    lines = [line.split("\t")[0].strip() for line in read_lines(file)]
    places: dict[str, set[int]] = {}
    for i in range(len(dataset)):
        path = dataset.path(i) or Path(dataset.name(i))
        for key in (dataset.name(i), path.name, path.stem):
            places.setdefault(key, set()).add(i)
    dropped = {
        key: r
        for r in dataset.repairs
        for key in (r.picture, Path(r.picture).name, Path(r.picture).stem)
        if r.picture not in places
    }
    left_out = [dropped[line] for line in lines if line not in places and line in dropped]
    lines = [line for line in lines if line in places or line not in dropped]
    unknown = [line for line in lines if len(places.get(line, ())) != 1]
    if unknown:
        several = [line for line in unknown if line in places]
        raise DataError(
            f"{file}: {len(unknown)} of {len(lines)} lines do not name one picture of {dataset.title}: {unknown[:5]}"
            + (f"; {several[0]!r} names several" if several else "")
        )
    part = dataset.subset([next(iter(places[line])) for line in lines])
    part.repairs += tuple(left_out)
    return part


def by_ratio(dataset: Dataset, ratios: Mapping[str, float], seed: int = 0) -> dict[str, Dataset]:
    """Shuffle and cut: {"train": 0.8, "val": 0.2}. Parts are as large as the ratios say, to one picture.

    For classification each class is cut by the ratios, so that rare classes are in every part.
    """
    _check(ratios)
    # each picture goes to the part that is furthest behind its ratio; class after class, so that rounding evens out
    shares = np.array(list(ratios.values()))
    parts: dict[str, list[int]] = {name: [] for name in ratios}
    quota = np.zeros(len(shares))
    for i in _class_after_class(dataset, seed):
        quota += shares
        part = int(np.argmax(quota))
        quota[part] -= 1
        parts[list(ratios)[part]].append(i)
    return {name: dataset.subset(sorted(indices)) for name, indices in parts.items()}


def by_folds(dataset: Dataset, count: int, seed: int = 0) -> list[tuple[Dataset, Dataset]]:
    """For cross-validation: `count` times the pictures to train on and those held out, each held out exactly once.

    The held-out parts are equally large, to one picture, and of each class too.
    """
    if not 2 <= count <= len(dataset):
        raise ConfigError(
            f"{dataset.title}: folds must lie in 2..{len(dataset)}, the number of pictures; found {count}"
        )
    fold = np.zeros(len(dataset), np.int64)
    fold[_class_after_class(dataset, seed)] = np.arange(len(dataset)) % count
    return [
        (dataset.subset(np.flatnonzero(fold != k)), dataset.subset(np.flatnonzero(fold == k))) for k in range(count)
    ]


def by_hash(dataset: Dataset, ratios: Mapping[str, float]) -> dict[str, Dataset]:
    """Each picture's bytes decide its part, whatever else is in the set: added pictures never move others, and exact
    copies fall into one part. Sizes follow the ratios only on average."""
    _check(ratios)
    edges = np.cumsum(list(ratios.values()))
    parts: dict[str, list[int]] = {name: [] for name in ratios}
    for i in range(len(dataset)):
        path = dataset.path(i)
        key = hash_file(path) if path is not None else hashlib.sha256(dataset.name(i).encode()).hexdigest()
        place = int(key[:13], 16) / 16**13
        parts[list(ratios)[min(int(np.searchsorted(edges, place, side="right")), len(edges) - 1)]].append(i)
    return {name: dataset.subset(indices) for name, indices in parts.items()}


def find_split(data: Path, there: Sequence[str], word: str, option: str) -> str | None:
    """The split called `word`, or else the only one whose name begins so: train2017, valid.

    None where there is none. ConfigError where there are several.
    """
    found = [word] if word in there else [name for name in there if name.lower().startswith(word)]
    if len(found) > 1:
        raise ConfigError(f"{data}: say with {option} which split: {', '.join(found)}")
    return found[0] if found else None


def _class_after_class(dataset: Dataset, seed: int) -> list[int]:
    """The pictures shuffled, then those of each class together, by the first label; so dealt out, every part gets its
    share of every class."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    groups: dict[int, list[int]] = {}
    for i in order:
        labels = dataset.scene(int(i)).labels if "labels" in dataset.fields else None
        groups.setdefault(int(labels[0]) if labels is not None and len(labels) else -1, []).append(int(i))
    return [i for label in sorted(groups) for i in groups[label]]


def _check(ratios: Mapping[str, float]) -> None:
    if not ratios or min(ratios.values()) < 0 or abs(sum(ratios.values()) - 1) > 1e-6:
        raise ConfigError(f"ratios must be positive and sum to 1, found {dict(ratios)}")
