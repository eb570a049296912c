"""What was read of a data set, and what was not: the words before a check, a count or a training."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from pathlib import Path

import numpy as np

from videre.data.dataset import Dataset, Origin
from videre.data.flat import FlatSource
from videre.errors import DataError
from videre.images.clips import is_clip
from videre.images.listing import is_hidden, is_note, is_picture
from videre.structures import Instances, Scene
from videre.structures.scene import VOID

LOOKS = 300
"""Truths that are looked into, spread over the set, where each is made of a file when it is asked for."""
COUNTED = frozenset({"segmentation", "labels", "captions", *(f.name for f in dataclasses.fields(Instances))})
COUNTED |= {f"instances.{name}" for name in COUNTED}
"""Fields that say whether a picture is labelled; of others (words, events, relations) a set has them or not."""
SHOWN = 12
"""Classes that a line lists."""


@dataclasses.dataclass(frozen=True)
class Inventory:
    """What a data set holds, as far as a training is concerned.

    Args:
        pictures: how many. labelled: of these with any truth. counts: of each class, things, pictures or pixels, by `unit`;
            ignored ones do not count. ignored: things that are. sampled: pictures that were looked into.
        passed: files that were passed over, by why.
    """

    title: str
    origin: Origin | None
    pictures: int
    labelled: int
    counts: dict[str, int]
    unit: str
    ignored: int
    sampled: int
    passed: dict[str, int]
    broken: int = 0
    """Pictures looked into of which no truth could be made."""
    fault: str = ""
    """What is wrong with one, where that is so of all."""

    @property
    def nothing(self) -> str:
        """Why there is nothing to learn; "" where there is something."""
        if not self.pictures or self.fault:
            return self.fault or "there are no pictures"
        if not self.unit:
            return ""
        if sum(self.counts.values()):
            return ""
        of = f"{self.sampled} of {self.pictures}" if self.sampled < self.pictures else f"{self.pictures}"
        if self.ignored:
            return f"all {self.ignored} things of the {of} pictures are ignored (crowd, difficult)"
        return f"none of the {of} pictures has any {self.unit} of a class"

    @property
    def absent(self) -> list[str]:
        """Classes of which there is nothing."""
        return [name for name, count in self.counts.items() if not count]

    def lines(self) -> list[str]:
        """How it was read, how much is labelled, each class, what was passed over."""
        read = f"read as {self.origin.format} ({self.origin.found}), " if self.origin else ""
        lines = [f"{self.title}: {read}{self.pictures} pictures, {self.labelled} with labels"]
        if self.counts:
            most = sorted(self.counts.items(), key=lambda item: -item[1])
            listed = ", ".join(f"{name} {count:,}" for name, count in most[:SHOWN] if count)
            more = f", and {len(most) - SHOWN} classes more" if len(most) > SHOWN else ""
            some = f" in {self.sampled} of the pictures" if self.sampled < self.pictures else ""
            lines.append(f"  {self.unit}{some}: {listed or 'none'}{more}")
        if self.ignored:
            lines.append(f"  ignored: {self.ignored} things")
        if self.absent:
            names = ", ".join(self.absent[:SHOWN])
            lines.append(f"  WARNING: nothing is there of {len(self.absent)} of {len(self.counts)} classes: {names}")
        if self.passed:
            lines.append("  passed over: " + ", ".join(f"{count} {why}" for why, count in self.passed.items()))
        return lines


def sample(dataset: Dataset) -> Dataset:
    """At most LOOKS pictures, spread over the set."""
    if len(dataset) <= LOOKS:
        return dataset
    return dataset.subset(np.unique(np.linspace(0, len(dataset) - 1, LOOKS).astype(int)))


def take_inventory(dataset: Dataset, path: Path | None = None) -> Inventory:
    """Count what a data set holds; class maps are sampled. path: where it was read, whose files are accounted for."""
    schema = dataset.schema
    of_pixels = "segmentation" in dataset.fields
    looked = dataset if isinstance(dataset.source, FlatSource) else sample(dataset)
    kinds = (
        ("segmentation", schema.pixels, "pixels"),
        ("instances.labels", schema.things, "things"),
        ("labels", schema.pictures, "pictures"),
    )
    names, unit = next(((names, unit) for field, names, unit in kinds if field in dataset.fields and names), (None, ""))
    counts = np.zeros(len(names or ()), np.int64)
    labelled = ignored = broken = 0
    fault = ""
    for i in range(len(looked)):
        try:
            scene = looked.scene(i)
        except DataError as error:  # a check names it; a training stops at it, or leaves it out
            broken += 1
            fault = str(error) if broken == len(looked) else ""
            continue
        labelled += _is_labelled(scene) or bool(dataset.fields - COUNTED)
        if of_pixels and scene.segmentation is not None:
            counts += _pixels(scene, len(counts))
        elif unit == "things" and scene.instances is not None and scene.instances.labels is not None:
            labels, out = scene.instances.labels.numpy(), scene.instances.ignore
            kept = labels if out is None else labels[~out.numpy()]
            ignored += len(labels) - len(kept)
            np.add.at(counts, kept[kept < len(counts)], 1)
        elif unit == "pictures" and scene.labels is not None:
            np.add.at(counts, scene.labels.numpy(), 1)
    labelled = labelled if len(looked) == len(dataset) else round(labelled * len(dataset) / max(len(looked), 1))
    by_class = {name: int(count) for name, count in zip(names or (), counts)}
    passed = {"pictures or truths that cannot be read": broken} if broken else {}
    passed |= _passed_over(dataset, path) if path is not None and path.is_dir() else {}
    return Inventory(
        dataset.title,
        dataset.origin,
        len(dataset),
        labelled,
        by_class,
        unit,
        ignored,
        len(looked),
        passed,
        broken,
        fault,
    )


def _is_labelled(scene: Scene) -> bool:
    named = (scene.labels, scene.instances, scene.captions)
    return scene.segmentation is not None or any(value is not None and len(value) > 0 for value in named)


def _pixels(scene: Scene, classes: int) -> np.ndarray:
    assert scene.segmentation is not None
    maps = scene.segmentation.numpy()
    if maps.ndim == 3:
        return (maps[:classes] == 1).sum((1, 2))
    return np.bincount(maps[maps != VOID].ravel(), minlength=classes)[:classes]


def _passed_over(dataset: Dataset, path: Path) -> dict[str, int]:
    """Files below a folder that are neither pictures of the set nor of its format's own kinds, counted by why."""
    own = dataset.origin.suffixes if dataset.origin else frozenset()
    counts: Counter[str] = Counter()
    for folder, folders, files in os.walk(path):
        hidden = [name for name in folders if is_hidden(Path(name))]
        folders[:] = [name for name in folders if name not in hidden]
        counts["hidden folders"] += len(hidden)
        for name in files:
            file = Path(folder, name)
            if is_hidden(file):
                counts["hidden files"] += 1
            elif is_clip(file):
                counts["clips"] += 1
            elif not is_picture(file) and file.suffix.lower() not in own and not is_note(file):
                counts[f"{file.suffix.lower()} files" if file.suffix else "files without suffix"] += 1
    return {why: count for why, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count}
