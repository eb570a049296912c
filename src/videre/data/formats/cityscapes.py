"""Cityscapes' polygons: every object of a street scene, one JSON a frame, painted one over the other.

`gtFine/<split>/<city>/<name>_gtFine_polygons.json` with `leftImg8bit/<split>/<city>/<name>_leftImg8bit.png` (Cordts et
al., The Cityscapes Dataset, 2016). A file has imgHeight, imgWidth and objects {"label", "polygon": [[x, y], …]} from
back to front. Corners are at the centres of pixels, and outlines belong to what they enclose: Pillow fills them, as in
Cityscapes' own scripts.

The classes of pixels are the 19 of training; other labels ("ego vehicle", "caravan") are void. License plates, and
objects that are marked as deleted, are not painted. What is seen of a person, rider or vehicle is an instance; several
that nobody told apart ("cargroup") are one that is ignored, while their pixels have the class. An object that others
cover completely is no instance. The published frames of `test` are all void.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from videre.data.cleaning import fill_sizes
from videre.data.dataset import Dataset, FileSource, Repair
from videre.data.faults import Faults, Rule
from videre.data.flat import Ragged
from videre.data.rules import TEXT, is_number, load_json
from videre.errors import DataError
from videre.structures import Categories, Instances, Masks, Scene, Schema
from videre.structures.scene import VOID

LOOKS_FOR = (
    "Cityscapes: gtFine/<split>/<city>/<name>_gtFine_polygons.json with "
    "leftImg8bit/<split>/<city>/<name>_leftImg8bit.png"
)
OWN = frozenset({".json"})
TRUTH, SUFFIX = "gtFine", "_gtFine_polygons.json"
PICTURES, PICTURE_SUFFIX = "leftImg8bit", "_leftImg8bit.png"

_CLASSES = (
    ("road", 7, "flat", (128, 64, 128)),
    ("sidewalk", 8, "flat", (244, 35, 232)),
    ("building", 11, "construction", (70, 70, 70)),
    ("wall", 12, "construction", (102, 102, 156)),
    ("fence", 13, "construction", (190, 153, 153)),
    ("pole", 17, "object", (153, 153, 153)),
    ("traffic light", 19, "object", (250, 170, 30)),
    ("traffic sign", 20, "object", (220, 220, 0)),
    ("vegetation", 21, "nature", (107, 142, 35)),
    ("terrain", 22, "nature", (152, 251, 152)),
    ("sky", 23, "sky", (70, 130, 180)),
    ("person", 24, "human", (220, 20, 60)),
    ("rider", 25, "human", (255, 0, 0)),
    ("car", 26, "vehicle", (0, 0, 142)),
    ("truck", 27, "vehicle", (0, 0, 70)),
    ("bus", 28, "vehicle", (0, 60, 100)),
    ("train", 31, "vehicle", (0, 80, 100)),
    ("motorcycle", 32, "vehicle", (0, 0, 230)),
    ("bicycle", 33, "vehicle", (119, 11, 32)),
)


def _categories(rows: Sequence[tuple[str, int, str, tuple[int, int, int]]]) -> Categories:
    names, ids, parents, colors = zip(*rows)
    return Categories(names, colors, ids, parents)


PIXELS = _categories(_CLASSES)
"""The 19 classes of training with their ids, categories and colours; their order is that of the training ids."""
THINGS = _categories([row for row in _CLASSES if row[2] in ("human", "vehicle")])
"""Those of which single ones are told apart."""
VOID_LABELS = (
    "unlabeled",
    "ego vehicle",
    "rectification border",
    "out of roi",
    "static",
    "dynamic",
    "ground",
    "parking",
    "rail track",
    "guard rail",
    "bridge",
    "tunnel",
    "polegroup",
    "caravan",
    "trailer",
)
UNPAINTED = "license plate"
"""Drawn on the vehicle that carries it, whose pixels it would hide."""
GROUP = "group"


def recognise(path: Path) -> str:
    """What was found, or "" when there are no polygons, or no folder of pictures beside theirs."""
    first = next(_files(path), None) if (path / PICTURES).is_dir() else None
    return "" if first is None else f"polygons in {TRUTH}/{first.parent.parent.name}"


def splits(path: Path) -> list[str]:
    """Folders that have polygons."""
    return sorted({file.parent.parent.name for file in _files(path)})


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read the frames; pictures without polygons, and polygons without a picture, are left out and counted.

    Raises DataError for a file that is not of this form, a polygon of less than three corners or with one that is not
    finite, a size that is not the picture's, labels that Cityscapes does not have (all of them at once), and where none have
    a picture.
    """
    parts, faults = splits(path) if split is None else [split], Faults(skip_broken)
    name = lambda picture: picture.relative_to(path / PICTURES).as_posix()
    pictures: dict[Path, Path] = {}
    repairs: list[Repair] = []
    for part in parts:
        bare = set((path / PICTURES / part).glob(f"*/*{PICTURE_SUFFIX}"))
        for file in sorted((path / TRUTH / part).glob(f"*/*{SUFFIX}")):
            picture = path / PICTURES / part / file.parent.name / (_stem(file) + PICTURE_SUFFIX)
            if picture in bare:
                pictures[file] = picture
                bare.remove(picture)
            else:
                where = file.relative_to(path).as_posix()
                repairs.append(Repair("polygons without picture", where, "-", f"no {picture.name}", "dropped"))
        repairs += [
            Repair("picture without polygons", name(p), "-", "no JSON of its name", "dropped") for p in sorted(bare)
        ]
    if not pictures:
        raise DataError(
            f"{path / TRUTH}: no polygons of {', '.join(parts)} have a picture in {path / PICTURES}; "
            "unpack both archives in one folder"
        )
    names, paths = [name(p) for p in pictures.values()], [str(p) for p in pictures.values()]
    sizes, readable, unreadable = fill_sizes(np.zeros((len(paths), 2), np.int64), paths, names)
    files = list(pictures)
    frames = [
        _read(file, picture, size, faults, name) if known else None
        for file, picture, size, known, name in zip(files, paths, sizes.tolist(), readable, names)
    ]
    meanings = _meanings(files, frames, names, faults)
    whole = [frame is not None and all(label in meanings for label, _ in frame) for frame in frames]
    files, names, paths, frames = (list(itertools.compress(c, whole)) for c in (files, names, paths, frames))
    objects = [frame for frame in frames if frame is not None]
    known = [meanings[label] for frame in objects for label, _ in frame]
    source = _Frames(
        paths,
        names,
        sizes[np.array(whole, bool)],
        ids=[_stem(file) for file in files],
        starts=np.cumsum([0, *(len(frame) for frame in objects)]),
        classes=np.array([k for k, _ in known], np.uint8),
        groups=np.array([several for _, several in known], bool),
        corners=Ragged.of([corners for frame in objects for _, corners in frame], np.float32, 2),
    )
    title = path.name + (f" {split}" if split else "")
    return Dataset(source, Schema(pixels=PIXELS, things=THINGS), unreadable + repairs + faults.settle(), title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Raises DataError: these files have the classes and the painting order of one data set; others hold any."""
    raise DataError(
        f"{dataset.title}: Cityscapes' polygons are read, not written; write labelme (outlines of "
        "instances), panoptic (segments) or maps (classes of pixels)"
    )


# reading one file -----------------------------------------------------------------------------------------------------

LIMIT = 2**24
"""Pixels from the corner of the picture: up to here single precision holds every whole number."""
_SIDE: Rule = ("a whole number of pixels", lambda v: isinstance(v, int) and v > 0)
_OBJECTS: Rule = ("a list of objects", lambda v: isinstance(v, list) and all(isinstance(o, dict) for o in v))
Object = tuple[str, np.ndarray]
"""Label, and corners float32 [P, 2]."""
_CLASS_OF = dict.fromkeys(VOID_LABELS, VOID) | {name: k for k, name in enumerate(PIXELS)}


def _read(file: Path, picture: str, size: list[int], faults: Faults, name: str) -> list[Object] | None:
    """The objects to be painted, in that order; None where the file has a fault: one that is left out would uncover what
    lies behind it."""
    own = Faults(skip=True)
    try:
        content = load_json(file)
    except DataError as error:
        faults.add(file, str(error).removeprefix(f"{file}: "), name)
        return None
    objects: list[Object] = []
    if own.demand(file, "frame", [content], imgHeight=_SIDE, imgWidth=_SIDE, objects=_OBJECTS):
        stated = [content["imgHeight"], content["imgWidth"]]
        if stated != size:
            says = f"the polygons are of a picture of {stated[1]}x{stated[0]} (width x height), {picture} is"
            own.add(file, f"{says} {size[1]}x{size[0]}; resize it back, or the polygons with it")
        for place, row in enumerate(content["objects"]):
            label = row.get("label")
            if not TEXT[1](label):
                own.add(f"{file}: object {place}", f"label should be text, found {label!r:.60}; correct the file")
            elif not row.get("deleted") and label != UNPAINTED:
                if fault := _polygon_fault(row.get("polygon")):
                    own.add(f"{file}: object {place} ({label})", fault)
                else:
                    objects.append((label, np.array(row["polygon"], np.float32)))
    for where, what, _ in own.found:
        faults.add(where, what, name)
    return None if own.found else objects


def _polygon_fault(polygon: Any) -> str:
    """What is wrong with a polygon, "" where nothing is."""
    if not isinstance(polygon, list):
        return f"polygon should be a list of corners [x, y], found {polygon!r:.60}; correct the file"
    for n, corner in enumerate(polygon):
        pair = isinstance(corner, list) and len(corner) == 2
        if not pair or not all(is_number(v) and abs(v) < LIMIT for v in corner):
            return f"corner {n} should be [x, y], finite numbers of pixels, found {corner!r:.60}; correct the file"
    if len(polygon) < 3:
        return f"a polygon has at least 3 corners, found {len(polygon)}; correct the file, or take the object out"
    return ""


def _meanings(
    files: list[Path], frames: list[list[Object] | None], names: list[str], faults: Faults
) -> dict[str, tuple[int, bool]]:
    """Of each label that occurs its class of pixels, and whether it is of several things that nobody told apart; a file with
    labels that Cityscapes does not have is a fault."""
    counts = Counter(label for frame in frames for label, _ in frame or ())
    meanings = {label: (_CLASS_OF[label], False) for label in counts if label in _CLASS_OF}  # "polegroup", too
    groups = {label: label.removesuffix(GROUP) for label in counts.keys() - meanings.keys() if label.endswith(GROUP)}
    meanings |= {label: (_CLASS_OF[single], True) for label, single in groups.items() if single in _CLASS_OF}
    for file, frame, name in zip(files, frames, names):
        unknown = Counter(label for label, _ in frame or () if label not in meanings)
        if unknown:
            listed = ", ".join(f"{label!r} on {count} objects" for label, count in list(unknown.items())[:5])
            cure = "correct the file, or write polygons of other classes as labelme"
            faults.add(file, f"{listed}: Cityscapes has no such labels; {cure}", name)
    return meanings


def _files(path: Path) -> Iterator[Path]:
    yield from (path / TRUTH).glob(f"*/*/*{SUFFIX}")


def _stem(file: Path) -> str:
    return file.name.removesuffix(SUFFIX)


# painting -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Frames(FileSource):
    """Scenes painted from polygons, when asked for.

    Args:
        ids: of the pictures. starts: int [P + 1]; picture i has objects starts[i]:starts[i + 1], from back to front.
        classes: uint8 [N], of pixels. groups: bool [N], whether an object is several. corners: float32, of each.
    """

    ids: Sequence[str] = ()
    starts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(1, np.int64))
    classes: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.uint8))
    groups: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))
    corners: Ragged = dataclasses.field(default_factory=lambda: Ragged.of([], np.float32, 2))
    fields: frozenset[str] = frozenset({"segmentation", "boxes", "instances.labels", "masks", "ignore"})

    def scene(self, i: int) -> Scene:
        (height, width), (start, stop) = self.size(i), self.starts[i : i + 2].tolist()
        canvas = Image.new("I", (width, height))  # 0, or the place of the object that is seen, from 1
        draw = ImageDraw.Draw(canvas)
        for place, n in enumerate(range(start, stop), start=1):
            draw.polygon(self.corners[n].ravel().tolist(), fill=place)
        seen = np.asarray(canvas)
        classes = np.append(np.uint8(VOID), self.classes[start:stop])
        things = np.isin(classes, _PIXELS_OF_THINGS) & (np.bincount(seen.ravel(), minlength=len(classes)) > 0)
        places = np.flatnonzero(things)
        masks = Masks.from_label_map(seen, places.tolist())
        instances = Instances(
            masks.boxes(),
            torch.from_numpy(np.searchsorted(_PIXELS_OF_THINGS, classes[places])),
            masks=masks,
            ignore=torch.from_numpy(self.groups[start:stop][places - 1]),
        )
        meta = {"path": self.paths[i], "id": self.ids[i]}
        return Scene((height, width), instances, segmentation=torch.from_numpy(classes[seen]), meta=meta)


_PIXELS_OF_THINGS = np.array([PIXELS.index(name) for name in THINGS], np.uint8)
"""Of each class of things, ascending, its class of pixels."""
