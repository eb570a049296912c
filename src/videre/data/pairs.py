"""Pictures and the maps that belong to them: one rule for folders and names of both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from videre.errors import DataError
from videre.images.listing import list_files, list_folders

PICTURE_FOLDERS = ("images", "image", "imgs", "img", "JPEGImages", "PNGImages", "pictures", "photos", "frames")
"""What folders of pictures are called beside those of their maps; capitals do not matter."""
MAP_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg")
"""Of maps; JPEG is no good for them, which readers say."""


VOC_CLASSES = ("SegmentationClass", "SegmentationClassPNG")
VOC_OBJECTS = ("SegmentationObject", "SegmentationObjectPNG")
"""VOC's folders of maps, which labelme's tools write, too, beside arrays of the same in folders that end in Npy."""


def find_maps(path: Path, names: Sequence[str]) -> Path | None:
    """The first folder of these names that has maps."""
    return next((path / name for name in names if list_maps(path / name)), None)


def find_folder(path: Path, names: Sequence[str]) -> Path | None:
    """The folder of a data set that has one of the names, the first name first; capitals do not matter."""
    there = {p.name.lower(): p for p in list_folders(path)}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


def list_maps(folder: Path | None) -> list[Path]:
    """The files of a folder that may be maps, in natural order."""
    return list_files(folder, *MAP_SUFFIXES) if folder is not None else []


def pair(pictures: Iterable[Path], maps: Iterable[Path]) -> tuple[dict[Path, list[Path]], list[Path]]:
    """The maps of each picture, and those that belong to none.

    A map is called like its picture, or has something before or after that name, joined by "_", "-" or ".":
    a_mask.png, gt-a.png, a.seg.png belong to a.jpg. Of several pictures the longest name counts. Capitals do not matter.
    Raises DataError where a map may belong to two pictures of one name.
    """
    of: dict[Path, list[Path]] = {picture: [] for picture in pictures}
    by_stem: dict[str, Path] = {}
    twins: set[Path] = set()
    for picture in of:
        if by_stem.setdefault(picture.stem.lower(), picture) is not picture:
            twins.add(by_stem[picture.stem.lower()])
    lost = []
    for file in maps:
        found = _picture(file.stem.lower(), by_stem) or by_stem.get(file.stem.lower().partition(".")[0])
        if found in twins:
            raise DataError(f"{found.parent}: two pictures of one name, ['{found.stem}'], and one map; rename one")
        if found is None:
            lost.append(file)
        else:
            of[found].append(file)
    for found, files in of.items():  # a map of the very name counts before those that have more in theirs
        same = [file for file in files if file.stem.lower() == found.stem.lower()]
        of[found] = same[:1] or files
    return of, lost


def _picture(stem: str, by_stem: dict[str, Path]) -> Path | None:
    if stem in by_stem:
        return by_stem[stem]
    joints = [m.start() for m in re.finditer(r"[_.-]", stem)]
    parts = [stem[:at] for at in joints] + [stem[at + 1 :] for at in joints]
    return next((by_stem[part] for part in sorted(parts, key=len, reverse=True) if part in by_stem), None)
