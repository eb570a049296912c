"""One PNG of instance ids per picture (8 or 16 bit, 0 = background), one class: cells, nuclei, grains.

`images/<name>.*` and `labels/<name>.png` (or `masks`, `instances`); splits are lists `train.txt` beside them, and
`classes.txt` has the name of the class ("object" without it).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from videre.data.dataset import Dataset, FileSource, Repair
from videre.data.writing import file_names, losses, place_picture
from videre.errors import DataError
from videre.files import read_lines, write_atomic
from videre.images.listing import SUFFIXES
from videre.images.reading import read_ids
from videre.structures import Categories, Instances, Masks, Scene, Schema
from videre.structures.masks import distinct

LOOKS_FOR = "instance PNG: images/<name>.* with labels/<name>.png (or masks/, instances/), one id per instance"
HOLDS = {"boxes", "instances.labels", "masks"}
FOLDERS = ("labels", "instances", "masks")
CLASSES = "classes.txt"
LOOKS = 32
"""Maps that are looked into before anything is trained on them, spread over the set."""


def recognise(path: Path) -> str:
    """What was found, or "" when this is no such folder."""
    folder = _folder(path)
    return "" if folder is None else f"id maps in {folder}"


def splits(path: Path) -> list[str]:
    """None of its own: lists beside the folders are read for every format."""
    return []


def read(path: Path, split: str | None = None, skip_broken: bool = False, class_name: str | None = None) -> Dataset:
    """Read pictures and id maps; every instance is of the one class `class_name`, else of that in classes.txt.

    Pictures without a map are left out and counted. Maps that seem to tell classes, not instances, are counted, too.

    Raises DataError when a map has another size than its picture, two pictures share a map, or classes.txt does not
    hold one name.
    """
    folder = _folder(path)
    assert folder is not None  # recognised
    maps = {p.stem: p for p in sorted(folder.glob("*.png"))}
    pictures = [p for p in sorted((path / "images").iterdir()) if p.suffix.lower() in SUFFIXES]
    known = [p for p in pictures if p.stem in maps]
    stems = [p.stem for p in known]
    if len(set(stems)) < len(stems):
        raise DataError(
            f"{path / 'images'}: two pictures of one name: {sorted({s for s in stems if stems.count(s) > 1})}"
        )
    repairs = [
        Repair("picture without id map", p.stem, "-", f"no {folder.name}/{p.stem}.png", "dropped")
        for p in pictures
        if p.stem not in maps
    ]
    repairs += _semantic(stems, [maps[s] for s in stems])
    source = _IdMaps([str(p) for p in known], stems, maps=[str(maps[s]) for s in stems])
    return Dataset(source, Schema(things=Categories((class_name or _class_name(path),))), repairs, path.name)


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
            raise DataError(
                f"{self.maps[i]}: the id map is {ids.shape[1]}x{ids.shape[0]} (width x height), the picture "
                f"{self.paths[i]} is {size[1]}x{size[0]}"
            )
        values, _, _ = distinct(ids)
        values = values[values != 0]
        masks = Masks.from_label_map(ids, values.tolist())
        instances = Instances(
            masks.boxes(), torch.zeros(len(masks), dtype=torch.int64), masks=masks, ids=torch.from_numpy(values)
        )
        return Scene(size, instances, meta={"path": self.paths[i], "id": self.names[i]})


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


def _folder(path: Path) -> Path | None:
    if not (path / "images").is_dir():
        return None
    return next((path / name for name in FOLDERS if any((path / name).glob("*.png"))), None)
