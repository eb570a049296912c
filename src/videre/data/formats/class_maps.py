"""One PNG of classes per picture: streets, tissue, land cover.

Two layouts: `images/[<split>/]<name>.*` with `annotations/[<split>/]<name>.png` (or labels, masks, …), and SegNet's
`<split>/<name>.*` with `<split>annot/<name>.png`. The classes are named at the root, in one of

- `classes.json`: {"classes": [{"id": 0, "name": "sky", "color": [128, 128, 128]}, …], "void": 11};
- `classes.txt`: a name a line, ids 0, 1, …;
- `label_colors.txt` or `palette.txt`: `r g b name` a line.

VOC's own layout (`SegmentationClass/*.png` beside `JPEGImages/`) needs no such file. Maps are grey or palette PNGs of ids, or
colour PNGs in the classes' colours. 255 is void unless the list names it, and so is what a class called void or unlabelled marks.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from videre.data.dataset import Dataset, FileSource, Repair
from videre.data.formats.coco_rules import COLOR, INTEGER, TEXT, demand, integer, load_json
from videre.data.formats.folders import SPLIT_NAME
from videre.data.writing import file_names, losses, place_picture
from videre.errors import DataError
from videre.files import read_lines, write_atomic
from videre.images.listing import SUFFIXES
from videre.images.reading import has_colors, read_ids, read_picture
from videre.structures import VOC_PIXELS, Categories, Scene, Schema
from videre.structures.masks import distinct
from videre.structures.scene import VOID

LOOKS_FOR = (
    "class maps: images/<name>.* with annotations/<name>.png, or <split>/ with <split>annot/, and classes.json, classes.txt or "
    "label_colors.txt beside them; or VOC's SegmentationClass/"
)
HOLDS = {"segmentation"}
FOLDERS = ("annotations", "labels", "masks", "gtFine", "segmentation")
LISTS = ("classes.json", "classes.txt", "label_colors.txt", "labels.txt", "palette.txt")
UNSAID = re.compile(r"void|unlabell?ed|ignore(d)?|unknown", re.IGNORECASE)
"""Names of what is no class."""


@dataclasses.dataclass(frozen=True)
class Legend:
    """What the values of a map mean.

    Args:
        ids: of the classes, in their order. names, colors: likewise. void: ids of pixels that nothing is said of.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = ()
    void: tuple[int, ...] = ()
    void_colors: tuple[tuple[int, int, int], ...] = ()

    @property
    def schema(self) -> Schema:
        return Schema(pixels=Categories(self.names, self.colors, self.ids))

    def labels(self, file: Path) -> np.ndarray:
        """The classes uint8 [H, W] of a map; DataError where it has ids or colours that are none."""
        if has_colors(file):
            picture = read_picture(file)[:, :, :3].astype(np.int64)
            values = (picture[:, :, 0] << 16) | (picture[:, :, 1] << 8) | picture[:, :, 2]
            number = lambda color: (color[0] << 16) | (color[1] << 8) | color[2]
            known = {number(c): k for k, c in enumerate(self.colors)} | {number(c): VOID for c in self.void_colors}
            show = lambda v: f"colour {v >> 16} {v >> 8 & 255} {v & 255}"
        else:
            values = read_ids(file)
            known = {i: k for k, i in enumerate(self.ids)} | dict.fromkeys(self.void, VOID)
            known.setdefault(VOID, VOID)
            show = lambda v: f"id {v}"
        found, place, counts = distinct(values)
        strange = [(v, n) for v, n in zip(found.tolist(), counts.tolist()) if v not in known]
        if strange:
            listed = ", ".join(f"{show(v)} on {n} pixels" for v, n in strange[:5])
            raise DataError(f"{file}: {listed}; the class list has none of these: add them to it, or mark them as void")
        return np.array([known[v] for v in found.tolist()], np.uint8)[place]


def recognise(path: Path) -> str:
    """What was found, or "" when this is no such folder."""
    if not path.is_dir() or all(annotation is None for _, _, annotation in _pairs(path, None)):
        return ""
    if _is_voc(path):
        return "" if _has_boxes(path) else "class maps in SegmentationClass"
    file = find_list(path)
    if file is None or (file.suffix != ".json" and len(read_legend(file).names) < 2):
        return ""
    return f"class maps, named in {file.name}"


def splits(path: Path) -> list[str]:
    """Folders of the layout, or VOC's lists."""
    if _is_voc(path):
        return sorted(p.stem for p in (path / "ImageSets" / "Segmentation").glob("*.txt"))
    return sorted({split for split, _, _ in _pairs(path, None) if split})


def read(path: Path, split: str | None = None) -> Dataset:
    """Read pictures and maps; pictures without a map are left out and counted.

    Raises DataError for a class list that cannot be read, or when there is no picture with a map. A map of another size,
    or with values that are no class, is an error when its truth is asked for.
    """
    file = find_list(path)
    legend = _voc_legend() if file is None else read_legend(file)
    pairs = _pairs(path, split)
    if _is_voc(path) and split is not None:
        listed = read_lines(path / "ImageSets" / "Segmentation" / f"{split}.txt")
        by_stem = {picture.stem: (part, picture, annotation) for part, picture, annotation in pairs}
        pairs = [by_stem[stem] for stem in listed if stem in by_stem]
    name = lambda picture: picture.relative_to(path).as_posix()
    repairs = [
        Repair("picture without class map", name(picture), "-", "no PNG of its name", "dropped")
        for _, picture, annotation in pairs
        if annotation is None
    ]
    known = [(picture, annotation) for _, picture, annotation in pairs if annotation is not None]
    if not known:
        raise DataError(f"{path}: no picture{f' of {split}' if split else ''} has a class map")
    source = _ClassMaps(
        [str(p) for p, _ in known], [name(p) for p, _ in known], maps=[str(a) for _, a in known], legend=legend
    )
    return Dataset(source, legend.schema, repairs, path.name + (f" {split}" if split else ""))


def write(dataset: Dataset, path: Path, split: str = "train", lossy: bool = False) -> list[str]:
    """Write images/<split>/, annotations/<split>/ (palette PNGs of ids) and classes.json. Returns the losses.

    Raises DataError where the set has no segmentation.
    """
    lost = losses(dataset, HOLDS, "a PNG of classes", lossy)
    classes = dataset.schema.pixels
    if classes is None or "segmentation" not in dataset.fields:
        raise DataError(f"class maps need a segmentation; {dataset.title} has {sorted(dataset.fields)}")
    if dataset.schema.overlap:
        raise DataError(f"class maps hold one class a pixel, those of {dataset.title} overlap; write planes")
    rows = [{"id": k, "name": name, "color": list(classes.colors[k])} for k, name in enumerate(classes)]
    write_atomic(path / "classes.json", (json.dumps({"classes": rows, "void": VOID}, indent=1) + "\n").encode())
    for i, filename in enumerate(file_names(dataset)):
        scene = dataset.scene(i)
        assert scene.segmentation is not None
        place_picture(dataset, i, path / "images" / split / filename)
        target = path / "annotations" / split / f"{Path(filename).stem}.png"
        write_atomic(target, as_palette(scene.segmentation.numpy(), classes))
    return lost


def as_palette(classes: np.ndarray, categories: Categories) -> bytes:
    """Classes [H, W] as a palette PNG: ids to programs, the classes' colours to the eye; void is white."""
    picture = Image.fromarray(classes.astype(np.uint8), "P")
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(categories)] = categories.colors
    colors[VOID] = 255
    picture.putpalette(colors.flatten().tolist())
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()


def read_legend(file: Path) -> Legend:
    """The classes that a list names. Raises DataError, naming the line or field, for a list that says something else."""
    rows: list[tuple[int, str, Any]] = []
    void: set[int] = {VOID}
    if file.suffix == ".json":
        data = load_json(file)
        if not isinstance(data, dict) or "classes" not in data:
            raise DataError(
                f'{file}: expected {{"classes": [{{"id", "name", "color"}}], "void": id}}, found {data!r:.60}'
            )
        demand(file, "class", data["classes"], id=INTEGER, name=TEXT, color=COLOR)
        rows = [(int(c["id"]), c["name"], c.get("color")) for c in data["classes"]]
        marked = data.get("void", [])
        marked = marked if isinstance(marked, list) else [marked]
        if any(integer(v) is None for v in marked):
            raise DataError(
                f"{file}: void should be an id or a list of ids, found {data['void']!r:.60}; correct the file"
            )
        void |= {int(v) for v in marked}
    else:
        for number, line in enumerate(read_lines(file)):
            found = re.fullmatch(r"(\d{1,9})[\s,]+(\d{1,9})[\s,]+(\d{1,9})[\s,]+(.+)", line)
            color = [int(found[n]) for n in (1, 2, 3)] if found else None
            if color is not None and max(color) > 255:
                raise DataError(f"{file}: {line[:60]!r}: a colour is three numbers of 0 to 255; correct the file")
            rows.append((number, found[4].strip() if found else line, color))
    void -= {i for i, _, _ in rows if i == VOID}  # a mask of 0 and 255 may name 255
    void |= {i for i, name, _ in rows if UNSAID.fullmatch(name)}
    kept = [row for row in rows if row[0] not in void]
    if len(kept) > VOID:
        raise DataError(f"{file}: {len(kept)} classes; a map holds at most {VOID}")
    colored = all(color is not None for _, _, color in kept)
    shades = lambda some: tuple((int(c[0]), int(c[1]), int(c[2])) for _, _, c in some if c is not None)
    return Legend(
        tuple(i for i, _, _ in kept),
        tuple(n for _, n, _ in kept),
        shades(kept) if colored else (),
        tuple(sorted(void)),
        shades([row for row in rows if row[0] in void]),
    )


@dataclasses.dataclass
class _ClassMaps(FileSource):
    """Scenes made from the maps, when asked for."""

    maps: list[str] = dataclasses.field(default_factory=list)
    legend: Legend = dataclasses.field(default_factory=lambda: _voc_legend())
    fields: frozenset[str] = frozenset({"segmentation"})

    def scene(self, i: int) -> Scene:
        classes, size = self.legend.labels(Path(self.maps[i])), self.size(i)
        if classes.shape != size:
            raise DataError(
                f"{self.maps[i]}: the class map is {classes.shape[1]}x{classes.shape[0]} (width x height), the "
                f"picture {self.paths[i]} is {size[1]}x{size[0]}"
            )
        meta = {"path": self.paths[i], "id": self.names[i]}
        return Scene(size, segmentation=torch.from_numpy(classes), meta=meta)


def _voc_legend() -> Legend:
    return Legend(VOC_PIXELS.source_ids, VOC_PIXELS.names, void=(VOID,))


def find_list(path: Path) -> Path | None:
    """The file that names the classes."""
    return next((path / name for name in LISTS if (path / name).is_file()), None)


def _is_voc(path: Path) -> bool:
    return (path / "SegmentationClass").is_dir() and (path / "JPEGImages").is_dir()


def _has_boxes(path: Path) -> bool:
    """Whether VOC's boxes are there too: then the format must be named."""
    return any((path / "Annotations").glob("*.xml"))


def _pairs(path: Path, split: str | None) -> list[tuple[str, Path, Path | None]]:
    """Split, picture and map, None where there is no map; the split is "" where there is none."""
    if _is_voc(path):
        return pair_files("", path / "JPEGImages", path / "SegmentationClass", every=False)
    parts = [p.name for p in sorted(path.iterdir()) if p.is_dir() and (path / f"{p.name}annot").is_dir()]
    if parts:
        return [
            pair
            for part in parts
            if split in (None, part)
            for pair in pair_files(part, path / part, path / f"{part}annot")
        ]
    maps = next((path / name for name in FOLDERS if (path / name).is_dir()), None)
    if maps is None or not (path / "images").is_dir():
        return []
    parts = [p.name for p in sorted((path / "images").iterdir()) if p.is_dir() and SPLIT_NAME.fullmatch(p.name)]
    if not parts:
        return pair_files("", path / "images", maps)
    return [pair for p in parts if split in (None, p) for pair in pair_files(p, path / "images" / p, maps / p)]


def pair_files(split: str, pictures: Path, maps: Path, every: bool = True) -> list[tuple[str, Path, Path | None]]:
    """Pictures and the maps of their names, which may have a suffix ("_L", "_mask"); `every`: those without a map, too."""
    found = {p.stem: p for p in sorted(maps.glob("*.png"))} if maps.is_dir() else {}
    cut = {
        re.sub(r"_(L|mask|label|labels|labelIds|gtFine_labelIds|segmentation)$", "", stem): p
        for stem, p in found.items()
    }
    names = [p for p in sorted(pictures.iterdir()) if p.suffix.lower() in SUFFIXES]
    matched = [(split, p, found.get(p.stem) or cut.get(p.stem)) for p in names]
    return matched if every else [pair for pair in matched if pair[2] is not None]
