"""Pascal VOC: one XML file per picture, boxes with names.

Convention: the file counts pixels from 1 and its corners are inclusive; here (xmin - 1, ymin - 1, xmax, ymax) are
continuous. A box of a single pixel is a slip of the mouse and counts as one without area. `difficult` objects are
`ignore`. Classes are in alphabetical order, as in VOC itself, over all XML files of
the folder, so that splits agree.
"""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np

from videre.data.cleaning import UNREADABLE, OnInvalid, clean_boxes, fill_sizes
from videre.data.dataset import Dataset, Repair
from videre.data.faults import Faults
from videre.data.flat import FlatSource
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pairs import PICTURE_FOLDERS, find_folder
from videre.data.pictures import PictureFinder, plain_name
from videre.data.rules import LARGEST, as_flag, as_number
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import read_bytes, read_lines, write_atomic
from videre.images.listing import list_files, list_folders, list_pictures
from videre.structures import Categories, Schema

LOOKS_FOR = (
    "Pascal VOC: *.xml whose root is <annotation>, in Annotations/ (or annotations/xmls/, labels/), beside the pictures, or in "
    "a folder for each split"
)
OWN = frozenset({".xml", ".txt"})
_ROOT = re.compile(rb"<annotation[\s>]")
"""Not <annotations>, which is CVAT's."""
HOLDS = {"boxes", "instances.labels", "ignore"}
FOLDERS = ("Annotations", "annotation", "xmls", "xml", "labels", "bboxes")
"""Of XML files, beside that of the pictures; capitals do not matter, and they may hold a folder called likewise."""


def recognise(path: Path) -> str:
    """What was found, or "" when this is no VOC folder."""
    files = [file for part in _parts(path) for file in part.files[:20]] if path.is_dir() else []
    first = next((file for file in files if _is_annotation(file)), None)
    return f"{first.parent.relative_to(path).as_posix()}/*.xml".removeprefix("./") if first is not None else ""


def splits(path: Path) -> list[str]:
    """Names of the lists in ImageSets/Main, without those of single classes ("cat_train"); else of folders of splits."""
    home = _home(path)
    lists = [p.stem for p in list_files(home / "ImageSets" / "Main", ".txt") if not _is_of_class(p)]
    return lists or [part.split for part in _parts(path) if part.split]


def read(
    path: Path,
    split: str | None = None,
    skip_broken: bool = False,
    on_invalid: OnInvalid = "drop",
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Read a VOC folder.

    Args:
        split: a list of ImageSets/Main, or a folder of a split; all XML files when absent.
        skip_broken: leave out what is broken, and count it.
        on_invalid: "drop" leaves boxes without area out and counts them, "error" refuses.
        class_names: the classes, in order, instead of those found; other classes in the files are then an error.

    Raises:
        DataError: files that are no annotations, listed ones that are missing, an unknown class; all of them at once.
    """
    faults, repairs = Faults(skip_broken), list[Repair]()
    parts = _parts(path)
    listed = _home(path) / "ImageSets" / "Main" / f"{split}.txt"
    by_folder = split is not None and not listed.is_file()
    # classes are those of all files, whatever the split
    parsed = {file: found for part in parts for file in part.files if (found := _parse(file, faults)) is not None}
    things = _classes(path, parsed, class_names)
    pictures: dict[Path, tuple[str, str]] = {}  # name and path
    for part in parts if not by_folder else [part for part in parts if part.split == split]:
        finder, own = PictureFinder(part.pictures), {p.stem: p for p in list_pictures(part.pictures[0])}
        for file in part.files:
            if file in parsed:
                # the stem is what lists and XML files share; <filename> is often an old one
                picture = own.get(file.stem) or finder.find(file.stem) or finder.find(parsed[file].filename)
                name = f"{part.split}/{file.stem}" if part.split else file.stem
                pictures[file] = name, str(picture or part.pictures[0] / plain_name(parsed[file].filename))
                if picture is None:
                    where = finder.looked(parsed[file].filename)
                    repairs.append(Repair(UNREADABLE, name, file.name, where, "dropped"))
        if split is None or by_folder:
            bare = own.keys() - {file.stem for file in part.files}
            repairs += [
                Repair("picture without annotation", stem, "-", "no XML of its name", "dropped") for stem in bare
            ]
    chosen = list(pictures) if split is None or by_folder else _listed(listed, list(pictures))
    there = [file for file in chosen if Path(pictures[file][1]).is_file()]
    if there:  # else truths can still be compared with results
        chosen = there
    names, paths = [pictures[file][0] for file in chosen], [pictures[file][1] for file in chosen]
    stated = np.array([parsed[file].size for file in chosen], np.int64).reshape(-1, 2)
    sizes, known, unreadable = fill_sizes(stated, paths, names)
    names, paths = list(compress(names, known)), list(compress(paths, known))
    annotations, sizes = [parsed[file] for file in compress(chosen, known)], sizes[known]

    owners = np.repeat(np.arange(len(names)), [len(a.names) for a in annotations])
    places = [k for a in annotations for k in range(len(a.names))]
    boxes = np.array([b for a in annotations for b in a.boxes], np.float64).reshape(-1, 4) - (1, 1, 0, 0)
    clicks = (boxes[:, 2:] - boxes[:, :2] == 1).all(1)
    boxes[clicks, :2] += 1  # back to xmin == xmax, which the cleaning calls without area
    boxes, keep, cleaned = clean_boxes(boxes, sizes[owners], [names[o] for o in owners], places, on_invalid, path)
    label_of = {name: label for label, name in enumerate(things.names)}
    labels = np.array([label_of[name] for a in annotations for name in a.names], np.int64)
    ignore = np.array([d for a in annotations for d in a.difficult], bool)
    columns = {"boxes": boxes[keep], "labels": labels[keep], "ignore": ignore[keep]}
    counts = np.bincount(owners[keep], minlength=len(names))
    source = FlatSource(paths, names, sizes, starts=np.cumsum([0, *counts]), columns=columns)
    title = path.name + (f" {split}" if split else "")
    return Dataset(source, Schema(things=things), repairs + unreadable + cleaned + faults.settle(), title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write Annotations, JPEGImages and ImageSets/Main/<split>.txt; returns the fields that were lost."""
    lost = losses(dataset, HOLDS, "Pascal VOC", lossy)
    if dataset.schema.things is None or "boxes" not in dataset.fields:
        raise DataError(f"Pascal VOC holds boxes with class names; {dataset.title} has {sorted(dataset.fields)}")
    stems = []
    for filename, scene in placed(dataset, path / "JPEGImages"):
        root = ElementTree.Element("annotation")
        _add(root, folder="JPEGImages", filename=filename)
        _add(ElementTree.SubElement(root, "size"), width=scene.size[1], height=scene.size[0], depth=3)
        things = scene.instances
        for n in range(len(scene)):
            assert things is not None and things.boxes is not None and things.labels is not None
            x1, y1, x2, y2 = things.boxes[n].tolist()
            element = ElementTree.SubElement(root, "object")
            difficult = int(things.ignore[n]) if things.ignore is not None else 0
            _add(element, name=dataset.schema.things[int(things.labels[n])], difficult=difficult)
            _add(ElementTree.SubElement(element, "bndbox"), xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
        ElementTree.indent(root)
        stems.append(Path(filename).stem)
        write_atomic(path / "Annotations" / f"{stems[-1]}.xml", ElementTree.tostring(root, "utf-8"))
    write_atomic(path / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{s}\n" for s in stems).encode())
    return lost


# Folders and lists --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Part:
    """XML files of one split ("" where there is none), and the folders where their pictures may be, the likely one first."""

    split: str
    files: list[Path]
    pictures: list[Path]


def _parts(path: Path) -> list[_Part]:
    home = _home(path)
    found = [_part("", home)]
    if not found[0].files:
        found = [_part(folder.name, folder) for folder in _splits_in(home)]
        folder = find_folder(home, FOLDERS)
        if folder is not None and not any(part.files for part in found):
            images = find_folder(home, PICTURE_FOLDERS) or home
            inside = _splits_in(folder)
            found = [_Part(p.name, _xml(p), [images / p.name, images, home]) for p in inside]
    return [part for part in found if part.files]


def _home(path: Path) -> Path:
    """The folder itself, or the only one in it, as in VOCdevkit/VOC2012."""
    folders = list_folders(path)
    inside = folders[0] if len(folders) == 1 and not SPLIT_NAME.fullmatch(folders[0].name) else None
    return inside if inside is not None and find_folder(inside, FOLDERS) is not None and not _xml(path) else path


def _part(split: str, home: Path) -> _Part:
    folder = find_folder(home, FOLDERS)
    inner = find_folder(folder, FOLDERS) if folder is not None else None
    files = next((files for f in (inner, folder, home) if f is not None and (files := _xml(f))), [])
    pictures = [find_folder(home, PICTURE_FOLDERS), home]
    beside = bool(files) and files[0].parent == home
    return _Part(split, files, [p for p in (reversed(pictures) if beside else pictures) if p is not None])


def _splits_in(folder: Path) -> list[Path]:
    return [p for p in list_folders(folder) if SPLIT_NAME.fullmatch(p.name)]


def _xml(folder: Path) -> list[Path]:
    return list_files(folder, ".xml")


def _is_of_class(listed: Path) -> bool:
    """Whether every line of a list says of a picture whether it has one class: "2008_000008 -1"."""
    lines = read_lines(listed)
    return bool(lines) and all(re.fullmatch(r".+\s+-?[01]", line) for line in lines)


def _listed(listed: Path, files: list[Path]) -> list[Path]:
    """The files that a list names, with or without suffix; DataError for names of none."""
    by_stem = {file.stem: file for file in files}
    chosen: list[Path] = []
    missing: list[str] = []
    for line in read_lines(listed):
        name = plain_name(line).rpartition("/")[2]
        file = by_stem.get(name) or by_stem.get(Path(name).stem)
        if file is None:
            missing.append(name)
        else:
            chosen.append(file)
    if missing:
        raise DataError(f"{listed}: names {len(missing)} pictures without Annotations/*.xml: {missing[:5]}")
    return chosen


def _classes(path: Path, parsed: dict[Path, _Annotation], class_names: Sequence[str] | None) -> Categories:
    found = sorted({name for p in parsed.values() for name in p.names})
    things = Categories(tuple(class_names if class_names is not None else found))
    unknown = sorted(set(found) - set(things.names))
    if unknown:
        raise DataError(f"{path}: classes {unknown} are in the files but not among class_names {list(things.names)}")
    return things


# Reading one file -------------------------------------------------------------------------------------------------------


def _is_annotation(file: Path) -> bool:
    with file.open("rb") as stream:
        return bool(_ROOT.search(stream.read(2000).replace(b"\0", b"")))  # which UTF-16 has between letters


class _Annotation:
    """What one XML file says."""

    def __init__(self) -> None:
        self.filename = ""
        self.size = (0, 0)  # height, width; zeros where the file does not say
        self.names: list[str] = []
        self.boxes: list[list[float]] = []
        self.difficult: list[bool] = []


def _parse(file: Path, faults: Faults) -> _Annotation | None:
    """What a file says, without the objects that have a fault; None where it says nothing."""
    data = read_bytes(file)
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # of the text, of its encoding
        faults.add(file, f"not an XML file ({error}); export it again", file.stem)
        return None
    if root.tag != "annotation":
        faults.add(file, f"the root should be <annotation>, found <{root.tag}>; take it out of this folder", file.stem)
        return None
    result = _Annotation()
    result.filename = (root.findtext("filename") or file.stem).strip()
    sides = [_number(root, f"size/{side}") for side in ("width", "height")]
    width, height = (side if side is not None and 0 < side < LARGEST else 0 for side in sides)
    result.size = (int(height), int(width)) if width and height else (0, 0)  # some tools leave zeros
    for place, element in enumerate(root.findall("object")):
        name = (element.findtext("name") or "").strip()
        where = f"{file}: object {place}" + (f" ({name})" if name else "")
        if not name:
            faults.add(where, "has no name; name its class, or take it out", file.stem)
            continue
        # the direct child: parts (head, hand) have boxes of their own
        corners = {k: _number(element, f"bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax")}
        wrong = [k for k, value in corners.items() if value is None]
        difficult = as_flag(element.findtext("difficult"))
        for k in wrong:
            faults.add(where, f"bndbox/{k} should be a number, found {element.findtext(f'bndbox/{k}')!r}", file.stem)
        if difficult is None:
            found = element.findtext("difficult")
            faults.add(where, f"difficult should be 0 or 1, found {found!r}; correct the file", file.stem)
        if not wrong and difficult is not None:
            result.names.append(name)
            result.boxes.append([float(value) for value in corners.values() if value is not None])
            result.difficult.append(difficult)
    return result


def _number(element: ElementTree.Element, field: str) -> float | None:
    return as_number((element.findtext(field) or "").strip() or None)


def _add(element: ElementTree.Element, **values: object) -> None:
    for name, value in values.items():
        text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
        ElementTree.SubElement(element, name).text = text
