"""A folder of masks for each class, where a pixel may have several: organs and lesions, defects, what is visible and what lies behind.

`images/[<split>/]<name>.*` with `masks/[<split>/]<class>/<name>.png` (or labels, annotations): 0 where the class is not, 255
(or 1) where it is, 128 where nothing is said of it; a folder called void marks pixels where nothing is said of any. A class
that has no mask of a picture is not in it; a picture without any mask is left out. `classes.json`, `classes.txt` or `label_colors.txt` (see
`class_maps`) may give the order and the colours of the classes; else they are sorted by name.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videre.data.dataset import Dataset, FileSource, Repair
from videre.data.formats.class_maps import FOLDERS, UNSAID, find_list, read_legend
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pairs import list_maps
from videre.data.sizes import map_fault
from videre.data.writing import file_names, losses, place_picture
from videre.errors import DataError
from videre.files import write_atomic
from videre.images.listing import list_folders, list_pictures
from videre.images.reading import read_ids, write_picture
from videre.structures import Categories, Scene, Schema
from videre.structures.masks import distinct
from videre.structures.scene import VOID

LOOKS_FOR = "class planes: images/<name>.* with masks/<class>/<name>.png of 0 and 255, a folder for every class"
OWN = frozenset({".json", ".txt"})
HOLDS = {"segmentation"}
UNKNOWN = 128
"""In a mask: nothing is said."""


def recognise(path: Path) -> str:
    """What was found, or "" when this is no such folder."""
    parts = _parts(path)
    classes = sorted({folder.name for folders in parts.values() for folder in folders})
    return (
        f"a folder of masks for each of {', '.join(classes[:5])}{', …' if len(classes) > 5 else ''}" if classes else ""
    )


def splits(path: Path) -> list[str]:
    """Folders of the layout."""
    return sorted(split for split in _parts(path) if split)


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read pictures and masks; pictures without any mask are left out and counted.

    Raises DataError for a folder that the class list does not name, or when no picture has a mask. A mask of another size
    than its picture, or with other values than 0 and 255 (or 1), is an error when its truth is asked for.
    """
    parts = {name: folders for name, folders in _parts(path).items() if split in (None, name)}
    found = sorted({f.name for folders in parts.values() for f in folders if not UNSAID.fullmatch(f.name)})
    listed = find_list(path)
    classes = Categories(tuple(found)) if listed is None else _named(listed, found)
    names, repairs = [], []
    pictures: list[Path] = []
    planes: list[dict[str, str]] = []
    for part, folders in sorted(parts.items()):
        masks = {folder.name: {p.stem: str(p) for p in list_maps(folder)} for folder in folders}
        for picture in list_pictures(path / "images" / part):
            of_picture = {name: files[picture.stem] for name, files in masks.items() if picture.stem in files}
            name = picture.relative_to(path).as_posix()
            if of_picture:
                names.append(name)
                pictures.append(picture)
                planes.append(of_picture)
            else:
                repairs.append(Repair("picture without a mask", name, "-", "no PNG of its name", "dropped"))
    if not pictures:
        raise DataError(f"{path}: no picture{f' of {split}' if split else ''} has a mask")
    source = _Planes([str(p) for p in pictures], names, planes=planes, classes=classes)
    title = path.name + (f" {split}" if split else "")
    return Dataset(source, Schema(pixels=classes, overlap=True), repairs, title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write images/<split>/, masks/<split>/<class>/ and classes.json. Returns the losses.

    Raises DataError where the set has no segmentation, or a class has a name that no folder can have.
    """
    lost = losses(dataset, HOLDS, "a mask for every class", lossy)
    classes = dataset.schema.pixels
    if classes is None or "segmentation" not in dataset.fields:
        raise DataError(f"masks of classes need a segmentation; {dataset.title} has {sorted(dataset.fields)}")
    rows = [{"id": k, "name": name, "color": list(classes.colors[k])} for k, name in enumerate(classes)]
    write_atomic(path / "classes.json", (json.dumps({"classes": rows}, indent=1) + "\n").encode())
    for i, filename in enumerate(file_names(dataset)):
        scene = dataset.scene(i)
        assert scene.segmentation is not None
        place_picture(dataset, i, path / "images" / split / filename)
        write_planes(scene.segmentation, classes, path / "masks" / split, f"{Path(filename).stem}.png")
    return lost


def write_planes(segmentation: Tensor, classes: Categories, folder: Path, filename: str) -> None:
    """<class>/<filename> of 0, 255 and 128 for each class."""
    scene = Scene((segmentation.shape[-2], segmentation.shape[-1]), segmentation=segmentation)
    masks = torch.where(segmentation == VOID, UNKNOWN, scene.class_planes(len(classes)).to(torch.uint8) * 255)
    for name, mask in zip(classes, masks):
        if Path(name).name != name or name in (".", "..") or UNSAID.fullmatch(name):
            raise DataError(f"the class {name!r} cannot be the name of a folder of masks; rename it")
        write_picture(folder / name / filename, mask.numpy().astype(np.uint8)[:, :, None])


@dataclasses.dataclass
class _Planes(FileSource):
    """Scenes made from the masks, when asked for."""

    planes: list[dict[str, str]] = dataclasses.field(default_factory=list)
    classes: Categories = dataclasses.field(default_factory=lambda: Categories(()))
    fields: frozenset[str] = frozenset({"segmentation"})

    def scene(self, i: int) -> Scene:
        size = self.size(i)
        planes = np.zeros((len(self.classes), *size), np.uint8)
        void = np.zeros(size, bool)
        for name, file in self.planes[i].items():
            mask = _read_mask(file)
            if mask.shape != size:
                raise DataError(map_fault(f"{file}: the mask is", mask.shape, self.paths[i], size))
            if UNSAID.fullmatch(name):
                void |= mask == 1
            else:
                planes[self.classes.names.index(name)] = mask
        planes[:, void] = VOID
        meta = {"path": self.paths[i], "id": self.names[i]}
        return Scene(size, segmentation=torch.from_numpy(planes), meta=meta)


def _read_mask(file: str) -> np.ndarray:
    """uint8 [H, W] of 0, 1 and void; DataError for other values."""
    values = read_ids(file)
    there, _, counts = distinct(values)
    if not (set(there.tolist()) <= {0, UNKNOWN, 255} or set(there.tolist()) <= {0, 1}):
        shown = ", ".join(f"{v} on {n} pixels" for v, n in zip(there, counts) if v not in (0, UNKNOWN, 255))
        raise DataError(
            f"{file}: a mask of one class has 0 and 255 (or 0 and 1), 128 where nothing is said; found {shown:.80}"
        )
    return np.where(values == UNKNOWN, VOID, values > 0).astype(np.uint8)


def _named(listed: Path, found: list[str]) -> Categories:
    """The classes of a list, in its order; DataError for a folder that it does not name."""
    legend = read_legend(listed)
    unknown = sorted(set(found) - set(legend.names))
    if unknown:
        raise DataError(
            f"{listed}: there are masks of {', '.join(unknown)}, which it does not name; it has "
            f"{', '.join(legend.names)}"
        )
    return Categories(legend.names, legend.colors)


def _parts(path: Path) -> dict[str, list[Path]]:
    """By split ("" where there is none) the folders of classes; none where the layout is another."""
    masks = next((path / name for name in FOLDERS if (path / name).is_dir()), None) if path.is_dir() else None
    if masks is None or not (path / "images").is_dir() or any(masks.glob("*.json")):  # COCO's have files beside
        return {}
    names = [p.name for p in list_folders(path / "images") if SPLIT_NAME.fullmatch(p.name)]
    found = {}
    for name in names or [""]:
        inside = masks / name
        folders = [p for p in list_folders(inside) if list_maps(p)]
        if folders and not list_maps(inside):
            found[name] = folders
    return found
