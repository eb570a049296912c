"""Data sets: formats found by looking, transforms of whole scenes, splits, checks, loading."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

from videre.data.dataset import Dataset, Origin, Repair, Source
from videre.data.formats import (
    boxes_csv,
    cityscapes,
    class_maps,
    class_planes,
    coco,
    coco_stuff,
    cvat,
    datumaro,
    folders,
    instance_png,
    joints,
    label_studio,
    labelme,
    labels_csv,
    open_images,
    panoptic,
    parquet,
    scenes,
    tables,
    voc,
    yolo,
)
from videre.data.rules import load_json
from videre.data.splits import by_list
from videre.errors import ConfigError, DataError
from videre.files import whole_folder
from videre.images.listing import is_hidden, is_note


class Format(Protocol):
    """What the module of a format provides."""

    LOOKS_FOR: str
    """What of a folder or file it knows its own by, for messages."""

    OWN: frozenset[str]
    """Suffixes of its files beside the pictures."""

    def recognise(self, path: Path) -> str:
        """What was found that makes a path of this format; "" where it is none."""

    def splits(self, path: Path) -> list[str]:
        """The parts that `read` takes."""

    def read(self, path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
        """The whole set or a part of it; what is broken is refused, or left out and counted."""

    def write(self, dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
        """Write a set with its pictures; the fields that were lost."""


FORMATS: dict[str, Format] = {
    "voc": voc,
    "coco": coco,
    "panoptic": panoptic,
    "instances": instance_png,
    "coco-stuff": coco_stuff,
    "maps": class_maps,
    "planes": class_planes,
    "labelme": labelme,
    "yolo": yolo,
    "cvat": cvat,
    "open-images": open_images,
    "datumaro": datumaro,
    "label-studio": label_studio,
    "cityscapes": cityscapes,
    "joints": joints,
    "csv": labels_csv,
    "boxes-csv": boxes_csv,
    "scenes": scenes,
    "parquet": parquet,
    "folders": folders,
}
"""Every format by its name; folders, which fit almost anything, come last."""

__all__ = ["FORMATS", "Dataset", "Repair", "Source", "find_format", "read", "splits", "write"]


def read(
    path: str | Path, split: str | None = None, format: str | None = None, skip_broken: bool = False, **options: Any
) -> Dataset:
    """Read a data set, in the format that it is found to have.

    Args:
        path: the folder, or an annotation file (COCO, a table of labels).
        split: one of `splits(path)`; the whole set when absent. A list `<split>.txt` beside the data works in every
            format.
        format: a key of FORMATS, where looking is not enough.
        skip_broken: leave out annotations and files that are broken, and count them; else the first is an error. Files
            that are opened late are left out by what uses them: a training, an evaluation.
        options: of the format's `read`.

    Raises:
        DataError: nothing known is there (with what was looked for), several formats fit, or the split does not exist.
    """
    path = Path(path)
    name = find_format(path, format)
    module = FORMATS[name]
    if format is None and name == "folders" and module.recognise(path) == folders.NO_TRUTH:
        _refuse_ignored(path)
    of_format = lambda split: module.read(path, split, skip_broken=skip_broken, **options)
    beside = path / f"{split}.txt"
    if split is None or split in module.splits(path):
        dataset = of_format(split)
    elif path.is_dir() and beside.is_file():
        dataset = by_list(of_format(None), beside)
        dataset.title = f"{path.name} {split}"
    else:
        raise DataError(f"{path}: there is no split {split!r}; there are: {', '.join(splits(path, format)) or 'none'}")
    dataset.skip_broken = skip_broken
    dataset.origin = Origin(name, module.recognise(path), module.OWN)
    return dataset


ANNOTATIONS = (".xml", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".mat", ".parquet", ".yaml", ".yml")
"""What annotations are kept in."""
NO_LABELS = frozenset({"requirements", "index", "all"})
"""Files beside pictures that are no annotations."""


def _refuse_ignored(path: Path) -> None:
    """DataError where files of annotations lie in a folder that no reader understands: it is not without labels."""
    files = [p for p in path.rglob("*") if p.suffix.lower() in ANNOTATIONS and not is_hidden(p, path) and p.is_file()]
    is_list = lambda p: p.suffix.lower() == ".txt" and folders.SPLIT_NAME.fullmatch(p.stem)
    files = [p for p in files if p.stem.lower() not in NO_LABELS and not is_list(p) and not is_note(p)]
    if files:
        counts = Counter(p.suffix.lower() for p in files)
        listed = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
        raise DataError(
            f"{path}: pictures, and no labels that can be read, yet {listed} lie here (as "
            f"{files[0].relative_to(path)}{_why(files[0])}); name their format with format= (--data-format), convert "
            "them, or, if they are no labels, read the pictures alone with format folders"
        )


def _why(file: Path) -> str:
    """What is wrong with a table or a JSON, as their readers say: their first fault."""
    try:
        if file.suffix.lower() in tables.TABLES:
            labels_csv.read(file)
        elif file.suffix.lower() == ".json":
            load_json(file)
    except DataError as error:
        return f": {str(error).splitlines()[:2][-1].strip()}"
    return ""


def write(
    dataset: Dataset, path: str | Path, format: str, split: str = "train", lossy: bool = False, **options: Any
) -> list[str]:
    """Write a data set with its pictures; returns the fields that the format could not hold.

    Raises DataError when something would be lost and `lossy` is not set: fields before anything is written, overlapping
    masks (id maps) at the first picture that has them.
    """
    if format not in FORMATS:
        raise ConfigError(f"no format {format!r}; there are: {', '.join(FORMATS)}")
    path = Path(path)
    with nullcontext(path) if path.exists() else whole_folder(path) as folder:
        return FORMATS[format].write(dataset, folder, split=split, lossy=lossy, **options)


def splits(path: str | Path, format: str | None = None) -> list[str]:
    """Names that `read` takes as `split`."""
    path = Path(path)
    own = FORMATS[find_format(path, format)].splits(path)
    lists = sorted(p.stem for p in path.glob("*.txt") if folders.SPLIT_NAME.fullmatch(p.stem)) if path.is_dir() else []
    return own + [name for name in lists if name not in own]


def find_format(path: str | Path, format: str | None = None) -> str:
    """The name of the format that a path has, by looking; `format` where it is already known."""
    path = Path(path)
    if not os.path.exists(path):  # pathlib raises of names that are too long
        raise DataError(f"{path}: there is no such file or folder")
    if format is not None and format not in FORMATS:
        raise ConfigError(f"no format {format!r}; there are: {', '.join(FORMATS)}")
    if format is not None and FORMATS[format].recognise(path):
        return format
    found = {name: module.recognise(path) for name, module in FORMATS.items() if format is None}
    certain = [name for name, what in found.items() if what and name != "folders"]
    if "voc" in certain:  # its maps, where there are some, beside its boxes
        certain = [name for name in certain if name not in ("maps", "instances")]
    if "boxes-csv" in certain and "csv" in certain:
        certain.remove("csv")  # the classes in the table are those of the boxes
    if "maps" in certain and "instances" in certain:
        # VOC's objects have classes of pixels, too; other PNGs of ids fit both: where several are named, they are classes
        certain.remove("maps" if instance_png.is_voc(path) else "instances")
    if "coco-stuff" in certain:  # its folders of PNGs look like theirs; its list and its JSON say what the values are
        certain = [name for name in certain if name not in ("maps", "planes")]
    if len(certain) > 1:
        listed = "; ".join(f"{name}: {found[name]}" for name in certain)
        raise DataError(f"{path}: several formats fit ({listed}); say which with format=")
    if certain or found.get("folders"):
        return certain[0] if certain else "folders"
    looked = "\n  ".join(m.LOOKS_FOR for n, m in FORMATS.items() if format in (None, n))
    raise DataError(f"{path}: no data set of a known format; looked for\n  {looked}")
