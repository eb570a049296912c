"""COCO panoptic: a JSON of segments and a PNG of segment ids per picture; things and stuff together.

`annotations/panoptic_<split>.json`, its PNGs in the folder of the same name beside it (id = R + 256 G + 65536 B, 0 is void),
pictures in `<split>/`, `images/<split>/` or `images/` (Kirillov et al., Panoptic Segmentation, 2019).

All categories are classes of pixels; those with `isthing` are classes of things, too, each segment an instance. Of crowds
("iscrowd") the class of the pixels counts; as instances they are ignored.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videre.data.dataset import Dataset, FileSource, Repair
from videre.data.faults import Faults, Rule
from videre.data.pictures import PictureFinder, usual_paths
from videre.data.rules import COLOR, FLAG, ID, TEXT, WHOLE, as_flag, as_key, load_json
from videre.data.sizes import map_fault
from videre.data.writing import file_names, losses, place_picture
from videre.errors import DataError
from videre.files import write_atomic
from videre.images.reading import picture_size, read_picture, write_picture
from videre.structures import Categories, Instances, Masks, Scene, Schema
from videre.structures.scene import VOID

LOOKS_FOR = "COCO panoptic: annotations/panoptic_<split>.json with a folder of PNGs of the same name"
OWN = frozenset({".json"})
HOLDS = {"segmentation", "panoptic", "boxes", "instances.labels", "masks", "ignore"}
PREFIX = "panoptic_"


def recognise(path: Path) -> str:
    """What was found, or "" when there is no such file with its folder."""
    return ", ".join(f.name for f in _files(path))


def splits(path: Path) -> list[str]:
    """Names of the splits: "val2017" of panoptic_val2017.json."""
    return [f.stem.removeprefix(PREFIX) for f in _files(path)] if path.is_dir() else []


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read a folder or one file; pictures without segments are left out and counted.

    Raises DataError for a file that is not of this form, with all its faults. A PNG that is missing, of another size, or
    with ids that are not listed is an error when its truth is asked for.
    """
    files = [f for f in _files(path) if split is None or f.stem == PREFIX + split]
    return Dataset.cat([_read(file, f"{path.name} {file.stem.removeprefix(PREFIX)}", skip_broken) for file in files])


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write <split>/ with the pictures, annotations/panoptic_<split>.json and its PNGs. Returns the losses.

    A class of pixels that is one of things, too (by name), is written segment by segment, where there are masks; of others
    all pixels of a picture are one segment. Where masks overlap the later one wins.

    Raises DataError where the set has no segmentation.
    """
    lost = losses(dataset, HOLDS, "COCO panoptic", lossy)
    classes, things = dataset.schema.pixels, dataset.schema.things
    if classes is None or "segmentation" not in dataset.fields:
        raise DataError(f"COCO panoptic needs a segmentation; {dataset.title} has {sorted(dataset.fields)}")
    if dataset.schema.overlap:
        raise DataError(f"COCO panoptic holds one class a pixel, those of {dataset.title} overlap; write planes")
    folder = path / "annotations" / f"{PREFIX}{split}"
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i, filename in enumerate(file_names(dataset)):
        scene = dataset.scene(i)
        place_picture(dataset, i, path / split / filename)
        ids, segments = _segments(scene, classes, things)
        name = f"{Path(filename).stem}.png"
        write_picture(folder / name, np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], 2).astype(np.uint8))
        images.append({"id": i + 1, "width": scene.size[1], "height": scene.size[0], "file_name": filename})
        annotations.append({"image_id": i + 1, "file_name": name, "segments_info": segments})
    categories = [
        {
            "id": classes.source_ids[k],
            "name": name,
            "supercategory": classes.supercategories[k],
            "isthing": int(things is not None and name in things.names),
            "color": list(classes.colors[k]),
        }
        for k, name in enumerate(classes)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_atomic(folder.with_suffix(".json"), json.dumps(content).encode())
    return lost


def _segments(scene: Scene, classes: Categories, things: Categories | None) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The map of segment ids, and a row for each."""
    assert scene.segmentation is not None
    pixels = scene.segmentation.numpy()
    ids = np.zeros(scene.size, np.int64)
    rows: list[tuple[int, int]] = []  # class of pixels, crowd
    split = set()
    instances = scene.instances
    if instances is not None and instances.masks is not None and instances.labels is not None and things is not None:
        ignored = [False] * len(instances) if instances.ignore is None else instances.ignore.tolist()
        for n, (crop, (x1, y1, x2, y2)) in enumerate(instances.masks.crops()):
            name = things[int(instances.labels[n])]
            if name in classes.names:
                ids[y1:y2, x1:x2][crop != 0] = len(rows) + 1
                split.add(classes.index(name))
                rows.append((classes.index(name), int(ignored[n])))
    for k in np.unique(pixels).tolist():
        rest = (pixels == k) & (ids == 0)
        if k != VOID and rest.any():
            ids[rest] = len(rows) + 1
            rows.append((k, int(k in split)))  # pixels of a thing that no mask has: nobody told them apart
    told = []
    for n, (k, crowd) in enumerate(rows, 1):
        y, x = np.nonzero(ids == n)
        if len(y):
            box = [int(x.min()), int(y.min()), int(x.max() - x.min()) + 1, int(y.max() - y.min()) + 1]
            told.append({"id": n, "category_id": classes.source_ids[k], "area": len(y), "bbox": box, "iscrowd": crowd})
    return ids, told


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".json" and path.with_suffix("").is_dir() and PREFIX in path.stem else []
    folders = [path / "annotations", path]
    found = [f for folder in folders if folder.is_dir() for f in sorted(folder.glob(f"{PREFIX}*.json"))]
    return [f for f in found if f.with_suffix("").is_dir()]


_PARENT: Rule = ("text", lambda v: v is None or isinstance(v, str))
_SEGMENTS: Rule = (
    "a list of segments",
    lambda v: isinstance(v, list) and all(isinstance(row, dict) for row in v),
)


def _read(file: Path, title: str, skip_broken: bool) -> Dataset:
    content, faults = load_json(file), Faults(skip_broken)
    parts = ("images", "annotations", "categories")
    missing = [name for name in parts if not isinstance(content, dict) or name not in content]
    if missing:
        raise DataError(
            f"{file}: images, annotations with segments_info and categories are expected; it has no {missing[0]}"
        )
    rules = {"id": WHOLE, "name": TEXT, "color": COLOR, "supercategory": _PARENT, "isthing": FLAG}
    categories = faults.demand(file, "category", content["categories"], **rules)
    images: dict[Any, str] = {}
    for image in faults.demand(file, "image", content["images"], id=ID, file_name=TEXT):
        name = images.setdefault(as_key(image["id"]), image["file_name"])
        if name != image["file_name"]:
            faults.add(
                f"{file}: image {image['id']}", f"is {name} and {image['file_name']}; give each an id of its own"
            )
    if len(categories) > VOID:
        faults.add(file, f"{len(categories)} categories; a map holds at most {VOID}")
    try:
        pixels = _categories(categories)
    except DataError as error:
        faults.add(file, str(error))
        faults.refuse()
    things = [{**c, "color": pixels.colors[k]} for k, c in enumerate(categories) if as_flag(c.get("isthing", 1))]
    segments = _segments_of(file, content["annotations"], images, {as_key(c["id"]) for c in categories}, faults)
    finder = PictureFinder([file.with_suffix("")])
    place = {i: finder.find(a["file_name"]) or file.with_suffix("") / a["file_name"] for i, a in segments.items()}
    maps = {i: (str(place[i]), a["segments_info"]) for i, a in segments.items()}
    broken = {picture for _, _, picture in faults.found}
    repairs = [
        Repair("picture without segments", name, "-", "no annotation", "dropped")
        for i, name in images.items()
        if i not in segments and name not in broken
    ]
    known = [i for i in images if i in segments]
    if not known:
        faults.refuse(f"{file}: no picture has segments")
    source = _Segments(
        usual_paths(file, file.stem.removeprefix(PREFIX), [images[i] for i in known]),
        [images[i] for i in known],
        maps=[maps[i] for i in known],
        pixel_of={as_key(c["id"]): k for k, c in enumerate(categories)},
        thing_of={as_key(c["id"]): k for k, c in enumerate(things)},
    )
    schema = Schema(pixels=pixels, things=_categories(things) if things else None)
    return Dataset(source, schema, repairs + faults.settle(), title)


def _segments_of(
    file: Path, annotations: Any, images: dict[Any, str], categories: set[Any], faults: Faults
) -> dict[Any, dict[str, Any]]:
    """The annotation of each picture that has one without a fault, ids and flags as numbers."""
    found, strays = dict[Any, dict[str, Any]](), list[Any]()
    for a in faults.demand(file, "annotation", annotations, image_id=ID, file_name=TEXT, segments_info=_SEGMENTS):
        key, where = as_key(a["image_id"]), f"{file}: image {a['image_id']}"
        picture = images.get(key, "-")
        if key not in images:
            strays.append(a["image_id"])
            continue
        if key in found:
            faults.add(where, "has several annotations; leave one", picture)
            continue
        own = Faults(skip=True)
        rows = own.demand(
            file, f"image {a['image_id']}, segment", a["segments_info"], id=WHOLE, category_id=ID, iscrowd=FLAG
        )
        for row in rows:
            if as_key(row["category_id"]) not in categories:
                listed = f"category_id should be one of categories, found {row['category_id']!r:.60}; add it to them"
                own.add(f"{where}, segment {row['id']}", listed)
        for place, what, _ in own.found:
            faults.add(place, what, picture)
        if not own.found:
            numbers = ("id", "category_id")
            kept = [r | {n: as_key(r[n]) for n in numbers} | {"iscrowd": as_flag(r.get("iscrowd"))} for r in rows]
            found[key] = {"file_name": a["file_name"], "segments_info": kept}
    if strays:
        faults.add(file, f"annotations of {len(strays)} images that are not listed under images: {strays[:5]}")
    return found


def _categories(rows: list[dict[str, Any]]) -> Categories:
    colored = all(c.get("color") is not None for c in rows)
    return Categories(
        tuple(c["name"] for c in rows),
        tuple(tuple(c["color"]) for c in rows) if colored else (),
        tuple(int(c["id"]) for c in rows),
        tuple(c.get("supercategory") or "" for c in rows),
    )


@dataclasses.dataclass
class _Segments(FileSource):
    """Scenes made from the PNGs, when asked for."""

    maps: list[tuple[str, list[dict[str, Any]]]] = dataclasses.field(default_factory=list)
    pixel_of: dict[Any, int] = dataclasses.field(default_factory=dict)
    thing_of: dict[Any, int] = dataclasses.field(default_factory=dict)
    fields: frozenset[str] = frozenset(
        {"segmentation", "panoptic", "boxes", "instances.labels", "masks", "ignore", "ids", "areas"}
    )

    def scene(self, i: int) -> Scene:
        file, rows = self.maps[i]
        height, width = picture_size(file)
        if (height, width) != self.size(i):
            raise DataError(map_fault(f"{file}: the segments are", (height, width), self.paths[i], self.size(i)))
        colors = read_picture(file).astype(np.int64)
        if colors.shape[2] != 3:
            raise DataError(f"{file}: segments are colours, of which this file has {colors.shape[2]} channels")
        ids = colors[:, :, 0] | colors[:, :, 1] << 8 | colors[:, :, 2] << 16
        found, place = np.unique(ids, return_inverse=True)
        place = place.reshape(ids.shape)
        listed = {row["id"]: row for row in rows}
        strange = [v for v in found.tolist() if v and v not in listed]
        if strange:
            raise DataError(f"{file}: segment ids {strange[:5]} are in the PNG, but not in segments_info")
        shades = [self.pixel_of[listed[v]["category_id"]] if v else VOID for v in found.tolist()]
        there = [(n, v) for n, v in enumerate(found.tolist()) if v and listed[v]["category_id"] in self.thing_of]
        values = [n + 1 for n, _ in there]
        masks = Masks.from_label_map(place + 1, values)
        crowd = torch.tensor([listed[v]["iscrowd"] for _, v in there], dtype=torch.bool)
        labels = torch.tensor([self.thing_of[listed[v]["category_id"]] for _, v in there], dtype=torch.int64)
        instances = Instances(
            masks.boxes(),
            labels,
            masks=masks,
            ignore=crowd,
            ids=torch.tensor([v for _, v in there], dtype=torch.int64),
            areas=masks.area().float(),
        )
        meta = {"path": self.paths[i], "id": self.names[i]}
        classes = torch.from_numpy(np.array(shades, np.uint8)[place])
        return Scene(self.size(i), instances, segmentation=classes, panoptic=torch.from_numpy(ids), meta=meta)
