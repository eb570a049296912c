"""Parts of a data set: by a list of names, by ratio, in folds, or by what the pictures are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from videre.data.dataset import Dataset
from videre.data.hashes import hash_file
from videre.data.pictures import plain_name
from videre.errors import ConfigError, DataError
from videre.files import read_lines

HELD_OUT = ("val", "dev", "test")
"""How the names of splits begin that are not to train on."""
EXCHANGED = 1000
"""Up to so many groups, those of two parts are exchanged to come nearer to the shares; more of them fit as they come."""


def by_list(dataset: Dataset, file: str | Path) -> Dataset:
    """The pictures that a text file names, one a line (name, file name, or file name without suffix), in its order.

    Pictures that the reader dropped stay left out, with their repairs.

    Raises DataError when a line names no picture, or more than one.
    """
    file = Path(file)
    lines = [plain_name(line.split("\t")[0]) for line in read_lines(file)]
    places: dict[str, set[int]] = {}
    for i in range(len(dataset)):
        path = dataset.path(i) or Path(dataset.name(i))
        for key in {dataset.name(i), path.name, path.stem, Path(dataset.name(i)).with_suffix("").as_posix()}:
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


def by_ratio(
    dataset: Dataset, ratios: Mapping[str, float], seed: int = 0, together: np.ndarray | None = None
) -> dict[str, Dataset]:
    """Shuffle and cut: {"train": 0.8, "val": 0.2}. Parts are as large as the ratios say, to one picture.

    For classification each class is cut by the ratios, so that rare classes are in every part.

    Args:
        together: int [P], a number for each picture; those with the same one stay in one part (`grouping.joined`). Sizes
            are then as near to the ratios as the groups allow.

    Raises:
        ConfigError: ratios that do not sum to 1, or fewer groups than parts.
    """
    check_shares(ratios)
    if together is not None and len(np.unique(together)) < len(together):
        part_of = _deal_groups(dataset, list(ratios.values()), seed, together)
        return {name: dataset.subset(np.flatnonzero(part_of == k)) for k, name in enumerate(ratios)}
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


def by_folds(
    dataset: Dataset, count: int, seed: int = 0, together: np.ndarray | None = None
) -> list[tuple[Dataset, Dataset]]:
    """For cross-validation: `count` times the pictures to train on and those held out, each held out exactly once.

    The held-out parts are equally large, to one picture, and of each class too; with groups (`together`, as for
    `by_ratio`) as far as these allow.
    """
    if not 2 <= count <= len(dataset):
        raise ConfigError(
            f"{dataset.title}: folds must lie in 2..{len(dataset)}, the number of pictures; found {count}"
        )
    fold = np.zeros(len(dataset), np.int64)
    if together is not None and len(np.unique(together)) < len(together):
        fold = _deal_groups(dataset, [1 / count] * count, seed, together)
    else:
        fold[_class_after_class(dataset, seed)] = np.arange(len(dataset)) % count
    return [
        (dataset.subset(np.flatnonzero(fold != k)), dataset.subset(np.flatnonzero(fold == k))) for k in range(count)
    ]


def by_hash(
    dataset: Dataset,
    ratios: Mapping[str, float],
    together: np.ndarray | None = None,
    keys: Sequence[str] | None = None,
) -> dict[str, Dataset]:
    """Each picture's bytes decide its part, whatever else is in the set: added pictures never move others, and exact
    copies fall into one part. Sizes follow the ratios only on average.

    Args:
        together: as for `by_ratio`; the smallest hash of a group decides, so that an added near twin may move its group.
        keys: of each picture, hashed instead of its bytes: a patient's new pictures come to the old ones.
    """
    check_shares(ratios)
    edges = np.cumsum(list(ratios.values()))
    parts: dict[str, list[int]] = {name: [] for name in ratios}
    hashes = [_hash(dataset, i) if keys is None else _hash_text(keys[i]) for i in range(len(dataset))]
    smallest: dict[int, str] = {}
    of = range(len(dataset)) if together is None else together.tolist()
    for group, key in zip(of, hashes, strict=True):
        smallest[group] = min(key, smallest.get(group, key))
    for i, group in enumerate(of):
        place = int(smallest[group][:13], 16) / 16**13
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


def find_parts(data: Path, there: Sequence[str], split: str | None, val: str | None) -> tuple[str | None, str | None]:
    """The splits to train and to evaluate on, where they are not told; None for the whole set, and for nothing.

    Raises:
        ConfigError: several splits may be meant, or the only one is there to be evaluated on: what was trained on the same
            pictures would be judged by them.
    """
    split = split or find_split(data, there, "train", "--split")
    if split is None and len(there) > 1:
        raise ConfigError(f"{data}: none of its splits is called train; say with --split which one: {', '.join(there)}")
    if split is None and val != "none" and there and there[0].lower().startswith(HELD_OUT):
        only = there[0]
        taken = only.lower().startswith("val")
        cure = f"`videre data split {data}" + (" --parts train=0.8,test=0.2`, then --val test," if taken else "`,")
        raise ConfigError(
            f"{data}: its only split is {only}, which is to evaluate on, not to train on; make a train with {cure} "
            f"or train on it, unjudged, with --split {only} --val none"
        )
    val = val or find_split(data, [name for name in there if name != split], "val", "--val")
    return split, None if val == "none" else val


def _hash(dataset: Dataset, i: int) -> str:
    path = dataset.path(i)
    return hash_file(path) if path is not None and path.is_file() else _hash_text(dataset.name(i))


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _deal_groups(dataset: Dataset, shares: Sequence[float], seed: int, together: np.ndarray) -> np.ndarray:
    """The part of each picture, int64 [P], groups whole: the largest first, each to the part where it brings classes and
    sizes nearest to the shares."""
    order = np.array(_class_after_class(dataset, seed), np.int64)
    labels = _first_labels(dataset)
    groups: dict[int, list[int]] = {}
    for i in order.tolist():
        groups.setdefault(int(together[i]), []).append(i)
    filled = [k for k, share in enumerate(shares) if share > 0]
    if len(groups) < len(filled):
        raise ConfigError(
            f"{dataset.title}: {len(groups)} groups of pictures that belong together cannot fill {len(filled)} parts; "
            "make fewer parts, or group by something finer"
        )
    classes, label = np.unique(labels, return_inverse=True)
    # columns: the classes, and all pictures; these count as much as all classes together
    wanted = np.outer(shares, np.bincount(label, minlength=len(classes)))
    wanted = np.hstack([wanted, wanted.sum(1, keepdims=True)])
    weights = np.r_[np.ones(len(classes)), len(classes)] / np.maximum(wanted, 1e-9)
    waiting = sorted(groups.values(), key=len, reverse=True)
    own = np.array([[*np.bincount(label[g], minlength=len(classes)), len(g)] for g in waiting])  # [groups, columns]
    part = np.zeros(len(waiting), np.int64)
    lacking, empty = wanted.copy(), set(filled)
    for n in range(len(waiting)):
        cost = ((own[n] ** 2 - 2 * own[n] * lacking) * weights).sum(1)  # by how much the squared distances grow
        # the last groups are kept for parts that would else stay empty
        choice = filled if len(waiting) - n > len(empty) else sorted(empty)
        part[n] = min(choice, key=lambda k: cost[k])
        empty.discard(int(part[n]))
        lacking[part[n]] -= own[n]
    if len(waiting) <= EXCHANGED:
        _exchange(part, own, lacking, weights, filled)
    part_of = np.zeros(len(dataset), np.int64)
    for k, members in zip(part, waiting, strict=True):
        part_of[members] = k
    return part_of


def _exchange(
    part: np.ndarray, own: np.ndarray, lacking: np.ndarray, weights: np.ndarray, filled: Sequence[int]
) -> None:
    """Move groups to other parts, or two at once to each other's, as long as that lessens the squared distances."""
    count = len(part)
    # a move is an exchange for nothing
    own = np.vstack([own, np.zeros((len(filled), own.shape[1]), own.dtype)])
    where = np.r_[part, np.array(filled, np.int64)]
    better = True
    while better:
        better = False
        for i in range(count):
            here, brought = where[i], own - own[i]
            gain = (brought**2 - 2 * brought * lacking[here]) * weights[here]
            gain = (gain + (brought**2 + 2 * brought * lacking[where]) * weights[where]).sum(1)
            gain[where == here] = 0
            if (where[:count] == here).sum() == 1:
                gain[count:] = 0  # no part is emptied
            j = int(gain.argmin())
            if gain[j] < -1e-9:
                there, better = where[j], True
                lacking[here] -= brought[j]
                lacking[there] += brought[j]
                where[i] = there
                if j < count:
                    where[j] = here
    part[:] = where[:count]


def _first_labels(dataset: Dataset) -> np.ndarray:
    """The first label of each picture, int64 [P]; -1 without one."""
    found = np.full(len(dataset), -1, np.int64)
    for i in range(len(dataset)) if "labels" in dataset.fields else ():
        labels = dataset.scene(i).labels
        if labels is not None and len(labels):
            found[i] = int(labels[0])
    return found


def _class_after_class(dataset: Dataset, seed: int) -> list[int]:
    """The pictures shuffled, then those of each class together, by the first label; so dealt out, every part gets its
    share of every class."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    groups: dict[int, list[int]] = {}
    labels = _first_labels(dataset)
    for i in order.tolist():
        groups.setdefault(int(labels[i]), []).append(i)
    return [i for label in sorted(groups) for i in groups[label]]


def check_shares(ratios: Mapping[str, float]) -> None:
    """ConfigError unless they are the parts of a whole."""
    if not ratios or min(ratios.values()) < 0 or abs(sum(ratios.values()) - 1) > 1e-6:
        raise ConfigError(f"ratios must be positive and sum to 1, found {dict(ratios)}")
