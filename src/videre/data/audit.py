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

import cv2
import numpy as np
import torch

from videre.data.cleaning import UNREADABLE
from videre.data.dataset import Dataset
from videre.data.hashes import hash_file
from videre.data.loading import load
from videre.errors import DataError
from videre.images.reading import exif_orientation
from videre.ops.boxes import box_iou
from videre.structures import Instances, Scene, Schema
from videre.structures.clip import still

__all__ = ["Finding", "Findings", "check"]

Severity = Literal["error", "warning", "note"]

NEAR_BITS = 6
"""Pictures whose 64-bit perceptual hashes differ in at most this many bits may show the same …"""
NEAR_CORRELATION = 0.97
"""… and do when their 32x32 thumbnails correlate this well: hashes of dark microscopy collide, thumbnails do not."""
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
    digest: str = ""
    bits: np.ndarray | None = None  # float32 [64] of -1, 1
    thumbnail: np.ndarray | None = None  # float32 [1024], mean 0, length 1
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
        except DataError as error:
            wrong = "its annotation says" in str(error)
            kind = "picture of another size" if wrong else UNREADABLE
            say("error", kind, None, _without(str(error), str(path)), "replace the file, or correct its annotation")
    if picture is not None:
        look.digest = hash_file(path) if path is not None else ""
        _look_at_pixels(picture, path, look, say)
    try:
        scene = dataset.scene(index)
    except (DataError, ValueError) as error:
        say("error", "annotation unusable", None, _without(str(error), str(path)), "correct the annotation")
        return look
    if scene.labels is not None:
        look.labels = scene.labels.numpy()
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
    top = float(np.iinfo(picture.dtype).max)
    grey = picture.mean(2, dtype=np.float32) / top
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    spread = float(small.std())
    if spread < 0.004:
        say(
            "warning",
            "picture without content",
            None,
            f"one shade, {float(grey.mean()) * 100:.0f} % bright",
            "look whether the file is what it should be",
        )
        return
    low = cv2.dct(small)[:8, :8].ravel()
    look.bits = np.where(low > np.median(low[1:]), np.float32(1), np.float32(-1))
    centred = (small - small.mean()).ravel()
    look.thumbnail = (centred / np.linalg.norm(centred)).astype(np.float32)


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
    """The same picture twice: in two splits it makes the test lie, in one it counts double."""
    found = []
    for first, second, exact in _pairs([k for k in looks if k.bits is not None]):
        names = [f"{k.split}: {sets[k.split].name(k.index)}".removeprefix(": ") for k in (first, second)]
        across, how = first.split != second.split, "the same bytes" if exact else "nearly the same"
        apart = len(first.labels) and len(second.labels) and "labels" in sets[first.split].fields
        if apart and set(first.labels.tolist()) != set(second.labels.tolist()):
            severity, kind, remedy = "error", "one picture, two classes", "decide on one class"
        elif across:
            severity, kind = "error" if exact else "warning", "picture in two splits"
            remedy = "keep it in one split: what was trained on cannot be a test"
        else:
            severity, kind, remedy = "warning", "picture twice", "remove one, unless it is meant"
        file, other = (str(sets[k.split].path(k.index) or "") for k in (first, second))
        found.append(
            Finding(
                severity,  # type: ignore[arg-type]
                kind,
                first.split,
                sets[first.split].name(first.index),
                file,
                None,
                f"{how} as {names[1]}",
                remedy,
                other=other,
                index=first.index,
            )
        )
    return found


def _pairs(looks: Sequence[_Look], block: int = 2048) -> Iterator[tuple[_Look, _Look, bool]]:
    if not looks:
        return
    bits = np.stack([k.bits for k in looks if k.bits is not None])
    thumbnails = np.stack([k.thumbnail for k in looks if k.thumbnail is not None])
    for start in range(0, len(looks), block):
        alike = bits[start : start + block] @ bits.T  # 64 minus twice the bits that differ
        rows, columns = np.nonzero(alike >= 64 - 2 * NEAR_BITS)
        later = columns > rows + start
        for a, b in zip((rows[later] + start).tolist(), columns[later].tolist()):
            exact = bool(looks[a].digest) and looks[a].digest == looks[b].digest
            if exact or float(thumbnails[a] @ thumbnails[b]) >= NEAR_CORRELATION:
                yield looks[a], looks[b], exact


def _classes(sets: Mapping[str, Dataset], looks: Sequence[_Look]) -> list[Finding]:
    """Classes that are rare, missing, or named alike."""
    found = []
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


def _without(message: str, path: str) -> str:
    return message.removeprefix(f"{path}: ")
