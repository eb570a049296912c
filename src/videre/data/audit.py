"""What is wrong with a data set, before a training finds out: every fault with file, annotation, values and remedy.

findings = check({"train": read(path, "train"), "val": read(path, "val")})
print(findings); audit_page.write_page(findings, "check.html")
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from videre.data.cleaning import UNREADABLE
from videre.data.dataset import Dataset
from videre.data.stats import count_classes
from videre.data.twins import Look, find_twins, look_at
from videre.engine.loading import load
from videre.errors import DataError, VidereError
from videre.images.reading import exif_orientation
from videre.ops.boxes import box_iou
from videre.structures import Instances, Scene, Schema
from videre.structures.clip import still
from videre.structures.scene import VOID

__all__ = ["Finding", "Findings", "check"]

Severity = Literal["error", "warning", "note"]

SAME_BOX = 0.95
"""Intersection over union from which two boxes are one object drawn twice."""
FEW = 10
"""Fewer instances of a class than this are hardly learnt."""
IMBALANCE = 100
"""The commonest class may have this many times the instances of the rarest."""
UNUSUAL = 6.0
"""An object is unusually large or small when the log of its area is so many robust deviations from its class."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault.

    Args:
        severity: "error" stops or falsifies a training, "warning" likely harms, "note" is good to know.
        kind: the same words for the same fault. split, picture: which picture; picture is "" for the set as a whole.
        file: the picture's file. annotation: id of the instance, or its place in the picture.
        values: what was found. remedy: what to do.
        boxes: the instances at fault, xyxy in the picture's pixels. other: file of the second picture of a pair.
        index: number of the picture in its split.
    """

    severity: Severity
    kind: str
    split: str
    picture: str
    file: str
    annotation: int | str | None
    values: str
    remedy: str
    boxes: tuple[tuple[float, ...], ...] = ()
    other: str = ""
    index: int | None = None

    def __str__(self) -> str:
        where = ": ".join(x for x in (self.split, self.picture) if x)
        which = f", annotation {self.annotation}" if self.annotation is not None else ""
        return f"{self.severity}: {where}{which}: {self.kind} ({self.values}); {self.remedy}"


@dataclasses.dataclass(frozen=True)
class Findings:
    """All faults, errors first, with the data sets in which they were found."""

    findings: tuple[Finding, ...]
    sets: Mapping[str, Dataset]

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")

    def counts(self) -> dict[tuple[Severity, str], int]:
        """(severity, kind) to how often, errors first."""
        return dict(Counter((f.severity, f.kind) for f in self.findings))

    def __str__(self) -> str:
        lines = [f"{severity:8}{count:6}  {kind}" for (severity, kind), count in self.counts().items()]
        return "\n".join(lines) or "nothing found"

    def to_json(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(f) for f in self.findings]


def check(data: Dataset | Mapping[str, Dataset], workers: int = 2) -> Findings:
    """Look for everything that is wrong with a data set, reading every picture once.

    Args:
        data: one set, or its splits by name: then pictures that are in two of them are found, too.
    """
    sets = dict(data) if isinstance(data, Mapping) else {"": data}
    found: list[Finding] = []
    looks: list[_Look] = []
    for split, dataset in sets.items():
        found += _repairs(split, dataset)
        if len(dataset) == 0:
            found.append(_whole("error", "split without pictures", split, "0 pictures", "check the list or the folder"))
        for look in load(range(len(dataset)), functools.partial(_look, split, dataset), workers, dataset.where):
            found += look.findings
            looks.append(look)
    found += _copies(sets, looks)
    found += _nothing_to_learn(sets, looks)
    found += _classes(sets, looks)
    found += _unusual(sets, looks)
    rank = {"error": 0, "warning": 1, "note": 2}
    return Findings(tuple(sorted(found, key=lambda f: (rank[f.severity], f.kind))), sets)


# One picture ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Look:
    """What is kept of a picture after looking at it."""

    split: str
    index: int
    findings: list[Finding]
    twin: Look = dataclasses.field(default_factory=Look)
    learnable: bool = False
    pixels: np.ndarray | None = None  # int64 [256], how many of each class
    labels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    areas: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    boxes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4)))
    ids: list[int | str] = dataclasses.field(default_factory=list)


def _look(split: str, dataset: Dataset, index: int) -> _Look:
    path = dataset.path(index)
    look = _Look(split, index, [])
    say = _Sayer(look, dataset.name(index), str(path or ""))
    picture = None
    if path is not None and not os.path.exists(path):
        say("error", "picture missing", None, "there is no such file", "restore it, or take it out of the annotations")
    else:
        try:
            picture = still(dataset.picture(index))
            _look_at_pixels(picture, path, look, say)
        except Exception as error:  # whatever one file does to a decoder, the others are still to be looked at
            wrong = isinstance(error, DataError) and "its annotation says" in str(error)
            kind = "picture of another size" if wrong else UNREADABLE
            say("error", kind, None, _without(error, path), "replace the file, or correct its annotation")
    try:
        scene = dataset.scene(index)
        look.learnable = _is_learnable(scene)
    except Exception as error:  # as above
        say("error", "annotation unusable", None, _without(error, path), "correct the annotation")
        return look
    if scene.labels is not None:
        look.labels = scene.labels.numpy()
    if scene.segmentation is not None:
        look.pixels = count_classes(scene.segmentation.numpy())
    if scene.instances is not None:
        _look_at_instances(scene, scene.instances, dataset.schema, look, say)
    return look


class _Sayer:
    """Adds findings about one picture."""

    def __init__(self, look: _Look, picture: str, file: str) -> None:
        self.look, self.picture, self.file = look, picture, file

    def __call__(
        self,
        severity: Severity,
        kind: str,
        annotation: int | str | None,
        values: str,
        remedy: str,
        boxes: Sequence[Sequence[float]] = (),
    ) -> None:
        drawn = tuple(tuple(float(v) for v in box) for box in boxes)
        self.look.findings.append(
            Finding(
                severity,
                kind,
                self.look.split,
                self.picture,
                self.file,
                annotation,
                values,
                remedy,
                drawn,
                index=self.look.index,
            )
        )


def _look_at_pixels(picture: np.ndarray, path: Path | None, look: _Look, say: _Sayer) -> None:
    orientation = exif_orientation(path) if path is not None else 1
    if orientation in (2, 3, 4):  # quarter turns show in the size
        say(
            "warning",
            "turned by EXIF",
            None,
            f"orientation {orientation}",
            "labels must be drawn on the upright picture: look at the drawing, else save the picture upright",
        )
    look.twin = look_at(picture, path)
    if look.twin.code is None:
        bright = float(picture.mean(dtype=np.float64)) / float(np.iinfo(picture.dtype).max)
        say(
            "warning",
            "picture without content",
            None,
            f"one shade, {bright * 100:.0f} % bright",
            "look whether the file is what it should be",
        )


def _is_learnable(scene: Scene) -> bool:
    """Whether anything is said of the picture that a system can learn."""
    things = scene.instances
    if things is not None and len(things) and (things.ignore is None or not bool(things.ignore.all())):
        return True
    if scene.segmentation is not None and bool((scene.segmentation != VOID).any()):
        return True
    said = (scene.labels, scene.captions, scene.questions, scene.situations, scene.events)
    if any(value is not None and len(value) for value in said) or scene.camera is not None:
        return True
    maps = (scene.panoptic, scene.depth)
    return any(value is not None and bool((value != 0).any()) for value in maps)


def _look_at_instances(scene: Scene, things: Instances, schema: Schema, look: _Look, say: _Sayer) -> None:
    ids: list[int | str] = things.ids.tolist() if things.ids is not None else list(range(len(things)))
    ignored = things.ignore if things.ignore is not None else torch.zeros(len(things), dtype=torch.bool)
    name = lambda n: schema.things[int(things.labels[n])] if schema.things and things.labels is not None else "instance"
    if things.labels is not None:
        look.labels = things.labels[~ignored].numpy()
        unknown = [n for n in range(len(things)) if int(things.labels[n]) >= len(schema.things or ())]
        if unknown:
            say(
                "error",
                "label without class",
                ids[unknown[0]],
                f"labels {sorted({int(things.labels[n]) for n in unknown})} of {len(schema.things or ())} classes",
                "add the class, or correct the labels",
            )
            return
    masks, boxes = things.masks, things.boxes
    if masks is not None:
        areas, extents = masks.area(), masks.boxes()
        for n in (areas == 0).nonzero().flatten().tolist():
            if not ignored[n]:
                say(
                    "warning",
                    "mask without pixels",
                    ids[n],
                    name(n),
                    "draw it, or remove the instance",
                    () if boxes is None else [boxes[n].tolist()],
                )
        if boxes is not None:
            overlap = box_iou(boxes, extents).diagonal()
            far = (boxes - extents).abs().amax(1)
            for n in ((overlap < 0.8) & (far > 3) & (areas > 0) & ~ignored).nonzero().flatten().tolist():
                say(
                    "warning",
                    "box and mask disagree",
                    ids[n],
                    f"{name(n)}: box {_corners(boxes[n])}, mask {_corners(extents[n])}",
                    "correct one of them",
                    [boxes[n].tolist(), extents[n].tolist()],
                )
    if boxes is None:
        return
    sides = boxes[:, 2:] - boxes[:, :2]
    for n in ((sides.amin(1) < 2) & ~ignored).nonzero().flatten().tolist():
        say(
            "note",
            "box thinner than two pixels",
            ids[n],
            f"{name(n)}: {_corners(boxes[n])}",
            "look whether it is a slip of the mouse",
            [boxes[n].tolist()],
        )
    if things.labels is not None and len(boxes) > 1:
        same = torch.triu(box_iou(boxes, boxes), 1) >= SAME_BOX
        for a, b in same.nonzero().tolist():
            if ignored[a] or ignored[b]:
                continue
            both, pair = f"{name(a)} {_corners(boxes[a])} and {name(b)} {_corners(boxes[b])}", [boxes[a].tolist()]
            if things.labels[a] == things.labels[b]:
                say(
                    "warning", "object drawn twice", ids[b], f"{both} (annotation {ids[a]})", "remove one of them", pair
                )
            else:
                say(
                    "warning",
                    "one object, two classes",
                    ids[b],
                    f"{both} (annotation {ids[a]})",
                    "decide on one, unless the classes may overlap",
                    pair,
                )
    if things.keypoints is not None and things.visibility is not None:
        points = things.keypoints
        outside = (points < 0).any(-1) | (points > torch.tensor(scene.size[::-1])).any(-1)
        for n in (outside & (things.visibility > 0)).any(1).nonzero().flatten().tolist():
            lost = (outside[n] & (things.visibility[n] > 0)).nonzero().flatten().tolist()
            joints = [schema.skeleton.names[j] if schema.skeleton else str(j) for j in lost]
            say(
                "warning",
                "keypoint outside the picture",
                ids[n],
                f"{', '.join(joints)} at {points[n, lost[0]].tolist()}",
                "correct it, or set it to not labelled",
                [boxes[n].tolist()],
            )
    if things.labels is not None:
        keep = ~ignored.numpy()
        look.boxes = boxes.numpy()[keep]
        look.areas = (look.boxes[:, 2:] - look.boxes[:, :2]).prod(1)
        look.ids = [i for i, k in zip(ids, keep, strict=True) if k]


# The set as a whole -----------------------------------------------------------------------------------------------------


def _repairs(split: str, dataset: Dataset) -> list[Finding]:
    """What the reader changed or left out."""
    if not dataset.repairs:
        return []
    places = {dataset.name(i): i for i in range(len(dataset))}
    found = []
    for r in dataset.repairs:
        index = places.get(r.picture)
        file = str(dataset.path(index) or "") if index is not None else ""
        numbers = r.found.partition("(")[2].partition(")")[0].split(",")
        boxes = (tuple(map(float, numbers)),) if "box" in r.kind and len(numbers) == 4 else ()
        severity: Severity = "error" if r.kind == UNREADABLE else "warning"
        remedy = f"it was {r.action} in reading; correct the file so that it counts"
        found.append(
            Finding(severity, r.kind, split, r.picture, file, r.annotation, r.found, remedy, boxes, index=index)
        )
    return found


def _copies(sets: Mapping[str, Dataset], looks: Sequence[_Look]) -> list[Finding]:
    """The same picture twice: in two splits it makes the test lie, in one it counts double. Once for each group."""
    found = []
    name = lambda k: f"{k.split}: {sets[k.split].name(k.index)}".removeprefix(": ")
    for twins in find_twins([k.twin for k in looks]):
        pairs = [(looks[a], looks[b], exact) for a, b, exact in twins.links]
        apart = [row for row in pairs if _says_otherwise(sets, *row[:2])]
        across = [row for row in pairs if row[0].split != row[1].split]
        if apart:
            severity, kind, remedy = "error", "one picture, two classes", "decide on one class"
        elif across:
            severity, kind = "error" if any(exact for *_, exact in across) else "warning", "picture in two splits"
            remedy = "keep it in one split: what was trained on cannot be a test (`videre data split` does)"
        else:
            severity, kind, remedy = "warning", "picture twice", "remove one, unless it is meant"
        first, second, exact = (apart or across or pairs)[0]
        values = f"{'the same bytes' if exact else 'nearly the same'} as {name(second)}"
        if len(twins.members) > 2:
            rest = [name(looks[i]) for i in twins.members if looks[i] is not first and looks[i] is not second]
            values += f"; {len(twins.members)} such pictures, also {_listed(rest)}"
        file, other = (str(sets[k.split].path(k.index) or "") for k in (first, second))
        found.append(
            Finding(
                severity,  # type: ignore[arg-type]
                kind,
                first.split,
                sets[first.split].name(first.index),
                file,
                None,
                values,
                remedy,
                other=other,
                index=first.index,
            )
        )
    return found


def _says_otherwise(sets: Mapping[str, Dataset], a: _Look, b: _Look) -> bool:
    """Whether two pictures are labelled, and not alike; by names, since each split may number its own."""
    names = [
        {classes[int(n)] for n in k.labels if int(n) < len(classes)}
        for k in (a, b)
        if "labels" in sets[k.split].fields and (classes := sets[k.split].schema.pictures) is not None
    ]
    return len(names) == 2 and bool(names[0]) and bool(names[1]) and names[0] != names[1]


def _nothing_to_learn(sets: Mapping[str, Dataset], looks: Sequence[_Look]) -> list[Finding]:
    """Splits in which nothing is said of any picture; a test without its truth beside a train that has it is usual."""
    some = {look.split for look in looks if look.learnable}
    found = []
    for split, dataset in sets.items():
        if split in some or not len(dataset):
            continue
        fields = ", ".join(sorted(dataset.fields))
        values = f"{len(dataset)} pictures, " + (f"all without {fields} that count" if fields else "and no labels")
        usual = some and not split.lower().startswith("train")
        found.append(
            _whole("warning", "nothing to judge by", split, values, "use it for predictions only, or add its labels")
            if usual
            else _whole(
                "error",
                "nothing to learn",
                split,
                values,
                "look whether the labels lie where their format has them, and whether all are ignored or void",
            )
        )
    return found


def _classes(sets: Mapping[str, Dataset], looks: Sequence[_Look]) -> list[Finding]:
    """Classes that are rare, missing, or named alike."""
    found = []
    for split, dataset in sets.items():
        found += _pixels(split, dataset, [k.pixels for k in looks if k.split == split and k.pixels is not None])
    counts: dict[str, np.ndarray] = {}
    for split, dataset in sets.items():
        names = dataset.schema.things or dataset.schema.pictures
        if names is None or len(dataset) == 0:
            continue
        count = counts[split] = np.zeros(len(names), np.int64)
        for look in looks:
            if look.split == split:
                np.add.at(count, look.labels[look.labels < len(names)], 1)
        say = lambda severity, kind, values, remedy, split=split: found.append(
            _whole(severity, kind, split, values, remedy)
        )
        missing = [n for n, c in zip(names.names, count) if c == 0]
        few = [f"{n} {c}" for n, c in zip(names.names, count) if 0 < c < FEW]
        if missing:
            say("warning", "class without examples", _listed(missing), "collect some, or take the class out")
        if few:
            say("warning", "class with few examples", _listed(few), f"collect more, at least {FEW}")
        some = count[count > 0]
        if len(some) > 1 and some.max() > IMBALANCE * some.min():
            say(
                "note",
                "classes out of balance",
                f"{names[int(count.argmax())]} {count.max()}, {names[int(np.where(count > 0, count, count.max() + 1).argmin())]} {some.min()}",
                "train with class weights, and look at the numbers class by class",
            )
        alike = Counter(" ".join(n.lower().replace("_", " ").replace("-", " ").split()) for n in names.names)
        twins = [n for n in names.names if alike[" ".join(n.lower().replace("_", " ").replace("-", " ").split())] > 1]
        if twins:
            say("warning", "class names alike", _listed(twins), "one class was probably spelled in two ways: join them")
        empty = [k for k in looks if k.split == split and not len(k.labels)]
        if empty and dataset.fields & {"boxes", "masks"}:
            say(
                "note",
                "pictures without instances",
                f"{len(empty)} of {len(dataset)}",
                "good to have where true; look whether somebody forgot to label them",
            )
    return found


def _pixels(split: str, dataset: Dataset, counts: Sequence[np.ndarray]) -> list[Finding]:
    """Classes of pixels that no pixel has."""
    names = dataset.schema.pixels
    if names is None or not counts:
        return []
    count = np.sum(counts, axis=0)
    missing = [name for k, name in enumerate(names) if not count[k]]
    if not missing:
        return []
    values = f"{_listed(missing)}: no pixel in {len(counts)} maps"
    remedy = "look whether the maps have the numbers that the list of classes says, or take the class out"
    return [_whole("warning", "class without pixels", split, values, remedy)]


def _unusual(sets: Mapping[str, Dataset], looks: Sequence[_Look]) -> list[Finding]:
    """Objects of a size that their class does not have elsewhere: often a wrong label."""
    found = []
    marked = [(k, n) for k in looks for n in range(len(k.areas)) if k.areas[n] > 0]
    if not marked:
        return []
    label = np.array([k.labels[n] for k, n in marked])
    size = np.log([k.areas[n] for k, n in marked])
    for which in np.unique(label):
        rows = np.flatnonzero(label == which)
        middle = np.median(size[rows])
        deviation = 1.4826 * np.median(np.abs(size[rows] - middle))
        if len(rows) < 30 or deviation == 0:
            continue
        for row in rows[np.abs(size[rows] - middle) > UNUSUAL * deviation]:
            look, n = marked[row]
            dataset = sets[look.split]
            class_name = dataset.schema.things[int(which)] if dataset.schema.things else str(which)
            ratio = float(np.exp((size[row] - middle) / 2))
            values = f"{class_name}: {ratio:.2g} times the side usual for its class"
            found.append(
                Finding(
                    "note",
                    "unusual size for its class",
                    look.split,
                    dataset.name(look.index),
                    str(dataset.path(look.index) or ""),
                    look.ids[n],
                    values,
                    "look whether the label is right",
                    (tuple(look.boxes[n].tolist()),),
                    index=look.index,
                )
            )
    return found


def _whole(severity: Severity, kind: str, split: str, values: str, remedy: str) -> Finding:
    return Finding(severity, kind, split, "", "", None, values, remedy)


def _corners(box: torch.Tensor) -> str:
    return f"({', '.join(f'{v:.5g}' for v in box.tolist())})"


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _without(error: Exception, path: Path | None) -> str:
    """What an error says, without the path that stands beside it."""
    kind = "" if isinstance(error, VidereError) else f"{type(error).__name__}: "
    return f"{kind}{error}".removeprefix(f"{path}: ")
