"""One PNG of instance ids per picture (8 or 16 bit, 0 = background), one class: cells, nuclei, grains.

`images/<name>.*` and `labels/<name>.png` (or `masks`, `instances`, PennFudan's `PNGImages` and `PedMasks`), the map called like
its picture, or with more before or after it (`_mask`); splits are lists `train.txt` beside them, or folders in both; and
`classes.txt` has the name of the class ("object" without it). VOC's `SegmentationObject` beside `SegmentationClass` has things of VOC's
classes, or of those that a list names (see `class_maps`), and the class of every pixel.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from videre.data.dataset import Dataset, FileSource, Repair, Source
from videre.data.faults import Faults
from videre.data.formats.class_maps import Legend, find_list, read_legend, voc_legend
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pairs import PICTURE_FOLDERS, VOC_CLASSES, VOC_OBJECTS, find_folder, find_maps, list_maps, pair
from videre.data.rules import is_background
from videre.data.sizes import map_fault
from videre.data.writing import file_names, losses, place_picture
from videre.errors import DataError
from videre.files import read_lines, write_atomic
from videre.images.listing import list_files, list_folders, list_pictures
from videre.images.reading import read_ids
from videre.structures import Categories, Instances, Masks, Scene, Schema
from videre.structures.masks import distinct

LOOKS_FOR = "instance PNG: images/<name>.* with labels/<name>.png (or masks/, instances/), one id per instance"
OWN = frozenset({".txt"})
HOLDS = {"boxes", "instances.labels", "masks"}
FOLDERS = ("labels", "instances", "masks", "PedMasks", "mask", "ids")
BORDER = 255
"""Of VOC's objects: pixels that nothing is said of."""
CLASSES = "classes.txt"
LOOKS = 32
"""Maps that are looked into before anything is trained on them, spread over the set."""


def recognise(path: Path) -> str:
    """What was found, or "" when this is no such folder."""
    if not path.is_dir():
        return ""
    if is_voc(path):
        return "id maps in SegmentationObject, classes in SegmentationClass"
    images, maps = _folders(path)
    return f"id maps in {maps.relative_to(path).as_posix()}" if images is not None and maps is not None else ""


def splits(path: Path) -> list[str]:
    """VOC's lists of segmentation, or folders called like splits; lists beside the folders are read for every format."""
    if is_voc(path):
        return [p.stem for p in list_files(path / "ImageSets" / "Segmentation", ".txt")]
    return [p.name for p in _parts(path)]


def read(path: Path, split: str | None = None, skip_broken: bool = False, class_name: str | None = None) -> Dataset:
    """Read pictures and id maps; every instance is of the one class `class_name`, else of that in classes.txt.

    VOC's SegmentationObject has the classes of its SegmentationClass, which are the segmentation, too. Pictures without a map are left out and counted. Maps
    that seem to tell classes, not instances, are counted, too.

    Raises DataError when a map has another size than its picture, a picture has several maps, or classes.txt does not
    hold one name.
    """
    faults, repairs = Faults(skip_broken), list[Repair]()
    if is_voc(path):
        listed = set(read_lines(path / "ImageSets" / "Segmentation" / f"{split}.txt")) if split is not None else None
        pairs = pair(list_pictures(path / "JPEGImages"), list_maps(find_maps(path, VOC_OBJECTS)))[0]
        of = {p: found for p, found in pairs.items() if found and (listed is None or p.stem in listed)}
    else:
        home, of = path, {}
        for part in [home] if not _parts(path) else [p for p in _parts(path) if split in (None, p.name)]:
            pictures, folder = _folders(path, "" if part == home else part.name)
            if pictures is None or folder is None:
                continue
            pairs, lost = pair(list_pictures(pictures), list_maps(folder))
            of |= pairs
            name = f"none of its name in {folder.name}/"
            repairs += [
                Repair("id map without picture", m.name, "-", "no picture of its name", "dropped") for m in lost
            ]
            repairs += [
                Repair("picture without id map", p.stem, "-", name, "dropped") for p, m in pairs.items() if not m
            ]
    for picture, found in of.items():
        if len(found) > 1:
            several = ", ".join(m.name for m in found[:3])
            faults.add(picture, f"has {len(found)} id maps, {several}; leave one, or join them", picture.stem)
    known = {picture: found[0] for picture, found in of.items() if len(found) == 1}
    stems = [p.stem for p in known]
    if len(set(stems)) < len(stems):  # of several splits
        stems = [p.relative_to(path).with_suffix("").as_posix() for p in known]
    paths, maps = [str(p) for p in known], [str(m) for m in known.values()]
    title = path.name + (f" {split}" if split and (is_voc(path) or _parts(path)) else "")
    if is_voc(path):
        file, folder = find_list(path), find_maps(path, VOC_CLASSES)
        assert folder is not None
        legend = read_legend(file) if file is not None else voc_legend(path, list(known))
        classes = [str(folder / f"{Path(m).stem}.png") for m in maps]
        schema = Schema(things=_without_background(legend.schema.pixels), pixels=legend.schema.pixels)
        source: Source = _Objects(paths, stems, maps=maps, classes=classes, legend=legend, schema=schema)
        return Dataset(source, schema, repairs + faults.settle(), title)
    schema = Schema(things=Categories((class_name or _class_name(path),)))
    repairs += _semantic(stems, list(known.values()))
    return Dataset(_IdMaps(paths, stems, maps=maps), schema, repairs + faults.settle(), title)


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write images/, labels/, classes.txt and <split>.txt; where masks overlap the later one wins. Returns the losses."""
    import cv2

    lost = losses(dataset, HOLDS, "a PNG of instance ids", lossy)
    if len(dataset.schema.things or ()) > 1 and not lossy:
        raise DataError(
            f"a PNG of instance ids holds one class, {dataset.title} has {list(dataset.schema.things or ())}; "
            "write another format, or allow the loss (lossy)"
        )
    if "masks" not in dataset.fields:
        raise DataError(f"a PNG of instance ids needs masks; {dataset.title} has {sorted(dataset.fields)}")
    stems, hidden = [], 0
    for i, filename in enumerate(file_names(dataset)):
        scene = dataset.scene(i)
        ids = np.zeros(scene.size, np.uint16)
        if len(scene):
            assert scene.instances is not None and scene.instances.masks is not None
            for n, (crop, (x1, y1, x2, y2)) in enumerate(scene.instances.masks.crops(), start=1):
                window, inside = ids[y1:y2, x1:x2], crop != 0
                hidden += int((window[inside] > 0).sum())
                window[inside] = n
        if hidden and not lossy:
            raise DataError(
                f"{scene.name}: masks overlap, a PNG of ids holds one instance a pixel; write another format, "
                "or allow the loss (lossy)"
            )
        place_picture(dataset, i, path / "images" / filename)
        stems.append(Path(filename).stem)
        write_atomic(path / "labels" / f"{stems[-1]}.png", cv2.imencode(".png", ids)[1].tobytes())
    write_atomic(path / f"{split}.txt", "".join(f"{s}\n" for s in stems).encode())
    names = tuple(dataset.schema.things or ())
    if len(names) == 1:
        write_atomic(path / CLASSES, f"{names[0]}\n".encode())
    elif names:
        lost.append("class names")
    return lost + ([f"{hidden} pixels under other masks"] if hidden else [])


@dataclasses.dataclass
class _IdMaps(FileSource):
    """Scenes made from the id maps, when asked for: a map is as small to read as what could be kept of it."""

    maps: list[str] = dataclasses.field(default_factory=list)
    fields: frozenset[str] = frozenset({"boxes", "instances.labels", "masks", "ids"})

    def scene(self, i: int) -> Scene:
        ids, size = read_ids(self.maps[i]), self.size(i)
        if ids.shape != size:
            raise DataError(map_fault(f"{self.maps[i]}: the id map is", ids.shape, self.paths[i], size))
        values, _, _ = distinct(ids)
        values = values[values != 0]
        masks = Masks.from_label_map(ids, values.tolist())
        labels = torch.zeros(len(masks), dtype=torch.int64)
        instances = Instances(masks.boxes(), labels, masks=masks, ids=torch.from_numpy(values))
        return Scene(size, instances, meta={"path": self.paths[i], "id": self.names[i]})


@dataclasses.dataclass
class _Objects(FileSource):
    """Scenes made from VOC's maps, when asked for: each thing's class is that of most of its pixels.

    Args:
        maps: of the objects. classes: of the pixels, which `legend` gives a meaning.
    """

    maps: list[str] = dataclasses.field(default_factory=list)
    classes: list[str] = dataclasses.field(default_factory=list)
    legend: Legend = dataclasses.field(default_factory=lambda: Legend((), ()))
    schema: Schema = dataclasses.field(default_factory=Schema)
    fields: frozenset[str] = frozenset({"boxes", "instances.labels", "masks", "ids", "segmentation"})

    def scene(self, i: int) -> Scene:
        ids, size, classes = read_ids(self.maps[i]), self.size(i), self.legend.labels(Path(self.classes[i]))
        for what, file, found in (("id", self.maps[i], ids), ("class", self.classes[i], classes)):
            if found.shape != size:
                raise DataError(map_fault(f"{file}: the {what} map is", found.shape, self.paths[i], size))
        things, pixels = self.schema.things, self.schema.pixels
        assert things is not None and pixels is not None
        values, _, _ = distinct(ids)
        values = values[(values != 0) & (values != BORDER)]
        most = [int(np.bincount(classes[ids == value]).argmax()) for value in values.tolist()]
        names = [pixels[k] if k < len(pixels) else "void" for k in most]
        strange = [f"{value} ({name})" for value, name in zip(values.tolist(), names) if name not in things.names]
        if strange:
            raise DataError(
                f"{self.maps[i]}: objects {', '.join(strange[:5])} have no class of things in {self.classes[i]}; correct "
                "the maps"
            )
        labels = torch.tensor([things.index(name) for name in names], dtype=torch.int64)
        masks = Masks.from_label_map(ids, values.tolist())
        instances = Instances(masks.boxes(), labels, masks=masks, ids=torch.from_numpy(values))
        meta = {"path": self.paths[i], "id": self.names[i]}
        return Scene(size, instances, segmentation=torch.from_numpy(classes), meta=meta)


def _class_name(path: Path) -> str:
    """The one name in classes.txt, "object" where there is no such file."""
    file = path / CLASSES
    if not file.exists():
        return "object"
    names = read_lines(file)
    if len(names) != 1:
        raise DataError(
            f"{file}: id maps hold one class, so that one line with its name is expected, found {names}; "
            "correct the file, or delete it"
        )
    return names[0]


def _semantic(stems: list[str], maps: list[Path]) -> list[Repair]:
    """A notice for each map looked into whose single value covers separate regions, where all maps have but one value.

    A mask of 0 and 255 ("cell here") looks like this: read as ids, all cells of a picture are one instance. In a single
    picture it may well be one thing seen in parts, so that at least two are asked for.
    """
    import cv2

    notices = []
    for i in np.unique(np.linspace(0, len(maps) - 1, min(LOOKS, len(maps))).astype(int)).tolist():
        try:
            ids = read_ids(maps[i])
        except DataError:
            continue  # reading its truth will raise this error
        values, _, _ = distinct(ids)
        values = values[values != 0]
        if len(values) > 1:
            return []  # real ids: one map tells
        regions = cv2.connectedComponents((ids != 0).astype(np.uint8), connectivity=8)[0] - 1
        if regions > 1:
            notices.append(
                Repair(
                    "semantic mask in place of instance ids?",
                    stems[i],
                    "-",
                    f"value {values[0]} in {regions} separate regions",
                    "taken as one instance",
                )
            )
    return notices if len(notices) > 1 else []


def _folders(path: Path, split: str = "") -> tuple[Path | None, Path | None]:
    """The folders of pictures and of maps, of a split where they have such; None where there is none with any."""
    images, maps = find_folder(path, PICTURE_FOLDERS), None
    for name in FOLDERS:
        folder = find_folder(path, [name])
        if folder is not None and list_maps(folder / split):
            maps = folder / split
            break
    images = images / split if images is not None and split else images
    return (images, maps) if images is not None and images.is_dir() and maps is not None else (None, None)


def _parts(path: Path) -> list[Path]:
    """The folders of splits among the pictures that have maps."""
    images = find_folder(path, PICTURE_FOLDERS)
    inside = [p for p in list_folders(images) if SPLIT_NAME.fullmatch(p.name)] if images else []
    return [p for p in inside if _folders(path, p.name)[1] is not None]


def is_voc(path: Path) -> bool:
    """Whether these are VOC's folders."""
    maps = [find_maps(path, names) for names in (VOC_OBJECTS, VOC_CLASSES)]
    return (path / "JPEGImages").is_dir() and None not in maps


def _without_background(pixels: Categories | None) -> Categories:
    """Classes that things may have."""
    assert pixels is not None
    kept = [k for k, name in enumerate(pixels) if not is_background(name)]
    return Categories(
        tuple(pixels.names[k] for k in kept),
        tuple(pixels.colors[k] for k in kept),
        tuple(pixels.source_ids[k] for k in kept),
    )
