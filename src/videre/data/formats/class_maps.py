"""One PNG of classes per picture: streets, tissue, land cover.

Three layouts: `images/[<split>/]<name>.*` with `annotations/[<split>/]<name>.png` (or labels, masks, …), SegNet's
`<split>/<name>.*` with `<split>annot/<name>.png`, and `[<split>/]<name>.*` with `<name>_mask.png` beside it, as Roboflow
exports maps. The classes are named at the root, in one of

- `classes.json`: {"classes": [{"id": 0, "name": "sky", "color": [128, 128, 128]}, …], "void": 11};
- `classes.txt`, `class_names.txt`, `labels.txt`: a name a line, ids 0, 1, …; after a line `__ignore__`, as labelme
  writes it, ids begin with the next line;
- `label_colors.txt` or `palette.txt`: `r g b name` a line; `labelmap.txt`: `name:r,g,b` a line, as CVAT writes it;
- `class_dict.csv`: name, r, g, b;
- `_classes.csv`, Roboflow's, at the root or in the first split: id, name.

VOC's own layout (`SegmentationClass/*.png` beside `JPEGImages/`) needs no such file where the pictures are VOC's. Maps are grey
or palette pictures of ids, also stored as RGB, or in the classes' colours. 255 is void unless the list names it, and so is what a
class called void or unlabelled marks. Of two classes, maps of 0 and 255 alone have the second where 255 stands, and maps
of 1 to K count from 1.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from videre.data.dataset import Dataset, FileSource, Repair
from videre.data.faults import Faults
from videre.data.formats.folders import SPLIT_NAME
from videre.data.pairs import PICTURE_FOLDERS, VOC_CLASSES, find_folder, find_maps, list_maps, pair
from videre.data.rules import COLOR, INTEGER, TEXT, integer, load_json
from videre.data.sizes import map_fault
from videre.data.writing import file_names, losses, place_picture
from videre.errors import DataError
from videre.files import read_lines, write_atomic
from videre.images.listing import list_files, list_folders, list_pictures
from videre.images.reading import has_colors, read_ids, read_picture
from videre.structures import VOC_PIXELS, Categories, Scene, Schema
from videre.structures.masks import distinct
from videre.structures.scene import VOID

LOOKS_FOR = (
    "class maps: images/<name>.* with annotations/<name>.png, or <split>/ with <split>annot/, and classes.json, classes.txt or "
    "label_colors.txt beside them; or VOC's SegmentationClass/"
)
OWN = frozenset({".json", ".txt", ".csv"})
HOLDS = {"segmentation"}
FOLDERS = (
    "annotations",
    "labels",
    "masks",
    "mask",
    "gtFine",
    "segmentation",
    "segmentations",
    "gt",
    "groundtruth",
    "annotation",
)
ROBOFLOW = "_classes.csv"
LISTS = (
    "classes.json",
    "classes.txt",
    "class_names.txt",
    "label_colors.txt",
    "labels.txt",
    "labelmap.txt",
    "palette.txt",
    "class_dict.csv",
    ROBOFLOW,
)
BESIDE = "_mask"
"""What the name of a map ends in that lies beside its picture."""
LOOKS = 32
"""Maps that are looked into before anything is trained on them, spread over the set."""
_OF_VOC = re.compile(r"\d{4}_\d{6}")
"""How the pictures of Pascal VOC are called."""
IGNORED = "__ignore__"
"""labelme's first line, whose id is -1."""
UNSAID = re.compile(r"void|unlabell?ed|ignore(d)?|unknown", re.IGNORECASE)
"""Names of what is no class."""


@dataclasses.dataclass(frozen=True)
class Legend:
    """What the values of a map mean.

    Args:
        ids: of the classes, in their order. names, colors: likewise. void, void_colors: of pixels that nothing is said of.
        numbered: whether ids follow from the order of the list alone. threshold: of two classes, in JPEGs.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = ()
    void: tuple[int, ...] = ()
    void_colors: tuple[tuple[int, int, int], ...] = ()
    numbered: bool = False
    threshold: bool = False

    def labels(self, file: Path) -> np.ndarray:
        """The classes uint8 [H, W] of a map; DataError where it has ids or colours that are none."""
        values, show = _values(file, {*self._numbers, *self._void_numbers})
        if self.threshold and file.suffix.lower() in (".jpg", ".jpeg"):
            values = np.where(values > 127, self.ids[1], self.ids[0])
        classes, void = (self.ids, (*self.void, VOID)) if show == "id" else (self._numbers, self._void_numbers)
        known = dict.fromkeys(void, VOID) | {value: k for k, value in enumerate(classes)}
        found, place, counts = distinct(values)
        strange = [(v, n) for v, n in zip(found.tolist(), counts.tolist()) if v not in known]
        if strange:
            name = lambda v: f"colour {v >> 16} {v >> 8 & 255} {v & 255}" if show == "colour" else f"id {v}"
            listed = ", ".join(f"{name(v)} on {n} pixels" for v, n in strange[:5])
            more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
            if len(strange) > max(5, len(known) - len(strange)) and sum(v in known for v in found.tolist()) > 1:
                raise DataError(
                    f"{file}: {listed}{more}, between those of the list: the edges are blurred, by smoothing or as JPEG; "
                    "save the maps as PNG, without smoothing (nearest neighbour)"
                )
            raise DataError(
                f"{file}: {listed}{more}; the class list has none of these: add them to it, or mark them as void"
            )
        return np.array([known[v] for v in found.tolist()], np.uint8)[place]

    def fitted(self, maps: Sequence[Path]) -> tuple[Legend, list[Repair]]:
        """The legend as the maps mean it, of which some are looked into, and what was found to differ from the list."""
        if not self.numbered:
            return self, []
        seen: set[int] = set()
        blurred = 0
        for i in np.unique(np.linspace(0, len(maps) - 1, min(LOOKS, len(maps))).astype(int)).tolist():
            try:
                values, show = _values(maps[i], {*self._numbers, *self._void_numbers})
            except DataError:
                continue  # reading its truth will raise this error
            if show == "id":
                seen |= set(distinct(values)[0].tolist())
                blurred += maps[i].suffix.lower() in (".jpg", ".jpeg")
        count, notice = len(self.ids), lambda found, action: [Repair("ids of class maps", "-", "-", found, action)]
        if count == 2 and blurred and max(seen, default=0) > 1:
            found = f"{blurred} maps are JPEG, which blurs ids"
            return dataclasses.replace(self, ids=(0, VOID), void=(), threshold=True), notice(found, "cut at 127")
        if count == 2 and {VOID} < seen <= {0, VOID}:
            found = f"the maps have 0 and {VOID} alone"
            return dataclasses.replace(self, ids=(0, VOID), void=()), notice(found, f"{VOID} read as {self.names[1]}")
        if (
            self.ids == tuple(range(count))
            and count in seen - {VOID}
            and 0 not in seen
            and seen <= {*range(1, count + 1), VOID}
        ):
            found = f"the maps have 1 to {count}, and no 0"
            return dataclasses.replace(self, ids=tuple(range(1, count + 1))), notice(found, "counted from 1")
        return self, []

    @property
    def schema(self) -> Schema:
        return Schema(pixels=Categories(self.names, self.colors, self.ids))

    @property
    def _numbers(self) -> tuple[int, ...]:
        return tuple(map(_number, self.colors))

    @property
    def _void_numbers(self) -> tuple[int, ...]:
        return tuple(map(_number, self.void_colors))


def _values(file: Path, colors: set[int]) -> tuple[np.ndarray, str]:
    """The numbers [H, W] of a map, and whether each is an "id" or a "colour", its red, green and blue in 24 bits."""
    if not has_colors(file):
        return read_ids(file), "id"
    picture = read_picture(file).astype(np.int64)
    grey = picture.shape[2] == 1 or bool((picture == picture[:, :, :1]).all())
    if grey and not {int(v) * 0x10101 for v in np.unique(picture[:, :, 0])} <= colors:  # ids that are stored as RGB
        return picture[:, :, 0], "id"
    return (picture[:, :, 0] << 16) | (picture[:, :, 1] << 8) | picture[:, :, 2], "colour"


def _number(color: tuple[int, int, int]) -> int:
    return (color[0] << 16) | (color[1] << 8) | color[2]


def recognise(path: Path) -> str:
    """What was found, or "" when this is no such folder."""
    if not path.is_dir() or not any(maps for _, _, maps in _parts(path)):
        return ""
    file = find_list(path)
    if _is_voc(path):
        return "class maps in SegmentationClass"
    if file is None or (file.suffix != ".json" and len(read_legend(file).names) < 2):
        return ""
    return f"class maps, named in {file.name}"


def splits(path: Path) -> list[str]:
    """Folders of the layout, or VOC's lists."""
    if _is_voc(path):
        return [p.stem for p in list_files(path / "ImageSets" / "Segmentation", ".txt")]
    return [split for split, _, maps in _parts(path) if split and maps]


def read(path: Path, split: str | None = None, skip_broken: bool = False) -> Dataset:
    """Read pictures and maps; pictures without a map are left out and counted.

    Raises DataError for a class list that cannot be read, several maps of one picture, or when there is no picture with
    a map. A map of another size, or with values that are no class, is an error when its truth is asked for.
    """
    file, faults, repairs = find_list(path), Faults(skip_broken), list[Repair]()
    listed = None
    if _is_voc(path) and split is not None:
        listed = set(read_lines(path / "ImageSets" / "Segmentation" / f"{split}.txt"))
    name = lambda file: file.relative_to(path).as_posix()
    known: dict[Path, Path] = {}
    everything: list[Path] = []
    for part, pictures, maps in _parts(path):
        everything += maps
        if listed is None and split not in (None, part):
            continue
        of, lost = pair(pictures, maps)
        for picture, found in of.items():
            if listed is not None and picture.stem not in listed:
                continue
            if len(found) > 1:
                several = ", ".join(p.name for p in found[:3])
                faults.add(picture, f"has {len(found)} class maps, {several}; leave one", name(picture))
            elif found:
                known[picture] = found[0]
            elif not _is_voc(path):  # which has maps of a part of its pictures
                repairs.append(Repair("picture without class map", name(picture), "-", "no map of its name", "dropped"))
        repairs += [
            Repair("class map without picture", name(m), "-", "no picture of its name", "dropped") for m in lost
        ]
    if not known:
        faults.refuse(f"{path}: no picture{f' of {split}' if split else ''} has a class map")
    legend = read_legend(file) if file is not None else voc_legend(path, list(known))
    legend, notices = legend.fitted(everything)
    stems, chosen = [name(p) for p in known], [str(m) for m in known.values()]
    source = _ClassMaps([str(p) for p in known], stems, maps=chosen, legend=legend)
    title = path.name + (f" {split}" if split else "")
    return Dataset(source, legend.schema, notices + repairs + faults.settle(), title)


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
    """The classes that a list names. Raises DataError with all lines or fields of a list that say something else."""
    faults, void = Faults(optional=False), {VOID}
    numbered = file.suffix != ".json" and file.name != ROBOFLOW
    if numbered:
        rows = _numbered(file)
    elif file.name == ROBOFLOW:
        rows = _of_roboflow(file, faults)
    else:
        rows, marked = _of_json(file, faults)
        void |= marked
    for _, name, color in rows:
        if not COLOR[1](color):
            faults.add(file, f"the colour of {name!r} is {COLOR[0]}, found {color!r:.60}; correct it")
    void -= {i for i, _, _ in rows if i == VOID}  # a mask of 0 and 255 may name 255
    void |= {i for i, name, _ in rows if UNSAID.fullmatch(name)}
    kept = [row for row in rows if row[0] not in void]
    if len(kept) > VOID:
        faults.add(file, f"{len(kept)} classes; a map holds at most {VOID}")
    faults.settle()
    colored = all(color is not None for _, _, color in kept)
    shades = lambda some: tuple((int(c[0]), int(c[1]), int(c[2])) for _, _, c in some if c is not None)
    return Legend(
        tuple(i for i, _, _ in kept),
        tuple(n for _, n, _ in kept),
        shades(kept) if colored else (),
        tuple(sorted(void)),
        shades([row for row in rows if row[0] in void]),
        numbered,
    )


_Class = tuple[int, str, Any]
"""Id, name, and colour or None."""


def _of_json(file: Path, faults: Faults) -> tuple[list[_Class], set[int]]:
    """The classes of classes.json, and the ids that mean nothing."""
    data = load_json(file)
    if not isinstance(data, dict) or "classes" not in data:
        raise DataError(f'{file}: expected {{"classes": [{{"id", "name", "color"}}], "void": id}}, found {data!r:.60}')
    listed = faults.demand(file, "class", data["classes"], id=INTEGER, name=TEXT, color=COLOR)
    marked = data.get("void", [])
    marked = marked if isinstance(marked, list) else [marked]
    if any(integer(v) is None for v in marked):
        faults.add(file, f"void should be an id or a list of ids, found {data['void']!r:.60}; correct the file")
    void = {number for v in marked if (number := integer(v)) is not None}
    return [(int(c["id"]), c["name"], c.get("color")) for c in listed], void


def _of_roboflow(file: Path, faults: Faults) -> list[_Class]:
    """The classes of _classes.csv."""
    rows: list[_Class] = []
    for line in read_lines(file)[1:]:
        stated, _, name = line.partition(",")
        number = integer(stated.strip())
        if number is None or not name.strip():
            faults.add(file, f"a line should be an id and a name, found {line!r:.60}; correct it")
        else:
            rows.append((number, name.strip(), None))
    return rows


def _numbered(file: Path) -> list[_Class]:
    """The classes of a list whose ids follow from its order."""
    lines = read_lines(file)
    if file.suffix == ".csv":
        lines = [line for line in lines if not re.fullmatch(r"name\W+r\W+g\W+b", line, re.IGNORECASE)]
    elif file.name == "labelmap.txt":
        lines = [line for line in lines if not line.startswith("#")]
    first = -1 if lines[:1] == [IGNORED] else 0
    return [(number, *_named(line)) for number, line in enumerate(lines, start=first) if number >= 0]


def _named(line: str) -> tuple[str, list[int] | None]:
    """Name and colour of a line: `r g b name`, `name,r,g,b`, `name:r,g,b:…` or a name alone."""
    if found := re.fullmatch(r"(\d{1,9})[\s,]+(\d{1,9})[\s,]+(\d{1,9})[\s,]+(.+)", line):
        return found[4].strip(), [int(found[n]) for n in (1, 2, 3)]
    if found := re.fullmatch(r"(.+?)[,:]\s*(\d{1,9})\s*,\s*(\d{1,9})\s*,\s*(\d{1,9})\s*(:.*)?", line):
        return found[1].strip(), [int(found[n]) for n in (2, 3, 4)]
    return line, None


@dataclasses.dataclass
class _ClassMaps(FileSource):
    """Scenes made from the maps, when asked for."""

    maps: list[str] = dataclasses.field(default_factory=list)
    legend: Legend = dataclasses.field(default_factory=lambda: Legend((), ()))
    fields: frozenset[str] = frozenset({"segmentation"})

    def scene(self, i: int) -> Scene:
        classes, size = self.legend.labels(Path(self.maps[i])), self.size(i)
        if classes.shape != size:
            raise DataError(map_fault(f"{self.maps[i]}: the class map is", classes.shape, self.paths[i], size))
        meta = {"path": self.paths[i], "id": self.names[i]}
        return Scene(size, segmentation=torch.from_numpy(classes), meta=meta)


def voc_legend(path: Path, pictures: list[Path]) -> Legend:
    """VOC's classes, where the pictures are VOC's; DataError where nobody names others."""
    if not all(_OF_VOC.fullmatch(picture.stem) for picture in pictures):
        raise DataError(
            f"{path}: nothing names the classes of the maps, and the pictures are not Pascal VOC's own; write their "
            f"names into {path / 'classes.txt'}, one a line, id 0 first"
        )
    return Legend(VOC_PIXELS.source_ids, VOC_PIXELS.names, void=(VOID,))


def find_list(path: Path) -> Path | None:
    """The file that names the classes."""
    folders = [path, *(p for p in list_folders(path) if SPLIT_NAME.fullmatch(p.name))]
    files = [path / name for name in LISTS] + [folder / ROBOFLOW for folder in folders]
    return next((file for file in files if file.is_file() and (file.name != ROBOFLOW or _is_legend(file))), None)


def _is_legend(file: Path) -> bool:
    """Whether Roboflow's list is of the values of maps: it calls tables of pictures' classes so, too."""
    return [word.strip().lower() for word in read_lines(file)[0].split(",")] == ["pixel value", "class"]


def _is_voc(path: Path) -> bool:
    return (path / "JPEGImages").is_dir() and find_maps(path, VOC_CLASSES) is not None


def _beside(folder: Path) -> tuple[list[Path], list[Path]]:
    """Pictures, and the maps that lie among them."""
    files = list_pictures(folder)
    stems = {file.stem.lower() for file in files}
    is_map = lambda file: file.stem.lower().endswith(BESIDE) and file.stem.lower().removesuffix(BESIDE) in stems
    return [f for f in files if not is_map(f)], [f for f in files if is_map(f)]


def _parts(path: Path) -> list[tuple[str, list[Path], list[Path]]]:
    """Split, "" where there is none, with its pictures and maps."""
    if _is_voc(path):
        return [("", list_pictures(path / "JPEGImages"), list_maps(find_maps(path, VOC_CLASSES)))]
    parts = [p for p in list_folders(path) if (path / f"{p.name}annot").is_dir()]
    if parts:
        return [(p.name, list_pictures(p), list_maps(path / f"{p.name}annot")) for p in parts]
    images, maps = find_folder(path, PICTURE_FOLDERS), find_folder(path, FOLDERS)
    if images is None or maps is None:
        splits = [p for p in list_folders(path) if SPLIT_NAME.fullmatch(p.name)]
        found = [(folder.name if splits else "", *_beside(folder)) for folder in splits or [path]]
        return [part for part in found if part[2]]
    parts = [p for p in list_folders(images) if SPLIT_NAME.fullmatch(p.name)]
    if not parts:
        return [("", list_pictures(images), list_maps(maps))]
    return [(p.name, list_pictures(p), list_maps(maps / p.name)) for p in parts]
