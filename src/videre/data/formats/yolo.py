"""YOLO: a text beside every picture, a row for each thing: boxes, outlines or poses.

Pictures lie in `images/` and rows in `labels/`, both with or without folders of splits, or the folders of splits hold both
(Roboflow); or rows lie beside pictures (darknet). `data.yaml` names the classes and says where the pictures are, else
`classes.txt` or `obj.names` names them. A row is one of

- `class cx cy width height`: a box;
- `class x1 y1 x2 y2 x3 y3 …`: an outline; the box is its extent;
- `class cx cy width height` and `x y` or `x y v` for each keypoint, where data.yaml has `kpt_shape`: a pose.

Convention (Ultralytics' docs): all are shares of the picture's width and height, continuous from its left upper corner, so
that x is x * width pixels, of keypoints too, with no half pixel; v is 0 not labelled, 1 hidden, 2 visible, and without v a
keypoint is labelled where x and y are not both 0. `flip_idx` says which keypoints a mirror swaps, `kpt_names` names them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from videre.data.cleaning import clean_boxes, complete_masks, fill_sizes
from videre.data.dataset import Dataset, Repair
from videre.data.faults import Faults
from videre.data.flat import FlatMasks, FlatSource
from videre.data.formats.folders import SPLIT_NAME
from videre.data.formats.yolo_layout import (
    LabelFinder,
    Layout,
    find_config,
    label_folders,
    load_config,
    picture_folders,
)
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import read_lines, read_text, write_atomic
from videre.ops.rasterise import signed_area
from videre.structures import COCO_PERSON, Categories, Instances, Polygons, Scene, Schema, Skeleton

LOOKS_FOR = (
    "yolo: <name>.txt with rows of numbers in labels/, the pictures in images/ (train/images/ with train/labels/), or beside "
    "<name>.jpg; or a data.yaml with names"
)
OWN = frozenset({".txt", ".yaml", ".yml", ".names", ".data"})
HOLDS = {"boxes", "instances.labels", "masks", "ignore", "keypoints", "visibility"}
CONFIG = "data.yaml"
SLACK = 0.01
"""By which a share may leave 0..1, to be clipped; Ultralytics allows as much."""
ROUNDING = 1e-4
"""By which it may without being counted."""
PIXELS = 2.0
"""A share as large as this is a number of pixels."""
MOST = 10_000
"""Classes, where they have no names."""
VALUES = ("class", "cx", "cy", "width", "height")
EMPTY = np.zeros((0, 2))


def recognise(path: Path) -> str:
    """What was found, or "" when there is neither a data.yaml nor a text of rows where they should be."""
    try:
        config = find_config(path)
    except DataError:  # several may be meant: the folders tell
        config = None
    if config is not None:
        return f"names in {config.name}"
    folders = picture_folders(path) if path.is_dir() else {}
    listed = [folder.relative_to(path).as_posix() for some in folders.values() for folder in some]
    return f"rows of labels for the pictures in {', '.join(listed)}" if listed else ""


def splits(path: Path) -> list[str]:
    """Those of data.yaml that are there, else folders or lists called like splits."""
    return Layout(path).splits


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read pictures and rows; a picture without a text has no things, and is counted.

    Args:
        path: the folder, or its data.yaml. split: one of `splits(path)`; all pictures when absent.
        skip_broken: leave rows that are broken out, and count them.

    Raises DataError with all rows that are no rows, each with its line; where no picture is found, or none has a text.
    """
    layout, faults = Layout(path), Faults(skip_broken)
    parts, finder, labels = layout.parts(faults, split), LabelFinder(), _Labels.of(layout)
    chosen = {name: part for name, part in parts.items() if split in (None, name)}
    pictures = {picture: name for part in chosen.values() for picture, name in part.items()}
    _check_pictures(layout, split, pictures, parts, finder)
    repairs = [
        Repair("split without pictures", "-", name, f"{layout.file}: no {', '.join(entries)}", "left out")
        for name, entries in layout.missing.items()
        if split is None
    ]
    rows: list[list[_Row]] = []
    for picture, name in pictures.items():
        file = finder.find(picture)
        if file is None:
            repairs.append(Repair("picture without labels file", name, "-", f"no {picture.stem}.txt", "taken as empty"))
        rows.append([] if file is None else _read_rows(file, name, labels, faults, repairs))
    if split not in layout.lists and not layout.has_lists:
        sources = [source for s, some in layout.sources.items() if s in chosen for source in some]
        for file in finder.strays(sources, list(pictures)):
            told = file.relative_to(layout.root).as_posix() if file.is_relative_to(layout.root) else str(file)
            repairs.append(Repair("labels without picture", told, "-", "no picture of its name", "dropped"))
    repairs += faults.settle()
    paths, names = [str(picture) for picture in pictures], list(pictures.values())
    sizes, readable, unreadable = fill_sizes(np.zeros((len(paths), 2), np.int64), paths, names)
    rows, paths, names = (list(itertools.compress(column, readable)) for column in (rows, paths, names))  # type: ignore
    source = FlatSource(paths, names, sizes[readable])
    repairs += unreadable + _fill_in(source, rows, labels.skeleton, path)
    things = labels.categories(_highest(parts) if labels.names is None else 0)
    if labels.names is None:
        told = f"neither data.yaml nor classes.txt nor obj.names names the {len(things)} classes"
        repairs.append(Repair("class names missing", "-", "-", told, f"named {things[0]!r}, …"))
    title = layout.root.name + (f" {split}" if split else "")
    return Dataset(source, Schema(things=things, skeleton=labels.skeleton), repairs, title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write images/<split>/, labels/<split>/ and data.yaml, to which later splits are added. Returns the losses.

    Poses are written where the set has keypoints, else outlines where it has masks, else boxes. Masks that are no polygons
    are outlined along their pixels. What rows cannot have is refused unless `lossy`, and else lost: holes, all but the largest
    part of an outline, keypoints outside the picture, things that are ignored or have an empty mask.

    Raises DataError for that, and where data.yaml is there with other classes or keypoints.
    """
    lost = losses(dataset, HOLDS, "YOLO", lossy)
    things, skeleton, posed = dataset.schema.things, dataset.schema.skeleton, "keypoints" in dataset.fields
    if things is None or not {"boxes", "masks"} & set(dataset.fields) or (posed and skeleton is None):
        raise DataError(f"YOLO holds boxes, outlines or poses of things; {dataset.title} has {sorted(dataset.fields)}")
    if posed and "masks" in dataset.fields:
        if not lossy:
            raise DataError(
                f"YOLO cannot hold both masks and keypoints, which {dataset.title} has; write another format, or allow "
                "the loss of the masks (lossy)"
            )
        lost.append("masks")
    config = _add_split(path / CONFIG, split, things, skeleton if posed else None)
    writer = _Writer(lossy)
    for filename, scene in placed(dataset, path / "images" / split):
        lines = writer.rows(scene, posed)
        target = (path / "labels" / split / filename).with_suffix(".txt")
        write_atomic(target, "".join(f"{line}\n" for line in lines).encode())
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    write_atomic(path / CONFIG, text.encode())
    return lost + [f"{count} {what}" for what, count in writer.lost.items()]


# reading ----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Row:
    """One thing, in shares of the picture.

    Args:
        line: in its file, from 1. label: its class. box: x1, y1, x2, y2. outline: [P, 2], none for a box. points: [J, 3]
            x, y, visibility.
    """

    line: int
    label: int
    box: tuple[float, float, float, float]
    outline: np.ndarray = dataclasses.field(default_factory=lambda: EMPTY)
    points: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Labels:
    """What the numbers of a set mean.

    Args:
        names: of the classes by their numbers in rows, None where nothing names them. file: where they stand. count: `nc`, where it is said.
        skeleton: of its poses. dims: numbers a keypoint.
    """

    names: dict[int, str] | None
    file: Path | None
    count: int | None
    skeleton: Skeleton | None
    dims: int

    @classmethod
    def of(cls, layout: Layout) -> _Labels:
        """DataError where the set contradicts itself."""
        found, file, config = layout.names(), layout.file, layout.config
        count = None if file is None or "nc" not in config else _whole(config["nc"], file, "nc", 1)
        names = found[0] if found else None
        if names is not None and count is not None and count != len(names):
            raise DataError(
                f"{file}: nc is {count}, but {found[1] if found else ''} has {len(names)} names ({', '.join([*names.values()][:5])}); "
                "make them agree"
            )
        if file is None or "kpt_shape" not in config:
            return cls(names, found[1] if found else file, count, None, 0)
        shape = config["kpt_shape"]
        if not isinstance(shape, list) or len(shape) != 2 or shape[1] not in ("2", "3"):
            raise DataError(f"{file}: kpt_shape should be [keypoints, 2 or 3], found {shape!r:.60}; correct the file")
        joints = _whole(shape[0], file, "kpt_shape", 1)
        return cls(names, found[1] if found else file, count, _skeleton(config, joints, file), int(shape[1]))

    @functools.cached_property
    def label_of(self) -> dict[int, int]:
        """The label of each number of a class."""
        numbers = range(self.count or MOST) if self.names is None else self.names
        return {number: label for label, number in enumerate(numbers)}

    @property
    def expected(self) -> str:
        """What the number of a class should be, in words."""
        numbers = list(self.label_of)
        gaps = numbers != list(range(len(numbers)))
        told = f"one of {', '.join(map(str, numbers[:5]))}, …" if gaps else f"a whole number of 0 to {len(numbers) - 1}"
        said = f"{len(numbers)} names in {self.file}" if self.names is not None else f"nc in {self.file}"
        return f"{told} ({said if self.names is not None or self.count else 'there are no names'})"

    def categories(self, highest: int) -> Categories:
        """The classes; those without names up to the highest that occurs, in any split."""
        names = self.names or {k: f"class {k}" for k in range(self.count or highest + 1)}
        return Categories(tuple(names.values()), source_ids=tuple(names))


def _whole(value: Any, file: Path, field: str, least: int) -> int:
    if not isinstance(value, str) or not value.isdecimal() or not least <= int(value) <= MOST:
        raise DataError(
            f"{file}: {field} should be a whole number of {least} to {MOST}, found {value!r:.60}; correct it"
        )
    return int(value)


def _skeleton(config: Mapping[str, Any], joints: int, file: Path) -> Skeleton:
    """The keypoints of a data.yaml; of names that are COCO's, the limbs are known."""
    flips: tuple[tuple[int, int], ...] | None = None
    stated = config.get("flip_idx")
    if stated:
        order = [int(v) if isinstance(v, str) and v.isdecimal() else -1 for v in stated]
        known = sorted(order) == list(range(joints)) and all(order[order[j]] == j for j in range(joints))
        if not known:
            raise DataError(
                f"{file}: flip_idx should say for each of {joints} keypoints with which it changes places, found "
                f"{stated!r:.60}; correct it"
            )
        flips = tuple((j, other) for j, other in enumerate(order) if j < other)
    named = config.get("kpt_names") or [f"keypoint {j}" for j in range(joints)]
    lists = list(named.values()) if isinstance(named, dict) else [named]
    first = lists[0]
    if any(other != first for other in lists):
        raise DataError(f"{file}: kpt_names differ between classes; a set has one list of keypoints")
    if not isinstance(first, list) or len(first) != joints or not all(isinstance(name, str) for name in first):
        raise DataError(f"{file}: kpt_names should be {joints} names, found {first!r:.60}; correct it")
    if tuple(first) == COCO_PERSON.names:
        return dataclasses.replace(COCO_PERSON, flip_pairs=flips)
    try:
        return Skeleton(tuple(first), flip_pairs=flips)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def _check_pictures(
    layout: Layout,
    split: str | None,
    pictures: Mapping[Path, str],
    parts: Mapping[str, Mapping[Path, str]],
    finder: LabelFinder,
) -> None:
    """DataError where there are no pictures, or no picture of any split has a text."""
    if not pictures:
        entries = [e for name, some in layout.missing.items() if split in (None, name) for e in some]
        places = [str(p) for name, some in layout.sources.items() if split in (None, name) for p in some]
        looked = ", ".join(places + entries) or f"{layout.root / 'images'}"
        stated = f"; correct the paths in {layout.file}" if entries else "; put the pictures there"
        raise DataError(f"{layout.file or layout.root}: no pictures in {looked}{stated}")
    others = LabelFinder()  # `finder` is to know the folders of this split only
    labelled = any(finder.find(picture) for picture in pictures)
    if not labelled and not any(others.find(picture) for part in parts.values() for picture in part):
        first = next(iter(pictures))
        texts = " or ".join(f"{folder / first.stem}.txt" for folder in label_folders(first))
        raise DataError(
            f"{layout.file or layout.root}: none of {len(pictures)} pictures has labels; looked for {texts}, …"
        )


def _highest(parts: Mapping[str, Mapping[Path, str]]) -> int:
    """The highest class of a set without names."""
    finder, highest = LabelFinder(), 0
    for file in dict.fromkeys(finder.find(picture) for part in parts.values() for picture in part):
        try:
            words = [line.split(maxsplit=1)[0] for line in read_lines(file)] if file is not None else []
        except DataError:
            continue  # a fault of its own
        highest = max([highest, *(int(word) for word in words if word.isdecimal() and int(word) < MOST)])
    return highest


def _read_rows(file: Path, picture: str, labels: _Labels, faults: Faults, repairs: list[Repair]) -> list[_Row]:
    """The rows of a text; what is broken is a fault, and what stands there twice, or is clipped, a repair."""
    try:
        lines = read_text(file).split("\n")
    except DataError as error:
        faults.add(file, str(error).removeprefix(f"{file}: "), picture)
        return []
    rows, seen, scored = list[_Row](), set[tuple[float, ...]](), 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) == 6 and labels.skeleton is None:
            scored = scored or number
            continue
        values = _numbers(words)
        wrong = _wrong(words, values, labels)
        if wrong or values is None:
            faults.add(f"{file}: line {number}", wrong, picture)
        elif tuple(values) in seen:
            repairs.append(Repair("row twice", picture, f"line {number}", f"{line.strip():.60}", "dropped"))
        else:
            seen.add(tuple(values))
            places = _shares(len(values), labels.dims)
            least, most = min(values[k] for k in places), max(values[k] for k in places)
            if least < -ROUNDING or most > 1 + ROUNDING:
                told = f"{least:g} to {most:g}"
                repairs.append(Repair("row slightly outside 0..1", picture, f"line {number}", told, "clipped"))
            if least < 0 or most > 1:
                values = [min(max(v, 0.0), 1.0) if k in places else v for k, v in enumerate(values)]
            rows.append(_row(number, labels.label_of[int(values[0])], values[1:], labels))
    if scored:
        faults.add(
            f"{file}: line {scored}",
            "should be class cx cy width height, found 6 columns: with a confidence these are predictions, not truth; "
            "take the last column off if they are to be learned from",
            picture,
        )
    return rows


def _numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _wrong(words: list[str], values: list[float] | None, labels: _Labels) -> str:
    """In words, what is wrong with a row; "" where nothing is."""
    if values is None:
        word = next(word for word in words if _numbers([word]) is None)
        return f"should be numbers with blanks between, found {word!r:.60}; correct the row"
    joints = len(labels.skeleton) if labels.skeleton is not None else 0
    columns, count = len(values), 5 + joints * labels.dims
    if joints and columns != count:
        return (
            f"should be {count} columns, a box and {joints} keypoints of {labels.dims} numbers (kpt_shape), found {columns}; "
            "correct the row, with zeros for keypoints that are not labelled"
        )
    if not joints and columns != 5 and (columns < 7 or columns % 2 == 0):
        hint = "; if these are keypoints, data.yaml needs kpt_shape" if columns > 7 else ""
        return (
            f"should be 5 columns (class and box) or an odd number from 7 on (class and points x y), found {columns}; "
            f"correct the row{hint}"
        )
    for place, value in enumerate(values):
        if not math.isfinite(value):
            return f"{_column(place, columns, labels)} should be a finite number, found {words[place]}; correct the row"
    if values[0] not in labels.label_of:
        return f"class should be {labels.expected}, found {words[0]:.60}; correct the row, or add the name"
    places = _shares(columns, labels.dims)
    for place in places:
        if not -SLACK <= values[place] <= 1 + SLACK:
            pixels = "looks like pixels, YOLO is relative: divide by the picture's size"
            cure = pixels if max(values[k] for k in places) >= PIXELS else "correct the row"
            return f"{_column(place, columns, labels)} should lie in 0..1, found {words[place]:.60}; {cure}"
    if joints and labels.dims == 3:
        for j, seen in enumerate(values[7::3]):
            if seen not in (0, 1, 2):
                return f"visibility of keypoint {j} should be 0, 1 or 2, found {words[7 + 3 * j]:.60}; correct the row"
    return ""


@functools.lru_cache
def _shares(columns: int, dims: int) -> tuple[int, ...]:
    """Which columns are shares of the picture: all but the class and visibilities."""
    return tuple(k for k in range(1, columns) if k < 5 or dims != 3 or (k - 5) % 3 != 2)


def _column(place: int, columns: int, labels: _Labels) -> str:
    """What a number of a row is called."""
    if place < 5 and (columns == 5 or labels.skeleton is not None):
        return VALUES[place]
    if labels.skeleton is not None:
        joint, part = divmod(place - 5, labels.dims)
        return f"{('x', 'y', 'visibility')[part]} of keypoint {joint}"
    return f"{'xy'[(place - 1) % 2]} of point {(place - 1) // 2}" if place else "class"


def _row(line: int, label: int, shares: list[float], labels: _Labels) -> _Row:
    if labels.skeleton is None and len(shares) > 4:
        outline = np.array(shares).reshape(-1, 2)
        return _Row(line, label, (*outline.min(0).tolist(), *outline.max(0).tolist()), outline)
    cx, cy, width, height = shares[:4]
    box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    if labels.skeleton is None:
        return _Row(line, label, box)
    points = np.array(shares[4:]).reshape(len(labels.skeleton), labels.dims)
    if labels.dims == 2:
        points = np.concatenate([points, 2.0 * (points != 0).any(1, keepdims=True)], 1)
    return _Row(line, label, box, points=points * (points[:, 2:] > 0))


def _fill_in(source: FlatSource, rows: list[list[_Row]], skeleton: Skeleton | None, path: Path) -> list[Repair]:
    """Make the rows the instances of `source`, in pixels; the repairs."""
    assert source.sizes is not None
    flat = [row for some in rows for row in some]
    owners = np.repeat(np.arange(len(rows)), [len(some) for some in rows])
    sizes = source.sizes[owners]  # [N, 2] height, width
    scale = sizes[:, ::-1].astype(np.float64)
    boxes = np.array([row.box for row in flat], np.float64).reshape(-1, 4) * np.tile(scale, 2)
    pictures, lines = [source.names[o] for o in owners], [f"line {row.line}" for row in flat]
    boxes, keep, repairs = clean_boxes(boxes, sizes, pictures, lines, "drop", path)
    columns = {"boxes": boxes, "labels": np.array([row.label for row in flat], np.int64)}
    if skeleton is not None:
        points = np.array([row.points for row in flat], np.float64).reshape(-1, len(skeleton), 3)
        columns["keypoints"] = (points[:, :, :2] * scale[:, None]).astype(np.float32)
        columns["visibility"] = points[:, :, 2].astype(np.uint8)
    if any(len(row.outline) for row in flat):
        there = np.flatnonzero(keep).tolist()
        masks, bare, told = complete_masks(
            [Polygons((flat[n].outline * scale[n],)) if len(flat[n].outline) else None for n in there],
            sizes[keep],
            [pictures[n] for n in there],
            [lines[n] for n in there],
            "is a box only",
        )
        repairs += told
        if bare.any():
            columns["ignore"] = np.zeros(len(flat), bool)
            columns["ignore"][keep] = bare
        source.masks = None if masks is None else FlatMasks(masks)
    source.columns = {name: value[keep] for name, value in columns.items()}
    source.starts = np.cumsum([0, *np.bincount(owners[keep], minlength=len(source))])
    source.__post_init__()  # the fields follow what was filled in
    return repairs


# writing ----------------------------------------------------------------------------------------------------------------


class _Writer:
    """Makes rows of scenes, and counts what they cannot hold."""

    def __init__(self, lossy: bool) -> None:
        self.lossy = lossy
        self.lost: dict[str, int] = {}

    def rows(self, scene: Scene, posed: bool) -> list[str]:
        """The rows of the things of a scene."""
        things, rows = scene.instances, list[str]()
        if things is None or len(things) == 0:
            return []
        if things.labels is None:
            raise DataError(f"{scene.name}: YOLO needs a class for every thing, found {things.fields()}")
        outlines = things.masks.polygons() if things.masks is not None and not posed else None
        for n in range(len(things)):
            if things.ignore is not None and bool(things.ignore[n]):
                self._lose(scene, n, "things that are ignored", "is ignored, which a row of YOLO cannot say")
                continue
            values = self._box(scene, things, n) if outlines is None else self._outline(scene, outlines[n], n)
            if posed:
                values = np.concatenate([values, self._pose(scene, things, n)])
            if len(values):
                rows.append(" ".join([str(int(things.labels[n])), *(f"{value:.10g}" for value in values.tolist())]))
        return rows

    def _box(self, scene: Scene, things: Instances, n: int) -> np.ndarray:
        if things.boxes is None:
            raise DataError(f"{scene.name}: YOLO needs a box for every thing, found {things.fields()}")
        x1, y1, x2, y2 = (things.boxes[n].double().numpy() / _scale(scene, 2)).clip(0, 1).tolist()
        return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])

    def _outline(self, scene: Scene, outline: Polygons, n: int) -> np.ndarray:
        """The largest part."""
        if not outline.parts:
            self._lose(scene, n, "things with an empty mask", "has an empty mask, which a row of YOLO cannot have")
            return np.zeros(0)
        for _ in outline.holes:
            self._lose(scene, n, "holes in masks", "has a mask with a hole, which a row of YOLO cannot have")
        for _ in outline.parts[1:]:
            self._lose(scene, n, "parts of masks", f"has a mask of {len(outline.parts)} parts, a row of YOLO has one")
        return (max(outline.parts, key=lambda ring: abs(signed_area(ring))) / _scale(scene)).clip(0, 1).ravel()

    def _pose(self, scene: Scene, things: Instances, n: int) -> np.ndarray:
        assert things.keypoints is not None
        points = things.keypoints[n].double().numpy() / _scale(scene)
        seen = np.full(len(points), 2.0) if things.visibility is None else things.visibility[n].double().numpy()
        outside = (seen > 0) & ((points < 0) | (points > 1)).any(1)
        for j in np.flatnonzero(outside).tolist():
            what = f"has keypoint {j} outside the picture, where a row of YOLO cannot have it"
            self._lose(scene, n, "keypoints outside the picture", what)
        seen = seen * ~outside
        return np.concatenate([points * (seen > 0)[:, None], seen[:, None]], 1).ravel()

    def _lose(self, scene: Scene, n: int, what: str, told: str) -> None:
        if not self.lossy:
            raise DataError(
                f"{scene.name}: instance {n} {told}; write another format, or allow the loss of such (lossy)"
            )
        self.lost[what] = self.lost.get(what, 0) + 1


def _scale(scene: Scene, times: int = 1) -> np.ndarray:
    """Width and height."""
    return np.array([scene.size[1], scene.size[0]] * times, np.float64)


def _add_split(file: Path, split: str, things: Categories, skeleton: Skeleton | None) -> dict[str, Any]:
    """What data.yaml says with one split more; DataError where it says something else of classes or keypoints."""
    new: dict[str, Any] = {"names": dict(enumerate(things.names))}
    if skeleton is not None:
        new["kpt_shape"] = [len(skeleton), 3]
        if skeleton.flip_pairs is not None:
            new["flip_idx"] = skeleton.flip_order
        new["kpt_names"] = {k: list(skeleton.names) for k in range(len(things))}
    place = f"images/{split}"
    if not file.exists():
        return {_key(split): place, **new}
    there, added = load_config(file), yaml.load(yaml.safe_dump(new), Loader=yaml.BaseLoader)
    for field in ("names", "kpt_shape", "flip_idx", "kpt_names"):
        old, own = (_by_number(some.get(field)) for some in (there, added))
        if old != own:
            raise DataError(
                f"{file}: {field} is {_told(old)}, of what is to be added {_told(own)}; write to a new folder"
            )
    try:
        before = yaml.safe_load(read_text(file))
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{file}: cannot be added to ({' '.join(str(error).split())}); write to a new folder") from None
    if "path" in before:
        raise DataError(f"{file}: has a path, {before['path']}, where nothing is added to it; write to a new folder")
    key = _key(split) if before.get(_key(split)) in (None, place) else split
    places = {name: value for name, value in before.items() if name not in new}
    return {**places, key: place, **new}


def _by_number(value: Any) -> Any:
    return {str(k): v for k, v in enumerate(value)} if isinstance(value, list) else value


def _told(value: Any) -> str:
    return ", ".join(map(str, value.values())) if isinstance(value, dict) else "not said"


def _key(split: str) -> str:
    """What Ultralytics calls a split."""
    known = ("train", "test", "val") if SPLIT_NAME.fullmatch(split) else ()
    return next((key for key in known if split.rstrip("-_0123456789").startswith(key) and split[:6] != "trainv"), split)
