"""COCO-Stuff: a class for every pixel, as COCO keeps it; run lengths in a JSON, or PNGs of category ids.

Two layouts, pictures in `<split>/`, `images/<split>/` or `images/` (Caesar et al., COCO-Stuff, 2018):

- `annotations/stuff_<split>.json`: an annotation is a region of one class. Where the folder `stuff_<split>_pixelmaps/`
  lies beside it, its PNGs (8 bit, category ids, 0 unlabelled) are the truth, and nothing of the regions is kept in
  memory. "iscrowd" regions are void, as in COCO's own tools.
- `stuffthingmaps/<split>/<name>.png` with `labels.txt` in that folder or beside it (`id: name` a line, as "1: person"
  after "0: unlabeled"): the values are category ids less 1, 255 is unlabelled. COCO-Stuff's own list is known, so that
  with it the folder may be called `annotations`, too.

Where both are there the JSON is read; for the maps, point at the folder `stuffthingmaps`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.data.cleaning import fill_sizes
from videre.data.dataset import Dataset, FileSource, Repair
from videre.data.faults import Faults
from videre.data.flat import Ragged
from videre.data.formats.class_maps import UNSAID
from videre.data.pairs import list_maps, pair
from videre.data.pictures import usual_paths
from videre.data.rules import (
    COLOR,
    FLAG,
    ID,
    LARGEST,
    SIDE,
    TEXT,
    WHOLE,
    are_numbers,
    as_flag,
    as_key,
    as_number,
    integer,
    load_json,
    looks_like_coco,
)
from videre.data.sizes import map_fault
from videre.data.writing import losses, placed
from videre.errors import DataError
from videre.files import read_lines, read_text, write_atomic
from videre.images.listing import list_pictures
from videre.images.reading import read_ids, write_picture
from videre.ops.rle import rle_to_string
from videre.structures import Categories, Masks, Scene, Schema
from videre.structures.masks import distinct
from videre.structures.scene import VOID

LOOKS_FOR = "COCO-Stuff: annotations/stuff_<split>.json, or stuffthingmaps/<split>/ with labels.txt"
OWN = frozenset({".json", ".txt"})
HOLDS = {"segmentation"}
PREFIX = "stuff_"
MAPS = "stuffthingmaps"
LABELS = "labels.txt"
OWN_LABELS = {"0: unlabeled", "1: person", "92: banner"}
"""Lines by which COCO-Stuff's own list is known: other lists of this form may number their maps otherwise."""


def recognise(path: Path) -> str:
    """What was found, or "" when there is neither such a JSON nor maps with their list."""
    files, found = _files(path), _maps(path)
    if files or found is None:
        return ", ".join(f.name for f in files)
    _, maps, labels = found
    return f"maps in {maps.name}, named in {labels.name}"


def splits(path: Path) -> list[str]:
    """Names of the splits: "val2017" of stuff_val2017.json, or the folders of maps that there are pictures for."""
    if not path.is_dir():
        return []
    return [f.stem.removeprefix(PREFIX) for f in _files(path)] or _parts(path)


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read a folder or one JSON; pictures without annotations or map are left out and counted, and so are maps alone.

    Raises DataError for a file that is not of this form, for annotations of images or categories that are not listed (all
    faults at once), and where no picture has a truth. Regions that overlap or do not fill the picture, and maps of another size or with
    ids that are not listed, are errors when their truth is asked for.
    """
    files = [f for f in _files(path) if split is None or f.stem == PREFIX + split]
    if files:
        named = [(file, f"{path.name} {file.stem.removeprefix(PREFIX)}") for file in files]
        return Dataset.cat([_read(file, title, skip_broken) for file, title in named])
    return Dataset.cat([_read_maps(path, part) for part in (_parts(path) if split is None else [split])])


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write <split>/ with the pictures, annotations/stuff_<split>.json and its pixelmaps. Returns the losses.

    Category ids are the source ids of the classes; where one is 0, which means unlabelled in the maps, or larger than
    255, all are numbered 1, 2, … anew. Image ids are kept where they are different whole numbers.

    Raises DataError where the set has no segmentation, or a pixel may have several classes.
    """
    lost = losses(dataset, HOLDS, "COCO-Stuff", lossy)
    classes = dataset.schema.pixels
    if classes is None or "segmentation" not in dataset.fields:
        raise DataError(f"COCO-Stuff needs a segmentation; {dataset.title} has {sorted(dataset.fields)}")
    if dataset.schema.overlap:
        raise DataError(f"COCO-Stuff holds one class a pixel, those of {dataset.title} overlap; write planes")
    fit = all(0 < i <= VOID for i in classes.source_ids)
    categories = list(classes.source_ids) if fit else list(range(1, len(classes) + 1))
    id_of = np.zeros(VOID + 1, np.uint8)  # void is 0, unlabelled
    id_of[: len(classes)] = categories
    file = path / "annotations" / f"{PREFIX}{split}.json"
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    identities: list[int | None] = []  # of the pictures, as far as COCO can hold them
    for image_id, (filename, scene) in enumerate(placed(dataset, path / split), start=1):
        assert scene.segmentation is not None
        labels = scene.segmentation.numpy()
        write_picture(_pixelmaps(file) / f"{Path(filename).stem}.png", id_of[labels])
        identities.append(integer(scene.meta.get("id")))
        images.append({"id": image_id, "width": scene.size[1], "height": scene.size[0], "file_name": filename})
        present = [k for k in np.flatnonzero(np.bincount(labels.ravel())).tolist() if k != VOID]
        regions = Masks.from_label_map(labels.astype(np.int64) + 1, [k + 1 for k in present])
        rows = zip(present, regions.rle(), regions.area().tolist(), regions.boxes().tolist())
        for k, rle, area, (x1, y1, x2, y2) in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": categories[k],
                    "segmentation": rle,
                    "area": area,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": 0,
                }
            )
    if None not in identities and len(set(identities)) == len(identities):
        for image in images:
            image["id"] = identities[image["id"] - 1]
        for row in annotations:
            row["image_id"] = identities[row["image_id"] - 1]
    listed = [
        {"id": identity, "name": name, "supercategory": parent, "color": list(color)}
        for identity, name, parent, color in zip(categories, classes.names, classes.supercategories, classes.colors)
    ]
    content = {"images": images, "annotations": annotations, "categories": listed}
    write_atomic(file, json.dumps(content).encode())
    return lost


# The JSON -------------------------------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    found = [path] if path.is_file() else [*path.glob("*.json"), *(path / "annotations").glob("*.json")]
    return sorted(f for f in found if f.name.startswith(PREFIX) and f.suffix == ".json" and looks_like_coco(f))


def _pixelmaps(file: Path) -> Path:
    return file.with_name(f"{file.stem}_pixelmaps")


def _read(file: Path, title: str, skip_broken: bool) -> Dataset:
    content, faults = load_json(file), Faults(skip_broken)
    parts = ("images", "annotations", "categories")
    missing = [name for name in parts if not isinstance(content, dict) or name not in content]
    if missing:
        raise DataError(
            f"{file}: an object with images, annotations and categories is expected; it has no {missing[0]}"
        )
    categories = faults.demand(file, "category", content["categories"], id=WHOLE, name=TEXT, color=COLOR)
    images: dict[Any, dict[str, Any]] = {}
    for image in faults.demand(file, "image", content["images"], id=ID, file_name=TEXT, height=SIDE, width=SIDE):
        if images.setdefault(as_key(image["id"]), image) is not image:
            faults.add(f"{file}: image {image['id']}", "has the id of another; give each its own")
    rules = {"image_id": ID, "iscrowd": FLAG} | ({} if (folder := _pixelmaps(file)).is_dir() else {"category_id": ID})
    annotations = faults.demand(file, "annotation", content["annotations"], **rules)
    annotated = {as_key(a["image_id"]) for a in annotations}
    stray = sorted(annotated - set(images), key=str)
    if stray:
        faults.add(file, f"annotations of {len(stray)} images that are not listed under images: {stray[:5]}")
    maps = {p.stem: str(p) for p in list_maps(folder)}
    stem = lambda m: Path(m["file_name"]).stem
    known = [m for i, m in images.items() if i in annotated or stem(m) in maps]
    if not known:
        faults.refuse(f"{file}: no picture has annotations{' or a map' if folder.is_dir() else ''}")
    bare = [stem(m) for m in known if stem(m) not in maps] if folder.is_dir() else []
    if bare:
        faults.add(
            folder,
            f"{len(bare)} pictures with annotations have no map there ({bare[0]}.png, …); complete the folder, or remove "
            "it to read the regions of the JSON",
        )
        known = [m for m in known if stem(m) in maps]
    kept = {as_key(m["id"]) for m in known}
    repairs = [
        Repair("picture without annotations", m["file_name"], "-", "no annotation", "dropped")
        for i, m in images.items()
        if i not in kept and i not in annotated
    ]
    names = [m["file_name"] for m in known]
    paths = usual_paths(file, file.stem.removeprefix(PREFIX), names)
    stated = [(as_number(m.get("height")) or 0, as_number(m.get("width")) or 0) for m in known]
    sizes, readable, unreadable = fill_sizes(np.array(stated, np.int64).reshape(-1, 2), paths, names)
    known, names, paths = (list(itertools.compress(rows, readable)) for rows in (known, names, paths))
    sizes, ids = sizes[readable], [m["id"] for m in known]
    classes = _categories(file, categories, faults)
    source: FileSource
    if folder.is_dir():
        labels = {0: VOID, VOID: VOID} | {category: k for k, category in enumerate(classes.source_ids)}
        places = [maps[stem(m)] for m in known]
        source = _PixelMaps(paths, names, sizes, maps=places, ids=ids, labels=labels, listed=file)
    else:
        rows = [a for a in annotations if not as_flag(a.get("iscrowd"))]
        source = _regions(file, rows, classes, paths, names, sizes, ids, faults)
    return Dataset(source, Schema(pixels=classes), unreadable + repairs + faults.settle(), title)


def _categories(file: Path, rows: list[dict[str, Any]], faults: Faults) -> Categories:
    if len(rows) > VOID:
        faults.add(file, f"{len(rows)} categories; a map holds at most {VOID}")
    colored = all(c.get("color") is not None for c in rows)
    try:
        return Categories(
            tuple(c["name"] for c in rows),
            tuple(tuple(c["color"]) for c in rows) if colored else (),
            tuple(int(c["id"]) for c in rows),
            tuple(c.get("supercategory") or "" for c in rows),
        )
    except DataError as error:
        faults.add(file, str(error))
        faults.refuse()


def _regions(
    file: Path,
    rows: list[dict[str, Any]],
    classes: Categories,
    paths: list[str],
    names: list[str],
    sizes: np.ndarray,
    ids: list[int | str],
    faults: Faults,
) -> _Regions:
    """The regions of `rows` in flat arrays; those that no picture or class fits are faults."""
    place = {as_key(identity): n for n, identity in enumerate(ids)}
    label_of: dict[Any, int] = {category: label for label, category in enumerate(classes.source_ids)}
    placed = sorted((place[as_key(a["image_id"])], n) for n, a in enumerate(rows) if as_key(a["image_id"]) in place)
    owners, labels, regions = [], [], []
    pixels: Counter[Any] = Counter()
    for owner, n in placed:
        a, (height, width) = rows[n], sizes[owner].tolist()
        where = f"{file}: annotation {a.get('id')}"
        region: Any = a.get("segmentation")
        if not _are_runs(region):
            what = (
                f"segmentation should be run lengths with size and counts, found {region!r:.60}; correct the file; if it "
                "has outlines of instances, call it instances_….json"
            )
            faults.add(where, what, names[owner])
        elif region["size"] != [height, width]:
            what = (
                f"the region is {region['size'][1]}x{region['size'][0]} (width x height), the picture {paths[owner]} is "
                f"{width}x{height}; correct the file"
            )
            faults.add(where, what, names[owner])
        elif as_key(a["category_id"]) not in label_of:
            pixels[a["category_id"]] += int(_decoded(file, [region]).area())
        else:
            owners.append(owner)
            labels.append(label_of[as_key(a["category_id"])])
            regions.append(region)
    if pixels:
        listed = ", ".join(f"id {i} on {count} pixels" for i, count in list(pixels.items())[:5])
        faults.add(file, f"{listed}; categories has none of these: add them to it")
    counts = [region["counts"] for region in regions]
    texts = [c.encode() if isinstance(c, str) else rle_to_string(torch.tensor(c, dtype=torch.int64)) for c in counts]
    return _Regions(
        paths,
        names,
        sizes,
        file=file,
        ids=ids,
        starts=np.cumsum([0, *np.bincount(np.array(owners, np.int64), minlength=len(names))]),
        labels=np.array(labels, np.uint8),
        runs=Ragged.of([np.frombuffer(text, np.uint8) for text in texts], np.uint8),
    )


def _are_runs(value: Any) -> bool:
    if not isinstance(value, dict) or not are_numbers(value.get("size"), 2):
        return False
    counts = value.get("counts")
    whole = isinstance(counts, list) and all(isinstance(c, int) and 0 <= c < LARGEST for c in counts)
    return isinstance(counts, str) or whole


def _decoded(where: object, regions: list[dict[str, Any]]) -> Masks:
    try:
        return Masks.from_rle(regions, regions[0]["size"])
    except DataError as error:
        raise DataError(f"{where}: segmentation: {error}") from None


@dataclasses.dataclass
class _Regions(FileSource):
    """Scenes painted from run lengths, when asked for.

    Args:
        file: that said so. ids: of the pictures.
        starts: int [P + 1]; picture i has regions starts[i]:starts[i + 1]. labels: uint8, their classes. runs: COCO's
            compressed text of each.
    """

    file: Path = Path()
    ids: Sequence[int | str] = ()
    starts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(1, np.int64))
    labels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.uint8))
    runs: Ragged = dataclasses.field(default_factory=lambda: Ragged.of([], np.uint8))
    fields: frozenset[str] = frozenset({"segmentation"})

    def scene(self, i: int) -> Scene:
        size, numbers = self.size(i), range(int(self.starts[i]), int(self.starts[i + 1]))
        where = f"{self.file}: image {self.ids[i]} ({self.names[i]})"
        classes, twice = np.full(size, VOID, np.uint8), np.zeros(size, bool)
        if numbers:
            regions = [{"size": size, "counts": self.runs[n].tobytes()} for n in numbers]
            for n, (crop, (x1, y1, x2, y2)) in zip(numbers, _decoded(where, regions).crops()):
                window, inside = classes[y1:y2, x1:x2], crop != 0
                twice[y1:y2, x1:x2] |= inside & (window != VOID)
                window[inside] = self.labels[n]
        if twice.any():
            raise DataError(
                f"{where}: {int(twice.sum())} pixels lie in more than one region, and a pixel has one "
                "class; correct the file; if these are instances, call it instances_….json"
            )
        meta = {"path": self.paths[i], "id": self.ids[i]}
        return Scene(size, segmentation=torch.from_numpy(classes), meta=meta)


# The maps -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _PixelMaps(FileSource):
    """Scenes made from PNGs of category ids, when asked for.

    Args:
        maps: the PNGs. ids: of the pictures. labels: what the values of the maps mean, by value. less: by how much the
            values are less than the category ids. listed: the file that names these.
    """

    maps: list[str] = dataclasses.field(default_factory=list)
    ids: Sequence[int | str] = ()
    labels: dict[int, int] = dataclasses.field(default_factory=dict)
    less: int = 0
    listed: Path = Path()
    fields: frozenset[str] = frozenset({"segmentation"})

    def scene(self, i: int) -> Scene:
        values, size = read_ids(self.maps[i]), self.size(i)
        if values.shape != size:
            raise DataError(map_fault(f"{self.maps[i]}: the map is", values.shape, self.paths[i], size))
        found, place, counts = distinct(values)
        strange = [(v, n) for v, n in zip(found.tolist(), counts.tolist()) if v not in self.labels]
        if strange:
            pixels = ", ".join(f"id {v + self.less} on {n} pixels" for v, n in strange[:5])
            raise DataError(f"{self.maps[i]}: {pixels}; {self.listed} has none of these: add them to it")
        classes = np.array([self.labels[v] for v in found.tolist()], np.uint8)[place]
        meta = {"path": self.paths[i], "id": self.ids[i]}
        return Scene(size, segmentation=torch.from_numpy(classes), meta=meta)


def _maps(path: Path) -> tuple[Path, Path, Path] | None:
    """Root of the pictures, folder of the maps, and their list; None where they are not there."""
    root, folders = (path.parent, [path]) if path.name == MAPS else (path, [path / MAPS, path / "annotations"])
    for maps in folders:
        labels = next((f for f in (maps / LABELS, root / LABELS) if f.is_file()), None)
        if labels is None or not any(maps.glob("*/*.png")):
            continue
        if maps.name == MAPS or set(read_lines(labels)) >= OWN_LABELS:
            return root, maps, labels
    return None


def _parts(path: Path) -> list[str]:
    """Folders of maps that there are pictures for."""
    found = _maps(path)
    if found is None:
        return []
    root, maps, _ = found
    folders = sorted(f for f in maps.iterdir() if any(f.glob("*.png")))
    return [f.name for f in folders if any((root / where / f.name).is_dir() for where in ("", "images"))]


def _read_maps(path: Path, split: str) -> Dataset:
    found = _maps(path)
    assert found is not None  # recognised
    root, maps, labels = found
    classes, meaning = _read_labels(labels)
    pictures = next(f for f in (root / split, root / "images" / split) if f.is_dir())
    of, alone = pair(list_pictures(pictures), list_maps(maps / split))
    known = [(picture, pngs[0]) for picture, pngs in of.items() if pngs]
    if not known:
        raise DataError(f"{pictures}: no picture has a map in {maps / split}")
    bare = [p for p, pngs in of.items() if not pngs]
    repairs = [
        *(Repair("picture without map", p.name, "-", "no PNG of its name", "dropped") for p in bare),
        *(Repair("map without picture", p.name, "-", "no picture of its name", "dropped") for p in alone),
    ]
    source = _PixelMaps(
        [str(p) for p, _ in known],
        [p.name for p, _ in known],
        maps=[str(png) for _, png in known],
        ids=[p.stem for p, _ in known],
        labels=meaning,
        less=1,
        listed=labels,
    )
    return Dataset(source, Schema(pixels=classes), repairs, f"{root.name} {split}")


def _read_labels(file: Path) -> tuple[Categories, dict[int, int]]:
    """The classes, and what the values of the maps, which are their ids less 1, mean."""
    rows, faults = [], Faults(optional=False)
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        row = re.fullmatch(r"(\d{1,9}):\s*(.+)", line.strip())
        if row:
            rows.append((int(row[1]), row[2]))
        elif line.strip():
            expected = "should be an id, a colon and a name (1: person)"
            faults.add(f"{file}: line {number}", f"{expected}, found {line.strip()!r:.60}; correct the list")
    kept = [(i, name) for i, name in rows if not UNSAID.fullmatch(name)]
    wrong = [i for i, _ in kept if not 0 < i <= VOID]
    if wrong:
        faults.add(file, f"ids of classes are 1 to {VOID}, found {wrong[:5]}; correct the list")
    faults.settle()
    try:
        classes = Categories(tuple(name for _, name in kept), source_ids=tuple(i for i, _ in kept))
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    void = dict.fromkeys([VOID, *(i - 1 for i, name in rows if i > 0 and UNSAID.fullmatch(name))], VOID)
    return classes, void | {i - 1: k for k, i in enumerate(classes.source_ids)}
