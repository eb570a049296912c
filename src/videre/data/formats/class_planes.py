"""A folder of masks for each class, where a pixel may have several: organs and lesions, defects, what is visible and what lies behind.

`images/[<split>/]<name>.*` with `masks/[<split>/]<class>/<name>.png` (or labels, annotations): 0 where the class is not, 255
(or 1) where it is. A class that has no mask of a picture is not in it; a picture without any mask is left out. A folder
called void marks pixels of which nothing is said. `classes.json`, `classes.txt` or `label_colors.txt` (see
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
from videre.data.writing import file_names, losses, place_picture
from videre.errors import DataError
from videre.files import write_atomic
from videre.images.reading import SUFFIXES, read_ids, write_picture
from videre.structures import Categories, Scene, Schema
from videre.structures.scene import VOID

LOOKS_FOR = "class planes: images/<name>.* with masks/<class>/<name>.png of 0 and 255, a folder for every class"
HOLDS = {"segmentation"}
VOID_FOLDER = "void"


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


def read(path: Path, split: str | None = None) -> Dataset:
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
        masks = {folder.name: {p.stem: str(p) for p in folder.glob("*.png")} for folder in folders}
        for picture in sorted(p for p in (path / "images" / part).iterdir() if p.suffix.lower() in SUFFIXES):
            mine = {name: files[picture.stem] for name, files in masks.items() if picture.stem in files}
            name = picture.relative_to(path).as_posix()
            if mine:
                names.append(name)
                pictures.append(picture)
                planes.append(mine)
            else:
                repairs.append(Repair("picture without a mask", name, "-", "no PNG of its name", "dropped"))
    if not pictures:
        raise DataError(f"{path}: no picture{f' of {split}' if split else ''} has a mask")
    source = _Planes([str(p) for p in pictures], names, planes=planes, classes=classes)
    title = path.name + (f" {split}" if split else "")
    return Dataset(source, Schema(pixels=classes, overlap=True), repairs, title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write images/<split>/, masks/<split>/<class>/ and classes.json. Returns the losses.

    Raises DataError where the set has no segmentation, or some classes of a pixel are void and others are not.
    """
    lost = losses(dataset, HOLDS, "a mask for every class", lossy)
    classes = dataset.schema.pixels
    if classes is None or "segmentation" not in dataset.fields:
        raise DataError(f"masks of classes need a segmentation; {dataset.title} has {sorted(dataset.fields)}")
    rows = [{"id": k, "name": name, "color": list(classes.colors[k])} for k, name in enumerate(classes)]
    write_atomic(path / "classes.json", (json.dumps({"classes": rows}, indent=1) + "\n").encode())
    half_void = 0
    for i, filename in enumerate(file_names(dataset)):
        scene = dataset.scene(i)
        assert scene.segmentation is not None
        void = scene.segmentation == VOID
        if void.dim() == 3:
            half_void += int((void.any(0) & ~void.all(0)).sum())
        if half_void and not lossy:
            raise DataError(f"{scene.name}: of a pixel some classes are void and others are not, and one void folder cannot say "
                            "so; allow the loss (lossy)")  # fmt: skip
        place_picture(dataset, i, path / "images" / split / filename)
        write_planes(scene.segmentation, classes, path / "masks" / split, f"{Path(filename).stem}.png")
    return lost + ([f"{half_void} pixels void in some classes"] if half_void else [])


def write_planes(segmentation: Tensor, classes: Categories, folder: Path, filename: str) -> None:
    """<class>/<filename> of 0 and 255 for each class, and void/ where nothing is said of any."""
    void = segmentation == VOID
    planes = Scene((segmentation.shape[-2], segmentation.shape[-1]), segmentation=segmentation).class_planes(
        len(classes)
    )
    masks = dict(zip(classes, planes))
    void = void.all(0) if void.dim() == 3 else void
    if void.any():
        masks[VOID_FOLDER] = void
    for name, plane in masks.items():
        if Path(name).name != name or name in (".", "..") or (UNSAID.fullmatch(name) and plane is not void):
            raise DataError(f"the class {name!r} cannot be the name of a folder of masks; rename it")
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_picture(folder / name / filename, plane.numpy().astype(np.uint8)[:, :, None] * 255)


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
                raise DataError(f"{file}: the mask is {mask.shape[1]}x{mask.shape[0]} (width x height), the picture "
                                f"{self.paths[i]} is {size[1]}x{size[0]}")  # fmt: skip
            if UNSAID.fullmatch(name):
                void |= mask
            else:
                planes[self.classes.names.index(name)] = mask
        planes[:, void] = VOID
        meta = {"path": self.paths[i], "id": self.names[i]}
        return Scene(size, segmentation=torch.from_numpy(planes), meta=meta)


def _read_mask(file: str) -> np.ndarray:
    """bool [H, W]; DataError for values between no and yes."""
    values = read_ids(file)
    counts = np.bincount(values.ravel(), minlength=256)
    there = np.flatnonzero(counts)
    if not (set(there.tolist()) <= {0, 255} or set(there.tolist()) <= {0, 1}):
        odd = [v for v in there.tolist() if v not in (0, 255)]
        shown = ", ".join(f"{v} on {counts[v]} pixels" for v in odd[:5])
        raise DataError(f"{file}: a mask of one class has 0 and 255 (or 0 and 1); found {shown}")
    return values > 0


def _named(listed: Path, found: list[str]) -> Categories:
    """The classes of a list, in its order; DataError for a folder that it does not name."""
    legend = read_legend(listed)
    unknown = sorted(set(found) - set(legend.names))
    if unknown:
        raise DataError(f"{listed}: there are masks of {', '.join(unknown)}, which it does not name; it has "
                        f"{', '.join(legend.names)}")  # fmt: skip
    return Categories(legend.names, legend.colors)


def _parts(path: Path) -> dict[str, list[Path]]:
    """By split ("" where there is none) the folders of classes; none where the layout is another."""
    masks = next((path / name for name in FOLDERS if (path / name).is_dir()), None) if path.is_dir() else None
    if masks is None or not (path / "images").is_dir() or any(masks.glob("*.json")):  # COCO's have files beside
        return {}
    names = [p.name for p in sorted((path / "images").iterdir()) if p.is_dir() and SPLIT_NAME.fullmatch(p.name)]
    found = {}
    for name in names or [""]:
        inside = masks / name
        folders = (
            [p for p in sorted(inside.iterdir()) if p.is_dir() and any(p.glob("*.png"))] if inside.is_dir() else []
        )
        if folders and not any(inside.glob("*.png")):
            found[name] = folders
    return found
