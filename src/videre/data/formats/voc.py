"""Pascal VOC: one XML file per picture, boxes with names.

Convention: the file counts pixels from 1 and its corners are inclusive; here (xmin - 1, ymin - 1, xmax, ymax) are
continuous. A box of a single pixel is a slip of the mouse and counts as one without area. `difficult` objects are
`ignore`. Classes are in alphabetical order, as in VOC itself, over all XML files of
the folder, so that splits agree.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np

from videre.data.cleaning import OnInvalid, clean_boxes, fill_sizes
from videre.data.dataset import Dataset
from videre.data.flat import FlatSource
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import read_bytes, read_lines, write_atomic
from videre.images.listing import SUFFIXES
from videre.structures import Categories, Schema

LOOKS_FOR = "Pascal VOC: a folder with Annotations/*.xml (or *.xml beside the pictures) whose root is <annotation>"
HOLDS = {"boxes", "instances.labels", "ignore"}


def recognise(path: Path) -> str:
    """What was found, or "" when this is no VOC folder."""
    files = _files(path)
    if not files or b"<annotation" not in files[0].read_bytes()[:2000]:
        return ""
    return f"{len(files)} XML files in {files[0].parent}"


def splits(path: Path) -> list[str]:
    """Names of the lists in ImageSets/Main; those of single classes ("cat_train") are left out."""
    lists = sorted((path / "ImageSets" / "Main").glob("*.txt"))
    return [p.stem for p in lists if p.is_file() and len((read_lines(p) or ["id"])[0].split()) == 1]


def read(
    path: Path, split: str | None = None, on_invalid: OnInvalid = "drop", class_names: Sequence[str] | None = None
) -> Dataset:
    """Read a VOC folder.

    Args:
        split: a list of ImageSets/Main; all XML files when absent.
        on_invalid: "drop" leaves boxes without area out and counts them, "error" refuses.
        class_names: the classes, in order, instead of those found; other classes in the files are then an error.

    Raises:
        DataError: a file that is no annotation, a listed one that is missing, an unknown class.
    """
    files = {f.stem: f for f in _files(path)}
    chosen = list(files)
    if split is not None:
        listed = path / "ImageSets" / "Main" / f"{split}.txt"
        chosen = [line.split()[0] for line in read_lines(listed)]
        missing = [name for name in chosen if name not in files]
        if missing:
            raise DataError(f"{listed}: names {len(missing)} pictures without Annotations/*.xml: {missing[:5]}")
    parsed = {stem: _parse(file) for stem, file in files.items()}
    found = sorted({name for p in parsed.values() for name in p.names})
    things = Categories(tuple(class_names if class_names is not None else found))
    unknown = sorted(set(found) - set(things.names))
    if unknown:
        raise DataError(f"{path}: classes {unknown} are in the files but not among class_names {list(things.names)}")
    pictures = _pictures(path)
    paths = [
        str(pictures.get(stem) or files[stem].parent.parent / "JPEGImages" / parsed[stem].filename) for stem in chosen
    ]
    sizes, known, unreadable = fill_sizes(np.array([parsed[s].size for s in chosen]).reshape(-1, 2), paths, chosen)
    chosen, paths, sizes = list(compress(chosen, known)), list(compress(paths, known)), sizes[known]
    annotations = [parsed[stem] for stem in chosen]

    owners = np.repeat(np.arange(len(chosen)), [len(a.names) for a in annotations])
    places = [k for a in annotations for k in range(len(a.names))]
    boxes = np.array([b for a in annotations for b in a.boxes], np.float64).reshape(-1, 4) - (1, 1, 0, 0)
    clicks = (boxes[:, 2:] - boxes[:, :2] == 1).all(1)
    boxes[clicks, :2] += 1  # back to xmin == xmax, which the cleaning calls without area
    boxes, keep, repairs = clean_boxes(boxes, sizes[owners], [chosen[p] for p in owners], places, on_invalid, path)
    label_of = {name: label for label, name in enumerate(things.names)}
    labels = np.array([label_of[name] for a in annotations for name in a.names], np.int64)
    ignore = np.array([d for a in annotations for d in a.difficult], bool)
    counts = np.bincount(owners[keep], minlength=len(chosen))
    source = FlatSource(
        paths,
        chosen,
        sizes,
        starts=np.cumsum([0, *counts]),
        columns={"boxes": boxes[keep], "labels": labels[keep], "ignore": ignore[keep]},
    )
    return Dataset(
        source, Schema(things=things), unreadable + repairs, title=path.name + (f" {split}" if split else "")
    )


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


# Reading one file -------------------------------------------------------------------------------------------------------


class _Annotation:
    """What one XML file says."""

    def __init__(self) -> None:
        self.filename = ""
        self.size = (0, 0)  # height, width; zeros where the file does not say
        self.names: list[str] = []
        self.boxes: list[list[float]] = []
        self.difficult: list[bool] = []


def _parse(file: Path) -> _Annotation:
    content = read_bytes(file)
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter of encodings
        raise DataError(f"{file}: not an XML file ({error})") from error
    result = _Annotation()
    result.filename = (root.findtext("filename") or file.stem).strip()
    width, height = (_number(root, f"size/{side}", file, 0) for side in ("width", "height"))
    result.size = (
        (int(height), int(width)) if 0 < min(width, height) <= max(width, height) < 2**31 else (0, 0)
    )  # some tools leave zeros
    for place, element in enumerate(root.findall("object")):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{file}: object {place} has no name")
        result.names.append(name)  # the direct child: parts (head, hand) have boxes of their own
        result.boxes.append([_number(element, f"bndbox/{k}", file) for k in ("xmin", "ymin", "xmax", "ymax")])
        result.difficult.append(_number(element, "difficult", file, 0) > 0)
    return result


def _number(element: ElementTree.Element, field: str, file: Path, default: float | None = None) -> float:
    text = element.findtext(field)
    if (text is None or not text.strip()) and default is not None:
        return default
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        name = element.findtext("name") or element.tag
        raise DataError(f"{file}: {name}: {field} should be a number, found {text!r}") from None


def _files(path: Path) -> list[Path]:
    folders = (path / "Annotations", path)
    return next((found for f in folders if (found := sorted(p for p in f.glob("*.xml") if p.is_file()))), [])


def _pictures(path: Path) -> dict[str, Path]:
    """Stem to picture: the stem is what lists and XML files share; `filename` is often an old one."""
    folder = path / "JPEGImages" if (path / "JPEGImages").is_dir() else path
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES}


def _add(element: ElementTree.Element, **values: object) -> None:
    for name, value in values.items():
        text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
        ElementTree.SubElement(element, name).text = text
